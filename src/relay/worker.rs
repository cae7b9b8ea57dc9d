//! Where saves are worked on: the machine of `rules::save`, driven with disk, network and time.
//!
//! Lives on the control runtime: a burst of saves must not delay editing. A request's handler on a core hands in what came and
//! waits for the answer; everything else happens here.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::sleep;

use super::answer::{Answer, Post};
use super::archive::Archiver;
use super::client::Trust;
use super::forgotten::Forgotten;
use super::heard::Heard;
use super::house::{self, House};
use super::journal::{Entry, Journal};
use super::memory::Memory;
use super::spool::{Found, Role, Spool, State, phase_name};
use super::status::{Trouble, Troubles};
use super::{deliver, fetch, orders};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::save::{Action, Event, Fresh, Id, Phase, Reply, Save, Saves, Settled, Time, Welcome};

/// Callbacks that are worked on at once. Each holds at most 1 MiB of body and its claims; beyond it the Document Server is
/// asked to come again, which it does.
const MOST: usize = 128;
/// Reports on their second way at once: where nobody hears them, each of them costs its whole patience.
const REPORTS: usize = 4;
/// The machine's clock starts here, so that what was kept before the start lies in its past.
const START: Time = 400 * 24 * 3_600_000;
/// How often operators' orders are looked for, and a directory that could not be taken up is tried again.
const ERRANDS: Duration = Duration::from_secs(1);

/// Looks at a kept document of that file type; the error is the reason's name in `onlyoffice_validation_rejected_total`.
pub type Check = fn(&Path, Option<&str>) -> Result<(), &'static str>;

/// The running configuration, as of each call.
pub(super) type Current = Arc<dyn Fn() -> Arc<dyn House> + Send + Sync>;

/// Callbacks and saves.
pub struct Relay {
    pub(super) current: Current,
    pub(super) ops: Ops,
    pub(super) trust: Trust,
    pub(super) spool: Arc<Spool>,
    pub(super) troubles: Arc<Troubles>,
    pub(super) check: Check,
    /// Checks at once: they are the processor's work, and editing comes first.
    pub(super) checks: Semaphore,
    pub(super) reports: Semaphore,
    pub(super) archiver: Arc<Archiver>,
    pub(super) forgotten: Forgotten,
    pub(super) memory: Arc<Memory>,
    pub(super) heard: Heard,
    pub(super) journal: Journal,
    pub(super) runtime: Handle,
    room: Arc<Semaphore>,
    begun: Instant,
    woken: Notify,
    /// A save has moved: whoever waits for one looks again.
    pub(super) moved: watch::Sender<()>,
    inner: Mutex<Inner>,
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
    reports: HashMap<String, Id>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relay")
    }
}

impl Relay {
    /// Takes up what the directory holds and begins to work on it. A directory that cannot be used now is tried again; until
    /// then callbacks are passed through.
    ///
    /// # Errors
    /// When another gateway works on the directory, or the system has no thread to give.
    pub fn start(
        runtime: Handle,
        spool: Spool,
        ops: Ops,
        check: Check,
        current: impl Fn() -> Arc<dyn House> + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let (spool, troubles) = (Arc::new(spool), Arc::<Troubles>::default());
        let found = match spool.open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            other => other,
        };
        let current: Current = Arc::new(current);
        let archiver = Archiver::start(&runtime, spool.clone(), ops.clone(), current.clone());
        if found.is_ok() {
            archiver.take_up();
        }
        let memory = Arc::new(Memory::open(spool.root(), millis(SystemTime::now())));
        let journal =
            Journal::start(spool.clone(), archiver.clone(), memory.clone(), troubles.clone(), ops.clone())?;
        let cores = thread::available_parallelism().map_or(1, Into::into);
        let relay = Arc::new(Self {
            current,
            archiver,
            forgotten: Forgotten::default(),
            memory,
            heard: Heard::default(),
            journal,
            ops,
            trust: Trust::default(),
            spool,
            troubles,
            check,
            checks: Semaphore::new((cores / 2).max(1)),
            reports: Semaphore::new(REPORTS),
            runtime: runtime.clone(),
            room: Arc::new(Semaphore::new(MOST)),
            begun: Instant::now(),
            woken: Notify::new(),
            moved: watch::Sender::default(),
            inner: Mutex::default(),
        });
        relay.inner().next = millis(SystemTime::now()).saturating_mul(1_000);
        relay.take_up(found);
        runtime.spawn(Self::watch_forgotten(Arc::downgrade(&relay)));
        let worker = Arc::downgrade(&relay);
        runtime.spawn(async move {
            while let Some(relay) = worker.upgrade() {
                let pause = relay.work();
                tokio::select! {
                    () = relay.woken.notified() => {}
                    () = sleep(pause) => {}
                }
            }
        });
        let clerk = Arc::downgrade(&relay);
        runtime.spawn(async move {
            while let Some(relay) = clerk.upgrade() {
                relay.errands().await;
                drop(relay);
                sleep(ERRANDS).await;
            }
        });
        Ok(relay)
    }

    /// Takes up what was kept before.
    fn take_up(self: &Arc<Self>, found: io::Result<Vec<Found>>) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let error = error.to_string();
                if self.troubles.stand(Trouble::Directory, &error) {
                    let message = "the directory of saves cannot be used; it is tried again every second";
                    self.say(Level::Error, message, &error);
                }
                return;
            }
        };
        if self.troubles.over(Trouble::Directory) {
            self.say(Level::Info, "the directory of saves can be used", "");
        }
        let wall = millis(SystemTime::now());
        let mut inner = self.inner();
        let mut actions = Vec::new();
        for Found { id, record, state } in found {
            inner.next = inner.next.max(id.0 + 1);
            let Some(record) = record else {
                let folder = self.spool.folder(id).display().to_string();
                self.say(Level::Error, "a kept save cannot be read; it stays where it is", &folder);
                continue;
            };
            let phase = state.as_ref().map_or(Phase::Ready, State::phase);
            let newer = state.as_ref().is_some_and(|state| state.newer);
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
            inner.saves.restore(self.now(), age, record.fresh(id), phase, newer, &mut actions);
        }
        self.perform(&mut inner, actions);
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

    /// A report has been told, or is too old to be.
    pub(super) fn settle_report(&self, key: &str, id: Id) {
        let mut inner = self.inner();
        if inner.reports.get(key) == Some(&id) {
            inner.reports.remove(key);
        }
    }

    /// Whether an integrator is taken for being away.
    pub(super) fn is_down(&self, integrator: &str) -> bool {
        self.inner().saves.is_down(integrator)
    }

    /// The machine hears of a callback that it does not keep.
    pub(super) fn heard(self: &Arc<Self>, id: Id, post: &Post) {
        self.with_machine(|saves, _, actions| {
            saves.heard(id, &post.integrator, &post.target, &post.callback.key, actions);
        });
    }

    /// A save has come: it is new, joins another, or is answered already.
    pub(super) fn arrive(
        self: &Arc<Self>,
        fresh: Fresh,
        post: Post,
        answer: oneshot::Sender<Answer>,
    ) -> Welcome {
        let id = fresh.id;
        let mut actions = Vec::new();
        let mut inner = self.inner();
        let welcome = inner.saves.arrive(self.now(), fresh, &mut actions);
        match welcome {
            Welcome::New => {
                inner.posts.insert(id, Arc::new(post));
                inner.waiters.insert(id, vec![answer]);
            }
            Welcome::Joins(other) => inner.waiters.entry(other).or_default().push(answer),
            Welcome::Answered(other, reply) => drop(answer.send(inner.answer(other, reply))),
        }
        self.perform(&mut inner, actions);
        welcome
    }

    /// Something came of a save.
    pub(super) fn happened(self: &Arc<Self>, id: Id, event: Event) {
        let limits = house::limits(&*(self.current)());
        self.with_machine(|saves, now, actions| saves.happened(now, id, event, &limits, actions));
        self.woken.notify_one();
    }

    pub(super) fn with_machine<T>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Saves, Time, &mut Vec<Action>) -> T,
    ) -> T {
        let mut actions = Vec::new();
        let mut inner = self.inner();
        let done = act(&mut inner.saves, self.now(), &mut actions);
        self.perform(&mut inner, actions);
        done
    }

    /// What the integrator said, to be passed back or remembered.
    pub(super) fn answered(&self, id: Id, answer: Answer) {
        self.inner().answers.insert(id, answer);
    }

    /// What came with a save whose Document Server still waits.
    pub(super) fn first_post(&self, id: Id) -> Option<Arc<Post>> {
        let inner = self.inner();
        let fresh = inner.saves.get(id).is_some_and(Save::is_first_try);
        inner.posts.get(&id).filter(|_| fresh).cloned()
    }

    /// Looks at the machine, and at what was answered.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Saves, Time, &HashMap<Id, Answer>) -> T) -> T {
        let inner = self.inner();
        look(&inner.saves, self.now(), &inner.answers)
    }

    /// Where a kept document lies, for a link of ours.
    pub fn kept(&self, id: Id, role: Role) -> PathBuf {
        self.spool.document(id, role)
    }

    /// The way to integrators.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The gateway is about to leave: callbacks that wait for an answer get one now, and nothing more is tried.
    pub fn leave(self: &Arc<Self>) {
        let limits = house::limits(&*(self.current)());
        self.with_machine(|saves, now, actions| saves.leave(now, &limits, actions));
    }

    /// Whether something is on its way to an integrator: cut off, it may have to be sent a second time.
    pub fn is_busy(&self) -> bool {
        self.inner().saves.is_trying()
    }

    /// Writes what is still to be written, and lets go of journal and directory.
    pub fn stop(&self) {
        self.journal.end();
        self.spool.close();
    }

    /// Lets time pass; how long until it should again.
    fn work(self: &Arc<Self>) -> Duration {
        let limits = house::limits(&*(self.current)());
        let next = self.with_machine(|saves, now, actions| {
            saves.tick(now, &limits, actions);
            saves.next(now) - now
        });
        Duration::from_millis(next)
    }

    /// What the disk holds for the machine: orders of operators, and a directory that could not be taken up before.
    async fn errands(self: &Arc<Self>) {
        let spool = self.spool.clone();
        if !self.spool.is_open() {
            let archiver = self.archiver.clone();
            let open = move || spool.open().inspect(|_| archiver.take_up());
            return self.take_up(fetch::blocking(open).await);
        }
        let orders = fetch::blocking(move || spool.orders()).await.unwrap_or_default();
        let limits = house::limits(&*(self.current)());
        for (verb, id) in orders {
            orders::carry_out(self, verb, id, &limits).await;
        }
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.moved.send_replace(());
        }
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
                Action::Store(id) => self.write_down(inner, id),
                // Without an archive nothing is kept for it.
                Action::Copy(id) if (self.current)().relay().archive.is_some() => {
                    self.journal.note(id, Entry::Copy);
                }
                Action::Copy(_) => {}
                Action::Drop(id) => {
                    inner.answers.remove(&id);
                    self.journal.note(id, Entry::Drop);
                }
                Action::Count(well) => {
                    self.ops.metrics.saves.settled(well);
                    self.ops.metrics.history.settled(well);
                }
                Action::Alert(id) => {
                    self.tell(&inner.saves, id, Level::Error, "a save waits for more than 10 minutes");
                }
                Action::LetIn(id) => {
                    self.ops.metrics.saves.let_in.increment(1);
                    let message =
                        "new editors are let in although a save of their document waits: saves.hold_editors";
                    self.tell(&inner.saves, id, Level::Error, message);
                }
            }
        }
    }

    fn write_down(self: &Arc<Self>, inner: &Inner, id: Id) {
        let Some(save) = inner.saves.get(id) else { return };
        self.consider_forgotten(save);
        let answer = save.replied.map(|reply| inner.answer(id, reply));
        let text = |answer: Answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned());
        let state = State {
            phase: phase_name(save.phase).into(),
            at: millis(SystemTime::now()),
            answer: answer.map(text),
            newer: save.newer,
        };
        self.journal.note(id, Entry::Store(state));
        let (level, message) = match save.phase {
            Phase::Settled(Settled::Delivered) => (Level::Info, "a save was delivered"),
            Phase::Parked(_) => (Level::Error, "a save waits for a person: saves list"),
            Phase::Reserve => (Level::Warn, "a force-save was not taken; it is kept until the session ends"),
            Phase::Settled(_) => (Level::Info, "a save ended"),
            _ => return,
        };
        self.tell(&inner.saves, id, level, message);
    }

    fn tell(&self, saves: &Saves, id: Id, level: Level, message: &str) {
        let Some(save) = saves.get(id) else { return };
        let number = format!("{:016x}", id.0);
        let facts = [
            ("save", number.as_str()),
            ("phase", phase_name(save.phase)),
            ("integrator", save.fresh.integrator.as_str()),
            ("key", save.fresh.key.as_str()),
        ];
        self.ops.log.event(level, "save", message, &facts);
    }

    pub(super) fn say(&self, level: Level, message: &str, why: &str) {
        let facts = [("error", why)];
        self.ops.log.event(level, "relay", message, if why.is_empty() { &[] } else { &facts });
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
