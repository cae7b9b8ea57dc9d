//! What people see: the list of documents and the page around an editor.

use super::State;
use crate::answer::{self, Answer};
use crate::clock;
use crate::path::{self, Target};
use crate::token;
use crate::zip;
use serde_json::{Value, json};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// The list.
pub(super) fn index(state: &State) -> Answer {
    let gateway = state.addresses.lock().unwrap().gateway.clone();
    page(include_str!("../../assets/index.html").replace("{{gateway}}", &escape(&gateway)))
}

/// What the list shows, asked for again and again.
pub(super) fn documents(state: &State) -> Answer {
    let documents: Vec<Value> = state.documents.lock().unwrap().iter().map(|(id, stored)| {
        let text: String = zip::text_of(&stored.bytes).chars().take(200).collect();
        json!({"id": id, "title": stored.title, "version": stored.version, "size": stored.bytes.len(), "text": text, "file": format!("files/{}?from=list", stored.title)})
    }).collect();
    let callbacks: Vec<Value> = state.callbacks.borrow().iter().rev().take(12).map(|callback| {
        let answer = callback.answer.as_ref().map_or("…".into(), |(code, text)| format!("{code} {text}"));
        json!({"time": &clock::stamp(callback.clock, true)[11..], "key": callback.key, "status": callback.status, "answer": answer})
    }).collect();
    let mut answer =
        answer::answer(200, JSON, json!({"documents": documents, "callbacks": callbacks}).to_string());
    answer::set(&mut answer, "cache-control", "no-store");
    answer
}

/// The page around an editor.
pub(super) fn edit(state: &State, target: &Target) -> Answer {
    let Some((id, user, mode)) = asked(state, target) else {
        return answer::answer(
            404,
            HTML,
            "<!DOCTYPE html><title>No such document</title><p>No such document. <a href=\"./\">Back to the list</a>",
        );
    };
    let gateway = state.addresses.lock().unwrap().gateway.clone();
    let config = signed(state, target, &id, &user, &mode);
    let other = if user == "Ann" { "Bob" } else { "Ann" };
    let html = include_str!("../../assets/edit.html")
        .replace("{{title}}", &escape(config["document"]["title"].as_str().unwrap_or_default()))
        .replace("{{who}}", &escape(&user))
        .replace("{{other}}", &format!("edit?key={}&amp;user={other}", path::encode(&id)))
        .replace("{{api}}", &escape(&format!("{gateway}/web-apps/apps/api/documents/api.js")))
        .replace("{{gateway}}", &in_script(&json!(gateway)))
        .replace("{{config}}", &in_script(&config));
    page(html)
}

/// A fresh configuration for a page whose editor asked for one.
pub(super) fn configuration(state: &State, target: &Target) -> Answer {
    let Some((id, user, mode)) = asked(state, target) else { return answer::answer(404, JSON, "{}") };
    let mut answer = answer::answer(200, JSON, signed(state, target, &id, &user, &mode).to_string());
    answer::set(&mut answer, "cache-control", "no-store");
    answer
}

/// Document, user and mode of the query.
fn asked(state: &State, target: &Target) -> Option<(String, String, String)> {
    let id = target.field("key").unwrap_or_else(|| "demo".into());
    let known = state.documents.lock().unwrap().contains_key(&id);
    let user = target.field("user").filter(|user| !user.is_empty()).unwrap_or_else(|| "Ann".into());
    let mode = target.field("mode").unwrap_or_else(|| "edit".into());
    known.then_some((id, user, mode))
}

/// Claims of class *open* for the present version of a document.
pub(super) fn claims(state: &State, id: &str, user: (&str, &str), mode: &str) -> Value {
    let documents = state.documents.lock().unwrap();
    let (title, version) =
        documents.get(id).map_or((format!("{id}.txt"), 1), |stored| (stored.title.clone(), stored.version));
    let public = state.addresses.lock().unwrap().public.clone();
    let key = State::key(id, version);
    let url = format!("{public}/files/{}?v={version}", path::encode(&title));
    let mut claims =
        token::open(&key, &url, &format!("{public}/callback?id={}", path::encode(id)), user, mode);
    claims["document"]["title"] = json!(title);
    claims
}

/// The configuration with its token, or with a wrong one where the query asks to see that.
fn signed(state: &State, target: &Target, id: &str, user: &str, mode: &str) -> Value {
    let mut config = claims(state, id, (&user.to_lowercase(), user), mode);
    let valid = i64::try_from(state.options.valid.as_secs()).unwrap_or(300);
    let (secret, now) = (&state.options.secret, &state.options.now);
    let token = match target.field("token").as_deref() {
        Some("expired") => token::sign(secret, &token::expiring(config.clone(), now, -3600)),
        Some("forged") => token::sign("somebody else's secret", &token::expiring(config.clone(), now, valid)),
        Some("none") => return config,
        _ => token::sign(secret, &token::expiring(config.clone(), now, valid)),
    };
    config["token"] = json!(token);
    config
}

fn page(html: String) -> Answer {
    let mut answer = answer::answer(200, HTML, html);
    answer::set(&mut answer, "cache-control", "no-store");
    answer
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON that cannot end the script it stands in.
fn in_script(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}
