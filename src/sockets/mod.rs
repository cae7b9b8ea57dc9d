//! Editor sockets: from the upgrade to the last byte.

mod splice;

pub use splice::{Carried, Scratch, splice};

/// What is configured of the editor sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether the path's key must be the key of the token.
    pub key_binding: KeyBinding,
    /// Origins that may open sockets besides `public_url` and the integrators': normalised (`https://host[:port]`).
    pub origins: Vec<String>,
    /// Whether `origins` lists `"none"`: upgrades without an `Origin` pass.
    pub without_origin: bool,
    /// Whether the polling transport is served.
    pub polling: bool,
    /// Editor sockets of one document.
    pub per_document: usize,
}

/// `sockets.key_binding` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyBinding {
    /// A difference is logged.
    Log,
    /// A difference is refused.
    Enforce,
    /// Nobody looks.
    Off,
}
