//! What a stricter configuration would have refused, for `doctor --would-refuse`: counted by reason, with the latest examples.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use crate::rules::objection::Decider;

/// Examples that are kept; about 40 KB. Whoever watches a day looks for kinds, not for every request: those are in the log.
const LATEST: usize = 100;

/// A request or socket that was served although a rule spoke against it. Nothing in it is secret: no token, query or path.
#[derive(Debug, Clone)]
pub struct Example {
    /// When it came.
    pub at: SystemTime,
    /// Id of the request, to find it in the log.
    pub id: String,
    /// Where it went.
    pub route: &'static str,
    /// What the token was made for, where the rule looked at a token.
    pub class: Option<&'static str>,
    /// The name in `Gateway-Refusal`.
    pub reason: &'static str,
    /// The host that a claim named, where that is what is wrong.
    pub host: Option<String>,
    /// Which setting would refuse it.
    pub decider: Decider,
    /// In the operator's words.
    pub why: String,
}

/// Everything since the start.
#[derive(Debug)]
pub struct Objections {
    since: SystemTime,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    counted: BTreeMap<(&'static str, Decider), u64>,
    latest: VecDeque<Example>,
}

impl Default for Objections {
    fn default() -> Self {
        Self { since: SystemTime::now(), seen: Mutex::default() }
    }
}

impl Objections {
    /// Counts one and keeps it among the latest.
    pub fn note(&self, example: Example) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.counted.entry((example.reason, example.decider)).or_default() += 1;
        if seen.latest.len() == LATEST {
            seen.latest.pop_front();
        }
        seen.latest.push_back(example);
    }

    /// For the admin listener; the newest example first.
    pub fn to_json(&self) -> Value {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = seen.counted.iter().map(|((reason, decider), count)| {
            json!({ "reason": reason, "refused_by": decider.name(), "count": count })
        });
        let examples = seen.latest.iter().rev().map(|example| {
            json!({
                "at": format_rfc3339_seconds(example.at).to_string(), "id": example.id, "route": example.route,
                "class": example.class, "reason": example.reason, "host": example.host,
                "refused_by": example.decider.name(), "why": example.why,
            })
        });
        json!({
            "since": format_rfc3339_seconds(self.since).to_string(),
            "counted": counted.collect::<Vec<_>>(), "examples": examples.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_the_latest_are_kept() {
        let objections = Objections::default();
        assert_eq!(objections.to_json()["counted"], json!([]));
        for number in 0..LATEST + 20 {
            objections.note(Example {
                at: SystemTime::UNIX_EPOCH,
                id: number.to_string(),
                route: "upload",
                class: Some("session"),
                reason: "key_mismatch",
                host: None,
                decider: Decider::Mode,
                why: String::new(),
            });
        }
        let json = objections.to_json();
        let counted =
            json!([{"reason": "key_mismatch", "refused_by": Decider::Mode.name(), "count": LATEST + 20}]);
        assert_eq!(json["counted"], counted);
        let examples = json["examples"].as_array().unwrap();
        assert_eq!((examples.len(), examples[0]["id"].as_str()), (LATEST, Some("119")));
    }
}
