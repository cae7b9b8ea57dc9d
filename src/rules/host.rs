//! Host names: what a request asks for, what a certificate covers, what browsers see (`public_url`).

use std::fmt;
use std::net::Ipv6Addr;

use hyper::header::HeaderValue;

/// The port of `https`, which browsers leave out of `Host`.
const HTTPS: u16 = 443;

/// Why text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostFault {
    /// Nothing there.
    Empty,
    /// A byte that no host name has, an empty label, or an IPv6 address without brackets.
    Name,
    /// Not a number from 1 to 65535.
    Port,
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "there is no host name",
            Self::Name => "this is not a host name",
            Self::Port => "the port is not a number from 1 to 65535",
        })
    }
}

/// `host[:port]` of `Host` or `:authority`.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'r> {
    /// The name or address, IPv6 in brackets, without a trailing dot; letter case as sent.
    pub host: &'r str,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl<'r> Authority<'r> {
    /// Reads `Host` or `:authority`. User names, paths, lists and spaces are no part of it.
    pub fn parse(text: &'r str) -> Result<Self, HostFault> {
        let end = match text.starts_with('[') {
            true => text.find(']').ok_or(HostFault::Name)? + 1,
            false => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(end);
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return Err(HostFault::Name),
            Some(digits) => Some(parse_port(digits)?),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        check_host(host)?;
        Ok(Self { host, port })
    }

    /// Whether both name the same host and port; none is 443, as browsers leave it out.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_host(other.host) && self.port.unwrap_or(HTTPS) == other.port.unwrap_or(HTTPS)
    }

    /// Whether both name the same host; ports are not looked at.
    pub fn is_host(&self, other: &str) -> bool {
        match (literal(self.host), literal(other)) {
            (Some(a), Some(b)) => a == b,
            _ => self.host.eq_ignore_ascii_case(other),
        }
    }
}

/// A name that a certificate covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exact(String),
    /// One label more than this: `*.example.org` is kept as `example.org` (RFC 9525 6.3).
    Wildcard(String),
}

impl fmt::Display for NamePattern {
    /// As it is written in gateway.toml, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl NamePattern {
    /// Reads a name of `[[tls.certificates]] names`.
    pub fn parse(text: &str) -> Result<Self, HostFault> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        match name.strip_prefix("*.") {
            Some(rest) => {
                check_host(rest)?;
                Ok(Self::Wildcard(rest.to_owned()))
            }
            None => {
                check_host(name)?;
                Ok(Self::Exact(name.to_owned()))
            }
        }
    }

    /// Whether it covers `host`, in any letter case, with or without a trailing dot.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Wildcard(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        }
    }
}

/// An entry of `public_url`: what browsers see of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    host: String,
    port: u16,
    prefix: String,
    host_value: HeaderValue,
    forwarded_host: HeaderValue,
}

/// Why an entry of `public_url` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicUrlFault {
    /// It does not start with `https://`.
    NotHttps,
    /// Its host or port.
    Host(HostFault),
    /// It holds a user name, a query or a fragment.
    Extra,
    /// Its path holds empty or dot segments, or characters that would have to be encoded.
    Path,
}

impl fmt::Display for PublicUrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttps => f.write_str("it must start with https://"),
            Self::Host(fault) => fault.fmt(f),
            Self::Extra => f.write_str("it must not hold a user name, a query or a fragment"),
            Self::Path => {
                f.write_str("its path must be plain: letters, digits and - . _ ~ between single slashes")
            }
        }
    }
}

impl std::error::Error for PublicUrlFault {}

impl PublicUrl {
    /// Reads an entry. A port other than 443 and a path are kept, a trailing slash is not.
    pub fn parse(text: &str) -> Result<Self, PublicUrlFault> {
        let scheme = text.get(..8).ok_or(PublicUrlFault::NotHttps)?;
        if !scheme.eq_ignore_ascii_case("https://") {
            return Err(PublicUrlFault::NotHttps);
        }
        let rest = text.get(8..).unwrap_or_default();
        if rest.contains(['?', '#', '@']) {
            return Err(PublicUrlFault::Extra);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = Authority::parse(authority).map_err(PublicUrlFault::Host)?;
        let prefix = path.strip_suffix('/').unwrap_or(path);
        let plain = |s: &str| {
            !matches!(s, "" | "." | "..")
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        };
        if !prefix.is_empty() && !prefix.split('/').skip(1).all(plain) {
            return Err(PublicUrlFault::Path);
        }
        let host = authority.host.to_ascii_lowercase();
        let port = authority.port.unwrap_or(HTTPS);
        let shown = if port == HTTPS { host.clone() } else { format!("{host}:{port}") };
        let value =
            |text: String| HeaderValue::try_from(text).map_err(|_| PublicUrlFault::Host(HostFault::Name));
        Ok(Self {
            forwarded_host: value(format!("{shown}{prefix}"))?,
            host_value: value(shown)?,
            prefix: prefix.to_owned(),
            host,
            port,
        })
    }

    /// The host, in lower case, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path before every route: empty, or with a slash in front and none behind.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `Host` towards the Document Server: `host[:port]`.
    pub fn host_value(&self) -> &HeaderValue {
        &self.host_value
    }

    /// `X-Forwarded-Host`: `host[:port][/path]`. The Document Server puts it into its links as it is (utils.js:815-856), so the
    /// path belongs here and nowhere else.
    pub fn forwarded_host(&self) -> &HeaderValue {
        &self.forwarded_host
    }

    /// Whether `authority` names this entry.
    pub fn is_at(&self, authority: &Authority<'_>) -> bool {
        authority.is_host(&self.host)
    }

    /// The path of a request without this entry's own; `None`: it is not below it. Compared byte for byte.
    pub fn strip<'r>(&self, path: &'r str) -> Option<&'r str> {
        match path.strip_prefix(self.prefix.as_str())? {
            "" => Some("/"),
            rest if rest.starts_with('/') => Some(rest),
            _ => None,
        }
    }
}

/// The entry that a request came through: same host and port, else same host, else the first.
pub fn choose<'u>(entries: &'u [PublicUrl], authority: Option<&Authority<'_>>) -> Option<&'u PublicUrl> {
    let at_host = |authority: &Authority<'_>| {
        let port = authority.port.unwrap_or(HTTPS);
        let mut at = entries.iter().filter(|e| e.is_at(authority));
        let first = at.clone().next();
        at.find(|e| e.port == port).or(first)
    };
    authority.and_then(at_host).or(entries.first())
}

fn parse_port(digits: &str) -> Result<u16, HostFault> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostFault::Port);
    }
    digits.parse().ok().filter(|&port| port != 0).ok_or(HostFault::Port)
}

/// A DNS name (with `_`, as container networks have it), an IPv4 address, or an IPv6 address in brackets.
fn check_host(host: &str) -> Result<(), HostFault> {
    if host.is_empty() {
        return Err(HostFault::Empty);
    }
    if host.starts_with('[') {
        return literal(host).map(|_| ()).ok_or(HostFault::Name);
    }
    // 253 octets, labels of 63: RFC 1035 2.3.4.
    let label = |l: &str| {
        matches!(l.len(), 1..=63) && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if host.len() <= 253 && host.split('.').all(label) { Ok(()) } else { Err(HostFault::Name) }
}

fn literal(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let table = [
            ("a.example.org", Ok(("a.example.org", None))),
            ("A.Example.ORG:8443", Ok(("A.Example.ORG", Some(8443)))),
            ("a.example.org.", Ok(("a.example.org", None))),
            ("a.example.org.:443", Ok(("a.example.org", Some(443)))),
            ("my_host", Ok(("my_host", None))),
            ("127.0.0.1:80", Ok(("127.0.0.1", Some(80)))),
            ("[::1]", Ok(("[::1]", None))),
            ("[::1]:8443", Ok(("[::1]", Some(8443)))),
            ("", Err(HostFault::Empty)),
            (".", Err(HostFault::Empty)),
            (":80", Err(HostFault::Empty)),
            ("a..b", Err(HostFault::Name)),
            ("a b", Err(HostFault::Name)),
            ("a, b", Err(HostFault::Name)),
            ("a/b", Err(HostFault::Name)),
            ("user@a", Err(HostFault::Name)),
            ("a%2e", Err(HostFault::Name)),
            ("ä.example", Err(HostFault::Name)),
            ("[::1", Err(HostFault::Name)),
            ("[::g]", Err(HostFault::Name)),
            ("[::1]x", Err(HostFault::Name)),
            ("[]", Err(HostFault::Name)),
            ("::1", Err(HostFault::Port)),
            ("a:", Err(HostFault::Port)),
            ("a:0", Err(HostFault::Port)),
            ("a:65536", Err(HostFault::Port)),
            ("a:+80", Err(HostFault::Port)),
            ("a:80:80", Err(HostFault::Port)),
        ];
        for (text, expected) in table {
            assert_eq!(Authority::parse(text).map(|a| (a.host, a.port)), expected, "{text}");
        }
        assert!(Authority::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn certificates() {
        let table = [
            ("a.example.org", "a.example.org", true),
            ("a.example.org", "A.EXAMPLE.org.", true),
            ("a.example.org", "b.example.org", false),
            ("*.example.org", "a.example.org", true),
            ("*.Example.org", "A.example.ORG", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "b.a.example.org", false),
            ("*.example.org", "aexample.org", false),
        ];
        for (pattern, host, expected) in table {
            assert_eq!(NamePattern::parse(pattern).unwrap().covers(host), expected, "{pattern} {host}");
        }
        for bad in ["", "*", "*.", "a.*.org", "*a.org", "**.org"] {
            assert!(NamePattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn public_urls() {
        let table = [
            ("https://onlyoffice.rapidpm.uk", "onlyoffice.rapidpm.uk", ""),
            ("HTTPS://OnlyOffice.RapidPM.uk/", "onlyoffice.rapidpm.uk", ""),
            ("https://office.example:443", "office.example", ""),
            ("https://office.example:8443/", "office.example:8443", ""),
            ("https://office.example/docs", "office.example/docs", "/docs"),
            ("https://office.example:8443/a/b.c/", "office.example:8443/a/b.c", "/a/b.c"),
            ("https://[::1]:8443", "[::1]:8443", ""),
        ];
        for (text, forwarded, prefix) in table {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!(url.forwarded_host(), forwarded, "{text}");
            assert_eq!(url.prefix(), prefix, "{text}");
        }
        let bad = [
            ("http://a", PublicUrlFault::NotHttps),
            ("a.example", PublicUrlFault::NotHttps),
            ("", PublicUrlFault::NotHttps),
            ("https://", PublicUrlFault::Host(HostFault::Empty)),
            ("https:///x", PublicUrlFault::Host(HostFault::Empty)),
            ("https://a:x", PublicUrlFault::Host(HostFault::Port)),
            ("https://a b", PublicUrlFault::Host(HostFault::Name)),
            ("https://u@a", PublicUrlFault::Extra),
            ("https://a?x", PublicUrlFault::Extra),
            ("https://a/#x", PublicUrlFault::Extra),
            ("https://a//", PublicUrlFault::Path),
            ("https://a/../b", PublicUrlFault::Path),
            ("https://a/%20", PublicUrlFault::Path),
        ];
        for (text, fault) in bad {
            assert_eq!(PublicUrl::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn strips_its_own_path() {
        let url = PublicUrl::parse("https://a.example/docs").unwrap();
        let table = [
            ("/docs", Some("/")),
            ("/docs/", Some("/")),
            ("/docs/web-apps/x", Some("/web-apps/x")),
            ("/docs//x", Some("//x")),
            ("/docsx", None),
            ("/DOCS/x", None),
            ("/web-apps/x", None),
            ("/", None),
        ];
        for (path, expected) in table {
            assert_eq!(url.strip(path), expected, "{path}");
        }
        let plain = PublicUrl::parse("https://a.example").unwrap();
        assert_eq!((plain.strip("/x"), plain.strip("/")), (Some("/x"), Some("/")));
    }

    #[test]
    fn chooses_by_host_then_port_then_order() {
        let urls: Vec<_> =
            ["https://a.example", "https://b.example", "https://b.example:8443/x", "https://[::1]"]
                .map(|u| PublicUrl::parse(u).unwrap())
                .into();
        let table = [
            ("a.example", 0),
            ("B.example.", 1),
            ("b.example:8443", 2),
            ("b.example:9", 1),
            ("[0:0::1]:443", 3),
            ("c.example", 0),
        ];
        for (host, expected) in table {
            let chosen = choose(&urls, Authority::parse(host).ok().as_ref());
            assert_eq!(chosen, urls.get(expected), "{host}");
        }
        assert_eq!(choose(&urls, None), urls.first());
        assert_eq!(choose(&[], None), None);
    }
}
