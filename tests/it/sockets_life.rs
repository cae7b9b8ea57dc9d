//! Editor sockets while they live: how many there may be, who is in which document, and how they end when the gateway does.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use standin::{Integrator, integrator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::editor::{Editor, PATH};
use crate::rig::{Rig, SECRET, Setup};
use crate::wire::{self, soon};

async fn with(setup: Setup) -> (Rig, Integrator) {
    let rig = Rig::with(setup).await;
    let options =
        integrator::Options { gateway: rig.server.url(), secret: SECRET.into(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    (rig, integrator)
}

async fn sessions(rig: &Rig, join: u32, leave: u32, active: u32) {
    for (series, value) in [
        ("onlyoffice_session_events_total{event=\"join\"}", join),
        ("onlyoffice_session_events_total{event=\"leave\"}", leave),
        ("onlyoffice_active_sessions", active),
    ] {
        wire::metric_becomes(rig.admin, series, value.into()).await;
    }
}

#[tokio::test]
async fn who_is_in_a_document_is_counted() {
    let mut setup = Setup::default();
    setup.deadlines.grace = Duration::from_secs(2);
    let (rig, integrator) = with(setup).await;
    sessions(&rig, 0, 0, 0).await;
    let ann = Editor::join(rig.https, &integrator, "ann").await;
    let bob = Editor::join(rig.https, &integrator, "bob").await;
    sessions(&rig, 2, 0, 2).await;
    let mut refused = Editor::connect(rig.https).await;
    refused.say("40{}").await;
    while refused.next().await.is_some() {}
    drop(ann);
    sessions(&rig, 2, 0, 1).await;
    let again = Editor::join(rig.https, &integrator, "ann").await;
    sessions(&rig, 2, 0, 2).await;
    drop((again, bob));
    sessions(&rig, 2, 0, 0).await;
    // The grace without them, and the next look of the upkeep.
    sessions(&rig, 2, 2, 0).await;
}

#[tokio::test]
async fn a_document_has_so_many_sockets_and_no_more() {
    let lines = vec![("limits", "sockets_per_document = 2".to_owned())];
    let (rig, integrator) = with(Setup { lines, ..Setup::default() }).await;
    let _ann = Editor::join(rig.https, &integrator, "ann").await;
    let bob = Editor::join(rig.https, &integrator, "bob").await;
    // Those who only knock take nobody's place.
    let _idle = Editor::connect(rig.https).await;
    let token = integrator.open_token("demo", ("eve", "Eve"), "edit");
    let mut eve = Editor::connect(rig.https).await;
    eve.say(&format!("40{}", json!({"token": token}))).await;
    let packet = eve.next().await.unwrap();
    assert!(packet.starts_with("44{") && packet.contains("\"code\":4001"), "{packet}");
    rig.log.wait_for(|line| line["refusal"] == "socket_limit").await;
    assert_eq!(rig.server.upgrades(), 2);
    drop(bob);
    wire::metric_becomes(rig.admin, "onlyoffice_active_sessions", 1.0).await;
    Editor::join(rig.https, &integrator, "eve").await;
}

/// Every kind of socket hears 1001 as the last frame, whole, while a large message may be half-way through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopping_says_goodbye_on_the_boundary_of_a_frame() {
    let (mut rig, integrator) = with(Setup::default()).await;
    let mut editors = vec![Editor::connect(rig.https).await];
    for user in ["ann", "bob", "eve"] {
        editors.push(Editor::join(rig.https, &integrator, user).await);
    }
    let watched: Vec<_> = editors
        .into_iter()
        .map(|mut editor| {
            tokio::spawn(async move {
                let mut messages = 0;
                loop {
                    match soon("a frame", editor.0.next()).await {
                        Some(Ok(Message::Close(frame))) => {
                            return (messages, frame.map(|f| u16::from(f.code)));
                        }
                        Some(Ok(Message::Text(_))) => messages += 1,
                        Some(Ok(_)) => {}
                        other => panic!("after {messages} messages: {other:?}"),
                    }
                }
            })
        })
        .collect();
    let message = format!("42[\"message\",{{\"type\":\"x\",\"x\":\"{}\"}}]", "x".repeat(300_000));
    for _ in 0..20 {
        assert_eq!(rig.server.push("demo", &message), 3);
    }
    let begun = Instant::now();
    rig.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    for editor in watched {
        let (_, code) = editor.await.unwrap();
        assert_eq!(code, Some(1001));
    }
}

#[tokio::test]
async fn a_reload_touches_no_socket() {
    let (rig, integrator) = with(Setup::default()).await;
    let mut ann = Editor::join(rig.https, &integrator, "ann").await;
    rig.edit("[sockets]\n", "[sockets]\npolling = false\n");
    let outcome = rig.reload().await;
    assert_eq!(outcome["changes"], serde_json::json!(["`sockets.polling` was true, is false"]));
    ann.write("still here: ").await;
    assert_eq!(rig.server.text("demo").unwrap(), "still here: Hello");
    sessions(&rig, 1, 0, 1).await;
}

/// A Document Server that greets and then is silent for ever: no ping comes, so nobody is there.
#[tokio::test]
async fn a_socket_on_which_nothing_moves_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let n = stream.read(&mut head).await.unwrap_or(0);
                if head[..n].starts_with(b"GET /healthcheck") {
                    return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await.ok();
                }
                let switch =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(switch).await.ok()?;
                let greeting = b"\x81\x380{\"sid\":\"s\",\"pingInterval\":25000,\"pingTimeout\":20000   }";
                stream.write_all(greeting).await.ok()?;
                std::future::pending().await
            });
        }
    });
    let mut setup = Setup { upstream: Some(address), ..Setup::default() };
    setup.deadlines.socket = Duration::from_millis(400);
    let (rig, integrator) = with(setup).await;
    let token = integrator.open_token("demo", ("ann", "Ann"), "edit");
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&format!("40{}", json!({"token": token}))).await;
    let begun = Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await; // what moves keeps it open
        editor.0.send(Message::text("3")).await.unwrap();
    }
    assert_eq!(editor.next().await, None);
    assert!(begun.elapsed() > Duration::from_millis(1000), "{:?}", begun.elapsed());
    rig.log.wait_for(|line| line["why"] == "nothing moved for too long").await;
    sessions(&rig, 1, 0, 0).await;
}

/// The Document Server's own ping values are what editors are told once they are known.
#[tokio::test]
async fn the_greeting_has_the_document_servers_pings() {
    let mut setup = Setup::default();
    setup.server.ping_interval = Duration::from_secs(7);
    let (rig, integrator) = with(setup).await;
    let greeting = async || {
        let (socket, _) = Editor::upgrade(rig.https, PATH, &[("origin", "https://localhost")]).await;
        socket.unwrap().next().await.unwrap()
    };
    assert!(
        greeting().await.contains("\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":100000000")
    );
    Editor::join(rig.https, &integrator, "ann").await;
    assert!(greeting().await.contains("\"pingInterval\":7000,"));
}
