//! The log tells everything and betrays nothing; nobody waits for whoever reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::token;

use crate::editor::Editor;
use crate::process::Process;
use crate::rig::{self, SECRET, Setup};
use crate::wire::{self, Client, PROTOCOLS, soon};

const REQUESTS: u32 = 10_000;

/// Asks until all requests have been asked, by whoever is fast.
async fn flood(to: std::net::SocketAddr, asked: Arc<AtomicU32>) {
    let mut client = Client::new(to, "h2").await;
    // As long as a line may get: the queue must overflow before the last request.
    let target = format!("/{}", "p".repeat(500));
    while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
        let (_, none) = wire::pieces(Some(0));
        let request = wire::request("h2", "GET", &target).header("user-agent", "a".repeat(500));
        let response = soon("an answer", client.send(request.body(none).unwrap())).await.unwrap();
        assert_eq!(response.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stalls_nobody() {
    let mut gateway = Process::with(Setup::default(), None).await;
    let asked = Arc::new(AtomicU32::new(0));
    let begun = Instant::now();
    let floods: Vec<_> = (0..16).map(|_| tokio::spawn(flood(gateway.https, asked.clone()))).collect();
    for flood in floods {
        flood.await.unwrap();
    }
    println!("{REQUESTS} requests in {:?} with a full pipe", begun.elapsed());
    gateway.log.read();
    gateway.log.wait_for("what was lost", |line| line["event"] == "log_dropped");
    let told = wire::metric(gateway.admin, "gateway_log_dropped_total").await;
    assert!(told > 0.0);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    let lines = gateway.log.until_it_ends();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let lost: u64 = of("log_dropped").iter().map(|line| line["lines"].as_u64().unwrap()).sum();
    println!("{} lines came, {lost} were lost", of("access").len());
    assert!(lost > 0);
    assert_eq!(of("access").len() as u64 + lost, u64::from(REQUESTS), "every line came or was counted");
}

/// A pipe that nobody reads keeps no process alive: it ends with its drain, its last lines lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let mut gateway = Process::with(Setup::default(), None).await;
    let asked = Arc::new(AtomicU32::new(REQUESTS - 2000)); // more than a pipe takes
    flood(gateway.https, asked).await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
}

/// A core that ends drops what it still holds outside of its runtime. A request's unread body wanted to be drained there, and
/// panicked: "there is no reactor running".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_request_panics_nowhere() {
    let lines = vec![("server", "drain = \"0s\"\n".to_owned())];
    let mut gateway = Process::start(Setup { lines, ..Setup::default() }).await;
    gateway.server.fault("/web-apps", standin::Fault::Stall);
    for protocol in PROTOCOLS {
        let mut client = Client::new(gateway.https, protocol).await;
        let (sender, body) = wire::pieces(Some(7));
        let asked = client.send(wire::request(protocol, "GET", "/web-apps/x").body(body).unwrap());
        tokio::spawn(async move { (asked.await.is_ok(), sender, client) });
    }
    let asked = gateway.server.wait_for_request(|seen| seen.path() == "/web-apps/x");
    soon("a request at the server", asked).await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    assert_eq!(gateway.stderr(), "");
}

/// A token and the two parts of it that nobody may see: what it says, and what makes it count.
struct Marked {
    token: String,
    parts: Vec<String>,
}

impl Marked {
    fn new(secret: &str, claims: &Value) -> Self {
        let token = token::sign(secret, claims);
        let parts = token.split('.').skip(1).map(str::to_owned).collect();
        Self { token, parts }
    }
}

/// Every place of a request where a token has ever been seen, on routes that take one there and on others.
fn carriers(protocol: &str, token: &str) -> Vec<hyper::Request<(Vec<u8>, ())>> {
    let mut requests = Vec::new();
    let mut add = |method: &str, target: String, fields: &[(&str, String)], body: String| {
        let mut builder = wire::request(protocol, method, &target);
        for (name, value) in fields {
            builder = builder.header(*name, value);
        }
        requests.push(builder.body((body.into_bytes(), ())).unwrap());
    };
    let none = String::new;
    let cmd = |name: &str| {
        let command = json!({"c": "save", name: token}).to_string();
        command.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>()
    };
    for field in ["authorization", "authorizationjwt", "cookie", "referer", "user-agent", "origin", "x-token"]
    {
        for value in [token.to_owned(), format!("Bearer {token}"), format!("bearer  {token}")] {
            add("POST", "/command".into(), &[(field, value.clone())], json!({"c": "version"}).to_string());
            add("GET", "/web-apps/size-7".into(), &[(field, value)], none());
        }
    }
    for target in ["/command", "/converter", "/docbuilder", "/coauthoring/CommandService.ashx"] {
        add(
            "POST",
            target.into(),
            &[("content-type", "application/json".into())],
            json!({"token": token}).to_string(),
        );
        add("POST", format!("{target}?token={token}"), &[], json!({"payload": {"token": token}}).to_string());
    }
    for target in [
        format!("/upload/demo?token={token}"),
        format!("/printfile/demo/x.pdf?token={token}"),
        format!("/downloadfile/demo?token={token}"),
        format!("/downloadas/demo?cmd={}", cmd("tokenDownload")),
        format!("/savefile/demo?cmd={}", cmd("tokenSession")),
        format!("/doc/demo/c/?EIO=4&transport=polling&token={token}"),
        format!("/web-apps/{token}/x?token={token}"),
        format!("/{token}"),
        format!("/upload/{token}"),
        format!("/relay/rapidpm/{token}?token={token}"),
        format!("/saved/{token}"),
        format!("//{token}/%2f"),
    ] {
        add("GET", target.clone(), &[], none());
        add("POST", target, &[("authorization", format!("Bearer {token}"))], token.to_owned());
    }
    requests
}

/// Sends it and gives back everything that came; a connection that is ended is an answer too.
async fn everything(
    to: std::net::SocketAddr,
    protocol: &str,
    request: hyper::Request<(Vec<u8>, ())>,
) -> String {
    let mut client = Client::new(to, protocol).await;
    let (head, (body, ())) = request.into_parts();
    let (sender, pieces) = wire::pieces(Some(body.len() as u64));
    let answer = tokio::spawn(client.send(hyper::Request::from_parts(head, pieces)));
    if !body.is_empty() {
        sender.send(Bytes::from(body)).await.ok();
    }
    drop(sender); // over HTTP/2 this is the end of the body
    let Ok(response) = soon("an answer", answer).await.unwrap() else { return String::new() };
    let (head, body) = response.into_parts();
    let own = head.headers.contains_key("gateway-refusal") || !head.headers.contains_key("server");
    let body = soon("a body", http_body_util::BodyExt::collect(body)).await.map(|body| body.to_bytes());
    // What the Document Server says of itself is its own affair.
    if own {
        format!("{:?} {}", head.headers, String::from_utf8_lossy(&body.unwrap_or_default()))
    } else {
        String::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_and_tokens_are_seen_nowhere() {
    let tables = "[log]\nlevel = \"debug\"\n".to_owned();
    let mut gateway = Process::start(Setup { tables, ..Setup::default() }).await;
    let now = standin::clock::system();
    let session = token::session("demo", ("ann", "Ann"), 1, &now);
    let marked = [
        Marked::new(SECRET, &session),
        Marked::new(SECRET, &token::expiring(json!({"document": {"key": "demo"}, "marker": 1}), &now, -9000)),
        Marked::new("another secret that is long enough", &session),
        Marked { token: SECRET.into(), parts: vec![SECRET.into()] },
    ];
    let (mut said, mut sent) = (String::new(), 0);
    for protocol in PROTOCOLS {
        for marked in &marked {
            for request in carriers(protocol, &marked.token) {
                // The secret in a path is not one that anybody keeps; tokens have been.
                if marked.token == SECRET && request.uri().path().contains(SECRET)
                    || request
                        .headers()
                        .get("user-agent")
                        .is_some_and(|agent| agent.to_str().unwrap().contains(SECRET))
                {
                    continue;
                }
                said.push_str(&everything(gateway.https, protocol, request).await);
                sent += 1;
            }
        }
    }
    // Five hundred more, each of its own, over all carriers and over sockets.
    let many: Vec<Marked> = (0..500)
        .map(|number| {
            let mut claims = if number % 2 == 0 { session.clone() } else { json!({"c": "version"}) };
            claims["marker"] = json!(format!("marker-{number}"));
            Marked::new(if number % 3 == 0 { "another secret that is long enough" } else { SECRET }, &claims)
        })
        .collect();
    for (number, one) in many.iter().enumerate() {
        let protocol = PROTOCOLS[number % 2];
        let mut requests = carriers(protocol, &one.token);
        let request = requests.swap_remove(number % requests.len());
        said.push_str(&everything(gateway.https, protocol, request).await);
        sent += 1;
        if number % 10 == 0 {
            let mut editor = Editor::connect(gateway.https).await;
            editor.say(&format!("40{}", json!({"token": one.token}))).await;
            editor.next().await;
        }
    }
    for page in ["/metrics", "/api/v1/onlyoffice/health", "/api/v1/would-refuse", "/readyz", "/"] {
        said.push_str(&wire::admin(gateway.admin, page).await);
    }
    let unit = include_str!("../../systemd/rapidpm-gateway.service");
    assert!(unit.contains("\nLimitCORE=0\n"), "a core would hold every secret");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    let lines = gateway.log.until_it_ends();
    let access = lines.iter().filter(|line| line["event"] == "access").count();
    println!("{sent} requests, {access} lines");
    assert!(access >= sent, "{sent} requests, {access} lines");
    let log = lines.iter().map(Value::to_string).collect::<String>();
    let errors = gateway.stderr();
    for part in marked.iter().chain(&many).flat_map(|marked| &marked.parts) {
        for (place, text) in [("answers or metrics", &said), ("the log", &log), ("stderr", &errors)] {
            if let Some(at) = text.find(part.as_str()) {
                panic!("{part} is in {place}: …{}", &text[at.saturating_sub(300)..at + part.len()]);
            }
        }
    }
}

/// What a client writes cannot end a line, begin another, or make one that is no JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_one_object_whatever_was_asked() {
    let mut gateway = Process::start(Setup::default()).await;
    let texts: [&[u8]; 8] = [
        b"\"},{\"event\":\"forged\"",
        b"\\",
        b"\\u0000",
        b"\xff\xfe",
        b"\xe2\x80\xae",
        b"\t",
        b"\x1b[31m",
        b"{}",
    ];
    for (number, text) in texts.iter().enumerate() {
        for place in 0..3 {
            let part = |here: usize, otherwise: &[u8]| {
                if here == place { text.to_vec() } else { otherwise.to_vec() }
            };
            let raw = [
                b"GET /web-apps/x".to_vec(),
                part(0, b"y").iter().filter(|byte| **byte > 32).copied().collect(),
                b" HTTP/1.1\r\nconnection: close\r\nhost: ".to_vec(),
                part(1, b"localhost"),
                b"\r\nuser-agent: ".to_vec(),
                part(2, b"agent"),
                format!("\r\nx-number: {number}\r\n\r\n").into_bytes(),
            ];
            let mut stream = rig::tls(gateway.https, Some("localhost"), &["http/1.1"]).await.unwrap();
            wire::exchange(&mut stream, &raw.concat()).await;
        }
    }
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    // Reading it is the test: each line is parsed.
    let lines = gateway.log.until_it_ends();
    assert!(lines.iter().filter(|line| line["event"] == "access").count() >= texts.len());
    assert!(lines.iter().all(|line| line["ts"].is_string() && line["event"] != "forged"));
}
