//! A changed configuration: built as a whole, put in place in one swap, or refused with every reason.

use std::path::PathBuf;

use crate::config::{self, Env};
use crate::live::{Fixed, Snapshot};
use crate::ops::log::{Level, Log};
use crate::tls::Tickets;

/// The configuration's file, and what it is read with.
#[derive(Debug)]
pub struct File {
    /// Where it lies.
    pub path: PathBuf,
    /// The environment of the start.
    pub env: Env,
    /// Kept over reloads, so that returning browsers resume their sessions.
    pub tickets: Tickets,
    /// What only a restart changes, as it runs.
    pub fixed: Fixed,
}

impl File {
    /// Reads the file again. With a single fault in it everything stays as it was.
    pub fn reload(&self, log: &Log) -> Option<Snapshot> {
        let file = self.path.display().to_string();
        let facts = [("file", file.as_str())];
        let loaded = match config::load(&self.path, &self.env, &self.tickets) {
            Ok(loaded) => loaded,
            Err(faults) => {
                // One event each: a fact is cut at a length, and the last fault matters as much as the first.
                for fault in faults.faults() {
                    log.event(Level::Error, "configuration", &fault.to_string(), &[]);
                }
                let message = "the changed configuration has faults; the old one stays";
                let number = faults.faults().len().to_string();
                log.event(Level::Error, "reload_refused", message, &[facts[0], ("faults", &number)]);
                return None;
            }
        };
        for warning in &loaded.warnings {
            log.event(Level::Warn, "configuration", &warning.to_string(), &[]);
        }
        if loaded.fixed != self.fixed {
            let message = "a listener or the number of workers was changed; that waits for a restart";
            log.event(Level::Warn, "reload_pending", message, &facts);
        }
        log.event(Level::Info, "reloaded", "the changed configuration is in place", &facts);
        Some(loaded.snapshot)
    }
}
