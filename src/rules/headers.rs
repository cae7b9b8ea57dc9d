//! Header fields at the border: what one connection says about itself stays on it, and what says who a client is comes from the gateway alone.
//!
//! The container's nginx believes `X-Forwarded-*` and `CloudFront-Forwarded-Proto` from anyone and takes `_` for `-` in names
//! (threats.md 0.5); what it believes ends up in signed callbacks (protocol.md 0.3).

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, RANGE, UPGRADE,
};

use super::client::{self, Client, X_FORWARDED_FOR};
use super::host::PublicUrl;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What the Document Server is told about every request, formatted once for each entry of `public_url`.
#[derive(Debug, Clone)]
pub struct Forwarded {
    host: HeaderValue,
    forwarded_host: HeaderValue,
    tokens: Vec<HeaderName>,
}

impl Forwarded {
    /// For requests that came through `url`; `tokens` are the fields that tokens may travel in.
    pub fn new(url: &PublicUrl, tokens: &[HeaderName]) -> Self {
        Self {
            host: url.host_value().clone(),
            forwarded_host: url.forwarded_host().clone(),
            tokens: tokens.to_vec(),
        }
    }
}

/// Whether a connection stays HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// It does.
    Ordinary,
    /// It becomes a WebSocket.
    Upgrade,
}

/// Makes a client's fields those that the Document Server may see. Framing is set anew by whoever sends them.
pub fn to_upstream(headers: &mut HeaderMap, forwarded: &Forwarded, client: &Client, hop: Hop) {
    strip(headers, &forwarded.tokens, |name| is_hop_by_hop(name) || is_about_the_client(name));
    headers.insert(HOST, forwarded.host.clone());
    headers.insert(X_FORWARDED_HOST, forwarded.forwarded_host.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https")); // `wss` gives http links ([L], protocol.md 5.1)
    headers.insert(X_FORWARDED_FOR, chain(client));
    headers.insert(X_REAL_IP, client.field().clone());
    mark(headers, hop);
}

/// Makes an answer's fields those that the client may see. Adds nothing: a `Via` or `X-Frame-Options` would do harm (protocol.md 5).
pub fn to_client(headers: &mut HeaderMap, hop: Hop) {
    strip(headers, &[], is_hop_by_hop);
    mark(headers, hop);
}

fn mark(headers: &mut HeaderMap, hop: Hop) {
    if hop == Hop::Upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket")); // exactly so: http-common.conf.m4:25-28
    }
}

/// Removes what `doomed` says and what any `Connection` line names, except what no line may remove.
fn strip(headers: &mut HeaderMap, tokens: &[HeaderName], doomed: impl Fn(&str) -> bool) {
    // Neither list allocates for what browsers send.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_usual(option))
        .take(MOST_OPTIONS)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !is_protected(name) && !tokens.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    // A map cannot lose fields while it is walked; few fields are ever doomed, so they are taken out by handfuls.
    loop {
        let mut handful = [const { None }; 8];
        let mut names = headers.keys().filter(|name| doomed(name.as_str()));
        for (place, name) in handful.iter_mut().zip(&mut names) {
            *place = Some(name.clone());
        }
        let more = names.next().is_some();
        for name in handful.into_iter().flatten() {
            headers.remove(name);
        }
        if !more {
            return;
        }
    }
}

/// Options of `Connection` that are looked at: real ones are three. 30,000 of them in one head took 2 ms of a core.
const MOST_OPTIONS: usize = 64;

/// Connection options that name no field beyond those that go anyway.
fn is_usual(option: &[u8]) -> bool {
    option.is_empty()
        || [&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|usual| usual.eq_ignore_ascii_case(option))
}

/// Fields that a `Connection` line cannot take away: they carry what is checked here, or frame what follows.
fn is_protected(name: &HeaderName) -> bool {
    [AUTHORIZATION, HOST, CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, ORIGIN, COOKIE, RANGE]
        .contains(name)
        || name.as_str().starts_with("sec-")
        || matches!(name.as_str(), "traceparent" | "x-request-id") // the gateway's own by then
}

/// RFC 9110 7.6.1, with its forerunners.
fn is_hop_by_hop(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'e') => name == "expect",
        Some(b'h') => name == "http2-settings",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => matches!(name, "proxy-connection" | "proxy-authenticate" | "proxy-authorization"),
        Some(b't') => matches!(name, "te" | "trailer" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        _ => false,
    }
}

/// Fields by which proxies tell who and where a client is, and names that nginx and CGI would read as one of them.
fn is_about_the_client(name: &str) -> bool {
    if name.as_bytes().contains(&b'_') {
        return true;
    }
    match name.as_bytes().first() {
        Some(b'x') => [
            "x-forwarded", // -for, -host, -proto, -port, -prefix, -server, -ssl, …
            "x-forward-",
            "x-real-ip",
            "x-original", // -url, -uri, -host, -method, -forwarded-for
            "x-rewrite",
            "x-url-scheme",
            "x-scheme",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-host",
            "x-http-method",
            "x-method-override",
            "x-proxy",
            "x-envoy",
        ]
        .iter()
        .any(|start| name.starts_with(start)),
        Some(b'c') => ["cloudfront-", "cf-", "client-ip"].iter().any(|start| name.starts_with(start)),
        Some(b'f') => matches!(name, "forwarded" | "front-end-https" | "forwarded-for" | "fastly-client-ip"),
        Some(b'p') => name == "proxy",
        Some(b't') => name == "true-client-ip",
        Some(b'v') => name == "via", // switches the container's compression off (protocol.md 0.5)
        Some(b'w') => name.starts_with("wl-proxy-"),
        _ => false,
    }
}

/// `X-Forwarded-For`: a direct client's own address, else the chain.
fn chain(client: &Client) -> HeaderValue {
    if client.proxies().is_empty() {
        return client.field().clone();
    }
    let addresses = std::iter::once(client.address()).chain(client.proxies().iter().copied());
    let chain: Vec<_> = addresses.map(|address| address.to_string()).collect();
    client::field(chain.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(url: &str) -> Forwarded {
        Forwarded::new(
            &PublicUrl::parse(url).unwrap(),
            &[AUTHORIZATION, HeaderName::from_static("authorizationjwt")],
        )
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    fn client(peer: &str, map: &HeaderMap, trusted: &str) -> Client {
        let trusted: Vec<_> = trusted.parse().into_iter().collect();
        Client::of(&client::Peer::new(peer.parse().unwrap()), map, &trusted)
    }

    fn sent(lines: &[(&str, &str)], hop: Hop) -> Vec<String> {
        let mut map = headers(lines);
        let client = client("203.0.113.9", &map, "");
        to_upstream(&mut map, &forwarded("https://office.example:8443/docs"), &client, hop);
        let mut out: Vec<_> = map.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        out.sort();
        out
    }

    const OURS: [&str; 5] = [
        "host: office.example:8443",
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-host: office.example:8443/docs",
        "x-forwarded-proto: https",
        "x-real-ip: 203.0.113.9",
    ];

    const FORGED: [&str; 44] = [
        "X-Forwarded-For",
        "x-forwarded-for",
        "X-FORWARDED-FOR",
        "X_Forwarded_For",
        "X-Forwarded_For",
        "X-Forwarded-Host",
        "x-forwarded-HOST",
        "X_Forwarded_Host",
        "X_FORWARDED-HOST",
        "X-Forwarded-Proto",
        "X_Forwarded_Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X_Forwarded_Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-Scheme",
        "X-Forwarded-By",
        "X-Forwarded",
        "X-Forwarded-Anything",
        "Forwarded",
        "X-Real-IP",
        "X_Real_IP",
        "CloudFront-Forwarded-Proto",
        "Cloudfront_Forwarded_Proto",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Host",
        "X-Original-Forwarded-For",
        "X-Original-Method",
        "Front-End-Https",
        "X-Url-Scheme",
        "X-Scheme",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Host",
        "X-HTTP-Method-Override",
        "Via",
        "Proxy",
        "Host",
        "any_name",
        "_",
    ];

    #[test]
    fn what_a_client_says_about_itself_never_arrives() {
        for name in FORGED {
            for value in ["evil.example", "https, http", "127.0.0.1", ""] {
                let forged = (name, value);
                for lines in
                    [&[forged][..], &[forged, forged], &[("accept", "a"), forged], &[forged, ("accept", "a")]]
                {
                    let mut got = sent(lines, Hop::Ordinary);
                    got.retain(|line| line != "accept: a");
                    assert_eq!(got, OURS, "{lines:?}");
                }
            }
        }
        let all: Vec<_> = FORGED.iter().map(|name| (*name, "evil.example")).collect();
        assert_eq!(sent(&all, Hop::Ordinary), OURS);
        let beside: Vec<_> = all
            .iter()
            .flat_map(|f| [("X-Forwarded-Host", "office.example"), *f, ("X-Real-IP", "1.1.1.1")])
            .collect();
        assert_eq!(sent(&beside, Hop::Ordinary), OURS);
    }

    #[test]
    fn what_a_connection_says_about_itself_stays_on_it() {
        let hop = [
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two ,,\tX-THREE"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAAA"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
        ];
        assert_eq!(sent(&hop, Hop::Ordinary), OURS);
        let mut answer = headers(&hop);
        answer.insert("x-frame", HeaderValue::from_static("kept"));
        to_client(&mut answer, Hop::Ordinary);
        assert_eq!(answer, headers(&[("x-frame", "kept")]));
    }

    #[test]
    fn no_connection_line_takes_away_what_is_checked() {
        let kept = [
            ("authorization", "Bearer t"),
            ("authorizationjwt", "Bearer t"),
            ("content-length", "3"),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("cookie", "a=b"),
            ("origin", "https://a.example"),
            ("range", "bytes=0-"),
            ("sec-websocket-key", "x"),
        ];
        for (name, value) in kept {
            for options in [
                name.to_owned(),
                format!("close, {}", name.to_uppercase()),
                format!("{name},host,x-forwarded-host"),
            ] {
                let got =
                    sent(&[(name, value), ("connection", "close"), ("connection", &options)], Hop::Ordinary);
                let mut expected: Vec<_> = OURS.map(str::to_owned).into();
                expected.push(format!("{name}: {value}"));
                expected.sort();
                assert_eq!(got, expected, "{options}");
            }
        }
    }

    #[test]
    fn an_ordinary_request_keeps_everything_else() {
        let kept = [
            ("accept", "*/*"),
            ("accept-encoding", "gzip, br"),
            ("cookie", "a"),
            ("cookie", "b"),
            ("if-none-match", "\"x\""),
            ("range", "bytes=0-1"),
            ("referer", "https://office.example/"),
            ("user-agent", "x"),
            ("sec-fetch-mode", "cors"),
            ("priority", "u=1"),
            ("x-requested-with", "x"),
            ("traceparent", "00-0-0-00"),
            ("content-length", "0"),
            ("te-x", "1"),
        ];
        let mut expected: Vec<_> = OURS.map(str::to_owned).into();
        expected.extend(kept.iter().map(|(n, v)| format!("{n}: {v}")));
        expected.sort();
        assert_eq!(sent(&kept, Hop::Ordinary), expected);
    }

    #[test]
    fn an_upgrade_says_so_and_no_more() {
        let lines = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket, h2c"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ];
        let got = sent(&lines, Hop::Upgrade);
        for expected in [
            "connection: Upgrade",
            "upgrade: websocket",
            "sec-websocket-extensions: permessage-deflate",
            "sec-websocket-key: k",
        ] {
            assert_eq!(got.iter().filter(|line| *line == expected).count(), 1, "{expected}");
        }
        assert_eq!(got.len(), OURS.len() + 5);
        let mut answer = headers(&[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "x"),
            ("keep-alive", "1"),
        ]);
        to_client(&mut answer, Hop::Upgrade);
        assert_eq!(answer.len(), 3);
    }

    #[test]
    fn the_chain_holds_only_addresses_that_a_trusted_proxy_vouches_for() {
        let table = [
            ("203.0.113.9", "", "1.1.1.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "10.0.0.0/8", "198.51.100.1", "198.51.100.1, 10.0.0.1", "198.51.100.1"),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                "127.0.0.1, 198.51.100.1, 10.0.0.2",
                "198.51.100.1, 10.0.0.2, 10.0.0.1",
                "198.51.100.1",
            ),
        ];
        for (peer, trusted, chain, expected, real) in table {
            let mut map = headers(&[("x-forwarded-for", chain)]);
            let client = client(peer, &map, trusted);
            to_upstream(&mut map, &forwarded("https://a.example"), &client, Hop::Ordinary);
            assert_eq!(map.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>(), [expected], "{peer} {chain}");
            assert_eq!(map[X_REAL_IP], real);
        }
    }
}
