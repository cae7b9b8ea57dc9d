//! A client's fields made those that the Document Server may see.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use rapidpm_gateway::rules::client::{Client, Peer};
use rapidpm_gateway::rules::headers::{Forwarded, Hop, to_upstream};
use rapidpm_gateway::rules::host::PublicUrl;

/// A script of the editor, as Chromium asked for it.
const BROWSER: [(&str, &str); 15] = [
    ("host", "office.example"),
    ("connection", "keep-alive"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    (
        "referer",
        "https://office.example/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main/index.html",
    ),
    ("sec-fetch-dest", "script"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-site", "same-origin"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ),
    ("sec-ch-ua", "\"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("if-none-match", "W/\"6b026464-20e60a\""),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
];

const SOCKET: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
];

fn map<N: AsRef<str>, V: AsRef<str>>(lines: impl IntoIterator<Item = (N, V)>) -> HeaderMap {
    let field = |(name, value): (N, V)| {
        (name.as_ref().parse::<HeaderName>().unwrap(), value.as_ref().parse().unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.into_iter().map(field) {
        map.append(name, value);
    }
    map
}

/// As many fields as the edge takes, 50 of them lists of names that together fill its 64 KiB.
fn crowded(option: impl Fn(usize) -> String) -> HeaderMap {
    let mut next = 0;
    let mut list = || {
        let mut list = String::new();
        while list.len() < 1200 {
            list = list + &option(next) + ",";
            next += 1;
        }
        list
    };
    let lists = (0..50).map(|_| ("connection".to_owned(), list())).collect::<Vec<_>>();
    map(lists.into_iter().chain((0..50).map(|n| (format!("x-{n}"), "1".to_owned()))))
}

fn fields(c: &mut Criterion) {
    let forwarded = Forwarded::new(&PublicUrl::parse("https://office.example").unwrap(), &[AUTHORIZATION]);
    let doomed = (0..100).map(|n| (format!("x-forwarded-{n}"), "1"));
    // Names behind `left` are kept; 5 are set by the gateway.
    let table = [
        ("browser", map(BROWSER), Hop::Ordinary, 13 + 5),
        (
            "socket",
            map(BROWSER.iter().filter(|(name, _)| *name != "connection").chain(&SOCKET).copied()),
            Hop::Upgrade,
            13 + 5 + 5,
        ),
        ("hostile: 100 forged fields", map(doomed), Hop::Ordinary, 5),
        ("hostile: 64 KiB of names that are there", crowded(|n| format!("x-{}", n % 50)), Hop::Ordinary, 5),
        ("hostile: 64 KiB of names that are not", crowded(|n| format!("absent-{n}")), Hop::Ordinary, 50 + 5),
        ("hostile: 64 KiB of one letter", crowded(|_| "z".to_owned()), Hop::Ordinary, 50 + 5),
    ];
    let mut group = c.benchmark_group("headers");
    for (name, sent, hop, left) in table {
        let client = Client::of(&Peer::new([203, 0, 113, 9].into()), &sent, &[]);
        let mut seen = sent.clone();
        to_upstream(&mut seen, &forwarded, &client, hop);
        assert_eq!(seen.len(), left, "{name}");
        group.bench_function(name, |b| {
            let change = |headers: &mut HeaderMap| to_upstream(headers, &forwarded, black_box(&client), hop);
            b.iter_batched_ref(|| sent.clone(), change, BatchSize::SmallInput);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = fields
}
criterion_main!(benches);
