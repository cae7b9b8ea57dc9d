//! Questions to the running gateway, over its admin listener: does it run, what has it refused, is a previous secret in use.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::Method;

use super::ask::{Missed, Stage, ask};
use super::house::{House, request};
use super::question::{Finding, Question, Verdict};

/// What it says of itself.
pub async fn questions(house: &House) -> Vec<Finding> {
    let (peer, of) = (house.admin(), house.loaded.fixed.admin.to_string());
    let get = |page: &'static str| {
        let mut request = request(Method::GET, page, Vec::new());
        request.headers_mut().insert("host", hyper::header::HeaderValue::from_static("admin"));
        ask(&peer, request)
    };
    let (ready, metrics) = tokio::join!(get("/readyz"), get("/metrics"));
    let metrics = match metrics {
        Ok(answer) if answer.status == 200 => Some(answer.text()),
        _ => None,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let several = house.snapshot().tokens.keys.len() > 1;
    let ready = ready.map(|answer| (answer.status, answer.text()));
    vec![
        Question::Gateway.is(of, runs(ready.as_ref(), metrics.is_some())),
        Question::Refused.is("", refused(metrics.as_deref())),
        Question::Previous.is("", previous(metrics.as_deref(), several, now)),
    ]
}

fn runs(ready: Result<&(u16, String), &Missed>, metrics: bool) -> Verdict {
    match ready {
        Ok((200, _)) if metrics => Verdict::ok("runs, and is ready"),
        Ok((503, why)) if metrics => Verdict::failed(
            format!("runs, but is not ready: {}", crate::cli::token::shown(why)),
            "See document_server; the log says more under upstream_health.",
        ),
        Ok((status, _)) => Verdict::failed(
            format!("something answers with {status} that is no gateway"),
            "server.admin must be a port of its own: what listens there (`ss -ltnp`)?",
        ),
        Err(missed) if missed.stage == Stage::Connect => Verdict::failed(
            "does not run, or with another configuration",
            "Start it (`systemctl start rapidpm-gateway`), and look at `journalctl -u rapidpm-gateway`.",
        ),
        Err(missed) => Verdict::failed(missed.to_string(), "Look at `journalctl -u rapidpm-gateway`."),
    }
}

/// A number of the metrics page: the sum over every series that begins so.
fn sum(metrics: &str, series: &str) -> f64 {
    let of = metrics.lines().filter(|line| line.starts_with(series));
    of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn refused(metrics: Option<&str>) -> Verdict {
    let Some(metrics) = metrics else { return Verdict::skipped("no gateway runs") };
    let number = sum(metrics, "gateway_refusals_total{reason=\"token_signature\",");
    let held = sum(metrics, "gateway_tokens_total{");
    if number == 0.0 {
        return Verdict::ok(format!("{held} tokens held since the start, none had another signature"));
    }
    let seen = format!("{number} tokens were signed with another secret since the start, {held} held");
    let cure = "Check that ONLY_OFFICE_SECRET matches in every application that embeds the editor; the access log names\n\
                the callers (refusal = \"token_signature\"), and `rapidpm-gateway token verify` explains a token.";
    if held == 0.0 { Verdict::failed(seen, cure) } else { Verdict::warning(seen, cure) }
}

fn previous(metrics: Option<&str>, several: bool, now: f64) -> Verdict {
    if !several {
        return Verdict::ok("there is none");
    }
    let Some(metrics) = metrics else { return Verdict::skipped("no gateway runs") };
    let used = "gateway_token_last_used_timestamp_seconds{secret=\"previous-";
    let used = metrics.lines().filter(|line| line.starts_with(used));
    let last = used.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).fold(0.0, f64::max);
    let all = sum(metrics, "gateway_tokens_total{");
    let hours = (now - last) / 3600.0;
    let cure = "Take the old secret out of jwt.previous; unless it is the new one, to which others have yet to move.";
    if last > 0.0 && hours < 24.0 {
        Verdict::ok(format!("yes: a token was signed with one {hours:.1} hours ago; it is still needed"))
    } else if last > 0.0 {
        Verdict::warning(
            format!("no: the last token that was signed with one came {:.0} days ago", hours / 24.0),
            cure,
        )
    } else if all == 0.0 {
        Verdict::ok("no token has come since the start; wait for a day's traffic")
    } else {
        let seen = format!("no: none of {all} tokens since the start was signed with one");
        Verdict::warning(seen, format!("If a whole day has passed since the start: {cure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
gateway_refusals_total{reason=\"token_signature\",carrier=\"body\"} 0
gateway_tokens_total{secret=\"current\"} 7
gateway_tokens_total{secret=\"previous-1\"} 0";

    #[test]
    fn a_gateway_that_runs_is_told_from_one_that_does_not() {
        let away = |stage| Missed { stage, why: "x".into() };
        for (ready, metrics, state) in [
            (Ok((200, "ready".to_owned())), true, "ok"),
            (Ok((503, "no Document Server answers".to_owned())), true, "failed"),
            (Ok((200, String::new())), false, "failed"),
            (Err(away(Stage::Connect)), false, "failed"),
            (Err(away(Stage::Answer)), false, "failed"),
        ] {
            assert_eq!(runs(ready.as_ref(), metrics).state(), state, "{ready:?}");
        }
    }

    #[test]
    fn foreign_signatures_are_a_failure_when_nothing_else_came() {
        let some = PAGE.replace("body\"} 0", "body\"} 3");
        let only = some.replace("} 7", "} 0");
        for (page, state) in [(PAGE, "ok"), (&*some, "warning"), (&*only, "failed")] {
            let verdict = refused(Some(page));
            assert_eq!(verdict.state(), state);
            assert!(verdict.cure().is_none_or(|cure| cure.contains("ONLY_OFFICE_SECRET matches")));
        }
        assert_eq!(refused(None).state(), "skipped");
    }

    #[test]
    fn a_previous_secret_that_nobody_uses_can_go() {
        let now = 1_795_600_000.0;
        let used = |hours: u32| {
            let at = now - f64::from(hours) * 3600.0;
            format!("{PAGE}\ngateway_token_last_used_timestamp_seconds{{secret=\"previous-1\"}} {at}")
        };
        let none = PAGE.replace("} 7", "} 0");
        assert_eq!(previous(Some(PAGE), false, now).state(), "ok");
        assert_eq!(previous(Some(PAGE), true, now).state(), "warning");
        assert_eq!(previous(Some(&none), true, now).state(), "ok");
        assert_eq!(previous(Some(&used(2)), true, now).state(), "ok");
        assert_eq!(previous(Some(&used(50)), true, now).state(), "warning");
        assert_eq!(previous(None, true, now).state(), "skipped");
    }
}
