//! Restarts behind listening sockets that stay open: they refuse nobody, and lose no request.
//!
//! `RESTARTS` says how many restarts are made (5); `.ci/run` makes 20.

use std::io::BufReader;
use std::time::Instant;

use futures_util::StreamExt;
use standin::{Integrator, integrator};
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::load::{Load, Met};
use crate::rig::{SECRET, Setup};
use crate::unit::{Unit, restarts};
use crate::wire::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_refuse_nobody_and_lose_no_request() {
    let restarts = restarts();
    let lines = vec![("server", "drain = \"5s\"".to_owned())];
    let mut unit = Unit::new(Setup { lines, ..Setup::default() }).await;
    let options =
        integrator::Options { gateway: unit.server.url(), secret: SECRET.into(), ..Default::default() };
    let integrator = Integrator::start(options).await.unwrap();
    integrator.put("demo", "txt", "Hello");
    unit.start().await;
    let load = Load::on(unit.https);
    let (mut gaps, mut lasts) = (Vec::new(), Vec::new());
    for _ in 0..restarts {
        let ann = Editor::join(unit.https, &integrator, "ann").await;
        load.more(50).await;
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
    let Met { fine, refused, failed, longest } = load.end().await;
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
