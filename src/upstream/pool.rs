//! Kept-alive connections of one core to the Document Servers. Lives on its core: no lock, no sharing.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::Address;
use super::link::Link;
use super::wire::Wire;

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

struct Idle {
    link: Link,
    since: Instant,
}

/// Idle connections by server.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<(Address, Vec<Idle>)>>,
    swept: Cell<bool>,
}

impl Pool {
    /// The idle connection used last, which is the one the server is least likely to have closed. If it has, the next
    /// request on it comes back unsent: nobody reads from an idle connection.
    pub fn take(&self, address: &Address) -> Option<Link> {
        let mut all = self.idle.borrow_mut();
        let (_, idle) = all.iter_mut().find(|(known, _)| known == address)?;
        let last = idle.pop()?;
        if last.since.elapsed() > IDLE {
            idle.clear(); // those before it are older still
            return None;
        }
        Some(last.link)
    }

    /// Keeps a connection whose answer has been read to its end. One that still carries something, such as the rest of
    /// a body that its server answered early, is not kept: whoever took it would wait for that.
    pub fn put(self: &Rc<Self>, address: &Address, mut link: Link) {
        if !link.rest() {
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
            idle.remove(0); // the oldest stand first
        }
        idle.push(Idle { link, since: Instant::now() });
        if !self.swept.replace(true) {
            self.sweep();
        }
    }

    /// Lets go of every idle connection to a server: it has just refused one, so the others are dead.
    pub fn forget(&self, address: &Address) {
        self.idle.borrow_mut().retain(|(known, _)| known != address);
    }

    /// Closes what has been idle for too long, as long as anything is.
    fn sweep(self: &Rc<Self>) {
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                sleep(SWEEP).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut all = pool.idle.borrow_mut();
                all.iter_mut().for_each(|(_, idle)| idle.retain(|one| one.since.elapsed() <= IDLE));
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
