//! Whether a head means one thing only. hyper is not a strict gate (design D7), and what one server reads as two requests, or
//! for another host, is how requests are smuggled; so this is asked before anything else is.
//!
//! What cannot come here is not asked for: `HeaderValue` holds no control byte but tab, `Uri` no space, control byte or
//! fragment, and hyper has already dropped a Content-Length beside a Transfer-Encoding, repeated equal lengths and
//! line ends without CR. That is harmless because whatever goes on is written anew, with one framing.
//!
//! Bytes above 0x7f in values pass: they frame nothing, and browsers send cookies of the integrator's domain in UTF-8.

use hyper::header::HeaderMap;
use hyper::{Method, Uri, Version};

use super::host::Authority;

/// Why a head could mean two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strict {
    /// CONNECT, TRACE, lower case, or a word that no Document Server knows.
    Method,
    /// The target is no path below this server: `*`, an authority alone, another scheme.
    Target,
    /// Nobody says which host is meant.
    NoHost,
    /// `Host` is there twice.
    TwoHosts,
    /// `Host` or `:authority` is no host.
    BadHost,
    /// The target or `:authority` names another host than `Host`.
    OtherHost,
    /// A transfer coding other than `chunked` alone, or in HTTP/1.0.
    TransferEncoding,
    /// Two lengths, or one that is no number.
    ContentLength,
    /// A length beside a transfer coding.
    TwoFramings,
    /// A body on a request that wants to become a socket.
    UpgradeBody,
    /// A field's name holds `_`, which the container reads as `-`.
    Underscore,
    /// HTTP/2 with a field of HTTP/1 connections.
    Http1Field,
}

impl Strict {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Method,
        Self::Target,
        Self::NoHost,
        Self::TwoHosts,
        Self::BadHost,
        Self::OtherHost,
        Self::TransferEncoding,
        Self::ContentLength,
        Self::TwoFramings,
        Self::UpgradeBody,
        Self::Underscore,
        Self::Http1Field,
    ];

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Method => "strict_method",
            Self::Target => "strict_target",
            Self::NoHost => "strict_no_host",
            Self::TwoHosts => "strict_two_hosts",
            Self::BadHost => "strict_bad_host",
            Self::OtherHost => "strict_other_host",
            Self::TransferEncoding => "strict_transfer_encoding",
            Self::ContentLength => "strict_content_length",
            Self::TwoFramings => "strict_two_framings",
            Self::UpgradeBody => "strict_upgrade_body",
            Self::Underscore => "strict_underscore",
            Self::Http1Field => "strict_http1_field",
        }
    }

    /// What is wrong, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Method => "this method is not served on any path",
            Self::Target => "the request target is no path of this server",
            Self::NoHost => "the request names no host",
            Self::TwoHosts => "the request names its host twice",
            Self::BadHost => "what stands for the host is no host",
            Self::OtherHost => "the request names two different hosts",
            Self::TransferEncoding => "the only transfer coding served is chunked, once, and not in HTTP/1.0",
            Self::ContentLength => "Content-Length is not one number",
            Self::TwoFramings => "the body is framed in two ways",
            Self::UpgradeBody => "a request that asks for an upgrade has a body",
            Self::Underscore => "a header field's name holds an underscore",
            Self::Http1Field => "a field of HTTP/1 connections in an HTTP/2 request",
        }
    }
}

/// The host that a request is for, if its head means one thing only. Allocates nothing and walks the fields once.
///
/// # Errors
/// When the head could be read in two ways.
pub fn check<'r>(
    method: &Method,
    version: Version,
    uri: &'r Uri,
    headers: &'r HeaderMap,
) -> Result<Authority<'r>, Strict> {
    if !is_served(method) {
        return Err(Strict::Method);
    }
    check_target(uri)?;
    let fields = Fields::read(version, headers)?;
    if fields.chunked && fields.length.is_some() {
        return Err(Strict::TwoFramings);
    }
    let has_body = fields.chunked || fields.length.is_some_and(|length| length > 0);
    if has_body && fields.upgrade && method == Method::GET {
        return Err(Strict::UpgradeBody);
    }
    authority(version, uri, fields.host)
}

/// `Method` knows these by their exact spelling; every other spelling is an extension.
fn is_served(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::HEAD
            | Method::OPTIONS
            | Method::PUT
            | Method::DELETE
            | Method::PATCH
    )
}

/// `/…`, or the same behind this server's own scheme and host.
fn check_target(uri: &Uri) -> Result<(), Strict> {
    // Of an HTTP/2 request without `:authority`, h2 drops the scheme, too.
    let whole = matches!((uri.scheme_str(), uri.authority()), (Some("https"), Some(_)) | (None, None));
    if whole && uri.path().starts_with('/') { Ok(()) } else { Err(Strict::Target) }
}

/// What the fields say about host and framing.
#[derive(Default)]
struct Fields<'r> {
    host: Option<&'r str>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl<'r> Fields<'r> {
    fn read(version: Version, headers: &'r HeaderMap) -> Result<Self, Strict> {
        let mut fields = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => {
                    let host = value.to_str().map_err(|_| Strict::BadHost)?;
                    if fields.host.replace(host).is_some() {
                        return Err(Strict::TwoHosts);
                    }
                }
                "content-length" => {
                    let length = length(value.as_bytes()).ok_or(Strict::ContentLength)?;
                    if fields.length.replace(length).is_some() {
                        return Err(Strict::ContentLength);
                    }
                }
                "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
                    if version == Version::HTTP_2 =>
                {
                    return Err(Strict::Http1Field);
                }
                "transfer-encoding" => {
                    if value != "chunked" || fields.chunked || version != Version::HTTP_11 {
                        return Err(Strict::TransferEncoding);
                    }
                    fields.chunked = true;
                }
                "upgrade" => fields.upgrade = true,
                // Without an early exit the compiler looks at many bytes at once.
                name if name.bytes().fold(false, |found, b| found | (b == b'_')) => {
                    return Err(Strict::Underscore);
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Digits and nothing else: no sign, no list, no space, and no more than can be counted.
fn length(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |length, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// HTTP/1 asks for `Host` in every request (RFC 9112 3.2), HTTP/2 for `:authority` or `Host` (RFC 9113 8.3.1).
fn authority<'r>(version: Version, uri: &'r Uri, host: Option<&'r str>) -> Result<Authority<'r>, Strict> {
    let parse = |text| Authority::parse(text).map_err(|_| Strict::BadHost);
    match (uri.authority(), host) {
        (None, None) => Err(Strict::NoHost),
        (None, Some(host)) => parse(host),
        (Some(target), None) if version == Version::HTTP_2 => parse(target.as_str()),
        (Some(_), None) => Err(Strict::NoHost),
        (Some(target), Some(host)) => {
            let (target, host) = (parse(target.as_str())?, parse(host)?);
            if target.is_same(&host) { Ok(target) } else { Err(Strict::OtherHost) }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    /// A head as text: `GET /a HTTP/1.1|Host: a|…`.
    fn judged(head: &str) -> Result<String, Strict> {
        let mut lines = head.split('|');
        let first: Vec<_> = lines.next().unwrap().split(' ').collect();
        let version = match first[2] {
            "1.0" => Version::HTTP_10,
            "1.1" => Version::HTTP_11,
            _ => Version::HTTP_2,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (method, uri) = (first[0].parse().unwrap(), first[1].parse().unwrap());
        check(&method, version, &uri, &headers).map(|authority| authority.host.to_owned())
    }

    #[test]
    fn what_editors_and_backends_send_passes() {
        for head in [
            "GET /a?b=c 1.1|host: a.example",
            "HEAD / 1.1|host: a.example:8443",
            "GET / 1.0|host: a.example",
            "OPTIONS /a 1.1|host: a.example",
            "POST /a 1.1|host: a.example|content-length: 0",
            "POST /a 1.1|host: a.example|content-length: 18446744073709551615",
            "POST /a 1.1|host: a.example|transfer-encoding: chunked|trailer: x",
            "GET /a 1.1|host: a.example|connection: Upgrade|upgrade: websocket",
            "GET /a 1.1|host: a.example|connection: Upgrade|upgrade: websocket|content-length: 0",
            "POST /a 1.1|host: a.example|upgrade: h2c|content-length: 7",
            "GET /a 1.1|host: a.example|cookie: name=Жук|x-a: \t|x-a: 2",
            "GET https://a.example/a 1.1|host: A.example:443",
            "GET https://a.example/a 2|te: trailers",
            "GET https://a.example/a 2|host: a.example.",
            "GET /a 2|host: a.example",
        ] {
            let host = judged(head).map(|host| host.to_ascii_lowercase());
            assert_eq!(host.as_deref(), Ok("a.example"), "{head}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_does_not() {
        let table = [
            ("CONNECT a.example:443 1.1|host: a.example", Strict::Method),
            ("TRACE / 1.1|host: a", Strict::Method),
            ("QUERY / 1.1|host: a", Strict::Method),
            ("get / 1.1|host: a", Strict::Method),
            ("GETX / 1.1|host: a", Strict::Method),
            ("PRI * 1.1|host: a", Strict::Method),
            ("OPTIONS * 1.1|host: a", Strict::Target),
            ("GET a.example:443 1.1|host: a.example:443", Strict::Target),
            ("GET http://a/ 1.1|host: a", Strict::Target),
            ("GET ftp://a/ 1.1|host: a", Strict::Target),
            ("GET http://a/ 2", Strict::Target),
            ("GET / 1.1", Strict::NoHost),
            ("GET / 1.0", Strict::NoHost),
            ("GET / 2", Strict::NoHost),
            ("GET https://a/ 1.1", Strict::NoHost),
            ("GET / 1.1|host: a|host: a", Strict::TwoHosts),
            ("GET / 1.1|host: a|x: y|Host: b", Strict::TwoHosts),
            ("GET https://a/ 2|host: a|host: a", Strict::TwoHosts),
            ("GET / 1.1|host: ", Strict::BadHost),
            ("GET / 1.1|host: a b", Strict::BadHost),
            ("GET / 1.1|host: a, b", Strict::BadHost),
            ("GET / 1.1|host: u@a", Strict::BadHost),
            ("GET / 1.1|host: a/x", Strict::BadHost),
            ("GET / 1.1|host: ä", Strict::BadHost),
            ("GET / 1.1|host: a:", Strict::BadHost),
            ("GET https://u@a/ 1.1|host: a", Strict::BadHost),
            ("GET https://u@a/ 2", Strict::BadHost),
            ("GET https://b/ 1.1|host: a", Strict::OtherHost),
            ("GET https://a:8443/ 1.1|host: a", Strict::OtherHost),
            ("GET https://a/ 2|host: b", Strict::OtherHost),
            ("POST / 1.1|host: a|transfer-encoding: identity", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: gzip, chunked", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: chunked, chunked", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: , chunked", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: Chunked", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: chunked ", Strict::TransferEncoding),
            ("POST / 1.1|host: a|transfer-encoding: ", Strict::TransferEncoding),
            (
                "POST / 1.1|host: a|transfer-encoding: chunked|transfer-encoding: chunked",
                Strict::TransferEncoding,
            ),
            (
                "POST / 1.1|host: a|transfer-encoding: chunked|transfer-encoding: identity",
                Strict::TransferEncoding,
            ),
            ("POST / 1.0|host: a|transfer-encoding: chunked", Strict::TransferEncoding),
            ("POST / 1.1|host: a|content-length: +1", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: -1", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: ", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: 0x1", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: 1, 1", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: 18446744073709551616", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: 1|content-length: 1", Strict::ContentLength),
            ("POST https://a/ 2|content-length: 1|content-length: 2", Strict::ContentLength),
            ("POST / 1.1|host: a|content-length: 1|transfer-encoding: chunked", Strict::TwoFramings),
            ("POST / 1.1|host: a|transfer-encoding: chunked|content-length: 0", Strict::TwoFramings),
            ("GET / 1.1|host: a|upgrade: websocket|content-length: 9", Strict::UpgradeBody),
            ("GET / 1.1|host: a|transfer-encoding: chunked|upgrade: websocket", Strict::UpgradeBody),
            ("GET / 1.1|host: a|x_forwarded_host: b", Strict::Underscore),
            ("GET / 1.1|host: a|_: b", Strict::Underscore),
            ("GET / 1.1|content_length: 3|host: a", Strict::Underscore),
            ("GET https://a/ 2|upgrade: websocket", Strict::Http1Field),
            ("GET https://a/ 2|connection: close", Strict::Http1Field),
            ("GET https://a/ 2|keep-alive: 1", Strict::Http1Field),
            ("GET https://a/ 2|proxy-connection: close", Strict::Http1Field),
            ("POST https://a/ 2|transfer-encoding: chunked", Strict::Http1Field),
        ];
        for (head, expected) in table {
            assert_eq!(judged(head), Err(expected), "{head}");
        }
        for strict in Strict::ALL {
            assert!(table.iter().any(|(_, expected)| *expected == strict), "{strict:?}");
        }
    }
}
