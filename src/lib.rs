//! The gateway as a library: `main` is a door, tests and the demo start the same house through `app`.
pub mod cli;
pub mod config;
pub mod ops;
pub mod rules;
pub mod secret;
