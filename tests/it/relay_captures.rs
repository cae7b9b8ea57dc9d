//! Every callback that a real Document Server was seen to send (tests/standin/captures/relay.jsonl): it is accepted at its
//! moment, reaches the application as it came, and no byte of it can be changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rapidpm_gateway::relay::spool::RealDisk;
use rapidpm_gateway::rules::callback::Callback;
use rapidpm_gateway::rules::carrier::TokenField;
use rapidpm_gateway::rules::token::Settings;
use serde_json::Value;

use crate::desk::Desk;
use crate::rig::Setup;
use crate::stub::{Says, Stub};

/// What the gateway does not pass on: it speaks for itself about connections, and asks for answers that it can read.
const OWN: [&str; 4] = ["connection", "accept-encoding", "host", "idempotency-key"];

struct Capture {
    from: String,
    at: SystemTime,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn captures() -> Vec<Capture> {
    let text = include_str!("../standin/captures/relay.jsonl");
    let all = text.lines().map(|line| {
        let there: Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| there[name].as_str().unwrap().to_owned();
        let headers = there["headers"].as_array().unwrap().iter().map(|line| {
            let (name, value) = line.as_str().unwrap().split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        Capture {
            from: word("from"),
            at: moment(&word("time")),
            target: word("request").split(' ').nth(1).unwrap().trim_start_matches('/').to_owned(),
            headers: headers.collect(),
            body: word("body"),
        }
    });
    all.collect()
}

/// `2026-11-22T04:06:43.950Z`, all of them of that day.
fn moment(text: &str) -> SystemTime {
    let number = |range| text.get(range).and_then(|digits: &str| digits.parse::<u64>().ok()).unwrap();
    assert!(text.starts_with("2026-11-22T"));
    let seconds = 1_795_305_600 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19);
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl Capture {
    fn has_own_header(&self) -> bool {
        self.from.starts_with("callbacks-customheader")
    }

    /// Whether it is a save, and which.
    fn save(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let path = body["url"].as_str()?.split('?').next().unwrap().to_owned();
        Some(format!("{} {} {path} {}", body["key"], body["status"], body["lastsave"]))
    }

    fn header_map(&self) -> HeaderMap {
        let fields = self.headers.iter().map(|(name, value)| {
            (HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::try_from(value.as_str()).unwrap())
        });
        fields.collect()
    }
}

fn desk(stub: &Stub, own_header: bool, folder: &std::path::Path) -> Desk {
    for (name, secret) in
        [("a", "rig-secret-0123456789abcdef0123456789"), ("b", "S3cr3t-inbox-32-bytes-long-abcdef")]
    {
        std::fs::write(folder.join(name), secret).unwrap();
        std::fs::set_permissions(folder.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    let mut jwt = "previous = [{ file = \"a\" }, { file = \"b\" }]".to_owned();
    if own_header {
        jwt.push_str("\nheader = \"AuthorizationJwt\"\nprefix = \"JWT \"");
    }
    let setup = Setup {
        tables: format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"http://{}\"\n", stub.address),
        lines: vec![("jwt", jwt)],
        ..Setup::default()
    };
    Desk::start(&setup, stub.address, folder, Arc::new(RealDisk)).unwrap()
}

#[tokio::test]
async fn each_is_accepted_and_arrives_as_it_came() {
    let captures = captures();
    assert_eq!(captures.len(), 77);
    for own_header in [false, true] {
        let stub = Stub::start(b"a document", Says::json("200 OK", "{\"error\":0}")).await;
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(&stub, own_header, folder.path());
        let mut seen = HashSet::new();
        for capture in captures.iter().filter(|capture| capture.has_own_header() == own_header) {
            let headers: Vec<(&str, &str)> =
                capture.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let before = stub.posts().len();
            let body = capture.body.clone().into();
            let answer = desk.hand_in(&capture.target, body, &headers, capture.at).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"{\"error\":0}"[..]), "{}", capture.from);
            let posts = stub.posts();
            if capture.save().is_some_and(|save| !seen.insert(save)) {
                assert_eq!(posts.len(), before, "{}: a repeat is answered from the journal", capture.from);
                continue;
            }
            assert_eq!(posts.len(), before + 1, "{}", capture.from);
            let asked = posts.last().unwrap();
            assert_eq!(asked.line(), format!("POST /{} HTTP/1.1", capture.target));
            assert_eq!(asked.body, capture.body.as_bytes(), "{}", capture.from);
            let strangers = |fields: &[(String, String)]| {
                let mut fields: Vec<(String, String)> =
                    fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).cloned().collect();
                fields.sort();
                fields
            };
            assert_eq!(strangers(&asked.fields()), strangers(&capture.headers), "{}", capture.from);
            assert_eq!(
                asked.field("idempotency-key").is_some(),
                capture.save().is_some(),
                "{}",
                capture.from
            );
        }
    }
}

fn refused(
    capture: &Capture,
    body: &[u8],
    headers: &HeaderMap,
    field: &TokenField,
    tokens: &Settings,
) -> bool {
    Callback::read(body, headers, field, tokens, capture.at).is_err()
}

#[tokio::test]
async fn no_byte_of_body_or_token_can_be_changed() {
    let stub = Stub::start(b"", Says::Nothing).await;
    for own_header in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(&stub, own_header, folder.path());
        let running = desk.live.load();
        let tokens = &running.settings.tokens;
        let field = TokenField { name: tokens.header.clone(), prefix: tokens.prefix.clone() };
        let fitting = captures();
        let fitting = fitting.iter().filter(|capture| capture.has_own_header() == own_header);
        // Four of five differ only in times and names; each is read whole, every fifth is tried byte by byte.
        for (at, capture) in fitting.enumerate() {
            let headers = capture.header_map();
            let body = capture.body.as_bytes();
            assert!(!refused(capture, body, &headers, &field, tokens), "{}", capture.from);
            if at % 5 > 0 {
                continue;
            }
            for at in 0..body.len() {
                let mut changed = body.to_vec();
                changed[at] ^= 1;
                assert!(refused(capture, &changed, &headers, &field, tokens), "{} byte {at}", capture.from);
            }
            // Where the body has no token, the header's decides.
            let mut bare: Value = serde_json::from_slice(body).unwrap();
            bare.as_object_mut().unwrap().remove("token");
            let bare = bare.to_string().into_bytes();
            assert!(!refused(capture, &bare, &headers, &field, tokens), "{}", capture.from);
            let value = headers[&field.name].as_bytes().to_vec();
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                let mut headers = headers.clone();
                headers.insert(field.name.clone(), HeaderValue::from_bytes(&changed).unwrap());
                assert!(refused(capture, &bare, &headers, &field, tokens), "{} header {at}", capture.from);
            }
        }
    }
}
