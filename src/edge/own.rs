//! Paths that the gateway answers itself.

use std::rc::Rc;
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::body::Reply;
use super::conn::Connection;
use super::exchange::Exchange;
use super::respond::own;
use crate::live::Running;
use crate::rules::client::Client;
use crate::rules::monitor::{Check, Told};
use crate::rules::route::Route;
use crate::rules::table::Own;
use crate::upstream::Health;

const ROOT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
    content=\"width=device-width\"><title>Document editing</title><style>:root{color-scheme:light dark}\
    body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}</style>\
    <h1>Document editing</h1><p>Documents are edited here, together. They are opened from the application that \
    keeps them; there is nothing to do at this address itself.</p></html>\n";

/// What monitors are told, made by who knows it all.
pub type Monitors = Arc<dyn Fn(Check) -> Told + Send + Sync>;

/// The answer to a monitor of `server.health_networks`; for everybody else the request is as any other, and nothing tells that
/// there is such a path. Asked before the host is looked at: a balancer knows the gateway by its address.
///
/// Whose request it is, is what the client's address says: a balancer that is believed (`trusted_proxies`) writes down for whom
/// it asks, so that nobody behind it is taken for it, and asks for itself with nothing written down.
pub fn monitored(
    connection: &Connection,
    running: &Running,
    exchange: &Rc<Exchange>,
    parts: &Parts,
) -> Option<Response<Reply>> {
    let site = &running.settings.site;
    if site.health_networks.is_empty() || connection.by_relay.is_some() {
        return None;
    }
    let check = Check::at(parts.uri.path())?;
    let client = Client::of(&connection.peer, &parts.headers, &site.trusted_proxies);
    if !client.is_within(&site.health_networks) || !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    exchange.came_from(client.address());
    exchange.matched(Route::Healthcheck);
    let Told { status, content_type, body } = (connection.core.monitors)(check);
    Some(own(status, content_type, body, exchange))
}

/// The answer, for those paths that have one in this version.
pub fn answer(which: Own, running: &Running, exchange: &Rc<Exchange>) -> Option<Response<Reply>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    match which {
        // An editor is embedded by its application; a person who comes here typed the address.
        Own::Root => Some(own(StatusCode::OK, "text/html; charset=utf-8", ROOT, exchange)),
        Own::Robots => Some(own(StatusCode::OK, TEXT, "User-agent: *\nDisallow: /", exchange)),
        // Connectors and monitors ask for this; the status is 200 whatever the word is (protocol.md 1.2).
        Own::Healthcheck => {
            let well = running.servers.all().iter().any(|server| server.health() == Health::Up);
            Some(own(StatusCode::OK, TEXT, if well { "true" } else { "false" }, exchange))
        }
        Own::Relay | Own::Saved => None,
    }
}
