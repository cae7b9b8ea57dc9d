//! A line in the making: a buffer for each thread, so that nobody formats while others wait, and the time, of which only the
//! milliseconds differ between most lines.

use std::cell::RefCell;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer buffers are let go: lines are some 500 bytes, and only an event's facts can make one longer than a few KB.
const KEPT: usize = 8 << 10;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    stamp: Stamp,
}

/// Has a line made in an empty buffer, and tells the time of now.
pub(super) fn make<T>(make: impl FnOnce(&mut Vec<u8>, &str) -> T) -> T {
    // Taken out for as long as it is used: there is no borrow that could be met, and a thread that ends has a buffer as well.
    let Scratch { mut line, mut stamp } = SCRATCH.try_with(RefCell::take).unwrap_or_default();
    let made = make(&mut line, stamp.at(SystemTime::now()));
    line.clear();
    line.shrink_to(KEPT);
    SCRATCH.try_with(|kept| kept.replace(Scratch { line, stamp })).ok();
    made
}

/// A time in RFC 3339 with milliseconds, in UTC.
#[derive(Default)]
struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    fn at(&mut self, now: SystemTime) -> &str {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text.clear();
            let second = UNIX_EPOCH + Duration::from_secs(since.as_secs());
            write!(self.text, "{}", humantime::format_rfc3339_seconds(second)).ok(); // none after the year 9999
            self.text.pop(); // `Z`
            self.text.push_str(".123Z");
        }
        let milliseconds = since.subsec_millis();
        self.text.truncate(self.text.len().saturating_sub("123Z".len()));
        for digit in [milliseconds / 100, milliseconds / 10 % 10, milliseconds % 10] {
            self.text.extend(char::from_digit(digit, 10));
        }
        self.text.push('Z');
        &self.text
    }
}

/// Writes a number.
pub(super) fn number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a duration in milliseconds, with hundredths.
pub(super) fn milliseconds(line: &mut Vec<u8>, time: Duration) {
    let hundredths = u64::from(time.subsec_nanos()).saturating_add(5_000) / 10_000;
    let hundredths = time.as_secs().saturating_mul(100_000).saturating_add(hundredths);
    number(line, hundredths / 100);
    line.push(b'.');
    for digit in [hundredths / 10 % 10, hundredths % 10] {
        number(line, digit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_humantime() {
        let mut stamp = Stamp::default();
        for milliseconds in
            [0, 1, 999, 1_000, 1_001, 1_234, 951_868_799_999, 1_795_642_307_050, 253_402_300_799_999]
        {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            let expected = humantime::format_rfc3339_millis(time).to_string();
            assert_eq!(stamp.at(time), expected);
            assert_eq!(stamp.at(time), expected, "a second time");
        }
        assert_eq!(stamp.at(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn durations_have_two_digits() {
        for (nanoseconds, expected) in [
            (0, "0.00"),
            (4_999, "0.00"),
            (5_000, "0.01"),
            (1_500_000, "1.50"),
            (999_995_000, "1000.00"),
            (1_000_000_000, "1000.00"),
            (61_234_567_890, "61234.57"),
        ] {
            let mut line = Vec::new();
            milliseconds(&mut line, Duration::from_nanos(nanoseconds));
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{nanoseconds} ns");
        }
    }

    #[test]
    fn a_line_begins_empty_even_within_another() {
        make(|line, now| {
            line.extend_from_slice(now.as_bytes());
            make(|inner, _| assert!(inner.is_empty()));
            assert_eq!(line.len(), "2026-11-25T01:46:39.123Z".len());
        });
        make(|line, _| assert!(line.is_empty()));
    }
}
