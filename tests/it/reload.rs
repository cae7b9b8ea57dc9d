//! A changed configuration is taken up as a whole or not at all, by itself or when somebody asks, and says what became of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::Process;
use crate::rig::{self, Rig, SECRET, Setup, certificate, put};
use crate::wire::{self, metric, metric_becomes};

const SUCCESSFUL: &str = "gateway_config_last_reload_successful";
const GENERATION: &str = "gateway_config_generation";

/// The certificate that a client is shown who asks for `name`.
async fn shown(rig: &Rig, name: &str) -> Vec<u8> {
    let stream = rig.tls(Some(name), &["http/1.1"]).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

/// The first certificate of a file.
fn in_file(path: &Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_file(path).unwrap().to_vec()
}

#[tokio::test]
async fn a_reload_says_what_it_changed() {
    let rig = Rig::start().await;
    let at_start = metric(rig.admin, "gateway_config_last_reload_success_timestamp_seconds").await;
    assert!(at_start > 1.7e9);
    rig.edit("[limits]\n", "[limits]\nconnections = 999\n[log]\nlevel = \"debug\"\n");
    rig.edit("ONLY_OFFICE_SECRET\" }\n", "ONLY_OFFICE_SECRET\" }\nleeway = \"30s\"\n");
    let outcome = rig.reload().await;
    let changes = [
        "`jwt.leeway` was 1m, is 30s",
        "`limits.connections` was 20000, is 999",
        "`log.level` was info, is debug",
    ];
    assert_eq!(outcome["changes"], json!(changes));
    assert_eq!(outcome["generation"], 2);
    assert_eq!(outcome["cause"], "admin");
    assert_eq!((&outcome["faults"], &outcome["pending"]), (&json!([]), &json!([])));
    // Once more, and nothing is left to say.
    let outcome = rig.reload().await;
    assert_eq!((&outcome["changes"], &outcome["generation"]), (&json!([]), &json!(3)));
    assert_eq!(metric(rig.admin, GENERATION).await, 3.0);
    assert_eq!(metric(rig.admin, "gateway_config_reloads_total{result=\"applied\"}").await, 2.0);
    rig.log.wait_for(move |line| line["event"] == "reload_change" && line["message"] == changes[0]).await;
    let kept = rig.gateway.as_ref().unwrap().live.outcome().unwrap();
    assert_eq!(kept.to_string(), "configuration 3 in place, nothing changed");
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_told_with_every_fault() {
    let rig = Rig::start().await;
    let good = fs::read_to_string(rig.file()).unwrap();
    put(&rig.file(), &good.replacen("[limits]\n", "[limits]\nconnections = \"many\"\nsocket = 1\n", 1));
    let outcome = rig.reload().await;
    assert_eq!(outcome["result"], "refused");
    let faults = outcome["faults"].as_array().unwrap();
    let line = good.lines().position(|line| line == "[limits]").unwrap() + 2;
    assert_eq!(faults.len(), 2, "{outcome}");
    assert_eq!((&faults[0]["line"], &faults[1]["line"]), (&json!(line), &json!(line + 1)));
    assert_eq!((&outcome["generation"], &outcome["changes"]), (&json!(1), &json!([])));
    assert_eq!(metric(rig.admin, SUCCESSFUL).await, 0.0);
    assert_eq!(metric(rig.admin, "gateway_config_reloads_total{result=\"refused\"}").await, 1.0);
    rig.log.wait_for(|line| line["event"] == "reload_refused" && line["faults"] == "2").await;
    let fault = format!("gateway.toml:{line}:15: `limits.connections` must be a whole number");
    rig.log.wait_for(move |line| line["message"].as_str().is_some_and(|said| said.contains(&fault))).await;
    assert_eq!(rig.get("/web-apps/apps/api/documents/api.js").await.status, 200);
    put(&rig.file(), &good);
    assert_eq!(rig.reload().await["result"], "applied");
    assert_eq!(metric(rig.admin, SUCCESSFUL).await, 1.0);
}

#[tokio::test]
async fn no_page_in_a_browser_reloads() {
    let rig = Rig::start().await;
    let post = |name: &'static str, value: &'static str| Request::post("/reload").header(name, value);
    for (request, expected) in [
        (post("origin", "https://evil.example"), 403),
        (post("content-type", "application/x-www-form-urlencoded"), 403),
        (post("sec-fetch-site", "cross-site"), 403),
        (Request::get("/reload"), 405),
        (Request::options("/reload"), 405),
        (Request::put("/reload"), 405),
        (post("content-type", "application/json"), 200),
    ] {
        let got = rig::ask_admin(rig.admin, request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(got.status, expected, "{got:?}");
    }
    assert_eq!(metric(rig.admin, GENERATION).await, 2.0);
}

#[tokio::test]
async fn what_only_a_restart_changes_is_named_and_the_rest_applied() {
    let rig = Rig::start().await;
    let saves = rig.folder.path().join("saves").display().to_string();
    rig.edit("workers = 2", "workers = 1");
    rig.edit(&saves, &format!("{saves}-elsewhere"));
    rig.edit("[limits]\n", "[limits]\nconnections = 999\n");
    let outcome = rig.reload().await;
    assert_eq!(outcome["pending"], json!(["server.workers", "saves.directory"]));
    assert_eq!(outcome["pending_changes"][0], "`server.workers` was 2, is 1");
    assert_eq!(outcome["changes"], json!(["`limits.connections` was 20000, is 999"]));
    let waits =
        async |key: &str| metric(rig.admin, &format!("gateway_config_pending{{key=\"{key}\"}}")).await;
    assert_eq!((waits("server.workers").await, waits("saves.directory").await), (1.0, 1.0));
    assert_eq!(waits("server.https").await, 0.0);
    rig.log.wait_for(|line| line["event"] == "reload_pending").await;
    let running = rig.gateway.as_ref().unwrap().live.load();
    assert_eq!(running.settings.relay.saves.directory.display().to_string(), saves);
    // It stays named over other reloads, also over one that fails, until it is taken back.
    rig.edit("[limits]\n", "[limits]\nbroken = 1\n");
    assert_eq!(rig.reload().await["pending"], json!(["server.workers", "saves.directory"]));
    rig.edit("broken = 1\n", "");
    rig.edit("workers = 1", "workers = 2");
    assert_eq!(rig.reload().await["pending"], json!(["saves.directory"]));
    assert_eq!(waits("server.workers").await, 0.0);
}

#[tokio::test]
async fn the_last_certificate_stays_as_long_as_its_listener() {
    let rig = Rig::start().await;
    let text = fs::read_to_string(rig.file()).unwrap();
    let start = text.find("[[tls.certificates]]").unwrap();
    let end = text.find("[jwt]").unwrap();
    let text = format!("{}{}", &text[..start], &text[end..]);
    put(&rig.file(), &text.replacen("https = [\"127.0.0.1:0\"]", "https = []", 1));
    let outcome = rig.reload().await;
    assert_eq!(
        (&outcome["result"], &outcome["pending"]),
        (&json!("applied"), &json!(["server.https"])),
        "{outcome}"
    );
    assert_eq!(rig.get("/web-apps/apps/api/documents/api.js").await.status, 200);
}

async fn watching() -> Rig {
    Rig::with(Setup { watch: true, ..Setup::default() }).await
}

#[tokio::test]
async fn a_changed_file_is_taken_up_by_itself() {
    let rig = watching().await;
    let before = metric(rig.admin, GENERATION).await;
    rig.edit("[limits]\n", "[limits]\nconnections = 998\n"); // renamed over it
    metric_becomes(rig.admin, GENERATION, before + 1.0).await;
    let text = fs::read_to_string(rig.file()).unwrap();
    fs::write(rig.file(), text.replacen("998", "997", 1)).unwrap(); // written in place
    metric_becomes(rig.admin, GENERATION, before + 2.0).await;
    let outcome = rig.gateway.as_ref().unwrap().live.outcome().unwrap();
    assert_eq!(outcome.changes, ["`limits.connections` was 998, is 997"]);
    assert_eq!(outcome.cause.name(), "file");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_as_certbot_and_kubernetes_put_it() {
    let rig = watching().await;
    let at = |name: &str| rig.folder.path().join(name);
    // certbot: live/ holds links into archive/, which are replaced one after the other.
    fs::create_dir_all(at("archive")).unwrap();
    fs::create_dir_all(at("live")).unwrap();
    let point = |stem: &str| {
        certificate(&at("archive"), stem, &["localhost"]);
        for (kind, link) in [("pem", "chain.pem"), ("key", "key.pem")] {
            fs::remove_file(at("live").join(link)).ok();
            symlink(format!("../archive/{stem}.{kind}"), at("live").join(link)).unwrap();
        }
    };
    point("1");
    rig.edit("\"rig.pem\"", "\"live/chain.pem\"");
    rig.edit("\"rig.key\"", "\"live/key.pem\"");
    metric_becomes(rig.admin, GENERATION, 2.0).await;
    assert_eq!(shown(&rig, "localhost").await, in_file(&at("archive/1.pem")));
    point("2");
    metric_becomes(rig.admin, GENERATION, 3.0).await;
    assert_eq!(shown(&rig, "localhost").await, in_file(&at("archive/2.pem")));
    // Kubernetes: one link to a folder is swapped.
    let mount = |stamp: &str| {
        fs::create_dir_all(at("mount").join(stamp)).unwrap();
        certificate(&at("mount").join(stamp), "tls", &["localhost"]);
        symlink(stamp, at("mount/..data_tmp")).unwrap();
        fs::rename(at("mount/..data_tmp"), at("mount/..data")).unwrap();
    };
    mount("..2026_1");
    for file in ["tls.pem", "tls.key"] {
        symlink(format!("..data/{file}"), at("mount").join(file)).unwrap();
    }
    rig.edit("\"live/chain.pem\"", "\"mount/tls.pem\"");
    rig.edit("\"live/key.pem\"", "\"mount/tls.key\"");
    let newest = at("mount/..2026_1/tls.pem");
    until_shown(&rig, &newest).await;
    mount("..2026_2");
    until_shown(&rig, &at("mount/..2026_2/tls.pem")).await;
}

/// certbot's folders are open to root alone: `systemd/certbot-deploy.sh` brings what is renewed to where the gateway reads it.
#[tokio::test]
async fn a_renewal_that_certbots_hook_hands_over_is_served() {
    let rig = watching().await;
    let lineage = rig.folder.path().join("live/rig"); // the rig's pair is called so
    fs::create_dir_all(&lineage).unwrap();
    let hand_over = || {
        let mut hook = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/certbot-deploy.sh"));
        hook.env("CERTS", rig.folder.path()).env("RENEWED_LINEAGE", &lineage).output().unwrap()
    };
    for _ in 0..3 {
        certificate(&lineage, "new", &["localhost"]);
        fs::rename(lineage.join("new.pem"), lineage.join("fullchain.pem")).unwrap();
        fs::rename(lineage.join("new.key"), lineage.join("privkey.pem")).unwrap();
        let handed = hand_over();
        assert!(handed.status.success(), "{handed:?}");
        until_shown(&rig, &lineage.join("fullchain.pem")).await;
        let rights = fs::metadata(rig.folder.path().join("rig.key")).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o640);
    }
    // Half of a renewal changes nothing.
    fs::remove_file(lineage.join("privkey.pem")).unwrap();
    let before = in_file(&rig.folder.path().join("rig.pem"));
    assert!(!hand_over().status.success());
    assert_eq!(in_file(&rig.folder.path().join("rig.pem")), before);
    let left = fs::read_dir(rig.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".rig")));
}

async fn until_shown(rig: &Rig, file: &Path) {
    let expected = in_file(file);
    let served = async { while shown(rig, "localhost").await != expected {} };
    wire::soon("the renewed certificate", served).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_while_gateway_toml_is_broken() {
    let rig = Rig::start().await;
    rig.edit("[limits]\n", "[limits\n");
    assert_eq!(rig.reload().await["result"], "refused");
    certificate(rig.folder.path(), "rig", &["localhost"]);
    let outcome = rig.reload().await;
    assert_eq!((&outcome["result"], &outcome["generation"]), (&json!("refused"), &json!(2)), "{outcome}");
    let change = outcome["changes"][0].as_str().unwrap();
    assert!(change.starts_with("`tls.certificates` of certificate \"localhost\" was "), "{change}");
    assert_eq!(outcome["stale_certificates"], json!([]));
    assert_eq!(shown(&rig, "localhost").await, in_file(&rig.folder.path().join("rig.pem")));
    assert_eq!(metric(rig.admin, SUCCESSFUL).await, 0.0);
}

#[tokio::test]
async fn a_broken_pair_is_not_served_and_does_not_hold_up_another() {
    let more_names = vec![vec!["other.example"]];
    let rig = Rig::with(Setup { more_names, ..Setup::default() }).await;
    let at = |name: &str| rig.folder.path().join(name);
    let good = shown(&rig, "localhost").await;
    let key = fs::read(at("rig.key")).unwrap();
    certificate(rig.folder.path(), "more-0", &["other.example"]);
    fs::write(at("rig.key"), &key[..key.len() / 2]).unwrap();
    let outcome = rig.reload().await;
    assert_eq!(outcome["result"], "refused");
    assert_eq!(outcome["stale_certificates"], json!(["localhost"]), "{outcome}");
    assert_eq!(outcome["faults"].as_array().unwrap().len(), 1);
    assert_eq!(shown(&rig, "localhost").await, good);
    assert_eq!(shown(&rig, "other.example").await, in_file(&at("more-0.pem")));
    let stale = async |name: &str| {
        metric(rig.admin, &format!("gateway_certificate_stale{{certificate=\"{name}\"}}")).await
    };
    assert_eq!((stale("localhost").await, stale("other.example").await), (1.0, 0.0));
    rig.log.wait_for(|line| line["event"] == "certificate_stale" && line["certificate"] == "localhost").await;
    let health = async || {
        let page = wire::admin(rig.admin, "/api/v1/onlyoffice/health").await;
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert_eq!(wire::status(head), 200);
        serde_json::from_str::<serde_json::Value>(body).unwrap()
    };
    let told = health().await;
    assert_eq!(told["status"], "degraded");
    let stale_one =
        "the changed files of certificate \"localhost\" cannot be used; the last good pair is served";
    assert!(told["detail"].as_array().unwrap().contains(&stale_one.into()), "{told}");
    // rcgen's certificates end in 4096.
    let ends =
        metric(rig.admin, "gateway_certificate_expiry_timestamp_seconds{certificate=\"localhost\"}").await;
    assert!(ends > 6e10, "{ends}");
    fs::write(at("rig.key"), key).unwrap();
    assert_eq!(rig.reload().await["stale_certificates"], json!([]));
    assert_eq!(stale("localhost").await, 0.0);
    assert_eq!(health().await.get("detail"), None);
}

#[tokio::test]
async fn a_secret_in_a_file_is_renewed_while_gateway_toml_is_broken() {
    let rig = Rig::start().await;
    let new = "a-new-one-8e1f0c7745d29b36aa01c5e2";
    let secret = rig.folder.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    rig.edit("{ env = \"ONLY_OFFICE_SECRET\" }", "{ file = \"secret\" }");
    assert_eq!(rig.reload().await["changes"], json!([]));
    rig.edit("[limits]\n", "[limits\n");
    fs::write(&secret, new).unwrap();
    let outcome = rig.reload().await;
    assert_eq!(outcome["changes"], json!(["`jwt.secret` is another one"]));
    assert!(!outcome.to_string().contains(new));
    let command = |secret: &str| {
        let token = standin::token::sign(secret, &json!({"c": "version"}));
        let body = json!({"c": "version", "token": token}).to_string();
        Request::post("/command").header("host", "localhost").body(Full::from(body)).unwrap()
    };
    let refusal = |got: rig::Got| got.header("gateway-refusal").map(str::to_owned);
    assert_eq!(refusal(rig.send(command(SECRET)).await).as_deref(), Some("token_signature"));
    assert_eq!(refusal(rig.send(command(new)).await), None);
}

#[tokio::test]
async fn sessions_and_upstream_connections_outlive_a_reload() {
    let rig = Rig::start().await;
    let mut client = rig::client(rustls::DEFAULT_VERSIONS);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").unwrap();
    let ask = async || {
        let stream = TcpStream::connect(rig.https).await.unwrap();
        let mut stream = connector.connect(name.clone(), stream).await.unwrap();
        let head = b"GET /web-apps/apps/api/documents/api.js HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = wire::exchange(&mut stream, head).await;
        assert_eq!(wire::status(&answer), 200);
        stream.get_ref().1.handshake_kind().unwrap()
    };
    assert_eq!(ask().await, HandshakeKind::Full);
    // Two cores, each with connections of its own.
    for _ in 0..8 {
        ask().await;
    }
    let connections = || {
        rig.server
            .requests()
            .iter()
            .filter(|r| r.target.ends_with("api.js"))
            .map(|r| r.connection)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = connections();
    for n in 0..5 {
        rig.edit("[limits]\n", &format!("[limits]\n# {n}\n"));
        assert_eq!(rig.reload().await["result"], "applied");
        assert_eq!(ask().await, HandshakeKind::Resumed);
    }
    assert_eq!(connections(), before);
}

#[tokio::test]
async fn sighup_reloads_and_a_server_that_is_gone_leaves_the_metrics() {
    let mut gateway = Process::start(Setup::default()).await;
    let old = format!("gateway_upstream_up{{server=\"{}\"}}", gateway.server.address());
    metric_becomes(gateway.admin, &old, 1.0).await;
    let text = fs::read_to_string(gateway.file()).unwrap();
    let text = text.replacen(&gateway.server.url(), "http://127.0.0.1:9", 1);
    fs::write(gateway.file(), text).unwrap();
    gateway.signal("HUP");
    let line = gateway.log.wait_for("the reload", |line| line["event"] == "reloaded");
    assert!(line["generation"].as_str().is_some(), "{line}");
    metric_becomes(gateway.admin, "gateway_upstream_up{server=\"127.0.0.1:9\"}", 0.0).await;
    assert!(!wire::admin(gateway.admin, "/metrics").await.contains(&old));
}
