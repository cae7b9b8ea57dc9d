//! `count NAME TIMES` runs a hot case so often, for a tool that counts its instructions; `count` lists the names.

use std::error::Error;
use std::io::{Write, stdout};

use micro::cases::CASES;

/// As in the gateway: what a request allocates is part of its cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            for (name, _) in CASES {
                writeln!(stdout(), "{name}")?;
            }
        }
        [name, times] => {
            let (_, ready) =
                CASES.iter().find(|(known, _)| *known == name).ok_or("no such case; `count` lists them")?;
            let mut run = ready();
            for _ in 0..times.parse::<u32>()? {
                run();
            }
        }
        _ => return Err("usage: count [NAME TIMES]".into()),
    }
    Ok(())
}
