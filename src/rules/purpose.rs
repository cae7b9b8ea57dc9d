//! What a route wants of a token besides a signature that holds: data for the table, and how a token is weighed against it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::class::{Class, Holder, Reading};
use super::objection::{Ground, Objection};
use super::refusal::Refusal;
use super::table::Carrier;
use super::urlhost::{self, ShownHost};

/// What a route wants of a token.
#[derive(Debug)]
pub struct Purpose {
    /// The classes that may pass.
    pub takes: &'static [Class],
    /// How the route's handler reads claims.
    pub reading: Reading,
    /// Whose route it is.
    pub door: Door,
}

/// Whose route it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Editors in browsers.
    Browser,
    /// Integrators' servers: closed in every mode to what browsers and strangers come to hold.
    Backend,
    /// A builder of documents runs what it is sent, and the token need not cover it (protocol.md 1.2, DocumentBuilder#147):
    /// closed in every mode to whatever is not its own.
    Builder,
}

impl Purpose {
    /// No token is asked for.
    pub const NONE: Self = Self { takes: &[], reading: Reading::Plain, door: Door::Browser };

    /// An editor's route that reads claims as they are.
    pub const fn browser(takes: &'static [Class]) -> Self {
        Self { takes, reading: Reading::Plain, door: Door::Browser }
    }

    /// A backend's route.
    pub const fn backend(takes: &'static [Class]) -> Self {
        Self { takes, reading: Reading::Merged, door: Door::Backend }
    }
}

/// `mode` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every rule refuses.
    #[default]
    Enforce,
    /// Class, origin, binding and host rules only say what they would refuse.
    Observe,
}

/// Whether a URL that leads to a foreign host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostRule {
    /// It is only objected to: no integrator has named `hosts`, so nobody has said yet that the list is complete.
    #[default]
    Log,
    /// It is refused, under [`Mode::Enforce`].
    Refuse,
}

/// The rules of the configuration, ready to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether the softer rules refuse.
    pub mode: Mode,
    /// Who may call a backend's routes; empty: anyone.
    pub backend_networks: Vec<IpNet>,
    /// Hosts that URL claims may name: of every `public_url` (the relay's and the Document Server's own links), of every
    /// integrator's `url`, and `hosts`. In lower case, IPv6 in brackets.
    pub hosts: Vec<String>,
    /// [`HostRule::Refuse`] as soon as one integrator names `hosts`.
    pub host_rule: HostRule,
}

/// A token in the place where it was found.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'r> {
    /// Its claims, as signed.
    pub claims: &'r Value,
    /// Where it was.
    pub carrier: Carrier,
    /// The document key in the path.
    pub key: Option<&'r str>,
    /// Who shows it.
    pub client: IpAddr,
}

/// How hard an objection is.
enum Force {
    /// In every mode.
    Always,
    /// As `mode` says.
    ByMode,
    /// Only said.
    Never,
}

impl Purpose {
    /// The class of a token, and the objections to it that do not refuse it; or the first that does.
    pub fn weigh(&self, shown: &Shown<'_>, rules: &Rules) -> Result<(Class, Vec<Objection>), Refusal> {
        let class = Class::of(shown.claims, self.reading);
        let mut objections = Vec::new(); // allocates nothing until there is one
        let mut object = |ground, force: Force| {
            let objection = Objection { class, carrier: shown.carrier, ground };
            match (force, rules.mode) {
                (Force::Always, _) | (Force::ByMode, Mode::Enforce) => Err(Refusal::Objected(objection)),
                (Force::ByMode, Mode::Observe) | (Force::Never, _) => {
                    objections.push(objection);
                    Ok(())
                }
            }
        };
        if !self.takes.contains(&class) {
            object(Ground::Class { takes: self.takes }, self.force(class))?;
        }
        let claims = self.reading.of(shown.claims);
        if shown.key.is_some_and(|key| !is_bound(class, &claims, key)) {
            object(Ground::Key, Force::ByMode)?;
        }
        for claim in url_claims(class) {
            if let Some(ground) = foreign(claim, &claims, &rules.hosts) {
                let force = match rules.host_rule {
                    HostRule::Refuse => Force::ByMode,
                    HostRule::Log => Force::Never,
                };
                object(ground, force)?;
            }
        }
        let client = shown.client.to_canonical();
        let outside = !rules.backend_networks.is_empty()
            && !rules.backend_networks.iter().any(|network| network.contains(&client));
        if self.door != Door::Browser && outside {
            object(Ground::Address(client), Force::ByMode)?;
        }
        Ok((class, objections))
    }

    /// How hard it is that `class` is not one of those that the route takes.
    fn force(&self, class: Class) -> Force {
        match (self.door, class.holder()) {
            (Door::Builder, _) | (Door::Backend, Holder::Browser | Holder::Server) => Force::Always,
            (Door::Backend, Holder::Backend | Holder::Unknown) | (Door::Browser, _) => Force::ByMode,
        }
    }
}

/// Whether a token is for the document in the path. Only those that the Document Server makes for one document are bound.
fn is_bound(class: Class, claims: &Value, key: &str) -> bool {
    let own = claims.pointer("/document/key").and_then(Value::as_str).unwrap_or_default();
    match class {
        Class::Session => own == key,
        // What is printed lies under the document's key or under a key made from it, `key_1234` (S: taskresult.js
        // addRandomKeyTask). The server asks for a prefix only (S: canvasservice.js:1583-1662), which would also let a
        // token for `a` print `abc`.
        Class::Print => key.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')),
        _ => true,
    }
}

/// The claims of a class that the Document Server fetches or calls (design.md 3.3), with the place of each.
fn url_claims(class: Class) -> &'static [(&'static str, &'static str)] {
    match class {
        Class::Convert => &[("url", "/url")],
        Class::Open => {
            &[("document.url", "/document/url"), ("editorConfig.callbackUrl", "/editorConfig/callbackUrl")]
        }
        _ => &[],
    }
}

/// What speaks against a URL claim, if it is there at all.
fn foreign(
    &(name, place): &(&'static str, &'static str),
    claims: &Value,
    hosts: &[String],
) -> Option<Ground> {
    let host = match claims.pointer(place) {
        None | Some(Value::Null) => return None,
        Some(Value::String(url)) if url.is_empty() => return None,
        Some(Value::String(url)) => urlhost::of(url),
        Some(_) => None,
    };
    match host {
        Some(host) if hosts.iter().any(|known| host.is_host(known)) => None,
        host => Some(Ground::Host { claim: name, host: host.map(|host| ShownHost::new(host.host)) }),
    }
}
