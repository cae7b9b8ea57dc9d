//! Kept-alive connections of one core to the Document Servers. Lives on its core: no lock, no sharing.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::Address;
use super::body::Outgoing;

/// The container's nginx closes an idle connection after 65 s (its default `keepalive_timeout`); a connection that
/// is nearly that old is not worth the race.
const IDLE: Duration = Duration::from_secs(55);
/// Idle connections kept for each server on each core: what a few HTTP/2 connections with all their streams need at
/// once. Fewer would be closed and opened again under load; each costs a descriptor here and there.
const MOST_IDLE: usize = 512;
/// A Document Server stands on the same host or network: a connection takes microseconds, or something is wrong.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that can carry a request.
pub(super) type Sender = SendRequest<Outgoing>;

struct Idle {
    sender: Sender,
    since: Instant,
}

/// Idle connections by server.
#[derive(Default)]
pub(super) struct Pool(RefCell<Vec<(Address, Vec<Idle>)>>);

impl Pool {
    /// The idle connection used last, which is the one the server is least likely to have closed.
    pub fn take(&self, address: &Address) -> Option<Sender> {
        let mut all = self.0.borrow_mut();
        let (_, idle) = all.iter_mut().find(|(known, _)| known == address)?;
        for at in (0..idle.len()).rev() {
            let one = &idle[at];
            if one.since.elapsed() > IDLE {
                idle.drain(..=at); // those before it are older still
                return None;
            }
            if one.sender.is_closed() {
                idle.remove(at);
            } else if one.sender.is_ready() {
                return Some(idle.remove(at).sender);
            }
            // One that is not ready still carries something, such as the rest of a body that its server answered
            // early: whoever took it would wait for that.
        }
        None
    }

    /// Keeps a connection whose answer has been read to its end.
    pub fn put(&self, address: &Address, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut all = self.0.borrow_mut();
        let idle = match all.iter_mut().position(|(known, _)| known == address) {
            Some(at) => &mut all[at].1,
            None => {
                all.push((address.clone(), Vec::new()));
                let last = all.len() - 1;
                &mut all[last].1
            }
        };
        // The oldest stand first; a quiet core lets them go one by one as it works.
        if idle.first().is_some_and(|oldest| oldest.since.elapsed() > IDLE) || idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { sender, since: Instant::now() });
    }

    /// Lets go of every idle connection to a server: it has just refused one, so the others are dead.
    pub fn forget(&self, address: &Address) {
        self.0.borrow_mut().retain(|(known, _)| known != address);
    }
}

/// A new connection. Its task runs on this core until either side closes.
///
/// # Errors
/// When the server refuses, cannot be found, or does not answer within [`CONNECT`].
pub(super) async fn connect(address: &Address) -> io::Result<Sender> {
    let stream = timeout(CONNECT, TcpStream::connect((address.host.as_str(), address.port)))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 3 s"))??;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // How a connection ends is told to the request on it; without one it is of no interest.
    tokio::task::spawn_local(async move { connection.with_upgrades().await.ok() });
    Ok(sender)
}
