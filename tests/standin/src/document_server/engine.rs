//! Engine.IO by hand: WebSocket, long-polling and the change from one to the other.

use super::session::{self, Seat};
use super::{State, host};
use crate::answer::{self, Answer};
use crate::path::Target;
use crate::record::Counted;
use crate::server::{Connection, Life};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// The largest message, as the open packet announces it.
pub(super) const LARGEST: usize = 100_000_000;

/// What goes down to a client.
pub(crate) enum Outgoing {
    Packet(String),
    Close,
}

/// Where packets for a client go, whatever its transport.
pub(crate) type Outbox = mpsc::UnboundedSender<Outgoing>;

/// A session that polls, or did before it changed to WebSocket.
#[derive(Clone)]
pub(crate) struct Poll {
    inbox: mpsc::Sender<String>,
    outbox: Arc<Mutex<mpsc::UnboundedReceiver<Outgoing>>>,
    upgrading: Arc<Notify>,
}

/// Answers everything below `/doc/{key}/c`.
pub(super) async fn handle(
    state: Arc<State>,
    target: Target,
    request: Request<Counted>,
    connection: Arc<Connection>,
) -> Answer {
    let key = target.segment(1).unwrap_or_default().to_owned();
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte)) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        return answer::nginx(502);
    }
    let upgrade = request.headers().get("upgrade").is_some_and(|value| value == "websocket");
    let sid = target.field("sid");
    let poll = sid.as_ref().and_then(|sid| state.polls.lock().unwrap().get(sid).cloned());
    match target.field("transport").as_deref() {
        Some("websocket") | Some("polling") => {}
        _ => return refused(0, "Transport unknown"),
    }
    if sid.is_some() && poll.is_none() {
        return refused(1, "Session ID unknown");
    }
    if sid.is_none() && request.method() != Method::GET {
        return refused(2, "Bad handshake method");
    }
    let websocket = target.field("transport").as_deref() == Some("websocket");
    if websocket != upgrade {
        return refused(3, "Bad request");
    }
    let old = target.field("EIO").as_deref() != Some("4");
    let seat = Seat {
        key,
        shardkey: target.field("shardkey").unwrap_or_default(),
        base: host::base(request.headers()),
        engine: state.sid(),
    };
    if websocket {
        return socket(&state, seat, request, &connection.life, poll, old);
    }
    if old {
        return refused(5, "Unsupported protocol version");
    }
    match poll {
        None => polling_open(&state, seat, &connection.life),
        Some(poll) if request.method() == Method::POST => polling_post(&poll, request).await,
        Some(poll) if request.method() == Method::GET => {
            polling_get(&state, &poll, &sid.unwrap_or_default()).await
        }
        Some(_) => refused(2, "Bad handshake method"),
    }
}

/// A refusal of Engine.IO; it comes without a length.
fn refused(code: u32, message: &str) -> Answer {
    let body = answer::object(&[("code", code.into()), ("message", message.into())]);
    let mut answer = answer::answer(400, "application/json", "");
    *answer.body_mut() = answer::chunked(body);
    answer
}

fn text(kind: &str, body: String) -> Answer {
    let mut answer = answer::answer(200, kind, body);
    answer::set(&mut answer, "cache-control", "no-store");
    answer
}

fn polling_open(state: &Arc<State>, seat: Seat, life: &Life) -> Answer {
    let (inbox, incoming) = mpsc::channel(64);
    let (out, outgoing) = mpsc::unbounded_channel();
    let sid = seat.engine.clone();
    let open = open_packet(state, &sid, true);
    let poll = Poll { inbox, outbox: Arc::new(Mutex::new(outgoing)), upgrading: Arc::default() };
    state.polls.lock().unwrap().insert(sid.clone(), poll);
    let (state, seat_life) = (Arc::clone(state), life.clone());
    life.spawn(async move {
        session::run(Arc::clone(&state), seat_life, seat, incoming, out).await;
        state.polls.lock().unwrap().remove(&sid);
    });
    text("text/plain; charset=UTF-8", open)
}

async fn polling_post(poll: &Poll, request: Request<Counted>) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), LARGEST).collect().await else {
        return answer::answer(413, "text/html", "");
    };
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    for packet in body.split('\u{1e}') {
        let _ = poll.inbox.send(packet.to_owned()).await;
    }
    text("text/html", "ok".into())
}

async fn polling_get(state: &State, poll: &Poll, sid: &str) -> Answer {
    let mut outbox = poll.outbox.lock().await;
    let first = tokio::select! {
        first = outbox.recv() => first,
        () = poll.upgrading.notified() => Some(Outgoing::Packet("6".into())),
    };
    let mut packets = Vec::new();
    let mut next = first;
    loop {
        match next {
            Some(Outgoing::Packet(packet)) => packets.push(packet),
            Some(Outgoing::Close) | None => {
                packets.push("1".into());
                state.polls.lock().unwrap().remove(sid);
                break;
            }
        }
        match outbox.try_recv() {
            Ok(packet) => next = Some(packet),
            Err(_) => break,
        }
    }
    text("text/plain; charset=UTF-8", packets.join("\u{1e}"))
}

/// `0{…}`.
pub(super) fn open_packet(state: &State, sid: &str, polling: bool) -> String {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let upgrades = if polling { json!(["websocket"]) } else { json!([]) };
    let fields = [
        ("sid", sid.into()),
        ("upgrades", upgrades),
        ("pingInterval", millis(state.options.ping_interval).into()),
        ("pingTimeout", millis(state.options.ping_timeout).into()),
        ("maxPayload", LARGEST.into()),
    ];
    format!("0{}", answer::object(&fields))
}

/// Answers an upgrade and serves the socket from then on.
fn socket(
    state: &Arc<State>,
    seat: Seat,
    mut request: Request<Counted>,
    life: &Life,
    poll: Option<Poll>,
    old: bool,
) -> Answer {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return refused(3, "Bad request");
    };
    let upgraded = hyper::upgrade::on(&mut request);
    state.record.upgrades.fetch_add(1, Ordering::Relaxed);
    let (state, session_life) = (Arc::clone(state), life.clone());
    life.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut stream = TokioIo::new(upgraded);
        if old {
            // The real server writes a plain refusal where frames are expected.
            let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 28\r\n\r\nUnsupported protocol version";
            let _ = stream.write_all(refusal.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let counted = Counter::new(Arc::clone(&state));
        match poll {
            None => fresh(state, session_life, seat, socket).await,
            Some(poll) => change(socket, &poll).await,
        }
        drop(counted);
    });
    switch(&key)
}

fn switch(key: &HeaderValue) -> Answer {
    let mut answer = answer::answer(101, "", "");
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let server = answer.headers().get("server").cloned();
    *answer.headers_mut() = HeaderMap::new();
    answer.headers_mut().extend(server.map(|server| (hyper::header::SERVER, server)));
    answer::set(&mut answer, "connection", "upgrade");
    answer::set(&mut answer, "upgrade", "websocket");
    answer::set(&mut answer, "sec-websocket-accept", &derive_accept_key(key.as_bytes()));
    answer
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn fresh(state: Arc<State>, life: Life, seat: Seat, socket: Socket) {
    let (inbox, incoming) = mpsc::channel(64);
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let _ = out.send(Outgoing::Packet(open_packet(&state, &seat.engine, false)));
    let session_life = life.clone();
    // The session has to see the end of its socket and say goodbye, so it lives on its own.
    life.spawn(session::run(state, session_life, seat, incoming, out));
    pump(socket, &inbox, &mut outgoing).await;
}

/// The change from polling: probe, pause, then the packets come here.
async fn change(mut socket: Socket, poll: &Poll) {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == "2probe" => {
                if socket.send(Message::text("3probe")).await.is_err() {
                    return;
                }
                poll.upgrading.notify_one();
            }
            Some(Ok(Message::Text(text))) if text.as_str() == "5" => break,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return,
        }
    }
    let mut outbox = poll.outbox.lock().await;
    pump(socket, &poll.inbox, &mut outbox).await;
    // Without its transport the session is over; `1` says so.
    let _ = poll.inbox.send("1".into()).await;
}

/// Carries packets both ways until either side is done.
async fn pump(socket: Socket, inbox: &mpsc::Sender<String>, outbox: &mut mpsc::UnboundedReceiver<Outgoing>) {
    let (mut sink, mut stream) = socket.split();
    let down = async {
        while let Some(outgoing) = outbox.recv().await {
            match outgoing {
                Outgoing::Packet(packet) => {
                    if sink.send(Message::text(packet)).await.is_err() {
                        return;
                    }
                }
                Outgoing::Close => break,
            }
        }
        let _ = sink.send(Message::Close(None)).await;
    };
    let up = async {
        while let Some(Ok(message)) = stream.next().await {
            let taken = match message {
                Message::Text(text) => inbox.send(text.as_str().to_owned()).await.is_ok(),
                message => !message.is_binary(),
            };
            if !taken {
                return;
            }
        }
    };
    tokio::select! {
        () = down => {}
        () = up => {}
    }
}

/// Counts open sockets, also when their task is killed.
struct Counter(Arc<State>);

impl Counter {
    fn new(state: Arc<State>) -> Self {
        state.sockets.fetch_add(1, Ordering::Relaxed);
        Counter(state)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.0.sockets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| open.checked_sub(1));
    }
}
