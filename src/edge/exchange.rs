//! One request from its head to the last byte of its answer. When the last part of it is let go, its log line is written.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{HeaderMap, HeaderValue, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Uri, Version};

use super::conn::Connection;
use crate::ops::debug::Fact;
use crate::ops::log::{Access, Text};
use crate::ops::metrics::UpstreamFault;
use crate::ops::objections::Example;
use crate::ops::requests::Done;
use crate::ops::sockets::Close;
use crate::rules::objection::{Decider, Objection};
use crate::rules::policy::Refusal;
use crate::rules::route::Route;
use crate::rules::trace::{self, Trace};
use crate::upstream::Server;

/// Status in the log when the client left before there was an answer (nginx' convention).
const CLIENT_LEFT: u16 = 499;

/// A request in flight. Shared by the handler, the request's body, the answer's body and the connection's timer.
pub struct Exchange {
    connection: Rc<Connection>,
    begun: Instant,
    id: RequestId,
    /// What a trusted proxy calls it.
    outer_id: Option<HeaderValue>,
    trace: Trace,
    method: Method,
    version: Version,
    head: RefCell<Head>,
    client: Cell<IpAddr>,
    route: Cell<Route>,
    status: Cell<u16>,
    refusal: Cell<Option<&'static str>>,
    objection: Cell<Option<&'static str>>,
    why: OnceCell<String>,
    close: Cell<Option<Close>>,
    user: OnceCell<Box<str>>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    asked: RefCell<Option<(Arc<Server>, Duration, u32)>>,
    waiting: Cell<Waiting>,
    aborted: Cell<bool>,
    memory: Cell<bool>,
    socket: Cell<bool>,
}

/// What the log says of a head.
struct Head {
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

/// What the answer's body waits for, and since when.
#[derive(Clone, Copy)]
enum Waiting {
    No,
    Client(Instant),
    Server(Instant),
}

/// Sixteen hexadecimal digits: the process' random half, then a number of its core.
#[derive(Clone, Copy)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The id of the next request of a core.
    pub fn new(prefix: u32, number: u32) -> Self {
        let mut digits = [0; 16];
        for (at, digit) in digits.iter_mut().enumerate() {
            let half = if at < 8 { prefix } else { number };
            let nibble = (half >> (28 - 4 * (at % 8))) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Self(digits)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("0")
    }
}

impl Exchange {
    /// A head has been read. `trusted`: it came from a proxy whose word counts.
    pub fn begin(connection: &Rc<Connection>, parts: &Parts, trusted: bool) -> Rc<Self> {
        connection.pulse.begin();
        connection.core.requests.begun();
        let headers = &parts.headers;
        let id = connection.core.next_id();
        let exchange = Rc::new(Self {
            connection: connection.clone(),
            begun: Instant::now(),
            trace: Trace::read(headers).unwrap_or_else(|| Trace::begin(connection.core.random(&id))),
            outer_id: if trusted { trace::outer_id(headers) } else { None },
            id,
            method: parts.method.clone(),
            version: parts.version,
            head: RefCell::new(Head {
                uri: parts.uri.clone(),
                host: headers.get(hyper::header::HOST).cloned(),
                agent: headers.get(USER_AGENT).cloned(),
                referer: headers.get(REFERER).cloned(),
            }),
            client: Cell::new(connection.peer.address()),
            route: Cell::new(Route::Unknown),
            status: Cell::new(CLIENT_LEFT),
            refusal: Cell::new(None),
            objection: Cell::new(None),
            why: OnceCell::new(),
            close: Cell::new(None),
            user: OnceCell::new(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            asked: RefCell::new(None),
            waiting: Cell::new(Waiting::No),
            aborted: Cell::new(false),
            memory: Cell::new(false),
            socket: Cell::new(false),
        });
        connection.watch(&exchange);
        exchange
    }

    /// Its name in the log, in the answer, and towards the Document Server.
    pub fn id(&self) -> &str {
        text(self.outer_id.as_ref()).unwrap_or(self.id.as_str())
    }

    /// The same as a field of a head.
    pub fn id_value(&self) -> Option<HeaderValue> {
        self.outer_id.clone().or_else(|| HeaderValue::from_str(self.id.as_str()).ok())
    }

    /// Has whoever gets the request next know its trace and its name.
    pub fn mark(&self, headers: &mut HeaderMap) {
        self.trace.write(headers, self.id.as_str());
        if let Some(id) = self.id_value() {
            headers.insert(trace::X_REQUEST_ID, id);
        }
    }

    /// Who is behind a trusted proxy.
    pub fn came_from(&self, client: IpAddr) {
        self.client.set(client);
    }

    /// Where it leads.
    pub fn matched(&self, route: Route) {
        self.route.set(route);
    }

    /// What it is answered with.
    pub fn answered(&self, status: u16) {
        self.status.set(status);
    }

    /// It was refused, and why, in words.
    pub fn refused(&self, refusal: Refusal, why: String) {
        self.refusal.set(Some(refusal.reason()));
        self.because(why);
        self.connection.core.ops.metrics.refusals.count(refusal.reason(), refusal.carrier());
    }

    /// A token has held, signed with this secret.
    pub fn verified(&self, secret: Option<usize>) {
        if let Some(secret) = secret {
            self.connection.core.ops.metrics.token(secret);
        }
    }

    /// A rule spoke against it and did not refuse it (`mode = "observe"`, or hosts that are only watched).
    pub fn objected(&self, objection: &Objection, decider: Decider) {
        self.objection.set(Some(objection.reason()));
        self.because(objection.to_string());
        self.connection.core.ops.objected(Example {
            at: SystemTime::now(),
            id: self.id().to_owned(),
            route: self.route.get().name(),
            class: Some(objection.class.name()),
            reason: objection.reason(),
            host: objection.host(),
            decider,
            why: objection.to_string(),
        });
    }

    /// What happened to it on the way, for whoever reads along.
    pub fn note(&self, room: &'static str, message: &str, facts: &[Fact<'_>]) {
        let log = &self.connection.core.ops.log;
        if log.is_debugging() {
            let id = self.id();
            let mut all: Vec<Fact<'_>> = vec![("id", &id)];
            all.extend_from_slice(facts);
            log.debug(room, message, &all);
        }
    }

    /// What went wrong, in the operator's words. The first cause stays.
    pub fn because(&self, why: String) {
        self.why.set(why).ok();
    }

    /// A Document Server was asked.
    pub fn asked(&self, server: &Arc<Server>, tries: u32) {
        let time = self.begun.elapsed();
        server.took(time);
        *self.asked.borrow_mut() = Some((server.clone(), time, tries));
    }

    /// A Document Server gave no answer.
    pub fn upstream_failed(&self, fault: UpstreamFault) {
        self.connection.core.ops.metrics.upstream_failed(fault);
    }

    /// It was answered from memory.
    pub fn found_in_memory(&self) {
        self.connection.core.ops.metrics.assets.hits.increment(1);
        self.memory.set(true);
    }

    /// It might have been, but was not there.
    pub fn not_in_memory(&self) {
        self.connection.core.ops.metrics.assets.misses.increment(1);
    }

    /// Bytes of the request's body came.
    pub fn took(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    /// Bytes of the answer's body were given out.
    pub fn gave(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    /// Its connection has become an editor socket. What the log will say of its head is copied: the pieces of a head hold
    /// on to hyper's whole read buffer, 8 KB for as long as the socket lives.
    pub fn is_socket(&self) {
        self.connection.counted.is_socket();
        if !self.socket.replace(true) {
            self.connection.core.requests.left();
        }
        let mut head = self.head.borrow_mut();
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let uri = head.uri.path().parse().unwrap_or_default();
        let [host, agent, referer] =
            [&head.host, &head.agent, &head.referer].map(|value| value.as_ref().and_then(copy));
        *head = Head { uri, host, agent, referer };
    }

    /// Whose editor socket it is.
    pub fn is_of(&self, user: Option<Box<str>>) {
        if let Some(user) = user {
            self.user.set(user).ok();
        }
    }

    /// Its editor socket has ended.
    pub fn closed(&self, close: Close) {
        self.close.set(Some(close));
        self.connection.core.ops.metrics.socket.closed(close);
    }

    /// What an editor socket carried.
    pub fn carried(&self, up: u64, down: u64) {
        self.bytes_in.set(up);
        self.bytes_out.set(down);
    }

    /// A piece of the answer was given out; until the next is asked for, the client is slow.
    pub fn waits_for_client(&self) {
        self.waiting.set(Waiting::Client(Instant::now()));
    }

    /// The client wants more and there is none. Asking again does not begin the wait anew.
    pub fn waits_for_server(&self) {
        if !matches!(self.waiting.get(), Waiting::Server(_)) {
            self.waiting.set(Waiting::Server(Instant::now()));
        }
    }

    /// The answer is over.
    pub fn waits_no_more(&self) {
        self.waiting.set(Waiting::No);
    }

    /// The answer was cut short.
    pub fn abort(&self) {
        self.aborted.set(true);
    }

    /// Who has made the answer's body stand still for too long, if anybody has.
    pub fn stalled(&self) -> Option<String> {
        let (since, who) = match self.waiting.get() {
            Waiting::No => return None,
            Waiting::Client(since) => (since, "the client took nothing"),
            Waiting::Server(since) => (since, "the Document Server sent nothing more"),
        };
        let progress = self.progress();
        (since.elapsed() >= progress).then(|| format!("{who} of the answer for {progress:?}"))
    }

    /// Whether its answer says that no other follows on this connection: the gateway leaves. HTTP/2 has GOAWAY for that.
    pub fn is_last(&self) -> bool {
        self.version != Version::HTTP_2 && !self.connection.core.is_serving()
    }

    /// How long its bodies may stand still.
    pub fn progress(&self) -> Duration {
        self.connection.core.deadlines.progress
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let core = &self.connection.core;
        self.connection.pulse.end();
        if self.memory.get() {
            core.ops.metrics.assets.served.increment(self.bytes_out.get());
        }
        let took = self.begun.elapsed();
        let requests = &core.requests;
        if !self.socket.get() {
            requests.left();
        }
        requests.done(&Done {
            route: self.route.get(),
            status: self.status.get(),
            took,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            socket: self.socket.get(),
        });
        let proxied =
            (self.client.get() != self.connection.peer.address()).then(|| self.client.get().to_string());
        let asked = self.asked.borrow();
        let server = asked.as_ref().map(|(server, ..)| server.name());
        let head = self.head.borrow();
        core.ops.log.access(&Access {
            id: self.id(),
            trace: self.trace.id(),
            remote: proxied.as_deref().unwrap_or(self.connection.peer.text()),
            method: Text(self.method.as_str()),
            host: text(head.host.as_ref()).or(head.uri.host()).map(Text),
            path: Text(head.uri.path()),
            route: self.route.get().name(),
            status: self.status.get(),
            refusal: self.refusal.get(),
            would_refuse: self.objection.get(),
            why: self.why.get().map(|why| Text(why)),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            took,
            upstream_took: asked.as_ref().map(|(_, time, _)| *time),
            upstream: server,
            tries: asked.as_ref().map_or(1, |(.., tries)| *tries),
            http: match self.version {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
            tls: self.connection.tls,
            agent: text(head.agent.as_ref()).map(Text),
            referer: text(head.referer.as_ref()).and_then(origin).map(Text),
            close: self.close.get().map(Close::name),
            user: self.user.get().map(|user| Text(user)),
            aborted: self.aborted.get(),
            memory: self.memory.get(),
        });
    }
}

/// Of an address, what names the application: paths and queries are people's business, and carry tokens.
fn origin(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let plain = matches!(scheme, "http" | "https") && !host.contains('@');
    plain.then(|| &address[..scheme.len() + "://".len() + host.len()])
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_referer_the_origin_is_told() {
        for (address, told) in [
            ("https://rapidpm.uk/projects/7?token=x#y", Some("https://rapidpm.uk")),
            ("http://127.0.0.1:8080?x", Some("http://127.0.0.1:8080")),
            ("https://ann:secret@rapidpm.uk/", None),
            ("android-app://x/", None),
            ("a secret", None),
            ("", None),
        ] {
            assert_eq!(origin(address), told, "{address}");
        }
    }

    #[test]
    fn ids_are_hexadecimal_and_distinct() {
        assert_eq!(RequestId::new(0xdead_beef, 0x0000_01ff).as_str(), "deadbeef000001ff");
        assert_ne!(RequestId::new(1, 2).as_str(), RequestId::new(2, 1).as_str());
    }
}
