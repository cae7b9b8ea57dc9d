//! Forged and odd tokens, each in every place where a token may be: none is accepted anywhere.

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::carrier::{Carried, TokenField, TokenFields};
use super::class::Class;
use super::looked::{Looked, Place};
use super::path::canonical;
use super::policy::{Caller, Mode, Refusal, Rules, admit};
use super::route::{Switches, find};
use super::specimens;
use super::table::{Carrier, RefusalShape};
use super::token::Algorithm;
use super::token::tests::{NOW, SECRET, at, forgeries, settings, sign, sign_raw};

/// A route, the place for the token there, and a class that is right.
const DOORS: [(&str, &str, Class); 12] = [
    ("/command", "header", Class::Command),
    ("/command", "custom", Class::Command),
    ("/coauthoring/CommandService.ashx", "body", Class::Command),
    ("/converter", "body", Class::Convert),
    ("/ConvertService.ashx", "query", Class::Convert),
    ("/docbuilder", "header", Class::Builder),
    ("/upload/k1", "header", Class::Session),
    ("/upload/k1", "query", Class::Session),
    ("/downloadas/k1", "cmd_session", Class::Session),
    ("/downloadas/k1", "cmd_download", Class::Insert),
    ("/savefile/k1", "cmd_session", Class::Session),
    ("/printfile/k1/a.pdf", "query", Class::Print),
];

/// Shows `token` at a door; `None` where bytes cannot be put into that place at all.
fn show(door: &str, place: &str, token: &str, mode: Mode) -> Option<Result<Class, Refusal>> {
    let path = canonical(door).unwrap();
    let matched = find(&path, Switches { docbuilder: true, ..Switches::default() });
    let method = if matched.rule.methods.allow(&Method::POST) { Method::POST } else { Method::GET };
    let (mut headers, mut query, mut body) = (HeaderMap::new(), None, String::new());
    let encoded: String = token.bytes().map(|b| format!("%{b:02x}")).collect();
    let quoted: String = Value::from(token).to_string().bytes().map(|b| format!("%{b:02x}")).collect();
    match place {
        "header" => {
            drop(headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).ok()?))
        }
        "custom" => {
            drop(headers.insert("authorizationjwt", HeaderValue::try_from(format!("JWT {token}")).ok()?))
        }
        "body" => body = json!({"c": "version", "token": token}).to_string(),
        "query" => query = Some(format!("token={encoded}")),
        "cmd_session" => query = Some(format!("cmd=%7b%22tokenSession%22:{quoted}%7d")),
        _ => query = Some(format!("cmd=%7b%22tokenDownload%22:{quoted}%7d")),
    }
    let field =
        |name, prefix: &str| TokenField { name: HeaderName::from_static(name), prefix: prefix.to_owned() };
    let fields = TokenFields::new(field("authorization", "Bearer "), [field("authorizationjwt", "JWT ")]);
    if let Err(fault) = fields.settle(&mut headers, matched.access) {
        return Some(Err(Refusal::Token { fault, place: Place::In(Carrier::Header) }));
    }
    let carried = Carried { headers: &headers, query: query.as_deref(), body: body.as_bytes() };
    let caller = Caller { address: "192.0.2.7".parse().unwrap(), now: at(NOW) };
    let rules = Rules { mode, ..Rules::default() };
    let admitted = admit(&matched, &method, &carried, &settings(&[SECRET]), &rules, caller);
    let shape = matched.rule.refusal;
    Some(admitted.map(|admitted| admitted.permit.class().unwrap()).inspect_err(|refusal| {
        // Every one looks like every other: nothing tells how close it was.
        let answer = refusal.answer(shape, None);
        let expired = refusal.reason() == "token_expired" && shape == RefusalShape::Command;
        let plain = Refusal::no_token(Looked::of_route(&[]));
        assert!(expired || answer == plain.answer(shape, None), "{refusal}");
        assert!(token.len() < 4 || !refusal.to_string().contains(token), "the sentence holds the token");
    }))
}

/// Claims as text, since they hold equal keys or names that a JSON object of Rust would not keep.
fn odd_claims(class: Class) -> Vec<String> {
    let claims = specimens::all().into_iter().find(|specimen| specimen.class == class).unwrap().claims;
    let good = claims.to_string();
    let with = |more: &str| format!("{},{more}}}", good.strip_suffix('}').unwrap());
    let far = NOW + 1_000_000;
    let mut odd: Vec<String> = [
        // Times that are none for jsonwebtoken 9: `typeof exp !== 'number'`.
        r#""exp":"1895320021""#,
        r#""exp":null"#,
        r#""exp":true"#,
        r#""exp":[1895320021]"#,
        r#""exp":{"valueOf":1895320021}"#,
        r#""exp":"""#,
        r#""nbf":"0""#,
        r#""nbf":null"#,
        r#""nbf":false"#,
        // Numbers that JavaScript reads and that lie behind us, or before us.
        r#""exp":0"#,
        r#""exp":-0"#,
        r#""exp":-1"#,
        r#""exp":1e3"#,
        r#""exp":1.7953199609E9"#,
        r#""exp":179531996.1e1"#,
        r#""exp":17953199610000000000e-10"#,
        r#""nbf":1e300"#,
        r#""nbf":1.8e9"#,
        r#""exp":1e999"#,
        // Of equal keys the last counts.
        &format!(r#""exp":{far},"exp":1"#),
        &format!(r#""exp":{far},"\u0065xp":1"#),
        &format!(r#""nbf":1,"nbf":{far}"#),
        // What Object.assign would make readable without being seen (S: DocsCoServer.js:1504-1550).
        r#""__proto__":{}"#,
        r#""__proto__":null"#,
        r#""__proto__":{"c":"forcesave","outputtype":"pdf"}"#,
        r#""__proto__":1,"__proto__":{"exp":1}"#,
        r#""\u005f_proto__":{"c":"info"}"#,
        r#""payload":{"__proto__":{"c":"info"}}"#,
        r#""query":{"__proto__":{"document":{"key":"k2"}}}"#,
    ]
    .into_iter()
    .map(with)
    .collect();
    odd.extend([
        format!("[{good}]"),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("\u{feff}{good}"),
        good.replacen('{', "{'a':1,", 1),
        good.replacen('{', "{a:1,", 1),
        good.replacen('{', "{\"a\":NaN,", 1),
        good.replacen('{', "{\"a\":01,", 1),
        good.replacen('{', "{\"a\":\"\\ud800\",", 1),
        good.replacen('{', "{/**/", 1),
        good.strip_suffix('}').unwrap().to_owned(),
    ]);
    odd
}

#[test]
fn three_hundred_forgeries_in_every_place() {
    let (mut shown, mut least) = (0, usize::MAX);
    let forged = forgeries();
    for (door, place, class) in DOORS {
        let claims = specimens::all().into_iter().find(|specimen| specimen.class == class).unwrap().claims;
        assert_eq!(show(door, place, &sign(&claims), Mode::Enforce), Some(Ok(class)), "{door} {place}");
        let own = odd_claims(class);
        let own = own.iter().map(|claims| sign_raw(r#"{"alg":"HS256"}"#, claims, Algorithm::Hs256, SECRET));
        let mut here = 0;
        for token in forged.iter().cloned().chain(own) {
            // Where every rule that may be softened is soft: a signature and a time are not among them.
            if let Some(decision) = show(door, place, &token, Mode::Observe) {
                let refusal = decision.expect_err(&token);
                assert!(refusal.reason().starts_with("token_"), "{door} {place}: {refusal} {token}");
                here += 1;
            }
        }
        shown += here;
        least = least.min(here);
    }
    assert!(least >= 300, "{least}");
    assert!(shown >= 12 * 300, "{shown}");
}

#[test]
fn numbers_are_times_as_javascript_reads_them() {
    let table = [
        (r#"{"c":"info","exp":1.795320022e9}"#, true),
        (r#"{"c":"info","exp":17953200220E-1}"#, true),
        (r#"{"c":"info","exp":1795319961.5}"#, true), // half a second of leeway left
        (r#"{"c":"info","exp":1795319961}"#, false),
        (r#"{"c":"info","exp":99999999999999999999999}"#, true),
        (r#"{"c":"info","nbf":-1e300}"#, true),
        (r#"{"c":"info","exp":1,"exp":1.8e9}"#, true),
        (r#"{"c":"nosuch","c":"info"}"#, true),
        (r#"{"c":"info","c":"nosuch"}"#, false),
        (r#"{"document":{"key":"k"},"document":null,"c":"info"}"#, false),
        (r#"{"c":"info","iat":"yesterday"}"#, true), // nobody looks at it
        (r#"{"c":"info","x":{"__proto__":{"c":"drop"}}}"#, true), // not laid over anything
        (r#"{"c":"info","constructor":{"prototype":{"c":"drop"}}}"#, true), // Object.assign copies it as it is
        (r#"{"c":"info","toString":"x","hasOwnProperty":1}"#, true),
    ];
    for (claims, passes) in table {
        let token = sign_raw(r#"{"alg":"HS256"}"#, claims, Algorithm::Hs256, SECRET);
        for place in ["header", "custom", "body", "query"] {
            let decision = show("/command", place, &token, Mode::Enforce).unwrap();
            assert_eq!(decision.is_ok(), passes, "{claims} {place} {decision:?}");
        }
    }
}
