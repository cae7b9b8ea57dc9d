//! `GET /`: the status page for people. A pure function of a view makes it whole, so that it shows the same without script; the
//! script only puts newer parts into their places.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use hyper::{Response, StatusCode};

use super::text;
use super::view::View;

mod chart;
mod ground;
mod html;
mod summary;
#[cfg(test)]
mod tests;
mod work;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Parts of the page by the id of their place.
pub(super) type Parts = Vec<(&'static str, String)>;

/// Every part.
pub(super) fn parts(view: &View) -> Parts {
    vec![
        ("head", summary::head(view)),
        ("clock", summary::clock(view)),
        ("attention", summary::attention(view)),
        ("glance", summary::glance(view)),
        ("documents", work::documents(view)),
        ("saves", work::saves(view)),
        ("hour", summary::hour(view)),
        ("servers", ground::servers(view)),
        ("integrators", ground::integrators(view)),
        ("refusals", ground::refusals(view)),
        ("certificates", ground::certificates(view)),
        ("configuration", ground::configuration(view)),
    ]
    .into_iter()
    .map(|(name, part)| (name, part.into_string()))
    .collect()
}

/// The whole page.
fn whole(view: &View) -> String {
    let parts = parts(view);
    let mut page = String::with_capacity(64 << 10);
    // Places are looked for in the page as it was built, never in what was put there.
    for (at, piece) in PAGE.split("<!--").enumerate() {
        if at == 0 {
            page.push_str(piece);
            continue;
        }
        let (place, rest) = piece.split_once("-->").unwrap_or((piece, ""));
        page.push_str(match place {
            "css" => STYLE,
            "js" => SCRIPT,
            "build" => build(),
            place => parts.iter().find(|(name, _)| *name == place).map_or("", |(_, part)| part),
        });
        page.push_str(rest);
    }
    page
}

/// Tells this page from that of another version.
pub(super) fn build() -> &'static str {
    static BUILD: LazyLock<String> =
        LazyLock::new(|| hash(&[env!("CARGO_PKG_VERSION"), PAGE, STYLE, SCRIPT].concat()));
    &BUILD
}

fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

/// Nothing but the page's own style and script, and events from here.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The answer.
pub(super) fn answer(view: &View) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, whole(view));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Base64 between words of ours is a header's value; if it ever were not, no page is better than one without a policy.
    match HeaderValue::from_str(&POLICY) {
        Ok(policy) => drop(headers.insert(CONTENT_SECURITY_POLICY, policy)),
        Err(_) => return text(StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    }
    response
}
