//! What a line of the log says: traces and names of requests, ends of sockets, the words of `token verify`, and whatever a client
//! wrote, given back and nothing more.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use futures_util::SinkExt;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::token;
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::process;
use crate::rig::{self, Got, Rig, SECRET, Setup};
use crate::wire::{self, soon};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn trusting(proxies: &str) -> Setup {
    let lines = vec![("server", format!("trusted_proxies = [{proxies}]"))];
    Setup { lines, ..Setup::default() }
}

async fn get(rig: &Rig, target: &str, fields: &[(&str, &str)]) -> Got {
    let mut request = Request::get(target).header("host", "localhost");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    rig.send(request.body(Full::<Bytes>::default()).unwrap()).await
}

#[tokio::test]
async fn a_trace_goes_on_and_a_request_has_one_name() {
    for (proxies, trusted) in [("\"127.0.0.0/8\"", true), ("\"192.0.2.1\"", false)] {
        let rig = Rig::with(trusting(proxies)).await;
        let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
        let fields = [("traceparent", &*parent), ("tracestate", "a=b"), ("x-request-id", "from-the-proxy.7")];
        let got = get(&rig, "/web-apps/size-7", &fields).await;
        let id = got.header("x-request-id").unwrap().to_owned();
        assert_eq!(id == "from-the-proxy.7", trusted, "{id}");
        let name = id.clone();
        let line = rig.log.wait_for(move |line| line["id"] == name).await;
        assert_eq!((&line["trace"], &line["route"]), (&json!(TRACE), &json!("web_apps")));
        let seen = rig.server.wait_for_request(|seen| seen.path() == "/web-apps/size-7").await;
        assert_eq!(seen.header("x-request-id"), Some(&*id));
        assert_eq!(seen.header("tracestate"), Some("a=b"));
        let passed = seen.header("traceparent").unwrap();
        assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-01"), "{passed}");
        assert!(!passed.contains("b7ad6b7169203331"), "the parent is this hop: {passed}");
        // One that is none: a trace begins here, and somebody else's state goes with theirs.
        rig.server.clear_requests();
        get(&rig, "/web-apps/size-7", &[("traceparent", "00-0-0-0"), ("tracestate", "a=b")]).await;
        let seen = rig.server.wait_for_request(|seen| seen.path() == "/web-apps/size-7").await;
        let made = seen.header("traceparent").unwrap().to_owned();
        assert_eq!((made.len(), seen.header("tracestate")), (55, None));
        let trace = made[3..35].to_owned();
        rig.log.wait_for(move |line| line["trace"] == trace.as_str()).await;
    }
}

#[tokio::test]
async fn a_socket_has_one_line_that_says_how_it_ended_and_whose_it_was() {
    let rig = Rig::start().await;
    let open = |user: &str| {
        let claims =
            token::open("demo", "https://rapidpm.uk/d", "https://rapidpm.uk/c", (user, "Ann"), "edit");
        format!("40{}", json!({"token": token::sign(SECRET, &claims)}))
    };
    let mut editor = Editor::connect(rig.https).await;
    editor.say(&open("ann")).await;
    editor.next().await.unwrap();
    editor.0.send(Message::Close(None)).await.unwrap();
    let line = rig.log.wait_for(|line| line["close"] == "closed").await;
    assert_eq!(
        (&line["user"], &line["status"], &line["route"]),
        (&json!("ann"), &json!(101), &json!("socket"))
    );
    assert!(line["bytes_in"].as_u64() > Some(50) && line["bytes_out"].as_u64() > Some(10), "{line}");
    let mut refused = Editor::connect(rig.https).await;
    refused.say("40{}").await;
    let line = rig.log.wait_for(|line| line["close"] == "refused").await;
    assert_eq!((&line["refusal"], &line["user"]), (&json!("token_missing"), &Value::Null));
    assert_eq!(
        line["why"],
        "the request carries no token; looked at: `session` or `token` in the socket's first packet"
    );
}

/// Fragments of what is used against logs and those who read them; 500 texts are made of them.
const NASTY: [&str; 20] = [
    "\"},{\"event\":\"forged\"",
    "\\",
    "\\\"",
    "\\u0000",
    "\u{202e}",
    "\u{1b}[31m",
    "\u{7f}",
    "\r\n",
    "\n{\"event\":\"forged\"}\n",
    "\t",
    "\0",
    "%0a",
    "${jndi:ldap://x}",
    "<script>",
    "' OR 1=1",
    "{{7*7}}",
    "日本",
    "\u{feff}",
    "\u{2028}",
    "<6>",
];

fn nasty(number: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut text = format!("{number}.");
    for _ in 0..random.usize(1..6) {
        text.push_str(NASTY[random.usize(..NASTY.len())]);
    }
    text
}

/// As much of a text as may stand in a field of a head.
fn in_a_field(text: &str) -> String {
    text.chars().filter(|c| *c == '\t' || (!c.is_control())).collect::<String>().trim().to_owned()
}

fn in_a_path(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_texts_come_back_as_they_were_written() {
    let setup = Setup {
        lines: vec![("limits", "sockets_per_document = 10000".into())],
        server: Options::default(),
        ..Setup::default()
    };
    let mut rig = Rig::with(setup).await;
    let texts: Vec<String> = (0..500).map(nasty).collect();
    for text in &texts {
        let field = in_a_field(text);
        let mut stream = rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        let raw = format!(
            "GET /nosuch/{} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {field}\r\nreferer: https://{}/x\r\n\r\n\
             GET /other HTTP/1.1\r\nhost: {field}\r\nconnection: close\r\n\r\n",
            in_a_path(text),
            field.replace(['/', '?', '#', '@'], "-"),
        );
        wire::exchange(&mut stream, raw.as_bytes()).await;
        // The user's id is the token's, where everything may stand.
        let claims =
            token::open("demo", "https://rapidpm.uk/d", "https://rapidpm.uk/c", (text, "Ann"), "edit");
        let mut editor = Editor::connect(rig.https).await;
        editor.say(&format!("40{}", json!({"token": token::sign(SECRET, &claims)}))).await;
        editor.next().await.unwrap();
        editor.0.send(Message::Close(None)).await.unwrap();
        soon("the end of a socket", async { while editor.next().await.is_some() {} }).await;
    }
    rig.stop().await;
    // Each line is parsed here: one object a line, or the test ends.
    let lines = rig.log.all();
    let access = |line: &&Value| line["event"] == "access";
    let of = |name: &str| -> std::collections::BTreeSet<String> {
        lines.iter().filter(access).filter_map(|line| line[name].as_str()).map(str::to_owned).collect()
    };
    let [paths, agents, hosts, users, referers] = ["path", "agent", "host", "user", "referer"].map(of);
    for text in &texts {
        let field = in_a_field(text);
        assert!(paths.contains(&format!("/nosuch/{}", in_a_path(text))), "path {text:?}");
        assert!(agents.contains(&field), "agent {field:?}");
        assert!(hosts.contains(&field), "host {field:?}");
        assert!(users.contains(text), "user {text:?}");
        let referer = format!("https://{}", field.replace(['/', '?', '#', '@'], "-"));
        assert!(referers.contains(&referer), "referer {referer:?}");
    }
    assert!(lines.iter().all(|line| line["event"] != "forged"));
    assert_eq!(lines.iter().filter(access).count(), 3 * texts.len());
}

#[tokio::test]
async fn the_level_is_taken_up_by_a_reload() {
    let rig = Rig::with(Setup { tables: "[log]\nlevel = \"warn\"\n".into(), ..Setup::default() }).await;
    rig.get("/robots.txt").await;
    rig.edit("level = \"warn\"", "level = \"info\"");
    assert_eq!(rig.reload().await["result"], "applied");
    rig.get("/healthcheck").await;
    rig.log.wait_for(|line| line["route"] == "healthcheck").await;
    assert!(rig.log.all().iter().all(|line| line["route"] != "robots"), "it was not asked for then");
}

/// `<N>` stands before a line where stdout is what JOURNAL_STREAM names, and nowhere else.
#[tokio::test]
async fn lines_have_priorities_only_where_the_journal_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    rig::certificate(folder.path(), "rig", &["localhost"]);
    let toml = rig::toml(&Setup::default(), "127.0.0.1:9".parse().unwrap(), folder.path());
    std::fs::write(folder.path().join("gateway.toml"), toml).unwrap();
    let config = folder.path().join("gateway.toml");
    for (is_journal, beginning) in [(true, "<"), (false, "{")] {
        let path = folder.path().join(format!("log-{is_journal}"));
        let out = File::create(&path).unwrap();
        let about = out.metadata().unwrap();
        let inode = if is_journal { about.ino() } else { about.ino() + 1 };
        let mut command = process::command(&["run", "--config", config.to_str().unwrap()]);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", about.dev())).stdout(Stdio::from(out));
        let mut child = command.spawn().unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        let started = async {
            while !read().contains("\"started\"") {
                tokio::task::yield_now().await;
            }
        };
        soon("the start", started).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let log = read();
        let line = log.lines().find(|line| line.contains("\"started\"")).unwrap();
        assert!(line.starts_with(beginning), "{line}");
        let json = line.trim_start_matches("<6>");
        assert_eq!(serde_json::from_str::<Value>(json).unwrap()["event"], "started");
    }
}
