//! What must hold whatever a client says first: read by the gate's own rules, as `cargo fuzz`, `cargo test` and the `frames`
//! example do. Whatever does not hold panics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::header::AUTHORIZATION;
use rapidpm_gateway::rules::follower::{Again, Follower};
use rapidpm_gateway::rules::frame::{First, Kind, Step, say_masked};
use rapidpm_gateway::rules::packet::{Connect, Opened, Packets};
use rapidpm_gateway::rules::path::canonical;
use rapidpm_gateway::rules::policy::{Caller, Knock, Rules, knock};
use rapidpm_gateway::rules::route::{Switches, find};
use rapidpm_gateway::rules::token::{Algorithm, Settings, VerifyingKey};
use rapidpm_gateway::secret::Secret;

/// The one token that opens: of a session, signed with this gateway's secret.
pub const GOOD: &str = "\
    eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJkb2N1bWVudCI6eyJrZXkiOiJkZW1vIiwicGVybWlzc2lvbnMiOnsiZWRpdCI\
    6dHJ1ZX0sImRzX2VuY3J5cHRlZCI6ZmFsc2V9LCJlZGl0b3JDb25maWciOnsidXNlciI6eyJpZCI6ImFubiIsIm5hbWUiOiJBbm4\
    iLCJpbmRleCI6MX0sImRzX2lzQ2xvc2VDb0F1dGhvcmluZyI6ZmFsc2UsImRzX3Nlc3Npb25UaW1lQ29ubmVjdCI6MTcwMDAwMDA\
    wMDAwMH0sImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAyNTkyMDAwfQ.5LWDGfombuCb2Umv-9KBwJMhOq77S5bdE3afrFNi-R8";
const SECRET: &[u8] = b"known-to-nobody-who-is-not-reading-this";
/// Within the token's time.
const NOW: u64 = 1_700_000_100;
/// Largest first message here. The gate's own is 1 MiB; nothing hangs on the number.
const LIMIT: usize = 2 << 10;

/// What became of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// They are not enough.
    More,
    /// The client says goodbye.
    Gone,
    /// They cannot become a first message.
    NoFrames,
    /// They are one that is no CONNECT.
    NoConnect,
    /// They are a CONNECT, whose token does not hold.
    Refused,
    /// The token holds.
    Opened,
}

/// The gate's rules, with a secret.
pub struct Gate {
    knock: Knock,
    settings: Settings,
    rules: Rules,
}

impl Default for Gate {
    fn default() -> Self {
        let path = canonical("/doc/demo/c/").unwrap();
        let matched = find(&path, Switches::default());
        Self {
            knock: knock(&matched, &Method::GET).unwrap(),
            settings: Settings {
                keys: vec![VerifyingKey::new(&Secret::new(SECRET.to_vec()))],
                algorithms: vec![Algorithm::Hs256],
                leeway: Duration::from_secs(60),
                header: AUTHORIZATION,
                prefix: "Bearer ".to_owned(),
            },
            rules: Rules::default(),
        }
    }
}

impl Gate {
    /// Reads what a client says first, at once and in pieces of `piece` bytes.
    pub fn hear(&self, bytes: &[u8], piece: usize) -> Outcome {
        let (read, whole) = (read(bytes, piece.max(1)), read(bytes, bytes.len().max(1)));
        assert_eq!(read, whole, "it depends on the pieces");
        Follower::default().follow(bytes).unwrap(); // the server's side never ends a socket
        for follower in [Follower::granted(), Follower::changed()] {
            let (mut whole, mut pieces) = (follower, follower);
            let cut = bytes.chunks(piece.max(1)).any(|piece| pieces.follow(piece).is_err());
            assert_eq!(whole.follow(bytes).is_err(), cut, "a second CONNECT hides between pieces");
        }
        let frames = match read {
            Read::Message(frames) => frames,
            Read::Not(outcome) => return outcome,
        };
        follow(&frames, piece.max(1));
        let mut first = First::default();
        first.buffer().extend_from_slice(&frames);
        assert_eq!(first.step(LIMIT), Ok(Step::Complete), "what is forwarded is the message again");
        let Ok(text) = first.text() else { return Outcome::NoFrames };
        self.judge(&text)
    }

    /// Judges what a first message says.
    pub fn judge(&self, text: &str) -> Outcome {
        drop((Opened::parse(text), Packets::default().follow(text.as_bytes())));
        let Ok(connect) = Connect::parse(text) else { return Outcome::NoConnect };
        assert!(Packets::default().follow(text.as_bytes()), "polling's bodies are read otherwise");
        let now: SystemTime = UNIX_EPOCH + Duration::from_secs(NOW);
        let caller = Caller { address: [192, 0, 2, 1].into(), now };
        match self.knock.admit(&connect, &self.settings, &self.rules, caller) {
            Ok(_) => {
                // The last letter of 43 has two bits that stand for nothing.
                let but_last = |token: &str| token.get(..GOOD.len() - 1).map(str::to_owned);
                let chosen = connect.chosen().unwrap();
                assert_eq!(
                    (chosen.len(), but_last(chosen)),
                    (GOOD.len(), but_last(GOOD)),
                    "another token opens: {text}"
                );
                Outcome::Opened
            }
            Err(_) => Outcome::Refused,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// The frames of the message, as they are forwarded.
    Message(Vec<u8>),
    Not(Outcome),
}

/// As the gate reads: never beyond its limit, whatever the heads of frames say.
fn read(bytes: &[u8], piece: usize) -> Read {
    let mut first = First::default();
    for piece in bytes.chunks(piece) {
        first.buffer().extend_from_slice(piece);
        loop {
            match first.step(LIMIT) {
                Ok(Step::More) => break,
                Ok(Step::Ping(said)) => assert!(said.len() <= 125),
                Ok(Step::Close) => return Read::Not(Outcome::Gone),
                Ok(Step::Complete) => return Read::Message(first.take_frames()),
                Err(_) => return Read::Not(Outcome::NoFrames),
            }
        }
        assert!(first.held() < LIMIT, "it holds {} bytes", first.held());
    }
    Read::Not(Outcome::More)
}

/// The follower of the open socket sees the same message: it passes, and another one behind it does not.
fn follow(frames: &[u8], piece: usize) {
    let mut follower = Follower::granted();
    for piece in frames.chunks(piece) {
        assert_eq!(follower.follow(piece), Ok(()));
    }
    assert!(follower.is_at_boundary() && !follower.is_closed());
    assert_eq!(follower.follow(&say_masked(Kind::Text, b"42[]")), Ok(()));
    assert_eq!(follower.follow(&say_masked(Kind::Text, b"40{}")), Err(Again(0)));
}
