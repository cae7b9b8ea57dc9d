//! Copies of accepted saves, from the directory of saves to the archive: what waits, when it goes, what is said of it. The
//! protocol is `sftp`'s, the decisions are `rules::copies`'.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::sftp::{self, Fault, Parcel, Session};
use super::spool::{Record, Role, Spool};
use super::worker::{Current, Relay};
use super::{Archive, fetch};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::copies::{self, Copies, Outcome, Step};
use crate::rules::save::{Id, Time};

/// How the archive stands, for health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether there is one, and whether it takes what it is given.
    pub state: Health,
    /// What is wrong, with the cure.
    pub detail: Option<String>,
    /// Since when it has been so.
    pub since: SystemTime,
}

/// Whether the archive takes what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// None is configured.
    Disabled,
    /// Nothing has failed that has not succeeded since.
    Healthy,
    /// It is away, or refuses something.
    Unhealthy,
}

/// Carries copies to the archive.
pub struct Archiver {
    current: Current,
    spool: Arc<Spool>,
    ops: Ops,
    begun: Instant,
    woken: Notify,
    inner: Mutex<Inner>,
}

struct Inner {
    copies: Copies,
    standing: Standing,
}

impl Archiver {
    /// Takes up what waits, and begins to work.
    pub(super) fn start(runtime: &Handle, spool: Arc<Spool>, ops: Ops, current: Current) -> Arc<Self> {
        let standing = Standing { state: Health::Disabled, detail: None, since: SystemTime::now() };
        let archiver = Arc::new(Self {
            current,
            spool,
            ops,
            begun: Instant::now(),
            woken: Notify::new(),
            inner: Mutex::new(Inner { copies: Copies::default(), standing }),
        });
        let worker = Arc::downgrade(&archiver);
        runtime.spawn(async move {
            let mut line = Line::default();
            while let Some(archiver) = worker.upgrade() {
                let pause = archiver.work(&mut line).await;
                tokio::select! {
                    () = archiver.woken.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
        archiver
    }

    /// Takes up what waited before, once the directory of saves can be used. Blocks.
    pub(super) fn take_up(&self) {
        match self.spool.copies() {
            Ok(found) => {
                for kept in found {
                    self.inner().copies.enlist(self.now(), kept.id, kept.bytes, kept.shared);
                }
                self.woken.notify_one();
            }
            Err(error) => {
                self.say(Level::Error, "copies for the archive cannot be listed", &error.to_string(), &[])
            }
        }
    }

    /// Keeps an accepted save's document for the archive. Blocks; called before the save lets go of its document.
    pub(super) fn keep(&self, id: Id) {
        match self.spool.copy(id) {
            Ok(Some(kept)) => {
                self.inner().copies.enlist(self.now(), id, kept.bytes, kept.shared);
                self.woken.notify_one();
            }
            Ok(None) => self.lost(id, "its document could not be kept"),
            Err(error) => self.lost(id, &error.to_string()),
        }
    }

    /// The save has let go of its document.
    pub(super) fn parted(&self, id: Id) {
        self.inner().copies.parted(id);
    }

    /// Gives every copy up that is not under way: a save needs the room. Whether there was any. Blocks.
    pub(super) fn give_way(&self) -> bool {
        let mut steps = Vec::new();
        self.inner().copies.tick(self.now(), false, 0, &mut steps);
        self.give_up(&steps);
        !steps.is_empty()
    }

    /// How the archive stands.
    pub fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }

    /// One step; how long until the next.
    async fn work(&self, line: &mut Line) -> Duration {
        let house = (self.current)();
        let archive = house.relay().archive.as_ref();
        if line.is_new(archive) {
            *line = Line { to: archive.map(Archive::place), session: None, asked: true };
            let mut inner = self.inner();
            inner.copies.changed(self.now());
            let state = if archive.is_some() { Health::Healthy } else { Health::Disabled };
            inner.standing = Standing { state, detail: None, since: SystemTime::now() };
        }
        let mut steps = Vec::new();
        // A tenth of the directory is always the saves' own: they come first.
        let most = house.relay().saves.max_size / 10 * 9;
        let room = most.saturating_sub(self.spool.usage().0);
        self.inner().copies.tick(self.now(), archive.is_some(), room, &mut steps);
        let spent = steps.clone();
        let spool = self.spool.clone();
        if spent.iter().any(|step| matches!(step, Step::GiveUp(_))) {
            self.tell_given_up(&spent);
            let forgotten = fetch::blocking(move || forget(&spool, &spent)).await;
            self.tell_stuck(forgotten);
        }
        let mut idle = true;
        for step in steps {
            let (Some(archive), false) = (archive, matches!(step, Step::GiveUp(_))) else { continue };
            idle = false;
            let done = self.carry_out(line, archive, step).await;
            self.ended(line, archive, step, done);
        }
        if idle {
            line.session = None;
        }
        let inner = self.inner();
        let (waiting, bytes) = inner.copies.waiting();
        let metrics = &self.ops.metrics.saves.archive;
        metrics.waiting.set(waiting as f64);
        metrics.bytes.set(bytes as f64);
        metrics.up.set(if inner.standing.state == Health::Unhealthy { 0.0 } else { 1.0 });
        let now = self.now();
        match idle {
            true => Duration::from_millis(inner.copies.next(now) - now),
            false => Duration::ZERO,
        }
    }

    async fn carry_out(&self, line: &mut Line, archive: &Archive, step: Step) -> Result<(), Fault> {
        if line.session.is_none() {
            line.session = Some(sftp::connect(archive).await?);
        }
        let Some(session) = &line.session else { return Ok(()) };
        let Step::Upload(id) = step else { return session.look(&archive.path).await };
        let begun = Instant::now();
        let spool = self.spool.clone();
        let record = fetch::blocking(move || spool.copy_record(id)).await;
        let record = record.map_err(|error| Fault::Gone(format!("its record cannot be read: {error}")))?;
        let Some(document) = record.documents.iter().find(|document| document.role == Role::Document) else {
            return Err(Fault::Gone("its record names no document".into()));
        };
        let place = place(id, &record, &document.name);
        let file = self.spool.copied(id);
        let parcel = Parcel { place: &place, file: &file, bytes: document.bytes, crc: document.crc };
        let path = session.store(&archive.path, &parcel).await?;
        self.ops.metrics.saves.upload.record(begun.elapsed());
        let spool = self.spool.clone();
        if let Err(error) = fetch::blocking(move || spool.forget_copy(id)).await {
            self.say(Level::Error, "an archived copy cannot be let go", &error.to_string(), &[]);
        }
        self.ops.metrics.saves.archive.stored.increment(1);
        let number = format!("{:016x}", id.0);
        let facts = [("save", number.as_str()), ("key", record.key.as_str()), ("path", path.as_str())];
        self.ops.log.event(Level::Info, "archive", "a save was archived", &facts);
        Ok(())
    }

    fn ended(&self, line: &mut Line, archive: &Archive, step: Step, done: Result<(), Fault>) {
        let outcome = match &done {
            Ok(()) => Outcome::Done,
            Err(Fault::Away(_)) => Outcome::Away,
            Err(Fault::Refused(_)) => Outcome::Refused,
            Err(Fault::Gone(_)) => Outcome::Gone,
        };
        if outcome == Outcome::Away {
            line.session = None;
        }
        let mut inner = self.inner();
        inner.copies.ended(self.now(), outcome);
        if let Err(fault) = &done {
            self.ops.metrics.saves.archive.failed.increment(1);
            if let (Fault::Gone(why), Step::Upload(id)) = (fault, step) {
                drop(inner);
                self.spool.forget_copy(id).ok();
                return self.lost(id, why);
            }
            // A look has no pause of its own, and its refusal shows as plainly as one of a copy.
            return self.unwell(inner, archive, fault.to_string());
        }
        if inner.standing.state == Health::Unhealthy && !inner.copies.is_troubled() {
            inner.standing = Standing { state: Health::Healthy, detail: None, since: SystemTime::now() };
            drop(inner);
            self.ops.log.event(
                Level::Info,
                "archive",
                "the archive takes saves again",
                &[("host", &archive.host)],
            );
        }
    }

    /// Said once for each reason, not for each try.
    fn unwell(&self, mut inner: MutexGuard<'_, Inner>, archive: &Archive, why: String) {
        let is_news = inner.standing.detail.as_ref() != Some(&why);
        if inner.standing.state != Health::Unhealthy {
            inner.standing.since = SystemTime::now();
        }
        (inner.standing.state, inner.standing.detail) = (Health::Unhealthy, Some(why.clone()));
        drop(inner);
        if is_news {
            self.say(
                Level::Error,
                "the archive does not take saves; they wait",
                &why,
                &[("host", &archive.host)],
            );
        }
    }

    fn lost(&self, id: Id, why: &str) {
        self.ops.metrics.saves.archive.given_up.increment(1);
        let number = format!("{:016x}", id.0);
        self.say(Level::Error, "an accepted save has no copy in the archive", why, &[("save", &number)]);
    }

    fn give_up(&self, steps: &[Step]) {
        self.tell_given_up(steps);
        self.tell_stuck(forget(&self.spool, steps));
    }

    fn tell_stuck(&self, forgotten: io::Result<()>) {
        if let Err(error) = forgotten {
            self.say(Level::Error, "a copy that was given up cannot be let go", &error.to_string(), &[]);
        }
    }

    fn tell_given_up(&self, steps: &[Step]) {
        for step in steps {
            if let Step::GiveUp(id) = step {
                self.lost(*id, "the directory of saves has no room for copies that wait");
            }
        }
    }

    fn say(&self, level: Level, message: &str, why: &str, facts: &[(&'static str, &str)]) {
        let facts: Vec<(&'static str, &str)> = facts.iter().copied().chain([("error", why)]).collect();
        self.ops.log.event(level, "archive", message, &facts);
    }

    fn now(&self) -> Time {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// How the archive stands.
    pub fn archive(&self) -> Standing {
        self.archiver.standing()
    }
}

/// The way to the archive as it is used now. Kept while there is something to carry.
#[derive(Default)]
struct Line {
    /// Where it leads; nowhere without an archive.
    to: Option<String>,
    session: Option<Session>,
    asked: bool,
}

impl Line {
    fn is_new(&self, archive: Option<&Archive>) -> bool {
        !self.asked || self.to != archive.map(Archive::place)
    }
}

fn place(id: Id, record: &Record, file: &str) -> copies::Place {
    let declared = record.claims.get("filetype").and_then(|kind| kind.as_str());
    let extension = copies::extension(declared, file);
    copies::place(id, &record.integrator, &record.key, record.since, record.status, &extension)
}

fn forget(spool: &Spool, steps: &[Step]) -> io::Result<()> {
    let given_up = steps.iter().filter_map(|step| if let Step::GiveUp(id) = step { Some(*id) } else { None });
    // One that sticks holds up no other.
    given_up.map(|id| spool.forget_copy(id)).fold(Ok(()), io::Result::and)
}
