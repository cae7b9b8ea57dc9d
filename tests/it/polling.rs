//! Editors without WebSocket: the same gate, over requests.

use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::{clock, token};

use crate::editor::Editor;
use crate::rig::{Got, Rig, SECRET, Setup};
use crate::wire::{self, soon};

const KEY: &str = "demo";

fn good() -> String {
    let claims = token::open(KEY, "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit");
    token::sign(SECRET, &claims)
}

fn connect(token: &str) -> String {
    format!("40{}", json!({"token": token}))
}

/// A client that polls.
pub struct Poller<'r> {
    rig: &'r Rig,
    sid: String,
}

impl<'r> Poller<'r> {
    pub async fn greeted(rig: &'r Rig) -> Self {
        let mut poller = Self { rig, sid: String::new() };
        let got = poller.ask("GET", String::new()).await;
        assert_eq!((got.status, got.header("content-type")), (200, Some("text/plain; charset=UTF-8")));
        let open: Value = serde_json::from_str(got.text().strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!(["websocket"]));
        poller.sid = format!("&sid={}", open["sid"].as_str().unwrap());
        poller
    }

    pub async fn ask(&self, method: &str, body: String) -> Got {
        self.ask_for(KEY, method, body).await
    }

    async fn ask_for(&self, key: &str, method: &str, body: String) -> Got {
        let target = format!("/9.0.4-a/doc/{key}/c/?shardkey={key}&EIO=4&transport=polling&t=x{}", self.sid);
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        if method == "POST" {
            request = request.header("origin", "https://localhost").header("content-type", "text/plain");
        }
        soon("an answer", self.rig.send(request.body(Full::new(Bytes::from(body))).unwrap())).await
    }

    fn theirs(&self) -> Vec<String> {
        let seen = self.rig.server.requests().into_iter().filter(|seen| seen.path().contains("/doc/"));
        seen.map(|seen| seen.target).collect()
    }
}

#[tokio::test]
async fn what_does_not_hold_is_refused_and_costs_nothing() {
    let rig = Rig::start().await;
    let mut old = token::open(KEY, "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit");
    old["exp"] = json!(1_600_000_000);
    let table = [
        (connect("x"), Some((4006, "jwt malformed")), "token_malformed"),
        ("40{}".to_owned(), Some((4006, "jwt must be provided")), "token_missing"),
        (connect(&token::sign(SECRET, &old)), Some((4005, "jwt expired")), "token_expired"),
        (
            connect(&token::sign(SECRET, &token::print(KEY))),
            Some((4006, "class_not_allowed")),
            "class_not_allowed",
        ),
        ("42[\"message\",{}]".to_owned(), None, "packet_not_connect"),
        ("3\u{1e}".to_owned() + &connect(&good()), None, "packet_not_connect"),
        ("40[]".to_owned(), None, "packet_malformed"),
    ];
    for (body, told, reason) in table {
        let poller = Poller::greeted(&rig).await;
        // The editor's client asks for the answer while it still says who it is (captures/browser/resil-nows.txt).
        let (posted, polled) =
            tokio::join!(poller.ask("POST", body.clone()), poller.ask("GET", String::new()));
        assert_eq!((posted.status, posted.text()), (200, "ok"), "{body}");
        let mut packets = polled.text().split('\u{1e}');
        if let Some((code, words)) = told {
            let packet = packets.next().unwrap().strip_prefix("44").unwrap();
            let data = json!({"code": code, "description": format!("token:{words}")});
            assert_eq!(serde_json::from_str::<Value>(packet).unwrap()["data"], data, "{body}");
        }
        assert_eq!((packets.next(), packets.next()), (Some("1"), None));
        rig.log.wait_for(move |line| line["refusal"] == reason).await;
        assert_eq!(
            poller.ask("GET", String::new()).await.text(),
            "{\"code\":1,\"message\":\"Session ID unknown\"}"
        );
        assert_eq!(poller.theirs(), [""; 0]);
    }
}

#[tokio::test]
async fn only_the_value_of_sid_is_exchanged() {
    let rig = Rig::start().await;
    let poller = Poller::greeted(&rig).await;
    let body = format!("{}\u{1e}42[\"message\",{{\"type\":\"getMessages\"}}]", connect(&good()));
    assert_eq!(poller.ask("POST", body.clone()).await.text(), "ok");
    assert!(poller.ask("GET", String::new()).await.text().starts_with("40{\"sid\""));
    let targets = poller.theirs();
    let start = "/9.0.4-a/doc/demo/c/?shardkey=demo&EIO=4&transport=polling&t=x";
    assert_eq!(targets[0], start);
    assert_eq!(targets[1], targets[2]);
    let theirs = targets[1].strip_prefix(&format!("{start}&sid=")).unwrap();
    assert!(theirs.len() == 20 && !poller.sid.ends_with(theirs));
    rig.server.wait_for_packet(|heard| heard.packet == connect(&good())).await;
    rig.server.wait_for_packet(|heard| heard.packet.contains("getMessages")).await;
    wire::metric_becomes(rig.admin, "onlyoffice_active_sessions", 1.0).await;
    // Its own goodbye: the Document Server forgets it, and so does the gateway.
    assert_eq!(poller.ask("POST", "1".into()).await.text(), "ok");
    let gone = async { while poller.ask("GET", String::new()).await.status == 200 {} };
    soon("the end of the session", gone).await;
    wire::metric_becomes(rig.admin, "onlyoffice_active_sessions", 0.0).await;
}

#[tokio::test]
async fn ids_are_good_for_one_document_and_nobody_elses() {
    let rig = Rig::start().await;
    let unknown = "{\"code\":1,\"message\":\"Session ID unknown\"}";
    for sid in ["AAAAAAAAAAAAAAAAAAAA", "x", "a.b"] {
        let poller = Poller { rig: &rig, sid: format!("&sid={sid}") };
        let got = poller.ask("POST", connect(&good())).await;
        assert_eq!((got.status, got.text()), (400, unknown));
    }
    let poller = Poller::greeted(&rig).await;
    assert_eq!(poller.ask_for("other", "POST", connect(&good())).await.text(), unknown);
    assert_eq!(poller.theirs(), [""; 0]);
    assert_eq!(poller.ask("POST", connect(&good())).await.text(), "ok");
    assert_eq!(poller.ask_for("other", "GET", String::new()).await.text(), unknown);
    // The Document Server's own id opens nothing here.
    let theirs =
        poller.theirs().into_iter().find_map(|target| Some(target.split_once("&sid=")?.1.to_owned()));
    let thief = Poller { rig: &rig, sid: format!("&sid={}", theirs.unwrap()) };
    assert_eq!(thief.ask("GET", String::new()).await.text(), unknown);
}

#[tokio::test]
async fn a_session_changes_to_websocket_and_ends_with_it() {
    let rig = Rig::start().await;
    let poller = Poller::greeted(&rig).await;
    let path = format!("/doc/{KEY}/c/?shardkey={KEY}&EIO=4&transport=websocket{}", poller.sid);
    // The upgrade is asked for before anything has been verified, and waits.
    let change = Editor::upgrade(rig.https, &path, &[("origin", "https://localhost")]);
    let ((socket, status), posted) = tokio::join!(change, poller.ask("POST", connect(&good())));
    assert_eq!((status, posted.text()), (101, "ok"));
    let mut socket = socket.unwrap();
    socket.say("2probe").await;
    assert_eq!(socket.next().await.as_deref(), Some("3probe"));
    let mut seen = String::new();
    while !seen.split('\u{1e}').any(|packet| packet == "6") {
        seen = poller.ask("GET", String::new()).await.text().to_owned();
    }
    socket.say("5").await;
    socket
        .say(&format!(
            "42{}",
            json!(["message", {"type": "auth", "jwtOpen": good(), "openCmd": {"c": "open"}}])
        ))
        .await;
    assert_eq!(socket.expect("auth").await["result"], 1);
    wire::metric_becomes(rig.admin, "onlyoffice_active_sessions", 1.0).await;
    socket.0.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.0.next().await {}
    wire::metric_becomes(rig.admin, "onlyoffice_active_sessions", 0.0).await;
    assert_eq!(poller.ask("GET", String::new()).await.status, 400);
}

#[tokio::test]
async fn a_change_without_a_verified_packet_reaches_nobody() {
    let rig = Rig::start().await;
    let poller = Poller::greeted(&rig).await;
    let path = format!("/doc/{KEY}/c/?shardkey={KEY}&EIO=4&transport=websocket{}", poller.sid);
    let change = Editor::upgrade(rig.https, &path, &[("origin", "https://localhost")]);
    let ((socket, status), _) = tokio::join!(change, poller.ask("POST", connect("x")));
    assert_eq!((socket.is_some(), status), (false, 400));
    assert_eq!(rig.server.upgrades(), 0);
}

#[tokio::test]
async fn what_begins_and_never_goes_on_is_forgotten() {
    let mut setup =
        Setup { lines: vec![("document_server", "wait = \"100ms\"".to_owned())], ..Setup::default() };
    setup.deadlines.packet = Duration::from_millis(200);
    let rig = Rig::with(setup).await;
    let poller = Poller::greeted(&rig).await;
    assert_eq!(poller.ask("GET", String::new()).await.status, 400);
    assert_eq!(poller.ask("POST", connect(&good())).await.status, 400);
    let poller = Poller::greeted(&rig).await;
    rig.server.stop().await;
    assert_eq!(poller.ask("POST", connect(&good())).await.status, 503);
    rig.server.start_again().await.unwrap();
    assert_eq!(poller.ask("POST", connect(&good())).await.status, 400, "the client begins anew");
}

#[tokio::test]
async fn polling_can_be_switched_off() {
    let rig =
        Rig::with(Setup { lines: vec![("sockets", "polling = false".into())], ..Setup::default() }).await;
    let poller = Poller { rig: &rig, sid: String::new() };
    let got = poller.ask("GET", String::new()).await;
    assert_eq!((got.status, got.header("gateway-refusal")), (400, Some("polling_off")));
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&connect(&good())).await;
    assert!(editor.next().await.unwrap().starts_with("40{"));
}

/// Whoever polls already goes on: a reload never touches an open socket.
#[tokio::test]
async fn switching_polling_off_ends_no_session() {
    let rig = Rig::start().await;
    let (open, knocking) = (Poller::greeted(&rig).await, Poller::greeted(&rig).await);
    assert_eq!(open.ask("POST", connect(&good())).await.text(), "ok");
    rig.edit("[sockets]\n", "[sockets]\npolling = false\n");
    rig.reload().await;
    assert!(open.ask("GET", String::new()).await.text().starts_with("40{\"sid\""));
    assert_eq!(open.ask("POST", "42[\"message\",{}]".into()).await.text(), "ok");
    assert_eq!(knocking.ask("POST", connect(&good())).await.text(), "ok");
    let new = Poller { rig: &rig, sid: String::new() }.ask("GET", String::new()).await;
    assert_eq!((new.status, new.header("gateway-refusal")), (400, Some("polling_off")));
}

#[tokio::test]
async fn large_bodies_stream_and_sessions_reconnect() {
    let rig = Rig::start().await;
    let poller = Poller::greeted(&rig).await;
    let claims = token::session(KEY, ("ann", "Ann"), 1, &clock::system());
    let again = json!({"session": token::sign(SECRET, &claims), "data": {"jwtOpen": "long expired"}});
    assert_eq!(poller.ask("POST", format!("40{again}")).await.text(), "ok");
    assert!(poller.ask("GET", String::new()).await.text().starts_with("40{"));
    let large = format!("42[\"message\",{{\"type\":\"clientLog\",\"msg\":\"{}\"}}]", "x".repeat(1_700_000));
    let length = large.len();
    assert_eq!(poller.ask("POST", large).await.text(), "ok");
    rig.server.wait_for_packet(|heard| heard.length == length).await;
}
