//! Requests of editors that poll: greeted, judged at their first POST, and from then on passed on with the Document Server's id.

use std::rc::Rc;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode, Uri};
use tokio::time::timeout;

use super::body::{Reply, Unread};
use super::conn::Connection;
use super::exchange::Exchange;
use super::handler::{self, Prepared, Way};
use super::respond::{self, Trouble};
use super::{socket, upgrade};
use crate::rules::client::Client;
use crate::rules::headers::{self, Hop};
use crate::rules::packet::{self, Connect, Opened, Packets};
use crate::rules::policy::{Knock, Pass, Refusal};
use crate::rules::socket::{SocketFault, with_sid, without_sid};
use crate::sockets::{self, MOST_PACKET, Phase, Session, Share, Using, Visitor};
use crate::upstream::{BodyFault, Fault, Outgoing};

/// The most of a server's open packet; the real one has 120 bytes.
const LONGEST_GREETING: usize = 4 << 10;
/// Between packets of one body.
const BETWEEN: char = packet::BETWEEN as char;
/// Engine.IO's goodbye.
const CLOSE: &str = "1";

/// A refusal, and the packet that tells of it.
type Denied = Box<(Refusal, Option<String>)>;

/// What every request of a session is answered from.
pub struct Asker<'r> {
    pub connection: &'r Connection,
    pub exchange: &'r Rc<Exchange>,
    pub way: Way<'r>,
    pub knock: Knock,
}

impl Asker<'_> {
    /// Begins a session.
    ///
    /// # Errors
    /// When there are too many.
    pub fn greet(self, parts: &Parts) -> Result<Response<Reply>, Trouble> {
        let core = &self.connection.core;
        let proxies = &self.way.running.settings.site.trusted_proxies;
        let address = Client::of(&self.connection.peer, &parts.headers, proxies).address();
        self.exchange.note("sockets", "an editor begins to poll", &[("key", &self.knock.key())]);
        let sid = core.sockets.polls.open(self.knock.key(), address, core.deadlines.packet);
        let greeting = core.sockets.greeting(&sid.map_err(Refusal::Socket)?);
        Ok(self.text("text/plain; charset=UTF-8", greeting))
    }

    /// Goes on with a session.
    ///
    /// # Errors
    /// When there is none, it is refused, or there is no Document Server.
    pub async fn go_on(self, sid: &str, parts: Parts, mut body: Unread) -> Result<Response<Reply>, Trouble> {
        let using = self.find(sid)?;
        if parts.method == Method::POST && using.begin() {
            return self.first_post(sid, &using, parts, body).await;
        }
        match using.judged(self.judging_time()).await {
            Phase::Open => {
                let outgoing = match parts.method {
                    Method::POST => body.packets(self.exchange),
                    _ => Outgoing::Empty,
                };
                self.pass_on(sid, &using, parts, outgoing).await
            }
            Phase::Refused if parts.method == Method::POST => Ok(self.text("text/html", "ok")),
            Phase::Refused => {
                let packet = using.take_refusal();
                self.connection.core.sockets.polls.end(sid);
                let last = packet.map_or(CLOSE.to_owned(), |packet| format!("{packet}{BETWEEN}{CLOSE}"));
                Ok(self.text("text/plain; charset=UTF-8", last))
            }
            Phase::Knocking | Phase::Judging | Phase::Gone => Err(self.over(sid)),
        }
    }

    /// Changes a session to WebSocket: the Document Server probes and switches itself (`2probe`, `3probe`, `5`).
    ///
    /// # Errors
    /// As for [`go_on`](Self::go_on). A client that may not change stays with polling, and is told there.
    pub async fn change(self, sid: &str, mut parts: Parts) -> Result<Response<Reply>, Trouble> {
        socket::accept(&parts.headers).ok_or(Refusal::Socket(SocketFault::Handshake))?;
        let using = self.find(sid)?;
        if using.judged(self.judging_time()).await != Phase::Open {
            return Err(Refusal::Socket(SocketFault::Unknown).into());
        }
        let missing = Refusal::Socket(SocketFault::Handshake);
        let on_client = parts.extensions.remove::<OnUpgrade>().ok_or(missing)?;
        socket::without_extensions(&mut parts.headers);
        let (permit, theirs) = using.pass_on(&self.knock)?;
        let mut prepared = handler::prepare(&self.way, parts, Hop::Upgrade)?;
        prepared.target = with_query(&prepared.target, |query| with_sid(query, &theirs))?;
        let (connection, exchange) = (self.connection, self.exchange);
        let response =
            handler::ask(connection, exchange, &self.way, prepared, permit, Outgoing::Empty).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.answered(sid, response));
        }
        let polls = connection.core.sockets.clone();
        let sid = sid.to_owned();
        upgrade::splice(connection, exchange, on_client, response, move || {
            drop(using);
            polls.polls.end(&sid); // without its transport the session is over
        })
    }

    /// Reads the first packet, judges it, opens a session at the Document Server, and passes the packet on.
    async fn first_post(
        &self,
        sid: &str,
        using: &Using,
        parts: Parts,
        mut body: Unread,
    ) -> Result<Response<Reply>, Trouble> {
        let polls = &self.connection.core.sockets.polls;
        // Its share of the budget is taken until the Document Server has the packet.
        let (bytes, _share) = match self.read(&mut body).await {
            Ok(read) => read,
            Err(trouble) => {
                polls.end(sid);
                return Err(trouble);
            }
        };
        let (pass, session) = match self.judge(&parts, &bytes) {
            Ok(judged) => judged,
            Err(told) => {
                let (refusal, packet) = *told;
                self.exchange.refused(refusal, refusal.words(&self.way.running.fields));
                using.refuse(packet);
                return Ok(self.text("text/html", "ok"));
            }
        };
        let core = &self.connection.core;
        let locks = |key: &str| socket::lock(core, key);
        if let Err(refusal) = sockets::wait(&pass, &locks, core.deadlines.hold, &core.ops).await {
            self.exchange.refused(refusal, refusal.to_string());
            using.refuse(sockets::refusal_packet(refusal));
            return Ok(self.text("text/html", "ok"));
        }
        match self.open(&parts, &pass).await {
            Ok(opened) => {
                self.connection.core.sockets.learn(opened.pace);
                using.opened(pass, session, &opened.sid);
            }
            Err(trouble) => {
                polls.end(sid);
                return Err(trouble);
            }
        }
        self.pass_on(sid, using, parts, Outgoing::whole(bytes)).await
    }

    async fn read(&self, body: &mut Unread) -> Result<(Bytes, Share), Trouble> {
        let mut share = Share::new(&self.connection.core.sockets.budget);
        let declared = usize::try_from(body.declared()).unwrap_or(usize::MAX);
        // Without a length all of it is reserved beforehand: browsers always say it.
        let most = if declared == 0 { MOST_PACKET } else { declared };
        if most > MOST_PACKET {
            return Err(Refusal::BodyTooLarge.into());
        }
        if !share.covers(most) {
            return Err(Refusal::Socket(SocketFault::Limit).into());
        }
        match timeout(self.connection.core.deadlines.packet, body.read(most, self.exchange)).await {
            Ok(read) => Ok((read.map_err(Trouble::Body)?, share)),
            Err(_) => Err(Refusal::Socket(SocketFault::Late).into()),
        }
    }

    /// The first packet's verdict; with a refusal, the packet that tells of it.
    fn judge(&self, parts: &Parts, bytes: &[u8]) -> Result<(Pass, Session), Denied> {
        let core = &self.connection.core;
        let malformed = |fault| Box::new((Refusal::Socket(SocketFault::Packet(fault)), None));
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let mut packets = text.split(BETWEEN);
        let packet = Connect::parse(packets.next().unwrap_or_default()).map_err(malformed)?;
        if packets.any(|further| Packets::default().follow(further.as_bytes())) {
            return Err(Box::new((Refusal::Socket(SocketFault::Again), None)));
        }
        let proxies = &self.way.running.settings.site.trusted_proxies;
        let visitor = Visitor {
            knock: &self.knock,
            shardkey: socket::shardkey(self.way.uri),
            address: Client::of(&self.connection.peer, &parts.headers, proxies).address(),
            id: self.exchange.id(),
        };
        let locks = |key: &str| socket::lock(core, key);
        let law = socket::law(core, self.way.running, &locks);
        sockets::admit(&packet, &visitor, law, (&core.sockets, &core.ops))
            .map_err(|refusal| Box::new((refusal, sockets::refusal_packet(refusal))))
    }

    /// Opens a session at the Document Server.
    async fn open(&self, parts: &Parts, pass: &Pass) -> Result<Opened, Trouble> {
        let mut head = hyper::Request::new(()).into_parts().0;
        head.version = parts.version;
        head.headers = parts.headers.clone();
        head.headers.remove(CONTENT_TYPE);
        let prepared = handler::prepare(&self.way, head, Hop::Ordinary)?;
        let target = with_query(&prepared.target, without_sid)?;
        let prepared = Prepared { method: Method::GET, target, ..prepared };
        let permit = pass.permit(&self.knock)?;
        let response =
            handler::ask(self.connection, self.exchange, &self.way, prepared, permit, Outgoing::Empty)
                .await?;
        let unfit = Trouble::Unfit("it did not open the session with its greeting");
        if response.status() != StatusCode::OK {
            return Err(unfit);
        }
        let mut body = response.into_body();
        let mut greeting = Vec::new();
        while let Some(frame) = body.frame().await {
            let Some(data) = frame.ok().and_then(|frame| frame.into_data().ok()) else { return Err(unfit) };
            greeting.extend_from_slice(&data);
            if greeting.len() > LONGEST_GREETING {
                return Err(unfit);
            }
        }
        std::str::from_utf8(&greeting).ok().and_then(Opened::parse).ok_or(unfit)
    }

    /// Passes a request of an open session on, with the Document Server's id.
    async fn pass_on(
        &self,
        sid: &str,
        using: &Using,
        parts: Parts,
        body: Outgoing,
    ) -> Result<Response<Reply>, Trouble> {
        let (permit, theirs) = using.pass_on(&self.knock)?;
        let mut prepared = handler::prepare(&self.way, parts, Hop::Ordinary)?;
        prepared.target = with_query(&prepared.target, |query| with_sid(query, &theirs))?;
        let asked = handler::ask(self.connection, self.exchange, &self.way, prepared, permit, body).await;
        if matches!(asked, Err(Trouble::Upstream(Fault::Body(BodyFault::Connect)))) {
            self.connection.core.sockets.polls.end(sid); // it was cut off in the middle of what it said
        }
        Ok(self.answered(sid, asked?))
    }

    /// The Document Server's own answer. What it does not know any more is over here as well.
    fn answered(&self, sid: &str, mut response: Response<crate::upstream::AnswerBody>) -> Response<Reply> {
        if response.status().is_client_error() {
            self.connection.core.sockets.polls.end(sid);
        }
        headers::to_client(response.headers_mut(), Hop::Ordinary);
        response.map(|body| Reply::upstream(body, self.exchange))
    }

    fn find(&self, sid: &str) -> Result<Using, Refusal> {
        let found = self.connection.core.sockets.polls.find(sid, self.knock.key());
        found.ok_or(Refusal::Socket(SocketFault::Unknown))
    }

    /// Reading, waiting for a save, and dialling, each with its own limit.
    fn judging_time(&self) -> std::time::Duration {
        let deadlines = &self.connection.core.deadlines;
        deadlines.packet.saturating_add(deadlines.hold).saturating_add(self.way.running.servers.wait)
    }

    fn over(&self, sid: &str) -> Trouble {
        self.connection.core.sockets.polls.end(sid);
        Refusal::Socket(SocketFault::Unknown).into()
    }

    /// As the Document Server words it (captures/ws/polling-only.txt).
    fn text(&self, kind: &'static str, body: impl Into<Bytes>) -> Response<Reply> {
        let mut response = respond::own(StatusCode::OK, kind, body, self.exchange);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

fn with_query(target: &Uri, change: impl FnOnce(&str) -> String) -> Result<Uri, Refusal> {
    let query = change(target.query().unwrap_or_default());
    format!("{}?{query}", target.path()).parse().map_err(|_| Refusal::WrongDoor)
}
