//! Where saves are worked on: the machine of `rules::save`, driven with disk, network and time.
//!
//! Lives on the control runtime: a burst of saves must not delay editing. A request's handler on a core hands in what came and
//! waits for the answer; everything else happens here.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::answer::{Answer, Post};
use super::client::Trust;
use super::deliver;
use super::house::{self, House};
use super::journal::{Entry, Journal};
use super::spool::{Found, Role, Spool, State, phase_name};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::save::{Action, Event, Fresh, Id, Phase, Reply, Saves, Settled, Time, Welcome};

/// Callbacks that are worked on at once. Each holds at most 1 MiB of body and its claims; beyond it the Document Server is
/// asked to come again, which it does.
const MOST: usize = 128;
/// Deliveries on their way at once: an integrator that comes back is not overrun by what waited for it.
const DELIVERIES: usize = 16;
/// The machine's clock starts here, so that what was kept before the start lies in its past.
const START: Time = 400 * 24 * 3_600_000;

/// Looks at a kept document of that file type; the error is the reason's name in `onlyoffice_validation_rejected_total`.
pub type Check = fn(&Path, Option<&str>) -> Result<(), &'static str>;

/// Callbacks and saves.
pub struct Relay {
    pub(super) current: Box<dyn Fn() -> Arc<dyn House> + Send + Sync>,
    pub(super) ops: Ops,
    pub(super) trust: Trust,
    pub(super) spool: Arc<Spool>,
    pub(super) deliveries: Semaphore,
    pub(super) check: Check,
    runtime: Handle,
    room: Arc<Semaphore>,
    begun: Instant,
    woken: Notify,
    inner: Mutex<Inner>,
    journal: Journal,
}

#[derive(Default)]
struct Inner {
    saves: Saves,
    next: u64,
    waiters: HashMap<Id, Vec<oneshot::Sender<Answer>>>,
    /// What came, as long as the Document Server waits: the first try sends its very bytes.
    posts: HashMap<Id, Arc<Post>>,
    answers: HashMap<Id, Answer>,
    /// The latest report of each document that its integrator has not heard.
    pub reports: HashMap<String, Id>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relay")
    }
}

impl Relay {
    /// Takes up what the directory holds and begins to work on it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        runtime: Handle,
        spool: Spool,
        ops: Ops,
        check: Check,
        current: impl Fn() -> Arc<dyn House> + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let spool = Arc::new(spool);
        let journal = Journal::start(spool.clone(), ops.clone())?;
        let relay = Arc::new(Self {
            current: Box::new(current),
            ops,
            trust: Trust::default(),
            spool,
            check,
            deliveries: Semaphore::new(DELIVERIES),
            runtime: runtime.clone(),
            room: Arc::new(Semaphore::new(MOST)),
            begun: Instant::now(),
            woken: Notify::new(),
            inner: Mutex::default(),
            journal,
        });
        relay.take_up();
        let worker = Arc::downgrade(&relay);
        runtime.spawn(async move {
            while let Some(relay) = worker.upgrade() {
                let pause = relay.work();
                tokio::select! {
                    () = relay.woken.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
        Ok(relay)
    }

    /// Reads what was kept before.
    fn take_up(&self) {
        let found = match self.spool.open() {
            Ok(found) => found,
            Err(error) => {
                return self.say(Level::Error, "the directory of saves cannot be used", &error.to_string());
            }
        };
        let wall = millis(SystemTime::now());
        let mut inner = self.inner();
        inner.next = wall.saturating_mul(1_000);
        for Found { id, record, state } in found {
            inner.next = inner.next.max(id.0 + 1);
            let Some(record) = record else {
                let folder = self.spool.folder(id).display().to_string();
                self.say(Level::Error, "a kept save cannot be read; it stays where it is", &folder);
                continue;
            };
            let phase = state.as_ref().map_or(Phase::Ready, State::phase);
            let since = match (&state, phase) {
                (Some(state), Phase::Settled(_)) => state.at,
                _ => record.since,
            };
            // A clock that has jumped makes a save neither older than a year nor younger than now.
            let age = wall.saturating_sub(since).min(START);
            if let Some((status, body)) = state.and_then(|state| state.answer) {
                let content_type = Some("application/json".into());
                inner.answers.insert(id, Answer { status, content_type, body: body.into() });
            }
            inner.saves.restore(self.now(), age, record.fresh(id), phase);
        }
    }

    /// Hands a callback in. `None`: there is no room for it now.
    pub fn submit(self: &Arc<Self>, post: Post) -> Option<oneshot::Receiver<Answer>> {
        let permit = self.room.clone().try_acquire_owned().ok()?;
        let (answer, answered) = oneshot::channel();
        let relay = self.clone();
        self.runtime.spawn(async move {
            relay.take_in(post, answer).await;
            drop(permit);
        });
        Some(answered)
    }

    /// A number for something that came now.
    pub(super) fn number(&self) -> Id {
        let mut inner = self.inner();
        inner.next += 1;
        Id(inner.next)
    }

    /// A callback of `key` came: reports of it that wait to be told are outdated. `id` becomes the one that may be told.
    pub(super) fn outdate(&self, key: &str, id: Option<Id>) {
        /// Reports that wait at once: more documents than that are not edited behind one gateway.
        const MOST_REPORTS: usize = 1_000;
        let mut inner = self.inner();
        match id {
            Some(id) if inner.reports.len() < MOST_REPORTS => drop(inner.reports.insert(key.to_owned(), id)),
            _ => drop(inner.reports.remove(key)),
        }
    }

    /// Whether a report is still the latest of its document.
    pub(super) fn is_latest(&self, key: &str, id: Id) -> bool {
        self.inner().reports.get(key) == Some(&id)
    }

    /// The machine hears of a callback that it does not keep.
    pub(super) fn heard(&self, id: Id, post: &Post) {
        self.inner().saves.heard(id, &post.integrator, &post.target, &post.callback.key);
    }

    /// A save has come: it is new, joins another, or is answered already.
    pub(super) fn arrive(&self, fresh: Fresh, post: Post, answer: oneshot::Sender<Answer>) -> Welcome {
        let id = fresh.id;
        let mut inner = self.inner();
        let welcome = inner.saves.arrive(self.now(), fresh);
        match welcome {
            Welcome::New => {
                inner.posts.insert(id, Arc::new(post));
                inner.waiters.insert(id, vec![answer]);
            }
            Welcome::Joins(other) => inner.waiters.entry(other).or_default().push(answer),
            Welcome::Answered(other, reply) => drop(answer.send(inner.answer(other, reply))),
        }
        welcome
    }

    /// Something came of a save.
    pub(super) fn happened(self: &Arc<Self>, id: Id, event: Event) {
        let limits = house::limits(&*(self.current)());
        let mut actions = Vec::new();
        let mut inner = self.inner();
        inner.saves.happened(self.now(), id, event, &limits, &mut actions);
        self.perform(&mut inner, actions);
        drop(inner);
        self.woken.notify_one();
    }

    /// What the integrator said, to be passed back or remembered.
    pub(super) fn answered(&self, id: Id, answer: Answer) {
        self.inner().answers.insert(id, answer);
    }

    /// What came with a save whose Document Server still waits.
    pub(super) fn first_post(&self, id: Id) -> Option<Arc<Post>> {
        let inner = self.inner();
        let fresh = inner.saves.get(id).is_some_and(|save| save.replied.is_none() && save.tries <= 1);
        inner.posts.get(&id).filter(|_| fresh).cloned()
    }

    /// An editor asks for a document: what waits of it is tried at once. Whether it keeps new editors out.
    pub fn asked_for(self: &Arc<Self>, key: &str) -> bool {
        let limits = house::limits(&*(self.current)());
        let mut actions = Vec::new();
        let mut inner = self.inner();
        let holds = inner.saves.holds(self.now(), key, &limits);
        if holds {
            inner.saves.hurry(self.now(), key, &limits, &mut actions);
            self.perform(&mut inner, actions);
        }
        holds
    }

    /// Saves that are open, and those that wait for a person.
    pub fn counts(&self) -> (usize, usize) {
        self.inner().saves.counts()
    }

    /// Where a kept document lies, for a link of ours.
    pub fn kept(&self, id: Id, role: Role) -> std::path::PathBuf {
        self.spool.document(id, role)
    }

    /// The way to integrators.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Writes what is still to be written and lets go of the journal.
    pub fn stop(&self) {
        self.journal.end();
    }

    /// Lets time pass; how long until it should again.
    fn work(self: &Arc<Self>) -> Duration {
        let limits = house::limits(&*(self.current)());
        let orders = self.spool.orders().unwrap_or_default();
        let mut actions = Vec::new();
        let mut inner = self.inner();
        let now = self.now();
        for (verb, id) in orders {
            match verb.as_str() {
                "retry" => drop(inner.saves.retry(now, id, &limits, &mut actions)),
                "discard" => drop(inner.saves.discard(now, id, &mut actions)),
                _ => {}
            }
        }
        inner.saves.tick(now, &limits, &mut actions);
        self.perform(&mut inner, actions);
        let (open, parked) = inner.saves.counts();
        let metrics = &self.ops.metrics.saves;
        metrics.locks.set(inner.saves.locked().len() as f64);
        metrics.open.set(open as f64);
        metrics.parked.set(parked as f64);
        metrics.bytes.set(self.spool.usage().0 as f64);
        Duration::from_millis(inner.saves.next(now) - now)
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Try(id) => {
                    let relay = self.clone();
                    self.runtime.spawn(async move { deliver::deliver(&relay, id).await });
                }
                Action::Reply(id, reply) => {
                    let answer = inner.answer(id, reply);
                    inner.posts.remove(&id);
                    for waiter in inner.waiters.remove(&id).into_iter().flatten() {
                        waiter.send(answer.clone()).ok(); // who has left has left
                    }
                }
                Action::Store(id) => {
                    let Some(save) = inner.saves.get(id) else { continue };
                    let phase = save.phase;
                    let answer = save.replied.map(|reply| inner.answer(id, reply));
                    let text =
                        |answer: Answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned());
                    let at = millis(SystemTime::now());
                    self.journal.note(Entry::Store(
                        id,
                        State { phase: phase_name(phase).into(), at, answer: answer.map(text) },
                    ));
                    self.tell(&inner.saves, id, phase);
                }
                Action::Drop(id) => {
                    inner.answers.remove(&id);
                    self.journal.note(Entry::Drop(id));
                }
                Action::Count(well) => self.ops.metrics.saves.settled(well),
            }
        }
        self.ops.metrics.saves.locks.set(inner.saves.locked().len() as f64);
    }

    fn tell(&self, saves: &Saves, id: Id, phase: Phase) {
        let Some(save) = saves.get(id) else { return };
        let (level, message) = match phase {
            Phase::Settled(Settled::Delivered) => (Level::Info, "a save was delivered"),
            Phase::Parked(_) => (Level::Error, "a save waits for a person: saves list"),
            Phase::Reserve => (Level::Warn, "a force-save was not taken; it is kept until the session ends"),
            _ => (Level::Info, "a save ended"),
        };
        let number = format!("{:016x}", id.0);
        let facts = [
            ("save", number.as_str()),
            ("phase", phase_name(phase)),
            ("integrator", save.fresh.integrator.as_str()),
            ("key", save.fresh.key.as_str()),
        ];
        self.ops.log.event(level, "save", message, &facts);
    }

    pub(super) fn say(&self, level: Level, message: &str, why: &str) {
        self.ops.log.event(level, "relay", message, &[("error", why)]);
    }

    fn now(&self) -> Time {
        START + u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn answer(&self, id: Id, reply: Reply) -> Answer {
        match reply {
            Reply::Theirs => {
                self.answers.get(&id).cloned().unwrap_or_else(|| Answer::own(503, r#"{"error":1}"#))
            }
            Reply::Kept => Answer::own(200, r#"{"error":0}"#),
            Reply::Rejected => Answer::own(200, r#"{"error":1}"#),
            Reply::Unavailable => Answer::own(503, r#"{"error":1}"#),
        }
    }
}

pub(super) fn millis(now: SystemTime) -> u64 {
    u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
