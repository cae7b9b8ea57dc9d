//! Paths as the container's nginx and Express see them, so that a trick which slips through a gateway really reaches the dangerous handler.

/// A request target, decoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The version prefix that was stripped, such as `9.0.4-abc`.
    pub version: Option<String>,
    /// The decoded path without prefix: merged slashes, no dot segments, letter case and trailing slash kept.
    pub path: String,
    /// The decoded path with its prefix.
    pub whole: String,
    /// The raw query.
    pub query: String,
}

impl Target {
    /// The segments in lower case: nginx and Express compare so, and a trailing slash makes no difference.
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
    }

    /// The segment at `index` as it was written.
    pub fn segment(&self, index: usize) -> Option<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).nth(index)
    }

    /// The first value of a query field.
    pub fn field(&self, name: &str) -> Option<String> {
        fields(&self.query).into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// Reads a request target. `None` is what nginx answers with 400: a broken escape, a NUL or a climb above the root.
pub(crate) fn target(raw: &str) -> Option<Target> {
    let raw = match raw.split_once("://") {
        Some((_, rest)) if !raw.starts_with('/') => rest.find('/').map_or("/", |start| &rest[start..]),
        _ => raw,
    };
    let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
    let decoded = String::from_utf8_lossy(&decode(path, false)?).into_owned();
    if decoded.contains('\0') {
        return None;
    }
    let whole = resolve(&decoded)?;
    let (version, path) = strip_version(&whole);
    Some(Target { version, path, whole: whole.clone(), query: query.to_owned() })
}

/// The fields of a query or form, decoded.
pub(crate) fn fields(query: &str) -> Vec<(String, String)> {
    let text = |part: &str| {
        let bytes = decode(part, true).unwrap_or_else(|| part.as_bytes().to_vec());
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (text(k), text(v))).collect()
}

/// Everything but letters, digits and `-_.!~*'()` as `%XX`, as JavaScript's `encodeURIComponent` does.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str, form: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if form => out.push(b' '),
            byte => out.push(byte),
        }
    }
    Some(out)
}

fn resolve(path: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    let trailing = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop()?;
            }
            part => kept.push(part),
        }
    }
    let mut out = format!("/{}", kept.join("/"));
    if trailing && !kept.is_empty() {
        out.push('/');
    }
    Some(out)
}

/// Strips `/N.N.N`, one of `.`, `|`, `-` and a word, once.
fn strip_version(path: &str) -> (Option<String>, String) {
    let whole = || (None, path.to_owned());
    let Some((first, rest)) = path[1..].split_once('/') else { return whole() };
    let numbers = first.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(first.len());
    let mut parts = first.splitn(3, '.');
    let digits =
        |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    if !digits(parts.next()) || !digits(parts.next()) || numbers == 0 {
        return whole();
    }
    let Some(last) = parts.next() else { return whole() };
    let Some(mark) = last.find(['.', '|', '-']) else { return whole() };
    let (number, word) = (&last[..mark], &last[mark + 1..]);
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !digits(Some(number)) || !is_word {
        return whole();
    }
    (Some(first.to_owned()), format!("/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> String {
        target(raw).map_or_else(|| "400".into(), |target| target.path)
    }

    #[test]
    fn every_trick_reaches_the_same_handler() {
        for raw in
            ["/info/config", "/9.0.4-xx/info/config", "/%69nfo/config", "//info/config", "/x/../info/config"]
        {
            assert_eq!(path(raw), "/info/config", "{raw}");
        }
        assert_eq!(path("/9.0.4-aa/9.0.4-aa/info/config"), "/9.0.4-aa/info/config");
        assert_eq!(path("/%2569nfo"), "/%69nfo");
        assert_eq!(path("/../x"), "400");
        assert_eq!(path("/%zz"), "400");
        assert_eq!(path("http://host/a/b?c"), "/a/b");
        assert_eq!(target("/Info/Config/").unwrap().segments(), ["info", "config"]);
    }
}
