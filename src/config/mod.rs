//! From `gateway.toml` to everything that runs: read, checked as a whole, put together, or refused with every reason.
//!
//! The way of a file: `source` (its text) → `read` by `schema` into `raw` (as written) → `build` (ready to use). Whatever
//! is wrong on that way is noted in `fault` and reported together; a file with a single fault yields no snapshot.

mod build;
mod describe;
mod diff;
mod env;
mod fault;
mod files;
mod raw;
mod read;
mod schema;
mod secret;
mod source;
mod suggest;
mod url;
mod values;
mod weak;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml::de::DeTable;

pub use describe::{FIXED, changes};
pub use diff::Change;
pub use env::Env;
pub use fault::{Fault, Faults, Severity};
pub use files::Files;
pub use secret::without_newline;
pub use source::Place;

use crate::{live, tls};
use build::{Around, Built};
use fault::Report;
use source::Source;

/// Where the configuration lies when nobody says where it lies, in this order.
pub const USUAL: [&str; 2] = ["gateway.toml", "/etc/rapidpm-gateway/gateway.toml"];

/// Names the file to everything that starts the gateway, below `--config`.
pub const VARIABLE: &str = "RAPIDPM_GATEWAY_CONFIG";

/// A configuration that was read, checked and put together.
#[derive(Debug)]
pub struct Loaded {
    /// What a reload replaces.
    pub snapshot: live::Snapshot,
    /// What only a restart changes.
    pub fixed: live::Fixed,
    /// What should be looked at, in the order of the file.
    pub warnings: Vec<Fault>,
    /// Itself and every file it names: certificates, keys, secrets. A change of one of them is a change of the
    /// configuration.
    pub files: Files,
}

/// The configuration that is meant: `--config`, else `RAPIDPM_GATEWAY_CONFIG`, else the first of the usual places
/// that exists.
///
/// # Errors
/// When nothing is named and nothing is there: with the places that were looked at.
pub fn find(named: Option<&Path>, env: &Env) -> Result<PathBuf, Faults> {
    find_among(named, env, &USUAL.map(PathBuf::from))
}

fn find_among(named: Option<&Path>, env: &Env, usual: &[PathBuf]) -> Result<PathBuf, Faults> {
    if let Some(path) = named.map(Path::to_owned).or_else(|| env.path(VARIABLE)) {
        return Ok(path);
    }
    if let Some(path) = usual.iter().find(|path| path.exists()) {
        return Ok(path.clone());
    }
    let looked: Vec<String> = usual.iter().map(|path| path.display().to_string()).collect();
    let message = format!(
        "no configuration: neither --config nor {VARIABLE} names one, and there is no {}. \
         The gateway.toml that comes with the gateway explains every key; copy it to one of these places",
        looked.join(" and no ")
    );
    Err(Faults::of_file(Path::new(""), message))
}

/// Reads a configuration and everything it names.
///
/// # Errors
/// With everything that is wrong, not the first thing only.
pub fn load(path: &Path, env: &Env, tickets: &tls::Tickets) -> Result<Loaded, Faults> {
    build_from(path, env, tickets, &mut Files::default())
}

/// The same from files that have been read before; those that have not are read now and kept in `files`. Start, reload
/// and what a reload takes up of changed files all come through here.
///
/// # Errors
/// As [`load`].
pub fn build_from(
    path: &Path,
    env: &Env,
    tickets: &tls::Tickets,
    files: &mut Files,
) -> Result<Loaded, Faults> {
    let text = read_text(path, files)?;
    let around = Around { env, now: SystemTime::now(), tickets, files };
    let (Built { snapshot, fixed }, warnings) = parse(path, text, around)?;
    Ok(Loaded { snapshot, fixed, warnings, files: files.clone() })
}

fn read_text(path: &Path, files: &mut Files) -> Result<String, Faults> {
    let cannot = |why: String| Faults::of_file(path, format!("cannot be read: {why}"));
    let bytes = files.read(path).map_err(cannot)?;
    String::from_utf8(bytes.expose().to_vec()).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        cannot(format!("line {line} is not UTF-8"))
    })
}

fn parse(path: &Path, text: String, around: Around<'_>) -> Result<(Built, Vec<Fault>), Faults> {
    let parsed = text.clone();
    let (table, errors) = DeTable::parse_recoverable(&parsed);
    let mut source = Source::new(path, text, table.get_ref());
    let mut report = Report::default();
    if !errors.is_empty() {
        return Err(not_toml(&mut source, table.get_ref(), &errors, report));
    }
    let file: raw::File = read::section(table.get_ref(), &mut report);
    let built = build::build(file, path, around, &mut report);
    let warnings = report.finish(&source)?;
    // Whoever builds nothing has said why; this is for the case that somebody forgets.
    let why = "cannot be used, and the gateway does not know why; please report this";
    built.map(|built| (built, warnings)).ok_or_else(|| Faults::of_file(path, why))
}

/// What the parser says, in words for somebody who does not write parsers.
fn in_words(message: &str, word: Option<&str>) -> String {
    match (message, word) {
        ("duplicate key", Some(key)) => format!("`{key}` stands there already"),
        ("string values must be quoted, expected literal string", Some(word)) => {
            format!("a string needs quotes: \"{word}\"")
        }
        ("string values must be quoted, expected literal string", None) => "a string needs quotes".to_owned(),
        (message, _) => message.replace(", expected", "; expected"),
    }
}

/// Faults of a file that is no TOML. If the parser could make sense of the rest, keys and values are checked too.
fn not_toml(
    source: &mut Source,
    table: &DeTable<'_>,
    errors: &[toml::de::Error],
    mut report: Report,
) -> Faults {
    let mut broken = Vec::new();
    let mut sound = true;
    for error in errors {
        let mut span = error.span().unwrap_or(0..0);
        span.end = span.end.max(span.start + 1); // the parser points between two characters sometimes
        // Of a value without quotes the parser knows the extent; after anything else the rest may be misread.
        sound &= error.message().starts_with("string values must be quoted") && !source.is_header(span.start);
        source.hide_unread_line(span.start, schema::is_near_key);
        report.fault(span.clone(), in_words(error.message(), source.word(&span)));
        broken.push(span);
    }
    if sound {
        let mut rest = Report::default();
        let _: raw::File = read::section(table, &mut rest);
        report.append(rest.without_lines_of(source, &broken));
    }
    match report.finish(source) {
        Err(faults) => faults,
        Ok(_) => Faults::of_file(source.path(), "is no TOML"),
    }
}
