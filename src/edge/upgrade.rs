//! A request that becomes an editor socket: is it asked for, was it granted, and the two ends made one.

use std::rc::Rc;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Parts as Upgraded};
use hyper::{Method, Response, Version};
use hyper_util::rt::TokioIo;

use super::body::Reply;
use super::conn::Connection;
use super::exchange::Exchange;
use super::respond::Trouble;
use super::stream::ClientStream;
use crate::rules::headers::{self, Hop};
use crate::sockets;
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

/// Answers the client's upgrade with the Document Server's, and carries bytes both ways from then on.
///
/// # Errors
/// When the Document Server switched to something else.
pub fn splice(
    connection: &Connection,
    exchange: &Rc<Exchange>,
    on_client: OnUpgrade,
    mut response: Response<AnswerBody>,
) -> Result<Response<Reply>, Trouble> {
    if !names(response.headers(), &UPGRADE, "websocket") {
        return Err(Trouble::Unfit("it switched to another protocol than WebSocket"));
    }
    let on_server = hyper::upgrade::on(&mut response);
    let (core, exchange_of_socket) = (connection.core.clone(), exchange.clone());
    tokio::task::spawn_local(async move {
        let (Ok(client), Ok(server)) = tokio::join!(on_client, on_server) else { return };
        let (Ok(client), Ok(server)) =
            (client.downcast::<TokioIo<ClientStream>>(), server.downcast::<UpgradedStream>())
        else {
            return;
        };
        let (Upgraded { io: client, read_buf: up, .. }, Upgraded { io: server, read_buf: down, .. }) =
            (client, server);
        exchange_of_socket.is_socket();
        let early = [up.to_vec(), down.to_vec()];
        let (carried, _) =
            sockets::splice(client.into_inner(), server.into_inner(), early, core.scratch.clone()).await;
        exchange_of_socket.carried(carried.up, carried.down);
    });
    headers::to_client(response.headers_mut(), Hop::Upgrade);
    Ok(response.map(|_| Reply::plain("")))
}
