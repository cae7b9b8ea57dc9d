//! The machine that moves saves: arrivals, events and time go in, actions come out.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::place::{Integrator, Line};
use super::{
    Action, Event, Fresh, Id, Kind, Limits, Parked, Phase, Reply, Save, Settled, Time, Verdict, Welcome,
};
use crate::rules::retry;

/// How long a settled save answers repeats of its callback.
const REMEMBER: Time = 24 * 3_600_000;
/// Settled saves that are remembered: each costs a small folder, and a day has fewer saves than this.
const MOST_SETTLED: usize = 20_000;
/// Callback URLs that are remembered; beyond it the oldest without an open save is forgotten.
const MOST_LINES: usize = 10_000;

/// Every save that is known.
#[derive(Debug, Default)]
pub struct Saves {
    all: HashMap<Id, Save>,
    open: BTreeMap<Id, ()>,
    reserve: HashMap<String, Id>,
    names: HashMap<String, Id>,
    lines: HashMap<(String, String), Line>,
    integrators: HashMap<String, Integrator>,
    settled: VecDeque<(Time, Id)>,
}

impl Saves {
    /// A callback has come that is no save: a report of who edits. It tells which key its URL now belongs to.
    pub fn heard(&mut self, id: Id, integrator: &str, target: &str, key: &str) {
        if self.lines.len() >= MOST_LINES {
            self.forget_lines();
        }
        let line = self.lines.entry((integrator.to_owned(), target.to_owned())).or_default();
        line.heard(id, key);
    }

    /// A callback with something to keep has come.
    pub fn arrive(&mut self, now: Time, fresh: Fresh) -> Welcome {
        if let Some(known) = self.names.get(&fresh.name).and_then(|id| self.all.get(id)) {
            match (known.replied, known.phase) {
                (None, _) => return Welcome::Joins(known.fresh.id),
                // What nobody has taken is not "a repeat": the Document Server asks again.
                (Some(Reply::Unavailable), _) | (_, Phase::Settled(Settled::Failed)) => {}
                (Some(reply), _) => return Welcome::Answered(known.fresh.id, reply),
            }
        }
        self.heard(fresh.id, &fresh.integrator, &fresh.target, &fresh.key);
        self.names.insert(fresh.name.clone(), fresh.id);
        self.open.insert(fresh.id, ());
        let save = Save {
            phase: Phase::Intake,
            since: now,
            tries: 0,
            due: now,
            replied: None,
            late: Time::MAX,
            counted: false,
            fresh,
        };
        self.all.insert(save.fresh.id, save);
        Welcome::New
    }

    /// A save found on disk at the start. What was being worked on counts as taken over: it is on disk.
    pub fn restore(&mut self, now: Time, age: Time, fresh: Fresh, phase: Phase) {
        let phase = match phase {
            Phase::Intake | Phase::Trying | Phase::Passing if fresh.kind == Kind::Spare => Phase::Reserve,
            Phase::Ready if fresh.kind == Kind::Spare => Phase::Reserve,
            Phase::Intake | Phase::Trying | Phase::Passing => Phase::Ready,
            other => other,
        };
        let id = fresh.id;
        self.heard(id, &fresh.integrator, &fresh.target, &fresh.key);
        self.names.insert(fresh.name.clone(), id);
        let since = now.saturating_sub(age);
        match phase {
            Phase::Settled(_) => self.settled.push_back((since, id)),
            Phase::Reserve => drop(self.reserve.insert(fresh.key.clone(), id)),
            Phase::Parked(_) => {}
            _ => drop(self.open.insert(id, ())),
        }
        let replied = Some(match phase {
            Phase::Ready => Reply::Kept,
            Phase::Reserve => Reply::Unavailable,
            _ => Reply::Theirs,
        });
        if phase == Phase::Ready || phase == Phase::Settled(Settled::Delivered) {
            self.acknowledge(&fresh);
        }
        let counted = !matches!(phase, Phase::Ready);
        self.all
            .insert(id, Save { phase, since, tries: 1, due: now, replied, late: Time::MAX, counted, fresh });
    }

    /// Something came of an action.
    pub fn happened(&mut self, now: Time, id: Id, event: Event, limits: &Limits, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        match (event, save.phase) {
            (Event::Kept, Phase::Intake) => {
                save.phase = Phase::Ready;
                save.due = now;
                save.late = now.saturating_add(limits.answer_within);
                let (key, kind) = (save.fresh.key.clone(), save.fresh.kind);
                if kind == Kind::Final {
                    self.release_reserve(&key, actions);
                }
            }
            (Event::NotKept, Phase::Intake) => {
                save.phase = Phase::Passing;
                save.tries = 1;
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

    /// Lets time pass: whoever waited long enough is answered, whoever is due is tried.
    pub fn tick(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        self.answer_late(now, actions);
        self.expire(now, limits, actions);
        self.start(now, actions);
        while self.settled.front().is_some_and(|(at, _)| now.saturating_sub(*at) > REMEMBER)
            || self.settled.len() > MOST_SETTLED
        {
            let Some((_, id)) = self.settled.pop_front() else { break };
            self.forget(id, actions);
        }
    }

    /// When to [`Saves::tick`] next, at the latest.
    pub fn next(&self, now: Time) -> Time {
        let waiting = self.open.keys().filter_map(|id| self.all.get(id));
        let times = waiting.flat_map(|save| {
            let late = if save.replied.is_none() && save.late > now { save.late } else { Time::MAX };
            [late, if save.phase == Phase::Ready && save.due > now { save.due } else { Time::MAX }]
        });
        times.min().unwrap_or(Time::MAX).clamp(now + 1, now + 1_000)
    }

    /// An editor asks for a document: whatever of it waits is tried at once.
    pub fn hurry(&mut self, now: Time, key: &str, limits: &Limits, actions: &mut Vec<Action>) {
        for id in self.open.keys() {
            if let Some(save) = self.all.get_mut(id).filter(|save| save.fresh.key == key) {
                save.due = save.due.min(now);
                if let Some(integrator) = self.integrators.get_mut(&save.fresh.integrator) {
                    (integrator.probe, integrator.quiet) = (None, now);
                }
            }
        }
        self.tick(now, limits, actions);
    }

    /// An operator wants a save tried again at once. Whether there was anything to try.
    pub fn retry(&mut self, now: Time, id: Id, limits: &Limits, actions: &mut Vec<Action>) -> bool {
        let Some(save) = self.all.get_mut(&id) else { return false };
        match save.phase {
            Phase::Ready => save.due = now,
            Phase::Parked(_) | Phase::Reserve => {
                save.phase = Phase::Ready;
                (save.due, save.since, save.tries) = (now, now, save.tries.max(1));
                self.open.insert(id, ());
                self.reserve.retain(|_, reserve| *reserve != id);
                actions.push(Action::Store(id));
            }
            _ => return false,
        }
        self.tick(now, limits, actions);
        true
    }

    /// An operator throws a save away. Not while it is on its way.
    pub fn discard(&mut self, now: Time, id: Id, actions: &mut Vec<Action>) -> bool {
        let Some(save) = self.all.get(&id) else { return false };
        if !matches!(save.phase, Phase::Ready | Phase::Parked(_) | Phase::Reserve) {
            return false;
        }
        self.reserve.retain(|_, reserve| *reserve != id);
        self.reply(id, Reply::Unavailable, actions);
        self.settle(now, id, Settled::Discarded, actions);
        true
    }

    /// A save.
    pub fn get(&self, id: Id) -> Option<&Save> {
        self.all.get(&id)
    }

    /// Documents whose final save is under way.
    pub fn locked(&self) -> HashSet<&str> {
        let open = self.open.keys().filter_map(|id| self.all.get(id));
        open.filter(|save| save.fresh.kind == Kind::Final).map(|save| save.fresh.key.as_str()).collect()
    }

    /// Whether new editors of a document are kept out.
    pub fn holds(&self, now: Time, key: &str, limits: &Limits) -> bool {
        self.open.keys().filter_map(|id| self.all.get(id)).any(|save| {
            save.fresh.kind == Kind::Final
                && save.fresh.key == key
                && now.saturating_sub(save.since) < limits.hold_editors
        })
    }

    /// Saves that are open, and those that wait for a person.
    pub fn counts(&self) -> (usize, usize) {
        let parked = self.all.values().filter(|save| matches!(save.phase, Phase::Parked(_))).count();
        (self.open.len(), parked)
    }

    fn answer_late(&mut self, now: Time, actions: &mut Vec<Action>) {
        let late: Vec<Id> = self.open.keys().copied().filter(|id| self.is_late(*id, now)).collect();
        for id in late {
            let Some(save) = self.all.get(&id) else { continue };
            if save.fresh.kind.is_taken_over() {
                self.reply(id, Reply::Kept, actions);
            } else if save.phase == Phase::Ready {
                self.reply(id, Reply::Unavailable, actions);
                self.put_aside(id, actions);
            }
        }
    }

    /// Past its time, or behind a save that waits: it is durable, and nobody knows when its turn comes.
    fn is_late(&self, id: Id, now: Time) -> bool {
        let Some(save) = self.all.get(&id) else { return false };
        if save.replied.is_some() || !matches!(save.phase, Phase::Ready | Phase::Trying) {
            return false;
        }
        let is_same_line = |other: &&Save| {
            other.fresh.target == save.fresh.target && other.fresh.integrator == save.fresh.integrator
        };
        let mut earlier = self.open.range(..id).filter_map(|(id, ())| self.all.get(id)).filter(is_same_line);
        now >= save.late
            || (save.fresh.kind.is_taken_over()
                && save.phase == Phase::Ready
                && earlier.any(|other| other.replied.is_some()))
    }

    fn expire(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        let old = |save: &Save| now.saturating_sub(save.since) > limits.keep_trying;
        let open = self.open.keys().copied();
        let open = open.filter(|id| self.all.get(id).is_some_and(|s| s.phase == Phase::Ready && old(s)));
        let reserve = self.reserve.values().copied().filter(|id| self.all.get(id).is_some_and(old));
        let expired: Vec<Id> = open.chain(reserve).collect();
        for id in expired {
            self.reserve.retain(|_, reserve| *reserve != id);
            self.park(id, Parked::OutOfTime, actions);
        }
    }

    /// Tries whoever is due: one at a time for each callback URL, in order, and one at a time while an integrator is down.
    fn start(&mut self, now: Time, actions: &mut Vec<Action>) {
        let mut waiting: HashSet<(&str, &str)> = HashSet::new();
        let busy: HashSet<(&str, &str)> =
            self.lines_that(|phase| matches!(phase, Phase::Trying | Phase::Passing));
        let mut chosen: Vec<Id> = Vec::new();
        let (mut probing, mut begun) = (HashSet::new(), HashSet::new());
        for save in self.open.keys().filter_map(|id| self.all.get(id)) {
            let fresh = &save.fresh;
            let line = (fresh.integrator.as_str(), fresh.target.as_str());
            let is_head = waiting.insert(line);
            if save.phase != Phase::Ready || save.due > now || busy.contains(&line) {
                continue;
            }
            let spare = fresh.kind == Kind::Spare;
            if !is_head && !spare {
                continue;
            }
            if let Some(integrator) = self.integrators.get(&fresh.integrator).filter(|one| one.down && !spare)
                && (!integrator.admits(now, save.tries) || !probing.insert(fresh.integrator.as_str()))
            {
                continue;
            }
            // Two of one line in one go: the second waits for the first.
            if !begun.insert(line) {
                continue;
            }
            chosen.push(fresh.id);
        }
        for id in chosen {
            self.try_once(now, id, actions);
        }
    }

    fn lines_that(&self, fits: impl Fn(Phase) -> bool) -> HashSet<(&str, &str)> {
        let open = self.open.keys().filter_map(|id| self.all.get(id)).filter(|save| fits(save.phase));
        open.map(|save| (save.fresh.integrator.as_str(), save.fresh.target.as_str())).collect()
    }

    fn try_once(&mut self, now: Time, id: Id, actions: &mut Vec<Action>) {
        if self.is_superseded(id) {
            self.reply(id, Reply::Kept, actions);
            match self.all.get(&id).is_some_and(|save| save.fresh.kind == Kind::Farewell) {
                true => self.settle(now, id, Settled::Discarded, actions),
                false => self.park(id, Parked::Superseded, actions),
            }
            return;
        }
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Trying;
        save.tries += 1;
        let integrator = self.integrators.entry(save.fresh.integrator.clone()).or_default();
        if integrator.down {
            integrator.probe = Some((id, now));
        }
        actions.push(Action::Try(id));
    }

    /// Whether something newer has come for its callback URL since its first try.
    fn is_superseded(&self, id: Id) -> bool {
        let Some(save) = self.all.get(&id).filter(|save| save.tries > 0) else { return false };
        let Some(line) = self.lines.get(&(save.fresh.integrator.clone(), save.fresh.target.clone())) else {
            return false;
        };
        let other_key = line.newest > Some(id) && line.keys.back() != Some(&save.fresh.key);
        line.acknowledged > Some(id) || (other_key && !line.shared)
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
                self.park(id, Parked::Refused, actions);
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
            for other in self.open.keys() {
                if let Some(save) = self.all.get_mut(other).filter(|save| save.fresh.integrator == name) {
                    save.due = save.since; // whoever paused because of it need not pause longer
                }
            }
        }
    }

    fn reply(&mut self, id: Id, reply: Reply, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id).filter(|save| save.replied.is_none()) else { return };
        save.replied = Some(reply);
        actions.push(Action::Reply(id, reply));
        if reply == Reply::Kept && save.fresh.kind.has_document() {
            let fresh = save.fresh.clone();
            self.acknowledge(&fresh);
        }
    }

    fn acknowledge(&mut self, fresh: &Fresh) {
        if fresh.kind.has_document() {
            let line = self.lines.entry((fresh.integrator.clone(), fresh.target.clone())).or_default();
            line.acknowledged = line.acknowledged.max(Some(fresh.id));
        }
    }

    fn count(&mut self, id: Id, well: bool, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        if !save.counted && save.fresh.kind.has_document() {
            save.counted = true;
            actions.push(Action::Count(well));
        }
    }

    fn settle(&mut self, now: Time, id: Id, how: Settled, actions: &mut Vec<Action>) {
        self.count(id, how == Settled::Delivered, actions);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Settled(how);
        let fresh = save.fresh.clone();
        self.open.remove(&id);
        self.settled.push_back((now, id));
        actions.push(Action::Store(id));
        if how == Settled::Delivered {
            self.acknowledge(&fresh);
            if fresh.kind != Kind::Farewell {
                self.release_reserve(&fresh.key, actions);
            }
        }
    }

    fn park(&mut self, id: Id, why: Parked, actions: &mut Vec<Action>) {
        self.reply(id, Reply::Kept, actions);
        self.count(id, false, actions);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Parked(why);
        self.open.remove(&id);
        actions.push(Action::Store(id));
    }

    /// Keeps a save of a session that goes on; the newest replaces the one before.
    fn put_aside(&mut self, id: Id, actions: &mut Vec<Action>) {
        self.count(id, false, actions);
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Reserve;
        let key = save.fresh.key.clone();
        self.open.remove(&id);
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
        if let Some(save) = self.all.remove(&id) {
            if self.names.get(&save.fresh.name) == Some(&id) {
                self.names.remove(&save.fresh.name);
            }
            actions.push(Action::Drop(id));
        }
    }

    fn forget_lines(&mut self) {
        let kept: HashSet<(String, String)> = self
            .all
            .values()
            .filter(|save| !matches!(save.phase, Phase::Settled(_)))
            .map(|save| (save.fresh.integrator.clone(), save.fresh.target.clone()))
            .collect();
        self.lines.retain(|line, _| kept.contains(line));
    }
}
