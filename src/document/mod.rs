//! Whether a saved file is a whole document of the type it claims to be (design 5.9): a pure room, so that a save is judged
//! the same in tests, in a fuzzer and beside the spool. It reads what it is given and asks for nothing: no file is opened, no
//! clock read; the caller says when time is up.
//!
//! | reason | what was looked at |
//! |---|---|
//! | `file_content` | size, first bytes, declared type, and that a package holds what its type needs |
//! | `zip_integrity` | directory, local headers, overlaps, every entry to its CRC, limits |
//! | `xml_wellformedness` | every XML part that a relationship or a manifest names |
//!
//! A wrong refusal loses a good save, a wrong acceptance keeps a bad one that would have been kept without the gateway, too.
//! So what Office programs themselves write is never refused, however odd; each such exception is named where it is made.
//!
//! Memory does not grow with the document: 64 KiB read, 64 KiB inflated at a time, the directory (at most
//! [`Limits::directory`] bytes) and the names of open elements.

mod epub;
mod kind;
mod odf;
mod opc;
mod parts;
mod plain;
pub mod xml;
mod zip;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod seeded;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

pub use kind::Kind;
use kind::{Form, Magic};

/// Bytes read, and bytes inflated, at a time.
pub(crate) const BLOCK: usize = 64 * 1024;

/// What a document may cost. The defaults are meant for `Limits::default()`; tests and operators may be stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries of an archive. 65,535 is all that a directory without ZIP64 can count.
    pub entries: u64,
    /// Bytes of an archive's directory, which is held in memory: 65,535 entries of 100 bytes would be 6.5 MB.
    pub directory: u64,
    /// Bytes that all entries inflate to.
    pub inflated: u64,
    /// Bytes inflated for each byte of the file, over the whole archive: one white bitmap alone reaches 1,000.
    pub ratio: u64,
    /// Below this many inflated bytes the ratio does not matter: they cost a fraction of a second and no memory.
    pub ratio_from: u64,
    /// How deep elements may nest. libxml2, which the Document Server reads with, stops at 2,048 when told to be generous.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 65_535,
            directory: 8 << 20,
            inflated: 4 << 30,
            ratio: 200, // threats.md T18; documents that people make stay below 50
            ratio_from: 64 << 20,
            depth: 10_000,
        }
    }
}

/// Why a document is rejected; the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes are not those of the declared type.
    FileContent,
    /// The archive is damaged, contradicts itself or is a bomb.
    ZipIntegrity,
    /// A part is not well-formed XML.
    XmlWellformedness,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FileContent, Self::ZipIntegrity, Self::XmlWellformedness];

    /// The value of the metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FileContent => "file_content",
            Self::ZipIntegrity => "zip_integrity",
            Self::XmlWellformedness => "xml_wellformedness",
        }
    }
}

/// A document that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which check failed.
    pub reason: Reason,
    /// What is wrong and where, for people. Names from the document are shortened and hold no control characters.
    pub what: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.what)
    }
}

/// Why there is no answer "good".
#[derive(Debug)]
pub enum Fault {
    /// The document is bad.
    Rejected(Rejection),
    /// The reader failed: this says nothing about the document, and must not count against it.
    Unreadable(io::Error),
    /// The caller's time was up before all was read.
    OutOfTime,
}

impl Fault {
    pub(crate) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self::Rejected(Rejection { reason, what: what.into() })
    }

    fn content(what: impl Into<String>) -> Self {
        Self::new(Reason::FileContent, what)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// A file under examination: what every step needs.
pub(crate) struct File<'a> {
    reader: &'a mut dyn ReadSeek,
    length: u64,
    limits: &'a Limits,
    out_of_time: &'a dyn Fn() -> bool,
}

/// What a document can be read from.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl File<'_> {
    /// Fails once the caller's time is up.
    fn in_time(&self) -> Result<(), Fault> {
        if (self.out_of_time)() { Err(Fault::OutOfTime) } else { Ok(()) }
    }

    /// As many bytes from an offset as there are, up to the whole buffer.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.reader.seek(SeekFrom::Start(offset))?;
        self.fill(buffer)
    }

    /// As many bytes as there are, up to the whole buffer, from where the last read stopped.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }
}

/// Judges a document of the declared type (`filetype` of the callback). `out_of_time` is asked once a block and ends the
/// work with [`Fault::OutOfTime`]. Types nobody knows are not looked at.
///
/// # Errors
/// What is wrong with the document, or that it could not be read to its end.
pub fn check(
    reader: &mut dyn ReadSeek,
    declared: &str,
    limits: &Limits,
    out_of_time: &dyn Fn() -> bool,
) -> Result<Kind, Fault> {
    let declared = declared.trim_start_matches('.').to_ascii_lowercase();
    let Some(forms) = kind::forms(&declared) else { return Ok(Kind::Unknown) };
    let length = reader.seek(SeekFrom::End(0))?;
    let mut file = File { reader, length, limits, out_of_time };
    file.in_time()?;
    if length == 0 {
        return match forms {
            [Form::Text(kind)] => Ok(*kind),
            _ => Err(Fault::content(format!("an empty file is no {declared}"))),
        };
    }
    let mut head = [0; kind::HEAD];
    let count = file.read_at(0, &mut head)?;
    let head = head.get(..count).unwrap_or_default();
    let magic = Magic::of(head);
    match forms.iter().find(|form| form.begins_with(magic, head)) {
        Some(form) => examine(&mut file, *form),
        None => Err(Fault::content(format!(
            "declared {declared}, but {}",
            magic.sentence(head, declared.as_str())
        ))),
    }
}

fn examine(file: &mut File<'_>, form: Form) -> Result<Kind, Fault> {
    match form {
        Form::Ooxml(kind) => opc::check(file, kind).map(|()| kind),
        Form::Odf(kind) => odf::check(file, kind).map(|()| kind),
        Form::FlatOdf(kind) => odf::check_flat(file).map(|()| kind),
        Form::Epub => epub::check(file).map(|()| Kind::Epub),
        Form::Ole(kind) => plain::ole(file).map(|()| kind),
        Form::Pdf => plain::pdf(file).map(|()| Kind::Pdf),
        Form::Rtf => plain::rtf(file).map(|()| Kind::Rtf),
        Form::Biff | Form::Html => Ok(form.kind()),
        Form::Text(kind) => Ok(kind),
    }
}
