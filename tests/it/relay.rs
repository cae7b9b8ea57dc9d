//! Saves through the relay: what the Document Server hears for each answer, and that the application gets every save in the end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::integrator::Reply;
use standin::{Integrator, Network, clock, integrator, token};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::rig::{Got, Rig, SECRET, Setup};
use crate::wire::{self, soon};

/// A gateway between a Document Server and an application.
pub struct Trio {
    pub rig: Rig,
    pub app: Integrator,
}

pub async fn application() -> Integrator {
    let options = integrator::Options {
        secret: SECRET.into(),
        network: Network::default().insecure(),
        ..integrator::Options::default()
    };
    Integrator::start(options).await.unwrap()
}

pub fn setup(app: &Integrator, lines: Vec<(&'static str, String)>) -> Setup {
    Setup {
        port_in_url: true,
        tables: format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"{}\"\n", app.url()),
        server: Options {
            network: Network::default().insecure(),
            save_delay: Duration::ZERO,
            retry_pauses: vec![Duration::from_millis(20); 3],
            ..Options::default()
        },
        lines,
        ..Setup::default()
    }
}

impl Trio {
    pub async fn start(lines: Vec<(&'static str, String)>) -> Self {
        let app = application().await;
        let rig = Rig::with(setup(&app, lines)).await;
        app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
        Self { rig, app }
    }

    /// The fields of a save whose document lies at the Document Server.
    pub fn save(&self, key: &str, status: u32, bytes: &[u8]) -> Value {
        let link = self.rig.server.cache(key, "output.docx", bytes);
        json!({"key": key, "status": status, "url": format!("{}{link}", self.rig.server.url()), "users": ["u"],
            "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "docx"})
    }

    pub async fn post(&self, target: &str, fields: &Value) -> Got {
        self.rig.send(posted(self.rig.https.port(), target, fields)).await
    }
}

/// A callback as the Document Server sends it.
pub fn posted(port: u16, target: &str, fields: &Value) -> Request<Full<Bytes>> {
    let now = clock::system();
    let mut body = fields.clone();
    body["token"] = token::sign(SECRET, &token::expiring(fields.clone(), &now, 300)).into();
    let header = token::sign(SECRET, &token::expiring(json!({"payload": fields}), &now, 300));
    let request =
        Request::post(format!("/relay/rapidpm/{target}")).header("host", format!("localhost:{port}"));
    let request = request
        .header("authorization", format!("Bearer {header}"))
        .header("content-type", "application/json");
    request.body(Full::from(body.to_string())).unwrap()
}

pub const CALLBACK: &str = "callback?id=demo";

/// An editor at the Document Server that writes one word and leaves.
pub async fn edit(trio: &Trio, word: &str) {
    let token = trio.app.open_token("demo", ("ann", "Ann"), "edit");
    let address = trio.rig.server.address();
    let url = format!("ws://{address}/9.0.4-x/doc/demo/c/?EIO=4&transport=websocket&shardkey=demo");
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let say = |data: Value| Message::text(format!("42{}", json!(["message", data])));
    socket.send(Message::text(format!("40{}", json!({"token": token})))).await.unwrap();
    socket.send(say(json!({"type": "auth", "jwtOpen": token, "openCmd": {"c": "open"}}))).await.unwrap();
    let mut written = false;
    while let Some(Ok(message)) = soon("a packet", socket.next()).await {
        let text = message.into_text().unwrap_or_default();
        if text.contains("documentOpen") && !written {
            written = true;
            let change = json!({"p": 0, "d": 0, "i": word}).to_string();
            let changes = json!([change]).to_string();
            let save = json!({"type": "saveChanges", "changes": changes, "startSaveChanges": true,
                "endSaveChanges": true, "isCoAuthoring": false, "isExcel": false, "deleteIndex": null});
            socket.send(say(save)).await.unwrap();
        }
        if text.contains("unSaveLock") {
            socket.send(say(json!({"type": "close"}))).await.unwrap();
            socket.close(None).await.ok();
            return;
        }
    }
    panic!("the change was not taken");
}

#[tokio::test]
async fn an_editor_opens_and_saves_through_the_relay() {
    let trio = Trio::start(vec![]).await;
    edit(&trio, "Hello. ").await;
    let save = soon("the save", trio.app.wait_for_save("demo")).await;
    assert!(save.text().starts_with("Hello. Welcome."), "{}", save.text());
    let sent = soon("its answer", trio.rig.server.wait_for_sent(|sent| sent.status == 2)).await;
    assert_eq!(sent.answer, Ok((200, "{\"error\":0}".into())));
    assert!(sent.url.contains("/relay/rapidpm/"), "{}", sent.url);
    assert!(
        trio.app.requests().iter().any(|request| request.path() == "/files/demo.txt"),
        "the document came too"
    );
    let callbacks = trio.app.callbacks();
    assert!(callbacks.iter().all(|callback| callback.token.is_ok()));
    assert!(callbacks.iter().any(|callback| callback.status == 1));
    assert!(callbacks.iter().find(|c| c.status == 2).unwrap().header("idempotency-key").is_some());
}

#[tokio::test]
async fn the_first_try_is_what_came_byte_for_byte() {
    let trio = Trio::start(vec![]).await;
    let request = posted(trio.rig.https.port(), CALLBACK, &trio.save("k", 2, b"x"));
    let header = request.headers()["authorization"].to_str().unwrap().to_owned();
    let body = http_body_util::BodyExt::collect(request.body().clone()).await.unwrap().to_bytes();
    trio.app.set_reply(Reply::Error(0));
    assert_eq!(trio.rig.send(request).await.status, 200);
    let callback = trio.app.callbacks().remove(0);
    assert_eq!(callback.body, body);
    assert_eq!(callback.header("authorization"), Some(header.as_str()));
    assert_eq!(callback.target, "/callback?id=demo");
}

#[tokio::test]
async fn copies_of_a_callback_are_one_delivery() {
    let trio = Trio::start(vec![]).await;
    trio.app.set_reply(Reply::Slow(Duration::from_millis(200)));
    let fields = trio.save("k", 2, b"x");
    let copies = (0..60).map(|_| trio.post(CALLBACK, &fields));
    for got in futures_util::future::join_all(copies).await {
        assert_eq!((got.status, got.text()), (200, "{\"error\":0}"));
    }
    assert_eq!(trio.post(CALLBACK, &fields).await.text(), "{\"error\":0}", "and after it was settled");
    assert_eq!(trio.app.callbacks().len(), 1);
}

#[tokio::test]
async fn what_is_not_genuine_reaches_nobody() {
    let trio = Trio::start(vec![]).await;
    let port = trio.rig.https.port();
    let fields = trio.save("k", 2, b"x");
    let mut lie = fields.clone();
    lie["url"] = json!("http://169.254.169.254/");
    let forged = |fields: &Value, secret: &str| {
        let mut body = fields.clone();
        body["token"] = token::sign(secret, &token::expiring(fields.clone(), &clock::system(), 300)).into();
        let request = Request::post("/relay/rapidpm/callback").header("host", format!("localhost:{port}"));
        request.body(Full::from(body.to_string())).unwrap()
    };
    let refusal = |got: Got| got.header("gateway-refusal").map(str::to_owned);
    let got = trio.rig.send(forged(&fields, "another secret of the same length")).await;
    assert_eq!((got.status, refusal(got)), (403, Some("token_signature".into())));
    let mut mixed = posted(port, "callback", &fields);
    let body = http_body_util::BodyExt::collect(mixed.body().clone()).await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap().replace("127.0.0.1", "169.254.0.1");
    *mixed.body_mut() = Full::from(body);
    assert_eq!(refusal(trio.rig.send(mixed).await), Some("callback_mismatch".into()));
    let open = trio.app.claims("demo", ("a", "A"), "edit");
    assert_eq!(refusal(trio.rig.send(forged(&open, SECRET)).await), Some("class_not_allowed".into()));
    let unknown = Request::post("/relay/other/callback").header("host", format!("localhost:{port}"));
    assert_eq!(
        refusal(trio.rig.send(unknown.body(Full::default()).unwrap()).await),
        Some("unknown_integrator".into())
    );
    assert!(trio.app.requests().is_empty());
    // Genuine, but its link leads elsewhere: nothing is fetched from there, and the application decides.
    trio.app.set_reply(Reply::Error(0));
    assert_eq!(trio.post(CALLBACK, &lie).await.status, 200);
    assert_eq!(trio.app.callbacks().len(), 1);
    assert!(trio.rig.server.requests().iter().all(|request| request.target == "/healthcheck"));
}

#[tokio::test]
async fn reports_calm_the_document_server_and_are_told_later() {
    let trio = Trio::start(vec![]).await;
    for (status, name) in [(1, "editing"), (4, "closed")] {
        trio.app.reply_times(status, Reply::Reset, 1);
        let fields = json!({"key": name, "status": status, "actions": [{"type": 1, "userid": "u"}]});
        let got = trio.post(CALLBACK, &fields).await;
        assert_eq!((got.status, got.text()), (200, "{\"error\":0}"), "{name}");
        let later = trio.app.wait_for_callback(|c| c.key == name && matches!(c.answer, Some((200, _))));
        assert!(soon("a later report", later).await.token.is_ok());
        trio.app.reply_times(status, Reply::Error(1), 1);
        let own = trio.post(CALLBACK, &json!({"key": "other", "status": status})).await;
        assert_eq!(own.text(), "{\"error\":1}", "its own answer goes back");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_passed_through() {
    let trio = Trio::start(vec![("saves", "max_document = \"1KiB\"".into())]).await;
    let large = trio.save("large", 2, &vec![7; 4_096]);
    assert_eq!(trio.post(CALLBACK, &large).await.text(), "{\"error\":0}");
    assert_eq!(trio.app.saved("large").unwrap().bytes.len(), 4_096, "the application fetched it itself");
    trio.app.set_reply(Reply::Reset);
    let larger = trio.save("larger", 2, &vec![7; 4_096]);
    assert_eq!(trio.post("callback?id=2", &larger).await.status, 503, "nobody has it, and nobody says so");
}

#[tokio::test]
async fn documents_only_for_a_token_that_names_them() {
    let trio = Trio::start(vec![]).await;
    let port = trio.rig.https.port();
    let url = format!("https://localhost:{port}/relay/rapidpm/files/demo.txt?v=1");
    let now = clock::system();
    let get = |url: &str, range: Option<&str>| {
        let token = token::sign(SECRET, &token::download(url, &now));
        let request =
            Request::get("/relay/rapidpm/files/demo.txt?v=1").header("host", format!("localhost:{port}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = match range {
            Some(range) => request.header("range", range),
            None => request,
        };
        request.body(Full::default()).unwrap()
    };
    let got = trio.rig.send(get(&url, None)).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert!(got.text().starts_with("Welcome."));
    assert_eq!(trio.rig.send(get(&format!("{url}#x"), None)).await.status, 200);
    trio.rig.send(get(&url, Some("bytes=0-3"))).await;
    let ranged = trio.app.requests().into_iter().find(|request| request.header("range").is_some());
    assert_eq!(ranged.unwrap().header("range"), Some("bytes=0-3"));
    for other in [
        format!("https://localhost:{port}/relay/rapidpm/files/demo.txt"),
        format!("https://localhost:{port}/relay/rapidpm/files/other.txt?v=1"),
        format!("https://evil.example:{port}/relay/rapidpm/files/demo.txt?v=1"),
        "https://localhost/relay/rapidpm/files/demo.txt?v=1".into(),
        "/relay/rapidpm/files/demo.txt?v=1".into(),
    ] {
        let got = trio.rig.send(get(&other, None)).await;
        assert_eq!((got.status, got.header("gateway-refusal")), (403, Some("other_document")), "{other}");
    }
    let open = trio.app.open_token("demo", ("a", "A"), "edit");
    let mut wrong = get(&url, None);
    wrong.headers_mut().insert("authorization", format!("Bearer {open}").parse().unwrap());
    assert_eq!(trio.rig.send(wrong).await.header("gateway-refusal"), Some("class_not_allowed"));
    let mut none = get(&url, None);
    none.headers_mut().remove("authorization");
    assert_eq!(trio.rig.send(none).await.header("gateway-refusal"), Some("token_missing"));
}

#[tokio::test]
async fn an_integrator_with_a_header_of_its_own() {
    let options = integrator::Options {
        secret: SECRET.into(),
        header: "AuthorizationJWT".into(),
        prefix: "Token ".into(),
        network: Network::default().insecure(),
        ..integrator::Options::default()
    };
    let app = Integrator::start(options).await.unwrap();
    let mut setup = setup(&app, vec![]);
    setup.tables.push_str("header = \"AuthorizationJWT\"\nprefix = \"Token \"\n");
    let trio = Trio { rig: Rig::with(setup).await, app };
    trio.app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", trio.rig.https.port()));
    edit(&trio, "Hi. ").await;
    let save = soon("the save", trio.app.wait_for_save("demo")).await;
    assert!(save.text().starts_with("Hi. "));
    for callback in trio.app.callbacks() {
        assert!(callback.header("authorizationjwt").unwrap().starts_with("Token "));
        assert_eq!(callback.header("authorization"), None);
    }
}

#[tokio::test]
async fn the_numbers_of_saves() {
    let trio = Trio::start(vec![]).await;
    let page = async || wire::admin(trio.rig.admin, "/metrics").await;
    let numbers = page().await;
    for series in ["onlyoffice_save_total{status=\"success\"} 0", "onlyoffice_transition_locks 0"] {
        assert!(numbers.contains(series), "{series}");
    }
    trio.post(CALLBACK, &trio.save("a", 2, b"x")).await;
    trio.app.set_reply(Reply::Error(1));
    trio.post("callback?id=2", &trio.save("b", 2, b"x")).await;
    let numbers = page().await;
    for series in [
        "onlyoffice_save_total{status=\"success\"} 1",
        "onlyoffice_save_total{status=\"failure\"} 1",
        "onlyoffice_callback_duration_seconds_count 2",
        "onlyoffice_download_duration_seconds_count 2",
        "onlyoffice_callback_duration_seconds_bucket{le=\"300\"} 2",
        "onlyoffice_validation_rejected_total{reason=\"zip_integrity\"} 0",
    ] {
        assert!(numbers.contains(series), "{series}\n{numbers}");
    }
}
