//! Numbers: every series is made once, at the start, with 0; rooms hold handles, and no label comes from a request.

use std::fmt;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusHandle;

use super::assets::AssetMetrics;
use super::configured::{ConfigMetrics, SECRETS};
use super::saves::{SaveMetrics, recorder};
use crate::rules::objection::Ground;
use crate::rules::refusal::REASONS;
use crate::rules::route::Route;

/// Handles of every series.
pub struct Metrics {
    handle: PrometheusHandle,
    requests: Vec<[Counter; CLASSES.len()]>,
    refusals: Vec<(&'static str, Counter)>,
    objections: Vec<(&'static str, Counter)>,
    tokens: [Counter; SECRETS.len()],
    /// The configuration, and what is configured.
    pub config: ConfigMetrics,
    /// Callbacks and saves.
    pub saves: SaveMetrics,
    /// The editor's files in memory.
    pub assets: AssetMetrics,
    /// Connections that are open now.
    pub connections: Gauge,
    /// Connections refused because a cap was reached.
    pub connections_refused: Counter,
    /// Editor sockets that are open now.
    pub sockets: Gauge,
    /// Editors in documents now.
    pub active_sessions: Gauge,
    /// Editors that joined a document.
    pub joins: Counter,
    /// Editors that left one.
    pub leaves: Counter,
    /// Handshakes that succeeded.
    pub handshakes: Counter,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Connections that hyper ended because what came was not HTTP it accepts.
    pub connection_errors: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// First digits of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) static METADATA: Metadata<'static> = Metadata::new("gateway", Level::INFO, None);

impl Metrics {
    /// Makes every series. Nothing is installed globally: two gateways in one test do not count together.
    pub fn new() -> Self {
        let recorder = recorder();
        let handle = recorder.handle();
        let counter = |name: &'static str, help: &'static str, labels: &[(&'static str, &'static str)]| {
            recorder.describe_counter(name.into(), None, help.into());
            let counter = recorder.register_counter(&key(name, labels), &METADATA);
            counter.absolute(0);
            counter
        };
        let gauge = |name: &'static str, help: &'static str| {
            recorder.describe_gauge(name.into(), None, help.into());
            let gauge = recorder.register_gauge(&key(name, &[]), &METADATA);
            gauge.set(0.0);
            gauge
        };
        let requests = Route::all()
            .map(|route| {
                CLASSES.map(|code| {
                    let labels = [("route", route.name()), ("code", code)];
                    counter("gateway_requests_total", "Requests by route and class of status code.", &labels)
                })
            })
            .collect();
        let refusals = REASONS
            .iter()
            .map(|&reason| {
                let labels = [("reason", reason)];
                (reason, counter("gateway_refusals_total", "Requests refused, by Gateway-Refusal.", &labels))
            })
            .collect();
        let of_sockets = ["origin_not_allowed", "origin_missing"];
        let objections = Ground::REASONS.into_iter().chain(of_sockets).map(|reason| {
            let labels = [("reason", reason)];
            (
                reason,
                counter(
                    "gateway_would_refuse_total",
                    "Requests that a watching rule spoke against.",
                    &labels,
                ),
            )
        });
        let tokens = SECRETS.map(|secret| {
            let labels = [("secret", secret)];
            counter("gateway_tokens_total", "Tokens that held, by the secret that signed them.", &labels)
        });
        let saves = SaveMetrics::new(&recorder);
        let assets = AssetMetrics::new(&recorder);
        let session = |event| {
            let help = "Editors that joined or left a document; who returns within 10 s has not left.";
            counter("onlyoffice_session_events_total", help, &[("event", event)])
        };
        Self {
            config: ConfigMetrics::new(&recorder),
            saves,
            assets,
            requests,
            refusals,
            objections: objections.collect(),
            tokens,
            connections: gauge("gateway_connections", "Connections open now."),
            connections_refused: counter("gateway_connections_refused_total", "Connections over a cap.", &[]),
            sockets: gauge("gateway_sockets", "Editor sockets open now."),
            active_sessions: gauge("onlyoffice_active_sessions", "Editors now in documents."),
            joins: session("join"),
            leaves: session("leave"),
            handshakes: counter("gateway_tls_handshakes_total", "TLS handshakes that succeeded.", &[]),
            handshakes_failed: counter(
                "gateway_tls_handshakes_failed_total",
                "TLS handshakes that did not.",
                &[],
            ),
            connection_errors: counter(
                "gateway_connection_errors_total",
                "Connections ended because what came was not acceptable HTTP (431, 414, 400).",
                &[],
            ),
            handle,
        }
    }

    /// A request has been answered.
    pub fn request(&self, route: Route, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1).min(CLASSES.len() - 1);
        if let Some(counter) = self.requests.get(route as usize).and_then(|classes| classes.get(class)) {
            counter.increment(1);
        }
    }

    /// A request has been refused.
    pub fn refusal(&self, reason: &'static str) {
        if let Some((_, counter)) = self.refusals.iter().find(|(known, _)| *known == reason) {
            counter.increment(1);
        }
    }

    /// A rule that only watches has spoken against a request.
    pub fn objection(&self, reason: &'static str) {
        if let Some((_, counter)) = self.objections.iter().find(|(known, _)| *known == reason) {
            counter.increment(1);
        }
    }

    /// A token has held, signed with the secret at this place of `[jwt]`: 0 is the present one.
    pub fn token(&self, secret: usize) {
        if let Some(counter) = self.tokens.get(secret) {
            counter.increment(1);
            self.config.used(secret);
        }
    }

    /// What the probe saw of a server.
    pub fn upstream_up(&self, server: &str, up: bool) {
        self.config.upstream.set(server, f64::from(u8::from(up)));
    }

    /// Sorts samples of histograms in; called every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        self.config.render(&mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
    Key::from_parts(name, labels.iter().map(|(name, value)| Label::new(*name, *value)).collect::<Vec<_>>())
}
