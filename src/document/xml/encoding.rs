//! From a part's bytes to UTF-8, without a table of encodings: OOXML allows UTF-8 and UTF-16 only (ECMA-376-2, 8.1.4), and
//! of the rest it is enough to know where ASCII stands.

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Utf8,
    /// ASCII where it looks like ASCII, and some letter elsewhere: every encoding that a declaration can name in ASCII has
    /// its markup there, and which letter it is makes no document broken.
    Ascii,
    Utf16 {
        little: bool,
    },
}

/// A flaw, and the byte of the block at which it showed.
pub(super) type At = (usize, &'static str);
/// Who gets whole characters, and the offset in the block at which they begin.
pub(super) type Take<'a> = dyn FnMut(usize, &[u8]) -> Result<(), At> + 'a;

/// A part's bytes on their way to UTF-8.
#[derive(Debug)]
pub(super) struct Decoder {
    coding: Option<Coding>,
    /// A mark of UTF-8 was there, so no declaration may say otherwise.
    marked: bool,
    /// Bytes that do not make a character yet; at the start, those by which the encoding is told.
    held: Vec<u8>,
}

const BAD_UTF8: &str = "bytes that are not UTF-8";
const BAD_UTF16: &str = "bytes that are not UTF-16";
const OTHER: &str = "an encoding other than the declaration says";

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { coding: None, marked: false, held: Vec::new() }
    }

    /// First stage: tells the encoding by the first four bytes (XML 1.0, appendix F) and turns UTF-16 to UTF-8. `true` if the
    /// result stands in `out`, `false` if the bytes are what they were.
    pub(super) fn narrow(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
        match self.coding {
            Some(Coding::Utf16 { little }) => self.utf16(bytes, little, out).map(|()| true),
            Some(_) => Ok(false),
            None => {
                self.held.extend_from_slice(bytes);
                if self.held.len() >= 4 {
                    self.begin(out)?;
                }
                Ok(true)
            }
        }
    }

    /// What was held because the part was shorter than it takes to tell its encoding.
    pub(super) fn flush(&mut self) -> Result<Vec<u8>, &'static str> {
        let mut out = Vec::new();
        if self.coding.is_none() {
            self.begin(&mut out)?;
        }
        Ok(out)
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let held = std::mem::take(&mut self.held);
        let (coding, mark) = match held.as_slice() {
            [0, 0, 0xfe, 0xff, ..] | [0xff, 0xfe, 0, 0, ..] | [0, 0, 0, 0x3c, ..] | [0x3c, 0, 0, 0, ..] => {
                return Err("UTF-32, which no office format allows");
            }
            [0x4c, 0x6f, 0xa7, 0x94, ..] => return Err("EBCDIC, which no office format allows"),
            [0xef, 0xbb, 0xbf, ..] => (Coding::Utf8, 3),
            [0xfe, 0xff, ..] => (Coding::Utf16 { little: false }, 2),
            [0xff, 0xfe, ..] => (Coding::Utf16 { little: true }, 2),
            [0, 0x3c, ..] => (Coding::Utf16 { little: false }, 0),
            [0x3c, 0, ..] => (Coding::Utf16 { little: true }, 0),
            _ => (Coding::Utf8, 0),
        };
        self.coding = Some(coding);
        self.marked = mark == 3;
        let rest = held.get(mark..).unwrap_or_default();
        match coding {
            Coding::Utf16 { little } => self.utf16(rest, little, out),
            _ => {
                out.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    fn utf16(&mut self, bytes: &[u8], little: bool, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let whole = all.len() & !1;
        let units = all.chunks_exact(2).map(|pair| match pair {
            [a, b] if little => u16::from_le_bytes([*a, *b]),
            [a, b] => u16::from_be_bytes([*a, *b]),
            _ => 0,
        });
        let count = whole / 2;
        let mut used = 0;
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(c) => {
                    used += c.len_utf16();
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                // The first half of a pair, whose second half comes with the next bytes.
                Err(error) if used + 1 == count && error.unpaired_surrogate() < 0xdc00 => break,
                Err(_) => return Err(BAD_UTF16),
            }
        }
        self.held.extend_from_slice(all.get(used * 2..).unwrap_or_default());
        Ok(())
    }

    /// Takes the declaration's word, where the bytes do not contradict it.
    pub(super) fn declared(&mut self, name: &[u8]) -> Result<(), &'static str> {
        let name = name.to_ascii_lowercase();
        let wide = name.starts_with(b"utf-16")
            || matches!(name.as_slice(), b"utf16" | b"ucs-2" | b"iso-10646-ucs-2");
        let utf8 = matches!(name.as_slice(), b"utf-8" | b"utf8");
        match self.coding {
            Some(Coding::Utf16 { little }) => {
                let other = if little { b"utf-16be" } else { b"utf-16le" };
                if wide && name != other { Ok(()) } else { Err(OTHER) }
            }
            _ if wide || name.starts_with(b"utf-32") || name.starts_with(b"iso-10646-ucs-4") => Err(OTHER),
            _ if utf8 => Ok(()),
            _ if self.marked => Err(OTHER),
            _ => {
                self.coding = Some(Coding::Ascii);
                Ok(())
            }
        }
    }

    /// Second stage: whole characters of UTF-8, with the offset in `bytes` at which they begin.
    pub(super) fn characters(&mut self, bytes: &[u8], take: &mut Take<'_>) -> Result<(), At> {
        match self.coding {
            Some(Coding::Utf16 { .. }) => take(0, bytes),
            Some(Coding::Ascii) => {
                let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 8);
                for byte in bytes {
                    match byte {
                        0..0x80 => text.push(*byte),
                        _ => text.extend_from_slice("é".as_bytes()),
                    }
                }
                take(0, &text)
            }
            _ => self.utf8(bytes, take),
        }
    }

    fn utf8(&mut self, mut bytes: &[u8], take: &mut Take<'_>) -> Result<(), At> {
        let mut skipped = 0;
        // A character that began in the last block: it takes at most three more bytes.
        while !self.held.is_empty() {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            self.held.push(*first);
            bytes = rest;
            skipped += 1;
            match std::str::from_utf8(&self.held) {
                Ok(_) => {
                    take(skipped, &self.held)?;
                    self.held.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err((skipped, BAD_UTF8)),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => take(skipped, bytes),
            Err(error) => {
                let (good, rest) = bytes.split_at(error.valid_up_to());
                take(skipped, good)?;
                if error.error_len().is_some() {
                    return Err((skipped + good.len(), BAD_UTF8));
                }
                self.held.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), &'static str> {
        match self.coding {
            _ if self.held.is_empty() => Ok(()),
            Some(Coding::Utf16 { .. }) => Err(BAD_UTF16),
            _ => Err(BAD_UTF8),
        }
    }
}
