//! What one client may hold, and for how long: heads, connections, silence. Who keeps moving is never cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use rapidpm_gateway::app::Deadlines;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use crate::rig::{self, Got, Rig, Setup};
use crate::wire::{self, PROTOCOLS, soon};

const SHORT: Duration = Duration::from_millis(300);
/// The largest head, and its most fields.
const HEAD: usize = 64 << 10;
const FIELDS: usize = 100;

/// A rig with one deadline shortened. A connection that ends while a test waits was ended by that one: the next
/// takes longer than a test waits.
async fn hurried(deadlines: Deadlines) -> Rig {
    Rig::with(Setup { deadlines, ..Setup::default() }).await
}

fn with(change: impl FnOnce(&mut Deadlines)) -> Deadlines {
    let day = Duration::from_secs(86_400);
    let mut deadlines = Deadlines {
        handshake: day,
        head: day,
        idle: day,
        progress: day,
        packet: day,
        socket: day,
        hold: day,
        grace: day,
    };
    change(&mut deadlines);
    deadlines
}

/// A head of exactly so many bytes.
fn head(bytes: usize) -> String {
    let start = "GET /robots.txt HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-padding: ";
    format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
}

#[tokio::test]
async fn a_head_may_be_large_and_not_larger() {
    let rig = Rig::start().await;
    for (bytes, expected) in [(200, 200), (HEAD, 200), (HEAD + 1, 431), (2 * HEAD, 431), (20 * HEAD, 431)] {
        let mut stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        let answer = wire::exchange(&mut stream, head(bytes).as_bytes()).await;
        assert_eq!(wire::status(&answer), expected, "{bytes} bytes: {answer}");
    }
    wire::metric_becomes(rig.admin, "gateway_connection_errors_total", 3.0).await;
}

#[tokio::test]
async fn a_head_of_http2_may_be_as_large() {
    let rig = Rig::start().await;
    // RFC 9113 6.5.2: each field counts with its name, its value and 32.
    let pseudo =
        [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/robots.txt")];
    let counted: usize = pseudo.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    for (bytes, expected) in [(1000, 200), (HEAD, 200), (HEAD + 1, 431), (2 * HEAD, 431)] {
        let value = "a".repeat(bytes - counted - "x-padding".len() - 32);
        let request = Request::get("https://localhost/robots.txt").header("x-padding", value);
        let response = rig.h2().await.send_request(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(response.unwrap().status(), expected, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_hundred_fields_pass_and_not_one_more() {
    let rig = Rig::start().await;
    for (fields, expected) in [(1, 200), (FIELDS, 200), (FIELDS + 1, 431), (5 * FIELDS, 431)] {
        let more =
            |first: usize| (first..fields).map(|n| format!("x-field-{n}: {n}\r\n")).collect::<String>();
        let raw = format!("GET /robots.txt HTTP/1.1\r\nhost: localhost\r\n{}\r\n", more(1));
        let mut stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        stream.write_all(raw.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(wire::status(&String::from_utf8_lossy(&answer)), expected, "{fields} over http/1.1");

        let mut request = Request::get("https://localhost/robots.txt");
        for n in 0..fields {
            request = request.header(format!("x-field-{n}"), n);
        }
        let got = Got::from(
            rig.h2().await.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap(),
        )
        .await;
        assert_eq!(got.status, expected, "{fields} over h2");
    }
    // The pieces of a cookie are one field.
    let mut request = Request::get("https://localhost/robots.txt");
    for n in 0..2 * FIELDS {
        request = request.header("cookie", format!("n{n}={n}"));
    }
    let response = rig.h2().await.send_request(request.body(Full::<Bytes>::default()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
}

async fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn handshake(stream: TcpStream) -> std::io::Result<Tls> {
    soon("a handshake", rig::tls_over(stream, Some("localhost"), &["http/1.1"])).await
}

/// Whether a kept-alive connection still serves.
async fn serves(stream: &mut Tls) -> bool {
    let asked = stream.write_all(b"GET /robots.txt HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = [0; 512];
    asked.is_ok() && matches!(soon("an answer", stream.read(&mut answer)).await, Ok(n) if n > 0)
}

#[tokio::test]
async fn connections_over_a_cap_are_closed_and_counted_and_a_freed_place_is_taken() {
    // Cap, who may have how many, who else gets none.
    let two = [127, 0, 0, 2];
    for (line, first, over) in [
        ("connections = 3", [[127, 0, 0, 1], two, [127, 0, 0, 3]], [[127, 0, 0, 1], [127, 0, 0, 4]]),
        ("connections_per_address = 3", [two, two, two], [two, two]),
    ] {
        let rig = Rig::with(Setup { lines: vec![("limits", line.into())], ..Setup::default() }).await;
        let mut inside = Vec::new();
        for address in first {
            inside.push(handshake(from(address, rig.https).await).await.unwrap());
        }
        for address in over {
            assert!(handshake(from(address, rig.https).await).await.is_err(), "{line}");
        }
        assert_eq!(wire::metric(rig.admin, "gateway_connections_refused_total").await as u32, 2, "{line}");
        if line.contains("address") {
            assert!(handshake(from([127, 0, 0, 9], rig.https).await).await.is_ok(), "{line}: others pass");
        }
        for stream in &mut inside {
            assert!(serves(stream).await, "{line}: who was in stays in");
        }
        inside.pop();
        wire::metric_becomes(rig.admin, "gateway_connections", 2.0).await;
        assert!(serves(&mut handshake(from(first[2], rig.https).await).await.unwrap()).await, "{line}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let rig = hurried(with(|d| d.handshake = SHORT)).await;
    for hello in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(rig.https).await.unwrap();
        assert_eq!(wire::exchange(&mut stream, hello).await, "");
    }
    wire::metric_becomes(rig.admin, "gateway_tls_handshakes_failed_total{kind=\"timeout\"}", 3.0).await;
}

/// One byte after the other, each soon enough to look alive: the head as a whole has its time.
#[tokio::test]
async fn a_head_that_drips_is_ended() {
    let rig = hurried(with(|d| d.head = SHORT)).await;
    for before in ["", "GET /robots.txt HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        write.write_all(before.as_bytes()).await.unwrap();
        let drip = async {
            write.write_all(b"GET /robots.txt HTTP/1.1\r\nx: ").await.unwrap();
            while write.write_all(b"a").await.is_ok() && write.flush().await.is_ok() {
                sleep(SHORT / 30).await; // the pace of an attack, not a wait for anything
            }
        };
        tokio::select! {
            _ = wire::rest(&mut read) => {}
            () = drip => {}
        }
    }
}

#[tokio::test]
async fn silence_on_a_kept_alive_connection_is_ended() {
    let rig = hurried(with(|d| d.idle = SHORT)).await;
    for before in ["", "GET /robots.txt HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        let answer = wire::exchange(&mut stream, before.as_bytes()).await;
        assert_eq!(wire::status(&answer), if before.is_empty() { 0 } else { 200 });
    }
    // HTTP/2: nothing at all, one request, and the beginning of one that never ends (HEADERS without END_HEADERS).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let begun = [&preface[..], b"\0\0\x01\x01\x00\0\0\0\x01\x82"].concat();
    for sent in [Vec::new(), preface, begun] {
        let mut stream = rig.tls(Some("localhost"), &["h2"]).await.unwrap();
        wire::exchange(&mut stream, &sent).await;
    }
    let mut client = rig.h2().await;
    let request = Request::get("https://localhost/robots.txt").body(Full::default()).unwrap();
    assert_eq!(Got::from(client.send_request(request).await.unwrap()).await.status, 200);
    soon("the end of an idle connection", async {
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up_and_told_so() {
    let rig = hurried(with(|d| d.progress = SHORT)).await;
    for protocol in PROTOCOLS {
        for length in [Some(1000), None] {
            let mut client = wire::Client::new(rig.https, protocol).await;
            let (sender, body) = wire::pieces(length);
            let answer = client.send(wire::upload(protocol, body));
            sender.send(Bytes::from_static(b"only this")).await.unwrap();
            let response = soon("an answer", answer).await.unwrap();
            assert_eq!(response.status(), 408, "{protocol} {length:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let rig = hurried(with(|d| d.progress = SHORT)).await;
    for (number, protocol) in PROTOCOLS.into_iter().enumerate() {
        let path = format!("/web-apps/{number}/size-67108864");
        let mut client = wire::Client::new(rig.https, protocol).await;
        let (_, none) = wire::pieces(Some(0));
        let asked = wire::request(protocol, "GET", &path).body(none).unwrap();
        let response = soon("an answer", client.send(asked)).await.unwrap();
        let line = rig.log.wait_for(move |line| line["path"] == path.as_str()).await;
        assert_eq!(line["aborted"], true, "{line}");
        assert!(line["bytes_out"].as_u64().unwrap() < 32 << 20, "{line}");
        assert!(soon("the end", response.into_body().collect()).await.is_err(), "{protocol}");
    }
}

/// Slower than any patience in all, never still for long: it arrives.
#[tokio::test]
async fn a_slow_body_that_moves_is_not_cut() {
    let patience = Duration::from_secs(2);
    let deadlines = Deadlines {
        handshake: patience,
        head: patience,
        idle: patience,
        progress: patience,
        ..Deadlines::default()
    };
    let rig = hurried(deadlines).await;
    let mut slow = Vec::new();
    for protocol in PROTOCOLS {
        let mut client = wire::Client::new(rig.https, protocol).await;
        let (sender, body) = wire::pieces(None);
        let answer = client.send(wire::upload(protocol, body));
        slow.push((client, sender, tokio::spawn(answer)));
    }
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < patience + patience / 2 {
        for (_, sender, _) in &slow {
            sender.send(Bytes::from_static(b"slow")).await.unwrap();
        }
        sent += 4;
        sleep(patience / 20).await; // the pace of the client
    }
    for (_client, sender, answer) in slow {
        drop(sender);
        assert_eq!(soon("an answer", answer).await.unwrap().unwrap().status(), 200);
    }
    let uploads = rig.server.requests().into_iter().filter(|seen| seen.path() == "/upload/demo");
    assert_eq!(uploads.map(|seen| seen.body_length).collect::<Vec<_>>(), [sent, sent]);
}
