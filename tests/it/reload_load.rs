//! Reloads while the gateway works: nothing fails, nobody is dropped, nothing broken is ever in place.
//!
//! Sizes are small, so that everybody runs them; with `FULL_SIZE=1` in the environment they are those of the promise, which
//! takes two minutes (`FULL_SIZE=1 cargo test --test it reload_load:: -- --nocapture` also prints the figures).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http_body_util::BodyExt;
use rapidpm_gateway::config;
use rapidpm_gateway::tls::Tickets;
use serde_json::{Value, json};
use standin::{Integrator, integrator};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::rig::{self, LogLines, Rig, SECRET, Setup, certificate, put, size};
use crate::wire::{self, Client, PROTOCOLS, metric, metric_sum, soon};

const PAGE: &str = "/web-apps/apps/api/documents/api.js";
/// Connections that ask without a pause, of each protocol.
const CLIENTS: usize = 4;

/// Prints a figure for whoever runs this at full size; nothing depends on it.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    println!("{what}: {} times, p50 {:?}, p99 {:?}, most {:?}", times.len(), at(50), at(99), times.last());
}

/// Requests without a pause until they are told to end.
struct Load {
    end: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Load {
    /// Of both protocols, over connections that live to the end. Each answer is judged by `judge`.
    async fn start(rig: &Rig, judge: impl Fn(&hyper::HeaderMap) + Clone + Send + Sync + 'static) -> Self {
        let mut load = Self { end: Arc::default(), answered: Arc::default(), clients: JoinSet::new() };
        for protocol in PROTOCOLS {
            for _ in 0..CLIENTS {
                let mut client = Client::new(rig.https, protocol).await;
                let (end, answered, judge) = (load.end.clone(), load.answered.clone(), judge.clone());
                load.clients.spawn(async move {
                    while !end.load(Ordering::Relaxed) {
                        let (sender, none) = wire::pieces(Some(0));
                        drop(sender);
                        let asked = wire::request(protocol, "GET", PAGE).body(none).unwrap();
                        let answer = soon(protocol, client.send(asked)).await.unwrap();
                        assert_eq!(answer.status(), 200, "{protocol}");
                        judge(answer.headers());
                        let body = soon("a body", answer.into_body().collect()).await.unwrap();
                        assert!(!body.to_bytes().is_empty());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        load
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed) as usize
    }

    /// Waits until so many requests have been answered; a client that failed fails the test.
    async fn until(&mut self, answered: usize) {
        while self.answered() < answered {
            if let Some(ended) = self.clients.try_join_next() {
                ended.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await; // one look a millisecond leaves the cores to the work
        }
    }

    async fn end(mut self) {
        self.end.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

/// An editor's socket that lives until it is told that this was all, and then still carries a question and its answer.
async fn live_socket(
    rig: &Rig,
    integrator: &Integrator,
    number: usize,
    mut end: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    let id = format!("doc{}", number / 20);
    integrator.put(&id, "txt", "Hello");
    let user = format!("user{number}");
    let token = integrator.open_token(&id, (&user, &user), "edit");
    let path = format!(
        "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/{id}/c/?EIO=4&transport=websocket&shardkey={id}"
    );
    let mut editor = Editor::connect_to(rig.https, &path).await;
    editor.say(&format!("40{}", json!({"token": token}))).await;
    let welcome = editor.next().await.unwrap();
    assert!(welcome.starts_with("40{"), "{welcome}");
    async move {
        loop {
            tokio::select! {
                message = editor.0.next() => match message {
                    Some(Ok(Message::Text(ping))) if ping.as_str() == "2" => editor.say("3").await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => panic!("socket {number} was dropped"),
                    Some(Ok(_)) => {}
                },
                _ = end.changed() => break,
            }
        }
        editor.message(&json!({"type": "auth", "jwtOpen": token, "openCmd": {"c": "open"}})).await;
        assert_eq!(editor.expect("auth").await["result"], 1);
    }
}

async fn integrator_of(rig: &Rig) -> Integrator {
    let options =
        integrator::Options { gateway: rig.server.url(), secret: SECRET.into(), ..Default::default() };
    Integrator::start(options).await.unwrap()
}

/// As many as the promise says, in one process: 1,000 reloads under 50,000 requests and 1,000 open sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_no_socket_is_dropped() {
    let (reloads, requests, sockets) = (size(40, 1_000), size(1_000, 50_000), size(60, 1_000));
    let rig = Rig::with(Setup { tables: "[headers]\nhsts = \"1000d\"\n".into(), ..Setup::default() }).await;
    let integrator = integrator_of(&rig).await;
    let (end, ending) = watch::channel(false);
    let mut editors = JoinSet::new();
    for number in 0..sockets {
        editors.spawn(live_socket(&rig, &integrator, number, ending.clone()).await);
    }
    wire::metric_becomes(rig.admin, "gateway_sockets", sockets as f64).await;
    let newest = Arc::new(AtomicU64::new(0));
    let oldest_allowed = newest.clone();
    let days = |headers: &hyper::HeaderMap| -> u64 {
        let hsts = headers["strict-transport-security"].to_str().unwrap();
        hsts.strip_prefix("max-age=").unwrap().parse::<u64>().unwrap() / 86_400 - 1_000
    };
    // What was in place when the answer began may be replaced by the time it is here, by one or by many, but never by less.
    let mut load = Load::start(&rig, move |headers| {
        assert!(days(headers) <= oldest_allowed.load(Ordering::SeqCst) + 1);
    })
    .await;
    let mut took = Vec::new();
    for number in 1..=reloads {
        rig.edit(&format!("hsts = \"{}d\"", 999 + number), &format!("hsts = \"{}d\"", 1_000 + number));
        if number % 10 == 0 {
            certificate(rig.folder.path(), "rig", &["localhost"]);
        }
        let begun = Instant::now();
        let outcome = rig.reload().await;
        took.push(begun.elapsed());
        assert_eq!((&outcome["result"], &outcome["generation"]), (&json!("applied"), &json!(number + 1)));
        newest.store(number as u64, Ordering::SeqCst);
        assert_eq!(days(&rig.get(PAGE).await.headers), number as u64, "in place when the answer is there");
        load.until(number * requests / reloads).await;
    }
    report("POST /reload under load", took);
    println!("{} requests over connections that all lived, {sockets} sockets", load.answered());
    load.end().await;
    assert_eq!(metric(rig.admin, "gateway_sockets").await, sockets as f64);
    end.send(true).unwrap();
    while let Some(editor) = editors.join_next().await {
        editor.unwrap();
    }
}

/// What lies on disk is served within the settling and a moment, every time, and whoever shakes hands meanwhile succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_swapped_under_load_and_no_handshake_fails() {
    let swaps = size(4, 200);
    let rig = Rig::with(Setup { watch: true, ..Setup::default() }).await;
    let (https, end) = (rig.https, Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for name in ["http/1.1", "h2", "http/1.1", "h2"] {
        let end = end.clone();
        clients.spawn(async move {
            let mut shaken = 0_u64;
            while !end.load(Ordering::Relaxed) {
                soon("a handshake", rig::tls(https, Some("localhost"), &[name])).await.unwrap();
                shaken += 1;
            }
            shaken
        });
    }
    let mut took = Vec::new();
    for number in 0..swaps {
        let stem = format!("next-{number}");
        certificate(rig.folder.path(), &stem, &["localhost"]);
        let at = |name: &str| rig.folder.path().join(name);
        let expected = first_of(&at(&format!("{stem}.pem")));
        fs::rename(at(&format!("{stem}.pem")), at("rig.pem")).unwrap();
        fs::rename(at(&format!("{stem}.key")), at("rig.key")).unwrap();
        let begun = Instant::now();
        let served = async {
            while shown(&rig).await != expected {
                tokio::time::sleep(Duration::from_millis(1)).await; // the load is elsewhere
            }
        };
        soon("the swapped certificate", served).await;
        took.push(begun.elapsed());
    }
    end.store(true, Ordering::Relaxed);
    let mut shaken = 0;
    while let Some(client) = clients.join_next().await {
        shaken += client.unwrap();
    }
    report("from the rename to the certificate served, 300 ms of settling in it", took);
    println!("{shaken} handshakes");
    assert_eq!(metric_sum(rig.admin, "gateway_tls_handshakes_failed_total").await, 0.0);
    assert_eq!(metric(rig.admin, "gateway_certificate_stale{certificate=\"localhost\"}").await, 0.0);
}

fn first_of(file: &Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_file(file).unwrap().to_vec()
}

async fn shown(rig: &Rig) -> Vec<u8> {
    let stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn no_broken_pair_is_ever_served() {
    let rig = Rig::start().await;
    let (chain, key) = (rig.folder.path().join("rig.pem"), rig.folder.path().join("rig.key"));
    let (good_chain, good_key) = (fs::read(&chain).unwrap(), fs::read(&key).unwrap());
    let good = shown(&rig).await;
    for number in 0..50 {
        certificate(rig.folder.path(), "other", &["localhost"]);
        let other = |kind: &str| fs::read(rig.folder.path().join(format!("other.{kind}"))).unwrap();
        // Cut anywhere before its last line is whole, a PEM file is none.
        let cut = |bytes: Vec<u8>| bytes[..(bytes.len() - 28) * (number + 1) / 50].to_vec();
        let (what, bad_chain, bad_key) = match number % 7 {
            0 => ("a chain of another key", Some(other("pem")), Some(good_key.clone())),
            1 => ("a key of another chain", Some(good_chain.clone()), Some(other("key"))),
            2 => ("half a chain", Some(cut(other("pem"))), Some(other("key"))),
            3 => ("half a key", Some(other("pem")), Some(cut(other("key")))),
            4 => ("no chain", None, Some(other("key"))),
            5 => ("no key", Some(other("pem")), None),
            _ => ("the two swapped", Some(other("key")), Some(other("pem"))),
        };
        for (file, bytes) in [(&chain, bad_chain), (&key, bad_key)] {
            match bytes {
                Some(bytes) => fs::write(file, bytes).unwrap(),
                None => fs::remove_file(file).unwrap_or(()),
            }
        }
        let outcome = rig.reload().await;
        assert_eq!((&outcome["result"], &outcome["generation"]), (&json!("refused"), &json!(1)), "{what}");
        assert_eq!(outcome["stale_certificates"], json!(["localhost"]), "{what}");
        assert_eq!(shown(&rig).await, good, "{what}");
    }
    fs::write(chain, good_chain).unwrap();
    fs::write(key, good_key).unwrap();
    assert_eq!(rig.reload().await["result"], "applied");
}

/// Every faulty file that there is, and the rig's own with a word misspelled here and there: 200 in all.
fn broken(good: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
    let mut texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let keys: Vec<usize> = good.match_indices(" = ").map(|(at, _)| at).collect();
    let wrong = ["y = ", " = = ", " = \"\" # ", " = [[", " = { x = 1 } # "];
    for (number, wrong) in (texts.len()..200).zip(wrong.iter().cycle()) {
        let at = keys[number % keys.len()];
        texts.push(format!("{}{wrong}{}", &good[..at], &good[at + 3..]));
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broken_configuration_is_applied_and_all_are_told() {
    let rig = Rig::start().await;
    let good = fs::read_to_string(rig.file()).unwrap();
    let texts = broken(&good);
    assert_eq!(texts.len(), 200);
    let load = Load::start(&rig, |_| {}).await;
    let tickets = Tickets::new().unwrap();
    for text in &texts {
        put(&rig.file(), text);
        let outcome = rig.reload().await;
        assert_eq!((&outcome["result"], &outcome["generation"]), (&json!("refused"), &json!(1)), "{text}");
        let told = outcome["faults"].as_array().unwrap();
        let expected = config::load(&rig.file(), &rig::env(), &tickets).unwrap_err();
        let expected: Vec<Value> = expected.faults().iter().map(config::Fault::to_json).collect();
        assert_eq!(told, &expected, "as check tells them");
        assert!(told.iter().all(|fault| fault["line"].as_u64() > Some(0)), "{told:?}");
    }
    assert_eq!(metric(rig.admin, "gateway_config_reloads_total{result=\"refused\"}").await, 200.0);
    println!("{} requests meanwhile", load.answered());
    load.end().await;
    put(&rig.file(), &good);
    let outcome = rig.reload().await;
    assert_eq!((&outcome["result"], &outcome["changes"]), (&json!("applied"), &json!([])));
}

/// How long it takes from a changed file to its effect, beyond the 300 ms of settling: a figure, no more.
#[tokio::test]
async fn a_changed_file_takes_effect_soon() {
    let changes = size(3, 100);
    let rig = Rig::with(Setup { watch: true, ..Setup::default() }).await;
    let live = rig.gateway.as_ref().unwrap().live.clone();
    rig.edit("[limits]\n", "[limits]\nconnections = 1000\n");
    let becomes = async |connections: usize| {
        let changed = async {
            while live.load().settings.limits.connections != connections {
                tokio::time::sleep(Duration::from_micros(500)).await; // as fine as the figure
            }
        };
        soon("the change", changed).await;
    };
    becomes(1_000).await;
    let mut took = Vec::new();
    for number in 1..=changes {
        let (old, new) = (999 + number, 1_000 + number);
        let begun = Instant::now();
        rig.edit(&format!("connections = {old}"), &format!("connections = {new}"));
        becomes(new).await;
        took.push(begun.elapsed().saturating_sub(Duration::from_millis(300)));
    }
    report("from a changed file to its effect, beyond the settling", took);
}

const NEW: &str = "a-new-one-8e1f0c7745d29b36aa01c5e2f9";

/// Asks `/command` without a pause, with tokens of whichever secrets are in use; the Document Server's own opinion of them is not
/// the question, only the gateway's.
async fn sign_on(
    https: std::net::SocketAddr,
    protocol: &'static str,
    secrets: watch::Receiver<Vec<&'static str>>,
) -> u64 {
    let mut client = Client::new(https, protocol).await;
    let mut asked = 0;
    loop {
        let secrets = secrets.borrow().clone();
        if secrets.is_empty() {
            return asked;
        }
        for secret in secrets {
            let token = standin::token::sign(secret, &json!({"c": "version"}));
            let body = json!({"c": "version", "token": token}).to_string();
            let (sender, pieces) = wire::pieces(Some(body.len() as u64));
            let request = wire::request(protocol, "POST", "/command").body(pieces).unwrap();
            let answer = client.send(request);
            sender.send(body.into()).await.unwrap();
            drop(sender);
            let answer = soon("an answer", answer).await.unwrap();
            assert_eq!(answer.headers().get("gateway-refusal"), None, "{secret}");
            answer.into_body().collect().await.unwrap();
            asked += 1;
        }
    }
}

/// The steps of the README's walk through a change of the secret, each under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_changed_and_no_request_is_refused() {
    let requests = size(200, 5_000);
    let rig = Rig::start().await;
    for (file, secret) in [("old", SECRET), ("new", NEW)] {
        fs::write(rig.folder.path().join(file), secret).unwrap();
    }
    let step = async |from: &str, to: &str| {
        rig.edit(from, to);
        assert_eq!(rig.reload().await["result"], "applied", "{to}");
    };
    let one = "secret = { env = \"ONLY_OFFICE_SECRET\" }\n";
    let first = "secret = { file = \"old\" }\nprevious = [{ file = \"new\" }]\n";
    let fourth = "secret = { file = \"new\" }\nprevious = [{ file = \"old\" }]\n";
    let last = "secret = { file = \"new\" }\nprevious = []\n";
    let (uses, used) = watch::channel(vec![SECRET]);
    let mut clients = JoinSet::new();
    for protocol in PROTOCOLS {
        clients.spawn(sign_on(rig.https, protocol, used.clone()));
    }
    let counted =
        async |secret: &str| metric(rig.admin, &format!("gateway_tokens_total{{secret=\"{secret}\"}}")).await;
    let more = async |secret: &str| {
        let enough = counted(secret).await + requests as f64;
        while counted(secret).await < enough {
            tokio::time::sleep(Duration::from_millis(2)).await; // the load needs the cores
        }
    };
    let last_used = async |secret: &str| {
        metric(rig.admin, &format!("gateway_token_last_used_timestamp_seconds{{secret=\"{secret}\"}}")).await
    };
    more("current").await;
    step(one, first).await;
    more("current").await;
    assert_eq!(last_used("previous-1").await, 0.0, "nobody has moved yet");
    uses.send(vec![SECRET, NEW]).unwrap(); // one is moved after the other
    more("previous-1").await;
    assert!(last_used("previous-1").await > 1.7e9);
    step(first, fourth).await;
    more("current").await;
    more("previous-1").await;
    uses.send(vec![NEW]).unwrap(); // all have moved
    more("current").await;
    let (before, at) = (counted("previous-1").await, last_used("previous-1").await);
    more("current").await;
    assert_eq!(
        (counted("previous-1").await, last_used("previous-1").await),
        (before, at),
        "the old one rests"
    );
    step(fourth, last).await;
    more("current").await;
    uses.send(Vec::new()).unwrap();
    let mut asked = 0;
    while let Some(client) = clients.join_next().await {
        asked += client.unwrap();
    }
    println!("{asked} requests over all steps");
    assert_eq!(metric_sum(rig.admin, "gateway_refusals_total{reason=\"token_signature\"").await, 0.0);
    // And the old one opens nothing any more.
    let token = standin::token::sign(SECRET, &json!({"c": "version"}));
    let body = json!({"c": "version", "token": token}).to_string();
    let refused = crate::raw::Client::of(&rig).post("/command", "", &body).await;
    assert_eq!(refused.refusal(), Some("token_signature"));
    no_secret_in(&rig.log);
}

fn no_secret_in(log: &LogLines) {
    for line in log.all() {
        let line = line.to_string();
        assert!(!line.contains(SECRET) && !line.contains(NEW), "{line}");
    }
}
