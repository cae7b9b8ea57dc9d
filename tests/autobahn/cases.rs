//! Autobahn's cases straight to an echo server and through the gateway over TLS: behind its gate it must be as good as a wire.
//!
//! `tests/autobahn/run.sh` gets the cases and runs this.

// A test that cannot go on fails loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../it/rig.rs"]
#[expect(dead_code, reason = "the rig serves another binary as well")]
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use rapidpm_gateway::rules::frame::{Head, Kind, goodbye, say, say_masked};
use rig::{Rig, SECRET, Setup};
use serde_json::{Value, json};
use standin::token;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Where editors knock.
const PATH: &str =
    "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/doc/demo/c/?EIO=4&transport=websocket&shardkey=demo";
/// What the gateway asks now and then; a server that does not say `true` gets no editors.
const HEALTH: &[u8; 16] = b"GET /healthcheck";
/// What of a case's report must be the same on both ways: the verdicts, what arrived, and how the connection ended.
const COMPARED: [&str; 12] = [
    "behavior",
    "behaviorClose",
    "result",
    "resultClose",
    "received",
    "remoteCloseCode",
    "remoteCloseReason",
    "wasClean",
    "wasServerConnectionDropTimeout",
    "wasCloseHandshakeTimeout",
    "closedByMe",
    "failedByMe",
];

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(program), Some(folder)) = (arguments.next(), arguments.next()) else {
        println!("usage: autobahn KOSOKU FOLDER [OPTIONS OF KOSOKU]");
        return ExitCode::FAILURE;
    };
    let options: Vec<String> = arguments.collect();
    let folder = Path::new(&folder);
    let echo = start_echo().await;
    let mut rig = Rig::with(Setup { upstream: Some(echo), ..Setup::default() }).await;
    let shim = start_shim(rig.https).await;

    let straight = run(&program, &options, echo, &folder.join("straight")).await;
    let through = run(&program, &options, shim, &folder.join("gateway")).await;
    rig.stop().await; // its log is whole then
    let log = rig.log.all();
    let sockets = log.iter().filter(|line| line["route"] == "socket" && line["refusal"].is_null()).count();
    println!("{sockets} sockets in the gateway's log");
    assert!(sockets >= through.len(), "the cases went another way");
    compare(&straight, &through)
}

/// A server of one's own messages: under the path of editors after the greeting and CONNECT of a Document Server, else at once.
async fn start_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    address
}

async fn echo(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut start = [0; HEALTH.len()];
    if stream.peek(&mut start).await.ok()? == start.len() && start == *HEALTH {
        head(&mut stream).await;
        let well = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntrue";
        return stream.write_all(well.as_bytes()).await.ok();
    }
    let mut editor = false;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let look = |request: &Request, answer: Response| {
        editor = request.uri().path().contains("/doc/");
        Ok(answer)
    };
    let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(limits)).await.ok()?;
    if editor {
        let open = json!({"sid": "echo", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 100_000_000});
        socket.send(Message::text(format!("0{open}"))).await.ok()?;
        let connect = socket.next().await?.ok()?;
        assert!(connect.to_text().is_ok_and(|packet| packet.starts_with("40{")), "{connect}");
        socket.send(Message::text(r#"40{"sid":"echo"}"#)).await.ok()?;
    }
    let code = loop {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => socket.send(message).await.ok()?,
            Some(Ok(_)) => {}
            Some(Err(Error::Utf8(_))) => break Some(1007),
            Some(Err(Error::Protocol(_))) => break Some(1002),
            Some(Err(_)) | None => break None,
        }
    };
    let stream = socket.get_mut();
    if let Some(code) = code {
        stream.write_all(&say(Kind::Close, &goodbye(code, ""))).await.ok()?;
    }
    stream.shutdown().await.ok()?;
    // Closed with bytes unread the connection would be reset, and what was said last could be lost: on either way, by chance.
    tokio::io::copy(stream, &mut tokio::io::sink()).await.ok();
    Some(())
}

/// Stands before the gateway as a plain WebSocket server: does what an editor does to get in, then passes bytes.
async fn start_shim(gateway: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(enter(stream, gateway));
        }
    });
    address
}

async fn enter(mut client: TcpStream, gateway: SocketAddr) {
    client.set_nodelay(true).unwrap();
    let (asked, early) = head(&mut client).await;
    // Of the client's fields those of WebSocket are passed on: its key, above all.
    let fields: String = asked
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("sec-websocket-"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let mut stream = rig::tls(gateway, Some("localhost"), &["http/1.1"]).await.unwrap();
    let upgrade = format!(
        "GET {PATH} HTTP/1.1\r\nhost: localhost\r\norigin: https://localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{fields}\r\n"
    );
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let (answer, mut bytes) = head(&mut stream).await;
    if answer.starts_with("HTTP/1.1 101 ") {
        let open = packet(&mut stream, &mut bytes).await;
        assert!(open.starts_with("0{\"sid\""), "{open}");
        let claims =
            token::open("demo", "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("ann", "Ann"), "edit");
        let connect = format!("40{}", json!({"token": token::sign(SECRET, &claims)}));
        stream.write_all(&say_masked(Kind::Text, connect.as_bytes())).await.unwrap();
        stream.flush().await.unwrap();
        let welcome = packet(&mut stream, &mut bytes).await;
        assert!(welcome.starts_with("40{\"sid\""), "{welcome}");
    }
    client.write_all(answer.as_bytes()).await.unwrap();
    client.write_all(&bytes).await.unwrap();
    stream.write_all(&early).await.unwrap();
    copy_bidirectional(&mut client, &mut stream).await.ok(); // a reset is a way to end, too
}

/// The head of a request or an answer, and what came behind it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).unwrap(), rest);
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "ended in its head");
    }
}

/// The next frame from a server, taken off `bytes`.
async fn packet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &mut Vec<u8>) -> String {
    loop {
        if let Some(head) = Head::parse(bytes).unwrap() {
            let end = head.size + usize::try_from(head.payload).unwrap();
            if bytes.len() >= end {
                let rest = bytes.split_off(end);
                let frame = std::mem::replace(bytes, rest);
                return String::from_utf8(frame[head.size..].to_vec()).unwrap();
            }
        }
        assert!(stream.read_buf(bytes).await.unwrap() > 0, "ended in a frame");
    }
}

/// What the cases found at an address, by case.
type Found = BTreeMap<String, BTreeMap<&'static str, Value>>;

async fn run(program: &str, options: &[String], to: SocketAddr, folder: &Path) -> Found {
    std::fs::remove_dir_all(folder).ok();
    let mut kosoku = Command::new(program);
    kosoku.arg("--outdir").arg(folder).args(options).arg(to.to_string()).stdout(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || kosoku.status()).await;
    ended.unwrap().unwrap(); // its code is not zero where a case fails: that is the echo server's affair
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let agents = index.as_object().unwrap();
    let cases = agents.values().flat_map(|agent| agent.as_object().unwrap());
    cases.map(|(case, summary)| (case.clone(), findings(folder, summary))).collect()
}

fn findings(folder: &Path, summary: &Value) -> BTreeMap<&'static str, Value> {
    let report = std::fs::read(folder.join(summary["reportfile"].as_str().unwrap())).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    COMPARED.iter().map(|name| (*name, report[*name].clone())).collect()
}

fn compare(straight: &Found, through: &Found) -> ExitCode {
    let cases: BTreeSet<_> = straight.keys().chain(through.keys()).collect();
    let different: Vec<_> = cases.iter().filter(|case| straight.get(**case) != through.get(**case)).collect();
    for case in &different {
        let [straight, through] = [straight, through].map(|found| found.get(**case));
        println!("{case} differs\n  straight {straight:?}\n  gateway  {through:?}");
    }
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for found in through.values() {
        *verdicts.entry(found["behavior"].as_str().unwrap_or("?")).or_default() += 1;
    }
    let (identical, different) = (cases.len() - different.len(), different.len());
    println!("{identical} identical, {different} different; through the gateway: {verdicts:?}");
    if different == 0 && identical > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
