//! Numbers: every series is made once, at the start, with 0; rooms hold handles, and no label comes from a request.
//!
//! What happened is counted by handles, but for requests, which each core counts for itself (`requests.rs`). What *is*
//! (connections to a server, saves that wait, certificates) is read from its owner when somebody asks: [`super::page`],
//! `admin/scrape`. Nothing is installed globally: two gateways in one test do not count together.

use std::fmt;

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;

use super::assets::AssetMetrics;
use super::configured::{ConfigMetrics, SECRETS};
use super::history::History;
use super::maker::{Maker, recorder};
use super::page::Page;
use super::refusals::Refusals;
use super::requests::RequestMetrics;
use super::saves::SaveMetrics;
use super::sockets::SocketMetrics;
use super::tls::TlsMetrics;
use crate::rules::objection::Ground;

/// Handles of every series.
pub struct Metrics {
    handle: PrometheusHandle,
    objections: Vec<(&'static str, Counter)>,
    tokens: [Counter; SECRETS.len()],
    upstream_faults: [Counter; UpstreamFault::ALL.len()],
    /// The configuration, and what is configured.
    pub config: ConfigMetrics,
    /// Requests.
    pub requests: RequestMetrics,
    /// Refusals.
    pub refusals: Refusals,
    /// TLS.
    pub tls: TlsMetrics,
    /// Editor sockets.
    pub socket: SocketMetrics,
    /// Callbacks and saves.
    pub saves: SaveMetrics,
    /// The editor's files in memory.
    pub assets: AssetMetrics,
    /// The last hour, for people.
    pub history: History,
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
    /// Connections that hyper ended because what came was not HTTP it accepts.
    pub connection_errors: Counter,
    /// Requests to the plain listener that were sent to https.
    pub redirects: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Why a Document Server gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UpstreamFault {
    /// It took no connection for as long as a request waits.
    Unreachable,
    /// It hung up before it answered, or answered in a way that cannot be passed on.
    Broken,
    /// It did not answer in time.
    Silent,
}

impl UpstreamFault {
    const ALL: [Self; 3] = [Self::Unreachable, Self::Broken, Self::Silent];

    const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Silent => "silent",
        }
    }
}

impl Metrics {
    /// Makes every series.
    pub fn new() -> Self {
        let recorder = recorder();
        let make = Maker(&recorder);
        let of_sockets = ["origin_not_allowed", "origin_missing"];
        let objections = Ground::REASONS.into_iter().chain(of_sockets).map(|reason| {
            let help = "Requests and sockets that a watching rule spoke against.";
            (reason, make.counter("gateway_would_refuse_total", help, &[("reason", reason)]))
        });
        let tokens = SECRETS.map(|secret| {
            let help = "Tokens that held, by the secret that signed them.";
            make.counter("gateway_tokens_total", help, &[("secret", secret)])
        });
        let session = |event| {
            let help = "Editors that joined or left a document; who returns within 10 s has not left.";
            make.counter("onlyoffice_session_events_total", help, &[("event", event)])
        };
        let fault = |fault: UpstreamFault| {
            let help = "Requests that a Document Server gave no answer to.";
            make.counter("gateway_upstream_failures_total", help, &[("kind", fault.name())])
        };
        let counter = |name, help| make.counter(name, help, &[]);
        Self {
            config: ConfigMetrics::new(&recorder),
            history: History::default(),
            assets: AssetMetrics::new(&recorder),
            saves: SaveMetrics::new(&recorder),
            requests: RequestMetrics::default(),
            refusals: Refusals::new(&make),
            tls: TlsMetrics::new(&make),
            socket: SocketMetrics::new(&make),
            objections: objections.collect(),
            tokens,
            upstream_faults: UpstreamFault::ALL.map(fault),
            connections: make.gauge("gateway_connections", "Connections open now."),
            connections_refused: counter("gateway_connections_refused_total", "Connections over a cap."),
            sockets: make.gauge("gateway_sockets", "Editor sockets open now."),
            active_sessions: make.gauge("onlyoffice_active_sessions", "Editors now in documents."),
            joins: session("join"),
            leaves: session("leave"),
            connection_errors: counter(
                "gateway_connection_errors_total",
                "Connections ended because what came was not acceptable HTTP (431, 414, 400).",
            ),
            redirects: counter("gateway_redirects_total", "Requests to the plain listener."),
            handle: recorder.handle(),
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

    /// A Document Server gave no answer.
    pub fn upstream_failed(&self, fault: UpstreamFault) {
        self.upstream_faults[fault as usize].increment(1);
    }

    /// Sorts samples of histograms in; called every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// What has been counted, as Prometheus reads it.
    pub fn render(&self) -> String {
        let (mut text, mut page) = (self.handle.render(), Page::default());
        self.config.render(&mut text);
        self.requests.write(&mut page);
        text.push_str(&page.text());
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
