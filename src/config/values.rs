//! Values of single keys: each knows how it is written and says what is wrong with what it cannot read.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::header::{self, HeaderName};
use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::fault::Report;
use super::read::{Read, Wrong, text};
use super::suggest::nearest;
use super::url;
use crate::live::Mode;
use crate::ops::log;
use crate::relay::{self, Validate};
use crate::rules::token::Algorithm;
use crate::sockets::KeyBinding;
use crate::tls::MinVersion;

/// A value that is written as a string: how it is called, and what makes it of the string.
macro_rules! written_as_text {
    ($type:ty, $one:expr, $many:expr, $parse:expr) => {
        impl Read for $type {
            const ONE: &'static str = $one;
            const MANY: &'static str = $many;

            fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
                text(key, value, report, $parse)
            }
        }
    };
}

/// A value that is one of a few words.
macro_rules! one_of {
    ($type:ty { $first:literal => $first_value:expr, $($word:literal => $value:expr),* $(,)? }) => {
        written_as_text! {
            $type,
            concat!("one of \"", $first, "\"", $(", \"", $word, "\"",)*),
            concat!("a list of \"", $first, "\"", $(", \"", $word, "\"",)*),
            |text| match text {
                $first => Ok($first_value),
                $($word => Ok($value),)*
                _ => Err(not_one_of(text, &[$first, $($word),*])),
            }
        }
    };
}

pub(super) use written_as_text;

fn not_one_of(text: &str, words: &[&str]) -> Wrong {
    let all: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Wrong::meaning(format!("is not one of {}", all.join(", ")), nearest(text, words.iter().copied()))
}

one_of!(Mode { "enforce" => Mode::Enforce, "observe" => Mode::Observe });
one_of!(KeyBinding { "log" => KeyBinding::Log, "enforce" => KeyBinding::Enforce, "off" => KeyBinding::Off });
one_of!(Validate { "reject" => Validate::Reject, "observe" => Validate::Observe, "off" => Validate::Off });
one_of!(MinVersion { "1.2" => MinVersion::Tls12, "1.3" => MinVersion::Tls13 });
one_of!(log::Format { "json" => log::Format::Json, "text" => log::Format::Text });
one_of!(log::Level {
    "error" => log::Level::Error,
    "warn" => log::Level::Warn,
    "info" => log::Level::Info,
    "debug" => log::Level::Debug,
});

written_as_text!(
    Duration,
    "a duration in quotes, such as \"5s\", \"10m\" or \"72h\"",
    "a list of durations, as in [\"5s\", \"10m\"]",
    duration
);

fn duration(text: &str) -> Result<Duration, Wrong> {
    use humantime::DurationError;
    humantime::parse_duration(text.trim()).map_err(|error| match error {
        DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            Wrong::new("has no unit; write it like \"5s\", \"10m\", \"72h\" or \"365d\"")
        }
        DurationError::UnknownUnit { unit, .. } => {
            Wrong::new(format!("has a unit nobody knows, {unit}; units are ms, s, m, h, d"))
        }
        DurationError::NumberOverflow => Wrong::new("is too long to be counted"),
        DurationError::Empty | DurationError::InvalidCharacter(_) | DurationError::NumberExpected(_) => {
            Wrong::new("is no duration; write it like \"5s\", \"10m\", \"72h\" or \"365d\"")
        }
    })
}

/// A duration that can be switched off.
pub struct Sometimes(pub Option<Duration>);

written_as_text!(
    Sometimes,
    "a duration in quotes, such as \"365d\", or \"off\"",
    "a list of durations",
    |text| {
        match text {
            "off" => Ok(Sometimes(None)),
            _ => duration(text).map(|d| Sometimes((!d.is_zero()).then_some(d))),
        }
    }
);

/// A size in bytes.
pub struct Bytes(pub u64);

written_as_text!(
    Bytes,
    "a size in quotes, such as \"100MiB\" or \"10GiB\"",
    "a list of sizes, as in [\"100MiB\"]",
    size
);

/// A size in bytes; 0 when it is off.
pub struct Memory(pub u64);

written_as_text!(
    Memory,
    "a size in quotes, such as \"64MiB\", or \"off\"",
    "a list of sizes, as in [\"64MiB\"]",
    |text| {
        match text {
            "off" => Ok(Memory(0)),
            _ => size(text).map(|Bytes(bytes)| Memory(bytes)),
        }
    }
);

/// Units of sizes; `KB` is what many write for `kB`.
const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

fn size(text: &str) -> Result<Bytes, Wrong> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim_start();
    let Ok(number) = number.parse::<u64>() else {
        return Err(Wrong::new(
            "is no size; write it like \"100MiB\" or \"10GiB\", a whole number with a unit",
        ));
    };
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let why = if unit.is_empty() { "has no unit" } else { "has a unit nobody knows" };
        let meant = UNITS.iter().find(|(name, _)| {
            name.eq_ignore_ascii_case(unit)
                || name.strip_suffix("iB").is_some_and(|n| n.eq_ignore_ascii_case(unit))
        });
        let meant = meant.map(|(name, _)| format!("{number}{name}"));
        return Err(Wrong::meaning(format!("{why}; units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"), meant));
    };
    number.checked_mul(*factor).map(Bytes).ok_or_else(|| Wrong::new("is more than can be counted"))
}

written_as_text!(
    SocketAddr,
    "an address with a port, such as \"127.0.0.1:8080\"",
    "a list of addresses, as in [\"0.0.0.0:443\", \"[::]:443\"]",
    socket_address
);

fn socket_address(text: &str) -> Result<SocketAddr, Wrong> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        // `::1:443` is an address as a whole; whether its end was meant as a port, only its author knows.
        let why = if ip.is_ipv6() && !text.starts_with('[') {
            "has no port, or no brackets as in \"[::1]:443\""
        } else {
            "has no port"
        };
        let meant = ip.is_ipv4().then(|| SocketAddr::new(ip, 443).to_string());
        return Err(Wrong::meaning(why, meant));
    }
    if text.parse::<u16>().is_ok() || text.starts_with([':', '*']) {
        let port = text.trim_start_matches(['*', ':']);
        return Err(Wrong::new(format!(
            "has no address; for all of them write \"0.0.0.0:{port}\" and \"[::]:{port}\""
        )));
    }
    if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(Wrong::new("has no port between 0 and 65535"));
    }
    Err(Wrong::new("is no IP address with a port; names are not looked up here"))
}

written_as_text!(
    IpNet,
    "a network such as \"10.0.0.0/8\" or an address",
    "a list of networks, as in [\"10.0.0.0/8\", \"fd00::/8\"]",
    network
);

fn network(text: &str) -> Result<IpNet, Wrong> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.into());
    }
    let net: IpNet = text.parse().map_err(|_| {
        Wrong::new("is no network; write it like \"10.0.0.0/8\" or \"fd00::/8\", or as an address")
    })?;
    if net != net.trunc() {
        // Somebody meant either the one address or the whole network; guessing would trust the wrong ones.
        return Err(Wrong::meaning("has bits set behind its prefix", Some(net.trunc().to_string())));
    }
    Ok(net)
}

written_as_text!(
    HeaderName,
    "the name of a header, such as \"Authorization\"",
    "a list of header names",
    header_name
);

/// Headers that have a meaning of their own on the way, so that no token can travel in them.
const TAKEN: [HeaderName; 12] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::COOKIE,
    header::ORIGIN,
    header::RANGE,
    header::FORWARDED,
];

fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        let meant = text.trim_end_matches([':', ' ']);
        let meant = (meant != text && HeaderName::from_bytes(meant.as_bytes()).is_ok()).then_some(meant);
        return Err(Wrong::meaning("is no name of a header", meant));
    };
    if TAKEN.contains(&name) || name.as_str().starts_with("x-forwarded-") {
        return Err(Wrong::new("has a meaning of its own in HTTP; a token cannot travel in it"));
    }
    Ok(name)
}

/// What stands before a token in its header.
pub struct Prefix(pub String);

written_as_text!(Prefix, "a string in quotes, such as \"Bearer \"", "a list of prefixes", |text| {
    if text.len() > 64 || text.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
        return Err(Wrong::new("cannot stand in a header: at most 64 visible ASCII characters can"));
    }
    Ok(Prefix(text.to_owned()))
});

written_as_text!(
    Algorithm,
    "one of \"HS256\", \"HS384\", \"HS512\"",
    "a list of \"HS256\", \"HS384\", \"HS512\"",
    |text| Algorithm::from_name(text).ok_or_else(|| no_algorithm(text))
);

fn no_algorithm(text: &str) -> Wrong {
    if text.eq_ignore_ascii_case("none") {
        return Wrong::new("would accept tokens that nobody signed");
    }
    if text.len() == 5 && text.starts_with(['R', 'E', 'P']) {
        return Wrong::new(
            "needs a public key; the Document Server signs with a shared secret (HS256, HS384, HS512)",
        );
    }
    not_one_of(text, &Algorithm::ALL.map(Algorithm::name))
}

/// Name of an integrator: it stands in URLs, logs and metrics.
#[derive(Clone)]
pub struct IntegratorName(pub String);

written_as_text!(IntegratorName, "a name such as \"rapidpm\"", "a list of names", |text| {
    let fits = |text: &str| {
        (1..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if fits(text) {
        return Ok(IntegratorName(text.to_owned()));
    }
    let meant = text.trim().to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let meant = fits(&meant).then_some(meant);
    Err(Wrong::meaning("is not made of a-z, 0-9 and -, 1 to 40 of them (it stands in URLs)", meant))
});

/// A host without a port.
pub struct HostName(pub String);

written_as_text!(
    HostName,
    "a host such as \"files.example.org\"",
    "a list of hosts, as in [\"files.example.org\"]",
    |text| {
        if text.contains("://") {
            return Err(Wrong::new("is a URL; only its host is expected"));
        }
        url::host(text).map(HostName)
    }
);

written_as_text!(String, "a string in quotes", "a list of strings, as in [\"…\", \"…\"]", |text| Ok(
    text.to_owned()
));

/// Where to connect instead of asking DNS.
pub struct Connect(pub relay::Connect);

written_as_text!(
    Connect,
    "an address with a port, such as \"10.0.0.5:443\"",
    "a list of addresses",
    |text| {
        let (host, port) = url::authority(text)?;
        let Some(port) = port else {
            return Err(Wrong::new("has no port"));
        };
        Ok(Connect(match host.parse::<IpAddr>() {
            Ok(ip) => relay::Connect::Address(ip, port),
            Err(_) => relay::Connect::Name(host, port),
        }))
    }
);
