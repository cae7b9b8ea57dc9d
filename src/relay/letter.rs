//! A callback on its way to an integrator: the bytes that came on the first try, the same claims signed anew on later ones; and
//! the links to kept documents that those carry.

use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use serde_json::{Map, Value, json};

use super::spool::Role;
use super::{Integrator, Scheme};
use crate::rules::carrier::TokenField;
use crate::rules::save::Id;
use crate::secret::Secret;

/// Tells tries of one save from other saves.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a link to a kept document holds: as the Document Server's own (protocol.md 4.4).
const LINK: u64 = 15 * 60;
/// How long a token holds: as the Document Server's own (default.json:480-481).
const TOKEN: u64 = 5 * 60;
/// From here on the Document Server leaves `changesurl` and `history` out of header and plain body (protocol.md 2.5).
const LONG_HEADER: usize = 7_168;

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token for the Document Server's partners; empty if the library should ever refuse, which then fails at its reader.
pub fn token(mut claims: Value, secret: &Secret, now: SystemTime) -> String {
    claims["iat"] = json!(seconds(now));
    claims["exp"] = json!(seconds(now) + TOKEN);
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.expose()))
        .unwrap_or_default()
}

/// The name of a save as its tries carry it: the same for each of them, and saying nothing about the document.
pub fn idempotency(name: &str) -> String {
    let key = EncodingKey::from_secret(b"rapidpm-gateway idempotency");
    crypto::sign(name.as_bytes(), &key, Algorithm::HS256).unwrap_or_default()
}

/// Body and header token of a later try: the claims as they were, with these in place of theirs.
pub fn signed_again(
    claims: &Map<String, Value>,
    links: Vec<(&'static str, String)>,
    secret: &Secret,
    now: SystemTime,
) -> (Bytes, String) {
    let mut claims = claims.clone();
    claims.extend(links.into_iter().map(|(name, link)| (name.to_owned(), Value::String(link))));
    let in_body = token(Value::Object(claims.clone()), secret, now);
    let nested = |claims: &Map<String, Value>| token(json!({ "payload": claims }), secret, now);
    let mut in_header = nested(&claims);
    if in_header.len() >= LONG_HEADER {
        ["changesurl", "history"].into_iter().for_each(|name| drop(claims.remove(name)));
        in_header = nested(&claims);
    }
    claims.insert("token".into(), Value::String(in_body));
    (Value::Object(claims).to_string().into(), in_header)
}

/// What a request to an integrator carries besides its target.
pub struct Envelope<'a> {
    /// The token for the integrator's header, where there is one.
    pub token: Option<&'a str>,
    /// The integrator's header and prefix.
    pub field: &'a TokenField,
    /// Names the save.
    pub idempotency: Option<String>,
    /// Names the trace that it belongs to.
    pub trace: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The request of a callback.
pub fn post(to: &Integrator, target: &str, envelope: Envelope<'_>) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::post(uri(to, target)?).body(Full::new(envelope.body)).ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, host(to)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/plain, */*"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Node.js/6.13")); // what integrators see without a gateway
    if let Some(token) = envelope.token {
        headers.insert(envelope.field.name.clone(), sensitive(&format!("{}{token}", envelope.field.prefix))?);
    }
    headers.extend(envelope.trace);
    if let Some(key) = envelope.idempotency {
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::try_from(key).ok()?);
    }
    Some(request)
}

/// A field's value that is kept out of debug output.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `target` below the integrator's URL.
pub fn uri(to: &Integrator, target: &str) -> Option<Uri> {
    format!("{}/{target}", to.path).parse().ok()
}

/// `Host` of an integrator: its port only where it is not the scheme's own.
pub fn host(to: &Integrator) -> Option<HeaderValue> {
    HeaderValue::try_from(authority(to)).ok()
}

fn authority(to: &Integrator) -> String {
    let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
    match (to.scheme, to.port) {
        (Scheme::Http, 80) | (Scheme::Https, 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

/// The integrator's own URL for `target`.
pub fn url(to: &Integrator, target: &str) -> String {
    let scheme = if to.scheme == Scheme::Http { "http" } else { "https" };
    format!("{scheme}://{}{}/{target}", authority(to), to.path)
}

/// A link to a kept document below `public`, which is `host[:port][/path]`.
pub fn link(public: &str, id: Id, role: Role, name: &str, secret: &Secret, now: SystemTime) -> String {
    let what = format!("{:016x}-{}/{name}", id.0, role.name());
    let expires = seconds(now) + LINK;
    let signature = crypto::sign(
        statement(&what, expires).as_bytes(),
        &EncodingKey::from_secret(secret.expose()),
        Algorithm::HS256,
    );
    format!("https://{public}/saved/{what}?expires={expires}&signature={}", signature.unwrap_or_default())
}

/// What a link is signed over. The line break keeps it apart from everything that is ever signed as a token.
fn statement(what: &str, expires: u64) -> String {
    format!("saved\n{what}\n{expires}")
}

/// Which document a link names, if it is ours and its time is not over. A link outlives a change of the secret that it
/// was signed with, as long as that is still accepted.
pub fn open_link<'s>(
    rest: &str,
    query: &str,
    mut secrets: impl Iterator<Item = &'s Secret>,
    now: SystemTime,
) -> Option<(Id, Role)> {
    let (expires, signature) = query.strip_prefix("expires=")?.split_once("&signature=")?;
    let expires: u64 = expires.parse().ok()?;
    let statement = statement(rest, expires);
    let holds = |secret: &Secret| {
        let key = DecodingKey::from_secret(secret.expose());
        crypto::verify(signature, statement.as_bytes(), &key, Algorithm::HS256).unwrap_or(false)
    };
    if signature.is_empty() || !secrets.any(holds) || seconds(now) >= expires {
        return None;
    }
    let (id, role) = rest.split_once('/')?.0.split_once('-')?;
    Some((Id(u64::from_str_radix(id, 16).ok()?), Role::of(role)?))
}

/// What a download token says, without its signature: for the integrator's own URL.
pub fn download(url: &str, secret: &Secret, now: SystemTime) -> String {
    token(json!({"payload": {"url": url}}), secret, now)
}

/// The last segment of a path, as far as it can stand in a link and in a file's name.
pub fn last_segment(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '%');
    let name: String = last.chars().filter(is_plain).take(120).collect();
    if name.is_empty() { "document".into() } else { name }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn secret() -> Secret {
        Secret::new(b"0123456789abcdef0123456789abcdef".to_vec())
    }

    #[test]
    fn a_link_opens_what_it_names_for_a_quarter_of_an_hour() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let link = link("gate.example/x", Id(77), Role::Changes, "changes.zip", &secret(), now);
        let (rest, query) = link.split_once("/saved/").unwrap().1.split_once('?').unwrap();
        let open = |rest: &str, query: &str, after| {
            let secrets = [Secret::new(b"a newer one".to_vec()), secret()];
            open_link(rest, query, secrets.iter(), now + Duration::from_secs(after))
        };
        assert_eq!(open(rest, query, 899), Some((Id(77), Role::Changes)));
        assert_eq!(open(rest, query, 900), None);
        assert_eq!(open(rest, &query.replace("expires=1", "expires=2"), 0), None);
        for other in
            [rest.replace("4d", "4e"), rest.replace("changes-", "document-"), rest.replace(".zip", ".exe")]
        {
            assert!(other == rest || open(&other, query, 0).is_none(), "{other}");
        }
        for query in ["", "expires=9999999999&signature=", "expires=x&signature=y", "signature=a&expires=1"] {
            assert_eq!(open(rest, query, 0), None, "{query}");
        }
    }

    #[test]
    fn a_long_history_is_cut_where_the_document_server_cuts_it() {
        let claims = json!({"key": "k", "status": 2, "url": "u", "history": vec!["x".repeat(100); 80]});
        let links = vec![("url", "https://new".to_owned())];
        let (body, header) = signed_again(claims.as_object().unwrap(), links, &secret(), SystemTime::now());
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body.get("history").is_none() && header.len() < LONG_HEADER);
        assert_eq!(body["url"], "https://new");
        let payload = body["token"].as_str().unwrap().split('.').nth(1).unwrap();
        let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(payload["history"].as_array().map(Vec::len), Some(80));
    }

    #[test]
    fn names_of_links_hold_nothing_that_leads_elsewhere() {
        for (path, name) in [
            ("/a/output.docx", "output.docx"),
            ("/a/", "document"),
            ("/a/x%2fy", "x%2fy"),
            ("/a/b\"c<d", "bcd"),
        ] {
            assert_eq!(last_segment(path), name);
        }
    }
}
