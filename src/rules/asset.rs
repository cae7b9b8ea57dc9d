//! Files of the editor that never change while their address stands, and how a request for one is answered from memory:
//! which coding, whole or a part of it, or "you have it already" (RFC 9110 8.8, 12.5.3, 13, 14).

use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    SET_COOKIE, TRANSFER_ENCODING, VARY,
};
use hyper::{Method, StatusCode};

use super::path::Canonical;
use super::route::Route;

/// Longest address that is remembered; the editor's longest has 160 bytes (captures/browser).
const LONGEST: usize = 512;

/// The address that a request's answer may be kept under; `None` for what is never kept.
///
/// Kept are the static folders below a version prefix, which the container makes anew with each version and each start
/// (protocol.md 1.1). The container serves them from disk whatever the query says, so the query is no part of it; requests
/// with a token are nobody else's business.
pub fn address<'c>(
    method: &Method,
    route: Route,
    path: &'c Canonical<'_>,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Option<&'c str> {
    let folder = matches!(
        route,
        Route::WebApps | Route::Sdkjs | Route::SdkjsPlugins | Route::Fonts | Route::Dictionaries
    );
    let reads = *method == Method::GET || *method == Method::HEAD;
    let hashed = path.version().and_then(|version| version.split_once('-')).is_some();
    let of_a_user = headers.contains_key(AUTHORIZATION) || query.is_some_and(has_token);
    let address = path.forward();
    (folder && reads && hashed && !of_a_user && address.len() <= LONGEST).then_some(address)
}

fn has_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        // An encoded name would have to be decoded to be known, and no file is asked for with one.
        name.contains('%') || ["token", "signature", "md5", "shardkey"].contains(&name)
    })
}

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Brotli.
    Brotli,
    /// gzip.
    Gzip,
    /// As it is.
    Identity,
}

impl Coding {
    /// The value of `Content-Encoding`.
    pub fn value(self) -> Option<HeaderValue> {
        match self {
            Self::Brotli => Some(HeaderValue::from_static("br")),
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Identity => None,
        }
    }
}

/// What codings a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codings {
    brotli: bool,
    gzip: bool,
    identity: bool,
}

impl Codings {
    /// From `Accept-Encoding`. Weights other than 0 are not told apart: what is smaller is what every client wants.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(ACCEPT_ENCODING).iter().peekable();
        if fields.peek().is_none() {
            return Self { identity: true, ..Self::default() };
        }
        let (mut named, mut rest) = ([None; 3], None);
        for option in fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')) {
            let mut words = option.split(';').map(str::trim);
            let name = words.next().unwrap_or_default();
            let weight = words.find_map(|word| word.strip_prefix("q=").or_else(|| word.strip_prefix("Q=")));
            let wanted = weight.unwrap_or("1").trim().parse::<f32>().is_ok_and(|weight| weight > 0.0);
            match name.to_ascii_lowercase().as_str() {
                "br" => named[0] = Some(wanted),
                "gzip" | "x-gzip" => named[1] = Some(wanted),
                "identity" => named[2] = Some(wanted),
                "*" => rest = Some(wanted),
                _ => {}
            }
        }
        let [brotli, gzip, identity] = named;
        Self {
            brotli: brotli.or(rest).unwrap_or(false),
            gzip: gzip.or(rest).unwrap_or(false),
            identity: identity.or(rest).unwrap_or(true),
        }
    }

    /// Whether that one is among them.
    pub const fn take(self, coding: Coding) -> bool {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Gzip => self.gzip,
            Coding::Identity => self.identity,
        }
    }
}

/// Whether a request asks for a whole file, whatever the client has of it.
pub fn wants_all(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET && ![RANGE, IF_RANGE].iter().chain(&CONDITIONS).any(|f| headers.contains_key(f))
}

const CONDITIONS: [HeaderName; 4] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// The coding of an answer that may be kept; `None` for one that may not.
pub fn storable(status: StatusCode, headers: &HeaderMap) -> Option<Coding> {
    let one = |name: &HeaderName| {
        let mut all = headers.get_all(name).iter();
        (all.next(), all.next().is_some())
    };
    let says = |value: &HeaderValue, words: &[&str]| {
        let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
        text.split(',').any(|word| words.contains(&word.split('=').next().unwrap_or_default().trim()))
    };
    let coding = match one(&CONTENT_ENCODING) {
        (None, _) => Coding::Identity,
        (Some(value), false) if value == "gzip" => Coding::Gzip,
        _ => return None,
    };
    let private =
        headers.get_all(CACHE_CONTROL).iter().any(|v| says(v, &["no-store", "no-cache", "private"]));
    let varies = headers.get_all(VARY).iter().any(|v| !v.as_bytes().eq_ignore_ascii_case(b"accept-encoding"));
    // A body that ends with its connection may have been cut off by it.
    let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let plain = status == StatusCode::OK && !headers.contains_key(SET_COOKIE) && !private && !varies;
    (plain && framed).then_some(coding)
}

/// Whether brotli may make a file smaller: what the container compresses, and what it could have (icons, dictionaries, fonts), but
/// not what is compressed by its nature.
pub fn may_shrink(coding: Coding, kind: Option<&HeaderValue>, length: usize) -> bool {
    /// Of less, the answer's head is the larger part.
    const LEAST: usize = 512;
    const PACKED: [&str; 10] = [
        "image/",
        "audio/",
        "video/",
        "font/woff",
        "application/font-woff",
        "application/zip",
        "application/gzip",
        "application/x-gzip",
        "application/pdf",
        "application/vnd.openxmlformats",
    ];
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let packed = PACKED.iter().any(|start| kind.starts_with(start)) && !kind.starts_with("image/svg");
    match coding {
        Coding::Gzip => true,
        Coding::Identity => length >= LEAST && !packed,
        Coding::Brotli => false,
    }
}

/// What a file is compared by.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'v> {
    /// The gateway's own, of this coding: `"…"`.
    pub own: &'v str,
    /// The Document Server's, which a browser may still have.
    pub theirs: Option<&'v str>,
    /// `Last-Modified`, as sent.
    pub modified: Option<&'v str>,
}

/// What of a file is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Bytes from the first up to and with the last.
    Range(usize, usize),
    /// Nothing: the client has it (304).
    Known,
    /// Nothing: there are no such bytes (416).
    Beyond,
    /// Nothing: it is not what the client means (412).
    Other,
}

/// Judges the conditions of a request in the order of RFC 9110 13.2.2, for a file of `length` bytes in the chosen coding.
pub fn part(method: &Method, headers: &HeaderMap, file: Validators<'_>, length: usize) -> Part {
    let fields = |name: HeaderName| {
        let mut all = headers.get_all(name).iter().peekable();
        all.peek().is_some().then_some(all)
    };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(mut tags) = fields(IF_MATCH) {
        if !tags.any(|tags| has_tag(tags, file, Compare::Strong)) {
            return Part::Other;
        }
    } else if text(IF_UNMODIFIED_SINCE).is_some_and(|since| Some(since) != file.modified) {
        return Part::Other; // as nginx: exact, since it is only ever sent back as it came
    }
    if let Some(mut tags) = fields(IF_NONE_MATCH) {
        if tags.any(|tags| has_tag(tags, file, Compare::Weak)) {
            return Part::Known;
        }
    } else if text(IF_MODIFIED_SINCE).is_some_and(|since| Some(since) == file.modified) {
        return Part::Known;
    }
    let Some(range) = text(RANGE).filter(|_| *method == Method::GET) else { return Part::Whole };
    if let Some(condition) = headers.get(IF_RANGE) {
        let modified = condition.to_str().ok().is_some_and(|date| Some(date) == file.modified);
        if !modified && !has_tag(condition, file, Compare::Strong) {
            return Part::Whole;
        }
    }
    one_range(range, length)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Strong,
    Weak,
}

fn has_tag(field: &HeaderValue, file: Validators<'_>, compare: Compare) -> bool {
    let bare = |tag: &'_ str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    field.to_str().unwrap_or_default().split(',').map(str::trim).any(|tag| match compare {
        _ if tag == "*" => true,
        Compare::Strong => tag == file.own,
        Compare::Weak => bare(tag) == file.own || file.theirs.is_some_and(|theirs| bare(tag) == bare(theirs)),
    })
}

/// One range of bytes. Several at once, other units and what cannot be read are answered with all of it, which is always
/// allowed (RFC 9110 14.2).
fn one_range(range: &str, length: usize) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<usize>().ok(),
        false => None,
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Part::Whole,
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => Part::Beyond,
        (Some(first), Some(last)) => Part::Range(first, last.min(length - 1)),
        (Some(first), None) if last.is_empty() => Part::Range(first, length - 1),
        (None, Some(0)) if first.is_empty() => Part::Beyond,
        (None, Some(_)) if first.is_empty() && length == 0 => Part::Beyond,
        (None, Some(suffix)) if first.is_empty() => Part::Range(length.saturating_sub(suffix), length - 1),
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::path::canonical;
    use crate::rules::route::{Switches, find};

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_not_packed_by_its_nature_may_shrink() {
        for (coding, kind, length, may) in [
            (Coding::Gzip, "application/javascript", 1, true),
            (Coding::Gzip, "image/png", 1, true), // the container thought so
            (Coding::Identity, "image/svg+xml", 512, true),
            (Coding::Identity, "Image/SVG+xml; charset=utf-8", 512, true),
            (Coding::Identity, "application/octet-stream", 512, true),
            (Coding::Identity, "", 512, true),
            (Coding::Identity, "image/svg+xml", 511, false),
            (Coding::Identity, "image/png", 9_000, false),
            (Coding::Identity, "IMAGE/PNG", 9_000, false),
            (Coding::Identity, "font/woff2", 9_000, false),
            (Coding::Brotli, "text/css", 9_000, false),
        ] {
            let value = HeaderValue::from_static(kind);
            assert_eq!(
                may_shrink(coding, Some(&value).filter(|_| !kind.is_empty()), length),
                may,
                "{kind} {length}"
            );
        }
    }

    #[test]
    fn only_files_that_cannot_change_have_an_address() {
        let ask = |method: Method, target: &str, fields: &[(&'static str, &str)]| {
            let (path, query) =
                target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            let path = canonical(path).unwrap();
            let route = find(&path, Switches::default()).route();
            address(&method, route, &path, query, &headers(fields)).map(str::to_owned)
        };
        let get = |target: &str| ask(Method::GET, target, &[]);
        for file in [
            "/9.0.4-6c25/web-apps/apps/documenteditor/main/app.js",
            "/9.0.4-6c25/sdkjs/word/sdk-all.js",
            "/9.0.4-6c25/sdkjs-plugins/a/index.html",
            "/9.0.4-6c25/fonts/040",
            "/9.0.4-6c25/dictionaries/en_US/en_US.dic",
        ] {
            assert_eq!(get(file).as_deref(), Some(file));
        }
        let page = "/9.0.4-6c25/web-apps/apps/documenteditor/main/index.html";
        assert_eq!(get(&format!("{page}?_dc=1&lang=en&frameEditorId=x")).as_deref(), Some(page));
        for other in [
            "/web-apps/apps/documenteditor/main/app.js", // no version: it changes with the container
            "/9.0.4.6c25/web-apps/a.js",
            "/9.0.4-6c25/web-apps/apps/api/documents/api.js",
            "/9.0.4-6c25/themes.json",
            "/9.0.4-6c25/plugins.json",
            "/9.0.4-6c25/document_editor_service_worker.js",
            "/9.0.4-6c25/doc/k/c",
            "/cache/files/data/k/Editor.bin/Editor.bin",
            "/9.0.4-6c25/cache/files/data/k/Editor.bin/Editor.bin",
            "/9.0.4-6c25/web-apps/a.js?token=x",
            "/9.0.4-6c25/web-apps/a.js?%74oken=x",
            "/9.0.4-6c25/web-apps/a.js?x=1&md5=x",
        ] {
            assert_eq!(get(other), None, "{other}");
        }
        let file = "/9.0.4-6c25/web-apps/a.js";
        assert!(ask(Method::HEAD, file, &[]).is_some());
        assert_eq!(ask(Method::POST, file, &[]), None);
        assert_eq!(ask(Method::GET, file, &[("authorization", "Bearer x")]), None);
        assert_eq!(get(&format!("/9.0.4-6c25/web-apps/{}", "a".repeat(LONGEST))), None);
    }

    #[test]
    fn codings_are_those_that_the_client_takes() {
        let [none, br, gzip, identity] =
            [(false, false, false), (true, false, false), (false, true, false), (false, false, true)];
        let _ = none;
        let or = |a: (bool, bool, bool), b: (bool, bool, bool)| (a.0 | b.0, a.1 | b.1, a.2 | b.2);
        let all = or(or(br, gzip), identity);
        for (field, want) in [
            ("gzip, deflate, br, zstd", all),
            ("gzip", or(gzip, identity)),
            ("GZIP;q=0.5", or(gzip, identity)),
            ("br;q=0, gzip", or(gzip, identity)),
            ("br;Q=0, gzip", or(gzip, identity)),
            ("br;level=5;q=0, gzip;x", or(gzip, identity)),
            ("br ; q=1.0 , identity;q=0", br),
            ("*", all),
            ("*;q=0", none),
            ("*;q=0, gzip", gzip),
            ("", identity),
            ("deflate", identity),
            ("br;q=nonsense", identity),
            ("br;q=NaN", identity),
        ] {
            let got = Codings::of(&headers(&[("accept-encoding", field)]));
            assert_eq!((got.brotli, got.gzip, got.identity), want, "{field}");
        }
        let got = Codings::of(&HeaderMap::new());
        assert!(got.take(Coding::Identity) && !got.take(Coding::Gzip) && !got.take(Coding::Brotli));
    }

    #[test]
    fn answers_are_kept_only_if_they_are_whole_and_everyones() {
        let fine =
            [("content-length", "5"), ("cache-control", "max-age=31536000"), ("vary", "Accept-Encoding")];
        let with = |status: StatusCode, more: &[(&'static str, &str)]| {
            storable(status, &headers(&[&fine[..], more].concat()))
        };
        assert_eq!(with(StatusCode::OK, &[]), Some(Coding::Identity));
        assert_eq!(with(StatusCode::OK, &[("content-encoding", "gzip")]), Some(Coding::Gzip));
        assert_eq!(
            storable(StatusCode::OK, &headers(&[("transfer-encoding", "chunked")])),
            Some(Coding::Identity)
        );
        assert_eq!(storable(StatusCode::OK, &HeaderMap::new()), None);
        for more in [
            ("content-encoding", "br"),
            ("content-encoding", "gzip, gzip"),
            ("set-cookie", "a=b"),
            ("cache-control", "no-cache"),
            ("cache-control", "max-age=1, Private"),
            ("cache-control", "no-store"),
            ("vary", "Origin"),
            ("vary", "*"),
        ] {
            assert_eq!(with(StatusCode::OK, &[more]), None, "{more:?}");
        }
        for status in
            [StatusCode::NOT_FOUND, StatusCode::PARTIAL_CONTENT, StatusCode::NO_CONTENT, StatusCode::FOUND]
        {
            assert_eq!(with(status, &[]), None, "{status}");
        }
    }

    #[test]
    fn conditions_and_ranges_are_judged_in_their_order() {
        const DATE: &str = "Sun, 22 Nov 2026 03:53:49 GMT";
        let file = Validators { own: "\"abc-br\"", theirs: Some("W/\"6b02-27\""), modified: Some(DATE) };
        let ask = |fields: &[(&'static str, &str)]| part(&Method::GET, &headers(fields), file, 100);
        for (fields, want) in [
            (&[][..], Part::Whole),
            (&[("if-none-match", "\"abc-br\"")], Part::Known),
            (&[("if-none-match", "\"x\", W/\"abc-br\"")], Part::Known),
            (&[("if-none-match", "W/\"6b02-27\"")], Part::Known),
            (&[("if-none-match", "*")], Part::Known),
            (&[("if-none-match", "\"abc-gz\"")], Part::Whole),
            (&[("if-modified-since", DATE)], Part::Known),
            (&[("if-modified-since", "Sun, 22 Nov 2026 03:53:50 GMT")], Part::Whole),
            (&[("if-none-match", "\"x\""), ("if-modified-since", DATE)], Part::Whole),
            (&[("if-match", "\"abc-br\"")], Part::Whole),
            (&[("if-match", "\"x\"")], Part::Other),
            (&[("if-match", "W/\"abc-br\"")], Part::Other),
            (&[("if-unmodified-since", DATE)], Part::Whole),
            (&[("if-unmodified-since", "Sat, 21 Nov 2026 03:53:49 GMT")], Part::Other),
            (&[("range", "bytes=0-9")], Part::Range(0, 9)),
            (&[("range", "bytes=90-")], Part::Range(90, 99)),
            (&[("range", "bytes=90-900")], Part::Range(90, 99)),
            (&[("range", "bytes=-10")], Part::Range(90, 99)),
            (&[("range", "bytes=-1000")], Part::Range(0, 99)),
            (&[("range", "bytes=100-")], Part::Beyond),
            (&[("range", "bytes=100-200")], Part::Beyond),
            (&[("range", "bytes=-0")], Part::Beyond),
            (&[("range", "bytes=9-0")], Part::Whole),
            (&[("range", "bytes=0-1,3-4")], Part::Whole),
            (&[("range", "bytes=+1-2")], Part::Whole),
            (&[("range", "bytes=-")], Part::Whole),
            (&[("range", "lines=1-2")], Part::Whole),
            (&[("range", "bytes=1-x")], Part::Whole),
            (&[("range", "bytes=99999999999999999999999-")], Part::Whole),
            (&[("range", "bytes=0-9"), ("if-range", "\"abc-br\"")], Part::Range(0, 9)),
            (&[("range", "bytes=0-9"), ("if-range", "W/\"abc-br\"")], Part::Whole),
            (&[("range", "bytes=0-9"), ("if-range", DATE)], Part::Range(0, 9)),
            (&[("range", "bytes=0-9"), ("if-range", "\"old\"")], Part::Whole),
            (&[("range", "bytes=0-9"), ("if-none-match", "\"abc-br\"")], Part::Known),
        ] {
            assert_eq!(ask(fields), want, "{fields:?}");
        }
        let empty = |range| part(&Method::GET, &headers(&[("range", range)]), file, 0);
        assert_eq!([empty("bytes=0-"), empty("bytes=-5"), empty("bytes=0-0")], [Part::Beyond; 3]);
        assert_eq!(part(&Method::HEAD, &headers(&[("range", "bytes=0-9")]), file, 100), Part::Whole);
    }

    #[test]
    fn who_has_a_part_or_an_old_copy_does_not_fill_the_memory() {
        assert!(wants_all(&Method::GET, &headers(&[("accept-encoding", "gzip")])));
        assert!(!wants_all(&Method::HEAD, &HeaderMap::new()));
        for field in
            ["range", "if-range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since"]
        {
            assert!(!wants_all(&Method::GET, &headers(&[(field, "x")])), "{field}");
        }
    }
}
