//! Numbers about the configuration: how the last reload ended, and series whose labels stand in gateway.toml. Those come and
//! go with it: a server or certificate that is configured no more must not be alerted about for ever.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::maker::{METADATA, key};

/// Which secret signed a token: at most one present and eight previous ones are configured (config/build/jwt.rs).
pub(super) const SECRETS: [&str; 9] = [
    "current",
    "previous-1",
    "previous-2",
    "previous-3",
    "previous-4",
    "previous-5",
    "previous-6",
    "previous-7",
    "previous-8",
];

/// Handles of everything that is about the configuration.
pub struct ConfigMetrics {
    successful: Gauge,
    successful_at: Gauge,
    generation: Gauge,
    applied: Counter,
    refused: Counter,
    /// Keys that were changed and wait for a restart.
    pub pending: Labelled,
    /// When each certificate ends.
    pub expiry: Labelled,
    /// Whether a certificate's files are no good as they are on disk, so that the last good pair is served.
    pub stale: Labelled,
    last_used: LastUsed,
}

/// A gauge with one label whose values come from the configuration.
pub struct Labelled {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    series: Mutex<BTreeMap<String, f64>>,
}

impl Labelled {
    fn new(name: &'static str, label: &'static str, help: &'static str) -> Self {
        Self { name, help, label, series: Mutex::default() }
    }

    /// These series and no others.
    pub fn set_all(&self, series: impl IntoIterator<Item = (String, f64)>) {
        *self.series.lock().unwrap_or_else(PoisonError::into_inner) = series.into_iter().collect();
    }

    fn render(&self, into: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        render(
            into,
            (self.name, self.help),
            series.iter().map(|(value, number)| (self.label, value.as_str(), *number)),
        );
    }
}

fn render<'s>(
    into: &mut String,
    (name, help): (&str, &str),
    series: impl Iterator<Item = (&'s str, &'s str, f64)>,
) {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return;
    }
    writeln!(into, "# HELP {name} {help}\n# TYPE {name} gauge").ok(); // a string takes everything
    for (label, value, number) in series {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        writeln!(into, "{name}{{{label}=\"{value}\"}} {number}").ok();
    }
    into.push('\n');
}

/// When each secret last signed a token that held: seconds since 1970, 0 for never since the start.
#[derive(Default)]
struct LastUsed {
    at: [AtomicU64; SECRETS.len()],
    configured: AtomicUsize,
}

impl ConfigMetrics {
    /// Makes every series that does not depend on the configuration.
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        let gauge = |name: &'static str, help: &'static str, value: f64| {
            recorder.describe_gauge(name.into(), None, help.into());
            let gauge = recorder.register_gauge(&key(name, &[]), &METADATA);
            gauge.set(value);
            gauge
        };
        let reloads = |result| {
            let (name, help) = ("gateway_config_reloads_total", "Reloads by how they ended.");
            recorder.describe_counter(name.into(), None, help.into());
            let counter = recorder.register_counter(&key(name, &[("result", result)]), &METADATA);
            counter.absolute(0);
            counter
        };
        let successful = "Whether the configuration is in place as it is on disk: 0 while it has faults.";
        let at = "When a configuration was last put in place.";
        let generation = "Configurations that have been in place since the start.";
        Self {
            successful: gauge("gateway_config_last_reload_successful", successful, 1.0),
            successful_at: gauge(
                "gateway_config_last_reload_success_timestamp_seconds",
                at,
                seconds() as f64,
            ),
            generation: gauge("gateway_config_generation", generation, 1.0),
            applied: reloads("applied"),
            refused: reloads("refused"),
            pending: Labelled::new(
                "gateway_config_pending",
                "key",
                "Keys that were changed and wait for a restart.",
            ),
            expiry: Labelled::new(
                "gateway_certificate_expiry_timestamp_seconds",
                "certificate",
                "When a certificate ends, by its first name.",
            ),
            stale: Labelled::new(
                "gateway_certificate_stale",
                "certificate",
                "Whether a certificate's changed files cannot be used: the last good pair is served.",
            ),
            last_used: LastUsed::default(),
        }
    }

    /// A reload has ended.
    pub fn reloaded(&self, applied: bool, generation: u64) {
        self.successful.set(if applied { 1.0 } else { 0.0 });
        self.generation.set(generation as f64);
        if applied {
            self.successful_at.set(seconds() as f64);
            self.applied.increment(1);
        } else {
            self.refused.increment(1);
        }
    }

    /// A token has held that was signed with the secret at this place.
    pub(super) fn used(&self, secret: usize) {
        let now = seconds();
        // Cores share it, and a store takes it away from the others; it differs once a second.
        if let Some(at) = self.last_used.at.get(secret).filter(|at| at.load(Ordering::Relaxed) != now) {
            at.store(now, Ordering::Relaxed);
        }
    }

    /// Secrets have changed places: for each that is configured now, where it stood before. When it was last used moves along
    /// with it.
    pub fn secrets(&self, stood: &[Option<usize>]) {
        let before = self.last_used.at.each_ref().map(|at| at.load(Ordering::Relaxed));
        for (place, at) in self.last_used.at.iter().enumerate() {
            let old = stood.get(place).copied().flatten().and_then(|old| before.get(old)).copied();
            at.store(old.unwrap_or(0), Ordering::Relaxed);
        }
        self.last_used.configured.store(stood.len(), Ordering::Relaxed);
    }

    /// Adds the series of the configuration to what Prometheus reads.
    pub(super) fn render(&self, into: &mut String) {
        for labelled in [&self.pending, &self.expiry, &self.stale] {
            labelled.render(into);
        }
        let name = "gateway_token_last_used_timestamp_seconds";
        let help = "When a secret last signed a token that held; 0: not since the start.";
        let configured = self.last_used.configured.load(Ordering::Relaxed);
        let series = SECRETS.iter().zip(&self.last_used.at).take(configured);
        render(
            into,
            (name, help),
            series.map(|(secret, at)| ("secret", *secret, at.load(Ordering::Relaxed) as f64)),
        );
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::super::maker::recorder;
    use super::*;

    fn rendered(metrics: &ConfigMetrics) -> String {
        let mut text = String::new();
        metrics.render(&mut text);
        text
    }

    #[test]
    fn series_come_and_go_with_the_configuration() {
        let metrics = ConfigMetrics::new(&recorder());
        metrics.expiry.set_all([("a \"quoted\" \\ name".to_owned(), 1_800_000_000.0)]);
        metrics.stale.set_all([("b".to_owned(), 0.0), ("a".to_owned(), 1.0)]);
        let text = rendered(&metrics);
        let expected = "# TYPE gateway_certificate_stale gauge\n\
                        gateway_certificate_stale{certificate=\"a\"} 1\ngateway_certificate_stale{certificate=\"b\"} 0\n\n";
        assert!(text.contains(expected), "{text}");
        let quoted = "{certificate=\"a \\\"quoted\\\" \\\\ name\"} 1800000000\n";
        assert!(text.contains(quoted), "{text}");
        metrics.stale.set_all([]);
        assert!(!rendered(&metrics).contains("gateway_certificate_stale"));
    }

    #[test]
    fn when_a_secret_was_last_used_moves_with_it() {
        let metrics = ConfigMetrics::new(&recorder());
        metrics.secrets(&[None]);
        metrics.used(0);
        let old = metrics.last_used.at[0].load(Ordering::Relaxed);
        assert!(old > 0);
        metrics.secrets(&[None, Some(0)]);
        let text = rendered(&metrics);
        assert!(text.contains("{secret=\"current\"} 0\n"), "{text}");
        assert!(text.contains(&format!("{{secret=\"previous-1\"}} {old}\n")), "{text}");
        metrics.secrets(&[Some(0)]);
        assert!(!rendered(&metrics).contains("previous-1"));
    }
}
