//! `log.level = "debug"`: what an operator needs at night, room by room, as JSON and without a token.

use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::editor::Editor;
use crate::raw::Client;
use crate::relay::{CALLBACK, Trio};
use crate::rig::{Rig, SECRET};
use crate::wire;

/// Room, sentence, and the facts that must stand beside them.
const LINES: [(&str, &str, &[&str]); 17] = [
    ("tls", "a handshake is done", &["remote", "sni", "alpn", "version", "handshake"]),
    ("tls", "a handshake failed", &["remote", "kind", "error"]),
    ("edge", "a route was found", &["id", "route", "access"]),
    ("edge", "a token holds", &["id", "class", "carrier", "secret"]),
    ("upstream", "a connection was opened", &["id", "server"]),
    ("upstream", "a connection is used again", &["id", "server"]),
    ("upstream", "connections are closed", &["server", "connections", "why"]),
    ("upstream", "no connection could be opened", &["id", "server", "why"]),
    ("upstream", "waits until the Document Server answers", &["id", "server", "why"]),
    ("upstream", "the probe hears something else", &["server", "healthcheck"]),
    ("sockets", "an editor's socket is open", &["id", "key", "server"]),
    ("sockets", "an editor's socket is closed", &["id", "close", "up", "down"]),
    ("relay", "a save is tried", &["save", "integrator", "tries", "traceparent"]),
    ("relay", "a save is to be tried again", &["save", "status", "next_in_ms"]),
    ("relay", "a save's try is over", &["save", "status", "phase"]),
    ("reload", "files are read", &["cause"]),
    ("reload", "the new configuration is swapped in", &["generation"]),
];

/// Waits until a line of this room says this.
async fn heard(trio: &Trio, room: &'static str, message: &'static str) -> Value {
    trio.rig.log.wait_for(move |line| line["event"] == room && line["message"] == message).await
}

/// A day in which each of them has its reason.
async fn live(trio: &Trio) {
    let rig = &trio.rig;
    let mut client = Client::of(rig);
    let command = token::sign(SECRET, &token::command("version", None));
    let body = json!({"c": "version", "token": command}).to_string();
    client.post("/command?token=not-for-the-log", "", &body).await;
    client.get(&format!("/fonts/size-1?token={command}"), "").await;
    wire::exchange(&mut tokio::net::TcpStream::connect(rig.https).await.unwrap(), b"GET / HTTP/1.1\r\n\r\n")
        .await;
    let mut editor = Editor::join(rig.https, &trio.app, "ann").await;
    editor.0.close(None).await.ok();
    heard(trio, "sockets", "an editor's socket is closed").await;
    trio.app.reply_times(2, Reply::Status(503), 1);
    trio.post(CALLBACK, &trio.save("other", 2, b"words")).await;
    heard(trio, "relay", "a save's try is over").await;
    rig.edit("[limits]\n", "[limits]\nconnections = 999\n");
    rig.reload().await;
    leave_early(rig).await;
    heard(trio, "upstream", "connections are closed").await;
    rig.server.stop().await;
    client.get("/fonts/size-1", "").await;
}

/// Somebody who asks for more than fits into any buffer, and leaves.
async fn leave_early(rig: &Rig) {
    let mut stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
    stream.write_all(b"GET /fonts/size-50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 512]).await.unwrap();
}

#[tokio::test]
async fn each_room_tells_what_it_does() {
    let lines = vec![
        ("sockets", "origins = [\"https://localhost\"]".to_owned()),
        ("document_server", "wait = \"1s\"".to_owned()),
        ("limits", "[log]\nlevel = \"debug\"".to_owned()),
    ];
    let trio = Trio::start(lines).await;
    live(&trio).await;
    for (room, message, facts) in LINES {
        let line = heard(&trio, room, message).await;
        assert_eq!(line["level"], "debug", "{line}");
        for fact in facts {
            let told = line[fact].as_str().unwrap_or_else(|| panic!("{fact}: {line}"));
            assert!(!told.is_empty(), "{fact}: {line}");
        }
    }
    // Every line is JSON (`all` reads them so), and none holds what opens a document.
    for line in trio.rig.log.all() {
        let text = line.to_string();
        assert!(!["eyJ", "not-for-the-log", SECRET].iter().any(|mark| text.contains(mark)), "{text}");
    }
    let done = heard(&trio, "tls", "a handshake is done").await;
    assert_eq!((&done["sni"], &done["version"]), (&json!("localhost"), &json!("TLSv1_3")));
    let route = heard(&trio, "edge", "a route was found").await;
    // The access line of the same request has the same id.
    let id = route["id"].clone();
    trio.rig.log.wait_for(move |line| line["event"] == "access" && line["id"] == id).await;
}

#[tokio::test]
async fn at_level_info_none_of_it_is_there() {
    let trio = Trio::start(vec![("sockets", "origins = [\"https://localhost\"]".to_owned())]).await;
    trio.rig.get("/fonts/size-1").await;
    trio.rig.log.wait_for(|line| line["event"] == "access").await;
    assert!(trio.rig.log.all().iter().all(|line| line["level"] != "debug"));
}
