//! Tokens of every class, so that a test can hand the right and the wrong one to every route.

use crate::clock::{self, Now};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

/// How long after `exp` the Document Server still accepts a token.
const TOLERANCE: i64 = 60;

/// Signs `claims` with HS256 and adds nothing to them.
pub fn sign(secret: &str, claims: &Value) -> String {
    sign_with(secret, Algorithm::HS256, claims)
}

/// Signs `claims` with an algorithm of the HS family.
pub fn sign_with(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("claims are JSON")
}

/// A token without a signature, with `"alg":"none"` in its header.
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(claims))
}

/// The same claims with `iat` and an `exp` that is `seconds` from `now` away, negative for the past.
pub fn expiring(mut claims: Value, now: &Now, seconds: i64) -> Value {
    let issued = clock::seconds(now);
    claims["iat"] = json!(issued);
    claims["exp"] = json!(issued.saturating_add_signed(seconds));
    claims
}

/// *open*: what RapidPM signs for an editor. `mode` is `edit` or `view`.
pub fn open(key: &str, url: &str, callback_url: &str, user: (&str, &str), mode: &str) -> Value {
    let extension = url.split(['?', '#']).next().and_then(|path| path.rsplit_once('.'));
    let kind = extension.map_or("txt", |(_, kind)| kind);
    json!({
        "document": {
            "fileType": kind, "key": key, "title": format!("{key}.{kind}"), "url": url,
            "permissions": {"edit": mode != "view", "download": true, "print": true},
        },
        "documentType": "word",
        "editorConfig": {
            "callbackUrl": callback_url, "mode": mode, "user": {"id": user.0, "name": user.1},
        },
    })
}

/// *history*: an older version of a document.
pub fn history(key: &str, version: u32, url: &str) -> Value {
    json!({"version": version, "key": key, "url": url, "fileType": "docx"})
}

/// *insert*: an image that may be put into a document.
pub fn insert(url: &str) -> Value {
    json!({"c": "add", "images": [{"fileType": "png", "url": url}]})
}

/// *command*: an order for the command service, with a key where the order needs one.
pub fn command(order: &str, key: Option<&str>) -> Value {
    match key {
        Some(key) => json!({"c": order, "key": key}),
        None => json!({"c": order}),
    }
}

/// *convert*: a conversion of `url` from one type to another.
pub fn convert(key: &str, url: &str, from: &str, to: &str) -> Value {
    json!({"async": false, "filetype": from, "key": key, "outputtype": to, "title": format!("{key}.{from}"), "url": url})
}

/// *builder*: a script for the document builder.
pub fn builder(url: &str) -> Value {
    json!({"async": false, "url": url})
}

/// *session*: what the Document Server hands an editor that has joined, valid for 30 days.
pub fn session(key: &str, user: (&str, &str), index: u32, now: &Now) -> Value {
    let claims = json!({
        "document": {"key": key, "permissions": {"edit": true}, "ds_encrypted": false},
        "editorConfig": {
            "user": {"id": user.0, "name": user.1, "index": index},
            "ds_isCloseCoAuthoring": false,
            "ds_sessionTimeConnect": clock::millis(now),
        },
    });
    expiring(claims, now, 30 * 86_400)
}

/// *print*: what `/printfile` wants.
pub fn print(key: &str) -> Value {
    json!({"document": {"key": key}})
}

/// *callback*: what the Document Server signs in the body of a callback; in its header it nests under `payload`.
pub fn callback(key: &str, status: u32, url: Option<&str>, now: &Now) -> Value {
    let mut claims = json!({"key": key, "status": status});
    if let Some(url) = url {
        claims["url"] = json!(url);
    }
    expiring(claims, now, 300)
}

/// *download*: what the Document Server shows when it fetches a document.
pub fn download(url: &str, now: &Now) -> Value {
    expiring(json!({"payload": {"url": url}}), now, 300)
}

/// Why a token was refused, in the words of the Document Server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There was none.
    Missing,
    /// It is not three parts of JSON.
    Malformed,
    /// It is not signed, or not with an algorithm of the HS family.
    Unsigned,
    /// It is signed with another secret.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    Early,
}

impl Refusal {
    /// The sentence that a refused editor gets behind `token:`.
    pub fn words(self) -> &'static str {
        match self {
            Refusal::Missing => "jwt must be provided",
            Refusal::Malformed => "jwt malformed",
            Refusal::Unsigned => "jwt signature is required",
            Refusal::Signature => "invalid signature",
            Refusal::Expired => "jwt expired",
            Refusal::Early => "jwt not active",
        }
    }

    /// 4005 for a token whose time is over, else 4006.
    pub fn code(self) -> u32 {
        if self == Refusal::Expired { 4005 } else { 4006 }
    }
}

/// The claims of a token, judged as the Document Server does: HS256, 384 and 512, `exp` optional, 60 s of grace.
///
/// # Errors
/// The reason for which the Document Server would refuse it.
pub fn verify(token: Option<&str>, secret: &str, now: &Now) -> Result<Value, Refusal> {
    let token = token.filter(|token| !token.is_empty()).ok_or(Refusal::Missing)?;
    let parts: Vec<&str> = token.split('.').collect();
    if parts.len() != 3 {
        return Err(Refusal::Malformed);
    }
    if parts[2].is_empty() {
        return Err(Refusal::Unsigned);
    }
    let mut rules = Validation::new(Algorithm::HS256);
    rules.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    rules.required_spec_claims.clear();
    rules.validate_exp = false; // the clock of a test decides, below
    rules.validate_aud = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let claims = match jsonwebtoken::decode::<Value>(token, &key, &rules) {
        Ok(data) => data.claims,
        Err(error) => {
            return Err(match error.kind() {
                ErrorKind::InvalidSignature => Refusal::Signature,
                ErrorKind::InvalidAlgorithm => Refusal::Unsigned,
                _ => Refusal::Malformed,
            });
        }
    };
    let now = i64::try_from(clock::seconds(now)).unwrap_or(i64::MAX);
    if claims["nbf"].as_i64().is_some_and(|start| start > now + TOLERANCE) {
        return Err(Refusal::Early);
    }
    if claims["exp"].as_i64().is_some_and(|end| now >= end + TOLERANCE) {
        return Err(Refusal::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_judged_as_the_document_server_judges_them() {
        let now = clock::fixed(1_000_000);
        let judge = |token: &str| verify(Some(token), "secret", &now).err();
        let claims = command("version", None);
        assert_eq!(judge(&sign("secret", &claims)), None);
        assert_eq!(judge(&sign_with("secret", Algorithm::HS512, &claims)), None);
        assert_eq!(judge(&sign("other", &claims)), Some(Refusal::Signature));
        assert_eq!(judge(&unsigned(&claims)), Some(Refusal::Unsigned));
        assert_eq!(judge("abc"), Some(Refusal::Malformed));
        assert_eq!(judge(""), Some(Refusal::Missing));
        assert_eq!(judge(&sign("secret", &expiring(claims.clone(), &now, -30))), None);
        assert_eq!(judge(&sign("secret", &expiring(claims, &now, -120))), Some(Refusal::Expired));
        assert_eq!(judge(&sign("secret", &json!({"nbf": 1_000_500}))), Some(Refusal::Early));
    }
}
