//! The host of a URL in a claim, read so strictly that the Document Server's client cannot arrive at another one
//! (threats.md 0.2: a URL inside a valid token switches its private-address filter off).

use std::fmt;

use super::host::Authority;

/// How much of a host is kept for the log.
const SHOWN: usize = 80;

/// The host that `url` names; `None` if it is not plainly `http://host…` or `https://host…`. User names, backslashes, missing
/// slashes and everything else that parsers disagree about name no host.
pub fn of(url: &str) -> Option<Authority<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // Clients drop tabs and line ends before they parse (WHATWG URL 4.4), and take a backslash for a slash.
    if tail.starts_with('\\') || url.bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    Authority::parse(authority).ok()
}

/// A host in a log line: cut to a length, since it stands in a claim, and as text that nothing can break out of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownHost {
    bytes: [u8; SHOWN],
    length: u8,
}

impl ShownHost {
    /// Keeps the beginning of `host`.
    pub fn new(host: &str) -> Self {
        let mut bytes = [0; SHOWN];
        let mut length = 0;
        for (place, byte) in bytes.iter_mut().zip(host.bytes()) {
            *place = if byte.is_ascii_graphic() { byte } else { b'?' };
            length += 1;
        }
        Self { bytes, length }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let shown = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(shown).unwrap_or_default()
    }
}

impl fmt::Debug for ShownHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_name_a_host() {
        let table = [
            ("http://a.example", Some("a.example")),
            ("HTTPS://A.example:8443/x?y#z", Some("A.example")),
            ("https://a.example./x", Some("a.example")),
            ("https://a.example?x", Some("a.example")),
            ("https://a.example#@b.example", Some("a.example")),
            ("http://[::1]:80/x", Some("[::1]")),
            ("http://127.0.0.1:8099/files/t.docx", Some("127.0.0.1")),
            ("https://a.example/files/a b.docx", Some("a.example")),
            ("https://a.example@b.example/", None),
            ("https://user:word@a.example/", None),
            ("https://a.example\\@b.example/", None),
            ("https:\\\\a.example", None),
            ("https:/a.example", None),
            ("https:a.example", None),
            ("https:///a.example", None),
            ("//a.example/x", None),
            (" https://a.example", None),
            ("https://a.exam\tple", None),
            ("ht\ntps://a.example", None),
            ("https://a.example/\r\nx", None),
            ("ftp://a.example", None),
            ("file:///etc/passwd", None),
            ("data:text/plain,x", None),
            ("javascript://a.example/%0aalert(1)", None),
            ("https://a.example:99999/", None),
            ("https://a%2eexample/", None),
            ("https://\u{ff41}.example/", None),
            ("https://", None),
            ("", None),
        ];
        for (url, host) in table {
            assert_eq!(of(url).map(|host| host.host), host, "{url:?}");
        }
    }

    #[test]
    fn what_is_shown_has_an_end_and_breaks_no_line() {
        assert_eq!(ShownHost::new("a.example").as_str(), "a.example");
        assert_eq!(ShownHost::new("a\nb\u{e9}").as_str(), "a?b??");
        assert_eq!(ShownHost::new(&"x".repeat(5000)).as_str().len(), SHOWN);
        assert_eq!(format!("{:?}", ShownHost::new("a")), "\"a\"");
    }
}
