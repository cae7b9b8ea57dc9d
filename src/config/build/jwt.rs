//! `[jwt]`: secrets are fetched and judged, and become keys.

use std::ops::Range;
use std::time::Duration;

use hyper::header::AUTHORIZATION;

use super::{Context, Part};
use crate::config::{raw, secret};
use crate::rules::token::{Algorithm, Settings, VerifyingKey};
use crate::secret::Secret;

/// The environment's word for the secret, as RapidPM's backend has it.
const VARIABLE: &str = "ONLY_OFFICE_SECRET";

/// What tokens are checked with, and the present secret; `None` after a fault.
pub fn build(jwt: &Part<raw::Jwt>, context: &mut Context<'_>) -> Option<(Settings, Secret)> {
    let raw = jwt.get_ref();
    let present = present(jwt, context);
    let previous = previous(raw, present.as_ref(), context);
    let algorithms = algorithms(raw, context);
    let leeway = context.duration(
        "jwt.leeway",
        raw.leeway.as_ref(),
        Duration::from_secs(60),
        Duration::ZERO..=Duration::from_secs(300),
        "it is for clocks that differ; the Document Server's own tokens live 5 minutes",
    );
    report_leeway(raw, leeway, context);
    let prefix = context.prefix("jwt.prefix", raw.prefix.as_ref());
    let (present, previous) = (present?, previous?);
    if let (Some(written), Some(algorithms)) = (&raw.algorithms, &algorithms) {
        report_short(algorithms, &present, written.span(), context);
    }
    let settings = Settings {
        keys: std::iter::once(&present).chain(&previous).map(VerifyingKey::new).collect(),
        algorithms: algorithms?,
        leeway,
        header: raw.header.as_ref().map_or(AUTHORIZATION, |header| header.get_ref().clone()),
        prefix: prefix.unwrap_or_else(|| "Bearer ".to_owned()),
    };
    Some((settings, present))
}

fn present(jwt: &Part<raw::Jwt>, context: &mut Context<'_>) -> Option<Secret> {
    let raw = jwt.get_ref();
    let (key, secret, span) = match &raw.secret {
        Some(from) => ("jwt.secret", from.get_ref().fetch("jwt.secret", context)?, from.get_ref().span()),
        None if raw.written.contains(&"secret") => return None,
        None if context.env.get(VARIABLE).is_none() => {
            let message = format!(
                "no secret: the environment has no {VARIABLE}, and `jwt.secret` names no other place; \
                 it is the JWT_SECRET of the Document Server"
            );
            context.report.fault(jwt.span(), message);
            return None;
        }
        None => (VARIABLE, secret::from_env(VARIABLE, VARIABLE, jwt.span(), context)?, jwt.span()),
    };
    secret::judge(key, &secret, span, context.report).then_some(secret)
}

/// Warns about a leeway at which clocks that are as good as clocks are refuse tokens, or at which a token that leaked lives on.
fn report_leeway(raw: &raw::Jwt, leeway: Duration, context: &mut Context<'_>) {
    /// Machines with NTP differ by milliseconds, virtual machines after a pause by seconds.
    const LEAST: Duration = Duration::from_secs(5);
    /// The Document Server's own tokens live five minutes.
    const MOST: Duration = Duration::from_secs(120);
    let Some(written) = &raw.leeway else { return };
    if leeway < LEAST {
        let message =
            "`jwt.leeway` is short: clocks that differ by as much make fresh tokens \"not yet valid\"";
        context.report.warn(written.span(), message);
    } else if leeway > MOST {
        let message =
            "`jwt.leeway` is long: a token that expired stays good for that time; mend the clocks instead";
        context.report.warn(written.span(), message);
    }
}

/// Warns about a secret that is shorter than the hash it is used with (RFC 7518 3.2); 32 bytes are judged elsewhere.
fn report_short(algorithms: &[Algorithm], secret: &Secret, span: Range<usize>, context: &mut Context<'_>) {
    for algorithm in algorithms {
        let enough = match algorithm {
            Algorithm::Hs256 => continue,
            Algorithm::Hs384 => 48,
            Algorithm::Hs512 => 64,
        };
        if (32..enough).contains(&secret.len()) {
            let message = format!(
                "`jwt.algorithms`: {} wants a secret of {enough} bytes or more (RFC 7518 3.2); `jwt.secret` has {}",
                algorithm.name(),
                secret.len()
            );
            context.report.warn(span.clone(), message);
        }
    }
}

fn previous(raw: &raw::Jwt, present: Option<&Secret>, context: &mut Context<'_>) -> Option<Vec<Secret>> {
    /// Every token that fails is checked against each of them; a rotation needs one.
    const MOST: usize = 8;
    let Some(list) = raw.previous.as_ref() else { return Some(Vec::new()) };
    if list.get_ref().len() > MOST {
        let message = format!(
            "`jwt.previous` has more than {MOST} secrets; each costs time on every token that is wrong"
        );
        context.report.fault(list.span(), message);
    }
    let mut all = Vec::new();
    let mut fine = true;
    for from in list.get_ref() {
        let span = from.get_ref().span();
        let Some(secret) = from.get_ref().fetch("jwt.previous", context) else {
            fine = false;
            continue;
        };
        fine &= secret::judge("jwt.previous", &secret, span.clone(), context.report);
        if Some(&secret) == present || all.contains(&secret) {
            context.report.warn(span, "`jwt.previous`: this secret is already there; it changes nothing");
        }
        all.push(secret);
    }
    fine.then_some(all)
}

fn algorithms(raw: &raw::Jwt, context: &mut Context<'_>) -> Option<Vec<Algorithm>> {
    let Some(list) = raw.algorithms.as_ref() else { return Some(vec![Algorithm::Hs256]) };
    if list.get_ref().is_empty() {
        context.report.fault(list.span(), "`jwt.algorithms` is empty; no token would be accepted");
        return None;
    }
    Some(list.get_ref().iter().map(|algorithm| *algorithm.get_ref()).collect())
}
