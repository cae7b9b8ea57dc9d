//! Follows a socket's frames while they pass: where one ends, so that a goodbye is never put into the middle of one, and whether
//! the client says CONNECT again. The token of a second CONNECT would be seen by nobody but the Document Server, which knows
//! neither what it was made for nor whose socket this is.

use super::frame::{Kind, extra};
use super::packet::begins_connect;

/// Follows the frames of one direction, in sixteen bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Follower {
    /// Of the length that is being read, or of the payload that is still to come.
    left: u64,
    /// Where in a frame it is.
    at: At,
    /// Bytes of the mask that follow the length.
    mask: u8,
    /// The first two bytes of the mask: no more than two bytes of a message are looked at.
    key: [u8; 2],
    /// What the frame is.
    frame: Frame,
    /// What is known of the message.
    look: Look,
    /// A goodbye has gone by: nothing may follow it.
    closed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Boundary,
    Second,
    Length(u8),
    Mask,
    Payload,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Frame {
    #[default]
    Data,
    Control,
    Close,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Look {
    /// Nobody looks: the server's direction.
    #[default]
    Off,
    /// The next message is the CONNECT that was judged.
    Granted,
    /// Nothing more is to be seen in this message.
    Past,
    /// A text has begun; none of its bytes have come.
    First,
    /// Engine.IO's `4` has come in this frame; its second byte decides.
    Four,
    /// The same, in an earlier frame.
    FourBefore,
}

/// The client says CONNECT again: so many of the bytes come before the frame that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again(pub usize);

impl Follower {
    /// For a client whose CONNECT was judged and comes first.
    pub fn granted() -> Self {
        Self { look: Look::Granted, ..Self::default() }
    }

    /// For a client whose CONNECT was judged and came over polling.
    pub fn changed() -> Self {
        Self { look: Look::Past, ..Self::default() }
    }

    /// Takes the next bytes of the stream. Whatever frames they are, it never fails: the two ends judge them.
    ///
    /// # Errors
    /// When a message would be another CONNECT. What comes before it ends on a boundary if its frame begins in these bytes; else
    /// the head of that frame has gone by already. Nothing more is to be followed then.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<(), Again> {
        let (mut rest, mut begins) = (bytes, None);
        while let Some((&first, behind)) = rest.split_first() {
            if self.at == At::Payload {
                if self.look(rest) {
                    if begins.is_some() {
                        self.at = At::Boundary;
                    }
                    return Err(Again(begins.unwrap_or(0)));
                }
                let here = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                self.left -= here as u64;
                rest = rest.get(here..).unwrap_or_default();
                self.next();
                continue;
            }
            if self.at == At::Boundary {
                begins = Some(bytes.len() - rest.len());
            }
            self.head(first);
            rest = behind;
        }
        Ok(())
    }

    fn head(&mut self, byte: u8) {
        match self.at {
            At::Boundary => {
                self.begin(byte & 0x0f);
                self.at = At::Second;
            }
            At::Second => {
                self.mask = if byte & 0x80 == 0 { 0 } else { 4 };
                self.key = [0; 2];
                let short = byte & 0x7f;
                match extra(short) {
                    0 => {
                        self.left = u64::from(short);
                        self.at = At::Mask;
                    }
                    bytes => {
                        self.left = 0;
                        self.at = At::Length(if bytes == 2 { 2 } else { 8 });
                    }
                }
                self.next();
            }
            At::Length(more) => {
                self.left = self.left << 8 | u64::from(byte);
                self.at = if more == 1 { At::Mask } else { At::Length(more - 1) };
                self.next();
            }
            At::Mask => {
                match self.mask {
                    4 => self.key[0] = byte,
                    3 => self.key[1] = byte,
                    _ => {}
                }
                self.mask -= 1;
                self.next();
            }
            At::Payload => {}
        }
    }

    /// A frame of this kind begins.
    fn begin(&mut self, code: u8) {
        const MORE: u8 = Kind::More.code();
        const TEXT: u8 = Kind::Text.code();
        const CLOSE: u8 = Kind::Close.code();
        self.frame = match code {
            ..8 => Frame::Data,
            CLOSE => Frame::Close,
            _ => Frame::Control,
        };
        self.look = match (self.look, code) {
            (Look::Off, _) => Look::Off,
            (look, 8..) => look, // between the frames of a message
            (Look::Four, MORE) => Look::FourBefore,
            (look, MORE) => look,
            (Look::Granted, TEXT) => Look::Past,
            (_, TEXT) => Look::First,
            (look, _) if look == Look::Granted => look,
            _ => Look::Past, // binary is never a CONNECT
        };
    }

    /// Leaves what has nothing to come.
    fn next(&mut self) {
        if self.at == At::Mask && self.mask == 0 {
            self.at = At::Payload;
        }
        if self.at == At::Payload && self.left == 0 {
            self.at = At::Boundary;
            self.closed |= self.frame == Frame::Close;
        }
    }

    /// Looks at the front of a message. Whether it is another CONNECT.
    fn look(&mut self, payload: &[u8]) -> bool {
        if self.frame != Frame::Data {
            return false;
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX);
        for byte in payload.iter().take(here) {
            let key = if self.look == Look::Four { self.key[1] } else { self.key[0] };
            match self.look {
                Look::First if byte ^ key == b'4' => self.look = Look::Four,
                Look::Four | Look::FourBefore if begins_connect(byte ^ key) => return true,
                Look::First | Look::Four | Look::FourBefore => self.look = Look::Past,
                Look::Off | Look::Granted | Look::Past => return false,
            }
        }
        false
    }

    /// Whether a frame may be put in here.
    pub fn is_at_boundary(self) -> bool {
        self.at == At::Boundary
    }

    /// Whether a goodbye has gone by.
    pub fn is_closed(self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{goodbye, say, say_masked, unmask};
    use super::*;

    /// A frame of a client.
    fn masked(code: u8, last: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = say_masked(Kind::Text, payload);
        frame[0] = code | if last { 0x80 } else { 0 };
        let at = frame.len() - payload.len();
        frame[at - 4..at].copy_from_slice(&mask);
        unmask(&mut frame[at..], mask);
        frame
    }

    /// A message in fragments of these sizes, with a ping in front of each.
    fn fragments(code: u8, message: &[u8], sizes: &[usize], mask: [u8; 4]) -> Vec<u8> {
        let (mut stream, mut rest, mut code) = (Vec::new(), message, code);
        for size in sizes {
            let (part, more) = rest.split_at((*size).min(rest.len()));
            stream.extend(masked(code, false, part, mask));
            stream.extend(masked(0x9, true, b"40", mask));
            (rest, code) = (more, 0);
        }
        stream.extend(masked(code, true, rest, mask));
        stream
    }

    #[test]
    fn it_fits_into_sixteen_bytes() {
        assert_eq!(size_of::<Follower>(), 16);
    }

    #[test]
    fn frames_of_every_length_are_followed() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![7; length];
            for frame in [say(Kind::Binary, &payload), say_masked(Kind::Text, &payload)] {
                for cut in (0..frame.len().min(40)).chain([frame.len() - 1]) {
                    let mut follower = Follower::default();
                    follower.follow(&frame[..cut]).unwrap();
                    assert_eq!(follower.is_at_boundary(), cut == 0, "{length} {cut}");
                    follower.follow(&frame[cut..]).unwrap();
                    assert!(follower.is_at_boundary() && !follower.is_closed());
                }
            }
        }
    }

    /// Against a second reading of the same stream: boundaries as the heads have them, in pieces of every size.
    #[test]
    fn it_agrees_with_the_heads() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..300 {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for _ in 0..random.usize(1..20) {
                let payload = vec![random.u8(..); random.choice([0, 3, 125, 126, 300, 66_000]).unwrap()];
                let code = random.choice([0, 1, 2, 9, 10]).unwrap();
                stream.extend(if random.bool() && payload.len() < 126 {
                    let mut frame = say(Kind::Text, &payload);
                    frame[0] = 0x80 | code;
                    frame
                } else {
                    masked(code, random.bool(), &payload, [random.u8(..); 4])
                });
                ends.push(stream.len());
            }
            let (mut follower, mut at) = (Follower::default(), 0);
            while at < stream.len() {
                let to = (at + random.usize(1..70_000)).min(stream.len());
                follower.follow(&stream[at..to]).unwrap();
                at = to;
                assert_eq!(follower.is_at_boundary(), ends.contains(&at), "{at} of {ends:?}");
            }
            follower.follow(&say(Kind::Close, &goodbye(1001, "restart"))).unwrap();
            assert!(follower.is_closed() && follower.is_at_boundary());
        }
    }

    const MASK: [u8; 4] = [0x34, 0x9a, 0x04, 0x30];

    /// What may follow a CONNECT, and what is another.
    #[test]
    fn another_connect_is_seen_whatever_the_fragments_and_cuts() {
        let connects: [&[u8]; 8] = [
            b"40{\"token\":\"x\"}",
            b"40",
            b"40/ns,{}",
            b"40/,",
            // What JavaScript's `Number` takes for 0: socket.io-parser 4.2 would read a CONNECT.
            b"4 {}",
            b"4\n",
            "4\u{a0}{}".as_bytes(),
            "4\u{feff}".as_bytes(),
        ];
        let others: [&[u8]; 12] = [
            b"",
            b"4",
            b"41",
            b"42[\"message\",{\"x\":\"40\"}]",
            b"430[]",
            b"451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
            b"461-0[]",
            b"2probe",
            b"3",
            b"5",
            b"b40",
            b"2\x1e40",
        ];
        let all = connects.into_iter().map(|m| (m, true)).chain(others.into_iter().map(|m| (m, false)));
        for (message, is_connect) in all {
            for sizes in [&[][..], &[0], &[1], &[2], &[0, 1], &[1, 0], &[0, 1, 0, 1, 0], &[1, 1, 1]] {
                let first = fragments(0x1, b"40{}", sizes, MASK);
                let stream = fragments(0x1, message, sizes, MASK);
                let more = masked(0x1, true, b"42[]", MASK);
                let whole = [&first[..], &stream, &more].concat();
                for cut in 0..=whole.len() {
                    let mut follower = Follower::granted();
                    let (a, b) = whole.split_at(cut);
                    let seen = match follower.follow(a) {
                        Err(Again(before)) => Some(before),
                        Ok(()) => follower.follow(b).err().map(|Again(before)| cut + before),
                    };
                    assert_eq!(seen.is_some(), is_connect, "{message:?} {sizes:?} {cut}");
                    if let Some(before) = seen {
                        assert!(
                            (first.len()..first.len() + stream.len()).contains(&before),
                            "{before} {cut}"
                        );
                        // Cut within the frame that says it, its head has gone by; else what went by ends with a frame.
                        let mut plain = Follower::default();
                        plain.follow(&whole[..before]).unwrap();
                        assert_eq!(
                            plain.is_at_boundary(),
                            follower.is_at_boundary(),
                            "{message:?} {sizes:?} {cut}"
                        );
                    }
                }
                let mut follower = Follower::granted();
                let bytes = whole.iter().any(|byte| follower.follow(&[*byte]).is_err());
                assert_eq!(bytes, is_connect, "{message:?} {sizes:?} byte by byte");
            }
        }
    }

    #[test]
    fn binary_and_the_servers_own_words_are_none() {
        let connect = masked(0x1, true, b"40{}", MASK);
        let mut server = Follower::default();
        assert_eq!(server.follow(&say(Kind::Text, b"40{\"sid\":\"x\"}").repeat(3)), Ok(()));
        let mut client = Follower::granted();
        // Attachments, and a text in between that would be a fault to every server.
        let stream =
            [&connect[..], &masked(0x2, true, b"40{}", MASK), &fragments(0x2, b"40{}", &[1], MASK)].concat();
        assert_eq!(client.follow(&stream), Ok(()));
        assert_eq!(client.follow(&connect), Err(Again(0)));
        let mut changed = Follower::changed();
        let probe = [masked(0x1, true, b"2probe", MASK), masked(0x1, true, b"5", MASK)].concat();
        assert_eq!(changed.follow(&probe), Ok(()));
        assert_eq!(changed.follow(&connect), Err(Again(0)));
        let unmasked = say(Kind::Text, b"40{}"); // the server will refuse it; nobody has to be able to rely on that
        assert_eq!(Follower::changed().follow(&unmasked), Err(Again(0)));
    }

    /// Streams of random messages in random fragments and cuts, against what was put into them.
    #[test]
    fn seeded_streams_are_read_as_they_were_made() {
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut stream = fragments(0x1, b"40{}", &[], MASK);
            let mut connect = None;
            for _ in 0..random.usize(1..12) {
                let at = stream.len();
                let starts = ["4", "40", "41", "42", "45", "2", "3", "", "40/x", "4 ", "b4"];
                let text = random.choice(starts).unwrap();
                let binary = random.u8(..4) == 0;
                let message = [text.as_bytes(), &vec![b'0'; random.usize(..300)]].concat();
                let sizes: Vec<usize> = (0..random.usize(..5)).map(|_| random.usize(..4)).collect();
                stream.extend(fragments(
                    if binary { 2 } else { 1 },
                    &message,
                    &sizes,
                    random.u32(..).to_be_bytes(),
                ));
                let says = message.first() == Some(&b'4')
                    && message.get(1).is_some_and(|b| !(b'1'..=b'9').contains(b));
                if !binary && says {
                    connect.get_or_insert(at..stream.len());
                }
            }
            let (mut follower, mut at, mut seen) = (Follower::granted(), 0, None);
            while at < stream.len() && seen.is_none() {
                let to = (at + random.usize(1..40)).min(stream.len());
                seen = follower.follow(&stream[at..to]).err().map(|Again(before)| at + before);
                at = to;
            }
            match (seen, connect) {
                (None, None) => assert!(follower.is_at_boundary()),
                (Some(seen), Some(connect)) => assert!(connect.contains(&seen), "{seed}: {seen} {connect:?}"),
                other => panic!("{seed}: {other:?}"),
            }
        }
    }
}
