//! An archive, read by its directory and checked against itself: what one reader finds in it, every other must find, too.
//!
//! Our own reader and no crate's: those hide local headers, overlaps and doubles, which are what must be checked, and take a
//! dozen crates to do so. Only inflating is left to one (flate2 over miniz_oxide, which has no unsafe code).
//!
//! Order: `end` finds the directory, `directory` reads it, adds up what it promises (so a bomb is refused before a byte is
//! inflated), looks for doubles and overlaps and compares every local header; only then `entry` inflates, and stops at the
//! first byte more than was promised.

mod directory;
mod end;
mod entry;

use super::{Fault, Reason};
pub(super) use directory::Directory;
pub(super) use entry::Unpacker;

fn bad(what: impl Into<String>) -> Fault {
    Fault::new(Reason::ZipIntegrity, what)
}

/// A name from an archive, as a log may show it.
pub(super) fn shown(name: &[u8]) -> String {
    /// More than any name that Office programs give.
    const SHOWN: usize = 80;
    let text = String::from_utf8_lossy(name);
    let short: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { short + "…" } else { short }
}

/// Little-endian numbers from a record; what lies beyond its end is zero.
fn number(record: &[u8], at: usize, width: usize) -> u64 {
    let bytes = record.get(at..at + width).unwrap_or_default();
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
