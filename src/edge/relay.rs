//! The gateway's own paths whose bytes belong to somebody else: callbacks in, documents out, kept documents out.
//!
//! A callback is read here and handed over to the relay, which works on another runtime; a document streams on this core.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::body::{Reply, Unread};
use super::conn::Connection;
use super::exchange::Exchange;
use super::respond::{Trouble, own};
use crate::live::Running;
use crate::relay::{Answer, Integrator, Post, client, fetch, house, letter};
use crate::rules::callback::{self, Callback, Ours};
use crate::rules::carrier::find_header;
use crate::rules::class::{Class, Reading};
use crate::rules::headers::{self, Hop};
use crate::rules::looked::{Looked, Place};
use crate::rules::objection::{Ground, Objection};
use crate::rules::policy::Refusal;
use crate::rules::route::OwnPath;
use crate::rules::table::{Carrier, Methods};
use crate::rules::token::VerifyingKey;
use crate::rules::trace;

/// The Document Server waits two minutes for a document's head (default.json:544-550).
const DOCUMENT: Duration = Duration::from_secs(125);
/// What of the Document Server's request an integrator may see besides the token: what concerns the file alone, and
/// the request's trace and name, which are the gateway's own by then.
const PASSED: [&str; 11] = [
    "accept",
    "accept-encoding",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "if-match",
    "user-agent",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// A request to one of these paths, and what is known of it.
pub struct Errand<'r> {
    /// The snapshot.
    pub running: &'r Running,
    /// Its exchange.
    pub exchange: &'r Rc<Exchange>,
    /// Its connection.
    pub connection: &'r Connection,
    /// Its head.
    pub parts: &'r Parts,
}

/// Answers it.
pub async fn answer(
    errand: Errand<'_>,
    path: OwnPath<'_>,
    body: &mut Unread,
) -> Result<Response<Reply>, Trouble> {
    match path {
        OwnPath::Saved { rest } => saved(&errand, rest).await,
        OwnPath::Relay { integrator, rest } => {
            let to = house::integrator(errand.running, integrator).ok_or(Refusal::UnknownIntegrator)?;
            let target = match errand.parts.uri.query() {
                Some(query) => format!("{rest}?{query}"),
                None => rest.to_owned(),
            };
            match errand.parts.method {
                Method::POST => callback(&errand, to, target, body).await,
                Method::GET => document(&errand, to, &target).await,
                _ => Err(Refusal::Method(Methods::Socket).into()),
            }
        }
    }
}

async fn callback(
    errand: &Errand<'_>,
    to: &Integrator,
    target: String,
    body: &mut Unread,
) -> Result<Response<Reply>, Trouble> {
    let Errand { running, exchange, connection, parts } = errand;
    let begun = Instant::now();
    if body.declared() > callback::LARGEST as u64 {
        return Err(Refusal::BodyTooLarge.into());
    }
    let body = body.read(callback::LARGEST, exchange).await.map_err(Trouble::Body)?;
    let tokens = &running.settings.tokens;
    let field = house::House::own_field(*running);
    let callback = Callback::read(&body, &parts.headers, &field, tokens, SystemTime::now())?;
    exchange.verified(Some(callback.secret_index));
    let token = find_header(&parts.headers, &field.name, &field.prefix).ok().flatten().map(str::to_owned);
    let trace = trace::carried(&parts.headers);
    let post = Post { integrator: to.name.clone(), target, body, token, trace, callback };
    // Whoever is told to come again does: the relay is full, or on its way out.
    let busy = || Answer::own(503, r#"{"error":1}"#);
    let answer = match connection.core.relay.submit(post) {
        Some(answered) => tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(|_| busy()),
            () = connection.core.leaving() => busy(),
        },
        None => busy(),
    };
    connection.core.ops.metrics.saves.callback.record(begun.elapsed());
    connection.core.ops.metrics.history.answered();
    Ok(passed_back(answer, exchange))
}

fn passed_back(answer: Answer, exchange: &Rc<Exchange>) -> Response<Reply> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = own(status, "application/json", answer.body, exchange);
    let kind = answer.content_type.and_then(|kind| HeaderValue::try_from(kind).ok());
    match kind {
        Some(kind) => drop(response.headers_mut().insert(CONTENT_TYPE, kind)),
        None => drop(response.headers_mut().remove(CONTENT_TYPE)),
    }
    response
}

/// A document for the Document Server: the token names it, the integrator gets one of its own, the bytes pass.
async fn document(errand: &Errand<'_>, to: &Integrator, target: &str) -> Result<Response<Reply>, Trouble> {
    let Errand { running, exchange, connection, parts } = errand;
    let now = SystemTime::now();
    let field = house::House::own_field(*running);
    let refused = |fault| Refusal::Token { fault, place: Place::In(Carrier::Header) };
    let token = find_header(&parts.headers, &field.name, &field.prefix).map_err(refused)?;
    let token = token.ok_or(Refusal::no_token(Looked::of_relay(&[Carrier::Header])))?;
    let verified = running.settings.tokens.verify(token, now).map_err(refused)?;
    let class = Class::of(&verified.claims, Reading::Merged);
    if class != Class::Download {
        let ground = Ground::Class { takes: &[Class::Download] };
        return Err(Refusal::Objected(Objection { class, carrier: Carrier::Header, ground }).into());
    }
    exchange.verified(Some(verified.secret_index));
    let named = verified.claims.get("payload").and_then(|payload| payload.get("url"));
    let ours = match connection.by_relay {
        None => Ours::Public(&running.settings.site.public),
        Some(address) => Ours::Address(address),
    };
    if !named.and_then(|url| url.as_str()).is_some_and(|url| callback::names(url, &parts.uri, ours)) {
        return Err(Refusal::OtherDocument.into());
    }
    let secret = &running.settings.relay.secret;
    let token = letter::download(&letter::url(to, target), secret, now);
    let theirs = house::field(*running, to);
    let request = request(to, target, &parts.headers, (&theirs.name, &format!("{}{token}", theirs.prefix)));
    let request = request.ok_or(Trouble::Unfit("the integrator's URL cannot be asked for"))?;
    let asked = async {
        let mut sender = connection.core.relay.trust().connect(to).await?;
        client::send(&mut sender, request, DOCUMENT).await
    };
    let mut response = asked.await.map_err(|error| {
        exchange.because(format!("the integrator {} gave no document: {error}", to.name));
        Trouble::NoIntegrator
    })?;
    headers::to_client(response.headers_mut(), Hop::Ordinary);
    Ok(response.map(|body: Incoming| Reply::streamed(body, exchange)))
}

fn request(
    to: &Integrator,
    target: &str,
    asked: &HeaderMap,
    (name, token): (&HeaderName, &str),
) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::get(letter::uri(to, target)?).body(Full::default()).ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, letter::host(to)?);
    for field in PASSED.map(HeaderName::from_static) {
        for value in asked.get_all(&field) {
            headers.append(field.clone(), value.clone());
        }
    }
    headers.insert(name.clone(), letter::sensitive(token)?);
    Some(request)
}

/// A kept document, for whoever holds a link that is ours and not old.
async fn saved(errand: &Errand<'_>, rest: &str) -> Result<Response<Reply>, Trouble> {
    let Errand { running, exchange, connection, parts } = errand;
    if !Methods::Read.allow(&parts.method) {
        return Err(Refusal::Method(Methods::Read).into());
    }
    let secrets = running.settings.tokens.keys.iter().map(VerifyingKey::secret);
    let query = parts.uri.query().unwrap_or_default();
    let (id, role) = letter::open_link(rest, query, secrets, SystemTime::now()).ok_or(Refusal::SavedLink)?;
    // A link that holds and leads nowhere: the save was settled meanwhile.
    let (length, pieces) =
        fetch::read(&connection.core.relay.kept(id, role)).await.map_err(|_| Refusal::SavedLink)?;
    let mut response = own(StatusCode::OK, "application/octet-stream", Bytes::new(), exchange);
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    if parts.method != Method::HEAD {
        *response.body_mut() = Reply::file(pieces, length, exchange);
    }
    Ok(response)
}
