//! What is to be done with the files as they are now: apply all of them, take up those that are good by themselves, or
//! leave everything as it is. Reads files; changes nothing.

use std::path::PathBuf;
use std::time::SystemTime;

use super::File;
use crate::config::{self, Fault, Faults, Files, Loaded};
use crate::live::{Cause, Complaint, Outcome, Snapshot, Verdict};
use crate::tls::Pair;

/// What was decided.
pub(super) struct Decided {
    /// What is to be put in place; `None`: everything stays.
    pub snapshot: Option<Box<Snapshot>>,
    /// What is to be told.
    pub outcome: Outcome,
}

/// What a build found, in the terms of an outcome.
#[derive(Default)]
struct Findings {
    changes: Vec<String>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl File {
    /// Looks at the files. `None`: nobody asked, and no byte has changed since the last look.
    pub(super) fn decide(&mut self, cause: Cause, running: &Snapshot) -> Option<Decided> {
        let mut now = Files::default();
        let loaded = config::build_from(&self.path, &self.env, &self.tickets, &mut now);
        // Of a file that is no TOML nothing else has been read, but what runs has its files too.
        for path in self.running.paths() {
            now.read(path).ok();
        }
        if cause == Cause::File && now == self.seen {
            return None;
        }
        self.seen = now;
        Some(match loaded {
            Ok(loaded) => self.apply(cause, loaded, running),
            Err(faults) => self.refuse(cause, faults, running),
        })
    }

    /// All of it.
    fn apply(&mut self, cause: Cause, loaded: Loaded, running: &Snapshot) -> Decided {
        let Loaded { mut snapshot, fixed, warnings, files } = loaded;
        self.keep_served(&mut snapshot, running);
        let changes = config::changes((running, &self.fixed), (&snapshot, &fixed));
        let (pending, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.fixed);
        let changes = changes.into_iter().map(|change| change.words).collect();
        let findings = Findings { changes, warnings, ..Findings::default() };
        self.pending = pending;
        snapshot.keep_fixed(running);
        self.running = files;
        self.generation += 1;
        let outcome = self.outcome(Verdict::Applied, cause, findings, &snapshot);
        Decided { snapshot: Some(Box::new(snapshot)), outcome }
    }

    /// Nothing of it, but what is good by itself of the files that the running configuration names: a half-edited
    /// gateway.toml, or another certificate that is broken, must not stand in the way of a renewal.
    fn refuse(&mut self, cause: Cause, faults: Faults, running: &Snapshot) -> Decided {
        let mut findings = Findings {
            faults: faults.faults().to_vec(),
            warnings: faults.warnings().to_vec(),
            ..Findings::default()
        };
        let Some(loaded) = self.renewed() else {
            return Decided {
                snapshot: None,
                outcome: self.outcome(Verdict::Refused, cause, findings, running),
            };
        };
        let Loaded { mut snapshot, fixed, files, .. } = loaded;
        self.keep_served(&mut snapshot, running);
        snapshot.keep_fixed(running);
        let changes = config::changes((running, &fixed), (&snapshot, &fixed));
        findings.changes = changes.into_iter().map(|change| change.words).collect();
        self.running = files;
        self.generation += 1;
        let outcome = self.outcome(Verdict::Refused, cause, findings, &snapshot);
        Decided { snapshot: Some(Box::new(snapshot)), outcome }
    }

    /// The running configuration with those of its files that have changed and are good: all of them together, else one
    /// by one, else two by two, since a chain and its key, which are read one after the other, are only good together.
    fn renewed(&self) -> Option<Loaded> {
        let changed: Vec<PathBuf> =
            self.running.renewed(&self.seen).into_iter().filter(|path| *path != self.path).collect();
        if changed.is_empty() {
            return None;
        }
        let build = |taken: &[PathBuf]| {
            let mut files = self.running.with(taken, &self.seen);
            config::build_from(&self.path, &self.env, &self.tickets, &mut files).ok()
        };
        if let Some(loaded) = build(&changed) {
            return Some(loaded);
        }
        let (mut good, mut best) = (Vec::new(), None);
        for size in [1, 2] {
            for some in changed.windows(size) {
                if some.iter().any(|path| good.contains(path)) {
                    continue;
                }
                let mut trial = good.clone();
                trial.extend_from_slice(some);
                if let Some(loaded) = build(&trial) {
                    (good, best) = (trial, Some(loaded));
                }
            }
        }
        best
    }

    /// A listener for https goes with the next restart only; until then it needs the certificates that it has.
    fn keep_served(&self, snapshot: &mut Snapshot, running: &Snapshot) {
        if snapshot.tls.is_none() && !self.fixed.https.is_empty() {
            snapshot.tls.clone_from(&running.tls);
        }
    }

    /// Certificates that run on with other files than are on disk.
    fn stale(&self, snapshot: &Snapshot) -> Vec<String> {
        let other = self.running.other_than(&self.seen);
        let is_other = |pair: &&Pair| pair.files().iter().any(|file| other.contains(file));
        let pairs = snapshot.tls.iter().flat_map(|tls| tls.certificates.pairs());
        pairs.filter(is_other).map(Pair::label).collect()
    }

    fn outcome(&self, result: Verdict, cause: Cause, found: Findings, snapshot: &Snapshot) -> Outcome {
        let complaint = |fault: &Fault| Complaint { text: fault.to_string(), json: fault.to_json() };
        let list = |faults: &[Fault]| faults.iter().map(complaint).collect();
        Outcome {
            result,
            at: SystemTime::now(),
            cause,
            generation: self.generation,
            file: self.path.display().to_string(),
            changes: found.changes,
            pending: self.pending.iter().map(|change| change.key).collect(),
            pending_changes: self.pending.iter().map(|change| change.words.clone()).collect(),
            faults: list(&found.faults),
            warnings: list(&found.warnings),
            stale_certificates: self.stale(snapshot),
        }
    }
}
