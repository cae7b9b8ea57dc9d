//! A token's times in words: in UTC, and how far away they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// A claim that says when.
#[derive(Debug, PartialEq)]
pub struct Stamp {
    /// The claim's name.
    pub name: &'static str,
    /// What it says.
    pub when: When,
}

/// What a claim about time says.
#[derive(Debug, PartialEq)]
pub enum When {
    /// Nothing.
    Absent,
    /// Something that is no number.
    NoNumber,
    /// Seconds since 1970.
    At(f64),
}

/// The three claims, in the order in which people ask for them.
pub fn stamps(claims: &Value) -> [Stamp; 3] {
    ["exp", "nbf", "iat"].map(|name| {
        let when = match claims.get(name) {
            None => When::Absent,
            Some(value) => value.as_f64().map_or(When::NoNumber, When::At),
        };
        Stamp { name, when }
    })
}

impl Stamp {
    /// `2026-11-22T04:05:21Z, in 4m12s`.
    pub fn words(&self, now: SystemTime, leeway: Duration) -> String {
        let seconds = match self.when {
            When::Absent => return self.absent().to_owned(),
            When::NoNumber => return "is no number".to_owned(),
            When::At(seconds) => seconds,
        };
        let apart = seconds - since_1970(now);
        let far = match apart {
            past if past <= -1.0 => format!("{} ago", short(-past)),
            future if future >= 1.0 => format!("in {}", short(future)),
            _ => "now".to_owned(),
        };
        let within = match self.name {
            "exp" => apart <= 0.0 && -apart < leeway.as_secs_f64(),
            "nbf" => apart > 0.0 && apart <= leeway.as_secs_f64(),
            _ => false,
        };
        let grace = if within { ", within the leeway" } else { "" };
        format!("{}, {far}{grace}", utc(seconds))
    }

    const fn absent(&self) -> &'static str {
        match self.name.as_bytes() {
            b"exp" => "none: the token never expires",
            _ => "none",
        }
    }

    /// The same for programs: `null`, or seconds, UTC and distance.
    pub fn to_json(&self, now: SystemTime) -> Value {
        match self.when {
            When::Absent => Value::Null,
            When::NoNumber => json!({ "fault": "is no number" }),
            When::At(seconds) => {
                let apart = (seconds - since_1970(now)).round();
                json!({ "seconds": whole(seconds), "utc": utc(seconds), "in_seconds": whole(apart) })
            }
        }
    }
}

/// All of them for programs, with the clock they are compared with.
pub fn to_json(stamps: &[Stamp], now: SystemTime, leeway: Duration) -> Value {
    let mut object: Map<String, Value> =
        stamps.iter().map(|stamp| (stamp.name.to_owned(), stamp.to_json(now))).collect();
    object.insert("now".into(), utc(since_1970(now)).into());
    object.insert("leeway_seconds".into(), leeway.as_secs().into());
    Value::Object(object)
}

/// Without `.0` where there is no fraction.
fn whole(number: f64) -> Value {
    /// Up to here every whole number has a place of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT { (number as i64).into() } else { number.into() }
}

/// Whole seconds, as the rules count them.
pub fn since_1970(now: SystemTime) -> f64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64
}

/// In UTC, or the bare number where no calendar has it.
pub fn utc(seconds: f64) -> String {
    /// The end of the year 9999, where RFC 3339 ends.
    const LAST: f64 = 253_402_300_799.0;
    match Duration::try_from_secs_f64(seconds) {
        Ok(since) if seconds <= LAST => humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string(),
        _ => format!("{seconds:e} s since 1970"),
    }
}

/// The two largest units: `4m12s`, `29d23h`.
pub fn short(seconds: f64) -> String {
    const UNITS: [(&str, u64); 5] = [("y", 31_557_600), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let Ok(whole) = Duration::try_from_secs_f64(seconds) else { return "ages".to_owned() };
    let mut rest = whole.as_secs();
    let mut words = String::new();
    for (at, (name, unit)) in UNITS.iter().enumerate() {
        if rest < *unit {
            continue;
        }
        words.push_str(&format!("{}{name}", rest / unit));
        rest %= unit;
        if let Some((name, unit)) = UNITS.get(at + 1).filter(|(_, unit)| rest >= *unit) {
            words.push_str(&format!("{}{name}", rest / unit));
        }
        return words;
    }
    "0s".to_owned()
}

/// `--at`: RFC 3339, or seconds since 1970.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or_else(|| "that many seconds no clock has".to_owned());
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write it as 2026-11-22T04:00:21Z, or as seconds since 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_320_021;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    #[test]
    fn times_in_words() {
        let leeway = Duration::from_secs(60);
        let table = [
            (json!({}), "none: the token never expires", "none", "none"),
            (
                json!({"exp": NOW + 252, "nbf": NOW + 60, "iat": NOW - 8}),
                "2026-11-22T04:04:33Z, in 4m12s",
                "2026-11-22T04:01:21Z, in 1m, within the leeway",
                "2026-11-22T04:00:13Z, 8s ago",
            ),
            (
                json!({"exp": NOW - 59, "nbf": NOW + 61, "iat": "x"}),
                "2026-11-22T03:59:22Z, 59s ago, within the leeway",
                "2026-11-22T04:01:22Z, in 1m1s",
                "is no number",
            ),
            (
                json!({"exp": NOW - 60, "nbf": NOW - 1, "iat": -1e300}),
                "2026-11-22T03:59:21Z, 1m ago",
                "2026-11-22T04:00:20Z, 1s ago",
                "-1e300 s since 1970, ages ago",
            ),
            (
                json!({"exp": 1e15, "iat": NOW}),
                "1e15 s since 1970, in 31688030y337d",
                "none",
                "2026-11-22T04:00:21Z, now",
            ),
        ];
        for (claims, exp, nbf, iat) in table {
            let words = stamps(&claims).map(|stamp| stamp.words(now(), leeway));
            assert_eq!(words[0], exp, "{claims}");
            assert_eq!(words[1], nbf, "{claims}");
            assert_eq!(words[2], iat, "{claims}");
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let table = [
            (0.0, "0s"),
            (0.9, "0s"),
            (59.0, "59s"),
            (60.0, "1m"),
            (252.0, "4m12s"),
            (3_600.0, "1h"),
            (3_661.0, "1h1m"),
            (2_588_400.0, "29d23h"),
            (31_557_600.0, "1y"),
        ];
        for (seconds, words) in table {
            assert_eq!(short(seconds), words);
        }
    }

    #[test]
    fn a_clock_is_set_in_two_ways() {
        for text in ["1795320021", "2026-11-22T04:00:21Z", "2026-11-22 04:00:21"] {
            assert_eq!(parse(text), Ok(now()), "{text}");
        }
        for text in ["", "tomorrow", "22.11.2026", "-1", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
