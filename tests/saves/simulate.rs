//! Plays seeds against the machine of saves: `cargo run --release --example simulate [SEEDS [STEPS]]`, 10,000 of 1,000 steps
//! where nothing is said. Each must end with no save lost, none sent beside another of its place, and no lock left.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that takes minutes")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

mod world;

use world::World;

fn main() {
    let number =
        |at, otherwise| std::env::args().nth(at).map_or(otherwise, |text| text.parse::<u64>().unwrap());
    let (seeds, steps) = (number(1, 10_000), number(2, 1_000));
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            threads.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds)
                {
                    World::play(seed, steps);
                }
            });
        }
    });
    println!("{seeds} seeds of {steps} steps in {:.1?}: no save lost, no lock left", begun.elapsed());
}
