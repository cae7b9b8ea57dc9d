//! `token sign`: a token for trying a route, the gateway or an application with it.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args};
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

use super::claims::{Kind, Pieces};
use super::curl;
use super::explain::{Explanation, LONGEST_IN_HEADER, explain};
use super::found::Found;
use super::times::{since_1970, utc};
use super::{Known, SecretArgs, Trouble};
use crate::cli::out;
use crate::config::Env;
use crate::rules::token::Algorithm;
use crate::secret::Secret;

/// What `token sign` is told.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["claims", "class"]))]
pub struct SignArgs {
    /// The claims: a file, - for stdin, or the JSON itself
    #[arg(long, value_name = "FILE|-|JSON", conflicts_with = "Pieces")]
    claims: Option<String>,
    /// What the token is for; the flags below fill it
    #[arg(long, value_enum)]
    class: Option<Kind>,
    #[command(flatten)]
    pieces: Pieces,
    /// How long it is valid: 5m, 2h, 30d, or never [default: 5m for backends and callbacks, 1h for what browsers hold]
    #[arg(long, value_name = "DURATION", value_parser = expires)]
    expires: Option<Expires>,
    /// Nest the claims under `payload`, as tokens in headers have it
    #[arg(long)]
    wrap: bool,
    /// HS256, HS384 or HS512 [default: the first of [jwt] algorithms]
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    alg: Option<Algorithm>,
    /// Print a command line that tries it out, instead of the token alone
    #[arg(long)]
    curl: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

/// `--expires`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expires {
    Never,
    After(Duration),
}

fn expires(text: &str) -> Result<Expires, String> {
    if text == "never" {
        return Ok(Expires::Never);
    }
    match humantime::parse_duration(text) {
        Ok(life) if life.as_secs() > 0 => Ok(Expires::After(life)),
        Ok(_) => Err("a token that lives less than a second is of no use".to_owned()),
        Err(_) => Err("write it with a unit: 5m, 2h, 30d, or never".to_owned()),
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(name)
        .ok_or_else(|| format!("one of {}", Algorithm::ALL.map(Algorithm::name).join(", ")))
}

/// Prints a token, and on stderr what it is.
pub fn sign(args: &SignArgs, env: &Env) -> Result<ExitCode, Trouble> {
    let now = SystemTime::now();
    let claims = args.claims(now)?;
    let mut known = args.secret.know(env)?;
    let made = make(args, &mut known, claims, now)?;
    made.notes.iter().for_each(out::complain);
    out::say(&made.line);
    Ok(ExitCode::SUCCESS)
}

/// What goes out.
struct Made {
    /// To stdout.
    line: String,
    /// To stderr.
    notes: Vec<String>,
}

fn make(args: &SignArgs, known: &mut Known, claims: Value, now: SystemTime) -> Result<Made, Trouble> {
    let wrap = args.wrap || args.class == Some(Kind::Download);
    let claims = timed(claims, args.expires, args.class, wrap, now)?;
    let algorithm = args.alg.or(known.tokens.algorithms.first().copied()).unwrap_or(Algorithm::Hs256);
    let token = signed(&claims, algorithm, &known.secret).map_err(Trouble::Failed)?;
    let found = Found { token, from: String::new(), note: None };
    let explained = explain(&found, known, now);
    let notes = notes(args, &explained);
    let line = match args.curl {
        true => curl::line(&found.token, &explained, args.pieces.callback_url.as_deref(), known)
            .map_err(Trouble::Usage)?,
        false => found.token,
    };
    Ok(Made { line, notes })
}

impl SignArgs {
    fn claims(&self, now: SystemTime) -> Result<Value, Trouble> {
        let Some(written) = &self.claims else {
            let kind = self.class.ok_or_else(|| Trouble::usage("either --class or --claims"))?;
            return self.pieces.claims(kind, now).map_err(Trouble::Usage);
        };
        let text = match written.trim_start() {
            "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|e| Trouble::usage(format!("--claims: stdin cannot be read: {e}")))?;
                text
            }
            json if json.starts_with('{') => json.to_owned(),
            file => std::fs::read_to_string(file).map_err(|e| {
                Trouble::usage(format!("--claims: {} cannot be read: {e}", super::shown(file)))
            })?,
        };
        let claims: Value = serde_json::from_str(&text)
            .map_err(|e| Trouble::usage(format!("--claims: this is no JSON: {e}")))?;
        if !claims.is_object() {
            return Err(Trouble::usage("--claims: claims are a JSON object: {…}"));
        }
        Ok(claims)
    }
}

/// Adds `iat` and `exp`. Those that are written in the claims stay, unless `--expires` says otherwise.
fn timed(
    claims: Value,
    expires: Option<Expires>,
    class: Option<Kind>,
    wrap: bool,
    now: SystemTime,
) -> Result<Value, Trouble> {
    let mut claims = match claims.get("payload") {
        Some(_) if wrap => return Err(Trouble::usage("--wrap: these claims have a `payload` already")),
        _ => claims,
    };
    let Value::Object(fields) = &mut claims else { return Ok(claims) };
    let written = ["iat", "nbf", "exp"].map(|name| (name, fields.remove(name)));
    let mut outer = match wrap {
        true => serde_json::Map::from_iter([("payload".to_owned(), claims)]),
        false => std::mem::take(fields),
    };
    let issued = since_1970(now) as u64;
    outer.insert("iat".to_owned(), issued.into());
    for (name, value) in written {
        if let Some(value) = value {
            outer.insert(name.to_owned(), value);
        }
    }
    let life = class.map_or(Duration::from_secs(300), Kind::life);
    match expires {
        Some(Expires::Never) => drop(outer.remove("exp")),
        Some(Expires::After(life)) => {
            outer.insert("exp".to_owned(), issued.saturating_add(life.as_secs()).into());
        }
        None if outer.contains_key("exp") => {}
        None => {
            outer.insert("exp".to_owned(), issued.saturating_add(life.as_secs()).into());
        }
    }
    Ok(Value::Object(outer))
}

/// A token with these claims and nothing else.
pub fn signed(claims: &Value, algorithm: Algorithm, secret: &Secret) -> Result<String, String> {
    let head = json!({ "alg": algorithm.name(), "typ": "JWT" }).to_string();
    let token = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let algorithm = match algorithm {
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
    };
    let signature = crypto::sign(token.as_bytes(), &EncodingKey::from_secret(secret.expose()), algorithm)
        .map_err(|e| format!("the token cannot be signed: {e}"))?;
    Ok(format!("{token}.{signature}"))
}

/// What somebody should know of the token just made.
fn notes(args: &SignArgs, explained: &Explanation) -> Vec<String> {
    let mut notes = Vec::new();
    let form =
        if explained.says.as_ref().is_some_and(|says| says.wrapped) { "under `payload`" } else { "flat" };
    let ends = explained.says.as_ref().and_then(|says| says.claims.get("exp")?.as_f64());
    let ends = ends.map_or_else(|| "never expires".to_owned(), |exp| format!("valid until {}", utc(exp)));
    notes.push(format!("{}, {form}, {ends}", explained.class_words()));
    if let (Some(asked), Some(class)) = (args.class, explained.class())
        && asked.name() != class.name()
    {
        notes.push(format!(
            "asked for class {}, but the gateway takes it for {}",
            asked.name(),
            class.name()
        ));
    }
    if let Some(fault) = explained.fault {
        notes.push(format!("the gateway would refuse it: {}: {fault}", fault.reason()));
    }
    if explained.length > LONGEST_IN_HEADER {
        notes.push(format!("{} characters are too many for a header; send it in the body", explained.length));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::guess::tests::{NOW, at, known};
    use super::*;

    #[test]
    fn lives() {
        assert_eq!(expires("never"), Ok(Expires::Never));
        assert_eq!(expires("5m"), Ok(Expires::After(Duration::from_secs(300))));
        for wrong in ["5", "", "0s", "-5m", "soon"] {
            assert!(expires(wrong).is_err(), "{wrong}");
        }
        assert_eq!(algorithm("HS384"), Ok(Algorithm::Hs384));
        assert!(algorithm("none").unwrap_err().contains("HS256, HS384, HS512"));
    }

    #[test]
    fn times_stand_outside_and_written_ones_stay() {
        let five = Some(Expires::After(Duration::from_secs(60)));
        let table = [
            (json!({"c": "x"}), None, None, false, json!({"c": "x", "iat": NOW, "exp": NOW + 300})),
            (
                json!({"c": "x"}),
                None,
                Some(Kind::Open),
                false,
                json!({"c": "x", "iat": NOW, "exp": NOW + 3600}),
            ),
            (json!({"c": "x"}), Some(Expires::Never), None, false, json!({"c": "x", "iat": NOW})),
            (
                json!({"c": "x"}),
                five,
                None,
                true,
                json!({"payload": {"c": "x"}, "iat": NOW, "exp": NOW + 60}),
            ),
            (json!({"iat": 1, "exp": 2, "nbf": 3}), None, None, false, json!({"iat": 1, "exp": 2, "nbf": 3})),
            (
                json!({"iat": 1, "exp": 2}),
                five,
                None,
                true,
                json!({"payload": {}, "iat": 1, "exp": NOW + 60}),
            ),
            (json!({"exp": 2}), Some(Expires::Never), None, false, json!({"iat": NOW})),
        ];
        for (claims, expires, class, wrap, expected) in table {
            let got = timed(claims.clone(), expires, class, wrap, at(NOW)).unwrap();
            assert_eq!(got, expected, "{claims}");
        }
        assert!(timed(json!({"payload": {}}), None, None, true, at(NOW)).is_err());
    }

    #[test]
    fn what_is_signed_holds_with_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let mut known = known();
            known.tokens.algorithms = vec![algorithm];
            let token = signed(&json!({"c": "version"}), algorithm, &known.secret).unwrap();
            let verified = known.tokens.verify(&token, at(NOW)).unwrap();
            assert_eq!(verified.claims, json!({"c": "version"}));
        }
    }
}
