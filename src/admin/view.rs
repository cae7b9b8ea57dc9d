//! Everything that the pages for people show, gathered once: plain data, bounded, without tokens and links.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::Admin;
use super::health::Health;
use crate::live::{Mode, Outcome};
use crate::ops::history::Minute;
use crate::ops::masked::Masked;
use crate::relay::{Correspondent, Listed, Status};
use crate::rules::policy::EditorMode;
use crate::sockets::Crowd;
use crate::upstream;

/// How much of it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Documents by name.
    pub documents: usize,
    /// Editors of each, by name.
    pub editors: usize,
    /// Saves of each kind.
    pub saves: usize,
}

/// What programs get. A site with more is asked by Prometheus how many there are, not who.
pub const FOR_PROGRAMS: Most = Most { documents: 500, editors: 50, saves: 1_000 };
/// What people can take in.
pub const FOR_PEOPLE: Most = Most { documents: 40, editors: 8, saves: 40 };

/// A Document Server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// `host:port`.
    pub name: String,
    /// What its probe last saw.
    pub health: upstream::Health,
    /// Since when.
    pub since: SystemTime,
}

/// A certificate.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    /// The names that it is configured for.
    pub names: Vec<String>,
    /// When it ends.
    pub until: SystemTime,
    /// Its files on disk cannot be used.
    pub stale: bool,
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub at: SystemTime,
    /// The same moment, for what is counted on the other clock.
    pub instant: Instant,
    pub uptime: Duration,
    pub hosts: Vec<String>,
    pub observes: bool,
    pub leaving: bool,
    pub health: Health,
    pub crowd: Crowd,
    pub held: usize,
    pub status: Status,
    pub saves: Vec<Listed>,
    pub servers: Vec<Server>,
    pub integrators: Vec<Correspondent>,
    pub certificates: Vec<Certificate>,
    pub outcome: Option<Arc<Outcome>>,
    pub hour: Vec<Minute>,
    /// Refusals of the last hour by reason, most first.
    pub refusals: Vec<(&'static str, u64)>,
}

impl View {
    pub fn of(admin: &Admin, most: Most) -> Self {
        let running = admin.live.load();
        let outcome = admin.live.outcome();
        let stale = outcome.as_ref().map(|outcome| outcome.stale_certificates.clone()).unwrap_or_default();
        let servers = running.servers.all().iter().map(|server| {
            let verdict = server.verdict();
            Server { name: server.name().to_owned(), health: verdict.health, since: verdict.since }
        });
        let pairs = running.settings.tls.iter().flat_map(|tls| tls.certificates.pairs());
        let certificates = pairs.map(|pair| Certificate {
            names: pair.names().iter().map(ToString::to_string).collect(),
            until: pair.validity().until,
            stale: stale.contains(&pair.label()),
        });
        let crowd = admin.sockets.registry.crowd(most.documents, most.editors);
        let mut hour = admin.ops.metrics.history.minutes();
        if let Some(present) = hour.last_mut() {
            present.editors = present.editors.max(crowd.editors); // the upkeep has not looked yet
        }
        Self {
            at: SystemTime::now(),
            instant: Instant::now(),
            uptime: admin.begun.elapsed(),
            hosts: running.settings.site.public.iter().map(|url| url.host().to_owned()).collect(),
            observes: running.settings.mode == Mode::Observe,
            leaving: admin.leaving.load(Ordering::Relaxed),
            health: Health::of(admin),
            crowd,
            held: admin.ops.metrics.saves.held_now.load(Ordering::Relaxed),
            status: admin.relay.status(),
            saves: admin.relay.list(most.saves),
            servers: servers.collect(),
            integrators: admin.relay.correspondents(),
            certificates: certificates.collect(),
            outcome,
            hour,
            refusals: admin.ops.metrics.refusals.last_hour(),
        }
    }

    /// Saves whose Document Server waits for an answer, and those that the gateway has taken over.
    pub fn open(&self) -> (usize, usize) {
        let survey = &self.status.saves;
        (survey.open.saturating_sub(survey.waiting), survey.waiting)
    }
}

/// `GET /api/v1/sessions`.
pub(super) fn sessions(admin: &Admin) -> Value {
    let (now, instant) = (SystemTime::now(), Instant::now());
    let crowd = admin.sockets.registry.crowd(FOR_PROGRAMS.documents, FOR_PROGRAMS.editors);
    let open = crowd.open.iter().map(|open| {
        let present = open.editors.iter().map(|editor| {
            let since = now - instant.saturating_duration_since(editor.since);
            let since = humantime::format_rfc3339_seconds(since).to_string();
            let user = editor.user.as_deref().map(|user| Masked(user).to_string());
            json!({"user": user, "mode": mode(editor.mode), "since": since})
        });
        json!({"key": Masked(&open.document).to_string(), "editors": open.count, "present": present.collect::<Vec<_>>()})
    });
    json!({
        "documents": crowd.documents, "editors": crowd.editors,
        "held": admin.ops.metrics.saves.held_now.load(Ordering::Relaxed),
        "open": open.collect::<Vec<_>>(),
    })
}

/// `GET /api/v1/saves`.
pub(super) fn saves(admin: &Admin) -> Value {
    let status = admin.relay.status();
    let survey = &status.saves;
    let listed = admin.relay.list(FOR_PROGRAMS.saves);
    let now = SystemTime::now();
    let listed = listed.iter().map(|save| {
        let next = save.standing.next();
        let at = |time: Option<SystemTime>| time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
        json!({
            "save": save.number(), "key": Masked(&save.key).to_string(), "integrator": save.integrator, "kind": save.kind,
            "group": save.standing.group().name(), "state": save.standing.name(), "reason": save.reason(),
            "advice": save.advice(), "came": at(now.checked_sub(save.age)), "age_seconds": save.age.as_secs(),
            "tries": save.tries, "next_try": at(next.and_then(|next| now.checked_add(next))),
            "next_try_seconds": next.map(|next| next.as_secs()),
        })
    });
    json!({
        "in_flight": survey.open.saturating_sub(survey.waiting), "waiting": survey.waiting,
        "parked": survey.parked(), "reserve": survey.reserve,
        "oldest_seconds": status.oldest().map(|oldest| oldest.as_secs()),
        "bytes": status.bytes.0, "limit_bytes": status.bytes.1,
        "saves": listed.collect::<Vec<_>>(),
    })
}

/// What a token lets its user do, where it says so.
pub(super) fn mode(mode: EditorMode) -> Option<&'static str> {
    match mode {
        EditorMode::Edit => Some("edit"),
        EditorMode::View => Some("view"),
        EditorMode::Unsaid => None,
    }
}
