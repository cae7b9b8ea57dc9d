//! Random and mutated first frames against the gate's rules: `cargo run --release --example frames [NUMBER [SEED]]`, a million
//! where nothing is said. No token but the good one may open, none may be read in two ways, and nothing may panic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test, of a million")]

mod first;
mod random;

use std::time::Instant;

fn main() {
    let number = |at, otherwise| std::env::args().nth(at).map_or(otherwise, |text| text.parse().unwrap());
    let (count, seed) = (number(1, 1_000_000), number(2, 1));
    let begun = Instant::now();
    let counts = random::play(count, seed);
    println!(
        "{count} first frames of seed {seed} in {:.1?}: nothing but the good token opened; {counts:?}",
        begun.elapsed()
    );
}
