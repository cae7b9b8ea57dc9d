//! What the machine knows of the places that saves go to: callback URLs, and the integrators behind them.

use std::collections::{BTreeSet, VecDeque};

use super::{Fresh, Id, Kind, Time};

/// Keys remembered for each callback URL, to tell a URL of one document from a URL of all.
const KEYS: usize = 8;
/// A try that has not come back for this long is no longer the only one that may ask whether its integrator is up.
const PROBE: Time = 15_000;

/// What is known of one callback URL.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The newest save that somebody was told is safe.
    pub acknowledged: Option<Id>,
    /// The newest save that the integrator has.
    pub delivered: Option<Id>,
    /// Its saves that are not settled: open, parked, in reserve.
    pub unsettled: BTreeSet<Id>,
    /// The keys of its callbacks with the latest of each, the newest last.
    keys: VecDeque<(String, Id)>,
    /// Keys came back that another had followed: not a URL of one document.
    shared: bool,
}

impl Line {
    /// A callback of `key` has come.
    pub fn heard(&mut self, id: Id, key: &str) {
        if self.keys.back().is_some_and(|(_, newest)| *newest >= id) {
            return; // one that took longer than another behind it
        }
        if let Some((_, latest)) = self.keys.back_mut().filter(|(newest, _)| newest == key) {
            *latest = id;
            return;
        }
        match self.keys.iter().position(|(known, _)| known == key) {
            Some(at) => {
                self.shared = true;
                self.keys.remove(at);
            }
            None if self.keys.len() == KEYS => drop(self.keys.pop_front()),
            None => {}
        }
        self.keys.push_back((key.to_owned(), id));
    }

    /// Whether something newer has come to the same place, which a save must not overwrite. A form's submission stands for
    /// itself: it goes before a later save that waits behind it, but not after one that was delivered. What a session ended
    /// with is pointless as soon as anything else is known of its document.
    pub fn outdates(&self, save: &Fresh) -> bool {
        let id = Some(save.id);
        let other = self.keys.back().is_some_and(|(key, newest)| Some(*newest) > id && *key != save.key);
        let after = match save.kind {
            Kind::Final | Kind::Spare => self.acknowledged > id,
            Kind::Form => self.delivered > id,
            Kind::Farewell => self.keys.iter().any(|(key, newest)| *key == save.key && Some(*newest) > id),
        };
        after || (other && !self.shared)
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
