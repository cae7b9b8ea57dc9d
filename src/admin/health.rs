//! How the gateway is, for monitors: `GET /api/v1/onlyoffice/health`, in a shape that dashboards rely on.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use crate::relay::archive;
use crate::upstream::Health;

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
    const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A part of what the gateway stands on.
pub(super) struct Component {
    name: &'static str,
    standing: Standing,
    detail: Option<String>,
}

impl Component {
    fn disabled(name: &'static str) -> Self {
        Self { name, standing: Standing::Disabled, detail: None }
    }

    fn told(&self) -> Value {
        let mut told = json!({"status": self.standing.name()});
        if let Some(detail) = &self.detail {
            told["detail"] = detail.as_str().into();
        }
        told
    }
}

/// The status code and the text.
pub(super) fn health(admin: &Admin) -> (StatusCode, String) {
    let components = components(admin);
    let saves = admin.relay.status();
    let mut complaints = saves.complaints();
    complaints.extend(admin.live.complaints(SystemTime::now()));
    let editors: usize = admin.sockets.registry.open().iter().map(|open| open.editors.len()).sum();
    let metrics = json!({
        "active_editing_sessions": editors,
        "transition_locks_held": saves.saves.locked,
        "pending_callbacks": saves.saves.open,
    });
    told(&components, &complaints, &metrics)
}

fn components(admin: &Admin) -> Vec<Component> {
    vec![Component::disabled("redis"), onlyoffice(admin), sftp(admin)]
}

/// The archive, from what its last copies met.
fn sftp(admin: &Admin) -> Component {
    let archive = admin.relay.archive();
    let standing = match archive.state {
        archive::Health::Disabled => Standing::Disabled,
        archive::Health::Healthy => Standing::Healthy,
        archive::Health::Unhealthy => Standing::Unhealthy,
    };
    Component { name: "sftp", standing, detail: archive.detail }
}

fn onlyoffice(admin: &Admin) -> Component {
    let running = admin.live.load();
    let all = running.servers.all();
    let away = all.iter().filter(|server| !server.health().serves()).count();
    let unwell = all.iter().filter(|server| server.health() != Health::Up).count();
    let (standing, detail) = if away == all.len() {
        (Standing::Unhealthy, Some("no Document Server answers".to_owned()))
    } else if unwell > 0 {
        (Standing::Degraded, Some(format!("{unwell} of {} Document Servers are not well", all.len())))
    } else {
        (Standing::Healthy, None)
    };
    Component { name: "onlyoffice", standing, detail }
}

/// Without a Document Server nothing works, which is worth a page at night. Everything else still serves.
fn told(components: &[Component], complaints: &[String], metrics: &Value) -> (StatusCode, String) {
    let is = |name, standing| components.iter().any(|c| c.name == name && c.standing == standing);
    let status = if is("onlyoffice", Standing::Unhealthy) {
        Standing::Unhealthy
    } else if !complaints.is_empty() || components.iter().any(|part| part.standing > Standing::Healthy) {
        Standing::Degraded
    } else {
        Standing::Healthy
    };
    let parts: serde_json::Map<String, Value> =
        components.iter().map(|part| (part.name.to_owned(), part.told())).collect();
    let mut told = json!({"status": status.name(), "components": parts, "metrics": metrics});
    if !complaints.is_empty() {
        told["detail"] = complaints.into();
    }
    let code = match status {
        Standing::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (code, format!("{told}\n"))
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
            let part = |name, standing| Component { name, standing, detail: None };
            let parts = [part("redis", redis), part("onlyoffice", onlyoffice), part("sftp", sftp)];
            let (answered, text) = told(&parts, complaints, &json!({}));
            let text: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((text["status"].as_str(), answered.as_u16()), (Some(status), code));
            assert_eq!(text.get("detail").is_some(), !complaints.is_empty());
        }
    }
}
