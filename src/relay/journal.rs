//! Where saves stand, written down by one thread, in order.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as queue};
use std::thread::JoinHandle;

use super::spool::{Spool, State};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::save::Id;

/// A line for the journal.
pub enum Entry {
    /// Where a save stands.
    Store(Id, State),
    /// A save is to be forgotten.
    Drop(Id),
}

/// The thread that writes.
pub struct Journal(Mutex<Option<(queue::Sender<Entry>, JoinHandle<()>)>>);

impl Journal {
    /// Begins.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(spool: Arc<Spool>, ops: Ops) -> io::Result<Self> {
        let (entries, lines) = queue::channel();
        let writer =
            std::thread::Builder::new().name("journal".into()).spawn(move || write(&spool, &lines, &ops))?;
        Ok(Self(Mutex::new(Some((entries, writer)))))
    }

    /// Hands a line over.
    pub fn note(&self, entry: Entry) {
        let journal = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((entries, _)) = &*journal {
            entries.send(entry).ok();
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

fn write(spool: &Spool, lines: &queue::Receiver<Entry>, ops: &Ops) {
    while let Ok(entry) = lines.recv() {
        let written = match entry {
            Entry::Store(id, state) => spool.store(id, &state),
            Entry::Drop(id) => spool.forget(id),
        };
        if let Err(error) = written {
            let why = error.to_string();
            ops.log.event(
                Level::Error,
                "relay",
                "the journal of saves cannot be written",
                &[("error", &why)],
            );
        }
    }
}
