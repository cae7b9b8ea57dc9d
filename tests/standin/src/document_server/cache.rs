//! Cached files behind signed links: documents to open, saved documents, conversions.

use super::State;
use crate::answer::{self, Answer, Pattern};
use crate::clock;
use crate::link::{self, Fault};
use crate::path::{self, Target};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};

/// A file and when it was written.
pub(crate) struct File {
    pub bytes: Bytes,
    pub modified: u64,
}

/// Keeps a file under a path such as `data/key_123/output.docx`.
pub(super) fn put(state: &State, stored: &str, bytes: Vec<u8>) -> String {
    let file = File { bytes: bytes.into(), modified: state.seconds() };
    state.files.lock().unwrap().insert(stored.to_owned(), file);
    stored.to_owned()
}

/// Path and query under which a kept file can be fetched.
pub(super) fn link(state: &State, stored: &str, name: &str, shardkey: &str, seconds: i64) -> String {
    let expires = state.seconds().saturating_add_signed(seconds);
    link::make(stored, name, shardkey, expires, &state.options.link_secret)
}

/// Answers `/cache/files/…`; nginx does this, so refusals look like nginx.
pub(super) fn serve(state: &State, method: &Method, target: &Target, headers: &HeaderMap) -> Answer {
    match link::check(target, &state.options.link_secret, state.seconds()) {
        Err(Fault::Bad) => return answer::nginx(403),
        Err(Fault::Expired) => return answer::nginx(410),
        Ok(()) => {}
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return answer::nginx(405);
    }
    // The last segment is the name for the browser, the rest is the file.
    let rest = target.path.get("/cache/files/".len()..).unwrap_or_default();
    let Some((stored, name)) = rest.rsplit_once('/') else { return answer::nginx(404) };
    let kind = kind(name);
    let name = target.field("filename").unwrap_or_else(|| name.to_owned());
    let disposition = format!("attachment; filename*=UTF-8''{}", path::encode(&name));
    let file = state.files.lock().unwrap().get(stored).map(|file| (file.bytes.clone(), file.modified));
    let (content, modified) = match (file, sized(stored)) {
        (Some((bytes, modified)), _) => (Content::Bytes(bytes), modified),
        (None, Some(size)) => (Content::Sized(size), 1_700_000_000),
        (None, None) => return answer::nginx(404),
    };
    let mut answer =
        content_answer(&content, kind, modified, headers.get("range").and_then(|range| range.to_str().ok()));
    answer::set(&mut answer, "content-disposition", &disposition);
    answer
}

/// Where the bytes come from.
pub(super) enum Content {
    Bytes(Bytes),
    Sized(u64),
}

/// A static answer of nginx with `ETag`, `Last-Modified` and ranges.
pub(super) fn content_answer(content: &Content, kind: &str, modified: u64, range: Option<&str>) -> Answer {
    let length = match content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Sized(size) => *size,
    };
    let wanted = range.map_or(Wanted::All, |range| wanted(range, length));
    let (start, end) = match wanted {
        Wanted::All => (0, length),
        Wanted::Part(start, end) => (start, end),
        Wanted::Nothing => {
            let mut answer = answer::nginx(416);
            answer::set(&mut answer, "content-range", &format!("bytes */{length}"));
            return answer;
        }
    };
    let mut answer = answer::answer(200, kind, "");
    *answer.body_mut() = match content {
        Content::Bytes(bytes) => {
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            answer::full(bytes.slice(index(start)..index(end)))
        }
        Content::Sized(_) => Pattern::new(start, end).boxed(),
    };
    answer::set(&mut answer, "last-modified", &clock::http_date(modified));
    answer::set(&mut answer, "etag", &format!("\"{modified:x}-{length:x}\""));
    if let Wanted::Part(start, end) = wanted {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        answer::set(&mut answer, "content-range", &format!("bytes {start}-{}/{length}", end - 1));
    } else {
        answer::set(&mut answer, "accept-ranges", "bytes");
    }
    answer
}

/// The size in a segment such as `size-1024`, `size-4MiB` or `size-2KiB`, with any extension behind it.
pub(super) fn sized(path: &str) -> Option<u64> {
    let text = path.rsplit('/').next()?.strip_prefix("size-")?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = if text[digits..].starts_with("MiB") {
        1 << 20
    } else if text[digits..].starts_with("KiB") {
        1 << 10
    } else {
        1
    };
    number.checked_mul(unit).filter(|size| *size <= 8 << 30)
}

#[derive(Clone, Copy)]
enum Wanted {
    All,
    Part(u64, u64),
    Nothing,
}

/// One range; several at once are answered with the whole, which the RFC allows.
fn wanted(range: &str, length: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::All;
    };
    if last.contains(',') {
        return Wanted::All;
    }
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(length)),
        (Ok(start), Err(_)) => (start, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        (Err(_), Err(_)) => return Wanted::All,
    };
    if start < end { Wanted::Part(start, end) } else { Wanted::Nothing }
}

/// The content type that nginx gives a name.
pub(super) fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html",
        "js" => "application/javascript",
        "css" => "text/css",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "txt" => "text/plain",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        _ => "application/octet-stream",
    }
}
