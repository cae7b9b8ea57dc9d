//! What reaches the application: documents that are fetched, callbacks that are answered, pages that are asked for.

use super::{Callback, Reply, Save, State, pages};
use crate::answer::{self, Answer};
use crate::clock;
use crate::network::Call;
use crate::path::{self, Target};
use crate::record::Counted;
use crate::server::Connection;
use crate::token;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

const JSON: &str = "application/json; charset=utf-8";

/// Answers one request, with the date of the stand-in's own clock.
pub(super) async fn handle(
    state: Arc<State>,
    request: Request<Counted>,
    connection: Arc<Connection>,
) -> Answer {
    let date = clock::http_date(clock::seconds(&state.options.now));
    let mut answer = undated(state, request, connection).await;
    answer::set(&mut answer, "date", &date);
    answer
}

async fn undated(state: Arc<State>, request: Request<Counted>, connection: Arc<Connection>) -> Answer {
    let Some(target) = path::target(&request.uri().to_string()) else { return reply(400, "") };
    let fault = state.faults.take(&target.path);
    if let Some(fault) = &fault
        && let Err(answer) = fault.before(&connection).await
    {
        return answer;
    }
    let answer = route(&state, &target, request, &connection).await;
    match fault {
        Some(fault) => fault.after(answer),
        None => answer,
    }
}

async fn route(
    state: &Arc<State>,
    target: &Target,
    request: Request<Counted>,
    connection: &Connection,
) -> Answer {
    let parts = target.segments();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    match parts.as_slice() {
        [] if read => pages::index(state),
        ["edit"] if read => pages::edit(state, target),
        ["config"] if read => pages::configuration(state, target),
        ["documents.json"] if read => pages::documents(state),
        ["files", _] if read => file(state, target, request.headers()),
        ["callback", ..] if request.method() == Method::POST => callback(state, request, connection).await,
        ["callback", ..] => reply(405, "callbacks are posted"),
        _ => reply(404, "not found"),
    }
}

fn reply(status: u16, body: &str) -> Answer {
    answer::answer(status, "text/plain; charset=utf-8", body.to_owned())
}

/// A document, for whoever shows a token that names it.
fn file(state: &State, target: &Target, headers: &HeaderMap) -> Answer {
    let name = target.segment(1).unwrap_or_default();
    let id = name.rsplit_once('.').map_or(name, |(id, _)| id);
    let Some(stored) = state.documents.lock().unwrap().get(id).cloned() else {
        return reply(404, "no such document");
    };
    // A user who follows the link of the list has no token; the list passes a mark instead, as a session cookie would.
    let own_page = target.field("from").as_deref() == Some("list");
    if state.options.check_downloads && !own_page {
        let found = header_token(state, headers);
        let claims = match token::verify(found.as_deref(), &state.options.secret, &state.options.now) {
            Ok(claims) => claims,
            Err(refusal) => return reply(403, refusal.words()),
        };
        let named = claims["payload"]["url"].as_str().and_then(path::target);
        if named.is_none_or(|named| !named.path.ends_with(&target.path)) {
            return reply(403, "the token names another document");
        }
    }
    let kind = match stored.kind.as_str() {
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    answer::answer(200, kind, stored.bytes)
}

/// What stands behind the prefix in the agreed header.
fn header_token(state: &State, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(state.options.header.as_str())?.to_str().ok()?;
    value.strip_prefix(state.options.prefix.as_str()).map(str::to_owned)
}

/// Takes a callback, judges its token and answers as the test wants it.
async fn callback(state: &Arc<State>, request: Request<Counted>, connection: &Connection) -> Answer {
    let target = request.uri().to_string();
    let headers = request.headers().clone();
    let body = Limited::new(request.into_body(), 100 << 20).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let plain: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let judged = judge(state, &headers, &plain);
    let claims = judged.as_ref().map_or(&plain, |claims| claims).clone();
    let status = claims["status"].as_u64().and_then(|status| u32::try_from(status).ok()).unwrap_or(0);
    let key = claims["key"].as_str().unwrap_or_default().to_owned();
    let names = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let arrived = Callback {
        target,
        headers: names.collect(),
        body,
        claims: claims.clone(),
        token: judged.as_ref().map(|_| ()).map_err(Clone::clone),
        key: key.clone(),
        status,
        at: Instant::now(),
        answer: None,
        clock: clock::millis(&state.options.now),
    };
    let mut place = 0;
    state.callbacks.send_modify(|all| {
        place = all.len();
        all.push(arrived);
    });
    let (code, text) = match judged {
        Err(reason) => (403, format!("{{\"error\":1,\"message\":\"{reason}\"}}")),
        Ok(_) => match act(state, connection, &key, status, &claims).await {
            Ok(answer) => answer,
            Err(redirect) => {
                note(state, place, redirect.status().as_u16(), "");
                return redirect;
            }
        },
    };
    note(state, place, code, &text);
    let kind = if text.starts_with('<') { "text/html; charset=utf-8" } else { JSON };
    let mut answer = answer::answer(200, kind, text);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn note(state: &State, place: usize, code: u16, text: &str) {
    state.callbacks.send_modify(|all| all[place].answer = Some((code, text.to_owned())));
}

/// The claims of the token in the body, else of that in the header, whose claims nest under `payload`.
fn judge(state: &State, headers: &HeaderMap, plain: &Value) -> Result<Value, String> {
    let in_body = plain["token"].as_str().filter(|token| !token.is_empty());
    let in_header = header_token(state, headers);
    let found = in_body.or(in_header.as_deref());
    let claims = token::verify(found, &state.options.secret, &state.options.now)
        .map_err(|refusal| refusal.words().to_owned())?;
    Ok(if claims["payload"].is_object() { claims["payload"].clone() } else { claims })
}

/// Does what the test wants; `Err` is an answer that is whole already.
async fn act(
    state: &Arc<State>,
    connection: &Connection,
    key: &str,
    status: u32,
    claims: &Value,
) -> Result<(u16, String), Answer> {
    let zero = || r#"{"error":0}"#.to_owned();
    match state.reply(status) {
        Reply::Take => Ok((200, take(state, key, status, claims).await)),
        Reply::Slow(time) => {
            tokio::time::sleep(time).await;
            Ok((200, take(state, key, status, claims).await))
        }
        Reply::TakeAndReset => {
            take(state, key, status, claims).await;
            Err(connection.reset().await)
        }
        Reply::Error(code) => Ok((200, format!("{{\"error\":{code}}}"))),
        Reply::Status(204) => Ok((204, String::new())),
        Reply::Status(code) => Ok((code, zero())),
        Reply::NotJson => Ok((200, "<!DOCTYPE html><title>Login</title>".into())),
        Reply::Empty => Ok((200, String::new())),
        Reply::Redirect(code, location) => {
            let mut answer = reply(code, "");
            answer::set(&mut answer, "location", &location);
            Err(answer)
        }
        Reply::Reset => Err(connection.reset().await),
        Reply::Hang => Err(std::future::pending().await),
    }
}

/// Fetches and stores what a save names. Gives the body of the answer.
async fn take(state: &Arc<State>, key: &str, status: u32, claims: &Value) -> String {
    let url = claims["url"].as_str();
    let Some(url) = url.filter(|_| matches!(status, 2 | 3 | 6 | 7)) else { return r#"{"error":0}"#.into() };
    let reply = state.options.network.send(Call::new(Method::GET, url, Duration::from_secs(120))).await;
    let bytes = match reply {
        Ok(reply) if reply.status == 200 => reply.body,
        Ok(reply) => {
            return format!("{{\"error\":1,\"message\":\"the document answered {}\"}}", reply.status);
        }
        Err(failure) => {
            let words = Value::from(failure.0);
            return format!("{{\"error\":1,\"message\":{words}}}");
        }
    };
    store(state, key, status, url, bytes);
    r#"{"error":0}"#.into()
}

fn store(state: &State, key: &str, status: u32, url: &str, bytes: Bytes) {
    let id = state.id_of(key);
    if let Some(stored) = state.documents.lock().unwrap().get_mut(&id) {
        stored.bytes = bytes.clone();
        // A final save ends the key: the next editor gets a new one.
        if matches!(status, 2 | 3) {
            stored.version += 1;
        }
    }
    let save = Save { key: key.to_owned(), status, url: url.to_owned(), bytes };
    state.saves.send_modify(|all| all.push(save));
}
