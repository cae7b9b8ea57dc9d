//! Words for people and scripts on stdout and stderr: a reader that went away (`check | head`) is no reason to panic.

use std::fmt::Display;
use std::io::Write;

/// What was asked for, on stdout.
pub fn say(text: &impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What is wrong, on stderr.
pub fn complain(text: &impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
