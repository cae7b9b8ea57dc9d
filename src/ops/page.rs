//! The part of the metrics page that is read when somebody asks: what the gateway *is*, as against most of what happened in it.
//!
//! Of what happened, requests are here, which cores count apart and somebody has to add up, and what has an owner that may go: how
//! long a Document Server took. Numbers of what is have one owner, who knows them anyway; a handle beside it would be a
//! second truth. And a label that comes from the configuration (a server, a certificate) is gone with its entry, which a handle would
//! outlive.

use std::fmt::Write as _;
use std::time::Duration;

use super::latency::Latency;
use super::maker::BUCKETS;

/// What a family of series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// Durations by what they are not above.
    Histogram,
}

/// Families in Prometheus' text format.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Writes a family with one series.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.head(name, kind, help);
        writeln!(self.0, "{name} {value}\n").ok(); // a String takes everything
    }

    /// Writes a family with one label, by its values.
    pub fn by<L: AsRef<str>>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        label: &str,
        series: impl IntoIterator<Item = (L, f64)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in series {
            writeln!(self.0, "{name}{{{label}=\"{}\"}} {value}", escaped(of.as_ref())).ok();
        }
        self.0.push('\n');
    }

    /// Writes a family of histograms with one label, by its values.
    pub fn latencies<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        series: impl IntoIterator<Item = (&'l str, &'l Latency)>,
    ) {
        self.head(name, Kind::Histogram, help);
        for (of, latency) in series {
            let (counts, sum) = latency.counted();
            self.histogram(name, &[(label, &escaped(of))], (&BUCKETS, &counts), sum);
        }
        self.0.push('\n');
    }

    /// Writes a family whose one series says something in labels, and is 1.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.head(name, Kind::Gauge, help);
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        writeln!(self.0, "{name}{{{}}} 1\n", labels.join(",")).ok();
    }

    /// Writes what stands above a family's series.
    pub(super) fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    /// Writes one series of a family; labels are words of ours, and at least one.
    pub(super) fn series(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, "", labels.iter().copied(), value);
    }

    /// Writes one histogram of a family: bounds with the number of what lies between each and the one before, and the sum.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating")]
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        (bounds, buckets): (&[f64], &[u64]),
        sum: Duration,
    ) {
        let mut so_far = 0;
        let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(buckets) {
            so_far += bucket;
            let labels = labels.iter().copied().chain([("le", bound.as_str())]);
            self.line(name, "_bucket", labels, so_far as f64);
        }
        self.line(name, "_sum", labels.iter().copied(), sum.as_secs_f64());
        self.line(name, "_count", labels.iter().copied(), so_far as f64);
    }

    fn line<'l>(
        &mut self,
        name: &str,
        end: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        value: f64,
    ) {
        self.0.push_str(name);
        self.0.push_str(end);
        let mut before = '{';
        for (label, value) in labels {
            self.0.push(before);
            write!(self.0, "{label}=\"{value}\"").ok();
            before = ',';
        }
        writeln!(self.0, "}} {value}").ok();
    }

    /// Ends a family.
    pub(super) fn end(&mut self) {
        self.0.push('\n');
    }

    /// As text.
    pub fn text(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.one("a_bytes", Kind::Gauge, "Bytes.", 7.5);
        page.by("b_total", Kind::Counter, "B.", "of", [("x\"y\\\n", 1.0), ("z", 0.0)]);
        page.info("c_info", "C.", &[("version", "1"), ("of", "2")]);
        let text = "# HELP a_bytes Bytes.\n# TYPE a_bytes gauge\na_bytes 7.5\n\n\
            # HELP b_total B.\n# TYPE b_total counter\nb_total{of=\"x\\\"y\\\\\\n\"} 1\nb_total{of=\"z\"} 0\n\n\
            # HELP c_info C.\n# TYPE c_info gauge\nc_info{version=\"1\",of=\"2\"} 1\n\n";
        assert_eq!(page.text(), text);
    }
}
