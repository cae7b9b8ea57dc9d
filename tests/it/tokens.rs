//! Routes that need a token take it where the Document Server takes it, refuse as the Document Server does, and change no body.

use std::fmt::Write as _;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::{Received, clock, token};
use tokio::net::TcpStream;

use crate::raw::{Answer, Client, Line};
use crate::rig::{Got, Rig, SECRET, Setup};

/// Where a token is put.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Header,
    Body,
    Query,
    CmdDownload,
    CmdSession,
}

/// A request that carries a token.
struct Asked {
    method: &'static str,
    target: String,
    lines: String,
    body: String,
}

impl Asked {
    fn bytes(&self) -> String {
        let Self { method, target, lines, body } = self;
        let length = body.len();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
        )
    }
}

struct Row {
    method: &'static str,
    path: &'static str,
    at: At,
    lines: &'static str,
    claims: Value,
    /// What the Document Server answers when it is content.
    good: u16,
}

fn asked(row: &Row, token: Option<&str>) -> Asked {
    let mut asked = Asked {
        method: row.method,
        target: row.path.to_owned(),
        lines: row.lines.to_owned(),
        body: String::new(),
    };
    let cmd = |name: &str| match token {
        Some(token) => json!({ "c": "save", "title": "a.txt", name: token }),
        None => json!({ "c": "save", "title": "a.txt" }),
    };
    match (row.at, token) {
        (At::Header, Some(token)) => write!(asked.lines, "Authorization: Bearer {token}\r\n").unwrap(),
        (At::Body, Some(token)) => {
            asked.body = json!({ "token": token, "c": "drop", "async": true }).to_string()
        }
        (At::Body, None) => asked.body = json!({ "c": "version", "key": "k1" }).to_string(),
        (At::Query, Some(token)) => write!(asked.target, "?a=1&token={token}").unwrap(),
        (At::Header | At::Query, None) => {}
        (At::CmdDownload, _) => write!(asked.target, "?cmd={}", encoded(&cmd("tokenDownload"))).unwrap(),
        (At::CmdSession, _) => write!(asked.target, "?cmd={}", encoded(&cmd("tokenSession"))).unwrap(),
    }
    if matches!(row.at, At::CmdDownload | At::CmdSession) || row.path.starts_with("/upload") {
        asked.body = "\u{0}\u{1}bytes".to_owned();
    }
    asked
}

fn encoded(value: &Value) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let text = value.to_string();
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Every route in every way in which it takes a token.
fn rows(rig: &Rig) -> Vec<Row> {
    let source = format!("{}{}", rig.server.url(), rig.server.cache("source", "source.txt", "text"));
    let session = token::session("k1", ("u1", "User"), 0, &clock::system());
    let command = token::command("version", None);
    let convert = token::convert("c1", &source, "txt", "txt");
    let open = token::open("k1", &source, "https://rapidpm.uk/cb", ("u1", "User"), "edit");
    let nested = |claims: &Value| json!({ "payload": claims });
    let png = "Content-Type: image/png\r\n";
    let json_wanted = "Accept: application/json\r\n";
    let row = |method, path, at, lines, claims: &Value| Row {
        method,
        path,
        at,
        lines,
        claims: claims.clone(),
        good: 200,
    };
    let ashx = "/coauthoring/CommandService.ashx";
    vec![
        row("POST", "/command", At::Body, "", &command),
        row("POST", "/command", At::Body, "Content-Type: application/json\r\n", &nested(&command)),
        row("POST", "/command", At::Header, "", &nested(&command)),
        row("POST", "/command", At::Query, "", &command),
        row("POST", "/9.0.4-a/Command/", At::Body, "", &command),
        row("POST", ashx, At::Body, "", &command),
        row("POST", ashx, At::Header, "", &command),
        row("GET", ashx, At::Header, "", &nested(&command)),
        row("GET", ashx, At::Query, "", &command),
        row("POST", "/converter", At::Body, "", &convert),
        row("POST", "/converter", At::Header, "", &nested(&convert)),
        row("POST", "/converter?shardkey=c1", At::Body, json_wanted, &convert),
        row("POST", "/ConvertService.ashx", At::Body, "", &convert),
        row("POST", "/ConvertService.ashx", At::Body, json_wanted, &convert),
        row("POST", "/ConvertService.ashx", At::Header, "Accept: text/xml\r\n", &nested(&convert)),
        row("GET", "/ConvertService.ashx", At::Query, "", &convert),
        row("POST", "/upload/k1", At::Header, png, &session),
        row("POST", "/upload/k1", At::Query, png, &session),
        row("POST", "/downloadas/k1", At::CmdDownload, "", &token::insert(&source)),
        row("POST", "/downloadas/k1", At::CmdSession, "", &session),
        row("POST", "/savefile/k1", At::CmdSession, "", &session),
        row("GET", "/printfile/k1/a.pdf", At::Query, "", &token::print("k1")),
        row("POST", "/downloadfile/k1", At::Body, "", &open),
        row("POST", "/downloadfile/k1", At::Header, "", &open),
        row("GET", "/downloadfile/k1", At::Header, "", &open),
        row("GET", "/downloadfile/k1", At::Header, "Range: bytes=0-1\r\n", &token::history("k1", 1, &source)),
    ]
    .into_iter()
    .map(|row| Row { good: if row.lines.starts_with("Range") { 206 } else { row.good }, ..row })
    .collect()
}

/// What reached the Document Server on behalf of a client.
fn arrived(rig: &Rig) -> Vec<Received> {
    rig.server.requests().into_iter().filter(|request| request.header("x-forwarded-for").is_some()).collect()
}

async fn directly(rig: &Rig, request: &str) -> Answer {
    Line::over(TcpStream::connect(rig.server.address()).await.unwrap()).ask(request.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn a_good_token_passes_in_every_carrier() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    for row in rows(&rig) {
        let fresh = [
            row.claims.clone(),
            token::expiring(row.claims.clone(), &clock::system(), 300),
            token::expiring(row.claims.clone(), &clock::system(), -30), // within a minute of its end
        ];
        for claims in fresh {
            let asked = asked(&row, Some(&token::sign(SECRET, &claims)));
            rig.server.clear_requests();
            let answer = client.send(asked.bytes().as_bytes()).await.unwrap();
            let shown = format!("{} {} {:?}", row.method, row.path, row.at);
            assert_eq!((answer.status, answer.refusal()), (row.good, None), "{shown}");
            let refused = [r#""error":6"#, r#""error":7"#, r#""error":-8"#, "<Error>-8"];
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!refused.iter().any(|refusal| text.contains(refusal)), "{shown}: {text}");
            let received = rig.server.wait_for_request(|r| r.target == asked.target && r.body_complete).await;
            assert_eq!(received.body, asked.body.as_bytes(), "{shown}");
            assert_eq!(received.method, row.method);
        }
    }
}

/// Tokens that are good for nothing, by what is wrong with them.
fn bad(claims: &Value) -> Vec<(&'static str, Option<String>)> {
    let now = clock::system();
    let good = token::sign(SECRET, claims);
    let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
    let other = token::sign(SECRET, &json!({ "other": true }));
    let mut early = claims.clone();
    early["nbf"] = json!(4_102_444_800_u64); // the year 2100
    vec![
        ("token_missing", None),
        ("token_malformed", Some("abc".into())),
        ("token_malformed", Some("a.b.c.d".into())),
        ("token_signature", Some(token::sign("another-secret-0123456789abcdef0123", claims))),
        ("token_signature", Some(format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap()))),
        ("token_algorithm", Some(format!("{}AAAA", token::unsigned(claims)))),
        ("token_expired", Some(token::sign(SECRET, &token::expiring(claims.clone(), &now, -120)))),
        ("token_not_yet", Some(token::sign(SECRET, &early))),
    ]
}

#[tokio::test]
async fn a_bad_token_is_refused_as_the_document_server_would() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let mut asked_for = 0;
    for row in rows(&rig) {
        for (reason, token) in bad(&row.claims) {
            let shown = format!("{} {} {:?} {reason}", row.method, row.path, row.at);
            let asked = asked(&row, token.as_deref());
            let here = client.send(asked.bytes().as_bytes()).await.unwrap();
            let there = directly(&rig, &asked.bytes()).await;
            assert_eq!(here.refusal(), Some(reason), "{shown}");
            assert_eq!(here.status, there.status, "{shown}");
            let kind = |answer: &Answer| {
                let kind = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
                kind.split(';').next().unwrap_or_default().to_owned()
            };
            assert_eq!(kind(&here), kind(&there), "{shown}");
            // The Document Server repeats the key of an unsigned command.
            match serde_json::from_slice::<Value>(&there.body) {
                Ok(said) => {
                    let own: Value = serde_json::from_slice(&here.body).unwrap();
                    assert_eq!(own["error"], said["error"], "{shown}");
                }
                Err(_) => assert_eq!(here.text(), there.text(), "{shown}"),
            }
            asked_for += 1;
        }
    }
    assert!(arrived(&rig).is_empty());
    assert!(asked_for > 200);
}

#[tokio::test]
async fn a_bad_token_is_not_rescued_by_a_good_one() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let good = token::sign(SECRET, &token::command("version", None));
    let bad = token::sign("another-secret-0123456789abcdef0123", &token::command("version", None));
    let header = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let body = |token: &str| json!({ "token": token }).to_string();
    let table = [
        ("/command", header(&good), body(&bad), "token_signature"),
        ("/command", format!("{}{}", header(&good), header(&bad)), "{}".into(), "token_ambiguous"),
        ("/command", format!("{}{}", header(&good), header(&good)), "{}".into(), "token_ambiguous"),
        (
            "/command",
            String::new(),
            format!("{{\"token\":\"{bad}\",\"token\":\"{good}\"}}"),
            "token_ambiguous",
        ),
        ("/command", String::new(), format!("[\"{good}\"]"), "token_missing"),
        ("/command", format!("Authorization: bearer {good}\r\n"), "{}".into(), "token_missing"),
        ("/command", format!("Authorization: Basic {good}\r\n"), "{}".into(), "token_missing"),
        ("/command", format!("X-Authorization: Bearer {good}\r\n"), "{}".into(), "token_missing"),
        ("/upload/k1?token=x", header(&bad), String::new(), "token_signature"),
        ("/downloadfile/k1", header(&good), body(&bad), "token_signature"),
    ];
    for (target, lines, body, reason) in table {
        let answer = client.post(target, &lines, &body).await;
        assert_eq!(answer.refusal(), Some(reason), "{target} {lines:?} {body}");
    }
    for target in [
        format!("/upload/k1?token={bad}&token={good}"),
        format!("/upload/k1?token={good}&token={bad}"),
        format!("/upload/k1?token={good}&token[]={bad}"),
        format!("/upload/k1?to%6ben={bad}&token={good}"),
    ] {
        assert_eq!(client.post(&target, "", "").await.refusal(), Some("token_ambiguous"), "{target}");
    }
    assert!(arrived(&rig).is_empty());
}

#[tokio::test]
async fn an_inspected_body_is_forwarded_byte_for_byte() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let mut sender = rig.h2().await;
    let token = token::sign(SECRET, &token::command("version", None));
    let bodies = [
        format!("{{\"token\":\"{token}\"}}"),
        format!("  \r\n{{ \"b\" : 1.0 , \"a\":[ ],\t\"token\" :\"{token}\", \"b\":2 }}\n\n"),
        format!("{{\"to\\u006ben\":\"{token}\",\"x\":\"\\u00e4\\/\\uD83D\\uDE00 \u{e4}\"}}"),
        format!("{{\"token\":\"{token}\",\"big\":123456789012345678901234567890.10}}"),
        format!("{{\"token\":\"{token}\",\"pad\":\"{}\"}}", "x".repeat(60_000)),
    ];
    for body in bodies {
        for lines in [
            "",
            "Content-Type: application/json\r\n",
            "Content-Type: text/plain\r\nContent-Encoding: identity\r\n",
        ] {
            rig.server.clear_requests();
            assert!(client.post("/command", lines, &body).await.text().contains("version"), "{body}");
            let received = rig.server.wait_for_request(|r| r.target == "/command" && r.body_complete).await;
            assert_eq!(received.body, body.as_bytes());
            assert_eq!(received.header("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(received.header("transfer-encoding"), None);
            let kind = lines.split(['\r']).next().and_then(|line| line.strip_prefix("Content-Type: "));
            assert_eq!(received.header("content-type"), kind);
        }
        // In pieces, whose borders nobody needs to know.
        rig.server.clear_requests();
        let mut chunked =
            "POST /command HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for piece in body.as_bytes().chunks(7919) {
            let piece = String::from_utf8_lossy(piece);
            write!(chunked, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
        }
        chunked += "0\r\n\r\n";
        if body.is_ascii() {
            assert!(client.send(chunked.as_bytes()).await.unwrap().text().contains("version"), "{body}");
            let received = rig.server.wait_for_request(|r| r.target == "/command" && r.body_complete).await;
            assert_eq!(received.body, body.as_bytes());
        }
        rig.server.clear_requests();
        let request =
            Request::post("https://localhost/command").body(Full::new(Bytes::from(body.clone()))).unwrap();
        assert!(Got::from(sender.send_request(request).await.unwrap()).await.text().contains("version"));
        let received = rig.server.wait_for_request(|r| r.target == "/command" && r.body_complete).await;
        assert_eq!(received.body, body.as_bytes());
    }
}

#[tokio::test]
async fn what_must_be_read_first_may_be_a_mebibyte_and_no_more() {
    const LIMIT: usize = 1 << 20;
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let source = format!("{}{}", rig.server.url(), rig.server.cache("source", "source.txt", "text"));
    let convert = token::convert("c1", &source, "txt", "txt");
    let command = token::command("version", None);
    let open = token::open("k1", &source, "https://rapidpm.uk/cb", ("u1", "User"), "edit");
    let body = |claims: &Value, length: usize| {
        let token = token::sign(SECRET, claims);
        let open = format!("{{\"token\":\"{token}\",\"pad\":\"");
        format!("{open}{}\"}}", "x".repeat(length - open.len() - 2))
    };
    let chunked =
        |body: &str| format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let whole = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let table = [
        ("/command", &command),
        ("/coauthoring/CommandService.ashx", &command),
        ("/converter", &convert),
        ("/ConvertService.ashx", &convert),
        ("/downloadfile/k1", &open),
    ];
    for (path, claims) in table {
        for (length, passes) in [(LIMIT, true), (LIMIT + 1, false), (3 * LIMIT, false)] {
            for framed in [whole(&body(claims, length)), chunked(&body(claims, length))] {
                rig.server.clear_requests();
                let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framed}");
                let answer = client.send(request.as_bytes()).await.unwrap();
                if passes {
                    assert_ne!(answer.status, 413, "{path}");
                    let received = rig.server.wait_for_request(|r| r.target == path && r.body_complete).await;
                    assert_eq!(received.body_length, length as u64, "{path}");
                } else {
                    assert_eq!(
                        (answer.status, answer.refusal()),
                        (413, Some("body_too_large")),
                        "{path} {length}"
                    );
                    assert!(arrived(&rig).is_empty(), "{path} {length}");
                }
            }
        }
    }
    // Over HTTP/2, and where nothing has to be read first.
    let request = Request::post("https://localhost/command")
        .body(Full::new(Bytes::from(body(&command, 2 * LIMIT))))
        .unwrap();
    let got = Got::from(rig.h2().await.send_request(request).await.unwrap()).await;
    assert_eq!((got.status, got.header("gateway-refusal")), (413, Some("body_too_large")));
    let session = token::sign(SECRET, &token::session("k1", ("u1", "User"), 0, &clock::system()));
    let lines = format!("Content-Type: image/png\r\nAuthorization: Bearer {session}\r\n");
    let answer = client.post("/upload/k1", &lines, &"x".repeat(3 * LIMIT)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn header_and_prefix_are_those_of_the_configuration() {
    let command = token::sign(SECRET, &json!({ "payload": token::command("version", None) }));
    let session = token::sign(SECRET, &token::session("k1", ("u1", "User"), 0, &clock::system()));
    // header, prefix, then: line, whether /command takes it, whether /upload does.
    type Line = (&'static str, bool, bool);
    let table: [(&str, &str, &[Line]); 3] = [
        (
            "AuthorizationJwt",
            "Bearer ",
            &[
                ("AuthorizationJwt: Bearer ", true, false),
                ("AUTHORIZATIONJWT: Bearer ", true, false),
                ("AuthorizationJwt: bearer ", false, false),
                ("AuthorizationJwt: ", false, false),
                ("Authorization: Bearer ", false, true),
                ("Authorization-Jwt: Bearer ", false, false),
            ],
        ),
        (
            "X-Jwt",
            "Token ",
            &[
                ("X-Jwt: Token ", true, false),
                ("X-Jwt: Bearer ", false, false),
                ("Authorization: Bearer ", false, true),
                ("Authorization: Token ", false, false),
            ],
        ),
        (
            "Authorization",
            "JWT ",
            &[("Authorization: JWT ", true, false), ("Authorization: Bearer ", false, true)],
        ),
    ];
    for (header, prefix, asked) in table {
        let lines = vec![("jwt", format!("header = \"{header}\"\nprefix = \"{prefix}\""))];
        let server = Options { header: header.into(), prefix: prefix.into(), ..Options::default() };
        let rig = Rig::with(Setup { lines, server, ..Setup::default() }).await;
        let mut client = Client::of(&rig);
        for (line, at_command, at_upload) in asked {
            let answer = client.post("/command", &format!("{line}{command}\r\n"), "{}").await;
            let passed = answer.text().contains("\"version\"");
            assert_eq!(
                (passed, answer.refusal().is_none()),
                (*at_command, *at_command),
                "{header} {prefix}: {line}"
            );
            let lines = format!("Content-Type: image/png\r\n{line}{session}\r\n");
            let answer = client.post("/upload/k1", &lines, "x").await;
            assert_eq!(answer.status, if *at_upload { 200 } else { 403 }, "{header} {prefix}: {line}");
        }
        // The body's token has neither.
        let body = json!({ "token": command }).to_string();
        assert!(client.post("/command", "", &body).await.text().contains("\"version\""));
    }
}
