//! Kept-alive connections of one core to the Document Servers. Lives on its core: no lock, no sharing.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::Address;
use super::body::Outgoing;
use super::link::Link;
use super::note::Note;
use super::server::Server;
use super::wire::Wire;
use crate::ops::debug::Fact;
use crate::ops::log::Log;

/// The container's nginx closes an idle connection after 65 s (its default `keepalive_timeout`); a connection that
/// is nearly that old is not worth the race.
const IDLE: Duration = Duration::from_secs(55);
/// Idle connections kept for each server on each core: what a few HTTP/2 connections with all their streams need at
/// once. Fewer would be closed and opened again under load; each costs a descriptor here and there.
const MOST_IDLE: usize = 512;
/// How often connections that have been idle for too long are closed.
const SWEEP: Duration = Duration::from_secs(5);
/// A Document Server stands on the same host or network: a connection takes microseconds, or something is wrong.
const CONNECT: Duration = Duration::from_secs(3);

const TOO_LONG: &str = "idle for too long";

struct Idle {
    link: Link,
    since: Instant,
}

/// Idle connections by server.
pub(super) struct Pool {
    log: Log,
    idle: RefCell<Vec<(Address, Vec<Idle>)>>,
    swept: Cell<bool>,
}

impl Pool {
    /// Without any connection yet.
    pub fn new(log: Log) -> Rc<Self> {
        Rc::new(Self { log, idle: RefCell::default(), swept: Cell::new(false) })
    }

    /// For telling what happens to a request.
    pub fn note(&self, server: &Server, request: &Request<Outgoing>) -> Note {
        Note::of(&self.log, server, request)
    }

    /// Connections have been closed.
    pub fn closed(&self, address: &Address, number: usize, why: &str) {
        if number > 0 {
            let facts: [Fact<'_>; 3] = [("server", address), ("connections", &number), ("why", &why)];
            self.log.debug("upstream", "connections are closed", &facts);
        }
    }

    /// The idle connection used last, which is the one the server is least likely to have closed. If it has, the next
    /// request on it comes back unsent: nobody reads from an idle connection.
    pub fn take(&self, address: &Address) -> Option<Link> {
        let mut all = self.idle.borrow_mut();
        let (_, idle) = all.iter_mut().find(|(known, _)| known == address)?;
        let last = idle.pop()?;
        if last.since.elapsed() > IDLE {
            self.closed(address, idle.len() + 1, TOO_LONG);
            idle.clear(); // those before it are older still
            return None;
        }
        Some(last.link)
    }

    /// Keeps a connection whose answer has been read to its end. One that still carries something, such as the rest of
    /// a body that its server answered early, is not kept: whoever took it would wait for that.
    pub fn put(self: &Rc<Self>, address: &Address, mut link: Link) {
        if !link.rest() {
            self.closed(address, 1, "the Document Server ends it, or it still carries something");
            return;
        }
        let mut all = self.idle.borrow_mut();
        let idle = match all.iter_mut().position(|(known, _)| known == address) {
            Some(at) => &mut all[at].1,
            None => {
                all.push((address.clone(), Vec::new()));
                let last = all.len() - 1;
                &mut all[last].1
            }
        };
        if idle.len() >= MOST_IDLE {
            self.closed(address, 1, "more than enough are idle");
            idle.remove(0); // the oldest stand first
        }
        idle.push(Idle { link, since: Instant::now() });
        if !self.swept.replace(true) {
            self.sweep();
        }
    }

    /// Lets go of every idle connection to a server: it has just refused one, so the others are dead.
    pub fn forget(&self, address: &Address) {
        self.idle.borrow_mut().retain(|(known, idle)| {
            let dead = known == address;
            if dead {
                self.closed(address, idle.len(), "the Document Server refused a new one");
            }
            !dead
        });
    }

    /// Closes what has been idle for too long, as long as anything is.
    fn sweep(self: &Rc<Self>) {
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut all = pool.idle.borrow_mut();
                for (address, idle) in all.iter_mut() {
                    let before = idle.len();
                    idle.retain(|one| one.since.elapsed() <= IDLE);
                    pool.closed(address, before - idle.len(), TOO_LONG);
                }
                all.retain(|(_, idle)| !idle.is_empty());
                if all.is_empty() {
                    pool.swept.set(false);
                    return;
                }
            }
        });
    }
}

/// A new connection.
///
/// # Errors
/// When the server refuses, cannot be found, or does not answer within [`CONNECT`].
pub(super) async fn connect(address: &Address) -> io::Result<Link> {
    let stream = timeout(CONNECT, TcpStream::connect((address.host.as_str(), address.port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 3 s"))??;
    stream.set_nodelay(true)?;
    Link::over(TokioIo::new(Wire(stream))).await.map_err(io::Error::other)
}
