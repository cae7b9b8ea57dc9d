//! What several gateways share: locks, the journal's index, sessions.

pub mod redis;
mod watch;

pub use watch::{Standing, Watch};

/// Where shared state lives.
#[derive(Debug)]
pub enum Settings {
    /// In this process and its files: one gateway.
    Embedded,
    /// In Redis: several gateways share the work. The URL may hold a password.
    Redis(crate::secret::Secret),
}
