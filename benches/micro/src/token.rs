//! Tokens, signed as the Document Server and RapidPM sign them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// What everything here is signed with.
pub const SECRET: &[u8] = b"bench-secret-0123456789abcdef0123456789";

/// Seconds since 1970 at which everything here happens: 22 November 2026.
const NOW: u64 = 1_795_320_021;

/// When everything here happens.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Signs `claims` with HS256.
///
/// # Panics
/// If the library cannot sign, which it can.
#[expect(clippy::unwrap_used, reason = "a bench without a token measures nothing")]
pub fn sign(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// The document of everything here.
pub const KEY: &str = "rapidpm-4711-v12_a1b2c3d4";

/// The claims of the token that RapidPM opens the document with, as one was captured.
pub fn open() -> Value {
    json!({
        "iat": NOW, "exp": NOW + 3600,
        "document": {
            "fileType": "docx", "key": KEY, "title": "t.docx", "url": "https://rapidpm.example/files/t.docx",
            "permissions": {"edit": true, "download": true, "print": true}
        },
        "documentType": "word",
        "editorConfig": {
            "callbackUrl": "https://rapidpm.example/callback", "lang": "en", "mode": "edit",
            "user": {"id": "u1", "name": "User u1"},
            "customization": {"forcesave": true, "autosave": true, "compactHeader": true, "plugins": false, "macros": false}
        },
        "width": "100%", "height": "100%", "type": "desktop"
    })
}

/// The claims of the token that the Document Server gives an editor once it is connected, as one was captured.
pub fn session() -> Value {
    json!({
        "document": {
            "key": KEY, "permissions": {"edit": true, "download": true, "print": true}, "ds_encrypted": false
        },
        "editorConfig": {
            "user": {"id": "u1", "name": "User u1", "index": 1},
            "ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": NOW * 1000
        },
        "iat": NOW, "exp": NOW + 30 * 24 * 3600
    })
}

/// A session token as long as it may be with at most `length` characters.
pub fn session_of(length: usize) -> String {
    let mut claims = session();
    claims["padding"] = Value::from("");
    let bytes = length.saturating_sub(sign(&claims).len()) * 3 / 4; // four characters of a token are three bytes
    claims["padding"] = Value::from("x".repeat(bytes));
    sign(&claims)
}
