//! Editor sockets: from the knock to the last byte.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ops::metrics::Metrics;
use crate::rules::packet::{self, Pace};

mod budget;
mod gate;
mod hold;
mod polling;
mod registry;
mod splice;

pub use budget::{Budget, MOST as MOST_PACKET, Share};
pub use gate::{Call, Law, Through, Turned, Visitor, admit, leave, pass, refusal_packet};
pub use hold::{HOLD, Lock, Locks, wait};
pub use polling::{Phase, Poll, Polls, Using};
pub use registry::{Caps, Crowd, GRACE, Open, Present, Registry, Session};
pub use splice::{Carried, End, HELD_BY_TLS, Scratch, Start, Until, splice};

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

/// What the sockets of all cores share. Outlives reloads.
#[derive(Debug)]
pub struct Shared {
    /// The editors that are open now.
    pub registry: Arc<Registry>,
    /// Memory for first packets.
    pub budget: Arc<Budget>,
    /// The sessions that poll.
    pub polls: Polls,
    /// What the Document Server said of its pings when it last opened a socket, for the next greeting.
    pace: Mutex<Pace>,
}

impl Shared {
    /// Nobody is there yet.
    pub fn new(metrics: Arc<Metrics>, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(metrics, grace),
            budget: Arc::default(),
            polls: Polls::default(),
            pace: Mutex::default(),
        })
    }

    fn pace(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open packet for a session that polls.
    pub fn greeting(&self, sid: &str) -> String {
        packet::greeting(sid, true, self.pace())
    }

    /// The Document Server has opened a session with these pings.
    pub fn learn(&self, pace: Pace) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }
}

/// An id of a session as Engine.IO makes them: fifteen random bytes, twenty characters. Whoever knows one of a session that polls
/// can read along, so it is not to be guessed.
fn sid() -> Option<String> {
    let mut random = [0; 15];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(URL_SAFE_NO_PAD.encode(random))
}
