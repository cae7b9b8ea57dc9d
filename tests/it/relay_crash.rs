//! Nothing that was acknowledged is lost: the application is away, the Document Server is gone, the gateway is killed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rapidpm_gateway::relay::spool::{RealDisk, Spool};
use serde_json::{Value, json};
use standin::Integrator;
use standin::integrator::Reply;

use crate::process::{Process, command};
use crate::relay::{application, posted, setup};
use crate::rig::{self, Got};
use crate::wire::soon;

/// 200 in the gate: `KILLS=200 cargo test --test it relay_crash`.
fn kills() -> usize {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10)
}

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

/// What was acknowledged, by key: `at_once` saves are under way when the gateway is killed.
async fn blow(
    process: &mut Process,
    app: &Integrator,
    (round, at_once): (usize, u8),
    random: &mut fastrand::Rng,
) -> Vec<String> {
    app.set_reply(match random.u8(..3) {
        0 => Reply::Status(503),
        1 => Reply::Slow(Duration::from_millis(random.u64(1..30))),
        _ => Reply::Take,
    });
    let posts = (0..at_once).map(|at| {
        let key = format!("k{round}-{at}");
        let fields = save(process, &key, key.as_bytes());
        let request = posted(process.https.port(), &format!("callback?id={key}"), &fields);
        let to = process.https;
        tokio::spawn(async move { (key, send(to, request).await) })
    });
    let mut posts: futures_util::stream::FuturesUnordered<_> =
        posts.collect::<Vec<_>>().into_iter().collect();
    let mut acknowledged = Vec::new();
    let mut note = |(key, got): (String, Option<Got>)| {
        acknowledged.extend(got.filter(|got| got.text() == "{\"error\":0}").map(|_| key));
    };
    // The blow falls anywhere: before the first answer, between two of them, or a little later.
    for _ in 0..random.u8(..=at_once) {
        note(futures_util::StreamExt::next(&mut posts).await.unwrap().unwrap());
    }
    tokio::time::sleep(Duration::from_micros(random.u64(..20_000))).await; // the point of the blow is what is random
    process.signal("KILL");
    while let Some(Ok(answered)) = futures_util::StreamExt::next(&mut posts).await {
        note(answered);
    }
    acknowledged
}

/// How often the application took each save.
fn takings(app: &Integrator) -> HashMap<String, usize> {
    let mut taken = HashMap::new();
    app.saves().into_iter().for_each(|save| *taken.entry(save.key).or_default() += 1);
    taken
}

/// Every try of a save has one `Idempotency-Key`, and no other save has it.
fn names_are_true(app: &Integrator) {
    let mut keys = HashMap::new();
    for callback in &app.callbacks() {
        let own = callback.header("idempotency-key").expect("every try has its name").to_owned();
        assert_eq!(*keys.entry(callback.key.clone()).or_insert_with(|| own.clone()), own, "one name a save");
    }
    let names: HashSet<&String> = keys.values().collect();
    assert_eq!(names.len(), keys.len(), "and one save a name");
}

/// Six saves under way at each kill, and those that an application that was away has left over. A kill can fall between the
/// application's taking a save and the journal's line about it, for each of them: a save is delivered at most once for each
/// life of the gateway in which it was open.
#[tokio::test]
async fn a_killed_gateway_delivers_what_it_had_acknowledged() {
    let (mut process, app) = started().await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut acknowledged = Vec::new();
    // By key: kills between its arrival and its last taking. One that is seen late counts for a later kill, never for fewer.
    let (mut seen, mut lived) = (0, HashMap::new());
    let mut look = |kills: usize| {
        for save in app.saves().into_iter().skip(seen) {
            let round: usize = save.key[1..].split('-').next().unwrap().parse().unwrap();
            lived.insert(save.key, kills - round);
            seen += 1;
        }
        lived.clone()
    };
    for round in 0..kills() {
        acknowledged.extend(blow(&mut process, &app, (round, 6), &mut random).await);
        look(round + 1);
        process.again().await;
    }
    app.set_reply(Reply::Take);
    assert!(acknowledged.len() > kills(), "{acknowledged:?}");
    for key in &acknowledged {
        let save = soon(key, app.wait_for_save(key)).await;
        assert_eq!(&save.bytes[..], key.as_bytes());
    }
    names_are_true(&app);
    let lived = look(kills());
    let taken = takings(&app);
    let twice: usize = taken.values().map(|times| times - 1).sum();
    println!(
        "{} kills with six saves under way: {} acknowledged, {} taken, {twice} once more",
        kills(),
        acknowledged.len(),
        taken.len()
    );
    for (key, times) in &taken {
        assert!(*times <= 1 + lived[key], "{key}: taken {times} times in {} kills", lived[key]);
    }
}

/// With one save under way, a kill costs at most one duplicate.
#[tokio::test]
async fn a_killed_gateway_delivers_one_save_twice_at_most() {
    let (mut process, app) = started().await;
    let mut random = fastrand::Rng::with_seed(11);
    let spool = Spool::new(process.folder.path().join("saves"), Arc::new(RealDisk));
    let mut acknowledged = 0;
    for round in 0..kills() {
        let keys = blow(&mut process, &app, (round, 1), &mut random).await;
        app.set_reply(Reply::Take);
        process.again().await;
        let settled = async {
            // Beside a running gateway a look is free, and the journal has no event for this.
            while spool.list().unwrap().iter().any(|save| save.state.is_none()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the save to be settled before the next comes", settled).await;
        assert!(keys.iter().all(|key| app.saved(key).is_some_and(|save| save.bytes == key.as_bytes())));
        acknowledged += keys.len();
    }
    names_are_true(&app);
    let taken = takings(&app);
    let twice = taken.values().filter(|times| **times > 1).count();
    println!(
        "{} kills with one save under way: {acknowledged} acknowledged, {} taken, {twice} once more",
        kills(),
        taken.len()
    );
    assert!(taken.values().all(|times| *times <= 2), "each lived through one kill: {taken:?}");
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
    assert!(run(&["retry", &number("first")]).contains(": taken; "));
    assert_eq!(&soon("the retry", app.wait_for_save("first")).await.bytes[..], b"first");
    let said: Value = serde_json::from_str(&run(&["discard", &number("second"), "--json"])).unwrap();
    assert_eq!((&said["outcome"], &said["state"]), (&json!("taken"), &json!("discarded")), "{said}");
    assert!(!run(&["list"]).contains("second"));
    assert!(run(&["list", "--all"]).contains("discarded"));
    let missing = command(&["saves", "show", "77", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}
