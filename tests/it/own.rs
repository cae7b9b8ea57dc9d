//! What the gateway says in its own words, and what it adds to the pages of the editor.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;

use crate::raw::Client;
use crate::rig::{Got, Rig, Setup};

/// Requests that reached the Document Server on behalf of a client.
fn reached(rig: &Rig) -> usize {
    rig.server.requests().iter().filter(|request| request.header("x-forwarded-for").is_some()).count()
}

/// The page at the root, however it is worded.
const PAGE: &str = "<!doctype html>";

fn shown(text: &str) -> &str {
    if text.starts_with(PAGE) { PAGE } else { text }
}

#[tokio::test]
async fn own_paths_are_answered_here_over_both_protocols() {
    let rig = Rig::start().await;
    rig.log.wait_for(|line| line["event"] == "upstream_health").await;
    let mut client = Client::of(&rig);
    let mut sender = rig.h2().await;
    let table = [
        ("/robots.txt", 200, "User-agent: *\nDisallow: /"),
        ("/ROBOTS.txt/", 200, "User-agent: *\nDisallow: /"),
        ("/9.0.4-a/robots.txt", 200, "User-agent: *\nDisallow: /"),
        ("/", 200, PAGE),
        ("//", 200, PAGE),
        ("/healthcheck", 200, "true"),
        ("/healthcheck/?x=1", 200, "true"),
        ("/HealthCheck", 200, "true"),
    ];
    for (target, status, body) in table {
        let answer = client.get(target, "").await;
        assert_eq!((answer.status, shown(answer.text())), (status, body), "{target}");
        assert_eq!((answer.header("cache-control"), answer.refusal()), (Some("no-store"), None));
        for (method, status, body) in [("GET", status, body), ("HEAD", status, ""), ("POST", 405, "")] {
            let request = Request::builder().method(method).uri(format!("https://localhost{target}"));
            let request = request.body(Full::<Bytes>::default()).unwrap();
            let over_h2 = Got::from(sender.send_request(request).await.unwrap()).await;
            let over_h1 = client.ask(method, target, "Content-Length: 0\r\n").await.unwrap();
            assert_eq!((over_h2.status, over_h1.status), (status, status), "{method} {target}");
            if status == 405 {
                assert_eq!(over_h1.header("allow"), Some("GET, HEAD"));
            } else {
                assert_eq!((shown(over_h2.text()), shown(over_h1.text())), (body, body), "{method} {target}");
            }
            let length = over_h1.header("content-length").filter(|length| *length != "0");
            assert_eq!(over_h2.header("content-length").filter(|l| *l != "0"), length, "{method} {target}");
        }
    }
    assert_eq!(reached(&rig), 0);
}

#[tokio::test]
async fn the_healthcheck_tells_what_the_probe_has_seen() {
    let rig =
        Rig::with(Setup { lines: vec![("document_server", "health = \"1s\"".into())], ..Setup::default() })
            .await;
    let mut client = Client::of(&rig);
    let news = |level: &'static str| {
        move |line: &Value| line["event"] == "upstream_health" && line["level"] == level
    };
    rig.log.wait_for(news("info")).await;
    assert_eq!(client.get("/healthcheck", "").await.text(), "true");
    rig.server.set_healthy(false);
    rig.log.wait_for(news("warn")).await;
    let answer = client.get("/healthcheck", "").await;
    assert_eq!((answer.status, answer.text()), (200, "false"));
    assert_eq!(client.get("/fonts/size-1", "").await.status, 200, "it still answers, so it is still asked");
}

#[tokio::test]
async fn the_relay_is_closed_to_strangers() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    for (target, get, post) in [
        ("/relay/rapidpm/callback?x=1", "token_missing", "token_missing"),
        ("/relay/rapidpm/", "token_missing", "token_missing"),
        ("/relay/other/%2f..%2f", "unknown_integrator", "unknown_integrator"),
        ("/saved/1/output.docx", "saved_link", "method_not_allowed"),
    ] {
        let answers =
            [(client.get(target, "").await, get), (client.post(target, "", "{\"status\":2}").await, post)];
        for (answer, reason) in answers {
            assert_eq!(answer.refusal(), Some(reason), "{target}");
            assert_eq!(answer.header("location"), None);
        }
    }
    for target in [
        "/relay",
        "/relay/",
        "/relay/rapidpm",
        "/RELAY/rapidpm/x",
        "/%72elay/rapidpm/x",
        "//relay/rapidpm/x",
        "/saved",
        "/x/../saved/y",
    ] {
        assert_eq!(client.get(target, "").await.status, 404, "{target}");
    }
    assert_eq!(reached(&rig), 0);
}

#[tokio::test]
async fn a_refusal_is_a_problem_for_programs_and_a_page_for_people() {
    let rig = Rig::start().await;
    let mut client = Client::of(&rig);
    let table = [
        ("/nosuch", 404, "unknown_path"),
        ("/nosuch/%3Cscript%3E?%3Cscript%3E", 404, "unknown_path"),
        ("/info/config", 404, "closed_path"),
        ("/docbuilder", 404, "switched_off"),
        ("/a%00", 400, "path_forbidden_escape"),
    ];
    for (target, status, reason) in table {
        for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n"] {
            let answer = client.get(target, accept).await;
            assert_eq!((answer.status, answer.refusal()), (status, Some(reason)), "{target}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            let problem: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&problem["status"], &problem["reason"]), (&status.into(), &reason.into()));
            assert!(
                problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string()
            );
        }
        let page = client.get(target, "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n").await;
        assert_eq!((page.status, page.refusal()), (status, Some(reason)), "{target}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().starts_with("<!doctype html>") && page.body.len() < 2000);
        assert!(page.text().contains(page.header("x-request-id").unwrap()), "people can name their request");
        assert!(
            !page.text().contains("script") && !page.text().contains("nosuch"),
            "nothing of the request is in it"
        );
    }
    assert_eq!(reached(&rig), 0);
}

#[tokio::test]
async fn pages_of_the_editor_may_be_framed_by_integrators_alone() {
    let integrators = "[[integrators]]\nname = \"rapidpm\"\nurl = \"https://rapidpm.uk\"\n\
        [[integrators]]\nname = \"chat\"\nurl = \"https://chat.example:8443/team\"\n";
    let rig = Rig::with(Setup { tables: integrators.into(), ..Setup::default() }).await;
    let mut client = Client::of(&rig);
    let link = rig.server.cache("key1", "a.docx", "bytes");
    let table: [(&str, &str, u16, bool); 20] = [
        ("/web-apps/apps/api/documents/api.js", "", 200, true),
        ("/9.0.4-a/web-apps/apps/api/documents/api.js", "", 200, true),
        ("/WEB-APPS/apps/api/documents/API.js", "", 200, true),
        ("/9.0.4-a/web-apps/apps/documenteditor/main/index.html?lang=de", "", 200, true),
        ("/web-apps/apps/documenteditor/main/index.html", "", 302, true),
        ("/9.0.4-a/web-apps/size-10", "Range: bytes=0-1\r\n", 206, true),
        ("/9.0.4-a/web-apps/nosuch.html", "", 404, true),
        ("/9.0.4-a/sdkjs-plugins/size-10", "", 200, true),
        ("/sdkjs-plugins/nosuch/index.html", "", 404, true),
        ("/sdkjs/size-10", "", 200, false),
        ("/fonts/size-10", "", 200, false),
        ("/dictionaries/size-10", "", 200, false),
        ("/document_editor_service_worker.js", "", 200, false),
        ("/plugins.json", "", 200, false),
        ("/themes.json", "", 200, false),
        (&link, "", 200, false),
        ("/command", "", 405, false),
        ("/nosuch", "", 404, false),
        ("/healthcheck", "", 200, false),
        ("/", "", 200, false),
    ];
    let ancestors = "frame-ancestors 'self' https://rapidpm.uk https://chat.example:8443";
    for (target, lines, status, page) in table {
        for method in ["GET", "HEAD"] {
            let answer = client.ask(method, target, lines).await.unwrap();
            if target.ends_with(".json") && method == "HEAD" {
                continue; // the stand-in's Express knows no HEAD, and its 404 has a policy of its own
            }
            assert_eq!(answer.status, status, "{method} {target}");
            let count = |name: &str| answer.headers.iter().filter(|(known, _)| known == name).count();
            let expected = usize::from(page);
            assert_eq!(count("strict-transport-security"), expected, "{method} {target}");
            assert_eq!(count("content-security-policy"), expected, "{method} {target}");
            if page {
                assert_eq!(answer.header("content-security-policy"), Some(ancestors));
                assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
            }
            assert_eq!(answer.header("x-frame-options"), None, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn the_headers_of_pages_are_configured() {
    let tables = "[headers]\nhsts = \"0s\"\nframe_ancestors = []\n";
    let rig = Rig::with(Setup { tables: tables.into(), ..Setup::default() }).await;
    let answer = Client::of(&rig).get("/web-apps/apps/api/documents/api.js", "").await;
    assert_eq!(answer.header("strict-transport-security"), None);
    // An empty list is a wish too.
    assert_eq!(answer.header("content-security-policy"), Some("frame-ancestors 'none'"));
}
