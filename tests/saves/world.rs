//! A world around the machine of saves: an integrator that is up or down, a disk that survives crashes, Document Servers that
//! repeat, editors that ask, time that passes. What must never happen is asserted where it would.

use std::collections::{BTreeMap, HashMap, HashSet};

use rapidpm_gateway::rules::save::{
    Action, Event, Fresh, Id, Kind, Limits, Phase, Reply, Saves, Time, Verdict, Welcome,
};

const LIMITS: Limits = Limits { answer_within: 10_000, keep_trying: 3_600_000, hold_editors: 900_000 };

fn fresh(id: u64, name: &str, key: &str, target: &str, kind: Kind) -> Fresh {
    Fresh {
        id: Id(id),
        name: name.into(),
        key: key.into(),
        integrator: "rapidpm".into(),
        target: target.into(),
        kind,
    }
}

fn heard(saves: &mut Saves, id: u64, target: &str, key: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    saves.heard(Id(id), "rapidpm", target, key, &mut actions);
    actions
}

fn is_same_place(one: &Fresh, other: &Fresh) -> bool {
    one.target == other.target || one.key == other.key
}

/// A world for the machine: an integrator that is up or down, a disk that survives crashes, Document Servers that repeat.
pub struct World {
    random: fastrand::Rng,
    saves: Saves,
    now: Time,
    next: u64,
    /// What lies on disk: written at `Kept` and at each `Store`, gone at `Drop`.
    disk: BTreeMap<Id, (Time, Fresh, Phase, bool)>,
    flying: Vec<Id>,
    fetching: Vec<Id>,
    /// Saves of which the Document Server was told that they are safe.
    acknowledged: BTreeMap<Id, Fresh>,
    /// Saves of which the gateway knows that the integrator has them.
    delivered: HashSet<Id>,
    /// By name: how often the integrator was sent it.
    taken: HashMap<String, u32>,
    /// Copies that the archive was given, in all lives and in this one.
    archive: HashSet<Id>,
    copied: HashSet<Id>,
    /// Saves that could not be kept.
    passed: HashSet<Id>,
    waiting: HashSet<Id>,
    up: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            saves: Saves::default(),
            now: 1_000_000,
            next: 1,
            disk: BTreeMap::new(),
            flying: Vec::new(),
            fetching: Vec::new(),
            acknowledged: BTreeMap::new(),
            delivered: HashSet::new(),
            taken: HashMap::new(),
            archive: HashSet::new(),
            copied: HashSet::new(),
            passed: HashSet::new(),
            waiting: HashSet::new(),
            up: true,
        }
    }

    /// Plays a seed to its end; a panic names it.
    pub fn play(seed: u64, steps: u64) {
        let played = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..steps).for_each(|_| world.step());
            world.end();
        });
        assert!(played.is_ok(), "SEED {seed}");
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            0..20 => self.arrive(),
            20..45 => self.finish_intake(),
            45..75 => self.answer(),
            75..90 => self.pass_time(),
            90..94 => self.up = !self.up,
            94..96 => self.crash(),
            96..98 => {
                let key = format!("k{}", self.random.u8(..4));
                let id = self.id();
                let actions = heard(&mut self.saves, id.0, &format!("/cb{}", self.random.u8(..3)), &key);
                self.act(actions);
            }
            _ => {
                let key = format!("k{}", self.random.u8(..4));
                let mut actions = Vec::new();
                self.saves.hurry(self.now, &key, &LIMITS, &mut actions);
                self.act(actions);
            }
        }
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        Id(self.next)
    }

    fn arrive(&mut self) {
        let id = self.id();
        let kind =
            [Kind::Final, Kind::Final, Kind::Form, Kind::Spare, Kind::Farewell][self.random.usize(..5)];
        let (key, line) = (self.random.u8(..4), self.random.u8(..3));
        let name = format!("{key}-{line}-{kind:?}-{}", self.random.u8(..6));
        let fresh = fresh(id.0, &name, &format!("k{key}"), &format!("/cb{line}"), kind);
        let mut actions = Vec::new();
        if self.saves.arrive(self.now, fresh, &mut actions) == Welcome::New {
            self.fetching.push(id);
            self.waiting.insert(id);
        }
        self.act(actions);
    }

    fn finish_intake(&mut self) {
        if self.fetching.is_empty() {
            return;
        }
        let id = self.fetching.swap_remove(self.random.usize(..self.fetching.len()));
        let event = match self.random.u8(..10) {
            0 => Event::NotKept,
            1 => Event::Invalid,
            _ => Event::Kept,
        };
        if event == Event::NotKept {
            self.passed.insert(id);
        }
        if event == Event::Kept {
            let save = self.saves.get(id).unwrap();
            self.disk.insert(id, (self.now, save.fresh.clone(), Phase::Ready, false));
        }
        self.happen(id, event);
    }

    fn answer(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let id = self.flying.swap_remove(self.random.usize(..self.flying.len()));
        let took = self.up && self.random.u8(..10) > 0;
        if took {
            *self.taken.entry(self.saves.get(id).unwrap().fresh.name.clone()).or_default() += 1;
        }
        let verdict = match self.random.u8(..10) {
            _ if !self.up => Verdict::Again { down: true },
            0 => Verdict::Again { down: true }, // it took it, and the answer was lost
            _ if took => Verdict::Taken,
            _ => Verdict::Final,
        };
        if verdict == Verdict::Taken {
            self.delivered.insert(id);
        }
        self.happen(id, Event::Answered(verdict));
    }

    fn happen(&mut self, id: Id, event: Event) {
        let mut actions = Vec::new();
        self.saves.happened(self.now, id, event, &LIMITS, &mut actions);
        self.act(actions);
    }

    fn pass_time(&mut self) {
        self.now += self.random.u64(1..30_000);
        let mut actions = Vec::new();
        self.saves.tick(self.now, &LIMITS, &mut actions);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Try(id) => {
                    let save = self.saves.get(id).unwrap();
                    if save.phase == Phase::Trying {
                        let flying = self.flying.iter().filter_map(|other| self.saves.get(*other));
                        let beside: Vec<_> = flying
                            .filter(|o| o.phase == Phase::Trying && is_same_place(&o.fresh, &save.fresh))
                            .collect();
                        assert!(beside.is_empty(), "{save:?} beside {beside:?}");
                        let newer = self.acknowledged.range(Id(id.0 + 1)..).find(|(newer, other)| {
                            let counts = save.fresh.kind != Kind::Form || self.delivered.contains(newer);
                            other.target == save.fresh.target && other.kind != Kind::Farewell && counts
                        });
                        let pointless = save.fresh.kind == Kind::Farewell;
                        assert!(
                            save.is_first_try() || newer.is_none() || pointless,
                            "{save:?} would overwrite {newer:?}"
                        );
                    }
                    self.flying.push(id);
                }
                Action::Reply(id, reply) => {
                    assert!(self.waiting.remove(&id), "{id:?} was answered twice");
                    if reply == Reply::Kept {
                        assert!(self.disk.contains_key(&id), "{id:?} was promised and is not on disk");
                        let fresh = self.saves.get(id).unwrap().fresh.clone();
                        self.acknowledged.insert(id, fresh);
                    }
                }
                Action::Store(id) => {
                    // Gone already where a `Drop` follows in the same breath.
                    if let (Some(record), Some(save)) = (self.disk.get_mut(&id), self.saves.get(id)) {
                        (record.2, record.3) = (save.phase, save.newer);
                    }
                }
                Action::Drop(id) => drop(self.disk.remove(&id)),
                Action::Copy(id) => self.copy(id),
                Action::Count(_) | Action::Alert(_) | Action::LetIn(_) => {}
            }
        }
    }

    /// Once a life; after a crash perhaps once more, and the archive knows it again by its name.
    fn copy(&mut self, id: Id) {
        let save = self.saves.get(id).unwrap();
        assert!(save.fresh.kind != Kind::Farewell, "{save:?} has no document");
        assert!(self.copied.insert(id), "{save:?} was copied twice");
        let accepted = self.acknowledged.contains_key(&id) || self.delivered.contains(&id);
        assert!(accepted, "{save:?} was copied, and nobody accepted it");
        // What was only passed through never had a document here.
        assert!(self.disk.contains_key(&id) || self.passed.contains(&id), "{save:?} was copied too late");
        if self.disk.contains_key(&id) {
            self.archive.insert(id);
        }
    }

    /// The process dies: whatever flew may have arrived; the Document Servers see their connections break.
    fn crash(&mut self) {
        for id in self.flying.drain(..) {
            if self.up && self.random.bool() {
                *self.taken.entry(self.saves.get(id).unwrap().fresh.name.clone()).or_default() += 1;
            }
        }
        self.fetching.clear();
        self.waiting.clear();
        self.copied.clear();
        self.saves = Saves::default();
        let mut actions = Vec::new();
        for (id, (since, fresh, phase, newer)) in &self.disk {
            let age = self.now - since;
            self.saves.restore(self.now, age, fresh.clone(), *phase, *newer, &mut actions);
            if phase.is_open() && fresh.kind != Kind::Spare {
                self.acknowledged.insert(*id, fresh.clone());
            }
        }
        self.act(actions);
    }

    /// Everything heals; then nothing may be open, locked or lost.
    fn end(&mut self) {
        self.up = true;
        for _ in 0..10_000 {
            while let Some(id) = self.fetching.pop() {
                let save = self.saves.get(id).unwrap();
                self.disk.insert(id, (self.now, save.fresh.clone(), Phase::Ready, false));
                self.happen(id, Event::Kept);
            }
            while let Some(id) = self.flying.pop() {
                *self.taken.entry(self.saves.get(id).unwrap().fresh.name.clone()).or_default() += 1;
                self.delivered.insert(id);
                self.happen(id, Event::Answered(Verdict::Taken));
            }
            if self.saves.survey(self.now).open == 0 {
                break;
            }
            self.pass_time();
        }
        assert_eq!(self.saves.survey(self.now).open, 0, "something never ends");
        assert!(self.saves.locked().is_empty() && self.waiting.is_empty());
        for (id, fresh) in &self.acknowledged {
            let phase = self.disk.get(id).map(|record| record.2);
            let is_kept = matches!(phase, Some(Phase::Parked(_)));
            let is_told = self.taken.contains_key(&fresh.name);
            // A farewell that something newer made pointless is not told.
            let is_pointless = fresh.kind == Kind::Farewell;
            assert!(is_kept || is_told || is_pointless, "{fresh:?} was lost: {phase:?}");
            assert!(is_pointless || self.archive.contains(id), "{fresh:?} was accepted and is not archived");
        }
        let kept = self.delivered.iter().filter_map(|id| Some((id, self.disk.get(id)?)));
        for (id, (_, fresh, ..)) in kept.filter(|(_, record)| record.1.kind != Kind::Farewell) {
            assert!(self.archive.contains(id), "{fresh:?} was delivered and is not archived");
        }
    }
}
