//! Bytes and streams as tests send them when a well-behaved client would not: raw heads, bodies in pieces, numbers of the admin listener.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::rig;

/// Longer than anything here takes on a machine that does other work too; only a hang reaches it.
pub const LONG: Duration = Duration::from_secs(30);

/// Waits for something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {LONG:?}"))
}

/// Sends raw bytes and reads until the other side closes or resets: the answer as text.
pub async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> String {
    // The other side may refuse before it has read everything; what it said is what counts.
    stream.write_all(bytes).await.ok();
    stream.flush().await.ok();
    rest(stream).await
}

/// What comes until the other side closes or resets.
pub async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    soon("the end of a connection", stream.read_to_end(&mut answer)).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of a raw answer; 0 when there is none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A page of the admin listener.
pub async fn admin(admin: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    exchange(&mut stream, request.as_bytes()).await
}

/// A number of the admin listener, by name and labels as they are written.
pub async fn metric(address: SocketAddr, series: &str) -> f64 {
    let page = admin(address, "/metrics").await;
    let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// The sum of all series that begin so.
pub async fn metric_sum(address: SocketAddr, beginning: &str) -> f64 {
    let page = admin(address, "/metrics").await;
    let values = page.lines().filter(|line| line.starts_with(beginning));
    let values: Vec<f64> = values.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {beginning} in\n{page}");
    values.iter().sum()
}

/// Waits until a number of the admin listener is what it must become.
pub async fn metric_becomes(address: SocketAddr, series: &str, value: f64) {
    let wait = async {
        while (metric(address, series).await - value).abs() > 0.1 {
            tokio::task::yield_now().await;
        }
    };
    soon(series, wait).await;
}

/// A body that a test feeds piece by piece; it ends when the sender is dropped.
pub struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    length: Option<u64>,
}

/// A body and where its pieces go. With a length it is declared, else chunked.
pub fn pieces(length: Option<u64>) -> (mpsc::Sender<Bytes>, Pieces) {
    let (sender, pieces) = mpsc::channel(1);
    (sender, Pieces { pieces, length })
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An HTTP/1.1 client whose bodies come in pieces.
pub async fn h1(to: SocketAddr) -> http1::SendRequest<Pieces> {
    let stream = rig::tls(to, Some("localhost"), &["http/1.1"]).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An HTTP/2 client whose bodies come in pieces.
pub async fn h2(to: SocketAddr) -> http2::SendRequest<Pieces> {
    let stream = rig::tls(to, Some("localhost"), &["h2"]).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A client of either protocol.
pub enum Client {
    One(http1::SendRequest<Pieces>),
    Two(http2::SendRequest<Pieces>),
}

/// The two protocols that browsers speak here.
pub const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

impl Client {
    /// Speaks this protocol.
    pub async fn new(to: SocketAddr, protocol: &str) -> Self {
        if protocol == "h2" { Self::Two(h2(to).await) } else { Self::One(h1(to).await) }
    }

    /// Sends a request; the answer's head comes later.
    pub fn send(
        &mut self,
        request: hyper::Request<Pieces>,
    ) -> Pin<Box<dyn Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>> + Send>> {
        match self {
            Self::One(client) => Box::pin(client.send_request(request)),
            Self::Two(client) => Box::pin(client.send_request(request)),
        }
    }
}

/// A request of either protocol: the host is part of the URI in one and a field in the other.
pub fn request(protocol: &str, method: &str, target: &str) -> hyper::http::request::Builder {
    let builder = hyper::Request::builder().method(method);
    match protocol {
        "h2" => builder.uri(format!("https://localhost{target}")),
        _ => builder.uri(target).header("host", "localhost"),
    }
}

/// An upload with a token that opens it.
pub fn upload(protocol: &str, body: Pieces) -> hyper::Request<Pieces> {
    let claims = standin::token::session("demo", ("ann", "Ann"), 1, &standin::clock::system());
    let token = standin::token::sign(rig::SECRET, &claims);
    request(protocol, "POST", "/upload/demo")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "image/png")
        .body(body)
        .unwrap()
}
