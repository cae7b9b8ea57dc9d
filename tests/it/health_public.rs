//! How the gateway is, asked on the listener that browsers use: told to networks that are named, and hidden from everybody else.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::health;
use crate::raw::{Answer, Client};
use crate::rig::{Got, Rig, Setup};

const PATHS: [&str; 3] = ["/api/v1/onlyoffice/health", "/livez", "/readyz"];

fn told(networks: &str, more: &str) -> Setup {
    let lines = vec![
        ("server", format!("health_networks = {networks}\n{more}")),
        ("document_server", "health = \"1s\"".to_owned()),
    ];
    Setup { lines, ..Setup::default() }
}

/// Requests that reached the Document Server on behalf of a client.
fn reached(rig: &Rig) -> usize {
    rig.server.requests().iter().filter(|request| request.header("x-forwarded-for").is_some()).count()
}

/// An answer without what differs between any two.
fn plain(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap_or("-").to_owned();
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "x-request-id");
    (answer.status, headers, answer.text().replace(&id, "ID"))
}

#[tokio::test]
async fn a_named_network_hears_what_the_admin_listener_says() {
    let rig = Rig::with(told("[\"127.0.0.0/8\"]", "")).await;
    let (_, shown) = health::ask_for(&rig, "healthy").await;
    let mut client = Client::of(&rig);
    let mut sender = rig.h2().await;
    for (path, kind, body) in [
        (PATHS[0], "application/json", format!("{shown}\n").as_str()),
        (PATHS[1], "text/plain; charset=utf-8", "alive\n"),
        (PATHS[2], "text/plain; charset=utf-8", "ready\n"),
    ] {
        let answer = client.get(&format!("{path}?x=1"), "").await;
        assert_eq!((answer.status, answer.text()), (200, body), "{path}");
        assert_eq!(
            (answer.header("content-type"), answer.header("cache-control")),
            (Some(kind), Some("no-store"))
        );
        let head = client.ask("HEAD", path, "").await.unwrap();
        assert_eq!((head.status, head.text()), (200, ""), "{path}");
        let request =
            Request::get(format!("https://localhost{path}")).body(Full::<Bytes>::default()).unwrap();
        let over_h2 = Got::from(sender.send_request(request).await.unwrap()).await;
        assert_eq!((over_h2.status, over_h2.text()), (200, body), "{path}");
        // A balancer knows an address and no name.
        let mut stream = rig.tls(None, &["http/1.1"]).await.unwrap();
        let asked = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            rig.https.port()
        );
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok(); // some close without saying so
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    for (method, path) in
        [("POST", "/livez"), ("GET", "/livez/"), ("GET", "/LIVEZ"), ("GET", "//livez"), ("GET", "/metrics")]
    {
        let answer = client.ask(method, path, "Content-Length: 0\r\n").await.unwrap();
        assert_eq!((answer.status, answer.refusal()), (404, Some("unknown_path")), "{method} {path}");
    }
    assert_eq!(reached(&rig), 0);
    let line = rig.log.wait_for(|line| line["path"] == "/livez").await;
    assert_eq!(
        (&line["route"], &line["status"], &line["remote"]),
        (&"healthcheck".into(), &200.into(), &"127.0.0.1".into())
    );
}

#[tokio::test]
async fn it_hears_how_and_not_why() {
    let rig = Rig::with(told("[\"127.0.0.1\"]", "")).await;
    health::ask_for(&rig, "healthy").await;
    rig.server.stop().await;
    let (_, shown) = health::ask_for(&rig, "unhealthy").await;
    assert_eq!(shown["components"]["onlyoffice"]["detail"], "no Document Server answers");
    let mut client = Client::of(&rig);
    let answer = client.get(PATHS[0], "").await;
    let told: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!((answer.status, &told["status"]), (503, &"unhealthy".into()));
    assert_eq!(told["components"]["onlyoffice"], serde_json::json!({"status": "unhealthy"}));
    assert_eq!(client.get("/readyz", "").await.status, 503);
    assert_eq!(client.get("/livez", "").await.status, 200);
}

/// Nothing of an answer tells that there is something to be seen from elsewhere.
#[tokio::test]
async fn everybody_else_is_answered_as_if_there_were_none() {
    let without = Rig::start().await;
    let elsewhere = Rig::with(told("[\"10.0.0.0/8\", \"fd00::/8\"]", "")).await;
    let behind = Rig::with(told("[\"10.0.0.0/8\"]", "trusted_proxies = [\"127.0.0.0/8\"]")).await;
    // A proxy that is in the network itself must not lend its place to those behind it.
    let proxy = Rig::with(told("[\"127.0.0.0/8\"]", "trusted_proxies = [\"127.0.0.0/8\"]")).await;
    let forwarded = |chain: &str| format!("X-Forwarded-For: {chain}\r\n");
    for path in PATHS.into_iter().chain(["/nosuch"]) {
        for (rig, lines) in [
            (&elsewhere, String::new()),
            (&elsewhere, forwarded("10.0.0.1")), // nobody believes it
            (&elsewhere, "X-Real-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n".into()),
            (&behind, String::new()),
            (&behind, forwarded("198.51.100.1")),
            (&behind, forwarded("10.0.0.1, 198.51.100.1")), // the client's own word
            (&behind, forwarded("10.0.0.1\r\nX-Forwarded-For: 198.51.100.1")),
            (&proxy, forwarded("198.51.100.1")),
            (&proxy, forwarded("unknown")),
            (&proxy, forwarded("127.0.0.1, ")),
            (&proxy, forwarded("\u{e9}, 198.51.100.1")),
        ] {
            for method in ["GET", "HEAD", "POST"] {
                let lines = format!("{lines}Content-Length: 0\r\n");
                let expected = Client::of(&without).ask(method, path, &lines).await.unwrap();
                let answer = Client::of(rig).ask(method, path, &lines).await.unwrap();
                assert_eq!(plain(&answer), plain(&expected), "{method} {path} {lines:?}");
                assert_eq!(answer.status, 404);
            }
        }
    }
    for (rig, lines) in
        [(&behind, forwarded("10.0.0.1")), (&behind, forwarded("6.6.6.6, 10.0.0.1")), (&proxy, String::new())]
    {
        assert_eq!(Client::of(rig).get("/livez", &lines).await.status, 200, "{lines:?}");
    }
    assert_eq!([&without, &elsewhere, &behind, &proxy].map(reached), [0; 4]);
}

#[tokio::test]
async fn a_reload_opens_and_closes_it() {
    let rig = Rig::with(told("[]", "")).await;
    let mut client = Client::of(&rig);
    assert_eq!(client.get("/livez", "").await.status, 404);
    rig.edit("health_networks = []", "health_networks = [\"127.0.0.1\"]");
    let outcome = rig.reload().await;
    assert_eq!(outcome["changes"], serde_json::json!(["`server.health_networks` has now 127.0.0.1/32"]));
    assert_eq!(client.get("/livez", "").await.status, 200, "on a connection that was there before");
    rig.edit("health_networks = [\"127.0.0.1\"]", "");
    rig.reload().await;
    assert_eq!(client.get("/livez", "").await.status, 404);
}

/// The container finds the relay at its door, and nothing else.
#[tokio::test]
async fn the_containers_own_door_leads_to_the_relay_alone() {
    let rig = Rig::with(told("[\"127.0.0.0/8\"]", "relay = [\"127.0.0.1:0\"]")).await;
    let door = rig.gateway.as_ref().unwrap().container[0];
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
