//! A Document Server that restarts is waited for: people who read see a pause, never an error, and no order is given twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use standin::Fault;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::rig::{Rig, Setup};
use crate::wire::{self, Client, PROTOCOLS, soon};

const CONNECTIONS: usize = 8;
/// The half of them that does not wait for answers sends 200 GETs per second.
const PAUSE: Duration = Duration::from_millis(1000 / (200 / (CONNECTIONS as u64 / 2)));
/// How long the server is away; less than `wait`.
const AWAY: Duration = Duration::from_secs(2);

/// A GET that ended: when it was sent, when its answer was there, and what it was.
struct Ended {
    sent: Instant,
    back: Instant,
    status: u16,
    length: usize,
}

async fn get(client: &mut Client, protocol: &str, target: &str) -> (u16, Bytes, hyper::HeaderMap) {
    let (_, none) = wire::pieces(Some(0));
    let asked = wire::request(protocol, "GET", target).body(none).unwrap();
    let response = soon(target, client.send(asked)).await.unwrap();
    let (head, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    (head.status.as_u16(), body, head.headers)
}

async fn read(client: &mut Client, protocol: &str, ended: &mpsc::UnboundedSender<Ended>) {
    let sent = Instant::now();
    let (status, body, _) = get(client, protocol, "/web-apps/size-1024").await;
    ended.send(Ended { sent, back: Instant::now(), status, length: body.len() }).unwrap();
}

/// One client that asks at its pace until it is told to stop. HTTP/1.1 waits for each answer, HTTP/2 for none.
async fn reader(
    to: std::net::SocketAddr,
    number: usize,
    stop: Arc<AtomicU64>,
    ended: mpsc::UnboundedSender<Ended>,
) {
    let protocol = PROTOCOLS[number % 2];
    let mut client = Client::new(to, protocol).await;
    let mut asked = JoinSet::new();
    while stop.load(Ordering::Relaxed) == 0 {
        let paced = sleep(PAUSE);
        if let Client::Two(client) = &client {
            let (mut client, ended) = (Client::Two(client.clone()), ended.clone());
            asked.spawn(async move { read(&mut client, protocol, &ended).await });
        } else {
            read(&mut client, protocol, &ended).await;
        }
        paced.await; // the pace of the load
    }
    while let Some(asked) = asked.join_next().await {
        asked.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_sees_a_pause_and_no_error() {
    let rig = Rig::start().await;
    let stop = Arc::new(AtomicU64::new(0));
    let (sender, mut answers) = mpsc::unbounded_channel();
    let readers: Vec<_> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(reader(rig.https, number, stop.clone(), sender.clone())))
        .collect();
    drop(sender);
    let mut all = Vec::new();
    while all.len() < 50 {
        all.push(soon("load", answers.recv()).await.unwrap());
    }
    rig.server.stop().await;
    let gone = Instant::now();
    sleep(AWAY).await; // the outage
    rig.server.start_again().await.unwrap();
    let returned = Instant::now();
    let mut after = 0;
    while after < 200 {
        let answer = soon("an answer after the return", answers.recv()).await.unwrap();
        after += usize::from(answer.sent > returned);
        all.push(answer);
    }
    stop.store(1, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap(); // a panic in it is a GET without an answer
    }
    for answer in &all {
        assert_eq!((answer.status, answer.length), (200, 1024));
    }
    let first = all.iter().map(|answer| answer.back).filter(|back| *back >= returned).min().unwrap();
    let waited = all.iter().filter(|answer| answer.sent < returned && answer.back > returned).count();
    println!(
        "{} GETs, {waited} waited, away {:?}, first success {:?} after the return",
        all.len(),
        returned - gone,
        first - returned
    );
    assert!(waited >= 100, "the outage was not felt, so nothing was tested: {waited}");
    assert!(first - returned < Duration::from_secs(2));
}

/// A POST may have done its work before the server died: it gets one answer, and nobody repeats it.
#[tokio::test]
async fn an_order_in_flight_is_answered_once_and_never_given_twice() {
    let rig = Rig::start().await;
    rig.server.fault("/upload", Fault::Stall);
    let mut orders = Vec::new();
    for protocol in PROTOCOLS {
        for length in [Some(9), None, Some(0)] {
            for whole in [true, false] {
                if !whole && length == Some(0) {
                    continue;
                }
                let mut client = Client::new(rig.https, protocol).await;
                let (sender, body) = wire::pieces(length);
                let mut request = wire::upload(protocol, body);
                let name = format!("{protocol}-{length:?}-{whole}");
                request.headers_mut().insert("x-order", name.parse().unwrap());
                let answer = tokio::spawn(client.send(request));
                if length != Some(0) {
                    sender.send(Bytes::from_static(if whole { b"the order" } else { b"the" })).await.unwrap();
                }
                let arrived = rig.server.wait_for_request(|seen| seen.header("x-order") == Some(&name));
                soon("the order at the server", arrived).await;
                orders.push((name, (!whole).then_some(sender), client, answer));
            }
        }
    }
    rig.server.stop().await;
    let mut codes = Vec::new();
    for (name, _sender, _client, answer) in orders {
        let response = soon(&name, answer).await.unwrap().unwrap();
        codes.push(response.status().as_u16());
        rig.server.clear_faults();
        let asked = rig.server.requests().into_iter().filter(|seen| seen.header("x-order") == Some(&name));
        assert_eq!(asked.count(), 1, "{name}");
    }
    assert!(codes.iter().all(|code| *code == 502), "{codes:?}");
    rig.server.start_again().await.unwrap();
    let mut client = Client::new(rig.https, "h2").await;
    assert_eq!(get(&mut client, "h2", "/web-apps/size-7").await.0, 200);
    let again = rig.server.requests().into_iter().filter(|seen| seen.header("x-order").is_some());
    assert_eq!(again.count(), 10, "an order was repeated after the return");
}

/// What was not sent can wait: an order that comes while the server is away reaches it once it is back, once.
#[tokio::test]
async fn an_order_that_comes_during_the_outage_waits() {
    let rig = Rig::start().await;
    rig.server.stop().await;
    let mut orders = Vec::new();
    for protocol in PROTOCOLS {
        let mut client = Client::new(rig.https, protocol).await;
        let (sender, body) = wire::pieces(Some(9));
        let answer = tokio::spawn(client.send(wire::upload(protocol, body)));
        sender.send(Bytes::from_static(b"the order")).await.unwrap();
        orders.push((client, answer));
    }
    rig.log.wait_for(|line| line["event"] == "upstream_health" && line["level"] == "warn").await;
    rig.server.start_again().await.unwrap();
    for (_client, answer) in orders {
        assert_eq!(soon("an answer", answer).await.unwrap().unwrap().status(), 200);
    }
    let orders = rig.server.requests().into_iter().filter(|seen| seen.method == "POST");
    assert_eq!(orders.map(|order| order.body_length).collect::<Vec<_>>(), [9, 9]);
}

#[tokio::test]
async fn longer_away_than_people_wait_is_said_so_to_each_in_their_language() {
    let setup = Setup { lines: vec![("document_server", "wait = \"200ms\"".into())], ..Setup::default() };
    let rig = Rig::with(setup).await;
    rig.server.stop().await;
    for protocol in PROTOCOLS {
        for (accept, kind) in [
            ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
            ("application/json", "application/problem+json"),
            ("*/*", "application/problem+json"),
        ] {
            let mut client = Client::new(rig.https, protocol).await;
            let (_, none) = wire::pieces(Some(0));
            let asked = wire::request(protocol, "GET", "/web-apps/size-7").header("accept", accept);
            let response = soon("an answer", client.send(asked.body(none).unwrap())).await.unwrap();
            assert_eq!(response.status(), 503, "{protocol} {accept}");
            assert_eq!(response.headers()["content-type"], kind, "{protocol} {accept}");
            let again: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&again));
            assert!(response.headers().contains_key("x-request-id"));
        }
    }
}

/// The container's nginx answers for a server that is not up yet. Who reads waits, also when the 502 came before anybody
/// knew; an order that comes while it is known to be down waits unsent, and is then given once.
#[tokio::test]
async fn a_502_of_a_server_that_is_down_is_waited_out() {
    let rig = Rig::start().await;
    rig.server.fault("/", Fault::Status(502));
    let ended = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for protocol in PROTOCOLS {
        let (ended, to) = (ended.clone(), rig.https);
        waiting.push(tokio::spawn(async move {
            let mut client = Client::new(to, protocol).await;
            let (status, body, _) = get(&mut client, protocol, "/web-apps/size-9").await;
            ended.lock().await.push(status);
            assert_eq!(body.len(), 9);
        }));
    }
    rig.log.wait_for(|line| line["event"] == "upstream_health" && line["level"] == "warn").await;
    for protocol in PROTOCOLS {
        let (ended, to) = (ended.clone(), rig.https);
        waiting.push(tokio::spawn(async move {
            let mut client = Client::new(to, protocol).await;
            let (sender, body) = wire::pieces(Some(3));
            let answer = tokio::spawn(client.send(wire::upload(protocol, body)));
            sender.send(Bytes::from_static(b"abc")).await.unwrap();
            let response = soon("the server's word", answer).await.unwrap().unwrap();
            assert_ne!(response.status(), 502);
            ended.lock().await.push(200);
        }));
    }
    rig.server.wait_for_request(|seen| seen.path() == "/healthcheck").await;
    assert!(ended.lock().await.is_empty(), "somebody was told before the server was back");
    rig.server.clear_faults();
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(*ended.lock().await, [200, 200, 200, 200]);
    let orders = rig.server.requests().into_iter().filter(|seen| seen.method == "POST");
    assert_eq!(orders.count(), 2, "each order was given once");
}

/// A port that accepts and hangs up, as a container's does before anything behind it is up; after `looks` such
/// connections it serves. Holds every kind of request: nothing of it was sent while the probe said "down".
async fn hangs_up_at_first(looks: u32) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..looks {
            drop(listener.accept().await.unwrap());
        }
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 16 << 10];
                while stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_port_that_accepts_and_hangs_up_is_waited_for() {
    let upstream = hangs_up_at_first(12).await; // about a second of the probe's looks
    let rig = Rig::with(Setup { upstream: Some(upstream), ..Setup::default() }).await;
    rig.log.wait_for(|line| line["event"] == "upstream_health" && line["level"] == "warn").await;
    let token = standin::token::sign(crate::rig::SECRET, &serde_json::json!({"c": "version"}));
    let command = serde_json::json!({"c": "version", "token": token}).to_string();
    let (get, post) =
        tokio::join!(async { crate::raw::Client::of(&rig).get("/web-apps/x.js", "").await.status }, async {
            crate::raw::Client::of(&rig).post("/command", "", &command).await.status
        },);
    assert_eq!((get, post), (200, 200));
}
