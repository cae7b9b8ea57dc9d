//! The save life of a document: reports of who edits, final saves with their retries, force-saves, forgotten files.

use super::session::message;
use super::{Sent, State, cache};
use crate::answer::object;
use crate::clock;
use crate::network::Call;
use crate::server::Life;
use crate::{token, zip};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A header token longer than this loses `changesurl` and `history`.
const LONGEST_TOKEN: usize = 7168;

/// An editor that has gone.
pub(super) struct Leave {
    pub key: String,
    pub user: String,
    pub generation: u64,
    pub deliberate: bool,
    pub report: Option<JoinHandle<()>>,
}

/// What became of a callback.
enum Outcome {
    Taken,
    Refused,
    /// No answer, 429 or 5xx: worth another try.
    Again,
}

/// Whether a document was given back after a session began; such a session cannot be continued.
pub(super) fn saved_after(state: &State, key: &str, since: u64) -> bool {
    state
        .documents
        .lock()
        .unwrap()
        .get(key)
        .and_then(|document| document.saved)
        .is_some_and(|saved| saved >= since)
}

/// Whether there are changes that no force-save has seen.
pub(super) fn has_unsaved(state: &State, key: &str) -> bool {
    state.documents.lock().unwrap().get(key).is_some_and(|document| document.changes.len() > document.forced)
}

/// Tells the integrator who edits: status 1 with `kind` 1 for a join, 0 for a leave.
pub(super) fn report(
    state: &Arc<State>,
    life: &Life,
    key: &str,
    kind: u32,
    user: &str,
    after: Option<JoinHandle<()>>,
) -> JoinHandle<()> {
    let (state, key, user) = (Arc::clone(state), key.to_owned(), user.to_owned());
    life.spawn(async move {
        if let Some(after) = after {
            let _ = after.await;
        }
        let (url, users) = match state.documents.lock().unwrap().get(&key) {
            Some(document) => (document.callbacks.get(&user).cloned(), document.editor_ids()),
            None => return,
        };
        let actions = json!([{"type": kind, "userid": user}]);
        let fields = vec![
            ("key", key.as_str().into()),
            ("status", 1.into()),
            ("users", users.into()),
            ("actions", actions),
        ];
        let letter = Letter { key, status: 1, url, fields, kind: None, attempt: 1 };
        let key = letter.key.clone();
        if !deliver(&state, letter).await {
            // What users see as "The document could not be saved".
            let warning = message(&[
                ("type", "warning".into()),
                ("message", "Error on save server subscription!".into()),
            ]);
            if let Some(document) = state.documents.lock().unwrap().get(&key) {
                document.push(&warning);
            }
        }
    })
}

/// An editor has gone: others still edit, or there is something to save, or not.
pub(super) fn left(state: &Arc<State>, life: &Life, leave: Leave) {
    let (editors, changed) = match state.documents.lock().unwrap().get(&leave.key) {
        Some(document) => (document.editors().len(), !document.changes.is_empty()),
        None => return,
    };
    if editors > 0 {
        drop(report(state, life, &leave.key, 0, &leave.user, leave.report));
        return;
    }
    let state = Arc::clone(state);
    life.spawn(async move {
        if let Some(report) = leave.report {
            let _ = report.await;
        }
        if !changed {
            let url = state
                .documents
                .lock()
                .unwrap()
                .get(&leave.key)
                .and_then(|document| document.callbacks.get(&leave.user).cloned());
            let actions = json!([{"type": 0, "userid": leave.user}]);
            let fields = vec![("key", leave.key.as_str().into()), ("status", 4.into()), ("actions", actions)];
            let letter = Letter { key: leave.key, status: 4, url, fields, kind: None, attempt: 1 };
            deliver(&state, letter).await;
            return;
        }
        if !leave.deliberate {
            tokio::time::sleep(state.options.save_delay).await;
        }
        let unchanged = state
            .documents
            .lock()
            .unwrap()
            .get(&leave.key)
            .is_some_and(|document| document.generation == leave.generation);
        if unchanged {
            finish(&state, &leave.key, &leave.user).await;
        }
    });
}

/// The final save, with its retries; the same file and the same history in each, new links and tokens.
async fn finish(state: &Arc<State>, key: &str, user: &str) {
    let Some(work) = Work::of(state, key) else { return };
    let pauses = state.options.retry_pauses.clone();
    for attempt in 1u32.. {
        let mut fields = work.fields(state, 2, json!([{"type": 0, "userid": user}]));
        fields.push(("lastsave", clock::stamp(work.last, false).into()));
        fields.push(("notmodified", work.not_modified.into()));
        let (outcome, sent) = post(state, work.letter(2, fields, attempt)).await;
        let pause = pauses.get(attempt as usize - 1).filter(|_| matches!(outcome, Outcome::Again));
        if let Some(pause) = pause {
            note(state, sent);
            tokio::time::sleep(*pause).await;
            continue;
        }
        if matches!(outcome, Outcome::Taken) {
            state.forgotten.send_if_modified(|all| all.remove(key).is_some());
        } else {
            state.forgotten.send_modify(|all| drop(all.insert(key.to_owned(), work.bytes.clone())));
        }
        settle(state, key);
        // Last, so that a test which waits for it finds everything settled.
        note(state, sent);
        return;
    }
}

/// The document is given back; whoever opens its key now gets the file anew, or the forgotten copy.
fn settle(state: &State, key: &str) {
    let now = state.millis();
    if let Some(document) = state.documents.lock().unwrap().get_mut(key) {
        document.given_back(now);
        if document.participants.is_empty() {
            document.original = None;
        }
    }
}

fn note(state: &State, sent: Option<Sent>) {
    if let Some(sent) = sent {
        state.sent.send_modify(|all| all.push(sent));
    }
}

/// Saves while editing goes on: `kind` 0 for the command, 1 for the button.
pub(super) async fn force(
    state: &Arc<State>,
    key: &str,
    kind: u32,
    user: &str,
    userdata: Option<&str>,
) -> bool {
    let Some(work) = Work::of(state, key) else { return false };
    if let Some(document) = state.documents.lock().unwrap().get_mut(key) {
        document.forced = work.count;
    }
    let actions = if kind == 1 { json!([{"type": 2, "userid": user}]) } else { Value::Null };
    let mut fields = work.fields(state, 6, actions);
    fields.push(("lastsave", clock::stamp(work.last, false).into()));
    fields.push(("forcesavetype", kind.into()));
    fields.push(("userdata", userdata.map_or(Value::Null, Into::into)));
    deliver(state, work.letter(6, fields, 1)).await
}

/// What a save hands out.
struct Work {
    key: String,
    kind: String,
    base: String,
    bytes: Vec<u8>,
    folder: String,
    users: Vec<String>,
    callback: Option<String>,
    history: Vec<Value>,
    was_forgotten: bool,
    not_modified: bool,
    last: u64,
    count: usize,
}

impl Work {
    fn of(state: &State, key: &str) -> Option<Work> {
        let documents = state.documents.lock().unwrap();
        let document = documents.get(key)?;
        let last = document.changes.last()?;
        let bytes = state.outputs.lock().unwrap().get(key).cloned();
        let bytes = bytes.unwrap_or_else(|| zip::document(&document.kind, &document.text()));
        let folder = format!("data/{key}_{}", 1000 + state.number());
        cache::put(state, &format!("{folder}/output.{}", document.kind), bytes.clone());
        let changes: Vec<&str> = document.changes.iter().map(|change| change.text.as_str()).collect();
        let changes = zip::archive(&[("changes0.json", json!(changes).to_string().as_bytes())]);
        cache::put(state, &format!("{folder}/changes.zip"), changes);
        let mut history: Vec<Value> = Vec::new();
        let mut before = "";
        for change in &document.changes {
            if change.user != before {
                let user = json!({"id": change.user, "name": change.name});
                history.push(json!({"created": clock::stamp(change.millis, true), "user": user}));
                before = &change.user;
            }
        }
        Some(Work {
            key: key.to_owned(),
            kind: document.kind.clone(),
            base: document.base.clone(),
            bytes,
            folder,
            users: vec![last.user.clone()],
            callback: document.callbacks.get(&last.user).cloned(),
            history,
            was_forgotten: document.was_forgotten,
            not_modified: document.forced == document.changes.len(),
            last: last.millis,
            count: document.changes.len(),
        })
    }

    fn letter(&self, status: u32, fields: Vec<(&'static str, Value)>, attempt: u32) -> Letter {
        let (key, url, kind) = (self.key.clone(), self.callback.clone(), Some(self.kind.clone()));
        Letter { key, status, url, fields, kind, attempt }
    }

    fn fields(&self, state: &State, status: u32, actions: Value) -> Vec<(&'static str, Value)> {
        let link = |name: &str| {
            let stored = format!("{}/{name}", self.folder);
            format!("{}{}", self.base, cache::link(state, &stored, name, &self.key, 900))
        };
        let (changes, history) = if self.was_forgotten {
            (Value::Null, json!({}))
        } else {
            (
                link("changes.zip").into(),
                json!({"serverVersion": state.options.version, "changes": self.history}),
            )
        };
        vec![
            ("key", self.key.as_str().into()),
            ("status", status.into()),
            ("url", link(&format!("output.{}", self.kind)).into()),
            ("changesurl", changes),
            ("history", history),
            ("users", self.users.clone().into()),
            ("actions", actions),
        ]
    }
}

/// A callback to be posted.
struct Letter {
    key: String,
    status: u32,
    url: Option<String>,
    fields: Vec<(&'static str, Value)>,
    /// The file type, which comes last in the body, behind the token.
    kind: Option<String>,
    attempt: u32,
}

/// Posts a callback once and tells whether it was taken.
async fn deliver(state: &Arc<State>, letter: Letter) -> bool {
    let (outcome, sent) = post(state, letter).await;
    note(state, sent);
    matches!(outcome, Outcome::Taken)
}

/// Signs and posts one callback.
async fn post(state: &Arc<State>, letter: Letter) -> (Outcome, Option<Sent>) {
    let Letter { key, status, url, mut fields, kind, attempt } = letter;
    let Some(url) = url else { return (Outcome::Taken, None) };
    fields.retain(|(_, value)| !value.is_null());
    let (secret, now) = (&state.options.secret, &state.options.now);
    let claims = |fields: &[(&str, Value)]| {
        let mut claims: serde_json::Map<String, Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        claims.extend(kind.as_ref().map(|kind| ("filetype".to_owned(), kind.as_str().into())));
        Value::Object(claims)
    };
    let in_body = token::sign(secret, &token::expiring(claims(&fields), now, 300));
    let nested = |fields: &[(&str, Value)]| {
        token::sign(secret, &token::expiring(json!({"payload": claims(fields)}), now, 300))
    };
    let mut in_header = nested(&fields);
    if in_header.len() >= LONGEST_TOKEN {
        fields.retain(|(name, _)| !matches!(*name, "changesurl" | "history"));
        in_header = nested(&fields);
    }
    fields.push(("token", in_body.into()));
    fields.extend(kind.map(|kind| ("filetype", kind.into())));
    let mut call = Call::new(Method::POST, &url, state.options.callback_timeout);
    call = call.header("Content-Type", "application/json".into());
    call = call.header(&state.options.header, format!("{}{in_header}", state.options.prefix));
    call.body = Bytes::from(object(&fields));
    let reply = state.options.network.send(call).await;
    let (outcome, answer) = match reply {
        Err(failure) => (Outcome::Again, Err(failure.0)),
        Ok(reply) => {
            let body = String::from_utf8_lossy(&reply.body).into_owned();
            (judge(reply.status, &body), Ok((reply.status, body)))
        }
    };
    (outcome, Some(Sent { key, status, url, attempt, answer }))
}

fn judge(status: u16, body: &str) -> Outcome {
    if status == 429 || status >= 500 {
        return Outcome::Again;
    }
    let answer: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let fine = answer["error"] == 0 || answer["error"] == "0";
    if matches!(status, 200 | 204) && fine { Outcome::Taken } else { Outcome::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert!(matches!(judge(200, r#"{"error":0}"#), Outcome::Taken));
        assert!(matches!(judge(200, r#"{"error":"0","x":1}"#), Outcome::Taken));
        for (status, body) in
            [(200, ""), (200, "ok"), (200, r#"{"error":1}"#), (201, r#"{"error":0}"#), (404, ""), (204, "")]
        {
            assert!(matches!(judge(status, body), Outcome::Refused), "{status} {body}");
        }
        for status in [429, 500, 503] {
            assert!(matches!(judge(status, r#"{"error":0}"#), Outcome::Again), "{status}");
        }
    }
}
