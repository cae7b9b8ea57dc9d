//! How long to wait before a delivery is tried again: soon at first, then steadily, for as long as it takes.

/// Pauses grow to this. An integrator that comes back is noticed within it, and one that is down is asked four times a minute.
pub const LONGEST: u64 = 15_000;
/// The first pause.
const FIRST: u64 = 1_000;

/// Milliseconds before the next try after so many that failed. `spread` is any number; a tenth of the pause comes from it, so
/// that saves which failed together are not tried together.
pub fn pause(failed: u32, spread: u64) -> u64 {
    let grown = FIRST.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(LONGEST);
    grown - spread % (grown / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_a_minute_and_stay_there() {
        let pauses: Vec<u64> = (1..8).map(|failed| pause(failed, 0)).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
        assert_eq!(pause(u32::MAX, 0), LONGEST);
        assert_eq!(pause(0, 0), FIRST);
    }

    #[test]
    fn the_spread_takes_less_than_a_tenth() {
        for spread in [1, 7, 99, 12_345, u64::MAX] {
            for failed in 0..40 {
                let (with, without) = (pause(failed, spread), pause(failed, 0));
                assert!(with <= without && with * 10 >= without * 9, "{failed} {spread}");
            }
        }
    }
}
