//! The server's own address as it believes it to be, derived from what the request says; a gateway has to get this right.

use hyper::header::HeaderMap;

/// Scheme, host and prefix from the forwarded headers, as the Document Server derives them.
pub(super) fn base(headers: &HeaderMap) -> String {
    let text = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    let proto = ["cloudfront-forwarded-proto", "x-forwarded-proto"].into_iter().find_map(text);
    // Anything but exactly these two, `wss` too, falls back to http.
    let proto = proto.filter(|proto| matches!(*proto, "http" | "https")).unwrap_or("http");
    let host = text("x-forwarded-host").and_then(|hosts| hosts.split(',').next()).or_else(|| text("host"));
    let host = host.unwrap_or("localhost").trim().replace('_', "%5f");
    format!("{proto}://{host}{}", text("x-forwarded-prefix").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> String {
        base(&headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn the_forwarded_headers_decide() {
        assert_eq!(of(&[("host", "a:1")]), "http://a:1");
        assert_eq!(
            of(&[("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "b, c")]),
            "https://b"
        );
        assert_eq!(of(&[("host", "a"), ("x-forwarded-proto", "wss")]), "http://a");
        assert_eq!(
            of(&[("host", "a"), ("x-forwarded-host", "my_host.example"), ("x-forwarded-prefix", "/ds")]),
            "http://my%5fhost.example/ds"
        );
    }
}
