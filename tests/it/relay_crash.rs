//! Nothing that was acknowledged is lost: the application is away, the Document Server is gone, the gateway is killed.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use standin::Integrator;
use standin::integrator::Reply;

use crate::process::{Process, command};
use crate::relay::{application, posted, setup};
use crate::rig::{self, Got};
use crate::wire::soon;

const KILLS: usize = 5;

pub async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Option<Got> {
    let stream = rig::tls(to, Some("localhost"), &["http/1.1"]).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(Got::from(sender.send_request(request).await.ok()?).await)
}

fn save(process: &Process, key: &str, words: &[u8]) -> Value {
    let link = process.server.cache(key, "output.docx", words);
    json!({"key": key, "status": 2, "url": format!("{}{link}", process.server.url()), "lastsave": key, "filetype": "docx"})
}

async fn started() -> (Process, Integrator) {
    let app = application().await;
    let process = Process::start(setup(&app, vec![])).await;
    (process, app)
}

#[tokio::test]
async fn an_outage_longer_than_the_document_servers_patience() {
    let (process, app) = started().await;
    app.stop().await;
    for at in 0..5 {
        let key = format!("k{at}");
        let fields = save(&process, &key, key.as_bytes());
        let request = posted(process.https.port(), &format!("callback?id={at}"), &fields);
        let got = send(process.https, request).await.unwrap();
        assert_eq!((got.status, got.text()), (200, "{\"error\":0}"), "{key}");
    }
    // The link dies with the Document Server; the bytes are here.
    process.server.stop().await;
    app.start_again().await.unwrap();
    let saves = soon("all of them", app.wait_for_saves(5)).await;
    for save in saves {
        assert_eq!(&save.bytes[..], save.key.as_bytes());
        assert!(save.url.contains("/saved/"), "{}", save.url);
    }
}

#[tokio::test]
async fn a_killed_gateway_delivers_what_it_had_acknowledged() {
    let (mut process, app) = started().await;
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        app.set_reply(if round % 2 == 0 {
            Reply::Status(503)
        } else {
            Reply::Slow(Duration::from_millis(3))
        });
        let posts = (0..6).map(|at| {
            let key = format!("k{round}-{at}");
            let fields = save(&process, &key, key.as_bytes());
            let request = posted(process.https.port(), &format!("callback?id={key}"), &fields);
            let to = process.https;
            tokio::spawn(async move { (key, send(to, request).await) })
        });
        let posts: Vec<_> = posts.collect();
        // The blow falls at another point of the work each time: after the first answer, the second …
        let mut posts = futures_util::stream::FuturesUnordered::from_iter(posts);
        for _ in 0..=round {
            let next = futures_util::StreamExt::next(&mut posts).await.unwrap().unwrap();
            acknowledged.extend(next.1.filter(|got| got.text() == "{\"error\":0}").map(|_| next.0));
        }
        process.signal("KILL");
        while let Some(Ok((key, got))) = futures_util::StreamExt::next(&mut posts).await {
            acknowledged.extend(got.filter(|got| got.text() == "{\"error\":0}").map(|_| key));
        }
        process.again().await;
    }
    app.set_reply(Reply::Take);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    for key in &acknowledged {
        let save = soon("an acknowledged save", app.wait_for_save(key)).await;
        assert_eq!(&save.bytes[..], key.as_bytes());
    }
    let all = app.callbacks();
    for callback in &all {
        let own = callback.header("idempotency-key");
        assert!(
            all.iter().all(|other| (other.header("idempotency-key") == own) == (other.key == callback.key))
        );
        let taken = app.saves().iter().filter(|save| save.key == callback.key).count();
        // A kill between the application's taking it and the journal's line about that: once for each kill at most.
        assert!(taken <= 1 + KILLS, "{}: {taken}", callback.key);
    }
}

#[tokio::test]
async fn operators_see_export_retry_and_discard_beside_a_running_gateway() {
    let (process, app) = started().await;
    app.set_reply(Reply::Error(1));
    for key in ["first", "second"] {
        let fields = save(&process, key, key.as_bytes());
        let request = posted(process.https.port(), &format!("callback?id={key}"), &fields);
        assert_eq!(send(process.https, request).await.unwrap().text(), "{\"error\":1}");
    }
    let file = process.file();
    let run = |arguments: &[&str]| {
        let mut all = vec!["saves"];
        all.extend(arguments);
        all.extend(["--config", file.to_str().unwrap()]);
        let done = command(&all).output().unwrap();
        assert!(done.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    // The journal is written behind the answer.
    let listed = loop {
        let listed: Value = serde_json::from_str(&run(&["list", "--json"])).unwrap();
        if listed.as_array().unwrap().iter().all(|save| save["state"] == "refused") {
            break listed;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let number = |key: &str| {
        let save = listed.as_array().unwrap().iter().find(|save| save["key"] == key).unwrap();
        save["save"].as_str().unwrap().to_owned()
    };
    assert!(run(&["list"]).contains("refused"));
    assert!(run(&["show", &number("first")]).contains("callback?id=first"));
    let target = process.folder.path().join("out.docx");
    run(&["export", &number("first"), target.to_str().unwrap()]);
    assert_eq!(std::fs::read(target).unwrap(), b"first");
    app.set_reply(Reply::Take);
    run(&["retry", &number("first")]);
    assert_eq!(&soon("the retry", app.wait_for_save("first")).await.bytes[..], b"first");
    run(&["discard", &number("second")]);
    while run(&["list"]).contains("second") {
        tokio::task::yield_now().await;
    }
    assert!(run(&["list", "--all"]).contains("discarded"));
    let missing = command(&["saves", "show", "77", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}
