//! An editor's socket as tests drive it: it says what it is told and answers pings.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use standin::Integrator;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::rig;
use crate::wire::soon;

pub const PATH: &str =
    "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/demo/c/?EIO=4&transport=websocket&shardkey=demo";

/// The path of a document's sockets.
pub fn path(key: &str) -> String {
    PATH.replace("/demo/", &format!("/{key}/")).replace("=demo", &format!("={key}"))
}

/// A client of the socket that does only what a test tells it.
pub struct Editor(pub WebSocketStream<TlsStream<TcpStream>>);

impl Editor {
    /// Upgrades, and takes the open packet.
    pub async fn connect(to: SocketAddr) -> Self {
        Self::connect_to(to, PATH).await
    }

    /// The same with another path.
    pub async fn connect_to(to: SocketAddr, path: &str) -> Self {
        let (socket, status) = Self::upgrade(to, path, &[("origin", "https://localhost")]).await;
        let mut editor = socket.unwrap_or_else(|| panic!("{status}"));
        let open = editor.next().await.unwrap();
        assert!(open.starts_with("0{\"sid\""), "{open}");
        editor
    }

    /// Asks for the upgrade with these fields; the status.
    pub async fn upgrade(to: SocketAddr, path: &str, fields: &[(&'static str, &str)]) -> (Option<Self>, u16) {
        let stream = rig::tls(to, Some("localhost"), &["http/1.1"]).await.unwrap();
        let mut asked = format!("wss://localhost{path}").into_client_request().unwrap();
        for (name, value) in fields {
            asked.headers_mut().append(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::client_async(asked, stream).await {
            Ok((socket, answer)) => {
                assert!(answer.headers().get("sec-websocket-extensions").is_none());
                (Some(Self(socket)), answer.status().as_u16())
            }
            Err(Error::Http(answer)) => (None, answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The code of the close frame that must come next.
    pub async fn closed(&mut self) -> Option<u16> {
        match soon("a close frame", self.0.next()).await {
            Some(Ok(Message::Close(frame))) => frame.map(|frame| frame.code.into()),
            other => panic!("{other:?}"),
        }
    }

    /// The code of the close frame that must come, whatever pongs come before it.
    pub async fn closed_after_pongs(&mut self) -> Option<u16> {
        loop {
            match soon("a close frame", self.0.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Joins the document as this user.
    pub async fn join(to: SocketAddr, integrator: &Integrator, user: &str) -> Self {
        Self::open(to, integrator, "demo", (user, "edit")).await.0
    }

    /// Opens an integrator's document as this user and in this mode; with what the Document Server says to `auth`, and of the
    /// document.
    pub async fn open(
        to: SocketAddr,
        integrator: &Integrator,
        id: &str,
        (user, mode): (&str, &str),
    ) -> (Self, Value, Value) {
        let key = integrator.claims(id, (user, user), mode)["document"]["key"].as_str().unwrap().to_owned();
        let token = integrator.open_token(id, (user, user), mode);
        let mut editor = Self::connect_to(to, &path(&key)).await;
        editor.say(&format!("40{}", json!({"token": token}))).await;
        assert!(editor.next().await.unwrap().starts_with("40{"));
        editor.message(&json!({"type": "auth", "jwtOpen": token, "openCmd": {"c": "open"}})).await;
        let auth = editor.expect("auth").await;
        assert_eq!(auth["result"], 1);
        let document = editor.expect("documentOpen").await;
        assert_eq!(document["data"]["status"], "ok");
        (editor, auth, document)
    }

    pub async fn say(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.unwrap();
    }

    pub async fn message(&mut self, data: &Value) {
        self.say(&format!("42{}", json!(["message", data]))).await;
    }

    /// The next packet that is no ping; `None` when the socket has ended, however it did.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            match soon("a packet", self.0.next()).await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.say("3").await,
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let packet = self.next().await.unwrap_or_else(|| panic!("ended before {kind}"));
            let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
            if event[1]["type"] == kind {
                return event[1].clone();
            }
        }
    }

    pub async fn write(&mut self, text: &str) {
        let edit = json!({"p": 0, "d": 0, "i": text}).to_string();
        let changes = json!([edit]).to_string();
        let data = json!({"type": "saveChanges", "changes": changes, "startSaveChanges": true, "endSaveChanges": true});
        self.message(&data).await;
        self.expect("unSaveLock").await;
    }
}
