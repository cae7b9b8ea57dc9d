//! Numbers of requests: how many, how long they took, how large they were, how many there are at this moment.
//!
//! Every request changes them, so every core has its own and nobody else writes there: no two cores wait for one line of
//! memory. They are added up when somebody asks.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::latency::microseconds;
use super::page::{Kind, Page};
use crate::rules::route::Route;

/// Bounds in seconds. Few, because every route has them for each class of status code: 41 routes times 5 classes times 11 lines.
const BOUNDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// First digits of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const DIRECTIONS: [&str; 2] = ["in", "out"];
const PROTOCOLS: [&str; 2] = ["http", "websocket"];

/// The numbers of all cores.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    cores: Mutex<Vec<Arc<Numbers>>>,
}

/// Where one core counts. Nobody else does: it cannot be copied, nor shared by threads.
#[derive(Debug)]
pub struct Tally {
    numbers: Arc<Numbers>,
    alone: PhantomData<Cell<()>>,
}

/// What a core has counted.
#[derive(Debug)]
struct Numbers {
    begun: AtomicU64,
    left: AtomicU64,
    /// By [`PROTOCOLS`], then [`DIRECTIONS`].
    bytes: [[AtomicU64; DIRECTIONS.len()]; PROTOCOLS.len()],
    /// By [`Route`], then [`CLASSES`].
    routes: Vec<[Durations; CLASSES.len()]>,
}

#[derive(Debug, Default)]
struct Durations {
    /// Each counts what is above the bound below it; the last is for what is above all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Of all samples: nanoseconds would be used up by 5,000 open sockets within six weeks.
    microseconds: AtomicU64,
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

/// For the one that writes: no other's addition can come between.
fn add(to: &AtomicU64, more: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Tally {
    /// A head has been read.
    pub fn begun(&self) {
        add(&self.numbers.begun, 1);
    }

    /// It is answered, or has become a socket.
    pub fn left(&self) {
        add(&self.numbers.left, 1);
    }

    /// It is over.
    pub fn done(&self, done: &Done) {
        let class = usize::from(done.status / 100).saturating_sub(1).min(CLASSES.len() - 1);
        if let Some(classes) = self.numbers.routes.get(done.route as usize) {
            classes[class].record(done.took);
        }
        let [received, sent] = &self.numbers.bytes[usize::from(done.socket)];
        add(received, done.bytes_in);
        add(sent, done.bytes_out);
    }
}

impl Durations {
    fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        add(&self.buckets[bucket], 1);
        add(&self.microseconds, microseconds(took));
    }
}

impl RequestMetrics {
    /// A place for a core to count at.
    pub fn tally(&self) -> Tally {
        let numbers = Arc::new(Numbers {
            begun: AtomicU64::new(0),
            left: AtomicU64::new(0),
            bytes: Default::default(),
            routes: Route::all().map(|_| Default::default()).collect(),
        });
        self.cores.lock().unwrap_or_else(PoisonError::into_inner).push(numbers.clone());
        Tally { numbers, alone: PhantomData }
    }

    /// Requests that have begun and not ended. Cores go on while they are read, so it may be off by what happens meanwhile.
    pub fn in_flight(&self) -> u64 {
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        let left = sum(&cores, |core| &core.left);
        sum(&cores, |core| &core.begun).saturating_sub(left)
    }

    /// Writes the families of requests.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating")]
    pub(super) fn write(&self, page: &mut Page) {
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        let help =
            "Bytes of bodies, and of editor sockets once they have ended, as clients sent and got them.";
        page.head("gateway_bytes_total", Kind::Counter, help);
        for (at, protocol) in PROTOCOLS.iter().enumerate() {
            for (to, direction) in DIRECTIONS.iter().enumerate() {
                let labels = [("direction", *direction), ("protocol", protocol)];
                page.series("gateway_bytes_total", &labels, sum(&cores, |core| &core.bytes[at][to]) as f64);
            }
        }
        page.end();
        let series: Vec<_> = Route::all()
            .flat_map(|route| CLASSES.iter().enumerate().map(move |(class, code)| (route, class, *code)))
            .map(|(route, class, code)| {
                ([("route", route.name()), ("code", code)], added(&cores, route, class))
            })
            .collect();
        let help =
            "Requests by route and class of status code; 1xx are editor sockets, once they have ended.";
        page.head("gateway_requests_total", Kind::Counter, help);
        for (labels, durations) in &series {
            page.series("gateway_requests_total", labels, durations.0.iter().sum::<u64>() as f64);
        }
        page.end();
        let help =
            "From a request's head to the last byte of its answer; of sockets, how long they were open.";
        page.head("gateway_request_duration_seconds", Kind::Histogram, help);
        for (labels, (buckets, microseconds)) in &series {
            let sum = Duration::from_micros(*microseconds);
            page.histogram("gateway_request_duration_seconds", labels, (&BOUNDS, buckets), sum);
        }
        page.end();
    }
}

/// What all cores have counted of a route and class: by bucket, and the sum in microseconds.
fn added(cores: &[Arc<Numbers>], route: Route, class: usize) -> ([u64; BOUNDS.len() + 1], u64) {
    let (mut buckets, mut microseconds) = ([0_u64; BOUNDS.len() + 1], 0_u64);
    for classes in cores.iter().filter_map(|core| core.routes.get(route as usize)) {
        let durations = &classes[class];
        for (all, one) in buckets.iter_mut().zip(&durations.buckets) {
            *all += one.load(Ordering::Relaxed);
        }
        microseconds = microseconds.saturating_add(durations.microseconds.load(Ordering::Relaxed));
    }
    (buckets, microseconds)
}

fn sum(cores: &[Arc<Numbers>], of: impl Fn(&Numbers) -> &AtomicU64) -> u64 {
    cores.iter().map(|core| of(core).load(Ordering::Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(milliseconds: u64, socket: bool) -> Done {
        let took = Duration::from_millis(milliseconds);
        Done { route: Route::WebApps, status: 204, took, bytes_in: 1, bytes_out: 10, socket }
    }

    #[test]
    fn cores_count_apart_and_are_added_up() {
        let metrics = RequestMetrics::default();
        let cores = [metrics.tally(), metrics.tally()];
        for (core, milliseconds) in [(0, 5), (0, 6), (1, 100), (1, 60_000), (1, 60_001)] {
            cores[core].begun();
            cores[core].done(&done(milliseconds, milliseconds > 60_000));
        }
        cores[1].left();
        assert_eq!(metrics.in_flight(), 4);
        let [gone, _] = cores;
        drop(gone); // what a core has counted stays
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.text();
        let name = "gateway_request_duration_seconds";
        let labels = format!("route=\"{}\",code=\"2xx\"", Route::WebApps.name());
        for line in [
            format!("{name}_bucket{{{labels},le=\"0.005\"}} 1\n"),
            format!("{name}_bucket{{{labels},le=\"0.025\"}} 2\n"),
            format!("{name}_bucket{{{labels},le=\"0.1\"}} 3\n"),
            format!("{name}_bucket{{{labels},le=\"10\"}} 3\n"),
            format!("{name}_bucket{{{labels},le=\"60\"}} 4\n"),
            format!("{name}_bucket{{{labels},le=\"+Inf\"}} 5\n"),
            format!("{name}_sum{{{labels}}} 120.112\n"),
            format!("{name}_count{{{labels}}} 5\n"),
            format!("gateway_requests_total{{{labels}}} 5\n"),
            "gateway_bytes_total{direction=\"out\",protocol=\"http\"} 40\n".into(),
            "gateway_bytes_total{direction=\"in\",protocol=\"websocket\"} 1\n".into(),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    /// Nanoseconds in 64 bits are 584 years, which 5,000 sockets have been open together after six weeks: the sum of a core began
    /// anew, and that of all stood still.
    #[test]
    fn the_sum_holds_years_of_open_sockets() {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let metrics = RequestMetrics::default();
        let cores = [metrics.tally(), metrics.tally()];
        for core in &cores {
            for _ in 0..20 {
                core.done(&Done { status: 101, took: 50 * YEAR, ..done(0, true) });
            }
        }
        let mut page = Page::default();
        metrics.write(&mut page);
        let sum =
            format!("{{route=\"{}\",code=\"1xx\"}} {}\n", Route::WebApps.name(), (2_000 * YEAR).as_secs());
        assert!(page.text().contains(&format!("gateway_request_duration_seconds_sum{sum}")), "{sum}");
    }

    #[test]
    fn there_are_all_series_before_there_is_a_core() {
        let mut page = Page::default();
        RequestMetrics::default().write(&mut page);
        let text = page.text();
        let series = text.lines().filter(|line| line.starts_with("gateway_requests_total{")).count();
        assert_eq!(series, Route::all().count() * CLASSES.len());
        assert!(text.lines().filter(|line| line.starts_with("gateway_")).all(|line| line.ends_with(" 0")));
    }

    #[test]
    fn odd_status_codes_have_a_class() {
        let metrics = RequestMetrics::default();
        let core = metrics.tally();
        for status in [0, 99, 100, 599, 600, u16::MAX] {
            core.done(&Done { status, ..done(1, false) });
        }
        let classes = &core.numbers.routes[Route::WebApps as usize];
        let counted = classes.each_ref().map(|class| class.buckets[0].load(Ordering::Relaxed));
        assert_eq!(counted, [3, 0, 0, 0, 3]);
    }
}
