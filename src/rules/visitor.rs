//! Who may look at the admin listener: programs, and people who opened it themselves. Not the pages of others in their browsers,
//! which reach it with a name that leads there (DNS rebinding), or with its address.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{AsHeaderName, HOST, HeaderMap, HeaderValue, ORIGIN};

use super::host::Authority;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// It is for this name, in lower case, which may be anybody's.
    Named(String),
    /// What stands for the host is no host.
    NoHost,
    /// A page of somebody else sent it.
    Page,
}

/// Whether a host, IPv6 with or without brackets, is answered to only where it is listed. An address or a name without a dot is no
/// name that somebody could register and have lead here: a page that is called so comes from there.
pub fn needs_a_name(host: &str) -> bool {
    !host.starts_with('[') && host.parse::<IpAddr>().is_err() && host.contains('.')
}

/// Looks at the names by which a request asks. One that asks by none (HTTP/1.0) is no browser's.
///
/// # Errors
/// When one of them is not this listener's.
pub fn check_name(uri: &Uri, headers: &HeaderMap, names: &[String]) -> Result<(), Stranger> {
    let fields = headers.get_all(HOST).iter().map(|host| host.to_str().map_err(|_| Stranger::NoHost));
    for asked in fields.chain(uri.authority().map(|authority| Ok(authority.as_str()))) {
        let host = Authority::parse(asked?).map_err(|_| Stranger::NoHost)?.host;
        if needs_a_name(host) && !names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return Err(Stranger::Named(host.to_ascii_lowercase()));
        }
    }
    Ok(())
}

/// Looks at what browsers say of the page that asks. A link may lead here from anywhere, since the page that it is on sees nothing
/// of it; pictures, scripts, frames and requests of other pages may not.
///
/// # Errors
/// When another page asks.
pub fn check_page(headers: &HeaderMap) -> Result<(), Stranger> {
    let foreign = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| !["none", "same-origin"].iter().any(|own| site == own));
    let follows_a_link =
        is(headers, "sec-fetch-mode", "navigate") && is(headers, "sec-fetch-dest", "document");
    let of_another = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        !origin.is_some_and(|(_, host)| is(headers, HOST, host))
    };
    match foreign && !follows_a_link || headers.get_all(ORIGIN).iter().any(of_another) {
        true => Err(Stranger::Page),
        false => Ok(()),
    }
}

fn is(headers: &HeaderMap, name: impl AsHeaderName, value: &str) -> bool {
    headers.get(name).is_some_and(|known| known.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_name_that_could_be_anybodys_must_be_listed() {
        let names = ["gateway.example.internal".to_owned()];
        let named = |name: &str| Err(Stranger::Named(name.to_owned()));
        for (hosts, expected) in [
            (&[][..], Ok(())),
            (&["127.0.0.1:8080"], Ok(())),
            (&["10.0.0.5"], Ok(())),
            (&["[::1]:8080"], Ok(())),
            (&["[fe80::1]"], Ok(())),
            (&["localhost:8080"], Ok(())),
            (&["LocalHost."], Ok(())),
            (&["gateway"], Ok(())),
            (&["my_gateway:8080"], Ok(())),
            (&["gateway.example.internal:8080"], Ok(())),
            (&["Gateway.Example.Internal."], Ok(())),
            (&["evil.example:8080"], named("evil.example")),
            (&["EVIL.example."], named("evil.example")),
            (&["x.gateway.example.internal"], named("x.gateway.example.internal")),
            (&["example.internal"], named("example.internal")),
            (&["127.0.0.1.evil.example"], named("127.0.0.1.evil.example")),
            (&["127.0.1"], named("127.0.1")),
            (&["a.localhost"], named("a.localhost")),
            (&["127.0.0.1", "evil.example"], named("evil.example")),
            (&["evil.example", "127.0.0.1"], named("evil.example")),
            (&[""], Err(Stranger::NoHost)),
            (&["127.0.0.1, evil.example"], Err(Stranger::NoHost)),
            (&["user@127.0.0.1"], Err(Stranger::NoHost)),
            (&["\u{e9}vil"], Err(Stranger::NoHost)),
        ] {
            let headers = fields(&hosts.iter().map(|host| ("host", *host)).collect::<Vec<_>>());
            assert_eq!(check_name(&Uri::from_static("/"), &headers, &names), expected, "{hosts:?}");
        }
        let absolute = Uri::from_static("http://evil.example/metrics");
        assert_eq!(check_name(&absolute, &fields(&[("host", "127.0.0.1")]), &names), named("evil.example"));
        assert!(!needs_a_name("::1") && !needs_a_name("::ffff:127.0.0.1"), "as gateway.toml has them");
    }

    #[test]
    fn pages_of_others_see_nothing_and_links_of_theirs_lead_here() {
        let host = ("host", "gateway:8080");
        let site = |value| ("sec-fetch-site", value);
        let (navigates, frame) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"));
        let document = ("sec-fetch-dest", "document");
        for (of, expected) in [
            (&[host][..], true), // curl, Prometheus
            (&[host, site("none"), navigates, document], true),
            (&[host, site("same-origin"), ("sec-fetch-mode", "cors")], true),
            (&[host, site("cross-site"), navigates, document], true),
            (&[host, site("same-site"), navigates, document], true),
            (&[host, site("cross-site"), navigates, frame], false),
            (&[host, site("cross-site"), navigates], false),
            (&[host, site("cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")], false),
            (&[host, site("same-site"), ("sec-fetch-mode", "cors")], false), // another port of this machine
            (&[host, site("else")], false),
            (&[host, site("same-origin"), site("cross-site")], false),
            (&[host, ("origin", "http://gateway:8080")], true),
            (&[host, ("origin", "https://GATEWAY:8080")], true), // a proxy ends TLS
            (&[host, ("origin", "http://gateway")], false),
            (&[host, ("origin", "http://evil.example")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "")], false),
            (&[host, site("same-origin"), ("origin", "http://evil.example")], false),
            (&[("origin", "http://gateway:8080")], false),
        ] {
            assert_eq!(check_page(&fields(of)).is_ok(), expected, "{of:?}");
        }
    }
}
