//! The log tells everything and betrays nothing; nobody waits for whoever reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::process::Process;
use crate::rig::{self, Setup};
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
