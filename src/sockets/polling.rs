//! Editors without WebSocket. The gateway answers the open with an id of its own, so a session here is two ids: the one that the
//! client says, and the Document Server's, which it gets once the first packet has been verified. Only the value of `sid` is
//! exchanged between the two; every other byte passes as it is.
//!
//! A client's requests come over whatever connection is free, so the table is shared by all cores.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::registry::Session;
use super::sid;
use crate::rules::client::household;
use crate::rules::policy::{Knock, Pass, Permit, Refusal};
use crate::rules::socket::SocketFault;

/// Sessions that poll at a time: half a kilobyte each. Only editors whose WebSocket fails come here.
const MOST: usize = 10_000;
/// Of one address without a verified packet: they live for seconds, and an office behind one address opens a few at a time.
const MOST_KNOCKING: usize = 200;
/// A session nobody asks about is over. An open one always has a GET waiting; the Document Server's own limit is 45 s, too
/// (pingInterval + pingTimeout).
const IDLE: Duration = Duration::from_secs(45);
/// A refusal waits this long for the GET that fetches it.
const REFUSAL: Duration = Duration::from_secs(10);

/// The sessions that poll.
#[derive(Debug, Default)]
pub struct Polls {
    all: Mutex<HashMap<Box<str>, Arc<Poll>>>,
    knocking: Arc<Mutex<HashMap<IpAddr, usize>>>,
    settled: Mutex<Option<Instant>>,
}

/// A session that polls.
#[derive(Debug)]
pub struct Poll {
    key: Box<str>,
    state: Mutex<State>,
    /// What of the state others wait for.
    phase: watch::Sender<Phase>,
    /// Requests in flight.
    busy: AtomicUsize,
    touched: Mutex<Instant>,
}

#[derive(Debug)]
enum State {
    Knocking(Knocking),
    Open {
        pass: Pass,
        theirs: Box<str>,
        _session: Session,
    },
    /// What is to be told, and the count of the knock: a refused session takes its place for as long as it is remembered.
    Refused(Option<String>, Option<Knocking>),
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Greeted; its first packet has not come.
    Knocking,
    /// Its first packet is being judged.
    Judging,
    /// It has a session at the Document Server.
    Open,
    /// It was refused, and is to be told.
    Refused,
    /// It is over.
    Gone,
}

/// Counts a session without a verified packet against its address.
#[derive(Debug)]
struct Knocking(IpAddr, Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Drop for Knocking {
    fn drop(&mut self) {
        let mut all = lock(&self.1);
        if let Some(of_address) = all.get_mut(&self.0) {
            *of_address -= 1;
            if *of_address == 0 {
                all.remove(&self.0);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request of a session, which keeps it from being idle.
#[derive(Debug)]
pub struct Using {
    poll: Arc<Poll>,
}

impl Drop for Using {
    fn drop(&mut self) {
        *lock(&self.poll.touched) = Instant::now();
        self.poll.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Using {
    type Target = Poll;

    fn deref(&self) -> &Poll {
        &self.poll
    }
}

impl Polls {
    /// A new session, by its id.
    ///
    /// # Errors
    /// When there is no room for more.
    pub fn open(&self, key: &str, address: IpAddr, patience: Duration) -> Result<String, SocketFault> {
        let (sid, address) = (sid().ok_or(SocketFault::Limit)?, household(address));
        if self.is_full(address) && !self.made_room(address, patience) {
            return Err(SocketFault::Limit);
        }
        *lock(&self.knocking).entry(address).or_default() += 1;
        let poll = Poll {
            key: key.into(),
            state: Mutex::new(State::Knocking(Knocking(address, self.knocking.clone()))),
            phase: watch::Sender::new(Phase::Knocking),
            busy: AtomicUsize::new(0),
            touched: Mutex::new(Instant::now()),
        };
        lock(&self.all).insert(sid.as_str().into(), Arc::new(poll));
        Ok(sid)
    }

    fn is_full(&self, address: IpAddr) -> bool {
        lock(&self.knocking).get(&address).is_some_and(|all| *all >= MOST_KNOCKING) || self.count() >= MOST
    }

    /// Ends what is over, at most once a second: who knocks at a full table does not make it work.
    fn made_room(&self, address: IpAddr, patience: Duration) -> bool {
        let now = Instant::now();
        let mut settled = lock(&self.settled);
        if settled.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1)) {
            return false;
        }
        *settled = Some(now);
        drop(settled);
        self.settle_at(now, patience);
        !self.is_full(address)
    }

    /// The session of this id, if it is for this document.
    pub fn find(&self, sid: &str, key: &str) -> Option<Using> {
        let poll = lock(&self.all).get(sid).filter(|poll| *poll.key == *key)?.clone();
        poll.busy.fetch_add(1, Ordering::Relaxed);
        Some(Using { poll })
    }

    /// Ends a session. Whoever waits for it hears of it; the editor leaves when the last request of it is over.
    pub fn end(&self, sid: &str) {
        let ended = lock(&self.all).remove(sid);
        if let Some(poll) = ended {
            poll.phase.send_replace(Phase::Gone);
        }
    }

    /// Ends what has been idle for too long; `patience` is that for the first packet. To be called every few seconds.
    pub fn settle(&self, patience: Duration) {
        self.settle_at(Instant::now(), patience);
    }

    fn settle_at(&self, now: Instant, patience: Duration) {
        let mut ended = Vec::new();
        lock(&self.all).retain(|_, poll| {
            let still = now.saturating_duration_since(*lock(&poll.touched));
            let limit = match *poll.phase.borrow() {
                Phase::Knocking => patience,
                Phase::Refused => REFUSAL,
                Phase::Judging | Phase::Open => IDLE,
                Phase::Gone => Duration::ZERO,
            };
            let over = still >= limit && poll.busy.load(Ordering::Relaxed) == 0;
            if over {
                ended.push(poll.clone()); // dropped without the lock: an editor's leave takes others
            }
            !over
        });
        for poll in ended {
            poll.phase.send_replace(Phase::Gone);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.all).len()
    }
}

impl Poll {
    /// Where it is once its first packet has been judged; waits for that at most so long.
    pub async fn judged(&self, patience: Duration) -> Phase {
        let mut phase = self.phase.subscribe();
        let judged = phase.wait_for(|phase| !matches!(phase, Phase::Knocking | Phase::Judging));
        match timeout(patience, judged).await {
            Ok(Ok(phase)) => *phase,
            Ok(Err(_)) | Err(_) => Phase::Gone,
        }
    }

    /// Takes the judging of its first packet upon the caller; false when somebody else has.
    pub fn begin(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Knocking;
            if first {
                *phase = Phase::Judging;
            }
            first
        })
    }

    /// Its first packet does not hold; `packet` tells the client, if it understands one.
    pub fn refuse(&self, packet: Option<String>) {
        let mut state = lock(&self.state);
        let knocking = match std::mem::replace(&mut *state, State::Refused(None, None)) {
            State::Knocking(knocking) => Some(knocking),
            State::Refused(_, knocking) => knocking,
            State::Open { .. } => None,
        };
        *state = State::Refused(packet, knocking);
        drop(state);
        self.phase.send_replace(Phase::Refused);
    }

    /// The packet that tells of the refusal, once.
    pub fn take_refusal(&self) -> Option<String> {
        match &mut *lock(&self.state) {
            State::Refused(packet, _) => packet.take(),
            State::Knocking(_) | State::Open { .. } => None,
        }
    }

    /// The Document Server has given it an id.
    pub fn opened(&self, pass: Pass, session: Session, theirs: &str) {
        session.join();
        *lock(&self.state) = State::Open { pass, theirs: theirs.into(), _session: session };
        self.phase.send_replace(Phase::Open);
    }

    /// Leave to pass for another request of it, and the Document Server's id.
    ///
    /// # Errors
    /// When it is not open, or for another document.
    pub fn pass_on(&self, knock: &Knock) -> Result<(Permit, String), Refusal> {
        match &*lock(&self.state) {
            State::Open { pass, theirs, .. } => Ok((pass.permit(knock)?, theirs.to_string())),
            State::Knocking(_) | State::Refused(..) => Err(Refusal::Socket(SocketFault::Unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn address(number: usize) -> IpAddr {
        let [.., a, b] = number.to_be_bytes();
        [10, 0, a, b].into()
    }

    #[test]
    fn sessions_are_found_by_id_and_document_and_end_when_idle() {
        let polls = Polls::default();
        let sid = polls.open("k1", address(1), PATIENCE).unwrap();
        assert_eq!(sid.len(), 20);
        assert!(polls.find(&sid, "k2").is_none());
        assert!(polls.find("other", "k1").is_none());
        let using = polls.find(&sid, "k1").unwrap();
        let now = Instant::now();
        polls.settle_at(now + 10 * PATIENCE, PATIENCE);
        assert_eq!(polls.count(), 1, "a request is in flight");
        assert!(using.begin() && !using.begin());
        drop(using);
        polls.settle_at(now + PATIENCE, PATIENCE);
        assert_eq!(polls.count(), 1, "it is being judged");
        polls.find(&sid, "k1").unwrap().refuse(Some("44{}".into()));
        let using = polls.find(&sid, "k1").unwrap();
        assert_eq!((using.take_refusal().as_deref(), using.take_refusal()), (Some("44{}"), None));
        drop(using);
        polls.settle_at(Instant::now() + REFUSAL, PATIENCE);
        assert_eq!(polls.count(), 0);
        assert!(lock(&polls.knocking).is_empty());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let polls = Polls::default();
        let day = Duration::from_secs(86_400);
        for _ in 0..MOST_KNOCKING {
            polls.open("k1", address(1), day).unwrap();
        }
        assert_eq!(polls.open("k1", address(1), day), Err(SocketFault::Limit));
        for number in MOST_KNOCKING..MOST {
            polls.open("k1", address(number), day).unwrap();
        }
        assert_eq!(polls.open("k1", address(MOST + 1), day), Err(SocketFault::Limit));
        polls.settle_at(Instant::now() + PATIENCE, PATIENCE);
        assert!(polls.open("k1", address(1), day).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_how_it_was_judged() {
        let polls = Polls::default();
        let sid = polls.open("k1", address(1), PATIENCE).unwrap();
        let (one, two) = (polls.find(&sid, "k1").unwrap(), polls.find(&sid, "k1").unwrap());
        assert_eq!(one.judged(PATIENCE).await, Phase::Gone, "nobody judged it in time");
        let (heard, ()) = tokio::join!(one.judged(PATIENCE), async { two.refuse(None) });
        assert_eq!(heard, Phase::Refused);
        let (heard, ()) = tokio::join!(one.judged(PATIENCE), async { polls.end(&sid) });
        assert_eq!(heard, Phase::Refused, "what has been judged stays so");
        assert!(polls.find(&sid, "k1").is_none());
    }
}
