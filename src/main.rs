//! The door: carries arguments in and an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    rapidpm_gateway::cli::main()
}
