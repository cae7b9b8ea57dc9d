//! What a stand-in received, so that a test can compare it with what was sent to the gateway.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::watch;

/// How many requests are remembered.
const REQUESTS: usize = 4096;
/// How much of a body is remembered.
const BODY: usize = 64 * 1024;
/// How many connections are remembered byte for byte.
const WIRES: usize = 64;
/// How many bytes of a connection are remembered.
const WIRE: usize = 256 * 1024;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// `GET`, `POST`, …
    pub method: String,
    /// The request target, byte for byte.
    pub target: String,
    /// Names in lower case with their values, in the order of arrival; values of one name stand together.
    pub headers: Vec<(String, String)>,
    /// How many bytes of body have arrived so far.
    pub body_length: u64,
    /// Whether the body has arrived to its end.
    pub body_complete: bool,
    /// The first 64 KiB of the body.
    pub body: Bytes,
    /// When the head had arrived.
    pub at: Instant,
    /// When the first byte of the body had arrived.
    pub first_body_byte: Option<Instant>,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Which connection it came on; counts from 1.
    pub connection: u64,
}

impl Received {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// How far a body has come.
#[derive(Default)]
struct Progress {
    length: u64,
    complete: bool,
    first: Option<Instant>,
    kept: Vec<u8>,
}

struct Entry {
    received: Received,
    progress: Arc<Mutex<Progress>>,
}

impl Entry {
    fn now(&self) -> Received {
        let progress = self.progress.lock().unwrap();
        Received {
            body_length: progress.length,
            body_complete: progress.complete,
            body: Bytes::copy_from_slice(&progress.kept),
            first_body_byte: progress.first,
            ..self.received.clone()
        }
    }
}

/// The bytes of one connection, as they came.
pub(crate) type Wire = Arc<Mutex<Vec<u8>>>;

/// Everything that a stand-in received.
pub(crate) struct Record {
    entries: Mutex<VecDeque<Entry>>,
    wires: Mutex<VecDeque<(u64, Wire)>>,
    connections: AtomicU64,
    pub upgrades: AtomicU64,
    changed: watch::Sender<u64>,
}

impl Record {
    pub fn new() -> Self {
        Record {
            entries: Mutex::default(),
            wires: Mutex::default(),
            connections: AtomicU64::new(0),
            upgrades: AtomicU64::new(0),
            changed: watch::Sender::new(0),
        }
    }

    /// Notes a connection; gives its number and the place for its bytes.
    pub fn connected(&self) -> (u64, Wire) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let wire = Wire::default();
        let mut wires = self.wires.lock().unwrap();
        wires.push_back((number, Arc::clone(&wire)));
        if wires.len() > WIRES {
            wires.pop_front();
        }
        (number, wire)
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn wire(&self, connection: u64) -> Vec<u8> {
        let wires = self.wires.lock().unwrap();
        wires
            .iter()
            .find(|(number, _)| *number == connection)
            .map_or_else(Vec::new, |(_, wire)| wire.lock().unwrap().clone())
    }

    /// Notes a request and hands its body back, counted.
    pub fn request(
        &self,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        connection: u64,
    ) -> hyper::Request<Counted> {
        let headers = request.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let received = Received {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers: headers.collect(),
            body_length: 0,
            body_complete: false,
            body: Bytes::new(),
            at: Instant::now(),
            first_body_byte: None,
            peer,
            connection,
        };
        let progress = Arc::new(Mutex::new(Progress {
            complete: request.body().is_end_stream(),
            ..Progress::default()
        }));
        // What a gateway asks for itself, at times of its own, is nothing that a test has sent through it.
        if received.header("user-agent") != Some("rapidpm-gateway") {
            let mut entries = self.entries.lock().unwrap();
            entries.push_back(Entry { received, progress: Arc::clone(&progress) });
            if entries.len() > REQUESTS {
                entries.pop_front();
            }
        }
        self.changed.send_modify(|count| *count += 1);
        let changed = self.changed.clone();
        request.map(|inner| Counted { inner, progress, changed })
    }

    pub fn all(&self) -> Vec<Received> {
        self.entries.lock().unwrap().iter().map(Entry::now).collect()
    }

    pub fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }

    /// Waits until a request that fits has arrived, or has already.
    pub async fn wait_for(&self, fits: impl Fn(&Received) -> bool) -> Received {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let found = self.entries.lock().unwrap().iter().map(Entry::now).find(|received| fits(received));
            match found {
                Some(received) => return received,
                None => changed.changed().await.expect("the record lives as long as its stand-in"),
            }
        }
    }
}

/// Keeps bytes of a connection up to the limit.
pub(crate) fn keep(wire: &Wire, bytes: &[u8]) {
    let mut wire = wire.lock().unwrap();
    let room = WIRE - wire.len().min(WIRE);
    wire.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// A request body that is counted while it is read.
pub(crate) struct Counted {
    inner: Incoming,
    progress: Arc<Mutex<Progress>>,
    changed: watch::Sender<u64>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(frame) = &polled {
            let mut progress = self.progress.lock().unwrap();
            let first = progress.first.is_none();
            match frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        progress.first.get_or_insert_with(Instant::now);
                        progress.length += data.len() as u64;
                        let room = BODY - progress.kept.len();
                        progress.kept.extend_from_slice(&data[..data.len().min(room)]);
                    }
                }
                Some(Err(_)) => {}
                None => progress.complete = true,
            }
            if self.inner.is_end_stream() {
                progress.complete = true;
            }
            let news = first || progress.complete;
            drop(progress);
            if news {
                self.changed.send_modify(|count| *count += 1);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
