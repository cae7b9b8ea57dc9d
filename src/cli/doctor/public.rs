//! What the world sees at `public_url`: does the name lead here, is it this gateway that answers, are its links right, and is
//! closed what must be closed. Asked by the public name; where this machine cannot reach that, at its own listener.

use hyper::Method;
use tokio::task::JoinSet;

use super::ask::{Answer, Missed, Peer, Stage, ask, connect, resolve};
use super::house::{House, request};
use super::network;
use super::question::{Finding, Question, Verdict};
use crate::rules::host::PublicUrl;

/// Paths that nobody outside may have, in spellings that get past careless rules (protocol.md 0, fact 2).
const CLOSED: [&str; 6] = [
    "/info/config",
    "/INFO/config",
    "//info/config",
    "/%69nfo/config",
    "/9.0.4-doctor/info/config",
    "/internal/connections/edit",
];

/// A page below this is moved to its version, with the server's own address in front.
const MOVED: &str = "/web-apps/apps/documenteditor/main/index.html";

/// Everything that can be seen of one public URL.
pub async fn questions(house: &House, public: &PublicUrl) -> Vec<Finding> {
    let of = House::address(public);
    let outside = Peer {
        tls: Some(public.host().to_owned()),
        any_certificate: true,
        ..Peer::plain(public.host(), public.port())
    };
    let resolved = resolve(public.host(), public.port()).await;
    let mut findings = vec![Question::Dns.is(public.host(), dns(&resolved))];
    let unknown = format!("/{}", house.key);
    let asked = ask(&outside, House::to_public(public, Method::GET, &unknown)).await;
    let configured = house.snapshot().tls.as_ref();
    let configured = configured.and_then(|tls| tls.certificates.chain_for(public.host()).first());
    let same = match (connect(&outside).await, configured) {
        (Ok((_, shown)), Some(own)) => shown.chain.first() == Some(own),
        _ => true,
    };
    findings.push(Question::Public.is(&of, leads_here(&asked, same)));
    let (peer, from) = match (&asked, house.listener(public)) {
        (Err(_), Some(listener)) => (listener, " (asked at the listener)"),
        _ => (outside, ""),
    };
    let (moved, answers) = tokio::join!(
        ask(&peer, House::to_public(public, Method::GET, MOVED)),
        knock_everywhere(&peer, public)
    );
    findings.push(Question::PublicLinks.is(&of, links(&moved, &of)));
    findings.push(Question::Closed.is(format!("{of}{from}"), closed(&answers)));
    findings
}

/// Asks for everything that must be closed, at the same time.
async fn knock_everywhere(peer: &Peer, public: &PublicUrl) -> Vec<(&'static str, Result<Answer, Missed>)> {
    let mut build = House::to_public(public, Method::POST, "/docbuilder");
    *build.body_mut() = request(Method::POST, "/", b"{}".to_vec()).into_body();
    let closed = CLOSED.map(|path| (path, House::to_public(public, Method::GET, path)));
    let mut asked = JoinSet::new();
    for (path, request) in closed.into_iter().chain([("/docbuilder", build)]) {
        let peer = peer.clone();
        asked.spawn(async move { (path, ask(&peer, request).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(path, _)| *path);
    answers
}

fn dns(resolved: &Result<Vec<std::net::SocketAddr>, Missed>) -> Verdict {
    let addresses = match resolved {
        Ok(addresses) => addresses,
        Err(missed) => {
            return Verdict::failed(
                missed.to_string(),
                "Enter an A or AAAA record for it, or correct public_url; users and the Document Server look it up.",
            );
        }
    };
    let own = network::addresses();
    let here = addresses.iter().any(|address| own.contains(&address.ip()) || address.ip().is_loopback());
    let mut shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    shown.dedup();
    let whose = if here { "this machine" } else { "not this machine: NAT or a balancer stands in front" };
    Verdict::ok(format!("leads to {}, {whose}", shown.join(", ")))
}

fn leads_here(asked: &Result<Answer, Missed>, same_certificate: bool) -> Verdict {
    match asked {
        Ok(answer) if answer.field("gateway-refusal").is_some() && same_certificate => {
            Verdict::ok("a gateway answers, with the configured certificate")
        }
        Ok(answer) if answer.field("gateway-refusal") == Some("misdirected_host") => Verdict::failed(
            "the gateway answers 421: no certificate of its has this name",
            "See certificate: `names` of [[tls.certificates]] must hold the host of public_url.",
        ),
        Ok(answer) if answer.field("gateway-refusal").is_some() => Verdict::warning(
            "a gateway answers, but with another certificate than the configured one",
            "Something in front ends TLS; it must pass everything on, WebSockets too, and belongs into server.trusted_proxies.",
        ),
        Ok(answer) => Verdict::failed(
            format!("something else than this gateway answers (status {})", answer.status),
            "Point the name at this machine, or take out the proxy in front that sends requests past the gateway:\n\
             what does not come through the gateway is not checked by it.",
        ),
        Err(missed) if missed.stage == Stage::Name => Verdict::skipped("the name leads nowhere"),
        Err(missed) => Verdict::warning(
            format!("not reached from this machine: {missed}"),
            "Is the gateway running, and does the firewall open its port? With hairpin NAT only others can see it:\n\
             try `curl -v` on another machine.",
        ),
    }
}

fn links(moved: &Result<Answer, Missed>, wanted: &str) -> Verdict {
    let Ok(answer) = moved else { return Verdict::skipped("no gateway is reached") };
    let Some(location) = answer.field("location") else {
        return Verdict::skipped(format!("{MOVED} is answered with {}, without a link", answer.status));
    };
    let location = crate::cli::token::shown(location);
    let below = location.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'));
    if below || location.starts_with('/') {
        return Verdict::ok(format!("lead to {wanted}"));
    }
    Verdict::failed(
        format!("a page is moved to {location}, which is not below {wanted}"),
        "Editors stay empty, with \"mixed content\" in the browser's console. Only public_url decides links:\n\
         correct it and reload, or take out what rewrites headers in front of or behind the gateway.",
    )
}

fn closed(answers: &[(&str, Result<Answer, Missed>)]) -> Verdict {
    let open: Vec<&str> = answers
        .iter()
        .filter(|(_, answer)| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.status < 300 && answer.field("gateway-refusal").is_none())
        })
        .map(|(path, _)| *path)
        .collect();
    if !open.is_empty() {
        return Verdict::failed(
            format!("open to everybody: {}", open.join(" ")),
            "/info/config shows every secret of the Document Server. What answers is not this gateway: a proxy in front sends\n\
             requests past it. Take that out, then change JWT_SECRET and SECURE_LINK_SECRET: they may be known.",
        );
    }
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        return Verdict::skipped("no gateway is reached");
    }
    let by_others: Vec<&str> = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().is_ok_and(|answer| answer.field("gateway-refusal").is_none()))
        .map(|(path, _)| *path)
        .collect();
    if by_others.is_empty() {
        return Verdict::ok(format!("{} spellings are refused by the gateway", answers.len()));
    }
    Verdict::warning(
        format!("refused, but not by this gateway: {}", by_others.join(" ")),
        "Something in front answers for it; see public_url.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, fields: &[(&'static str, &str)]) -> Result<Answer, Missed> {
        let headers =
            fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Ok(Answer { status, headers, body: hyper::body::Bytes::new(), ahead: None })
    }

    fn missed(stage: Stage) -> Result<Answer, Missed> {
        Err(Missed { stage, why: "x".into() })
    }

    #[test]
    fn somebody_else_at_the_public_url_is_seen() {
        let refused = || answer(404, &[("gateway-refusal", "unknown_path")]);
        for (asked, same, state) in [
            (refused(), true, "ok"),
            (refused(), false, "warning"),
            (answer(421, &[("gateway-refusal", "misdirected_host")]), false, "failed"),
            (answer(404, &[]), true, "failed"),
            (missed(Stage::Name), true, "skipped"),
            (missed(Stage::Connect), true, "warning"),
        ] {
            assert_eq!(leads_here(&asked, same).state(), state, "{asked:?}");
        }
    }

    #[test]
    fn links_must_stay_below_the_public_url() {
        let wanted = "https://a.example";
        for (location, state) in [
            ("https://a.example/9.0.4-x/web-apps", "ok"),
            ("/9.0.4-x/web-apps", "ok"),
            ("http://a.example/9.0.4-x/web-apps", "failed"),
            ("https://a.example.evil/x", "failed"),
        ] {
            assert_eq!(links(&answer(302, &[("location", location)]), wanted).state(), state, "{location}");
        }
        assert_eq!(links(&answer(404, &[]), wanted).state(), "skipped");
        assert_eq!(links(&missed(Stage::Tls), wanted).state(), "skipped");
    }

    #[test]
    fn what_is_open_is_named() {
        let refused = || answer(404, &[("gateway-refusal", "closed_path")]);
        let all = |third: Result<Answer, Missed>| [("/a", refused()), ("/b", refused()), ("/c", third)];
        assert_eq!(closed(&all(refused())).state(), "ok");
        assert_eq!(closed(&all(answer(403, &[]))).state(), "warning");
        assert!(closed(&all(answer(200, &[]))).seen().contains("/c"));
        assert_eq!(closed(&all(answer(200, &[]))).state(), "failed");
        assert_eq!(closed(&all(answer(200, &[("gateway-refusal", "token_missing")]))).state(), "ok");
        assert_eq!(closed(&[("/a", missed(Stage::Connect))]).state(), "skipped");
    }

    #[test]
    fn a_name_without_an_address_is_a_failure() {
        assert_eq!(dns(&Err(Missed { stage: Stage::Name, why: "x".into() })).state(), "failed");
        assert!(dns(&Ok(vec!["127.0.0.1:1".parse().unwrap()])).seen().contains("this machine"));
    }
}
