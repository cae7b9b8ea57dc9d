//! Sockets whose readers stall: whoever sends to them is held back, and the gateway keeps little for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rapidpm_gateway::rules::{frame, packet};
use serde_json::json;
use socket2::SockRef;
use standin::{clock, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

use crate::process::Process;
use crate::rig::{self, SECRET, Setup, size};
use crate::wire::{self, soon};

/// Both ends' own buffers, and segments as on a real line: with loopback's 64 KiB the kernel would take four megabytes for each.
const SMALL: u32 = 16 << 10;
const SEGMENT: u32 = 1400;
/// What a socket whose reader stalls may cost.
const MOST: u64 = 64 << 10;

/// A Document Server that upgrades and then floods, or reads nothing; what it has written in all.
async fn flooding(floods: bool) -> (SocketAddr, Arc<AtomicU64>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SMALL).unwrap(); // of what it accepts, too
    SockRef::from(&socket).set_tcp_mss(SEGMENT).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, floods, count.clone()));
        }
    });
    (address, written)
}

async fn serve(mut stream: TcpStream, floods: bool, count: Arc<AtomicU64>) -> Option<()> {
    let mut head = vec![0; 4096];
    let n = stream.read(&mut head).await.unwrap_or(0);
    if head[..n].starts_with(b"GET /healthcheck") {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await.ok();
    }
    drop(head);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(switch.as_bytes()).await.ok()?;
    let greeting = packet::greeting("flooding", false, packet::Pace::default());
    stream.write_all(&frame::say(frame::Kind::Text, greeting.as_bytes())).await.ok()?;
    if !floods {
        return std::future::pending().await;
    }
    loop {
        count.fetch_add(stream.write(&[7; 65536]).await.ok()? as u64, Ordering::Relaxed);
    }
}

/// An editor of this document that is let in and reads no more than the upgrade's first line.
async fn deaf(to: SocketAddr, document: &str) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL).unwrap();
    SockRef::from(&socket).set_tcp_mss(SEGMENT).unwrap();
    let stream = socket.connect(to).await.unwrap();
    let mut stream = rig::tls_over(stream, Some("localhost"), &["http/1.1"]).await.unwrap();
    let asked = format!(
        "GET /doc/{document}/c/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         origin: https://localhost\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let claims = token::session(document, ("ann", "Ann"), 1, &clock::system());
    let connect = format!("40{}", json!({"session": token::sign(SECRET, &claims)}));
    stream.write_all(&frame::say_masked(frame::Kind::Text, connect.as_bytes())).await.unwrap();
    stream.flush().await.unwrap(); // a write may leave records in TLS, and so small a buffer makes it likely
    let mut answer = [0; 12];
    soon("the upgrade", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(wire::status(&String::from_utf8_lossy(&answer)), 101);
    stream
}

/// Waits until a count no longer grows.
async fn stops(count: &AtomicU64) -> u64 {
    let (mut last, mut still) = (0, 0);
    while still < 10 {
        sleep(Duration::from_millis(50)).await; // one look
        let now = count.load(Ordering::Relaxed);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_holds_the_other_side_back() {
    for floods in [true, false] {
        let (server, written) = flooding(floods).await;
        let gateway = Process::with(Setup::default(), Some(server)).await.reading();
        let before = gateway.peak_memory();
        let mut stream = deaf(gateway.https, "demo").await;
        let flood = async {
            if floods {
                return std::future::pending::<()>().await;
            }
            // The head of a frame that never ends.
            stream.write_all(&[0x82, 0xff, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            loop {
                let n = stream.write(&[7; 65536]).await.unwrap();
                written.fetch_add(n as u64, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = flood => {}
            stopped = stops(&written) => {
                println!("a socket that is not read (server floods: {floods}): stopped at {stopped} bytes");
                assert!(stopped < 24 << 20, "nobody holds it back: {stopped}");
            }
        }
        let grown = gateway.peak_memory() - before;
        assert!(grown < 4 << 20, "{grown}");
    }
}

/// Many of them, while the server sends all it can: 1,000 at full size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stalled_reader_costs_little() {
    let (server, written) = flooding(true).await;
    let gateway = Process::with(Setup::default(), Some(server)).await.reading();
    let open = async |from: usize, number: usize| {
        let mut all = Vec::new();
        while all.len() < number {
            let some = (all.len()..number.min(all.len() + 32)).map(|n| format!("d{}", (from + n) / 10));
            let some: Vec<String> = some.collect();
            all.extend(join_all(some.iter().map(|document| deaf(gateway.https, document))).await);
        }
        stops(&written).await;
        all
    };
    // What the gateway takes once, however many come, is taken by the first.
    let first = open(0, 32).await;
    let (before, sent) = (gateway.memory(), written.load(Ordering::Relaxed));
    let number = size(200, 1_000);
    let stalled = open(32, number).await;
    let each = gateway.memory().saturating_sub(before) / number as u64;
    let sent = (written.load(Ordering::Relaxed) - sent) / number as u64;
    println!("{number} stalled readers: {each} bytes each, {sent} bytes sent to each");
    assert!(each <= MOST, "{each} bytes each");
    wire::metric_becomes(gateway.admin, "gateway_sockets", (32 + number) as f64).await;
    drop((first, stalled));
}
