//! Whose turn it is: who has waited long enough for an answer, who is tried next, who is past trying.

use std::collections::{HashMap, HashSet};

use super::machine::Saves;
use super::{Action, Id, Kind, Limits, Parked, Phase, Reply, Save, Time};

/// Tries of saves that nobody waits for, at one integrator at once: one that comes back is not overrun by what waited for it.
const AT_ONCE: usize = 16;
/// A try without an answer for this long stands in nobody's way any more, except in that of its own document.
const HUNG: Time = 60_000;
/// A save that waits for this long is worth a person's look.
const LONG: Time = 600_000;

impl Saves {
    pub(super) fn take_turns(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        self.answer_late(now, actions);
        self.expire(now, limits, actions);
        self.start(now, actions);
        self.alert(now, limits, actions);
    }

    fn answer_late(&mut self, now: Time, actions: &mut Vec<Action>) {
        let late: Vec<Id> = self.open.iter().copied().filter(|id| self.is_late(*id, now)).collect();
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
        if now >= save.late || self.leaving {
            return true;
        }
        let mut earlier = self.open.range(..id).filter_map(|id| self.all.get(id));
        save.fresh.kind.is_taken_over()
            && save.phase == Phase::Ready
            && earlier.any(|other| other.replied.is_some() && other.is_before(save))
    }

    /// Parks what was tried for too long. At least once since the start: a clock that jumped says nothing about an integrator.
    fn expire(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        let old = |save: &Save| now.saturating_sub(save.since) > limits.keep_trying;
        let open = self.open().filter(|save| save.phase == Phase::Ready && save.tried && old(save));
        let reserve = self.reserve.values().filter_map(|id| self.all.get(id)).filter(|save| old(save));
        let expired: Vec<Id> = open.chain(reserve).map(|save| save.fresh.id).collect();
        for id in expired {
            self.give_up(now, id, Parked::OutOfTime, actions);
        }
    }

    /// Tries whoever is due: one at a time for each callback URL and each document, in order, and one at a time while an
    /// integrator is down.
    fn start(&mut self, now: Time, actions: &mut Vec<Action>) {
        let mut superseded: Vec<Id> = Vec::new();
        let mut chosen: Vec<Id> = Vec::new();
        let mut places = Places::default();
        for save in self.open().filter(|save| matches!(save.phase, Phase::Trying | Phase::Passing)) {
            places.take(save);
            if save.replied.is_some() && now.saturating_sub(save.due) < HUNG {
                *places.retries.entry(&save.fresh.integrator).or_default() += 1;
            }
        }
        for save in self.open() {
            let fresh = &save.fresh;
            let is_head = places.is_head(save);
            if save.phase != Phase::Ready {
                continue;
            }
            if self.is_superseded(save) {
                superseded.push(fresh.id);
                continue;
            }
            let spare = fresh.kind == Kind::Spare;
            if self.leaving || save.due > now || places.is_busy(save) || !(is_head || spare) {
                continue;
            }
            if let Some(integrator) = self.integrators.get(&fresh.integrator).filter(|one| one.down && !spare)
                && (!integrator.admits(now, save.tries) || !places.probing.insert(&fresh.integrator))
            {
                continue;
            }
            if save.replied.is_some() {
                let retries = places.retries.entry(&fresh.integrator).or_default();
                if *retries >= AT_ONCE {
                    continue;
                }
                *retries += 1;
            }
            places.take(save);
            chosen.push(fresh.id);
        }
        for id in superseded {
            self.give_up(now, id, Parked::Superseded, actions);
        }
        for id in chosen {
            self.try_once(now, id, actions);
        }
    }

    fn try_once(&mut self, now: Time, id: Id, actions: &mut Vec<Action>) {
        let Some(save) = self.all.get_mut(&id) else { return };
        save.phase = Phase::Trying;
        save.begin(now);
        match self.integrators.get_mut(&save.fresh.integrator) {
            Some(integrator) if integrator.down => integrator.probe = Some((id, now)),
            _ => {}
        }
        actions.push(Action::Try(id));
    }

    /// Whether something newer has come for its callback URL since it was sent for the first time, or taken over.
    fn is_superseded(&self, save: &Save) -> bool {
        let outdated = || self.lines.get(&save.line).is_some_and(|line| line.outdates(&save.fresh));
        save.newer || (save.is_again() && outdated())
    }

    /// Before when a save is not tried: its own pause, and that of an integrator which is away.
    pub fn not_before(&self, save: &Save) -> Time {
        let away = self.integrators.get(&save.fresh.integrator).filter(|integrator| integrator.down);
        away.map_or(save.due, |integrator| save.due.max(integrator.quiet))
    }

    fn alert(&mut self, now: Time, limits: &Limits, actions: &mut Vec<Action>) {
        for id in &self.open {
            let Some(save) = self.all.get_mut(id).filter(|save| save.replied.is_some()) else { continue };
            let age = now.saturating_sub(save.since);
            if age >= LONG && !std::mem::replace(&mut save.alerted, true) {
                actions.push(Action::Alert(*id));
            }
            let holds = save.fresh.kind == Kind::Final;
            if holds && age >= limits.hold_editors && !std::mem::replace(&mut save.let_in, true) {
                actions.push(Action::LetIn(*id));
            }
        }
    }
}

/// Which callback URLs and documents are taken while the next tries are chosen.
#[derive(Default)]
struct Places<'a> {
    seen: HashSet<(&'a str, &'a str)>,
    busy: HashSet<(&'a str, &'a str)>,
    probing: HashSet<&'a str>,
    retries: HashMap<&'a str, usize>,
}

impl<'a> Places<'a> {
    /// The names of a save's two places: its callback URL, and its document at that integrator.
    fn of(save: &'a Save) -> [(&'a str, &'a str); 2] {
        [("", &*save.line), (&*save.fresh.integrator, &*save.fresh.key)]
    }

    /// Whether no earlier save stands at its places; from now on it does.
    fn is_head(&mut self, save: &'a Save) -> bool {
        let [line, key] = Self::of(save);
        let (line, key) = (self.seen.insert(line), self.seen.insert(key));
        line && key
    }

    fn is_busy(&self, save: &'a Save) -> bool {
        Self::of(save).iter().any(|place| self.busy.contains(place))
    }

    fn take(&mut self, save: &'a Save) {
        self.busy.extend(Self::of(save));
    }
}
