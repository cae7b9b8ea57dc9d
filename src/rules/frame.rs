//! WebSocket frames (RFC 6455 5): where one ends and the next begins, the first message of a client, and the few frames that the
//! gateway says itself. Payloads are nobody's business here but for that first message.

use std::fmt;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// More of the message before.
    More,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// Goodbye.
    Close,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

impl Kind {
    const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::More,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::More => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Why a frame cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// It breaks the protocol: reserved bits or kinds, a fragmented or long control frame, a continuation of nothing, no mask.
    Protocol,
    /// The first message is not text.
    NotText,
    /// It is text and not UTF-8.
    NotUtf8,
    /// The first message grows beyond what is looked at.
    TooLarge,
    /// More control frames than anybody sends before the first message.
    Flood,
}

impl FrameFault {
    /// The close code that says it (RFC 6455 7.4.1).
    pub const fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotText => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Flood => 1008,
        }
    }
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "what came is no WebSocket frame",
            Self::NotText => "the first message is not text",
            Self::NotUtf8 => "the first message is not UTF-8",
            Self::TooLarge => "the first message is too large",
            Self::Flood => "too many control frames came before the first message",
        })
    }
}

impl std::error::Error for FrameFault {}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whether it ends its message.
    pub last: bool,
    /// What it is.
    pub kind: Kind,
    /// The key that its payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub payload: u64,
    /// Bytes of the head itself.
    pub size: usize,
}

impl Head {
    /// Reads a head from the front of `bytes`; `None` if not all of it is there.
    ///
    /// # Errors
    /// When no frame begins so. Extensions are never negotiated, so their bits are faults.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameFault> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let kind = Kind::of(first & 0x0f).filter(|_| first & 0x70 == 0).ok_or(FrameFault::Protocol)?;
        let last = first & 0x80 != 0;
        let short = second & 0x7f;
        if kind.is_control() && (!last || short > 125) {
            return Err(FrameFault::Protocol);
        }
        let extra = extra(short);
        let Some(length) = rest.get(..extra) else { return Ok(None) };
        let payload = match extra {
            0 => u64::from(short),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if payload > i64::MAX as u64 {
            return Err(FrameFault::Protocol); // its first bit must be 0
        }
        let (mask, size) = match second & 0x80 {
            0 => (None, 2 + extra),
            _ => match rest.get(extra..extra + 4).and_then(|key| key.try_into().ok()) {
                Some(key) => (Some(key), 2 + extra + 4),
                None => return Ok(None),
            },
        };
        Ok(Some(Self { last, kind, mask, payload, size }))
    }
}

/// Bytes of length behind the second byte.
pub(super) const fn extra(short: u8) -> usize {
    match short {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

/// Control frames that are answered before the first message. Browsers send none; a few do no harm.
const MOST_CONTROLS: u8 = 16;

/// The first message of a client, as it comes in: the frames as they are, to be forwarded, and what they say.
#[derive(Debug, Default)]
pub struct First {
    /// Frames of the message and whatever came behind it, as they came. Control frames are taken out.
    raw: Vec<u8>,
    /// Where in `raw` the next frame begins.
    at: usize,
    /// Where the message ends, once it is complete.
    end: Option<usize>,
    /// Whether its first frame has been seen.
    begun: bool,
    controls: u8,
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More must come.
    More,
    /// A ping, to be answered with this.
    Ping(Vec<u8>),
    /// The client says goodbye.
    Close,
    /// The message is there: [`First::text`].
    Complete,
}

impl First {
    /// Where bytes of the client go.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// How much is held.
    pub fn held(&self) -> usize {
        self.raw.len()
    }

    /// Looks at what has come. To be called again after a ping. Once the message is complete, only control frames behind it are
    /// looked for: a client that waits may still ask whether anybody is there, or leave.
    ///
    /// # Errors
    /// When it cannot become a message of at most `limit` bytes, frames and all.
    pub fn step(&mut self, limit: usize) -> Result<Step, FrameFault> {
        loop {
            let rest = self.raw.get(self.at..).unwrap_or_default();
            let Some(head) = Head::parse(rest)? else { return self.more(limit) };
            let mask = head.mask.ok_or(FrameFault::Protocol)?;
            let payload = usize::try_from(head.payload).map_err(|_| FrameFault::TooLarge)?;
            let size = head.size.checked_add(payload).ok_or(FrameFault::TooLarge)?;
            let behind = self.end.is_some();
            match (head.kind, self.begun) {
                _ if behind => {}
                (Kind::Binary, false) => return Err(FrameFault::NotText),
                (Kind::More, false) | (Kind::Text | Kind::Binary, true) => return Err(FrameFault::Protocol),
                _ => {}
            }
            if !behind && self.at.checked_add(size).is_none_or(|end| end > limit) {
                return Err(FrameFault::TooLarge);
            }
            let Some(frame) = rest.get(..size) else { return self.more(limit) };
            if !head.kind.is_control() {
                self.begun = true;
                self.at += size;
                if head.last && !behind {
                    self.end = Some(self.at);
                    return Ok(Step::Complete);
                }
                continue;
            }
            let mut said = frame.get(head.size..).unwrap_or_default().to_vec();
            unmask(&mut said, mask);
            self.raw.drain(self.at..self.at + size);
            self.controls += 1;
            match head.kind {
                Kind::Close => return Ok(Step::Close),
                _ if self.controls > MOST_CONTROLS => return Err(FrameFault::Flood),
                Kind::Ping => return Ok(Step::Ping(said)),
                _ => {}
            }
        }
    }

    fn more(&self, limit: usize) -> Result<Step, FrameFault> {
        if self.end.is_none() && self.raw.len() >= limit { Err(FrameFault::TooLarge) } else { Ok(Step::More) }
    }

    /// What the message says, once it is complete.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<String, FrameFault> {
        let end = self.end.unwrap_or_default();
        let mut text = Vec::with_capacity(end);
        let mut rest = self.raw.get(..end).unwrap_or_default();
        while let Some(head) = Head::parse(rest)? {
            let end = usize::try_from(head.payload).ok().and_then(|payload| payload.checked_add(head.size));
            let (frame, next) = end.and_then(|end| rest.split_at_checked(end)).ok_or(FrameFault::Protocol)?;
            let from = text.len();
            text.extend_from_slice(frame.get(head.size..).unwrap_or_default());
            if let (Some(mask), Some(said)) = (head.mask, text.get_mut(from..)) {
                unmask(said, mask);
            }
            rest = next;
        }
        String::from_utf8(text).map_err(|_| FrameFault::NotUtf8)
    }

    /// How much more is held than the message.
    pub fn behind(&self) -> usize {
        self.end.map_or(0, |end| self.raw.len().saturating_sub(end))
    }

    /// The message and the whole frames behind it, byte for byte. What is left is the beginning of a frame.
    pub fn take_frames(&mut self) -> Vec<u8> {
        let rest = self.raw.split_off(self.at);
        self.at = 0;
        self.end = Some(0);
        std::mem::replace(&mut self.raw, rest)
    }

    /// Everything that is held, byte for byte.
    pub fn into_frames(self) -> Vec<u8> {
        self.raw
    }
}

pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// A whole frame as a server says it.
pub fn say(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(kind, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// A whole frame as a client says it. The mask is there for old proxies that mistake payloads for requests; towards a Document
/// Server on the same network a fixed one does.
pub fn say_masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(kind, payload.len(), 0x80);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's range says that it fits")]
fn head(kind: Kind, length: usize, masked: u8) -> Vec<u8> {
    let mut head = Vec::with_capacity(14 + length);
    head.push(0x80 | kind.code());
    match length {
        0..=125 => head.push(masked | length as u8),
        126..=0xffff => {
            head.push(masked | 126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

/// The payload of a close frame.
pub fn goodbye(code: u16, why: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(why.as_bytes());
    payload.truncate(125);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::follower::Follower;

    /// A frame of a client.
    fn masked(code: u8, last: bool, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut frame = head(Kind::Text, payload.len(), 0x80);
        frame[0] = code | if last { 0x80 } else { 0 };
        frame.extend_from_slice(&mask);
        let at = frame.len();
        frame.extend_from_slice(payload);
        unmask(&mut frame[at..], mask);
        frame
    }

    fn feed(pieces: &[&[u8]], limit: usize) -> (First, Vec<Step>, Option<FrameFault>) {
        let (mut first, mut steps) = (First::default(), Vec::new());
        for piece in pieces {
            first.buffer().extend_from_slice(piece);
            loop {
                match first.step(limit) {
                    Ok(Step::More) => break,
                    Ok(Step::Complete) => {
                        steps.push(Step::Complete);
                        return (first, steps, None);
                    }
                    Ok(step) => steps.push(step),
                    Err(fault) => return (first, steps, Some(fault)),
                }
            }
        }
        (first, steps, None)
    }

    #[test]
    fn a_first_message_is_put_together_from_its_fragments_whatever_the_cuts() {
        let frames = [
            masked(0x9, true, b"are you there", [1, 2, 3, 4]),
            masked(0x1, false, b"40{\"to", [5, 6, 7, 8]),
            masked(0xa, true, b"", [0; 4]),
            masked(0x0, false, "ken\":\"\u{e4}".as_bytes(), [9, 0, 9, 0]),
            masked(0x9, true, b"!", [1; 4]),
            masked(0x0, true, b"\"}", [7; 4]),
            masked(0x1, true, b"42[]", [2; 4]),
        ];
        let all = frames.concat();
        let rest = [&frames[1][..], &frames[3], &frames[5], &frames[6]].concat();
        for cut in 1..all.len() {
            let (first, steps, fault) = feed(&[&all[..cut], &all[cut..]], 1 << 16);
            assert_eq!(fault, None);
            let pings = [Step::Ping(b"are you there".to_vec()), Step::Ping(b"!".to_vec()), Step::Complete];
            assert_eq!(steps, pings, "{cut}");
            assert_eq!(first.text().unwrap(), "40{\"token\":\"\u{e4}\"}");
            let kept = first.into_frames();
            assert_eq!(kept, rest[..kept.len()], "{cut}");
            assert!(kept.len() >= rest.len() - frames[6].len());
        }
    }

    /// While the client waits for what becomes of its message, pings are answered and goodbyes heard, whatever else it says.
    #[test]
    fn control_frames_behind_the_message_are_taken_out() {
        let message = masked(0x1, true, b"40{}", [1; 4]);
        let event = masked(0x1, false, b"42[", [2; 4]);
        let ping = masked(0x9, true, b"still there?", [3; 4]);
        let large = masked(0x2, true, &[7; 2_000], [4; 4]);
        let whole = [&message[..], &event, &ping, &large, &masked(0x8, true, b"", [0; 4])].concat();
        for cut in message.len()..=whole.len() {
            let (mut first, steps, fault) = feed(&[&whole[..cut]], 900);
            assert_eq!((steps.last(), fault), (Some(&Step::Complete), None));
            let mut seen = Vec::new();
            let mut pieces = vec![&whole[cut..]];
            while seen.last() != Some(&Step::Close) {
                match first.step(900).unwrap() {
                    Step::More => first.buffer().extend_from_slice(pieces.pop().unwrap()),
                    step => seen.push(step),
                }
            }
            assert_eq!(seen, [Step::Ping(b"still there?".to_vec()), Step::Close], "{cut}");
            assert_eq!(first.text().unwrap(), "40{}");
            assert_eq!(first.behind(), event.len() + large.len());
            assert_eq!(first.take_frames(), [&message[..], &event, &large].concat());
            assert_eq!(first.into_frames(), [0; 0]);
        }
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        let long = vec![b'x'; 126];
        let pings = masked(0x9, true, b"", [0; 4]).repeat(17);
        let table: [(&str, Vec<u8>, FrameFault); 12] = [
            ("unmasked", say(Kind::Text, b"40{}"), FrameFault::Protocol),
            ("binary", masked(0x2, true, b"40{}", [1; 4]), FrameFault::NotText),
            ("continuation of nothing", masked(0x0, true, b"40{}", [1; 4]), FrameFault::Protocol),
            ("reserved kind", masked(0x3, true, b"", [1; 4]), FrameFault::Protocol),
            ("reserved bit", masked(0x41, true, b"", [1; 4]), FrameFault::Protocol),
            ("fragmented ping", masked(0x9, false, b"", [1; 4]), FrameFault::Protocol),
            ("long ping", masked(0x9, true, &long, [1; 4]), FrameFault::Protocol),
            ("too large", masked(0x1, true, &[b'4'; 1000], [1; 4]), FrameFault::TooLarge),
            (
                "huge",
                vec![0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
                FrameFault::TooLarge,
            ),
            (
                "length of 64 bits",
                vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                FrameFault::Protocol,
            ),
            (
                "text in text",
                [masked(0x1, false, b"4", [1; 4]), masked(0x1, true, b"0", [1; 4])].concat(),
                FrameFault::Protocol,
            ),
            ("pings", pings, FrameFault::Flood),
        ];
        for (what, bytes, fault) in table {
            assert_eq!(feed(&[&bytes], 900).2, Some(fault), "{what}");
        }
        let endless: Vec<u8> = masked(0x1, false, b"", [1; 4])
            .into_iter()
            .chain(masked(0x0, false, b"x", [1; 4]).repeat(200))
            .collect();
        assert_eq!(feed(&[&endless], 900).2, Some(FrameFault::TooLarge));
        let (first, ..) = feed(&[&masked(0x1, true, &[0xff], [1; 4])], 900);
        assert_eq!(first.text(), Err(FrameFault::NotUtf8));
        assert_eq!(feed(&[&masked(0x8, true, b"", [1; 4])], 900).1, [Step::Close]);
    }

    #[test]
    fn frames_of_every_length_are_said() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![7; length];
            for frame in [say(Kind::Binary, &payload), say_masked(Kind::Text, &payload)] {
                let head = Head::parse(&frame).unwrap().unwrap();
                assert_eq!((head.payload, head.last), (length as u64, true));
                assert_eq!(head.size + length, frame.len());
            }
        }
    }

    /// 100,000 first frames of random bytes and of broken messages: no panic, nothing held beyond the limit.
    #[test]
    fn random_bytes_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(12);
        for _ in 0..100_000 {
            let mut bytes: Vec<u8> = if random.bool() {
                (0..random.usize(0..64)).map(|_| random.u8(..)).collect()
            } else {
                masked(1, true, b"40{\"token\":\"x\"}", [random.u8(..); 4])
            };
            for _ in 0..random.usize(0..3) {
                if !bytes.is_empty() {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
            }
            Follower::granted().follow(&bytes).ok();
            let cut = random.usize(..=bytes.len());
            let (first, steps, fault) = feed(&[&bytes[..cut], &bytes[cut..]], 48);
            if steps.last() == Some(&Step::Complete) {
                first.text().ok();
            } else if fault.is_none() {
                assert!(first.held() < 48);
            }
        }
    }
}
