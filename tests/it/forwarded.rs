//! Who a client is and where it came from is said by the gateway alone; whatever else two ends say to each other passes.

use http_body_util::Full;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use standin::{Received, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{Answer, Client};
use crate::rig::{Got, Rig, SECRET, Setup};

const TARGET: &str = "/fonts/size-10";

/// Fields by which a client could say who it is, where it wanted to go, or which other address was meant.
const FORGED: [&str; 51] = [
    "X-Forwarded-For",
    "x-forwarded-for",
    "X-FORWARDED-FOR",
    "X_Forwarded_For",
    "X-Forwarded_For",
    "X-Forwarded-Host",
    "x-forwarded-HOST",
    "X_Forwarded_Host",
    "X_FORWARDED-HOST",
    "X-Forwarded_Host",
    "X-Forwarded-Proto",
    "X_Forwarded_Proto",
    "x-forwarded-PROTO",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X_Forwarded_Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-By",
    "X-Forwarded",
    "X-Forwarded-Proto-Version",
    "Forwarded",
    "FORWARDED",
    "X-Real-IP",
    "X_Real_IP",
    "x-real-ip",
    "CloudFront-Forwarded-Proto",
    "Cloudfront_Forwarded_Proto",
    "CLOUDFRONT-FORWARDED-PROTO",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Original-Host",
    "X-Original-Forwarded-For",
    "X-Original-Method",
    "Front-End-Https",
    "X-Url-Scheme",
    "X-Scheme",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-ProxyUser-Ip",
    "Via",
    "any_name",
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
];

const OURS: [(&str, &str); 5] = [
    ("host", "localhost"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "localhost"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "127.0.0.1"),
];

/// The last request that was not the gateway's own. Its name and its trace differ from one to the next: they are looked at here,
/// and taken out.
fn last(rig: &Rig) -> Received {
    let mut last =
        rig.server.requests().into_iter().rfind(|r| r.header("x-forwarded-for").is_some()).unwrap();
    let id = last.header("x-request-id").unwrap();
    let trace = last.header("traceparent").unwrap();
    assert!(id.len() == 16 && trace.len() == 55 && trace.contains(&format!("-{id}-0")), "{id} {trace}");
    last.headers.retain(|(name, _)| !["x-request-id", "traceparent"].contains(&name.as_str()));
    last
}

/// How many requests came from clients.
fn arrived(rig: &Rig) -> usize {
    rig.server.requests().iter().filter(|r| r.header("x-forwarded-for").is_some()).count()
}

/// What arrived, sorted, without fields that `kept` names.
fn seen(rig: &Rig, kept: &[&str]) -> Vec<(String, String)> {
    let mut headers = last(rig).headers;
    headers.retain(|(name, _)| !kept.contains(&name.as_str()));
    headers.sort();
    headers
}

fn ours() -> Vec<(String, String)> {
    OURS.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn what_a_client_says_about_itself_never_arrives() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let mut asked = 0;
    for name in FORGED {
        for value in ["evil.example", "http, https", "127.0.0.1", ""] {
            let forged = format!("{name}: {value}\r\n");
            let shapes = [
                forged.clone(),
                format!("{forged}Accept: a\r\n"),
                format!("Accept: a\r\n{forged}"),
                format!("{forged}{forged}"),
                format!("{forged}Accept: a\r\n{}: other\r\n", name.to_lowercase()),
                format!("X-Forwarded-Host: localhost\r\n{forged}X-Forwarded-Proto: https\r\n"),
                format!("{forged}Connection: {name}\r\n"),
                format!(
                    "Connection: keep-alive, X-Forwarded-Host\r\n{forged}Connection: x-forwarded-proto,host\r\n"
                ),
            ];
            for lines in shapes {
                let before = arrived(&rig);
                let answer = client.get(TARGET, &lines).await;
                if answer.status == 400 && name.contains('_') {
                    assert_eq!(arrived(&rig), before, "{lines:?}"); // refused as a whole is as good
                } else {
                    assert_eq!(answer.status, 200, "{lines:?}");
                    assert_eq!(seen(&rig, &["accept"]), ours(), "{lines:?}");
                }
                asked += 1;
            }
        }
    }
    let all: String =
        FORGED.iter().filter(|n| !n.contains('_')).map(|name| format!("{name}: evil.example\r\n")).collect();
    assert_eq!(client.get(TARGET, &all).await.status, 200);
    assert_eq!(seen(&rig, &[]), ours());
    assert_eq!(asked, FORGED.len() * 32);
}

#[tokio::test]
async fn what_a_client_says_about_itself_never_arrives_over_http2() {
    let rig = Rig::start().await;
    let mut sender = rig.h2().await;
    for name in FORGED {
        let name: HeaderName = name.to_ascii_lowercase().parse().unwrap();
        for values in [&["evil.example"][..], &["a, b", "c"], &[""]] {
            let mut request =
                Request::get(format!("https://localhost{TARGET}")).body(Full::default()).unwrap();
            for value in values {
                request.headers_mut().append("x-kept", HeaderValue::from_static("1"));
                request.headers_mut().append(&name, value.parse().unwrap());
            }
            let before = arrived(&rig);
            let got = Got::from(sender.send_request(request).await.unwrap()).await;
            if got.status == 400 && name.as_str().contains('_') {
                assert_eq!(arrived(&rig), before, "{name}");
                continue;
            }
            assert_eq!(got.status, 200, "{name}");
            assert_eq!(seen(&rig, &["x-kept"]), ours(), "{name} {values:?}");
            assert!(last(&rig).header("x-kept").is_some());
        }
    }
}

/// The Document Server's own word for where it is, read from a link that it builds.
async fn base(client: &mut Client<'_>, rig: &Rig, prefix: &str, lines: &str) -> String {
    let source = format!("{}{}", rig.server.url(), rig.server.cache("source", "source.txt", "text"));
    let token = token::sign(SECRET, &token::convert("base", &source, "txt", "txt"));
    let body = serde_json::json!({ "token": token }).to_string();
    let answer = client.post(&format!("{prefix}/converter"), lines, &body).await;
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let url = said["fileUrl"].as_str().unwrap_or_else(|| panic!("{said}"));
    url.split("/cache/files/").next().unwrap().to_owned()
}

#[tokio::test]
async fn links_of_the_document_server_lead_to_the_public_url_whatever_the_client_says() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    for name in ["X-Forwarded-Host", "X-Forwarded-Prefix", "CloudFront-Forwarded-Proto", "Forwarded"] {
        let lines = format!("{name}: evil.example\r\n");
        assert_eq!(base(&mut client, &rig, "", &lines).await, "https://localhost", "{name}");
    }
}

#[tokio::test]
async fn each_public_url_is_told_as_it_is_written() {
    // public_url, names of the certificate, then: Host asked for, path in front, X-Forwarded-Host, Host towards the server.
    type Asked = (&'static str, &'static str, &'static str, &'static str);
    let table: [(&str, &[&'static str], &[Asked]); 4] = [
        (
            "localhost:8443",
            &["localhost"],
            &[
                ("localhost:8443", "", "localhost:8443", "localhost:8443"),
                ("localhost", "", "localhost:8443", "localhost:8443"),
                ("LOCALHOST.:1", "", "localhost:8443", "localhost:8443"),
            ],
        ),
        ("localhost/docs", &["localhost"], &[("localhost", "/docs", "localhost/docs", "localhost")]),
        (
            "localhost:8443/a/b.c",
            &["localhost"],
            &[("localhost:8443", "/a/b.c", "localhost:8443/a/b.c", "localhost:8443")],
        ),
        (
            "one.example two.example/x two.example:8443 localhost",
            &["*.example", "localhost"],
            &[
                ("one.example", "", "one.example", "one.example"),
                ("two.example", "/x", "two.example/x", "two.example"),
                ("TWO.example:443", "/x", "two.example/x", "two.example"),
                ("two.example:8443", "", "two.example:8443", "two.example:8443"),
                ("two.example:7", "/x", "two.example/x", "two.example"),
                ("localhost", "", "localhost", "localhost"),
                ("other.example", "", "one.example", "one.example"),
            ],
        ),
    ];
    for (public, names, asked) in table {
        let rig = Rig::with(Setup { public, names: names.to_vec(), ..Setup::default() }).await;
        // Without SNI, so that one connection may ask for every name.
        for (host, prefix, forwarded, own) in asked {
            let stream = rig.tls(None, &["http/1.1"]).await.unwrap();
            let mut line = crate::raw::Line::over(stream);
            let request = format!("GET {prefix}{TARGET}?a=/b HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = line.ask(request.as_bytes()).await.unwrap();
            assert_eq!(answer.status, 200, "{public}: {host}{prefix}");
            let received = last(&rig);
            assert_eq!(received.target, format!("{TARGET}?a=/b"), "{public}: {host}");
            assert_eq!(received.header("x-forwarded-host"), Some(*forwarded), "{public}: {host}");
            assert_eq!(received.header("host"), Some(*own), "{public}: {host}");
            assert_eq!(received.header("x-forwarded-prefix"), None);
            assert_eq!(received.header("x-forwarded-port"), None);
        }
    }
}

#[tokio::test]
async fn the_path_of_a_public_url_is_asked_for_and_put_into_links() {
    let rig = Rig::with(Setup { public: "localhost:8443/docs", ..Setup::default() }).await;
    let mut client = Client::of(&rig);
    assert_eq!(base(&mut client, &rig, "/docs", "").await, "https://localhost:8443/docs");
    for outside in [TARGET, "/docsx/fonts/size-1", "/DOCS/fonts/size-1", "/x/docs/fonts/size-1", "/"] {
        let answer = client.get(outside, "").await;
        assert_eq!((answer.status, answer.refusal()), (404, Some("unknown_path")), "{outside}");
    }
    for closed in
        ["/docs/info/config", "/docs/../info/config", "/docs//info/config", "/docs/docs/fonts/size-1"]
    {
        assert!(client.get(closed, "").await.refusal().is_some(), "{closed}");
    }
}

#[tokio::test]
async fn only_a_trusted_proxy_extends_the_chain() {
    // trusted_proxies, lines of the client, X-Forwarded-For and X-Real-IP as they arrive.
    let table: [(&str, &str, &str, &str); 9] = [
        ("[]", "X-Forwarded-For: 198.51.100.1\r\n", "127.0.0.1", "127.0.0.1"),
        ("[\"10.0.0.0/8\"]", "X-Forwarded-For: 198.51.100.1\r\n", "127.0.0.1", "127.0.0.1"),
        ("[\"127.0.0.1\"]", "", "127.0.0.1", "127.0.0.1"),
        ("[\"127.0.0.0/8\"]", "X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1, 127.0.0.1", "198.51.100.1"),
        (
            "[\"127.0.0.0/8\"]",
            "X-Forwarded-For: 1.1.1.1, 198.51.100.1\r\n",
            "198.51.100.1, 127.0.0.1",
            "198.51.100.1",
        ),
        (
            "[\"127.0.0.0/8\"]",
            "x-forwarded-for: 1.1.1.1\r\nX-FORWARDED-FOR: 198.51.100.1\r\n",
            "198.51.100.1, 127.0.0.1",
            "198.51.100.1",
        ),
        (
            "[\"127.0.0.0/8\", \"10.0.0.0/8\"]",
            "X-Forwarded-For: 6.6.6.6, 2001:db8::1, 10.0.0.2\r\n",
            "2001:db8::1, 10.0.0.2, 127.0.0.1",
            "2001:db8::1",
        ),
        ("[\"127.0.0.0/8\"]", "X-Forwarded-For: nonsense\r\n", "127.0.0.1", "127.0.0.1"),
        ("[\"127.0.0.0/8\"]", "X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n", "127.0.0.1", "127.0.0.1"),
    ];
    for (trusted, lines, chain, address) in table {
        let setup =
            Setup { lines: vec![("server", format!("trusted_proxies = {trusted}"))], ..Setup::default() };
        let rig = Rig::with(setup).await;
        let lines = format!("{lines}X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\n");
        Client::of(&rig).get(TARGET, &lines).await;
        let received = last(&rig);
        let values: Vec<_> = received.headers.iter().filter(|(name, _)| name == "x-forwarded-for").collect();
        assert_eq!(values.len(), 1, "{trusted} {lines:?}");
        assert_eq!(received.header("x-forwarded-for"), Some(chain), "{trusted} {lines:?}");
        assert_eq!(received.header("x-real-ip"), Some(address), "{trusted} {lines:?}");
        assert_eq!(
            received.header("x-forwarded-host"),
            Some("localhost"),
            "a proxy is believed in this alone"
        );
        assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test]
async fn what_a_connection_says_about_itself_stays_on_it() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let table = [
        "Connection: X-One\r\nX-One: 1\r\n",
        "X-One: 1\r\nConnection: close-not, x-one\r\nClose-Not: 1\r\n",
        "Connection: X-One\r\nConnection: x-two ,,\tX-THREE\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nX-Two: 4\r\n",
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: x\r\n",
        "Proxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n",
        "Connection: keep-alive\r\n",
    ];
    for lines in table {
        let answer = client.get(TARGET, lines).await;
        assert_eq!(answer.status, 200, "{lines:?}");
        assert_eq!(seen(&rig, &["sec-websocket-key"]), ours(), "{lines:?}");
        for gone in ["keep-alive", "via", "proxy-connection", "upgrade", "te", "trailer"] {
            assert_eq!(answer.header(gone), None, "{lines:?}");
        }
        // The stand-in says `Connection: keep-alive` on every answer.
        assert_eq!(answer.header("connection"), None, "{lines:?}");
    }
}

#[tokio::test]
async fn no_connection_line_takes_away_what_is_checked() {
    let lines = vec![("jwt", "header = \"AuthorizationJwt\"".to_owned())];
    let server =
        standin::document_server::Options { header: "AuthorizationJwt".into(), ..Default::default() };
    let rig = Rig::with(Setup { lines, server, ..Setup::default() }).await;
    let mut client = Client::of(&rig);
    let token = token::sign(SECRET, &serde_json::json!({"payload": token::command("version", None)}));
    let kept = [
        ("authorizationjwt", format!("Bearer {token}")),
        ("authorization", "Bearer another".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("cookie", "a=b".to_owned()),
        ("origin", "https://localhost".to_owned()),
        ("range", "bytes=0-1".to_owned()),
    ];
    let fields: String = kept.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let connections = [
        "Connection: AuthorizationJwt\r\n",
        "Connection: Authorization, Content-Length, Content-Type\r\n",
        "Connection: cookie\r\nConnection: AUTHORIZATIONJWT , origin\r\nConnection: range,host\r\n",
        "Connection: X-Forwarded-Host, X-Forwarded-For, X-Real-IP, X-Forwarded-Proto\r\n",
    ];
    for connection in connections {
        for lines in [format!("{connection}{fields}"), format!("{fields}{connection}")] {
            let answer = client.post("/command", &lines, "{\"c\":\"drop\"}").await;
            assert_eq!(answer.status, 200);
            assert!(answer.text().contains("\"version\""), "{connection}: {}", answer.text());
            let received = last(&rig);
            for (name, value) in &kept {
                assert_eq!(received.header(name), Some(value.as_str()), "{connection}");
            }
            for (name, value) in OURS {
                assert_eq!(received.header(name), Some(value), "{connection}");
            }
        }
    }
}

/// What the stand-in answers to the same request when it is asked directly.
async fn directly(rig: &Rig, request: &str) -> Answer {
    let stream = tokio::net::TcpStream::connect(rig.server.address()).await.unwrap();
    crate::raw::Line::over(stream).ask(request.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn answers_pass_as_they_were_given() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let link = rig.server.cache("key1", "big.docx", vec![7; 70_000]);
    let gone = rig.server.sign("data/key1/big.docx", "big.docx", "key1", -10);
    let etag = directly(&rig, "GET /sdkjs/size-5000.js HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let etag = etag.header("etag").unwrap().to_owned();
    let ranged = format!("Range: bytes=5-9\r\nIf-Range: {etag}\r\n");
    let known = format!("If-None-Match: {etag}\r\n");
    let table: [(&str, &str, &str, u16); 17] = [
        ("GET", "/sdkjs/size-5000.js", "", 200),
        ("GET", "/sdkjs/size-5000.js", "Accept-Encoding: gzip\r\n", 200),
        ("GET", "/sdkjs/size-5000.js", "Accept-Encoding: gzip, deflate, br\r\nRange: bytes=0-99\r\n", 206),
        ("GET", "/sdkjs/size-5000.js", &ranged, 206),
        ("GET", "/sdkjs/size-5000.js", "Range: bytes=-5\r\n", 206),
        ("GET", "/sdkjs/size-5000.js", "Range: bytes=9999-\r\n", 416),
        ("GET", "/sdkjs/size-5000.js", &known, 304),
        ("HEAD", "/sdkjs/size-5000.js", "", 200),
        ("HEAD", "/sdkjs/size-5000.js", "Accept-Encoding: gzip\r\n", 200),
        ("GET", "/sdkjs/nosuch.js", "", 404),
        ("GET", "/fonts/size-0", "", 200),
        ("GET", &link, "", 200),
        ("GET", &link, "Range: bytes=69990-\r\n", 206),
        ("HEAD", &link, "", 200),
        ("GET", &gone, "", 410),
        ("GET", "/cache/files/data/key1/x/x", "", 403),
        ("GET", "/plugins.json", "Accept-Encoding: identity\r\n", 200),
    ];
    for (method, target, lines, status) in table {
        let mut through = client.ask(method, target, lines).await.unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let mut direct = directly(&rig, &request).await;
        assert_eq!((through.status, direct.status), (status, status), "{method} {target} {lines:?}");
        assert!(through.body == direct.body, "{method} {target} {lines:?}: the body differs");
        for answer in [&mut through, &mut direct] {
            // Times of the moment, fields of the hop, and what the gateway adds to each answer.
            let of_the_hop = ["date", "expires", "connection", "transfer-encoding", "x-request-id"];
            answer.headers.retain(|(name, _)| !of_the_hop.contains(&name.as_str()));
            answer.headers.sort();
        }
        assert_eq!(through.headers, direct.headers, "{method} {target} {lines:?}");
        for (name, value) in last(&rig).headers {
            let sent =
                lines.to_ascii_lowercase().contains(&format!("{name}: {}", value.to_ascii_lowercase()));
            assert!(
                sent || OURS.contains(&(&name, &value)),
                "{name}: {value} was added to {method} {target}"
            );
        }
    }
}

#[tokio::test]
async fn answers_pass_over_http2_as_over_http1() {
    let rig = Rig::start().await;
    let mut sender = rig.h2().await;
    let mut client = Client::of(&rig);
    let table = [
        ("GET", "", "", 200),
        ("GET", "accept-encoding", "gzip", 200),
        ("GET", "range", "bytes=3-7", 206),
        ("HEAD", "", "", 200),
        ("GET", "if-none-match", "*", 200),
    ];
    for (method, name, value, status) in table {
        let target = "/sdkjs/size-3000.js";
        let mut request = Request::builder().method(method).uri(format!("https://localhost{target}"));
        let mut lines = String::new();
        if !name.is_empty() {
            request = request.header(name, value);
            lines = format!("{name}: {value}\r\n");
        }
        let request = request.body(Full::default()).unwrap();
        let got = Got::from(sender.send_request(request).await.unwrap()).await;
        let other = client.ask(method, target, &lines).await.unwrap();
        assert_eq!((got.status, other.status), (status, status), "{method} {lines:?}");
        assert!(got.body == other.body, "{method} {lines:?}");
        for field in ["etag", "vary", "content-range", "content-encoding", "content-length", "cache-control"]
        {
            assert_eq!(got.header(field), other.header(field), "{method} {lines:?} {field}");
        }
        for gone in ["connection", "keep-alive", "via", "transfer-encoding"] {
            assert_eq!(got.header(gone), None);
        }
    }
}

/// A server that gives every request but the probe's the same answer.
async fn canned(answer: &'static str) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {
                    while let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                        let probe = read.starts_with(b"GET /healthcheck ");
                        read.drain(..end + 4);
                        let well = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
                        stream.write_all(if probe { well } else { answer }.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn what_the_servers_connection_says_about_itself_stays_on_it() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-One\r\nX-One: 1\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\n\
        connection: x-two , keep-alive\r\nProxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\n\
        X-Kept: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nUpgrade: h2c\r\nX-TWO: 3\r\n\
        Trailer: x\r\nContent-Length: 2\r\nVary: Accept-Encoding\r\n\r\nok";
    let rig = Rig::with(Setup { upstream: Some(canned(answer).await), ..Setup::default() }).await;
    let expected = ["content-length", "date", "set-cookie", "set-cookie", "vary", "x-kept", "x-request-id"];
    let got = Client::of(&rig).get(TARGET, "").await;
    let mut names: Vec<_> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((got.text(), names), ("ok", expected.to_vec()));
    let request = Request::get(format!("https://localhost{TARGET}")).body(Full::default()).unwrap();
    let got = Got::from(rig.h2().await.send_request(request).await.unwrap()).await;
    let mut names: Vec<_> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((got.text(), names), ("ok", expected.to_vec()));
}

#[tokio::test]
async fn what_the_gateway_settles_itself_is_not_passed_on() {
    let rig = Rig::start().await;
    // HTTP/2 may send cookies one by one (RFC 9113 8.2.3); HTTP/1 knows one field.
    let mut request = Request::get(format!("https://localhost{TARGET}")).body(Full::default()).unwrap();
    for cookie in ["a=1", "b=2; c=3", "d=\"4\""] {
        request.headers_mut().append("cookie", HeaderValue::from_static(cookie));
    }
    assert_eq!(rig.h2().await.send_request(request).await.unwrap().status(), 200);
    let cookies: Vec<_> = last(&rig).headers.into_iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(cookies, [("cookie".to_owned(), "a=1; b=2; c=3; d=\"4\"".to_owned())]);
    // The wish for a 100 is answered here, once somebody wants the body.
    let token = token::sign(SECRET, &token::command("version", None));
    let body = serde_json::json!({ "token": token }).to_string();
    let mut client = Client::of(&rig);
    let answer = client.post("/command", "Expect: 100-continue\r\n", &body).await;
    assert!(answer.text().contains("\"version\""));
    assert_eq!((last(&rig).header("expect"), last(&rig).body), (None, body.into()));
}
