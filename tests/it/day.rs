//! A day of the demo's traffic under `mode = "observe"`, an hour in a moment: `doctor --would-refuse` lists nothing of what
//! people do there, and exactly those requests that `mode = "enforce"` refuses.

use std::collections::BTreeMap;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::{Integrator, clock, token};

use crate::editor::{self, Editor};
use crate::polling::Poller;
use crate::relay;
use crate::rig::{Got, Rig, SECRET};
use crate::wire::soon;
use crate::would_refuse::doctor;

const HOURS: u64 = 24;

/// What goes astray in each hour, by the reason that `enforce` gives. See [`Day::goes_astray`].
const ASTRAY: [(&str, u64); 5] = [
    ("class_not_allowed", 2),
    ("host_not_allowed", 2),
    ("key_mismatch", 3),
    ("origin_missing", 1),
    ("origin_not_allowed", 1),
];
/// What is refused in both modes in each hour, and is none of the list's business.
const ALWAYS: [(&str, u64); 3] = [("class_not_allowed", 1), ("switched_off", 1), ("token_signature", 1)];

struct Day {
    rig: Rig,
    app: Integrator,
}

impl Day {
    /// The demo's set-up with every rule on.
    async fn under(mode: &str) -> Self {
        let app = relay::application().await;
        let lines = vec![
            ("", format!("mode = \"{mode}\"")),
            ("sockets", "key_binding = \"enforce\"".to_owned()),
            ("sockets", "origins = [\"https://localhost\"]".to_owned()), // the test's editor is a page of port 443
        ];
        let mut setup = relay::setup(&app, lines);
        // The Document Server reaches whatever a token names, so that only the gateway can be who says no.
        for host in ["files.rapidpm.uk:80", "elsewhere.example:80"] {
            setup.server.network = setup.server.network.resolve(host, app.address());
        }
        setup.tables += "hosts = [\"files.rapidpm.uk\"]\n";
        let rig = Rig::with(setup).await;
        app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
        Self { rig, app }
    }

    async fn ask(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Got {
        self.ask_as(method, target, "", body).await
    }

    /// Asks with a token in the header.
    async fn ask_as(&self, method: &str, target: &str, token: &str, body: impl Into<Bytes>) -> Got {
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "image/png").body(Full::from(body.into())).unwrap();
        soon(target, self.rig.send(request)).await
    }

    /// As [`Day::ask_as`], for what must be served.
    async fn gets(&self, method: &str, target: &str, token: &str, body: impl Into<Bytes>) -> Got {
        let got = self.ask_as(method, target, token, body).await;
        assert_eq!((got.status, got.header("gateway-refusal")), (200, None), "{method} {target}: {got:?}");
        got
    }

    /// The services of RapidPM's backend.
    async fn serves(&self, target: &str, claims: &Value) {
        let got = self.gets("POST", target, "", signed(claims)).await;
        let answer: Value = serde_json::from_slice(&got.body).unwrap();
        assert!(answer["error"].is_null() || answer["error"] == 0, "{claims}: {answer}");
    }

    /// What people do in an hour.
    async fn works(&self, hour: u64) {
        let id = format!("hour-{hour}");
        self.app.put(&id, "docx", "The plan. ");
        for file in ["editor.html", "editor.js", "editor.css"] {
            let file = file.replace("editor.html", "index.html");
            let folder = "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/apps/documenteditor/main";
            self.gets("GET", &format!("{folder}/{file}"), "", "").await;
        }
        for page in ["/web-apps/apps/api/documents/api.js", "/plugins.json", "/themes.json", "/healthcheck"] {
            self.gets("GET", page, "", "").await;
        }
        let to = self.rig.https;
        let (mut ann, auth, opened) = Editor::open(to, &self.app, &id, ("ann", "edit")).await;
        let (mut ben, ..) = Editor::open(to, &self.app, &id, ("ben", "edit")).await;
        let (cleo, ..) = Editor::open(to, &self.app, &id, ("cleo", "view")).await;
        let link = opened["data"]["data"]["Editor.bin"].as_str().unwrap();
        let (_, link) = link.split_once("//").unwrap().1.split_once('/').unwrap();
        self.gets("GET", &format!("/{link}"), "", "").await;
        ann.write("Ann. ").await;
        let session = auth["jwt"].as_str().unwrap();
        self.uses_the_menu(&id, session).await;
        self.polls().await;
        self.calls_from_the_backend(&id).await;

        // The line is cut, and she comes back.
        drop(ann);
        let mut ann = Editor::connect_to(to, &editor::path(&id)).await;
        ann.say(&format!("40{}", json!({"session": session}))).await;
        assert!(ann.next().await.unwrap().starts_with("40{"));
        ann.message(&json!({"type": "auth", "jwtSession": session, "sessionId": auth["sessionId"]})).await;
        ann.expect("auth").await;
        ben.write("Ben. ").await;
        ben.message(&json!({"type": "forceSaveStart"})).await;
        assert_eq!(ben.expect("forceSave").await["messages"]["success"], true);
        drop((ann, ben, cleo));
        let saved = |callback: &standin::integrator::Callback| callback.key == id && callback.status == 2;
        soon("the last save", self.app.wait_for_callback(saved)).await;
        soon("its document", self.app.wait_for_save(&id)).await;

        // Somebody has a look at the new version and changes nothing.
        let (ann, ..) = Editor::open(to, &self.app, "demo", ("ann", "edit")).await;
        drop(ann);
        let before = usize::try_from(hour).unwrap();
        let closed = async {
            while self.app.callbacks().iter().filter(|callback| callback.status == 4).count() <= before {
                tokio::task::yield_now().await;
            }
        };
        soon("a goodbye", closed).await;
    }

    /// An image, a download, a print, an older version.
    async fn uses_the_menu(&self, key: &str, session: &str) {
        self.gets("POST", &format!("/upload/{key}"), session, "an image").await;
        let cmd = json!({"c": "save", "id": key, "title": "plan.docx", "tokenSession": session});
        self.gets("POST", &format!("/downloadas/{key}?cmd={}", encoded(&cmd.to_string())), "", "a document")
            .await;
        let image = token::sign(SECRET, &token::insert("https://files.rapidpm.uk/a.png"));
        let cmd = json!({"c": "imgurls", "id": key, "title": "a.png", "tokenDownload": image});
        self.gets("POST", &format!("/downloadas/{key}?cmd={}", encoded(&cmd.to_string())), "", "").await;
        let print = token::sign(SECRET, &token::print(key));
        self.gets("GET", &format!("/printfile/{key}/plan.pdf?token={print}&filename=plan.pdf"), "", "").await;
        let open = self.app.open_token(key, ("ann", "ann"), "edit");
        self.gets("POST", &format!("/downloadfile/{key}"), "", json!({"token": open}).to_string()).await;
    }

    /// Somebody whose network knows no WebSockets.
    async fn polls(&self) {
        let poller = Poller::greeted(&self.rig).await;
        let token = self.app.open_token("demo", ("dan", "dan"), "view");
        assert_eq!(poller.ask("POST", format!("40{}", json!({"token": token}))).await.text(), "ok");
        assert!(poller.ask("GET", String::new()).await.text().starts_with("40{"));
        assert_eq!(poller.ask("POST", "1".into()).await.text(), "ok");
    }

    async fn calls_from_the_backend(&self, key: &str) {
        for (order, key) in
            [("version", None), ("license", None), ("getForgottenList", None), ("info", Some(key))]
        {
            self.serves("/command", &token::command(order, key)).await;
        }
        let relay = format!("https://localhost:{}/relay/rapidpm", self.rig.https.port());
        for (number, place) in [relay.as_str(), "http://files.rapidpm.uk"].into_iter().enumerate() {
            let (key, url) = (format!("{key}-{number}"), format!("{place}/files/{key}.docx"));
            self.serves("/converter", &token::convert(&key, &url, "docx", "pdf")).await;
        }
    }

    /// What nobody does in an hour who means well: [`ASTRAY`], and [`ALWAYS`].
    async fn goes_astray(&self) {
        let other = token::sign(SECRET, &token::session("other", ("eve", "Eve"), 1, &clock::system()));
        let open = self.app.open_token("demo", ("eve", "eve"), "edit");
        let print = token::sign(SECRET, &token::print("other"));
        self.ask_as("POST", "/upload/demo", &other, "an image").await; // key_mismatch
        self.ask_as("POST", "/upload/demo", &open, "an image").await; // class_not_allowed
        self.ask("GET", &format!("/printfile/demo/plan.pdf?token={print}"), "").await; // key_mismatch
        self.ask("POST", "/command", signed(&json!({"c": "shutdown"}))).await; // class_not_allowed
        let foreign = token::convert("c", "http://elsewhere.example/files/demo.txt", "docx", "pdf");
        self.ask("POST", "/converter", signed(&foreign)).await; // host_not_allowed
        let mut claims = self.app.claims("demo", ("eve", "eve"), "edit");
        claims["document"]["url"] = json!("http://elsewhere.example/files/demo.txt");
        let foreign = token::sign(SECRET, &claims);
        let ours = Some("https://localhost");
        self.knocks("demo", ours, &foreign).await; // host_not_allowed
        self.knocks("other", ours, &open).await; // key_mismatch
        self.knocks("demo", Some("https://elsewhere.example"), &open).await; // origin_not_allowed
        self.knocks("demo", None, &open).await; // origin_missing

        self.ask("POST", "/command", json!({"c": "version", "token": other}).to_string()).await; // a browser's: class_not_allowed
        self.ask("POST", "/docbuilder", signed(&token::builder("https://localhost/a.js"))).await; // switched_off
        let forged = token::sign("somebody else's secret", &token::command("version", None));
        self.ask("POST", "/command", json!({"token": forged}).to_string()).await; // token_signature
    }

    /// A socket's first packet, if it comes to that.
    async fn knocks(&self, key: &str, origin: Option<&str>, token: &str) {
        let fields = Vec::from_iter(origin.map(|origin| ("origin", origin)));
        if let (Some(mut editor), _) = Editor::upgrade(self.rig.https, &editor::path(key), &fields).await {
            editor.next().await.unwrap();
            editor.say(&format!("40{}", json!({"token": token}))).await;
            let answer = editor.next().await.unwrap();
            assert!(answer.starts_with("40{") || answer.starts_with("44{"), "{answer}");
        }
    }

    /// What was refused, by reason. Ends the gateway: its log is whole then.
    async fn refused(mut self) -> BTreeMap<String, u64> {
        self.rig.stop().await;
        let mut counted = BTreeMap::new();
        for line in self.rig.log.all() {
            if let Some(reason) = line["refusal"].as_str() {
                *counted.entry(reason.to_owned()).or_default() += 1;
            }
        }
        counted
    }
}

/// The body of a service request.
fn signed(claims: &Value) -> String {
    json!({"token": token::sign(SECRET, claims)}).to_string()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// These, in every hour of the day.
fn in_a_day(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (reason, times) in reasons {
        *all.entry((*reason).to_owned()).or_default() += times * HOURS;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_days_list_names_what_enforce_refuses_and_nothing_else() {
    let day = Day::under("observe").await;
    for hour in 0..HOURS {
        Box::pin(day.works(hour)).await;
    }
    let (code, said) = doctor(&day.rig, &[]).await;
    assert_eq!((code, said.starts_with("nothing since ")), (Some(0), true), "{said}");
    for _ in 0..HOURS {
        day.goes_astray().await;
    }
    let (code, said) = doctor(&day.rig, &["--json"]).await;
    let list: Value = serde_json::from_str(&said).unwrap();
    let counted: BTreeMap<String, u64> = list["counted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_eq!(one["refused_by"], "mode = \"enforce\"");
            (one["reason"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!((code, &counted), (Some(1), &in_a_day(&ASTRAY)));
    assert_eq!(day.refused().await, in_a_day(&ALWAYS));
}

/// The control: the same day, enforced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enforce_refuses_what_the_days_list_named_and_nothing_else() {
    let day = Day::under("enforce").await;
    for hour in 0..HOURS {
        Box::pin(day.works(hour)).await;
        day.goes_astray().await;
    }
    let (code, said) = doctor(&day.rig, &[]).await;
    assert_eq!((code, said.starts_with("nothing since ")), (Some(0), true), "{said}");
    assert_eq!(day.refused().await, in_a_day(&[&ASTRAY[..], &ALWAYS].concat()));
}
