//! From a raw path to its row of the table: one spelling, then the route.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::path::{VERSIONED, decide};
use rapidpm_gateway::rules::path::PathFault;
use rapidpm_gateway::rules::route::Route;

/// What an edge lets through at most: the whole head.
const LARGEST: usize = 64 << 10;

fn paths(c: &mut Criterion) {
    // Five bytes are left for an end.
    let filled = |start: &str, piece: &str| {
        format!("{start}{}", piece.repeat((LARGEST - 5 - start.len()) / piece.len()))
    };
    // Down and up again, so that no step is above the root and the walk has to go all the way.
    let (steps, up) = (filled("", "/a/%2e%2e"), filled("/", "%2e%2e/"));
    let long = filled("/web-apps/", "%41%c3%a9");
    // The fault is the last thing there is, so that everything before it was worth nothing.
    let double = format!("{long}%2565");
    let doubles = filled("/web-apps/", "%25%32%65/");
    let table = [
        ("plain", "/sdkjs/word/sdk-all.js", Ok(Route::Sdkjs)),
        ("versioned", VERSIONED, Ok(Route::WebApps)),
        ("key", "/downloadfile/rapidpm-4711-v12_a1b2c3d4", Ok(Route::DownloadFile)),
        ("encoded title", "/printfile/k1/R%C3%A9sum%C3%A9%20%28final%29.pdf", Ok(Route::PrintFile)),
        ("hostile: 64 KiB of steps up", &up, Err(PathFault::AboveRoot)),
        ("hostile: 64 KiB of steps down and up", &steps, Ok(Route::Root)),
        ("hostile: 64 KiB encoded twice", &doubles, Err(PathFault::DoubleEncoded)),
        ("hostile: 64 KiB of escapes, then one encoded twice", &double, Err(PathFault::DoubleEncoded)),
        ("hostile: 64 KiB of escapes", &long, Ok(Route::WebApps)),
    ];
    let mut group = c.benchmark_group("path");
    for (name, raw, expected) in table {
        assert_eq!(decide(raw), expected, "{name}");
        group.bench_function(name, |b| b.iter(|| decide(black_box(raw))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = paths
}
criterion_main!(benches);
