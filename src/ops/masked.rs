//! Text from outside with everything in it masked that is shaped like a token, for whoever shows it to people.

use std::fmt::{self, Display, Formatter};

use crate::rules::shape::token_at;

/// The text, with `[token]` for each token.
#[derive(Debug, Clone, Copy)]
pub struct Masked<'a>(pub &'a str);

impl Masked<'_> {
    /// Whether there is anything to mask.
    pub fn hides(self) -> bool {
        token_at(self.0).is_some()
    }
}

impl Display for Masked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = token_at(rest) {
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
