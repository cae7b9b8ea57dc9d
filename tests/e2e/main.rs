//! The demo's page in a real browser: what a person sees is what is promised.

// A test that cannot go on fails loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod chromium;
#[path = "../it/rig.rs"]
#[expect(dead_code, reason = "the rig serves another binary as well")]
mod rig;

use chromium::{Chromium, Tab};
use rig::{Rig, SECRET, Setup};
use standin::{Integrator, Network, integrator};

/// The text, in the editor's frame.
const TEXT: &str = "document.getElementById('text')";

async fn set_up() -> (Rig, Integrator) {
    let rapidpm = Integrator::start(integrator::Options {
        secret: SECRET.into(),
        network: Network::default().insecure(), // the rig's certificate signs itself
        ..Default::default()
    })
    .await
    .unwrap();
    let server = standin::document_server::Options {
        save_delay: std::time::Duration::from_millis(200),
        ..Default::default()
    };
    let tables = format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"{}\"\n", rapidpm.url());
    let rig = Rig::with(Setup { port_in_url: true, server, tables, ..Setup::default() }).await;
    rapidpm.set_gateway(&format!("https://localhost:{}", rig.https.port()));
    (rig, rapidpm)
}

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
