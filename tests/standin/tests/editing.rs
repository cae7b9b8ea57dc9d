//! Two editors of one document: what one writes the other sees, and what both wrote arrives at the application.

// The helpers of a test fail it loudly, like the test itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::{DocumentServer, Integrator, document_server, integrator};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A client of the socket that does only what a test tells it.
struct Editor {
    socket: WebSocketStream<TcpStream>,
    pub session: String,
    key: String,
}

impl Editor {
    async fn open(server: &DocumentServer, token: &str) -> Editor {
        let key =
            standin::token::verify(Some(token), &server.options().secret, &standin::clock::system()).unwrap();
        let key = key["document"]["key"].as_str().unwrap().to_owned();
        let url = format!(
            "ws://{}/9.0.4-x/doc/{key}/c/?EIO=4&transport=websocket&shardkey={key}",
            server.address()
        );
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let mut editor = Editor { socket, session: String::new(), key };
        assert!(editor.next().await.starts_with("0{"));
        editor.say(&format!("40{}", json!({"token": token}))).await;
        assert!(editor.next().await.starts_with("40{"));
        editor.expect("license").await;
        editor.message(&json!({"type": "auth", "jwtOpen": token, "openCmd": {"c": "open"}})).await;
        let auth = editor.expect("auth").await;
        assert_eq!(auth["result"], 1);
        editor.session = auth["jwt"].as_str().unwrap().to_owned();
        editor
    }

    async fn opened(server: &DocumentServer, token: &str) -> Editor {
        let mut editor = Editor::open(server, token).await;
        assert_eq!(editor.expect("documentOpen").await["data"]["status"], "ok");
        editor
    }

    async fn say(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.unwrap();
    }

    async fn message(&mut self, data: &Value) {
        self.say(&format!("42{}", json!(["message", data]))).await;
    }

    async fn next(&mut self) -> String {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) if text.as_str() == "2" => self.say("3").await,
                Message::Text(text) => return text.as_str().to_owned(),
                _ => {}
            }
        }
    }

    async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let packet = self.next().await;
            let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
            if event[1]["type"] == kind {
                return event[1].clone();
            }
        }
    }

    async fn write(&mut self, position: usize, text: &str) {
        let edit = json!({"p": position, "d": 0, "i": text}).to_string();
        let changes = json!([edit]).to_string();
        self.message(&json!({"type": "saveChanges", "changes": changes, "startSaveChanges": true, "endSaveChanges": true})).await;
        self.expect("unSaveLock").await;
    }
}

async fn pair(tune: impl FnOnce(&mut document_server::Options)) -> (DocumentServer, Integrator) {
    let mut options = document_server::Options {
        save_delay: Duration::from_millis(50),
        retry_pauses: [10, 20, 40].map(Duration::from_millis).to_vec(),
        ..Default::default()
    };
    tune(&mut options);
    let server = DocumentServer::start(options).await.unwrap();
    let integrator =
        Integrator::start(integrator::Options { gateway: server.url(), ..Default::default() }).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    (server, integrator)
}

#[tokio::test]
async fn two_editors_write_one_document_and_its_save_arrives() {
    let (server, integrator) = pair(|_| {}).await;
    let mut ann = Editor::opened(&server, &integrator.open_token("demo", ("ann", "Ann"), "edit")).await;
    ann.write(5, " from Ann").await;
    let bob = integrator.open_token("demo", ("bob", "Bob"), "edit");
    let mut bob = Editor::opened(&server, &bob).await;
    assert_eq!(ann.expect("connectState").await["participants"][1]["id"], "bob2");
    bob.write(0, "Bob: ").await;
    let seen = ann.expect("saveChanges").await;
    assert_eq!(seen["changesIndex"], 2);
    assert_eq!(seen["changes"][0]["useridoriginal"], "bob");
    assert_eq!(server.text("demo").unwrap(), "Bob: Hello from Ann");
    assert_eq!(bob.key, "demo");
    drop(ann);
    drop(bob);
    let save = integrator.wait_for_save("demo").await;
    assert_eq!((save.status, save.text().as_str()), (2, "Bob: Hello from Ann"));
    let statuses: Vec<u32> = integrator.callbacks().iter().map(|callback| callback.status).collect();
    assert_eq!(statuses, [1, 1, 1, 2]);
    let last = integrator.callbacks().pop().unwrap();
    assert_eq!(last.token, Ok(()));
    assert_eq!(last.claims["users"].as_array().unwrap().len(), 1);
    assert!(
        last.claims["changesurl"].is_string()
            && last.claims["history"]["changes"][1]["user"]["name"] == "Bob"
    );
    assert_eq!(integrator.claims("demo", ("ann", "Ann"), "edit")["document"]["key"], "demo.2");
}

#[tokio::test]
async fn a_save_that_nobody_takes_is_tried_four_times_and_then_forgotten() {
    let (server, integrator) = pair(|_| {}).await;
    integrator.set_reply_to(2, Reply::Status(503));
    let mut ann = Editor::opened(&server, &integrator.open_token("demo", ("ann", "Ann"), "edit")).await;
    ann.write(0, "x").await;
    drop(ann);
    let last = server.wait_for_sent(|sent| sent.status == 2 && sent.attempt == 4).await;
    assert_eq!(last.answer.unwrap().0, 503);
    server.wait_for_forgotten("demo").await;
    let finals: Vec<_> = integrator.callbacks().into_iter().filter(|callback| callback.status == 2).collect();
    assert_eq!(finals.len(), 4);
    let path =
        |index: usize| finals[index].claims["url"].as_str().unwrap().split('?').next().unwrap().to_owned();
    assert_eq!(path(0), path(3));
    // The next editor of the key continues from the forgotten copy.
    let _ann = Editor::opened(&server, &integrator.open_token("demo", ("ann", "Ann"), "edit")).await;
    assert_eq!(server.text("demo").unwrap(), "xHello");
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_a_redirect_loses_the_save() {
    let (server, integrator) = pair(|_| {}).await;
    integrator.put("other", "docx", "Text");
    integrator.set_reply_to(2, Reply::Error(1));
    let mut ann = Editor::opened(&server, &integrator.open_token("demo", ("ann", "Ann"), "edit")).await;
    ann.write(0, "x").await;
    drop(ann);
    server.wait_for_sent(|sent| sent.status == 2).await;
    integrator.set_reply_to(2, Reply::Redirect(302, format!("{}/dummyCallback", server.url())));
    let mut bob = Editor::opened(&server, &integrator.open_token("other", ("bob", "Bob"), "edit")).await;
    bob.write(0, "A ").await;
    drop(bob);
    let sent = server.wait_for_sent(|sent| sent.status == 2 && sent.key == "other").await;
    // The POST became a GET without a body; the answer sounds right, and the save is gone for good.
    assert_eq!(sent.answer.unwrap(), (200, r#"{"error":0}"#.into()));
    let moved = server.wait_for_request(|request| request.target == "/dummyCallback").await;
    assert_eq!((moved.method.as_str(), moved.body_length), ("GET", 0));
    assert_eq!(moved.header("authorization"), None);
    assert_eq!(integrator.saved("other"), None);
    assert_eq!(server.forgotten(), ["demo"]);
    assert_eq!(server.sent().iter().filter(|sent| sent.status == 2).count(), 2);
}

#[tokio::test]
async fn a_force_save_arrives_while_editing_goes_on() {
    let (server, integrator) = pair(|_| {}).await;
    integrator.put("report", "docx", "One\nTwo");
    let mut ann = Editor::opened(&server, &integrator.open_token("report", ("ann", "Ann"), "edit")).await;
    ann.write(0, "Zero\n").await;
    ann.message(&json!({"type": "forceSaveStart"})).await;
    assert_eq!(ann.expect("forceSaveStart").await["messages"]["code"], 0);
    assert_eq!(ann.expect("forceSave").await["messages"]["success"], true);
    let save = integrator.saved("report").unwrap();
    assert_eq!((save.status, save.text().as_str()), (6, "Zero\nOne\nTwo"));
    assert!(save.bytes.starts_with(b"PK"));
    ann.message(&json!({"type": "forceSaveStart"})).await;
    assert_eq!(ann.expect("forceSaveStart").await["messages"]["code"], 4);
}

#[tokio::test]
async fn an_editor_comes_back_with_its_session_unless_the_save_was_faster() {
    let (server, integrator) = pair(|options| options.save_delay = Duration::from_millis(300)).await;
    let token = integrator.open_token("demo", ("ann", "Ann"), "edit");
    let mut ann = Editor::opened(&server, &token).await;
    ann.write(0, "x").await;
    let session = ann.session.clone();
    server.stop().await;
    server.start_again().await.unwrap();
    let mut again = reconnect(&server, &session).await;
    assert_eq!(again.expect("authChanges").await["changes"].as_array().unwrap().len(), 1);
    assert_eq!(again.expect("auth").await["result"], 1);
    drop(again);
    integrator.wait_for_save("demo").await;
    server.wait_for_sent(|sent| sent.status == 2).await;
    let mut late = reconnect(&server, &session).await;
    assert_eq!(late.expect("error").await["code"], 4008);
}

async fn reconnect(server: &DocumentServer, session: &str) -> Editor {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let url = format!("ws://{}/doc/demo/c/?EIO=4&transport=websocket", server.address());
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let mut editor = Editor { socket, session: session.to_owned(), key: "demo".into() };
    editor.next().await;
    editor.say(&format!("40{}", json!({"session": session}))).await;
    editor.next().await;
    editor.message(&json!({"type": "auth", "jwtSession": session, "sessionId": "before"})).await;
    editor
}

#[tokio::test]
async fn a_viewer_reads_and_no_callback_speaks_of_it() {
    let (server, integrator) = pair(|_| {}).await;
    let mut viewer = Editor::opened(&server, &integrator.open_token("demo", ("vera", "Vera"), "view")).await;
    viewer.message(&json!({"type": "saveChanges", "changes": "[\"{}\"]"})).await;
    viewer.message(&json!({"type": "getMessages"})).await;
    viewer.expect("message").await;
    assert_eq!(server.text("demo").unwrap(), "Hello");
    assert!(integrator.callbacks().is_empty());
}
