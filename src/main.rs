//! The door: carries arguments in and an exit code out.

use std::process::ExitCode;

/// Requests are made of many small pieces that live shortly; see "What a request costs" in ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where the kernel gives huge pages unasked (`always`), 12 MB at rest would be 30. Without them nothing else changes.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    rapidpm_gateway::cli::main()
}
