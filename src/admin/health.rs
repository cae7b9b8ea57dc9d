//! How the gateway is, for monitors: `GET /api/v1/onlyoffice/health`, in a shape that dashboards rely on.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::relay::archive;
use crate::rules::monitor::Audience;
use crate::upstream;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It is not configured.
    Disabled,
    /// All is well.
    Healthy,
    /// It works, and a person should look.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Standing {
    /// In JSON and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A part of what the gateway stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// In JSON.
    pub name: &'static str,
    /// How it is.
    pub standing: Standing,
    /// What is wrong.
    pub detail: Option<String>,
    /// Since when it has been so.
    pub since: Option<SystemTime>,
}

impl Component {
    fn disabled(name: &'static str) -> Self {
        Self { name, standing: Standing::Disabled, detail: None, since: None }
    }

    fn told(&self, audience: Audience) -> Value {
        let mut told = json!({"status": self.standing.name()});
        if let (Some(detail), Audience::Operators) = (&self.detail, audience) {
            told["detail"] = detail.as_str().into();
        }
        if let Some(since) = self.since {
            told["since"] = humantime::format_rfc3339_seconds(since).to_string().into();
        }
        told
    }
}

/// How the gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    /// As a whole.
    pub standing: Standing,
    /// Its parts.
    pub components: Vec<Component>,
    /// What a person should know, in sentences.
    pub complaints: Vec<String>,
    /// Editors in documents.
    pub editors: usize,
    /// Documents whose final save is under way.
    pub locked: usize,
    /// Saves that are open.
    pub open: usize,
}

impl Health {
    /// Everything is known already: nothing is asked for this.
    pub fn of(admin: &Admin) -> Self {
        let saves = admin.relay.status();
        let mut complaints = saves.complaints();
        complaints.extend(admin.live.complaints(SystemTime::now()));
        let components = vec![redis(admin), onlyoffice(admin), sftp(admin)];
        Self {
            standing: overall(&components, &complaints),
            components,
            complaints,
            editors: admin.sockets.registry.editors(),
            locked: saves.saves.locked,
            open: saves.saves.open,
        }
    }

    /// The status code and the text.
    pub fn told(&self, audience: Audience) -> (StatusCode, String) {
        let parts: serde_json::Map<String, Value> =
            self.components.iter().map(|part| (part.name.to_owned(), part.told(audience))).collect();
        let metrics = json!({
            "active_editing_sessions": self.editors,
            "transition_locks_held": self.locked,
            "pending_callbacks": self.open,
        });
        let mut told = json!({"status": self.standing.name(), "components": parts, "metrics": metrics});
        if !self.complaints.is_empty() && audience == Audience::Operators {
            told["detail"] = self.complaints.clone().into();
        }
        let code = match self.standing {
            Standing::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        (code, format!("{told}\n"))
    }
}

fn onlyoffice(admin: &Admin) -> Component {
    let running = admin.live.load();
    let all = running.servers.all();
    let away = all.iter().filter(|server| !server.health().serves()).count();
    let unwell = all.iter().filter(|server| server.health() != upstream::Health::Up).count();
    let (standing, detail) = if away == all.len() {
        (Standing::Unhealthy, Some("no Document Server answers".to_owned()))
    } else if unwell > 0 {
        (Standing::Degraded, Some(format!("{unwell} of {} Document Servers are not well", all.len())))
    } else {
        (Standing::Healthy, None)
    };
    Component { name: "onlyoffice", standing, detail, since: None }
}

/// Redis is asked every five seconds; each gateway goes on by itself while it is away.
fn redis(admin: &Admin) -> Component {
    let told = admin.state.standing();
    let (standing, detail) = match told.answer {
        None => return Component::disabled("redis"),
        Some(Ok(())) => (Standing::Healthy, None),
        Some(Err(fault)) => (Standing::Unhealthy, Some(fault)),
    };
    Component { name: "redis", standing, detail, since: Some(told.since) }
}

/// The archive is asked by who carries copies to it, every five minutes when nothing is to be carried.
fn sftp(admin: &Admin) -> Component {
    let archive = admin.relay.archive();
    let standing = match archive.state {
        archive::Health::Disabled => return Component::disabled("sftp"),
        archive::Health::Healthy => Standing::Healthy,
        archive::Health::Unhealthy => Standing::Unhealthy,
    };
    Component { name: "sftp", standing, detail: archive.detail, since: Some(archive.since) }
}

/// Without a Document Server nothing works, which is worth a page at night. Everything else still serves.
fn overall(components: &[Component], complaints: &[String]) -> Standing {
    let is = |name, standing| components.iter().any(|c| c.name == name && c.standing == standing);
    if is("onlyoffice", Standing::Unhealthy) {
        Standing::Unhealthy
    } else if !complaints.is_empty() || components.iter().any(|part| part.standing > Standing::Healthy) {
        Standing::Degraded
    } else {
        Standing::Healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_the_parts() {
        use Standing::{Degraded, Disabled, Healthy, Unhealthy};
        for (redis, onlyoffice, sftp, complaints, status, code) in [
            (Disabled, Healthy, Disabled, &[][..], "healthy", 200),
            (Healthy, Healthy, Healthy, &[], "healthy", 200),
            (Disabled, Healthy, Unhealthy, &[], "degraded", 200),
            (Unhealthy, Healthy, Disabled, &[], "degraded", 200),
            (Disabled, Degraded, Disabled, &[], "degraded", 200),
            (Disabled, Healthy, Disabled, &["a save waits".to_owned()], "degraded", 200),
            (Disabled, Unhealthy, Disabled, &["a save waits".to_owned()], "unhealthy", 503),
        ] {
            let part = |name, standing| Component { name, standing, detail: None, since: None };
            let components = vec![part("redis", redis), part("onlyoffice", onlyoffice), part("sftp", sftp)];
            let standing = overall(&components, complaints);
            let complaints = complaints.to_vec();
            let health = Health { standing, components, complaints, editors: 0, locked: 0, open: 0 };
            for audience in [Audience::Operators, Audience::Network] {
                let (answered, text) = health.told(audience);
                let text: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((text["status"].as_str(), answered.as_u16()), (Some(status), code));
                let why = audience == Audience::Operators && !health.complaints.is_empty();
                assert_eq!(text.get("detail").is_some(), why);
            }
        }
    }

    #[test]
    fn a_network_hears_how_and_not_why() {
        let since = Some(SystemTime::UNIX_EPOCH);
        let detail = Some("no connection to redis.internal:6379".to_owned());
        let redis = Component { name: "redis", standing: Standing::Unhealthy, detail, since };
        let health = Health {
            standing: Standing::Degraded,
            components: vec![redis],
            complaints: vec!["/etc/rapidpm-gateway/gateway.toml cannot be used".into()],
            editors: 1,
            locked: 0,
            open: 0,
        };
        let told = |audience| serde_json::from_str::<Value>(&health.told(audience).1).unwrap();
        let mut all = told(Audience::Operators);
        assert_eq!(all["components"]["redis"]["detail"], "no connection to redis.internal:6379");
        all.as_object_mut().unwrap().remove("detail");
        all["components"]["redis"].as_object_mut().unwrap().remove("detail");
        assert_eq!(told(Audience::Network), all);
    }
}
