//! The gateway as a library: `main` is a door, tests and the demo start the same house through `app`.
pub mod cli;
pub mod config;
pub mod live;
pub mod ops;
pub mod relay;
pub mod rules;
pub mod secret;
pub mod sockets;
pub mod state;
pub mod tls;
pub mod upstream;
