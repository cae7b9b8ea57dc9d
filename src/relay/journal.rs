//! Where saves stand, written down by one thread, in order. What the disk does not take is tried again until it does.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as queue};
use std::thread::JoinHandle;
use std::time::Duration;

use super::archive::Archiver;
use super::memory::{Known, Memory};
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
    /// An accepted save's document is to be kept for the archive.
    Copy,
    /// A document is to be remembered.
    Remember(Known),
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
    pub fn start(
        spool: Arc<Spool>,
        archiver: Arc<Archiver>,
        memory: Arc<Memory>,
        troubles: Arc<Troubles>,
        ops: Ops,
    ) -> io::Result<Self> {
        let (entries, lines) = queue::channel();
        let writer =
            Writer { spool, archiver, memory, troubles, ops, owed: BTreeMap::new(), forgetful: false };
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
    archiver: Arc<Archiver>,
    memory: Arc<Memory>,
    troubles: Arc<Troubles>,
    ops: Ops,
    /// Whether what is to be remembered could not be written down last time.
    forgetful: bool,
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
                // Neither of these says where a save stands, nor is either owed.
                Ok((id, Entry::Copy)) => self.archiver.keep(id),
                Ok((_, Entry::Remember(known))) => self.remember(&known),
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
            Entry::Copy | Entry::Remember(_) => Ok(()),
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
        let stored = match self.spool.store(id, state) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    && matches!(state.phase(), Phase::Settled(_)) =>
            {
                self.spool.forget(id)
            }
            other => other,
        };
        if stored.is_ok() && matches!(state.phase(), Phase::Settled(_)) {
            self.archiver.parted(id);
        }
        stored
    }

    fn remember(&mut self, known: &Known) {
        let written = self.memory.write(known);
        if let (Err(error), false) = (&written, self.forgetful) {
            self.say(Level::Warn, "whose documents are cannot be remembered on disk", &error.to_string());
        }
        self.forgetful = written.is_err();
    }

    fn say(&self, level: Level, message: &str, why: &str) {
        self.ops.log.event(level, "relay", message, &[("error", why)]);
    }
}
