//! What became of a change, told to those who watch: log and metrics. The answer to who asked is the outcome itself.

use crate::config;
use crate::live::{Outcome, Snapshot, Verdict};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::ops::systemd;
use crate::rules::token::VerifyingKey;
use crate::tls::Pair;

/// What is in place at the start.
pub(super) fn standing(ops: &Ops, settings: &Snapshot) {
    let metrics = &ops.metrics.config;
    metrics.pending.set_all(config::FIXED.map(|key| (key.to_owned(), 0.0)));
    metrics.secrets(&vec![None; settings.tokens.keys.len()]);
    certificates(ops, settings, &[]);
}

/// How a reload ended.
pub(super) fn ended(ops: &Ops, before: &Snapshot, now: &Snapshot, outcome: &Outcome) {
    let metrics = &ops.metrics.config;
    metrics.reloaded(outcome.result == Verdict::Applied, outcome.generation);
    let waits = |key: &str| if outcome.pending.contains(&key) { 1.0 } else { 0.0 };
    metrics.pending.set_all(config::FIXED.map(|key| (key.to_owned(), waits(key))));
    let place = |key: &VerifyingKey| before.tokens.keys.iter().position(|old| old.secret() == key.secret());
    let places: Vec<_> = now.tokens.keys.iter().map(place).collect();
    if !places.iter().copied().eq((0..before.tokens.keys.len()).map(Some)) {
        metrics.secrets(&places);
    }
    certificates(ops, now, &outcome.stale_certificates);
    systemd::status(&outcome.to_string());
    log(ops, outcome);
}

fn certificates(ops: &Ops, settings: &Snapshot, stale: &[String]) {
    let pairs = || settings.tls.iter().flat_map(|tls| tls.certificates.pairs());
    let ends = |pair: &Pair| {
        let until = pair.validity().until.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        (pair.label(), until.as_secs() as f64)
    };
    let is_stale = |pair: &Pair| (pair.label(), f64::from(u8::from(stale.contains(&pair.label()))));
    ops.metrics.config.expiry.set_all(pairs().map(ends));
    ops.metrics.config.stale.set_all(pairs().map(is_stale));
}

fn log(ops: &Ops, outcome: &Outcome) {
    let generation = outcome.generation.to_string();
    let facts = [
        ("file", outcome.file.as_str()),
        ("cause", outcome.cause.name()),
        ("generation", generation.as_str()),
    ];
    // One event each: a fact is cut at a length, and the last fault matters as much as the first.
    for fault in &outcome.faults {
        ops.log.event(Level::Error, "configuration", &fault.text, &[]);
    }
    for warning in &outcome.warnings {
        ops.log.event(Level::Warn, "configuration", &warning.text, &[]);
    }
    for change in &outcome.changes {
        ops.log.event(Level::Info, "reload_change", change, &[]);
    }
    for change in &outcome.pending_changes {
        ops.log.event(Level::Warn, "reload_pending", &format!("{change}; that waits for a restart"), &[]);
    }
    for name in &outcome.stale_certificates {
        let message = "the changed files of a certificate cannot be used; the last good pair is served";
        ops.log.event(Level::Error, "certificate_stale", message, &[("certificate", name)]);
    }
    match outcome.result {
        Verdict::Applied => {
            ops.log.event(Level::Info, "reloaded", "the changed configuration is in place", &facts);
        }
        Verdict::Refused => {
            let number = outcome.faults.len().to_string();
            let message = "the changed configuration has faults; the old one stays";
            let facts = [facts[0], facts[1], facts[2], ("faults", number.as_str())];
            ops.log.event(Level::Error, "reload_refused", message, &facts);
        }
    }
}
