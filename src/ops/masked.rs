//! Text from outside with everything in it masked that is shaped like a token, for whoever shows it to people.

use std::fmt::{self, Display, Formatter};

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
    let bytes = text.as_bytes();
    // Most texts have nothing that could begin one, which is found out for many bytes at a time.
    let next = bytes.iter().skip(1);
    let could =
        |(byte, next): (&u8, &u8)| (*byte == b'%') | ((*byte == b'e') & ((*next == b'y') | (*next == b'w')));
    if !bytes.iter().zip(next).fold(false, |any, pair| any | could(pair)) {
        return None;
    }
    text.match_indices(['e', '%']).map(|(at, _)| at).find(|at| begins(bytes.get(*at..).unwrap_or_default()))
}

/// Every JWT begins with a JSON object, `{"` or `{` and white space, which is `eyJ`, `eyA`, `ewk`, `ewo` or `ew0` in base64url. After
/// white space comes more of it or the quote, so that names with `view0` stay readable.
fn begins(rest: &[u8]) -> bool {
    let mut letters = Letters(rest);
    let mut next = || letters.next().unwrap_or_default();
    match [next(), next(), next(), next()] {
        [b'e', b'y', b'J', _] => true,
        [b'e', b'y', b'A', after] | [b'e', b'w', b'k' | b'o' | b'0', after] => b"gJKNi".contains(&after),
        _ => false,
    }
}

/// Letters of an address, each of which may be written as `%xx`.
struct Letters<'a>(&'a [u8]);

impl Iterator for Letters<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let (letter, rest) = match self.0 {
            [b'%', high, low, rest @ ..] => (u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, rest),
            [letter, rest @ ..] => (*letter, rest),
            [] => return None,
        };
        self.0 = rest;
        Some(letter)
    }
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
            // `{ "`, `{` and a line, `{` and a line of Windows, `{` and a tabulator: all of them are taken for tokens by the gateway.
            ("/doc/eyAiYWxnIjoiSFMyNTYifQ.eyAi.S-g_/c", "/doc/[token]/c"),
            ("ewogImFsZyI.eyAi.x ew0KImFsZyI.e30.x ewkiYWxn.e30.x", "[token] [token] [token]"),
            ("%65%77%6fgImFsZyI%2ee30%2ex", "[token]"),
            ("/preview0/viewonly/ewer/keyAnn/new0ne", "/preview0/viewonly/ewer/keyAnn/new0ne"),
        ] {
            assert_eq!((Masked(text).to_string().as_str(), Masked(text).hides()), (shown, text != shown));
        }
    }
}
