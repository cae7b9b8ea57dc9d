//! One connection: handshake, protocol by ALPN, requests, and the one timer that ends what is late.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::core::{Core, Stage};
use super::cork::Cork;
use super::exchange::Exchange;
use super::listener::{Arrival, Counted, Door};
use super::pulse::{Check, Late, Pulse};
use super::stream::ClientStream;
use super::{handler, handshake, redirect};
use crate::rules::client::Peer;
use crate::upstream::Wire;

/// A connection that is told to end may say goodbye (GOAWAY, close_notify) for this long.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a connection is looked at until it has been told that the gateway leaves.
const LOOK: Duration = Duration::from_millis(20);
/// Largest head: a token of 13 KB in a header and in the query of `/downloadas` fit with room; nginx takes 8 KB a line.
const LARGEST_HEAD: usize = 64 << 10;
/// Most fields of a head: browsers send about twenty.
pub const MOST_FIELDS: usize = 100;
/// Streams of one HTTP/2 connection: the first open of an editor is 67 requests.
const STREAMS: u32 = 100;
/// What one HTTP/2 stream may have sent to us unread. Uploads move at this much a round trip: 100 Mbit/s at 80 ms.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of a connection together may have sent unread.
const CONNECTION_WINDOW: u32 = 2 << 20;
/// What one HTTP/2 stream may have waiting to be sent: times [`STREAMS`] this bounds what a client that does not read
/// can make us hold (threats.md, row 17).
const SEND_BUFFER: usize = 32 << 10;

/// What its requests know of a connection.
pub struct Connection {
    /// The core it lives on.
    pub core: Rc<Core>,
    /// Who is at the other end.
    pub peer: Peer,
    /// The name the client asked for, lower case.
    pub sni: Option<String>,
    /// `1.2` or `1.3`; `None` by the container's own door.
    pub tls: Option<&'static str>,
    /// It came by the container's own door, at this address: it gets the relay and nothing else.
    pub by_relay: Option<SocketAddr>,
    /// What it waits for.
    pub pulse: Arc<Pulse>,
    /// Its place under the caps, until the last of it has gone: an editor socket outlives hyper's connection by hours.
    pub counted: Counted,
    exchanges: RefCell<Vec<Weak<Exchange>>>,
}

impl Connection {
    /// Has the timer look at an exchange while it lives.
    pub fn watch(&self, exchange: &Rc<Exchange>) {
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.len() == exchanges.capacity() {
            exchanges.retain(|exchange| exchange.strong_count() > 0);
        }
        exchanges.push(Rc::downgrade(exchange));
    }

    /// Whether every request in flight stands still. One that does while its neighbours on an HTTP/2 connection move
    /// is left alone: a browser that pauses a download must not lose the rest of its page.
    fn stalled(&self) -> bool {
        let exchanges: Vec<_> = self.exchanges.borrow().iter().filter_map(Weak::upgrade).collect();
        let reasons: Vec<_> = exchanges.iter().map_while(|exchange| exchange.stalled()).collect();
        if exchanges.is_empty() || reasons.len() < exchanges.len() {
            return false;
        }
        exchanges.iter().zip(reasons).for_each(|(exchange, why)| exchange.because(why));
        true
    }
}

/// Spawns a stream of an HTTP/2 connection on this core.
#[derive(Clone)]
struct OnThisCore;

impl<F: Future + 'static> Executor<F> for OnThisCore
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection to its end.
pub async fn serve(core: Rc<Core>, arrival: Arrival) {
    let Arrival { stream, peer, door, counted } = arrival;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let peer = Peer::new(peer.ip());
    match door {
        Door::Https => Box::pin(serve_tls(core, stream, peer, counted)).await,
        Door::Http => {
            redirect::serve(core, stream).await;
            drop(counted);
        }
        Door::Relay => Box::pin(serve_plain(core, stream, peer, counted)).await,
    }
}

/// The container's own door: no TLS, and HTTP/1 as the Document Server's clients speak it.
async fn serve_plain(core: Rc<Core>, stream: TcpStream, peer: Peer, counted: Counted) {
    let Ok(address) = stream.local_addr() else { return };
    let pulse = Arc::new(Pulse::new(true, core.deadlines));
    let connection = Rc::new(Connection {
        peer,
        sni: None,
        tls: None,
        by_relay: Some(address),
        pulse: pulse.clone(),
        counted,
        exchanges: RefCell::default(),
        core,
    });
    serve_http1(connection, ClientStream::new(stream, pulse)).await;
}

async fn serve_tls(core: Rc<Core>, stream: TcpStream, peer: Peer, counted: Counted) {
    // A reload may have taken the last certificate away; the listener itself goes with the next restart.
    let Some(tls) = core.live.load().settings.tls.as_ref().map(|tls| tls.server.clone()) else { return };
    let acceptor = TlsAcceptor::from(tls);
    let handshake = timeout(core.deadlines.handshake, acceptor.accept(Wire(stream))).await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return handshake::failed(&core.ops, &peer, Some(&error)),
        Err(_) => return handshake::failed(&core.ops, &peer, None),
    };
    let (_, session) = stream.get_ref();
    handshake::succeeded(&core.ops, &peer, session);
    let http2 = session.alpn_protocol() == Some(b"h2");
    let pulse = Arc::new(Pulse::new(!http2, core.deadlines));
    let connection = Rc::new(Connection {
        peer,
        sni: session.server_name().map(str::to_ascii_lowercase),
        tls: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Some("1.3"),
            _ => Some("1.2"),
        },
        by_relay: None,
        pulse: pulse.clone(),
        counted,
        exchanges: RefCell::default(),
        core,
    });
    let stream = ClientStream::new(stream, pulse);
    if http2 {
        Box::pin(serve_http2(connection, stream)).await;
    } else {
        Box::pin(serve_http1(connection, stream)).await;
    }
}

async fn serve_http1<S>(connection: Rc<Connection>, stream: ClientStream<S>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let requests = connection.clone();
    let service = service_fn(move |request| {
        let connection = requests.clone();
        async move { Ok::<_, Infallible>(handler::handle(connection, request).await) }
    });
    // `max_headers` is not set: its default is MOST_FIELDS, and whatever is set is allocated and filled for each request.
    let served = http1::Builder::new()
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(2 * LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let flow = |_: &mut Context<'_>| Poll::Ready(Ok(())); // hyper flushes a head with the body that is there already
    watch_over(&connection, pin!(served), flow, |served| served.graceful_shutdown()).await;
}

async fn serve_http2(connection: Rc<Connection>, stream: ClientStream) {
    let cork = Cork::new(stream);
    let streams = connection.clone();
    // In a box: hyper and tokio move a stream's future seven times from its first byte to its last.
    let service = service_fn(move |request| {
        let connection = streams.clone();
        Box::pin(async move { Ok::<_, Infallible>(handler::handle(connection, request).await) })
    });
    // h2 refuses a list of exactly the limit, which RFC 9113 6.5.2 allows.
    #[expect(clippy::cast_possible_truncation, reason = "64 Ki")]
    let list = LARGEST_HEAD as u32 + 1;
    let served = http2::Builder::new(OnThisCore)
        .max_header_list_size(list)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(cork.clone()), service);
    watch_over(&connection, pin!(served), |cx| cork.flow(cx), |served| served.graceful_shutdown()).await;
}

/// Whether a connection has been told that the gateway leaves.
#[derive(PartialEq)]
enum Word {
    None,
    Due,
    Given,
}

/// Polls a connection until it ends, is late, or the gateway leaves. After each turn, what it has written flows.
async fn watch_over<F>(
    connection: &Connection,
    mut served: Pin<&mut F>,
    flow: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    goodbye: impl Fn(Pin<&mut F>),
) where
    F: Future<Output = hyper::Result<()>>,
{
    let turn = |served: &mut Pin<&mut F>, cx: &mut Context<'_>| {
        let polled = served.as_mut().poll(cx);
        match flow(cx) {
            Poll::Ready(Err(_)) if polled.is_pending() => Poll::Ready(Ok(())), // the client has gone
            _ => polled,
        }
    };
    let mut stage = connection.core.stage.clone();
    let mut timer = pin!(sleep(first_look(&connection.pulse)));
    let mut word = Word::None;
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| turn(&mut served, cx)) => {
                if ended.is_err_and(|e| e.is_parse()) {
                    connection.core.ops.metrics.connection_errors.increment(1);
                }
                return;
            }
            () = timer.as_mut() => match connection.pulse.check() {
                Check::Late(Late::Idle) => {
                    goodbye(served.as_mut());
                    timeout(GOODBYE, poll_fn(|cx| turn(&mut served, cx))).await.ok();
                    return;
                }
                Check::Late(Late::Head | Late::Blocked) => return,
                Check::After(_) if connection.stalled() => return,
                Check::After(mut pause) => {
                    if word == Word::Given && connection.pulse.is_fresh() {
                        return; // it never began to speak, so it cannot hear the word either
                    }
                    if word == Word::Due && connection.pulse.until_told().is_zero() {
                        word = Word::Given;
                        goodbye(served.as_mut());
                        pause = pause.min(GOODBYE);
                    } else if word == Word::Due {
                        pause = pause.min(LOOK);
                    }
                    timer.as_mut().reset(Instant::now() + pause);
                }
            },
            _ = stage.wait_for(|stage| *stage != Stage::Serving), if word == Word::None => {
                word = Word::Due;
                timer.as_mut().reset(Instant::now()); // which looks whether it can be given at once
            }
        }
    }
}

fn first_look(pulse: &Pulse) -> Duration {
    match pulse.check() {
        Check::After(pause) => pause,
        Check::Late(_) => Duration::ZERO,
    }
}
