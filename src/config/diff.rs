//! What one configuration has that another had not, in words: for the log, the answer to a reload and the status page.
//!
//! Pure: both are described as lines (`describe`), and lines are compared. What a secret is can be compared, never told.

use crate::secret::Secret;

/// What one key means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// One value, as it is written.
    One(String),
    /// Several, whose order says nothing.
    Several(Vec<String>),
    /// A secret.
    Secret(&'a Secret),
    /// Several of them.
    Secrets(Vec<&'a Secret>),
}

/// One key with what it means. Keys of a list's entries (`[[integrators]]`) carry the entry's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// As in gateway.toml: `document_server.wait`.
    pub key: &'static str,
    /// Which entry of a list it belongs to: `integrator "rapidpm"`.
    pub entry: Option<String>,
    /// What it means.
    pub value: Value<'a>,
    /// Whether only a restart takes it up.
    pub fixed: bool,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key that means something else now.
    pub key: &'static str,
    /// What, in a sentence.
    pub words: String,
    /// Whether only a restart takes it up.
    pub fixed: bool,
}

/// Everything that differs, in the order of the lines; what is gone comes last.
pub(super) fn compare(before: &[Line<'_>], now: &[Line<'_>]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for line in now {
        let known = |entry: &str| before.iter().any(|line| line.entry.as_deref() == Some(entry));
        if let Some(entry) = line.entry.as_deref().filter(|entry| !known(entry)) {
            if !told.contains(&entry) {
                told.push(entry);
                changes.push(Change::new(line, format!("{entry} is new")));
            }
            continue;
        }
        let Some(old) = before.iter().find(|old| old.key == line.key && old.entry == line.entry) else {
            continue; // both are described by the same lines
        };
        if let Some(words) = words(&old.value, &line.value) {
            let of = line.entry.as_deref().map(|entry| format!(" of {entry}")).unwrap_or_default();
            changes.push(Change::new(line, format!("`{}`{of} {words}", line.key)));
        }
    }
    for line in before {
        let gone = |entry: &str| !now.iter().any(|line| line.entry.as_deref() == Some(entry));
        if let Some(entry) = line.entry.as_deref().filter(|entry| gone(entry))
            && !told.contains(&entry)
        {
            told.push(entry);
            changes.push(Change::new(line, format!("{entry} is gone")));
        }
    }
    changes
}

impl Change {
    fn new(line: &Line<'_>, words: String) -> Self {
        Self { key: line.key, words, fixed: line.fixed }
    }
}

/// What is to be said behind the key; `None` where there is nothing to say.
fn words(before: &Value<'_>, now: &Value<'_>) -> Option<String> {
    match (before, now) {
        (Value::One(before), Value::One(now)) if before != now => Some(format!("was {before}, is {now}")),
        (Value::Several(before), Value::Several(now)) => several(before, now),
        (Value::Secret(before), Value::Secret(now)) if before != now => Some("is another one".to_owned()),
        (Value::Secrets(before), Value::Secrets(now)) if before != now => Some(secrets(before, now)),
        _ => None,
    }
}

/// A list of twenty networks that got one more is told by the one.
fn several(before: &[String], now: &[String]) -> Option<String> {
    let missing =
        |of: &[String], from: &[String]| of.iter().filter(|one| !from.contains(one)).cloned().collect();
    let (gained, lost): (Vec<_>, Vec<_>) = (missing(now, before), missing(before, now));
    let mut parts = Vec::new();
    if !gained.is_empty() {
        parts.push(format!("has now {}", gained.join(", ")));
    }
    if !lost.is_empty() {
        parts.push(format!("has no longer {}", lost.join(", ")));
    }
    if parts.is_empty() && before != now {
        parts.push("has another order".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn secrets(before: &[&Secret], now: &[&Secret]) -> String {
    match (before.len(), now.len()) {
        (were, are) if were == are => "holds others".to_owned(),
        (were, are) => format!("held {were}, holds {are}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "integrator \"a\"";

    fn line<'a>(key: &'static str, value: Value<'a>) -> Line<'a> {
        Line { key, entry: None, value, fixed: false }
    }

    fn of_entry<'a>(key: &'static str, value: &str) -> Line<'a> {
        Line { entry: Some(ENTRY.into()), ..line(key, Value::One(value.into())) }
    }

    fn list(of: &[&str]) -> Value<'static> {
        Value::Several(of.iter().map(|one| (*one).to_owned()).collect())
    }

    #[test]
    fn what_changed_is_told_in_words() {
        let (old, new) = (Secret::new(b"old-and-secret".to_vec()), Secret::new(b"new-and-secret".to_vec()));
        let one = |text: &str| Value::One(text.into());
        let cases: [(Vec<Line<'_>>, Vec<Line<'_>>, &[&str]); 12] = [
            (vec![line("mode", one("x"))], vec![line("mode", one("x"))], &[]),
            (
                vec![line("mode", one("enforce"))],
                vec![line("mode", one("observe"))],
                &["`mode` was enforce, is observe"],
            ),
            (vec![line("n", list(&["a", "b"]))], vec![line("n", list(&["a", "b"]))], &[]),
            (vec![line("n", list(&["a", "b"]))], vec![line("n", list(&["a", "b", "c"]))], &["`n` has now c"]),
            (
                vec![line("n", list(&["a", "b"]))],
                vec![line("n", list(&["c", "a"]))],
                &["`n` has now c and has no longer b"],
            ),
            (
                vec![line("n", list(&["a", "b"]))],
                vec![line("n", list(&["b", "a"]))],
                &["`n` has another order"],
            ),
            (
                vec![line("jwt.secret", Value::Secret(&old))],
                vec![line("jwt.secret", Value::Secret(&new))],
                &["`jwt.secret` is another one"],
            ),
            (
                vec![line("jwt.previous", Value::Secrets(vec![]))],
                vec![line("jwt.previous", Value::Secrets(vec![&old]))],
                &["`jwt.previous` held 0, holds 1"],
            ),
            (
                vec![line("jwt.previous", Value::Secrets(vec![&new]))],
                vec![line("jwt.previous", Value::Secrets(vec![&old]))],
                &["`jwt.previous` holds others"],
            ),
            (
                vec![],
                vec![of_entry("integrators.name", "a"), of_entry("integrators.url", "u")],
                &["integrator \"a\" is new"],
            ),
            (
                vec![of_entry("integrators.name", "a"), of_entry("integrators.url", "u")],
                vec![],
                &["integrator \"a\" is gone"],
            ),
            (
                vec![of_entry("integrators.url", "u")],
                vec![of_entry("integrators.url", "v")],
                &["`integrators.url` of integrator \"a\" was u, is v"],
            ),
        ];
        for (before, now, expected) in cases {
            let told: Vec<String> = compare(&before, &now).into_iter().map(|change| change.words).collect();
            assert_eq!(told, expected);
            assert!(!format!("{told:?} {before:?} {now:?}").contains("and-secret"));
        }
    }

    #[test]
    fn what_waits_for_a_restart_stays_marked() {
        let at = |port: &str| Line { fixed: true, ..line("server.admin", Value::One(port.into())) };
        let changes = compare(&[at("1")], &[at("2")]);
        assert!(
            matches!(changes.as_slice(), [Change { key: "server.admin", fixed: true, .. }]),
            "{changes:?}"
        );
    }
}
