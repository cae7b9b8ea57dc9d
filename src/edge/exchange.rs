//! One request from its head to the last byte of its answer. When the last part of it is let go, its log line is written.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Uri, Version};

use super::conn::Connection;
use crate::ops::log::{Access, Text};
use crate::ops::objections::Example;
use crate::rules::objection::{Decider, Objection};
use crate::rules::route::Route;
use crate::upstream::Server;

/// Status in the log when the client left before there was an answer (nginx' convention).
const CLIENT_LEFT: u16 = 499;

/// A request in flight. Shared by the handler, the request's body, the answer's body and the connection's timer.
pub struct Exchange {
    connection: Rc<Connection>,
    begun: Instant,
    /// Request id, also in the answer's `X-Request-Id`.
    pub id: RequestId,
    method: Method,
    version: Version,
    head: RefCell<Head>,
    client: Cell<IpAddr>,
    route: Cell<Route>,
    status: Cell<u16>,
    refusal: Cell<Option<&'static str>>,
    objection: Cell<Option<&'static str>>,
    why: OnceCell<String>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    asked: RefCell<Option<(Arc<Server>, Duration, u32)>>,
    waiting: Cell<Waiting>,
    aborted: Cell<bool>,
    memory: Cell<bool>,
}

/// What the log says of a head.
struct Head {
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
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
    /// A head has been read.
    pub fn begin(connection: &Rc<Connection>, parts: &Parts) -> Rc<Self> {
        connection.pulse.begin();
        let exchange = Rc::new(Self {
            connection: connection.clone(),
            begun: Instant::now(),
            id: connection.core.next_id(),
            method: parts.method.clone(),
            version: parts.version,
            head: RefCell::new(Head {
                uri: parts.uri.clone(),
                host: parts.headers.get(hyper::header::HOST).cloned(),
                agent: parts.headers.get(USER_AGENT).cloned(),
            }),
            client: Cell::new(connection.peer),
            route: Cell::new(Route::Unknown),
            status: Cell::new(CLIENT_LEFT),
            refusal: Cell::new(None),
            objection: Cell::new(None),
            why: OnceCell::new(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            asked: RefCell::new(None),
            waiting: Cell::new(Waiting::No),
            aborted: Cell::new(false),
            memory: Cell::new(false),
        });
        connection.watch(&exchange);
        exchange
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

    /// It was refused, and why in the operator's words.
    pub fn refused(&self, reason: &'static str, why: String) {
        self.refusal.set(Some(reason));
        self.because(why);
        self.connection.core.ops.metrics.refusal(reason);
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
            id: self.id.as_str().to_owned(),
            route: self.route.get().name(),
            class: Some(objection.class.name()),
            reason: objection.reason(),
            host: objection.host(),
            decider,
            why: objection.to_string(),
        });
    }

    /// What went wrong, in the operator's words. The first cause stays.
    pub fn because(&self, why: String) {
        self.why.set(why).ok();
    }

    /// A Document Server was asked.
    pub fn asked(&self, server: &Arc<Server>, tries: u32) {
        *self.asked.borrow_mut() = Some((server.clone(), self.begun.elapsed(), tries));
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
        let mut head = self.head.borrow_mut();
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let uri = head.uri.path().parse().unwrap_or_default();
        let (host, agent) = (head.host.as_ref().and_then(copy), head.agent.as_ref().and_then(copy));
        *head = Head { uri, host, agent };
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
        core.ops.metrics.request(self.route.get(), self.status.get());
        if self.memory.get() {
            core.ops.metrics.assets.served.increment(self.bytes_out.get());
        }
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e5).round() / 1e2;
        let proxied = (self.client.get() != self.connection.peer).then(|| self.client.get().to_string());
        let asked = self.asked.borrow();
        let server = asked.as_ref().map(|(server, ..)| server.name());
        let head = self.head.borrow();
        core.ops.log.access(&Access {
            id: self.id.as_str(),
            remote: proxied.as_deref().unwrap_or(&self.connection.remote),
            method: self.method.as_str(),
            host: text(head.host.as_ref()).or(head.uri.host()).map(Text),
            path: Text(head.uri.path()),
            route: self.route.get().name(),
            status: self.status.get(),
            refusal: self.refusal.get(),
            would_refuse: self.objection.get(),
            why: self.why.get().map(|why| Text(why)),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            ms: milliseconds(self.begun.elapsed()),
            upstream_ms: asked.as_ref().map(|(_, time, _)| milliseconds(*time)),
            upstream: server,
            tries: asked.as_ref().map_or(1, |(.., tries)| *tries),
            http: match self.version {
                Version::HTTP_2 => "2",
                Version::HTTP_10 => "1.0",
                _ => "1.1",
            },
            tls: self.connection.tls,
            agent: text(head.agent.as_ref()).map(Text),
            aborted: self.aborted.get(),
            memory: self.memory.get(),
        });
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_distinct() {
        assert_eq!(RequestId::new(0xdead_beef, 0x0000_01ff).as_str(), "deadbeef000001ff");
        assert_ne!(RequestId::new(1, 2).as_str(), RequestId::new(2, 1).as_str());
    }
}
