//! What a token looks like in a text from outside, for whoever must not write one down.

/// Where the first token begins.
pub fn token_at(text: &str) -> Option<usize> {
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
    fn whatever_holds_as_a_token_is_seen() {
        for (text, at) in [
            ("eyJhbGciOi.e30.x", Some(0)),
            ("a eyAiYWxn", Some(2)), // `{ "`
            ("ewogImFsZyI", Some(0)),
            ("ew0KImFsZyI", Some(0)),
            ("ewkiYWxn", Some(0)),
            ("/%65yJ", Some(1)),
            ("%e%65%77%6f%67", Some(2)),
            ("view0g", Some(2)), // rather too much than too little
            ("preview0-viewonly-key", None),
            ("eyA", None),
            ("ey%4", None),
            ("%", None),
            ("", None),
        ] {
            assert_eq!(token_at(text), at, "{text}");
        }
    }
}
