//! What monitors ask, by path: the same on the admin listener and, for networks that are named, on the public one.

use hyper::StatusCode;

/// A question about the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// How it is, and its parts.
    Health,
    /// Whether the process lives.
    Alive,
    /// Whether requests should be sent here.
    Ready,
}

impl Check {
    /// What is asked at a path, in its one spelling: nobody links to these.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/api/v1/onlyoffice/health" => Some(Self::Health),
            "/livez" => Some(Self::Alive),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// Who hears the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those who reach the admin listener.
    Operators,
    /// A network that is named, on the listener that browsers reach: how the gateway is, not why. The words of `detail` name
    /// machines, files, certificates and documents.
    Network,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its status.
    pub status: StatusCode,
    /// What it is.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}
