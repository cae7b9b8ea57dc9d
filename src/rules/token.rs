//! Tokens: where a request carries one, whether its signature and its times hold. What a token may be used for is judged elsewhere.
//!
//! Verification accepts what the Document Server's accepts (protocol.md 2.2) and no more: the algorithm comes from the
//! settings, never from the token, and nothing a token's head points to (`jwk jku x5u kid`) is ever acted on.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::query::{self, QueryFault};
use super::table::Carrier;
use crate::secret::Secret;

/// Largest token that is looked at. Real ones are below 10 KB (callbacks with a long history); verifying takes about 3 µs per KB.
pub const MAX_TOKEN: usize = 64 * 1024;

/// The prefix of [`Carrier::Bearer`], fixed by the Document Server (S: DocService/sources/fileuploaderservice.js:95-111).
const BEARER: &str = "Bearer ";

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
pub struct VerifyingKey(DecodingKey);

impl VerifyingKey {
    /// Takes a copy that is wiped on drop.
    pub fn new(secret: &Secret) -> Self {
        Self(DecodingKey::from_secret(secret.expose()))
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
    /// Where [`Carrier::Header`] looks.
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
            Self::Missing => f.write_str("the request carries no token"),
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
        Times { now, leeway: self.leeway.as_secs_f64() }.check(&claims)?;
        Ok(Verified { claims, secret_index })
    }

    fn algorithm(&self, head: &str) -> Result<Algorithm, TokenFault> {
        let head = decode_part(head)?;
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
            match crypto::verify(signature, signed.as_bytes(), &key.0, algorithm.of_library()) {
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

fn decode_part(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)
}

/// The parts of a request in which a token may be.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'r> {
    /// Its header fields.
    pub headers: &'r HeaderMap,
    /// Its query, without the question mark.
    pub query: Option<&'r str>,
    /// Its body, where the route has it inspected; else empty.
    pub body: &'r [u8],
}

impl<'r> Carried<'r> {
    /// The token that the Document Server would look at, and where it was: the first carrier that holds one decides, and a bad
    /// one there is not rescued by a good one further on (protocol.md 2.3).
    pub fn find(
        &self,
        carriers: &[Carrier],
        settings: &Settings,
    ) -> Result<(Cow<'r, str>, Carrier), (TokenFault, Option<Carrier>)> {
        for &carrier in carriers {
            match self.look(carrier, settings) {
                Ok(Some(token)) => return Ok((token, carrier)),
                Ok(None) => {}
                Err(fault) => return Err((fault, Some(carrier))),
            }
        }
        Err((TokenFault::Missing, None))
    }

    fn look(&self, carrier: Carrier, settings: &Settings) -> Result<Option<Cow<'r, str>>, TokenFault> {
        match carrier {
            Carrier::Header => {
                find_header(self.headers, &settings.header, &settings.prefix).map(|t| t.map(Cow::Borrowed))
            }
            Carrier::Bearer => {
                find_header(self.headers, &AUTHORIZATION, BEARER).map(|t| t.map(Cow::Borrowed))
            }
            Carrier::Query => find_query(self.query),
            Carrier::Body => match find_body(self.body)? {
                InBody::Token(token) => Ok(Some(Cow::Owned(token))),
                InBody::None => Ok(None),
                InBody::NotJson => find_query(self.query),
            },
            Carrier::CmdDownload => find_cmd(self.query, CmdToken::Any),
            Carrier::CmdSession => find_cmd(self.query, CmdToken::Session),
        }
    }
}

/// The token in the field `name` behind `prefix`. Another prefix is no token, as for the Document Server; two fields of the
/// name are refused, because Node would take the first or join them.
pub fn find_header<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    prefix: &str,
) -> Result<Option<&'r str>, TokenFault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenFault::Ambiguous);
    }
    match value.as_bytes().strip_prefix(prefix.as_bytes()) {
        None | Some([]) => Ok(None),
        Some(token) => std::str::from_utf8(token).map(Some).map_err(|_| TokenFault::Malformed),
    }
}

fn find_query(query: Option<&str>) -> Result<Option<Cow<'_, str>>, TokenFault> {
    parameter(query, "token")
}

fn parameter<'q>(query: Option<&'q str>, name: &str) -> Result<Option<Cow<'q, str>>, TokenFault> {
    query::value(query.unwrap_or_default(), name).map_err(|fault| match fault {
        QueryFault::Repeated | QueryFault::Crowded => TokenFault::Ambiguous,
        QueryFault::Undecodable => TokenFault::Malformed,
    })
}

enum InBody {
    Token(String),
    None,
    NotJson,
}

/// The body's `token`, as `JSON.parse(body.toString('utf8')).token` finds it (S: DocsCoServer.js:1504-1550). What JavaScript
/// might parse and serde does not (lone surrogates, 1e999, deep nesting) is refused rather than taken for "not JSON": else the
/// Document Server would check a token that was never looked at here.
fn find_body(body: &[u8]) -> Result<InBody, TokenFault> {
    #[derive(Deserialize)]
    struct Fields {
        token: Option<Value>,
    }
    let text = String::from_utf8_lossy(body);
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if start.starts_with('{') {
        let fields: Fields = serde_json::from_str(start).map_err(|fault| match fault.is_data() {
            true => TokenFault::Ambiguous, // `token` twice
            false => TokenFault::Malformed,
        })?;
        return Ok(truthy_token(fields.token)?.map_or(InBody::None, InBody::Token));
    }
    match serde_json::from_str::<Value>(start) {
        // JavaScript's falsy values are no parameters; the query is asked instead.
        Ok(value) if !is_truthy(&value) => Ok(InBody::NotJson),
        Ok(_) => Ok(InBody::None),
        Err(_) if start.starts_with(|c: char| matches!(c, '[' | '"' | '-' | '0'..='9')) => {
            Err(TokenFault::Malformed)
        }
        Err(_) => Ok(InBody::NotJson),
    }
}

enum CmdToken {
    Any,
    Session,
}

fn find_cmd(query: Option<&str>, which: CmdToken) -> Result<Option<Cow<'_, str>>, TokenFault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cmd {
        token_download: Option<Value>,
        token_session: Option<Value>,
    }
    let Some(cmd) = parameter(query, "cmd")? else { return Ok(None) };
    let cmd: Cmd = serde_json::from_str(&cmd).map_err(|_| TokenFault::Malformed)?;
    let download = match which {
        CmdToken::Any => truthy_token(cmd.token_download)?,
        CmdToken::Session => None,
    };
    match download {
        Some(token) => Ok(Some(Cow::Owned(token))),
        None => Ok(truthy_token(cmd.token_session)?.map(Cow::Owned)),
    }
}

/// The token in a JSON field: a falsy value is none, a truthy one that is no text is a bad one.
fn truthy_token(value: Option<Value>) -> Result<Option<String>, TokenFault> {
    match value {
        Some(Value::String(token)) if !token.is_empty() => Ok(Some(token)),
        Some(value) if is_truthy(&value) => Err(TokenFault::Malformed),
        _ => Ok(None),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
