//! The way to the Document Server: which server, is it well, a connection to it, a request through it.

use std::fmt;
use std::time::Duration;

mod body;
mod forward;
mod link;
mod note;
mod pool;
mod probe;
mod server;
mod wire;

pub use body::{AnswerBody, BodyFault, Outgoing, Progress};
pub use forward::{Answer, Fault, Question, UpgradedStream, Upstream};
pub use probe::watch;
pub use server::{Health, Server, Servers};
pub use wire::Wire;

/// What is configured of the Document Servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they are; at least one.
    pub servers: Vec<Address>,
    /// How often a server must say that it is well.
    pub health: Duration,
    /// How long a request waits for a server that is restarting.
    pub wait: Duration,
}

/// Where a Document Server listens: plain HTTP, since it stands on the same host or network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host name or IP literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
