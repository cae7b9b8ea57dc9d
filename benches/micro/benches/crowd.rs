//! What the status page costs those who join meanwhile: the registry of editors, while 20,000 of them are there.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rapidpm_gateway::ops::metrics::Metrics;
use rapidpm_gateway::rules::policy::{Editor, EditorMode};
use rapidpm_gateway::sockets::{Caps, GRACE, Registry, Session};

const EDITORS: usize = 20_000;
const CAPS: Caps = Caps { document: EDITORS, address: EDITORS, total: EDITORS };

/// A registry with its editors, so many in each document.
fn registry(each: usize) -> (Arc<Registry>, Vec<Session>) {
    let registry = Registry::new(Arc::new(Metrics::new()), GRACE);
    let enter = |number: usize| {
        let editor =
            Editor { document: None, user: Some(format!("u{number}").into()), mode: EditorMode::Edit };
        let key = format!("rapidpm-{}-v1_a1b2c3d4", number / each);
        let session = registry.enter(&key, editor, [192, 0, 2, 1].into(), CAPS).unwrap();
        session.join();
        session
    };
    let sessions = (0..EDITORS).map(enter).collect();
    (registry, sessions)
}

fn crowds(c: &mut Criterion) {
    let mut group = c.benchmark_group("crowd");
    for (name, each) in [("two in each document", 2), ("hostile: all in one", EDITORS)] {
        let (registry, _sessions) = registry(each);
        assert_eq!(registry.crowd(50, 20).editors, EDITORS, "{name}");
        group.bench_function(format!("the page's part, {name}"), |b| b.iter(|| registry.crowd(50, 20)));
        group.bench_function(format!("how many, {name}"), |b| b.iter(|| registry.editors()));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = crowds
}
criterion_main!(benches);
