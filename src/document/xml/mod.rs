//! Whether bytes are well-formed XML 1.0 (fifth edition) with namespaces, told as they stream by.
//!
//! Our own reader and no library's, because of memory: the readers in safe Rust hand out a text or a start tag as one piece,
//! and a flat document's picture, or a bomb of one letter, is a text of a hundred megabytes. Nothing is kept here but open
//! names. It is also shorter than the checks that quick-xml would need on top (threats.md 2.4: it lets 502 of 631 broken
//! files of W3C's suite through).
//!
//! Bytes pass three stages: `encoding` makes UTF-8 of them, `prolog` reads the declaration, `scan` the rest; `tag` knows
//! what is open. A DOCTYPE is refused, or, where a format allows it, skipped without being understood; from then on an
//! entity of any name may be meant, and none is ever expanded.

pub mod chars;
mod doctype;
mod encoding;
mod prolog;
mod scan;
mod tag;

use encoding::{At, Decoder};
use prolog::Gathered;
use scan::Scanner;
pub use tag::Element;

/// What a part may hold, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// A document type declaration is skipped instead of refused.
    pub doctype: bool,
    /// Names and prefixes follow "Namespaces in XML 1.0".
    pub namespaces: bool,
    /// How deep elements may nest.
    pub depth: usize,
}

/// Why a part is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The byte at which it showed; in UTF-16 roughly.
    pub offset: u64,
    /// The rule that was broken.
    pub what: &'static str,
}

/// One part, as far as it has been read.
#[derive(Debug)]
pub struct Reader {
    decoder: Decoder,
    prolog: prolog::Prolog,
    scanner: Scanner,
    seen: u64,
    scratch: Vec<u8>,
}

impl Reader {
    /// A reader at the start of a part.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            decoder: Decoder::new(),
            prolog: prolog::Prolog::default(),
            scanner: Scanner::new(profile),
            seen: 0,
            scratch: Vec::new(),
        }
    }

    /// Reads on. `listen` is told of every element as its start tag ends.
    ///
    /// # Errors
    /// The first flaw. What is fed after it means nothing.
    pub fn feed(&mut self, bytes: &[u8], listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), Flaw> {
        let before = self.seen;
        self.seen += bytes.len() as u64;
        self.step(bytes, listen).map_err(|(at, what)| Flaw { offset: before + at as u64, what })
    }

    /// Says that the part has ended.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(mut self, listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), Flaw> {
        let offset = self.seen;
        let end = |(_, what)| Flaw { offset, what };
        let rest = self.decoder.flush().map_err(|what| end((0, what)))?;
        self.declared(&rest, listen).map_err(end)?;
        let rest = self.prolog.flush();
        self.text(&rest, listen).map_err(end)?;
        self.decoder.finish().and_then(|()| self.scanner.finish()).map_err(|what| end((0, what)))
    }

    fn step(&mut self, bytes: &[u8], listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), At> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = match self.decoder.narrow(bytes, &mut scratch) {
            Ok(true) => self.declared(&scratch, listen),
            Ok(false) => self.declared(bytes, listen),
            Err(what) => Err((0, what)),
        };
        self.scratch = scratch;
        result.map_err(|(at, what)| (at.min(bytes.len()), what))
    }

    fn declared(&mut self, bytes: &[u8], listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), At> {
        match self.prolog.gather(bytes) {
            Gathered::More => Ok(()),
            Gathered::Passed => self.text(bytes, listen),
            Gathered::None { held, from } => {
                self.text(&held, listen)?;
                self.text(bytes.get(from..).unwrap_or_default(), listen)
                    .map_err(|(at, what)| (at + from, what))
            }
            Gathered::Declaration { text, from } => {
                let name = prolog::encoding_of(&text).map_err(|what| (from, what))?;
                if let Some(name) = name {
                    self.decoder.declared(name).map_err(|what| (from, what))?;
                }
                self.text(bytes.get(from..).unwrap_or_default(), listen)
                    .map_err(|(at, what)| (at + from, what))
            }
        }
    }

    fn text(&mut self, bytes: &[u8], listen: &mut dyn FnMut(&Element<'_>)) -> Result<(), At> {
        let scanner = &mut self.scanner;
        self.decoder.characters(bytes, &mut |at, text| {
            if let Some(illegal) = chars::first_illegal(text) {
                scanner
                    .scan(text.get(..illegal).unwrap_or_default(), listen)
                    .map_err(|(i, what)| (at + i, what))?;
                return Err((at + illegal, "a character that XML does not allow"));
            }
            scanner.scan(text, listen).map_err(|(i, what)| (at + i, what))
        })
    }
}

/// Judges a part that is in memory.
///
/// # Errors
/// The first flaw.
pub fn check(bytes: &[u8], profile: Profile) -> Result<(), Flaw> {
    let mut reader = Reader::new(profile);
    reader.feed(bytes, &mut |_| ())?;
    reader.finish(&mut |_| ())
}

#[cfg(test)]
mod tests;
