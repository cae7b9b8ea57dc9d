//! What is wrong with a configuration: where, what, and what was probably meant; all of it at once.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::{Place, Quote, Source};

/// Whether a gateway may run with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, and somebody should look at it.
    Warning,
}

/// One thing that is wrong, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    severity: Severity,
    file: PathBuf,
    at: Option<(Place, Option<Quote>)>,
    message: String,
    suggestion: Option<String>,
}

impl Fault {
    /// A fault of the file as a whole: it is not there, or cannot be read. An empty path: there is no file to name.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            at: None,
            message: message.into(),
            suggestion: None,
        }
    }

    fn new(source: &Source, severity: Severity, note: Note) -> Self {
        Self {
            severity,
            file: source.path().to_owned(),
            // Nothing to show for what stands nowhere: a variable, or a key that is missing.
            at: Some((
                source.place(note.span.start),
                (!note.span.is_empty()).then(|| source.quote(&note.span)),
            )),
            message: note.message,
            suggestion: note.suggestion,
        }
    }

    /// Whether it is only a warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Where it is; `None` when it is the file as a whole.
    pub fn place(&self) -> Option<Place> {
        self.at.as_ref().map(|(place, _)| *place)
    }

    /// What is wrong in one line, with what was probably meant.
    pub fn sentence(&self) -> String {
        match &self.suggestion {
            Some(meant) => format!("{}; did you mean \"{meant}\"?", self.message),
            None => self.message.clone(),
        }
    }

    /// The same for programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "severity": self.severity,
            "file": (!self.file.as_os_str().is_empty()).then_some(&self.file),
            "line": self.place().map(|p| p.line),
            "column": self.place().map(|p| p.column),
            "message": self.message,
            "suggestion": self.suggestion,
        })
    }
}

impl fmt::Display for Fault {
    /// `FILE:LINE:COLUMN: what is wrong`, then the line with a caret below the piece that is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}", self.file.display())?;
            if let Some(place) = self.place() {
                write!(f, ":{}:{}", place.line, place.column)?;
            }
            f.write_str(": ")?;
        }
        let kind = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{kind}{}", self.sentence())?;
        if let Some((place, Some(quote))) = &self.at {
            let number = place.line.to_string();
            let margin = number.len();
            write!(f, "\n {number} | {}", quote.text)?;
            write!(f, "\n {:margin$} | {:from$}{}", "", "", "^".repeat(quote.length), from = quote.from)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, in its order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Faults {
    /// A single fault of the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { faults: vec![Fault::of_file(file, message)], warnings: Vec::new() }
    }

    /// What must be put right.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What should be looked at besides.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().chain(&self.warnings).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Something found on the way, before it is known which line it is in.
struct Note {
    span: Range<usize>,
    message: String,
    suggestion: Option<String>,
}

/// Collects what is found while a file is read and put together.
#[derive(Default)]
pub struct Report {
    faults: Vec<Note>,
    warnings: Vec<Note>,
}

impl Report {
    /// Something that must be put right.
    pub fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.faults.push(Note { span, message: message.into(), suggestion: None });
    }

    /// Something that must be put right, with what was probably meant.
    pub fn misspelled(&mut self, span: Range<usize>, message: impl Into<String>, meant: Option<String>) {
        self.faults.push(Note { span, message: message.into(), suggestion: meant });
    }

    /// Something that should be looked at.
    pub fn warn(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.warnings.push(Note { span, message: message.into(), suggestion: None });
    }

    /// Whether the configuration can be used so far.
    pub fn is_fine(&self) -> bool {
        self.faults.is_empty()
    }

    /// Drops what was found in lines that could not be read in the first place: it follows from that.
    pub fn without_lines_of(mut self, source: &Source, broken: &[Range<usize>]) -> Self {
        self.faults.retain(|note| !broken.iter().any(|span| source.same_line(span.start, note.span.start)));
        self
    }

    /// Adds what another one collected.
    pub fn append(&mut self, mut other: Self) {
        self.faults.append(&mut other.faults);
        self.warnings.append(&mut other.warnings);
    }

    /// Faults if there are any, else the warnings; both in the order of the file.
    ///
    /// # Errors
    /// When something was found that must be put right.
    pub fn finish(self, source: &Source) -> Result<Vec<Fault>, Faults> {
        let settle = |mut notes: Vec<Note>, severity| {
            notes.sort_by_key(|note| note.span.start);
            notes.into_iter().map(|note| Fault::new(source, severity, note)).collect::<Vec<_>>()
        };
        let faults = settle(self.faults, Severity::Error);
        let warnings = settle(self.warnings, Severity::Warning);
        if faults.is_empty() { Ok(warnings) } else { Err(Faults { faults, warnings }) }
    }
}
