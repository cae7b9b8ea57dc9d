//! The numbers are those that dashboards and alerts rely on: all of them from the start, each of them alive, and none because of
//! what a client says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rapidpm_gateway::rules::refusal::REASONS;
use rapidpm_gateway::rules::route::Route;
use serde_json::json;
use standin::integrator::Reply;
use standin::{Fault, Integrator, token, zip};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::editor::Editor;
use crate::relay;
use crate::rig::{self, Rig, SECRET};
use crate::wire::{self, Client, soon};

/// A name with what stands below it.
#[derive(Default)]
pub struct Family {
    pub kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
    /// By name and labels as they are written.
    pub series: BTreeMap<String, f64>,
}

/// Every family of a page. Fails where a series has no family, or one comes twice.
pub fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let body = page.split("\r\n\r\n").nth(1).unwrap();
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let family = families.entry(name.into()).or_default();
            assert_eq!(family.help, "", "{name} stands there twice");
            family.help = help.into();
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.get_mut(name).unwrap_or_else(|| panic!("{name}: no HELP")).kind = kind.into();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end)
                .filter(|name| families.get(*name).is_some_and(|family| family.kind == "histogram"))
        });
        let family = families.get_mut(of.unwrap_or(name)).unwrap_or_else(|| panic!("{name}: no TYPE"));
        // No value of a label holds a comma.
        for (label, value) in
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='))
        {
            family.labels.entry(label.into()).or_default().insert(value.trim_matches('"').into());
        }
        assert!(family.series.insert(series.into(), value.parse().unwrap()).is_none(), "{series}: twice");
    }
    families
}

/// What does not depend on the moment or the machine, a line a family.
fn outline(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    for (name, family) in families {
        text.push_str(&format!("{name} {}", family.kind));
        for (label, values) in &family.labels {
            let values = match label.as_str() {
                "server" | "certificate" | "version" | "commit" | "rustc" => "*".into(),
                "route" if Route::all().all(|route| values.contains(route.name())) => "every route".into(),
                "reason" if REASONS.iter().all(|reason| values.contains(*reason)) => "every refusal".into(),
                _ => Vec::from_iter(values.clone()).join(" "),
            };
            text.push_str(&format!(" {label}=[{values}]"));
        }
        text.push('\n');
    }
    text
}

/// Whether a program is there. A test without it says so, and fails where everything must be there.
pub fn there_is(program: &str) -> bool {
    if Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} must be there: install the package `prometheus`");
    println!("skipped: no {program}; install the package `prometheus`");
    false
}

fn check(page: &str) {
    if !there_is("promtool") {
        return;
    }
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let body = page.split("\r\n\r\n").nth(1).unwrap();
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn every_series_is_there_from_the_start() {
    let rig = Rig::start().await;
    rig.log.wait_for(|line| line["event"] == "upstream_health").await;
    let page = wire::admin(rig.admin, "/api/metrics").await;
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{}", &page[..300]);
    check(&page);
    let families = families(&page);
    // To be taken up after a look at the difference: UPDATE_EXPECTED=1 cargo test --test it metrics
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metrics/families.txt");
    let text = outline(&families);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&file).unwrap());
    for (name, family) in &families {
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        // These say what is, and it is so from the start.
        let is_state = name.starts_with("process_")
            || [
                "gateway_archive_up",
                "gateway_build_info",
                "gateway_certificate_expiry_timestamp_seconds",
                "gateway_config_generation",
                "gateway_config_last_reload_success_timestamp_seconds",
                "gateway_config_last_reload_successful",
                "gateway_saves_limit_bytes",
                "gateway_upstream_up",
            ]
            .contains(&name.as_str());
        for (series, value) in &family.series {
            assert!(is_state || *value == 0.0, "{series} {value}");
        }
    }
}

/// What an application and a browser do in a day, and what goes wrong in it.
struct Day {
    rig: Rig,
    app: Integrator,
}

impl Day {
    async fn begin() -> Self {
        let app = relay::application().await;
        let lines = vec![
            ("sockets", "origins = [\"https://localhost\"]".to_owned()),
            ("limits", "connections_per_address = 60".to_owned()),
        ];
        let mut setup = relay::setup(&app, lines);
        setup.deadlines.grace = Duration::from_secs(1);
        let rig = Rig::with(setup).await;
        app.set_public_url(&format!("https://localhost:{}/relay/rapidpm", rig.https.port()));
        Self { rig, app }
    }

    async fn callback(&self, id: &str, key: &str, kind: &str, bytes: &[u8]) {
        let link = self.rig.server.cache(key, "output", bytes);
        let fields = json!({"key": key, "status": 2, "url": format!("{}{link}", self.rig.server.url()),
            "users": ["u"], "lastsave": "2026-11-22T04:07:11.000Z", "filetype": kind});
        let target = format!("callback?id={id}");
        self.rig.send(relay::posted(self.rig.https.port(), &target, &fields)).await;
    }

    async fn saves(&self) {
        let mut ann = Box::pin(Editor::join(self.rig.https, &self.app, "ann")).await;
        ann.write("Ann. ").await;
        ann.message(&json!({"type": "close"})).await;
        ann.0.close(None).await.ok();
        soon("the save", self.app.wait_for_save("demo")).await;
        // Not of its type, cut short, and no XML.
        let whole = zip::document("docx", "Hello");
        self.callback("2", "text", "docx", b"Hello").await;
        self.callback("3", "cut", "docx", &whole[..whole.len() - 30]).await;
        self.callback("4", "xml", "docx", &zip::document("docx", "\u{1}")).await;
        self.app.set_reply_to(2, Reply::Error(1));
        self.callback("5", "refused", "txt", b"x").await;
        self.app.set_reply_to(2, Reply::Status(503));
        self.callback("6", "waits", "txt", b"x").await;
    }

    async fn refusals(&self) {
        for target in ["/info/config", "/%00", "/nosuch"] {
            self.rig.get(target).await;
        }
        let mut stranger = Editor::connect(self.rig.https).await;
        let foreign = token::sign("another-secret-0123456789abcdef012345", &json!({"document": {}}));
        stranger.say(&format!("40{}", json!({"token": foreign}))).await;
        while stranger.next().await.is_some() {}
        // The key in the path is another: that is only watched.
        let mut watched = Editor::connect(self.rig.https).await;
        let other = token::open("other", "https://rapidpm.uk/d", "https://rapidpm.uk/c", ("u", "U"), "edit");
        watched.say(&format!("40{}", json!({"token": token::sign(SECRET, &other)}))).await;
        watched.next().await;
        watched.0.send(Message::Close(None)).await.ok();
    }

    async fn changes(&self) {
        self.rig.edit("workers = 2", "workers = 3");
        assert_eq!(self.rig.reload().await["result"], "applied");
        rig::put(&self.rig.folder.path().join("rig.key"), "no key");
        assert_eq!(self.rig.reload().await["result"], "refused");
    }

    async fn accidents(&self) {
        let mut plain = TcpStream::connect(self.rig.https).await.unwrap();
        wire::exchange(&mut plain, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut tls = self.rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        wire::exchange(&mut tls, b"no http at all\r\n\r\n").await;
        let mut redirected = TcpStream::connect(self.rig.http).await.unwrap();
        wire::exchange(&mut redirected, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut crowd = Vec::new();
        for _ in 0..61 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
            crowd.push(socket.connect(self.rig.https).await.unwrap());
        }
        wire::metric_becomes(self.rig.admin, "gateway_connections_refused_total", 1.0).await;
        self.rig.server.fault("/upload", Fault::Close);
        let (_, body) = wire::pieces(Some(0));
        let mut client = Client::new(self.rig.https, "http/1.1").await;
        let answer = soon("an answer", client.send(wire::upload("http/1.1", body))).await.unwrap();
        assert_eq!(answer.status(), 502);
    }
}

/// What this day does not move, and the file of tests that does. The outcome of the last reload begins with 1.
const ELSEWHERE: [(&str, &str); 14] = [
    ("gateway_archive_bytes", "archive"),
    ("gateway_archive_copies_total", "archive"),
    ("gateway_archive_waiting", "archive"),
    ("gateway_asset_brotli_total", "assets"),
    ("gateway_asset_bytes", "assets"),
    ("gateway_asset_requests_total", "assets"),
    ("gateway_asset_served_bytes_total", "assets"),
    ("gateway_config_last_reload_successful", "reload"),
    ("gateway_editors_held", "hold"),
    ("gateway_forgotten_files", "forgotten"),
    ("gateway_log_dropped_total", "logging"),
    ("gateway_saves_let_in_total", "hold"),
    ("gateway_saves_not_kept_total", "relay_disk"),
    ("onlyoffice_upload_duration_seconds", "archive"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_moves_every_number() {
    let day = Day::begin().await;
    Box::pin(day.saves()).await;
    day.refusals().await;
    day.accidents().await;
    day.changes().await;
    let leave = "onlyoffice_session_events_total{event=\"leave\"}";
    let left = async { while wire::metric(day.rig.admin, leave).await < 1.0 {} };
    soon("a leave to be counted", left).await;
    // What is under way when somebody looks.
    let _bob = Editor::join(day.rig.https, &day.app, "bob").await;
    day.rig.server.fault("/web-apps/stalls", Fault::Stall);
    let mut client = Client::new(day.rig.https, "h2").await;
    let (_, none) = wire::pieces(Some(0));
    let stalls = wire::request("h2", "GET", "/web-apps/stalls").body(none).unwrap();
    let stalls = tokio::spawn(client.send(stalls));
    day.rig.server.wait_for_request(|seen| seen.path() == "/web-apps/stalls").await;
    day.rig.get("/9.0.4-a/doc/demo/c/?shardkey=demo&EIO=4&transport=polling&t=x").await;
    let page = wire::admin(day.rig.admin, "/metrics").await;
    check(&page);
    let families = families(&page);
    let mut quiet = BTreeSet::new();
    for (name, family) in &families {
        let is_fixed = name.starts_with("onlyoffice_");
        let still = family.series.iter().filter(|(series, value)| {
            **value == 0.0 && (family.kind != "histogram" || series.contains("_count"))
        });
        let still: Vec<_> = still.map(|(series, _)| series).collect();
        if still.len() == family.series.len() || is_fixed && !still.is_empty() {
            println!("{name} stood still: {still:?}");
            quiet.insert(name.as_str());
        }
    }
    assert_eq!(Vec::from_iter(quiet), ELSEWHERE.map(|(name, _)| name));
    for (name, file) in ELSEWHERE {
        let path = format!("{}/tests/it/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::fs::read_to_string(path).unwrap().contains(name), "{file}.rs does not look at {name}");
    }
    let hour = day.rig.gateway.as_ref().unwrap().ops.metrics.refusals.last_hour();
    assert!(hour.contains(&("token_signature", 1)), "{hour:?}");
    stalls.abort();
}

const REQUESTS: u32 = 10_000;

/// Beginnings and ends of paths, each of which leads somewhere else.
const HEADS: [&str; 12] = [
    "",
    "/web-apps",
    "/doc",
    "/upload",
    "/command",
    "/converter",
    "/savefile",
    "/relay",
    "/saved",
    "/cache/files",
    "/info",
    "/9.0.4-a/printfile",
];
const TAILS: [&str; 8] = ["", "", "", "", "/c", "/%00", "/%2f", "/%"];
const METHODS: [&str; 8] = ["GET", "POST", "POST", "HEAD", "OPTIONS", "PATCH", "BREW", "get"];

/// A request that nobody has ever sent.
fn random(random: &mut fastrand::Rng, protocol: &str) -> Request<Full<Bytes>> {
    let word = |random: &mut fastrand::Rng, most: usize| -> String {
        let length = random.usize(1..=most);
        std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
    };
    let [name, path, agent] = [20, 60, 40].map(|most| word(random, most));
    let secret = if random.bool() { SECRET } else { "of-somebody-else-0123456789abcdef0123456789" };
    let claims =
        if random.bool() { json!({"c": name}) } else { json!({"document": {"key": path}, "exp": 7}) };
    let signed = token::sign(secret, &claims);
    let host = if random.u8(..) < 230 { "localhost".to_owned() } else { format!("{name}.example") };
    let one = |random: &mut fastrand::Rng, of: &[&'static str]| of[random.usize(..of.len())];
    let (head, tail) = (one(random, &HEADS), one(random, &TAILS));
    let target = format!("{head}/{path}{tail}?{name}={name}&token={signed}");
    let target = if random.bool() { target } else { format!("{head}?{name}") };
    let target = if target.starts_with('/') { target } else { format!("/{target}") };
    let builder = Request::builder().method(one(random, &METHODS));
    let builder = match protocol {
        "h2" => builder.uri(format!("https://{host}{target}")),
        _ => builder.uri(target).header("host", host),
    };
    let builder = builder.header("authorization", format!("Bearer {signed}")).header("user-agent", &agent);
    let builder = builder.header("origin", format!("https://{name}.example")).header("x-request-id", agent);
    let body = if random.bool() { json!({"token": signed, "key": name}).to_string() } else { String::new() };
    builder.body(Full::from(body)).unwrap()
}

async fn ask(to: SocketAddr, protocol: &'static str, asked: Arc<AtomicU32>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while asked.load(Ordering::Relaxed) < REQUESTS {
        // What is refused may end the connection; then there is another.
        let stream = soon("a connection", rig::tls(to, Some("localhost"), &[protocol])).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        if protocol == "h2" {
            let (mut client, connection) =
                hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
                    .await
                    .unwrap();
            tokio::spawn(connection);
            while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                let request = random(&mut rng, protocol);
                let Ok(answer) = soon("an answer", client.send_request(request)).await else { break };
                rig::Got::from(answer).await;
            }
        } else {
            let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            while client.ready().await.is_ok() && asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                let request = random(&mut rng, protocol);
                let Ok(answer) = soon("an answer", client.send_request(request)).await else { break };
                rig::Got::from(answer).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_makes_a_series() {
    let rig = Rig::start().await;
    let names = async || {
        let families = families(&wire::admin(rig.admin, "/metrics").await);
        families.into_values().flat_map(|family| family.series.into_keys()).collect::<BTreeSet<_>>()
    };
    let before = names().await;
    let asked = Arc::new(AtomicU32::new(0));
    let all: Vec<_> = (0..8)
        .map(|seed| {
            let protocol = if seed % 2 == 0 { "h2" } else { "http/1.1" };
            tokio::spawn(ask(rig.https, protocol, asked.clone(), seed))
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let after = names().await;
    assert!(after == before, "new: {:?}", after.difference(&before).collect::<Vec<_>>());
    let families = families(&wire::admin(rig.admin, "/metrics").await);
    let counted: f64 = families["gateway_requests_total"].series.values().sum();
    let reasons = families["gateway_refusals_total"].series.values().filter(|value| **value > 0.0).count();
    println!("{counted} requests, {} series, {reasons} kinds of refusal", after.len());
    assert!(counted > f64::from(REQUESTS) * 0.9 && reasons > 10);
}
