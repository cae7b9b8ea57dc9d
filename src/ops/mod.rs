//! What people see of the gateway: log lines and numbers. Every room writes here; this room reads nobody.

use std::sync::Arc;

mod assets;
pub mod configured;
pub mod debug;
pub mod history;
pub mod latency;
pub mod log;
mod maker;
pub mod masked;
pub mod metrics;
pub mod objections;
pub mod page;
pub mod panics;
pub mod process;
pub mod refusals;
pub mod requests;
pub mod saves;
pub mod sockets;
pub mod systemd;
pub mod tls;

/// Handed to every room that has something to tell.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Log lines.
    pub log: log::Log,
    /// Numbers.
    pub metrics: Arc<metrics::Metrics>,
    /// What a stricter configuration would have refused.
    pub objections: Arc<objections::Objections>,
}

impl Ops {
    /// A rule that only watches has spoken against a request or a socket.
    pub fn objected(&self, example: objections::Example) {
        self.metrics.objection(example.reason);
        self.objections.note(example);
    }
}
