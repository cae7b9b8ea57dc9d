//! Saves on disk: plain files, because documents are files anyway, an operator can `ls` and `cat` them beside a running
//! gateway without a lock, and one rename makes an entry whole (an embedded database would still need the files beside it).
//!
//! ```text
//! <directory>/incoming/<id>/        being written; thrown away at the start
//! <directory>/saves/<id>/record     what came, written once: CRC-32 and JSON
//! <directory>/saves/<id>/document   with `changes` and `form` where there are any; length and CRC-32 are in the record
//! <directory>/saves/<id>/state      where it stands, once that is not "to be delivered": CRC-32 and JSON
//! <directory>/orders/<verb>-<id>    what an operator wants, taken up within a second
//! <directory>/archive/<id>/         what waits for the archive: see `copies`
//! <directory>/lock                  held by the gateway that works here (flock); holds its process number; commands glance at it, shared
//! ```
//!
//! Order of writes: at the start, the folders themselves and all above them, fsync; then each document, fsync; record, fsync; fsync
//! of its folder; rename from `incoming` to `saves`; fsync of `saves`. Only then is anything promised. A crash before the rename
//! leaves rubbish in `incoming`; between rename and the last fsync the entry may or may not be there, and nobody was told; after
//! it, it is there. `state` is replaced by write, fsync,
//! rename, fsync of the folder: a crash leaves the old one or the new one. A `state` that cannot be read counts as none: the
//! save is delivered once more, under the same key. A record that cannot be read is left where it is and complained about.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::orders::past_glances;
pub use super::record::{Document, Record, Role, State, kind_name, phase_name};
use super::record::{checked, read_checked};
use crate::rules::save::{Id, Phase};

mod copies;
mod orders;

pub use copies::Kept;

/// Entries of any state. Each costs a folder and some hundred bytes of memory; a directory of more is slow to list.
const MOST: u64 = 50_000;

/// Where the disk may fail: tests answer for it.
pub trait Disk: Send + Sync {
    /// Called before each step; an error is that step's.
    ///
    /// # Errors
    /// What the disk would say.
    fn before(&self, step: Step) -> io::Result<()> {
        let _ = step;
        Ok(())
    }
}

/// A step that a disk can fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A folder or file is made.
    Create,
    /// Bytes are written.
    Write,
    /// A file is made durable.
    SyncFile,
    /// A folder is made durable.
    SyncFolder,
    /// A folder or file gets its final name.
    Rename,
}

/// The disk as it is.
pub struct RealDisk;
impl Disk for RealDisk {}

/// A save found on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its number.
    pub id: Id,
    /// What came; `None`: unreadable.
    pub record: Option<Record>,
    /// Where it stands.
    pub state: Option<State>,
}

/// The directory.
pub struct Spool {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    used: AtomicU64,
    entries: AtomicU64,
    /// The folders are there for good: what lies in one that a crash takes back is gone with it.
    founded: AtomicBool,
    /// Open and locked while a gateway works on the directory.
    lock: Mutex<Option<File>>,
}

/// A folder above the directory that may not be opened, or that lies on what cannot be written, was not made by a gateway.
fn not_ours_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    }
}

fn folder_name(id: Id) -> String {
    format!("{:016x}", id.0)
}

impl Spool {
    /// The directory below `root`, which need not exist yet.
    pub fn new(root: PathBuf, disk: Arc<dyn Disk>) -> Self {
        let (used, entries) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { root, disk, used, entries, founded: AtomicBool::new(false), lock: Mutex::default() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes possession, throws away what was never finished and lists what is there, oldest first. For the gateway that
    /// owns it.
    ///
    /// # Errors
    /// When the directory cannot be made or read; [`io::ErrorKind::WouldBlock`]: another gateway works on it.
    pub fn open(&self) -> io::Result<Vec<Found>> {
        let lock = self.possess()?;
        fs::remove_dir_all(self.root.join("incoming")).or_else(absent_is_fine)?;
        self.prepare()?;
        let found = self.list()?;
        let mut used = 0;
        for save in &found {
            used += size(&self.folder(save.id));
        }
        self.used.store(used, Ordering::Relaxed);
        self.entries.store(found.len() as u64, Ordering::Relaxed);
        *self.lock() = Some(lock);
        Ok(found)
    }

    /// Whether it was opened and not closed.
    pub fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Lets go of the directory.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two gateways would deliver everything twice, and each would throw away what the other is writing. The kernel lets go
    /// of the lock with the process, however that ends.
    fn possess(&self) -> io::Result<File> {
        self.prepare()?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.root.join("lock"))?;
        match past_glances(&file) {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(file)
            }
            Err(TryLockError::Error(error)) => Err(error),
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                file.take(20).read_to_string(&mut owner).ok();
                let what = format!(
                    "another gateway (process {}) works on the saves in {}: stop that one, or give this one a \
                     saves.directory of its own",
                    owner.trim(),
                    self.root.display()
                );
                Err(io::Error::new(io::ErrorKind::WouldBlock, what))
            }
        }
    }

    fn prepare(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        for name in ["incoming", "saves", "orders", "archive"] {
            let folder = self.root.join(name);
            if !folder.is_dir() {
                self.disk.before(Step::Create)?;
                // Documents are nobody's business but the gateway's.
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                self.founded.store(false, Ordering::Relaxed);
            }
        }
        if !self.founded.load(Ordering::Relaxed) {
            // All the way up, whoever made them and whenever: a former gateway may have been killed before it came to this.
            // A folder's name is in the one above it; a relative path ends in the folder that the gateway runs in.
            for folder in self.root.ancestors() {
                let synced = self.sync(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
                synced.or_else(
                    |error| if folder == self.root { Err(error) } else { not_ours_is_fine(error) },
                )?;
            }
            self.founded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What is there, oldest first; changes nothing, so anyone may ask beside a running gateway.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<Found>> {
        Ok(ids_in(&self.root.join("saves"))?
            .into_iter()
            .map(|id| Found { id, record: self.record(id).ok(), state: self.state(id).ok() })
            .collect())
    }

    /// Where a save lies.
    pub fn folder(&self, id: Id) -> PathBuf {
        self.root.join("saves").join(folder_name(id))
    }

    /// Where a document lies.
    pub fn document(&self, id: Id, role: Role) -> PathBuf {
        self.folder(id).join(role.name())
    }

    /// What came with a save.
    ///
    /// # Errors
    /// When it is not there or its checksum does not hold.
    pub fn record(&self, id: Id) -> io::Result<Record> {
        read_checked(&self.folder(id).join("record"))
    }

    /// What came with a save whose documents are all there.
    ///
    /// # Errors
    /// As [`Spool::record`], and when a document is not as long as it was when it was kept.
    pub fn whole(&self, id: Id) -> io::Result<Record> {
        let record = self.record(id)?;
        for document in &record.documents {
            if fs::metadata(self.document(id, document.role))?.len() != document.bytes {
                let what = "a document is not as long as it was when it was kept";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        Ok(record)
    }

    /// Where a save stands, as it was last written down.
    ///
    /// # Errors
    /// When it never was, or cannot be read.
    pub fn state(&self, id: Id) -> io::Result<State> {
        read_checked(&self.folder(id).join("state"))
    }

    /// Bytes in use, and entries.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }

    /// Begins an entry; `most` is `saves.max_size`.
    ///
    /// # Errors
    /// When the directory is full or cannot be written.
    pub fn begin(self: &Arc<Self>, id: Id, most: u64) -> io::Result<Draft> {
        if !self.is_open() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the directory of saves cannot be used"));
        }
        self.prepare()?;
        let (used, entries) = self.usage();
        if used >= most || entries >= MOST {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the directory of saves is full"));
        }
        let folder = self.root.join("incoming").join(folder_name(id));
        fs::remove_dir_all(&folder).or_else(absent_is_fine)?;
        fs::create_dir(&folder)?;
        self.entries.fetch_add(1, Ordering::Relaxed);
        Ok(Draft { spool: self.clone(), id, folder, most, taken: 0, done: false })
    }

    /// Writes down where a save stands. What is settled needs its documents no more.
    ///
    /// # Errors
    /// What the disk says; the old state stays.
    pub fn store(&self, id: Id, state: &State) -> io::Result<()> {
        let folder = self.folder(id);
        if !folder.exists() {
            return Ok(()); // it was never kept
        }
        self.write(&folder.join("state.new"), &checked(state)?)?;
        self.disk.before(Step::Rename)?;
        fs::rename(folder.join("state.new"), folder.join("state"))?;
        self.sync(&folder)?;
        if matches!(state.phase(), Phase::Settled(_)) {
            for (role, _) in Role::ALL {
                self.remove(&self.document(id, role))?;
            }
        }
        Ok(())
    }

    /// Forgets a save.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forget(&self, id: Id) -> io::Result<()> {
        let folder = self.folder(id);
        let bytes = size(&folder);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.give_back(bytes);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
        fs::remove_file(path).or_else(absent_is_fine)?;
        self.give_back(bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)))
            .ok();
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.before(Step::Create)?;
        let mut file = File::create(path)?;
        self.disk.before(Step::Write)?;
        file.write_all(bytes)?;
        self.disk.before(Step::SyncFile)?;
        file.sync_all()
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        self.disk.before(Step::SyncFolder)?;
        File::open(folder)?.sync_all()
    }
}

/// An entry that is being written. Dropped before it is whole, it leaves nothing.
pub struct Draft {
    spool: Arc<Spool>,
    id: Id,
    folder: PathBuf,
    most: u64,
    taken: u64,
    done: bool,
}

impl Draft {
    /// Begins a document.
    ///
    /// # Errors
    /// What the disk says.
    pub fn file(&self, role: Role) -> io::Result<Writing> {
        self.spool.disk.before(Step::Create)?;
        let file = File::create(self.folder.join(role.name()))?;
        Ok(Writing { file, role, bytes: 0, crc: crc32fast::Hasher::new() })
    }

    /// Writes a piece of a document.
    ///
    /// # Errors
    /// When the directory is full, or what the disk says.
    pub fn write(&mut self, writing: &mut Writing, piece: &[u8]) -> io::Result<()> {
        let more = piece.len() as u64;
        if self.spool.used.fetch_add(more, Ordering::Relaxed) + more > self.most {
            self.spool.give_back(more);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the directory of saves is full"));
        }
        self.taken += more;
        self.spool.disk.before(Step::Write)?;
        writing.file.write_all(piece)?;
        writing.crc.update(piece);
        writing.bytes += more;
        Ok(())
    }

    /// Gives up a document that is to be written once more.
    pub fn abandon(&mut self, writing: Writing) {
        self.spool.give_back(writing.bytes);
        self.taken = self.taken.saturating_sub(writing.bytes);
    }

    /// Ends a document: it is durable.
    ///
    /// # Errors
    /// What the disk says; nothing of it may be promised then.
    pub fn end(&self, writing: Writing, name: String) -> io::Result<Document> {
        self.spool.disk.before(Step::SyncFile)?;
        writing.file.sync_all()?;
        Ok(Document { role: writing.role, name, bytes: writing.bytes, crc: writing.crc.finalize() })
    }

    /// Makes the entry whole and durable.
    ///
    /// # Errors
    /// What the disk says; nothing of it may be promised then.
    pub fn commit(mut self, record: &Record) -> io::Result<()> {
        let text = checked(record)?;
        self.spool.write(&self.folder.join("record"), &text)?;
        self.taken += text.len() as u64;
        self.spool.used.fetch_add(text.len() as u64, Ordering::Relaxed);
        self.spool.sync(&self.folder)?;
        self.spool.disk.before(Step::Rename)?;
        let whole = self.spool.folder(self.id);
        fs::rename(&self.folder, &whole)?;
        if let Err(error) = self.spool.sync(&self.spool.root.join("saves")) {
            // Not durable for sure, so not promised; and what was not promised must not be delivered later.
            fs::rename(&whole, &self.folder).ok();
            return Err(error);
        }
        self.done = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.done {
            fs::remove_dir_all(&self.folder).ok();
            self.spool.give_back(self.taken);
            self.spool.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A document that is being written.
pub struct Writing {
    file: File,
    role: Role,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Writing {
    /// How much has been written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// The saves that have a folder there, oldest first.
fn ids_in(folder: &Path) -> io::Result<Vec<Id>> {
    let mut ids: Vec<Id> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name.to_str().filter(|name| name.len() == 16).and_then(|n| u64::from_str_radix(n, 16).ok());
        ids.extend(id.map(Id));
    }
    ids.sort();
    Ok(ids)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
