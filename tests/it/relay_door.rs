//! The container's own door, `server.relay`: plain HTTP, the relay and nothing else.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use standin::integrator::Reply;
use standin::{clock, token};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::relay::{Trio, application, edit, posted, setup};
use crate::rig::{Got, Rig, SECRET};
use crate::wire::{self, soon};

async fn start() -> (Trio, SocketAddr) {
    let app = application().await;
    let rig = Rig::with(setup(&app, vec![("server", "relay = [\"127.0.0.1:0\"]".into())])).await;
    let door = rig.gateway.as_ref().unwrap().container[0];
    app.set_public_url(&format!("http://{door}/relay/rapidpm"));
    (Trio { rig, app }, door)
}

async fn send(door: SocketAddr, request: Request<Full<Bytes>>) -> Got {
    let stream = TcpStream::connect(door).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Got::from(sender.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn an_editor_opens_and_saves_by_it() {
    let (trio, door) = start().await;
    edit(&trio, "Hello. ").await;
    let save = soon("the save", trio.app.wait_for_save("demo")).await;
    assert!(save.text().starts_with("Hello. Welcome."), "{}", save.text());
    let sent = soon("its answer", trio.rig.server.wait_for_sent(|sent| sent.status == 2)).await;
    assert_eq!(sent.answer, Ok((200, "{\"error\":0}".into())));
    assert!(sent.url.starts_with(&format!("http://{door}/relay/rapidpm/")), "{}", sent.url);
    let callback = trio.rig.log.wait_for(|line| line["route"] == "relay" && line["method"] == "POST").await;
    assert!(callback["tls"].is_null(), "{callback}");
}

/// What is kept is fetched by the application, which has no way to the container's bridge.
#[tokio::test]
async fn links_to_what_is_kept_lead_to_the_public_url() {
    let (trio, door) = start().await;
    trio.app.reply_times(2, Reply::Reset, 1);
    let link = trio.rig.server.cache("k", "output.docx", b"kept");
    let fields = json!({"key": "k", "status": 2, "url": format!("{}{link}", trio.rig.server.url()),
        "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "docx"});
    let got = send(door, posted(door.port(), "callback?id=k", &fields)).await;
    assert_eq!((got.status, got.text()), (200, "{\"error\":0}"));
    let save = soon("a later try", trio.app.wait_for_save("k")).await;
    assert_eq!(&save.bytes[..], b"kept");
    let public = format!("https://localhost:{}/saved/", trio.rig.https.port());
    assert!(save.url.starts_with(&public), "{}", save.url);
}

#[tokio::test]
async fn nothing_else_is_served_there() {
    let (trio, door) = start().await;
    for path in [
        "/",
        "/healthcheck",
        "/robots.txt",
        "/info/config",
        "/web-apps/apps/api/documents/api.js",
        "/cache/files/data/k/output.docx/output.docx",
        "/command",
        "/doc/demo/c/?EIO=4&transport=polling",
        "/saved/0000000000000001/output.docx",
        "/relay/../healthcheck",
        "/relay/rapidpm",
        "//relay/rapidpm/x",
    ] {
        let request = Request::get(path).header("host", "localhost").body(Full::default()).unwrap();
        let got = send(door, request).await;
        assert_eq!((got.status, got.header("gateway-refusal")), (404, Some("unknown_path")), "{path}");
    }
    assert!(trio.rig.server.requests().iter().all(|request| request.target == "/healthcheck"));
    // Nor is it a way around the strict check, or another protocol.
    let smuggled =
        "POST /relay/rapidpm/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    for (head, status) in [(smuggled, 400), ("GET /relay/rapidpm/x HTTP/1.1\r\n\r\n", 400)] {
        let mut stream = TcpStream::connect(door).await.unwrap();
        assert_eq!(wire::status(&wire::exchange(&mut stream, head.as_bytes()).await), status, "{head}");
    }
    let mut stream = TcpStream::connect(door).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(!wire::rest(&mut stream).await.starts_with("HTTP/1.1 2"));
}

#[tokio::test]
async fn documents_are_asked_for_at_its_address() {
    let (trio, door) = start().await;
    let now = clock::system();
    let get = async |url: &str| {
        let bearer = format!("Bearer {}", token::sign(SECRET, &token::download(url, &now)));
        let request = Request::get("/relay/rapidpm/files/demo.txt").header("host", "whatever:1");
        send(door, request.header("authorization", bearer).body(Full::default()).unwrap()).await
    };
    let got = get(&format!("http://{door}/relay/rapidpm/files/demo.txt")).await;
    assert!(got.status == 200 && got.text().starts_with("Welcome."), "{got:?}");
    let port = door.port();
    // The Document Server signs whatever it is made to fetch: a token that was sent elsewhere opens nothing here.
    for other in [
        format!("https://{door}/relay/rapidpm/files/demo.txt"),
        format!("http://127.0.0.1:{}/relay/rapidpm/files/demo.txt", port ^ 1),
        format!("http://localhost:{port}/relay/rapidpm/files/demo.txt"),
        "http://whatever:1/relay/rapidpm/files/demo.txt".into(),
        format!("https://localhost:{}/relay/rapidpm/files/demo.txt", trio.rig.https.port()),
    ] {
        let got = get(&other).await;
        assert_eq!((got.status, got.header("gateway-refusal")), (403, Some("other_document")), "{other}");
    }
    // And by the public door the container's address opens nothing.
    let url = format!("http://{door}/relay/rapidpm/files/demo.txt");
    let bearer = format!("Bearer {}", token::sign(SECRET, &token::download(&url, &now)));
    let host = format!("localhost:{}", trio.rig.https.port());
    let request = Request::get("/relay/rapidpm/files/demo.txt").header("host", host);
    let got = trio.rig.send(request.header("authorization", bearer).body(Full::default()).unwrap()).await;
    assert_eq!(got.header("gateway-refusal"), Some("other_document"));
}
