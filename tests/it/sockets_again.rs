//! A second CONNECT: nobody would judge its token, so the socket ends before the Document Server hears of it.

use std::time::Duration;

use futures_util::SinkExt;
use http_body_util::{Full, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use rapidpm_gateway::rules::frame::{Kind, say_masked};
use serde_json::{Value, json};
use standin::token;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::rig::{Got, Rig, SECRET};
use crate::wire::{self, soon};

/// A CONNECT with a token that holds, for another document.
fn connect(key: &str) -> String {
    let claims = token::open(key, "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit");
    format!("40{}", json!({"token": token::sign(SECRET, &claims)}))
}

async fn open(rig: &Rig) -> Editor {
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&connect("demo")).await;
    assert!(editor.next().await.unwrap().starts_with("40{\"sid\""));
    editor
}

fn part(kind: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = say_masked(Kind::Text, payload);
    frame[0] = kind | if last { 0x80 } else { 0 };
    frame
}

/// That the Document Server has heard nothing of the second token.
async fn unheard(rig: &Rig, before: f64) {
    let series = "gateway_refusals_total{reason=\"packet_connect_again\",carrier=\"none\"}";
    wire::metric_becomes(rig.admin, series, before + 1.0).await;
    rig.log.wait_for(|line| line["refusal"] == "packet_connect_again").await;
    let second = connect("other");
    assert!(
        rig.server.packets().iter().all(|heard| !second.contains(&heard.packet) || heard.packet.len() < 4)
    );
}

#[tokio::test]
async fn an_open_socket_says_connect_once() {
    let rig = Rig::start().await;
    let second = connect("other");
    let letters: Vec<u8> = std::iter::once(part(0x1, false, b""))
        .chain(second.bytes().map(|byte| part(0x0, false, &[byte])))
        .chain([part(0x0, true, b"")])
        .flatten()
        .collect();
    let event = part(0x1, true, b"42[\"message\",{\"type\":\"getMessages\"}]");
    let whole = part(0x1, true, second.as_bytes());
    let table = [
        ("at once", whole.clone()),
        ("behind an event", [&event[..], &whole].concat()),
        ("in another namespace", part(0x1, true, format!("40/x,{}", &second[2..]).as_bytes())),
        ("with a blank for the 0", part(0x1, true, format!("4 {}", &second[2..]).as_bytes())),
        ("letter by letter", letters),
        (
            "with a ping in between",
            [&part(0x1, false, b"4")[..], &part(0x9, true, b"40"), &part(0x0, true, &second.as_bytes()[1..])]
                .concat(),
        ),
    ];
    for (at, (how, bytes)) in table.into_iter().enumerate() {
        for pieces in [1, 7, usize::MAX] {
            let series = "gateway_refusals_total{reason=\"packet_connect_again\",carrier=\"none\"}";
            let before = wire::metric(rig.admin, series).await;
            let mut editor = open(&rig).await;
            for piece in bytes.chunks(pieces.min(bytes.len())) {
                // It may end before everything is sent.
                let sent = async {
                    editor.0.get_mut().write_all(piece).await?;
                    editor.0.get_mut().flush().await
                };
                if sent.await.is_err() {
                    break;
                }
            }
            let mut code = None;
            while code.is_none() {
                match soon("the goodbye", futures_util::StreamExt::next(&mut editor.0)).await {
                    Some(Ok(Message::Close(frame))) => code = frame.map(|frame| u16::from(frame.code)),
                    Some(Ok(_)) => {}
                    other => panic!("{at} {how}: {other:?}"),
                }
            }
            assert_eq!(code, Some(1008), "{how}");
            unheard(&rig, before).await;
        }
    }
    wire::metric_becomes(rig.admin, "gateway_sockets", 0.0).await;
}

/// What came with the first one: the socket is dialled, and the second is not among what goes up.
#[tokio::test]
async fn the_second_may_come_with_the_first() {
    let rig = Rig::start().await;
    let mut editor = Editor::connect(rig.https).await;
    let bytes =
        [part(0x1, true, connect("demo").as_bytes()), part(0x1, true, connect("other").as_bytes())].concat();
    editor.0.get_mut().write_all(&bytes).await.unwrap();
    editor.0.get_mut().flush().await.unwrap();
    assert_eq!(editor.closed().await, Some(1008));
    unheard(&rig, 0.0).await;
    assert!(rig.server.packets().is_empty());
}

struct Poller<'r>(&'r Rig, String);

impl<'r> Poller<'r> {
    async fn open(rig: &'r Rig) -> Self {
        let mut poller = Self(rig, String::new());
        let greeting = poller.ask("GET", "").await;
        let open: Value = serde_json::from_str(greeting.text().strip_prefix('0').unwrap()).unwrap();
        poller.1 = format!("&sid={}", open["sid"].as_str().unwrap());
        assert_eq!(poller.ask("POST", &connect("demo")).await.text(), "ok");
        poller
    }

    fn request(&self, method: &str) -> hyper::http::request::Builder {
        let target = format!("/doc/demo/c/?EIO=4&transport=polling{}", self.1);
        let request = Request::builder().method(method).uri(target).header("host", "localhost");
        request.header("origin", "https://localhost").header("content-type", "text/plain;charset=UTF-8")
    }

    async fn ask(&self, method: &str, body: &str) -> Got {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        soon("an answer", self.0.send(self.request(method).body(body).unwrap())).await
    }
}

#[tokio::test]
async fn a_session_that_polls_says_connect_once() {
    let rig = Rig::start().await;
    let second = connect("other");
    for body in [
        second.clone(),
        format!("41\u{1e}{second}"),
        format!("3\u{1e}42[\"message\",{{}}]\u{1e}{second}\u{1e}3"),
        format!("451-[\"x\"]\u{1e}bAAAA\u{1e}{second}"),
        format!("42[\"message\",\"{}\"]\u{1e}{second}", "x".repeat(300_000)),
    ] {
        let before = wire::metric(
            rig.admin,
            "gateway_refusals_total{reason=\"packet_connect_again\",carrier=\"none\"}",
        )
        .await;
        let poller = Poller::open(&rig).await;
        let got = poller.ask("POST", &body).await;
        assert_eq!(
            (got.status, got.header("gateway-refusal")),
            (400, Some("packet_connect_again")),
            "{body:.40}"
        );
        unheard(&rig, before).await;
        assert_eq!(poller.ask("POST", "3").await.text(), "{\"code\":1,\"message\":\"Session ID unknown\"}");
    }
    // With the first one, too.
    let poller = Poller::open(&rig).await;
    let first = Poller(&rig, String::new());
    let greeting = first.ask("GET", "").await;
    let open: Value = serde_json::from_str(greeting.text().strip_prefix('0').unwrap()).unwrap();
    let first = Poller(&rig, format!("&sid={}", open["sid"].as_str().unwrap()));
    assert_eq!(first.ask("POST", &format!("{}\u{1e}41\u{1e}{second}", connect("demo"))).await.text(), "ok");
    assert_eq!(first.ask("GET", "").await.text(), "1");
    // Attachments, and text that only speaks of it, pass.
    let fine = "42[\"message\",\"40{}\"]\u{1e}b40AA\u{1e}3";
    assert_eq!(poller.ask("POST", fine).await.text(), "ok");
}

/// A body whose 4 and 0 come apart.
#[tokio::test]
async fn a_body_in_pieces_is_followed_as_well() {
    let rig = Rig::start().await;
    let poller = Poller::open(&rig).await;
    let second = connect("other");
    let pieces: Vec<Bytes> =
        ["3\u{1e}", "4", "0", &second[2..]].map(|p| Bytes::copy_from_slice(p.as_bytes())).into();
    let stream = futures_util::StreamExt::then(futures_util::stream::iter(pieces), |piece| async {
        tokio::time::sleep(Duration::from_millis(30)).await; // so that each is a piece of its own
        Ok::<_, std::io::Error>(Frame::data(piece))
    });
    let stream_body = StreamBody::new(Box::pin(stream));
    let tls = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(poller.request("POST").body(stream_body).unwrap()).await.unwrap();
    assert_eq!(Got::from(answer).await.header("gateway-refusal"), Some("packet_connect_again"));
    unheard(&rig, 0.0).await;
}

/// The socket of a session that polled first has no CONNECT of its own to say.
#[tokio::test]
async fn a_socket_that_polled_first_says_none() {
    let rig = Rig::start().await;
    let poller = Poller::open(&rig).await;
    let path = format!("/doc/demo/c/?EIO=4&transport=websocket{}", poller.1);
    let (socket, status) = Editor::upgrade(rig.https, &path, &[("origin", "https://localhost")]).await;
    assert_eq!(status, 101);
    let mut socket = socket.unwrap();
    socket.say("2probe").await;
    assert_eq!(socket.next().await.as_deref(), Some("3probe"));
    let mut seen = String::new();
    while !seen.split('\u{1e}').any(|packet| packet == "6") {
        seen = poller.ask("GET", "").await.text().to_owned();
    }
    socket.say("5").await;
    socket.0.send(Message::text(connect("other"))).await.unwrap();
    assert_eq!(socket.closed().await, Some(1008));
    unheard(&rig, 0.0).await;
    assert_eq!(poller.ask("GET", "").await.status, 400);
}

#[tokio::test]
async fn later_requests_speak_the_same_revision_and_no_jsonp() {
    let rig = Rig::start().await;
    let poller = Poller::open(&rig).await;
    for (query, reason) in [
        ("transport=polling", "socket_version"),
        ("EIO=3&transport=polling", "socket_version"),
        ("EIO=4&transport=polling&j=0", "socket_transport"),
        ("EIO=4&transport=polling&j=", "socket_transport"),
    ] {
        let target = format!("/doc/demo/c/?{query}{}", poller.1);
        let got = rig.get(&target).await;
        assert_eq!((got.status, got.header("gateway-refusal")), (400, Some(reason)), "{query}");
    }
    assert_eq!(poller.ask("POST", "3").await.text(), "ok");
}
