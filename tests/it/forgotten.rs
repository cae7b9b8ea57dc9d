//! What nobody took is found at the Document Server, shown, fetched, and cleared only once the very same bytes are delivered.

use serde_json::{Value, json};
use standin::integrator::{Callback, Reply};
use standin::{Fault, Integrator};

use crate::process::{Process, command};
use crate::relay::{application, posted, setup};
use crate::relay_crash::send;
use crate::rig::{Got, Rig};
use crate::wire::soon;

struct House {
    rig: Rig,
    app: Integrator,
}

impl House {
    async fn start() -> Self {
        let app = application().await;
        let rig = Rig::with(setup(&app, vec![])).await;
        Self { rig, app }
    }

    async fn post(&self, key: &str, words: &[u8]) -> Got {
        let link = self.rig.server.cache(key, "output.docx", words);
        let fields = json!({"key": key, "status": 2, "url": format!("{}{link}", self.rig.server.url()),
            "lastsave": "2026-11-22T04:07:11.000Z", "filetype": "docx"});
        self.rig.send(posted(self.rig.https.port(), &format!("callback?id={key}"), &fields)).await
    }

    async fn event(&self, message: &'static str, key: &'static str) -> Value {
        self.rig.log.wait_for(move |line| line["message"] == message && line["key"] == key).await
    }

    /// The number of the one save that waits, for an order.
    fn order(&self, verb: &str) {
        let saves = self.rig.folder.path().join("saves");
        let save = std::fs::read_dir(saves.join("saves")).unwrap().next().unwrap().unwrap().file_name();
        std::fs::write(saves.join("orders").join(format!("{verb}-{}", save.to_str().unwrap())), "").unwrap();
    }
}

const FOUND: &str = "the Document Server holds a file that nobody took: saves list --forgotten";
const CLEARED: &str = "the Document Server's own copy was cleared: the save is delivered";
const OTHER: &str = "the Document Server holds another version of a document than the one that was delivered";

#[tokio::test]
async fn what_a_refused_save_leaves_is_cleared_when_it_is_delivered_after_all() {
    let house = House::start().await;
    house.app.set_reply(Reply::Error(1));
    assert_eq!(house.post("k", b"words").await.text(), "{\"error\":1}");
    house.rig.server.forget("k", b"words".as_slice()); // as it does on such an answer
    house.rig.server.forget("stranger", b"old".as_slice());
    let found = house.event(FOUND, "k").await;
    assert_eq!(
        (found["integrator"].as_str(), found["callback"].as_str()),
        (Some("rapidpm"), Some("callback?id=k"))
    );
    assert_eq!(house.event(FOUND, "stranger").await["integrator"], "unknown");
    let numbers = || house.rig.gateway.as_ref().unwrap().ops.metrics.render();
    assert!(numbers().contains("gateway_forgotten_files 2"), "{}", numbers());
    house.app.set_reply(Reply::Take);
    house.order("retry");
    house.event(CLEARED, "k").await;
    soon("its end", house.rig.server.wait_for_cleared("k")).await;
    assert_eq!(house.rig.server.forgotten(), ["stranger"], "nothing else is touched");
    let told =
        house.rig.log.all().iter().filter(|line| line["message"] == FOUND && line["key"] == "k").count();
    assert_eq!(told, 1, "once for each key");
}

/// Somebody went on from the forgotten copy past the gateway: what lies there is newer, and stays.
#[tokio::test]
async fn another_version_is_never_cleared() {
    for other in [b"newer".as_slice(), b"much, much longer than what was delivered"] {
        let house = House::start().await;
        house.app.set_reply(Reply::Error(1));
        house.post("k", b"words").await;
        house.rig.server.forget("k", other);
        house.event(FOUND, "k").await;
        house.app.set_reply(Reply::Take);
        house.order("retry");
        house.event(OTHER, "k").await;
        assert_eq!(house.rig.server.forgotten(), ["k"]);
    }
}

/// A delivery that is not confirmed clears nothing.
#[tokio::test]
async fn an_unconfirmed_save_clears_nothing() {
    let house = House::start().await;
    house.rig.server.forget("k", b"words".as_slice());
    house.app.set_reply(Reply::Status(500));
    assert_eq!(house.post("k", b"words").await.text(), "{\"error\":0}");
    house.event(FOUND, "k").await;
    let again =
        |callback: &Callback| callback.claims["url"].as_str().is_some_and(|url| url.contains("/saved/"));
    soon("a second try", house.app.wait_for_callback(again)).await;
    assert_eq!(house.rig.server.forgotten(), ["k"]);
    house.app.set_reply(Reply::Take);
    house.event(CLEARED, "k").await;
}

#[tokio::test]
async fn a_document_server_that_does_not_answer_is_named_once() {
    let house = House::start().await;
    house.app.set_reply(Reply::Error(1));
    house.rig.server.fault("/command", Fault::Status(502));
    let silent = |line: &Value| line["message"] == "a Document Server could not be asked for forgotten files";
    for key in ["a", "b"] {
        house.post(key, b"words").await; // each makes the gateway look
        let line = house.rig.log.wait_for(silent).await;
        assert!(line["error"].as_str().unwrap().contains("502"), "{line}");
    }
    house.rig.server.clear_faults();
    house.rig.server.forget("c", b"x".as_slice());
    house.post("c", b"words").await;
    house.event(FOUND, "c").await;
    assert_eq!(house.rig.log.all().iter().filter(|line| silent(line)).count(), 1);
}

#[tokio::test]
async fn operators_list_and_export_beside_a_running_gateway_and_without() {
    let app = application().await;
    let mut process = Process::start(setup(&app, vec![])).await;
    app.set_reply(Reply::Error(1));
    let link = process.server.cache("k", "output.docx", b"words".as_slice());
    let fields = json!({"key": "k", "status": 2, "url": format!("{}{link}", process.server.url()), "filetype": "docx"});
    let request = posted(process.https.port(), "callback?id=7", &fields);
    assert_eq!(send(process.https, request).await.unwrap().text(), "{\"error\":1}");
    for (key, bytes) in [("k", "words"), ("stranger", "old")] {
        process.server.forget(key, bytes.as_bytes());
    }
    let file = process.file();
    let run = |arguments: &[&str]| {
        let mut all = vec!["saves"];
        all.extend(arguments);
        all.extend(["--config", file.to_str().unwrap()]);
        let mut command = command(&all);
        async move { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() }
    };
    let text = |done: &std::process::Output| String::from_utf8(done.stdout.clone()).unwrap();
    // What is remembered is written behind the answer.
    let listed = loop {
        let done = run(&["list", "--forgotten", "--json"]).await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let listed: Value = serde_json::from_str(&text(&done)).unwrap();
        if listed[0]["integrator"] == "rapidpm" {
            break listed;
        }
    };
    assert_eq!((&listed[0]["key"], &listed[0]["callback"]), (&json!("k"), &json!("callback?id=7")));
    assert_eq!(
        listed[0]["saves"].as_array().map(Vec::len),
        Some(1),
        "the refused save is here, too: {listed}"
    );
    assert_eq!((&listed[1]["key"], &listed[1]["integrator"]), (&json!("stranger"), &Value::Null));
    process.signal("KILL");
    process.child.wait().unwrap();
    let table = text(&run(&["list", "--forgotten"]).await);
    assert!(table.contains("stranger") && table.contains("callback?id=7"), "{table}");
    let target = process.folder.path().join("out.docx");
    let done = run(&["export", "--forgotten", "stranger", target.to_str().unwrap()]).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::read(&target).unwrap(), b"old");
    let again = run(&["export", "--forgotten", "stranger", target.to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(1), "a file that is there is not overwritten");
    let nothing = process.folder.path().join("nothing");
    let absent = run(&["export", "--forgotten", "absent", nothing.to_str().unwrap()]).await;
    assert!(absent.status.code() == Some(1) && !nothing.exists());
    process.server.stop().await;
    let silent = run(&["list", "--forgotten"]).await;
    assert_eq!(silent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&silent.stderr).contains(&process.server.address().to_string()));
}
