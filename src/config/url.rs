//! URLs of a configuration: a scheme, a host, perhaps a port and a path; anything else in them is a mistake.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use toml::Spanned;
use toml::de::DeValue;

use super::fault::Report;
use super::read::{Read, Wrong, text};
use super::suggest::nearest;
use super::values::written_as_text;
use crate::relay::Scheme;
use crate::secret::Secret;
use crate::upstream::Address;

/// A URL in its pieces. `host` is lower case, IPv6 without brackets.
#[derive(Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// What stands before `://`, as one of the schemes that were asked for.
    pub scheme: &'static str,
    /// `user` or `user:password`.
    pub user: Option<&'a str>,
    /// Name or IP literal.
    pub host: String,
    /// Port, where one is written.
    pub port: Option<u16>,
    /// From the first `/` after the host; empty if there is none.
    pub path: &'a str,
}

/// Takes a URL apart that has one of these schemes, and neither query nor fragment.
pub fn pieces<'a>(text: &'a str, schemes: &[&'static str]) -> Result<Pieces<'a>, Wrong> {
    let example = schemes.first().copied().unwrap_or_default();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Wrong::new(format!("is no URL; write it like \"{example}://host\"")));
    };
    let Some(known) = schemes.iter().find(|known| known.eq_ignore_ascii_case(scheme)) else {
        let meant = nearest(scheme, schemes.iter().copied()).map(|meant| format!("{meant}://{rest}"));
        let meant = meant.filter(|_| !rest.contains('@')); // what stands there may be a password
        return Err(Wrong::meaning(format!("does not begin with {}://", schemes.join(":// or ")), meant));
    };
    if text.contains(['?', '#']) {
        return Err(Wrong::new("has a query or a fragment; only scheme, host, port and path are used"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(Wrong::new("has a space, a backslash or a control character in it"));
    }
    let (before, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, before) = before.rsplit_once('@').map_or((None, before), |(user, host)| (Some(user), host));
    let (host, port) = authority(before)?;
    Ok(Pieces { scheme: known, user, host, port, path })
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub fn authority(text: &str) -> Result<(String, Option<u16>), Wrong> {
    let port_of = |port: &str| {
        port.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .map(Some)
            .ok_or_else(|| Wrong::new("has no port between 1 and 65535 after its colon"))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else {
            return Err(Wrong::new("has no ] behind its IPv6 address"));
        };
        let ip =
            ip.parse::<Ipv6Addr>().map_err(|_| Wrong::new("has no IPv6 address between its brackets"))?;
        let port = match port.strip_prefix(':') {
            Some(port) => port_of(port)?,
            None if port.is_empty() => None,
            None => return Err(Wrong::new("has something behind its ] that is no port")),
        };
        return Ok((ip.to_string(), port));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Wrong::new("needs brackets around its IPv6 address"));
    }
    match text.split_once(':') {
        Some((name, port)) => Ok((host(name)?, port_of(port)?)),
        None => Ok((host(text)?, None)),
    }
}

/// A DNS name or an IP literal, in lower case.
pub fn host(text: &str) -> Result<String, Wrong> {
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    if text.is_empty() {
        return Err(Wrong::new("has no host"));
    }
    if !text.is_ascii() {
        return Err(Wrong::new("has a host with letters beyond ASCII; write it in punycode (xn--…)"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if numeric || text.len() > 253 || !text.split('.').all(label) {
        return Err(Wrong::new("has a host that is neither a name nor an IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether a host is this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether what is sent to a host may leave the machine's own networks: a public address or a name with a public
/// ending. Names without a dot are Docker's or a hosts file's.
pub fn is_far(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared(ip)),
        Ok(IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
        Err(_) => {
            let ending = host.rsplit_once('.').map(|(_, ending)| ending);
            ending.is_some_and(|ending| {
                !["localhost", "internal", "local", "lan", "arpa", "test"].contains(&ending)
            })
        }
    }
}

/// 100.64.0.0/10 (RFC 6598): overlay networks such as Tailscale number their machines from it.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xc0 == 64
}

/// The address of an application: `http(s)://host[:port][/path]`.
pub struct HttpUrl {
    /// How it is reached.
    pub scheme: Scheme,
    /// Name or IP literal, lower case.
    pub host: String,
    /// Port, the scheme's default where none is written.
    pub port: u16,
    /// Path without a trailing slash.
    pub path: String,
}

written_as_text!(
    HttpUrl,
    "a URL such as \"https://rapidpm.uk\"",
    "a list of URLs, as in [\"https://rapidpm.uk\"]",
    HttpUrl::parse
);

impl HttpUrl {
    /// Takes `http(s)://host[:port][/path]` apart.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let pieces = pieces(text, &["https", "http"])?;
        if pieces.user.is_some() {
            return Err(Wrong::new("has a user before its host; there is no place for it"));
        }
        let (scheme, default) =
            if pieces.scheme == "https" { (Scheme::Https, 443) } else { (Scheme::Http, 80) };
        if pieces.path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Wrong::new("has a dot segment in its path; write the path out"));
        }
        let path = pieces.path.trim_end_matches('/').to_owned();
        if !path.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>^`{|}".contains(&b)) {
            return Err(Wrong::new("has a character in its path that a URL encodes as %XX"));
        }
        Ok(Self { scheme, host: pieces.host, port: pieces.port.unwrap_or(default), path })
    }

    /// As browsers write it in `Origin`: without the scheme's own port.
    pub fn origin(&self) -> String {
        let (scheme, default) = match self.scheme {
            Scheme::Https => ("https", 443),
            Scheme::Http => ("http", 80),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

/// Where a Document Server listens: `http://host[:port]`.
pub struct ServerUrl(pub Address);

written_as_text!(
    ServerUrl,
    "a URL such as \"http://127.0.0.1:8088\"",
    "a list of URLs, as in [\"http://127.0.0.1:8088\"]",
    |text| {
        if text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
            return Err(Wrong::new(
                "is https; the gateway ends TLS and speaks plain HTTP to a Document Server on the same host or network",
            ));
        }
        let pieces = pieces(text, &["http"])?;
        if pieces.user.is_some() || !matches!(pieces.path, "" | "/") {
            return Err(Wrong::new(
                "has more than host and port; a Document Server is reached at http://host[:port]",
            ));
        }
        Ok(ServerUrl(Address { host: pieces.host, port: pieces.port.unwrap_or(80) }))
    }
);

/// An SFTP server: `sftp://user@host[:port]/folder`.
pub struct SftpUrl {
    /// Account.
    pub user: String,
    /// Name or IP literal.
    pub host: String,
    /// Port, 22 where none is written.
    pub port: u16,
    /// Folder, `/` where none is written.
    pub path: String,
}

impl Read for SftpUrl {
    const ONE: &'static str = "a URL such as \"sftp://gateway@files.rapidpm.uk:22/saves\"";
    const MANY: &'static str = "a list of URLs";

    /// What is written is never repeated: it may hold a password.
    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        quietly(key, value, report, |text| {
            let pieces = pieces(text, &["sftp"])?;
            let Some(user) = pieces.user.filter(|user| !user.is_empty()) else {
                return Err(Wrong::new("has no account; write sftp://user@host/folder"));
            };
            if user.contains(':') {
                return Err(Wrong::new("has a password in it; the gateway signs in with `key`"));
            }
            let path = if pieces.path.is_empty() { "/" } else { pieces.path };
            Ok(Self {
                user: user.to_owned(),
                host: pieces.host,
                port: pieces.port.unwrap_or(22),
                path: path.to_owned(),
            })
        })
    }
}

/// A Redis server: `redis://[user:password@]host[:port][/database]`.
pub struct RedisUrl {
    /// The URL, which may hold a password.
    pub url: Secret,
    /// Its host, for a warning.
    pub host: String,
}

impl Read for RedisUrl {
    const ONE: &'static str = "a URL such as \"redis://127.0.0.1:6379\"";
    const MANY: &'static str = "a list of URLs";

    /// What is written is never repeated: it may hold a password.
    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        quietly(key, value, report, |text| {
            let pieces = pieces(text, &["redis"])?;
            let database = pieces.path.trim_start_matches('/');
            if !database.is_empty() && database.parse::<u16>().is_err() {
                return Err(Wrong::new("has a path that is no number of a database"));
            }
            Ok(Self { url: Secret::new(text.as_bytes().to_vec()), host: pieces.host })
        })
    }
}

/// As [`text`], without the text in the message.
fn quietly<T: Read>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let Some(written) = value.get_ref().as_str() else {
        return text(key, value, report, parse);
    };
    parse(written)
        .map_err(|wrong| report.misspelled(value.span(), format!("`{key}` {}", wrong.why), wrong.meant))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let url = pieces("HTTPS://user:pw@Host.Example:8443/a/b/", &["http", "https"]).ok().unwrap();
        let expected = Pieces {
            scheme: "https",
            user: Some("user:pw"),
            host: "host.example".into(),
            port: Some(8443),
            path: "/a/b/",
        };
        assert_eq!(url, expected);
        let url = pieces("http://[2001:DB8::1]", &["http"]).ok().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path), ("2001:db8::1", None, ""));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "host",
            "http:/host",
            "ftp://host",
            "http://",
            "http://:80",
            "http://a b",
            "http://a?b",
            "http://a#b",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "http://[::g]",
            "http://-a",
            "http://a..b",
            "http://1.2.3",
            "http://1.2.3.4.5",
            "http://bücher.example",
            "http://a\\b",
            "http://a/\u{7f}",
            "http://a,b",
        ] {
            assert!(pieces(text, &["http"]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn near_and_far() {
        for (host, far) in [
            ("127.0.0.1", false),
            ("::1", false),
            ("10.1.2.3", false),
            ("172.17.0.2", false),
            ("100.100.0.1", false),
            ("fd00::1", false),
            ("onlyoffice-server", false),
            ("redis.internal", false),
            ("localhost", false),
            ("203.0.113.9", true),
            ("2001:db8::1", true),
            ("redis.example.org", true),
        ] {
            assert_eq!(is_far(host), far, "{host}");
        }
    }
}
