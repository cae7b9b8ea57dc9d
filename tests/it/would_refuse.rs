//! `mode = "observe"`: what `enforce` would have refused is listed with examples and without secrets; for captured traffic the
//! list is empty.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::{clock, token};

use crate::editor::Editor;
use crate::process;
use crate::rig::{Got, Rig, SECRET, Setup};
use crate::wire;

/// The hosts that the captures' documents and callbacks live on.
const INTEGRATORS: &str =
    "[[integrators]]\nname = \"rig\"\nurl = \"http://127.0.0.1:8099\"\nhosts = [\"rapidpm.uk\"]\n";

/// Captures of requests that nobody makes who means well: what they ask for was tried on purpose. They are the control.
const PROBES: [(&str, &str); 3] = [
    ("29-cmd-unknown", "class_not_allowed"),
    ("61-socketio-poll-cors", "origin_not_allowed"),
    ("token-for-other-doc", "key_mismatch"),
];

/// The reasons on the list.
fn counted(list: &Value) -> Vec<&str> {
    list["counted"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect()
}

async fn observing(lines: Vec<(&'static str, String)>) -> Rig {
    let mut lines = lines;
    lines.push(("", "mode = \"observe\"".to_owned()));
    lines.push(("sockets", "origins = [\"none\"]".to_owned()));
    Rig::with(Setup { lines, tables: INTEGRATORS.into(), ..Setup::default() }).await
}

async fn list(rig: &Rig) -> Value {
    let page = wire::admin(rig.admin, "/api/v1/would-refuse").await;
    serde_json::from_str(page.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

/// `doctor --would-refuse` of a rig's gateway: how it ends, and what it prints.
pub async fn doctor(rig: &Rig, arguments: &[&str]) -> (Option<i32>, String) {
    let file = rig.folder.path().join("doctor.toml");
    let text = std::fs::read_to_string(rig.file()).unwrap();
    let text = text.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{}\"", rig.admin));
    std::fs::write(&file, text).unwrap();
    let always = ["doctor", "--config", file.to_str().unwrap(), "--would-refuse"];
    let mut command = process::command(&[&always, arguments].concat());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap())
}

/// The same claims, signed now with the rig's secret: what was valid when it was captured is valid again. What was not stays as
/// it is, and is refused in every mode.
fn renewed(token: &str) -> Option<String> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let mut claims: Value = serde_json::from_slice(&bytes).ok()?;
    let fields = claims.as_object_mut()?;
    ["iat", "nbf", "exp"].iter().for_each(|name| drop(fields.remove(*name)));
    Some(token::sign(SECRET, &token::expiring(claims, &clock::system(), 300)))
}

/// Every token in `text`, renewed.
fn renew_all(text: &str) -> (String, usize) {
    let (mut renewed_text, mut rest, mut count) = (String::new(), text, 0);
    while let Some(at) = rest.find("eyJ") {
        renewed_text += &rest[..at];
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let end = rest[at..].find(|c| !plain(c)).map_or(rest.len(), |length| at + length);
        let token = &rest[at..end];
        match renewed(token) {
            Some(renewed) => {
                renewed_text += &renewed;
                count += 1;
            }
            None => renewed_text += token,
        }
        rest = &rest[end..];
    }
    (renewed_text + rest, count)
}

#[tokio::test]
async fn for_the_captured_traffic_the_list_is_empty() {
    let captures = [
        ("", include_str!("../standin/captures/http.jsonl")),
        (
            "header = \"AuthorizationJWT\"\nprefix = \"JWT \"",
            include_str!("../standin/captures/http-customhdr.jsonl"),
        ),
        ("algorithms = [\"HS256\", \"HS384\", \"HS512\"]", include_str!("../matrix/commands.jsonl")),
    ];
    let (mut tokens, mut sent, mut probed) = (0, 0, Vec::new());
    for (jwt, captures) in captures {
        let rig = observing(vec![("jwt", jwt.to_owned())]).await;
        for line in captures.lines() {
            let (line, count) = renew_all(line);
            let capture: Value = serde_json::from_str(&line).unwrap();
            let (method, target) = capture["head"].as_str().unwrap().split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
            for pair in capture["headers"].as_array().unwrap() {
                let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
                let own = ["host", "connection", "content-length", "transfer-encoding", "upgrade", "expect"];
                if !own.contains(&&*name.to_ascii_lowercase()) {
                    request = request.header(name, value);
                }
            }
            let body = capture["body"].as_str().unwrap_or_default().to_owned();
            let Ok(request) = request.body(Full::<Bytes>::from(body)) else { continue };
            let Ok(answer) = rig.h1().await.send_request(request).await else { continue };
            Got::from(answer).await;
            tokens += count;
            sent += 1;
            let list = list(&rig).await;
            if let Some((_, reason)) = PROBES.iter().find(|(name, _)| capture["name"] == *name) {
                probed.push(*reason);
            }
            assert_eq!(counted(&list), probed, "{}", capture["name"]);
        }
        probed.clear();
    }
    assert!(sent >= 70 && tokens >= 45, "{sent} requests with {tokens} tokens");
}

#[tokio::test]
async fn for_the_captured_sockets_the_list_is_empty() {
    let mut opened = 0;
    for line in include_str!("../standin/captures/sockets.jsonl").lines() {
        let rig = observing(Vec::new()).await;
        let capture: Value = serde_json::from_str(line).unwrap();
        let frames = capture["frames"].as_array().unwrap();
        let first = frames.iter().find(|frame| frame[1] == ">").and_then(|frame| frame[2].as_str());
        let Some(first) = first.filter(|first| first.starts_with("40{")) else { continue };
        let (first, _) = renew_all(first);
        let packet: Value = serde_json::from_str(first.strip_prefix("40").unwrap()).unwrap();
        let key = packet["data"]["docid"].as_str().unwrap_or("ws1");
        let path = format!(
            "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/{key}/c/?EIO=4&transport=websocket&shardkey={key}"
        );
        let mut editor = Editor::connect_to(rig.https, &path).await;
        editor.say(&first).await;
        opened += usize::from(editor.next().await.is_some_and(|packet| packet.starts_with("40{")));
        let probe = PROBES.iter().find(|(name, _)| capture["name"] == *name).map(|(_, reason)| *reason);
        assert_eq!(counted(&list(&rig).await), Vec::from_iter(probe), "{}", capture["name"]);
    }
    assert!(opened >= 3, "{opened} sockets");
}

#[tokio::test]
async fn what_enforce_would_refuse_is_listed_with_examples() {
    let server = Options::default();
    let rig = Rig::with(Setup {
        server,
        port_in_url: true,
        lines: vec![("", "mode = \"observe\"".to_owned())],
        tables: INTEGRATORS.into(),
        ..Setup::default()
    })
    .await;
    let (code, said) = doctor(&rig, &[]).await;
    assert_eq!((code, said.starts_with("nothing since ")), (Some(0), true), "{said}");

    let session = token::sign(SECRET, &token::session("k1", ("u1", "Ann"), 1, &clock::system()));
    let upload =
        Request::post("/upload/other").header("host", "localhost").header("content-type", "image/png");
    let upload =
        upload.header("authorization", format!("Bearer {session}")).body(Full::<Bytes>::from("x")).unwrap();
    rig.send(upload).await;
    let foreign =
        token::sign(SECRET, &token::convert("c1", "https://elsewhere.example/a.docx", "docx", "pdf"));
    let body = json!({ "token": foreign }).to_string();
    let convert =
        Request::post("/converter").header("host", "localhost").body(Full::<Bytes>::from(body)).unwrap();
    rig.send(convert).await;

    let (code, said) = doctor(&rig, &["--json"]).await;
    assert_eq!(code, Some(1), "{said}");
    let list: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["mode"], "observe");
    let mode = "mode = \"enforce\"";
    let counted = json!([
        { "reason": "host_not_allowed", "refused_by": mode, "count": 1 },
        { "reason": "key_mismatch", "refused_by": mode, "count": 1 },
    ]);
    assert_eq!(list["counted"], counted);
    let newest = &list["examples"][0];
    assert_eq!(
        (newest["route"].as_str(), newest["host"].as_str()),
        (Some("converter"), Some("elsewhere.example"))
    );
    let id = list["examples"][1]["id"].as_str().unwrap().to_owned();
    rig.log.wait_for(move |line| line["id"] == *id && line["would_refuse"] == "key_mismatch").await;
    assert!(!said.contains("eyJ") && !said.contains("/a.docx") && !said.contains(SECRET), "{said}");
    let (_, text) = doctor(&rig, &[]).await;
    assert!(
        text.contains("1 key_mismatch, refused by mode = \"enforce\"")
            && text.contains("host elsewhere.example"),
        "{text}"
    );
}
