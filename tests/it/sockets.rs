//! Editors through the gateway: two of them write one document over WebSockets or polling, and what ends on one side ends on the other.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::{Integrator, integrator};
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::rig::{Got, Rig, SECRET, Setup};
use crate::wire::{self, soon};

async fn pair(server: Options) -> (Rig, Integrator) {
    let rig = Rig::with(Setup { server, ..Setup::default() }).await;
    let options =
        integrator::Options { gateway: rig.server.url(), secret: SECRET.into(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    (rig, integrator)
}

async fn open_sockets(rig: &Rig, number: u64) {
    let wait = async {
        while rig.server.sockets() != number {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of a socket at the server", wait).await;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    wire::metric_becomes(rig.admin, "gateway_sockets", number as f64).await;
}

#[tokio::test]
async fn two_editors_write_one_document() {
    let (rig, integrator) = pair(Options::default()).await;
    let mut ann = Editor::join(rig.https, &integrator, "ann").await;
    let mut bob = Editor::join(rig.https, &integrator, "bob").await;
    open_sockets(&rig, 2).await;
    ann.write("Ann: ").await;
    let seen = bob.expect("saveChanges").await;
    assert_eq!(seen["changes"][0]["useridoriginal"], "ann");
    // A paste that is larger than every buffer on the way.
    let large = "ä€x".repeat(1_700_000 / 6);
    bob.write(&large).await;
    let seen = ann.expect("saveChanges").await;
    let change: Value =
        serde_json::from_str(seen["changes"][0]["change"].as_str().unwrap().trim_matches('"'))
            .or_else(|_| serde_json::from_str(seen["changes"][0]["change"].as_str().unwrap()))
            .unwrap();
    let change = match change {
        Value::String(text) => serde_json::from_str(&text).unwrap(),
        other => other,
    };
    assert_eq!(change["i"].as_str().unwrap(), large);
    assert_eq!(rig.server.text("demo").unwrap(), format!("{large}Ann: Hello"));
}

#[tokio::test]
async fn pings_of_both_kinds_go_both_ways() {
    let (rig, integrator) =
        pair(Options { ping_interval: Duration::from_millis(50), ..Options::default() }).await;
    let mut editor = Editor::join(rig.https, &integrator, "ann").await;
    editor.0.send(Message::Ping(Bytes::from_static(b"how are you"))).await.unwrap();
    let (mut pong, mut pings) = (false, 0);
    while !pong || pings < 3 {
        match soon("a ping or a pong", editor.0.next()).await.unwrap().unwrap() {
            Message::Pong(said) => pong = said == "how are you",
            Message::Text(text) if text.as_str() == "2" => {
                pings += 1;
                editor.say("3").await;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_ends_on_one_side_ends_on_the_other() {
    let (rig, integrator) = pair(Options::default()).await;
    for how in ["close frame", "gone", "server closes", "server dies"] {
        let mut editor = Editor::join(rig.https, &integrator, "ann").await;
        open_sockets(&rig, 1).await;
        match how {
            "close frame" => editor.0.close(None).await.unwrap(),
            "server closes" => assert_eq!(rig.server.drop_sockets("demo"), 1),
            "server dies" => rig.server.stop().await,
            _ => {}
        }
        while how != "gone" && editor.next().await.is_some() {}
        drop(editor);
        open_sockets(&rig, 0).await;
    }
    let sockets = || rig.log.all().into_iter().filter(|line| line["status"] == 101).collect::<Vec<_>>();
    soon("a line for each socket", async {
        while sockets().len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for line in sockets() {
        assert!(line["bytes_in"].as_u64() > Some(100) && line["bytes_out"].as_u64() > Some(100), "{line}");
        assert_eq!(line["route"], "socket");
    }
}

/// A socket lives for hours: it counts as the connection that it is, for the caps and for the choice of a core.
#[tokio::test]
async fn a_socket_is_still_a_connection() {
    let limits = vec![("limits", "connections = 2".into())];
    let rig = Rig::with(Setup { lines: limits, ..Setup::default() }).await;
    let one = Editor::connect(rig.https).await;
    let _two = Editor::connect(rig.https).await;
    wire::metric_becomes(rig.admin, "gateway_sockets", 2.0).await;
    wire::metric_becomes(rig.admin, "gateway_connections", 2.0).await;
    assert!(rig.tls(Some("localhost"), &["http/1.1"]).await.is_err(), "a third is over the cap");
    drop(one);
    wire::metric_becomes(rig.admin, "gateway_connections", 1.0).await;
    Editor::connect(rig.https).await;
}

#[tokio::test]
async fn other_routes_are_not_upgraded() {
    let rig = Rig::start().await;
    for target in ["/web-apps/size-7", "/plugins.json", "/healthcheck"] {
        let request = Request::get(target)
            .header("host", "localhost")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(Full::default())
            .unwrap();
        assert_eq!(rig.send(request).await.status, 200, "{target}");
    }
    let asked = rig.server.requests();
    assert!(asked.iter().any(|seen| seen.path() == "/web-apps/size-7"));
    assert!(asked.iter().all(|seen| seen.header("upgrade").is_none()));
    assert_eq!(rig.server.upgrades(), 0);
}

#[tokio::test]
async fn an_editor_that_polls_joins_as_well() {
    let (rig, integrator) = pair(Options::default()).await;
    let token = integrator.open_token("demo", ("ann", "Ann"), "edit");
    for protocol in wire::PROTOCOLS {
        let ask = async |method: &str, sid: &str, body: String| {
            let target = format!("/doc/demo/c/?EIO=4&transport=polling{sid}");
            let builder = wire::request(protocol, method, &target);
            let request = builder.body(Full::new(Bytes::from(body))).unwrap();
            let response = match protocol {
                "h2" => rig.h2().await.send_request(request).await,
                _ => rig.h1().await.send_request(request).await,
            };
            let got = Got::from(response.unwrap()).await;
            assert_eq!(got.status, 200, "{method} {}", got.text());
            got.text().to_owned()
        };
        let open = ask("GET", "", String::new()).await;
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let sid = format!("&sid={}", open["sid"].as_str().unwrap());
        assert_eq!(ask("POST", &sid, format!("40{}", json!({"token": token}))).await, "ok");
        assert!(soon("a poll", ask("GET", &sid, String::new())).await.starts_with("40{"));
        let auth = json!(["message", {"type": "auth", "jwtOpen": token}]);
        assert_eq!(ask("POST", &sid, format!("42{auth}")).await, "ok");
        let mut seen = String::new();
        while !seen.contains("\"type\":\"auth\"") {
            seen.push_str(&soon("a poll", ask("GET", &sid, String::new())).await);
        }
        assert_eq!(ask("POST", &sid, "1".into()).await, "ok");
    }
}
