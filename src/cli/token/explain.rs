//! Everything that can be said about a token, put together before anything is printed.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::found::Found;
use super::guess::{self, Signer};
use super::openings::{self, Opening};
use super::times::{self, Stamp};
use super::{Known, shown};
use crate::rules::class::{self, Class, Reading};
use crate::rules::token::{Algorithm, TokenFault};
use crate::rules::urlhost::{self, ShownHost};

/// A longer header token is cut down by the Document Server itself (canvasservice.js:952-961), and its nginx refuses lines
/// from 8 KiB on.
pub const LONGEST_IN_HEADER: usize = 7168;

/// A token, explained.
#[derive(Debug)]
pub struct Explanation {
    /// What it was taken out of.
    pub from: String,
    /// What the gateway would have made of that.
    pub note: Option<String>,
    /// Its length in characters.
    pub length: usize,
    /// Whether it holds.
    pub fault: Option<TokenFault>,
    /// Who signed it.
    pub signer: Signer,
    /// The algorithm it names, fit for a terminal.
    pub algorithm: Option<String>,
    /// Which algorithms are allowed.
    pub allowed: Vec<Algorithm>,
    /// What it says, signed or not; `None` if it cannot be read.
    pub says: Option<Says>,
    /// Networks that backends must call from; empty: any.
    pub networks: Vec<String>,
    /// What every route would answer.
    pub openings: Vec<Opening>,
}

/// What a token says.
#[derive(Debug)]
pub struct Says {
    /// The claims as they are in it.
    pub claims: Value,
    /// `exp`, `nbf`, `iat`.
    pub times: [Stamp; 3],
    /// Whether the claims are nested under `payload`, as in header tokens.
    pub wrapped: bool,
    /// The document's key.
    pub key: Option<String>,
    /// Hosts of URLs, with the claim they stand in.
    pub hosts: Vec<(String, String)>,
    /// Names of the claims.
    pub names: Vec<String>,
}

/// Explains a token to whoever holds the secret.
pub fn explain(found: &Found, known: &mut Known, now: SystemTime) -> Explanation {
    let token = found.token.as_str();
    let signer = guess::signer(known, token, now);
    let fault = known.tokens.verify(token, now).err();
    let says = read(token).map(says);
    let key = says.as_ref().and_then(|says| says.key.as_deref());
    Explanation {
        from: found.from.clone(),
        note: found.note.clone(),
        length: token.chars().count(),
        fault,
        signer,
        algorithm: named_algorithm(token),
        allowed: known.tokens.algorithms.clone(),
        networks: known.rules.backend_networks.iter().map(ToString::to_string).collect(),
        openings: openings::ask_all(known, token, key, now),
        says,
    }
}

fn part(token: &str, which: usize) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(which)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The claims of a token, believed by nobody yet.
fn read(token: &str) -> Option<Value> {
    part(token, 1).filter(Value::is_object)
}

fn named_algorithm(token: &str) -> Option<String> {
    part(token, 0)?.get("alg").and_then(Value::as_str).map(shown)
}

fn says(claims: Value) -> Says {
    let merged = class::merged(&claims);
    let key = merged.pointer("/document/key").or_else(|| merged.get("key")).and_then(Value::as_str);
    let mut hosts = Vec::new();
    gather_hosts(&claims, "", 6, &mut hosts);
    Says {
        times: times::stamps(&claims),
        wrapped: claims.get("payload").is_some_and(Value::is_object),
        key: key.map(str::to_owned),
        hosts,
        names: names(&claims, 2),
        claims,
    }
}

/// Hosts of all URLs in a token. Queries and paths are nobody's business: they may hold links that open documents.
fn gather_hosts(value: &Value, place: &str, depth: usize, hosts: &mut Vec<(String, String)>) {
    /// A callback's history names hundreds.
    const MOST: usize = 16;
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::String(text) => {
            let Some(host) = host(text) else { return };
            let found = (place.to_owned(), host);
            if hosts.len() < MOST && !hosts.contains(&found) {
                hosts.push(found);
            }
        }
        Value::Object(fields) if depth > 0 => {
            for (name, value) in fields {
                gather_hosts(value, &below(&shown(name)), depth - 1, hosts);
            }
        }
        Value::Array(items) if depth > 0 => {
            for item in items {
                gather_hosts(item, &format!("{place}[]"), depth - 1, hosts);
            }
        }
        _ => {}
    }
}

/// `host[:port]` of what looks like a URL, as the rules read it.
fn host(text: &str) -> Option<String> {
    if !text.contains("://") {
        return None;
    }
    let Some(authority) = urlhost::of(text) else { return Some("no plain http or https URL".to_owned()) };
    let port = authority.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}", ShownHost::new(authority.host).as_str()))
}

/// Names of claims, those inside objects in braces: `document{key,url}`.
fn names(value: &Value, depth: usize) -> Vec<String> {
    let Value::Object(fields) = value else { return Vec::new() };
    let name = |(name, value): (&String, &Value)| {
        let inside = if depth > 0 { names(value, depth - 1) } else { Vec::new() };
        match inside.is_empty() {
            true => shown(name),
            false => format!("{}{{{}}}", shown(name), inside.join(",")),
        }
    };
    fields.iter().map(name).collect()
}

impl Explanation {
    /// The class that services take it for, which read what is under `payload`, too.
    pub fn class(&self) -> Option<Class> {
        self.says.as_ref().map(|says| Class::of(&says.claims, Reading::Merged))
    }

    /// What it is, in a few words.
    pub fn class_words(&self) -> String {
        let document = self.says.as_ref().and_then(|says| says.key.as_deref()).map(shown);
        let document = document.map(|key| format!(" for document {key}")).unwrap_or_default();
        match self.class() {
            None => "a token that cannot be read".to_owned(),
            Some(Class::Unknown) => format!("a token of no class that is known{document}"),
            Some(Class::Partial) => format!("a piece of a browser's token, good for nothing{document}"),
            Some(class) => format!("class {}{document}", class.name()),
        }
    }

    /// What it is for besides requests to the gateway's routes.
    pub fn elsewhere(&self) -> Option<&'static str> {
        match self.class().filter(|_| self.fault.is_none())? {
            Class::Open | Class::History => {
                Some("an editor's socket shows it in its first packet, as `token`")
            }
            Class::Session => Some("an editor's socket shows it when it comes back, as `session`"),
            Class::Insert => Some("an editor's socket shows it as `tokenDownload`, too"),
            Class::Callback | Class::Download => {
                Some("the Document Server shows it to an application, which checks it itself")
            }
            Class::Command
            | Class::Convert
            | Class::Builder
            | Class::Print
            | Class::Partial
            | Class::Unknown => None,
        }
    }
}
