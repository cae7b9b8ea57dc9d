//! A request that becomes an editor socket: is it asked for, was it granted, and the two ends made one.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Parts as Upgraded};
use hyper::{Method, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Reply;
use super::conn::Connection;
use super::core::Core;
use super::exchange::Exchange;
use super::respond::Trouble;
use super::socket;
use super::stream::ClientStream;
use crate::live::Running;
use crate::ops::sockets::Close;
use crate::rules::follower::Follower;
use crate::rules::headers::{self, Hop};
use crate::rules::policy::{Knock, Refusal};
use crate::rules::socket::SocketFault;
use crate::sockets::{self, Call, Carried, End, Start, Through, Turned, Until, Visitor};
use crate::upstream::{AnswerBody, UpgradedStream};

/// Whether the client asks for a WebSocket (RFC 6455 4.1).
pub fn is_asked(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && names(&parts.headers, &UPGRADE, "websocket")
        && names(&parts.headers, &CONNECTION, "upgrade")
}

fn names(headers: &HeaderMap, field: &HeaderName, option: &str) -> bool {
    headers.get_all(field).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    })
}

/// Who asked for the upgrade.
pub struct Knocked {
    pub knock: Knock,
    pub shardkey: Option<String>,
    pub address: IpAddr,
}

/// Makes an upgraded connection an editor socket: first the gate, then the wire.
pub fn gate(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    on_client: OnUpgrade,
    (knocked, call): (Knocked, Call),
    running: Arc<Running>,
) {
    let (core, exchange) = (connection.core.clone(), exchange.clone());
    let deadlines = core.deadlines;
    tokio::task::spawn_local(async move {
        let open = core.departures.open();
        // In a box of its own, which is gone once the socket only has to be carried: its memory is what lasts.
        let opened =
            Box::pin(at_the_gate(core.clone(), exchange.clone(), on_client, (knocked, call), running)).await;
        let Some((client, Through { server, start, session, .. })) = opened else { return };
        let until = Until { idle: deadlines.socket, leave: core.closing() };
        let scratch = core.scratch.clone();
        drop(core);
        let (carried, end) = sockets::splice(client, server, start, scratch, until).await;
        exchange.is_of(session.user());
        drop(session);
        tell(&exchange, carried, &end);
        drop(open);
    });
}

/// The socket once its token holds and the Document Server has taken it.
async fn at_the_gate(
    core: Rc<Core>,
    exchange: Rc<Exchange>,
    on_client: OnUpgrade,
    (knocked, call): (Knocked, Call),
    running: Arc<Running>,
) -> Option<(ClientStream, Through)> {
    let Upgraded { io, read_buf, .. } = on_client.await.ok()?.downcast::<TokioIo<ClientStream>>().ok()?;
    exchange.is_socket();
    let mut client = io.into_inner();
    client.is_socket();
    let server = call.server.clone();
    let Knocked { knock, shardkey, address } = knocked;
    let key = knock.key().to_owned();
    let visitor = Visitor { knock: &knock, shardkey, address, id: exchange.id() };
    let locks = |key: &str| socket::lock(&core, key);
    let law = socket::law(&core, &running, &locks);
    let passed = tokio::select! {
        passed = sockets::pass(&mut client, read_buf, (visitor, call), law, (&core.sockets, &core.ops)) => passed,
        () = core.closing() => Err(Turned::Leaving),
    };
    match passed {
        Ok(through) => {
            exchange.asked(&server, through.tries);
            exchange.note(
                "sockets",
                "an editor's socket is open",
                &[("key", &key), ("server", &server.name())],
            );
            return Some((client, through));
        }
        Err(Turned::Refused(refusal)) => {
            exchange.closed(Close::Refused);
            exchange.refused(refusal, refusal.words(&running.fields));
        }
        Err(Turned::Unreachable(why)) => {
            exchange.closed(Close::Unreachable);
            exchange.asked(&server, 1);
            exchange.because(why);
        }
        Err(Turned::Gone) => {
            exchange.closed(Close::Gone);
            exchange.because("the client left before its first packet was judged".into());
        }
        Err(Turned::Leaving) => {
            exchange.closed(Close::Left);
            sockets::leave(&mut client).await;
        }
    }
    None
}

fn tell(exchange: &Exchange, carried: Carried, end: &End) {
    exchange.carried(carried.up, carried.down);
    let close = match end {
        End::Closed => Close::Closed,
        End::Failed(error) => {
            exchange.because(format!("the connection failed: {error}"));
            Close::Failed
        }
        End::Idle => {
            exchange.because("nothing moved for too long".into());
            Close::Idle
        }
        End::Left => {
            exchange.because("the gateway left".into());
            Close::Left
        }
        End::Again => {
            let again = Refusal::Socket(SocketFault::Again);
            exchange.refused(again, again.to_string());
            Close::Refused
        }
    };
    exchange.note(
        "sockets",
        "an editor's socket is closed",
        &[("close", &close.name()), ("up", &carried.up), ("down", &carried.down)],
    );
    exchange.closed(close);
}

/// Answers a session's change from polling with the Document Server's own answer, and carries bytes both ways from then on.
///
/// # Errors
/// When the Document Server switched to something else.
pub fn splice(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    on_client: OnUpgrade,
    mut response: Response<AnswerBody>,
    over: impl FnOnce() + 'static,
) -> Result<Response<Reply>, Trouble> {
    if !names(response.headers(), &UPGRADE, "websocket") {
        return Err(Trouble::Unfit("it switched to another protocol than WebSocket"));
    }
    let on_server = hyper::upgrade::on(&mut response);
    let (core, exchange) = (connection.core.clone(), exchange.clone());
    tokio::task::spawn_local(async move {
        let open = core.departures.open();
        let Some((client, server, early)) = Box::pin(both(on_client, on_server)).await else { return over() };
        exchange.is_socket();
        let until = Until { idle: core.deadlines.socket, leave: core.closing() };
        let scratch = core.scratch.clone();
        drop(core);
        let start = Start { client: Follower::changed(), gone_up: 0, early };
        let (carried, end) = sockets::splice(client, server, start, scratch, until).await;
        over();
        tell(&exchange, carried, &end);
        drop(open);
    });
    headers::to_client(response.headers_mut(), Hop::Upgrade);
    Ok(response.map(|_| Reply::plain("")))
}

async fn both(on_client: OnUpgrade, on_server: OnUpgrade) -> Option<(ClientStream, TcpStream, [Vec<u8>; 2])> {
    let (client, server) = tokio::join!(on_client, on_server);
    let Upgraded { io: client, read_buf: up, .. } = client.ok()?.downcast::<TokioIo<ClientStream>>().ok()?;
    let Upgraded { io: server, read_buf: down, .. } = server.ok()?.downcast::<UpgradedStream>().ok()?;
    let mut client = client.into_inner();
    client.is_socket();
    Some((client, server.into_inner().0, [up.to_vec(), down.to_vec()]))
}
