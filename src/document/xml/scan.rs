//! The grammar of what follows the XML declaration, as states that a byte leads from one to the next. Its input is UTF-8
//! without forbidden characters, in pieces cut between characters; every byte that decides something is ASCII.

use super::Profile;
use super::chars::{is_char, is_name, is_plain_name, is_space};
use super::doctype::Doctype;
use super::encoding::At;
use super::tag::{Element, Tags};

/// Longest name or reference. libxml2 stops at 50,000.
const WORD: usize = 64 * 1024;

type Flaw = &'static str;
type Step = Result<State, Flaw>;

#[derive(Debug, Clone, Copy)]
enum State {
    /// Between tags, and how many `]` came last.
    Text(u8),
    /// Behind `&`, in a text or in a value.
    Reference {
        quote: Option<u8>,
    },
    /// Behind `<`.
    Opening,
    /// Behind `<!`, until it is known what it is.
    Bang,
    /// In a comment, and how many `-` came last.
    Comment(u8),
    /// In CDATA, and how many `]` came last.
    Cdata(u8),
    Target,
    /// In a processing instruction: whether `?` came last, and whether nothing but `>` may follow that.
    Instruction {
        mark: bool,
        bare: bool,
    },
    StartName,
    /// In a start tag, and whether white space came last.
    Tag(bool),
    /// Behind the `/` of an empty element.
    Empty,
    AttributeName,
    /// Behind an attribute's name.
    Equals,
    /// Behind its `=`.
    Quote,
    Value(u8),
    EndName,
    /// Behind an end tag's name.
    EndSpace,
    Doctype(Doctype),
}

#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    tags: Tags,
    word: Vec<u8>,
    doctype_allowed: bool,
    doctype_seen: bool,
    namespaces: bool,
    root_seen: bool,
}

impl Scanner {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            state: State::Text(0),
            tags: Tags::new(profile),
            word: Vec::new(),
            doctype_allowed: profile.doctype,
            doctype_seen: false,
            namespaces: profile.namespaces,
            root_seen: false,
        }
    }

    /// Reads on; a flaw comes with where it showed.
    pub(super) fn scan(&mut self, text: &[u8], listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), At> {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = self.plain(rest);
            if plain > 0 {
                at += plain;
                continue;
            }
            let byte = rest.first().copied().unwrap_or_default();
            self.state = self.step(byte, listen).map_err(|what| (at, what))?;
            at += 1;
        }
        Ok(())
    }

    /// Takes the bytes from the front that change nothing, many at once. Most bytes of a document are such.
    fn plain(&mut self, rest: &[u8]) -> usize {
        let until = |stops: fn(u8) -> bool| rest.iter().position(|byte| stops(*byte)).unwrap_or(rest.len());
        match self.state {
            State::Text(0) if self.tags.depth() > 0 => until(|b| matches!(b, b'<' | b'&' | b']')),
            State::Value(b'"') => self.kept(rest, until(|b| matches!(b, b'"' | b'<' | b'&'))),
            State::Value(_) => self.kept(rest, until(|b| matches!(b, b'\'' | b'<' | b'&'))),
            State::Comment(0) => until(|b| b == b'-'),
            State::Cdata(0) => until(|b| b == b']'),
            State::Instruction { mark: false, bare: false } => until(|b| b == b'?'),
            State::StartName | State::EndName | State::AttributeName if self.word.len() < WORD => {
                let end =
                    until(|b| is_space(b) || matches!(b, b'>' | b'/' | b'=' | b'<' | b'"' | b'\'' | b'&'));
                self.word.extend_from_slice(rest.get(..end).unwrap_or_default());
                end
            }
            _ => 0,
        }
    }

    fn kept(&mut self, rest: &[u8], end: usize) -> usize {
        self.tags.value(rest.get(..end).unwrap_or_default());
        end
    }

    fn step(&mut self, byte: u8, listen: &mut dyn FnMut(&Element<'_>)) -> Step {
        match self.state {
            State::Text(brackets) => self.text(byte, brackets),
            State::Reference { quote } => self.reference(byte, quote),
            State::Opening => self.opening(byte),
            State::Bang => self.bang(byte),
            State::Comment(2) if byte != b'>' => Err("two hyphens in a comment"),
            State::Comment(2) => Ok(State::Text(0)),
            State::Comment(hyphens) => Ok(State::Comment(if byte == b'-' { hyphens + 1 } else { 0 })),
            State::Cdata(2) if byte == b'>' => Ok(State::Text(0)),
            State::Cdata(brackets) => Ok(State::Cdata(if byte == b']' { (brackets + 1).min(2) } else { 0 })),
            State::Target => self.target(byte),
            State::Instruction { mark: true, .. } if byte == b'>' => Ok(State::Text(0)),
            State::Instruction { bare: true, .. } => Err("a processing instruction without a name"),
            State::Instruction { .. } => Ok(State::Instruction { mark: byte == b'?', bare: false }),
            State::StartName => self.start_name(byte, listen),
            State::Tag(spaced) => self.tag(byte, spaced, listen),
            State::Empty if byte == b'>' => self.close_empty(listen),
            State::Empty => Err("a / in a start tag"),
            State::AttributeName => self.attribute_name(byte),
            State::Equals if is_space(byte) => Ok(State::Equals),
            State::Equals if byte == b'=' => Ok(State::Quote),
            State::Equals => Err("an attribute without a value"),
            State::Quote if is_space(byte) => Ok(State::Quote),
            State::Quote if matches!(byte, b'"' | b'\'') => Ok(State::Value(byte)),
            State::Quote => Err("an attribute's value without quotes"),
            State::Value(quote) => self.value(byte, quote),
            State::EndName | State::EndSpace => self.end_tag(byte),
            State::Doctype(mut doctype) => {
                Ok(if doctype.step(byte)? { State::Text(0) } else { State::Doctype(doctype) })
            }
        }
    }

    fn text(&mut self, byte: u8, brackets: u8) -> Step {
        if self.tags.depth() == 0 {
            return match byte {
                b'<' => Ok(State::Opening),
                _ if is_space(byte) => Ok(State::Text(0)),
                _ => Err("text outside the root element"),
            };
        }
        match byte {
            b'<' => Ok(State::Opening),
            b'&' => self.begin_word(State::Reference { quote: None }),
            b']' => Ok(State::Text((brackets + 1).min(2))),
            b'>' if brackets == 2 => Err("]]> in a text"),
            _ => Ok(State::Text(0)),
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "reads as the other steps do")]
    fn begin_word(&mut self, next: State) -> Step {
        self.word.clear();
        Ok(next)
    }

    fn push(&mut self, byte: u8, state: State) -> Step {
        if self.word.len() >= WORD {
            return Err("a name beyond all measure");
        }
        self.word.push(byte);
        Ok(state)
    }

    fn reference(&mut self, byte: u8, quote: Option<u8>) -> Step {
        match byte {
            b';' => {
                let word = std::mem::take(&mut self.word);
                let replaced = self.replaced(&word);
                self.word = word;
                let replaced = replaced?;
                match quote {
                    Some(quote) => {
                        if let Some(c) = replaced {
                            self.tags.value(c.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        Ok(State::Value(quote))
                    }
                    None => Ok(State::Text(0)),
                }
            }
            b'<' | b'&' | b'"' | b'\'' | b'>' => Err("an & that begins no reference"),
            _ if is_space(byte) => Err("an & that begins no reference"),
            _ => self.push(byte, State::Reference { quote }),
        }
    }

    /// The character that a reference means; `None` for an entity that a skipped DOCTYPE may have declared.
    fn replaced(&self, word: &[u8]) -> Result<Option<char>, Flaw> {
        const BAD: &str = "a character reference to no character";
        if let Some(digits) = word.strip_prefix(b"#") {
            let (digits, radix) = match digits.strip_prefix(b"x") {
                Some(digits) => (digits, 16),
                None => (digits, 10),
            };
            if digits.is_empty() {
                return Err(BAD);
            }
            let mut code = 0_u32;
            for digit in digits {
                let digit = char::from(*digit).to_digit(radix).ok_or(BAD)?;
                // More than a character can have stays more, however many digits follow.
                code = code.saturating_mul(radix).saturating_add(digit);
            }
            return if is_char(code) { Ok(char::from_u32(code)) } else { Err(BAD) };
        }
        match word {
            b"amp" => Ok(Some('&')),
            b"lt" => Ok(Some('<')),
            b"gt" => Ok(Some('>')),
            b"quot" => Ok(Some('"')),
            b"apos" => Ok(Some('\'')),
            _ if self.doctype_seen && if self.namespaces { is_plain_name(word) } else { is_name(word) } => {
                Ok(None)
            }
            _ => Err("a reference to an entity that is not declared"),
        }
    }

    fn opening(&mut self, byte: u8) -> Step {
        match byte {
            b'!' => self.begin_word(State::Bang),
            b'?' => self.begin_word(State::Target),
            b'/' => self.begin_word(State::EndName),
            _ if self.root_seen && self.tags.depth() == 0 => Err("a second root element"),
            _ if is_space(byte) || byte.is_ascii_punctuation() && !matches!(byte, b'_' | b':') => {
                Err("a < that begins nothing")
            }
            _ => {
                self.word.clear();
                self.push(byte, State::StartName)
            }
        }
    }

    fn bang(&mut self, byte: u8) -> Step {
        self.push(byte, State::Bang)?;
        match self.word.as_slice() {
            b"--" => Ok(State::Comment(0)),
            b"[CDATA[" if self.tags.depth() > 0 => Ok(State::Cdata(0)),
            b"[CDATA[" => Err("CDATA outside the root element"),
            b"DOCTYPE" if !self.doctype_allowed => Err("a DOCTYPE, which this format does not allow"),
            b"DOCTYPE" if self.root_seen || self.doctype_seen => {
                Err("a DOCTYPE that does not stand before the root")
            }
            b"DOCTYPE" => {
                self.doctype_seen = true;
                Ok(State::Doctype(Doctype::default()))
            }
            word if [&b"--"[..], b"[CDATA[", b"DOCTYPE"].iter().any(|known| known.starts_with(word)) => {
                Ok(State::Bang)
            }
            _ => Err("a <! that begins nothing"),
        }
    }

    fn target(&mut self, byte: u8) -> Step {
        if !is_space(byte) && byte != b'?' {
            return self.push(byte, State::Target);
        }
        self.tags.target(&self.word)?;
        Ok(State::Instruction { mark: byte == b'?', bare: byte == b'?' })
    }

    fn start_name(&mut self, byte: u8, listen: &mut dyn FnMut(&Element<'_>)) -> Step {
        if !is_space(byte) && !matches!(byte, b'>' | b'/') {
            return Err("a start tag's name that is none");
        }
        self.root_seen = true;
        self.tags.begin(&self.word)?;
        self.tag(byte, false, listen)
    }

    fn tag(&mut self, byte: u8, spaced: bool, listen: &mut dyn FnMut(&Element<'_>)) -> Step {
        match byte {
            b'>' => {
                self.tags.open(listen)?;
                Ok(State::Text(0))
            }
            b'/' => Ok(State::Empty),
            _ if is_space(byte) => Ok(State::Tag(true)),
            _ if !spaced => Err("no white space before an attribute"),
            b'=' | b'<' | b'"' | b'\'' | b'&' => Err("an attribute without a name"),
            _ => {
                self.word.clear();
                self.push(byte, State::AttributeName)
            }
        }
    }

    fn close_empty(&mut self, listen: &mut dyn FnMut(&Element<'_>)) -> Step {
        self.tags.open(listen)?;
        self.tags.close(None)?;
        Ok(State::Text(0))
    }

    fn attribute_name(&mut self, byte: u8) -> Step {
        if !is_space(byte) && byte != b'=' {
            return Err("an attribute without a value");
        }
        self.tags.attribute(&self.word)?;
        Ok(if byte == b'=' { State::Quote } else { State::Equals })
    }

    fn value(&mut self, byte: u8, quote: u8) -> Step {
        match byte {
            b'<' => Err("a < in an attribute's value"),
            b'&' => self.begin_word(State::Reference { quote: Some(quote) }),
            _ if byte == quote => Ok(State::Tag(false)),
            _ => Ok(State::Value(quote)),
        }
    }

    fn end_tag(&mut self, byte: u8) -> Step {
        match byte {
            b'>' => {
                self.tags.close(Some(&self.word))?;
                Ok(State::Text(0))
            }
            _ if is_space(byte) && !self.word.is_empty() => Ok(State::EndSpace),
            _ => Err("an end tag that is none"),
        }
    }

    pub(super) fn finish(&self) -> Result<(), Flaw> {
        match self.state {
            State::Text(_) if !self.root_seen => Err("no root element"),
            State::Text(_) if self.tags.depth() == 0 => Ok(()),
            State::Text(_) => Err("the end within an element"),
            _ => Err("the end within a tag, comment or the like"),
        }
    }
}
