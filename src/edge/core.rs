//! What one core has for itself: its connections to the Document Servers, its scratch buffer, its request numbers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::conn;
use super::exchange::RequestId;
use super::listener::Arrival;
use super::pulse::Deadlines;
use crate::live::Live;
use crate::ops::Ops;
use crate::relay::Relay;
use crate::sockets::Scratch;
use crate::upstream::Upstream;

/// How far the gateway is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    Serving,
    /// Requests finish; connections are closed as they fall idle.
    Draining,
    /// Everything that is still open is closed.
    Closing,
}

/// The state of one core. Never leaves its thread.
pub struct Core {
    /// What a request may see.
    pub live: Arc<Live>,
    /// Log and metrics.
    pub ops: Ops,
    /// The way to the Document Servers.
    pub upstream: Upstream,
    /// Where callbacks are handed in.
    pub relay: Arc<Relay>,
    /// For splicing sockets.
    pub scratch: Scratch,
    /// When to leave.
    pub stage: watch::Receiver<Stage>,
    /// How long clients may be slow.
    pub deadlines: Deadlines,
    prefix: u32,
    number: Cell<u32>,
}

impl Core {
    /// A core that begins. `prefix` makes its request ids its own.
    pub fn new(
        live: Arc<Live>,
        ops: Ops,
        relay: Arc<Relay>,
        stage: watch::Receiver<Stage>,
        deadlines: Deadlines,
        prefix: u32,
    ) -> Rc<Self> {
        Rc::new(Self {
            live,
            ops,
            relay,
            upstream: Upstream::default(),
            scratch: Scratch::default(),
            stage,
            deadlines,
            prefix,
            number: Cell::new(0),
        })
    }

    /// The id of the next request.
    pub fn next_id(&self) -> RequestId {
        self.number.set(self.number.get().wrapping_add(1));
        RequestId::new(self.prefix, self.number.get())
    }

    /// Serves connections until the last of them has ended after [`Stage::Closing`].
    pub async fn run(self: Rc<Self>, mut arrivals: UnboundedReceiver<Arrival>) {
        let mut stage = self.stage.clone();
        // The acceptor goes first; what it has handed over stays.
        let mut more = true;
        loop {
            tokio::select! {
                arrival = arrivals.recv(), if more => match arrival {
                    Some(arrival) => { tokio::task::spawn_local(conn::serve(self.clone(), arrival)); }
                    None => more = false,
                },
                _ = stage.wait_for(|stage| *stage == Stage::Closing) => return,
            }
        }
    }
}
