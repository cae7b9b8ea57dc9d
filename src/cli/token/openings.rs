//! Which routes a token opens: asked of the rules themselves, with a request for each route and each place for a token.

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{HeaderMap as Fields, Method};
use serde_json::json;

use super::Known;
use crate::rules::carrier::Carried;
use crate::rules::objection::{Ground, Objection};
use crate::rules::path::canonical;
use crate::rules::policy::{self, Caller, Refusal};
use crate::rules::route::{self, Route};
use crate::rules::table::{Access, Carrier};

/// One route, asked with the token in one place.
#[derive(Debug)]
pub struct Opening {
    /// The route.
    pub route: Route,
    /// The request that was asked.
    pub sample: Sample,
    /// Where the token was; `None` where the route is closed whatever is shown.
    pub carrier: Option<Carrier>,
    /// What the gateway would say; objections are what it would only log.
    pub answer: Result<Vec<Objection>, Refusal>,
}

/// A request that carries a token.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// The field with the token, if it is there.
    pub header: Option<(HeaderName, String)>,
    /// Its query, if the token is there.
    pub query: Option<String>,
    /// Its JSON body, if the token is there.
    pub body: Option<String>,
}

/// Asks every route that takes tokens.
pub fn ask_all(known: &Known, token: &str, key: Option<&str>, now: SystemTime) -> Vec<Opening> {
    Route::all().flat_map(|route| ask(route, known, token, key, now)).collect()
}

/// Asks one route in each of its carriers.
pub fn ask(route: Route, known: &Known, token: &str, key: Option<&str>, now: SystemTime) -> Vec<Opening> {
    let key = key.filter(|key| !key.is_empty()).unwrap_or("key");
    let Some(path) = path_of(route, &encoded(key)) else { return Vec::new() };
    let method = if route.rule().methods.allow(&Method::POST) { Method::POST } else { Method::GET };
    let bare = Sample { method, path, header: None, query: None, body: None };
    let closed = |refusal| vec![Opening { route, sample: bare.clone(), carrier: None, answer: Err(refusal) }];
    let canonical = match canonical(&bare.path) {
        Ok(canonical) => canonical,
        Err(fault) => return closed(Refusal::Path(fault)),
    };
    let matched = route::find(&canonical, known.switches);
    if let Err(refusal) = policy::check(&matched, &bare.method) {
        return closed(refusal);
    }
    let Access::Token(carriers) = matched.access else { return Vec::new() };
    // Addresses are not the token's doing: whoever is asked about here stands where backends stand.
    let networks = &known.rules.backend_networks;
    let address = networks.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |network| network.addr());
    let caller = Caller { address, now };
    let opening = |carrier: &Carrier| {
        let sample = bare.with(token, *carrier, known);
        let headers = sample.fields()?;
        let carried = Carried {
            headers: &headers,
            query: sample.query.as_deref(),
            body: sample.body.as_deref().unwrap_or_default().as_bytes(),
        };
        let admitted = policy::admit(&matched, &sample.method, &carried, &known.tokens, &known.rules, caller);
        let mut answer = admitted.map(|admitted| admitted.objections);
        if let Ok(objections) = &mut answer {
            // Without a configuration no host is known, which is no fault of the token.
            objections.retain(|o| known.public.is_some() || !matches!(o.ground, Ground::Host { .. }));
        }
        Some(Opening { route, sample, carrier: Some(*carrier), answer })
    };
    carriers.iter().filter_map(opening).collect()
}

/// A path of each route that a token may open.
fn path_of(route: Route, key: &str) -> Option<String> {
    let path = match route {
        Route::Upload => format!("/upload/{key}"),
        Route::DownloadAs => format!("/downloadas/{key}"),
        Route::SaveFile => format!("/savefile/{key}"),
        Route::PrintFile => format!("/printfile/{key}/document.pdf"),
        Route::DownloadFile => format!("/downloadfile/{key}"),
        Route::CommandService => "/coauthoring/CommandService.ashx".to_owned(),
        Route::Command => "/command".to_owned(),
        Route::ConvertService => "/ConvertService.ashx".to_owned(),
        Route::Converter => "/converter".to_owned(),
        Route::DocBuilder => "/docbuilder".to_owned(),
        Route::AiProxy => "/ai-proxy".to_owned(),
        _ => return None,
    };
    Some(path)
}

impl Sample {
    fn with(&self, token: &str, carrier: Carrier, known: &Known) -> Self {
        let mut sample = self.clone();
        match carrier {
            Carrier::Header => {
                let value = format!("{}{token}", known.tokens.prefix);
                sample.header = Some((known.tokens.header.clone(), value));
            }
            Carrier::Bearer => {
                sample.header = Some((hyper::header::AUTHORIZATION, format!("Bearer {token}")));
            }
            Carrier::Query => sample.query = Some(format!("token={}", encoded(token))),
            Carrier::Body => sample.body = Some(json!({ "token": token }).to_string()),
            Carrier::CmdDownload => {
                let cmd = json!({ "tokenDownload": token }).to_string();
                sample.query = Some(format!("cmd={}", encoded(&cmd)));
            }
            Carrier::CmdSession => {
                let cmd = json!({ "tokenSession": token }).to_string();
                sample.query = Some(format!("cmd={}", encoded(&cmd)));
            }
            Carrier::Packet => {} // of sockets, which have no request to be asked with
        }
        sample
    }

    /// Its header; `None` if the token cannot be in one.
    fn fields(&self) -> Option<Fields> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = &self.header {
            headers.insert(name.clone(), HeaderValue::from_str(value).ok()?);
        }
        Some(headers)
    }
}

/// Percent-encoded, as a form value.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::guess::tests::{NOW, at, known, sign};
    use super::*;
    use crate::rules::route::Switches;

    #[test]
    fn every_route_that_takes_tokens_is_asked_in_each_carrier() {
        let mut known = known();
        known.switches = Switches { docbuilder: true, ai_proxy: true, wopi: true, example: true };
        let asked = ask_all(&known, "no token", None, at(NOW));
        for route in Route::all() {
            let here: Vec<_> = asked.iter().filter(|opening| opening.route == route).collect();
            let path = path_of(route, "k");
            let wanted: &[Carrier] = match path.as_deref().map(canonical) {
                Some(Ok(path)) => match route::find(&path, known.switches) {
                    matched if matched.route() != route => panic!("{}", route.name()),
                    route::Matched { access: Access::Token(carriers), .. } => carriers,
                    _ => &[],
                },
                _ => {
                    assert!(!matches!(route.rule().access, Access::Token(_)), "{}: no path", route.name());
                    &[]
                }
            };
            assert_eq!(here.len(), wanted.len(), "{}", route.name());
            // Each found its token where the gateway looks: none is missing.
            for opening in here {
                let reason = opening.answer.as_ref().unwrap_err().reason();
                assert_ne!(reason, "token_missing", "{} {:?}", route.name(), opening.carrier);
            }
        }
    }

    #[test]
    fn closed_routes_are_named() {
        let known = known();
        let asked = ask_all(&known, &sign(&json!({"c": "version"})), Some("k"), at(NOW));
        let closed: Vec<_> = asked
            .iter()
            .filter(|o| o.carrier.is_none())
            .map(|o| o.answer.as_ref().unwrap_err().reason())
            .collect();
        assert_eq!(closed, ["switched_off", "switched_off"]);
    }

    #[test]
    fn a_key_that_no_path_may_hold_is_refused_as_such() {
        let known = known();
        let token = sign(&json!({"document": {"key": "x"}}));
        let asked = |key| -> Vec<_> {
            let asked = ask(Route::PrintFile, &known, &token, Some(key), at(NOW));
            asked
                .iter()
                .map(|opening| opening.answer.as_ref().map_err(|r| r.reason()).map(Vec::len))
                .collect()
        };
        assert_eq!(asked("x"), [Ok(0)]);
        assert_eq!(asked("y"), [Err("key_mismatch")]);
        assert_eq!(asked("a b"), [Err("key_invalid")]);
        assert_eq!(asked("a/b"), [Err("path_forbidden_escape")]);
        assert_eq!(asked(""), [Err("key_mismatch")]);
    }

    #[test]
    fn encoding_is_that_of_forms() {
        assert_eq!(encoded("a-b.c_d~{\"é\"}"), "a-b.c_d~%7B%22%C3%A9%22%7D");
    }
}
