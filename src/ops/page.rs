//! The part of the metrics page that is read when somebody asks: what the gateway *is*, as against what happened in it.
//!
//! Such numbers have one owner, who knows them anyway; a handle beside it would be a second truth. And a label that comes from
//! the configuration (a server, a certificate) is gone with its entry, which a handle would outlive.

use std::fmt::Write as _;

use super::latency::Latency;

/// What a family of series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
    /// Samples by how large they are.
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
            latency.write(&mut self.0, name, &format!("{label}=\"{}\"", escaped(of)));
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

    /// As text.
    pub fn text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
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
