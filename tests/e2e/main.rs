//! The demo's page in a real browser: what a person sees is what is promised.

// A test that cannot go on fails loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod chromium;
#[path = "../it/load.rs"]
#[expect(dead_code, reason = "it serves another binary as well")]
mod load;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "it serves another binary as well")]
mod process;
mod restarts;
#[path = "../it/rig.rs"]
#[expect(dead_code, reason = "the rig serves another binary as well")]
mod rig;
mod status_page;
#[path = "../it/unit.rs"]
mod unit;
#[path = "../it/wire.rs"]
#[expect(dead_code, reason = "it serves another binary as well")]
mod wire;

use chromium::{Chromium, Tab};
use rig::{Rig, SECRET, Setup};
use standin::{Integrator, Network, integrator};
use std::time::Duration;

/// The text, in the editor's frame.
const TEXT: &str = "document.getElementById('text')";

/// The application, and a gateway's set-up in front of it, as in the demo. The save begins so long after the last editor has gone.
async fn application(save_delay: Duration) -> (Integrator, Setup) {
    let rapidpm = Integrator::start(integrator::Options {
        secret: SECRET.into(),
        network: Network::default().insecure(), // the rig's certificate signs itself
        ..Default::default()
    })
    .await
    .unwrap();
    let network = Network::default().insecure();
    let server = standin::document_server::Options { save_delay, network, ..Default::default() };
    let tables = format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"{}\"\n", rapidpm.url());
    (rapidpm, Setup { port_in_url: true, server, tables, ..Setup::default() })
}

async fn set_up() -> (Rig, Integrator) {
    let (rapidpm, setup) = application(Duration::from_millis(200)).await;
    let rig = Rig::with(setup).await;
    rapidpm.set_gateway(&format!("https://localhost:{}", rig.https.port()));
    (rig, rapidpm)
}

/// The path of sockets, over WebSocket and over polling alike.
const SOCKETS: &str = "/doc/demo/c/";

async fn open(chromium: &mut Chromium, rapidpm: &Integrator, user: &str) -> Tab {
    let tab = chromium.open(&format!("{}/edit?key=demo&user={user}", rapidpm.url())).await;
    let editor = chromium.frame(&tab).await;
    chromium.until(&editor, &format!("{TEXT} && !{TEXT}.disabled")).await;
    editor
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_edit_one_text_and_it_arrives_in_rapidpm() {
    let Some(mut chromium) = Chromium::start().await else { return };
    let (rig, rapidpm) = set_up().await;
    let ann = open(&mut chromium, &rapidpm, "Ann").await;
    let bob = open(&mut chromium, &rapidpm, "Bob").await;

    chromium.evaluate(&ann, &format!("{TEXT}.focus(); {TEXT}.setSelectionRange(0, 0)")).await;
    chromium.insert(&ann, "Ann was here. ").await;
    chromium.until(&bob, &format!("{TEXT}.value.startsWith('Ann was here. ')")).await;
    chromium.evaluate(&bob, &format!("{TEXT}.focus(); {TEXT}.setSelectionRange(0, 0)")).await;
    chromium.insert(&bob, "So was Bob. ").await;
    chromium.until(&ann, &format!("{TEXT}.value.startsWith('So was Bob. Ann was here. ')")).await;

    let key = rapidpm.callbacks().last().unwrap().key.clone();
    chromium.close(ann).await;
    chromium.close(bob).await;
    let save = rapidpm.wait_for_save(&key).await;
    assert_eq!(save.status, 2);
    assert!(save.text().starts_with("So was Bob. Ann was here. "), "{}", save.text());
    // The link that RapidPM fetched went through the gateway.
    assert!(save.url.starts_with(&format!("https://localhost:{}/", rig.https.port())), "{}", save.url);
}

/// The editor's own dialog, and then silence: 30 s of the page's time bring no second try.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_leads_to_the_editors_own_dialog_and_not_to_a_loop() {
    let Some(mut chromium) = Chromium::start().await else { return };
    let (mut rig, rapidpm) = set_up().await;
    let table = [
        ("expired", "This link has expired", "code 4005 · token:jwt expired"),
        ("forged", "The token of this document is not valid", "code 4006 · token:invalid signature"),
        ("none", "The token of this document is not valid", "code 4006 · token:jwt must be provided"),
    ];
    for (token, title, detail) in table {
        let page = format!("{}/edit?key=demo&user=Ann&token={token}", rapidpm.url());
        let tab = chromium.open(&page).await;
        let editor = chromium.frame(&tab).await;
        chromium.until(&editor, "document.getElementById('dialog').open").await;
        for (id, words) in [("dialog-title", title), ("dialog-detail", detail), ("state", "not connected")] {
            let said =
                chromium.evaluate(&editor, &format!("document.getElementById('{id}').textContent")).await;
            assert_eq!(said, words, "{token}");
        }
        chromium.pass(&editor, Duration::from_secs(30)).await;
        assert_eq!(chromium.asked(&editor, SOCKETS), 1, "{token}: it tried again");
        chromium.close(tab).await;
    }
    assert_eq!((rig.server.upgrades(), rig.server.sockets()), (0, 0));
    assert!(rig.server.requests().iter().all(|seen| !seen.path().contains(SOCKETS)));

    // An editor that is to come back does, in the same time: the count above would have shown it.
    let ann = open(&mut chromium, &rapidpm, "Ann").await;
    rig.stop().await;
    chromium.until(&ann, "document.getElementById('state').textContent.startsWith('connection lost')").await;
    chromium.pass(&ann, Duration::from_secs(30)).await;
    assert!(chromium.asked(&ann, SOCKETS) > 1, "the count is blind");
    // And the gateway's log, whole by now, knows of as many sockets as the pages.
    let lines = rig.log.all();
    let sockets =
        lines.iter().filter(|line| line["path"].as_str().is_some_and(|path| path.contains(SOCKETS)));
    let mut refusals: Vec<_> = sockets.map(|line| line["refusal"].as_str().unwrap_or("none")).collect();
    refusals.sort_unstable(); // a line is written when its socket has ended
    assert_eq!(refusals, ["none", "token_expired", "token_missing", "token_signature"]);
}
