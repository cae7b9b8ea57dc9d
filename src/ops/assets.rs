//! Numbers of the editor's files in memory.

use metrics::{Counter, Gauge, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::maker::{METADATA, key};

/// Handles of the asset cache.
pub struct AssetMetrics {
    /// Answered from memory.
    pub hits: Counter,
    /// Asked of the Document Server, although such a file may be kept.
    pub misses: Counter,
    /// Bytes that were answered from memory.
    pub served: Counter,
    /// Files of which brotli was made.
    pub brotli: Counter,
    /// Bytes that are kept.
    pub bytes: Gauge,
}

impl AssetMetrics {
    /// Makes every series.
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        let counter = |name: &'static str, help: &'static str, labels: &[(&'static str, &'static str)]| {
            recorder.describe_counter(name.into(), None, help.into());
            let counter = recorder.register_counter(&key(name, labels), &METADATA);
            counter.absolute(0);
            counter
        };
        let requests = |outcome| {
            let help = "Requests for files of the editor that may be kept in memory.";
            counter("gateway_asset_requests_total", help, &[("outcome", outcome)])
        };
        recorder.describe_gauge("gateway_asset_bytes".into(), None, "Bytes of files kept in memory.".into());
        let bytes = recorder.register_gauge(&key("gateway_asset_bytes", &[]), &METADATA);
        bytes.set(0.0);
        Self {
            hits: requests("hit"),
            misses: requests("miss"),
            served: counter("gateway_asset_served_bytes_total", "Bytes answered from memory.", &[]),
            brotli: counter("gateway_asset_brotli_total", "Files that were compressed with brotli.", &[]),
            bytes,
        }
    }
}
