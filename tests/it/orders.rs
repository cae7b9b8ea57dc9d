//! `saves retry` and `saves discard` say what came of the order: taken, or why not.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rapidpm_gateway::relay::spool::{RealDisk, Spool};
use rapidpm_gateway::rules::save::{Id, Parked, Phase};
use serde_json::{Value, json};
use standin::integrator::Reply;

use crate::desk::Desk;
use crate::process::command;
use crate::relay::{application, setup};
use crate::relay_disk::keep;
use crate::wire::soon;

const NUMBER: &str = "0000000000000007";

/// Exit code and JSON.
async fn order(root: &Path, verb: &'static str, number: &str) -> (Option<i32>, Value) {
    let (root, number) = (root.to_owned(), number.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        let folder = root.to_str().unwrap();
        command(&["saves", verb, &number, "--directory", folder, "--json"]).output().unwrap()
    });
    let done = done.await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let said = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    (done.status.code(), said)
}

fn look(root: &Path) -> Spool {
    Spool::new(root.to_owned(), Arc::new(RealDisk))
}

fn outcome(said: &(Option<i32>, Value)) -> (Option<i32>, &str) {
    (said.0, said.1["outcome"].as_str().unwrap())
}

#[tokio::test]
async fn an_order_waits_for_a_gateway_and_for_the_save_on_its_way() {
    let app = application().await;
    app.set_reply(Reply::Hang);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("saves");
    keep(&root, 7, UNIX_EPOCH.elapsed().unwrap());
    // Nobody is there.
    let said = order(&root, "retry", NUMBER).await;
    assert_eq!(outcome(&said), (Some(1), "not_running"), "{}", said.1);
    assert_eq!(look(&root).orders().unwrap(), [("retry".to_owned(), Id(7))], "it stays");
    assert_eq!(outcome(&order(&root, "retry", "77").await), (Some(1), "no_such_save"));
    assert_eq!(outcome(&order(&root, "discard", "../x\u{1b}").await), (Some(1), "no_such_save"));
    // The next gateway takes it; its save is on its way then.
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let desk = Desk::start(&setup(&app, vec![]), nowhere, folder.path(), Arc::new(RealDisk)).unwrap();
    soon("the delivery", app.wait_for_callback(|callback| callback.key == "k7")).await;
    let said = order(&root, "discard", NUMBER).await;
    assert_eq!(outcome(&said), (Some(1), "waits"), "{}", said.1);
    assert_eq!(look(&root).orders().unwrap(), [("discard".to_owned(), Id(7))]);
    drop(desk);
}

#[tokio::test]
async fn an_order_is_taken_once_and_then_there_is_nothing_to_do() {
    let app = application().await;
    app.set_reply(Reply::Error(1));
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("saves");
    keep(&root, 7, UNIX_EPOCH.elapsed().unwrap());
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let _desk = Desk::start(&setup(&app, vec![]), nowhere, folder.path(), Arc::new(RealDisk)).unwrap();
    let parked = async {
        while !look(&root).state(Id(7)).is_ok_and(|state| state.phase() == Phase::Parked(Parked::Refused)) {
            tokio::task::yield_now().await;
        }
    };
    soon("the refusal", parked).await;
    let said = order(&root, "retry", NUMBER).await;
    assert_eq!(outcome(&said), (Some(0), "taken"), "{}", said.1);
    assert_eq!(said.1["state"], "refused", "the application still says no: {}", said.1);
    let said = order(&root, "discard", NUMBER).await;
    let expected = json!({"save": NUMBER, "order": "discard", "outcome": "taken", "state": "discarded",
        "message": "taken; the save is discarded now"});
    assert_eq!(said, (Some(0), expected));
    for verb in ["retry", "discard"] {
        let said = order(&root, verb, NUMBER).await;
        assert_eq!(outcome(&said), (Some(1), "settled"), "{}", said.1);
        assert_eq!(said.1["message"], "nothing to do: the save is discarded");
    }
    assert!(look(&root).orders().unwrap().is_empty());
}

/// Whoever looks at the lock in the very moment in which a gateway starts must not keep it from starting.
#[test]
fn a_glance_at_the_lock_keeps_no_gateway_out() {
    let folder = tempfile::tempdir().unwrap();
    let spool = look(folder.path());
    spool.open().unwrap();
    assert!(look(folder.path()).is_worked_on().unwrap());
    spool.close();
    assert!(!look(folder.path()).is_worked_on().unwrap());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                look(folder.path()).is_worked_on().unwrap();
            }
        });
        for _ in 0..200 {
            let opened = spool.open().map(drop);
            spool.close();
            over.store(opened.is_err(), std::sync::atomic::Ordering::Relaxed);
            opened.unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
