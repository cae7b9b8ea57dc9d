//! Leaving in order: not ready and still serving, requests finish, saves are settled, editors are told last.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response, body::Incoming};
use serde_json::json;
use standin::integrator::Reply;
use standin::{Integrator, integrator};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::editor::Editor;
use crate::process::Process;
use crate::relay::{application, posted, setup};
use crate::rig::{self, Got, Rig, SECRET, Setup};
use crate::wire::{self, PROTOCOLS, soon};

async fn with_drain(drain: &str) -> (Rig, Integrator) {
    let lines = vec![("server", format!("drain = \"{drain}\""))];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let options =
        integrator::Options { gateway: rig.server.url(), secret: SECRET.into(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    (rig, integrator)
}

/// Begins to leave, and waits until that shows.
async fn leave(rig: &mut Rig) -> JoinHandle<()> {
    let gateway = rig.gateway.take().unwrap();
    let left = tokio::task::spawn_blocking(move || gateway.stop());
    let not_ready = async {
        while wire::status(&wire::admin(rig.admin, "/readyz").await) != 503 {
            tokio::task::yield_now().await;
        }
    };
    soon("not ready", not_ready).await;
    left
}

fn get(protocol: &str) -> Request<Full<Bytes>> {
    wire::request(protocol, "GET", "/healthcheck").body(Full::default()).unwrap()
}

fn connection(answer: &Response<Incoming>) -> Option<&str> {
    answer.headers().get("connection").map(|value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_requests_finish_the_gateway_serves_and_editors_go_on() {
    let (mut rig, integrator) = with_drain("60s").await;
    let mut ann = Editor::join(rig.https, &integrator, "ann").await;
    let (feed, body) = wire::pieces(Some(8));
    let mut uploading = wire::h1(rig.https).await;
    let upload = tokio::spawn(uploading.send_request(wire::upload("http/1.1", body)));
    feed.send(Bytes::from_static(b"half")).await.unwrap();
    soon("the upload", rig.server.wait_for_request(|seen| seen.path() == "/upload/demo")).await;
    let (mut one, mut two) = (rig.h1().await, rig.h2().await);
    for sent in [one.send_request(get("http/1.1")).await, two.send_request(get("h2")).await] {
        assert_eq!(connection(&sent.unwrap()), None);
    }

    let left = leave(&mut rig).await;
    assert_eq!(wire::status(&wire::admin(rig.admin, "/livez").await), 200);
    // Who was there is told: HTTP/1 in its next answer, HTTP/2 by GOAWAY.
    let answer = soon("an answer", one.send_request(get("http/1.1"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), connection(&answer)), (200, Some("close")));
    soon("GOAWAY", async {
        while two.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    // Who comes now is served, and told.
    let answer = soon("an answer", rig.h1().await.send_request(get("http/1.1"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), connection(&answer)), (200, Some("close")));
    let mut late = rig.h2().await;
    let answer = soon("an answer", late.send_request(get("h2"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), connection(&answer)), (200, None));
    soon("GOAWAY", async {
        while late.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mut bob = Editor::join(rig.https, &integrator, "bob").await;
    ann.write("still here: ").await;
    assert_eq!(rig.server.text("demo").unwrap(), "still here: Hello");

    feed.send(Bytes::from_static(b"done")).await.unwrap();
    let answer = soon("the upload's answer", upload).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    soon("the end", left).await.unwrap();
    for editor in [&mut ann, &mut bob] {
        let mut last = None;
        while let Some(Ok(message)) = soon("1001", futures_util::StreamExt::next(&mut editor.0)).await {
            last = Some(message);
        }
        let Some(tokio_tungstenite::tungstenite::Message::Close(Some(close))) = last else {
            panic!("{last:?}")
        };
        assert_eq!(u16::from(close.code), 1001);
    }
    assert!(TcpStream::connect(rig.https).await.is_err());
}

/// Browsers keep spare connections, used and unused: they end by themselves, long before `drain`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_connections_that_rest() {
    let (mut rig, _integrator) = with_drain("60s").await;
    let mut spare = Vec::new();
    for protocol in PROTOCOLS {
        spare.push(rig.tls(Some("localhost"), &[protocol]).await.unwrap());
    }
    let mut used = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
    let head = b"GET /healthcheck HTTP/1.1\r\nhost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut used, head).await.unwrap();
    let mut answer = [0; 4096];
    assert!(used.read(&mut answer).await.unwrap() > 0);
    spare.push(used);
    let left = leave(&mut rig).await;
    for mut stream in spare {
        let mut rest = Vec::new();
        soon("its end", stream.read_to_end(&mut rest)).await.ok(); // with or without close_notify
    }
    soon("an end before the drain's", left).await.unwrap();
}

/// A body that never ends costs the whole drain, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_finishes_is_not_waited_for() {
    let (mut rig, _integrator) = with_drain("300ms").await;
    let (feed, body) = wire::pieces(Some(8));
    let mut client = wire::h1(rig.https).await;
    let upload = tokio::spawn(client.send_request(wire::upload("http/1.1", body)));
    feed.send(Bytes::from_static(b"half")).await.unwrap();
    soon("the upload", rig.server.wait_for_request(|seen| seen.path() == "/upload/demo")).await;
    soon("the end", leave(&mut rig).await).await.unwrap();
    assert!(soon("its end", upload).await.unwrap().is_err());
}

/// An application that does not answer must not cost the Document Server its callback: what is kept is taken over at once, and
/// the next process delivers it. A force-save's session goes on, so it hears 503 and nothing is lost either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_in_flight_are_settled_at_once() {
    let app = application().await;
    let lines = vec![("server", "drain = \"5s\"".into()), ("saves", "answer_within = \"4m\"".into())];
    let mut process = Process::start(setup(&app, lines)).await;
    app.set_reply(Reply::Hang);
    let mut waiting = Vec::new();
    for (key, status) in [("final", 2), ("spare", 6)] {
        let link = process.server.cache(key, "output.docx", key.as_bytes());
        let fields = json!({"key": key, "status": status, "url": format!("{}{link}", process.server.url()),
            "lastsave": key, "filetype": "docx"});
        let request = posted(process.https.port(), &format!("callback?id={key}"), &fields);
        let to = process.https;
        waiting.push(tokio::spawn(async move {
            let stream = rig::tls(to, Some("localhost"), &["http/1.1"]).await.unwrap();
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Got::from(sender.send_request(request).await.unwrap()).await
        }));
        let tried = app.wait_for_request(|seen| seen.target.ends_with(&format!("id={key}")));
        soon("the application has heard of it", tried).await;
    }
    process.signal("TERM");
    for (task, expected) in waiting.into_iter().zip([(200, "{\"error\":0}"), (503, "{\"error\":1}")]) {
        let got = soon("its answer", task).await.unwrap();
        assert_eq!(
            (got.status, got.text(), got.header("connection")),
            (expected.0, expected.1, Some("close"))
        );
    }
    assert_eq!(process.ended().await, 0);
    app.set_reply(Reply::Take);
    process.again().await;
    let save = soon("delivered by the next process", app.wait_for_save("final")).await;
    assert_eq!(&save.bytes[..], b"final");
}
