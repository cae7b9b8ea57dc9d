//! Makes series: a name, a sentence, labels, and the 0 that each begins with.

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

pub(super) static METADATA: Metadata<'static> = Metadata::new("gateway", Level::INFO, None);

/// Beyond the alert's 5 s: a quantile never lies above the largest bucket (parts.md C.2).
pub(super) const BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0];

/// A name and its labels. Names are constants; label values come from enums and the configuration, never from a request.
pub(super) fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
    Key::from_parts(name, labels.iter().map(|(name, value)| Label::new(*name, *value)).collect::<Vec<_>>())
}

/// A recorder whose durations are histograms. Without buckets the library makes summaries of them, over which no alert can
/// take a quantile.
pub(super) fn recorder() -> PrometheusRecorder {
    let durations = Matcher::Suffix("_duration_seconds".into());
    match PrometheusBuilder::new().set_buckets_for_metric(durations, &BUCKETS) {
        Ok(builder) => builder.build_recorder(),
        Err(_) => PrometheusBuilder::new().build_recorder(), // only an empty list is refused
    }
}

/// Makes series of one recorder.
pub(super) struct Maker<'r>(pub &'r PrometheusRecorder);

impl Maker<'_> {
    /// A counter. It begins with 0, so that `increase()` sees its first step.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &'static str)],
    ) -> Counter {
        self.0.describe_counter(name.into(), None, help.into());
        let counter = self.0.register_counter(&key(name, labels), &METADATA);
        counter.absolute(0);
        counter
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.0.describe_gauge(name.into(), None, help.into());
        let gauge = self.0.register_gauge(&key(name, &[]), &METADATA);
        gauge.set(0.0);
        gauge
    }
}
