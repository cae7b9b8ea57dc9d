//! Text from outside with everything in it masked that is shaped like a token, for whoever shows it to people.

use std::fmt::{self, Display, Formatter};

/// Every JWT begins with `{"`, which is `eyJ` in base64url. In an address each letter may be written as `%xx`, too.
const MARK: [[&str; 3]; 3] = [["e", "%65", "%65"], ["y", "%79", "%79"], ["J", "%4a", "%4A"]];

/// The text, with `[token]` for each token.
#[derive(Debug, Clone, Copy)]
pub struct Masked<'a>(pub &'a str);

impl Masked<'_> {
    /// Whether there is anything to mask.
    pub fn hides(self) -> bool {
        mark(self.0).is_some()
    }
}

impl Display for Masked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = mark(rest) {
            f.write_str(&rest[..at])?;
            f.write_str("[token]")?;
            let token = &rest[at..];
            // A dot between its parts may be written as `%2e`.
            let is_over = |c: char| !c.is_ascii_alphanumeric() && !"-_.%".contains(c);
            rest = &token[token.find(is_over).unwrap_or(token.len())..];
        }
        f.write_str(rest)
    }
}

/// Where the first token begins.
fn mark(text: &str) -> Option<usize> {
    // Most texts have neither of the bytes without which there is none, which is found out for many bytes at a time.
    if !text.bytes().fold(false, |any, byte| any | (byte == b'J') | (byte == b'%')) {
        return None;
    }
    let begins = |at: usize| {
        let letter = |rest: &'_ str, ways: [&str; 3]| {
            ways.iter().find_map(|way| Some(rest.len() - rest.strip_prefix(way)?.len()))
        };
        MARK.iter().try_fold(at, |at, ways| Some(at + letter(&text[at..], *ways)?)).is_some()
    };
    text.match_indices(['e', '%']).map(|(at, _)| at).find(|at| begins(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_masked_however_they_are_written() {
        for (text, shown) in [
            ("", ""),
            ("/web-apps/keyJoe/eye", "/web-apps/k[token]/eye"),
            ("/a/eyJhbGciOi.eyJj.S-g_/b", "/a/[token]/b"),
            ("/eyJhbGciOi%2eeyJj%2ES-g_?x", "/[token]?x"),
            ("/%65%79%4ahbG%63i.x y", "/[token] y"),
            ("%65yJ%4A and e%79%4Ax", "[token] and [token]"),
            ("ey", "ey"),
            ("%65%79", "%65%79"),
            ("%6é%", "%6é%"),
        ] {
            assert_eq!((Masked(text).to_string().as_str(), Masked(text).hides()), (shown, text != shown));
        }
    }
}
