//! `POST /reload`: asks for the configuration to be read again and answers with what came of it.
//!
//! No page in a browser may do that: an operator's browser reaches this listener, and forms and scripts of any page may post
//! to it. Browsers name themselves: every POST of theirs carries `Origin`, new ones `Sec-Fetch-Site` as well, and what a form
//! sends has one of three content types.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::text;
use crate::live::{Ask, Asks, Cause, Verdict};

/// Files are read in milliseconds; a disk that hangs keeps the answer away, not the gateway.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a request can have come from a page in a browser.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    let names_itself = headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site");
    let is_json = |value: &HeaderValue| {
        let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    };
    names_itself || headers.get_all(CONTENT_TYPE).iter().any(|value| !is_json(value))
}

/// Answers 200 when the configuration is in place, 422 when it has faults.
pub(super) async fn answer(asks: &Asks, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if method != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "POST only\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if is_from_a_page(headers) {
        let why =
            "not from a page in a browser: no Origin, no Sec-Fetch-Site, no body but application/json\n";
        return text(StatusCode::FORBIDDEN, why.into());
    }
    let (answer, outcome) = oneshot::channel();
    if asks.try_send(Ask { cause: Cause::Admin, answer }).is_err() {
        return busy("others have asked before; their answers are not there yet\n");
    }
    let Ok(Ok(outcome)) = timeout(PATIENCE, outcome).await else {
        return busy("no answer yet; the log and GET /metrics will tell\n");
    };
    let status = match outcome.result {
        Verdict::Applied => StatusCode::OK,
        Verdict::Refused => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let mut body = serde_json::to_string_pretty(outcome.as_ref()).unwrap_or_default();
    body.push('\n');
    let mut response = text(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn busy(why: &str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why.to_owned());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_in_browsers_are_known_by_what_they_cannot_leave_out() {
        for (fields, expected) in [
            (&[][..], false),
            (&[("user-agent", "curl/8")], false),
            (&[("content-type", "application/json; charset=utf-8")], false),
            (&[("content-type", "Application/JSON")], false),
            (&[("content-type", "text/plain")], true),
            (&[("content-type", "application/x-www-form-urlencoded")], true),
            (&[("content-type", "multipart/form-data; boundary=x")], true),
            (&[("content-type", "text/plain; application/json")], true),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], true),
            (&[("content-type", "")], true),
            (&[("origin", "https://evil.example")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://127.0.0.1:8080")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-origin"), ("content-type", "application/json")], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_from_a_page(&headers), expected, "{fields:?}");
        }
    }
}
