//! The log: one line an event, through a bounded queue to a writer of its own, so that a full pipe never stalls editing.

/// What is written, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// One JSON object a line, or text for people.
    pub format: Format,
    /// Events below this are not written.
    pub level: Level,
}

/// `log.format` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A line for people.
    Text,
}

/// How much an event matters; `log.level` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something an operator must act on.
    Error,
    /// Something an operator should know.
    Warn,
    /// What happened: access lines, start, stop, reload.
    Info,
    /// Why it happened.
    Debug,
}
