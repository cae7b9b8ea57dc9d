//! The last hour in minutes, for the status page's charts: who needs more than that has Prometheus. Refusals of the hour are
//! in `refusals`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Minutes that are kept, the present one included.
pub const MINUTES: usize = 60;

/// What happened in a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// The most editors that were seen at once.
    pub editors: usize,
    /// Callbacks that were answered.
    pub callbacks: u32,
    /// Saves that were settled well.
    pub saved: u32,
    /// Saves that were not.
    pub failed: u32,
}

/// The last hour. Each minute is written over after an hour.
#[derive(Debug)]
pub struct History {
    begun: Instant,
    minutes: Mutex<[(u64, Minute); MINUTES]>,
}

impl Default for History {
    fn default() -> Self {
        let minutes = std::array::from_fn(|_| (u64::MAX, Minute::default()));
        Self { begun: Instant::now(), minutes: Mutex::new(minutes) }
    }
}

impl History {
    /// A callback was answered.
    pub fn answered(&self) {
        self.note(Instant::now(), |minute| add(&mut minute.callbacks));
    }

    /// A save was settled.
    pub fn settled(&self, well: bool) {
        self.note(Instant::now(), |minute| add(if well { &mut minute.saved } else { &mut minute.failed }));
    }

    /// So many editors are in documents now.
    pub fn editors(&self, now: usize) {
        self.note(Instant::now(), |minute| minute.editors = minute.editors.max(now));
    }

    /// The minutes, the oldest first; those before the start are empty.
    pub fn minutes(&self) -> Vec<Minute> {
        self.minutes_at(Instant::now())
    }

    fn minutes_at(&self, now: Instant) -> Vec<Minute> {
        let present = self.number(now);
        let kept = self.kept();
        let oldest_first = (0..MINUTES as u64).rev();
        let of = oldest_first.map(|ago| {
            let number = present.checked_sub(ago)?;
            kept.iter().find(|(of, _)| *of == number).map(|(_, minute)| *minute)
        });
        of.map(Option::unwrap_or_default).collect()
    }

    fn note(&self, now: Instant, change: impl FnOnce(&mut Minute)) {
        let number = self.number(now);
        let mut kept = self.kept();
        let Some((of, minute)) = kept.get_mut(usize::try_from(number).unwrap_or(0) % MINUTES) else { return };
        if *of != number {
            (*of, *minute) = (number, Minute::default());
        }
        change(minute);
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs() / Duration::from_secs(60).as_secs()
    }

    fn kept(&self) -> MutexGuard<'_, [(u64, Minute); MINUTES]> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &mut u32) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_kept_for_an_hour() {
        let history = History::default();
        let at = |minute: u64| history.begun + Duration::from_secs(60 * minute + 1);
        let settle = |minute| history.note(at(minute), |minute| add(&mut minute.saved));
        settle(0);
        settle(0);
        for seen in [7, 3] {
            history.note(at(59), |minute| minute.editors = minute.editors.max(seen));
        }
        let hour = history.minutes_at(at(59));
        assert_eq!((hour.len(), hour[0].saved, hour[59].editors, hour[58].editors), (MINUTES, 2, 7, 0));
        assert_eq!(history.minutes_at(at(60))[58].editors, 7);
        settle(60); // in the first one's place
        let hour = history.minutes_at(at(60));
        assert_eq!((hour[0].saved, hour[59].saved), (0, 1));
        assert!(history.minutes_at(at(1_000)).iter().all(|minute| *minute == Minute::default()));
    }
}
