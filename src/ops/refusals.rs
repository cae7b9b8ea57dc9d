//! Numbers of refusals: by reason and by where the token was, since the start and in the last hour.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;

use super::maker::Maker;
use crate::rules::refusal::REASONS;
use crate::rules::table::Carrier;

/// Where tokens are found, by the names that the log has for it; the last stands for none.
const CARRIERS: [&str; 7] = ["header", "authorization", "query", "body", "cmd", "packet", NONE];
const NONE: &str = "none";

/// Handles of refusals.
pub struct Refusals {
    counters: Vec<Vec<(&'static str, Counter)>>,
    hour: Mutex<Hour>,
}

impl Refusals {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let counter = |reason, carrier| {
            let help = "Requests and editor sockets refused, by Gateway-Refusal and where the token was.";
            let labels = [("reason", reason), ("carrier", carrier)];
            (carrier, make.counter("gateway_refusals_total", help, &labels))
        };
        let of = |reason: &'static str| {
            let carriers = if is_about_a_token(reason) { &CARRIERS[..] } else { &[NONE] };
            carriers.iter().map(|carrier| counter(reason, carrier)).collect()
        };
        Self { counters: REASONS.iter().map(|reason| of(reason)).collect(), hour: Mutex::new(Hour::new()) }
    }

    /// A request or a socket was refused.
    pub fn count(&self, reason: &str, carrier: Option<Carrier>) {
        let Some(at) = REASONS.iter().position(|known| *known == reason) else { return };
        let carrier = carrier.map_or(NONE, Carrier::name);
        let counters = self.counters.get(at).into_iter().flatten();
        // Where a reason has no such series, the last one counts: none of them may be lost.
        let mut fitting = counters.filter(|(name, _)| *name == carrier || *name == NONE);
        if let Some((_, counter)) = fitting.next() {
            counter.increment(1);
        }
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).count(at, Instant::now());
    }

    /// Refusals of the last hour by reason, most first; reasons without any are left out.
    pub fn last_hour(&self) -> Vec<(&'static str, u64)> {
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).sums(Instant::now())
    }
}

/// Reasons that a carrier belongs to.
fn is_about_a_token(reason: &str) -> bool {
    (reason.starts_with("token_") && reason != "token_missing")
        || matches!(reason, "class_not_allowed" | "key_mismatch" | "host_not_allowed" | "backend_address")
}

/// Sixty minutes, each with its counts.
struct Hour {
    begun: Instant,
    minutes: [(u64, Vec<u32>); 60],
}

impl Hour {
    fn new() -> Self {
        let minutes = std::array::from_fn(|_| (u64::MAX, Vec::new()));
        Self { begun: Instant::now(), minutes }
    }

    fn minute(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs() / Duration::from_secs(60).as_secs()
    }

    fn count(&mut self, reason: usize, now: Instant) {
        let minute = self.minute(now);
        let (of, counts) = &mut self.minutes[(minute % 60) as usize];
        if *of != minute {
            *of = minute;
            counts.clear();
            counts.resize(REASONS.len(), 0);
        }
        if let Some(count) = counts.get_mut(reason) {
            *count = count.saturating_add(1);
        }
    }

    fn sums(&self, now: Instant) -> Vec<(&'static str, u64)> {
        let minute = self.minute(now);
        let mut sums: Vec<_> = REASONS.iter().map(|reason| (*reason, 0)).collect();
        for (_, counts) in self.minutes.iter().filter(|(of, _)| *of <= minute && minute - of < 60) {
            for ((_, sum), count) in sums.iter_mut().zip(counts) {
                *sum += u64::from(*count);
            }
        }
        sums.retain(|(_, sum)| *sum > 0);
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_forgets_what_is_older() {
        let mut hour = Hour::new();
        let at = |minutes: u64| hour_begun(&hour) + Duration::from_secs(60 * minutes);
        fn hour_begun(hour: &Hour) -> Instant {
            hour.begun
        }
        let (first, later, much_later) = (at(0), at(59), at(60));
        let (a, b) = (REASONS[0], REASONS[1]);
        hour.count(0, first);
        hour.count(1, first);
        hour.count(1, later);
        assert_eq!(hour.sums(later), [(b, 2), (a, 1)]);
        assert_eq!(hour.sums(much_later), [(b, 1)]);
        hour.count(0, much_later); // takes the place of the first minute
        assert_eq!(hour.sums(much_later), [(a, 1), (b, 1)]);
        assert_eq!(hour.sums(much_later + Duration::from_secs(7200)), []);
    }

    #[test]
    fn every_carrier_has_its_series() {
        let carriers = [
            Carrier::Header,
            Carrier::Bearer,
            Carrier::Query,
            Carrier::Body,
            Carrier::CmdDownload,
            Carrier::CmdSession,
            Carrier::Packet,
        ];
        assert!(carriers.iter().all(|carrier| CARRIERS.contains(&carrier.name())));
    }
}
