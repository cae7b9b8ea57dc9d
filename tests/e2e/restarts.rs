//! People who type while the gateway is restarted again and again: they go on in the same session, and no word is lost.
//!
//! `RESTARTS` says how many restarts are made (5); `.ci/run` makes 20.

use std::time::{Duration, Instant};

use crate::chromium::{Chromium, Tab};
use crate::load::{Load, Met};
use crate::rig::Setup;
use crate::unit::{Unit, restarts};
use crate::wire::soon;
use crate::{SOCKETS, TEXT, application, open};

const STATE: &str = "document.getElementById('state').textContent";
const SHARED: &str = "document.getElementById('sync').textContent === 'all changes shared'";

/// Somebody who writes at one place of the text.
struct Writer {
    tab: Tab,
    name: &'static str,
    /// All that was typed.
    said: String,
}

impl Writer {
    /// Puts the cursor where this one writes.
    async fn sits(chromium: &mut Chromium, tab: Tab, name: &'static str, at: &str) -> Self {
        chromium.evaluate(&tab, &format!("{TEXT}.focus(); {TEXT}.setSelectionRange({at}, {at})")).await;
        Self { tab, name, said: String::new() }
    }

    async fn types(&mut self, chromium: &mut Chromium, words: &str) {
        let words = format!("{} {words}. ", self.name);
        chromium.insert(&self.tab, &words).await;
        self.said.push_str(&words);
    }

    async fn is(&self, chromium: &mut Chromium, state: &str) -> bool {
        chromium.evaluate(&self.tab, &format!("{STATE}.startsWith('{state}')")).await == true
    }

    async fn until(&self, chromium: &mut Chromium, state: &str) {
        chromium.until(&self.tab, &format!("{STATE}.startsWith('{state}')")).await;
    }
}

/// Both type until both have lost their connection.
async fn type_until_cut(chromium: &mut Chromium, writers: &mut [Writer; 2], round: usize) {
    for word in 0.. {
        let mut cut = true;
        for writer in writers.iter_mut() {
            writer.types(chromium, &format!("during {round}.{word}")).await;
            cut &= writer.is(chromium, "connection lost").await;
        }
        if cut {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_live_through_restarts_under_load_and_no_word_is_lost() {
    let Some(mut chromium) = Chromium::start().await else { return };
    let restarts = restarts();
    // The real one waits 5 s. How long people were away is printed below; a slow machine must not decide what is shown here.
    let (rapidpm, setup) = application(Duration::from_secs(600)).await;
    let lines = vec![("server", "drain = \"5s\"".to_owned())];
    let mut unit = Unit::new(Setup { lines, ..setup }).await;
    rapidpm.set_gateway(&format!("https://localhost:{}", unit.https.port()));
    unit.start().await;
    let original = rapidpm.text("demo").unwrap();
    let (ann, bob) = (open(&mut chromium, &rapidpm, "Ann").await, open(&mut chromium, &rapidpm, "Bob").await);
    let mut writers = [
        Writer::sits(&mut chromium, ann, "Ann", "0").await,
        Writer::sits(&mut chromium, bob, "Bob", &format!("{TEXT}.value.length")).await,
    ];

    let load = Load::on(unit.https);
    let mut away = Duration::ZERO;
    for round in 0..restarts {
        load.more(50).await;
        for writer in &mut writers {
            writer.types(&mut chromium, &format!("before {round}")).await;
        }
        let typing = soon("the end of both sockets", type_until_cut(&mut chromium, &mut writers, round));
        let ((), ()) = tokio::join!(unit.stop(), typing);
        let cut = Instant::now();
        for writer in &mut writers {
            writer.types(&mut chromium, &format!("away {round}")).await;
        }
        unit.start().await;
        for writer in &writers {
            writer.until(&mut chromium, "connected").await;
        }
        away = away.max(cut.elapsed());
    }
    let Met { fine, refused, failed, .. } = load.end().await;
    let [ann, bob] = &writers;
    println!(
        "{restarts} restarts under {fine} requests, {refused} refused, {failed} failed: {} bytes typed in two tabs, \
         which were away for {away:?} at most",
        ann.said.len() + bob.said.len()
    );
    assert_eq!((refused, failed), (0, 0));

    let whole = format!("{}{original}{}", ann.said, bob.said);
    for writer in &writers {
        chromium.until(&writer.tab, SHARED).await;
        chromium.until(&writer.tab, &format!("{TEXT}.value === {}", serde_json::json!(whole))).await;
        // Each restart cost it one socket, no try of which failed, and no new configuration: the same session went on.
        assert_eq!(chromium.asked(&writer.tab, SOCKETS), restarts + 1, "{}", writer.name);
        assert_eq!(chromium.asked(&writer.tab, "/config?"), 0, "{}", writer.name);
        let dialog = chromium.evaluate(&writer.tab, "document.getElementById('dialog').open").await;
        assert_eq!(dialog, false, "{}", writer.name);
    }
    assert_eq!(unit.server.text("demo").unwrap(), whole);
    let packets = unit.server.packets();
    let returned = packets.iter().filter(|heard| heard.packet.starts_with("40{")).skip(2);
    assert!(
        returned.clone().count() > 0 && returned.clone().all(|heard| heard.packet.contains("\"session\":\""))
    );
    // And RapidPM gets it, at the press of a button.
    chromium.evaluate(&writers[0].tab, "document.getElementById('save').click()").await;
    assert_eq!(soon("the save", rapidpm.wait_for_save("demo")).await.text(), whole);
}
