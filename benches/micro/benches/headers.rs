//! A client's fields made those that the Document Server may see.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hyper::header::HeaderMap;
use micro::fields::{BROWSER, client, forwarded, map};
use rapidpm_gateway::rules::headers::{Hop, to_upstream};

const SOCKET: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
];

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
    let forwarded = forwarded();
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
        let client = client(&sent);
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
