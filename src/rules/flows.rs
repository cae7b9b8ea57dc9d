//! Everything that people legitimately do with tokens passes, and the captured requests get the captured answers.

use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::carrier::{Carried, TokenField, TokenFields};
use super::class::Class;
use super::looked::Place;
use super::path::canonical;
use super::policy::{Admitted, Caller, HostRule, Knock, Mode, Refusal, Rules, admit, admit_open, knock};
use super::query::value;
use super::route::{Route, Switches, find};
use super::table::{Access, Carrier, RefusalShape};
use super::token::tests::{SECRET, at, settings, sign};
use super::token::{Algorithm, Settings};

/// A request: `METHOD target`, header lines, body.
struct Asked<'r> {
    method: &'r str,
    target: &'r str,
    headers: Vec<(String, String)>,
    body: String,
    now: u64,
}

/// What [jwt] says, and what the integrators send.
struct Site {
    jwt: Settings,
    fields: TokenFields,
    rules: Rules,
    switches: Switches,
}

fn field(name: &str, prefix: &str) -> TokenField {
    TokenField { name: name.parse::<HeaderName>().unwrap(), prefix: prefix.to_owned() }
}

fn site(header: &str, prefix: &str) -> Site {
    let mut jwt = settings(&[SECRET]);
    jwt.header = header.parse().unwrap();
    prefix.clone_into(&mut jwt.prefix);
    let fields = TokenFields::new(field(header, prefix), [field("authorizationjwt", "Bearer ")]);
    let hosts = ["127.0.0.1", "rapidpm.uk", "files.rapidpm.uk", "onlyoffice.rapidpm.uk"];
    let hosts = hosts.map(str::to_owned).to_vec();
    let rules =
        Rules { mode: Mode::Enforce, backend_networks: Vec::new(), hosts, host_rule: HostRule::Refuse };
    Site { jwt, fields, rules, switches: Switches { docbuilder: true, ..Switches::default() } }
}

/// The decision, with the shape that a refusal has on the route.
fn decide(site: &Site, asked: &Asked<'_>) -> (Result<Admitted, Refusal>, RefusalShape) {
    let (path, query) = match asked.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.target, None),
    };
    let path = canonical(path).unwrap();
    let matched = find(&path, site.switches);
    let method: Method = asked.method.parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let open = |permit| Admitted { permit, objections: Vec::new() };
    let decision = match matched.access {
        Access::Token(_) => site
            .fields
            .settle(&mut headers, matched.access)
            .map_err(|fault| Refusal::Token { fault, place: Place::In(Carrier::Header) })
            .and_then(|_| {
                let carried = Carried { headers: &headers, query, body: asked.body.as_bytes() };
                let caller = Caller { address: "192.0.2.7".parse().unwrap(), now: at(asked.now) };
                admit(&matched, &method, &carried, &site.jwt, &site.rules, caller)
            }),
        Access::Socket => knock(&matched, &method).map(Knock::for_flows).map(open), // its token comes later
        _ => admit_open(&matched, &method).map(open),
    };
    (decision, matched.rule.refusal)
}

const NOW: u64 = super::token::tests::NOW;

/// Where a flow puts its token.
#[derive(Clone, Copy)]
enum In {
    Header,
    Own,
    /// `Authorization: Bearer` although another field is configured.
    Bearer,
    Body,
    Query,
    Session,
    Download,
}

fn flow(site: &Site, method: &str, path: &str, place: In, claims: &Value) -> Result<Admitted, Refusal> {
    let token = sign(claims);
    let wrapped = sign(&json!({"payload": claims}));
    let (mut headers, mut body, mut target) = (Vec::new(), String::new(), path.to_owned());
    let prefix = &site.jwt.prefix;
    match place {
        In::Header => headers.push((site.jwt.header.to_string(), format!("{prefix}{wrapped}"))),
        In::Own => headers.push(("AuthorizationJwt".to_owned(), format!("Bearer {wrapped}"))),
        In::Bearer => headers.push(("Authorization".to_owned(), format!("Bearer {token}"))),
        In::Body => {
            let mut all = claims.clone();
            all["token"] = json!(token);
            body = all.to_string();
        }
        In::Query => target += &format!("?token={token}&filename=a.pdf"),
        In::Session => {
            target +=
                &format!("?cmd=%7B%22c%22%3A%22save%22%2C%22tokenSession%22%3A%22{token}%22%7D&shardkey=k1")
        }
        In::Download => {
            target +=
                &format!("?cmd=%7B%22c%22%3A%22savefromorigin%22%2C%22tokenDownload%22%3A%22{token}%22%7D")
        }
    }
    decide(site, &Asked { method, target: &target, headers, body, now: NOW }).0
}

/// What it is, method, path, place of the token, claims, and their class.
type Flow = (&'static str, &'static str, &'static str, In, Value, Class);

const URL: &str = "https://rapidpm.uk/files/t.docx";

#[rustfmt::skip]
fn of_sessions() -> Vec<Flow> {
    let session = json!({"document": {"key": "k1", "permissions": {"edit": true}, "ds_encrypted": false}, "editorConfig": {"ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": 1_795_320_000_000_u64, "user": {"id": "u1", "index": 1}}, "iat": NOW - 60, "exp": NOW + 2_592_000});
    let mut encrypted = session.clone();
    encrypted["document"]["ds_encrypted"] = json!(true);
    vec![
        ("an image from the editor's computer", "POST", "/9.0.4-a/upload/k1", In::Bearer, session.clone(), Class::Session),
        ("an image, token in the query", "POST", "/upload/k1", In::Query, session.clone(), Class::Session),
        ("download as", "POST", "/9.0.4-a/downloadas/k1", In::Session, session, Class::Session),
        ("save of an encrypted document", "POST", "/savefile/k1", In::Session, encrypted, Class::Session),
        ("print", "GET", "/printfile/k1_3284/t.pdf", In::Query, json!({"document": {"key": "k1"}, "iat": NOW, "exp": NOW + 300}), Class::Print),
        ("print under its own key", "GET", "/printfile/k1_3284/t.pdf", In::Query, json!({"document": {"key": "k1_3284"}, "iat": NOW}), Class::Print),
    ]
}

#[rustfmt::skip]
fn of_inserts() -> Vec<Flow> {
    let insert = |name, claims| (name, "POST", "/downloadas/k1", In::Download, claims, Class::Insert);
    vec![
        insert("insert an image", json!({"c": "add", "images": [{"fileType": "png", "url": URL}]})),
        insert("insert an image, old form", json!({"c": "add", "fileType": "png", "url": URL})),
        insert("change an image", json!({"c": "change", "images": [{"fileType": "png", "url": URL}]})),
        insert("compare", json!({"c": "compare", "fileType": "docx", "url": URL})),
        insert("combine", json!({"c": "combine", "fileType": "docx", "url": URL})),
        insert("insert a text", json!({"c": "insert-text", "fileType": "docx", "url": URL, "exp": NOW + 300})),
        insert("mail merge recipients without c", json!({"fileType": "xlsx", "url": URL})),
        insert("mail merge recipients with c", json!({"c": "mailmerge", "fileType": "xlsx", "url": URL})),
        insert("reference data without c", json!({"fileType": "xlsx", "key": "r", "path": "s.xlsx", "referenceData": {"fileKey": "f", "instanceId": "i"}, "url": URL})),
        ("reference data by header", "GET", "/downloadfile/k1", In::Header, json!({"fileType": "xlsx", "url": URL}), Class::Insert),
    ]
}

#[rustfmt::skip]
fn of_integrators() -> Vec<Flow> {
    let open = json!({"document": {"fileType": "pdf", "key": "k1", "title": "t", "url": URL}, "documentType": "word", "editorConfig": {"callbackUrl": "https://onlyoffice.rapidpm.uk/relay/rapidpm/callback", "mode": "edit", "user": {"id": "u1", "name": "U"}}, "exp": NOW + 300});
    let viewer = json!({"document": {"fileType": "pdf", "key": "k1", "url": URL}, "editorConfig": {"mode": "view"}});
    let anonymous = json!({"document": {"fileType": "xlsx", "key": "k1", "url": "https://files.rapidpm.uk/s.xlsx"}});
    let convert = json!({"async": false, "filetype": "docx", "key": "c1", "outputtype": "pdf", "title": "t.docx", "url": URL});
    let camel = json!({"async": true, "fileType": "docx", "key": "c1", "outputType": "odt", "url": "https://onlyoffice.rapidpm.uk/cache/files/data/k1/output.docx/output.docx?md5=x"});
    let history = json!({"changesUrl": URL, "key": "k1", "previous": {"key": "k0", "url": URL}, "url": URL, "version": 2});
    let builder = json!({"async": false, "url": "https://rapidpm.uk/x.docbuilder"});
    vec![
        ("a PDF that is opened", "GET", "/downloadfile/k1", In::Header, open.clone(), Class::Open),
        ("a PDF that is opened, token in the body", "POST", "/downloadfile/k1", In::Body, open, Class::Open),
        ("a viewer without user or callback", "GET", "/downloadfile/k1", In::Header, viewer, Class::Open),
        ("an anonymous link", "GET", "/downloadfile/k1", In::Header, anonymous, Class::Open),
        ("changes of an old version", "GET", "/downloadfile/k1", In::Header, history, Class::History),
        ("convert", "POST", "/converter", In::Body, convert.clone(), Class::Convert),
        ("convert by header", "POST", "/converter", In::Header, convert.clone(), Class::Convert),
        ("convert, the old way", "POST", "/ConvertService.ashx", In::Body, convert.clone(), Class::Convert),
        ("convert, outputType", "POST", "/converter", In::Header, camel, Class::Convert),
        ("convert from an integrator's own field", "POST", "/converter", In::Own, convert, Class::Convert),
        ("build a document", "POST", "/docbuilder", In::Body, builder, Class::Builder),
    ]
}

fn of_commands() -> Vec<Flow> {
    let commands = [
        json!({"c": "info", "key": "k1", "userdata": "x"}),
        json!({"c": "drop", "key": "k1", "users": ["u1", "u2"]}),
        json!({"c": "forcesave", "key": "k1", "userdata": "ud0"}),
        json!({"c": "saved", "key": "k1"}),
        json!({"c": "meta", "key": "k1", "meta": {"title": "Renamed.docx"}}),
        json!({"c": "version"}),
        json!({"c": "license"}),
        json!({"c": "getForgotten", "key": "k1"}),
        json!({"c": "getForgottenList"}),
        json!({"c": "deleteForgotten", "key": "k1", "exp": NOW + 300}),
    ];
    let mut flows = Vec::new();
    for claims in commands {
        for path in ["/command", "/coauthoring/CommandService.ashx", "/9.0.4-a/command"] {
            for place in [In::Header, In::Own, In::Body] {
                flows.push(("a command", "POST", path, place, claims.clone(), Class::Command));
            }
        }
    }
    flows
}

#[test]
fn every_legitimate_flow_passes() {
    let flows = [of_sessions(), of_inserts(), of_integrators(), of_commands()].concat();
    assert_eq!(flows.len(), 117);
    for (header, prefix) in [("authorization", "Bearer "), ("x-token", "JWT "), ("authorizationjwt", "")] {
        let site = site(header, prefix);
        for (name, method, path, place, claims, class) in &flows {
            let admitted = flow(&site, method, path, *place, claims);
            let admitted = admitted.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert_eq!(
                (admitted.permit.class(), admitted.permit.secret_index()),
                (Some(*class), Some(0)),
                "{name}"
            );
            assert_eq!(admitted.objections, [], "{name}");
        }
    }
}

/// The compact captures of a real Document Server, secret `rig-secret-…`.
const CAPTURES: [(&str, &str, &str); 3] = [
    ("authorization", "Bearer ", include_str!("../../tests/standin/captures/http.jsonl")),
    ("authorizationjwt", "JWT ", include_str!("../../tests/standin/captures/http-customhdr.jsonl")),
    ("authorization", "Bearer ", include_str!("../../tests/matrix/commands.jsonl")),
];

/// `Sun, 22 Nov 2026 HH:MM:SS GMT` as seconds: all captures are of that day.
fn seconds(date: &str) -> u64 {
    let time: Vec<u64> =
        date.split(' ').nth(4).unwrap().split(':').map(|part| part.parse().unwrap()).collect();
    assert!(date.contains("22 Nov 2026"), "{date}");
    1_795_305_600 + time[0] * 3600 + time[1] * 60 + time[2]
}

#[test]
fn captured_requests_get_the_captured_answers() {
    let (mut tokens, mut refused, mut own) = (0, 0, 0);
    for (header, prefix, captures) in CAPTURES {
        let mut site = site(header, prefix);
        site.fields = TokenFields::new(field(header, prefix), []); // the captured server knew one field
        site.jwt.algorithms = Algorithm::ALL.to_vec(); // and takes what jsonwebtoken takes (23-cmd-version-HS512)
        for line in captures.lines() {
            let capture: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| capture[name].as_str().unwrap_or_default().to_owned();
            let (name, head) = (text("name"), text("head"));
            let (method, target) = head.split_once(' ').unwrap();
            let pairs = capture["headers"].as_array().unwrap().iter();
            let headers: Vec<_> = pairs
                .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned()))
                .collect();
            let accept = headers.iter().find(|(name, _)| name == "Accept").map(|(_, value)| value.clone());
            let now = seconds(capture["answer"]["date"].as_str().unwrap());
            let asked = Asked { method, target, headers, body: text("body"), now };
            let path = canonical(target.split('?').next().unwrap()).unwrap();
            let matched = find(&path, site.switches);
            if !matches!(matched.access, Access::Token(_)) {
                continue; // open, closed or the gateway's own: judged by the table of routes
            }
            tokens += 1;
            let (decision, shape) = decide(&site, &asked);
            // What the Document Server says when a token does not count; everything else it says to who was let in.
            let answer = text("text");
            let turned_away = capture["status"] == 403
                || [r#"{"error":6}"#, r#"{"error":7}"#, r#"{"error":-8}"#].contains(&answer.as_str());
            assert_eq!(decision.is_err(), turned_away || is_gateways_own(&name), "{name}: {decision:?}");
            let Err(refusal) = decision else { continue };
            let ours = refusal.answer(shape, accept.as_deref());
            if is_gateways_own(&name) {
                // The same status and form, another number.
                let errors = [&*ours.body, &*answer].map(|text| serde_json::from_str::<Value>(text).unwrap());
                assert!(
                    errors
                        .iter()
                        .all(|body| body["error"].is_number() && body.as_object().unwrap().len() == 1)
                );
                assert_eq!((refusal.reason(), ours.status), ("class_not_allowed", StatusCode::OK), "{name}");
                own += 1;
                continue;
            }
            refused += 1;
            assert_eq!(u64::from(ours.status.as_u16()), capture["status"].as_u64().unwrap(), "{name}");
            assert_eq!(ours.body, answer, "{name}");
            assert_eq!(ours.content_type, capture["answer"]["content-type"].as_str().unwrap(), "{name}");
            if shape == RefusalShape::Forbidden {
                assert_eq!(ours.status, StatusCode::FORBIDDEN);
            }
        }
    }
    assert_eq!((tokens, refused, own), (58, 22, 1));
}

/// The capture that is refused here and was let in there: a command that the Document Server does not know, either.
fn is_gateways_own(name: &str) -> bool {
    matches!(name, "29-cmd-unknown")
}

#[test]
fn an_editors_own_requests_pass_as_captured() {
    // captures/browser/dyn: upload and downloadas of a Chromium, at the time of the capture.
    let session = json!({"document": {"key": "dyn1", "permissions": {"edit": true, "download": true, "print": true}, "ds_encrypted": false}, "editorConfig": {"user": {"id": "u1", "name": "User u1", "index": 1}, "ds_isCloseCoAuthoring": false, "ds_sessionTimeConnect": 1_795_320_851_603_u64}, "iat": 1_795_320_853, "exp": 1_797_912_853});
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJkb2N1bWVudCI6eyJrZXkiOiJkeW4xIiwicGVybWlzc2lvbnMiOnsiZWRpdCI6dHJ1ZSwiZG93bmxvYWQiOnRydWUsInByaW50Ijp0cnVlfSwiZHNfZW5jcnlwdGVkIjpmYWxzZX0sImVkaXRvckNvbmZpZyI6eyJ1c2VyIjp7ImlkIjoidTEiLCJuYW1lIjoiVXNlciB1MSIsImluZGV4IjoxfSwiZHNfaXNDbG9zZUNvQXV0aG9yaW5nIjpmYWxzZSwiZHNfc2Vzc2lvblRpbWVDb25uZWN0IjoxNzk1MzIwODUxNjAzfSwiaWF0IjoxNzk1MzIwODUzLCJleHAiOjE3OTc5MTI4NTN9.eswPDcJ94_LFUrr0-0yYi5fSVSYnkfCK67vUbQ69H8E";
    let version = "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c";
    let site = site("authorization", "Bearer ");
    let cmd = format!(
        "cmd=%7B%22c%22%3A%22save%22%2C%22id%22%3A%22dyn1%22%2C%22userid%22%3A%22u1%22%2C%22tokenSession%22%3A%22{token}%22%2C%22outputformat%22%3A513%2C%22title%22%3A%22t.pdf%22%2C%22saveAsPath%22%3Anull%7D&shardkey=dyn1"
    );
    let bearer = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    let upload = format!("{version}/upload/dyn1?shardkey=dyn1");
    let download = format!("{version}/downloadas/dyn1?{cmd}");
    for (target, headers) in [(upload, bearer), (download, Vec::new())] {
        let asked =
            Asked { method: "POST", target: &target, headers, body: String::new(), now: 1_795_320_858 };
        let (decision, _) = decide(&site, &asked);
        let admitted = decision.unwrap();
        assert_eq!(admitted.permit.verified().unwrap().claims, session);
        assert_eq!((admitted.permit.class(), admitted.permit.key()), (Some(Class::Session), Some("dyn1")));
        assert_eq!(admitted.objections, []);
    }
    assert_eq!(value("shardkey=dyn1", "shardkey").unwrap().as_deref(), Some("dyn1"));
    assert_eq!(Route::all().count(), Route::COUNT);
}
