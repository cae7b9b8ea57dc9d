//! `doctor` on a whole set-up and on one with each fault planted: it finds that fault and no other, names it and says what to do.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use standin::document_server::Options;
use standin::{DocumentServer, Fault, Integrator, Network, integrator, token};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::redis::Redis;
use crate::rig::{self, Rig, SECRET, Setup};
use crate::{process, wire};

/// A certificate authority of the test's own; the doctor is told to trust it as the system's.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Chain and key for these names; `expired` since long.
    fn pair(&self, names: &[&str], expired: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let own = params.signed_by(&key, &self.0).unwrap();
        (format!("{}{}", own.pem(), self.0.pem()), key.serialize_pem())
    }
}

/// What a test plants before anything starts.
struct Plan {
    setup: Setup,
    /// A Document Server with these options stands behind the gateway.
    server: Options,
    app: integrator::Options,
    /// Names of the gateway's certificate.
    names: Vec<&'static str>,
    expired: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let network = Network::default().insecure();
        let server = Options { secret: SECRET.into(), network: network.clone(), ..Options::default() };
        let app = integrator::Options { secret: SECRET.into(), network, ..integrator::Options::default() };
        let lines = vec![
            ("limits", "connections = 50".to_owned()),
            ("saves", "max_document = \"1MiB\"\nmax_size = \"2MiB\"".to_owned()),
            ("document_server", "wait = \"100ms\"".to_owned()),
        ];
        let setup = Setup { port_in_url: true, lines, ..Setup::default() };
        Self { setup, server, app, names: vec!["localhost"], expired: false }
    }
}

/// A gateway with everything around it, and the file that the doctor reads: with the ports that the system chose.
struct Ward {
    rig: Rig,
    server: DocumentServer,
    app: Integrator,
    authority: Authority,
    file: PathBuf,
}

impl Ward {
    async fn start() -> Self {
        Self::with(Plan::default()).await
    }

    async fn with(plan: Plan) -> Self {
        let authority = Authority::new("doctor's tests");
        let app_pair = authority.pair(&["127.0.0.1"], false);
        let tls = plan.app.tls.clone().or(Some((app_pair.0.into(), app_pair.1.into())));
        let app = Integrator::start(integrator::Options { tls, ..plan.app }).await.unwrap();
        let server = DocumentServer::start(plan.server).await.unwrap();
        let port = server.address().port();
        let rig = Rig::with(Setup {
            upstream: Some(([127, 0, 0, 1], port).into()),
            pair: Some(authority.pair(&plan.names, plan.expired)),
            tables: format!(
                "[[integrators]]\nname = \"rapidpm\"\nurl = \"{}\"\n{}",
                app.url(),
                plan.setup.tables
            ),
            ..plan.setup
        })
        .await;
        std::fs::write(rig.folder.path().join("ca.pem"), authority.0.pem()).unwrap();
        rig.log.wait_for(|line| line["event"] == "upstream_health").await;
        let file = rig.folder.path().join("doctor.toml");
        let ward = Self { rig, server, app, authority, file };
        ward.change("admin = \"127.0.0.1:0\"", &format!("admin = \"{}\"", ward.rig.admin));
        ward.change("https = [\"127.0.0.1:0\"]", &format!("https = [\"{}\"]", ward.rig.https));
        ward
    }

    /// Changes what the doctor reads; the gateway goes on with what it has.
    fn change(&self, from: &str, to: &str) {
        let old =
            if self.file.exists() { self.file.clone() } else { self.rig.folder.path().join("gateway.toml") };
        let text = std::fs::read_to_string(old).unwrap();
        std::fs::write(&self.file, text.replacen(from, to, 1)).unwrap();
    }

    fn add(&self, text: &str) {
        let old = std::fs::read_to_string(&self.file).unwrap();
        std::fs::write(&self.file, format!("{old}\n{text}\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let file = self.file.to_str().unwrap();
        let arguments: Vec<&str> =
            ["doctor", "--config", file].into_iter().chain(arguments.iter().copied()).collect();
        let mut command = process::command(&arguments);
        command.env("SSL_CERT_FILE", self.rig.folder.path().join("ca.pem"));
        command
    }

    async fn examine(&self, arguments: &[&str]) -> Examined {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        Examined::of(self.command(&arguments)).await
    }
}

/// What the doctor said.
#[derive(Debug)]
struct Examined {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Examined {
    async fn of(mut command: Command) -> Self {
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| {
            panic!("{e}: {} {}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
        });
        Self { code: done.status.code(), findings: said["findings"].as_array().unwrap().clone() }
    }

    /// What is wrong, by question: its state. How fast this machine's disk is is the machine's own affair.
    fn wrong(&self) -> BTreeMap<&str, &str> {
        let all =
            self.findings.iter().map(|one| (one["id"].as_str().unwrap(), one["state"].as_str().unwrap()));
        all.filter(|(id, state)| matches!(*state, "failed" | "warning") && *id != "spool_fsync").collect()
    }

    /// Everything that is wrong, and words of what is seen and what to do about the first.
    fn expect(&self, wrong: &[(&str, &str)], words: &[&str]) -> &Self {
        assert_eq!(self.wrong(), wrong.iter().copied().collect(), "{:#?}", self.findings);
        let fails = wrong.iter().any(|(_, state)| *state == "failed");
        assert_eq!(self.code, Some(i32::from(fails)), "{:#?}", self.findings);
        let Some((first, _)) = wrong.first() else { return self };
        let one = self.findings.iter().find(|one| one["id"] == *first && one["cure"].is_string()).unwrap();
        let text = format!("{} {}", one["seen"].as_str().unwrap(), one["cure"].as_str().unwrap());
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
        self
    }

    /// What users see of it, in the words of RapidPM's page.
    fn users_see(&self, question: &str, words: &str) {
        let one = self.findings.iter().find(|one| one["id"] == question).unwrap();
        assert_eq!(one["users_see"], words);
    }
}

#[tokio::test]
async fn on_a_healthy_setup_nothing_is_wrong_and_every_question_is_explained() {
    let ward = Ward::start().await;
    let examined = ward.examine(&["--callback", "rapidpm=/callback?id=demo"]).await;
    examined.expect(&[], &[]);
    let skipped: Vec<_> =
        examined.findings.iter().filter(|one| one["state"] == "skipped").map(|one| &one["id"]).collect();
    assert_eq!(skipped, ["watchdog", "archive", "redis"], "{:#?}", examined.findings);
    let section = include_str!("../../README.md").split("\n### Doctor\n").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    for one in &examined.findings {
        let row = format!("\n| `{}` | ", one["id"].as_str().unwrap());
        assert_eq!(section.matches(&row).count(), 1, "{row}");
    }
    assert_eq!(section.matches("\n| `").count(), examined.findings.len(), "a question that no longer exists");
    assert_eq!(ward.app.callbacks().len(), 0);
    assert_eq!(ward.app.saves(), []);
    wire::metric_becomes(ward.rig.admin, "gateway_sockets", 0.0).await;
}

#[tokio::test]
async fn people_get_a_line_for_each_question_and_no_secret() {
    let ward = Ward::start().await;
    ward.server.set_healthy(false);
    let mut command = ward.command(&[]);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text.contains("FAILED   document_server") && text.contains("users see: Document won't load"),
        "{text}"
    );
    assert!(text.lines().last().unwrap().contains("1 failed"), "{text}");
    assert!(!text.contains(SECRET) && !text.contains("eyJ"), "{text}");
}

#[tokio::test]
async fn a_wrong_configuration_is_told_as_check_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "public_urll = 1\n").unwrap();
    let done = process::command(&["doctor", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(done.status.code(), Some(78));
    assert!(String::from_utf8(done.stderr).unwrap().contains("did you mean \"public_url\"?"));
}

#[tokio::test]
async fn another_secret_at_the_document_server() {
    let mut plan = Plan::default();
    plan.server.secret = "another-secret-0123456789abcdef0123".into();
    let examined = Ward::with(plan).await.examine(&[]).await;
    let wrong = [("secret", "failed"), ("socket", "failed"), ("gateway_socket", "failed")];
    examined
        .expect(&wrong, &["ONLY_OFFICE_SECRET matches", "JWT_SECRET"])
        .users_see("secret", "JWT validation failed");
}

#[tokio::test]
async fn tokens_switched_off_in_the_container() {
    let mut plan = Plan::default();
    plan.server.jwt = false;
    Ward::with(plan).await.examine(&[]).await.expect(&[("jwt_on", "failed")], &["JWT_ENABLED=true"]);
}

#[tokio::test]
async fn another_header_at_the_document_server() {
    let mut plan = Plan::default();
    plan.server.header = "AuthorizationJwt".into();
    let examined = Ward::with(plan).await.examine(&[]).await;
    examined.expect(&[("jwt_header", "failed")], &["[jwt] header = \"authorizationjwt\"", "JWT_HEADER"]);
    examined.users_see("jwt_header", "JWT validation failed");
}

#[tokio::test]
async fn a_clock_ten_minutes_off() {
    let mut plan = Plan::default();
    plan.server.now = Arc::new(|| SystemTime::now() + Duration::from_secs(600));
    let examined = Ward::with(plan).await.examine(&[]).await;
    let wrong = [("clock", "failed"), ("socket", "failed"), ("gateway_socket", "failed")];
    examined.expect(&wrong, &["s ahead", "timedatectl"]);
}

#[tokio::test]
async fn an_applications_clock_ten_minutes_off() {
    let mut plan = Plan::default();
    plan.app.now = Arc::new(|| SystemTime::now() - Duration::from_secs(600));
    let examined = Ward::with(plan).await.examine(&[]).await;
    examined.expect(&[("integrator_clock", "failed")], &["s behind", "timedatectl"]);
}

#[tokio::test]
async fn the_document_server_is_away() {
    let ward = Ward::start().await;
    ward.server.stop().await;
    ward.rig
        .log
        .wait_for(|line| line["message"].as_str().is_some_and(|text| text.contains("does not answer")))
        .await;
    let examined = ward.examine(&[]).await;
    let wrong = [("document_server", "failed"), ("gateway", "failed"), ("gateway_socket", "failed")];
    examined.expect(&wrong, &["Verify network connectivity", "docker ps"]);
    examined.users_see("document_server", "Document won't load");
}

#[tokio::test]
async fn the_document_server_is_not_well() {
    let ward = Ward::start().await;
    ward.server.set_healthy(false);
    ward.examine(&[]).await.expect(&[("document_server", "failed")], &["says false", "supervisorctl"]);
}

#[tokio::test]
async fn something_else_listens_where_the_document_server_should() {
    let ward = Ward::start().await;
    ward.server.fault("/healthcheck", Fault::Says("It works!"));
    ward.examine(&[])
        .await
        .expect(&[("document_server", "failed")], &["something answers", "document_server.servers"]);
}

#[tokio::test]
async fn links_without_tls() {
    let ward = Ward::start().await;
    ward.server.fault("/baseurl", Fault::Says("http://localhost"));
    let examined = ward.examine(&[]).await;
    examined.expect(&[("links", "failed")], &["mixed content", "X-Forwarded-Proto"]);
    examined.users_see("links", "Document won't load");
}

#[tokio::test]
async fn the_document_servers_port_is_open_to_others() {
    let mut plan = Plan::default();
    plan.server.listen = ([0, 0, 0, 0], 0).into();
    let ward = Ward::with(plan).await;
    let examined = ward.examine(&[]).await;
    if examined.wrong().is_empty() {
        assert!(std::env::var_os("CI").is_none(), "a machine with an address besides loopback is needed");
        println!("not tried: this machine has no address but loopback");
        return;
    }
    examined.expect(&[("exposed", "failed")], &["past the gateway", "-p 127.0.0.1:"]);
}

#[tokio::test]
async fn the_document_server_cannot_reach_the_gateway() {
    let mut plan = Plan::default();
    plan.server.network = Network::default(); // trusts nobody
    let examined = Ward::with(plan).await.examine(&[]).await;
    examined.expect(
        &[("way_back", "failed")],
        &[
            "callback URL is accessible from ONLYOFFICE",
            "docker exec onlyoffice curl -sv https://localhost:",
            "/relay/rapidpm/",
            "NODE_EXTRA_CA_CERTS",
        ],
    );
    examined.users_see("way_back", "Save callback fails");
}

#[tokio::test]
async fn no_gateway_runs() {
    let mut ward = Ward::start().await;
    ward.rig.stop().await;
    ward.server.fault("/converter", Fault::Says("{\"endConvert\":true}"));
    let wrong = [("gateway", "failed"), ("public_url", "warning")];
    ward.examine(&[]).await.expect(&wrong, &["systemctl start rapidpm-gateway", "journalctl"]);
}

#[tokio::test]
async fn an_application_that_signs_with_another_secret() {
    let ward = Ward::start().await;
    for secret in [SECRET, "another-secret-0123456789abcdef0123"] {
        let body = json!({ "token": token::sign(secret, &token::command("version", None)) }).to_string();
        let request = hyper::Request::post("/command").header("host", "localhost").body(body.into()).unwrap();
        ward.rig.send(request).await;
    }
    let examined = ward.examine(&[]).await;
    examined.expect(&[("tokens_refused", "warning")], &["ONLY_OFFICE_SECRET matches", "token verify"]);
    examined.users_see("tokens_refused", "JWT validation failed");
}

#[tokio::test]
async fn a_previous_secret_that_nobody_uses() {
    let ward = Ward::start().await;
    let old = ward.rig.folder.path().join("old-secret");
    std::fs::write(&old, "another-secret-0123456789abcdef0123").unwrap();
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o600)).unwrap();
    ward.change("[jwt]\n", "[jwt]\nprevious = [{ file = \"old-secret\" }]\n");
    let body = json!({ "token": token::sign(SECRET, &token::command("version", None)) }).to_string();
    let request = hyper::Request::post("/command").header("host", "localhost").body(body.into()).unwrap();
    ward.rig.send(request).await;
    ward.examine(&[]).await.expect(&[("previous_secret", "warning")], &["jwt.previous"]);
}

#[tokio::test]
async fn too_few_files() {
    let ward = Ward::start().await;
    ward.change(&format!("admin = \"{}\"", ward.rig.admin), "admin = \"127.0.0.1:1\""); // nobody's: the doctor's own limit counts
    let doctor = ward.command(&["--json"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
        .arg(doctor.get_program())
        .args(doctor.get_args());
    limited.env_clear().envs(doctor.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let examined = Examined::of(limited).await;
    let wrong = [("limits", "warning"), ("gateway", "failed")];
    examined.expect(&wrong, &["may open 100 files", "its unit may allow more", "LimitNOFILE=300"]);
}

#[tokio::test]
async fn a_gateway_that_may_open_too_few_files() {
    let lines = vec![("limits", "connections = 50".to_owned())];
    let gateway = process::Process::start(Setup { lines, ..Setup::default() }).await;
    let pid = gateway.child.id().to_string();
    let lowered = Command::new("prlimit").args(["--pid", &pid, "--nofile=100:100"]).status();
    assert!(lowered.unwrap().success());
    let file = gateway.folder.path().join("doctor.toml");
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    let admin = format!("admin = \"{}\"", gateway.admin);
    std::fs::write(&file, text.replace("admin = \"127.0.0.1:0\"", &admin)).unwrap();
    let examined =
        Examined::of(process::command(&["doctor", "--json", "--config", file.to_str().unwrap()])).await;
    let limits = examined.findings.iter().find(|one| one["id"] == "limits").unwrap();
    assert_eq!((&limits["state"], &limits["of"]), (&"failed".into(), &format!("process {pid}").into()));
    assert!(limits["seen"].as_str().unwrap().contains("may open 100 files"), "{limits}");
}

#[tokio::test]
async fn a_certificate_of_another_name() {
    let plan = Plan { names: vec!["other.example"], ..Plan::default() };
    let examined = Ward::with(plan).await.examine(&[]).await;
    examined.expect(
        &[("certificate", "failed")],
        &["is for other.example, not for localhost", "[[tls.certificates]]"],
    );
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let examined = Ward::with(Plan { expired: true, ..Plan::default() }).await.examine(&[]).await;
    examined.expect(&[("certificate", "failed")], &["has expired on 2021-01-01", "certbot renew"]);
}

#[tokio::test]
async fn a_renewed_certificate_that_is_not_served() {
    let ward = Ward::start().await;
    let (chain, key) = ward.authority.pair(&["localhost"], false);
    rig::write_pair(ward.rig.folder.path(), "renewed", &chain, &key);
    ward.change("chain = \"rig.pem\"\nkey = \"rig.key\"", "chain = \"renewed.pem\"\nkey = \"renewed.key\"");
    let wrong = [("certificate_served", "failed"), ("public_url", "warning")];
    ward.examine(&[]).await.expect(&wrong, &["another certificate", "systemctl reload"]);
}

/// Ends TLS for `localhost` and passes everything on to the Document Server, past the gateway: as an nginx that was left over.
async fn left_over(pair: (String, String)) -> (u16, Arc<OnceLock<std::net::SocketAddr>>) {
    use rustls::pki_types::pem::PemObject;
    let chain: Vec<_> =
        rustls::pki_types::CertificateDer::pem_slice_iter(pair.0.as_bytes()).map(Result::unwrap).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = Arc::new(OnceLock::new());
    let to = behind.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(to.get().unwrap()).await.unwrap();
                let mut outer = acceptor.accept(stream).await.unwrap();
                copy_bidirectional(&mut outer, &mut inner).await.ok();
            });
        }
    });
    (port, behind)
}

#[tokio::test]
async fn another_proxy_in_front_leaves_the_operators_pages_open() {
    let (port, behind) = left_over(Authority::new("x").pair(&["localhost"], false)).await;
    let mut plan = Plan::default();
    plan.setup.port_in_url = false;
    plan.setup.public = Box::leak(format!("localhost:{port}").into_boxed_str());
    let ward = Ward::with(plan).await;
    behind.set(ward.server.address()).unwrap();
    let wrong = [("closed", "failed"), ("public_url", "failed"), ("public_links", "failed")];
    let examined = ward.examine(&[]).await;
    examined.expect(
        &wrong,
        &["/info/config", "//info/config", "/%69nfo/config", "/docbuilder", "change JWT_SECRET"],
    );
}

#[tokio::test]
async fn an_application_that_is_away() {
    let ward = Ward::start().await;
    ward.app.stop().await;
    let examined = ward.examine(&["--callback", "rapidpm=/callback"]).await;
    examined
        .expect(&[("integrator", "failed")], &["no connection", "callback URL is accessible", "`connect`"]);
    examined.users_see("integrator", "Save callback fails");
}

#[tokio::test]
async fn an_application_with_an_unknown_ca() {
    let mut plan = Plan::default();
    let pair = Authority::new("somebody else").pair(&["127.0.0.1"], false);
    plan.app.tls = Some((pair.0.into(), pair.1.into()));
    let examined = Ward::with(plan).await.examine(&[]).await;
    examined.expect(&[("integrator", "failed")], &["UnknownIssuer", "`ca` of integrator rapidpm"]);
}

#[tokio::test]
async fn an_application_that_has_nothing_there() {
    let ward = Ward::start().await;
    let examined = ward.examine(&["--callback", "rapidpm=/nowhere"]).await;
    examined.expect(&[("callback", "warning")], &["a GET finds nothing", "--post"]);
    let examined = ward.examine(&["--callback", "rapidpm=/nowhere", "--post"]).await;
    examined.expect(&[("callback", "failed")], &["nothing is there (404)", "callbackUrl"]);
    examined.users_see("callback", "Save callback fails");
    ward.app.fault("/", Fault::Status(404));
    ward.examine(&[]).await.expect(&[("integrator", "warning")], &["404", "--callback rapidpm=/path"]);
}

#[tokio::test]
async fn callbacks_are_only_sent_when_asked_for() {
    let ward = Ward::start().await;
    let at = ["--callback", "rapidpm=/callback?id=demo", "--post"];
    ward.examine(&at).await.expect(&[], &[]);
    let got = ward.app.callbacks();
    assert_eq!((got.len(), got[0].status, got[0].token.clone()), (1, 4, Ok(())));
    assert_eq!(ward.app.saves(), []);
    let mut plan = Plan::default();
    plan.app.secret = "another-secret-0123456789abcdef0123".into();
    let examined = Ward::with(plan).await.examine(&at).await;
    examined.expect(&[("callback", "failed")], &["refuses a signed callback", "ONLY_OFFICE_SECRET matches"]);
}

#[tokio::test]
async fn a_spool_that_cannot_be_written() {
    let ward = Ward::start().await;
    std::fs::write(ward.rig.folder.path().join("file"), "").unwrap();
    let saves = ward.rig.folder.path().join("saves");
    ward.change(&format!("{saves:?}"), "\"file/saves\"");
    let examined = ward.examine(&[]).await;
    examined.expect(&[("spool", "failed")], &["saves cannot be kept", "install -d -m 0700"]);
    examined.users_see("spool", "Save callback fails");
}

#[tokio::test]
async fn a_spool_that_others_can_read() {
    let ward = Ward::start().await;
    let saves = ward.rig.folder.path().join("saves");
    std::fs::set_permissions(saves, PermissionsExt::from_mode(0o755)).unwrap();
    ward.examine(&[]).await.expect(&[("spool", "warning")], &["others may read", "chmod 0700"]);
}

#[tokio::test]
async fn a_disk_without_room() {
    let ward = Ward::start().await;
    ward.change("max_size = \"2MiB\"", "max_size = \"1000000GiB\"");
    ward.examine(&[]).await.expect(&[("spool_space", "warning")], &["less than saves.max_size", "Make room"]);
}

#[tokio::test]
async fn redis_is_away() {
    let ward = Ward::start().await;
    ward.add("[state]\nredis = \"redis://127.0.0.1:1\"");
    ward.examine(&[])
        .await
        .expect(&[("redis", "failed")], &["no connection", "systemctl status redis-server"]);
}

#[tokio::test]
async fn a_real_redis_with_a_password() {
    let ward = Ward::start().await;
    let Some(redis) = Redis::start(ward.rig.folder.path()) else { return };
    let port = redis.port;
    ward.add(&format!("[state]\nredis = \"redis://127.0.0.1:{port}\""));
    ward.examine(&[]).await.expect(&[("redis", "failed")], &["does not let us in", "redis://user:password@"]);
    ward.change(&format!("redis://127.0.0.1:{port}"), &format!("redis://:p%40ss@127.0.0.1:{port}"));
    ward.examine(&[]).await.expect(&[], &[]);
}

#[tokio::test]
async fn an_archive_that_is_unknown_refuses_or_is_away() {
    let Some(mut sshd) = crate::openssh::Sshd::start(&["ed25519"]).await else { return };
    let ward = Ward::start().await;
    ward.add(&sshd.table());
    ward.examine(&[]).await.expect(&[], &[]);
    assert_eq!(std::fs::read_dir(sshd.file("files")).unwrap().count(), 0, "a look writes nothing");
    sshd.know(&[]);
    let words = ["does not have", "ssh-keyscan -p", "fingerprint"];
    ward.examine(&[]).await.expect(&[("archive", "failed")], &words);
    sshd.know(&["ed25519"]);
    std::fs::write(sshd.file("authorized_keys"), "").unwrap();
    ward.examine(&[]).await.expect(&[("archive", "failed")], &["does not let", "authorized_keys"]);
    sshd.stop().await;
    ward.examine(&[]).await.expect(&[("archive", "failed")], &["refused", "firewall"]);
}
