//! Series whose labels stand in gateway.toml go with their entry: a hundred reloads with other names leave nothing behind.

use std::collections::BTreeSet;
use std::fs;

use crate::rig::{self, Rig, Setup, put, size};
use crate::wire::{self, metric};

/// Everything that Prometheus would keep a series for.
async fn series(rig: &Rig) -> BTreeSet<String> {
    let page = wire::admin(rig.admin, "/metrics").await;
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let lines = body.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// A Document Server, an integrator and a certificate, each with a name that was never there before.
fn renamed(text: &str, server: &str, round: usize) -> String {
    let [a, b] = [round / 200 + 1, round % 200 + 1];
    let other = format!("servers = [\"http://{server}\", \"http://127.7.{a}.{b}:9\"]");
    text.replacen(&format!("servers = [\"http://{server}\"]"), &other, 1)
        .replacen("name = \"chat\"", &format!("name = \"chat-{round}\""), 1)
        .replacen("names = [\"other.example\"]", &format!("names = [\"other-{round}.example\"]"), 1)
}

#[tokio::test]
async fn names_that_leave_the_configuration_leave_the_metrics() {
    let names: Vec<String> = (0..size(100, 1_000)).map(|round| format!("other-{round}.example")).collect();
    let tables = "[[integrators]]\nname = \"chat\"\nurl = \"https://chat.example\"\n".to_owned();
    let setup = Setup { more_names: vec![vec!["other.example"]], tables, ..Setup::default() };
    let rig = Rig::with(setup).await;
    // One pair for all of them, so that the names in the configuration are covered.
    let all: Vec<&str> = std::iter::once("other.example").chain(names.iter().map(String::as_str)).collect();
    rig::certificate(rig.folder.path(), "more-0", &all);
    assert_eq!(rig.reload().await["result"], "applied");
    let text = fs::read_to_string(rig.file()).unwrap();
    let server = rig.server.address().to_string();
    rig.get("/fonts/000").await;
    let before = series(&rig).await;
    for (round, name) in names.iter().enumerate() {
        let other = renamed(&text, &server, round);
        assert_ne!(other, text);
        put(&rig.file(), &other);
        let outcome = rig.reload().await;
        assert_eq!(outcome["result"], "applied", "{outcome}");
        let now = series(&rig).await;
        let own = format!("127.7.{}.{}:9", round / 200 + 1, round % 200 + 1);
        let added: Vec<_> = now.difference(&before).collect();
        // The new server and the new certificate have theirs, and no former one has any.
        assert!(added.iter().any(|series| series.contains(&own)), "{added:?}");
        assert!(added.iter().any(|series| series.contains(name.as_str())), "{added:?}");
        let strange = |series: &&&String| !series.contains(&own) && !series.contains(name.as_str());
        assert_eq!(added.iter().find(strange), None, "round {round}");
        assert_eq!(now.len(), before.len() + added.len() - before.difference(&now).count());
    }
    put(&rig.file(), &text);
    assert_eq!(rig.reload().await["result"], "applied");
    assert_eq!(series(&rig).await, before, "all is as it was");
}

/// As the README says.
#[tokio::test]
async fn a_server_that_comes_back_begins_at_0_and_one_that_stays_goes_on() {
    let rig = Rig::start().await;
    let server = rig.server.address().to_string();
    let count = |name: &str| format!("gateway_upstream_duration_seconds_count{{server=\"{name}\"}}");
    rig.get("/fonts/000").await;
    let asked = metric(rig.admin, &count(&server)).await;
    assert!(asked >= 1.0, "{asked}");
    let text = fs::read_to_string(rig.file()).unwrap();
    let alone = format!("[\"http://{server}\"]");
    put(&rig.file(), &text.replacen(&alone, &format!("[\"http://{server}\", \"http://127.7.0.1:9\"]"), 1));
    assert_eq!(rig.reload().await["result"], "applied");
    assert_eq!(metric(rig.admin, &count(&server)).await, asked, "it stays");
    put(&rig.file(), &text.replacen(&alone, "[\"http://127.7.0.1:9\"]", 1));
    assert_eq!(rig.reload().await["result"], "applied");
    assert!(!series(&rig).await.contains(&count(&server)), "it has left");
    put(&rig.file(), &text);
    assert_eq!(rig.reload().await["result"], "applied");
    assert_eq!(metric(rig.admin, &count(&server)).await, 0.0, "it has come back");
}
