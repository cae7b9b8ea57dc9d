//! Numbers of requests: how many, how long they took, how large they were, how many there are at this moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, Label};

use super::maker::Maker;
use crate::rules::route::Route;

/// The name of the requests' durations, which have buckets of their own.
pub(super) const DURATION: &str = "gateway_request_duration_seconds";
/// Few, because every route has them for each class of status code: 41 routes times 5 classes times 11 lines.
pub(super) const BUCKETS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// First digits of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Handles of requests.
pub struct RequestMetrics {
    by_route: Vec<[(Counter, Histogram); CLASSES.len()]>,
    http: [Counter; 2],
    websocket: [Counter; 2],
    in_flight: AtomicU64,
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Where it led.
    pub route: Route,
    /// What it was answered with.
    pub status: u16,
    /// From its head to the last byte of its answer.
    pub took: Duration,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Whether it became an editor socket, whose bytes these are then.
    pub socket: bool,
}

impl RequestMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let of = |route: Route, code| {
            let help =
                "Requests by route and class of status code; 1xx are editor sockets, once they have ended.";
            let labels = [("route", route.name()), ("code", code)];
            let counter = make.counter("gateway_requests_total", help, &labels);
            let help =
                "From a request's head to the last byte of its answer; of sockets, how long they were open.";
            let labels = labels.map(|(name, value)| Label::new(name, value));
            (counter, make.histogram(DURATION, help, labels.into()))
        };
        let bytes = |protocol| {
            ["in", "out"].map(|direction| {
                let help = "Bytes of bodies, and of editor sockets once they have ended, as clients sent and got them.";
                let labels = [("direction", direction), ("protocol", protocol)];
                make.counter("gateway_bytes_total", help, &labels)
            })
        };
        Self {
            by_route: Route::all().map(|route| CLASSES.map(|code| of(route, code))).collect(),
            http: bytes("http"),
            websocket: bytes("websocket"),
            in_flight: AtomicU64::new(0),
        }
    }

    /// A head has been read.
    pub fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// It is answered, or has become a socket.
    pub fn left(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// It is over.
    pub fn done(&self, done: &Done) {
        let class = usize::from(done.status / 100).saturating_sub(1).min(CLASSES.len() - 1);
        if let Some((count, duration)) =
            self.by_route.get(done.route as usize).and_then(|classes| classes.get(class))
        {
            count.increment(1);
            duration.record(done.took);
        }
        let [received, sent] = if done.socket { &self.websocket } else { &self.http };
        // Most requests have no body: a counter that all cores share is not touched for nothing.
        if done.bytes_in > 0 {
            received.increment(done.bytes_in);
        }
        if done.bytes_out > 0 {
            sent.increment(done.bytes_out);
        }
    }
}
