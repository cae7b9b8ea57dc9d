//! The first packet of an editor's socket: the only place where its token travels (protocol.md 3).
//!
//! Engine.IO's `4` (message), Socket.IO's `0` (connect), a namespace where there is one, and JSON. What is read here is what the
//! Document Server reads (DocsCoServer.js:1687-1693): of equal keys the last, `session` where it is true in JavaScript's sense, else
//! `token`. A bad `session` is not rescued by a good `token`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use super::token::TokenFault;

/// A field that should hold a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<'p> {
    /// Absent, or what JavaScript takes for false.
    #[default]
    Absent,
    /// Text.
    Text(Cow<'p, str>),
    /// True, and no text.
    Other,
}

/// A `40…` packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'p> {
    session: Field<'p>,
    token: Field<'p>,
    open: Field<'p>,
    mode: Field<'p>,
}

/// Why a first packet is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketFault {
    /// Another packet than `40`.
    NotConnect,
    /// What stands behind `40` is no JSON object.
    Malformed,
}

impl PacketFault {
    /// The name in log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotConnect => "packet_not_connect",
            Self::Malformed => "packet_malformed",
        }
    }
}

impl fmt::Display for PacketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnect => "the first packet of the socket is no CONNECT",
            Self::Malformed => "the first packet of the socket holds no JSON object",
        })
    }
}

impl std::error::Error for PacketFault {}

impl<'p> Connect<'p> {
    /// Takes a packet apart.
    ///
    /// # Errors
    /// When the Document Server would not take it for a CONNECT with credentials. socket.io-parser also allows a number between
    /// namespace and JSON; no client sends one, and none passes here.
    pub fn parse(packet: &'p str) -> Result<Self, PacketFault> {
        let rest = packet.strip_prefix("40").ok_or(PacketFault::NotConnect)?;
        let json = if rest.starts_with('/') {
            let (namespace, json) = rest.split_once(',').unwrap_or((rest, ""));
            // The Document Server knows the root alone, and answers it without its name.
            if namespace != "/" {
                return Err(PacketFault::Malformed);
            }
            json
        } else {
            rest
        };
        let [mut session, mut token, mut open, mut mode] = [const { Field::Absent }; 4];
        if !json.is_empty() {
            if !json.starts_with('{') {
                return Err(PacketFault::Malformed); // a space in front would be a number to socket.io-parser
            }
            let [s, t, data] = values(json, ["session", "token", "data"])?;
            (session, token) = (Field::of(s)?, Field::of(t)?);
            if let Some(data) = data.map(RawValue::get).filter(|data| data.starts_with('{')) {
                let [jwt_open, said] = values(data, ["jwtOpen", "mode"])?;
                (open, mode) = (Field::of(jwt_open)?, Field::of(said)?);
            }
        }
        Ok(Self { session, token, open, mode })
    }

    /// The token that decides: `session`, else `token`.
    ///
    /// # Errors
    /// When neither is there, or what is there is no text.
    pub fn chosen(&self) -> Result<&str, TokenFault> {
        match self.session.token()? {
            Some(session) => Ok(session),
            None => self.token.token()?.ok_or(TokenFault::Missing),
        }
    }

    /// Whether this is an editor that comes back: only then there is a `session`.
    pub fn returns(&self) -> bool {
        self.session != Field::Absent
    }

    /// Whether `data.mode` says that somebody only looks. The Document Server takes it from there where the token says nothing, as
    /// its own session tokens do.
    pub fn only_looks(&self) -> bool {
        matches!(&self.mode, Field::Text(mode) if mode == "view")
    }

    /// `data.jwtOpen` where it must hold as well: on a first connect it is the same token once more, and what the Document Server
    /// reads of the document comes from it (captures/browser/t1-ws.jsonl). With `session` present it is the open token of the first
    /// connect, long expired perhaps, and is not looked at (captures/browser/resil-quick.txt).
    ///
    /// # Errors
    /// When it is there and no text.
    pub fn also(&self) -> Result<Option<&str>, TokenFault> {
        if self.returns() {
            return Ok(None);
        }
        Ok(self.open.token()?.filter(|open| self.token.token().ok().flatten() != Some(open)))
    }
}

/// The refusal that the editor understands (captures/browser/token-*-ws.jsonl): it shows its dialog for the code and does not try
/// again. The words are those of the Document Server's library (jsonwebtoken 9.0.2), which only people read.
pub fn not_authorized(code: u16, description: &str) -> String {
    let data = json!({"message": "not authorized", "data": {"code": code, "description": format!("token:{description}")}});
    format!("44{data}")
}

/// Whether a message is a CONNECT, by the byte that follows Engine.IO's `4`. socket.io-parser takes `Number` of that character,
/// which is 0 for a space or any other blank as well, so only the digits from 1 on are other packets.
pub const fn begins_connect(byte: u8) -> bool {
    !matches!(byte, b'1'..=b'9')
}

/// Follows the packets of polling's bodies after the first one, for a CONNECT that nobody would judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Packets {
    /// A packet begins.
    #[default]
    First,
    /// It began with `4`.
    Four,
    /// Nothing more is to be seen in this packet.
    Past,
}

/// Between packets of one body.
pub const BETWEEN: u8 = 0x1e;

impl Packets {
    /// Takes the next bytes of a body; says whether one of its packets is a CONNECT.
    pub fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&first, rest)) = bytes.split_first() {
            bytes = rest;
            *self = match self {
                _ if first == BETWEEN => Self::First,
                Self::First if first == b'4' => Self::Four,
                Self::Four if begins_connect(first) => return true,
                _ => Self::Past,
            };
            if *self == Self::Past {
                let next = bytes.iter().position(|byte| *byte == BETWEEN).unwrap_or(bytes.len());
                bytes = bytes.get(next..).unwrap_or_default();
            }
        }
        false
    }
}

/// A token expired: dialog -21.
pub const EXPIRED: u16 = 4005;
/// A token does not count: dialog -20.
pub const REFUSED: u16 = 4006;
/// A dialog that the connection is lost, and nothing else: the page does not try again by itself (protocol.md 11).
pub const LOST: u16 = 4001;
/// The document has another version: a page that opens it fetches a new configuration (`onRequestRefreshFile`); an editor that
/// comes back tells its user to keep a copy of what was not saved, and to reload (protocol.md 11).
pub const UPDATED: u16 = 4008;

/// Code and words for a token that does not count.
pub const fn words(fault: TokenFault) -> (u16, &'static str) {
    match fault {
        TokenFault::Missing => (REFUSED, "jwt must be provided"),
        TokenFault::Malformed | TokenFault::Ambiguous | TokenFault::TooLarge => (REFUSED, "jwt malformed"),
        TokenFault::Algorithm | TokenFault::Critical => (REFUSED, "invalid algorithm"),
        TokenFault::Signature => (REFUSED, "invalid signature"),
        TokenFault::BadTime => (REFUSED, "invalid exp value"),
        TokenFault::NotYet { .. } => (REFUSED, "jwt not active"),
        TokenFault::Expired { .. } => (EXPIRED, "jwt expired"),
    }
}

/// The Engine.IO open packet of the gateway. `polling` offers the change to WebSocket, as the Document Server does.
pub fn greeting(sid: &str, polling: bool, pace: Pace) -> String {
    let upgrades = if polling { "[\"websocket\"]" } else { "[]" };
    format!(
        "0{{\"sid\":\"{sid}\",\"upgrades\":{upgrades},\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
        pace.interval, pace.timeout, pace.largest
    )
}

/// What a server's open packet says of its pings, in milliseconds, and of its largest message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// `pingInterval`.
    pub interval: u32,
    /// `pingTimeout`.
    pub timeout: u32,
    /// `maxPayload`.
    pub largest: u32,
}

impl Default for Pace {
    /// As Document Server 9.0.4 is delivered (default.json:519-521).
    fn default() -> Self {
        Self { interval: 25_000, timeout: 20_000, largest: 100_000_000 }
    }
}

/// What a server said when it opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its id of the session.
    pub sid: String,
    /// Its pings.
    pub pace: Pace,
}

impl Opened {
    /// Reads a server's `0{…}`.
    pub fn parse(packet: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Open {
            sid: String,
            ping_interval: u32,
            ping_timeout: u32,
            max_payload: Option<u32>,
        }
        let open: Open = serde_json::from_str(packet.strip_prefix('0')?).ok()?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let good = (1..=128).contains(&open.sid.len()) && open.sid.bytes().all(plain);
        let largest = open.max_payload.unwrap_or(Pace::default().largest);
        let pace = Pace { interval: open.ping_interval, timeout: open.ping_timeout, largest };
        good.then_some(Self { sid: open.sid, pace })
    }
}

/// The values of these keys of an object, as they are written. Of equal keys the last counts, as in JavaScript. The rest is only
/// skipped: a megabyte of it builds nothing.
fn values<'p, const N: usize>(
    json: &'p str,
    names: [&'static str; N],
) -> Result<[Option<&'p RawValue>; N], PacketFault> {
    struct Of<const N: usize>([&'static str; N]);

    impl<'p, const N: usize> Visitor<'p> for Of<N> {
        type Value = [Option<&'p RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'p>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut found = [None; N];
            while let Some(Name(name)) = map.next_key()? {
                let value = map.next_value()?;
                if let Some(at) = self.0.iter().position(|known| *known == name)
                    && let Some(place) = found.get_mut(at)
                {
                    *place = Some(value);
                }
            }
            Ok(found)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    let found = deserializer.deserialize_map(Of(names)).map_err(|_| PacketFault::Malformed)?;
    deserializer.end().map_err(|_| PacketFault::Malformed)?;
    Ok(found)
}

#[derive(Deserialize)]
struct Name<'p>(#[serde(borrow)] Cow<'p, str>);

impl<'p> Field<'p> {
    /// As JavaScript's truth has it.
    fn of(value: Option<&'p RawValue>) -> Result<Self, PacketFault> {
        let text = value.map_or("null", RawValue::get);
        Ok(match text.as_bytes().first() {
            Some(b'"') => {
                let Name(text) = serde_json::from_str(text).map_err(|_| PacketFault::Malformed)?;
                if text.is_empty() { Self::Absent } else { Self::Text(text) }
            }
            Some(b'n' | b'f') | None => Self::Absent,
            Some(b'-' | b'0'..=b'9') if text.parse() == Ok(0.0) => Self::Absent,
            Some(_) => Self::Other,
        })
    }

    fn token(&self) -> Result<Option<&str>, TokenFault> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(token) => Ok(Some(token)),
            Self::Other => Err(TokenFault::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Tokens = (Result<String, TokenFault>, Result<Option<String>, TokenFault>);

    fn read(packet: &str) -> Result<Tokens, PacketFault> {
        let connect = Connect::parse(packet)?;
        Ok((connect.chosen().map(str::to_owned), connect.also().map(|also| also.map(str::to_owned))))
    }

    #[test]
    fn the_token_that_decides_is_the_document_servers() {
        let missing = Err(TokenFault::Missing);
        let bad = Err(TokenFault::Malformed);
        let ok = |token: &str| Ok(token.to_owned());
        let table = [
            ("40", missing.clone()),
            ("40{}", missing.clone()),
            (r#"40{"token":"T"}"#, ok("T")),
            (r#"40{"token":"T","session":"S"}"#, ok("S")),
            (r#"40{"session":"S","token":"T"}"#, ok("S")),
            (r#"40{"token":"T","session":""}"#, ok("T")),
            (r#"40{"token":"T","session":null}"#, ok("T")),
            (r#"40{"token":"T","session":false}"#, ok("T")),
            (r#"40{"token":"T","session":0}"#, ok("T")),
            (r#"40{"token":"T","session":-0.0e9}"#, ok("T")),
            (r#"40{"token":"T","session":1}"#, bad.clone()),
            (r#"40{"token":"T","session":true}"#, bad.clone()),
            (r#"40{"token":"T","session":["S"]}"#, bad.clone()),
            (r#"40{"token":"T","session":{}}"#, bad.clone()),
            (r#"40{"token":["T"]}"#, bad),
            (r#"40{"token":"A","token":"B"}"#, ok("B")),
            (r#"40{"session":"S","session":"","token":"T"}"#, ok("T")),
            (r#"40{"\u0074oken":"\u0054"}"#, ok("T")),
            (r#"40{"__proto__":{"session":"S"},"token":"T"}"#, ok("T")),
            (r#"40{"Session":"S","token":"T"}"#, ok("T")),
            (r#"40/,{"token":"T"}"#, ok("T")),
            ("40/", missing.clone()),
            ("40/,", missing),
            // Another namespace than the root is refused by the Document Server, which then waits for a second CONNECT.
            (r#"40/ns,{"token":"T"}"#, ok("never")),
            ("40/ns", ok("never")),
            // A user's name may be cut in the middle of an emoji; nobody has to understand it here.
            (r#"40{"data":{"user":{"username":"\ud83d"}},"token":"T"}"#, ok("T")),
            (r#"40 {"token":"T"}"#, ok("never")),
        ];
        for (packet, expected) in table {
            match read(packet) {
                Ok((chosen, _)) => assert_eq!(chosen, expected, "{packet}"),
                Err(fault) => {
                    assert_eq!((fault, expected), (PacketFault::Malformed, ok("never")), "{packet}")
                }
            }
        }
    }

    #[test]
    fn other_packets_are_none() {
        for packet in [
            "",
            "4",
            "0",
            "2",
            "3",
            "2probe",
            "5",
            "41",
            "42[\"message\",{}]",
            "44{}",
            "4 0{}",
            "b40{}",
            " 40{}",
            "040",
        ] {
            assert_eq!(read(packet), Err(PacketFault::NotConnect), "{packet}");
        }
        let nested = format!("40{}", "[".repeat(100_000));
        for packet in [
            "40[]",
            "40null",
            "40\"x\"",
            "40{",
            "40{}{}",
            "40{} x",
            "401{}",
            "40/ns,[]",
            "40/n\u{7}s,{}",
            "40/n\"s,{}",
            r#"40{"token":"T",}"#,
            r#"40{"token":"\ud83d"}"#,
            r#"40{token:"T"}"#,
            "40{\"token\":\"T\"}\u{1e}41",
            &nested,
        ] {
            assert_eq!(read(packet), Err(PacketFault::Malformed), "{packet:.40}");
        }
    }

    #[test]
    fn the_open_token_is_looked_at_unless_there_is_a_session() {
        let also = |packet: &str| read(packet).unwrap().1;
        assert_eq!(also(r#"40{"token":"T","data":{"jwtOpen":"T"}}"#), Ok(None));
        assert_eq!(also(r#"40{"token":"T","data":{"jwtOpen":"U"}}"#), Ok(Some("U".into())));
        assert_eq!(also(r#"40{"token":"T","data":{"jwtOpen":"T","jwtOpen":"U"}}"#), Ok(Some("U".into())));
        assert_eq!(also(r#"40{"session":"S","token":"T","data":{"jwtOpen":"old"}}"#), Ok(None));
        assert_eq!(also(r#"40{"token":"T","data":{"jwtOpen":7}}"#), Err(TokenFault::Malformed));
        for data in ["null", "[]", "\"jwtOpen\"", "{}", "{\"jwtOpen\":null}", "{\"jwtOpen\":\"\"}"] {
            assert_eq!(also(&format!(r#"40{{"token":"T","data":{data}}}"#)), Ok(None), "{data}");
        }
    }

    #[test]
    fn refusals_read_as_the_document_servers_own() {
        // captures/browser/token-*-ws.jsonl and captures/ws/auth-header-only.txt
        let table = [
            (TokenFault::Signature, r#"{"code":4006,"description":"token:invalid signature"}"#),
            (TokenFault::Missing, r#"{"code":4006,"description":"token:jwt must be provided"}"#),
            (TokenFault::Malformed, r#"{"code":4006,"description":"token:jwt malformed"}"#),
            (
                TokenFault::Expired { by: Duration::ZERO },
                r#"{"code":4005,"description":"token:jwt expired"}"#,
            ),
        ];
        for (fault, data) in table {
            let (code, words) = words(fault);
            let expected: serde_json::Value =
                serde_json::from_str(&format!(r#"{{"message":"not authorized","data":{data}}}"#)).unwrap();
            let packet = not_authorized(code, words);
            let json = packet.strip_prefix("44").unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap(), expected);
        }
    }

    #[test]
    fn a_connect_in_a_later_body_is_seen_whatever_the_cuts() {
        let table = [
            ("42[\"message\",{}]", false),
            ("3\u{1e}42[]\u{1e}1", false),
            ("", false),
            ("4", false),
            ("4\u{1e}0", false),
            ("b40AAAA\u{1e}451-[{}]\u{1e}bAAAA", false),
            ("42[\"40{}\"]", false),
            ("41", false),
            ("40", true),
            ("40{\"token\":\"x\"}", true),
            ("40/ns,{}", true),
            ("4 {}", true),
            ("4\u{a0}{}", true),
            ("41\u{1e}40{}", true),
            ("\u{1e}\u{1e}40", true),
            ("451-[{}]\u{1e}bAAAA\u{1e}3\u{1e}40{}\u{1e}42[]", true),
        ];
        for (body, is_connect) in table {
            for cut in 0..=body.len() {
                let mut packets = Packets::default();
                let (a, b) = body.as_bytes().split_at(cut);
                assert_eq!(packets.follow(a) || packets.follow(b), is_connect, "{body:?} {cut}");
            }
            let mut packets = Packets::default();
            assert_eq!(body.bytes().any(|byte| packets.follow(&[byte])), is_connect, "{body:?}");
        }
    }

    #[test]
    fn greetings_are_read_as_they_are_said() {
        let real = r#"0{"sid":"D_mSfqwXO3CZ3wNDAAAE","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000000}"#;
        assert_eq!(greeting("D_mSfqwXO3CZ3wNDAAAE", false, Pace::default()), real);
        let pace = Pace { interval: 1, timeout: 2, largest: 3 };
        let opened = Opened::parse(&greeting("a-b", true, pace)).unwrap();
        assert_eq!(opened, Opened { sid: "a-b".into(), pace });
        for packet in
            ["", "0", "0{}", "40{}", "0{\"sid\":\"a b\",\"pingInterval\":1,\"pingTimeout\":1}", &real[1..]]
        {
            assert_eq!(Opened::parse(packet), None, "{packet}");
        }
    }

    /// Whatever comes, it is read or refused, and a change of one byte never turns one token into another that was not there.
    #[test]
    fn random_packets_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(40);
        let whole = r#"40/,{"data":{"jwtOpen":"OPEN","x":[1,{"y":null}]},"token":"TOKEN","session":false}"#;
        for _ in 0..100_000 {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.choice(*b"{}[]\",:\\0/").unwrap()),
                }
            }
            let Ok(packet) = String::from_utf8(bytes) else { continue };
            if let Ok(connect) = Connect::parse(&packet) {
                if let Ok(token) = connect.chosen() {
                    assert!(packet.contains(token) || packet.contains('\\'));
                }
                connect.also().ok();
            }
        }
    }
}
