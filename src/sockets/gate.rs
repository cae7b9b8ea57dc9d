//! The gate in front of an editor's WebSocket: greets like the Document Server, reads the first packet, judges it, and only then
//! dials. Whoever does not get through never costs the Document Server a byte (protocol.md 3.5, variant B).

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::budget::{FREE, MOST, Share};
use super::registry::{Caps, Session};
use super::{KeyBinding, Locks, Settings, Shared, Start, sid, wait};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::ops::objections::Example;
use crate::rules::follower::Follower;
use crate::rules::frame::{self, First, FrameFault, Head, Kind, Step};
use crate::rules::objection::Decider;
use crate::rules::packet::{self, Connect, Opened};
use crate::rules::policy::{Caller, Knock, Mode, Pass, Permit, Refusal, Rules};
use crate::rules::route::Route;
use crate::rules::socket::SocketFault;
use crate::rules::token;
use crate::upstream::{Outgoing, Question, Server, UpgradedStream, Upstream};

/// Bytes of the client that are read at once before its packet is verified: the usual packet in one go, no more.
const PIECE: usize = 4 << 10;
/// The most of a server's open packet; the real one has 109 bytes.
const LONGEST_GREETING: usize = 4 << 10;
/// How long it may take all in all when the gateway leaves.
const LEAVE: Duration = Duration::from_millis(200);
/// How long a goodbye may take to be written to a client that is refused.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the client may take to hang up after that. The editor does within 120 ms (protocol.md 11).
const HANG_UP: Duration = Duration::from_secs(2);
/// Try again later (IANA WebSocket close codes): the Document Server could not be dialled. The editor's own reconnecting follows.
const TRY_LATER: u16 = 1013;
/// The server does not want to go on (RFC 6455 7.4.1).
const POLICY: u16 = 1008;

/// What the gate goes by, from the snapshot of the request.
#[derive(Clone, Copy)]
pub struct Law<'r> {
    /// Secrets and algorithms.
    pub tokens: &'r token::Settings,
    /// What `mode` and hosts say.
    pub rules: &'r Rules,
    /// `[sockets]`.
    pub sockets: &'r Settings,
    /// Caps of `[limits]`.
    pub caps: Caps,
    /// How long the first packet may take.
    pub patience: Duration,
    /// Documents that are kept closed, and how long an editor waits for one.
    pub locks: Locks<'r>,
    /// See there.
    pub hold: Duration,
}

/// Who knocks.
pub struct Visitor<'r> {
    /// The knock.
    pub knock: &'r Knock,
    /// `shardkey` of the query.
    pub shardkey: Option<String>,
    /// The client's address, behind trusted proxies.
    pub address: IpAddr,
    /// The request's id, for the log.
    pub id: &'r str,
}

impl Visitor<'_> {
    /// For what a stricter configuration would have refused.
    fn example(&self, reason: &'static str, decider: Decider, why: &str) -> Example {
        Example {
            at: SystemTime::now(),
            id: self.id.to_owned(),
            route: Route::Socket.name(),
            class: None,
            reason,
            host: None,
            decider,
            why: why.to_owned(),
        }
    }
}

/// The request that opens the socket at the Document Server, once there is a permit for it.
pub struct Call {
    /// The way there.
    pub upstream: Upstream,
    /// Whose document it is.
    pub server: Arc<Server>,
    /// How long a server that restarts is waited for.
    pub wait: Duration,
    /// How long its answer may take.
    pub patience: Duration,
    /// Path and query.
    pub target: Uri,
    /// Fields of the client's upgrade, already those of the Document Server's side.
    pub headers: HeaderMap,
}

/// A socket that got through.
pub struct Through {
    /// The Document Server's end.
    pub server: TcpStream,
    /// Where its bytes stand: the first packet has gone up.
    pub start: Start,
    /// Its place among the editors.
    pub session: Session,
    /// How often a connection was tried.
    pub tries: u32,
}

/// Why a socket did not get through.
#[derive(Debug)]
pub enum Turned {
    /// A rule said no, and the client has been told.
    Refused(Refusal),
    /// The Document Server could not be dialled, or did not open.
    Unreachable(String),
    /// The client left.
    Gone,
    /// The gateway leaves.
    Leaving,
}

impl From<FrameFault> for Turned {
    fn from(fault: FrameFault) -> Self {
        Self::Refused(Refusal::Socket(SocketFault::Frame(fault)))
    }
}

/// Takes a socket from its upgrade to the point where it only has to be carried. Whatever is in the way, the client is told in
/// frames: an HTTP refusal would send it to polling (captures/browser/resil-nows.txt).
///
/// # Errors
/// When it does not get through; the socket has been closed then.
pub async fn pass<C: AsyncRead + AsyncWrite + Unpin>(
    client: &mut C,
    early: Bytes,
    (visitor, call): (Visitor<'_>, Call),
    law: Law<'_>,
    (shared, ops): (&Arc<Shared>, &Ops),
) -> Result<Through, Turned> {
    let mut guest = Guest { client, first: First::default(), share: Share::new(&shared.budget) };
    guest.first.buffer().extend_from_slice(&early);
    drop(early);
    let through = async {
        let heard = timeout(law.patience, guest.hear(shared)).await;
        heard.map_err(|_| Turned::Refused(Refusal::Socket(SocketFault::Late)))??;
        let (pass, session) = judge(&guest.first, &visitor, law, (shared, ops))?;
        let held = wait(&pass, law.locks, law.hold, ops);
        guest.attend(held).await?.map_err(Turned::Refused)?;
        let patience = call.patience;
        let dialled = guest.attend(dial(&pass, visitor.knock, call)).await??;
        let (opened, server, start) = guest.send(dialled, patience).await?;
        shared.learn(opened.pace);
        session.join();
        Ok(Through { server: server.stream, start, session, tries: server.tries })
    }
    .await;
    if let Err(turned) = &through {
        let Guest { client, first, share } = guest;
        drop((first, share)); // nothing of it may wait for a slow reader
        tell(client, turned).await;
    }
    through
}

/// A client at the gate, and what it has said.
struct Guest<'c, C> {
    client: &'c mut C,
    first: First,
    share: Share,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Guest<'_, C> {
    /// Greets, and listens until the first message is there.
    async fn hear(&mut self, shared: &Shared) -> Result<(), Turned> {
        let greeting = packet::greeting(&sid().unwrap_or_default(), false, shared.pace());
        say(self.client, Kind::Text, greeting.as_bytes()).await?;
        while !self.answer().await? {
            if !self.share.covers(self.first.held() + PIECE) {
                return Err(Turned::Refused(Refusal::Socket(SocketFault::Limit)));
            }
            self.read().await?;
        }
        Ok(())
    }

    /// Answers the control frames that have come; whether the first message ends in what has come.
    async fn answer(&mut self) -> Result<bool, Turned> {
        loop {
            match self.first.step(MOST)? {
                Step::More => return Ok(false),
                Step::Complete => return Ok(true),
                Step::Ping(said) => match timeout(GOODBYE, say(self.client, Kind::Pong, &said)).await {
                    Ok(said) => said?,
                    Err(_) => return Err(Turned::Gone), // it asks, and does not listen
                },
                Step::Close => {
                    timeout(GOODBYE, say(self.client, Kind::Close, &[])).await.ok();
                    return Err(Turned::Gone);
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), Turned> {
        let buffer = self.first.buffer();
        // In exact steps, or whoever sends a megabyte slowly would hold two.
        if buffer.capacity() - buffer.len() < PIECE {
            buffer.reserve_exact(if buffer.len() < FREE { PIECE } else { FREE });
        }
        match (&mut *self.client).take(PIECE as u64).read_buf(buffer).await {
            Ok(0) | Err(_) => Err(Turned::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Waits for something on the client's behalf, as long as the client does: its pings are answered, and nothing goes on for a
    /// client that has left.
    async fn attend<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Turned> {
        let mut awaited = pin!(awaited);
        loop {
            self.answer().await?;
            // No editor says more before it is answered; who does is not read any further than this.
            let room = self.first.behind() + PIECE <= FREE && self.share.covers(self.first.held() + PIECE);
            tokio::select! {
                biased;
                done = awaited.as_mut() => return Ok(done),
                read = self.read(), if room => read?,
            }
        }
    }

    /// Sends what the client has said. Its share of the budget is taken until then.
    async fn send(
        &mut self,
        (mut server, opened): (Dialled, Opened),
        patience: Duration,
    ) -> Result<(Opened, Dialled, Start), Turned> {
        let frames = self.first.take_frames();
        let mut follower = Follower::granted();
        if follower.follow(&frames).is_err() {
            return Err(Turned::Refused(Refusal::Socket(SocketFault::Again)));
        }
        let written = async {
            server.stream.write_all(&frames).await?;
            server.stream.flush().await
        };
        let unreachable = |why: String| Turned::Unreachable(format!("the Document Server {why}"));
        match self.attend(timeout(patience, written)).await? {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unreachable(format!("did not take the first packet: {error}"))),
            Err(_) => return Err(unreachable("did not take the first packet in time".into())),
        }
        let gone_up = frames.len() as u64;
        let rest = std::mem::take(&mut self.first).into_frames();
        let early = [rest, std::mem::take(&mut server.behind)];
        Ok((opened, server, Start { client: follower, gone_up, early }))
    }
}

/// Judges the first packet.
fn judge(
    first: &First,
    visitor: &Visitor<'_>,
    law: Law<'_>,
    (shared, ops): (&Arc<Shared>, &Ops),
) -> Result<(Pass, Session), Turned> {
    let text = first.text()?;
    let malformed = |fault| Turned::Refused(Refusal::Socket(SocketFault::Packet(fault)));
    let packet = Connect::parse(&text).map_err(malformed)?;
    admit(&packet, visitor, law, (shared, ops)).map_err(Turned::Refused)
}

/// Judges a packet and gives the socket its place.
///
/// # Errors
/// When a rule or a cap says no.
pub fn admit(
    packet: &Connect<'_>,
    visitor: &Visitor<'_>,
    law: Law<'_>,
    (shared, ops): (&Arc<Shared>, &Ops),
) -> Result<(Pass, Session), Refusal> {
    let caller = Caller { address: visitor.address, now: SystemTime::now() };
    let mut pass = visitor.knock.admit(packet, law.tokens, law.rules, caller)?;
    ops.metrics.token(pass.secret_index);
    for objection in std::mem::take(&mut pass.objections) {
        let (reason, why) = (objection.reason(), objection.to_string());
        ops.objected(Example {
            class: Some(objection.class.name()),
            host: objection.host(),
            ..visitor.example(reason, objection.decider(law.rules), &why)
        });
        let facts = [("reason", reason), ("id", visitor.id), ("why", &why)];
        ops.log.event(Level::Warn, "would_refuse", "a rule would have refused this socket", &facts);
    }
    if law.sockets.key_binding != KeyBinding::Off
        && let Some(which) = pass.other_key(visitor.shardkey.as_deref())
    {
        let fault = SocketFault::Key(which);
        if law.sockets.key_binding == KeyBinding::Enforce && law.rules.mode == Mode::Enforce {
            return Err(Refusal::Socket(fault));
        }
        let why = fault.to_string();
        let decider = match law.sockets.key_binding {
            KeyBinding::Enforce => Decider::Mode,
            KeyBinding::Log | KeyBinding::Off => Decider::KeyBinding,
        };
        ops.objected(visitor.example(fault.reason(), decider, &why));
        let facts = [("reason", fault.reason()), ("id", visitor.id), ("why", &why)];
        ops.log.event(
            Level::Warn,
            "would_refuse",
            "a socket is for another document than its path says",
            &facts,
        );
    }
    let session = shared
        .registry
        .enter(pass.document(), pass.editor.clone(), visitor.address, law.caps)
        .ok_or(Refusal::Socket(SocketFault::Limit))?;
    Ok((pass, session))
}

/// A socket that the Document Server has opened.
struct Dialled {
    stream: TcpStream,
    /// What came behind its greeting.
    behind: Vec<u8>,
    tries: u32,
}

/// Opens the socket at the Document Server and swallows its greeting.
async fn dial(pass: &Pass, knock: &Knock, call: Call) -> Result<(Dialled, Opened), Turned> {
    let permit: Permit = pass.permit(knock).map_err(Turned::Refused)?;
    let Call { upstream, server, wait, patience, target, headers } = call;
    let question = Question { permit, method: Method::GET, target, headers, body: Outgoing::Empty, patience };
    let unreachable = |what: &str| Turned::Unreachable(format!("the Document Server {what}"));
    let asked = upstream.ask(&server, wait, question).await;
    let mut answer = asked.map_err(|fault| Turned::Unreachable(fault.to_string()))?;
    if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(unreachable(&format!("answered the upgrade with {}", answer.response.status())));
    }
    let upgraded = hyper::upgrade::on(&mut answer.response).await;
    let parts = upgraded.ok().and_then(|upgraded| upgraded.downcast::<UpgradedStream>().ok());
    let Some(parts) = parts else { return Err(unreachable("did not switch to WebSocket")) };
    let mut stream = TokioIo::into_inner(parts.io).0;
    let mut bytes = parts.read_buf.to_vec();
    let greeting = timeout(patience, async {
        loop {
            if let Some(head) = Head::parse(&bytes).ok()? {
                let end = head.size.checked_add(usize::try_from(head.payload).ok()?)?;
                if head.kind != Kind::Text || !head.last || head.mask.is_some() || end > LONGEST_GREETING {
                    return None;
                }
                if let Some(said) = bytes.get(head.size..end) {
                    let opened = Opened::parse(std::str::from_utf8(said).ok()?)?;
                    return Some((opened, end));
                }
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    });
    match greeting.await {
        Ok(Some((opened, end))) => {
            Ok((Dialled { stream, behind: bytes.split_off(end), tries: answer.tries }, opened))
        }
        _ => Err(unreachable("did not open the socket with its greeting")),
    }
}

/// Tells the client in frames why it does not get through, and waits a little for it to hang up.
async fn tell<C: AsyncRead + AsyncWrite + Unpin>(client: &mut C, turned: &Turned) {
    let (packet, code) = match turned {
        Turned::Gone => return,
        Turned::Leaving => (None, 1001),
        Turned::Unreachable(_) => (None, TRY_LATER),
        Turned::Refused(Refusal::Socket(SocketFault::Frame(fault))) => (None, fault.code()),
        Turned::Refused(Refusal::Socket(SocketFault::Unsaved { returns: true })) => (None, TRY_LATER),
        Turned::Refused(refusal) => (refusal_packet(*refusal), POLICY),
    };
    let say_all = async {
        if let Some(packet) = packet {
            say(client, Kind::Text, packet.as_bytes()).await?;
        }
        say(client, Kind::Close, &frame::goodbye(code, "")).await?;
        client.shutdown().await.map_err(|_| Turned::Gone)
    };
    if !matches!(timeout(GOODBYE, say_all).await, Ok(Ok(()))) {
        return;
    }
    // Closed with bytes unread, the connection would be reset and the words lost. Read, and thrown away.
    let mut rest = [0; 512];
    let drain = async { while client.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    timeout(HANG_UP, drain).await.ok();
}

/// Says goodbye to a socket that is still at the gate when the gateway leaves.
pub async fn leave<C: AsyncRead + AsyncWrite + Unpin>(client: &mut C) {
    let goodbye = tell(client, &Turned::Leaving);
    timeout(LEAVE, goodbye).await.ok();
}

/// The packet that says a refusal so that the editor understands it; `None` for what no editor does.
pub fn refusal_packet(refusal: Refusal) -> Option<String> {
    let (code, words) = match refusal {
        Refusal::Token { fault, .. } => packet::words(fault),
        Refusal::Objected(objection) => (packet::REFUSED, objection.reason()),
        Refusal::Socket(SocketFault::Key(_)) => (packet::REFUSED, "key mismatch"),
        Refusal::Socket(SocketFault::Limit) => (packet::LOST, "too many sockets"),
        Refusal::Socket(SocketFault::Saved) => (packet::UPDATED, "the document has been saved"),
        Refusal::Socket(SocketFault::Unsaved { returns: false }) => {
            (packet::LOST, "the document is still being saved")
        }
        _ => return None,
    };
    Some(packet::not_authorized(code, words))
}

async fn say<C: AsyncWrite + Unpin>(client: &mut C, kind: Kind, payload: &[u8]) -> Result<(), Turned> {
    let written = async {
        client.write_all(&frame::say(kind, payload)).await?;
        client.flush().await
    };
    written.await.map_err(|_| Turned::Gone)
}
