//! Saved documents at their real size, and against what others have collected: W3C's XML suite and documents of office suites,
//! neither of which is kept here. Each test says what it did not find, and where it looked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod real;
mod size;
mod w3c;
