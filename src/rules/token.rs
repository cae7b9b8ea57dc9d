//! Whether a token's signature and times hold. Where a request carries it and what it may be used for is judged elsewhere.
//!
//! Verification accepts what the Document Server's accepts (protocol.md 2.2) and no more: the algorithm comes from the
//! settings, never from the token, and nothing a token's head points to (`jwk jku x5u kid`) is ever acted on.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderName;
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::looked::MISSING;
use crate::secret::Secret;

/// Largest token that is looked at. Real ones are below 10 KB (callbacks with a long history); verifying takes about 3 µs per KB.
pub const MAX_TOKEN: usize = 64 * 1024;

/// An algorithm that `[jwt] algorithms` may name: those with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// What the Document Server and RapidPM sign with.
    Hs256,
    /// Accepted by the Document Server.
    Hs384,
    /// Accepted by the Document Server.
    Hs512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    /// The name in a token's head and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// The algorithm of that name, written exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    const fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
        }
    }
}

/// A secret, ready for checking signatures.
pub struct VerifyingKey {
    key: DecodingKey,
    secret: Secret,
}

impl VerifyingKey {
    /// Takes copies that are wiped on drop.
    pub fn new(secret: &Secret) -> Self {
        Self { key: DecodingKey::from_secret(secret.expose()), secret: secret.clone() }
    }

    /// What it was made from: to be compared, and for what else is signed with it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(…)")
    }
}

/// `[jwt]`, ready to use.
#[derive(Debug)]
pub struct Settings {
    /// In the order in which they are tried: the present secret, then the previous ones.
    pub keys: Vec<VerifyingKey>,
    /// What a token may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Where [`super::table::Carrier::Header`] looks.
    pub header: HeaderName,
    /// What stands before a token there; compared with case, as the Document Server does.
    pub prefix: String,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// No carrier of the route holds one.
    Missing,
    /// A carrier holds several, or one that the Document Server might read differently.
    Ambiguous,
    /// Not a signed token of three parts with JSON in them.
    Malformed,
    /// Longer than [`MAX_TOKEN`].
    TooLarge,
    /// Its head names an algorithm that the settings do not.
    Algorithm,
    /// Its head marks something as critical; nothing of that kind is understood here.
    Critical,
    /// No secret made this signature.
    Signature,
    /// `exp` or `nbf` is no number.
    BadTime,
    /// Past its `exp` and the leeway.
    Expired {
        /// Since when, without the leeway.
        by: Duration,
    },
    /// Before its `nbf` and the leeway.
    NotYet {
        /// Until when, without the leeway.
        by: Duration,
    },
}

impl TokenFault {
    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Ambiguous => "token_ambiguous",
            Self::Malformed => "token_malformed",
            Self::TooLarge => "token_too_large",
            Self::Algorithm => "token_algorithm",
            Self::Critical => "token_critical",
            Self::Signature => "token_signature",
            Self::BadTime => "token_bad_time",
            Self::Expired { .. } => "token_expired",
            Self::NotYet { .. } => "token_not_yet",
        }
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(MISSING),
            Self::Ambiguous => {
                f.write_str("the request carries more than one token, or one that can be read in two ways")
            }
            Self::Malformed => f.write_str("the token is not three parts of base64url with JSON in them"),
            Self::TooLarge => write!(f, "the token is longer than {} KiB", MAX_TOKEN / 1024),
            Self::Algorithm => f.write_str("the token names an algorithm that [jwt] algorithms does not"),
            Self::Critical => f.write_str("the token demands an extension that is not understood"),
            Self::Signature => f.write_str("the token was signed with another secret, or altered"),
            Self::BadTime => f.write_str("the token's exp or nbf is not a number"),
            Self::Expired { by } => write!(f, "the token expired {} s ago; compare the clocks", by.as_secs()),
            Self::NotYet { by } => {
                write!(f, "the token is not valid for another {} s; compare the clocks", by.as_secs())
            }
        }
    }
}

impl std::error::Error for TokenFault {}

/// A token that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Its claims: always an object. Of equal keys the last counts, as in JavaScript.
    pub claims: Value,
    /// Which of [`Settings::keys`] made the signature; above 0 the signer still uses an older secret.
    pub secret_index: usize,
}

/// What of a token's head matters. Everything else in it is ignored; equal keys are refused.
#[derive(Deserialize)]
struct Head<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    crit: Option<IgnoredAny>,
}

/// `{"alg":"HS256","typ":"JWT"}`, as the Document Server writes it, and `{"typ":"JWT","alg":"HS256"}`, as others do: nearly every
/// token begins so, and needs no reader of JSON to say what it says.
const USUAL_HEADS: [&str; 2] =
    ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9"];

/// What a token says about time.
#[derive(Clone, Copy)]
struct Times {
    now: f64,
    leeway: f64,
}

impl Settings {
    /// Whether `token` holds at `now`.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(head), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        let algorithm = self.algorithm(head)?;
        let signed = token.get(..head.len() + 1 + payload.len()).ok_or(TokenFault::Malformed)?;
        let secret_index = self.signer(signed, signature, algorithm)?;
        let claims = decode_part(payload)?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| TokenFault::Malformed)?;
        if !claims.is_object() {
            return Err(TokenFault::Malformed);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
        if has_prototype(&claims) {
            return Err(TokenFault::Ambiguous);
        }
        Times { now, leeway: self.leeway.as_secs_f64() }.check(&claims)?;
        Ok(Verified { claims, secret_index })
    }

    fn algorithm(&self, head: &str) -> Result<Algorithm, TokenFault> {
        if USUAL_HEADS.contains(&head) && self.algorithms.contains(&Algorithm::Hs256) {
            return Ok(Algorithm::Hs256);
        }
        let head = decode_part(head)?;
        if !head.starts_with(b"{") {
            return Err(TokenFault::Malformed); // serde would also take a list for a struct
        }
        let head: Head<'_> = serde_json::from_slice(&head).map_err(|_| TokenFault::Malformed)?;
        if head.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        self.algorithms.iter().copied().find(|a| a.name() == head.alg).ok_or(TokenFault::Algorithm)
    }

    fn signer(&self, signed: &str, signature: &str, algorithm: Algorithm) -> Result<usize, TokenFault> {
        if signature.is_empty() {
            return Err(TokenFault::Signature);
        }
        for (index, key) in self.keys.iter().enumerate() {
            match crypto::verify(signature, signed.as_bytes(), &key.key, algorithm.of_library()) {
                Ok(true) => return Ok(index),
                Ok(false) => {}
                Err(_) => return Err(TokenFault::Malformed), // the signature is not base64url
            }
        }
        Err(TokenFault::Signature)
    }
}

impl Times {
    /// As node's jsonwebtoken 9: expired at `exp` + leeway, not before `nbf` - leeway, both optional, `aud` and `iat` not looked at.
    fn check(self, claims: &Value) -> Result<(), TokenFault> {
        let seconds = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(TokenFault::BadTime),
        };
        let apart = |difference: f64| Duration::try_from_secs_f64(difference).unwrap_or(Duration::MAX);
        if let Some(nbf) = seconds("nbf")?
            && nbf > self.now + self.leeway
        {
            return Err(TokenFault::NotYet { by: apart(nbf - self.now) });
        }
        if let Some(exp) = seconds("exp")?
            && self.now >= exp + self.leeway
        {
            return Err(TokenFault::Expired { by: apart(self.now - exp) });
        }
        Ok(())
    }
}

/// Whether claims hold a `__proto__` where the Document Server lays them over each other: `Object.assign` makes its fields
/// readable as claims there (S: DocsCoServer.js:1504-1550), which nobody sees who only looks at the claims.
fn has_prototype(claims: &Value) -> bool {
    let holds = |layer: Option<&Value>| layer.is_some_and(|layer| layer.get("__proto__").is_some());
    holds(Some(claims)) || holds(claims.get("payload")) || holds(claims.get("query"))
}

fn decode_part(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
pub(super) mod tests {
    use jsonwebtoken::EncodingKey;
    use serde_json::json;

    use super::*;

    /// The secret of the captured traffic (captures/README.md).
    pub(in super::super) const SECRET: &str = "rig-secret-0123456789abcdef0123456789";
    const OTHER: &str = "another-secret-0123456789abcdef012345";

    /// Sunday, 22 November 2026, 04:00:21 UTC: when captures/http was taken.
    pub(in super::super) const NOW: u64 = 1_795_320_021;

    pub(in super::super) fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub(in super::super) fn settings(secrets: &[&str]) -> Settings {
        Settings {
            keys: secrets.iter().map(|s| VerifyingKey::new(&Secret::new(s.as_bytes().to_vec()))).collect(),
            algorithms: vec![Algorithm::Hs256],
            leeway: Duration::from_secs(60),
            header: hyper::header::AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
        }
    }

    fn b64(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Signs whatever head and payload say, with any algorithm.
    pub(in super::super) fn sign_raw(
        head: &str,
        payload: &str,
        algorithm: Algorithm,
        secret: &str,
    ) -> String {
        let signed = format!("{}.{}", b64(head), b64(payload));
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature = crypto::sign(signed.as_bytes(), &key, algorithm.of_library()).unwrap();
        format!("{signed}.{signature}")
    }

    pub(in super::super) fn sign(claims: &Value) -> String {
        sign_raw(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), Algorithm::Hs256, SECRET)
    }

    fn verdict(token: &str) -> Result<Value, TokenFault> {
        settings(&[SECRET]).verify(token, at(NOW)).map(|v| v.claims)
    }

    #[test]
    fn real_tokens_get_the_document_servers_own_verdict() {
        let ok = Ok(json!({"c": "version"}));
        let table = [
            // captures/http 14, 18, 19, 20, 21, 22, 23, 24
            (
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiJ9.UQnS2wSSJnT4tWQ3ZiciG05VU6MrVUZDgdr5Bmk2QBk",
                ok,
            ),
            (
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiJ9.atL8WHvGray-KilVquFB7iYCOcqrYjQp4la6FTzhNwY",
                Err("token_signature"),
            ),
            (
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiIsImlhdCI6MTc5NTMxOTAyMSwiZXhwIjoxNzk1MzE5NTIxfQ.JAVrJ9_2yhhppbIc3hxUBjnyag__YaWL66UNo1OS4oE",
                Err("token_expired"),
            ),
            (
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiIsImV4cCI6MTc5NTMxOTk5MX0.7bKJlfqVJT1jTuBPjsKvWw8OCpJHUcZA7-xjhywXbTM",
                Ok(json!({"c": "version", "exp": 1_795_319_991})),
            ),
            (
                "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiIsIm5iZiI6MTc5NTMyMDUyMX0.VDaFFmrjzXFQGVCAjm3jTu8kcws9mg_ronf7kqH0MBY",
                Err("token_not_yet"),
            ),
            ("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJjIjoidmVyc2lvbiJ9.", Err("token_algorithm")),
            // The Document Server takes HS512 as well; the gateway takes what the settings name.
            (
                "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJjIjoidmVyc2lvbiJ9.vH0V7U7CXxMjwI1P_wmoyZ1kXcx4ORgKqyd54E52353ejTnyPkcfr3CtBZX7tlVsH_edZJNJIb6uNzbu19e3sw",
                Err("token_algorithm"),
            ),
            ("abc", Err("token_malformed")),
        ];
        for (token, expected) in table {
            assert_eq!(verdict(token).map_err(TokenFault::reason), expected, "{token}");
            let mut all = settings(&[OTHER, SECRET]);
            all.algorithms = Algorithm::ALL.into();
            let hs512 = token.contains("HUxMi") || token.starts_with("eyJhbGciOiJIUzUxMi");
            assert_eq!(all.verify(token, at(NOW)).is_ok(), expected.is_ok() || hs512, "{token}");
        }
    }

    #[test]
    fn usual_heads_are_read_as_if_they_were_read() {
        let read = [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#];
        assert_eq!(USUAL_HEADS.map(String::from), read.map(b64));
        for algorithms in [vec![], vec![Algorithm::Hs512], vec![Algorithm::Hs384, Algorithm::Hs256]] {
            let settings = Settings { algorithms, ..settings(&[SECRET]) };
            // A blank more is another head, which says the same.
            let other = settings.algorithm(&b64(read[0].replace(',', ", ")));
            for usual in USUAL_HEADS {
                assert_eq!(settings.algorithm(usual), other, "{settings:?}");
            }
        }
    }

    #[test]
    fn times() {
        let by = Duration::from_secs;
        let table = [
            (json!({}), Ok(())),
            (json!({"exp": NOW + 1}), Ok(())),
            (json!({"exp": NOW}), Ok(())),
            (json!({"exp": NOW - 59}), Ok(())),
            (json!({"exp": NOW - 60}), Err(TokenFault::Expired { by: by(60) })),
            (json!({"exp": NOW - 61}), Err(TokenFault::Expired { by: by(61) })),
            (json!({"exp": 0}), Err(TokenFault::Expired { by: by(NOW) })),
            (json!({"exp": -1e300}), Err(TokenFault::Expired { by: Duration::MAX })),
            (json!({"exp": 1e300}), Ok(())),
            (json!({"exp": NOW as f64 + 0.5}), Ok(())),
            (json!({"exp": NOW.to_string()}), Err(TokenFault::BadTime)),
            (json!({"exp": null}), Err(TokenFault::BadTime)),
            (json!({"exp": {}}), Err(TokenFault::BadTime)),
            (json!({"nbf": NOW + 60}), Ok(())),
            (json!({"nbf": NOW + 61}), Err(TokenFault::NotYet { by: by(61) })),
            (json!({"nbf": "x"}), Err(TokenFault::BadTime)),
            (json!({"nbf": NOW + 61, "exp": 0}), Err(TokenFault::NotYet { by: by(61) })),
            (json!({"iat": NOW + 1_000_000, "aud": "someone else"}), Ok(())),
        ];
        for (claims, expected) in table {
            assert_eq!(verdict(&sign(&claims)).map(|_| ()), expected, "{claims}");
        }
        assert!(
            settings(&[SECRET]).verify(&sign(&json!({"exp": 1})), UNIX_EPOCH).is_ok(),
            "a clock before 1970 panics nowhere"
        );
    }

    #[test]
    fn older_secrets_count_and_say_which() {
        let token = sign(&json!({"a": 1}));
        let index = |secrets: &[&str]| settings(secrets).verify(&token, at(NOW)).map(|v| v.secret_index);
        assert_eq!(index(&[SECRET, OTHER]), Ok(0));
        assert_eq!(index(&[OTHER, "x", SECRET]), Ok(2));
        assert_eq!(index(&[OTHER]), Err(TokenFault::Signature));
        assert_eq!(index(&[]), Err(TokenFault::Signature));
    }

    #[test]
    fn size() {
        let fits = sign(&json!({"a": "x".repeat(48_000)}));
        assert!(fits.len() < MAX_TOKEN && verdict(&fits).is_ok());
        let large = sign(&json!({"a": "x".repeat(50_000)}));
        assert_eq!(verdict(&large), Err(TokenFault::TooLarge));
    }

    #[test]
    fn equal_claims_the_last_counts_as_in_javascript() {
        let token = sign_raw(r#"{"alg":"HS256"}"#, r#"{"c":"info","c":"drop"}"#, Algorithm::Hs256, SECRET);
        assert_eq!(verdict(&token), Ok(json!({"c": "drop"})));
    }

    /// Heads that ask for another check than the one that is made.
    pub(in super::super) fn forged_heads() -> Vec<String> {
        let mut heads: Vec<String> = [
            "none",
            "None",
            "NONE",
            "nOnE",
            "",
            "hs256",
            "HS256 ",
            " HS256",
            "HS256\\u0000",
            "HS1",
            "RS256",
            "PS256",
            "ES256",
            "EdDSA",
            "HS384",
            "HS512",
            "ES256K",
            "A128KW",
            "dir",
        ]
        .iter()
        .map(|alg| format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#))
        .collect();
        for (name, value) in [
            ("jwk", r#"{"kty":"oct","k":"YQ"}"#),
            ("jku", r#""https://evil.example/k""#),
            ("x5u", r#""https://evil.example/c""#),
            ("x5c", r#"["MIIB"]"#),
            ("kid", r#""../../../dev/null""#),
            ("kid", r#""' UNION SELECT 'a"#),
            ("b64", "false"),
            ("zip", r#""DEF""#),
        ] {
            heads.push(format!(r#"{{"alg":"HS256","{name}":{value}}}"#));
            heads.push(format!(r#"{{"alg":"none","{name}":{value}}}"#));
        }
        heads.extend(
            [
                "null",
                "[]",
                r#"["HS256",null]"#,
                "\"HS256\"",
                "{}",
                r#"{"alg":null}"#,
                r#"{"alg":["HS256"]}"#,
                r#"{"alg":256}"#,
                r#"{"typ":"JWT"}"#,
                r#"{"alg":"HS256","alg":"none"}"#,
                r#"{"alg":"none","alg":"HS256"}"#,
                r#"{"ALG":"HS256"}"#,
                "",
                "{",
                "{\"alg\":\"HS256\"}x",
            ]
            .map(str::to_owned),
        );
        heads
    }

    /// Tokens that hold `{"c":"version"}` in some way and that nobody signed like that.
    pub(in super::super) fn forgeries() -> Vec<String> {
        let payload = r#"{"c":"version"}"#;
        let good = sign_raw(r#"{"alg":"HS256"}"#, payload, Algorithm::Hs256, SECRET);
        assert!(verdict(&good).is_ok());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let mut forged = Vec::new();
        for head in forged_heads() {
            let unsigned = format!("{}.{}", b64(&head), b64(payload));
            forged.extend([
                format!("{unsigned}."),
                format!("{unsigned}.AA"),
                format!("{unsigned}.{signature}"),
                unsigned,
            ]);
            for secret in ["", "a", "\0", OTHER, "secret"] {
                forged.push(sign_raw(&head, payload, Algorithm::Hs256, secret));
            }
        }
        // Every head but the honest one is refused even when the signature is right, unless it only adds what is ignored.
        for head in forged_heads()
            .into_iter()
            .filter(|h| !h.starts_with(r#"{"alg":"HS256",""#) || h.contains(r#""alg":"none""#))
        {
            forged.push(sign_raw(&head, payload, Algorithm::Hs256, SECRET));
            forged.push(sign_raw(&head, payload, Algorithm::Hs512, SECRET));
        }
        for crit in [r#"["exp"]"#, r#"["b64"]"#, "[]", r#""exp""#, r#"["alg","typ"]"#] {
            forged.push(sign_raw(
                &format!(r#"{{"alg":"HS256","crit":{crit},"b64":true}}"#),
                payload,
                Algorithm::Hs256,
                SECRET,
            ));
        }
        for payload in ["", "null", "[]", "\"x\"", "1", "true", "{", "{}x", "{}{}", "\u{feff}{}"] {
            forged.push(sign_raw(r#"{"alg":"HS256"}"#, payload, Algorithm::Hs256, SECRET));
        }
        forged.push(sign_raw(r#"{"alg":"HS256"}"#, payload, Algorithm::Hs384, SECRET));
        forged.extend(
            [".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d", "🙂.🙂.🙂", " . . "].map(str::to_owned),
        );
        for edit in ["=", "==", "%3D", " ", "\n", "\t", "\0", ".", "A", "é", "+", "/"] {
            forged.extend([
                format!("{good}{edit}"),
                format!("{edit}{good}"),
                format!("{signed}{edit}.{signature}"),
                good.replacen('.', &format!("{edit}."), 1),
            ]);
        }
        forged.push(format!("Bearer {good}"));
        for at in 0..good.len() {
            // One letter of the token changed: the signature over head and payload, or the signature itself, no longer fits.
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'B' { b'C' } else { b'B' };
            forged.push(String::from_utf8(bytes).unwrap());
            forged.push(good[..at].to_owned());
        }
        forged.retain(|token| !token.is_empty()); // in most places that is no token at all
        forged
    }

    #[test]
    fn three_hundred_forgeries_and_none_is_accepted() {
        let forged = forgeries();
        assert!(forged.len() > 300, "{}", forged.len());
        for token in &forged {
            let fault = verdict(token).expect_err(token);
            assert!(!fault.to_string().contains(token) || token.len() < 4, "the sentence holds the token");
        }
    }

    #[test]
    fn what_a_head_points_to_is_ignored() {
        for extra in [
            r#""kid":"a""#,
            r#""jku":"https://a.example""#,
            r#""jwk":{"kty":"oct","k":"YQ"}"#,
            r#""x5u":"https://a.example""#,
            r#""typ":"x""#,
        ] {
            let token = sign_raw(&format!(r#"{{"alg":"HS256",{extra}}}"#), "{}", Algorithm::Hs256, SECRET);
            assert_eq!(verdict(&token), Ok(json!({})), "{extra}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert!(!format!("{:?}", settings(&[SECRET])).contains("rig"));
    }
}
