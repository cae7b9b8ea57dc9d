//! Every section with its keys: what a key that does not exist was probably meant to be, and where it belongs.

use std::ops::Range;

use super::fault::Report;
use super::raw;
use super::read::Section;
use super::suggest::nearest;

/// Every section as it is written, with the keys that hold values.
pub const SECTIONS: [(&str, &[&str]); 15] = [
    ("", raw::File::KEYS),
    ("[server]", raw::Server::KEYS),
    ("[tls]", raw::Tls::KEYS),
    ("[[tls.certificates]]", raw::Certificate::KEYS),
    ("[jwt]", raw::Jwt::KEYS),
    ("[document_server]", raw::DocumentServer::KEYS),
    ("[sockets]", raw::Sockets::KEYS),
    ("[[integrators]]", raw::Integrator::KEYS),
    ("[saves]", raw::Saves::KEYS),
    ("[archive]", raw::Archive::KEYS),
    ("[state]", raw::State::KEYS),
    ("[assets]", raw::Assets::KEYS),
    ("[headers]", raw::Headers::KEYS),
    ("[limits]", raw::Limits::KEYS),
    ("[log]", raw::Log::KEYS),
];

/// Words of other programs' configurations for what is called differently here.
const ELSEWHERE: [(&str, &str); 22] = [
    ("listen", "https"),
    ("bind", "https"),
    ("cert", "chain"),
    ("certificate", "chain"),
    ("fullchain", "chain"),
    ("crt", "chain"),
    ("private_key", "key"),
    ("privkey", "key"),
    ("domains", "names"),
    ("server_name", "names"),
    ("hostnames", "names"),
    ("upstream", "servers"),
    ("backend", "servers"),
    ("backends", "servers"),
    ("threads", "workers"),
    ("jwt_secret", "secret"),
    ("algorithm", "algorithms"),
    ("alg", "algorithms"),
    ("healthcheck", "health"),
    ("path", "directory"),
    ("verbosity", "level"),
    ("base_url", "public_url"),
];

/// Reports a key that `title` does not know, with the best idea of what it was meant to be. Returns the key of this
/// section that it was meant to be, if that is clear: so that it is not reported as missing too.
pub fn report_unknown(
    title: &str,
    key: &str,
    span: Range<usize>,
    report: &mut Report,
) -> Option<&'static str> {
    let (here, keys) = SECTIONS
        .into_iter()
        .find(|(written, _)| title == written.trim_matches(['[', ']']))
        .unwrap_or(SECTIONS[0]);
    let what = if here.is_empty() {
        format!("`{key}` is no key or section")
    } else {
        format!("{here} has no key `{key}`")
    };
    // One letter away from a key of this very section is a slip, whatever else bears that name (`server`, `servers`).
    let slip = keys.iter().copied().find(|known| strsim::damerau_levenshtein(key, known) == 1);
    if let Some(meant) = slip {
        report.misspelled(span, what, Some(meant.to_owned()));
        return Some(meant);
    }
    if let Some(elsewhere) = homes(key, here) {
        report.fault(span, format!("{what}; {elsewhere}"));
        return None;
    }
    if let Some(meant) = nearest(key, keys.iter().copied()).or_else(|| translate(key, keys)) {
        report.misspelled(span, what, Some(meant.to_owned()));
        return Some(meant);
    }
    match near_elsewhere(key) {
        Some((section, meant)) => {
            report.fault(span, format!("{what}; did you mean \"{meant}\"? It belongs to {section}"));
        }
        None if here.is_empty() => report.fault(span, what),
        None => report.fault(span, format!("{what}; it knows {}", keys.join(", "))),
    }
    None
}

/// Whether a word is a key of some section, or nearly: what follows it is then what that key holds.
pub fn is_near_key(word: &str) -> bool {
    let last = word.rsplit('.').next().unwrap_or(word);
    nearest(last, SECTIONS.iter().flat_map(|(_, keys)| keys.iter().copied())).is_some()
}

/// Where a key belongs that is written correctly but in the wrong place.
fn homes(key: &str, here: &str) -> Option<String> {
    let homes: Vec<&str> = SECTIONS
        .into_iter()
        .filter(|(section, keys)| *section != here && keys.contains(&key))
        .map(|(section, _)| section)
        .collect();
    match homes.as_slice() {
        [] => None,
        [""] if raw::TABLES.contains(&key) => Some(format!("[{key}] is a section of its own")),
        [""] => Some(format!("`{key}` belongs to the top of the file, before the first [section]")),
        homes => Some(format!("`{key}` belongs to {}", homes.join(" or "))),
    }
}

fn translate(key: &str, keys: &[&'static str]) -> Option<&'static str> {
    let (_, meant) = ELSEWHERE.iter().find(|(word, meant)| *word == key && keys.contains(meant))?;
    Some(meant)
}

fn near_elsewhere(key: &str) -> Option<(&'static str, &'static str)> {
    let all = &SECTIONS[1..]; // without the top of the file: its keys are sections mostly
    let meant = nearest(key, all.iter().flat_map(|(_, keys)| keys.iter().copied()))?;
    let (section, _) = all.iter().find(|(_, keys)| keys.contains(&meant))?;
    Some((section, meant))
}
