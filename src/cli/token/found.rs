//! Finds the token in whatever somebody copied: a header line, a body, an address, an editor's packet, or the token alone.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value;

use super::{Known, shown};
use crate::rules::carrier::{Carried, find_header};
use crate::rules::looked::Looked;
use crate::rules::shape::token_at;
use crate::rules::table::Carrier;
use crate::rules::token::TokenFault;

/// A token, and what it was taken out of.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// The token.
    pub token: String,
    /// What it was taken out of.
    pub from: String,
    /// What the gateway would have made of that, where it would not have seen the token.
    pub note: Option<String>,
}

/// Nothing to explain, and what to do about it.
#[derive(Debug, PartialEq)]
pub struct Lost {
    /// The fault a request would have.
    pub fault: TokenFault,
    /// The same in the words of the log.
    pub words: String,
    /// What to do.
    pub cure: String,
}

fn lost(fault: TokenFault, cure: impl Into<String>) -> Lost {
    Lost { fault, words: fault.to_string(), cure: cure.into() }
}

/// No token, where a request would have had it looked for.
fn missing(looked: Looked, known: &Known, cure: impl Into<String>) -> Lost {
    Lost { words: looked.missing(&known.token_fields()), ..lost(TokenFault::Missing, cure) }
}

/// Looks with the eyes of the gateway first, and with a person's where the gateway would see nothing.
pub fn find(text: &str, known: &Known) -> Result<Found, Lost> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    if text.is_empty() {
        return Err(lost(TokenFault::Missing, "give a token, a header line, a JSON body or an address"));
    }
    if let Some(json) = as_json(text) {
        return in_json(text, json, known);
    }
    if let Some(query) = as_query(text) {
        return in_query(query, known);
    }
    if let Some((name, value)) = text.split_once(':') {
        return in_header(name.trim(), value.trim(), known);
    }
    let prefixes = known.fields.iter().map(|(_, prefix)| prefix.as_str());
    let prefix = std::iter::once(known.tokens.prefix.as_str())
        .chain(prefixes)
        .find(|prefix| !prefix.is_empty() && text.starts_with(prefix));
    if let Some(prefix) = prefix {
        let from = format!("a header's value, prefix \"{}\"", shown(prefix));
        return Ok(Found { token: text[prefix.len()..].to_owned(), from, note: None });
    }
    match text.rsplit_once(char::is_whitespace) {
        Some((before, token)) if token_at(token) == Some(0) && token_at(before).is_none() => Ok(Found {
            token: token.to_owned(),
            from: "a header's value".to_owned(),
            note: Some(format!(
                "what stands before the token is not \"{}\", as [jwt] prefix has it",
                known.tokens.prefix
            )),
        }),
        _ => Ok(Found { token: text.to_owned(), from: "the token alone".to_owned(), note: None }),
    }
}

/// JSON, perhaps behind the digits of a Socket.IO packet.
fn as_json(text: &str) -> Option<&str> {
    let start = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (start.starts_with('{') || (start.starts_with('[') && start.len() < text.len())).then_some(start)
}

/// The query of an address, without its fragment.
fn as_query(text: &str) -> Option<&str> {
    let address = text.contains("://") || text.starts_with(['/', '?']);
    if !address && !text.starts_with("token=") && !text.starts_with("cmd=") {
        return None;
    }
    let text = text.split(['#', ' ']).next().unwrap_or_default();
    Some(text.split_once('?').map_or(if address { "" } else { text }, |(_, query)| query))
}

fn in_json(text: &str, json: &str, known: &Known) -> Result<Found, Lost> {
    let headers = HeaderMap::new();
    let carried = Carried { headers: &headers, query: None, body: json.as_bytes() };
    match carried.find(&[Carrier::Body], &known.tokens) {
        Ok((token, _)) => {
            let what =
                if text.len() == json.len() { "the `token` of a JSON body" } else { "an editor's packet" };
            return Ok(Found { token: token.into_owned(), from: what.to_owned(), note: None });
        }
        Err((TokenFault::Missing, _)) => {}
        Err((fault, _)) => {
            return Err(lost(fault, "the body must be one JSON object with one `token` that is a text"));
        }
    }
    let Ok(value) = serde_json::from_str::<Value>(json) else {
        return Err(lost(TokenFault::Malformed, "this looks like JSON, but it is none; was it cut off?"));
    };
    if let Some((place, token)) = deeper(&value, "", 6) {
        let from = format!("`{place}` of a JSON body or packet");
        return Ok(Found { token: token.to_owned(), from, note: None });
    }
    let claims = ["document", "c", "payload", "editorConfig", "url", "outputtype", "status"];
    let cure = if claims.iter().any(|claim| value.get(claim).is_some()) {
        "these are claims, not a token; `token sign --claims` signs them"
    } else {
        "this JSON has no `token`"
    };
    Err(missing(Looked::of_route(&[Carrier::Body]), known, cure))
}

/// The names under which editors carry tokens, outside of a body's `token`.
const NAMES: [&str; 7] =
    ["token", "jwtOpen", "jwtSession", "session", "tokenDownload", "tokenSession", "tokenHistory"];

/// A token anywhere in a packet, the nearest to its top first.
fn deeper<'v>(value: &'v Value, place: &str, depth: usize) -> Option<(String, &'v str)> {
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match value {
        Value::Object(fields) => {
            let here = NAMES.iter().find_map(|name| {
                let token = fields.get(*name)?.as_str().filter(|text| !text.is_empty())?;
                Some((below(name), token))
            });
            here.or_else(|| {
                fields
                    .iter()
                    .filter(|_| depth > 0)
                    .find_map(|(name, value)| deeper(value, &below(&shown(name)), depth - 1))
            })
        }
        Value::Array(items) => items
            .iter()
            .filter(|_| depth > 0)
            .find_map(|item| deeper(item, if place.is_empty() { "[]" } else { place }, depth - 1)),
        _ => None,
    }
}

fn in_query(query: &str, known: &Known) -> Result<Found, Lost> {
    let headers = HeaderMap::new();
    let carried = Carried { headers: &headers, query: Some(query), body: b"" };
    for (carrier, from) in [
        (Carrier::Query, "an address' `token`"),
        (Carrier::CmdDownload, "`tokenDownload` or `tokenSession` in an address' `cmd`"),
    ] {
        match carried.find(&[carrier], &known.tokens) {
            Ok((token, _)) => {
                return Ok(Found { token: token.into_owned(), from: from.to_owned(), note: None });
            }
            Err((TokenFault::Missing, _)) => {}
            Err((fault, _)) => {
                let cure =
                    "one `token`, or one `cmd` with JSON in it, percent-encoded; was the address cut off?";
                return Err(lost(fault, cure));
            }
        }
    }
    let looked = Looked::of_route(&[Carrier::Query, Carrier::CmdDownload]);
    Err(missing(looked, known, "this address has neither ?token= nor ?cmd= with a token in it"))
}

fn in_header(name: &str, value: &str, known: &Known) -> Result<Found, Lost> {
    let (Ok(field), Ok(line)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) else {
        return Err(lost(
            TokenFault::Malformed,
            "this is neither a token (letters, digits, - and _ in three parts with dots between) nor a header line",
        ));
    };
    let from = format!("a header line ({})", shown(name));
    let mut headers = HeaderMap::new();
    headers.insert(field.clone(), line);
    let own = (known.tokens.header.clone(), known.tokens.prefix.clone());
    let bearer = (AUTHORIZATION, "Bearer ".to_owned());
    for (at, prefix) in std::iter::once(&own).chain(&known.fields).chain([&bearer]) {
        if let Ok(Some(token)) = find_header(&headers, at, prefix) {
            let note = (*at == bearer.0
                && own != bearer
                && *prefix == bearer.1
                && !known.fields.contains(&bearer))
            .then(|| {
                format!(
                    "only /upload and /ai-proxy look here; [jwt] has the field \"{}\" and the prefix \"{}\"",
                    own.0, own.1
                )
            });
            return Ok(Found { token: token.to_owned(), from, note });
        }
    }
    let Some(token) = value.rsplit(char::is_whitespace).next().filter(|token| !token.is_empty()) else {
        return Err(missing(
            Looked::of_route(&[Carrier::Header, Carrier::Bearer]),
            known,
            "this field is empty",
        ));
    };
    let (header, prefix) = &own;
    let note = match field == *header {
        true => {
            format!("the gateway sees no token here: [jwt] prefix is \"{prefix}\", compared letter by letter")
        }
        false => {
            let looked = Looked::of_route(&[Carrier::Header]).places(&known.token_fields());
            format!("the gateway does not look here, but at {looked}")
        }
    };
    Ok(Found { token: token.to_owned(), from, note: Some(note) })
}

#[cfg(test)]
mod tests {
    use super::super::guess::tests::known;
    use super::*;

    #[test]
    fn is_found_in_what_people_copy() {
        let known = known();
        let table = [
            ("eyJ.a.b", "eyJ.a.b", "the token alone"),
            ("  eyJ.a.b\n", "eyJ.a.b", "the token alone"),
            ("\"eyJ.a.b\"", "eyJ.a.b", "the token alone"),
            ("Bearer eyJ.a.b", "eyJ.a.b", "a header's value"),
            ("Authorization: Bearer eyJ.a.b", "eyJ.a.b", "a header line (Authorization)"),
            ("authorization:   Bearer eyJ.a.b\r\n", "eyJ.a.b", "a header line (authorization)"),
            ("{\"c\":\"version\",\"token\":\"eyJ.a.b\"}", "eyJ.a.b", "the `token` of a JSON body"),
            ("{\"tokenSession\":\"eyJ.a.b\"}", "eyJ.a.b", "`tokenSession` of"),
            ("https://a.example/printfile/k/a.pdf?token=eyJ.a.b&x#y", "eyJ.a.b", "an address' `token`"),
            ("/printfile/k/a.pdf?x&token=eyJ%2Ea.b", "eyJ.a.b", "an address' `token`"),
            ("GET /x", "GET /x", "the token alone"),
            (
                "https://a.example/downloadas/k?cmd=%7B%22tokenDownload%22%3A%22eyJ.a.b%22%7D",
                "eyJ.a.b",
                "`tokenDownload`",
            ),
            ("40{\"data\":{\"jwtOpen\":\"x\"},\"token\":\"eyJ.a.b\"}", "eyJ.a.b", "an editor's packet"),
            ("40{\"data\":{},\"session\":\"eyJ.a.b\"}", "eyJ.a.b", "`session` of"),
            ("42[\"message\",{\"type\":\"auth\",\"jwtOpen\":\"eyJ.a.b\"}]", "eyJ.a.b", "`[].jwtOpen` of"),
        ];
        for (text, token, from) in table {
            let found = find(text, &known).unwrap_or_else(|lost| panic!("{text}: {lost:?}"));
            assert_eq!(found.token, token, "{text}");
            assert!(found.from.starts_with(from), "{text}: {}", found.from);
            assert_eq!(found.note, None, "{text}");
        }
    }

    #[test]
    fn says_where_the_gateway_would_have_seen_none() {
        let mut known = known();
        known.tokens.header = HeaderName::from_static("authorizationjwt");
        known.fields = vec![(HeaderName::from_static("x-own"), "JWT ".to_owned())];
        let table = [
            ("AuthorizationJwt: Bearer eyJ.a.b", None),
            ("X-Own: JWT eyJ.a.b", None),
            ("JWT eyJ.a.b", None),
            ("AuthorizationJwt: bearer eyJ.a.b", Some("letter by letter")),
            ("X-Other: eyJ.a.b", Some("does not look here")),
            ("Authorization: Bearer eyJ.a.b", Some("only /upload and /ai-proxy")),
            ("Token eyJ.a.b", Some("as [jwt] prefix has it")),
        ];
        for (text, note) in table {
            let found = find(text, &known).unwrap();
            assert_eq!(found.token, "eyJ.a.b", "{text}");
            match note {
                None => assert_eq!(found.note, None, "{text}"),
                Some(words) => assert!(found.note.unwrap().contains(words), "{text}"),
            }
        }
    }

    #[test]
    fn garbage_has_a_cure() {
        let known = known();
        let table = [
            ("", "token_missing", "give a token"),
            (" \n ", "token_missing", "give a token"),
            ("{\"c\":\"version\"}", "token_missing", "token sign --claims"),
            ("{\"x\":1}", "token_missing", "has no `token`"),
            ("{\"token\":1}", "token_malformed", "one `token` that is a text"),
            ("{\"token\":\"a\",\"token\":\"b\"}", "token_ambiguous", "one `token` that is a text"),
            ("{\"token\":\"a\"", "token_malformed", "one JSON object"),
            ("https://a.example/x", "token_missing", "neither ?token= nor ?cmd="),
            ("https://a.example/x?token=a&token=b", "token_ambiguous", "was the address cut off?"),
            ("https://a.example/x?cmd=%7B", "token_malformed", "was the address cut off?"),
            ("Authorization:", "token_missing", "empty"),
            ("a b: c", "token_malformed", "nor a header line"),
        ];
        for (text, reason, cure) in table {
            let lost = find(text, &known).unwrap_err();
            assert_eq!(lost.fault.reason(), reason, "{text}");
            assert!(lost.cure.contains(cure), "{text}: {}", lost.cure);
        }
    }
}
