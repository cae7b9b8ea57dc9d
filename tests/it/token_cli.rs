//! `token sign` and `token verify` as people and scripts use them: what they print, how they exit, and that the gateway agrees.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::rig::{Got, Rig, SECRET, Setup};

/// The secret of the captured traffic, and when captures/http was taken.
const CAPTURED: (&str, &str) = ("rig-secret-0123456789abcdef0123456789", "1795320021");

/// A few flags for each class. Nobody listens at the URLs: a stand-in that fetches them learns so at once.
const CLASSES: [(&str, &[&str]); 10] = [
    (
        "open",
        &[
            "--key",
            "k1",
            "--url",
            "http://127.0.0.1:9/a.docx",
            "--callback-url",
            "http://127.0.0.1:9/save",
            "--user",
            "Ann",
            "--mode",
            "edit",
        ],
    ),
    ("history", &["--key", "k1", "--url", "http://127.0.0.1:9/a.docx", "--document-version", "2"]),
    ("insert", &["--url", "http://127.0.0.1:9/a.png"]),
    ("command", &["--c", "version"]),
    ("convert", &["--url", "http://127.0.0.1:9/a.docx", "--output-type", "pdf", "--key", "k1"]),
    ("builder", &["--url", "http://127.0.0.1:9/a.docbuilder"]),
    ("session", &["--key", "k1", "--user", "Ann"]),
    ("print", &["--key", "k1"]),
    ("callback", &["--key", "k1", "--status", "2", "--url", "http://127.0.0.1:9/a.docx"]),
    ("download", &["--url", "http://127.0.0.1:9/a.docx"]),
];

/// What came of a command.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn run(folder: &Path, arguments: &[&str], stdin: &str, secret: Option<&str>) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rapidpm-gateway"));
    command.arg("token").args(arguments).current_dir(folder).env_remove("RAPIDPM_GATEWAY_CONFIG");
    command.env_remove("ONLY_OFFICE_SECRET").env_remove("ONLY_OFFICE_URL");
    if let Some(secret) = secret {
        command.env("ONLY_OFFICE_SECRET", secret);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let _ = pipe.write_all(stdin.as_bytes()); // who does not read it is no fault
    drop(pipe);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    for secret in [SECRET, CAPTURED.0] {
        assert!(
            !out.contains(secret) && !err.contains(secret),
            "{arguments:?} betrays the secret\n{out}{err}"
        );
    }
    Done { code: status.code(), out, err }
}

/// A folder with a gateway.toml that needs no certificate.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = "public_url = \"https://office.example\"\n[server]\nhttps = []\nhttp = [\"127.0.0.1:0\"]\n\
                [jwt]\nheader = \"AuthorizationJwt\"\nprefix = \"JWT \"\n";
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

fn token(folder: &Path, arguments: &[&str]) -> String {
    let done = run(folder, &[&["sign"], arguments].concat(), "", Some(SECRET));
    assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.err);
    let token = done.out.strip_suffix('\n').unwrap();
    assert!(token.starts_with("eyJ") && !token.contains(char::is_whitespace), "{}", done.out);
    assert!(!done.err.contains(token), "the notes hold the token");
    token.to_owned()
}

fn explained(folder: &Path, arguments: &[&str], stdin: &str, secret: &str) -> (Option<i32>, Value) {
    let done = run(folder, &[&["verify", "--json"], arguments].concat(), stdin, Some(secret));
    let value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}{}", done.out, done.err));
    (done.code, value)
}

#[test]
fn what_is_signed_is_explained_as_what_it_was_made_for() {
    let (folder, _) = folder();
    for (class, flags) in CLASSES {
        for form in [&[][..], &["--wrap"]] {
            let token = token(folder.path(), &[&["--class", class], flags, form].concat());
            let (code, value) = explained(folder.path(), &[], &token, SECRET);
            // Nobody nests a print token, and nested it is one no more.
            let class = if class == "print" && !form.is_empty() { "partial" } else { class };
            assert_eq!(
                (code, &value["valid"], &value["class"]),
                (Some(0), &json!(true), &json!(class)),
                "{value}"
            );
            assert_eq!(value["signature"]["secret"], "current");
            let wrapped = !form.is_empty() || class == "download";
            assert_eq!(value["form"], if wrapped { "wrapped" } else { "flat" });
            let text = run(folder.path(), &["verify", &token], "", Some(SECRET));
            assert_eq!(text.code, Some(0));
            let words = if class == "partial" {
                "valid       a piece of"
            } else {
                &format!("valid       class {class}")
            };
            assert!(text.out.starts_with(words), "{}", text.out);
            assert!(!text.out.contains("Ann") && !text.out.contains("/a.docx"), "{}", text.out);
        }
    }
}

#[test]
fn claims_come_from_a_file_a_pipe_or_the_command_line() {
    let (folder, _) = folder();
    let claims = r#"{"c":"info","key":"k9","exp":4102444800}"#;
    std::fs::write(folder.path().join("claims.json"), claims).unwrap();
    for (from, stdin) in [("claims.json", ""), ("-", claims), (claims, "")] {
        let done = run(folder.path(), &["sign", "--claims", from], stdin, Some(SECRET));
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(
            done.err.contains("class command for document k9, flat, valid until 2100-01-01T00:00:00Z"),
            "{}",
            done.err
        );
        let (_, value) = explained(folder.path(), &["--claims", done.out.trim()], "", SECRET);
        assert_eq!(value["payload"]["exp"], 4_102_444_800_u64);
        assert_eq!(value["payload"]["key"], "k9");
    }
    let forever = token(folder.path(), &["--claims", claims, "--expires", "never"]);
    let (_, value) = explained(folder.path(), &[&forever], "", SECRET);
    assert_eq!(value["times"]["exp"], Value::Null);
}

#[test]
fn exit_codes() {
    let (folder, file) = folder();
    let good = token(folder.path(), &["--class", "command", "-c", "version"]);
    let file = file.to_str().unwrap();
    std::fs::write(folder.path().join("faulty.toml"), "zzz = 1\n").unwrap();
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&["verify", &good], 0, "valid       class command"),
        (&["verify", "--config", file, &good], 0, "valid"),
        (&["verify", "--secret-env", "ONLY_OFFICE_SECRET", &good], 0, "valid"),
        (&["verify", "--secret-file", "secret", &good], 0, "valid"),
        (&["verify", "--at", "2100-01-01T00:00:00Z", &good], 1, "token_expired"),
        (&["verify", "garbage"], 1, "token_malformed"),
        (&["verify", "-"], 1, "token_missing"),
        (&["verify"], 1, "token_missing"),
        (&["verify", "{\"c\":\"version\"}"], 1, "`token sign --claims` signs them"),
        (&["verify", "--at", "tomorrow", &good], 2, "2026-11-22T04:00:21Z"),
        (&["verify", "--secret-env", "NO_SUCH", &good], 2, "the environment has no NO_SUCH"),
        (&["verify", "--secret-file", "nosuch", &good], 2, "cannot be read"),
        (&["verify", "--secret-file", "empty", &good], 2, "empty"),
        (&["verify", "--secret-file", "secret", "--config", file, &good], 2, "cannot be used with"),
        (&["verify", "--config", "nosuch.toml", &good], 78, "there is no such file"),
        (&["verify", "--config", "faulty.toml", &good], 78, "zzz"),
        (&["sign"], 2, "--class"),
        (&["sign", "--class", "open"], 2, "--class open needs --key"),
        (&["sign", "--class", "print", "--key", "k", "--c", "x"], 2, "--c has no place"),
        (&["sign", "--class", "nosuch"], 2, "possible values"),
        (&["sign", "--claims", "{\"c\":\"version\"}", "--key", "k"], 2, "cannot be used with"),
        (&["sign", "--claims", "{\"c\":}"], 2, "no JSON"),
        (&["sign", "--claims", "nosuch.json"], 2, "cannot be read"),
        (&["sign", "--claims", "{\"payload\":{}}", "--wrap"], 2, "a `payload` already"),
        (&["sign", "--class", "print", "--key", "k", "--expires", "5"], 2, "with a unit"),
        (&["sign", "--class", "print", "--key", "k", "--alg", "none"], 2, "HS256, HS384, HS512"),
        (&["sign", "--class", "print", "--key", "k", "--config", "faulty.toml"], 78, "zzz"),
        (&["sign", "--class", "builder", "--url", "https://a.example/b", "--curl"], 2, "no route"),
        (
            &["sign", "--class", "print", "--key", "k", "--secret-file", "secret", "--curl"],
            2,
            "needs a configuration",
        ),
    ];
    for (arguments, code, words) in table {
        let done = run(folder.path(), arguments, "", Some(SECRET));
        assert_eq!(done.code, Some(*code), "{arguments:?}\n{}{}", done.out, done.err);
        let said = if *code < 2 { &done.out } else { &done.err };
        assert!(said.contains(words), "{arguments:?}\n{}{}", done.out, done.err);
        assert!(*code < 2 || done.out.is_empty(), "{arguments:?} prints {}", done.out);
    }
}

#[test]
fn a_command_line_to_try_it_with() {
    let (folder, _) = folder();
    let done = run(
        folder.path(),
        &["sign", "--class", "command", "-c", "version", "--wrap", "--curl"],
        "",
        Some(SECRET),
    );
    let (head, rest) = done.out.split_once("eyJ").unwrap();
    assert_eq!(head, "curl -sS -X POST -H 'Authorizationjwt: JWT ");
    assert!(
        rest.ends_with("' -H 'Content-Type: application/json' -d '{}' 'https://office.example/command'\n"),
        "{rest}"
    );
    // What it says is what a shell understands, and the header line in it is a token's.
    let echoed =
        Command::new("sh").arg("-c").arg(done.out.replacen("curl", "printf '%s\\n'", 1)).output().unwrap();
    let words = String::from_utf8(echoed.stdout).unwrap();
    let header = words.lines().find(|word| word.starts_with("Authorizationjwt")).unwrap();
    let (code, value) = explained(folder.path(), &[header], "", SECRET);
    assert_eq!((code, &value["note"]), (Some(0), &Value::Null), "{value}");
}

fn captures(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/captures").join(name);
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn real_requests_get_the_verdict_that_the_document_server_gave() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--secret-env", "ONLY_OFFICE_SECRET", "--at", CAPTURED.1];
    let mut seen = 0;
    for exchange in captures("http.jsonl") {
        let name = exchange["name"].as_str().unwrap();
        let path = exchange["head"].as_str().unwrap().split(' ').nth(1).unwrap();
        if !["/coauthoring", "/command", "/convert", "/Convert"].iter().any(|head| path.starts_with(head)) {
            continue;
        }
        let headers = exchange["headers"].as_array().unwrap();
        let header = headers.iter().find(|field| field[0] == "Authorization");
        let body = exchange["body"].as_str().unwrap();
        let shown = match header {
            Some(field) if !body.contains("token") => {
                format!("Authorization: {}", field[1].as_str().unwrap())
            }
            _ => body.to_owned(),
        };
        let (code, value) = explained(folder.path(), &arguments, &shown, CAPTURED.0);
        let answer = exchange["text"].as_str().unwrap();
        let refused = ["{\"error\":6}", "{\"error\":7}", "{\"error\":-8}"].contains(&answer);
        match name {
            // The gateway takes what [jwt] algorithms names; the Document Server takes the whole family.
            "23-cmd-version-HS512" => {
                assert_eq!((code, &value["reason"]), (Some(1), &json!("token_algorithm")));
                assert_eq!(value["signature"]["secret"], "current");
            }
            "27-cmd-header-no-prefix" => {
                assert!(value["note"].as_str().unwrap().contains("[jwt] prefix is \"Bearer \""), "{value}");
            }
            _ => {
                assert_eq!(code, Some(i32::from(refused)), "{name}: {value}");
                assert_eq!(value["reason"] == "token_expired", answer == "{\"error\":7}", "{name}: {value}");
            }
        }
        seen += 1;
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn real_callbacks_and_packets_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--secret-env", "ONLY_OFFICE_SECRET", "--at", "1795320660"];
    for sent in captures("callbacks.jsonl") {
        let headers = sent["headers"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let header = headers.into_iter().find(|line| line.starts_with("Authorization")).unwrap();
        let (code, value) = explained(folder.path(), &arguments, header, CAPTURED.0);
        let class =
            if sent["request"].as_str().unwrap().starts_with("POST") { "callback" } else { "download" };
        assert_eq!(
            (code, &value["class"], &value["form"]),
            (Some(0), &json!(class), &json!("wrapped")),
            "{value}"
        );
        assert!(value["routes"].as_array().unwrap().iter().all(|row| row["opens"] == false), "{value}");
    }
    let expected = [
        ("good", 0, "open"),
        ("bad-signature", 1, "open"),
        ("expired", 1, "open"),
        ("token-for-other-doc", 0, "open"),
    ];
    for socket in captures("sockets.jsonl") {
        let name = socket["name"].as_str().unwrap();
        let Some((_, code, class)) = expected.iter().find(|(known, ..)| *known == name) else { continue };
        let frames = socket["frames"].as_array().unwrap().iter().filter_map(|frame| frame[2].as_str());
        let packet =
            frames.into_iter().find(|frame| frame.starts_with("40{") && frame.contains("token")).unwrap();
        let (got, value) = explained(folder.path(), &arguments, packet, CAPTURED.0);
        assert_eq!((got, &value["class"]), (Some(*code), &json!(class)), "{name}: {value}");
        assert_eq!(value["found"], "an editor's packet");
    }
}

/// One truth: what `token verify` says of a route and a carrier is what a running gateway does there.
#[tokio::test]
async fn the_gateway_agrees() {
    let lines = vec![("document_server", "docbuilder = true\nai_proxy = true\n".to_owned())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    let gateway = rig.h2().await;
    let mut asked = tokio::task::JoinSet::new();
    for (class, flags) in CLASSES {
        for form in [&[][..], &["--wrap"]] {
            let token = token(rig.folder.path(), &[&["--class", class], flags, form].concat());
            let (_, value) = explained(rig.folder.path(), &[&token], "", SECRET);
            for row in value["routes"].as_array().unwrap() {
                let field = |name: &str| row[name].as_str().unwrap_or_default();
                let (carrier, path) = (field("carrier"), field("path"));
                let cmd = if path.starts_with("/downloadas") { "tokenDownload" } else { "tokenSession" };
                let target = match carrier {
                    "query" => format!("{path}?token={token}"),
                    "cmd" => format!("{path}?cmd=%7B%22{cmd}%22:%22{token}%22%7D"),
                    _ => path.to_owned(),
                };
                let mut request =
                    Request::builder().method(field("method")).uri(format!("https://localhost{target}"));
                if ["header", "authorization"].contains(&carrier) {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let body =
                    if carrier == "body" { json!({ "token": token }).to_string() } else { String::new() };
                let request = request.body(Full::from(body)).unwrap();
                // Side by side: the stand-in tries for a while to fetch what nobody has.
                let sent = gateway.clone().send_request(request);
                let (row, what) = (row.clone(), format!("{class} {form:?}"));
                asked.spawn(async move {
                    let got = Got::from(sent.await.unwrap()).await;
                    let reason = got.header("gateway-refusal").map_or(Value::Null, |reason| json!(reason));
                    assert_eq!(reason, row["reason"], "{what} {row}");
                    assert_eq!(reason.is_null(), row["opens"] == true, "{what} {row}");
                });
            }
        }
    }
    let mut answered = 0;
    while let Some(done) = asked.join_next().await {
        done.unwrap();
        answered += 1;
    }
    assert_eq!(answered, CLASSES.len() * 2 * 18, "carriers of routes that take tokens");
}

/// The same fault has the same sentence here and in the log; seconds pass between the two.
#[tokio::test]
async fn the_log_says_what_verify_says() {
    let rig = Rig::start().await;
    let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let good = json!({"c": "version"});
    let signed = |claims: Value| standin::token::sign(SECRET, &claims);
    let table = [
        ("token_malformed", "a.b.c".to_owned()),
        ("token_signature", standin::token::sign("another-secret-0123456789abcdef012345", &good)),
        ("token_algorithm", standin::token::unsigned(&good)),
        ("token_expired", signed(json!({"c": "version", "exp": seconds - 3600}))),
        ("token_not_yet", signed(json!({"c": "version", "nbf": seconds + 3600}))),
        ("token_bad_time", signed(json!({"c": "version", "exp": "soon"}))),
        ("class_not_allowed", signed(standin::token::print("demo"))),
    ];
    let without_seconds = |text: &str| -> String {
        text.split(' ')
            .map(|word| if word.parse::<i64>().is_ok() { "N" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (reason, token) in table {
        let (_, value) = explained(rig.folder.path(), &[&token], "", SECRET);
        let rows = value["routes"].as_array().unwrap();
        let row = rows.iter().find(|row| row["path"] == "/command" && row["carrier"] == "body").unwrap();
        let request = Request::post("/command").header("host", "localhost");
        let request = request.body(Full::from(json!({ "token": token }).to_string())).unwrap();
        assert_eq!(rig.send(request).await.header("gateway-refusal"), Some(reason));
        let line = rig.log.wait_for(move |line| line["refusal"] == reason).await;
        let [log, verify] =
            [&line["why"], &row["detail"]].map(|text| without_seconds(text.as_str().unwrap()));
        // Where a class is wrong, `verify` does not know where the token would be.
        assert_eq!(log.replace(" (found in: body)", ""), verify.replace(" (found in: body)", ""), "{reason}");
        let has_seconds = matches!(reason, "token_expired" | "token_not_yet");
        assert_eq!(log.contains(" N s"), has_seconds, "{log}");
    }
}
