//! Every answer that the gateway gives in its own words: refusals, a Document Server that is away, small pages.

use std::rc::Rc;

use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Reply;
use super::exchange::Exchange;
use crate::ops::metrics::UpstreamFault;
use crate::rules::carrier::TokenFields;
use crate::rules::policy::Refusal;
use crate::rules::socket::SocketFault;
use crate::rules::table::RefusalShape;
use crate::rules::trace::X_REQUEST_ID;
use crate::upstream::{BodyFault, Fault};

/// Names the reason of a refusal; the README explains each.
const GATEWAY_REFUSAL: HeaderName = HeaderName::from_static("gateway-refusal");

/// Why a request was not answered by a Document Server. Branching on it happens here and nowhere else.
#[derive(Debug)]
pub enum Trouble {
    /// A rule said no.
    Refused(Refusal),
    /// The Document Server gave no answer.
    Upstream(Fault),
    /// The client's body could not be read.
    Body(BodyFault),
    /// An integrator gave no document.
    NoIntegrator,
    /// The Document Server answered in a way that may not be passed on.
    Unfit(&'static str),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Upstream(fault)
    }
}

/// What the answer to a trouble depends on besides the trouble.
pub struct Asked<'r> {
    shape: RefusalShape,
    accept: Option<HeaderValue>,
    /// In which fields the running configuration has tokens looked for.
    fields: &'r TokenFields,
}

impl<'r> Asked<'r> {
    /// From the request's head.
    pub fn new(shape: RefusalShape, headers: &HeaderMap, fields: &'r TokenFields) -> Self {
        Self { shape, accept: headers.get(ACCEPT).cloned(), fields }
    }

    fn html(&self) -> bool {
        self.accept.as_ref().is_some_and(|accept| accept.as_bytes().windows(9).any(|w| w == b"text/html"))
    }

    /// Once the route is known.
    pub fn shaped(&mut self, shape: RefusalShape) {
        self.shape = shape;
    }
}

/// The answer to a request that got none from a Document Server.
pub fn trouble(trouble: Trouble, asked: &Asked<'_>, exchange: &Rc<Exchange>) -> Response<Reply> {
    match trouble {
        Trouble::Refused(refusal) => refused(refusal, asked, exchange),
        Trouble::Body(BodyFault::TooLarge) | Trouble::Upstream(Fault::Body(BodyFault::TooLarge)) => {
            refused(Refusal::BodyTooLarge, asked, exchange)
        }
        Trouble::Body(BodyFault::Connect) | Trouble::Upstream(Fault::Body(BodyFault::Connect)) => {
            refused(Refusal::Socket(SocketFault::Again), asked, exchange)
        }
        Trouble::Body(BodyFault::Malformed) | Trouble::Upstream(Fault::Body(BodyFault::Malformed)) => {
            exchange.because(BodyFault::Malformed.to_string());
            explained(
                StatusCode::BAD_REQUEST,
                "The request's body cannot be read.",
                "Its chunks are broken.",
                asked,
                exchange,
            )
        }
        Trouble::Body(fault) | Trouble::Upstream(Fault::Body(fault)) => {
            exchange.because(fault.to_string());
            explained(
                StatusCode::REQUEST_TIMEOUT,
                "The request's body did not arrive.",
                "Send it again.",
                asked,
                exchange,
            )
        }
        Trouble::NoIntegrator => explained(
            StatusCode::BAD_GATEWAY,
            "The application that keeps this document cannot be reached.",
            "Try again in a few seconds.",
            asked,
            exchange,
        ),
        Trouble::Unfit(why) => {
            exchange.upstream_failed(UpstreamFault::Broken);
            exchange.because(why.to_owned());
            explained(
                StatusCode::BAD_GATEWAY,
                "The document server answered in a way that cannot be passed on.",
                "If this happens again, tell the people who run this site.",
                asked,
                exchange,
            )
        }
        Trouble::Upstream(fault) => {
            exchange.because(fault.to_string());
            let (kind, status, what) = match fault {
                Fault::Unreachable(_) => (
                    UpstreamFault::Unreachable,
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The document server is restarting or cannot be reached.",
                ),
                Fault::Broken(_) | Fault::Body(_) => (
                    UpstreamFault::Broken,
                    StatusCode::BAD_GATEWAY,
                    "The document server closed the connection before it answered.",
                ),
                Fault::Silent => (
                    UpstreamFault::Silent,
                    StatusCode::GATEWAY_TIMEOUT,
                    "The document server did not answer in time.",
                ),
            };
            exchange.upstream_failed(kind);
            let cure =
                "Nothing is lost: editors that are open reconnect by themselves. Try again in a few seconds.";
            let mut response = explained(status, what, cure, asked, exchange);
            // The probe looks every 80 ms while a server is down, so a short pause is enough.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            response
        }
    }
}

fn refused(refusal: Refusal, asked: &Asked<'_>, exchange: &Rc<Exchange>) -> Response<Reply> {
    exchange.refused(refusal, refusal.words(asked.fields));
    let answer = refusal.answer(asked.shape, asked.accept.as_ref().and_then(|accept| accept.to_str().ok()));
    let mut response = if asked.html() && answer.content_type == "application/problem+json" {
        page(
            answer.status,
            &refusal.to_string(),
            "Check the address, or go back to where you came from.",
            exchange,
        )
    } else {
        own(answer.status, answer.content_type, answer.body.into_owned(), exchange)
    };
    let headers = response.headers_mut();
    headers.insert(GATEWAY_REFUSAL, HeaderValue::from_static(refusal.reason()));
    if let Refusal::Method(methods) = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(methods.allow_value()));
    }
    if matches!(refusal, Refusal::BodyTooLarge | Refusal::Strict(_)) {
        // The rest of a body is not worth waiting for; and where a head means two things, so may what follows it.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn explained(
    status: StatusCode,
    what: &'static str,
    cure: &'static str,
    asked: &Asked<'_>,
    exchange: &Rc<Exchange>,
) -> Response<Reply> {
    if asked.html() {
        return page(status, what, cure, exchange);
    }
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": format!("{what} {cure}"),
        "instance": exchange.id(),
    });
    own(status, "application/problem+json", problem.to_string(), exchange)
}

/// An answer of the gateway itself.
pub fn own(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<hyper::body::Bytes>,
    exchange: &Rc<Exchange>,
) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(body, exchange));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// A small page for people. Nothing of the request is in it, so there is nothing to escape.
fn page(status: StatusCode, what: &str, cure: &str, exchange: &Rc<Exchange>) -> Response<Reply> {
    let title = status.canonical_reason().unwrap_or("Error");
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;\
         max-width:36rem;margin:15vh auto;padding:0 1rem}}small{{opacity:.7}}</style>\
         <h1>{title}</h1><p>{what}</p><p>{cure}</p><p><small>{} · request {}</small></p></html>",
        status.as_u16(),
        exchange.id(),
    );
    own(status, "text/html; charset=utf-8", html, exchange)
}

/// What every answer gets at the end: its request id, the word that it is the last of its connection, and no body where only
/// the head was asked for. Over HTTP/2 hyper would send one all the same, which a client takes for a broken stream (RFC 9113
/// 8.1.1).
pub fn finish(mut response: Response<Reply>, exchange: &Exchange, head_only: bool) -> Response<Reply> {
    exchange.answered(response.status().as_u16());
    if head_only && let Some(length) = response.body_mut().withhold() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if exchange.is_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(mut id) = exchange.id_value() {
        // Over HTTP/2: not to be kept for later answers, none of which has it again. h2 compares with all that it has kept.
        id.set_sensitive(true);
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}
