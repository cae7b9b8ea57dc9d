//! One spelling for each path, so that what is judged here is what the Document Server is asked for.
//!
//! The container's nginx decodes a path once, merges slashes and resolves dots before it chooses a location, and hands the
//! *decoded* text of a versioned path to Express, which decodes again (ds-docservice.conf.m4:66-82). So nothing may be left
//! in a forwarded path that a second decoding could change, and nothing that only one of the two would see.

use std::borrow::Cow;

/// A path in its one spelling.
///
/// It borrows the request's own bytes where those were canonical already, which is every request an editor makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical<'r> {
    /// What goes on the wire.
    forward: Cow<'r, str>,
    /// `forward` decoded once, except that a title stays as sent. `None`: nothing in `forward` is encoded.
    decoded: Option<Box<str>>,
    /// Where the version prefix ends; 0 without one. Its letters never need encoding, so it fits both texts.
    version_end: usize,
}

/// Why a path is refused before anybody asks where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathFault {
    /// Does not start with `/`.
    NotAbsolute,
    /// `%` without two hexadecimal digits behind it.
    BrokenEscape,
    /// `%00 %0a %0d %2f %5c` outside a title, `%00 %0a %0d` inside one.
    ForbiddenEscape,
    /// A control byte or a space as it is, or an encoded control byte outside a title.
    Control,
    /// A backslash.
    Backslash,
    /// `?` or `#`, raw, or encoded outside a title: behind a version prefix the container would turn `%3f` into a query.
    Delimiter,
    /// Decoded, it is not UTF-8.
    NotUtf8,
    /// Decoded once, it still holds an escape.
    DoubleEncoded,
    /// `..` leads above the root.
    AboveRoot,
    /// A document title that the container's nginx would read as a step up or down.
    TitleDots,
}

impl PathFault {
    /// All of them, for documentation and for metrics that exist from the start.
    pub const ALL: [Self; 10] = [
        Self::NotAbsolute,
        Self::BrokenEscape,
        Self::ForbiddenEscape,
        Self::Control,
        Self::Backslash,
        Self::Delimiter,
        Self::NotUtf8,
        Self::DoubleEncoded,
        Self::AboveRoot,
        Self::TitleDots,
    ];

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::BrokenEscape => "path_broken_escape",
            Self::ForbiddenEscape => "path_forbidden_escape",
            Self::Control => "path_control_byte",
            Self::Backslash => "path_backslash",
            Self::Delimiter => "path_delimiter",
            Self::NotUtf8 => "path_not_utf8",
            Self::DoubleEncoded => "path_double_encoded",
            Self::AboveRoot => "path_above_root",
            Self::TitleDots => "path_title_dots",
        }
    }

    /// What is wrong, as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not start with a slash",
            Self::BrokenEscape => "a percent sign in the path is not followed by two hexadecimal digits",
            Self::ForbiddenEscape => "the path holds an encoded slash, backslash, line end or NUL",
            Self::Control => "the path holds a control byte or a space",
            Self::Backslash => "the path holds a backslash",
            Self::Delimiter => "the path holds a question mark or a number sign that is not a delimiter",
            Self::NotUtf8 => "the decoded path is not UTF-8",
            Self::DoubleEncoded => "the path is encoded twice",
            Self::AboveRoot => "the path leads above the root",
            Self::TitleDots => "the document title in the path holds a dot segment",
        }
    }
}

impl Canonical<'_> {
    /// What is sent to the Document Server. Decoded once it is what was matched.
    pub fn forward(&self) -> &str {
        &self.forward
    }

    /// What routes are matched against: decoded, without version prefix and trailing slash. The root is the empty text.
    /// A title stays as sent, so no segment holds a slash.
    pub fn matchable(&self) -> &str {
        let whole = self.decoded.as_deref().unwrap_or(&self.forward);
        let path = whole.get(self.version_end..).unwrap_or_default();
        path.strip_suffix('/').unwrap_or(path)
    }

    /// The version prefix without its slash, such as `9.0.4-0ac7…` (P: ds-docservice.conf.m4:75-82).
    pub fn version(&self) -> Option<&str> {
        self.forward.get(1..self.version_end)
    }
}

/// Brings a request's path (without query) into its one spelling.
///
/// A path that is canonical already costs one walk over its bytes and no allocation.
pub fn canonical(raw: &str) -> Result<Canonical<'_>, PathFault> {
    if is_plain(raw.as_bytes()) {
        return Ok(Canonical { forward: Cow::Borrowed(raw), decoded: None, version_end: version_end(raw) });
    }
    let Some(relative) = raw.strip_prefix('/') else { return Err(PathFault::NotAbsolute) };
    let (folders, last) = relative.rsplit_once('/').unwrap_or(("", relative));
    let mut walk = Walk { segments: Vec::with_capacity(8) }; // deepest path of the editor: 8 segments (captures/browser)
    for folder in folders.split('/') {
        walk.enter(decode(folder)?)?;
    }
    if !last.is_empty() && walk.at_title() {
        check_title(last)?;
        return Ok(walk.finish(End::Title(last)));
    }
    let end = match walk.enter(decode(last)?)? {
        Step::Into => End::File,
        Step::Stay => End::Folder,
    };
    Ok(walk.finish(end))
}

/// Whether `segment` can be a document key: `[0-9A-Za-z._=-]`, at most 240 (S: Common/sources/constants.js:35-39).
pub fn is_document_key(segment: &str) -> bool {
    matches!(segment.len(), 1..=240)
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'=' | b'-'))
}

/// Bytes that stand for themselves in a path: RFC 3986 `pchar` without escapes.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric()
            || matches!(b as u8, b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*')
            || matches!(b as u8, b'+' | b',' | b';' | b'=' | b':' | b'@' | b'-');
        b += 1;
    }
    table
};

/// Whether nothing has to be done: plain bytes, no empty segment but the last, no dot segment.
fn is_plain(raw: &[u8]) -> bool {
    if raw.first() != Some(&b'/') {
        return false;
    }
    let mut start = 1;
    for (at, &byte) in raw.iter().enumerate().skip(1) {
        if byte == b'/' {
            // A segment of one or two bytes may be dots; an empty one is a doubled slash.
            let segment = &raw[start..at];
            if segment.is_empty() || is_dots(segment) {
                return false;
            }
            start = at + 1;
        } else if !PLAIN[usize::from(byte)] {
            return false;
        }
    }
    !is_dots(&raw[start..])
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// The length of `/N.N.N-word` or `/N.N.N.word` at the start of `path`, where a slash follows; else 0.
/// A second prefix is not looked for: the container answers 404 to two, and so does the route table.
fn version_end(path: &str) -> usize {
    let Some(relative) = path.strip_prefix('/') else { return 0 };
    if !relative.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    match relative.split_once('/') {
        Some((first, _)) if is_version(first) => 1 + first.len(),
        _ => 0,
    }
}

/// `\d+\.\d+\.\d+[.-]\w+`; nginx's class also holds `|`, which no Document Server writes and which is therefore unknown here.
fn is_version(segment: &str) -> bool {
    let digits = |rest: &mut &str| {
        let end = rest.bytes().take_while(u8::is_ascii_digit).count();
        *rest = rest.get(end..).unwrap_or_default();
        end > 0
    };
    let mut rest = segment;
    for _ in 0..2 {
        if !digits(&mut rest) {
            return false;
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => return false,
        }
    }
    digits(&mut rest)
        && rest.strip_prefix(['.', '-']).is_some_and(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

/// What a segment did to the way walked so far.
enum Step {
    Into,
    Stay,
}

/// How a path ends.
enum End<'r> {
    File,
    Folder,
    Title(&'r str),
}

/// The segments walked so far, decoded, without empty ones and dots.
struct Walk<'r> {
    segments: Vec<Cow<'r, str>>,
}

impl<'r> Walk<'r> {
    fn enter(&mut self, segment: Cow<'r, str>) -> Result<Step, PathFault> {
        match &*segment {
            "" | "." => Ok(Step::Stay),
            ".." => self.segments.pop().map(|_| Step::Stay).ok_or(PathFault::AboveRoot),
            _ => {
                self.segments.push(segment);
                Ok(Step::Into)
            }
        }
    }

    /// Whether the next segment, if it is the last, is a document's title: below `/cache/files/` or `/printfile/{key}/`.
    /// Behind a version prefix it is not: the Document Server builds these links without one, and the container's nginx
    /// would hand such a title to Express decoded, where a `?` in it starts a query.
    fn at_title(&self) -> bool {
        match self.segments.as_slice() {
            [one, two] if one.eq_ignore_ascii_case("printfile") && is_document_key(two) => true,
            [one, two, ..] => one.eq_ignore_ascii_case("cache") && two.eq_ignore_ascii_case("files"),
            _ => false,
        }
    }

    fn finish(self, end: End<'r>) -> Canonical<'r> {
        let size = self.segments.iter().map(|s| s.len() + 1).sum::<usize>() + 1;
        let title = if let End::Title(title) = end { title.len() } else { 0 };
        let mut decoded = String::with_capacity(size + title);
        let mut forward = String::with_capacity(size + title + 32); // room for some escapes
        for segment in &self.segments {
            decoded.push('/');
            decoded.push_str(segment);
            forward.push('/');
            encode(segment, &mut forward);
        }
        match end {
            End::File => {}
            End::Folder => {
                decoded.push('/');
                forward.push('/');
            }
            End::Title(title) => {
                for text in [&mut decoded, &mut forward] {
                    text.push('/');
                    text.push_str(title);
                }
            }
        }
        let version_end = version_end(&decoded);
        Canonical { forward: Cow::Owned(forward), decoded: Some(decoded.into_boxed_str()), version_end }
    }
}

/// Decodes one segment that is no title.
fn decode(segment: &str) -> Result<Cow<'_, str>, PathFault> {
    if segment.bytes().all(|b| PLAIN[usize::from(b)]) {
        return Ok(Cow::Borrowed(segment));
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (value, after) = escape(after)?;
            rest = after;
            match value {
                0 | b'\n' | b'\r' | b'/' | b'\\' => return Err(PathFault::ForbiddenEscape),
                b'?' | b'#' => return Err(PathFault::Delimiter),
                0x01..=0x1f | 0x7f => return Err(PathFault::Control),
                _ => out.push(value),
            }
        } else {
            check_raw(byte)?;
            out.push(byte);
        }
    }
    let decoded = String::from_utf8(out).map_err(|_| PathFault::NotUtf8)?;
    if decoded
        .as_bytes()
        .windows(3)
        .any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
    {
        return Err(PathFault::DoubleEncoded);
    }
    Ok(Cow::Owned(decoded))
}

/// A title is forwarded as sent (the Document Server signs its decoded text and may have encoded it twice), so it is only
/// looked at: nginx decodes it once and then resolves dots in it, as if its `%2f` had been slashes from the start.
fn check_title(raw: &str) -> Result<(), PathFault> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (value, after) = escape(after)?;
            rest = after;
            if matches!(value, 0 | b'\n' | b'\r') {
                return Err(PathFault::ForbiddenEscape);
            }
            decoded.push(value);
        } else {
            check_raw(byte)?;
            decoded.push(byte);
        }
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(PathFault::NotUtf8);
    }
    if decoded.split(|b| matches!(b, b'/' | b'\\')).any(is_dots) {
        return Err(PathFault::TitleDots);
    }
    Ok(())
}

/// Bytes that may not stand in a path as they are: they would end it, or the request line.
fn check_raw(byte: u8) -> Result<(), PathFault> {
    match byte {
        b'\\' => Err(PathFault::Backslash),
        b'?' | b'#' => Err(PathFault::Delimiter),
        0x00..=0x20 | 0x7f => Err(PathFault::Control),
        _ => Ok(()),
    }
}

/// The byte that the two hexadecimal digits at the start of `rest` stand for, and what is behind them.
fn escape(rest: &[u8]) -> Result<(u8, &[u8]), PathFault> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match rest {
        [high, low, after @ ..] => match (nibble(*high), nibble(*low)) {
            (Some(high), Some(low)) => Ok((high << 4 | low, after)),
            _ => Err(PathFault::BrokenEscape),
        },
        _ => Err(PathFault::BrokenEscape),
    }
}

/// Writes `segment` with escapes only where a byte cannot stand for itself.
fn encode(segment: &str, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in segment.bytes() {
        if PLAIN[usize::from(byte)] {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        let table = [
            // sent, forwarded, matched
            ("/", "/", ""),
            (
                "/web-apps/apps/api/documents/api.js",
                "/web-apps/apps/api/documents/api.js",
                "/web-apps/apps/api/documents/api.js",
            ),
            ("/9.0.4-0ac7_f/web-apps/a.js", "/9.0.4-0ac7_f/web-apps/a.js", "/web-apps/a.js"),
            ("/9.0.4.54/web-apps/a.js", "/9.0.4.54/web-apps/a.js", "/web-apps/a.js"),
            ("/9.0.4-a/", "/9.0.4-a/", ""),
            ("/9.0.4-a", "/9.0.4-a", "/9.0.4-a"),
            ("/9.0.4-a/9.0.4-b/info", "/9.0.4-a/9.0.4-b/info", "/9.0.4-b/info"),
            ("/9.0-a/info", "/9.0-a/info", "/9.0-a/info"),
            ("/9.0.4-/info", "/9.0.4-/info", "/9.0.4-/info"),
            ("/9.0.4|a/info", "/9.0.4%7Ca/info", "/9.0.4|a/info"),
            ("/%39.0.4-a/info", "/9.0.4-a/info", "/info"),
            ("//info//config", "/info/config", "/info/config"),
            ("/x/../info/./config", "/info/config", "/info/config"),
            ("/%69nfo/config", "/info/config", "/info/config"),
            ("/x/%2e%2E/info/%2e/", "/info/", "/info"),
            ("/INFO/Config/", "/INFO/Config/", "/INFO/Config"),
            ("/info;x/config", "/info;x/config", "/info;x/config"),
            ("/info%3bx", "/info;x", "/info;x"),
            ("/a/.", "/a/", "/a"),
            ("/a/b/..", "/a/", "/a"),
            ("/a/..", "/", ""),
            ("/...", "/...", "/..."),
            ("/a%20b/%7Bx%7D", "/a%20b/%7Bx%7D", "/a b/{x}"),
            ("/{x}\"", "/%7Bx%7D%22", "/{x}\""),
            ("/ä", "/%C3%A4", "/ä"),
            ("/%c3%a4", "/%C3%A4", "/ä"),
            ("/100%25", "/100%25", "/100%"),
            ("/%25%34", "/%254", "/%4"),
            ("/cache/files/", "/cache/files/", "/cache/files"),
            ("/cache/files/x/..", "!", ""),
            ("/cache/files/data/k/Q1%2fQ2", "/cache/files/data/k/Q1%2fQ2", "/cache/files/data/k/Q1%2fQ2"),
            ("//Cache/./files/%6b/%41%2f%5c", "/Cache/files/k/%41%2f%5c", "/Cache/files/k/%41%2f%5c"),
            ("/printfile/k/%252f%3f%23;x", "/printfile/k/%252f%3f%23;x", "/printfile/k/%252f%3f%23;x"),
            ("/printfile/k/a%01%7f", "/printfile/k/a%01%7f", "/printfile/k/a%01%7f"),
            ("/printfile/k/..a", "/printfile/k/..a", "/printfile/k/..a"),
        ];
        for (sent, forward, matched) in table {
            match canonical(sent) {
                Ok(path) => assert_eq!((path.forward(), path.matchable()), (forward, matched), "{sent}"),
                Err(fault) => assert_eq!((fault, "!"), (PathFault::TitleDots, forward), "{sent}"),
            }
        }
    }

    #[test]
    fn refused() {
        use PathFault::*;
        let table = [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("info", NotAbsolute),
            ("https://h/info", NotAbsolute),
            ("/a%", BrokenEscape),
            ("/a%2", BrokenEscape),
            ("/a%zz", BrokenEscape),
            ("/a%+1", BrokenEscape),
            ("/a%u0069", BrokenEscape),
            ("/a%00", ForbiddenEscape),
            ("/a%0A", ForbiddenEscape),
            ("/a%0d", ForbiddenEscape),
            ("/a%2Fb", ForbiddenEscape),
            ("/a%5cb", ForbiddenEscape),
            ("/..%2f", ForbiddenEscape),
            ("/a%09", Control),
            ("/a%7f", Control),
            ("/a b", Control),
            ("/a\tb", Control),
            ("/a\r\nb", Control),
            ("/a\\b", Backslash),
            ("/a?b", Delimiter),
            ("/a#b", Delimiter),
            ("/a%3fb", Delimiter),
            ("/a%23b", Delimiter),
            ("/%ff", NotUtf8),
            ("/%c0%af", NotUtf8),
            ("/%c0%ae%c0%ae/info", NotUtf8),
            ("/%ed%a0%80", NotUtf8),
            ("/%2569nfo", DoubleEncoded),
            ("/%25%36%39nfo", DoubleEncoded),
            ("/%252e%252e/info", DoubleEncoded),
            ("/../info", AboveRoot),
            ("/a/../../info", AboveRoot),
            ("/%2e%2e/info", AboveRoot),
            ("/9.0.4-a/../../info", AboveRoot),
            ("/cache/files/%2e%2e", TitleDots),
            ("/cache/files/..", TitleDots),
            ("/cache/files/.", TitleDots),
            ("/cache/files/..%2f", TitleDots),
            ("/cache/files/..%2F..%2finfo", TitleDots),
            ("/cache/files/x/%2e%2e%2f..%2finfo", TitleDots),
            ("/CACHE//files/x/a%2f.%2e", TitleDots),
            ("/cache/files/x/a%5c..%5cb", TitleDots),
            ("/cache/files/x/a%2f./b", ForbiddenEscape),
            ("/cache/files/x/a%00", ForbiddenEscape),
            ("/cache/files/x/a%0a", ForbiddenEscape),
            ("/cache/files/x/a%0D", ForbiddenEscape),
            ("/cache/files/x/a%ff", NotUtf8),
            ("/cache/files/x/a%", BrokenEscape),
            ("/cache/files/x/a b", Control),
            ("/cache/files/x/a\\b", Backslash),
            ("/cache/files/x%2fy/a", ForbiddenEscape),
            ("/cache/files/x%2f/", ForbiddenEscape),
            ("/cache/filesx/a%2f", ForbiddenEscape),
            ("/cache/files%2fa", ForbiddenEscape),
            ("/cache/files;x/a%2f", ForbiddenEscape),
            ("/printfile/k%2f", ForbiddenEscape),
            ("/printfile/k;x/a%2f", ForbiddenEscape),
            ("/printfile/k/a/b%2f", ForbiddenEscape),
            ("/printfile/k/..%2f..%2finfo", TitleDots),
            ("/9.0.4-a/printfile/k/a%3ftoken=x", Delimiter),
            ("/9.0.4-a/cache/files/x/a%2f", ForbiddenEscape),
            ("/9.0.4-a/cache/files/x/%252f", DoubleEncoded),
        ];
        for (sent, fault) in table {
            assert_eq!(canonical(sent), Err(fault), "{sent}");
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for plain in
            ["/", "/a/b.js", "/doc/k_1=-./c/", "/9.0.4-a/sdkjs/x/y.js", "/a/..b/.c/d..", "/a;x/$&'()*+,=:@!~"]
        {
            let path = canonical(plain).unwrap();
            assert!(matches!(path.forward, Cow::Borrowed(_)) && path.decoded.is_none(), "{plain}");
        }
    }

    #[test]
    fn document_keys() {
        for key in ["a", "A-z_0.9=", "..", &"k".repeat(240)] {
            assert!(is_document_key(key), "{key}");
        }
        for key in ["", "a/b", "a;x", "a%", "ä", "a b", "a|b", &"k".repeat(241)] {
            assert!(!is_document_key(key), "{key}");
        }
    }

    #[test]
    fn every_fault_has_its_own_name() {
        let names: std::collections::HashSet<_> = PathFault::ALL.iter().map(|f| f.reason()).collect();
        assert_eq!(names.len(), PathFault::ALL.len());
    }
}
