//! What the machine knows of the places that saves go to: callback URLs, and the integrators behind them.

use std::collections::VecDeque;

use super::{Id, Time};

/// Keys remembered for each callback URL, to tell a URL of one document from a URL of all.
const KEYS: usize = 8;
/// A try that has not come back for this long is no longer the only one that may ask whether its integrator is up.
const PROBE: Time = 15_000;

/// What is known of one callback URL.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The newest save that somebody was told is safe.
    pub acknowledged: Option<Id>,
    /// The keys of its callbacks, the newest last.
    pub keys: VecDeque<String>,
    pub newest: Option<Id>,
    /// Keys came back that another had followed: not a URL of one document.
    pub shared: bool,
}

impl Line {
    /// A callback of `key` has come.
    pub fn heard(&mut self, id: Id, key: &str) {
        self.newest = self.newest.max(Some(id));
        match self.keys.iter().position(|known| known == key) {
            Some(at) if at + 1 == self.keys.len() => {}
            Some(at) => {
                self.shared = true;
                if let Some(key) = self.keys.remove(at) {
                    self.keys.push_back(key);
                }
            }
            None => {
                if self.keys.len() == KEYS {
                    self.keys.pop_front();
                }
                self.keys.push_back(key.to_owned());
            }
        }
    }
}

/// What is known of one integrator.
#[derive(Debug, Default)]
pub(super) struct Integrator {
    pub down: bool,
    /// The one save that asks whether it is up again, and since when.
    pub probe: Option<(Id, Time)>,
    pub failed: u32,
    /// While it is down, nobody but newcomers asks before this.
    pub quiet: Time,
}

impl Integrator {
    /// Whether a save may be tried that was tried so often before.
    pub fn admits(&self, now: Time, tries: u32) -> bool {
        let asked = self.probe.is_some_and(|(_, at)| now.saturating_sub(at) < PROBE);
        !self.down || (!asked && (tries == 0 || now >= self.quiet))
    }
}
