//! Numbers of callbacks and saves: names, types and labels are what dashboards and alerts rely on.

use std::sync::atomic::AtomicUsize;

use metrics::{Counter, Gauge, Histogram, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::maker::{METADATA, key};

/// Handles of callbacks and saves.
pub struct SaveMetrics {
    /// A callback has been answered.
    pub callback: Histogram,
    /// A saved document has been fetched from the Document Server.
    pub download: Histogram,
    /// A document has been written to the archive.
    pub upload: Histogram,
    /// Sockets of editors that wait for the end of a lock.
    pub held: Gauge,
    /// The same, to be read: a gauge cannot be.
    pub held_now: AtomicUsize,
    /// Saves that waited for longer than they may keep new editors out.
    pub let_in: Counter,
    /// Saves that could not be kept and were passed through.
    pub not_kept: Counter,
    /// Files that Document Servers keep because nobody took them.
    pub forgotten: Gauge,
    /// The archive of copies.
    pub archive: ArchiveMetrics,
    settled: [Counter; 2],
    rejected: Vec<(&'static str, Counter)>,
}

/// Handles of the archive.
pub struct ArchiveMetrics {
    /// Copies that wait.
    pub waiting: Gauge,
    /// Bytes that are held for copies alone.
    pub bytes: Gauge,
    /// Whether nothing is wrong with it.
    pub up: Gauge,
    /// A copy was stored.
    pub stored: Counter,
    /// An accepted save has no copy and will have none.
    pub given_up: Counter,
    /// A try failed.
    pub failed: Counter,
}

impl SaveMetrics {
    /// Makes every series.
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        let histogram = |name: &'static str, help: &'static str| {
            recorder.describe_histogram(name.into(), None, help.into());
            recorder.register_histogram(&key(name, &[]), &METADATA)
        };
        let gauge = |name: &'static str, help: &'static str| {
            recorder.describe_gauge(name.into(), None, help.into());
            let gauge = recorder.register_gauge(&key(name, &[]), &METADATA);
            gauge.set(0.0);
            gauge
        };
        let counter_of = |name: &'static str, help: &'static str, labels: &[(&'static str, &'static str)]| {
            recorder.describe_counter(name.into(), None, help.into());
            let counter = recorder.register_counter(&key(name, labels), &METADATA);
            counter.absolute(0);
            counter
        };
        let counter = |name, help, label| counter_of(name, help, &[label]);
        let settled =
            |status| counter("onlyoffice_save_total", "Saves that are settled.", ("status", status));
        let copies = |outcome| {
            let help = "Copies for the archive: stored, given up for good, and tries that failed.";
            counter("gateway_archive_copies_total", help, ("outcome", outcome))
        };
        let rejected = |reason| {
            let help = "Documents that failed their check.";
            (reason, counter("onlyoffice_validation_rejected_total", help, ("reason", reason)))
        };
        Self {
            callback: histogram("onlyoffice_callback_duration_seconds", "Time to answer a callback."),
            download: histogram(
                "onlyoffice_download_duration_seconds",
                "Time to fetch and keep a saved document.",
            ),
            upload: histogram(
                "onlyoffice_upload_duration_seconds",
                "Time to write a document to the archive.",
            ),
            held_now: AtomicUsize::new(0),
            held: gauge(
                "gateway_editors_held",
                "Editors that wait because a save of their document is under way.",
            ),
            let_in: counter_of(
                "gateway_saves_let_in_total",
                "Saves that waited longer than saves.hold_editors: new editors of their documents were let in.",
                &[],
            ),
            not_kept: counter_of(
                "gateway_saves_not_kept_total",
                "Saves that could not be kept and were passed through.",
                &[],
            ),
            forgotten: gauge(
                "gateway_forgotten_files",
                "Files that Document Servers keep because nobody took them.",
            ),
            archive: ArchiveMetrics {
                waiting: gauge("gateway_archive_waiting", "Copies that wait for the archive."),
                bytes: gauge(
                    "gateway_archive_bytes",
                    "Bytes in the directory of saves held for the archive alone.",
                ),
                up: gauge("gateway_archive_up", "0 while the archive is away or refuses something."),
                stored: copies("stored"),
                given_up: copies("given_up"),
                failed: copies("failed_try"),
            },
            settled: [settled("success"), settled("failure")],
            rejected: ["file_content", "zip_integrity", "xml_wellformedness"].map(rejected).into(),
        }
    }

    /// A save is settled, for the first time.
    pub fn settled(&self, well: bool) {
        let [success, failure] = &self.settled;
        if well { success } else { failure }.increment(1);
    }

    /// A document has failed its check.
    pub fn rejected(&self, reason: &str) {
        if let Some((_, counter)) = self.rejected.iter().find(|(known, _)| *known == reason) {
            counter.increment(1);
        }
    }
}
