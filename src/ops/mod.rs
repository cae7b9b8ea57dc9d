//! What people see of the gateway: log lines and numbers. Every room writes here; this room reads nobody.

use std::sync::Arc;

pub mod configured;
pub mod log;
pub mod metrics;
pub mod saves;

/// Handed to every room that has something to tell.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Log lines.
    pub log: log::Log,
    /// Numbers.
    pub metrics: Arc<metrics::Metrics>,
}
