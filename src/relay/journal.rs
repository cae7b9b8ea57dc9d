//! Where saves stand, written down by one thread, in order. What the disk does not take is tried again until it does.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as queue};
use std::thread::JoinHandle;
use std::time::Duration;

use super::spool::{Spool, State};
use super::status::{Trouble, Troubles};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::save::{Id, Phase};

/// Between two tries of what the disk did not take.
const PAUSE: Duration = Duration::from_secs(1);

/// A line for the journal.
pub enum Entry {
    /// Where a save stands.
    Store(State),
    /// A save is to be forgotten.
    Drop,
}

/// The way to the thread that writes, and the thread.
type Desk = (queue::Sender<(Id, Entry)>, JoinHandle<()>);

/// The thread that writes, until it is told to end.
pub struct Journal(Mutex<Option<Desk>>);

impl Journal {
    /// Begins.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(spool: Arc<Spool>, troubles: Arc<Troubles>, ops: Ops) -> io::Result<Self> {
        let (entries, lines) = queue::channel();
        let writer = Writer { spool, troubles, ops, owed: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&lines))?;
        Ok(Self(Mutex::new(Some((entries, thread)))))
    }

    /// Hands a line over.
    pub fn note(&self, id: Id, entry: Entry) {
        let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((entries, _)) = &*journal {
            entries.send((id, entry)).ok();
        }
    }

    /// Writes what is still to be written and ends.
    pub fn end(&self) {
        let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((entries, writer)) = journal {
            drop(entries);
            writer.join().ok(); // its panic was printed by itself
        }
    }
}

struct Writer {
    spool: Arc<Spool>,
    troubles: Arc<Troubles>,
    ops: Ops,
    /// The latest line of each save that the disk did not take.
    owed: BTreeMap<Id, Entry>,
}

impl Writer {
    fn run(mut self, lines: &queue::Receiver<(Id, Entry)>) {
        loop {
            let line = match self.owed.is_empty() {
                true => lines.recv().map_err(|_| queue::RecvTimeoutError::Disconnected),
                false => lines.recv_timeout(PAUSE),
            };
            match line {
                Ok((id, entry)) => {
                    self.owed.remove(&id);
                    self.write(id, entry);
                }
                Err(queue::RecvTimeoutError::Timeout) => self.again(),
                Err(queue::RecvTimeoutError::Disconnected) => return self.again(),
            }
        }
    }

    /// Tries what is owed, up to the first that fails: a disk that is sick is not asked more than that.
    fn again(&mut self) {
        while let Some((id, entry)) = self.owed.pop_first() {
            if !self.write(id, entry) {
                return;
            }
        }
    }

    fn write(&mut self, id: Id, entry: Entry) -> bool {
        let written = match &entry {
            Entry::Store(state) => self.store(id, state),
            Entry::Drop => self.spool.forget(id),
        };
        let Err(error) = written else {
            if self.owed.is_empty() && self.troubles.over(Trouble::Journal) {
                self.say(Level::Info, "where saves stand is written down again", "");
            }
            return true;
        };
        self.owed.insert(id, entry);
        if self.troubles.stand(Trouble::Journal, &error.to_string()) {
            let message = "where saves stand cannot be written down; it is tried again every second";
            self.say(Level::Error, message, &error.to_string());
        }
        false
    }

    /// A disk without room has none for a word about a settled save either: then its room counts more than what it would be
    /// remembered for, which is to answer repeats after a restart.
    fn store(&self, id: Id, state: &State) -> io::Result<()> {
        match self.spool.store(id, state) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    && matches!(state.phase(), Phase::Settled(_)) =>
            {
                self.spool.forget(id)
            }
            other => other,
        }
    }

    fn say(&self, level: Level, message: &str, why: &str) {
        self.ops.log.event(level, "relay", message, &[("error", why)]);
    }
}
