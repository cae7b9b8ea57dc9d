//! How long something took, counted by whoever it is that took it: gone with its owner, which the library's handles are not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::maker::BUCKETS;

/// A histogram with an owner. Two additions a sample, and no lock.
#[derive(Debug, Default)]
pub struct Latency {
    /// Samples up to each bound, and beyond all of them; not cumulative.
    counts: [AtomicU64; BUCKETS.len() + 1],
    /// In microseconds.
    sum: AtomicU64,
}

/// A duration for adding up, to the nearest: 64 bits of them are 584,000 years. Of nanoseconds they are 584, which 5,000 editors
/// that wait all the time have waited together after six weeks.
pub(super) fn microseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from((time.subsec_nanos() + 500) / 1_000))
}

impl Latency {
    /// It took so long.
    pub fn record(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(microseconds(time), Ordering::Relaxed);
    }

    /// How many samples lie between each bound and the one before, and their sum.
    pub(super) fn counted(&self) -> ([u64; BUCKETS.len() + 1], Duration) {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        (counts, Duration::from_micros(self.sum.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::page::Page;

    #[test]
    fn durations_are_added_up_to_the_nearest_microsecond() {
        for (nanoseconds, expected) in [
            (0, 0),
            (499, 0),
            (500, 1),
            (999_999_499, 999_999),
            (999_999_500, 1_000_000),
            (1 << 40, 1_099_511_628),
        ] {
            assert_eq!(microseconds(Duration::from_nanos(nanoseconds)), expected, "{nanoseconds} ns");
        }
        assert_eq!(microseconds(Duration::MAX), u64::MAX);
        let latency = Latency::default();
        for _ in 0..10 {
            latency.record(Duration::from_secs(100 * 365 * 24 * 60 * 60));
        }
        assert_eq!(latency.counted().1.as_secs(), 1_000 * 365 * 24 * 60 * 60);
    }

    #[test]
    fn samples_fall_up_to_their_bound() {
        let latency = Latency::default();
        for milliseconds in [0, 5, 6, 1000, 299_999, 300_000, 300_001] {
            latency.record(Duration::from_millis(milliseconds));
        }
        let mut page = Page::default();
        page.latencies("a_seconds", "A.", "server", [("x", &latency)]);
        let text = page.text();
        let table = [("0.005", 2), ("0.01", 3), ("0.5", 3), ("1", 4), ("120", 4), ("300", 6), ("+Inf", 7)];
        for (bound, count) in table {
            let line = format!("a_seconds_bucket{{server=\"x\",le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        let end = "a_seconds_sum{server=\"x\"} 901.011\na_seconds_count{server=\"x\"} 7\n\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(text.lines().count(), 2 + BUCKETS.len() + 3 + 1);
    }
}
