//! What happens to people's saves on bad days, one test a story.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use rapidpm_gateway::relay::spool::{RealDisk, Spool};
use rapidpm_gateway::rules::save::Survey;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::integrator::Reply;
use standin::{DocumentServer, Fault, Integrator, Network, clock, token};

use crate::desk::Desk;
use crate::process::Process;
use crate::relay::{CALLBACK, Trio, application, posted, setup};
use crate::relay_crash::send;
use crate::rig::SECRET;
use crate::wire::soon;

/// A relay between stand-ins; what is kept is not served here, so later tries only have to come.
struct Scene {
    desk: Desk,
    app: Integrator,
    server: DocumentServer,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn with(lines: Vec<(&'static str, String)>) -> Self {
        let app = application().await;
        let options =
            Options { secret: SECRET.into(), network: Network::default().insecure(), ..Options::default() };
        let server = DocumentServer::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let desk =
            Desk::start(&setup(&app, lines), server.address(), folder.path(), Arc::new(RealDisk)).unwrap();
        Self { desk, app, server, folder }
    }

    fn fields(&self, key: &str, status: u32, bytes: &[u8]) -> Value {
        let link = self.server.cache(key, "output.docx", bytes);
        json!({"key": key, "status": status, "url": format!("{}{link}", self.server.url()), "filetype": "docx",
            "lastsave": format!("{key}-{status}")})
    }

    async fn post(&self, target: &str, fields: &Value) -> (u16, String) {
        let answer = self.desk.post(target, fields).await.unwrap();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    fn saves(&self) -> Survey {
        self.desk.relay.status().saves
    }

    async fn until(&self, what: &str, is: impl Fn(&Survey) -> bool) {
        let waited = async {
            while !is(&self.saves()) {
                tokio::time::sleep(Duration::from_millis(5)).await; // the machine has no event for this
            }
        };
        soon(what, waited).await;
    }

    /// Status and key of every callback that the application was sent, in order.
    fn heard(&self) -> Vec<(u32, String)> {
        self.app.callbacks().into_iter().map(|callback| (callback.status, callback.key)).collect()
    }
}

fn zero() -> (u16, String) {
    (200, "{\"error\":0}".into())
}

#[tokio::test]
async fn an_answer_after_the_patience_still_counts() {
    let scene = Scene::with(vec![("saves", "answer_within = \"50ms\"".into())]).await;
    scene.app.set_reply(Reply::Slow(Duration::from_millis(600)));
    assert_eq!(scene.post(CALLBACK, &scene.fields("k", 2, b"x")).await, zero());
    assert_eq!(scene.saves().waiting, 1, "taken over while its request runs on");
    scene.until("its end", |saves| saves.open == 0).await;
    assert_eq!((scene.heard().len(), scene.saves().parked()), (1, 0), "sent once");
}

#[tokio::test]
async fn a_newer_key_is_saved_before_the_retry_would_come() {
    let scene = Scene::with(vec![("saves", "answer_within = \"50ms\"".into())]).await;
    // The application is in trouble when the first save comes, answers too late, and badly.
    scene.app.set_reply(Reply::Status(500));
    assert_eq!(scene.post(CALLBACK, &scene.fields("k1", 2, b"old")).await, zero());
    // It is well again, gives out a new key for the same document, and that is edited and saved.
    scene.app.set_reply(Reply::Error(0));
    assert_eq!(scene.post(CALLBACK, &json!({"key": "k2", "status": 1})).await, zero());
    assert_eq!(scene.post(CALLBACK, &scene.fields("k2", 2, b"new")).await, zero());
    scene.until("the old one", |saves| saves.superseded == 1 && saves.open == 0).await;
    let last = scene.heard().into_iter().rfind(|(status, _)| *status == 2).unwrap();
    assert_eq!(last.1, "k2", "the newer one is not overwritten");
    let kept = Spool::new(scene.folder.path().join("saves"), Arc::new(RealDisk));
    let old =
        kept.list().unwrap().into_iter().find(|found| found.record.as_ref().unwrap().key == "k1").unwrap();
    let document = kept.document(old.id, rapidpm_gateway::relay::spool::Role::Document);
    assert_eq!(std::fs::read(document).unwrap(), b"old", "and the old one is not lost");
}

#[tokio::test]
async fn a_force_save_and_a_submission_during_an_outage() {
    let scene = Scene::with(vec![]).await;
    scene.app.set_reply(Reply::Status(503));
    let mut forced = scene.fields("k", 6, b"forced");
    forced["forcesavetype"] = json!(1);
    assert_eq!(scene.post(CALLBACK, &forced).await.0, 503, "the truth: the user sees that it failed");
    assert_eq!(scene.saves().reserve, 1, "and yet it is here");
    let mut submitted = scene.fields("k", 6, b"a form");
    submitted["forcesavetype"] = json!(3);
    submitted["lastsave"] = json!("later");
    submitted["formsdataurl"] = submitted["url"].clone();
    assert_eq!(scene.post(CALLBACK, &submitted).await, zero(), "nothing would repeat it");
    assert_eq!(scene.post(CALLBACK, &scene.fields("k", 2, b"the end")).await, zero());
    assert_eq!(scene.saves().reserve, 0, "the session's end holds all of it");
    assert_eq!(scene.saves().waiting, 2);
    scene.app.set_reply(Reply::Error(0));
    let before = scene.heard().len();
    scene.until("both", |saves| saves.open == 0).await;
    let order: Vec<u32> = scene.heard().into_iter().skip(before).map(|(status, _)| status).collect();
    assert!(order.ends_with(&[6, 2]), "in their order: {order:?}");
    assert_eq!(scene.saves().parked(), 0);
    let form = scene.app.callbacks().into_iter().rfind(|callback| callback.status == 6).unwrap();
    assert!(form.claims["formsdataurl"].as_str().unwrap().contains("/saved/"));
}

#[tokio::test]
async fn the_document_server_restarts_in_the_middle_of_a_save() {
    let scene = Scene::with(vec![]).await;
    scene.app.set_reply(Reply::Error(0));
    scene.server.fault_times("/cache/files", Fault::Cut(3), 2);
    let fields = scene.fields("cut", 2, b"whole");
    assert_eq!(scene.post("callback?id=1", &fields).await, zero());
    assert_eq!(scene.desk.relay.status().complaints(), Vec::<String>::new(), "fetched again, and kept");
    let fields = scene.fields("gone", 2, b"whole");
    scene.server.stop().await;
    let waiting = scene.desk.post("callback?id=2", &fields);
    scene.server.start_again().await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(scene.desk.relay.status().complaints(), Vec::<String>::new());
    assert!(scene.desk.counts("onlyoffice_download_duration_seconds_count 2"));
}

#[tokio::test]
async fn a_full_directory_passes_through_and_has_room_again() {
    let lines = vec![("saves", "max_document = \"2KiB\"\nmax_size = \"3KiB\"".into())];
    let scene = Scene::with(lines).await;
    scene.app.set_reply(Reply::Status(503));
    let large = [b'x'; 1_900];
    assert_eq!(scene.post("callback?id=1", &scene.fields("a", 2, &large)).await, zero());
    let (status, _) = scene.post("callback?id=2", &scene.fields("b", 2, &large)).await;
    assert_eq!(status, 503, "the truth: it is not here");
    assert!(scene.desk.relay.status().complaints()[0].contains("full"));
    scene.app.set_reply(Reply::Error(0));
    let room = async {
        while scene.desk.relay.status().bytes.0 > 1_100 {
            tokio::time::sleep(Duration::from_millis(5)).await; // the journal has no event for this
        }
    };
    soon("room", room).await;
    assert_eq!(scene.post("callback?id=2", &scene.fields("b", 2, &large)).await, zero(), "asked again");
    assert_eq!(scene.desk.relay.status().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_document_that_is_not_given_out_is_passed_through_once() {
    let scene = Scene::with(vec![]).await;
    scene.server.fault("/cache/files", Fault::Status(403));
    for (reply, status) in [(Reply::Error(0), 200), (Reply::Status(500), 500), (Reply::Reset, 503)] {
        scene.app.set_reply(reply.clone());
        let before = scene.heard().len();
        let fields = scene.fields(&format!("k{status}"), 2, b"x");
        assert_eq!(scene.post(&format!("callback?id={status}"), &fields).await.0, status, "{reply:?}");
        assert_eq!(scene.heard().len(), before + 1, "{reply:?}: once");
        assert_eq!(scene.saves().open, 0, "{reply:?}: nothing is taken over");
    }
    assert!(scene.desk.relay.status().complaints()[0].contains("403"));
}

#[tokio::test]
async fn a_thousand_copies_are_one_delivery() {
    let scene = Scene::with(vec![]).await;
    scene.app.set_reply(Reply::Slow(Duration::from_millis(100)));
    scene.app.reply_times(2, Reply::Error(0), 1);
    let fields = scene.fields("k", 2, b"x");
    let mut answers = Vec::new();
    for _ in 0..1_000 {
        answers.push(scene.desk.post(CALLBACK, &fields));
        tokio::task::yield_now().await; // the relay takes so many at once, and no more
    }
    for answer in answers {
        assert_eq!(&answer.await.unwrap().body[..], b"{\"error\":0}");
    }
    assert_eq!(scene.heard().len(), 1);
}

#[tokio::test]
async fn a_long_history_is_cut_from_the_body_and_not_lost() {
    let scene = Scene::with(vec![]).await;
    scene.app.set_reply(Reply::Error(0));
    let mut whole = scene.fields("big", 2, b"x");
    whole["history"] = json!({"changes": vec!["a change of some length"; 400]});
    whole["changesurl"] = whole["url"].clone();
    let now = clock::system();
    let mut cut = whole.clone();
    ["changesurl", "history"].iter().for_each(|name| drop(cut.as_object_mut().unwrap().remove(*name)));
    let header = token::sign(SECRET, &token::expiring(json!({"payload": cut}), &now, 300));
    cut["token"] = token::sign(SECRET, &token::expiring(whole, &now, 300)).into();
    let header = format!("Bearer {header}");
    let headers = [("authorization", header.as_str())];
    let answer = scene.desk.hand_in(CALLBACK, cut.to_string().into(), &headers, std::time::SystemTime::now());
    assert_eq!(answer.await.unwrap().status, 200);
    let heard = scene.app.callbacks().remove(0);
    assert_eq!(heard.body, cut.to_string());
    assert_eq!(heard.claims["history"]["changes"].as_array().map(Vec::len), Some(400));
    let folder = scene.folder.path().join("saves/saves");
    let record = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path().join("record");
    assert!(
        std::fs::read_to_string(record).unwrap().contains("\"role\":\"changes\""),
        "and its changes are kept"
    );
}

#[tokio::test]
async fn what_is_encrypted_is_not_looked_into() {
    let trio = Trio::start(vec![("saves", "validate = \"reject\"".into())]).await;
    let mut fields = trio.save("broken", 2, b"no document at all");
    assert_eq!(trio.post("callback?id=1", &fields).await.text(), "{\"error\":1}", "it stays with the server");
    assert_eq!(trio.app.callbacks().len(), 0);
    fields = trio.save("secret", 2, b"ciphertext");
    fields["encrypted"] = json!(true);
    assert_eq!(trio.post("callback?id=2", &fields).await.text(), "{\"error\":0}");
    assert_eq!(&trio.app.saved("secret").unwrap().bytes[..], b"ciphertext");
}

/// Half an hour later, as far as its record says.
fn age(root: &Path) {
    let spool = Spool::new(root.into(), Arc::new(RealDisk));
    for found in spool.list().unwrap() {
        let mut record = found.record.unwrap();
        record.since -= 30 * 60_000;
        let json = serde_json::to_string(&record).unwrap();
        let text = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        std::fs::write(spool.folder(found.id).join("record"), text).unwrap();
    }
}

#[tokio::test]
async fn the_application_comes_back_half_an_hour_after_every_link_has_died() {
    let app = application().await;
    let mut process = Process::start(setup(&app, vec![])).await;
    app.stop().await;
    for key in ["a", "b"] {
        let link = process.server.cache(key, "output.docx", key.as_bytes());
        let fields = json!({"key": key, "status": 2, "url": format!("{}{link}", process.server.url()), "filetype": "docx"});
        let request = posted(process.https.port(), &format!("callback?id={key}"), &fields);
        assert_eq!(send(process.https, request).await.unwrap().text(), "{\"error\":0}");
    }
    process.server.stop().await;
    process.signal("KILL");
    process.child.wait().unwrap();
    age(&process.folder.path().join("saves"));
    process.again().await;
    app.start_again().await.unwrap();
    for save in soon("both", app.wait_for_saves(2)).await {
        assert_eq!(&save.bytes[..], save.key.as_bytes());
        assert!(save.url.contains("/saved/"), "{}", save.url);
        let port = process.https.port();
        let path = save.url.split_once("/saved/").unwrap().1;
        let get = Request::get(format!("/saved/{path}")).header("host", format!("localhost:{port}"));
        let got = send(process.https, get.body(Full::default()).unwrap()).await.unwrap();
        // Settled, it is given out no more; until that is written down, it still is.
        assert!(matches!(got.status, 200 | 403 | 404 | 410), "{}", got.status);
    }
}
