//! The admin listener is for programs and for people who opened it themselves: not for a name that anybody could have lead there,
//! nor for pages of others in an operator's browser.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{ADMIN_PAGES, Got, Rig, Setup};

async fn ask(rig: &Rig, method: &str, path: &str, fields: &[(&str, &str)]) -> Got {
    let stream = TcpStream::connect(rig.admin).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    // Events go on until the connection is dropped.
    let body = match path {
        "/events" if parts.status == 200 => Bytes::new(),
        _ => http_body_util::BodyExt::collect(body).await.unwrap().to_bytes(),
    };
    Got { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn a_name_that_could_be_anybodys_is_refused_until_it_is_listed() {
    let rig =
        Rig::with(Setup { lines: vec![("server", "admin_names = []".into())], ..Setup::default() }).await;
    for path in ADMIN_PAGES.into_iter().chain(["/events", "/reload", "/nosuch"]) {
        for method in ["GET", "POST"] {
            let got = ask(&rig, method, path, &[("host", "Gateway.Example.internal:8080")]).await;
            assert_eq!(got.status, 421, "{method} {path}");
            let cure = "[server]\nadmin_names = [\"gateway.example.internal\"]\n";
            assert!(got.text().contains(cure), "the cure is to be copied: {}", got.text());
        }
    }
    let line = rig.log.wait_for(|line| line["event"] == "admin_refused").await;
    assert_eq!((&line["status"], &line["host"]), (&"421".into(), &"Gateway.Example.internal:8080".into()));
    for host in ["127.0.0.1:8080", "[::1]", "localhost", "gateway:8080", "192.0.2.7"] {
        assert_eq!(ask(&rig, "GET", "/metrics", &[("host", host)]).await.status, 200, "{host}");
    }
    rig.edit("admin_names = []", "admin_names = [\"Gateway.Example.internal\"]");
    let outcome = rig.reload().await;
    assert_eq!(
        outcome["changes"],
        serde_json::json!(["`server.admin_names` has now gateway.example.internal"])
    );
    for path in ADMIN_PAGES.into_iter().chain(["/events"]) {
        let got = ask(&rig, "GET", path, &[("host", "gateway.example.internal:8080")]).await;
        assert_eq!(got.status, 200, "{path}");
    }
    assert_eq!(ask(&rig, "GET", "/metrics", &[("host", "evil.example")]).await.status, 421);
}

/// A check that names no host is no browser's: HAProxy's `option httpchk` sends this.
#[tokio::test]
async fn a_check_of_http_1_0_needs_no_host() {
    let rig = Rig::start().await;
    for (head, status) in [
        ("GET /livez HTTP/1.0\r\n", "200"),
        ("GET http://evil.example/livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n", "421"),
        ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n", "421"),
        ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1, evil.example\r\nConnection: close\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(rig.admin).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn pages_of_others_get_nothing_and_links_lead_to_the_page() {
    let rig = Rig::start().await;
    let host = ("host", "127.0.0.1:8080");
    let from_elsewhere: [&[(&str, &str)]; 4] = [
        &[host, ("origin", "https://evil.example")],
        &[host, ("origin", "null")],
        &[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        &[
            host,
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
        ],
    ];
    for path in ADMIN_PAGES.into_iter().chain(["/events"]) {
        for fields in from_elsewhere {
            assert_eq!(ask(&rig, "GET", path, fields).await.status, 403, "{path} {fields:?}");
        }
        let got = ask(&rig, "GET", path, &[host, ("sec-fetch-site", "same-origin")]).await;
        assert_eq!(got.status, 200, "{path}");
        assert_eq!(got.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(got.header("access-control-allow-origin"), None, "{path}");
    }
    let link = [
        host,
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(ask(&rig, "GET", "/", &link).await.status, 200);
    assert_eq!(ask(&rig, "POST", "/", &link).await.status, 405);
    assert_eq!(
        ask(&rig, "POST", "/reload", &link).await.status,
        403,
        "what changes something takes no page at all"
    );
}

/// Whoever holds connections without taking answers, or without asking, is the first to go: 64 of them once kept every operator,
/// Prometheus and health check out for as long as they liked.
#[tokio::test]
async fn who_holds_connections_keeps_nobody_out() {
    let rig = Rig::start().await;
    // Far more than the buffers of both ends take, and not one byte of it is read.
    let greedy = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    let stalls = ["", "GET /li", "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", &greedy];
    for stall in stalls {
        let mut held = Vec::new();
        for _ in 0..64 {
            let stream = TcpStream::connect(rig.admin).await.unwrap();
            stream.try_write(stall.as_bytes()).ok(); // what fits
            held.push(stream);
        }
        for path in ["/livez", "/metrics", "/", "/events"] {
            let asked = ask(&rig, "GET", path, &[("host", "localhost")]);
            // Half of what the gateway gives a connection that says nothing.
            let got = timeout(Duration::from_secs(30), asked)
                .await
                .unwrap_or_else(|_| panic!("{path} {stall:.40}"));
            assert_eq!(got.status, 200, "{path}");
        }
    }
}
