//! Questions to each application that embeds the editor: is it reached as the relay reaches it, does its callback URL answer.
//! Nothing is changed there: callbacks are only asked for with GET, unless `--post` allows one of status 4 (closed, nothing saved).

use hyper::Method;
use serde_json::{Value, json};

use super::ask::{Answer, Missed, Peer, Stage, ask};
use super::document_server::clock;
use super::house::{House, request};
use super::question::{Finding, Question, Verdict};
use crate::relay::{Connect, Integrator, Scheme};

/// Everything that can be asked of one application.
pub async fn questions(house: &House, integrator: &Integrator) -> Vec<Finding> {
    let (of, peer) = (integrator.name.as_str(), peer(integrator));
    let root = format!("{}/", integrator.path);
    let reached = ask(&peer, to(integrator, Method::GET, &root, Vec::new())).await;
    let callback = house.callbacks.iter().find(|(name, _)| *name == integrator.name).map(|(_, path)| path);
    let seen = match (&reached, callback) {
        (Err(_), _) => Verdict::skipped("the application is not reached"),
        (Ok(_), None) => Verdict::skipped(format!(
            "the gateway does not know the path; `--callback {of}=/path` asks there"
        )),
        (Ok(_), Some(path)) => {
            let target = format!("{}{path}", integrator.path);
            let asked = ask(&peer, to(integrator, Method::GET, &target, Vec::new())).await;
            match house.post {
                true => posted(&post(house, &peer, integrator, &target).await),
                false => answers(&asked),
            }
        }
    };
    let ahead = reached.as_ref().ok().map(|answer| answer.ahead);
    let time =
        ahead.map_or_else(|| Verdict::skipped("the application is not reached"), |ahead| clock(of, ahead));
    let reached = reaches(&reached, integrator, &peer);
    vec![
        Question::Integrator.is(of, reached),
        Question::Callback.is(of, seen),
        Question::IntegratorClock.is(of, time),
    ]
}

/// As the relay connects.
fn peer(integrator: &Integrator) -> Peer {
    let (host, port) = match &integrator.connect {
        Some(Connect::Address(ip, port)) => (ip.to_string(), *port),
        Some(Connect::Name(name, port)) => (name.clone(), *port),
        None => (integrator.host.clone(), integrator.port),
    };
    let tls = (integrator.scheme == Scheme::Https).then(|| integrator.host.clone());
    Peer { tls, roots: integrator.roots.clone(), ..Peer::plain(host, port) }
}

fn to(
    integrator: &Integrator,
    method: Method,
    target: &str,
    body: Vec<u8>,
) -> hyper::Request<http_body_util::Full<hyper::body::Bytes>> {
    let mut request = request(method, target, body);
    let origin = integrator.origin();
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    if let Ok(host) = host.parse() {
        request.headers_mut().insert("host", host);
    }
    request
}

fn reaches(reached: &Result<Answer, Missed>, integrator: &Integrator, peer: &Peer) -> Verdict {
    let name = &integrator.name;
    let to = format!("{}:{}", peer.host, peer.port);
    match reached {
        Ok(answer) if answer.status >= 500 => Verdict::failed(
            format!("{to} answers {}", answer.status),
            format!(
                "Look at {name}'s own log: it is reached, but broken, or a proxy in front of it answers for it."
            ),
        ),
        Ok(answer) if answer.status == 404 => Verdict::warning(
            format!("{to} is reached, but has nothing at its url (404)"),
            format!(
                "See that `url` of integrator {name} is where its paths begin; `--callback {name}=/path` asks at its callback URL."
            ),
        ),
        Ok(answer) => Verdict::ok(format!("{to} answers {}", answer.status)),
        Err(missed) => {
            let cure = match missed.stage {
                Stage::Name => format!(
                    "Make the name resolve on this machine, or write the address into `connect` of integrator {name}."
                ),
                Stage::Connect => format!(
                    "Check that the callback URL is accessible: is {name} up, and does a firewall let this machine through?\nBehind hairpin NAT, `connect` of integrator {name} says where it really is."
                ),
                Stage::Tls => format!(
                    "If a CA of your own signed its certificate, `ca` of integrator {name} takes it; otherwise the certificate there has to be renewed, or `url` names another host than it does."
                ),
                Stage::Answer => {
                    format!("It takes connections but does not answer: look at {name}'s own log.")
                }
            };
            Verdict::failed(format!("{to}: {missed}"), cure)
        }
    }
}

/// What a GET at the callback URL tells: a route that takes POST alone is there all the same.
fn answers(asked: &Result<Answer, Missed>) -> Verdict {
    match asked {
        Ok(answer) => match answer.status {
            404 | 410 => Verdict::warning(
                format!(
                    "a GET finds nothing there ({}); some applications say so where they take POST alone",
                    answer.status
                ),
                "Check that the callback URL is accessible from ONLYOFFICE: `--post` sends a signed callback of status 4 there.",
            ),
            301 | 302 | 303 | 307 | 308 => redirect(answer),
            500.. => Verdict::failed(
                format!("a GET is answered with {}", answer.status),
                "Look at the application's own log.",
            ),
            status => Verdict::ok(format!("something is there (a GET is answered with {status})")),
        },
        Err(missed) => {
            Verdict::failed(missed.to_string(), "Check that the callback URL is accessible from ONLYOFFICE.")
        }
    }
}

fn nothing_there(status: u16) -> Verdict {
    Verdict::failed(
        format!(
            "nothing is there ({status}): a save that is sent there is kept by the gateway, and never arrives"
        ),
        "Check that the callback URL is accessible from ONLYOFFICE: the path behind /relay/<integrator> in `callbackUrl` must be the application's own.",
    )
}

fn redirect(answer: &Answer) -> Verdict {
    Verdict::failed(
        format!("it redirects ({}): a callback that follows loses its save", answer.status),
        "Put the address that it leads to into `url` of the integrator, scheme and host included.",
    )
}

async fn post(house: &House, peer: &Peer, integrator: &Integrator, target: &str) -> Result<Answer, Missed> {
    let claims = json!({ "key": house.key, "status": 4 });
    let mut body = claims.clone();
    body["token"] = house.token(&claims).into();
    let mut request = to(integrator, Method::POST, target, body.to_string().into_bytes());
    let tokens = &house.snapshot().tokens;
    let name = integrator.header.clone().unwrap_or_else(|| tokens.header.clone());
    let prefix = integrator.prefix.as_deref().unwrap_or(&tokens.prefix);
    let value = format!("{prefix}{}", house.token(&json!({ "payload": claims })));
    if let Ok(value) = value.parse() {
        request.headers_mut().insert(name, value);
    }
    ask(peer, request).await
}

fn posted(asked: &Result<Answer, Missed>) -> Verdict {
    let answer = match asked {
        Ok(answer) => answer,
        Err(missed) => {
            return Verdict::failed(
                missed.to_string(),
                "Check that the callback URL is accessible from ONLYOFFICE.",
            );
        }
    };
    let error = serde_json::from_slice::<Value>(&answer.body).ok().map(|body| body["error"].clone());
    match (answer.status, error) {
        (200, Some(error)) if error == 0 || error == "0" => {
            Verdict::ok("takes a signed callback of status 4")
        }
        (401 | 403, _) => Verdict::failed(
            format!("refuses a signed callback ({})", answer.status),
            "Check that ONLY_OFFICE_SECRET matches there, and that header and prefix of the integrator are what it expects.",
        ),
        (404 | 410, _) => nothing_there(answer.status),
        (301 | 302 | 303 | 307 | 308, _) => redirect(answer),
        (200, Some(error)) if !error.is_null() => Verdict::warning(
            format!(
                "answers a callback of status 4 with error {}",
                crate::cli::token::shown(&error.to_string())
            ),
            "Look at the application's own log; a key that it does not know may be all there is to it.",
        ),
        (status, _) => Verdict::failed(
            format!("answers a callback with {status} and no {{\"error\":0}}"),
            "A callback must be answered with 200 and {\"error\":0} as JSON, and nothing else.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Missed> {
        let (headers, body) = (hyper::HeaderMap::new(), body.to_owned().into());
        Ok(Answer { status, headers, body, ahead: None })
    }

    fn missed(stage: Stage) -> Result<Answer, Missed> {
        Err(Missed { stage, why: "x".into() })
    }

    #[test]
    fn how_far_the_gateway_comes_says_what_to_do() {
        let integrator = Integrator {
            name: "rapidpm".into(),
            scheme: Scheme::Https,
            host: "rapidpm.uk".into(),
            port: 443,
            path: String::new(),
            header: None,
            prefix: None,
            connect: None,
            roots: Vec::new(),
            hosts: Vec::new(),
        };
        for (seen, state, word) in [
            (answer(200, ""), "ok", "200"),
            (answer(404, ""), "warning", "--callback rapidpm="),
            (answer(502, ""), "failed", "own log"),
            (missed(Stage::Name), "failed", "`connect`"),
            (missed(Stage::Connect), "failed", "callback URL is accessible"),
            (missed(Stage::Tls), "failed", "`ca`"),
            (missed(Stage::Answer), "failed", "own log"),
        ] {
            let verdict = reaches(&seen, &integrator, &peer(&integrator));
            let text = format!("{} {}", verdict.seen(), verdict.cure().unwrap_or_default());
            assert!(verdict.state() == state && text.contains(word), "{verdict:?}");
        }
    }

    #[test]
    fn a_callback_url_answers_or_does_not() {
        for (seen, state) in [
            (answer(405, ""), "ok"),
            (answer(401, ""), "ok"),
            (answer(404, ""), "warning"),
            (answer(302, ""), "failed"),
            (answer(500, ""), "failed"),
            (missed(Stage::Answer), "failed"),
        ] {
            assert_eq!(answers(&seen).state(), state, "{seen:?}");
        }
        for (seen, state, word) in [
            (answer(200, r#"{"error":0}"#), "ok", ""),
            (answer(200, r#"{"error":"0"}"#), "ok", ""),
            (answer(200, r#"{"error":1}"#), "warning", "own log"),
            (answer(200, "<html>"), "failed", "{\"error\":0}"),
            (answer(403, ""), "failed", "ONLY_OFFICE_SECRET matches"),
            (answer(404, ""), "failed", "callback URL is accessible"),
            (answer(307, ""), "failed", "`url`"),
            (missed(Stage::Answer), "failed", "accessible"),
        ] {
            let verdict = posted(&seen);
            assert!(
                verdict.state() == state && verdict.cure().unwrap_or_default().contains(word),
                "{verdict:?}"
            );
        }
    }
}
