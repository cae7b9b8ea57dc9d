//! The promises of the gateway, one file each, against real sockets on ports that the system chose.

// A test that cannot go on fails loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod forwarding;
mod layout;
mod readme;
mod rig;
mod token_cli;
