//! The machine that moves saves: arrivals, events and time go in, actions come out.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::place::{Integrator, Line};
use super::{
    Action, Event, Freed, Fresh, Id, Kind, Limits, Ordered, Parked, Phase, Reply, Save, Settled, Survey,
    Time, Verdict, Welcome,
};
use crate::rules::retry;

/// How long a settled save answers repeats of its callback.
const REMEMBER: Time = 24 * 3_600_000;
/// Settled saves that are remembered: each costs a small folder, and a day has fewer saves than this.
const MOST_SETTLED: usize = 20_000;
/// Callback URLs that are remembered; beyond it those without a save that is not settled are forgotten.
const MOST_LINES: usize = 10_000;
/// Every save that is known.
#[derive(Debug, Default)]
pub struct Saves {
    pub(super) all: HashMap<Id, Save>,
    pub(super) open: BTreeSet<Id>,
    parked: BTreeSet<Id>,
    pub(super) reserve: HashMap<String, Id>,
    names: HashMap<String, Id>,
    pub(super) lines: HashMap<Arc<str>, Line>,
    pub(super) integrators: HashMap<String, Integrator>,
    settled: VecDeque<(Time, Id)>,
    pub(super) leaving: bool,
}

fn line_name(integrator: &str, target: &str) -> Arc<str> {
    format!("{integrator}\n{target}").into()
}

impl Saves {
    /// A callback has come that is no save: a report of who edits. It tells which key its URL now belongs to.
    pub fn heard(&mut self, id: Id, integrator: &str, target: &str, key: &str, actions: &mut Vec<Action>) {
        let name = line_name(integrator, target);
        self.line(&name).heard(id, key);
        self.look_back(&name, actions);
    }

    fn line(&mut self, name: &Arc<str>) -> &mut Line {
        if self.lines.len() >= MOST_LINES && !self.lines.contains_key(name) {
            self.lines.retain(|_, line| !line.unsettled.is_empty());
        }
        self.lines.entry(name.clone()).or_default()
    }

    /// Marks what must not be delivered any more because something newer has come, so that it stays marked whatever happens.
    fn look_back(&mut self, name: &Arc<str>, actions: &mut Vec<Action>) {
        let Some(line) = self.lines.get(name) else { return };
        for id in &line.unsettled {
            let Some(save) = self.all.get_mut(id) else { continue };
            if !save.newer && save.is_again() && line.outdates(&save.fresh) {
                save.newer = true;
                actions.push(Action::Store(*id));
            }
        }
    }

    /// A callback with something to keep has come.
    pub fn arrive(&mut self, now: Time, fresh: Fresh, actions: &mut Vec<Action>) -> Welcome {
        if let Some(known) = self.names.get(&fresh.name).and_then(|id| self.all.get(id)) {
            match (known.replied, known.phase) {
                (None, _) => return Welcome::Joins(known.fresh.id),
                // What nobody has taken is not "a repeat": the Document Server asks again.
                (Some(Reply::Unavailable), _) | (_, Phase::Settled(Settled::Failed)) => {}
                (Some(reply), _) => return Welcome::Answered(known.fresh.id, reply),
            }
        }
        self.heard(fresh.id, &fresh.integrator, &fresh.target, &fresh.key, actions);
        self.enter(Save::new(now, fresh));
        Welcome::New
    }

    fn enter(&mut self, save: Save) {
        let id = save.fresh.id;
        self.names.insert(save.fresh.name.clone(), id);
        match save.phase {
            Phase::Settled(_) => self.settled.push_back((save.since, id)),
            Phase::Reserve => drop(self.reserve.insert(save.fresh.key.clone(), id)),
            Phase::Parked(_) => drop(self.parked.insert(id)),
            _ => drop(self.open.insert(id)),
        }
        if !matches!(save.phase, Phase::Settled(_)) {
            self.line(&save.line).unsettled.insert(id);
        }
        self.all.insert(id, save);
    }

    /// A save found on disk at the start. What was being worked on counts as taken over: it is on disk. `newer`: something
    /// newer had come to its place.
    pub fn restore(
        &mut self,
        now: Time,
        age: Time,
        fresh: Fresh,
        phase: Phase,
        newer: bool,
        actions: &mut Vec<Action>,
    ) {
        let phase = match phase {
            Phase::Intake | Phase::Trying | Phase::Passing | Phase::Ready if fresh.kind == Kind::Spare => {
                Phase::Reserve
            }
            Phase::Intake | Phase::Trying | Phase::Passing => Phase::Ready,
            other => other,
        };
        let name = line_name(&fresh.integrator, &fresh.target);
        self.line(&name).heard(fresh.id, &fresh.key);
        let mut save = Save::new(now, fresh);
        (save.since, save.tries, save.newer) = (now.saturating_sub(age), 1, newer);
        save.came = save.since;
        (save.phase, save.counted) = (phase, phase != Phase::Ready);
        save.replied = Some(match phase {
            Phase::Ready => Reply::Kept,
            Phase::Reserve => Reply::Unavailable,
            _ => Reply::Theirs,
        });
        let delivered = phase == Phase::Settled(Settled::Delivered);
        if delivered || matches!(phase, Phase::Ready | Phase::Parked(_)) {
            self.acknowledge(&save, delivered);
        }
        // What was kept only until this had come: the crash may have been between the two.
        let is_newest = phase == Phase::Reserve || (delivered && save.fresh.kind != Kind::Farewell);
        let is_end = save.fresh.kind == Kind::Final && phase != Phase::Settled(Settled::Failed);
        if is_newest || is_end {
            self.release_reserve(&save.fresh.key, actions);
        }
        self.enter(save);
    }

    /// Something came of an action.
    pub fn happened(&mut self, now: Time, id: Id, event: Event, limits: &Limits, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        match (event, save.phase) {
            (Event::Kept, Phase::Intake) => self.kept(now, id, limits, actions),
            (Event::NotKept, Phase::Intake) => {
                save.phase = Phase::Passing;
                save.begin(now);
                actions.push(Action::Try(id));
            }
            (Event::Invalid, Phase::Intake | Phase::Ready) => {
                self.reply(id, Reply::Rejected, actions);
                self.settle(now, id, Settled::Failed, actions);
            }
            (Event::Answered(verdict), Phase::Passing) => {
                self.integrator(now, id, verdict);
                let taken = verdict == Verdict::Taken;
                self.reply(id, Reply::Theirs, actions);
                self.settle(now, id, if taken { Settled::Delivered } else { Settled::Failed }, actions);
            }
            (Event::Answered(verdict), Phase::Trying) => {
                self.integrator(now, id, verdict);
                self.answered(now, id, verdict, actions);
            }
            _ => {}
        }
        self.tick(now, limits, actions);
    }

    fn kept(&mut self, now: Time, id: Id, limits: &Limits, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Ready;
        save.due = now;
        save.late = now.saturating_add(limits.answer_within);
        match save.fresh.kind {
            Kind::Final => {
                let key = save.fresh.key.clone();
                self.release_reserve(&key, actions);
            }
            // It was told already, and nobody heard it: that is why it is here.
            Kind::Farewell => {
                save.tries = 1;
                save.due = now.saturating_add(retry::pause(1, id.0));
                self.reply(id, Reply::Kept, actions);
            }
            Kind::Form | Kind::Spare => {}
        }
    }

    /// Lets time pass: whoever waited long enough is answered, whoever is due is tried.
    pub fn tick(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        self.take_turns(now, limits, actions);
        while self.settled.front().is_some_and(|(at, _)| now.saturating_sub(*at) > REMEMBER)
            || self.settled.len() > MOST_SETTLED
        {
            let Some((_, id)) = self.settled.pop_front() else { break };
            self.forget(id, actions);
        }
    }

    /// When to [`Saves::tick`] next, at the latest.
    pub fn next(&self, now: Time) -> Time {
        let times = self.open().flat_map(|save| {
            let late = if save.replied.is_none() && save.late > now { save.late } else { Time::MAX };
            [late, if save.phase == Phase::Ready && save.due > now { save.due } else { Time::MAX }]
        });
        times.min().unwrap_or(Time::MAX).clamp(now + 1, now + 1_000)
    }

    /// The gateway is about to leave: whoever waits for something durable is told so, all others are asked to come again, and
    /// nothing more is tried.
    pub fn leave(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        self.leaving = true;
        for id in self.open.clone() {
            let Some(save) = self.all.get(&id) else { continue };
            match save.phase {
                Phase::Trying if !save.fresh.kind.is_taken_over() => {
                    self.reply(id, Reply::Unavailable, actions);
                }
                Phase::Passing => self.reply(id, Reply::Unavailable, actions),
                _ => {}
            }
        }
        self.tick(now, limits, actions);
    }

    /// Whether something is on its way to an integrator.
    pub fn is_trying(&self) -> bool {
        self.open().any(|save| matches!(save.phase, Phase::Trying | Phase::Passing))
    }

    /// Whether an integrator is taken for being away.
    pub fn is_down(&self, integrator: &str) -> bool {
        self.integrators.get(integrator).is_some_and(|integrator| integrator.down)
    }

    /// An editor asks for a document: whatever of it waits is tried at once.
    pub fn hurry(&mut self, now: Time, key: &str, limits: &Limits, actions: &mut Vec<Action>) {
        for id in &self.open {
            if let Some(save) = self.all.get_mut(id).filter(|save| save.fresh.key == key) {
                save.due = save.due.min(now);
                if let Some(integrator) = self.integrators.get_mut(&save.fresh.integrator) {
                    (integrator.probe, integrator.quiet) = (None, now);
                }
            }
        }
        self.tick(now, limits, actions);
    }

    /// An operator wants a save tried again at once. What is on its way is being tried.
    pub fn retry(&mut self, now: Time, id: Id, limits: &Limits, actions: &mut Vec<Action>) -> Ordered {
        let Some(save) = self.all.get_mut(&id) else { return Ordered::Pointless };
        match save.phase {
            Phase::Ready => save.due = now,
            Phase::Parked(_) | Phase::Reserve => {
                save.phase = Phase::Ready;
                (save.due, save.since, save.tries) = (now, now, save.tries.max(1));
                (save.alerted, save.let_in) = (false, false);
                self.open.insert(id);
                self.parked.remove(&id);
                self.reserve.retain(|_, reserve| *reserve != id);
                actions.push(Action::Store(id));
            }
            _ => return Ordered::Pointless,
        }
        self.tick(now, limits, actions);
        Ordered::Done
    }

    /// An operator throws a save away. Not while it is on its way.
    pub fn discard(&mut self, now: Time, id: Id, actions: &mut Vec<Action>) -> Ordered {
        match self.all.get(&id).map(|save| save.phase) {
            None | Some(Phase::Settled(_)) => return Ordered::Pointless,
            Some(Phase::Intake | Phase::Trying | Phase::Passing) => return Ordered::Later,
            Some(Phase::Ready | Phase::Parked(_) | Phase::Reserve) => {}
        }
        self.reply(id, Reply::Unavailable, actions);
        self.settle(now, id, Settled::Discarded, actions);
        Ordered::Done
    }

    /// A save.
    pub fn get(&self, id: Id) -> Option<&Save> {
        self.all.get(&id)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Save> {
        self.open.iter().filter_map(|id| self.all.get(id))
    }

    /// Documents that new editors are kept out of: a final save of them is under way, and not for too long.
    pub fn locked(&self) -> HashSet<&str> {
        self.locks().filter(|save| !save.let_in).map(|save| save.fresh.key.as_str()).collect()
    }

    /// How the lock of a document has ended, if it had one; `None`: new editors are kept out.
    pub fn freed(&self, key: &str) -> Option<Freed> {
        let mut freed = Freed::Settled;
        for save in self.locks().filter(|save| save.fresh.key == key) {
            if !save.let_in {
                return None;
            }
            freed = Freed::LetIn;
        }
        Some(freed)
    }

    fn locks(&self) -> impl Iterator<Item = &Save> {
        self.open().filter(|save| save.fresh.kind == Kind::Final)
    }

    /// Saves that are not settled, at most so many of each kind: parked ones, the newest first, open ones, the oldest first, and
    /// those in reserve.
    pub fn unsettled(&self, most: usize) -> impl Iterator<Item = &Save> {
        let (parked, open) = (self.parked.iter().rev().take(most), self.open.iter().take(most));
        let reserve: BTreeSet<&Id> = self.reserve.values().collect();
        let all = parked.chain(open).chain(reserve.into_iter().take(most));
        all.filter_map(|id| self.all.get(id))
    }

    /// How many there are of what.
    pub fn survey(&self, now: Time) -> Survey {
        let parked = |why| {
            let all = self.parked.iter().filter_map(|id| self.all.get(id));
            all.filter(|save| save.phase == Phase::Parked(why)).count()
        };
        let waiting = || self.open().filter(|save| save.replied.is_some());
        Survey {
            open: self.open.len(),
            waiting: waiting().count(),
            locked: self.locked().len(),
            reserve: self.reserve.len(),
            refused: parked(Parked::Refused),
            superseded: parked(Parked::Superseded),
            out_of_time: parked(Parked::OutOfTime),
            oldest: waiting().map(|save| now.saturating_sub(save.since)).max(),
        }
    }

    fn answered(&mut self, now: Time, id: Id, verdict: Verdict, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        let spare = save.fresh.kind == Kind::Spare && save.replied.is_none();
        match verdict {
            Verdict::Taken => {
                self.reply(id, Reply::Theirs, actions);
                self.settle(now, id, Settled::Delivered, actions);
            }
            Verdict::Final | Verdict::Again { .. } if spare => {
                self.reply(id, Reply::Theirs, actions);
                self.put_aside(id, actions);
            }
            Verdict::Final => {
                self.reply(id, Reply::Theirs, actions);
                self.give_up(now, id, Parked::Refused, actions);
            }
            Verdict::Again { .. } => {
                save.phase = Phase::Ready;
                save.due = now.saturating_add(retry::pause(save.tries, id.0));
                self.reply(id, Reply::Kept, actions);
            }
        }
    }

    fn integrator(&mut self, now: Time, id: Id, verdict: Verdict) {
        let Some(name) = self.all.get(&id).map(|save| save.fresh.integrator.clone()) else { return };
        let was = self.integrators.entry(name.clone()).or_default();
        let down = verdict == Verdict::Again { down: true };
        let came_back = was.down && !down;
        was.down = down;
        was.failed = if down { was.failed.saturating_add(1) } else { 0 };
        was.quiet = now.saturating_add(if down { retry::pause(was.failed, id.0) } else { 0 });
        if was.probe.is_some_and(|(probe, _)| probe == id) || !down {
            was.probe = None;
        }
        if came_back {
            for other in &self.open {
                let fits = |save: &&mut Save| save.phase == Phase::Ready && save.fresh.integrator == name;
                if let Some(save) = self.all.get_mut(other).filter(fits) {
                    save.due = now.min(save.due); // whoever paused because of it need not pause longer
                }
            }
        }
    }

    pub(super) fn reply(&mut self, id: Id, reply: Reply, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id).filter(|save| save.replied.is_none()) else { return };
        save.replied = Some(reply);
        actions.push(Action::Reply(id, reply));
        if reply == Reply::Kept {
            self.copy(id, actions);
            self.acknowledged(id, false, actions);
        }
    }

    fn copy(&mut self, id: Id, actions: &mut Vec<Action>) {
        let save = self.all.get_mut(&id).filter(|save| !save.copied && save.fresh.kind.has_document());
        if let Some(save) = save {
            save.copied = true;
            actions.push(Action::Copy(id));
        }
    }

    fn acknowledged(&mut self, id: Id, delivered: bool, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get(&id).filter(|save| save.fresh.kind.has_document()).cloned() else {
            return;
        };
        self.acknowledge(&save, delivered);
        self.look_back(&save.line, actions);
    }

    fn acknowledge(&mut self, save: &Save, delivered: bool) {
        if save.fresh.kind.has_document() {
            let line = self.line(&save.line);
            let id = Some(save.fresh.id);
            line.acknowledged = line.acknowledged.max(id);
            line.delivered = if delivered { line.delivered.max(id) } else { line.delivered };
        }
    }

    fn count(&mut self, id: Id, well: bool, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        if !save.counted && save.fresh.kind.has_document() {
            save.counted = true;
            actions.push(Action::Count(well));
        }
    }

    /// Takes a save off every list that it may stand on.
    fn unlist(&mut self, id: Id) {
        self.open.remove(&id);
        self.parked.remove(&id);
        self.reserve.retain(|_, reserve| *reserve != id);
    }

    fn settle(&mut self, now: Time, id: Id, how: Settled, actions: &mut Vec<Action>) {
        self.count(id, how == Settled::Delivered, actions);
        if how == Settled::Delivered {
            self.copy(id, actions);
        }
        self.unlist(id);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Settled(how);
        let (key, kind) = (save.fresh.key.clone(), save.fresh.kind);
        if let Some(line) = self.lines.get_mut(&save.line) {
            line.unsettled.remove(&id);
        }
        self.settled.push_back((now, id));
        actions.push(Action::Store(id));
        if how == Settled::Delivered {
            self.acknowledged(id, true, actions);
            if kind != Kind::Farewell {
                self.release_reserve(&key, actions);
            }
        }
    }

    /// Leaves a save to a person. What only tells of an end without changes is worth nobody's time.
    pub(super) fn give_up(&mut self, now: Time, id: Id, why: Parked, actions: &mut Vec<Action>) {
        if self.all.get(&id).is_some_and(|save| !save.fresh.kind.has_document()) {
            return self.settle(now, id, Settled::Discarded, actions);
        }
        self.reply(id, Reply::Kept, actions);
        self.count(id, false, actions);
        // What was accepted before a restart may be copied once more: the archive knows it again by its name.
        if self.all.get(&id).is_some_and(|save| save.replied == Some(Reply::Kept)) {
            self.copy(id, actions);
        }
        self.unlist(id);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Parked(why);
        self.parked.insert(id);
        actions.push(Action::Store(id));
    }

    /// Keeps a save of a session that goes on; the newest replaces the one before.
    pub(super) fn put_aside(&mut self, id: Id, actions: &mut Vec<Action>) {
        self.count(id, false, actions);
        self.unlist(id);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Reserve;
        let key = save.fresh.key.clone();
        self.release_reserve(&key, actions);
        self.reserve.insert(key, id);
        actions.push(Action::Store(id));
    }

    fn release_reserve(&mut self, key: &str, actions: &mut Vec<Action>) {
        if let Some(id) = self.reserve.remove(key) {
            self.forget(id, actions);
        }
    }

    fn forget(&mut self, id: Id, actions: &mut Vec<Action>) {
        self.parked.remove(&id);
        if let Some(save) = self.all.remove(&id) {
            if self.names.get(&save.fresh.name) == Some(&id) {
                self.names.remove(&save.fresh.name);
            }
            if let Some(line) = self.lines.get_mut(&save.line) {
                line.unsettled.remove(&id);
            }
            actions.push(Action::Drop(id));
        }
    }
}
