//! The public files: `api.js`, the small editor, and files of any size for measuring.

use super::State;
use super::cache::{self, Content};
use crate::answer::{self, Answer};
use crate::clock;
use crate::path::Target;
use hyper::Method;
use hyper::header::HeaderMap;

/// A time in the past at which all assets were written.
const WRITTEN: u64 = 1_753_807_500;
const YEAR: u64 = 31_536_000;

/// `api.js`, with the version prefix of this server in it.
pub(super) fn api(state: &State) -> Answer {
    let prefix = format!("{}-{}", state.options.version, state.options.cache_tag);
    let script = include_str!("../../assets/api.js").replace("{{prefix}}", &prefix);
    let mut answer =
        cache::content_answer(&Content::Bytes(script.into()), "application/javascript", WRITTEN, None);
    answer::set(&mut answer, "cache-control", "no-cache");
    answer::set(&mut answer, "expires", &clock::http_date(state.seconds().saturating_sub(1)));
    answer
}

/// `/web-apps`, `/sdkjs`, `/fonts` …: kept for a year by browsers.
pub(super) fn versioned(state: &State, method: &Method, target: &Target, headers: &HeaderMap) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return answer::nginx(405);
    }
    let file = target.path.rsplit('/').next().unwrap_or_default();
    let content = match target.path.to_lowercase().as_str() {
        "/web-apps/apps/documenteditor/main/index.html" => {
            Content::Bytes(include_str!("../../assets/editor.html").into())
        }
        "/web-apps/apps/documenteditor/main/editor.js" => {
            Content::Bytes(include_str!("../../assets/editor.js").into())
        }
        "/web-apps/apps/documenteditor/main/editor.css" => {
            Content::Bytes(include_str!("../../assets/editor.css").into())
        }
        "/document_editor_service_worker.js" => {
            Content::Bytes("self.addEventListener(\"fetch\", () => {});\n".into())
        }
        path => match cache::sized(path) {
            Some(size) => Content::Sized(size),
            None => return answer::nginx(404),
        },
    };
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    let mut answer = cache::content_answer(&content, cache::kind(file), WRITTEN, range);
    let etag = answer.headers().get("etag").cloned();
    let known = headers.get("if-none-match").zip(etag).is_some_and(|(asked, etag)| {
        let weak = |value: &hyper::header::HeaderValue| {
            value.to_str().unwrap_or_default().trim_start_matches("W/").to_owned()
        };
        weak(asked) == weak(&etag)
    });
    if known {
        *answer.status_mut() = hyper::StatusCode::NOT_MODIFIED;
        *answer.body_mut() = answer::full("");
        answer.headers_mut().remove("content-type");
        answer.headers_mut().remove("accept-ranges");
    }
    answer::set(&mut answer, "cache-control", &format!("max-age={YEAR}"));
    answer::set(&mut answer, "expires", &clock::http_date(state.seconds() + YEAR));
    answer
}
