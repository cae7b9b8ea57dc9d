//! What the gateway's tests rely on: files of any size, faults, records, a kill and a new start, replies of every kind.

// The helpers of a test fail it loudly, like the test itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::{DocumentServer, Fault, Integrator, Network, document_server, integrator, token};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn has(&self, line: &str) -> bool {
        self.head.to_lowercase().contains(&line.to_lowercase())
    }
}

/// One request on a connection of its own; an error when the connection ends without an answer.
async fn ask(address: SocketAddr, head: &str, extra: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{head} HTTP/1.1\r\nHost: ds.example\r\nConnection: close\r\n{extra}{length}\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end =
        bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Ok(Answer { status: head[9..12].parse().unwrap(), head, body: bytes[end + 4..].to_vec() })
}

async fn get(server: &DocumentServer, path: &str, extra: &str) -> Answer {
    ask(server.address(), &format!("GET {path}"), extra, b"").await.unwrap()
}

async fn server() -> DocumentServer {
    DocumentServer::start(document_server::Options::default()).await.unwrap()
}

#[tokio::test]
async fn public_files_are_cached_packed_and_moved_as_by_nginx() {
    let server = server().await;
    let api = get(&server, "/web-apps/apps/api/documents/api.js", "").await;
    assert!(api.status == 200 && api.has("cache-control: no-cache"));
    let path = "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main/editor.js";
    let whole = get(&server, path, "").await;
    assert!(
        whole.has("cache-control: max-age=31536000")
            && whole.has("etag: \"")
            && whole.has("vary: accept-encoding")
    );
    let packed = get(&server, path, "Accept-Encoding: gzip, br\r\n").await;
    assert!(
        packed.has("content-encoding: gzip")
            && packed.has("transfer-encoding: chunked")
            && packed.has("etag: w/\"")
    );
    assert!(packed.body.len() * 2 < whole.body.len());
    let via = get(&server, path, "Accept-Encoding: gzip\r\nVia: 1.1 proxy\r\n").await;
    assert!(!via.has("content-encoding") && via.body == whole.body);
    let etag = packed.head.lines().find_map(|line| line.strip_prefix("Etag: ")).unwrap().to_owned();
    assert_eq!(get(&server, path, &format!("If-None-Match: {etag}\r\n")).await.status, 304);
    let moved = get(
        &server,
        "/web-apps/apps/documenteditor/main/index.html?a=b",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: o.example\r\n",
    )
    .await;
    assert!(moved.status == 302 && moved.has("location: https://o.example/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main/index.html?a=b"));
}

#[tokio::test]
async fn tricks_with_paths_reach_what_a_gateway_must_hide() {
    let server = server().await;
    for path in [
        "/info/config",
        "/INFO/config/",
        "/9.0.4-xx/info/config",
        "/%69nfo/config",
        "//info//config",
        "/x/../info/./config",
    ] {
        let answer = get(&server, path, "").await;
        assert!(String::from_utf8(answer.body).unwrap().contains("secret"), "{path}");
    }
    assert_eq!(get(&server, "/9.0.4-xx/9.0.4-xx/info/config", "").await.status, 404);
    let script = token::sign(&server.options().secret, &token::print("k"));
    let answer =
        ask(server.address(), "POST /docbuilder", "", json!({"token": script}).to_string().as_bytes())
            .await
            .unwrap();
    assert!(String::from_utf8(answer.body).unwrap().contains("\"end\":true"));
    assert_eq!(get(&server, "/ai-proxy", "Authorization: Bearer garbage\r\n").await.status, 200);
    assert_eq!(get(&server, "/ai-proxy", "").await.status, 403);
}

#[tokio::test]
async fn a_hundred_megabytes_go_down_and_up() {
    let server = server().await;
    let path = server.cache_sized("key", "big file%.bin", 100 << 20);
    let down = get(&server, &path, "").await;
    assert_eq!((down.status, down.body.len()), (200, 100 << 20));
    assert!(down.has("content-disposition: attachment; filename*=UTF-8''big%20file%25.bin"));
    let part = get(&server, &path, "Range: bytes=1000000-1000009\r\n").await;
    assert_eq!((part.status, &part.body[..]), (206, &down.body[1_000_000..1_000_010]));
    assert_eq!(get(&server, &server.sign("data/key/size-5", "x", "key", -10), "").await.status, 410);
    assert_eq!(ask(server.address(), &format!("POST {path}"), "", b"").await.unwrap().status, 405);
    let session =
        token::sign(&server.options().secret, &token::session("key", ("u", "U"), 1, &server.options().now));
    let command = json!({"c": "save", "title": "t.pdf", "tokenSession": session}).to_string();
    let command: String = command.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let up =
        ask(server.address(), &format!("POST /downloadas/key?cmd={command}"), "", &down.body).await.unwrap();
    assert_eq!(up.status, 200);
    let received =
        server.wait_for_request(|request| request.path() == "/downloadas/key" && request.body_complete).await;
    assert_eq!(received.body_length, 100 << 20);
    assert!(received.first_body_byte.unwrap() >= received.at);
}

#[tokio::test]
async fn images_are_taken_with_a_bearer_and_only_then() {
    let server = server().await;
    let session =
        token::sign(&server.options().secret, &token::session("key", ("u", "U"), 1, &server.options().now));
    let bearer = format!("Authorization: Bearer {session}\r\n");
    let post = async |extra: String, body: Vec<u8>| {
        ask(server.address(), "POST /upload/key", &extra, &body).await.unwrap()
    };
    let good = post(format!("{bearer}Content-Type: image/png\r\n"), b"png".to_vec()).await;
    let named: Value = serde_json::from_slice(&good.body).unwrap();
    let url = named.as_object().unwrap().values().next().unwrap().as_str().unwrap();
    assert_eq!(get(&server, url.strip_prefix("http://ds.example").unwrap(), "").await.body, b"png");
    assert_eq!(post(format!("{bearer}Content-Type: text/html\r\n"), b"x".to_vec()).await.status, 415);
    assert_eq!(post(format!("{bearer}Content-Type: image/png\r\n"), vec![0; 26_214_401]).await.status, 413);
    assert_eq!(post("Content-Type: image/png\r\n".into(), b"x".to_vec()).await.status, 403);
    let print = token::sign(&server.options().secret, &token::print("key"));
    assert_eq!(get(&server, &format!("/printfile/key_1/a.pdf?token={print}"), "").await.status, 200);
    assert_eq!(get(&server, &format!("/printfile/other/a.pdf?token={print}"), "").await.status, 403);
}

#[tokio::test]
async fn faults_are_played_and_end() {
    let server = server().await;
    server.fault("/plugins.json", Fault::Reset);
    assert!(ask(server.address(), "GET /9.0.4-x/plugins.json", "", b"").await.is_err());
    server.fault_times("/plugins.json", Fault::Status(502), 1);
    assert_eq!(get(&server, "/plugins.json", "").await.status, 502);
    server.fault("/plugins.json", Fault::Close);
    assert!(ask(server.address(), "GET /plugins.json", "", b"").await.is_err());
    server.clear_faults();
    assert_eq!(get(&server, "/plugins.json", "").await.status, 200);
    let path = server.cache_sized("k", "x.bin", 100_000);
    server.fault_times("/cache/files", Fault::Cut(1000), 1);
    let cut = get(&server, &path, "").await;
    assert!(cut.has("content-length: 100000"));
    assert_eq!(cut.body.len(), 1000);
    let head = ask(server.address(), &format!("HEAD {path}"), "", b"").await.unwrap();
    assert!(head.has("content-length: 100000") && head.body.is_empty());
    server.fault("/healthcheck", Fault::Stall);
    let stalled = tokio::time::timeout(Duration::from_millis(50), get(&server, "/healthcheck", "")).await;
    assert!(stalled.is_err());
    server.clear_faults();
    server.set_healthy(false);
    assert_eq!(get(&server, "/healthcheck", "").await.body, b"false");
}

#[tokio::test]
async fn a_kill_frees_the_port_and_a_new_start_takes_it() {
    let server = server().await;
    server.fault("/robots.txt", Fault::Stall);
    let address = server.address();
    let hanging = tokio::spawn(async move { ask(address, "GET /robots.txt", "", b"").await.is_err() });
    server.wait_for_request(|request| request.target == "/robots.txt").await;
    server.stop().await;
    assert!(hanging.await.unwrap());
    assert!(TcpStream::connect(address).await.is_err());
    server.start_again().await.unwrap();
    server.clear_faults();
    assert_eq!(get(&server, "/robots.txt", "").await.status, 200);
    assert_eq!(server.connections(), 2);
    let last = server.requests().pop().unwrap();
    assert_eq!((last.header("host"), last.connection), (Some("ds.example"), 2));
    assert!(server.wire(2).starts_with(b"GET /robots.txt HTTP/1.1\r\nHost: ds.example\r\n"));
}

#[tokio::test]
async fn an_application_answers_callbacks_in_every_way() {
    let server = server().await;
    let integrator = Integrator::start(integrator::Options::default()).await.unwrap();
    let link = format!("{}{}", server.url(), server.cache("demo_1", "output.txt", "saved"));
    let claims = token::callback("demo", 2, Some(&link), &server.options().now);
    let signed = |claims: &Value| {
        let mut body = claims.clone();
        body["token"] = json!(token::sign(&server.options().secret, claims));
        body.to_string().into_bytes()
    };
    let body = signed(&claims);
    let post = async || ask(integrator.address(), "POST /callback?id=demo", "", &body).await;
    let ways = [
        (Reply::Error(1), 200, r#"{"error":1}"#),
        (Reply::Status(503), 503, r#"{"error":0}"#),
        (Reply::Status(204), 204, ""),
        (Reply::Empty, 200, ""),
        (Reply::NotJson, 200, "<!DOCTYPE html><title>Login</title>"),
        (Reply::Redirect(302, "/login".into()), 302, ""),
    ];
    for (reply, status, text) in ways {
        integrator.set_reply(reply.clone());
        let answer = post().await.unwrap();
        assert_eq!(
            (answer.status, String::from_utf8(answer.body).unwrap().as_str()),
            (status, text),
            "{reply:?}"
        );
    }
    integrator.set_reply(Reply::Reset);
    assert!(post().await.is_err());
    assert_eq!(integrator.saved("demo"), None);
    integrator.set_reply(Reply::TakeAndReset);
    assert!(post().await.is_err());
    assert_eq!(integrator.wait_for_save("demo").await.text(), "saved");
    integrator.set_reply(Reply::Take);
    assert_eq!(post().await.unwrap().body, br#"{"error":0}"#);
    assert_eq!(integrator.saves().len(), 2);
    assert_eq!(integrator.text("demo").unwrap(), "saved");
    let forged =
        ask(integrator.address(), "POST /callback", "", claims.to_string().as_bytes()).await.unwrap();
    assert_eq!(forged.status, 403);
    assert_eq!(integrator.callbacks().last().unwrap().token, Err("jwt must be provided".into()));
    integrator.stop().await;
    assert!(post().await.is_err());
    integrator.start_again().await.unwrap();
    assert_eq!(post().await.unwrap().status, 200);
}

#[tokio::test]
async fn documents_and_pages_are_given_out() {
    let integrator =
        Integrator::start(integrator::Options { gateway: "https://o.example/".into(), ..Default::default() })
            .await
            .unwrap();
    let url =
        integrator.claims("demo", ("ann", "Ann"), "edit")["document"]["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix(&integrator.url()).unwrap().to_owned();
    let get = async |path: String, extra: String| {
        ask(integrator.address(), &format!("GET {path}"), &extra, b"").await.unwrap()
    };
    assert_eq!(get(path.clone(), String::new()).await.status, 403);
    let now = standin::clock::system();
    let bearer = |url: &str| {
        format!(
            "Authorization: Bearer {}\r\n",
            token::sign("standin-secret-0123456789abcdef01", &token::download(url, &now))
        )
    };
    assert_eq!(get(path.clone(), bearer("http://x/files/other.txt")).await.status, 403);
    assert_eq!(get(path, bearer(&url)).await.status, 200);
    let page =
        String::from_utf8(get("/edit?key=demo&user=%3Cb%3EAnn".into(), String::new()).await.body).unwrap();
    assert!(
        page.contains("https://o.example/web-apps/apps/api/documents/api.js")
            && !page.contains("<b>Ann")
            && !page.contains("{{")
    );
    let list = String::from_utf8(get("/".into(), String::new()).await.body).unwrap();
    assert!(list.contains("https://o.example") && !list.contains("{{"));
    let config: Value =
        serde_json::from_slice(&get("/config?key=demo&user=Ann".into(), String::new()).await.body).unwrap();
    let claims = token::verify(config["token"].as_str(), "standin-secret-0123456789abcdef01", &now).unwrap();
    assert_eq!(claims["document"]["key"], "demo");
    assert_eq!(get("/edit?key=none".into(), String::new()).await.status, 404);
}

#[tokio::test]
async fn callbacks_go_over_tls_to_whom_the_server_trusts() {
    let certificate = rcgen::generate_simple_self_signed(["rapidpm.test".to_owned()]).unwrap();
    let chain = certificate.cert.pem().into_bytes();
    let key = certificate.signing_key.serialize_pem().into_bytes();
    let options = integrator::Options {
        tls: Some((chain.clone(), key)),
        public_url: "https://rapidpm.test".into(),
        ..Default::default()
    };
    let integrator = Integrator::start(options).await.unwrap();
    for trusted in [true, false] {
        let mut network = Network::default().resolve("rapidpm.test:443", integrator.address());
        if trusted {
            network = network.trust_pem(&chain);
        }
        let server =
            DocumentServer::start(document_server::Options { network, ..Default::default() }).await.unwrap();
        let token = integrator.open_token("demo", ("ann", "Ann"), "edit");
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let url = format!("ws://{}/doc/demo/c/?EIO=4&transport=websocket", server.address());
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let connect = format!("40{}", json!({"token": token}));
        let auth = format!("42{}", json!(["message", {"type": "auth", "jwtOpen": token, "openCmd": {}}]));
        for packet in [&connect, &auth] {
            socket.send(Message::text(packet.as_str())).await.unwrap();
        }
        let sent = server.wait_for_sent(|sent| sent.status == 1).await;
        assert_eq!(sent.answer.is_ok(), trusted, "{sent:?}");
        assert_eq!(server.packets()[0].packet, connect);
        assert_eq!(server.wait_for_packet(|heard| heard.packet.starts_with("42")).await.length, auth.len());
    }
    assert_eq!(integrator.callbacks().len(), 1);
}

#[tokio::test]
async fn a_message_of_many_megabytes_passes() {
    let server = server().await;
    let integrator = Integrator::start(integrator::Options::default()).await.unwrap();
    let token = integrator.open_token("demo", ("ann", "Ann"), "edit");
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let url = format!("ws://{}/doc/demo/c/?EIO=4&transport=websocket", server.address());
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let text = "x".repeat(20 << 20);
    let changes = json!([json!({"p": 0, "d": 0, "i": text}).to_string()]).to_string();
    let packets = [
        format!("40{}", json!({"token": token})),
        format!("42{}", json!(["message", {"type": "auth", "jwtOpen": token, "openCmd": {}}])),
    ];
    for packet in packets {
        socket.send(Message::text(packet)).await.unwrap();
    }
    let mut opened = false;
    while !opened {
        opened = socket.next().await.unwrap().unwrap().to_text().unwrap().contains("documentOpen");
    }
    let save = format!("42{}", json!(["message", {"type": "saveChanges", "changes": changes}]));
    socket.send(Message::text(save)).await.unwrap();
    while !socket.next().await.unwrap().unwrap().to_text().unwrap().contains("unSaveLock") {}
    assert!(server.text("demo").unwrap().len() > 20 << 20);
}

/// As `captures` has it: a list, an answer without a file, a link, and the end of a file.
#[tokio::test]
async fn forgotten_files_are_listed_given_and_cleared() {
    let server = server().await;
    let secret = server.options().secret.clone();
    let order = |claims: Value| {
        let body = json!({"token": token::sign(&secret, &claims)}).to_string();
        let address = server.address();
        async move {
            let json = "Content-Type: application/json\r\n";
            let answer = ask(address, "POST /command", json, body.as_bytes()).await.unwrap();
            assert_eq!(answer.status, 200);
            String::from_utf8(answer.body).unwrap()
        }
    };
    let key = "merr1s2";
    assert_eq!(order(json!({"c": "getForgottenList"})).await, r#"{"error":0,"keys":[]}"#);
    assert_eq!(order(json!({"c": "getForgotten", "key": key})).await, r#"{"key":"merr1s2","error":1}"#);
    assert_eq!(order(json!({"c": "deleteForgotten", "key": key})).await, r#"{"key":"merr1s2","error":1}"#);
    server.forget(key, b"words".as_slice());
    assert_eq!(order(json!({"c": "getForgottenList"})).await, r#"{"error":0,"keys":["merr1s2"]}"#);
    let given: Value = serde_json::from_str(&order(json!({"c": "getForgotten", "key": key})).await).unwrap();
    let link = given["url"].as_str().unwrap().strip_prefix("http://ds.example").unwrap();
    assert!(link.starts_with("/cache/files/forgotten/merr1s2/output.docx/output.docx?md5="), "{link}");
    assert_eq!(get(&server, link, "").await.body, b"words");
    assert_eq!(order(json!({"c": "deleteForgotten", "key": key})).await, r#"{"key":"merr1s2","error":0}"#);
    assert!(server.forgotten().is_empty());
    let bad = json!({"token": token::sign("another secret", &json!({"c": "getForgottenList"}))}).to_string();
    let answer = ask(server.address(), "POST /command", "", bad.as_bytes()).await.unwrap();
    assert!(String::from_utf8(answer.body).unwrap().contains("\"error\":6"));
}
