//! The stand-in Document Server: its options, its life, and what a test may ask it.

mod assets;
mod cache;
mod document;
mod engine;
mod host;
mod routes;
mod saving;
mod service;
mod session;

use crate::clock::{self, Now};
use crate::fault::{Fault, Faults};
use crate::network::Network;
use crate::record::{Received, Record};
use crate::server::{Handler, Server};
use document::Document;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a stand-in Document Server is set up.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `JWT_SECRET`.
    pub secret: String,
    /// `JWT_ENABLED`: without it, services believe what a request says beside its token.
    pub jwt: bool,
    /// `JWT_HEADER`.
    pub header: String,
    /// What stands before the token in that header.
    pub prefix: String,
    /// The product version, as in `/9.0.4-…/`.
    pub version: String,
    /// The build number behind it.
    pub build: u32,
    /// The second half of the version prefix.
    pub cache_tag: String,
    /// `SECURE_LINK_SECRET`.
    pub link_secret: String,
    /// How often an open socket is pinged.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered.
    pub ping_timeout: Duration,
    /// How long a socket may stay without a successful CONNECT.
    pub connect_timeout: Duration,
    /// How long after the last editor has gone a save starts.
    pub save_delay: Duration,
    /// Pauses before the second, third … try of a final save.
    pub retry_pauses: Vec<Duration>,
    /// How long one callback may take.
    pub callback_timeout: Duration,
    /// How callbacks and downloads reach other hosts.
    pub network: Network,
    /// The clock.
    pub now: Now,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            secret: "standin-secret-0123456789abcdef01".into(),
            jwt: true,
            header: "Authorization".into(),
            prefix: "Bearer ".into(),
            version: "9.0.4".into(),
            build: 54,
            cache_tag: "6c2544b8e86a3707c9cd6d6691fb2b5c".into(),
            link_secret: "standin-link-secret".into(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(45),
            save_delay: Duration::from_secs(5),
            retry_pauses: [1, 2, 4].map(Duration::from_secs).to_vec(),
            callback_timeout: Duration::from_secs(600),
            network: Network::default(),
            now: clock::system(),
        }
    }
}

/// A callback that the stand-in sent, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The document's key.
    pub key: String,
    /// 1, 2, 4, 6 …
    pub status: u32,
    /// Where it went.
    pub url: String,
    /// Which try of this save it was, from 1.
    pub attempt: u32,
    /// Status and body of the answer, or why there was none.
    pub answer: Result<(u16, String), String>,
}

/// A packet that an editor sent, such as `40{…}` or `42["message",{…}]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The key in the path of its socket.
    pub key: String,
    /// The packet without its transport; cut after 64 KiB.
    pub packet: String,
    /// How long it was.
    pub length: usize,
}

/// Everything that outlives a kill: what a real server keeps in its database and on its disk.
pub(crate) struct State {
    pub options: Options,
    pub record: Arc<Record>,
    pub faults: Faults,
    pub healthy: AtomicBool,
    pub documents: Mutex<HashMap<String, Document>>,
    pub files: Mutex<HashMap<String, cache::File>>,
    pub forgotten: tokio::sync::watch::Sender<BTreeMap<String, Vec<u8>>>,
    pub outputs: Mutex<HashMap<String, Vec<u8>>>,
    pub sent: tokio::sync::watch::Sender<Vec<Sent>>,
    pub heard: tokio::sync::watch::Sender<Vec<Heard>>,
    pub polls: Mutex<HashMap<String, engine::Poll>>,
    pub sockets: AtomicU64,
    counter: AtomicU64,
}

impl State {
    /// A number that has not been used before.
    pub fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// An id of 20 characters, as Engine.IO makes them.
    pub fn sid(&self) -> String {
        use md5::Digest as _;
        let number = self.number();
        let seed = std::collections::hash_map::RandomState::new();
        let random = std::hash::BuildHasher::hash_one(&seed, number);
        let mut id = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            md5::Md5::digest(random.to_be_bytes()),
        );
        id.truncate(15);
        format!("{id}{number:05}")
    }

    /// Remembers a packet for tests that look at what came through.
    pub fn note_packet(&self, key: &str, packet: &str) {
        self.heard.send_if_modified(|all| {
            let room = all.len() < 4096;
            if room {
                let first = &packet.as_bytes()[..packet.len().min(64 * 1024)];
                let kept = String::from_utf8_lossy(first).into_owned();
                all.push(Heard { key: key.to_owned(), packet: kept, length: packet.len() });
            }
            room
        });
    }

    pub fn seconds(&self) -> u64 {
        clock::seconds(&self.options.now)
    }

    pub fn millis(&self) -> u64 {
        clock::millis(&self.options.now)
    }
}

/// A Document Server 9.0.4 that needs no container: routes, sockets, shared documents and saves.
pub struct DocumentServer {
    state: Arc<State>,
    address: SocketAddr,
    server: Mutex<Option<Server>>,
}

impl DocumentServer {
    /// Starts listening.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: Options) -> io::Result<DocumentServer> {
        let listen = options.listen;
        let state = Arc::new(State {
            options,
            record: Arc::new(Record::new()),
            faults: Faults::default(),
            healthy: AtomicBool::new(true),
            documents: Mutex::default(),
            files: Mutex::default(),
            forgotten: tokio::sync::watch::Sender::new(BTreeMap::new()),
            outputs: Mutex::default(),
            sent: tokio::sync::watch::Sender::new(Vec::new()),
            heard: tokio::sync::watch::Sender::new(Vec::new()),
            polls: Mutex::default(),
            sockets: AtomicU64::new(0),
            counter: AtomicU64::new(1),
        });
        let server = listen_on(&state, listen).await?;
        Ok(DocumentServer { address: server.address(), state, server: Mutex::new(Some(server)) })
    }

    /// Where it listens; the same after [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The options it was started with.
    pub fn options(&self) -> &Options {
        &self.state.options
    }

    /// Kills it: listener, connections, sockets and pending saves end at once, nobody is told. Documents stay, as on a disk.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            server.stop().await;
        }
        self.state.polls.lock().unwrap().clear();
        self.state.sockets.store(0, Ordering::Relaxed);
        for document in self.state.documents.lock().unwrap().values_mut() {
            document.forget_everyone();
        }
    }

    /// Listens again on the same address after a [`stop`](Self::stop).
    ///
    /// # Errors
    /// When the address is taken by now.
    pub async fn start_again(&self) -> io::Result<()> {
        let server = listen_on(&self.state, self.address).await?;
        *self.server.lock().unwrap() = Some(server);
        Ok(())
    }

    /// What `/healthcheck` says.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Plays a fault wherever the decoded path, without version prefix, starts with `prefix`, until [`clear_faults`](Self::clear_faults).
    pub fn fault(&self, prefix: &str, fault: Fault) {
        self.state.faults.set(prefix, fault, None);
    }

    /// Plays a fault a number of times.
    pub fn fault_times(&self, prefix: &str, fault: Fault, times: u32) {
        self.state.faults.set(prefix, fault, Some(times));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Every request so far, oldest first, at most 4096.
    pub fn requests(&self) -> Vec<Received> {
        self.state.record.all()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state.record.clear();
    }

    /// Waits until a request that fits has arrived, or has already. Bodies are complete only when `body_complete` says so.
    pub async fn wait_for_request(&self, fits: impl Fn(&Received) -> bool) -> Received {
        self.state.record.wait_for(fits).await
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.state.record.connections()
    }

    /// How many sockets were upgraded.
    pub fn upgrades(&self) -> u64 {
        self.state.record.upgrades.load(Ordering::Relaxed)
    }

    /// How many WebSockets are open now.
    pub fn sockets(&self) -> u64 {
        self.state.sockets.load(Ordering::Relaxed)
    }

    /// The first 256 KiB of a connection, byte for byte, for tests of exact framing.
    pub fn wire(&self, connection: u64) -> Vec<u8> {
        self.state.record.wire(connection)
    }

    /// The first 4096 packets of all sockets, in the order in which they came.
    pub fn packets(&self) -> Vec<Heard> {
        self.state.heard.borrow().clone()
    }

    /// Waits until a packet that fits has come, or has already.
    pub async fn wait_for_packet(&self, fits: impl Fn(&Heard) -> bool) -> Heard {
        let mut news = self.state.heard.subscribe();
        let all =
            news.wait_for(|all| all.iter().any(&fits)).await.expect("the state lives as long as its server");
        all.iter().find(|heard| fits(heard)).cloned().expect("just found")
    }

    /// The text of an open document.
    pub fn text(&self, key: &str) -> Option<String> {
        self.state.documents.lock().unwrap().get(key).map(Document::text)
    }

    /// The user ids in a document, viewers included.
    pub fn participants(&self, key: &str) -> Vec<String> {
        self.state.documents.lock().unwrap().get(key).map(Document::user_ids).unwrap_or_default()
    }

    /// Sends every socket of a document a packet as it is, such as `42["message",{…}]`. Gives their number.
    pub fn push(&self, key: &str, packet: &str) -> usize {
        self.state.documents.lock().unwrap().get(key).map_or(0, |document| document.push(packet))
    }

    /// Closes the sockets of a document from the server's side. Gives their number.
    pub fn drop_sockets(&self, key: &str) -> usize {
        self.state.documents.lock().unwrap().get(key).map_or(0, Document::close_everyone)
    }

    /// What the next saves of a key hand out instead of its text: a broken file, for tests of the checks.
    pub fn set_output(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.state.outputs.lock().unwrap().insert(key.to_owned(), bytes.into());
    }

    /// Keys whose last save nobody took.
    pub fn forgotten(&self) -> Vec<String> {
        self.state.forgotten.borrow().keys().cloned().collect()
    }

    /// Keeps a file that nobody took, as after a save that was given up long ago.
    pub fn forget(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        self.state.forgotten.send_modify(|all| drop(all.insert(key.to_owned(), bytes.into())));
    }

    /// Waits until nothing of a key is kept that nobody took.
    pub async fn wait_for_cleared(&self, key: &str) {
        let mut news = self.state.forgotten.subscribe();
        news.wait_for(|all| !all.contains_key(key)).await.expect("the state lives as long as its server");
    }

    /// Waits until the last save of a key has been given up, or has already.
    pub async fn wait_for_forgotten(&self, key: &str) {
        let mut news = self.state.forgotten.subscribe();
        news.wait_for(|all| all.contains_key(key)).await.expect("the state lives as long as its server");
    }

    /// Every callback so far, each try on its own, in the order in which they ended.
    pub fn sent(&self) -> Vec<Sent> {
        self.state.sent.borrow().clone()
    }

    /// Waits until a callback that fits has ended, or has already.
    pub async fn wait_for_sent(&self, fits: impl Fn(&Sent) -> bool) -> Sent {
        let mut news = self.state.sent.subscribe();
        let found =
            news.wait_for(|all| all.iter().any(&fits)).await.expect("the state lives as long as its server");
        found.iter().find(|sent| fits(sent)).cloned().expect("just found")
    }

    /// Puts a file into the cache and gives the signed path and query under which it can be fetched for 15 minutes.
    pub fn cache(&self, key: &str, name: &str, bytes: impl Into<Vec<u8>>) -> String {
        let stored = format!("data/{key}/{name}");
        self.cache_as(&stored, bytes);
        self.sign(&stored, name, key, 900)
    }

    /// Puts a file into the cache under a path of your own, such as `data/key_123/output.docx`.
    pub fn cache_as(&self, stored: &str, bytes: impl Into<Vec<u8>>) {
        cache::put(&self.state, stored, bytes.into());
    }

    /// Whether there is a file under this path in the cache.
    pub fn cached(&self, stored: &str) -> bool {
        self.state.files.lock().unwrap().contains_key(stored)
    }

    /// The signed path and query of a file of `size` bytes that is made while it is read.
    pub fn cache_sized(&self, key: &str, name: &str, size: u64) -> String {
        self.sign(&format!("data/{key}/size-{size}"), name, key, 900)
    }

    /// The signed path and query of a cached file, valid for `seconds`; negative makes a link whose time is over.
    pub fn sign(&self, stored: &str, name: &str, shardkey: &str, seconds: i64) -> String {
        cache::link(&self.state, stored, name, shardkey, seconds)
    }
}

async fn listen_on(state: &Arc<State>, address: SocketAddr) -> io::Result<Server> {
    let for_requests = Arc::clone(state);
    let handler: Handler = Arc::new(move |request, connection| {
        let state = Arc::clone(&for_requests);
        Box::pin(routes::handle(state, request, connection))
    });
    Server::start(address, None, Arc::clone(&state.record), handler).await
}
