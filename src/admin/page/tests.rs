//! The page with names that were made to break it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::*;
use crate::admin::health::{Component, Health, Standing};
use crate::admin::view::{Certificate, Server};
use crate::live::{Cause, Complaint, Outcome, Verdict};
use crate::ops::history::History;
use crate::relay::{self, Correspondent, Last, Listed, Said, Status, Why};
use crate::rules::policy::EditorMode;
use crate::rules::save::{Id, Survey};
use crate::sockets::{Crowd, Open, Present};
use crate::upstream;

const HOSTILE: &str =
    "</td><script>alert(1)</script><img src=x onerror='alert(2)'>\"'`&<!--saves-->\u{202e}\u{0}";

/// Everything is there, and every name in it is `name`.
fn view(name: &str) -> View {
    let (at, instant) = (SystemTime::now(), Instant::now());
    let present = Present { user: Some(name.into()), mode: EditorMode::Edit, since: instant };
    let open = Open { document: name.into(), count: 9, editors: vec![present] };
    let saves = [
        relay::Standing::Parked(Why::Refused),
        relay::Standing::Parked(Why::OutOfTime),
        relay::Standing::Parked(Why::Superseded),
        relay::Standing::Waiting(Duration::from_secs(12)),
        relay::Standing::Fetching,
        relay::Standing::Reserve,
    ];
    let saves = saves.into_iter().map(|standing| Listed {
        id: Id(0x1a2b),
        key: name.into(),
        integrator: name.into(),
        kind: "final",
        standing,
        age: Duration::from_secs(75),
        tries: 3,
        answer: Some(name.into()),
    });
    let complaint = Complaint { text: name.into(), json: Value::Null };
    let outcome = Outcome {
        result: Verdict::Refused,
        at,
        cause: Cause::File,
        generation: 3,
        file: name.into(),
        changes: vec![name.into()],
        pending: vec!["server.https"],
        pending_changes: vec![name.into()],
        faults: vec![complaint.clone()],
        warnings: vec![complaint],
        stale_certificates: vec![name.into()],
    };
    let last = Last { at, took: Duration::from_millis(7), said: Said::Nothing(name.into()) };
    let history = History::default();
    history.settled(true);
    history.editors(2);
    let detail = Some(name.to_owned());
    let sftp = Component { name: "sftp", standing: Standing::Unhealthy, detail, since: Some(at) };
    View {
        at,
        instant,
        uptime: Duration::from_secs(7_300),
        hosts: vec![name.into()],
        observes: true,
        leaving: true,
        health: Health {
            standing: Standing::Degraded,
            components: vec![sftp],
            complaints: vec![name.into()],
            editors: 60,
            locked: 0,
            open: 2,
        },
        crowd: Crowd { documents: 50, editors: 60, open: vec![open] },
        held: 1,
        status: Status {
            saves: Survey { open: 2, waiting: 1, refused: 1, ..Survey::default() },
            bytes: (1, 1 << 30),
            troubles: Vec::new(),
        },
        saves: saves.collect(),
        servers: vec![Server { name: name.into(), health: upstream::Health::Down, since: at }],
        integrators: vec![Correspondent {
            name: name.into(),
            origin: name.into(),
            away: true,
            last: Some(last),
        }],
        certificates: vec![Certificate { names: vec![name.into()], until: at, stale: true }],
        outcome: Some(Arc::new(outcome)),
        hour: history.minutes(),
        refusals: vec![("token_expired", 3)],
    }
}

/// The names of elements and attributes, in their order: what a browser would make of the text.
fn skeleton(html: &str) -> String {
    let mut kept = String::new();
    let (mut in_tag, mut quoted) = (false, false);
    for c in html.chars() {
        match c {
            '<' if !in_tag => in_tag = true,
            '"' if in_tag => quoted = !quoted,
            '>' if in_tag && !quoted => {
                in_tag = false;
                kept.push('>');
            }
            _ => {}
        }
        if in_tag && !quoted {
            kept.push(c);
        }
    }
    kept
}

#[test]
fn no_name_changes_what_the_page_is_made_of() {
    let (tame, hostile) = (whole(&view("tame")), whole(&view(HOSTILE)));
    assert!(!hostile.contains("<script>alert") && !hostile.contains("<img"), "{hostile}");
    assert!(!hostile.contains(['\u{202e}', '\u{0}']));
    assert!(hostile.contains("&lt;script&gt;alert(1)") && hostile.contains("\\u{202e}"));
    let body =
        |page: &str| skeleton(page.split("</style>").nth(1).unwrap().split("<script>").next().unwrap());
    // A backtick begins a command in advice, which is an element more; nothing else may differ.
    let plain = body(&whole(&view(&HOSTILE.replace('`', ""))));
    assert_eq!(plain, body(&tame));
    // And what stands in a place is nowhere else: the name that looks like a place was not filled.
    assert_eq!(tame.matches("and what to do</th>").count(), hostile.matches("and what to do</th>").count());
}

#[test]
fn every_place_of_the_page_has_a_part_and_every_part_a_place() {
    let view = view("x");
    let parts = parts(&view);
    for (name, part) in &parts {
        assert!(
            PAGE.contains(&format!("id=\"{name}\"")) && PAGE.contains(&format!("<!--{name}-->")),
            "{name}"
        );
        assert!(!part.is_empty(), "{name}");
    }
    assert_eq!(PAGE.matches("<!--").count(), parts.len() + 3, "css, js and build besides");
    assert!(!whole(&view).contains("<!--"));
}

#[test]
fn the_policy_lets_in_what_the_page_brings_and_nothing_else() {
    let response = answer(&view("x"));
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for text in [PAGE, SCRIPT, STYLE] {
        // Inline style would be refused; addresses are relative, for a proxy that puts the page into a folder.
        assert!(!text.contains("style=\"") && !text.contains("=\"/") && !text.contains("https://"));
    }
    let page = whole(&view("x"));
    assert!(!page.contains("style=\""), "a style that the policy would refuse");
}

/// Whoever looks for the 21st must not take it for gone.
#[test]
fn what_is_cut_off_is_counted() {
    let mut view = view("name");
    let (server, integrator) = (view.servers[0].clone(), view.integrators[0].clone());
    (view.servers, view.integrators) = (vec![server; 20], vec![integrator; 23]);
    let certificate = view.certificates[0].clone();
    view.certificates = vec![certificate; 21];
    view.refusals = vec![("unknown_path", 1); 22];
    let told = [ground::servers, ground::integrators, ground::refusals, ground::certificates]
        .map(|part| part(&view).into_string());
    let more = |hidden| format!("<li class=\"soft\">and {hidden} more</li>");
    assert!(!told[0].contains("<li class=\"soft\">"), "{}", told[0]);
    for (part, hidden) in told[1..].iter().zip([3, 2, 1]) {
        assert!(part.contains(&more(hidden)), "{part}");
    }
}
