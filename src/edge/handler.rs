//! A request's way through the house, on one page.
//!
//! 1. **Snapshot**: one, for the whole request.
//! 2. **Strict**: a head with too many fields, or one that could be read in two ways, is not read at all.
//! 3. **Host**: whose name it asks for, and whether this connection's certificate covers it. Monitors of named networks have
//!    their answer before that: they may know an address only.
//! 4. **Own paths** whose bytes belong to somebody else: the relay and saved documents.
//! 5. **Path**: in its one spelling, without the public URL's own.
//! 6. **Route**: the row of the table; no row, no service.
//! 7. **Body**, where the token may be in it.
//! 8. **Permit**: from policy alone. What follows takes it by value, so that forgetting it does not compile.
//! 9. **Forward**, or the gateway's own answer.
//! 10. **Respond**: fields of the border, and of pages.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use tokio::task::yield_now;

use super::asset::{self, Found, Keep};
use super::body::{LARGEST, Reply, Unread};
use super::conn::{Connection, MOST_FIELDS};
use super::exchange::Exchange;
use super::respond::{self, Asked, Trouble};
use super::{own, relay, socket};
use crate::live::Running;
use crate::ops::debug::Fact;
use crate::rules::carrier::Carried;
use crate::rules::client::Client;
use crate::rules::headers::{self, Hop};
use crate::rules::host::{self, Authority};
use crate::rules::looked::Place;
use crate::rules::path::{self, Canonical};
use crate::rules::pick;
use crate::rules::policy::{self, Caller, Permit, Refusal};
use crate::rules::route::{self, Matched, OwnPath};
use crate::rules::strict;
use crate::rules::table::{Access, BodyRule, Carrier, Patience, RefusalShape, Shown};

use crate::tls;
use crate::upstream::{AnswerBody, Outgoing, Question, Server};

/// The container's nginx answers 504 after 60 s; its word is better than ours, so ours comes later.
const ORDINARY: Duration = Duration::from_secs(75);
/// A save waits for the integrator's answer for up to 10 minutes (default.json:321-324); a conversion may as well.
const LONG: Duration = Duration::from_secs(11 * 60);

/// Answers a request.
pub async fn handle(connection: Rc<Connection>, request: Request<Incoming>) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let parts = Box::new(parts); // handed on through several futures, each of which would hold it whole
    let running = connection.core.live.load();
    let proxies = &running.settings.site.trusted_proxies;
    let trusted = proxies.iter().any(|network| network.contains(&connection.peer.address()));
    let exchange = Exchange::begin(&connection, &parts, trusted);
    let mut asked = Asked::new(RefusalShape::Gateway, &parts.headers, &running.fields);
    let head_only = parts.method == Method::HEAD;
    let answered = answer(&connection, &running, &exchange, &mut asked, parts, body).await;
    let response = answered.unwrap_or_else(|trouble| respond::trouble(trouble, &asked, &exchange));
    respond::finish(response, &exchange, head_only)
}

async fn answer(
    connection: &Connection,
    running: &Arc<Running>,
    exchange: &Rc<Exchange>,
    asked: &mut Asked<'_>,
    mut parts: Box<Parts>,
    body: Incoming,
) -> Result<Response<Reply>, Trouble> {
    let mut body = Unread(Some(body));
    if has_too_many_fields(&parts.headers) {
        return Err(Refusal::HeadTooLarge.into());
    }
    exchange.mark(&mut parts.headers);
    let authority = strict::check(&parts.method, parts.version, &parts.uri, &parts.headers);
    let authority = authority.map_err(Refusal::Strict)?;
    if let Some(response) = own::monitored(connection, running, exchange, &parts) {
        return Ok(response);
    }
    let uri = parts.uri.clone();
    let own = route::own_path(uri.path());
    let public = match (connection.by_relay, &own) {
        (None, _) => host(connection, running, &authority)?,
        // Whatever the container calls us, it has come by its own door; there it finds the relay and nothing else.
        (Some(_), Some(OwnPath::Relay { .. })) => 0,
        (Some(_), _) => return Err(Refusal::UnknownPath.into()),
    };
    if let Some(own) = own {
        exchange.matched(own.route());
        exchange.note("edge", "a route was found", &[("route", &own.route().name()), ("access", &"own")]);
        let errand = relay::Errand { running, exchange, connection, parts: &parts };
        return Box::pin(relay::answer(errand, own, &mut body)).await;
    }
    let public_url = running.settings.site.public.get(public).ok_or(Refusal::WrongDoor)?;
    let below = public_url.strip(uri.path()).ok_or(Refusal::UnknownPath)?;
    let path = path::canonical(below).map_err(Refusal::Path)?;
    let matched = route::find(&path, running.settings.routes);
    exchange.matched(matched.route());
    exchange.note(
        "edge",
        "a route was found",
        &[("route", &matched.rule.name), ("access", &matched.access.name())],
    );
    asked.shaped(matched.rule.refusal);
    policy::check(&matched, &parts.method)?;
    if let Access::Own(which) = matched.access {
        return own::answer(which, running, exchange).ok_or(Refusal::UnknownPath.into());
    }
    let client = Client::of(&connection.peer, &parts.headers, &running.settings.site.trusted_proxies);
    exchange.came_from(client.address());
    let way = Way { running, path: &path, matched: &matched, uri: &uri, client: &client, public };
    if let Access::Socket = matched.access {
        return Box::pin(socket::answer(connection, exchange, way, *parts, body)).await;
    }
    if body.declared() > LARGEST {
        return Err(Refusal::BodyTooLarge.into());
    }
    let keep = match asset::find(&way, &mut parts, exchange) {
        Found::Here(mut response) => {
            dress(&mut response, &way);
            return Ok(response);
        }
        Found::Elsewhere(keep) => Some(keep),
        Found::Not => None,
    };
    let inspected = match matched.rule.body {
        BodyRule::Inspect { limit } => Some(body.read(limit, exchange).await.map_err(Trouble::Body)?),
        BodyRule::Stream | BodyRule::None => None,
    };
    let permit = permit(exchange, &way, &mut parts, inspected.as_deref().unwrap_or_default())?;
    let outgoing = match (matched.rule.body, inspected) {
        (_, Some(bytes)) => Outgoing::whole(bytes),
        (BodyRule::None, None) => Outgoing::Empty,
        // No browser sends a body with GET; passed on, it would be framed by hyper's mood: a length, or dropped chunks.
        (_, None) if parts.method.is_safe() => Outgoing::Empty,
        (_, None) => body.outgoing(exchange),
    };
    if matches!(outgoing, Outgoing::Empty) && body.comes() {
        // Nobody will look at it; but where its length is not the one that was declared, hyper has reset the stream by
        // now and drops this future at its first pause, before anything has gone on.
        yield_now().await;
    }
    forward(connection, exchange, way, parts, (permit, outgoing), keep).await
}

/// hyper counts fields for HTTP/1 alone. The pieces of a cookie are one field (RFC 9113 8.2.3).
fn has_too_many_fields(headers: &HeaderMap) -> bool {
    headers.len() > MOST_FIELDS
        && headers.len() - headers.get_all(COOKIE).iter().count().saturating_sub(1) > MOST_FIELDS
}

/// The public URL that the request came through, by its place in the list; refuses a host that is not this
/// connection's.
fn host(connection: &Connection, running: &Running, authority: &Authority<'_>) -> Result<usize, Refusal> {
    let covered = |tls: &tls::Settings| tls.certificates.covers(connection.sni.as_deref(), authority.host);
    if !running.settings.tls.as_ref().is_some_and(covered) {
        return Err(Refusal::Misdirected);
    }
    let entries = &running.settings.site.public;
    let chosen = host::choose(entries, Some(authority)).ok_or(Refusal::Misdirected)?;
    entries.iter().position(|entry| std::ptr::eq(entry, chosen)).ok_or(Refusal::Misdirected)
}

fn permit(exchange: &Exchange, way: &Way<'_>, parts: &mut Parts, body: &[u8]) -> Result<Permit, Refusal> {
    let Way { running, matched, .. } = way;
    let Access::Token(_) = matched.access else { return policy::admit_open(matched, &parts.method) };
    let settled = running.fields.settle(&mut parts.headers, matched.access);
    settled.map_err(|fault| Refusal::Token { fault, place: Place::In(Carrier::Header) })?;
    let carried = Carried { headers: &parts.headers, query: way.uri.query(), body };
    let caller = Caller { address: way.client.address(), now: SystemTime::now() };
    let tokens = &running.settings.tokens;
    let admitted = policy::admit(matched, &parts.method, &carried, tokens, &running.rules, caller)?;
    exchange.verified(admitted.permit.secret_index());
    note(exchange, &admitted.permit);
    for objection in &admitted.objections {
        exchange.objected(objection, objection.decider(&running.rules));
    }
    Ok(admitted.permit)
}

fn note(exchange: &Exchange, permit: &Permit) {
    if let (Some(class), Some(carrier), Some(secret)) =
        (permit.class(), permit.carrier(), permit.secret_index())
    {
        let facts: [Fact<'_>; 3] =
            [("class", &class.name()), ("carrier", &carrier.name()), ("secret", &secret)];
        exchange.note("edge", "a token holds", &facts);
    }
}

/// What is known of a request that may be served.
pub(super) struct Way<'r> {
    pub running: &'r Arc<Running>,
    pub path: &'r Canonical<'r>,
    pub matched: &'r Matched<'r>,
    pub uri: &'r Uri,
    pub client: &'r Client,
    pub public: usize,
}

/// A request as the Document Server shall see it, but for permit and body.
pub(super) struct Prepared {
    pub server: Arc<Server>,
    pub method: Method,
    pub target: Uri,
    pub headers: HeaderMap,
}

/// Writes the request anew, and chooses who gets it.
pub(super) fn prepare(way: &Way<'_>, mut parts: Parts, hop: Hop) -> Result<Prepared, Refusal> {
    let Way { running, path, matched, uri, client, public } = way;
    let forwarded = running.forwarded.get(*public).ok_or(Refusal::WrongDoor)?;
    headers::to_upstream(&mut parts.headers, forwarded, client, hop);
    let key = pick::document_key(path, matched, uri.query());
    let server = running.servers.choose(key.as_deref()).ok_or(Refusal::WrongDoor)?.clone();
    let headers = framed(parts.headers, parts.version);
    Ok(Prepared { server, method: parts.method, target: target(path, uri)?, headers })
}

async fn forward(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    way: Way<'_>,
    parts: Box<Parts>,
    (permit, body): (Permit, Outgoing),
    keep: Option<Keep>,
) -> Result<Response<Reply>, Trouble> {
    // Only editor sockets are upgraded; here the wish is dropped with the other fields of the hop.
    let prepared = prepare(&way, *parts, Hop::Ordinary)?;
    let mut response = ask(connection, exchange, &way, prepared, permit, body).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Trouble::Unfit("it switched protocols without being asked"));
    }
    let coding = keep.as_ref().and_then(|keep| keep.coding(response.status(), response.headers()));
    headers::to_client(response.headers_mut(), Hop::Ordinary);
    let draft = keep.zip(coding).and_then(|(keep, coding)| keep.draft(coding, response.headers()));
    dress(&mut response, &way);
    Ok(response.map(|body| Reply::kept(body, draft, exchange)))
}

/// Sends a prepared request, and waits for the head of its answer.
pub(super) async fn ask(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    way: &Way<'_>,
    prepared: Prepared,
    permit: Permit,
    body: Outgoing,
) -> Result<Response<AnswerBody>, Trouble> {
    let Prepared { server, method, target, headers } = prepared;
    let patience = match way.matched.rule.patience {
        Patience::Ordinary => ORDINARY,
        Patience::Long => LONG,
    };
    let question = Question { permit, target, body, patience, method, headers };
    let answer = connection.core.upstream.ask(&server, way.running.servers.wait, question).await;
    exchange.asked(&server, answer.as_ref().map_or(1, |answer| answer.tries));
    Ok(answer?.response)
}

/// The canonical path with the query as it was sent: links are signed over both.
fn target(path: &Canonical<'_>, uri: &Uri) -> Result<Uri, Refusal> {
    if path.forward() == uri.path() {
        return uri.path_and_query().cloned().map(Uri::from).ok_or(Refusal::WrongDoor);
    }
    let text = match uri.query() {
        Some(query) => format!("{}?{query}", path.forward()),
        None => path.forward().to_owned(),
    };
    text.parse().map_err(|_| Refusal::WrongDoor)
}

/// Framing is set anew by hyper from the body itself; what the client said about it stays behind.
fn framed(mut headers: HeaderMap, version: Version) -> HeaderMap {
    headers.remove(CONTENT_LENGTH);
    if version == Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    headers
}

/// HTTP/2 may send cookies one by one (RFC 9113 8.2.3); HTTP/1 knows one field.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let joined =
            headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
        match HeaderValue::from_bytes(&joined) {
            Ok(joined) => headers.insert(COOKIE, joined),
            Err(_) => headers.remove(COOKIE),
        };
    }
}

/// What pages of the editor carry. X-Frame-Options is never among it: the editor is framed by its integrator.
fn dress<B>(response: &mut Response<B>, way: &Way<'_>) {
    if way.matched.rule.shown != Shown::Page {
        return;
    }
    let (headers, site) = (response.headers_mut(), &way.running.settings.site);
    if let Some(hsts) = &site.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let Some(ancestors) = &site.frame_ancestors {
        headers.insert(CONTENT_SECURITY_POLICY, ancestors.clone());
    }
}
