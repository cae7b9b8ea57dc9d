//! What each integrator last said to a callback, for people who wonder whether it is there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What an integrator last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// When.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What.
    pub said: Said,
}

/// An answer, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An answer of this status.
    Status(u16),
    /// Nothing, and why.
    Nothing(String),
}

/// By the integrator's name, of which the configuration has a handful.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<String, Last>>);

impl Heard {
    /// It has answered with a status, or not.
    pub fn note(&self, integrator: &str, took: Duration, said: Result<u16, &io::Error>) {
        let said = said.map_or_else(|error| Said::Nothing(error.to_string()), Said::Status);
        let last = Last { at: SystemTime::now(), took, said };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(integrator.to_owned(), last);
    }

    /// What it last said; `None`: nothing was sent to it since the start.
    pub fn last(&self, integrator: &str) -> Option<Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(integrator).cloned()
    }
}
