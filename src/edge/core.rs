//! What one core has for itself: its connections to the Document Servers, its scratch buffer, its request numbers.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::conn;
use super::exchange::RequestId;
use super::listener::Arrival;
use super::own::Monitors;
use super::pulse::Deadlines;
use crate::live::Live;
use crate::ops::Ops;
use crate::ops::requests::Tally;
use crate::ops::systemd::Present;
use crate::relay::Relay;
use crate::sockets::{self, Scratch};
use crate::upstream::Upstream;

/// How far the gateway is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    Serving,
    /// It accepts and serves, and every answer is the last of its connection.
    Draining,
    /// It accepts no more. Who waits for somebody else is told to come again, and what is in flight finishes.
    Leaving,
    /// Everything that is still open is closed.
    Closing,
}

/// How long all sockets of a core may take to say goodbye. One needs at most 450 ms (`sockets/splice`), mostly waiting; this is for
/// thousands of them on a busy machine, so that none is cut off without its 1001.
const GOODBYES: Duration = Duration::from_secs(2);

/// Counts the sockets of a core, so that their goodbyes can be waited for.
#[derive(Default)]
pub struct Departures {
    open: Cell<usize>,
    none: Notify,
}

/// A socket that is still open.
pub struct StillOpen(Rc<Departures>);

impl Departures {
    /// One more.
    pub fn open(self: &Rc<Self>) -> StillOpen {
        self.open.set(self.open.get() + 1);
        StillOpen(self.clone())
    }

    async fn all(&self) {
        while self.open.get() > 0 {
            self.none.notified().await;
        }
    }
}

impl Drop for StillOpen {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        if self.0.open.get() == 0 {
            self.0.none.notify_one();
        }
    }
}

/// What the cores share.
#[derive(Clone)]
pub struct House {
    /// What a request may see.
    pub live: Arc<Live>,
    /// Log and metrics.
    pub ops: Ops,
    /// Where callbacks are handed in.
    pub relay: Arc<Relay>,
    /// When to leave.
    pub stage: watch::Receiver<Stage>,
    /// How long clients may be slow.
    pub deadlines: Deadlines,
    /// What sockets share with those of other cores.
    pub sockets: Arc<sockets::Shared>,
    /// What monitors are told.
    pub monitors: Monitors,
}

/// The state of one core. Never leaves its thread.
pub struct Core {
    house: House,
    /// Its requests.
    pub requests: Tally,
    /// The way to the Document Servers.
    pub upstream: Upstream,
    /// For splicing sockets.
    pub scratch: Scratch,
    /// The sockets of this core, which are waited for at the end.
    pub departures: Rc<Departures>,
    prefix: u32,
    number: Cell<u32>,
    seed: RandomState,
}

impl Deref for Core {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

impl Core {
    /// A core that begins. `prefix` makes its request ids its own.
    pub fn new(house: House, prefix: u32) -> Rc<Self> {
        Rc::new(Self {
            requests: house.ops.metrics.requests.tally(),
            upstream: Upstream::new(house.ops.log.clone()),
            house,
            scratch: Scratch::default(),
            departures: Rc::default(),
            prefix,
            number: Cell::new(0),
            seed: RandomState::new(),
        })
    }

    /// The id of the next request.
    pub fn next_id(&self) -> RequestId {
        self.number.set(self.number.get().wrapping_add(1));
        RequestId::new(self.prefix, self.number.get())
    }

    /// A number that nobody else has: ids of traces that begin here.
    pub fn random(&self, of: &RequestId) -> u128 {
        let [high, low] = [0, 1].map(|half: u8| u128::from(self.seed.hash_one((of.as_str(), half))));
        high << 64 | low
    }

    /// Serves connections until the last of them has ended after [`Stage::Closing`].
    pub async fn run(self: Rc<Self>, mut arrivals: UnboundedReceiver<Arrival>, mut present: Present) {
        let mut stage = self.stage.clone();
        // The acceptor goes first; what it has handed over stays.
        let mut more = true;
        loop {
            tokio::select! {
                arrival = arrivals.recv(), if more => match arrival {
                    Some(arrival) => { tokio::task::spawn_local(conn::serve(self.clone(), arrival)); }
                    None => more = false,
                },
                () = present.answer() => {}
                _ = stage.wait_for(|stage| *stage == Stage::Closing) => break,
            }
        }
        timeout(GOODBYES, self.departures.all()).await.ok();
    }

    /// Ready when everything that is still open is to be closed.
    pub fn closing(&self) -> impl Future<Output = ()> + use<> {
        self.reached(Stage::Closing)
    }

    /// Ready when nobody is waited for any more.
    pub fn leaving(&self) -> impl Future<Output = ()> + use<> {
        self.reached(Stage::Leaving)
    }

    fn reached(&self, wanted: Stage) -> impl Future<Output = ()> + use<> {
        let mut stage = self.stage.clone();
        async move { drop(stage.wait_for(|stage| *stage >= wanted).await) }
    }

    /// Whether the gateway stays.
    pub fn is_serving(&self) -> bool {
        *self.stage.borrow() == Stage::Serving
    }
}
