//! The status page in a real browser: what goes on is there by itself, readable by everybody, in both colours, at two sizes, and
//! without script.
//!
//! `SCREENSHOTS=FOLDER cargo test --test e2e status_page` leaves pictures of it there.

use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::{Fault, Integrator, clock, token};

use crate::chromium::{Chromium, Tab};
use crate::rig::{self, Rig, SECRET};
use crate::{TEXT, application, open};

/// Where `.ci/run` has npm put it.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/npm/node_modules/axe-core/axe.min.js");

/// Width and height of a desk's and of a phone's screen.
const SIZES: [(u32, u32); 2] = [(1280, 800), (390, 844)];

fn looks((width, height): (u32, u32), colours: &str) -> [(&'static str, Value); 2] {
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
    [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", media)]
}

/// Somebody edits the document and leaves; RapidPM hears of it through the relay.
async fn edit_and_leave(chromium: &mut Chromium, rapidpm: &Integrator) {
    let (ann, bob) = (open(chromium, rapidpm, "Ann").await, open(chromium, rapidpm, "Bob").await);
    chromium.evaluate(&ann, &format!("{TEXT}.focus(); {TEXT}.setSelectionRange(0, 0)")).await;
    chromium.insert(&ann, "Some words. ").await;
    chromium.until(&bob, &format!("{TEXT}.value.startsWith('Some words. ')")).await; // the Document Server has it
    chromium.close(ann).await;
    chromium.close(bob).await;
}

/// As the other tests have it, with callbacks through the relay.
async fn set_up_with_relay() -> (Rig, Integrator) {
    let (rapidpm, mut setup) = application(Duration::from_millis(200)).await;
    setup.lines.push(("saves", "answer_within = \"4m\"".into())); // so long is a save that hangs under way
    let rig = Rig::with(setup).await;
    rapidpm.set_gateway(&format!("https://localhost:{}", rig.https.port()));
    rapidpm.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
    (rig, rapidpm)
}

/// A save from the Document Server, whose answer nobody waits for.
fn save(rig: &Rig, key: &str, status: u32) {
    let port = rig.https.port();
    let link = rig.server.cache(key, "output.docx", "words");
    let mut fields = json!({"key": key, "status": status, "url": format!("{}{link}", rig.server.url()), "filetype": "docx"});
    let signed = |claims: Value| token::sign(SECRET, &token::expiring(claims, &clock::system(), 300));
    let header = format!("Bearer {}", signed(json!({"payload": fields})));
    fields["token"] = signed(fields.clone()).into();
    let request = Request::post(format!("/relay/rapidpm/callback?id={key}"))
        .header("host", format!("localhost:{port}"));
    let request = request.header("authorization", header).header("content-type", "application/json");
    let request = request.body(Full::<Bytes>::from(fields.to_string())).unwrap();
    let to = rig.https;
    tokio::spawn(async move {
        let stream = rig::tls(to, Some("localhost"), &["http/1.1"]).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.ok();
    });
}

/// A save of every kind: each row of the page has another state.
async fn saves_in_every_state(chromium: &mut Chromium, page: &Tab, rig: &Rig, rapidpm: &Integrator) {
    let long = "a-long-key-".repeat(8);
    for (key, status, reply, state) in [
        ("delivered-slowly", 2, Reply::Hang, "delivering"),
        ("unwanted", 2, Reply::Error(4), "parked: refused"),
        ("forced", 6, Reply::Status(500), "reserve"),
        (long.as_str(), 2, Reply::Status(503), "waiting"),
    ] {
        rapidpm.set_reply_to(status, reply);
        save(rig, key, status);
        chromium
            .until(page, &format!("document.getElementById('saves').innerText.includes('{state}')"))
            .await;
    }
    rig.server.fault("/cache/files/data/coming", Fault::Stall);
    save(rig, "coming", 2);
    chromium.until(page, "document.getElementById('saves').innerText.includes('fetching')").await;
}

async fn text(chromium: &mut Chromium, tab: &Tab, id: &str) -> String {
    let text = chromium.evaluate(tab, &format!("document.getElementById('{id}').innerText")).await;
    text.as_str().unwrap().to_owned()
}

/// What axe-core has against the page: contrast, labels, roles, order.
async fn violations(chromium: &mut Chromium, tab: &Tab, axe: &str) -> Value {
    chromium.evaluate(tab, axe).await;
    let run = "axe.run().then((found) => found.violations.map((one) => [one.id, one.help, one.nodes.map((node) => node.html)]))";
    chromium.evaluate(tab, run).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_is_on_the_page_by_itself() {
    let Some(mut chromium) = Chromium::start().await else { return };
    let (rig, rapidpm) = set_up_with_relay().await;
    let url = format!("http://{}/", rig.admin);
    let page = chromium.open(&url).await;
    chromium.until(&page, "document.getElementById('live').textContent === 'live'").await;
    assert_eq!(text(&mut chromium, &page, "documents").await, "Nobody edits anything now.");

    let ann = open(&mut chromium, &rapidpm, "Ann").await;
    let begun = Instant::now();
    chromium.until(&page, "document.querySelectorAll('#documents .people li').length === 1").await;
    println!("an editor that had joined was on the page after {:?}", begun.elapsed());
    assert_eq!(chromium.evaluate(&page, "document.title").await, "healthy · localhost · rapidpm-gateway");

    rapidpm.set_reply_to(2, Reply::Error(1));
    chromium.close(ann).await;
    edit_and_leave(&mut chromium, &rapidpm).await;
    chromium.until(&page, "document.querySelector('#saves .bad')?.textContent === 'parked: refused'").await;
    chromium.until(&page, "document.getElementById('documents').innerText.startsWith('Nobody')").await;
    let saves = text(&mut chromium, &page, "saves").await;
    assert!(saves.contains("200 with error 1") && saves.contains("rapidpm-gateway saves retry"), "{saves}");
    chromium.until(&page, "document.title.startsWith('degraded')").await;
    // How long ago it came goes on by itself, too.
    let came = chromium.evaluate(&page, "document.querySelector('#saves time').textContent").await;
    chromium.until(&page, &format!("document.querySelector('#saves time').textContent !== {came}")).await;
    assert_eq!(chromium.errors(&page), Vec::<&Value>::new());
    // Nothing was fetched but the page, its events and its icon.
    let asked = chromium.asked(&page, "://");
    assert_eq!(asked, chromium.asked(&page, &url), "from elsewhere");
    assert_eq!(asked, 2, "the page and its events");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_can_read_it_with_and_without_script() {
    let Some(mut chromium) = Chromium::start().await else { return };
    let Ok(axe) = std::fs::read_to_string(AXE) else {
        assert!(std::env::var_os("CI").is_none(), "no axe-core here; .ci/run installs it");
        return eprintln!("skipped: no axe-core here; `npm install --prefix target/npm axe-core` brings it");
    };
    let (rig, rapidpm) = set_up_with_relay().await;
    let url = format!("http://{}/", rig.admin);
    // A page with something in every part: a save of each kind, two editors, a refusal, a configuration with a fault.
    let page = chromium.open(&url).await;
    saves_in_every_state(&mut chromium, &page, &rig, &rapidpm).await;
    let (_ann, _bob) =
        (open(&mut chromium, &rapidpm, "Ann").await, open(&mut chromium, &rapidpm, "Bob").await);
    assert_eq!(rig.get("/nothing/is/here").await.status, 404);
    rig.edit("drain", "drian");
    rig.reload().await;
    let ready = "document.querySelectorAll('#documents .people li').length === 2 && document.querySelector('#configuration pre') \
                 && document.querySelector('#refusals code') && document.querySelectorAll('#saves tbody time').length >= 5";
    chromium.until(&page, ready).await;

    for colours in ["light", "dark"] {
        for size in SIZES {
            let tab = chromium.open_with(&url, &looks(size, colours)).await;
            chromium.until(&tab, ready).await;
            assert_eq!(violations(&mut chromium, &tab, &axe).await, json!([]), "{colours} {size:?}");
            let wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
            assert_eq!(chromium.evaluate(&tab, wide).await, false, "{colours} {size:?} scrolls sideways");
            assert_eq!(chromium.errors(&tab), Vec::<&Value>::new());
            if let Some(folder) = std::env::var_os("SCREENSHOTS") {
                let picture = chromium.picture(&tab).await;
                let file = Path::new(&folder).join(format!("{colours}-{}.png.base64", size.0));
                std::fs::write(file, picture).unwrap();
            }
            chromium.close(tab).await;
        }
    }

    let off = [("Emulation.setScriptExecutionDisabled", json!({"value": true}))];
    let still = chromium.open_with(&url, &off).await;
    // With script off, waiting in the page is off, too.
    while chromium.evaluate(&still, "document.readyState").await != "complete" {}
    for id in ["documents", "saves", "servers", "integrators", "refusals", "certificates", "configuration"] {
        let (with, without) = (text(&mut chromium, &page, id).await, text(&mut chromium, &still, id).await);
        // Figures and their units differ from moment to moment.
        let words =
            |text: &str| text.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned();
        assert_eq!(words(&with), words(&without), "{id}");
        assert!(!without.trim().is_empty(), "{id}");
    }
    let refresh = "document.querySelector('noscript meta[http-equiv=refresh]')?.content";
    assert_eq!(chromium.evaluate(&still, refresh).await, "5");
    assert_eq!(text(&mut chromium, &still, "live").await, "", "it does not claim to be live");
}
