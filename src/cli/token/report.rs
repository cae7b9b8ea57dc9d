//! An explanation in print: for people as a few aligned lines, for programs as one JSON object.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::explain::{Explanation, LONGEST_IN_HEADER, Says};
use super::found::Lost;
use super::guess::Signer;
use super::openings::Opening;
use super::{shown, times};
use crate::rules::class::Class;
use crate::rules::objection::Objection;
use crate::rules::token::{Algorithm, TokenFault};

/// What to do about a token that does not count.
pub const fn cure(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Missing => "sign the request; look at [jwt] header and prefix",
        TokenFault::Ambiguous => "send one token, in one place, and no claim of the name `__proto__`",
        TokenFault::Malformed => {
            "three parts of letters, digits, - and _ with two dots between; was it cut off, or broken by a line end?"
        }
        TokenFault::TooLarge => "put less into it",
        TokenFault::Algorithm => "sign with an allowed one, or name it in [jwt] algorithms",
        TokenFault::Critical => "sign without `crit`",
        TokenFault::Signature => {
            "make ONLY_OFFICE_SECRET and JWT_SECRET the same everywhere, or name the older secret in [jwt] previous"
        }
        TokenFault::BadTime => "exp and nbf are numbers of seconds since 1970, without quotes",
        TokenFault::Expired { .. } => "compare the clocks of both machines; sign anew, or for longer",
        TokenFault::NotYet { .. } => {
            "compare the clocks of both machines; sign with an earlier nbf, or with none"
        }
    }
}

impl Signer {
    fn words(self) -> String {
        match self {
            Self::Known(0) => "made with the current secret".to_owned(),
            Self::Known(index) => {
                format!("made with previous[{}]: the signer still uses an older secret", index - 1)
            }
            Self::Nearly(how) => format!("made with a spoilt copy of the current secret: {how}"),
            Self::Unknown => "made with none of the secrets, or altered afterwards".to_owned(),
        }
    }

    fn name(self) -> Value {
        match self {
            Self::Known(0) => "current".into(),
            Self::Known(index) => format!("previous[{}]", index - 1).into(),
            Self::Nearly(_) | Self::Unknown => Value::Null,
        }
    }

    const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Nearly(how) => Some(how),
            Self::Known(_) | Self::Unknown => None,
        }
    }
}

/// Lines of `name   words`.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, words: &str) {
        self.0.push_str(&format!("{name:<11} {words}\n"));
    }
}

/// For people.
pub fn text(explained: &Explanation, now: SystemTime, leeway: Duration, claims: bool) -> String {
    let mut lines = Lines(String::new());
    match explained.fault {
        None => lines.add("valid", &explained.class_words()),
        Some(fault) => {
            lines.add("not valid", &format!("{}: {fault}", fault.reason()));
            lines.add("cure", cure(fault));
        }
    }
    lines.add("found", &format!("{}, {} characters", explained.from, explained.length));
    if let Some(note) = &explained.note {
        lines.add("", note);
    }
    lines.add("signature", &signature(explained));
    lines.add("algorithm", &algorithm(explained));
    match &explained.says {
        Some(says) => says_lines(says, explained, now, leeway, claims, &mut lines),
        None => lines.add("claims", "cannot be read"),
    }
    opening_lines(explained, &mut lines);
    lines.0.truncate(lines.0.trim_end().len());
    lines.0
}

fn says_lines(
    says: &Says,
    explained: &Explanation,
    now: SystemTime,
    leeway: Duration,
    claims: bool,
    lines: &mut Lines,
) {
    for stamp in &says.times {
        lines.add(stamp.name, &stamp.words(now, leeway));
    }
    let clock = times::utc(times::since_1970(now));
    lines.add("clock", &format!("{clock}, leeway {}", times::short(leeway.as_secs_f64())));
    if explained.fault.is_some() {
        // What nobody signed is not said to be true.
        lines.add("class", &format!("says to be {}", explained.class_words()));
    }
    lines.add("form", &form(says, explained.length));
    lines.add("key", &says.key.as_deref().map_or_else(|| "none".to_owned(), shown));
    if says.hosts.is_empty() {
        lines.add("hosts", "none");
    }
    for (at, (claim, host)) in says.hosts.iter().enumerate() {
        lines.add(if at == 0 { "hosts" } else { "" }, &format!("{host} ({claim})"));
    }
    lines.add("claims", &says.names.join(" "));
    if claims {
        lines.add("", &escaped(&says.claims));
    }
}

fn signature(explained: &Explanation) -> String {
    let unread = matches!(
        explained.fault,
        Some(TokenFault::Malformed | TokenFault::TooLarge | TokenFault::Missing | TokenFault::Ambiguous)
    );
    match explained.signer {
        Signer::Unknown if unread => "not looked at".to_owned(),
        signer => signer.words(),
    }
}

fn algorithm(explained: &Explanation) -> String {
    let allowed: Vec<&str> = explained.allowed.iter().map(|algorithm| algorithm.name()).collect();
    match &explained.algorithm {
        None => "none is named".to_owned(),
        Some(name) if allowed.contains(&name.as_str()) => format!("{name}, allowed"),
        Some(name) => {
            let known =
                if Algorithm::from_name(name).is_some() { "" } else { ", which is none of a shared secret" };
            format!("{name}{known}; allowed: {}", allowed.join(", "))
        }
    }
}

fn form(says: &Says, length: usize) -> String {
    let form = if says.wrapped {
        "under `payload`, as applications sign what goes into headers; editors' routes read flat ones only"
    } else {
        "flat"
    };
    match length > LONGEST_IN_HEADER {
        true => format!(
            "{form}; too long for a header (over {LONGEST_IN_HEADER} characters): send it in the body"
        ),
        false => form.to_owned(),
    }
}

/// Routes with the same answer in all their carriers, on one line each.
fn opening_lines(explained: &Explanation, lines: &mut Lines) {
    let (open, refused): (Vec<_>, Vec<_>) =
        explained.openings.iter().partition(|opening| opening.answer.is_ok());
    let elsewhere = explained.elsewhere().map(str::to_owned);
    let mut name = "opens";
    for words in grouped(&open).into_iter().chain(elsewhere) {
        lines.add(name, words.trim_end());
        name = "";
    }
    if name == "opens" {
        lines.add(name, "no route");
    }
    // One reason for all of them stands above already.
    if explained.fault.is_some() {
        return;
    }
    let mut name = "refused";
    for words in grouped(&refused) {
        lines.add(name, &words);
        name = "";
    }
}

fn grouped(openings: &[&Opening]) -> Vec<String> {
    let mut rows: Vec<(&Opening, Vec<&str>, String)> = Vec::new();
    for opening in openings {
        let why = why(opening);
        let carrier = opening.carrier.map(|carrier| carrier.name());
        match rows.iter_mut().find(|(row, _, same)| row.route == opening.route && *same == why) {
            Some((_, carriers, _)) => carriers.extend(carrier),
            None => rows.push((opening, carrier.into_iter().collect(), why)),
        }
    }
    let row = |(opening, carriers, why): (&Opening, Vec<&str>, String)| {
        let method = opening.sample.method.as_str();
        let path = shown(&opening.sample.path);
        format!("{method:<4} {path:<33} {:<20}  {why}", carriers.join(", "))
    };
    rows.into_iter().map(row).collect()
}

/// What speaks against a token on a route. Sentences name the carrier, which stands beside them; here it is left out.
fn why(opening: &Opening) -> String {
    let carrier = opening.carrier.map(|carrier| carrier.name()).unwrap_or_default();
    let plain = |sentence: String| sentence.replace(&format!(" (found in: {carrier})"), "");
    match &opening.answer {
        Ok(objections) => {
            let words =
                objections.iter().map(|o| format!("logged as {}: {}", o.reason(), plain(o.to_string())));
            words.collect::<Vec<_>>().join("; ")
        }
        Err(refusal) => format!("{}: {}", refusal.reason(), plain(refusal.to_string())),
    }
}

/// For programs.
pub fn json(explained: &Explanation, now: SystemTime, leeway: Duration, claims: bool) -> Value {
    let mut object = json!({
        "valid": explained.fault.is_none(),
        "reason": explained.fault.map(TokenFault::reason),
        "detail": explained.fault.map(|fault| fault.to_string()),
        "cure": explained.fault.map(cure),
        "found": explained.from,
        "note": explained.note,
        "length": explained.length,
        "signature": {
            "secret": explained.signer.name(),
            "hint": explained.signer.hint(),
        },
        "algorithm": {
            "name": explained.algorithm,
            "allowed": explained.allowed.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(),
        },
        "class": explained.class().map(Class::name),
        "routes": explained.openings.iter().map(opening_json).collect::<Vec<_>>(),
    });
    if let (Some(says), Value::Object(fields)) = (&explained.says, &mut object) {
        let hosts: Vec<Value> =
            says.hosts.iter().map(|(claim, host)| json!({ "claim": claim, "host": host })).collect();
        fields.insert("times".into(), times::to_json(&says.times, now, leeway));
        fields.insert("form".into(), if says.wrapped { "wrapped" } else { "flat" }.into());
        fields.insert("fits_header".into(), (explained.length <= LONGEST_IN_HEADER).into());
        fields.insert("key".into(), says.key.clone().into());
        fields.insert("hosts".into(), hosts.into());
        fields.insert("claims".into(), says.names.clone().into());
        if claims {
            fields.insert("payload".into(), says.claims.clone());
        }
    }
    object
}

fn opening_json(opening: &Opening) -> Value {
    let objections = opening.answer.as_deref().unwrap_or_default();
    let logged: Vec<&str> = objections.iter().map(Objection::reason).collect();
    json!({
        "route": opening.route.name(),
        "method": opening.sample.method.as_str(),
        "path": opening.sample.path,
        "carrier": opening.carrier.map(|carrier| carrier.name()),
        "opens": opening.answer.is_ok(),
        "reason": opening.answer.as_ref().err().map(|refusal| refusal.reason()),
        "detail": opening.answer.as_ref().err().map(ToString::to_string),
        "logged": logged,
    })
}

/// Nothing was found, for people.
pub fn lost(lost: &Lost) -> String {
    let mut lines = Lines(String::new());
    lines.add("not valid", &format!("{}: {}", lost.fault.reason(), lost.fault));
    lines.add("cure", &lost.cure);
    lines.0.truncate(lines.0.trim_end().len());
    lines.0
}

/// Nothing was found, for programs.
pub fn lost_json(lost: &Lost) -> Value {
    json!({ "valid": false, "reason": lost.fault.reason(), "detail": lost.fault.to_string(), "cure": lost.cure })
}

/// JSON whose texts a terminal can take: what is not ASCII or may move a cursor stands as an escape.
fn escaped(claims: &Value) -> String {
    let plain = |c: char| -> String {
        if c.is_control() || super::is_invisible(c) { c.escape_unicode().to_string() } else { c.into() }
    };
    claims.to_string().chars().map(plain).collect()
}
