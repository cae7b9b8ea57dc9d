//! What counting costs: a request's numbers on the hot path, and the page that Prometheus reads.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::numbers;
use rapidpm_gateway::ops::latency::Latency;
use rapidpm_gateway::ops::metrics::Metrics;
use rapidpm_gateway::ops::page::Page;
use rapidpm_gateway::ops::process;
use rapidpm_gateway::ops::requests::Tally;
use rapidpm_gateway::rules::table::Carrier;

/// With a token that held.
fn count(metrics: &Metrics, core: &Tally, server: &Latency) {
    metrics.token(black_box(0));
    numbers::count(core, server);
}

fn metrics(c: &mut Criterion) {
    let metrics = Metrics::new();
    let mut group = c.benchmark_group("metrics");
    let (core, server) = (metrics.requests.tally(), Latency::default());
    group.bench_function("a request", |b| {
        let mut since = 0;
        b.iter(|| {
            count(&metrics, &core, &server);
            since += 1;
            if since == 100_000 {
                metrics.upkeep(); // as every 5 s under load: samples are sorted into buckets
                since = 0;
            }
        });
    });
    group.bench_function("a request, beside another core that counts the same", |b| {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let core = metrics.requests.tally();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for _ in 0..1000 {
                        count(&metrics, &core, &server);
                    }
                    metrics.upkeep();
                }
            });
            b.iter(|| count(&metrics, &core, &server));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
    metrics.upkeep();
    group.bench_function("a refusal", |b| {
        b.iter(|| metrics.refusals.count(black_box("token_signature"), Some(Carrier::Body)));
    });
    let lines = metrics.render().lines().count();
    group.bench_function(format!("a page of {lines} lines"), |b| {
        b.iter(|| {
            let mut page = Page::default();
            process::write(&mut page);
            let mut text = metrics.render();
            text.push_str(&page.text());
            text
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = metrics
}
criterion_main!(benches);
