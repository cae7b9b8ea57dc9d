//! The editor's unchanging files, kept in memory: what one browser has fetched, the next gets without the Document Server.
//!
//! Two tables. `addresses` says which file stands at an address; `files` has the files themselves under the hash of their
//! content, so that a restarted container, which serves the same files at new addresses, finds them already there, their brotli
//! included. Addresses that nobody asks for any more are pushed out by those that somebody does.

mod brotli;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES,
    HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, SERVER, VARY,
};
use tinyufo::TinyUfo;

use crate::ops::metrics::Metrics;
use crate::rules::asset::{Coding, Codings, Validators, may_shrink};

pub use brotli::compress;

/// What files are weighed in: the cache counts in sixteen bits, and 4 KiB × 65,535 are more than any file here has.
const UNIT: usize = 4 << 10;
/// Addresses that are remembered, about 400 bytes each. An editor's first open asks for 60 (captures/browser), the whole
/// container has some thousand files.
const MOST_ADDRESSES: usize = 8_192;
/// Of the memory, one file may have this part: the largest, a 19 MB script, has 4.3 MB as gzip.
const PART: usize = 4;
/// And all that is being fetched at once, this: a slow client holds what has come of its file.
const DRAFTS: usize = 2;
/// Files that wait for their brotli.
const WAITING: usize = 256;
/// An address that stands for this long with the same hash: browsers need not ask again.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// `[assets]` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of files that are kept; 0: none.
    pub memory: u64,
}

/// The hash of a file's type, coding and bytes.
type Id = [u8; 32];

/// The files that are kept. Outlives reloads as long as its size stays what it is.
pub struct Cache {
    settings: Settings,
    limit: usize,
    addresses: TinyUfo<Box<str>, Arc<Place>>,
    files: TinyUfo<Id, Weak<File>>,
    /// The files that are in `files`. That table frees what it has pushed out some dozens of files later, and a dozen of the largest
    /// are 50 MB; these are gone at once.
    held: Mutex<HashMap<Id, Arc<File>>>,
    /// Addresses that are being fetched: a second copy would be thrown away.
    fetched: Mutex<Vec<Box<str>>>,
    /// Bytes of what is being fetched: pieces of answers that are held until they are whole.
    drafted: AtomicUsize,
    /// Files that wait for their brotli. Who is pushed out meanwhile is not held by it.
    waiting: SyncSender<Weak<File>>,
    worker: Mutex<Option<Receiver<Weak<File>>>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({} bytes)", self.settings.memory)
    }
}

/// What stands at an address.
struct Place {
    address: Box<str>,
    id: Id,
    /// The Document Server's fields, without those that the gateway writes itself.
    fields: HeaderMap,
    theirs: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// A file as the Document Server sent it, and as brotli once that has been made.
struct File {
    id: Id,
    bytes: Bytes,
    coding: Coding,
    brotli: OnceLock<Bytes>,
    metrics: Arc<Metrics>,
}

impl File {
    fn new(id: Id, bytes: Bytes, coding: Coding, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.assets.bytes.increment(bytes.len() as f64);
        Arc::new(Self { id, bytes, coding, brotli: OnceLock::new(), metrics })
    }

    fn has_brotli(&self, made: Vec<u8>) {
        self.metrics.assets.bytes.increment(made.len() as f64);
        self.metrics.assets.brotli.increment(1);
        self.brotli.set(made.into()).ok();
    }

    fn len(&self) -> usize {
        self.bytes.len() + self.brotli.get().map_or(0, Bytes::len)
    }

    fn weight(&self) -> u16 {
        u16::try_from(self.len().div_ceil(UNIT)).unwrap_or(u16::MAX).max(1)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.metrics.assets.bytes.decrement(self.len() as f64);
    }
}

/// A kept file in the coding that was chosen for a client.
pub struct Kept {
    place: Arc<Place>,
    /// Its bytes.
    pub bytes: Bytes,
    coding: Coding,
    etag: String,
}

impl Cache {
    /// An empty one; `None` if nothing is to be kept.
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Option<Arc<Self>> {
        let limit = usize::try_from(settings.memory).unwrap_or(usize::MAX);
        if limit == 0 {
            return None;
        }
        let (waiting, worker) = sync_channel(WAITING);
        Some(Arc::new(Self {
            settings,
            limit,
            addresses: TinyUfo::new_compact(MOST_ADDRESSES, MOST_ADDRESSES),
            files: TinyUfo::new_compact(limit.div_ceil(UNIT), MOST_ADDRESSES),
            held: Mutex::default(),
            fetched: Mutex::default(),
            drafted: AtomicUsize::new(0),
            waiting,
            worker: Mutex::new(Some(worker)),
            metrics,
        }))
    }

    /// What it was made for.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The file at an address in the smallest coding that the client takes; `None` if there is none.
    pub fn find(&self, address: &str, codings: Codings) -> Option<Kept> {
        let place = self.addresses.get(&Box::from(address)).filter(|place| *place.address == *address)?;
        let file = self.file(&place.id)?;
        let brotli = file.brotli.get().filter(|_| codings.take(Coding::Brotli));
        let (bytes, coding) = match brotli {
            Some(brotli) => (brotli.clone(), Coding::Brotli),
            None => Some((file.bytes.clone(), file.coding)).filter(|(_, coding)| codings.take(*coding))?,
        };
        let etag = etag(&file.id, coding);
        Some(Kept { place, bytes, coding, etag })
    }

    /// Begins to keep the answer of a Document Server that is on its way to a client; `None` if somebody does already.
    pub fn draft(self: &Arc<Self>, address: &str, fields: &HeaderMap, coding: Coding) -> Option<Draft> {
        /// More at once than an editor's browser asks for is a crowd, and the next crowd may keep the rest.
        const MOST_DRAFTS: usize = 64;
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let address: Box<str> = address.into();
        if fetched.len() >= MOST_DRAFTS || fetched.contains(&address) {
            return None;
        }
        fetched.push(address.clone());
        drop(fetched);
        let mut hash = Context::new(&SHA256);
        hash.update(fields.get(CONTENT_TYPE).map_or(&[], HeaderValue::as_bytes));
        hash.update(&[0, coding as u8]);
        let place = Place {
            theirs: fields.get(ETAG).and_then(own),
            modified: fields.get(LAST_MODIFIED).and_then(own),
            fields: theirs(fields),
            id: Id::default(),
            address,
        };
        let fetching = Fetching { cache: self.clone(), address: place.address.clone(), bytes: 0 };
        Some(Draft { fetching, place, coding, hash, pieces: Vec::new() })
    }

    fn keep(&self, place: Place, coding: Coding, pieces: &[Bytes]) {
        if self.file(&place.id).is_none() {
            let file = File::new(place.id, pieces.concat().into(), coding, self.metrics.clone());
            self.put(&file);
            if may_shrink(coding, place.fields.get(CONTENT_TYPE), file.bytes.len()) {
                self.waiting.try_send(Arc::downgrade(&file)).ok(); // full: it stays what it is while it is here
            }
        }
        drop(self.addresses.put(place.address.clone(), Arc::new(place), 1));
    }

    fn file(&self, id: &Id) -> Option<Arc<File>> {
        self.files.get(id)?.upgrade()
    }

    fn put(&self, file: &Arc<File>) {
        // Both under one lock: what is in one is in the other. Only who has fetched a file comes here.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(file.id, file.clone());
        for out in self.files.put(file.id, Arc::downgrade(file), file.weight()) {
            if let Some(out) = out.data.upgrade() {
                held.remove(&out.id);
            }
        }
    }

    /// The other end of the queue for brotli, for the one who takes it first.
    pub fn claim_worker(&self) -> Option<Work> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Work { worker })
    }
}

/// Files that want to become brotli.
pub struct Work {
    worker: Receiver<Weak<File>>,
}

/// The Document Server's fields, without those that belong to one answer or that the gateway writes itself.
fn theirs(fields: &HeaderMap) -> HeaderMap {
    const NOT: [HeaderName; 10] = [
        ACCEPT_RANGES,
        AGE,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        DATE,
        ETAG,
        EXPIRES,
        SERVER,
        VARY,
    ];
    let kept = fields.iter().filter(|(name, _)| !NOT.contains(name));
    kept.filter_map(|(name, value)| Some((name.clone(), own(value)?))).collect()
}

/// A copy: a field that was read is a slice of what its connection was read into, hundreds of kilobytes, and holds all of it.
fn own(value: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

fn etag(id: &Id, coding: Coding) -> String {
    let mut etag = String::with_capacity(40);
    etag.push('"');
    for byte in &id[..12] {
        write!(etag, "{byte:02x}").ok();
    }
    etag.push_str(match coding {
        Coding::Brotli => "-br\"",
        Coding::Gzip => "-gz\"",
        Coding::Identity => "\"",
    });
    etag
}

impl Kept {
    /// What conditions are judged by.
    pub fn validators(&self) -> Validators<'_> {
        let Place { theirs, modified, .. } = &*self.place;
        Validators {
            own: &self.etag,
            theirs: theirs.as_ref().and_then(|tag| tag.to_str().ok()),
            modified: modified.as_ref().and_then(|date| date.to_str().ok()),
        }
    }

    /// The fields of an answer with it.
    pub fn fields(&self) -> HeaderMap {
        let mut fields = self.place.fields.clone();
        fields.insert(CACHE_CONTROL, FOREVER);
        fields.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(coding) = self.coding.value() {
            fields.insert(CONTENT_ENCODING, coding);
        }
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            fields.insert(ETAG, etag);
        }
        fields
    }
}

/// An answer on its way to a client, of which a copy is kept once it is whole. Dropped before, it leaves nothing.
pub struct Draft {
    fetching: Fetching,
    place: Place,
    coding: Coding,
    hash: Context,
    pieces: Vec<Bytes>,
}

/// An address on the list of those that are being fetched, and what has come of it.
struct Fetching {
    cache: Arc<Cache>,
    address: Box<str>,
    bytes: usize,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let mut fetched = self.cache.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.retain(|address| *address != self.address);
        self.cache.drafted.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Draft {
    /// The next piece. `false`: it is too large to be kept, or too much is being kept at once.
    pub fn take(&mut self, piece: &Bytes) -> bool {
        let cache = &self.fetching.cache;
        self.fetching.bytes += piece.len();
        let drafted = cache.drafted.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        self.hash.update(piece);
        self.pieces.push(piece.clone());
        self.fetching.bytes <= cache.limit / PART && drafted <= cache.limit / DRAFTS
    }

    /// It is whole.
    pub fn finish(self) {
        let Self { fetching, mut place, coding, hash, pieces } = self;
        place.id.copy_from_slice(hash.finish().as_ref());
        fetching.cache.keep(place, coding, &pieces);
    }
}

#[cfg(test)]
mod tests;
