//! Whether an editor socket opens: the upgrade, the greeting, and a token that is taken, at the Document Server and through
//! the running gateway. No document is opened in it; the metrics count a reader who came and left at once.

use hyper::Method;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::ask::{Missed, PATIENCE, Peer, Stage, connect, send};
use super::house::House;
use super::question::{Finding, Question, Verdict};
use crate::rules::frame::{self, Head, Kind};
use crate::rules::host::PublicUrl;
use crate::upstream::Address;

/// The longest packet that is read; a greeting has 109 bytes, a refusal 100.
const LONGEST: usize = 64 << 10;

/// How far a socket came.
#[derive(Debug)]
enum Came {
    /// `40{…}`: in.
    In,
    /// `44{…}` or another packet instead.
    Refused(String),
    /// The upgrade was answered with this status, and this `Gateway-Refusal`.
    NotUpgraded(u16, Option<String>),
    /// Broken off.
    Broken(Missed),
}

/// At the Document Server itself.
pub async fn direct(house: &House, server: &Address) -> Finding {
    let peer = Peer::plain(server.host.clone(), server.port);
    let came = open(house, &peer, house.public(), false).await;
    Question::Socket.is(server.to_string(), judge(&came, false))
}

/// Through the running gateway.
pub async fn through_gateway(house: &House, public: &PublicUrl) -> Finding {
    let of = House::address(public);
    let Some(peer) = house.listener(public) else {
        return Question::GatewaySocket.is(of, Verdict::skipped("server.https is empty"));
    };
    let came = open(house, &peer, Some(public), true).await;
    Question::GatewaySocket.is(of, judge(&came, true))
}

async fn open(house: &House, peer: &Peer, public: Option<&PublicUrl>, gateway: bool) -> Came {
    timeout(PATIENCE * 2, attempt(house, peer, public, gateway)).await.unwrap_or_else(|_| {
        Came::Broken(Missed {
            stage: Stage::Answer,
            why: format!("nothing within {} s", 2 * PATIENCE.as_secs()),
        })
    })
}

async fn attempt(house: &House, peer: &Peer, public: Option<&PublicUrl>, gateway: bool) -> Came {
    let stream = match connect(peer).await {
        Ok((stream, _)) => stream,
        Err(missed) => return Came::Broken(missed),
    };
    let target = format!("/doc/{key}/c/?EIO=4&transport=websocket&shardkey={key}", key = house.key);
    let mut request = match public {
        Some(public) if gateway => House::to_public(public, Method::GET, &target),
        _ => house.to_server(Method::GET, &target, Vec::new()),
    };
    as_upgrade(request.headers_mut(), public);
    let (mut response, carried) = match send(stream, request, PATIENCE).await {
        Ok(sent) => sent,
        Err(missed) => return Came::Broken(missed),
    };
    if response.status() != 101 {
        let refusal = response.headers().get("gateway-refusal").and_then(|reason| reason.to_str().ok());
        return Came::NotUpgraded(response.status().as_u16(), refusal.map(str::to_owned));
    }
    let broken =
        |why: &dyn std::fmt::Display| Came::Broken(Missed { stage: Stage::Answer, why: why.to_string() });
    let mut socket = match hyper::upgrade::on(&mut response).await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return broken(&error),
    };
    match next(&mut socket).await {
        Ok(packet) if packet.starts_with('0') => {}
        Ok(packet) => return Came::Refused(packet),
        Err(why) => return broken(&why),
    }
    let hello = format!("40{}", json!({ "token": house.token(&house.open_claims()) }));
    if let Err(error) = socket.write_all(&frame::say_masked(Kind::Text, hello.as_bytes())).await {
        return broken(&error);
    }
    let came = match next(&mut socket).await {
        Ok(packet) if packet.starts_with("40") => Came::In,
        Ok(packet) => Came::Refused(packet),
        Err(why) => broken(&why),
    };
    // Politely, and without waiting for an answer.
    let goodbye =
        [frame::say_masked(Kind::Text, b"41"), frame::say_masked(Kind::Close, &frame::goodbye(1000, ""))];
    socket.write_all(&goodbye.concat()).await.ok();
    carried.abort();
    came
}

fn as_upgrade(headers: &mut HeaderMap, public: Option<&PublicUrl>) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    // The example of RFC 6455: the answer to it is not looked at, since frames follow or they do not.
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    let origin =
        public.and_then(|public| public.host_value().to_str().ok().map(|host| format!("https://{host}")));
    if let Some(origin) = origin.and_then(|origin| HeaderValue::try_from(origin).ok()) {
        headers.insert(ORIGIN, origin);
    }
}

/// The next text, of one frame.
async fn next(socket: &mut (impl AsyncRead + Unpin)) -> Result<String, String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = Head::parse(&bytes).map_err(|fault| fault.to_string())? {
            let length = usize::try_from(head.payload).unwrap_or(usize::MAX);
            if length > LONGEST {
                return Err("a packet that is too long".into());
            }
            if let Some(payload) = bytes.get(head.size..head.size + length) {
                match head.kind {
                    Kind::Text => return Ok(String::from_utf8_lossy(payload).into_owned()),
                    Kind::Close => return Err("it closed the socket".into()),
                    _ => drop(bytes.drain(..head.size + length)),
                }
                continue;
            }
        }
        // Byte by byte would do as well: two packets come, one after the other.
        let mut piece = [0; 4096];
        match socket.read(&mut piece).await.map_err(|error| error.to_string())? {
            0 => return Err("it ended the connection".into()),
            count => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
}

fn judge(came: &Came, gateway: bool) -> Verdict {
    let who = if gateway { "the gateway" } else { "the Document Server" };
    match came {
        Came::In => Verdict::ok("opens with a signed token"),
        Came::Refused(packet) => {
            let packet = crate::cli::token::shown(packet);
            Verdict::failed(
                format!("{who} refuses a signed token: {packet}"),
                "Code 4006 is a signature that does not count, 4005 a token whose time is over: see secret and clock.\n\
                 If this gateway was started with another configuration, reload it.",
            )
        }
        Came::NotUpgraded(status, Some(reason)) => Verdict::failed(
            format!("the gateway answers the upgrade with {status}, Gateway-Refusal: {reason}"),
            "The README's table of Gateway-Refusal says what each reason means.",
        ),
        Came::NotUpgraded(status, None) => Verdict::failed(
            format!("the upgrade to a WebSocket is answered with {status}"),
            "Something in between does not pass upgrades on (HTTP/1.1, `Upgrade`, `Connection`), or what answers is no Document Server;\n\
             document_server.servers must lead to the container's port 80, not to :8000 behind it.",
        ),
        Came::Broken(missed) if gateway && missed.stage == Stage::Connect => {
            Verdict::skipped("no gateway listens on this machine")
        }
        Came::Broken(missed) if missed.stage == Stage::Connect => {
            Verdict::skipped(format!("the Document Server does not answer: {missed}"))
        }
        Came::Broken(missed) => Verdict::failed(
            format!("no socket at {who}: {missed}"),
            "Verify network connectivity to the Document Server, and that nothing in between cuts WebSockets.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_socket_is_explained() {
        let broken = |stage| Came::Broken(Missed { stage, why: "x".into() });
        for (came, gateway, state, word) in [
            (Came::In, true, "ok", "opens"),
            (Came::Refused("44{}".into()), false, "failed", "4006"),
            (Came::NotUpgraded(403, Some("origin_not_allowed".into())), true, "failed", "origin_not_allowed"),
            (Came::NotUpgraded(400, None), false, "failed", "upgrade"),
            (broken(Stage::Connect), true, "skipped", "no gateway"),
            (broken(Stage::Connect), false, "skipped", "does not answer"),
            (broken(Stage::Answer), false, "failed", "network connectivity"),
        ] {
            let verdict = judge(&came, gateway);
            let text = format!("{} {}", verdict.seen(), verdict.cure().unwrap_or_default());
            assert!(verdict.state() == state && text.contains(word), "{verdict:?}");
        }
    }

    #[tokio::test]
    async fn packets_are_read_from_frames_in_pieces_and_behind_pings() {
        let bytes = [frame::say(Kind::Ping, b"x"), frame::say(Kind::Text, &[b'4'; 300])].concat();
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        tokio::spawn(async move { theirs.write_all(&bytes).await });
        assert_eq!(next(&mut ours).await, Ok("4".repeat(300)));
        assert!(next(&mut ours).await.unwrap_err().contains("ended"));
    }
}
