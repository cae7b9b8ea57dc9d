//! Bodies of 100 MB stream through in both directions: nothing is gathered, nobody waits for the whole, who is slow slows the other
//! side down instead of filling memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::process::Process;
use crate::rig::{Rig, Setup};
use crate::wire::{self, Client, PROTOCOLS, Pieces, soon};

/// As the container's nginx has it.
const LARGEST: u64 = 100 << 20;
/// What the gateway may take more while it carries a body.
const MEMORY: u64 = 16 << 20;
const PIECE: usize = 256 << 10;

/// Feeds a body until it has had enough or nobody takes more. What was taken.
async fn feed(sender: mpsc::Sender<Bytes>, bytes: u64) -> u64 {
    let piece = Bytes::from(vec![7; PIECE]);
    let mut sent = 0;
    while sent < bytes {
        let next = piece.slice(..PIECE.min(usize::try_from(bytes - sent).unwrap()));
        let length = next.len() as u64;
        if sender.send(next).await.is_err() {
            break;
        }
        sent += length;
    }
    sent
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A Document Server made of a socket: it says that it is well, takes as much as it is allowed to, and counts. The stand-in
/// would gather bodies, and cannot tell what it has written.
struct Raw {
    address: SocketAddr,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    /// How much of a body it takes before it stops reading.
    takes: watch::Sender<u64>,
}

impl Raw {
    async fn start(takes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let raw = Self {
            address: listener.local_addr().unwrap(),
            read: Arc::default(),
            written: Arc::default(),
            takes: watch::Sender::new(takes),
        };
        let (read, written, takes) = (raw.read.clone(), raw.written.clone(), raw.takes.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, read.clone(), written.clone(), takes.clone()));
            }
        });
        raw
    }

    async fn serve(
        mut stream: TcpStream,
        read: Arc<AtomicU64>,
        written: Arc<AtomicU64>,
        mut takes: watch::Receiver<u64>,
    ) -> Option<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.ok()?);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            if head.starts_with("get /healthcheck") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await.ok()?;
            } else if head.starts_with("get ") {
                let size = LARGEST;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                Self::write(&mut stream, size, &written).await?;
            } else {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map(|length| length.parse::<u64>().unwrap());
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if head.contains("\r\nx-early: ") {
                    stream.write_all(answer).await.ok()?;
                    Self::take(&mut stream, length, &read, &mut takes).await?;
                    continue;
                }
                Self::take(&mut stream, length, &read, &mut takes).await?;
                stream.write_all(answer).await.ok()?;
            }
        }
    }

    async fn write(stream: &mut TcpStream, mut left: u64, written: &AtomicU64) -> Option<()> {
        let piece = vec![7; PIECE];
        while left > 0 {
            let n = stream.write(&piece[..PIECE.min(usize::try_from(left).unwrap())]).await.ok()?;
            left -= n as u64;
            written.fetch_add(n as u64, Ordering::Relaxed);
        }
        Some(())
    }

    /// Reads a body to its declared end, or to the last chunk. Bodies of these tests hold no zeros.
    async fn take(
        stream: &mut TcpStream,
        length: Option<u64>,
        read: &AtomicU64,
        takes: &mut watch::Receiver<u64>,
    ) -> Option<()> {
        let (mut buffer, mut tail, mut had) = (vec![0; PIECE], Vec::new(), 0);
        while length.is_none_or(|length| had < length) {
            takes.wait_for(|takes| *takes > had).await.ok()?;
            let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            had += n as u64;
            read.fetch_add(n as u64, Ordering::Relaxed);
            tail.extend_from_slice(&buffer[n.saturating_sub(5)..n]);
            tail.drain(..tail.len().saturating_sub(5));
            if length.is_none() && tail == *b"0\r\n\r\n" {
                break;
            }
        }
        Some(())
    }
}

/// Waits until a count has stopped growing, and says where. Growth may pause for other reasons, so it must have stopped for a
/// while that is long against the time in which the whole would have gone through.
async fn stops(count: impl Fn() -> u64) -> u64 {
    let (mut last, mut still) = (0, 0);
    while still < 10 {
        sleep(Duration::from_millis(50)).await; // one look
        let now = count();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_up_take_no_memory() {
    let raw = Raw::start(u64::MAX).await;
    let gateway = Process::with(Setup::default(), Some(raw.address)).await.reading();
    let before = gateway.peak_memory();
    for protocol in PROTOCOLS {
        for length in [Some(LARGEST), None] {
            raw.read.store(0, Ordering::Relaxed);
            let mut client = Client::new(gateway.https, protocol).await;
            let (sender, body) = wire::pieces(length);
            let begun = Instant::now();
            let (response, sent) =
                tokio::join!(client.send(wire::upload(protocol, body)), feed(sender, LARGEST));
            assert_eq!((response.unwrap().status().as_u16(), sent), (200, LARGEST), "{protocol} {length:?}");
            let arrived = raw.read.load(Ordering::Relaxed);
            assert!(
                (LARGEST..LARGEST + LARGEST / 100).contains(&arrived),
                "{protocol} {length:?}: {arrived}"
            );
            let grown = gateway.peak_memory() - before;
            println!("up {protocol} {length:?}: {:?}, peak +{:.1} MiB", begun.elapsed(), megabytes(grown));
            assert!(grown < MEMORY, "{protocol} {length:?}: {} MiB", megabytes(grown));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_down_take_no_memory_however_slowly_they_are_read() {
    let raw = Raw::start(0).await;
    let gateway = Process::with(Setup::default(), Some(raw.address)).await.reading();
    let before = gateway.peak_memory();
    for protocol in PROTOCOLS {
        for slow in [false, true] {
            raw.written.store(0, Ordering::Relaxed);
            let mut client = Client::new(gateway.https, protocol).await;
            let (_, none) = wire::pieces(Some(0));
            let asked = wire::request(protocol, "GET", "/web-apps/large.bin").body(none).unwrap();
            let begun = Instant::now();
            let mut body = soon("an answer", client.send(asked)).await.unwrap().into_body();
            if slow {
                let written = stops(|| raw.written.load(Ordering::Relaxed)).await;
                println!("nobody reads over {protocol}: the server stopped at {:.1} MiB", megabytes(written));
                assert!(written < 24 << 20, "{protocol}: nobody holds the server back: {written}");
            }
            let mut got = 0;
            while let Some(frame) = soon("more", body.frame()).await {
                got += frame.unwrap().data_ref().map_or(0, |data| data.len() as u64);
            }
            assert_eq!(got, LARGEST, "{protocol}");
            let grown = gateway.peak_memory() - before;
            println!("down {protocol} slow={slow}: {:?}, peak +{:.1} MiB", begun.elapsed(), megabytes(grown));
            assert!(grown < MEMORY, "{protocol}: {} MiB", megabytes(grown));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_read_holds_the_client_back() {
    let raw = Raw::start(1).await;
    let gateway = Process::with(Setup::default(), Some(raw.address)).await.reading();
    let before = gateway.peak_memory();
    for protocol in PROTOCOLS {
        raw.takes.send_replace(1);
        let mut client = Client::new(gateway.https, protocol).await;
        let (sender, body) = wire::pieces(Some(LARGEST));
        let sent = Arc::new(AtomicU64::new(0));
        let answer = tokio::spawn(client.send(wire::upload(protocol, body)));
        let feeding = tokio::spawn(counted(sender, sent.clone()));
        let stopped = stops(|| sent.load(Ordering::Relaxed)).await;
        println!(
            "the server does not read over {protocol}: the client stopped at {:.1} MiB",
            megabytes(stopped)
        );
        assert!(stopped < 24 << 20, "{protocol}: nobody holds the client back: {stopped}");
        raw.takes.send_replace(u64::MAX);
        feeding.await.unwrap();
        assert_eq!(soon("an answer", answer).await.unwrap().unwrap().status(), 200, "{protocol}");
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < MEMORY, "{} MiB", megabytes(grown));
}

async fn counted(sender: mpsc::Sender<Bytes>, sent: Arc<AtomicU64>) {
    let piece = Bytes::from(vec![7; PIECE]);
    for _ in 0..LARGEST / PIECE as u64 {
        sender.send(piece.clone()).await.unwrap();
        sent.fetch_add(PIECE as u64, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_never_reaches_the_server() {
    let rig = Rig::start().await;
    for protocol in PROTOCOLS {
        for length in [LARGEST + 1, 101 << 20, 1 << 40] {
            let mut client = Client::new(rig.https, protocol).await;
            let (_sender, body) = wire::pieces(Some(length));
            let response = soon("a refusal", client.send(wire::upload(protocol, body))).await.unwrap();
            assert_eq!(response.status(), 413, "{protocol} {length}");
            assert_eq!(response.headers()["gateway-refusal"], "body_too_large");
        }
    }
    assert!(rig.server.requests().iter().all(|seen| seen.path() == "/healthcheck"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_grows_too_large_is_refused_while_it_streams() {
    let raw = Raw::start(u64::MAX).await;
    let gateway = Process::with(Setup::default(), Some(raw.address)).await.reading();
    for protocol in PROTOCOLS {
        for bytes in [LARGEST + 1, 101 << 20, 200 << 20] {
            let mut client = Client::new(gateway.https, protocol).await;
            let (sender, body) = wire::pieces(None);
            let feeding = tokio::spawn(feed(sender, bytes));
            let response = soon("a refusal", client.send(wire::upload(protocol, body))).await.unwrap();
            assert_eq!(response.status(), 413, "{protocol} {bytes}");
            assert_eq!(response.headers()["gateway-refusal"], "body_too_large");
            feeding.abort();
        }
    }
}

/// An event, not a time, decides: the rest of the body is sent only after the first byte has arrived.
#[tokio::test]
async fn the_first_byte_arrives_before_there_is_a_second() {
    let rig = Rig::start().await;
    for protocol in PROTOCOLS {
        for length in [Some(5), None] {
            rig.server.clear_requests();
            let mut client = Client::new(rig.https, protocol).await;
            let (sender, body): (_, Pieces) = wire::pieces(length);
            let begun = Instant::now();
            let answer = tokio::spawn(client.send(wire::upload(protocol, body)));
            sender.send(Bytes::from_static(b"1")).await.unwrap();
            let arrived = rig.server.wait_for_request(|seen| seen.first_body_byte.is_some());
            let seen = soon("the first byte", arrived).await;
            println!("first byte {protocol} {length:?}: {:?}", seen.first_body_byte.unwrap() - begun);
            assert_eq!((seen.body_length, seen.body_complete), (1, false));
            sender.send(Bytes::from_static(b"2345")).await.unwrap();
            drop(sender);
            assert_eq!(soon("an answer", answer).await.unwrap().unwrap().status(), 200);
            let whole = rig.server.wait_for_request(|seen| seen.body_complete && seen.method == "POST").await;
            assert_eq!(&whole.body[..], b"12345");
        }
    }
}

/// A server may answer before it has read the body. Its connection is busy until the body has gone, and nobody else may be made
/// to wait for that.
#[tokio::test]
async fn an_upload_that_was_answered_early_holds_nobody_up() {
    let raw = Raw::start(u64::MAX).await;
    let gateway = Process::with(Setup::default(), Some(raw.address)).await.reading();
    for protocol in PROTOCOLS {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut client = Client::new(gateway.https, protocol).await;
            let (sender, body) = wire::pieces(None);
            let mut request = wire::upload(protocol, body);
            request.headers_mut().insert("x-early", "1".parse().unwrap());
            let answer = client.send(request);
            sender.send(Bytes::from_static(b"1")).await.unwrap();
            let response = soon("an early answer", answer).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
            slow.push((client, sender));
        }
        for _ in 0..4 {
            let mut client = Client::new(gateway.https, protocol).await;
            let (sender, body) = wire::pieces(Some(2));
            let both = async { tokio::join!(client.send(wire::upload(protocol, body)), feed(sender, 2)) };
            let (response, _) = soon("an answer behind an upload that is not over", both).await;
            assert_eq!(response.unwrap().status(), 200, "{protocol}");
        }
        drop(slow);
    }
}

/// Answers its first connection before it has read the body, and reads on only once a second connection has come: whoever
/// was given the first one meanwhile would wait for ever.
async fn answers_before_it_reads() -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap(); // so that a body does not vanish in the kernel
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let second = Arc::new(tokio::sync::Notify::new());
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let second = second.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 2048];
                let length = stream.read(&mut bytes).await.unwrap_or(0);
                if bytes[..length].starts_with(b"POST") {
                    stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                    second.notified().await;
                } else if bytes.starts_with(b"GET /web-apps") {
                    second.notify_one();
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await.ok();
            });
        }
    });
    address
}

#[tokio::test]
async fn a_body_that_was_answered_early_holds_up_nobody() {
    let upstream = answers_before_it_reads().await;
    let rig = Rig::with(Setup { upstream: Some(upstream), ..Setup::default() }).await;
    // One connection: both requests are on one core, which has one pool.
    let mut client = crate::raw::Client::of(&rig);
    let token = standin::token::sign(crate::rig::SECRET, &serde_json::json!({"c": "version"}));
    let order =
        serde_json::json!({"c": "version", "token": token, "userdata": "x".repeat(1_000_000)}).to_string();
    assert_eq!(client.post("/command", "", &order).await.status, 413);
    let read = soon("somebody else's page", client.get("/web-apps/x.js", "")).await;
    assert_eq!((read.status, read.text()), (200, "true"));
}
