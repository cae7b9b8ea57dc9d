//! The stand-in Document Server against recordings of the real one: what was asked then is asked here, and the answers are compared.

// The helpers of a test fail it loudly, like the test itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use standin::{DocumentServer, Integrator, Network, clock, document_server, integrator, token};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const SECRET: &str = "rig-secret-0123456789abcdef0123456789";

/// Both stand-ins with the settings and at the time of a recording.
async fn rig(date: &str, tune: impl FnOnce(&mut document_server::Options)) -> (DocumentServer, Integrator) {
    let now = clock::fixed(seconds(date));
    let options = integrator::Options { secret: SECRET.into(), now: now.clone(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("t", "docx", "Text");
    let mut options = document_server::Options {
        secret: SECRET.into(),
        network: Network::default().resolve("127.0.0.1:8099", integrator.address()),
        save_delay: Duration::from_millis(20),
        now,
        ..Default::default()
    };
    tune(&mut options);
    (DocumentServer::start(options).await.unwrap(), integrator)
}

/// Seconds since 1970 of `Sun, 22 Nov 2026 04:00:21 GMT`; all recordings are of one day.
fn seconds(date: &str) -> u64 {
    let clock: Vec<u64> = date[17..25].split(':').map(|part| part.parse().unwrap()).collect();
    assert!(date.contains("22 Nov 2026"), "{date}");
    1_795_305_600 + clock[0] * 3600 + clock[1] * 60 + clock[2]
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Answer {
    status: u16,
    reason: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Sends a request byte for byte and reads the answer to its end.
async fn ask(server: &DocumentServer, head: &str, headers: &[(String, String)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut request = format!("{head} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    let (status, reason) = first.strip_prefix("HTTP/1.1 ").unwrap().split_once(' ').unwrap();
    let headers = rest.split("\r\n").map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.contains_key("transfer-encoding") {
        body = unchunk(&body);
    }
    Answer { status: status.parse().unwrap(), reason: reason.into(), headers, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

/// Names and kinds of everything in a value; numbers and strings themselves do not count.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => json!("scalar"),
        Value::String(_) => json!("text"),
        Value::Array(list) => list.first().map_or(json!([]), |first| json!([shape(first)])),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), shape(value))).collect())
        }
    }
}

/// A body without what differs from run to run: signatures, times, numbers of folders.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['=', '_']) {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        let value =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(after.len());
        out.push_str(if value > 0 { "*" } else { "" });
        rest = &after[value..];
    }
    out + rest
}

/// Compares one answer with its recording and gives what is different.
fn differences(recorded: &Value, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str, here: &str, there: &str| {
        if here != there {
            found.push(format!("{what}: {here:?} here, {there:?} there"));
        }
    };
    note("status", &answer.status.to_string(), &recorded["status"].to_string());
    note("reason", &answer.reason, recorded["reason"].as_str().unwrap());
    let empty = String::new();
    let pictured = [
        "content-type",
        "vary",
        "location",
        "content-disposition",
        "accept-ranges",
        "server",
        "content-security-policy",
        "x-content-type-options",
        "transfer-encoding",
    ];
    for name in pictured {
        let there = recorded["answer"][name].as_str().unwrap_or_default();
        note(name, answer.headers.get(name).unwrap_or(&empty), there);
    }
    for name in ["etag", "cache-control", "last-modified", "content-range"] {
        // The value is the server's own; that there is one, and of which kind, is not.
        let kind =
            |value: &str| value.chars().take_while(|c| !c.is_ascii_digit()).take(3).collect::<String>();
        let here = answer.headers.get(name).map(|value| kind(value)).unwrap_or_default();
        note(name, &here, &recorded["answer"][name].as_str().map(kind).unwrap_or_default());
    }
    let name = recorded["name"].as_str().unwrap();
    let here = String::from_utf8_lossy(&answer.body);
    match recorded["text"].as_str() {
        None => {}
        Some(there) if name == "09-info" => {
            let (here, there): (Value, Value) =
                (serde_json::from_str(&here).unwrap(), serde_json::from_str(there).unwrap());
            note("parts", &keys(&here), &keys(&there));
        }
        Some(there) if here.contains("/cache/files/") => note("body", &plain(&here), &plain(there)),
        Some(there) => match (serde_json::from_str::<Value>(&here), serde_json::from_str::<Value>(there)) {
            (Ok(here), Ok(there)) if name.contains("license") || here["sid"].is_string() => {
                note("shape", &shape(&here).to_string(), &shape(&there).to_string())
            }
            _ if there.starts_with("0{") => {
                let part = |text: &str| shape(&serde_json::from_str(&text[1..]).unwrap()).to_string();
                note("shape", &part(&here), &part(there));
            }
            _ => {
                // The recording has plain line ends; the length tells about the real ones.
                note("body", here.replace('\r', "").trim_end(), there.trim_end());
                note("length", &answer.body.len().to_string(), &recorded["length"].to_string());
            }
        },
    }
    found
}

fn keys(value: &Value) -> String {
    value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
}

fn headers_of(recorded: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    recorded["headers"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[tokio::test]
async fn all_recorded_requests_are_answered_as_the_real_server_answered_them() {
    let mut wrong = Vec::new();
    let recordings = lines(include_str!("../captures/http.jsonl"));
    assert_eq!(recordings.len(), 62);
    let (mut server, mut integrator) = rig("Sun, 22 Nov 2026 04:00:21 GMT", |_| {}).await;
    let mut date = String::new();
    for recorded in &recordings {
        let name = recorded["name"].as_str().unwrap();
        let then = recorded["answer"]["date"].as_str().unwrap();
        // Tokens live for minutes and conversions for two requests, so a new minute may start afresh.
        if date.get(..22) != then.get(..22) {
            (server, integrator) = rig(then, |_| {}).await;
            date = then.to_owned();
        }
        let mut head = recorded["head"].as_str().unwrap().to_owned();
        if let Some(query) = head
            .strip_prefix("GET /cache/files/")
            .and_then(|path| path.split_once('?'))
            .map(|(_, query)| query.to_owned())
        {
            head = head.replace(&query, &signed(&server, name, &query));
        }
        let answer = ask(&server, &head, &headers_of(recorded), recorded["body"].as_str().unwrap()).await;
        if name == "48-converter-async-1" {
            // The work is done in the background; the real client asked again four seconds later.
            while !server.cached("data/conv_cva1795320029554_513/output.odt") {
                tokio::task::yield_now().await;
            }
        }
        for difference in differences(recorded, &answer) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n{:?}", wrong.join("\n"), integrator.requests().len());
}

/// The recorded query of a cached file, signed with this server's own secret and spoilt in the same way.
fn signed(server: &DocumentServer, name: &str, recorded: &str) -> String {
    server.cache_as("data/conv_cv1795320022227_513/output.pdf", vec![b'x'; 55_515]);
    let good = server.sign("data/conv_cv1795320022227_513/output.pdf", "t.pdf", "t1", 900);
    let good = good.split_once('?').unwrap().1.to_owned();
    match name {
        "41-cache-file-bad-md5" => good.replace("md5=", "md5=X"),
        "43-cache-file-expired" => good.replace("expires=", "expires=1"),
        _ => {
            assert_eq!(plain(&good), plain(recorded));
            good
        }
    }
}

#[tokio::test]
async fn a_renamed_token_header_is_the_only_one_that_counts() {
    let tune = |options: &mut document_server::Options| {
        options.header = "AuthorizationJwt".into();
        options.prefix = "JWT ".into();
    };
    let (server, _integrator) = rig("Sun, 22 Nov 2026 04:24:44 GMT", tune).await;
    for recorded in lines(include_str!("../captures/http-customhdr.jsonl")) {
        let answer = ask(
            &server,
            recorded["head"].as_str().unwrap(),
            &headers_of(&recorded),
            recorded["body"].as_str().unwrap(),
        )
        .await;
        assert_eq!(differences(&recorded, &answer), Vec::<String>::new(), "{}", recorded["name"]);
    }
}

/// The recorded frames from the server, each as its number and the shape behind it.
fn recorded_frames(recorded: &Value) -> Vec<String> {
    let frames = recorded["frames"].as_array().unwrap().iter();
    frames.filter(|frame| frame[1] == "<").map(|frame| frame_shape(frame[2].as_str().unwrap())).collect()
}

/// `42 auth {…}`: refusals are compared to the letter, everything else by shape.
fn frame_shape(frame: &str) -> String {
    let start = frame.find(['{', '[']).unwrap_or(frame.len());
    let (number, rest) = frame.split_at(start);
    match serde_json::from_str::<Value>(rest) {
        Ok(value) if number != "44" => {
            format!("{number} {} {}", value[1]["type"].as_str().unwrap_or_default(), shape(&value))
        }
        _ => frame.to_owned(),
    }
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(server: &DocumentServer, path: &str) -> Socket {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let url = format!("ws://127.0.0.1:8088{path}");
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Option<String> {
    loop {
        match socket.next().await? {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Plays the client's side of a recording and gives the shapes of what the stand-in says.
async fn replay(server: &DocumentServer, recorded: &Value, path: &str) -> Vec<String> {
    let sent: Vec<&str> = recorded["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|frame| frame[1] == ">")
        .map(|frame| frame[2].as_str().unwrap())
        .collect();
    let expected = recorded_frames(recorded).len();
    let mut socket = connect(server, path).await;
    let mut heard = vec![next(&mut socket).await.unwrap()];
    let connect: Value = serde_json::from_str(&sent[0][2..]).unwrap();
    socket.send(Message::text(sent[0])).await.unwrap();
    heard.push(next(&mut socket).await.unwrap());
    if heard[1].starts_with("40") {
        heard.push(next(&mut socket).await.unwrap());
        socket.send(Message::text(format!("42{}", json!(["message", connect["data"]])))).await.unwrap();
        while heard.len() < expected {
            heard.push(next(&mut socket).await.unwrap());
        }
    }
    heard.iter().map(|frame| frame_shape(frame)).collect()
}

#[tokio::test]
async fn recorded_sockets_hear_what_the_real_server_said() {
    let named = [
        "good",
        "no-token",
        "bad-signature",
        "expired",
        "token-for-other-doc",
        "auth-header-only",
        "unversioned-path",
    ];
    for recorded in lines(include_str!("../captures/sockets.jsonl")) {
        let name = recorded["name"].as_str().unwrap();
        if !named.contains(&name) {
            continue;
        }
        let (server, integrator) = rig(recorded["date"].as_str().unwrap(), |_| {}).await;
        let version = if name == "unversioned-path" { "" } else { "/9.0.4-0123456789abcdef" };
        let heard = replay(
            &server,
            &recorded,
            &format!("{version}/doc/ws1/c/?EIO=4&transport=websocket&shardkey=ws1"),
        )
        .await;
        assert_eq!(heard, recorded_frames(&recorded), "{name}");
        if name == "good" {
            let callback = integrator.wait_for_callback(|callback| callback.status == 1).await;
            assert_eq!((callback.target.as_str(), callback.token), ("/callback", Ok(())));
        }
    }
}

#[tokio::test]
async fn a_session_token_has_the_claims_of_a_recorded_one() {
    let recordings = lines(include_str!("../captures/sockets.jsonl"));
    let good = recordings.iter().find(|recorded| recorded["name"] == "good").unwrap();
    let auth = good["frames"]
        .as_array()
        .unwrap()
        .iter()
        .find(|frame| frame[1] == "<" && frame[2].as_str().unwrap().contains("\"jwt\":"))
        .unwrap();
    let auth: Value = serde_json::from_str(&auth[2].as_str().unwrap()[2..]).unwrap();
    let now = clock::fixed(seconds(good["date"].as_str().unwrap()));
    let there = token::verify(auth[1]["jwt"].as_str(), SECRET, &now).unwrap();
    let here = token::session("ws1", ("w1", "W1"), 1, &now);
    assert_eq!(keys(&here), keys(&there));
    assert_eq!(shape(&here["editorConfig"]), shape(&there["editorConfig"]));
    assert_eq!(here["exp"].as_u64().unwrap() - here["iat"].as_u64().unwrap(), 30 * 86_400);
}

#[tokio::test]
async fn a_silent_socket_is_pinged_and_closed_without_a_code() {
    let tune = |options: &mut document_server::Options| {
        options.ping_interval = Duration::from_millis(250);
        options.ping_timeout = Duration::from_millis(200);
        options.connect_timeout = Duration::from_millis(450);
    };
    let (server, _integrator) = rig("Sun, 22 Nov 2026 04:03:37 GMT", tune).await;
    let mut socket = connect(&server, "/doc/ws8/c/?EIO=4&transport=websocket").await;
    assert!(next(&mut socket).await.unwrap().starts_with("0{"));
    assert_eq!(next(&mut socket).await.unwrap(), "2");
    socket.send(Message::text("3")).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Close(frame))) => assert_eq!(frame, None),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_old_protocol_and_a_bad_key_get_what_they_got_then() {
    let (server, _integrator) = rig("Sun, 22 Nov 2026 04:02:56 GMT", |_| {}).await;
    let mut old = connect(&server, "/doc/ws7/c/?EIO=3&transport=websocket").await;
    // A plain refusal where a frame should be: `H` has the bits of a reserved extension.
    assert!(old.next().await.unwrap().unwrap_err().to_string().contains("eserved bits"));
    let headers = [("Host".into(), "x".into())];
    let answer = ask(&server, "GET /doc/..%2Fx/c/?EIO=4&transport=polling", &headers, "").await;
    assert_ne!(answer.status, 200);
    let answer = ask(&server, "GET /doc/a%20b/c/?EIO=4&transport=polling", &headers, "").await;
    assert_eq!((answer.status, answer.reason.as_str()), (502, "Bad Gateway"));
    let answer = ask(&server, "GET /doc/k/c/?EIO=4&transport=polling&sid=gone", &headers, "").await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (400, br#"{"code":1,"message":"Session ID unknown"}"#.as_slice())
    );
}

#[tokio::test]
async fn recorded_polling_is_answered_alike() {
    let recorded: Value = serde_json::from_str(include_str!("../captures/polling.json")).unwrap();
    let (server, _integrator) = rig(recorded["date"].as_str().unwrap(), |_| {}).await;
    let mut sid: Option<String> = None;
    let mut heard = String::new();
    for exchange in recorded["exchanges"].as_array().unwrap().iter().take(4) {
        let mut target = exchange["target"].as_str().unwrap().to_owned();
        if let (Some(sid), Some((start, _))) = (&sid, target.clone().split_once("&sid=")) {
            target = format!("{start}&sid={sid}");
        }
        let body = exchange["body"].as_str().unwrap();
        let mut headers = vec![("Host".to_owned(), "127.0.0.1:8088".to_owned())];
        if !body.is_empty() {
            headers.push(("Content-Type".into(), "text/plain;charset=UTF-8".into()));
            headers.push(("Content-Length".into(), body.len().to_string()));
        }
        let head = format!("{} {target}", exchange["method"].as_str().unwrap());
        let answer = ask(&server, &head, &headers, body).await;
        assert_eq!(u64::from(answer.status), exchange["status"].as_u64().unwrap());
        for name in ["content-type", "cache-control", "vary"] {
            assert_eq!(
                answer.headers.get(name).map(String::as_str),
                exchange["answer"][name].as_str(),
                "{head} {name}"
            );
        }
        let text = String::from_utf8(answer.body).unwrap();
        if sid.is_none() {
            sid = serde_json::from_str::<Value>(&text[1..]).unwrap()["sid"].as_str().map(str::to_owned);
            assert_eq!(frame_shape(&text), frame_shape(exchange["text"].as_str().unwrap()));
        }
        heard.push_str(&text);
    }
    let sid = sid.unwrap();
    assert!(heard.contains("ok40{\"sid\":"), "{heard}");
    let (mut auth, mut opened) = (false, false);
    while !(auth && opened) {
        let headers = [("Host".into(), "127.0.0.1:8088".into())];
        let answer =
            ask(&server, &format!("GET /doc/poll1/c/?EIO=4&transport=polling&sid={sid}"), &headers, "").await;
        let text = String::from_utf8(answer.body).unwrap();
        for packet in text.split('\u{1e}') {
            auth |= packet.contains(r#"{"type":"auth","result":1"#);
            opened |= packet.contains(r#"{"type":"documentOpen","data":{"type":"open","status":"ok""#);
        }
    }
}

#[tokio::test]
async fn polling_changes_to_a_websocket() {
    let (server, integrator) = rig("Sun, 22 Nov 2026 04:03:37 GMT", |_| {}).await;
    let headers = [("Host".into(), "127.0.0.1:8088".into())];
    let open = ask(&server, "GET /doc/p/c/?EIO=4&transport=polling", &headers, "").await;
    let open: Value = serde_json::from_slice(&open.body[1..]).unwrap();
    assert_eq!(open["upgrades"], json!(["websocket"]));
    let target = format!("/doc/p/c/?EIO=4&transport=polling&sid={}", open["sid"].as_str().unwrap());
    let mut socket = connect(&server, &target.replace("polling", "websocket")).await;
    let head = format!("GET {target}");
    let (waiting, ()) = tokio::join!(ask(&server, &head, &headers, ""), async {
        socket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(next(&mut socket).await.unwrap(), "3probe");
    });
    assert_eq!(waiting.body, b"6");
    socket.send(Message::text("5")).await.unwrap();
    let token = integrator.open_token("t", ("ann", "Ann"), "edit");
    socket.send(Message::text(format!("40{}", json!({"token": token})))).await.unwrap();
    assert!(next(&mut socket).await.unwrap().starts_with("40{\"sid\":"));
}

#[tokio::test]
async fn callbacks_have_the_headers_the_order_and_the_fields_of_the_recorded_ones() {
    let (server, integrator) = rig("Sun, 22 Nov 2026 04:06:43 GMT", |_| {}).await;
    let open = integrator.open_token("t", ("u1", "User u1"), "edit");
    for edit in [false, true] {
        let mut socket = connect(&server, "/doc/t/c/?EIO=4&transport=websocket").await;
        next(&mut socket).await.unwrap();
        socket.send(Message::text(format!("40{}", json!({"token": open})))).await.unwrap();
        socket
            .send(Message::text(format!(
                "42{}",
                json!(["message", {"type": "auth", "jwtOpen": open, "openCmd": {}}])
            )))
            .await
            .unwrap();
        while !next(&mut socket).await.unwrap().contains("documentOpen") {}
        if edit {
            let changes = json!(["{\"p\":0,\"d\":0,\"i\":\"x\"}"]).to_string();
            socket
                .send(Message::text(format!(
                    "42{}",
                    json!(["message", {"type": "saveChanges", "changes": changes}])
                )))
                .await
                .unwrap();
            socket.send(Message::text(r#"42["message",{"type":"forceSaveStart"}]"#)).await.unwrap();
            integrator.wait_for_callback(|callback| callback.status == 6 && callback.answer.is_some()).await;
        }
        drop(socket);
        let last = if edit { 2 } else { 4 };
        integrator.wait_for_callback(|callback| callback.status == last).await;
    }
    for recorded in lines(include_str!("../captures/callbacks.jsonl")) {
        let Ok(there) = serde_json::from_str::<Value>(recorded["body"].as_str().unwrap()) else {
            let download = integrator.wait_for_request(|request| request.target.starts_with("/files/")).await;
            assert_eq!(
                names(download.headers.iter().map(|(name, _)| name.as_str())),
                recorded_names(&recorded)
            );
            continue;
        };
        let status = there["status"].as_u64().unwrap();
        let here = integrator
            .callbacks()
            .into_iter()
            .rfind(|callback| u64::from(callback.status) == status)
            .unwrap();
        assert_eq!(names(here.headers.iter().map(|(name, _)| name.as_str())), recorded_names(&recorded));
        let body = String::from_utf8(here.body.to_vec()).unwrap();
        assert_eq!(field_order(&body), field_order(recorded["body"].as_str().unwrap()), "status {status}");
        let nested = token::verify(
            here.header("authorization").and_then(|value| value.strip_prefix("Bearer ")),
            SECRET,
            &server.options().now,
        )
        .unwrap();
        let mut flat = here.claims.clone();
        assert_eq!(flat["exp"].as_u64().unwrap() - flat["iat"].as_u64().unwrap(), 300);
        for time in ["iat", "exp"] {
            flat.as_object_mut().unwrap().remove(time);
        }
        assert_eq!(nested["payload"], flat);
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = all.map(str::to_lowercase).collect();
    all.sort();
    all
}

fn recorded_names(recorded: &Value) -> Vec<String> {
    names(
        recorded["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().split(':').next().unwrap()),
    )
}

/// The names of an object's fields in the order in which they stand.
fn field_order(body: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(body).unwrap();
    let mut names: Vec<(usize, String)> = value
        .as_object()
        .unwrap()
        .keys()
        .map(|name| (body.rfind(&format!("\"{name}\":")).unwrap(), name.clone()))
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}
