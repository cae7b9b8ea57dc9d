//! The gate of editor sockets: what the first packet must be, what it is told when it is not, and that the Document Server never
//! hears of those who do not get through.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Bytes;
use rapidpm_gateway::rules::frame::{Kind, goodbye, say, say_masked};
use serde_json::{Value, json};
use standin::{clock, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::editor::{Editor, PATH};
use crate::rig::{Rig, SECRET, Setup};
use crate::wire;

fn signed(claims: &Value) -> String {
    token::sign(SECRET, claims)
}

fn open(key: &str) -> Value {
    token::open(key, "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit")
}

fn seconds(seconds: i64) -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().saturating_add_signed(seconds)
}

fn expiring(mut claims: Value, after: i64) -> String {
    claims["exp"] = json!(seconds(after));
    signed(&claims)
}

/// That the Document Server has heard of no socket at all.
fn untouched(rig: &Rig) {
    assert_eq!(rig.server.upgrades(), 0);
    assert!(rig.server.requests().iter().all(|seen| !seen.path().contains("/doc/")));
}

#[tokio::test]
async fn refusals_are_the_document_servers_own_and_cost_it_nothing() {
    let rig = Rig::start().await;
    let good = signed(&open("demo"));
    let old = expiring(open("demo"), -120);
    let mut early = open("demo");
    early["nbf"] = json!(seconds(600));
    let stranger = token::sign("another-secret-0123456789abcdef012345", &open("demo"));
    let class = |claims: Value| json!({"token": signed(&claims)});
    let now = clock::system();
    let table = [
        (json!({}), 4006, "jwt must be provided", "token_missing"),
        (json!({"token": ""}), 4006, "jwt must be provided", "token_missing"),
        (json!({"token": "x"}), 4006, "jwt malformed", "token_malformed"),
        (json!({"token": 7}), 4006, "jwt malformed", "token_malformed"),
        (json!({"token": stranger}), 4006, "invalid signature", "token_signature"),
        (json!({"token": token::unsigned(&open("demo"))}), 4006, "invalid algorithm", "token_algorithm"),
        (json!({"token": old}), 4005, "jwt expired", "token_expired"),
        (json!({"token": signed(&early)}), 4006, "jwt not active", "token_not_yet"),
        (json!({"token": good, "session": "x"}), 4006, "jwt malformed", "token_malformed"),
        (json!({"token": good, "session": old}), 4005, "jwt expired", "token_expired"),
        (json!({"token": good, "data": {"jwtOpen": old}}), 4005, "jwt expired", "token_expired"),
        (json!({"token": good, "data": {"jwtOpen": stranger}}), 4006, "invalid signature", "token_signature"),
        (class(token::command("version", None)), 4006, "class_not_allowed", "class_not_allowed"),
        (class(token::print("demo")), 4006, "class_not_allowed", "class_not_allowed"),
        (class(token::insert("http://x/y")), 4006, "class_not_allowed", "class_not_allowed"),
        (class(token::callback("demo", 2, None, &now)), 4006, "class_not_allowed", "class_not_allowed"),
        (class(token::download("http://x/y", &now)), 4006, "class_not_allowed", "class_not_allowed"),
        (class(token::builder("http://x/y")), 4006, "class_not_allowed", "class_not_allowed"),
        (
            class(token::convert("k", "http://x/y", "docx", "pdf")),
            4006,
            "class_not_allowed",
            "class_not_allowed",
        ),
    ];
    for (auth, code, words, reason) in table {
        let carrier = if reason == "token_missing" { "none" } else { "packet" };
        let series = format!("gateway_refusals_total{{reason=\"{reason}\",carrier=\"{carrier}\"}}");
        let before = wire::metric(rig.admin, &series).await;
        for namespace in ["", "/,"] {
            let mut editor = Editor::connect(rig.https).await;
            editor.say(&format!("40{namespace}{auth}")).await;
            let packet = editor.next().await.unwrap();
            let said: Value = serde_json::from_str(packet.strip_prefix("44").unwrap()).unwrap();
            let data = json!({"code": code, "description": format!("token:{words}")});
            assert_eq!(said, json!({"message": "not authorized", "data": data}), "{auth}");
            assert_eq!(editor.closed().await, Some(1008));
        }
        wire::metric_becomes(rig.admin, &series, before + 2.0).await;
        let line = rig.log.wait_for(move |line| line["refusal"] == reason).await;
        assert_eq!((&line["status"], &line["route"]), (&101.into(), &"socket".into()));
    }
    untouched(&rig);
}

#[tokio::test]
async fn what_holds_reaches_the_document_server_byte_for_byte() {
    let rig = Rig::start().await;
    let session = signed(&token::session("demo", ("ann", "Ann"), 1, &clock::system()));
    let history = signed(&token::history("older", 3, "https://rapidpm.uk/d"));
    let good = signed(&open("demo"));
    for auth in [
        json!({"token": good}),
        json!({"data": {"jwtOpen": good, "user": {"username": "\u{e4}\u{1f600}"}}, "token": good}),
        // A reconnect long after the open token has expired (captures/browser/resil-quick.txt).
        json!({"data": {"jwtOpen": expiring(open("demo"), -3600)}, "session": session}),
        json!({"token": expiring(open("demo"), -30)}),
        json!({"token": history}),
        json!({"token": good, "data": {"padding": "x".repeat(1_000_000)}}),
    ] {
        let packet = format!("40{auth}");
        let mut editor = Editor::connect(rig.https).await;
        editor.say(&packet).await;
        assert!(editor.next().await.unwrap().starts_with("40{\"sid\""), "{packet:.200}");
        let heard = rig.server.wait_for_packet(|heard| heard.length == packet.len()).await;
        assert_eq!(heard.packet, packet[..packet.len().min(64 << 10)]);
    }
    let upgrade = rig.server.wait_for_request(|seen| seen.path().contains("/doc/")).await;
    assert_eq!(upgrade.target, PATH);
    assert_eq!(upgrade.header("x-forwarded-proto"), Some("https"));
    assert_eq!(upgrade.header("sec-websocket-extensions"), None);
}

/// A frame of a client, whole or a part of a message.
fn part(kind: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = say_masked(Kind::Text, payload);
    frame[0] = kind | if last { 0x80 } else { 0 };
    frame
}

#[tokio::test]
async fn a_first_message_may_come_in_pieces_and_between_pings() {
    let rig = Rig::start().await;
    let packet = format!("40{}", json!({"token": signed(&open("demo"))}));
    let (a, b) = packet.split_at(100);
    let bytes = [
        part(0x9, true, b"one"),
        part(0x1, false, a.as_bytes()),
        part(0x9, true, b"two"),
        part(0x0, false, b""),
        part(0x0, true, b.as_bytes()),
        part(0x1, true, b"42[\"message\",{\"type\":\"getMessages\"}]"),
    ]
    .concat();
    let mut editor = Editor::connect(rig.https).await;
    for piece in bytes.chunks(7) {
        let stream = editor.0.get_mut();
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    rig.server.wait_for_packet(|heard| heard.packet == packet).await;
    rig.server.wait_for_packet(|heard| heard.packet.contains("getMessages")).await;
    assert!(editor.next().await.unwrap().starts_with("40{\"sid\""));
}

#[tokio::test]
async fn what_is_no_first_packet_is_closed() {
    let rig = Rig::start().await;
    let good = format!("40{}", json!({"token": signed(&open("demo"))}));
    let large = vec![b'4'; (1 << 20) + 1];
    let table: [(Vec<u8>, Option<u16>, &str); 12] = [
        (part(0x1, true, b"2probe"), Some(1008), "packet_not_connect"),
        (part(0x1, true, b"3"), Some(1008), "packet_not_connect"),
        (part(0x1, true, b"42[\"message\",{}]"), Some(1008), "packet_not_connect"),
        (part(0x1, true, b"41"), Some(1008), "packet_not_connect"),
        (part(0x1, true, b""), Some(1008), "packet_not_connect"),
        (part(0x1, true, b"40[]"), Some(1008), "packet_malformed"),
        (part(0x2, true, good.as_bytes()), Some(1003), "packet_frame"),
        (part(0x1, true, &[b'4', b'0', 0xff]), Some(1007), "packet_frame"),
        (say(Kind::Text, good.as_bytes()), Some(1002), "packet_frame"),
        (part(0x41, true, good.as_bytes()), Some(1002), "packet_frame"),
        (part(0x1, true, &large), Some(1009), "packet_frame"),
        (part(0x9, true, b"").repeat(100), Some(1008), "packet_frame"),
    ];
    for (bytes, code, reason) in table {
        let mut editor = Editor::connect(rig.https).await;
        // The refusal may come before everything is sent.
        editor.0.get_mut().write_all(&bytes).await.ok();
        editor.0.get_mut().flush().await.ok();
        let line = rig.log.wait_for(move |line| line["refusal"] == reason).await;
        assert_eq!(line["status"], 101);
        if bytes.len() < 1000 {
            assert_eq!(editor.closed_after_pongs().await, code, "{reason}");
        }
    }
    let mut editor = Editor::connect(rig.https).await;
    editor.0.send(Message::Close(None)).await.unwrap();
    assert_eq!(editor.next().await, None);
    untouched(&rig);
}

#[tokio::test]
async fn who_says_nothing_is_closed_in_time() {
    let mut setup = Setup::default();
    setup.deadlines.packet = Duration::from_millis(300);
    let rig = Rig::with(setup).await;
    for bytes in [&b""[..], b"\x81", &part(0x1, false, b"40{"), &part(0x9, true, b"?")] {
        let mut editor = Editor::connect(rig.https).await;
        editor.0.get_mut().write_all(bytes).await.unwrap();
        editor.0.get_mut().flush().await.unwrap();
        assert_eq!(editor.closed_after_pongs().await, Some(1008));
    }
    rig.log.wait_for(|line| line["refusal"] == "packet_late").await;
    untouched(&rig);
}

#[tokio::test]
async fn a_token_of_another_document_is_logged_or_refused() {
    let path = |key: &str, shard: &str| format!("/doc/{key}/c/?EIO=4&transport=websocket&shardkey={shard}");
    for (binding, refused) in [("log", false), ("enforce", true), ("off", false)] {
        let lines = vec![("sockets", format!("key_binding = \"{binding}\""))];
        let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
        for (path, key) in [
            (path("demo", "demo"), "other"),
            (path("demo", "other"), "demo"),
            (path("other", "other"), "demo"),
        ] {
            let mut editor = Editor::connect_to(rig.https, &path).await;
            editor.say(&format!("40{}", json!({"token": signed(&open(key))}))).await;
            let answer = editor.next().await.unwrap();
            assert_eq!(answer.starts_with("44{"), refused, "{binding} {path} {key}: {answer}");
        }
        let mut editor = Editor::connect(rig.https).await;
        editor.say(&format!("40{}", json!({"token": signed(&open("demo"))}))).await;
        assert!(editor.next().await.unwrap().starts_with("40{"));
        if binding == "log" {
            rig.log
                .wait_for(|line| line["event"] == "would_refuse" && line["reason"] == "key_mismatch")
                .await;
        }
        assert_eq!(rig.server.upgrades(), if refused { 1 } else { 4 });
    }
}

#[tokio::test]
async fn mode_observe_only_says_what_it_would_refuse() {
    let lines =
        vec![("", "mode = \"observe\"".to_owned()), ("sockets", "key_binding = \"enforce\"".to_owned())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let (socket, status) = Editor::upgrade(rig.https, PATH, &[("origin", "https://evil.example")]).await;
    assert_eq!(status, 101);
    let mut editor = socket.unwrap();
    assert!(editor.next().await.unwrap().starts_with("0{"));
    editor.say(&format!("40{}", json!({"token": signed(&token::print("other"))}))).await;
    assert!(editor.next().await.unwrap().starts_with("40{"));
    for reason in ["origin_not_allowed", "class_not_allowed", "key_mismatch"] {
        rig.log.wait_for(move |line| line["event"] == "would_refuse" && line["reason"] == reason).await;
    }
    let mut editor = Editor::connect(rig.https).await;
    editor.say("40{\"token\":\"x\"}").await;
    assert!(editor.next().await.unwrap().starts_with("44{"), "signatures hold in every mode");
}

/// The editor's client reconnects by itself after a close, and must not turn to polling.
#[tokio::test]
async fn a_document_server_that_is_away_means_try_later() {
    let lines = vec![("document_server", "wait = \"200ms\"".to_owned())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let connect = format!("40{}", json!({"token": signed(&open("demo"))}));
    rig.server.stop().await;
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&connect).await;
    assert_eq!(editor.closed().await, Some(1013));
    rig.server.start_again().await.unwrap();
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&connect).await;
    assert!(editor.next().await.unwrap().starts_with("40{"));
}

/// Random first messages, some of them good ones with a change: nobody gets in with anything but the token itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_first_frames_open_nothing() {
    let rig = Rig::start().await;
    let good = format!("40{}", json!({"token": signed(&open("demo"))}));
    let from = good.find("eyJ").unwrap();
    let mut random = fastrand::Rng::with_seed(44);
    for round in 0..300 {
        let mut bytes = part(0x1, true, good.as_bytes());
        let head = bytes.len() - good.len();
        if round % 3 == 0 {
            bytes = (0..random.usize(1..200)).map(|_| random.u8(..)).collect();
        } else {
            // Within the token's signed part or its signature, the last letter left out: some of its bits mean nothing.
            let at = head + random.usize(from..good.len() - 3);
            bytes[at] ^= 1 << random.u8(..7);
        }
        bytes.extend(part(0x8, true, &goodbye(1000, "")));
        let mut editor = Editor::connect(rig.https).await;
        editor.0.get_mut().write_all(&bytes).await.ok();
        editor.0.get_mut().flush().await.ok();
        while let Some(packet) = editor.next().await {
            assert!(packet.starts_with("44{"), "{packet}");
        }
    }
    untouched(&rig);
}

/// The Document Server refuses a foreign namespace and keeps the connection: a second CONNECT on it would come unjudged.
#[tokio::test]
async fn a_foreign_namespace_is_no_way_around_the_gate() {
    let rig = Rig::start().await;
    let good = signed(&open("demo"));
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&format!("40/x,{}", json!({"token": good}))).await;
    rig.log.wait_for(|line| line["refusal"] == "packet_malformed").await;
    untouched(&rig);
}

/// What the Document Server reads of the document comes from `data.jwtOpen`, so that is bound as well; and rotation needs to
/// know which secret editors use.
#[tokio::test]
async fn both_tokens_are_bound_and_their_secret_is_counted() {
    let lines = vec![("sockets", "key_binding = \"enforce\"".to_owned())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let (good, other) = (signed(&open("demo")), signed(&open("other")));
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&format!("40{}", json!({"token": good, "data": {"jwtOpen": other}}))).await;
    assert!(editor.next().await.unwrap().starts_with("44"));
    untouched(&rig);
    wire::metric_becomes(rig.admin, "gateway_tokens_total{secret=\"current\"}", 1.0).await;
}

/// A Document Server that takes connections and never answers an upgrade.
async fn silent() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let n = stream.read(&mut head).await.unwrap_or(0);
                if head[..n].starts_with(b"GET /healthcheck") {
                    return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").await.ok();
                }
                while stream.read(&mut head).await.ok()? > 0 {}
                Some(())
            });
        }
    });
    address
}

/// Large first packets are paid for until the Document Server has them: 150 clients at a time once held 100 MB while it was
/// dialled. And who waits is looked after: pings are answered, and whoever leaves is gone at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_document_server_is_paid_for_and_looked_after() {
    let rig = Rig::with(Setup { upstream: Some(silent().await), ..Setup::default() }).await;
    let large =
        format!("40{}", json!({"token": signed(&open("demo")), "data": {"padding": "x".repeat(1_000_000)}}));
    for _ in 0..2 {
        let knock = async || {
            let mut editor = Editor::connect(rig.https).await;
            // The refusal may come before everything is sent.
            editor.0.send(Message::text(large.clone())).await.ok();
            editor.0.send(Message::Ping(Bytes::from_static(b"still there?"))).await.ok();
            loop {
                match wire::soon("a pong or a refusal", editor.0.next()).await {
                    Some(Ok(Message::Pong(_))) => return Some(editor),
                    Some(Ok(Message::Text(text))) => assert!(text.contains("too many sockets"), "{text}"),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        let knocked = futures_util::future::join_all((0..40).map(|_| knock())).await;
        let waiting: Vec<Editor> = knocked.into_iter().flatten().collect();
        // 32 MiB, and the 64 KiB that each has for nothing.
        assert!((30..=36).contains(&waiting.len()), "{} wait at a time", waiting.len());
        drop(waiting);
        wire::metric_becomes(rig.admin, "gateway_sockets", 0.0).await;
    }
    let left = rig.log.wait_for(|line| line["why"].as_str().is_some_and(|why| why.contains("left"))).await;
    assert_eq!(left["route"], "socket");
}
