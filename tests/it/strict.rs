//! A Document Server never sees a request that could be read in two ways: hundreds of malformed ones, byte for byte.

mod cases;
mod frames;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http_body_util::Full;
use hyper::Request;
use standin::{clock, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use self::cases::{COMMAND, Case, Must, NUMBER, UPLOAD};
use self::wire::{Answer, Sent};
use crate::rig::{Rig, SECRET};

/// Cases for each rig: a stand-in remembers the bytes of 64 connections.
const BATCH: usize = 24;
/// Cases at a time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_malformed_reaches_the_document_server_over_http1() {
    let cases = cases::all();
    assert!(cases.len() >= 300);
    run("http/1.1", &cases, wire::answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_malformed_reaches_the_document_server_over_http2() {
    let cases = frames::all();
    assert!(cases.len() >= 40);
    run("h2", &cases, frames::answers).await;
}

/// What a client saw of a case.
struct Seen {
    answers: Vec<Answer>,
    closed: bool,
}

async fn run(protocol: &str, cases: &[Case], answers: fn(&[u8]) -> Vec<Answer>) {
    let (mut table, mut wrong) = (BTreeMap::new(), Vec::new());
    for (batch, cases) in cases.chunks(BATCH).enumerate() {
        let mut rig = Rig::start().await;
        let first = batch * BATCH;
        let seen: Vec<_> = stream::iter(cases.iter().enumerate())
            .map(|(at, case)| send(&rig, protocol, first + at, case, answers))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let switched = |target: &str| {
            number(target).is_some_and(|number| seen[number - first].answers.iter().any(|a| a.status == 101))
        };
        assert!(rig.server.connections() <= 64);
        let mut sent = Vec::new();
        for connection in 1..=rig.server.connections() {
            match wire::requests(&rig.server.wire(connection), switched) {
                Ok(requests) => sent.extend(requests),
                Err(fault) => wrong.push(fault),
            }
        }
        for (at, (case, seen)) in cases.iter().zip(&seen).enumerate() {
            let of_case: Vec<_> =
                sent.iter().filter(|sent| number(&sent.target) == Some(first + at)).collect();
            *table.entry(outcome(seen, &of_case)).or_insert(0) += 1;
            if let Err(fault) = judge(case, seen, &of_case) {
                wrong.push(format!(
                    "{}: {fault}; {:?}, closed {}, {of_case:?}",
                    case.about, seen.answers, seen.closed
                ));
            }
        }
        let good =
            Request::get("/web-apps/size-9").header("host", "localhost").body(Full::default()).unwrap();
        assert_eq!(rig.send(good).await.text().len(), 9, "a good request works afterwards");
        rig.stop().await;
        // Over HTTP/2 a reason comes packed; the log tells it.
        let reasons = rig.log.all().into_iter().filter(|_| protocol == "h2");
        for reason in reasons.filter_map(|line| line["refusal"].as_str().map(str::to_owned)) {
            *table.entry(format!("answered by the gateway: ... {reason}")).or_insert(0) += 1;
        }
    }
    println!("{protocol}: {} cases", cases.len());
    for (outcome, count) in &table {
        println!("{count:5}  {outcome}");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Sends a case on a connection of its own and reads until it is closed or nothing more comes.
async fn send(
    rig: &Rig,
    protocol: &str,
    number: usize,
    case: &Case,
    answers: fn(&[u8]) -> Vec<Answer>,
) -> Seen {
    let session = token::sign(SECRET, &token::session("k", ("u", "U"), 1, &clock::system()));
    let command = token::sign(SECRET, &token::command("version", None));
    let mut bytes = case.bytes.clone();
    for (place, text) in [(NUMBER, &format!("n{number:04}-")), (UPLOAD, &session), (COMMAND, &command)] {
        bytes = replaced(&bytes, place.as_bytes(), text.as_bytes());
    }
    let mut stream = rig.tls(Some("localhost"), &[protocol]).await.unwrap();
    stream.write_all(&bytes).await.ok();
    stream.flush().await.ok();
    let mut got = Vec::new();
    let closed = loop {
        // Who has an answer has it all at once; who has none may be in the queue of a busy machine.
        // A body that was promised is thrown away for ten seconds before a refusal closes the connection.
        let patience = match answers(&got) {
            answers if answers.iter().any(is_strict) => 12_000,
            answers if answers.is_empty() => 1500,
            _ => 300,
        };
        match timeout(Duration::from_millis(patience), stream.read_buf(&mut got)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(_)) => {}
        }
    };
    Seen { answers: answers(&got), closed }
}

/// `n0017-` in a target.
fn number(target: &str) -> Option<usize> {
    let at = target.find("?n")? + 2;
    target.get(at..at + 5)?.strip_suffix('-')?.parse().ok()
}

fn replaced(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn judge(case: &Case, seen: &Seen, sent: &[&Sent]) -> Result<(), &'static str> {
    let served = seen.answers.iter().filter(|answer| answer.ours && answer.refusal.is_none()).count();
    if sent.iter().filter(|sent| sent.whole).count() > served {
        return Err("more requests than answers");
    }
    let hidden = sent.iter().any(|sent| sent.target.contains("hidden"));
    match case.must {
        Must::Stop if !sent.is_empty() => return Err("it went on"),
        Must::Alone if hidden || sent.len() > 1 => return Err("what was hidden in it went on"),
        Must::Serve if sent.is_empty() || seen.answers.first().is_none_or(|answer| answer.status != 200) => {
            return Err("it was not served");
        }
        _ => {}
    }
    if sent.iter().any(|sent| matches!(sent.method.as_str(), "GET" | "OPTIONS") && !sent.body.is_empty()) {
        return Err("a body on a request that has none");
    }
    match seen.answers.iter().position(is_strict) {
        Some(at) if at + 1 < seen.answers.len() => Err("a connection went on after a refusal"),
        Some(_) if !seen.closed => Err("a connection stayed open after a refusal"),
        _ => Ok(()),
    }
}

fn is_strict(answer: &Answer) -> bool {
    answer.refusal.as_ref().is_some_and(|reason| reason.starts_with("strict_"))
}

/// What became of a case, in a word.
fn outcome(seen: &Seen, sent: &[&Sent]) -> String {
    let first = seen.answers.first();
    match first {
        _ if sent.iter().any(|sent| !sent.whole) => "begun, and broken off".into(),
        _ if !sent.is_empty() => "forwarded clean".into(),
        Some(Answer { refusal: Some(reason), .. }) => format!("refused by the gateway: {reason}"),
        Some(Answer { ours: false, status, .. }) => format!("refused by hyper: {status}"),
        Some(Answer { status, .. }) => format!("answered by the gateway: {status}"),
        None if seen.closed => "closed by hyper without a word".into(),
        None => "left to the deadline of heads".into(),
    }
}
