//! Who signed a token that does not hold, and what went wrong there: found out by trying, since nobody says.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::Known;
use crate::rules::token::{Algorithm, Settings, TokenFault, VerifyingKey};
use crate::secret::Secret;

/// Who made a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// One of the secrets of `[jwt]`: 0 is the present one, then `previous`.
    Known(usize),
    /// Nobody who is known, but somebody with a spoilt copy of the present secret.
    Nearly(&'static str),
    /// Nobody who is known.
    Unknown,
}

/// Tries every secret, and the ways in which copies of the present one go wrong. Algorithms are not held against the signer.
pub fn signer(known: &mut Known, token: &str, now: SystemTime) -> Signer {
    let keys = std::mem::take(&mut known.tokens.keys);
    let algorithms = std::mem::replace(&mut known.tokens.algorithms, Algorithm::ALL.into());
    let mut tried = Vec::with_capacity(keys.len());
    let mut signer = None;
    for key in keys {
        known.tokens.keys = vec![key];
        if signer.is_none() && has_signed(&known.tokens, token, now) {
            signer = Some(Signer::Known(tried.len()));
        }
        tried.append(&mut known.tokens.keys);
    }
    if signer.is_none() {
        signer = spoilt(known.secret.expose()).into_iter().find_map(|(secret, how)| {
            known.tokens.keys = vec![VerifyingKey::new(&secret)];
            has_signed(&known.tokens, token, now).then_some(Signer::Nearly(how))
        });
    }
    known.tokens.keys = tried;
    known.tokens.algorithms = algorithms;
    signer.unwrap_or(Signer::Unknown)
}

/// Whether the signature is not what is wrong. Only what is looked at after it may be.
fn has_signed(settings: &Settings, token: &str, now: SystemTime) -> bool {
    matches!(
        settings.verify(token, now),
        Ok(_)
            | Err(TokenFault::Expired { .. }
                | TokenFault::NotYet { .. }
                | TokenFault::BadTime
                | TokenFault::Ambiguous)
    )
}

/// How copies of a secret go wrong.
fn spoilt(secret: &[u8]) -> Vec<(Secret, &'static str)> {
    let with = |before: &[u8], after: &[u8]| Secret::new([before, secret, after].concat());
    let mut all = vec![
        (with(b"", b"\n"), "the signer's copy of the secret ends with a line break"),
        (with(b"", b"\r\n"), "the signer's copy of the secret ends with a line break (CR LF)"),
        (with(b"", b"\r"), "the signer's copy of the secret ends with a carriage return"),
        (with(b"", b" "), "the signer's copy of the secret ends with a space"),
        (with(b" ", b""), "the signer's copy of the secret begins with a space"),
        (with(b"\"", b"\""), "the signer's copy of the secret has quotes around it"),
        (with(b"'", b"'"), "the signer's copy of the secret has quotes around it"),
        (
            Secret::new(secret.trim_ascii().to_vec()),
            "this gateway's secret has white space around it, the signer's has not",
        ),
        (Secret::new(secret.to_ascii_lowercase()), "the signer's copy of the secret is in lower case"),
        (Secret::new(secret.to_ascii_uppercase()), "the signer's copy of the secret is in upper case"),
    ];
    if let [b'"' | b'\'', inner @ .., b'"' | b'\''] = secret {
        all.push((
            Secret::new(inner.to_vec()),
            "this gateway's secret has quotes around it, the signer's has not",
        ));
    }
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        let words =
            "the signer decodes the secret from base64; the Document Server takes it as it is written";
        all.extend(engine.decode(secret).ok().map(|bytes| (Secret::new(bytes), words)));
        let words = "the signer encodes the secret in base64; the Document Server takes it as it is written";
        all.push((Secret::new(engine.encode(secret).into_bytes()), words));
    }
    let words =
        "the signer decodes the secret from hexadecimal; the Document Server takes it as it is written";
    all.extend(from_hex(secret).map(|bytes| (Secret::new(bytes), words)));
    all.retain(|(candidate, _)| !candidate.is_empty());
    all
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
pub mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{Value, json};

    use super::*;
    use crate::cli::token::sign::signed;

    /// The secret of the captured traffic.
    pub const SECRET: &str = "rig-secret-0123456789abcdef0123456789";

    /// When captures/http was taken.
    pub const NOW: u64 = 1_795_320_021;

    pub fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub fn known() -> Known {
        Known::alone(Secret::new(SECRET.into()), "a test").unwrap_or_else(|trouble| panic!("{trouble}"))
    }

    pub fn sign_as(claims: &Value, secret: &[u8]) -> String {
        signed(claims, Algorithm::Hs256, &Secret::new(secret.to_vec())).unwrap()
    }

    pub fn sign(claims: &Value) -> String {
        sign_as(claims, SECRET.as_bytes())
    }

    #[test]
    fn the_signer_is_found_out() {
        let mut known = known();
        known.tokens.keys.push(VerifyingKey::new(&Secret::new(b"older".to_vec())));
        let claims = json!({"c": "version"});
        let late = json!({"exp": NOW - 100});
        let hs512 = signed(&claims, Algorithm::Hs512, &Secret::new(SECRET.into())).unwrap();
        let table: Vec<(String, Signer)> = vec![
            (sign(&claims), Signer::Known(0)),
            (sign(&late), Signer::Known(0)),
            (sign(&json!({"exp": "x"})), Signer::Known(0)),
            (sign_as(&late, b"older"), Signer::Known(1)),
            (hs512, Signer::Known(0)),
            (sign_as(&claims, b"nobody's"), Signer::Unknown),
            ("garbage".into(), Signer::Unknown),
        ];
        for (token, expected) in table {
            assert_eq!(signer(&mut known, &token, at(NOW)), expected, "{token}");
            assert_eq!((known.tokens.keys.len(), known.tokens.algorithms.len()), (2, 1));
        }
    }

    #[test]
    fn spoilt_copies_are_recognised() {
        let secret = "ab12cd34ab12cd34ab12cd34ab12cd34";
        let table = [
            (format!("{secret}\n").into_bytes(), "line break"),
            (format!("{secret}\r\n").into_bytes(), "CR LF"),
            (format!("{secret} ").into_bytes(), "ends with a space"),
            (format!("\"{secret}\"").into_bytes(), "quotes"),
            (secret.to_uppercase().into_bytes(), "upper case"),
            (from_hex(secret.as_bytes()).unwrap(), "hexadecimal"),
            (STANDARD.decode(secret).unwrap(), "decodes the secret from base64"),
            (STANDARD.encode(secret).into_bytes(), "encodes the secret in base64"),
        ];
        for (copy, words) in table {
            let mut known = Known::alone(Secret::new(secret.into()), "a test").ok().unwrap();
            let token = sign_as(&json!({}), &copy);
            match signer(&mut known, &token, at(NOW)) {
                Signer::Nearly(how) => assert!(how.contains(words), "{how}"),
                other => panic!("{words}: {other:?}"),
            }
        }
    }
}
