//! Who may pass. The answer is a [`Permit`], which only this file can make and which forwarding takes by value: what was not
//! asked for here does not compile there.

mod knock;

use std::net::IpAddr;
use std::time::SystemTime;

use hyper::Method;

use super::carrier::Carried;
use super::class::Class;
use super::looked::{Looked, Place};
use super::objection::Objection;
use super::purpose::Shown;
use super::route::{Matched, Route};
use super::table::{Access, Carrier, Closed};
use super::token::{Settings, Verified};

pub use self::knock::{Editor, EditorMode, Knock, Pass, knock};
pub use super::purpose::{HostRule, Mode, Rules};
pub use super::refusal::Refusal;

/// Leave to pass one request to the Document Server.
#[derive(Debug)]
#[must_use = "a permit that is not used forwards nothing"]
pub struct Permit {
    route: Route,
    key: Option<Box<str>>,
    proof: Proof,
}

/// What a permit was given for.
#[derive(Debug)]
enum Proof {
    /// The route is open.
    Open,
    /// A token that holds.
    Token(Verified, Carrier, Class),
    /// The first packet of an editor's socket.
    Packet,
}

impl Permit {
    /// The route it is good for.
    pub fn route(&self) -> Route {
        self.route
    }

    /// The document key in the path.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The token's claims and the secret that signed it, where there was a token.
    pub fn verified(&self) -> Option<&Verified> {
        match &self.proof {
            Proof::Open | Proof::Packet => None,
            Proof::Token(verified, ..) => Some(verified),
        }
    }

    /// Where the token was.
    pub fn carrier(&self) -> Option<Carrier> {
        match &self.proof {
            Proof::Open | Proof::Packet => None,
            Proof::Token(_, carrier, _) => Some(*carrier),
        }
    }

    /// What the token was made for.
    pub fn class(&self) -> Option<Class> {
        match &self.proof {
            Proof::Open | Proof::Packet => None,
            Proof::Token(_, _, class) => Some(*class),
        }
    }

    /// Which secret signed the token: 0 is the present one, above are the previous.
    pub fn secret_index(&self) -> Option<usize> {
        self.verified().map(|verified| verified.secret_index)
    }
}

/// A permit, and what spoke against it without refusing it.
#[derive(Debug)]
pub struct Admitted {
    /// Leave to pass.
    pub permit: Permit,
    /// What `mode = "enforce"`, or a list of hosts, would have refused: to be logged and counted. Almost always empty.
    pub objections: Vec<Objection>,
}

/// What a request shows besides its token.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The address of whoever asks, behind trusted proxies.
    pub address: IpAddr,
    /// When.
    pub now: SystemTime,
}

/// Admits a request to an open route.
pub fn admit_open(matched: &Matched<'_>, method: &Method) -> Result<Permit, Refusal> {
    check(matched, method)?;
    match matched.access {
        Access::Open => Ok(permit(matched, Proof::Open)),
        Access::Token(carriers) => Err(Refusal::no_token(Looked::of_route(carriers))),
        Access::Socket | Access::Own(_) | Access::Closed(_) => Err(Refusal::WrongDoor),
    }
}

/// Admits a request whose token holds and was made for this, to a route that asks for one.
pub fn admit(
    matched: &Matched<'_>,
    method: &Method,
    carried: &Carried<'_>,
    settings: &Settings,
    rules: &Rules,
    caller: Caller,
) -> Result<Admitted, Refusal> {
    check(matched, method)?;
    let Access::Token(carriers) = matched.access else { return Err(Refusal::WrongDoor) };
    let (token, carrier) = carried
        .find(carriers, settings)
        .map_err(|found| Refusal::of_token(found, Looked::of_route(carriers)))?;
    let verified = settings
        .verify(&token, caller.now)
        .map_err(|fault| Refusal::Token { fault, place: Place::In(carrier) })?;
    let shown = Shown { claims: &verified.claims, carrier, key: matched.key, client: caller.address };
    let (class, objections) = matched.rule.purpose.weigh(&shown, rules)?;
    Ok(Admitted { permit: permit(matched, Proof::Token(verified, carrier, class)), objections })
}

/// What holds whoever asks: the path is served at all, and with this method. For the gateway's own paths and sockets, too.
pub fn check(matched: &Matched<'_>, method: &Method) -> Result<(), Refusal> {
    match matched.access {
        Access::Closed(Closed::Unknown) => Err(Refusal::UnknownPath),
        Access::Closed(Closed::Always) => Err(Refusal::ClosedPath),
        Access::Closed(Closed::Until(switch)) => Err(Refusal::SwitchedOff(switch)),
        Access::Closed(Closed::KeyInvalid) => Err(Refusal::KeyInvalid),
        _ if !matched.rule.methods.allow(method) => Err(Refusal::Method(matched.rule.methods)),
        _ => Ok(()),
    }
}

fn permit(matched: &Matched<'_>, proof: Proof) -> Permit {
    Permit { route: matched.route(), key: matched.key.map(Box::from), proof }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use serde_json::json;

    use super::super::path::canonical;
    use super::super::route::{Switches, find};
    use super::super::specimens;
    use super::super::token::tests::{NOW, SECRET, at, settings, sign};
    use super::*;

    const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"];

    /// With the strictest rules.
    fn admit_token(matched: &Matched<'_>, method: &Method, carried: &Carried<'_>) -> Result<Permit, Refusal> {
        let caller = Caller { address: [192, 0, 2, 1].into(), now: at(NOW) };
        admit(matched, method, carried, &settings(&[SECRET]), &Rules::default(), caller).map(|it| it.permit)
    }

    /// Asks for `path` with a good token in every carrier there is.
    fn ask(path: &str, method: &str, switches: Switches, token: Option<&str>) -> Result<Permit, Refusal> {
        let path = canonical(path).map_err(Refusal::Path)?;
        let matched = find(&path, switches);
        let method = method.parse().unwrap();
        let mut headers = HeaderMap::new();
        let (mut query, mut body) = (String::new(), String::new());
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
            query = format!("token={token}&cmd={{\"tokenSession\":\"{token}\"}}");
            body = json!({"token": token}).to_string();
        }
        let carried = Carried { headers: &headers, query: Some(&query), body: body.as_bytes() };
        match matched.access {
            Access::Token(_) => admit_token(&matched, &method, &carried),
            _ => admit_open(&matched, &method),
        }
    }

    #[test]
    fn methods_and_tokens_of_every_served_route() {
        // A token of a class that is right for the path.
        let right = |path: &str| {
            let class = match path.split('/').nth(1).unwrap_or_default() {
                "upload" | "downloadas" | "savefile" => Class::Session,
                "printfile" => Class::Print,
                "downloadfile" => Class::Open,
                "ConvertService.ashx" | "converter" => Class::Convert,
                _ => Class::Command,
            };
            let claims =
                specimens::all().into_iter().find(|specimen| specimen.class == class).unwrap().claims;
            sign(&claims)
        };
        let table = [
            ("/web-apps/apps/api/documents/api.js", "GET HEAD", "GET HEAD"),
            ("/9.0.4-a/sdkjs/word/sdk-all.js", "GET HEAD", "GET HEAD"),
            ("/plugins.json", "GET HEAD", "GET HEAD"),
            ("/cache/files/data/k/output.docx/a.docx", "GET HEAD", "GET HEAD"),
            ("/upload/k1", "POST", ""),
            ("/downloadas/k1", "POST", ""),
            ("/savefile/k1", "POST", ""),
            ("/printfile/k1/a.pdf", "GET HEAD", ""),
            ("/downloadfile/k1", "GET HEAD POST", ""),
            ("/coauthoring/CommandService.ashx", "GET HEAD POST", ""),
            ("/command", "POST", ""),
            ("/ConvertService.ashx", "GET HEAD POST", ""),
            ("/converter", "POST", ""),
        ];
        for (path, with, without) in table {
            let token = right(path);
            let passes = |token| {
                METHODS
                    .into_iter()
                    .filter(|m| ask(path, m, Switches::default(), token).is_ok())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert_eq!((passes(Some(&token)).as_str(), passes(None).as_str()), (with, without), "{path}");
            let refusal = ask(path, "PUT", Switches::default(), Some(&token)).unwrap_err();
            assert_eq!(refusal.reason(), "method_not_allowed", "{path}");
        }
    }

    #[test]
    fn closed_paths_take_no_method_and_no_token() {
        let token = sign(&json!({"c": "version"}));
        for path in [
            "/info/config",
            "/internal/cluster/inactive",
            "/docbuilder",
            "/ai-proxy",
            "/hosting/discovery",
            "/wopi/files/1",
            "/lool/convert-to/x",
            "/cool/convert-to/x",
            "/example/",
            "/welcome/",
            "/dummyCallback",
            "/meta/x",
            "/baseurl",
            "/index.html",
            "/admin",
            "/nosuch",
            "/healthcheck",
            "/",
            "/robots.txt",
            "/doc/k/c",
        ] {
            for spelling in [
                path.to_owned(),
                format!("/9.0.4-a{path}"),
                path.to_uppercase(),
                format!("{path}/"),
                format!("/{path}"),
                format!("/x/..{path}"),
                format!("/web-apps/%2e%2e{path}"),
                path.replace('o', "%6f"),
                path.replace('o', "%256f"),
                format!("{path};x"),
            ] {
                for method in METHODS {
                    for token in [None, Some(token.as_str())] {
                        let refusal =
                            ask(&spelling, method, Switches::default(), token).expect_err(&spelling);
                        assert_ne!(refusal.reason(), "token_missing", "{spelling}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_permit_says_what_it_was_given_for() {
        let token = sign(&json!({"document": {"key": "k"}, "editorConfig": {"ds_sessionTimeConnect": 1}}));
        let permit = ask("/upload/k", "POST", Switches::default(), Some(&token)).unwrap();
        assert_eq!(
            (permit.route(), permit.key(), permit.carrier()),
            (Route::Upload, Some("k"), Some(Carrier::Bearer))
        );
        assert_eq!(
            permit.verified().map(|v| (v.claims["document"]["key"].as_str(), v.secret_index)),
            Some((Some("k"), 0))
        );
        let permit = ask("/fonts/000", "GET", Switches::default(), None).unwrap();
        assert_eq!(
            (permit.route(), permit.key(), permit.verified(), permit.carrier()),
            (Route::Fonts, None, None, None)
        );
    }

    #[test]
    fn refusals_say_why_and_where() {
        let all = Switches { docbuilder: true, ai_proxy: true, wopi: true, example: true };
        let expired = sign(&json!({"exp": NOW - 61}));
        let table = [
            ("/command", "POST", Some("a.b.c"), "token_malformed", Some(Carrier::Body)),
            ("/command", "POST", Some(expired.as_str()), "token_expired", Some(Carrier::Body)),
            ("/upload/k", "POST", Some(expired.as_str()), "token_expired", Some(Carrier::Bearer)),
            ("/savefile/k", "POST", Some(expired.as_str()), "token_expired", Some(Carrier::CmdSession)),
            ("/printfile/k/a", "GET", Some(expired.as_str()), "token_expired", Some(Carrier::Query)),
            ("/ai-proxy", "POST", Some("garbage"), "token_malformed", Some(Carrier::Bearer)),
            ("/docbuilder", "POST", None, "token_missing", None),
        ];
        for (path, method, token, reason, carrier) in table {
            match ask(path, method, all, token) {
                Err(refusal @ Refusal::Token { place, .. }) => {
                    assert_eq!((refusal.reason(), place.carrier()), (reason, carrier), "{path}");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_wrong_door_is_closed() {
        let headers = HeaderMap::new();
        let carried = Carried { headers: &headers, query: None, body: b"" };
        for path in ["/doc/k/c", "/healthcheck", "/", "/fonts/000"] {
            let path = canonical(path).unwrap();
            let matched = find(&path, Switches::default());
            let refusal = admit_token(&matched, &Method::GET, &carried).unwrap_err();
            assert_eq!(refusal, Refusal::WrongDoor);
        }
        for (path, reason) in
            [("/doc/k/c", "wrong_door"), ("/healthcheck", "wrong_door"), ("/downloadfile/k", "token_missing")]
        {
            let path = canonical(path).unwrap();
            assert_eq!(
                admit_open(&find(&path, Switches::default()), &Method::GET).unwrap_err().reason(),
                reason
            );
        }
    }
}
