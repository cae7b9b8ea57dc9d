//! Text from outside, as it may stand in a line: cut to a length, without tokens, and escaped.

use std::borrow::Cow;
use std::io;

use crate::ops::masked::Masked;

/// Longest text of a client that goes into a line; the rest is cut. Agents and paths are shorter, attacks are not.
const LONGEST: usize = 512;

/// Text that came from outside.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl<'a> Text<'a> {
    /// Cut to 512 bytes, and anything shaped like a token is masked.
    pub fn shown(self) -> Cow<'a, str> {
        if self.0.len() <= LONGEST && !Masked(self.0).hides() {
            return self.0.into();
        }
        let mut end = self.0.len().min(LONGEST);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        Masked(&self.0[..end]).to_string().into()
    }
}

/// Writes a JSON string. Almost none has anything to escape, which is found out for many bytes at a time.
pub fn string(line: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |any, byte| any | escaped(byte)) {
        return Ok(serde_json::to_writer(line, text)?);
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_long_texts_are_cut() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJjIjoidmVyc2lvbiJ9.c2ln";
        for (text, expected) in [
            (format!("/upload/{token}/x"), "/upload/[token]/x".to_owned()),
            (format!("{token}{token}"), "[token]".to_owned()),
            ("ä".repeat(400), "ä".repeat(256)),
            ("/plain".to_owned(), "/plain".to_owned()),
        ] {
            assert_eq!(Text(&text).shown(), expected);
        }
    }

    #[test]
    fn strings_are_those_of_serde_json() {
        let every: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        let each = every.chars().map(|c| format!("before {c} after"));
        for text in each.chain([every.clone(), String::new(), "\u{2028}\u{1f600}".into()]) {
            let mut line = Vec::new();
            string(&mut line, &text).unwrap();
            assert_eq!(line, serde_json::to_vec(&text).unwrap(), "{text:?}");
        }
    }
}
