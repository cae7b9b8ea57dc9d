//! The editor's own client, `socket.io-client` of the Document Server's version, from npm: what it makes of the gate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use standin::{clock, token};

use crate::rig::{Rig, SECRET, Setup, size};

/// Where `npm install --prefix target/npm socket.io-client@4.8.1` puts it.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/npm/node_modules/socket.io-client");
const VERSION: &str = "4.8.1";
const WEBSOCKET: &[&str] = &["websocket"];
const POLLING: &[&str] = &["polling"];
/// As the editor has them, the other way round: a first failure flips them.
const BOTH: &[&str] = &["polling", "websocket"];

/// Whether the client is there; without it a test says so and passes, but not where everything must be there.
fn client() -> bool {
    let package = std::fs::read_to_string(Path::new(CLIENT).join("package.json")).unwrap_or_default();
    let version = serde_json::from_str::<Value>(&package)
        .ok()
        .and_then(|package| Some(package["version"].as_str()? == VERSION));
    let node = Command::new("node").arg("--version").output().is_ok_and(|node| node.status.success());
    if version == Some(true) && node {
        return true;
    }
    let needed = format!("npm install --prefix target/npm socket.io-client@{VERSION}");
    assert!(std::env::var_os("CI").is_none(), "node and the client must be there: {needed}");
    println!("skipped: no node, or no socket.io-client {VERSION}; {needed}");
    false
}

fn open(key: &str) -> Value {
    token::open(key, "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit")
}

/// What happens to a client within a while.
async fn run(rig: &Rig, transports: &[&str], mut asked: Value) -> Vec<Value> {
    asked["url"] = json!(format!("https://localhost:{}", rig.https.port()));
    asked["path"] = json!("/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/demo/c/");
    asked["shardkey"] = json!("demo");
    asked["transports"] = json!(transports);
    let output = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/socket_io.cjs");
        Command::new("node")
            .arg(script)
            .arg(asked.to_string())
            .env("SOCKET_IO_CLIENT", CLIENT)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(seen: &[Value], event: &str) -> usize {
    seen.iter().filter(|line| line["event"] == event).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_tokens_connect_and_bad_ones_are_told_once() {
    if !client() {
        return;
    }
    let rig = Rig::start().await;
    let mut old = open("demo");
    old["exp"] = json!(1_600_000_000);
    let good = token::sign(SECRET, &open("demo"));
    let table = [
        (json!({}), 4006, "jwt must be provided"),
        (json!({"token": "x"}), 4006, "jwt malformed"),
        (
            json!({"token": token::sign("another-secret-0123456789abcdef012345", &open("demo"))}),
            4006,
            "invalid signature",
        ),
        (json!({"token": token::sign(SECRET, &old)}), 4005, "jwt expired"),
        (json!({"token": token::sign(SECRET, &token::print("demo"))}), 4006, "class_not_allowed"),
    ];
    for transports in [WEBSOCKET, POLLING, BOTH] {
        let all =
            table.iter().map(|(auth, ..)| run(&rig, transports, json!({"auth": auth, "milliseconds": 1500})));
        for (seen, (_, code, words)) in join_all(all).await.into_iter().zip(&table) {
            assert_eq!(
                (count(&seen, "connect_error"), count(&seen, "connect")),
                (1, 0),
                "{transports:?} {seen:?}"
            );
            assert_eq!(count(&seen, "attempt"), 0, "no retry loop: {seen:?}");
            let data = json!({"code": code, "description": format!("token:{words}")});
            let told = seen.iter().find(|line| line["event"] == "connect_error").unwrap();
            assert_eq!((&told["message"], &told["data"]), (&json!("not authorized"), &data), "{seen:?}");
        }
    }
    assert_eq!(rig.server.upgrades(), 0);
    assert!(rig.server.requests().iter().all(|seen| !seen.path().contains("/doc/")));
    for (transports, end) in [(WEBSOCKET, "websocket"), (POLLING, "polling"), (BOTH, "websocket")] {
        let auths = [json!({"token": good}), json!({"token": token::sign(SECRET, &open("other"))})];
        let all = auths.map(|auth| run(&rig, transports, json!({"auth": auth, "milliseconds": 2500})));
        for seen in join_all(all).await {
            assert_eq!(
                (count(&seen, "connect"), count(&seen, "disconnect")),
                (1, 0),
                "{transports:?} {seen:?}"
            );
            assert!(seen.iter().any(|line| line["type"] == "license"), "{seen:?}");
            assert_eq!(seen.last().unwrap()["transport"], end, "{seen:?}");
        }
    }
}

/// A good token for another document than the path names, where that is not only logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_other_documents_are_refused_where_that_is_asked_for() {
    if !client() {
        return;
    }
    let lines = vec![("sockets", "key_binding = \"enforce\"".to_owned())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let auth = json!({"token": token::sign(SECRET, &open("other"))});
    let all = [WEBSOCKET, POLLING]
        .map(|transports| run(&rig, transports, json!({"auth": auth, "milliseconds": 1500})));
    for seen in join_all(all).await {
        let told = seen.iter().find(|line| line["event"] == "connect_error").unwrap();
        assert_eq!(told["data"], json!({"code": 4006, "description": "token:key mismatch"}), "{seen:?}");
        assert_eq!((count(&seen, "connect"), count(&seen, "attempt")), (0, 0), "{seen:?}");
    }
    assert_eq!(rig.server.upgrades(), 0);
    assert!(rig.server.requests().iter().all(|seen| !seen.path().contains("/doc/")));
}

/// Pings keep it open far beyond the limit on silence, large frames pass, and it still is heard at the end. At full size, 80 s
/// with the pings and limits of real life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_through_pings_and_large_frames() {
    if !client() {
        return;
    }
    let mut setup = Setup::default();
    let milliseconds = size(4_000, 80_000);
    if milliseconds < 80_000 {
        setup.server.ping_interval = Duration::from_millis(250);
        setup.deadlines.socket = Duration::from_millis(750); // as 75 s to 25 s
    }
    let rig = Rig::with(setup).await;
    let good = token::sign(SECRET, &open("demo"));
    let all = [WEBSOCKET, POLLING].map(|transports| {
        let asked = json!({"auth": {"token": good}, "milliseconds": milliseconds, "large": 1_700_000,
            "last": format!("the last of {transports:?}")});
        run(&rig, transports, asked)
    });
    for seen in join_all(all).await {
        assert_eq!((count(&seen, "connect"), count(&seen, "disconnect")), (1, 0), "{seen:?}");
        assert!(count(&seen, "ping") >= 3, "{seen:?}");
        println!("{milliseconds} ms, {} pings", count(&seen, "ping"));
    }
    for transports in [WEBSOCKET, POLLING] {
        let last = json!(format!("the last of {transports:?}")).to_string();
        rig.server.wait_for_packet(|heard| heard.packet.contains(&last)).await;
    }
    rig.server.wait_for_packet(|heard| heard.length > 1_700_000).await;
}

/// A dropped socket comes back with `session`, although its open token has expired by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_reconnects_with_its_session_after_the_open_token_has_expired() {
    if !client() {
        return;
    }
    let mut old = open("demo");
    old["exp"] = json!(1_600_000_000);
    let session = token::sign(SECRET, &token::session("demo", ("ann", "Ann"), 1, &clock::system()));
    let again = json!({"session": session, "data": {"jwtOpen": token::sign(SECRET, &old)}});
    let good = token::sign(SECRET, &open("demo"));
    for transports in [WEBSOCKET, POLLING] {
        let rig = Rig::start().await;
        let asked = json!({"auth": {"token": good}, "again": again, "milliseconds": 3000, "large": 1});
        let dropping = async {
            // What it says once it is connected, and knows it.
            rig.server.wait_for_packet(|heard| heard.packet.contains("clientLog")).await;
            rig.server.stop().await;
            rig.server.start_again().await.unwrap();
        };
        let (seen, ()) = tokio::join!(run(&rig, transports, asked), dropping);
        assert_eq!((count(&seen, "connect"), count(&seen, "disconnect")), (2, 1), "{transports:?} {seen:?}");
        assert_eq!(seen.last().unwrap()["connected"], true);
        rig.server.wait_for_packet(|heard| heard.packet.contains(&session)).await;
    }
}
