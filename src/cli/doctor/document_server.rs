//! Questions to each Document Server: is it one, is it well, has it our secret, our header, our time, and does it make https links.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::ask::{Answer, Missed, Peer, Stage, ask, ask_for};
use super::house::House;
use super::question::{Finding, Question, Verdict};
use crate::upstream::Address;

/// How long the Document Server may take to fetch and convert a line of text. The real one takes about two seconds.
const CONVERSION: Duration = Duration::from_secs(20);
/// Clocks closer than this need no word; the `Date` has no fractions and the network takes its time.
const SAME: f64 = 5.0;
/// The Document Server's own tolerance (`token.verifyOptions.clockTolerance`).
const TOLERANCE: f64 = 60.0;

/// Everything that can be asked of one server.
pub async fn questions(house: &House, server: &Address) -> Vec<Finding> {
    let (of, peer) = (server.to_string(), Peer::plain(server.host.clone(), server.port));
    let health = ask(&peer, house.to_server(Method::GET, "/healthcheck", Vec::new())).await;
    let mut findings = vec![Question::Server.is(&of, healthy(&of, health.as_ref()))];
    let Ok(health) = health else {
        let why = "the Document Server does not answer";
        let others = [
            Question::Secret,
            Question::Jwt,
            Question::Header,
            Question::Clock,
            Question::Links,
            Question::WayBack,
        ];
        findings.extend(others.map(|question| question.is(&of, Verdict::skipped(why))));
        return findings;
    };
    findings.push(Question::Clock.is(&of, clock("the Document Server", health.ahead)));
    let base = ask(&peer, house.to_server(Method::GET, "/baseurl", Vec::new())).await;
    let wanted = house.public().map(House::address).unwrap_or_default();
    findings.push(Question::Links.is(&of, links(base.as_ref(), &wanted)));
    let ours = Said::of(version(house, &peer, &house.token(&json!({ "c": "version" }))).await);
    let foreign = Said::of(version(house, &peer, &house.foreign_token(&json!({ "c": "version" }))).await);
    findings.push(Question::Secret.is(&of, secret(&ours, &foreign)));
    findings.push(Question::Jwt.is(&of, jwt_on(&foreign)));
    findings.push(Question::Header.is(&of, header(house, &peer, &ours, &foreign).await));
    findings.push(Question::WayBack.is(&of, way_back(house, &peer, &ours).await));
    findings
}

/// What `/healthcheck` says.
fn healthy(server: &str, answer: Result<&Answer, &Missed>) -> Verdict {
    match answer {
        Err(missed) => Verdict::failed(
            missed.to_string(),
            format!(
                "Verify network connectivity to the Document Server: is the container up (`docker ps`, `docker logs`)?\n\
                 Is its port 80 published there (-p {server}:80), and is that what document_server.servers says?"
            ),
        ),
        Ok(answer) if answer.status == 200 && answer.text() == "true" => {
            Verdict::ok("/healthcheck says true")
        }
        Ok(answer) if answer.status == 200 && answer.text() == "false" => Verdict::failed(
            "/healthcheck says false: it runs, but its database, queue or disk does not",
            "Look at `docker exec … supervisorctl status` and /var/log/onlyoffice in the container, and at its free disk space.",
        ),
        Ok(answer) if matches!(answer.status, 502..=504) => Verdict::failed(
            format!("its nginx answers {}: the service behind it is starting, or has ended", answer.status),
            "Wait a minute after a start; then look at `docker exec … supervisorctl status` and the container's log.",
        ),
        Ok(answer) => Verdict::failed(
            format!(
                "something answers /healthcheck with {}, but a Document Server says true or false",
                answer.status
            ),
            format!(
                "document_server.servers must lead to the Document Server itself; what listens at {server} is something else."
            ),
        ),
    }
}

/// How far two clocks are apart.
pub fn clock(whose: &str, ahead: Option<f64>) -> Verdict {
    let Some(ahead) = ahead else { return Verdict::skipped(format!("{whose} sends no Date")) };
    let apart = format!("{:.0} s {}", ahead.abs(), if ahead > 0.0 { "ahead" } else { "behind" });
    let cure = "Let both machines follow the same time servers (`timedatectl`, chrony): tokens are valid for minutes only.";
    if ahead.abs() <= SAME {
        Verdict::ok("agrees with ours")
    } else if ahead.abs() <= TOLERANCE {
        Verdict::warning(format!("{whose} is {apart} of our clock"), cure)
    } else {
        let why = "beyond the 60 s that are tolerated, fresh tokens count as expired or not yet valid";
        Verdict::failed(format!("{whose} is {apart} of our clock: {why}"), cure)
    }
}

/// What the server makes of the forwarded headers.
fn links(answer: Result<&Answer, &Missed>, wanted: &str) -> Verdict {
    let cure = "Something between the gateway and the Document Server changes X-Forwarded-Proto or X-Forwarded-Host:\n\
                let document_server.servers lead straight to the container's port 80, without another proxy.";
    match answer {
        Ok(answer) if answer.status == 200 && answer.text() == wanted => {
            Verdict::ok(format!("/baseurl is {wanted}"))
        }
        Ok(answer) if answer.status == 200 && answer.text().starts_with("http://") => Verdict::failed(
            format!(
                "/baseurl is {}: browsers block such links on an https page (mixed content)",
                shown(answer)
            ),
            cure,
        ),
        Ok(answer) if answer.status == 200 && answer.text().starts_with("https://") => {
            Verdict::failed(format!("/baseurl is {}, but public_url is {wanted}", shown(answer)), cure)
        }
        Ok(answer) => Verdict::skipped(format!("/baseurl answers {}", answer.status)),
        Err(missed) => Verdict::skipped(format!("/baseurl: {missed}")),
    }
}

fn shown(answer: &Answer) -> String {
    crate::cli::token::shown(&answer.text())
}

/// What the command service said to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// It counts; this is the version.
    Version(String),
    /// `error` is this number.
    Error(i64),
    /// Something else, or nothing.
    Else(String),
}

impl Said {
    fn of(answer: Result<Answer, Missed>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(missed) => return Self::Else(missed.to_string()),
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (body["error"].as_i64(), body["version"].as_str()) {
            (Some(0), Some(version)) => Self::Version(crate::cli::token::shown(version)),
            (Some(error), _) => Self::Error(error),
            _ => Self::Else(format!("status {} without JSON", answer.status)),
        }
    }

    /// Whether the signature was accepted; 7 says that only the time was not.
    fn counts(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Error(7))
    }
}

/// A `version` command with its token in the body. The parameters stand beside it for a server that looks at no token.
async fn version(house: &House, peer: &Peer, token: &str) -> Result<Answer, Missed> {
    let body = json!({ "c": "version", "token": token }).to_string();
    ask(peer, house.to_server(Method::POST, "/command", body.into_bytes())).await
}

fn secret(ours: &Said, foreign: &Said) -> Verdict {
    match ours {
        _ if foreign.counts() => Verdict::skipped("it takes any secret, see jwt_on"),
        Said::Version(version) => Verdict::ok(format!("takes our signature; its version is {version}")),
        Said::Error(7) => Verdict::ok("takes our signature, though by its clock the token has expired"),
        Said::Error(6) => Verdict::failed(
            "refuses our signature (error 6): the Document Server has another secret",
            "Check that ONLY_OFFICE_SECRET matches: the same in RapidPM, for the gateway ([jwt] secret) and as JWT_SECRET of the\n\
             container (`docker exec … printenv JWT_SECRET`). A container without JWT_SECRET makes a new one at every start.\n\
             `rapidpm-gateway token verify` tells whether a line break or quotes spoilt a copy.",
        ),
        Said::Error(error) => Verdict::failed(
            format!("the version command is answered with error {error}"),
            "Look at /var/log/onlyoffice/documentserver/docservice in the container.",
        ),
        Said::Else(what) => Verdict::failed(
            format!("the command service does not answer: {what}"),
            "Verify network connectivity to the Document Server; is it one, of version 7 or newer?",
        ),
    }
}

fn jwt_on(foreign: &Said) -> Verdict {
    match foreign {
        Said::Error(6) => Verdict::ok("a token of another secret is refused"),
        said if said.counts() => Verdict::failed(
            "takes a token that was signed with another secret: JWT is switched off in the container",
            "Start the container with JWT_ENABLED=true (the default) and JWT_SECRET; until then whoever reaches it can use it.",
        ),
        other => Verdict::skipped(format!("it said neither yes nor no: {other:?}")),
    }
}

/// Fields and prefixes that integrators and containers are often set to.
const USUAL: [(&str, &str); 4] = [
    ("authorization", "Bearer "),
    ("authorizationjwt", "Bearer "),
    ("authorization", ""),
    ("authorizationjwt", ""),
];

async fn header(house: &House, peer: &Peer, ours: &Said, foreign: &Said) -> Verdict {
    if foreign.counts() || !ours.counts() {
        return Verdict::skipped("cannot be told before secret and jwt_on are right");
    }
    let tokens = &house.snapshot().tokens;
    let own = (tokens.header.as_str(), tokens.prefix.as_str());
    if by_header(house, peer, own).await {
        return Verdict::ok(format!("takes `{}: {}…`", own.0, own.1));
    }
    for other in USUAL {
        if other != own && by_header(house, peer, other).await {
            return wrong_header(own, Some(other));
        }
    }
    wrong_header(own, None)
}

/// Whether a token in this field counts.
async fn by_header(house: &House, peer: &Peer, (name, prefix): (&str, &str)) -> bool {
    let token = house.token(&json!({ "payload": { "c": "version" } }));
    let mut request = house.to_server(Method::POST, "/command", b"{}".to_vec());
    let value = HeaderValue::from_str(&format!("{prefix}{token}"));
    let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) else { return false };
    request.headers_mut().insert(name, value);
    Said::of(ask(peer, request).await).counts()
}

fn wrong_header(own: (&str, &str), takes: Option<(&str, &str)>) -> Verdict {
    let seen = format!("does not find a token in `{}: {}…`, though it takes one in the body", own.0, own.1);
    let cure = match takes {
        Some((name, prefix)) => format!(
            "It takes `{name}: {prefix}…`. Set [jwt] header = \"{name}\" and prefix = \"{prefix}\", or JWT_HEADER of the container to \"{}\".",
            own.0
        ),
        None => "Make [jwt] header and prefix those of the container: JWT_HEADER, and token.inbox.prefix in its local.json.".to_owned(),
    };
    Verdict::failed(seen, cure)
}

/// Whether the server reaches the gateway: it is asked to convert the gateway's own `/robots.txt`. That is one line of text
/// which needs no integrator, changes nothing anywhere, and takes the way of callbacks: name, network, certificate.
async fn way_back(house: &House, peer: &Peer, ours: &Said) -> Verdict {
    let Some(public) = house.public() else { return Verdict::skipped("there is no public_url") };
    let by_hand = by_hand(house);
    if !matches!(ours, Said::Version(_)) {
        return Verdict::skipped(format!(
            "cannot be asked before secret and clock are right; by hand: {by_hand}"
        ));
    }
    let address = House::address(public);
    let claims = json!({
        "async": false, "filetype": "txt", "outputtype": "docx", "key": house.key, "title": "doctor.txt",
        "url": format!("{address}/robots.txt"),
    });
    let mut body = claims.clone(); // for a server that looks at no token
    body["token"] = house.token(&claims).into();
    let body = body.to_string();
    let mut request = house.to_server(Method::POST, "/converter", body.into_bytes());
    request.headers_mut().insert("accept", HeaderValue::from_static("application/json"));
    let verdict = reached(ask_for(peer, request, CONVERSION).await.as_ref(), &address, &by_hand);
    match verdict {
        // That door serves nothing that needs no integrator.
        Verdict::Ok(seen) if !house.loaded.fixed.relay.is_empty() => {
            Verdict::Ok(format!("{seen}; whether it reaches server.relay, too, says {by_hand}"))
        }
        other => other,
    }
}

/// The command that an operator can run where the gateway cannot go.
fn by_hand(house: &House) -> String {
    let public = house.public().map(House::address).unwrap_or_default();
    let relay = house.loaded.fixed.relay.first().map_or(public, |address| format!("http://{address}"));
    let name = house.snapshot().relay.integrators.first().map_or("", |first| first.name.as_str());
    format!("docker exec onlyoffice curl -sv {relay}/relay/{name}/")
}

fn reached(answer: Result<&Answer, &Missed>, address: &str, by_hand: &str) -> Verdict {
    let error = match answer {
        Err(missed) if missed.stage == Stage::Answer => {
            let seen = format!("the Document Server did not finish fetching {address}/robots.txt: {missed}");
            return Verdict::warning(seen, format!("Look from inside the container: {by_hand}"));
        }
        Err(missed) => return Verdict::skipped(format!("{missed}; by hand: {by_hand}")),
        Ok(answer) => match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) if body.is_object() => body["error"].as_i64(),
            _ => {
                let seen = format!("its converter answers {} without JSON", answer.status);
                return Verdict::warning(seen, format!("Look from inside the container: {by_hand}"));
            }
        },
    };
    match error {
        None | Some(0 | -3) => Verdict::ok(format!("the Document Server fetched {address}/robots.txt")),
        Some(-4) => Verdict::failed(
            format!(
                "the Document Server cannot fetch {address}/robots.txt (error -4), so no callback through the relay can arrive"
            ),
            format!(
                "Check that the callback URL is accessible from ONLYOFFICE; look from inside the container:\n  {by_hand}\n\
                 A name that does not resolve, or hairpin NAT: `docker run --add-host NAME:host-gateway`. A private CA: NODE_EXTRA_CA_CERTS."
            ),
        ),
        Some(error) => Verdict::skipped(format!("its converter answers error {error}; by hand: {by_hand}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Missed> {
        let (headers, body) = (hyper::HeaderMap::new(), body.to_owned().into());
        Ok(Answer { status, headers, body, ahead: None })
    }

    fn away() -> Result<Answer, Missed> {
        Err(Missed { stage: Stage::Connect, why: "refused".into() })
    }

    /// State, and words of what was seen and what to do.
    fn check(verdict: &Verdict, state: &str, words: &[&str]) {
        assert_eq!(verdict.state(), state, "{verdict:?}");
        let text = format!("{} {}", verdict.seen(), verdict.cure().unwrap_or_default());
        for word in words {
            assert!(text.contains(word), "{word} in {verdict:?}");
        }
    }

    #[test]
    fn health_is_told_apart() {
        let table: [(_, _, &[&str]); 6] = [
            (answer(200, "true\n"), "ok", &["true"]),
            (answer(200, "false"), "failed", &["database", "supervisorctl"]),
            (answer(502, "<html>"), "failed", &["502", "starting"]),
            (answer(200, "<html>"), "failed", &["something else"]),
            (answer(404, "true"), "failed", &["404"]),
            (away(), "failed", &["Verify network connectivity", "-p 127.0.0.1:8088:80"]),
        ];
        for (seen, state, words) in table {
            check(&healthy("127.0.0.1:8088", seen.as_ref()), state, words);
        }
    }

    #[test]
    fn clocks_are_tolerated_as_the_server_does() {
        for (ahead, state, words) in [
            (Some(0.4), "ok", "agrees"),
            (Some(-30.0), "warning", "30 s behind"),
            (Some(600.0), "failed", "600 s ahead"),
            (None, "skipped", "no Date"),
        ] {
            check(&clock("it", ahead), state, &[words]);
        }
    }

    #[test]
    fn links_must_be_the_public_url() {
        let table: [(_, _, &[&str]); 5] = [
            (answer(200, "https://a.example"), "ok", &[]),
            (answer(200, "http://a.example"), "failed", &["mixed content", "X-Forwarded-Proto"]),
            (answer(200, "https://b.example"), "failed", &["public_url is https://a.example"]),
            (answer(404, ""), "skipped", &["404"]),
            (away(), "skipped", &["refused"]),
        ];
        for (seen, state, words) in table {
            check(&links(seen.as_ref(), "https://a.example"), state, words);
        }
    }

    #[test]
    fn another_secret_and_none_at_all_are_two_things() {
        let (version, no) = (Said::Version("9.0.4.54".into()), Said::Error(6));
        check(&secret(&version, &no), "ok", &["9.0.4.54"]);
        check(&secret(&Said::Error(7), &no), "ok", &["clock"]);
        check(&secret(&no, &no), "failed", &["ONLY_OFFICE_SECRET matches", "JWT_SECRET"]);
        check(&secret(&version, &version), "skipped", &["jwt_on"]);
        check(&secret(&Said::Else("x".into()), &no), "failed", &["network connectivity"]);
        check(&jwt_on(&no), "ok", &[]);
        check(&jwt_on(&version), "failed", &["JWT_ENABLED"]);
        check(&jwt_on(&Said::Else("x".into())), "skipped", &[]);
    }

    #[test]
    fn a_wrong_header_is_named_with_the_right_one() {
        let own = ("authorization", "Bearer ");
        check(
            &wrong_header(own, Some(("authorizationjwt", ""))),
            "failed",
            &["header = \"authorizationjwt\"", "JWT_HEADER"],
        );
        check(&wrong_header(own, None), "failed", &["token.inbox.prefix"]);
    }

    #[test]
    fn the_way_back_is_judged_by_the_converter() {
        let late = || Err(Missed { stage: Stage::Answer, why: "nothing within 20 s".into() });
        let table: [(_, _, &[&str]); 7] = [
            (answer(504, "<html>"), "warning", &["504"]),
            (answer(200, r#"{"endConvert":true}"#), "ok", &["robots.txt"]),
            (answer(200, r#"{"error":-3}"#), "ok", &[]),
            (
                answer(200, r#"{"error":-4}"#),
                "failed",
                &["callback URL is accessible from ONLYOFFICE", "BY HAND"],
            ),
            (answer(200, r#"{"error":-1}"#), "skipped", &["BY HAND"]),
            (late(), "warning", &["BY HAND"]),
            (away(), "skipped", &["BY HAND"]),
        ];
        for (seen, state, words) in table {
            check(&reached(seen.as_ref(), "https://a.example", "BY HAND"), state, words);
        }
    }
}
