//! An explanation in print: for people as a few aligned lines, for programs as one JSON object.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::explain::{Explanation, LONGEST_IN_HEADER, Says};
use super::found::Lost;
use super::guess::Signer;
use super::openings::Opening;
use super::{shown, times};
use crate::rules::class::Class;
use crate::rules::objection::{Ground, Objection};
use crate::rules::policy::Refusal;
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
    let form =
        if says.wrapped { "under `payload`, as applications sign what goes into headers" } else { "flat" };
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
    for words in grouped(&open, explained).into_iter().chain(elsewhere) {
        lines.add(name, words.trim_end());
        name = "";
    }
    if name == "opens" {
        lines.add(name, "no route");
    } else if !explained.networks.is_empty() {
        lines.add("", &format!("backends' routes answer {} only", explained.networks.join(", ")));
    }
    // One reason for all of them stands above already.
    if explained.fault.is_some() {
        return;
    }
    let mut name = "refused";
    for words in grouped(&refused, explained) {
        lines.add(name, &words);
        name = "";
    }
}

fn grouped(openings: &[&Opening], explained: &Explanation) -> Vec<String> {
    let mut rows: Vec<(&Opening, Vec<&str>, String)> = Vec::new();
    for opening in openings {
        let why = why(opening, explained);
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

/// What speaks against a token on a route.
fn why(opening: &Opening, explained: &Explanation) -> String {
    match &opening.answer {
        Ok(objections) => {
            let words =
                objections.iter().map(|o| format!("logged as {}: {}", o.reason(), short(o, explained)));
            words.collect::<Vec<_>>().join("; ")
        }
        Err(Refusal::Objected(objection)) => {
            format!("{}: {}", objection.reason(), short(objection, explained))
        }
        Err(refusal) => format!("{}: {refusal}", refusal.reason()),
    }
}

/// An objection without what stands in the lines around it: class and carrier.
fn short(objection: &Objection, explained: &Explanation) -> String {
    let Ground::Class { takes } = objection.ground else {
        return objection.to_string().replace(&format!(" (found in: {})", objection.carrier.name()), "");
    };
    let takes: Vec<&str> = takes.iter().map(|class| class.name()).collect();
    let read = match explained.class() {
        Some(class) if class != objection.class => {
            format!(", and does not look under `payload`: class {} here", objection.class.name())
        }
        _ => String::new(),
    };
    format!("takes {}{read}", takes.join(" or "))
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
        "backend_networks": explained.networks,
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
    lines.add("not valid", &format!("{}: {}", lost.fault.reason(), lost.words));
    lines.add("cure", &lost.cure);
    lines.0.truncate(lines.0.trim_end().len());
    lines.0
}

/// Nothing was found, for programs.
pub fn lost_json(lost: &Lost) -> Value {
    json!({ "valid": false, "reason": lost.fault.reason(), "detail": lost.words, "cure": lost.cure })
}

/// JSON whose texts a terminal can take: what is not ASCII or may move a cursor stands as an escape.
fn escaped(claims: &Value) -> String {
    let plain = |c: char| -> String {
        if c.is_control() || super::is_invisible(c) { c.escape_unicode().to_string() } else { c.into() }
    };
    claims.to_string().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::Known;
    use super::super::explain::explain;
    use super::super::found::{self, Found};
    use super::super::guess::tests::{NOW, SECRET, at, known, sign, sign_as};
    use super::*;
    use crate::rules::token::VerifyingKey;
    use crate::secret::Secret;

    const LEEWAY: Duration = Duration::from_secs(60);

    fn explained(token: &str, known: &mut Known) -> Explanation {
        let found = Found { token: token.to_owned(), from: "a test".to_owned(), note: None };
        explain(&found, known, at(NOW))
    }

    fn printed(token: &str) -> String {
        text(&explained(token, &mut known()), at(NOW), LEEWAY, false)
    }

    #[test]
    fn every_fault_has_the_words_of_the_log_and_a_cure() {
        let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let crit = format!("{}.{}.AA", b64(r#"{"alg":"HS256","crit":["x"]}"#), b64("{}"));
        let none = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64("{}"));
        let table = [
            (sign(&json!({"exp": NOW - 500})), "token_expired: the token expired 500 s ago", "8m20s ago"),
            (
                sign(&json!({"nbf": NOW + 500})),
                "token_not_yet: the token is not valid for another 500 s",
                "in 8m20s",
            ),
            (
                sign(&json!({"exp": "soon"})),
                "token_bad_time: the token's exp or nbf is not a number",
                "is no number",
            ),
            (
                sign_as(&json!({}), b"nobody's"),
                "token_signature: the token was signed with another secret",
                "none of the secrets",
            ),
            (
                none,
                "token_algorithm: the token names an algorithm",
                "none, which is none of a shared secret; allowed: HS256",
            ),
            (crit, "token_critical: the token demands an extension", "HS256, allowed"),
            ("a.b.c".to_owned(), "token_malformed: the token is not three parts", "not looked at"),
            ("a".repeat(70_000), "token_too_large: the token is longer than 64 KiB", "70000 characters"),
            (sign(&json!({"__proto__": {}})), "token_ambiguous: ", "made with the current secret"),
        ];
        let mut seen = BTreeMap::new();
        for (token, words, more) in table {
            let text = printed(&token);
            assert!(text.starts_with(&format!("not valid   {words}")), "{text}");
            assert!(
                text.contains(more)
                    && text.contains("\ncure        ")
                    && text.contains("opens       no route"),
                "{text}"
            );
            seen.insert(words.split(':').next().unwrap().to_owned(), ());
        }
        let lost_words = lost(&found::find("", &known()).unwrap_err());
        assert!(
            lost_words.starts_with("not valid   token_missing: the request carries no token"),
            "{lost_words}"
        );
        seen.insert("token_missing".to_owned(), ());
        let listed = crate::rules::refusal::REASONS.iter().filter(|reason| reason.starts_with("token_"));
        for reason in listed {
            assert!(seen.contains_key(*reason), "{reason} is explained nowhere");
        }
    }

    #[test]
    fn the_secret_that_signed_is_named() {
        let mut two = known();
        two.tokens.keys.push(VerifyingKey::new(&Secret::new(b"an older one".to_vec())));
        for (token, words, secret) in [
            (sign(&json!({})), "made with the current secret", json!("current")),
            (
                sign_as(&json!({}), b"an older one"),
                "made with previous[0]: the signer still uses",
                json!("previous[0]"),
            ),
            (sign_as(&json!({}), format!("{SECRET}\n").as_bytes()), "ends with a line break", Value::Null),
        ] {
            let explained = explained(&token, &mut two);
            let text = text(&explained, at(NOW), LEEWAY, false);
            assert!(text.contains(words), "{text}");
            assert_eq!(json(&explained, at(NOW), LEEWAY, false)["signature"]["secret"], secret);
        }
    }

    #[test]
    fn values_and_queries_stay_where_they_are() {
        let claims = json!({
            "document": {"key": "k1", "url": "https://ann:pw@a.example/x?token=hidden", "title": "Payroll"},
            "editorConfig": {"user": {"name": "Ann"}, "callbackUrl": "https://b.example:8443/cb?secret=hidden"},
            "evil\u{1b}[2J": 1,
        });
        let explained = explained(&sign(&claims), &mut known());
        let text = text(&explained, at(NOW), LEEWAY, false);
        let json = json(&explained, at(NOW), LEEWAY, false);
        for hidden in ["hidden", "Payroll", "Ann", "pw", "\u{1b}"] {
            assert!(!text.contains(hidden) && !json.to_string().contains(hidden), "{hidden}\n{text}");
        }
        assert!(text.contains("b.example:8443 (editorConfig.callbackUrl)"), "{text}");
        assert!(text.contains("no plain http or https URL (document.url)"), "{text}");
        assert!(text.contains("editorConfig{callbackUrl,user{name}}"), "{text}");
        let all = super::text(&explained, at(NOW), LEEWAY, true);
        assert!(all.contains("Payroll") && !all.contains('\u{1b}'), "{all}");
        assert_eq!(super::json(&explained, at(NOW), LEEWAY, true)["payload"], claims);
    }

    #[test]
    fn routes_are_those_of_the_rules() {
        let wrapped = sign(
            &json!({"payload": {"document": {"key": "k"}, "editorConfig": {"ds_sessionTimeConnect": 1}}}),
        );
        let text = printed(&wrapped);
        assert!(text.contains("valid       class session for document k\n"), "{text}");
        assert!(
            text.contains("POST /upload/k                         authorization, query  class_not_allowed: takes session, and does not look under `payload`: class unknown here"),
            "{text}"
        );
        let explained = explained(&sign(&json!({"c": "version"})), &mut known());
        let json = json(&explained, at(NOW), LEEWAY, false);
        let open: Vec<String> = json["routes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["opens"] == true)
            .map(|row| format!("{} {}", row["route"].as_str().unwrap(), row["carrier"].as_str().unwrap()))
            .collect();
        assert_eq!(
            open,
            ["command_service body", "command_service header", "command body", "command header"]
        );
        let refused =
            json["routes"].as_array().unwrap().iter().find(|row| row["route"] == "converter").unwrap();
        assert_eq!(refused["reason"], "class_not_allowed");
    }

    #[test]
    fn long_tokens_belong_into_bodies() {
        let text = printed(&sign(&json!({"c": "version", "x": "y".repeat(6000)})));
        assert!(text.contains("too long for a header (over 7168 characters): send it in the body"), "{text}");
    }
}
