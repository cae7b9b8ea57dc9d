//! What durability costs a callback: `cargo run --release --example durability [SAVES [BYTES]]`. Each save is measured beside
//! what it would take without the gateway: the document fetched, the callback answered.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "a measurement, in the tests' house"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rapidpm_gateway::relay::spool::RealDisk;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "../it/desk.rs"]
mod desk;
#[path = "../it/rig.rs"]
mod rig;
#[path = "../it/stub.rs"]
mod stub;

use desk::Desk;
use rig::Setup;
use stub::{Says, Stub};

async fn exchange(to: SocketAddr, request: String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
}

/// Without the gateway.
async fn bare(to: SocketAddr) -> Duration {
    let begun = Instant::now();
    exchange(to, "GET /cache/files/data/k HTTP/1.1\r\nhost: x\r\n\r\n".into()).await;
    let body = "x".repeat(2_000);
    exchange(
        to,
        format!("POST /callback HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    )
    .await;
    begun.elapsed()
}

#[tokio::main]
async fn main() {
    let number =
        |at, otherwise| std::env::args().nth(at).map_or(otherwise, |text| text.parse::<usize>().unwrap());
    let (saves, bytes) = (number(1, 1_000), number(2, 100_000));
    let document: &'static [u8] = Vec::leak(vec![b'x'; bytes]);
    let stub = Stub::start(document, Says::json("200 OK", "{\"error\":0}")).await;
    let tables = format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"http://{}\"\n", stub.address);
    let folder = tempfile::tempdir_in("target").unwrap(); // a real disk, which /tmp need not be
    let setup = Setup { tables, ..Setup::default() };
    let desk = Desk::start(&setup, stub.address, folder.path(), Arc::new(RealDisk)).unwrap();
    let mut added = Vec::new();
    for at in 0..saves {
        let url = format!("http://x/cache/files/data/k{at}/output.txt/output.txt");
        let fields = json!({"key": format!("k{at}"), "status": 2, "url": url, "filetype": "txt"});
        let without = bare(stub.address).await;
        let begun = Instant::now();
        let answer = desk.post(&format!("callback?id={at}"), &fields).await.unwrap();
        let with = begun.elapsed();
        assert_eq!(answer.status, 200);
        added.push(with.saturating_sub(without));
    }
    added.sort();
    let at = |part: usize| added[(saves * part / 1_000).min(saves - 1)];
    println!(
        "{saves} saves of {bytes} bytes: added by the gateway p50 {:.1?}, p90 {:.1?}, p99 {:.1?}, worst {:.1?}",
        at(500),
        at(900),
        at(990),
        added[saves - 1]
    );
}
