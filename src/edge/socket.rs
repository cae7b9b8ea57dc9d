//! Requests to the editor's socket: where they come from, what they want, and the upgrade that the gateway answers itself.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode, Uri};

use super::body::{Reply, Unread};
use super::conn::Connection;
use super::core::Core;
use super::exchange::Exchange;
use super::handler::{self, Way};
use super::polling::Asker;
use super::respond::Trouble;
use super::upgrade::{self, Knocked};
use crate::live::Running;
use crate::ops::log::Level;
use crate::ops::objections::Example;
use crate::rules::headers::Hop;
use crate::rules::objection::Decider;
use crate::rules::policy::{self, Knock, Mode, Refusal};
use crate::rules::query;
use crate::rules::route::Route;
use crate::rules::socket::{SocketFault, Wish};
use crate::sockets::{Call, Caps, Law, Lock, Locks};

/// How long the Document Server's own greeting may take once it has been dialled. It comes at once.
const GREETING: Duration = Duration::from_secs(10);

/// Answers a request to the editor's socket.
///
/// # Errors
/// When a rule says no, or there is no Document Server.
pub async fn answer(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    way: Way<'_>,
    parts: Parts,
    body: Unread,
) -> Result<Response<Reply>, Trouble> {
    let upgrade = upgrade::is_asked(&parts);
    check_origin(connection, exchange, way.running, &parts.headers, upgrade)?;
    let knock = policy::knock(way.matched, &parts.method)?;
    let uri = way.uri;
    let wish = Wish::of(&parts.method, uri.query(), upgrade).map_err(Refusal::Socket)?;
    // Switched off, nobody begins any more; a session that polls goes on, for a reload never touches an open one.
    if wish == Wish::Poll && !way.running.settings.sockets.polling {
        return Err(Refusal::Socket(SocketFault::PollingOff).into());
    }
    match wish {
        Wish::WebSocket => websocket(connection, exchange, &way, parts, knock),
        Wish::Poll => Asker { connection, exchange, way, knock }.greet(&parts),
        Wish::Again(sid) => Asker { connection, exchange, way, knock }.go_on(sid, parts, body).await,
        Wish::Change(sid) => Asker { connection, exchange, way, knock }.change(sid, parts).await,
    }
}

/// A foreign page's upgrade is refused in HTTP, unlike a bad token: its client is no editor that could show the reason (the
/// editor's own page has the gateway's origin), a WebSocket that opens is what the page must not get, and polling, which the
/// editor's client would turn to, is refused as well, since its POSTs carry an Origin (threats.md T12).
fn check_origin(
    connection: &Connection,
    exchange: &Exchange,
    running: &Running,
    headers: &HeaderMap,
    upgrade: bool,
) -> Result<(), Refusal> {
    let fields = headers.get_all(ORIGIN).iter().map(HeaderValue::as_bytes);
    let Err(fault) = running.origins.check(fields, upgrade) else { return Ok(()) };
    let fault = SocketFault::Origin(fault);
    if running.rules.mode == Mode::Enforce {
        return Err(Refusal::Socket(fault));
    }
    let (why, id) = (fault.to_string(), exchange.id());
    connection.core.ops.objected(Example {
        at: SystemTime::now(),
        id: id.to_owned(),
        route: Route::Socket.name(),
        class: None,
        reason: fault.reason(),
        host: None,
        decider: Decider::Mode,
        why: why.clone(),
    });
    let facts = [("reason", fault.reason()), ("id", id), ("why", &*why)];
    connection.core.ops.log.event(
        Level::Warn,
        "would_refuse",
        "a rule would have refused this request",
        &facts,
    );
    Ok(())
}

/// Answers the upgrade; what the socket is allowed is settled in its first packet.
fn websocket(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    mut parts: Parts,
    knock: Knock,
) -> Result<Response<Reply>, Trouble> {
    let accept = accept(&parts.headers).ok_or(Refusal::Socket(SocketFault::Handshake))?;
    let on_client = parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::Socket(SocketFault::Handshake))?;
    without_extensions(&mut parts.headers);
    let running = way.running;
    let prepared = handler::prepare(way, parts, Hop::Upgrade)?;
    let visitor = Knocked { knock, shardkey: shardkey(way.uri), address: way.client.address() };
    let call = Call {
        upstream: connection.core.upstream.clone(),
        server: prepared.server,
        wait: running.servers.wait,
        patience: GREETING,
        target: prepared.target,
        headers: prepared.headers,
    };
    upgrade::gate(connection, exchange, on_client, (visitor, call), running.clone());
    let mut response = Response::new(Reply::plain(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Asks the relay whether new editors of a document are kept out.
pub fn lock(core: &Core, key: &str) -> Option<Lock> {
    core.relay.asked_for(key).map(|freed| Box::pin(freed) as Lock)
}

/// What the gate goes by.
pub fn law<'r>(core: &Core, running: &'r Running, locks: Locks<'r>) -> Law<'r> {
    let (settings, limits) = (&running.settings, &running.settings.limits);
    Law {
        tokens: &settings.tokens,
        rules: &running.rules,
        sockets: &settings.sockets,
        // Behind a trusted proxy many clients share a connection's address, so the client's own is counted here once more.
        caps: Caps {
            document: settings.sockets.per_document,
            address: limits.connections_per_address,
            total: limits.connections,
        },
        patience: core.deadlines.packet,
        locks,
        hold: core.deadlines.hold,
    }
}

/// Takes away what is not spoken here: frames are followed without it.
pub fn without_extensions(headers: &mut HeaderMap) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
}

/// `shardkey` of the query.
pub fn shardkey(uri: &Uri) -> Option<String> {
    uri.query().and_then(|query| query::value(query, "shardkey").ok().flatten()).map(String::from)
}

/// `Sec-WebSocket-Accept` for a handshake as RFC 6455 4.2.1 demands it; `None` for another.
pub fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return None };
    let sixteen = STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
    if !sixteen || headers.get(SEC_WEBSOCKET_VERSION)? != "13" {
        return None;
    }
    HeaderValue::try_from(accept_of(key.as_bytes())).ok()
}

fn accept_of(key: &[u8]) -> String {
    let salted = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_accepted_as_the_rfc_has_it() {
        assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); // RFC 6455 1.3
        let headers = |key: &[&str], version: &str| {
            let mut headers = HeaderMap::new();
            for key in key {
                headers.append(SEC_WEBSOCKET_KEY, key.parse().unwrap());
            }
            headers.insert(SEC_WEBSOCKET_VERSION, version.parse().unwrap());
            headers
        };
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        assert!(accept(&headers(&[key], "13")).is_some());
        for (keys, version) in
            [(&[key][..], "8"), (&[], "13"), (&[key, key], "13"), (&["c2hvcnQ="], "13"), (&["?"], "13")]
        {
            assert_eq!(accept(&headers(keys, version)), None, "{keys:?} {version}");
        }
    }
}
