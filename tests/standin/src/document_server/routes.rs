//! Which handler a path reaches: nginx's order first, then Express.

use super::{State, assets, cache, engine, host, service};
use crate::answer::{self, Answer};
use crate::clock;
use crate::path::{self, Target};
use crate::record::Counted;
use crate::server::Connection;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Version};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The longest header line of nginx.
const LINE: usize = 8 * 1024;
/// `client_max_body_size`.
const BODY: u64 = 104_857_600;
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// Answers one request, with the date of the stand-in's own clock.
pub(super) async fn handle(
    state: Arc<State>,
    request: Request<Counted>,
    connection: Arc<Connection>,
) -> Answer {
    let date = clock::http_date(state.seconds());
    let mut answer = undated(state, request, connection).await;
    answer::set(&mut answer, "date", &date);
    answer
}

async fn undated(state: Arc<State>, request: Request<Counted>, connection: Arc<Connection>) -> Answer {
    let headers = request.headers().clone();
    let head = request.method() == Method::HEAD;
    let modern = request.version() == Version::HTTP_11;
    if let Some(refusal) = limits(&request) {
        return refusal;
    }
    let raw = request.uri().to_string();
    let Some(target) = path::target(&raw) else { return answer::nginx(400) };
    let fault = state.faults.take(&target.path);
    if let Some(fault) = &fault
        && let Err(answer) = fault.before(&connection).await
    {
        return answer;
    }
    let answer = route(state, target, request, connection).await;
    // A HEAD keeps the length of the whole, and nginx packs only for HTTP/1.1.
    let answer = if head || !modern { answer } else { answer::finish(&headers, answer).await };
    match fault {
        Some(fault) => fault.after(answer),
        None => answer,
    }
}

fn limits(request: &Request<Counted>) -> Option<Answer> {
    if request.uri().to_string().len() > LINE {
        return Some(answer::nginx(414));
    }
    if request.headers().iter().any(|(name, value)| name.as_str().len() + value.len() + 4 > LINE) {
        return Some(answer::nginx(400));
    }
    let length =
        request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.filter(|length| *length > BODY).map(|_| answer::nginx(413))
}

async fn route(
    state: Arc<State>,
    target: Target,
    request: Request<Counted>,
    connection: Arc<Connection>,
) -> Answer {
    let method = request.method().clone();
    let headers = request.headers().clone();
    let segments = target.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    // What nginx answers itself.
    match parts.as_slice() {
        [] => return answer::moved(&format!("{}/welcome/", host::base(&headers))),
        ["web-apps", "apps", "api", "documents", "api.js"] => return assets::api(&state),
        ["web-apps", "apps", ..] if target.version.is_none() => return to_version(&state, &target, &headers),
        ["web-apps" | "sdkjs" | "sdkjs-plugins" | "fonts" | "dictionaries", ..]
        | ["document_editor_service_worker.js"] => {
            return assets::versioned(&state, &method, &target, &headers);
        }
        ["cache", "files", ..] => return cache::serve(&state, &method, &target, &headers),
        ["example", ..] => return answer::nginx(502),
        ["welcome", ..] => return welcome(),
        _ => {}
    }
    match (parts.as_slice(), method == Method::GET, method == Method::POST) {
        (["doc", _, "c"], ..) => engine::handle(state, target, request, connection).await,
        (["coauthoring", "commandservice.ashx"], true, _)
        | (["coauthoring", "commandservice.ashx"] | ["command"], _, true) => {
            service::command(&state, &connection.life, &target, request).await
        }
        (["convertservice.ashx"], true, _) | (["convertservice.ashx"] | ["converter"], _, true) => {
            service::convert(&state, &target, request).await
        }
        (["docbuilder"], _, true) => service::builder(&state, &target, request).await,
        (["upload" | "downloadas" | "savefile" | "printfile" | "downloadfile", key, ..], ..)
            if !good_key(key) =>
        {
            answer::plain(403)
        }
        (["upload", _], _, true) => service::upload(&state, &target, request).await,
        (["downloadas", _], _, true) => service::with_command(&state, &target, request, false).await,
        (["savefile", _], _, true) => service::with_command(&state, &target, request, true).await,
        (["printfile", _, _], true, _) => service::print(&state, &target),
        (["downloadfile", _], ..) => service::download(&state, request).await,
        (["ai-proxy", ..], ..) => service::ai(request).await,
        (["dummycallback"], ..) => answer::express(200, JSON, r#"{"error":0}"#),
        (["hosting", "discovery" | "capabilities"], ..)
        | (["hosting", "wopi", ..], ..)
        | (["wopi", ..], ..) => answer::plain(404),
        (["lool" | "cool", ..], ..) => answer::plain(404),
        (["info" | "internal", ..], ..) => operations(&state, &method, &parts)
            .unwrap_or_else(|| answer::unknown(method.as_str(), &target.path)),
        (parts, true, _) => {
            page(&state, parts, &headers).unwrap_or_else(|| answer::unknown("GET", &target.path))
        }
        _ => answer::unknown(method.as_str(), &target.path),
    }
}

fn good_key(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte))
}

/// Everything below `/web-apps/apps` moves to the address with the version in it, which browsers may keep.
fn to_version(state: &State, target: &Target, headers: &HeaderMap) -> Answer {
    let query = if target.query.is_empty() { String::new() } else { format!("?{}", target.query) };
    let prefix = format!("{}-{}", state.options.version, state.options.cache_tag);
    answer::moved(&format!("{}/{prefix}{}{query}", host::base(headers), target.path))
}

fn welcome() -> Answer {
    let mut answer = answer::express(
        200,
        "text/html; charset=UTF-8",
        "<!DOCTYPE html>\n<html><head><title>ONLYOFFICE</title></head><body>Document Server is running (a stand-in).</body></html>\n",
    );
    answer::set(&mut answer, "cache-control", "public, max-age=604800");
    answer::set(&mut answer, "last-modified", "Tue, 29 Jul 2025 16:45:00 GMT");
    answer::set(&mut answer, "accept-ranges", "bytes");
    answer
}

/// Pages that anybody may read.
fn page(state: &State, parts: &[&str], headers: &HeaderMap) -> Option<Answer> {
    let version = (&state.options.version, state.options.build);
    Some(match parts {
        ["healthcheck"] => {
            answer::express(200, TEXT, if state.healthy.load(Ordering::Relaxed) { "true" } else { "false" })
        }
        ["baseurl"] => answer::express(200, HTML, host::base(headers)),
        ["robots.txt"] => answer::express(200, "plain/text; charset=utf-8", "User-agent: *\nDisallow: /"),
        ["plugins.json"] => answer::express(200, JSON, r#"{"url":"","pluginsData":[],"autostart":[]}"#),
        ["themes.json"] => {
            let mut answer = answer::express(200, JSON, r#"{"themes":[{"themes":[]}]}"#);
            answer::set(&mut answer, "cache-control", "max-age=300");
            answer
        }
        ["index.html"] => {
            let line = format!(
                "Server is functioning normally. Version: {}. Build: {}. Release date: 2016-06-29T00:00:00.000Z. Package type: 0. Customer Id: . Multitenancy: false. Alias: ",
                version.0, version.1
            );
            answer::express(200, HTML, line)
        }
        _ => return None,
    })
}

/// The operators' routes. The container lets callers from 127.0.0.1 in without asking; so does this, because that is the danger.
fn operations(state: &State, method: &Method, parts: &[&str]) -> Option<Answer> {
    let edit: usize = state.documents.lock().unwrap().values().map(|document| document.editors().len()).sum();
    Some(match (parts, method.as_str()) {
        (["info", "info.json"], "GET") => {
            let zero = json!({"min": 0, "avr": 0, "max": 0});
            let span = json!({"edit": zero, "liveview": zero, "view": zero});
            let body = json!({
                "connectionsStat": {"hour": span, "day": span, "week": span, "month": span},
                "licenseInfo": {"count": 1, "type": 3, "connections": 20, "connectionsView": 20, "hasLicense": false},
                "serverInfo": {"buildVersion": state.options.version, "buildNumber": state.options.build},
                "quota": {"edit": {"connectionsCount": edit, "usersCount": {"unique": 0, "anonymous": 0}}, "view": {"connectionsCount": 0, "usersCount": {"unique": 0, "anonymous": 0}}, "byMonth": []},
            });
            answer::express(200, JSON, body.to_string())
        }
        (["info", "config"], "GET" | "POST") => {
            let secret = json!({"string": "this-would-be-the-real-secret"});
            let body = json!({
                "services": {"CoAuthoring": {"secret": {"inbox": secret, "outbox": secret, "session": secret}}},
                "storage": {"fs": {"secretString": "this-would-be-the-real-link-secret"}},
            });
            answer::express(200, JSON, body.to_string())
        }
        (["info", "plugin", "settings" | "models"], "GET" | "POST") => {
            answer::express(200, JSON, r#"{"actions":{},"providers":{},"models":[]}"#)
        }
        (["info"], "GET") => answer::express(200, HTML, "<!DOCTYPE html><title>info</title>"),
        (["internal", "cluster", "inactive"], "PUT" | "DELETE") => answer::express(200, TEXT, "true"),
        (["internal", "connections", "edit"], "GET") => answer::express(200, TEXT, edit.to_string()),
        _ => return None,
    })
}
