//! Secrets and tokens are seen nowhere but where they were sent: a marked secret and hundreds of marked tokens go through every
//! carrier, and everything that the gateway shows to anybody is searched for them.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use standin::integrator::Reply;
use standin::token;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::editor::{self, Editor};
use crate::process::Process;
use crate::relay::{application, posted, setup};
use crate::relay_crash::send;
use crate::rig::{self, SECRET};
use crate::wire::{self, Client, PROTOCOLS, soon};

/// So that what is longer than a line of the log may be is noticed, too: a part of a token is as good as its whole.
const PIECE: usize = 24;

/// Every byte as `%xx`.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Something that nobody may see, in every dress in which it may have been sent.
struct Marked {
    sent: String,
    traces: Vec<String>,
}

impl Marked {
    fn token(secret: &str, claims: &Value) -> Self {
        let sent = token::sign(secret, claims);
        // Its header is the same in all of them. What it says, and what makes it count, from the beginning and at the end.
        let mut traces: Vec<String> = sent
            .split('.')
            .skip(1)
            .flat_map(|part| [&part[..PIECE], &part[part.len() - PIECE..]])
            .flat_map(|piece| [piece.to_owned(), percent(piece), percent(piece).to_uppercase()])
            .collect();
        traces.push(STANDARD.encode(&sent)[..PIECE].to_owned());
        Self { sent, traces }
    }

    fn secret() -> Self {
        let traces = [
            SECRET.to_owned(),
            percent(SECRET),
            STANDARD.encode(SECRET).trim_end_matches('=').to_owned(),
            format!("{:?}", SECRET.as_bytes()),
            format!("{:x?}", SECRET.as_bytes()),
        ];
        Self { sent: SECRET.into(), traces: traces.to_vec() }
    }
}

type Carrier = Request<(Vec<u8>, ())>;

/// Every place of a request where a token has ever been seen, on routes that take one there and on others.
struct Carriers<'a> {
    protocol: &'a str,
    accept: &'a str,
    requests: Vec<Carrier>,
}

impl Carriers<'_> {
    fn add(&mut self, method: &str, target: String, fields: &[(&str, String)], body: String) {
        let mut builder = wire::request(self.protocol, method, &target);
        if fields.iter().all(|(name, _)| *name != "accept") {
            builder = builder.header("accept", self.accept);
        }
        for (name, value) in fields {
            builder = builder.header(*name, value);
        }
        self.requests.push(builder.body((body.into_bytes(), ())).unwrap());
    }

    fn fields(&mut self, token: &str) {
        const FIELDS: [&str; 18] = [
            "authorization",
            "authorizationjwt",
            "cookie",
            "referer",
            "user-agent",
            "origin",
            "x-token",
            "accept",
            "content-type",
            "forwarded",
            "idempotency-key",
            "if-none-match",
            "proxy-authorization",
            "range",
            "sec-websocket-protocol",
            "traceparent",
            "x-forwarded-for",
            "x-request-id",
        ];
        let basic = [("authorization", format!("Basic {}", STANDARD.encode(token)))];
        self.add("GET", "/command".into(), &basic, String::new());
        for field in FIELDS {
            for value in [token.to_owned(), format!("Bearer {token}"), format!("bearer  {token}")] {
                let version = json!({"c": "version"}).to_string();
                self.add("POST", "/command".into(), &[(field, value.clone())], version);
                self.add("GET", "/web-apps/size-7".into(), &[(field, value)], String::new());
            }
        }
        let origin = [("referer", format!("https://{token}/"))];
        self.add("GET", "/nothing".into(), &origin, String::new());
        self.add(token, "/web-apps/size-7".into(), &[], String::new()); // a method may be any word
    }

    fn bodies(&mut self, token: &str) {
        for target in ["/command", "/converter", "/docbuilder", "/coauthoring/CommandService.ashx"] {
            let (plain, wrapped) = (json!({"token": token}), json!({"payload": {"token": token}}));
            let kind = [("content-type", "application/json".into())];
            self.add("POST", target.into(), &kind, plain.to_string());
            self.add("POST", format!("{target}?token={token}"), &[], wrapped.to_string());
        }
    }

    fn targets(&mut self, token: &str) {
        let cmd = |name: &str| percent(&json!({"c": "save", name: token}).to_string());
        let encoded = percent(token);
        for target in [
            format!("/upload/demo?token={token}"),
            format!("/upload/demo?token={encoded}"),
            format!("/printfile/demo/x.pdf?token={token}"),
            format!("/downloadfile/demo?token={token}"),
            format!("/downloadas/demo?cmd={}", cmd("tokenDownload")),
            format!("/savefile/demo?cmd={}", cmd("tokenSession")),
            format!("/doc/demo/c/?EIO=4&transport=polling&token={token}"),
            format!("/web-apps/{token}/x?token={token}"),
            format!("/{token}"),
            format!("/{encoded}"),
            format!("/{}", token.replace('.', "%2E")),
            format!("/upload/{token}"),
            format!("/relay/rapidpm/{token}?token={token}"),
            format!("/relay/rapidpm/{encoded}?token={encoded}"),
            format!("/saved/{token}"),
            format!("/saved/{encoded}?token={token}"),
            format!("//{token}/%2f"),
            // So long that a line of the log holds only a part of it.
            format!("/{}{token}", "p".repeat(500 - PIECE)),
        ] {
            self.add("GET", target.clone(), &[], String::new());
            self.add("POST", target, &[("authorization", format!("Bearer {token}"))], token.to_owned());
        }
    }
}

fn carriers(protocol: &str, accept: &str, token: &str) -> Vec<Carrier> {
    let mut carriers = Carriers { protocol, accept, requests: Vec::new() };
    carriers.fields(token);
    carriers.bodies(token);
    carriers.targets(token);
    carriers.requests
}

/// Whether a request puts the secret where people would put a name. Nobody keeps a secret there, and nothing tells it from one.
fn is_named(request: &Carrier, secret: &str) -> bool {
    let holds = |text: &str| text.contains(secret) || text.contains(&percent(secret));
    let field = |name: &str| request.headers().get(name).is_some_and(|value| holds(value.to_str().unwrap()));
    holds(request.uri().path()) || field("user-agent") || field("referer") || holds(request.method().as_str())
}

/// Sends it and gives back everything that came; a connection that is ended is an answer too.
async fn everything(to: SocketAddr, protocol: &str, request: Carrier) -> String {
    let mut client = Client::new(to, protocol).await;
    let (head, (body, ())) = request.into_parts();
    let (sender, pieces) = wire::pieces(Some(body.len() as u64));
    let answer = tokio::spawn(client.send(Request::from_parts(head, pieces)));
    if !body.is_empty() {
        sender.send(Bytes::from(body)).await.ok();
    }
    drop(sender); // over HTTP/2 this is the end of the body
    let Ok(response) = soon("an answer", answer).await.unwrap() else { return String::new() };
    let (head, body) = response.into_parts();
    let own = head.headers.contains_key("gateway-refusal") || !head.headers.contains_key("server");
    let body = soon("a body", body.collect()).await.map(|body| body.to_bytes());
    // What the Document Server says of itself is its own affair.
    if own {
        format!("{:?} {}\n", head.headers, String::from_utf8_lossy(&body.unwrap_or_default()))
    } else {
        String::new()
    }
}

/// What the status page's script is sent first: every part of the page.
async fn events(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon("every part", async {
        while !(text.contains("\"servers\":") && text.ends_with("\n\n\r\n")) {
            let mut piece = vec![0; 1 << 16];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "it ended: {text}");
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
    })
    .await;
    text
}

/// Saves in every state, with tokens in each place of their callbacks that an application or a Document Server fills.
async fn leave_saves_behind(gateway: &Process, app: &standin::Integrator, marked: &[Marked]) -> String {
    let mut said = String::new();
    let replies = [
        ("parked", 2, Reply::Error(4)),
        ("reserve", 6, Reply::Status(500)),
        ("passed", 2, Reply::Error(0)),
        ("waiting", 2, Reply::Status(503)),
    ];
    for (number, (state, status, reply)) in replies.into_iter().enumerate() {
        app.set_reply(reply);
        for (at, one) in marked.iter().enumerate() {
            let token = &one.sent;
            let key = if at % 2 == 0 { format!("{state}-{at}") } else { format!("{state}-{token}") };
            // What cannot be fetched is passed through, and complained of.
            let link = match state {
                "passed" => format!("/cache/files/data/nothing/output.docx/output.docx?token={token}"),
                _ => format!("{}&token={token}", gateway.server.cache(&key, "output.docx", b"x")),
            };
            let url = format!("{}{link}", gateway.server.url());
            let fields = json!({
                "key": key, "status": status, "url": url, "filetype": "docx",
                "forcesavetype": 1, "lastsave": format!("{number}-{at}"), "userdata": token, "users": [token],
                "changesurl": url,
                "actions": [{"type": 0, "userid": token}],
            });
            let target = format!("callback/{state}{at}?access_token={token}&md5={token}");
            said.push_str(&differing(gateway, &target, token).await);
            let got = send(gateway.https, posted(gateway.https.port(), &target, &fields)).await.unwrap();
            said.push_str(&format!("{got:?} {}", got.text()));
        }
    }
    said
}

/// A callback that is refused, because its body has a field, named as a token, that its token has not.
async fn differing(gateway: &Process, target: &str, token: &str) -> String {
    let (head, body) = posted(gateway.https.port(), target, &json!({"key": "k", "status": 4})).into_parts();
    let mut body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    body[token] = json!(token);
    let request = Request::from_parts(head, Full::from(body.to_string()));
    let got = send(gateway.https, request).await.unwrap();
    assert_eq!(got.header("gateway-refusal"), Some("callback_mismatch"), "{got:?}");
    format!("{got:?} {}", got.text())
}

/// Everything that the admin listener shows.
async fn shown(gateway: &Process) -> Vec<(String, String)> {
    let mut shown = vec![("/events".to_owned(), events(gateway.admin).await)];
    for page in rig::ADMIN_PAGES {
        shown.push((page.to_owned(), wire::admin(gateway.admin, page).await));
    }
    shown
}

/// A secret that was written into gateway.toml itself, where it does not belong: what is said of that.
async fn a_secret_in_the_wrong_place(gateway: &Process) -> String {
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    let mut said = String::new();
    let wrong = [
        text.replace("{ env = \"ONLY_OFFICE_SECRET\" }", &format!("{SECRET:?}")),
        text.replace("{ env = \"ONLY_OFFICE_SECRET\" }", &format!("{{ env = {SECRET:?} }}")),
        text.replace("[jwt]\n", &format!("[jwt]\nsecrte = {SECRET:?}\n")),
        text.replace("[jwt]\n", &format!("[jwt]\nsecret = {SECRET}\n")),
    ];
    for wrong in wrong {
        assert_ne!(wrong, text);
        rig::put(&gateway.file(), &wrong);
        let request = Request::post("/reload").body(Full::default()).unwrap();
        let got = rig::ask_admin(gateway.admin, request).await;
        assert_eq!(got.status, 422, "{}", got.text());
        said.push_str(got.text());
        said.push_str(&wire::admin(gateway.admin, "/").await);
        let checked = crate::process::command(&["check", "--config", gateway.file().to_str().unwrap()])
            .output()
            .unwrap();
        said.push_str(&String::from_utf8_lossy(&checked.stdout));
        said.push_str(&String::from_utf8_lossy(&checked.stderr));
    }
    rig::put(&gateway.file(), &text);
    said
}

/// Fails with every place where one of them is, and an example of each.
fn search(places: &[(String, String)], marked: &[Marked]) {
    let mut leaks = Vec::new();
    for (place, text) in places {
        // Nor any other token: the gateway signs some itself for the ways of saves.
        let traces = marked.iter().flat_map(|one| &one.traces).map(String::as_str).chain(["eyJ"]);
        let mut found = traces.filter_map(|trace| Some((trace, text.find(trace)?)));
        if let Some((trace, at)) = found.next() {
            let before = text[..at].char_indices().rev().nth(300).map_or(0, |(from, _)| from);
            let more = found.count();
            leaks.push(format!("{trace} and {more} more in {place}: …{}", &text[before..at + trace.len()]));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_and_tokens_are_seen_nowhere() {
    let app = application().await;
    let lines = vec![
        ("sockets", "origins = [\"https://localhost\"]".into()),
        ("server", "health_networks = [\"127.0.0.0/8\"]".into()),
    ];
    let mut setup = setup(&app, lines);
    setup.tables.push_str("[log]\nlevel = \"debug\"\n"); // there is no more than this
    // Libraries that know how to trace are asked to.
    let mut gateway = Process::adjusted(setup, None, |command| {
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    })
    .await
    .reading();
    let now = standin::clock::system();
    let session = token::session("demo", ("ann", "Ann"), 1, &now);
    let expired = token::expiring(json!({"document": {"key": "demo"}, "marker": 1}), &now, -9000);
    let mut marked = vec![
        Marked::token(SECRET, &session),
        Marked::token(SECRET, &expired),
        Marked::token("another secret that is long enough", &session),
        Marked::secret(),
    ];
    let (mut said, mut sent) = (String::new(), 0);
    for (protocol, accept) in [(PROTOCOLS[0], "text/html"), (PROTOCOLS[1], "application/json")] {
        for one in &marked {
            for request in carriers(protocol, accept, &one.sent) {
                if one.sent == SECRET && is_named(&request, SECRET) {
                    continue;
                }
                said.push_str(&everything(gateway.https, protocol, request).await);
                sent += 1;
            }
        }
    }
    // Five hundred more, each of its own, over all carriers and over sockets.
    let many = (0..500).map(|number| {
        let mut claims = if number % 2 == 0 { session.clone() } else { json!({"c": "version"}) };
        claims["marker"] = json!(format!("marker-{number}"));
        Marked::token(if number % 3 == 0 { "another secret that is long enough" } else { SECRET }, &claims)
    });
    let many: Vec<Marked> = many.collect();
    let mut editors = Vec::new();
    for (number, one) in many.iter().enumerate() {
        let protocol = PROTOCOLS[number % 2];
        let mut requests = carriers(protocol, ["text/html", "*/*"][number / 2 % 2], &one.sent);
        let request = requests.swap_remove(number % requests.len());
        said.push_str(&everything(gateway.https, protocol, request).await);
        sent += 1;
        if number % 10 == 0 {
            let path = format!("{}&token={}", editor::PATH, one.sent);
            let mut editor = Editor::connect_to(gateway.https, &path).await;
            let place = ["token", "session"][number / 10 % 2];
            editor.say(&format!("40{}", json!({place: one.sent}))).await;
            said.extend(editor.next().await);
            editors.push(editor);
        }
    }
    said.push_str(&leave_saves_behind(&gateway, &app, &many[..4]).await);

    let health = wire::request(PROTOCOLS[0], "GET", "/api/v1/onlyoffice/health").body(Default::default());
    let health = everything(gateway.https, PROTOCOLS[0], health.unwrap()).await;
    assert!(health.contains("degraded"), "health in public is blind: {health}");

    let mut places = shown(&gateway).await;
    places.push(("health in public".into(), health));
    let told = |places: &[(String, String)], page: &str| {
        places.iter().find(|(place, _)| place == page).map(|(_, text)| text.clone()).unwrap()
    };
    let saves: Value =
        serde_json::from_str(told(&places, "/api/v1/saves").split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let states = ["waiting", "parked", "reserve"].map(|state| saves[state].as_u64().unwrap());
    assert!(states.iter().all(|count| *count > 0), "there is something to see of each: {saves}");
    for page in ["/", "/events"] {
        assert!(told(&places, page).contains("parked: refused"), "{page} is blind");
    }
    for page in ["<!doctype html>", "application/problem+json", "gateway-refusal"] {
        assert!(said.contains(page), "no answer with {page} was looked at");
    }
    places
        .push(("what is said of a wrong configuration".into(), a_secret_in_the_wrong_place(&gateway).await));
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    let lines = gateway.log.until_it_ends();
    let access = lines.iter().filter(|line| line["event"] == "access").count();
    println!("{sent} requests, {access} lines, {} places", places.len() + 3);
    assert!(access >= sent, "{sent} requests, {access} lines");
    places.push(("answers".into(), said));
    places.push(("the log".into(), lines.iter().map(Value::to_string).collect()));
    places.push(("stderr".into(), gateway.stderr()));
    marked.extend(many);
    search(&places, &marked);
}

/// A core holds every secret. The unit of systemd forbids it, and the gateway itself does where no unit does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_core_is_left_behind() {
    let unit = include_str!("../../systemd/rapidpm-gateway.service");
    assert!(unit.contains("\nLimitCORE=0\n"));
    let gateway = Process::start(rig::Setup::default()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.child.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().take(2).collect();
    assert_eq!(core, ["0", "0"], "soft and hard: {limits}");
}
