//! One clock that a test can set, because captured tokens are only valid at the time of their capture.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What time it is; every token, link and date of a stand-in is made and judged with it.
pub type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock of the machine.
pub fn system() -> Now {
    Arc::new(SystemTime::now)
}

/// A clock that stands still at `seconds` after 1970.
pub fn fixed(seconds: u64) -> Now {
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Seconds since 1970.
pub(crate) fn seconds(now: &Now) -> u64 {
    now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Milliseconds since 1970.
pub(crate) fn millis(now: &Now) -> u64 {
    u64::try_from(now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// `2026-11-22T04:07:11.000Z`, and with `plain` as `2026-11-22 04:07:11`, the two forms that callbacks use.
pub(crate) fn stamp(millis: u64, plain: bool) -> String {
    let seconds = millis / 1000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if plain {
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    } else {
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
    }
}

/// `Sun, 22 Nov 2026 04:00:28 GMT`, for `Last-Modified` and `Expires`.
pub(crate) fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let name = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Year, month and day of a number of days after 1970-01-01, counted in 400-year eras that start in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_captures() {
        assert_eq!(stamp(1_795_320_021_000, false), "2026-11-22T04:00:21.000Z");
        assert_eq!(stamp(1_795_320_021_000, true), "2026-11-22 04:00:21");
        assert_eq!(http_date(1_795_320_021), "Sun, 22 Nov 2026 04:00:21 GMT");
    }
}
