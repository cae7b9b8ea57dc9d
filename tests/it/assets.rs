//! The editor's unchanging files come from the gateway's memory: once asked of the Document Server, smaller than it sends them, and
//! nothing else is ever kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Got, Rig, Setup};

const APP: &str = "/9.0.4-6c25/web-apps/apps/documenteditor/main/app.js";
const DATE: &str = "Sun, 22 Nov 2026 03:53:49 GMT";

/// The fields and the body of a file.
type File = (String, Vec<u8>);

/// A Document Server that sends what it is told to and writes down what it was asked.
#[derive(Clone, Default)]
struct Container {
    files: Arc<Mutex<BTreeMap<String, File>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Container {
    async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (container, address) = (Self::default(), listener.local_addr().unwrap());
        let serving = container.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (container, address)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = String::from_utf8(head.drain(..end + 4).collect()).unwrap().to_lowercase();
            let path = text.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
            let (fields, body) = match &*path {
                "/healthcheck" => ("content-length: 4\r\n".to_owned(), b"true".to_vec()),
                // The gateway itself, looking for what nobody took.
                "/command" => ("content-length: 21\r\n".to_owned(), br#"{"error":0,"keys":[]}"#.to_vec()),
                _ => {
                    self.asked.lock().unwrap().push(text);
                    let file = self.files.lock().unwrap().get(&path).cloned();
                    file.unwrap_or_else(|| {
                        ("content-length: 2\r\ncontent-encoding: gzip\r\n".into(), b"no".into())
                    })
                }
            };
            let status =
                if fields.contains("content-encoding") && body == b"no" { "404 Not Found" } else { "200 OK" };
            let answer = [format!("HTTP/1.1 {status}\r\n{fields}\r\n").into_bytes(), body].concat();
            if stream.write_all(&answer).await.is_err() || fields.contains("close") {
                return;
            }
        }
    }

    /// Puts a file there; its length is said unless `fields` frame it otherwise.
    fn put(&self, path: &str, fields: &str, body: &[u8]) {
        let framed = fields.contains("content-length") || fields.contains("close");
        let length = if framed { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        self.files.lock().unwrap().insert(path.to_lowercase(), (format!("{fields}{length}"), body.to_vec()));
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn script(body: &[u8]) -> Vec<u8> {
    use flate2::write::GzEncoder;
    use std::io::Write as _;
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

const SCRIPT: &str = "content-type: application/javascript\r\ncontent-encoding: gzip\r\nvary: Accept-Encoding\r\n\
    etag: W/\"6b02-27\"\r\nlast-modified: Sun, 22 Nov 2026 03:53:49 GMT\r\ncache-control: max-age=31536000\r\n";

async fn rig(tables: &str) -> (Rig, Container) {
    let (container, address) = Container::start().await;
    let rig = Rig::with(Setup { upstream: Some(address), tables: tables.into(), ..Setup::default() }).await;
    (rig, container)
}

async fn ask(rig: &Rig, method: Method, target: &str, fields: &[(&str, &str)]) -> Got {
    let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    rig.send(request.body(Full::<Bytes>::default()).unwrap()).await
}

async fn gzip(rig: &Rig, target: &str) -> Got {
    ask(rig, Method::GET, target, &[("accept-encoding", "gzip")]).await
}

async fn number(rig: &Rig, series: &str) -> f64 {
    let got = metrics(rig.admin).await;
    got.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap()
}

/// The metrics page.
async fn metrics(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_asked_for_once_and_then_comes_from_memory() {
    let (rig, container) = rig("").await;
    let body = script(b"var editor = 1;");
    container.put(APP, SCRIPT, &body);
    let browser = [("accept-encoding", "gzip, deflate, br, zstd")];
    let first = ask(&rig, Method::GET, &format!("{APP}?_dc=1"), &browser).await;
    assert_eq!((first.status, &first.body[..]), (200, &body[..]));
    assert!(container.asked.lock().unwrap()[0].contains("accept-encoding: gzip\r\n"));
    for (method, target) in [(Method::GET, APP.to_owned()), (Method::HEAD, format!("{APP}?_dc=2"))] {
        let got = ask(&rig, method.clone(), &target, &[("accept-encoding", "gzip")]).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
        assert_eq!(got.header("content-type"), Some("application/javascript"));
        assert_eq!(got.header("content-encoding"), Some("gzip"));
        assert_eq!(got.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(got.header("vary"), Some("Accept-Encoding"));
        assert_eq!(got.header("last-modified"), Some(DATE));
        assert!(
            got.header("strict-transport-security").is_some(),
            "pages are dressed, wherever they come from"
        );
        assert_eq!(got.body.is_empty(), method == Method::HEAD);
    }
    assert_eq!(container.asked(), 1);
    assert_eq!(number(&rig, "gateway_asset_requests_total{outcome=\"hit\"}").await, 2.0);
    assert_eq!(number(&rig, "gateway_asset_requests_total{outcome=\"miss\"}").await, 1.0);
    assert!(number(&rig, "gateway_asset_bytes").await > 0.0);
    let served = "gateway_asset_served_bytes_total";
    let moved = async { while number(&rig, served).await < 1.0 {} };
    crate::wire::soon(served, moved).await;
    rig.log.wait_for(|line| line["memory"] == true && line["bytes_out"].as_u64() > Some(0)).await;
    // The other core, and HTTP/2, find it as well.
    for _ in 0..4 {
        let mut h2 = rig.h2().await;
        let request = Request::get(format!("https://localhost{APP}")).header("accept-encoding", "gzip");
        let got = Got::from(h2.send_request(request.body(Full::default()).unwrap()).await.unwrap()).await;
        assert_eq!(&got.body[..], &body[..]);
    }
    assert_eq!(container.asked(), 1);
}

/// What says how a body is coded stands beside a body. A 304 to who has the container's own gzip said that it was brotli, and a cache
/// that takes up what a 304 says (RFC 9111 3.2) would have handed out the one as the other.
fn bare(got: &Got) {
    for field in ["content-encoding", "content-type"] {
        assert_eq!(got.header(field), None, "{} {field}", got.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_copy_is_told_so_and_who_wants_a_part_gets_it() {
    let (rig, container) = rig("").await;
    let body = script(&b"0123456789".repeat(50));
    container.put(APP, SCRIPT, &body);
    gzip(&rig, APP).await;
    let with = async |field: &'static str, value: &str| {
        ask(&rig, Method::GET, APP, &[("accept-encoding", "gzip"), (field, value)]).await
    };
    let etag = gzip(&rig, APP).await.header("etag").unwrap().to_owned();
    for (field, value) in
        [("if-none-match", &*etag), ("if-none-match", "W/\"6b02-27\""), ("if-modified-since", DATE)]
    {
        let got = with(field, value).await;
        assert_eq!(
            (got.status, got.body.len(), got.header("etag")),
            (304, 0, Some(&*etag)),
            "{field}: {value}"
        );
        bare(&got);
    }
    let length = body.len();
    for (range, want) in [("bytes=0-4", 0..5), ("bytes=-3", length - 3..length), ("bytes=5-", 5..length)] {
        let got = with("range", range).await;
        assert_eq!((got.status, &got.body[..]), (206, &body[want.clone()]), "{range}");
        let said = format!("bytes {}-{}/{length}", want.start, want.end - 1);
        assert_eq!(got.header("content-range"), Some(&*said));
    }
    let got = with("range", "bytes=5000-").await;
    assert_eq!((got.status, got.header("content-range")), (416, Some(&*format!("bytes */{length}"))));
    bare(&got);
    let got = with("if-match", "\"other\"").await;
    assert_eq!(got.status, 412);
    bare(&got);
    assert_eq!(container.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn brotli_is_made_beside_and_a_restarted_container_finds_its_files_there() {
    let (rig, container) = rig("").await;
    let plain = b"function edit(document) { return document.text; }\n".repeat(2_000);
    let body = script(&plain);
    container.put(APP, SCRIPT, &body);
    gzip(&rig, APP).await;
    let browser = [("accept-encoding", "gzip, br")];
    // Made on a thread of its own: the file stays gzip until then.
    while number(&rig, "gateway_asset_brotli_total").await < 1.0 {
        assert_eq!(ask(&rig, Method::GET, APP, &browser).await.status, 200);
    }
    let got = ask(&rig, Method::GET, APP, &browser).await;
    assert_eq!(got.header("content-encoding"), Some("br"));
    assert!(got.body.len() < body.len());
    let mut unpacked = Vec::new();
    brotli::BrotliDecompress(&mut &got.body[..], &mut unpacked).unwrap();
    assert!(unpacked == plain);
    assert_eq!(&gzip(&rig, APP).await.body[..], &body[..], "who takes no brotli gets the container's own");
    let restarted = APP.replace("6c25", "77aa");
    container.put(&restarted, SCRIPT, &body);
    gzip(&rig, &restarted).await; // once, to know that it is the same file
    let again = ask(&rig, Method::GET, &restarted, &browser).await;
    assert_eq!((again.header("content-encoding"), &again.body), (Some("br"), &got.body));
    assert_eq!(container.asked(), 2);
    assert_eq!(number(&rig, "gateway_asset_brotli_total").await, 1.0);
}

/// A browser keeps its connection for a minute after the last file has come: each 64 KB waited for a tenth of a second because of it,
/// these 90 s in all, though nobody asked for anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_does_not_hold_brotli_up() {
    let (rig, container) = rig("").await;
    container.put(APP, SCRIPT, &script(&vec![b' '; 900 << 16]));
    let _idle = rig.h2().await;
    gzip(&rig, APP).await;
    crate::wire::soon("brotli", async { while number(&rig, "gateway_asset_brotli_total").await < 1.0 {} })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_kept() {
    let (rig, container) = rig("").await;
    let file = |name: &str| format!("/9.0.4-6c25/web-apps/{name}");
    container.put("/web-apps/apps/api/documents/api.js", SCRIPT, b"api");
    container.put("/9.0.4-6c25/web-apps/apps/api/documents/api.js", SCRIPT, b"api");
    container.put("/web-apps/a.js", SCRIPT, b"no version");
    container.put("/cache/files/data/k/doc.docx/doc.docx", "content-type: x/y\r\n", b"document");
    container.put(&file("cookie.js"), &format!("{SCRIPT}set-cookie: a=b\r\n"), b"cookie");
    container.put(&file("never.js"), "cache-control: no-store\r\n", b"never");
    container.put(&file("varies.js"), "vary: Origin\r\n", b"varies");
    container.put(&file("close.js"), "connection: close\r\n", b"ends with its connection");
    container.put(&file("token.js"), SCRIPT, b"token");
    let mut asked = 0;
    for target in [
        "/web-apps/apps/api/documents/api.js".into(),
        "/9.0.4-6c25/web-apps/apps/api/documents/api.js".into(),
        "/web-apps/a.js".into(),
        "/cache/files/data/k/doc.docx/doc.docx?md5=x&expires=1".into(),
        file("cookie.js"),
        file("never.js"),
        file("varies.js"),
        file("close.js"),
        file("missing.js"),
        file("token.js?token=x"),
    ] {
        for _ in 0..2 {
            gzip(&rig, &target).await;
            asked += 1;
            assert_eq!(container.asked(), asked, "{target}");
        }
    }
    // Conditions, parts and clients without gzip are answered by the Document Server until the file is there.
    for field in [("range", "bytes=0-1"), ("if-none-match", "\"x\""), ("accept-encoding", "identity")] {
        ask(&rig, Method::GET, &file("token.js"), &[field]).await;
        asked += 1;
        assert_eq!(container.asked(), asked, "{field:?}");
    }
    gzip(&rig, &file("token.js")).await;
    gzip(&rig, &file("token.js")).await;
    assert_eq!(container.asked(), asked + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_kept() {
    let (rig, container) = rig("").await;
    container.put(APP, &format!("{SCRIPT}content-length: 100\r\nconnection: close\r\n"), b"half");
    let request = Request::get(APP).header("host", "localhost").header("accept-encoding", "gzip");
    let response = rig.h1().await.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err());
    container.put(APP, SCRIPT, b"whole");
    assert_eq!(&gzip(&rig, APP).await.body[..], b"whole");
    assert_eq!(&gzip(&rig, APP).await.body[..], b"whole");
    assert_eq!(container.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_turns_it_off_and_what_is_refused_stays_refused() {
    let (rig, container) = rig("[assets]\nmemory = \"off\"\n").await;
    container.put(APP, SCRIPT, b"app");
    for _ in 0..2 {
        let got = gzip(&rig, APP).await;
        assert_eq!((got.status, got.header("cache-control")), (200, Some("max-age=31536000")));
    }
    assert_eq!(container.asked(), 2);
    let (rig, container) = self::rig("").await;
    container.put(APP, SCRIPT, b"app");
    gzip(&rig, APP).await;
    let foreign = Request::get(APP).header("host", "elsewhere.example").body(Full::default()).unwrap();
    assert_eq!(rig.send(foreign).await.status, 421);
    assert_eq!(ask(&rig, Method::POST, APP, &[]).await.status, 405);
    assert_eq!(container.asked(), 1);
}
