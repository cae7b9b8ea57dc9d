//! Editors of a document whose save is under way: held until it is settled, told what to do, and never let in to a version that is
//! about to be replaced (design 5.6).

use std::time::Duration;

use rapidpm_gateway::app::Deadlines;
use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::{Integrator, clock, token};

use crate::editor::{Editor, PATH};
use crate::polling::Poller;
use crate::relay::{CALLBACK, Trio, application, setup};
use crate::rig::{Rig, SECRET, Setup};
use crate::wire::{metric, metric_becomes, soon};

const HELD: &str = "gateway_editors_held";
const TRY_LATER: u16 = 1013;

/// A gateway whose editors wait this long for a save, and whose saves are taken over at once.
async fn trio(hold: Duration, lines: Vec<(&'static str, String)>) -> Trio {
    let app = application().await;
    let own = [
        ("saves", "answer_within = \"100ms\"".to_owned()),
        ("sockets", "origins = [\"https://localhost\"]".to_owned()),
    ];
    let lines = own.into_iter().chain(lines).collect();
    let deadlines = Deadlines { hold, ..Deadlines::default() };
    let rig = Rig::with(Setup { deadlines, ..setup(&app, lines) }).await;
    app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
    Trio { rig, app }
}

/// The last editor of "demo" has gone, and RapidPM takes nothing.
async fn waiting(trio: &Trio) {
    trio.app.set_reply_to(2, Reply::Status(503));
    let got = trio.post(CALLBACK, &trio.save("demo", 2, b"the words")).await;
    assert_eq!((got.status, got.text()), (200, "{\"error\":0}"), "it was taken over");
    assert_eq!(metric(trio.rig.admin, "onlyoffice_transition_locks").await, 1.0);
}

async fn knock(trio: &Trio, auth: Value) -> Editor {
    let mut editor = Editor::connect_to(trio.rig.https, PATH).await;
    editor.say(&format!("40{auth}")).await;
    editor
}

fn open(app: &Integrator, mode: &str) -> Value {
    json!({"token": app.open_token("demo", ("bob", "Bob"), mode)})
}

fn session() -> Value {
    json!({"session": token::sign(SECRET, &token::session("demo", ("ann", "Ann"), 1, &clock::system()))})
}

/// The code of the refusal that comes next, and that of the close behind it.
async fn told(editor: &mut Editor) -> (u64, u16) {
    let packet = editor.next().await.unwrap();
    let said: Value = serde_json::from_str(packet.strip_prefix("44").unwrap()).unwrap();
    assert_eq!(said["message"], "not authorized");
    (said["data"]["code"].as_u64().unwrap(), editor.closed().await.unwrap())
}

fn undialled(trio: &Trio) {
    assert_eq!(trio.rig.server.upgrades(), 0);
}

#[tokio::test]
async fn who_reopens_while_rapidpm_is_down_waits_for_its_return_and_gets_the_new_version() {
    let trio = trio(Duration::from_secs(15), vec![]).await;
    waiting(&trio).await;
    let tries = trio.app.callbacks().len();
    let mut bob = knock(&trio, open(&trio.app, "edit")).await;
    metric_becomes(trio.rig.admin, HELD, 1.0).await;
    // Asking was enough for another try, whatever pause there was.
    soon("a try for who asks", async {
        while trio.app.callbacks().len() == tries {
            tokio::task::yield_now().await;
        }
    })
    .await;
    trio.app.set_reply_to(2, Reply::Take);
    assert_eq!(told(&mut bob).await, (4008, 1008));
    assert_eq!(&trio.app.saved("demo").unwrap().bytes[..], b"the words", "it was delivered before");
    undialled(&trio);
    metric_becomes(trio.rig.admin, HELD, 0.0).await;
    metric_becomes(trio.rig.admin, "onlyoffice_transition_locks", 0.0).await;
    trio.rig.log.wait_for(|line| line["refusal"] == "document_saved").await;
    // The page comes back with the new version's key, and nothing is in its way.
    let mut again = knock(&trio, open(&trio.app, "edit")).await;
    assert!(again.next().await.unwrap().starts_with("40{\"sid\""));
}

#[tokio::test]
async fn a_second_editor_that_joins_while_the_answer_is_awaited_loses_nothing() {
    let lines = vec![("saves", "answer_within = \"60s\"".to_owned())];
    let app = application().await;
    let origins = ("sockets", "origins = [\"https://localhost\"]".to_owned());
    let rig = Rig::with(setup(&app, [lines, vec![origins]].concat())).await;
    app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
    let trio = Trio { rig, app };
    trio.app.set_reply_to(2, Reply::Slow(Duration::from_millis(600)));
    let fields = trio.save("demo", 2, b"the words");
    let save = trio.post(CALLBACK, &fields);
    let join = async {
        metric_becomes(trio.rig.admin, "onlyoffice_transition_locks", 1.0).await;
        let mut bob = knock(&trio, open(&trio.app, "edit")).await;
        metric_becomes(trio.rig.admin, HELD, 1.0).await;
        undialled(&trio);
        told(&mut bob).await
    };
    let (got, told) = tokio::join!(save, join);
    assert_eq!((got.status, got.text(), told), (200, "{\"error\":0}", (4008, 1008)));
    undialled(&trio);
}

#[tokio::test]
async fn while_it_still_waits_new_editors_are_sent_away_and_old_ones_told_to_come_again() {
    let trio = trio(Duration::from_millis(200), vec![]).await;
    waiting(&trio).await;
    assert_eq!(told(&mut knock(&trio, open(&trio.app, "edit")).await).await, (4001, 1008));
    // One that comes back holds words that only it has: no dialog, its own reconnecting goes on.
    assert_eq!(knock(&trio, session()).await.closed().await, Some(TRY_LATER));
    let line = trio.rig.log.wait_for(|line| line["refusal"] == "document_unsaved").await;
    assert!(line["why"].as_str().unwrap().contains("hold_editors"), "{line}");
    undialled(&trio);
    trio.app.set_reply_to(2, Reply::Take);
    soon("the save", trio.app.wait_for_save("demo")).await;
    metric_becomes(trio.rig.admin, "onlyoffice_transition_locks", 0.0).await;
    assert!(knock(&trio, session()).await.next().await.unwrap().starts_with("40{\"sid\""));
}

#[tokio::test]
async fn who_only_looks_passes() {
    let trio = trio(Duration::from_secs(15), vec![]).await;
    waiting(&trio).await;
    let mut viewer = knock(&trio, open(&trio.app, "view")).await;
    assert!(viewer.next().await.unwrap().starts_with("40{\"sid\""));
    let other = token::open("other", "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("eve", "Eve"), "edit");
    let path = PATH.replace("demo", "other");
    let mut editor = Editor::connect_to(trio.rig.https, &path).await;
    editor.say(&format!("40{}", json!({"token": token::sign(SECRET, &other)}))).await;
    assert!(editor.next().await.unwrap().starts_with("40{\"sid\""), "another document waits for nobody");
}

#[tokio::test]
async fn nobody_is_kept_out_for_longer_than_hold_editors() {
    let trio = trio(Duration::from_secs(60), vec![("saves", "hold_editors = \"400ms\"".to_owned())]).await;
    waiting(&trio).await;
    let mut bob = knock(&trio, open(&trio.app, "edit")).await;
    assert!(bob.next().await.unwrap().starts_with("40{\"sid\""));
    metric_becomes(trio.rig.admin, "gateway_saves_let_in_total", 1.0).await;
    metric_becomes(trio.rig.admin, "onlyoffice_transition_locks", 0.0).await;
    let line = trio.rig.log.wait_for(|line| line["message"].to_string().contains("are let in")).await;
    assert_eq!((&line["level"], &line["key"]), (&json!("error"), &json!("demo")));
    // The save itself is tried on.
    trio.app.set_reply_to(2, Reply::Take);
    soon("the save", trio.app.wait_for_save("demo")).await;
}

#[tokio::test]
async fn who_hangs_up_waits_no_more_and_who_stays_is_heard() {
    let trio = trio(Duration::from_secs(60), vec![]).await;
    waiting(&trio).await;
    let mut bob = knock(&trio, open(&trio.app, "edit")).await;
    let gone = knock(&trio, open(&trio.app, "edit")).await;
    metric_becomes(trio.rig.admin, HELD, 2.0).await;
    drop(gone);
    metric_becomes(trio.rig.admin, HELD, 1.0).await;
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    bob.0.send(Message::Ping("still there".into())).await.unwrap();
    assert_eq!(soon("a pong", bob.0.next()).await.unwrap().unwrap(), Message::Pong("still there".into()));
    bob.0.close(None).await.unwrap();
    metric_becomes(trio.rig.admin, HELD, 0.0).await;
    undialled(&trio);
}

#[tokio::test]
async fn editors_that_poll_are_held_as_well() {
    let trio = trio(Duration::from_secs(15), vec![]).await;
    waiting(&trio).await;
    let poller = Poller::greeted(&trio.rig).await;
    let post = poller.ask("POST", format!("40{}", open(&trio.app, "edit")));
    let back = async {
        metric_becomes(trio.rig.admin, HELD, 1.0).await;
        trio.app.set_reply_to(2, Reply::Take);
    };
    let (got, ()) = tokio::join!(post, back);
    assert_eq!((got.status, got.text()), (200, "ok"));
    let got = poller.ask("GET", String::new()).await;
    assert!(got.text().starts_with("44{") && got.text().contains("4008"), "{}", got.text());
    undialled(&trio);
}
