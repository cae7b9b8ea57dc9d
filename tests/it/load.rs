//! Clients of all kinds that ask without a pause, and what they have met.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::rig;
use crate::wire::{self, soon};

/// What clients have met.
#[derive(Debug)]
pub struct Met {
    pub fine: u64,
    pub refused: u64,
    pub failed: u64,
    /// The longest that one of them waited, in milliseconds.
    pub longest: u64,
}

/// Seven clients at work.
pub struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins: new connections for each request, connections that are kept, and HTTP/2.
    pub fn on(to: SocketAddr) -> Self {
        let counts = Arc::new(Counts::default());
        let mut clients = Vec::new();
        for keep in [1, 1, 10, u32::MAX, u32::MAX] {
            clients.push(tokio::spawn(client_1(counts.clone(), to, keep)));
        }
        for _ in 0..2 {
            clients.push(tokio::spawn(client_2(counts.clone(), to)));
        }
        Self { counts, clients }
    }

    /// Waits until so many more have been answered.
    pub async fn more(&self, requests: u64) {
        let seen = self.counts.fine.load(Ordering::Relaxed);
        soon("load", async {
            while self.counts.fine.load(Ordering::Relaxed) < seen + requests {
                tokio::time::sleep(Duration::from_millis(5)).await; // the load's own pace
            }
        })
        .await;
    }

    /// Ends, once every client has its last answer.
    pub async fn end(self) -> Met {
        self.counts.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            soon("the clients", client).await.unwrap();
        }
        let Counts { fine, refused, failed, longest, .. } = &*self.counts;
        let [fine, refused, failed, longest] =
            [fine, refused, failed, longest].map(|number| number.load(Ordering::Relaxed));
        Met { fine, refused, failed, longest }
    }
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    fine: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    longest: AtomicU64,
}

impl Counts {
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
async fn client_1(load: Arc<Counts>, to: SocketAddr, keep: u32) {
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
async fn client_2(load: Arc<Counts>, to: SocketAddr) {
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
