//! The XML declaration: gathered whole, because it may name the encoding of all that follows.

use super::chars::is_space;

/// Longest declaration. It holds three short values; the rest could only be white space.
const LONGEST: usize = 4096;
const OPENING: &[u8] = b"<?xml";

/// A declaration on its way.
#[derive(Debug, Default)]
pub(super) struct Prolog {
    held: Vec<u8>,
    done: bool,
}

/// What the bytes so far are.
pub(super) enum Gathered {
    /// Not yet known.
    More,
    /// Known since long: pass the bytes on.
    Passed,
    /// There is no declaration: pass on what was held, then the bytes from `from` on.
    None { held: Vec<u8>, from: usize },
    /// Here it is, without its brackets; pass on the bytes from `from` on.
    Declaration { text: Vec<u8>, from: usize },
}

impl Prolog {
    pub(super) fn gather(&mut self, bytes: &[u8]) -> Gathered {
        if self.done {
            return Gathered::Passed;
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            let (from, length) = (at + 1, self.held.len());
            let is_one = match length {
                0..=5 => OPENING.starts_with(&self.held),
                6 => is_space(*byte),
                _ => length <= LONGEST,
            };
            if !is_one {
                self.done = true;
                return Gathered::None { held: std::mem::take(&mut self.held), from };
            }
            if length > 6 && self.held.ends_with(b"?>") {
                self.done = true;
                let text = self.held.get(OPENING.len()..length - 2).unwrap_or_default().to_vec();
                self.held = Vec::new();
                return Gathered::Declaration { text, from };
            }
        }
        Gathered::More
    }

    /// What is still held when the part ends.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        self.done = true;
        std::mem::take(&mut self.held)
    }
}

/// Production 23: version, then encoding and standalone if they are there, in this order. The encoding's name.
pub(super) fn encoding_of(text: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    const BAD: &str = "an XML declaration that is none";
    let mut rest = text;
    let version = pseudo_attribute(&mut rest, b"version").ok_or(BAD)?;
    // "1." and digits: the fifth edition's readers take any minor version for 1.0.
    let minor = version.strip_prefix(b"1.").ok_or("a version of XML other than 1")?;
    if minor.is_empty() || !minor.iter().all(u8::is_ascii_digit) {
        return Err("a version of XML other than 1");
    }
    let encoding = pseudo_attribute(&mut rest, b"encoding");
    if let Some(name) = encoding {
        let good = name.first().is_some_and(u8::is_ascii_alphabetic)
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !good {
            return Err("an encoding's name that is none");
        }
    }
    if let Some(value) = pseudo_attribute(&mut rest, b"standalone")
        && value != b"yes"
        && value != b"no"
    {
        return Err("standalone is neither yes nor no");
    }
    if rest.iter().all(|byte| is_space(*byte)) { Ok(encoding) } else { Err(BAD) }
}

/// Takes ` name = "value"` from the front, if it stands there.
fn pseudo_attribute<'a>(rest: &mut &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let trimmed = trim(rest);
    if trimmed.len() == rest.len() {
        return None; // white space must stand before it
    }
    let text = trim(trim(trimmed.strip_prefix(name)?).strip_prefix(b"=")?);
    let (quote, text) = text.split_first()?;
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    let end = text.iter().position(|byte| byte == quote)?;
    let (value, text) = text.split_at(end);
    *rest = text.get(1..)?;
    Some(value)
}

fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations() {
        let cases: [(&str, Result<Option<&str>, ()>); 15] = [
            (" version=\"1.0\"", Ok(None)),
            (" version = '1.0' encoding='UTF-8' standalone = \"yes\" ", Ok(Some("UTF-8"))),
            (" version=\"1.1\"", Ok(None)),
            (" version=\"1.0\" standalone='no'", Ok(None)),
            (" version=\"2.0\"", Err(())),
            (" version=\"1.\"", Err(())),
            (" encoding='UTF-8' version='1.0'", Err(())),
            (" encoding='UTF-8'", Err(())),
            (" version='1.0'encoding='UTF-8'", Err(())),
            (" version='1.0' encoding='8'", Err(())),
            (" version='1.0' encoding=''", Err(())),
            (" version='1.0' standalone='YES'", Err(())),
            (" version='1.0' standalone='yes' encoding='a'", Err(())),
            (" version='1.0\"", Err(())),
            (" version='1.0' more", Err(())),
        ];
        for (text, expected) in cases {
            let found = encoding_of(text.as_bytes()).map_err(|_| ());
            assert_eq!(found, expected.map(|name| name.map(str::as_bytes)), "{text}");
        }
    }
}
