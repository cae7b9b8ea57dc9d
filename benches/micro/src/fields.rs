//! A client's fields, and what the gateway knows when it changes them.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use rapidpm_gateway::rules::client::{Client, Peer};
use rapidpm_gateway::rules::headers::Forwarded;
use rapidpm_gateway::rules::host::PublicUrl;

/// A script of the editor, as Chromium asked for it.
pub const BROWSER: [(&str, &str); 15] = [
    ("host", "office.example"),
    ("connection", "keep-alive"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    (
        "referer",
        "https://office.example/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main/index.html",
    ),
    ("sec-fetch-dest", "script"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-site", "same-origin"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ),
    ("sec-ch-ua", "\"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("if-none-match", "W/\"6b026464-20e60a\""),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
];

/// These fields in a map.
pub fn map<N: AsRef<str>, V: AsRef<str>>(lines: impl IntoIterator<Item = (N, V)>) -> HeaderMap {
    let field = |(name, value): (N, V)| {
        (name.as_ref().parse::<HeaderName>().unwrap(), value.as_ref().parse().unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.into_iter().map(field) {
        map.append(name, value);
    }
    map
}

/// What every request is told about the gateway's own address.
pub fn forwarded() -> Forwarded {
    Forwarded::new(&PublicUrl::parse("https://office.example").unwrap(), &[AUTHORIZATION])
}

/// Who sent these fields, straight from the internet.
pub fn client(sent: &HeaderMap) -> Client {
    Client::of(&Peer::new([203, 0, 113, 9].into()), sent, &[])
}
