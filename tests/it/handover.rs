//! Listening sockets that outlive the gateway, as systemd's socket units do: a restart refuses nobody, and loses no request.
//!
//! `RESTARTS` says how many restarts are made (5); `.ci/run` makes 20.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use standin::document_server::Options;
use standin::{DocumentServer, Integrator, integrator};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::rig::{self, SECRET, Setup};
use crate::wire::{self, soon};

/// What systemd is to the gateway: holds its sockets, and starts it with them.
pub struct Unit {
    pub https: SocketAddr,
    pub server: DocumentServer,
    sockets: Vec<(&'static str, TcpListener)>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Unit {
    pub async fn new(setup: Setup) -> Self {
        let options = Options { secret: SECRET.into(), ..setup.server.clone() };
        let server = DocumentServer::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        rig::certificate(folder.path(), "rig", &setup.names);
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = vec![("https", listen()), ("http", listen())];
        let mut text = rig::toml(&setup, server.address(), folder.path());
        for (name, socket) in &sockets {
            let address = socket.local_addr().unwrap();
            text = text.replace(&format!("{name} = [\"127.0.0.1:0\"]"), &format!("{name} = [\"{address}\"]"));
        }
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Self { https: sockets[0].1.local_addr().unwrap(), server, sockets, folder, child: None }
    }

    /// The gateway with these sockets, by their names. A shell becomes the gateway, since `LISTEN_PID` must be its own.
    fn command(&self, names: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let file = self.folder.path().join("gateway.toml");
        command.args([
            "-c",
            "export LISTEN_PID=$$; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_rapidpm-gateway"),
        ]);
        command
            .args(["run", "--config", file.to_str().unwrap()])
            .env_clear()
            .env("ONLY_OFFICE_SECRET", SECRET);
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let given = self.sockets.iter().zip(3..).take(names.len());
        let given = given.map(|((_, socket), child_fd)| FdMapping {
            parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
            child_fd,
        });
        command.fd_mappings(given.collect()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&mut self) {
        let mut child = self.command(&["https", "http"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut lines = tokio::task::spawn_blocking(move || {
            crate::process::started(&mut lines);
            lines
        })
        .await
        .unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        self.child = Some(child);
    }

    /// Stops it as systemd does, and waits until it is gone.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let kill = Command::new("/bin/sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        assert!(kill.unwrap().success());
        let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// What clients of all kinds have met.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    fine: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    longest: AtomicU64,
}

impl Load {
    fn count(&self, begun: Instant, outcome: Result<u16, String>) {
        self.longest.fetch_max(u64::try_from(begun.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        match outcome {
            Ok(200) => self.fine.fetch_add(1, Ordering::Relaxed),
            other => {
                println!("a request failed: {other:?}");
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    async fn connect(
        &self,
        to: SocketAddr,
        protocol: &str,
    ) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
        match TcpStream::connect(to).await {
            Ok(stream) => match rig::tls_over(stream, Some("localhost"), &[protocol]).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    println!("a handshake failed: {error}");
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    None
                }
            },
            Err(error) => {
                println!("a connection was refused: {error}");
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

const TARGET: &str = "/web-apps/size-1024";

fn request(protocol: &str) -> hyper::Request<Full<Bytes>> {
    wire::request(protocol, "GET", TARGET).body(Full::default()).unwrap()
}

async fn whole(answer: hyper::Result<hyper::Response<hyper::body::Incoming>>) -> Result<(u16, bool), String> {
    let (head, body) = answer.map_err(|error| format!("{error:?}"))?.into_parts();
    let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
    assert_eq!(body.len(), 1024);
    Ok((head.status.as_u16(), head.headers.get("connection").is_some_and(|value| value == "close")))
}

/// Keeps its connection until it is told to end it; `keep` 1 makes a new one for each request.
async fn client_1(load: Arc<Load>, to: SocketAddr, keep: u32) {
    while !load.is_over() {
        let begun = Instant::now();
        let Some(stream) = load.connect(to, "http/1.1").await else { continue };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut begun = Some(begun);
        for _ in 0..keep {
            let begun = begun.take().unwrap_or_else(Instant::now);
            let answer = whole(sender.send_request(request("http/1.1")).await).await;
            let go_on = matches!(answer, Ok((_, false)));
            load.count(begun, answer.map(|(status, _)| status));
            if !go_on || load.is_over() || sender.ready().await.is_err() {
                break;
            }
        }
    }
}

/// Asks for several things at once, as browsers do, until GOAWAY.
async fn client_2(load: Arc<Load>, to: SocketAddr) {
    while !load.is_over() {
        let Some(stream) = load.connect(to, "h2").await else { continue };
        let Ok((mut sender, connection)) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await
        else {
            load.failed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        tokio::spawn(connection);
        while !load.is_over() && sender.ready().await.is_ok() {
            let begun = Instant::now();
            let asked = (0..4).map(|_| sender.try_send_request(request("h2")));
            for answer in futures_util::future::join_all(asked).await {
                match answer {
                    // Given back, unsent or untouched: GOAWAY was there first (RFC 9113 6.8). Another connection takes it.
                    Err(mut error) => {
                        let unsent = error.take_message().is_some();
                        let why = format!("{:?}", error.into_error());
                        if !unsent && !why.contains("GoAway(b\"\", NO_ERROR, Remote)") {
                            load.count(begun, Err(why));
                        }
                    }
                    Ok(answer) => load.count(begun, whole(Ok(answer)).await.map(|(status, _)| status)),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_refuse_nobody_and_lose_no_request() {
    let restarts = std::env::var("RESTARTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let lines = vec![("server", "drain = \"5s\"".to_owned())];
    let mut unit = Unit::new(Setup { lines, ..Setup::default() }).await;
    let options =
        integrator::Options { gateway: unit.server.url(), secret: SECRET.into(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    unit.start().await;
    let load = Arc::new(Load::default());
    let mut clients = Vec::new();
    for keep in [1, 1, 10, u32::MAX, u32::MAX] {
        clients.push(tokio::spawn(client_1(load.clone(), unit.https, keep)));
    }
    for _ in 0..2 {
        clients.push(tokio::spawn(client_2(load.clone(), unit.https)));
    }
    let (mut gaps, mut lasts) = (Vec::new(), Vec::new());
    for _ in 0..restarts {
        let seen = load.fine.load(Ordering::Relaxed);
        let ann = Editor::join(unit.https, &integrator, "ann").await;
        soon("load", async {
            while load.fine.load(Ordering::Relaxed) < seen + 50 {
                tokio::time::sleep(Duration::from_millis(5)).await; // the load's own pace
            }
        })
        .await;
        let to = unit.https;
        let gap = tokio::spawn(async move {
            let mut ann = ann;
            // Said goodbye to, not cut off: 1001 comes while the process is still there.
            let goodbye = loop {
                match ann.0.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => break u16::from(frame.code),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(goodbye, 1001);
            let closed = Instant::now();
            drop(ann);
            Editor::connect(to).await;
            (closed, closed.elapsed())
        });
        unit.stop().await;
        let gone = Instant::now();
        unit.start().await;
        let (closed, gap) = soon("an editor that comes back", gap).await.unwrap();
        lasts.push(gone.saturating_duration_since(closed));
        gaps.push(gap);
    }
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        soon("the clients", client).await.unwrap();
    }
    let [fine, refused, failed, longest] =
        [&load.fine, &load.refused, &load.failed, &load.longest].map(|number| number.load(Ordering::Relaxed));
    println!(
        "{restarts} restarts: {fine} requests answered, {refused} refused, {failed} failed, the longest {longest} ms; \
         an editor's socket was closed for {:?} at most, \
         and the process gone {:?} after its 1001 at most",
        gaps.iter().max(),
        lasts.iter().max()
    );
    assert_eq!((refused, failed), (0, 0));
}

/// A gateway that would listen elsewhere than its configuration says does not start, and says which line is wrong.
#[tokio::test]
async fn sockets_that_do_not_fit_the_configuration_are_named() {
    let mut unit = Unit::new(Setup::default()).await;
    let [https, http] = [0, 1].map(|at| unit.sockets[at].1.local_addr().unwrap().to_string());
    for (names, expected) in [
        (&["http", "https"][..], ["server.https", "ListenStream=", http.as_str()]),
        (&["https", "web"], ["\"web\"", "FileDescriptorName=", http.as_str()]),
    ] {
        let ended = unit.command(names).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(expected.iter().all(|piece| said.contains(piece)), "{names:?}: {said}");
    }
    // What is not passed is bound here: the socket that the unit held for it is given up first.
    let (_, held) = unit.sockets.pop().unwrap();
    drop(held);
    let mut child = unit.command(&["https"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let started = crate::process::started(&mut lines);
    assert_eq!((started["https"].as_str(), started["http"].as_str()), (Some(&*https), Some(&*http)));
    child.kill().unwrap();
    child.wait().unwrap();
}
