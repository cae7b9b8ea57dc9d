//! Answers that look like those of the container: nginx in front, Express behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame};
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use md5::{Digest as _, Md5};
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of every answer.
pub(crate) type Body = BoxBody<Bytes, io::Error>;
/// Every answer.
pub(crate) type Answer = Response<Body>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer with the headers that nginx puts on each.
pub(crate) fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(&mut answer, "server", "nginx");
    set(&mut answer, "content-type", kind);
    set(&mut answer, "connection", "keep-alive");
    answer
}

/// An answer of Express: with a weak `ETag` made from the body.
pub(crate) fn express(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let etag = format!("W/\"{:x}-{}\"", body.len(), STANDARD_NO_PAD.encode(Md5::digest(&body)));
    let mut answer = answer(status, kind, body);
    set(&mut answer, "etag", &etag);
    answer
}

/// A small page of nginx for a refusal.
pub(crate) fn nginx(status: u16) -> Answer {
    let title = match status {
        302 => "302 Found".to_owned(),
        405 => "405 Not Allowed".to_owned(),
        413 => "413 Request Entity Too Large".to_owned(),
        status => {
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            format!("{status} {}", code.canonical_reason().unwrap_or_default())
        }
    };
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    answer(status, "text/html", page)
}

/// A redirect of nginx.
pub(crate) fn moved(location: &str) -> Answer {
    let mut answer = nginx(302);
    set(&mut answer, "location", location);
    answer.extensions_mut().insert(ReasonPhrase::from_static(b"Moved Temporarily"));
    answer
}

/// What Express says to a path that it does not know.
pub(crate) fn unknown(method: &str, path: &str) -> Answer {
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>Cannot {method} {path}</pre>\n</body>\n</html>\n"
    );
    let mut answer = answer(404, "text/html; charset=utf-8", page);
    set(&mut answer, "content-security-policy", "default-src 'none'");
    set(&mut answer, "x-content-type-options", "nosniff");
    answer
}

/// `sendStatus` of Express: the reason phrase as text.
pub(crate) fn plain(status: u16) -> Answer {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    express(status, "text/plain; charset=utf-8", code.canonical_reason().unwrap_or_default())
}

/// Sets a header.
pub(crate) fn set(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// nginx's last word: `Vary` and gzip where the type allows it, the client accepts it and no `Via` forbids it.
pub(crate) async fn finish(asked: &HeaderMap, mut answer: Answer) -> Answer {
    let length = answer.body().size_hint().exact();
    if !length.is_some_and(|length| (20..16 << 20).contains(&length)) {
        return answer;
    }
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kinds = [
        "text/plain",
        "text/html",
        "text/css",
        "text/xml",
        "application/json",
        "application/javascript",
        "application/octet-stream",
    ];
    let compressible =
        kinds.iter().any(|known| kind.starts_with(known)) && answer.status() != StatusCode::PARTIAL_CONTENT;
    if !compressible || !matches!(answer.status().as_u16(), 200 | 403 | 404) {
        return answer;
    }
    set(&mut answer, "vary", "Accept-Encoding");
    let accepts = asked
        .get("accept-encoding")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    if !accepts || asked.contains_key("via") || answer.headers().contains_key("content-encoding") {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish()).unwrap_or_default();
    head.headers.remove("content-length");
    head.headers.remove("accept-ranges");
    head.headers.insert("content-encoding", HeaderValue::from_static("gzip"));
    let strong =
        head.headers.get("etag").and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.starts_with("W/"));
    if let Some(Ok(weak)) = strong.map(|etag| HeaderValue::from_str(&format!("W/{etag}"))) {
        head.headers.insert("etag", weak);
    }
    // A stream without a known length, because nginx sends what it compresses in chunks.
    Response::from_parts(head, chunked(packed))
}

/// A body whose length is not told beforehand.
pub(crate) fn chunked(bytes: impl Into<Bytes>) -> Body {
    Chunk(Some(bytes.into())).boxed()
}

struct Chunk(Option<Bytes>);

impl hyper::body::Body for Chunk {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The first part of a body, and then nothing, or a broken connection.
pub(crate) struct Broken {
    body: Body,
    left: usize,
    stall: bool,
    /// Whether what came before had a chance to be sent.
    sent: bool,
}

impl Broken {
    /// Breaks the body of an answer after `length` bytes; its headers still promise the whole.
    pub fn after(length: usize, stall: bool, answer: Answer) -> Answer {
        let whole = answer.body().size_hint().exact();
        let mut answer = answer.map(|body| Broken { body, left: length, stall, sent: false }.boxed());
        if let Some(whole) = whole {
            answer.headers_mut().insert("content-length", HeaderValue::from(whole));
        }
        answer
    }
}

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            if self.stall {
                return Poll::Pending;
            }
            if !self.sent {
                // hyper writes what it has when a body makes it wait.
                self.sent = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, "a fault that a test asked for");
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let mut data = frame.into_data().unwrap_or_default();
        data.truncate(self.left);
        self.left -= data.len();
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

/// As many bytes as wanted, made while they are read: 100 MiB cost one 64 KiB buffer.
pub(crate) struct Pattern {
    at: u64,
    end: u64,
}

/// One period of the pattern, shared by every stream.
static PERIOD: std::sync::LazyLock<Bytes> =
    std::sync::LazyLock::new(|| (0..64 * 1024u32).map(pattern_byte).collect::<Vec<u8>>().into());

fn pattern_byte(index: u32) -> u8 {
    // A period that is no power of two would show a lost or repeated block; the high bits do that here.
    u8::try_from((index ^ (index >> 8)) & 0xff).unwrap_or(0)
}

impl Pattern {
    /// The bytes from `at` up to `end`.
    pub fn new(at: u64, end: u64) -> Self {
        Pattern { at, end }
    }
}

impl hyper::body::Body for Pattern {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let period = PERIOD.len() as u64;
        let from = self.at % period;
        let take = (period - from).min(self.end - self.at);
        if take == 0 {
            return Poll::Ready(None);
        }
        self.at += take;
        let from = usize::try_from(from).unwrap_or(0);
        let take = usize::try_from(take).unwrap_or(0);
        Poll::Ready(Some(Ok(Frame::data(PERIOD.slice(from..from + take)))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.end - self.at)
    }
}

/// An object of JSON with its fields in the given order; `null` fields are left out.
pub(crate) fn object(fields: &[(&str, serde_json::Value)]) -> String {
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    let parts: Vec<String> = fields.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", parts.join(","))
}
