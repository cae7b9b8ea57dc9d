//! What speaks against a token whose signature holds: its class, its document, its hosts, or where it came from.

use std::fmt;
use std::net::IpAddr;

use super::class::Class;
use super::purpose::{HostRule, Rules};
use super::table::Carrier;
use super::urlhost::ShownHost;

/// An objection: a refusal under `mode = "enforce"`, a line in the log under `"observe"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objection {
    /// What the token was made for.
    pub class: Class,
    /// Where it was.
    pub carrier: Carrier,
    /// What speaks against it.
    pub ground: Ground,
}

/// What speaks against a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// It is of a class that the route does not take.
    Class {
        /// What the route takes.
        takes: &'static [Class],
    },
    /// Its `document.key` is not the key in the path.
    Key,
    /// A URL among its claims leads to a host that belongs to no integrator.
    Host {
        /// The claim.
        claim: &'static str,
        /// The host, where the claim plainly names one.
        host: Option<ShownHost>,
    },
    /// The caller stands outside the backends' networks.
    Address(IpAddr),
}

impl Ground {
    /// Every name that [`Ground::reason`] can give.
    pub const REASONS: [&'static str; 4] =
        ["class_not_allowed", "key_mismatch", "host_not_allowed", "backend_address"];

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Class { .. } => "class_not_allowed",
            Self::Key => "key_mismatch",
            Self::Host { .. } => "host_not_allowed",
            Self::Address(_) => "backend_address",
        }
    }
}

/// Which setting makes a refusal of an objection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decider {
    /// `mode`.
    Mode,
    /// `hosts` of any integrator.
    Hosts,
    /// `sockets.key_binding`, with `mode`.
    KeyBinding,
}

impl Decider {
    /// As it would be written in gateway.toml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mode => "mode = \"enforce\"",
            Self::Hosts => "hosts of an integrator",
            Self::KeyBinding => "sockets.key_binding = \"enforce\"",
        }
    }
}

impl Objection {
    /// Which setting would refuse it.
    pub const fn decider(&self, rules: &Rules) -> Decider {
        match (self.ground, rules.host_rule) {
            (Ground::Host { .. }, HostRule::Log) => Decider::Hosts,
            _ => Decider::Mode,
        }
    }

    /// The host that a claim names, where that is what is wrong.
    pub fn host(&self) -> Option<String> {
        match &self.ground {
            Ground::Host { host: Some(host), .. } => Some(host.as_str().to_owned()),
            _ => None,
        }
    }

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(&self) -> &'static str {
        self.ground.reason()
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, carrier) = (self.class.name(), self.carrier.name());
        match self.ground {
            Ground::Class { takes } => {
                write!(
                    f,
                    "a token of class {class} (found in: {carrier}) is not for this path, which takes "
                )?;
                for (at, class) in takes.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { " or " }, class.name())?;
                }
                Ok(())
            }
            Ground::Key => write!(
                f,
                "the {class} token (found in: {carrier}) is for another document: its document.key is not the key in the path"
            ),
            Ground::Host { claim, host: Some(host) } => write!(
                f,
                "{claim} of the {class} token (found in: {carrier}) names the host {}, which no integrator has in url or hosts",
                host.as_str()
            ),
            Ground::Host { claim, host: None } => write!(
                f,
                "{claim} of the {class} token (found in: {carrier}) is not a plain http or https URL with a host"
            ),
            Ground::Address(address) => write!(
                f,
                "{address} is in none of document_server.backend_networks ({class} token, found in: {carrier})"
            ),
        }
    }
}
