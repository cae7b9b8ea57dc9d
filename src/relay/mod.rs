//! Callbacks and saves: verified, kept, delivered. The applications that embed the editor, as the relay knows them.

mod answer;
pub mod archive;
pub mod client;
mod deliver;
pub mod fetch;
pub mod forgotten;
mod heard;
pub mod house;
mod intake;
mod journal;
pub mod letter;
mod listing;
mod lock;
pub mod memory;
mod orders;
mod record;
pub mod sftp;
pub mod spool;
mod status;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use rustls::pki_types::CertificateDer;

pub use answer::{Answer, Post};
pub use heard::{Last, Said};
pub use house::House;
pub use listing::{Correspondent, Group, Listed, Standing, Why};
pub use status::{Status, Trouble};
pub use worker::{Check, Relay};

use crate::secret::Secret;

/// Integrators, saves and archive as configured.
#[derive(Debug)]
pub struct Settings {
    /// One for each application that embeds the editor.
    pub integrators: Vec<Integrator>,
    /// How saves are kept and delivered.
    pub saves: Saves,
    /// A second copy of every accepted save.
    pub archive: Option<Archive>,
    /// What tokens are signed with anew: the present secret of `[jwt]`.
    pub secret: Secret,
}

/// An application that embeds the editor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrator {
    /// Its name in `/relay/<name>/…`, logs and metrics: `[a-z0-9-]{1,40}`.
    pub name: String,
    /// Scheme of `url`.
    pub scheme: Scheme,
    /// Host of `url`, lower case.
    pub host: String,
    /// Port of `url`, the scheme's default where none was written.
    pub port: u16,
    /// Path of `url` without a trailing slash; empty for the root.
    pub path: String,
    /// Header that carries its tokens, where it differs from `[jwt]`.
    pub header: Option<HeaderName>,
    /// What stands before the token in that header, where it differs from `[jwt]`.
    pub prefix: Option<String>,
    /// Where to connect instead of asking DNS.
    pub connect: Option<Connect>,
    /// Roots besides the system's, as read from `ca`.
    pub roots: Vec<CertificateDer<'static>>,
    /// Further hosts that URL claims of its tokens may name.
    pub hosts: Vec<String>,
}

impl Integrator {
    /// As browsers write it in `Origin`: without the scheme's own port.
    pub fn origin(&self) -> String {
        let (scheme, own) = match self.scheme {
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == own {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

/// Scheme of an integrator's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain; warned about unless loopback.
    Http,
    /// Verified TLS.
    Https,
}

/// `connect` of an integrator: an address, or a name that the local resolver knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connect {
    /// Literal address and port.
    Address(IpAddr, u16),
    /// Name and port.
    Name(String, u16),
}

/// `[saves]` of gateway.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saves {
    /// Journal and documents that wait for delivery.
    pub directory: PathBuf,
    /// How long an integrator may take before the gateway takes the save over; at most 4 minutes.
    pub answer_within: Duration,
    /// How long delivery is tried.
    pub keep_trying: Duration,
    /// How long a save that waits keeps new editors of that document out.
    pub hold_editors: Duration,
    /// What a failed check means.
    pub validate: Validate,
    /// Largest document, in bytes.
    pub max_document: u64,
    /// Largest directory, in bytes.
    pub max_size: u64,
}

/// `saves.validate` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validate {
    /// A document that fails its check is refused.
    Reject,
    /// A document that fails its check is counted and relayed.
    Observe,
    /// Nobody looks.
    Off,
}

/// `[archive]` of gateway.toml: an SFTP server.
#[derive(Debug, PartialEq)]
pub struct Archive {
    /// Account on the server.
    pub user: String,
    /// Host name or address.
    pub host: String,
    /// Port, 22 where none was written.
    pub port: u16,
    /// Folder on the server.
    pub path: String,
    /// What the gateway signs in with.
    pub key: sftp::Key,
    /// The file of the server's keys. Read anew for each connection: a key that is added there counts at once.
    pub known_hosts: PathBuf,
}

impl Archive {
    /// Tells it from another archive, or the same with other settings.
    fn place(&self) -> String {
        let Self { user, host, port, path, key, known_hosts } = self;
        format!("{user}@{host}:{port}{path} {} {}", key.public_line(), known_hosts.display())
    }
}
