//! What people and programs see of a running gateway on the admin listener: who edits, which saves wait and why, as a page, as
//! events, as JSON; nothing secret in any of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use standin::Fault;
use standin::integrator::Reply;
use tokio::net::TcpStream;

use crate::editor::Editor;
use crate::relay::{Trio, posted};
use crate::rig::{Got, Rig, SECRET, ask_admin};
use crate::wire::soon;

async fn get(admin: SocketAddr, path: &str) -> Got {
    ask_admin(admin, Request::get(path).body(Full::default()).unwrap()).await
}

async fn json_of(admin: SocketAddr, path: &str) -> Value {
    let got = get(admin, path).await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&got.body).unwrap()
}

/// Somebody who looks at the page.
struct Viewer {
    answer: Response<Incoming>,
    text: String,
}

impl Viewer {
    async fn start(admin: SocketAddr) -> Self {
        let stream = TcpStream::connect(admin).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/events").header("host", "x").body(Full::<Bytes>::default()).unwrap();
        Self { answer: sender.send_request(request).await.unwrap(), text: String::new() }
    }

    /// The newest text of a part, once it fits.
    async fn until(&mut self, part: &str, fits: impl Fn(&str) -> bool) -> String {
        soon(part, async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: {"));
                    let parts =
                        data.and_then(|data| serde_json::from_str::<Value>(&format!("{{{data}")).ok());
                    self.text = rest.to_owned();
                    let seen = parts.as_ref().and_then(|parts| parts[part].as_str());
                    if let Some(seen) = seen.filter(|seen| fits(seen)) {
                        return seen.to_owned();
                    }
                }
                let frame = self.answer.body_mut().frame().await.unwrap().unwrap();
                self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
        })
        .await
    }

    /// Whether the stream ends by itself.
    async fn ends(mut self) {
        soon("the end", async { while let Some(Ok(_)) = self.answer.body_mut().frame().await {} }).await;
    }
}

#[tokio::test]
async fn who_edits_is_told_to_programs_and_people_within_a_moment() {
    let trio = Trio::start(vec![("sockets", "origins = [\"https://localhost\"]".into())]).await;
    let admin = trio.rig.admin;
    let nobody = json!({"documents": 0, "editors": 0, "held": 0, "open": []});
    assert_eq!(json_of(admin, "/api/v1/sessions").await, nobody);
    let mut viewer = Viewer::start(admin).await;
    assert_eq!(viewer.answer.headers()["content-type"], "text/event-stream");
    viewer.until("documents", |part| part.contains("Nobody")).await;

    let ann = Editor::join(trio.rig.https, &trio.app, "ann").await;
    let begun = Instant::now();
    viewer.until("documents", |part| part.contains("<bdi>ann</bdi>")).await;
    println!("an editor that had joined was sent to the page after {:?}", begun.elapsed());
    let told = json_of(admin, "/api/v1/sessions").await;
    let open = &told["open"][0];
    assert_eq!((&told["documents"], &told["editors"]), (&json!(1), &json!(1)));
    assert_eq!((&open["key"], &open["editors"]), (&json!("demo"), &json!(1)));
    let present = &open["present"][0];
    assert_eq!((&present["user"], &present["mode"]), (&json!("ann"), &json!("edit")));
    assert!(humantime::parse_rfc3339(present["since"].as_str().unwrap()).is_ok(), "{present}");

    let page = get(admin, "/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<bdi>ann</bdi>"), "without script it shows the same");
    drop(ann);
    viewer.until("documents", |part| part.contains("Nobody")).await;
}

#[tokio::test]
async fn saves_are_told_with_why_they_wait_and_what_to_do() {
    let trio = Trio::start(vec![]).await;
    let admin = trio.rig.admin;
    trio.app.set_reply(Reply::Error(4));
    trio.post("callback?id=unwanted&signature=MARKED", &trio.save("unwanted", 2, b"x")).await;
    trio.app.set_reply(Reply::Status(503));
    trio.post("callback?id=later&signature=MARKED", &trio.save("later", 2, b"xy")).await;
    let told = json_of(admin, "/api/v1/saves").await;
    let counts = ["in_flight", "waiting", "parked", "reserve"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [0, 1, 1, 0], "{told}");
    let of = |key: &str| {
        let saves = told["saves"].as_array().unwrap();
        saves.iter().find(|save| save["key"] == key).unwrap_or_else(|| panic!("{key}: {told}")).clone()
    };
    let parked = of("unwanted");
    assert_eq!(
        (&parked["group"], &parked["state"], &parked["tries"]),
        (&json!("parked"), &json!("refused"), &json!(1))
    );
    assert_eq!(parked["reason"], "rapidpm does not want it: it answered 200 with error 4");
    let number = parked["save"].as_str().unwrap();
    assert!(parked["advice"].as_str().unwrap().contains(&format!("saves retry {number}")), "{parked}");
    let waiting = of("later");
    assert_eq!((&waiting["group"], &waiting["integrator"]), (&json!("waiting"), &json!("rapidpm")));
    assert!(parked["next_try"].is_null(), "nobody tries it: {parked}");
    for save in [&parked, &waiting] {
        let came = humantime::parse_rfc3339(save["came"].as_str().unwrap()).unwrap();
        let age = SystemTime::now().duration_since(came).unwrap().as_secs();
        assert!(age < 60 && save["age_seconds"].as_u64().unwrap() <= age, "{save}");
    }

    // Live, and without script: when each came, and when it is tried next, for programs and in words.
    let mut viewer = Viewer::start(admin).await;
    let next = |part: &str| part.contains("next try") || part.contains("is under way");
    let live = viewer.until("saves", |part| next(part) && part.contains("next try only when you ask")).await;
    assert_eq!(live.matches(" ago</time>").count(), 2, "{live}");
    trio.rig.server.fault("/cache/files/data/coming", Fault::Stall);
    let coming = trio.save("coming", 2, b"z");
    let post = posted(trio.rig.https.port(), "callback?id=coming", &coming);
    let mut client = trio.rig.h1().await;
    let asked = tokio::spawn(async move { client.send_request(post).await.map(drop) });
    viewer
        .until("saves", |part| {
            part.contains("fetching") && part.contains("not tried yet: it is being fetched")
        })
        .await;
    let told = json_of(admin, "/api/v1/saves").await;
    assert_eq!(told["in_flight"], 1, "{told}");
    asked.abort();

    let page = get(admin, "/").await;
    assert_eq!(page.text().matches(" ago</time>").count(), 3);
    assert!(page.text().matches("<time datetime=\"20").count() >= 3);
    for words in ["parked: refused", "rapidpm-gateway saves retry", "degraded", "last callback", "503 after"]
    {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    // Neither callback URLs, which applications sign, nor secrets, nor anything that looks like a token.
    for text in [page.text(), &told.to_string()] {
        for secret in ["MARKED", SECRET, "eyJ", "signature", "md5="] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn few_may_look_at_once_and_none_holds_up_the_end() {
    let mut rig = Rig::start().await;
    let mut viewers = VecDeque::new();
    for _ in 0..16 {
        viewers.push_back(Viewer::start(rig.admin).await);
    }
    // Whoever looks at the 17th screen may be the one who is awake; monitors have their places all the time.
    for _ in 0..3 {
        let more = Viewer::start(rig.admin).await;
        assert_eq!(more.answer.status(), 200);
        viewers.push_back(more);
        viewers.pop_front().unwrap().ends().await;
        assert_eq!(get(rig.admin, "/livez").await.status, 200);
    }
    viewers.front_mut().unwrap().until("documents", |part| part.contains("Nobody")).await;
    rig.stop().await;
    for viewer in viewers {
        viewer.ends().await;
    }
}

#[tokio::test]
async fn the_page_is_closed_to_pages_of_others_and_only_read() {
    let rig = Rig::start().await;
    let page = get(rig.admin, "/").await;
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "script-src 'sha256-"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("access-control-allow-origin"), None);
    for path in ["/", "/events", "/api/v1/sessions", "/api/v1/saves"] {
        let request = Request::post(path).body(Full::default()).unwrap();
        assert_eq!(ask_admin(rig.admin, request).await.status, 405, "{path}");
    }
    let head = Request::head("/").body(Full::default()).unwrap();
    assert_eq!(ask_admin(rig.admin, head).await.body.len(), 0);
}
