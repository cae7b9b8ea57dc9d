//! A callback of the Document Server: whether it is genuine, and what is to be done with it (design: verify, then plan).
//!
//! The Document Server signs a callback twice (protocol.md 2.5): the body's `token` holds every field flat, the header's holds
//! them below `payload` and is cut, together with the plain body, when it grows too long. So the body's token is looked at
//! first, a bad one there is not rescued by the header, and the plan works on the claims. Each field of the body must be
//! among the claims with the same value; claims may hold more. Real bodies never hold what their token does not, not even when
//! `changesurl` and `history` were cut, so there is no exception to that.
//!
//! Body and header go to the application as they came, and nobody knows which of them it believes. So the header's token must
//! hold as well where there is one, and say nothing else; and no field of the body may be there twice.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use hyper::Uri;
use hyper::header::HeaderMap;
use serde_json::{Map, Value};

use super::carrier::{Carried, TokenField, find_header};
use super::class::{Class, Reading};
use super::host::{Authority, PublicUrl};
use super::looked::{Looked, Place};
use super::objection::{Ground, Objection};
use super::plain::Plain;
use super::policy::Refusal;
use super::table::Carrier;
use super::token::{Settings, TokenFault};
use super::urlhost;

/// Largest body that is read. A callback of a very long history (threshold: 60 entries in 7 KiB) stays far below.
pub const LARGEST: usize = 1 << 20;

/// Where its token is looked for.
const LOOKED: Looked = Looked::of_relay(&[Carrier::Body, Carrier::Header]);

/// What is wrong with a callback whose token may well hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackFault {
    /// The body is not one JSON object in UTF-8 whose fields are there once.
    Malformed,
    /// The body or the header's token says something that the token which counts does not.
    Mismatch(Differs),
    /// A status that no callback of this Document Server has.
    Status,
}

impl CallbackFault {
    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "callback_malformed",
            Self::Mismatch(_) => "callback_mismatch",
            Self::Status => "callback_status",
        }
    }
}

impl fmt::Display for CallbackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => {
                f.write_str("the callback's body is not one JSON object whose fields are there once")
            }
            Self::Mismatch(differs) => differs.fmt(f),
            Self::Status => f.write_str("the callback's status is none of 1, 2, 3, 4, 6, 7"),
        }
    }
}

/// The first field of a callback that is said in two ways: its name, never what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differs {
    name: [u8; LONGEST_NAME],
    in_header: bool,
}

/// The longest name of a field that a callback has is `changeshistory`.
const LONGEST_NAME: usize = 24;

impl Differs {
    /// The body says something else than its token.
    pub fn in_body(name: &str) -> Self {
        Self { name: plain(name), in_header: false }
    }

    /// The header's token says something else than the body's.
    fn in_header(name: &str) -> Self {
        Self { name: plain(name), in_header: true }
    }
}

/// Names are whoever's who sent the body: only what looks like one is told.
fn plain(name: &str) -> [u8; LONGEST_NAME] {
    let mut kept = [0; LONGEST_NAME];
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && let Some(place) = kept.get_mut(..name.len())
    {
        place.copy_from_slice(name.as_bytes());
    }
    kept
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.name).unwrap_or_default().trim_end_matches('\0') {
            "" => f.write_str("a field that no callback has")?,
            name => write!(f, "`{name}`")?,
        }
        f.write_str(match self.in_header {
            false => " in the callback's body is not what its token says",
            true => " in the header's token is not what the body's token says",
        })
    }
}

/// `status` of a callback (protocol.md 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// 1: somebody joined or left.
    Editing,
    /// 2: the last editor has left, here is the document.
    Saved,
    /// 3: as 2, but the conversion failed.
    Corrupted,
    /// 4: the last editor has left and nothing was changed.
    Closed,
    /// 6: saved while editing goes on.
    Forced,
    /// 7: as 6, but the conversion failed.
    ForceFailed,
}

impl Status {
    /// The status of that number. 0 is never sent, 5 belongs to mail merge, which no integration here uses.
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Editing),
            2 => Some(Self::Saved),
            3 => Some(Self::Corrupted),
            4 => Some(Self::Closed),
            6 => Some(Self::Forced),
            7 => Some(Self::ForceFailed),
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Editing => 1,
            Self::Saved => 2,
            Self::Corrupted => 3,
            Self::Closed => 4,
            Self::Forced => 6,
            Self::ForceFailed => 7,
        }
    }
}

/// What is done with a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Told at once; where nobody can be reached, the Document Server is calmed and the latest state told later.
    Report,
    /// As [`Plan::Report`], but kept on disk: a 4 is sent only once.
    Farewell,
    /// A document that must not be lost: taken over when the integrator does not take it.
    Keep,
    /// A document that is still in the session: kept until the session's end, the truth goes back.
    Spare,
    /// Told once, the answer passed back.
    Once,
}

/// A callback that is genuine.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    /// What it is about.
    pub status: Status,
    /// The document's key.
    pub key: String,
    /// Every claim but the times.
    pub claims: Map<String, Value>,
    /// Which of [`Settings::keys`] signed it.
    pub secret_index: usize,
}

impl Callback {
    /// Judges a body and the header it came with. `field` is where the Document Server puts its tokens.
    pub fn read(
        body: &[u8],
        headers: &HeaderMap,
        field: &TokenField,
        tokens: &Settings,
        now: SystemTime,
    ) -> Result<Self, Refusal> {
        let Ok(Plain(Value::Object(fields))) = serde_json::from_slice(body) else {
            return Err(Refusal::Callback(CallbackFault::Malformed));
        };
        let carried = Carried { headers, query: None, body };
        let in_header = find_header(headers, &field.name, &field.prefix);
        let in_header =
            in_header.map_err(|fault| Refusal::Token { fault, place: Place::In(Carrier::Header) })?;
        let in_header = in_header.map(|token| claims(token, Carrier::Header, tokens, now)).transpose()?;
        let (claims, secret_index) = match carried.find(&[Carrier::Body], tokens) {
            Ok((token, carrier)) => {
                let (claims, secret_index) = claims(&token, carrier, tokens, now)?;
                let differs =
                    in_header.and_then(|(other, _)| differs(&other, &claims).map(Differs::in_header));
                if let Some(differs) = differs {
                    return Err(Refusal::Callback(CallbackFault::Mismatch(differs)));
                }
                (claims, secret_index)
            }
            Err((TokenFault::Missing, _)) => in_header.ok_or(Refusal::no_token(LOOKED))?,
            Err(found) => return Err(Refusal::of_token(found, LOOKED)),
        };
        if let Some(name) = differs(&fields, &claims) {
            return Err(Refusal::Callback(CallbackFault::Mismatch(Differs::in_body(name))));
        }
        let status = claims.get("status").and_then(Value::as_u64).and_then(Status::of);
        let status = status.ok_or(Refusal::Callback(CallbackFault::Status))?;
        let key = claims.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { status, key, claims, secret_index })
    }

    /// What is to be done with it.
    pub fn plan(&self) -> Plan {
        let has_document = self.text("url").is_some();
        match self.status {
            Status::Editing => Plan::Report,
            Status::Closed => Plan::Farewell,
            _ if !has_document => Plan::Once,
            Status::Saved | Status::Corrupted => Plan::Keep,
            // A form's submission is repeated by nobody.
            Status::Forced | Status::ForceFailed if self.force_type() == Some(3) => Plan::Keep,
            Status::Forced | Status::ForceFailed => Plan::Spare,
        }
    }

    /// Whether two callbacks are the same save: on a retry the links' signatures change, their paths do not (protocol.md 4.3).
    pub fn name(&self) -> String {
        let path = self.text("url").map_or("", path_of);
        let last = self.text("lastsave").unwrap_or_default();
        format!("{}\n{}\n{path}\n{last}", self.key, self.status.number())
    }

    /// A claim that is text and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// `forcesavetype`: 0 command, 1 button, 2 timer, 3 form.
    fn force_type(&self) -> Option<u64> {
        self.claims.get("forcesavetype").and_then(Value::as_u64)
    }
}

/// What a callback's token says, and which secret signed it.
fn claims(
    token: &str,
    carrier: Carrier,
    tokens: &Settings,
    now: SystemTime,
) -> Result<(Map<String, Value>, usize), Refusal> {
    let verified =
        tokens.verify(token, now).map_err(|fault| Refusal::Token { fault, place: Place::In(carrier) })?;
    let class = Class::of(&verified.claims, Reading::Merged);
    if class != Class::Callback {
        let ground = Ground::Class { takes: &[Class::Callback] };
        return Err(Refusal::Objected(Objection { class, carrier, ground }));
    }
    Ok((layer(verified.claims), verified.secret_index))
}

/// The first of `fields` that is not among the claims.
fn differs<'f>(fields: &'f Map<String, Value>, claims: &Map<String, Value>) -> Option<&'f str> {
    let other = |(name, value): &(&String, &Value)| *name != "token" && claims.get(*name) != Some(*value);
    fields.iter().find(other).map(|(name, _)| name.as_str())
}

/// The claims that count, without times: those of the layer where the token has one.
fn layer(claims: Value) -> Map<String, Value> {
    let Value::Object(mut claims) = claims else { return Map::new() };
    let mut claims = match claims.remove("payload") {
        Some(Value::Object(payload)) => payload,
        _ => claims,
    };
    ["iat", "exp", "nbf"].into_iter().for_each(|time| drop(claims.remove(time)));
    claims
}

/// Whether a token's `url` is the URL that a request asks for: one of our own hosts, path and query byte for byte as they go over
/// the wire. A token holds the URL as the application wrote it; what a client encodes before it sends (spaces, letters beyond
/// ASCII) is encoded here too. The host matters: the Document Server signs whatever a user makes it fetch, and a token that was
/// sent to `https://evil.example/relay/…` must open nothing here.
pub fn names(url: &str, asked: &Uri, ours: Ours<'_>) -> bool {
    if !urlhost::of(url).is_some_and(|authority| ours.has(url, &authority)) {
        return false;
    }
    let asked = asked.path_and_query().map_or("", |target| target.as_str());
    let mut sent = String::with_capacity(asked.len());
    for byte in target_of(url).bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | 0x7f.. | 0..0x20 => sent.push_str(&format!("%{byte:02X}")),
            byte => sent.push(char::from(byte)),
        }
    }
    sent == asked
}

/// What this gateway is called in the URLs that lead to it.
#[derive(Debug, Clone, Copy)]
pub enum Ours<'r> {
    /// By browsers, and by whoever else comes by the public door.
    Public(&'r [PublicUrl]),
    /// By the container, which came by its own door, at this address. A name would prove nothing: whose it is, only its
    /// resolver knows.
    Address(SocketAddr),
}

impl Ours<'_> {
    fn has(self, url: &str, authority: &Authority<'_>) -> bool {
        match self {
            Self::Public(public) => {
                public.iter().any(|own| own.is_at(authority) && own.port() == authority.port.unwrap_or(443))
            }
            Self::Address(address) => {
                let ip = authority.host.trim_start_matches('[').trim_end_matches(']').parse();
                let plain = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
                plain && ip == Ok(address.ip()) && authority.port.unwrap_or(80) == address.port()
            }
        }
    }
}

/// The path of an absolute or relative URL.
pub fn path_of(url: &str) -> &str {
    target_of(url).split('?').next().unwrap_or_default()
}

/// Path and query of an absolute or relative URL: what remains of it where its host must not be believed.
pub fn target_of(url: &str) -> &str {
    let url = url.split('#').next().unwrap_or_default();
    match url.split_once("://") {
        None => url,
        Some((scheme, _)) if scheme.contains(['/', '?']) => url,
        Some((_, rest)) => rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::super::token::tests::{SECRET, settings};
    use super::*;

    fn sign(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
            .unwrap()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_320_500)
    }

    fn field() -> TokenField {
        TokenField { name: hyper::header::AUTHORIZATION, prefix: "Bearer ".into() }
    }

    fn read(body: &Value, header: Option<&str>) -> Result<Callback, &'static str> {
        read_bytes(body.to_string().as_bytes(), header)
    }

    fn read_bytes(body: &[u8], header: Option<&str>) -> Result<Callback, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(token) = header {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Callback::read(body, &headers, &field(), &settings(&[SECRET]), now()).map_err(Refusal::reason)
    }

    fn save() -> Value {
        json!({"key": "k1", "status": 2, "url": "http://ds/cache/files/data/k1_1/output.docx/output.docx?md5=a",
            "changesurl": "http://ds/c", "history": {"changes": []}, "users": ["u1"],
            "actions": [{"type": 0, "userid": "u1"}], "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "docx"})
    }

    /// As the Document Server sends it: flat in the body's token, below `payload` in the header's.
    fn signed(fields: &Value) -> (Value, String) {
        let mut claims = fields.clone();
        claims["iat"] = json!(1_795_320_437);
        claims["exp"] = json!(1_795_320_737);
        let mut body = fields.clone();
        body["token"] = json!(sign(&claims));
        (body, sign(&json!({"payload": fields, "iat": 1_795_320_437, "exp": 1_795_320_737})))
    }

    #[test]
    fn the_body_decides_and_the_header_stands_in() {
        let (body, header) = signed(&save());
        let read_whole = read(&body, Some(&header)).unwrap();
        assert_eq!((read_whole.key.as_str(), read_whole.status), ("k1", Status::Saved));
        assert!(!read_whole.claims.contains_key("exp"));
        assert!(read(&body, None).is_ok(), "the body's token alone");
        let mut bare = body.clone();
        bare.as_object_mut().unwrap().remove("token");
        assert_eq!(read(&bare, Some(&header)).unwrap().claims, read_whole.claims, "the header's alone");
        assert_eq!(read(&bare, None).unwrap_err(), "token_missing");
        let mut bad = body.clone();
        bad["token"] = json!("a.b.c");
        assert_eq!(read(&bad, Some(&header)).unwrap_err(), "token_malformed", "not rescued by the header");
    }

    #[test]
    fn what_was_cut_from_a_long_body_stays_in_the_claims() {
        let (mut body, _) = signed(&save());
        for cut in ["changesurl", "history"] {
            body.as_object_mut().unwrap().remove(cut);
        }
        assert_eq!(read(&body, None).unwrap().text("changesurl"), Some("http://ds/c"));
    }

    #[test]
    fn the_field_that_differs_is_named_and_its_value_is_not() {
        let (body, header) = signed(&save());
        let told = |body: &Value, header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", format!("Bearer {header}").parse().unwrap());
            let body = body.to_string();
            let read = Callback::read(body.as_bytes(), &headers, &field(), &settings(&[SECRET]), now());
            read.unwrap_err().to_string()
        };
        let long = "x".repeat(LONGEST_NAME + 1);
        let table = [
            ("url", "`url`"),
            ("key", "`key`"),
            ("status", "`status`"),
            ("changesurl", "`changesurl`"),
            ("new_field", "`new_field`"),
            ("", "a field that no callback has"),
            ("a\nb", "a field that no callback has"),
            ("eyJhbGciOiJIUzI1NiJ9.e30.x", "a field that no callback has"),
            (long.as_str(), "a field that no callback has"),
        ];
        for (name, words) in table {
            let mut changed = body.clone();
            changed[name] = json!("eyJhbGciOiJIUzI1NiJ9");
            let told = told(&changed, &header);
            assert_eq!(told, format!("{words} in the callback's body is not what its token says"), "{name}");
        }
        let mut other = save();
        other["users"] = json!(["u2"]);
        let (_, header) = signed(&other);
        assert_eq!(told(&body, &header), "`users` in the header's token is not what the body's token says");
    }

    #[test]
    fn every_field_that_differs_is_refused() {
        let (body, header) = signed(&save());
        for name in body.as_object().unwrap().keys().filter(|name| *name != "token") {
            for odd in [json!(null), json!("x"), json!(7), json!([]), json!({})] {
                let mut changed = body.clone();
                changed[name] = odd;
                assert_eq!(read(&changed, Some(&header)).unwrap_err(), "callback_mismatch", "{name}");
            }
        }
        let mut more = body.clone();
        more["extra"] = json!(1);
        assert_eq!(read(&more, Some(&header)).unwrap_err(), "callback_mismatch");
    }

    /// Applications read the first or the last of two; the gateway read the last.
    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let (body, header) = signed(&save());
        let body = body.to_string();
        for twice in ["\"url\":\"http://evil/x\"", "\"status\":6", "\"st\\u0061tus\":6", "\"users\":[]"] {
            let first = body.replacen('{', &format!("{{{twice},"), 1);
            assert_eq!(
                read_bytes(first.as_bytes(), Some(&header)).unwrap_err(),
                "callback_malformed",
                "{twice}"
            );
        }
        let deep = body.replace("\"type\":0", "\"type\":1,\"type\":0");
        assert_ne!(deep, body);
        assert_eq!(read_bytes(deep.as_bytes(), Some(&header)).unwrap_err(), "callback_malformed");
    }

    /// The header goes to the application as it came, and that may believe nothing else.
    #[test]
    fn a_header_that_does_not_hold_is_not_rescued_by_the_body() {
        let (body, header) = signed(&save());
        for at in 0..header.len() {
            let mut changed = header.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(read(&body, Some(&changed)).is_err(), "byte {at}");
        }
        let other = json!({"payload": {"key": "k1", "status": 2, "url": "http://ds/cache/files/data/other"}});
        assert_eq!(read(&body, Some(&sign(&other))).unwrap_err(), "callback_mismatch");
        let command = json!({"payload": {"c": "info", "key": "k1"}});
        assert_eq!(read(&body, Some(&sign(&command))).unwrap_err(), "class_not_allowed");
        let mut cut = save();
        ["changesurl", "history"]
            .into_iter()
            .for_each(|name| drop(cut.as_object_mut().unwrap().remove(name)));
        assert!(read(&body, Some(&sign(&json!({ "payload": cut })))).is_ok(), "the header may hold less");
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let (body, header) = signed(&save());
        let body = body.to_string().into_bytes();
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] = changed[at].wrapping_add(1);
            assert!(read_bytes(&changed, Some(&header)).is_err(), "byte {at}: {}", body[at] as char);
        }
        assert!(read_bytes(&body, Some(&header)).is_ok());
    }

    #[test]
    fn only_callbacks_are_callbacks() {
        for claims in [
            json!({"c": "info", "key": "k"}),
            json!({"payload": {"url": "http://x"}}),
            json!({"document": {"key": "k", "url": "u"}, "status": 2, "key": "k"}),
            json!({"status": "2", "key": "k"}),
            json!({"status": 2}),
        ] {
            assert_eq!(
                read(&json!({"token": sign(&claims)}), None).unwrap_err(),
                "class_not_allowed",
                "{claims}"
            );
        }
        for status in [0, 5, 8, 99] {
            let claims = json!({"status": status, "key": "k"});
            assert_eq!(read(&json!({"token": sign(&claims)}), None).unwrap_err(), "callback_status");
        }
        for body in ["", "[]", "x", "{\"token\":", "null", "\"text\""] {
            assert_eq!(read_bytes(body.as_bytes(), None).unwrap_err(), "callback_malformed", "{body}");
        }
        let expired = json!({"status": 2, "key": "k", "exp": 1_795_320_400});
        assert_eq!(read(&json!({"token": sign(&expired)}), None).unwrap_err(), "token_expired");
    }

    #[test]
    fn plans() {
        let url = "http://ds/cache/files/x";
        let table = [
            (json!({"status": 1}), Plan::Report),
            (json!({"status": 4}), Plan::Farewell),
            (json!({"status": 2, "url": url}), Plan::Keep),
            (json!({"status": 3, "url": url}), Plan::Keep),
            (json!({"status": 3}), Plan::Once),
            (json!({"status": 2, "url": ""}), Plan::Once),
            (json!({"status": 6, "url": url, "forcesavetype": 0}), Plan::Spare),
            (json!({"status": 6, "url": url, "forcesavetype": 1}), Plan::Spare),
            (json!({"status": 6, "url": url, "forcesavetype": 2}), Plan::Spare),
            (json!({"status": 6, "url": url, "forcesavetype": 3}), Plan::Keep),
            (json!({"status": 7, "url": url, "forcesavetype": 3}), Plan::Keep),
            (json!({"status": 7, "url": url}), Plan::Spare),
            (json!({"status": 7}), Plan::Once),
        ];
        for (mut claims, plan) in table {
            claims["key"] = json!("k");
            let callback = read(&json!({"token": sign(&claims)}), None).unwrap();
            assert_eq!(callback.plan(), plan, "{claims}");
        }
    }

    #[test]
    fn a_retry_has_the_same_name() {
        let mut again = save();
        again["url"] = json!("https://other/cache/files/data/k1_1/output.docx/output.docx?md5=b&expires=9");
        let name = |fields: &Value| read(&signed(fields).0, None).unwrap().name();
        assert_eq!(name(&save()), name(&again));
        for (field, other) in
            [("key", json!("k2")), ("status", json!(6)), ("lastsave", json!("x")), ("url", json!("/y"))]
        {
            let mut another = save();
            another[field] = other;
            assert_ne!(name(&save()), name(&another), "{field}");
        }
    }

    #[test]
    fn of_a_url_only_path_and_query_count() {
        for (url, target) in [
            ("http://ds:8088/a/b?c=d#e", "/a/b?c=d"),
            ("/a?b=http://x/y", "/a?b=http://x/y"),
            ("https://evil@ds/a", "/a"),
            ("https://ds", "/"),
            ("https://ds?x", "?x"),
        ] {
            assert_eq!(target_of(url), target, "{url}");
        }
    }
}
