//! What operators want of a save, as files that name it: `saves retry` and `saves discard` work beside a running gateway.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::{Id, Spool, folder_name};

/// How often a lock that somebody glances at is tried, and how long in between: half a second for what takes microseconds.
const TRIES: u32 = 100;
const GLANCE: Duration = Duration::from_millis(5);

/// Takes the directory's lock. `saves retry` holds it for a moment, shared, to see whether anybody works here: that keeps no
/// gateway from starting, as another gateway does.
pub(super) fn past_glances(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => file.try_lock_shared()?,
            other => return other,
        }
        file.unlock().map_err(TryLockError::Error)?;
        thread::sleep(GLANCE);
    }
    file.try_lock()
}

impl Spool {
    /// What operators want. An order stays until it is [taken](Spool::take_order).
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn orders(&self) -> io::Result<Vec<(String, Id)>> {
        let mut orders = Vec::new();
        for entry in fs::read_dir(self.root.join("orders"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let order = name
                .split_once('-')
                .and_then(|(verb, id)| Some((verb.to_owned(), Id(u64::from_str_radix(id, 16).ok()?))));
            orders.extend(order);
        }
        Ok(orders)
    }

    /// Takes an order away. What cannot be taken away must not be carried out either: it would be every second.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take_order(&self, verb: &str, id: Id) -> io::Result<()> {
        fs::remove_file(self.order_file(verb, id))
    }

    fn order_file(&self, verb: &str, id: Id) -> PathBuf {
        self.root.join("orders").join(format!("{verb}-{}", folder_name(id)))
    }

    /// Whether a gateway works on the directory now. Holds its lock for a moment where none does.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub fn is_worked_on(&self) -> io::Result<bool> {
        match File::open(self.root.join("lock")) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Leaves an order for the gateway that owns the directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn order(&self, verb: &str, id: Id) -> io::Result<()> {
        File::create(self.order_file(verb, id)).map(drop)
    }
}
