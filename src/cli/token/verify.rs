//! `token verify`: what the gateway thinks of a token, and why.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use hyper::HeaderMap;

use super::explain::explain;
use super::found::find;
use super::{Known, SecretArgs, Trouble, report, times};
use crate::cli::{FAILED, out};
use crate::config::Env;
use crate::rules::callback::{Callback, CallbackFault};
use crate::rules::carrier::TokenField;
use crate::rules::policy::Refusal;

/// Far more than any token, packet or body with one in it.
const LARGEST: u64 = 4 << 20;

/// What `token verify` is told.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The token, or what holds one: a header line, a JSON body, an address, an editor's packet; else stdin
    #[arg(value_name = "TOKEN|-", allow_hyphen_values = true)]
    token: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Judge as if it were this time: 2026-11-22T04:00:21Z, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<SystemTime>,
    /// Print the claims with their values, too; they may name people and open documents
    #[arg(long)]
    claims: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

/// Explains: 0 for a token that holds, 1 for one that does not.
pub fn verify(args: &VerifyArgs, env: &Env) -> Result<ExitCode, Trouble> {
    let text = args.text()?;
    let mut known = args.secret.know(env)?;
    let now = args.at.unwrap_or_else(SystemTime::now);
    let (valid, words) = match find(&text, &known) {
        Ok(mut found) => {
            let said_twice = in_callback(&text, &known, now).filter(|_| found.note.is_none());
            found.note = said_twice.or(found.note);
            let explained = explain(&found, &mut known, now);
            let words = match args.json {
                true => report::json(&explained, now, known.tokens.leeway, args.claims).to_string(),
                false => report::text(&explained, now, known.tokens.leeway, args.claims),
            };
            (explained.fault.is_none(), words)
        }
        Err(lost) => {
            (false, if args.json { report::lost_json(&lost).to_string() } else { report::lost(&lost) })
        }
    };
    out::say(&words);
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What the gateway would have against the callback that a token came in, beyond the token.
fn in_callback(text: &str, known: &Known, now: SystemTime) -> Option<String> {
    let field = TokenField { name: known.tokens.header.clone(), prefix: known.tokens.prefix.clone() };
    let body = text.trim().as_bytes();
    match Callback::read(body, &HeaderMap::new(), &field, &known.tokens, now) {
        // Only what is a callback by its token gets as far as these.
        Err(Refusal::Callback(fault @ (CallbackFault::Mismatch(_) | CallbackFault::Status))) => {
            Some(format!("the callback would be refused, {}: {fault}", fault.reason()))
        }
        _ => None,
    }
}

impl VerifyArgs {
    fn text(&self) -> Result<String, Trouble> {
        if let Some(text) = self.token.as_deref().filter(|text| *text != "-") {
            return Ok(text.to_owned());
        }
        let stdin = std::io::stdin();
        if self.token.is_none() && stdin.is_terminal() {
            return Err(Trouble::usage("no token; write it behind `token verify`, or pipe it in"));
        }
        let mut bytes = Vec::new();
        stdin
            .lock()
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Trouble::usage(format!("stdin cannot be read: {e}")))?;
        if bytes.len() as u64 > LARGEST {
            return Err(Trouble::usage(format!(
                "more than {} MiB came in; tokens are smaller",
                LARGEST >> 20
            )));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
