//! The stand-in integrator: an application that embeds editors, takes callbacks and keeps what was saved.

mod pages;
mod receive;

use crate::clock::{self, Now};
use crate::fault::{Fault, Faults};
use crate::network::Network;
use crate::record::{Received, Record};
use crate::server::{Handler, Server};
use crate::token;
use crate::zip;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How a stand-in integrator is set up.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key as PEM, to listen with TLS.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// Where browsers find the Document Server: the gateway.
    pub gateway: String,
    /// What stands in front of `/callback` and `/files/…` in signed configurations; empty for this application's own address.
    /// With the gateway's relay: `https://onlyoffice.rapidpm.uk/relay/rapidpm`.
    pub public_url: String,
    /// The secret shared with the Document Server.
    pub secret: String,
    /// The header in which tokens are expected.
    pub header: String,
    /// What stands before the token in that header.
    pub prefix: String,
    /// How long a signed configuration is valid.
    pub valid: Duration,
    /// Whether a document is only given out for a token that names it.
    pub check_downloads: bool,
    /// How saved documents are fetched.
    pub network: Network,
    /// The clock.
    pub now: Now,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            gateway: "http://127.0.0.1:8088".into(),
            public_url: String::new(),
            secret: "standin-secret-0123456789abcdef01".into(),
            header: "Authorization".into(),
            prefix: "Bearer ".into(),
            valid: Duration::from_secs(300),
            check_downloads: true,
            network: Network::default(),
            now: clock::system(),
        }
    }
}

/// How a callback is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// As it should be: what a save names is fetched and stored, then `{"error":0}`.
    Take,
    /// `Take`, but only after this time.
    Slow(Duration),
    /// 200 with `{"error":n}`; nothing is stored.
    Error(i64),
    /// This status with `{"error":0}` as JSON (204 without a body); nothing is stored.
    Status(u16),
    /// 200 with a login page instead of JSON.
    NotJson,
    /// 200 without a body.
    Empty,
    /// This status with a `Location`.
    Redirect(u16, String),
    /// Stores what a save names and then resets the connection, so that nobody hears of it.
    TakeAndReset,
    /// A TCP reset instead of an answer.
    Reset,
    /// No answer at all.
    Hang,
}

/// A callback as it arrived.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The request target, such as `/callback?id=demo`.
    pub target: String,
    /// Names in lower case with their values.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// What the accepted token claims; the body itself where none was accepted.
    pub claims: Value,
    /// Whether the token of body or header was accepted, and why not.
    pub token: Result<(), String>,
    /// The document's key.
    pub key: String,
    /// 1, 2, 4, 6 …
    pub status: u32,
    /// When it arrived.
    pub at: Instant,
    /// The status and body of the answer, once there is one.
    pub answer: Option<(u16, String)>,
    clock: u64,
}

impl Callback {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A document that came with a callback and was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// The key that was saved.
    pub key: String,
    /// 2 or 6, or 3 or 7 with a document.
    pub status: u32,
    /// Where it was fetched.
    pub url: String,
    /// The document.
    pub bytes: Bytes,
}

impl Save {
    /// The document's text.
    pub fn text(&self) -> String {
        zip::text_of(&self.bytes)
    }
}

/// A document that this application keeps.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub title: String,
    pub kind: String,
    pub version: u32,
    pub bytes: Bytes,
}

/// Everything that outlives a stop.
pub(crate) struct State {
    pub options: Options,
    pub addresses: Mutex<Addresses>,
    pub record: Arc<Record>,
    pub faults: Faults,
    pub documents: Mutex<BTreeMap<String, Stored>>,
    pub callbacks: watch::Sender<Vec<Callback>>,
    pub saves: watch::Sender<Vec<Save>>,
    replies: Mutex<Vec<Rule>>,
}

/// Addresses that may only be known after the start.
pub(crate) struct Addresses {
    pub gateway: String,
    pub public: String,
}

struct Rule {
    status: Option<u32>,
    reply: Reply,
    left: Option<u32>,
}

impl State {
    /// How a callback of this status is answered now.
    pub fn reply(&self, status: u32) -> Reply {
        let mut rules = self.replies.lock().unwrap();
        let fits =
            |rule: &&mut Rule| rule.status.is_none_or(|wanted| wanted == status) && rule.left != Some(0);
        let Some(rule) = rules.iter_mut().find(fits) else { return Reply::Take };
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        rule.reply.clone()
    }

    /// The key under which the present version of a document is opened; a save makes a new one.
    pub fn key(id: &str, version: u32) -> String {
        if version == 1 { id.to_owned() } else { format!("{id}.{version}") }
    }

    /// The document that a key belongs to.
    pub fn id_of(&self, key: &str) -> String {
        let documents = self.documents.lock().unwrap();
        match key.rsplit_once('.') {
            Some((id, version)) if version.parse::<u32>().is_ok() && documents.contains_key(id) => {
                id.to_owned()
            }
            _ => key.to_owned(),
        }
    }
}

/// An application with editors: pages, documents, callbacks.
pub struct Integrator {
    state: Arc<State>,
    address: SocketAddr,
    server: Mutex<Option<Server>>,
}

impl Integrator {
    /// Starts listening, with one document `demo`.
    ///
    /// # Errors
    /// When the address cannot be bound or the certificate cannot be used.
    pub async fn start(options: Options) -> io::Result<Integrator> {
        let listen = options.listen;
        let https = options.tls.is_some();
        let addresses = Addresses {
            gateway: options.gateway.trim_end_matches('/').into(),
            public: options.public_url.trim_end_matches('/').into(),
        };
        let state = Arc::new(State {
            options,
            addresses: Mutex::new(addresses),
            record: Arc::new(Record::new()),
            faults: Faults::default(),
            documents: Mutex::default(),
            callbacks: watch::Sender::new(Vec::new()),
            saves: watch::Sender::new(Vec::new()),
            replies: Mutex::default(),
        });
        let server = listen_on(&state, listen).await?;
        let address = server.address();
        let own = format!("{}://{address}", if https { "https" } else { "http" });
        let mut addresses = state.addresses.lock().unwrap();
        if addresses.public.is_empty() {
            addresses.public = own;
        }
        drop(addresses);
        let integrator = Integrator { address, state, server: Mutex::new(Some(server)) };
        integrator.put("demo", "txt", "Welcome.\n\nOpen this document in a second tab and write in both.\n");
        Ok(integrator)
    }

    /// Where it listens; the same after [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.state.options.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Kills it; documents and records stay.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            server.stop().await;
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

    /// Where browsers find the Document Server, for a gateway that was started later.
    pub fn set_gateway(&self, url: &str) {
        self.state.addresses.lock().unwrap().gateway = url.trim_end_matches('/').to_owned();
    }

    /// What stands in front of `/callback` and `/files/…` from now on, for a relay that was started later.
    pub fn set_public_url(&self, url: &str) {
        self.state.addresses.lock().unwrap().public = url.trim_end_matches('/').to_owned();
    }

    /// Stores a document of text; `kind` is its type, such as `txt` or `docx`.
    pub fn put(&self, id: &str, kind: &str, text: &str) {
        self.put_bytes(id, kind, zip::document(kind, text));
    }

    /// Stores a document of any bytes.
    pub fn put_bytes(&self, id: &str, kind: &str, bytes: impl Into<Bytes>) {
        let stored =
            Stored { title: format!("{id}.{kind}"), kind: kind.to_owned(), version: 1, bytes: bytes.into() };
        self.state.documents.lock().unwrap().insert(id.to_owned(), stored);
    }

    /// The present text of a document.
    pub fn text(&self, id: &str) -> Option<String> {
        self.state.documents.lock().unwrap().get(id).map(|stored| zip::text_of(&stored.bytes))
    }

    /// The claims of a configuration for an editor: of class *open*, without times.
    pub fn claims(&self, id: &str, user: (&str, &str), mode: &str) -> Value {
        pages::claims(&self.state, id, user, mode)
    }

    /// A signed configuration as a page gets it, with `token`.
    pub fn configuration(&self, id: &str, user: (&str, &str), mode: &str) -> Value {
        let mut claims = self.claims(id, user, mode);
        claims["token"] = json!(self.open_token(id, user, mode));
        claims
    }

    /// A token of class *open*.
    pub fn open_token(&self, id: &str, user: (&str, &str), mode: &str) -> String {
        let valid = i64::try_from(self.state.options.valid.as_secs()).unwrap_or(300);
        let claims = token::expiring(self.claims(id, user, mode), &self.state.options.now, valid);
        token::sign(&self.state.options.secret, &claims)
    }

    /// Answers every callback so, until told otherwise. [`Reply::Take`] is how it starts.
    pub fn set_reply(&self, reply: Reply) {
        *self.state.replies.lock().unwrap() = vec![Rule { status: None, reply, left: None }];
    }

    /// Answers callbacks of one status so; others as before.
    pub fn set_reply_to(&self, status: u32, reply: Reply) {
        self.state.replies.lock().unwrap().insert(0, Rule { status: Some(status), reply, left: None });
    }

    /// Answers the next `times` callbacks of one status so, then as before.
    pub fn reply_times(&self, status: u32, reply: Reply, times: u32) {
        self.state.replies.lock().unwrap().insert(0, Rule { status: Some(status), reply, left: Some(times) });
    }

    /// Plays a fault wherever a path starts with `prefix`: on `/files`, `/callback`, pages.
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

    /// Waits until a request that fits has arrived, or has already.
    pub async fn wait_for_request(&self, fits: impl Fn(&Received) -> bool) -> Received {
        self.state.record.wait_for(fits).await
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.state.record.connections()
    }

    /// Every callback so far.
    pub fn callbacks(&self) -> Vec<Callback> {
        self.state.callbacks.borrow().clone()
    }

    /// Waits until a callback that fits has arrived, or has already; look at its `answer` to know that it was answered.
    pub async fn wait_for_callback(&self, fits: impl Fn(&Callback) -> bool) -> Callback {
        let mut news = self.state.callbacks.subscribe();
        let all = news
            .wait_for(|all| all.iter().any(&fits))
            .await
            .expect("the state lives as long as its application");
        all.iter().find(|callback| fits(callback)).cloned().expect("just found")
    }

    /// The newest save of a key.
    pub fn saved(&self, key: &str) -> Option<Save> {
        self.state.saves.borrow().iter().rev().find(|save| save.key == key).cloned()
    }

    /// Every save so far, in the order in which they were stored.
    pub fn saves(&self) -> Vec<Save> {
        self.state.saves.borrow().clone()
    }

    /// Waits until a document of this key has been stored, or has already; gives the newest.
    pub async fn wait_for_save(&self, key: &str) -> Save {
        let mut news = self.state.saves.subscribe();
        let all = news.wait_for(|all| all.iter().any(|save| save.key == key)).await;
        let all = all.expect("the state lives as long as its application");
        all.iter().rev().find(|save| save.key == key).cloned().expect("just found")
    }

    /// Waits until `count` documents have been stored, whatever their keys.
    pub async fn wait_for_saves(&self, count: usize) -> Vec<Save> {
        let mut news = self.state.saves.subscribe();
        let all = news.wait_for(|all| all.len() >= count).await;
        all.expect("the state lives as long as its application").clone()
    }
}

async fn listen_on(state: &Arc<State>, address: SocketAddr) -> io::Result<Server> {
    let tls = state.options.tls.as_ref().map(|(chain, key)| acceptor(chain, key)).transpose()?;
    let for_requests = Arc::clone(state);
    let handler: Handler = Arc::new(move |request, connection| {
        let state = Arc::clone(&for_requests);
        Box::pin(receive::handle(state, request, connection))
    });
    Server::start(address, tls, Arc::clone(&state.record), handler).await
}

fn acceptor(chain: &[u8], key: &[u8]) -> io::Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain).filter_map(Result::ok).collect();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
