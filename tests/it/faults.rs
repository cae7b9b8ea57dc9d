//! The program as operators meet it: what is wrong is said with its line and ends with an exit code that scripts know; what runs
//! keeps running.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use standin::Fault;

use crate::process::{self, Process};
use crate::rig::{self, SECRET, Setup};
use crate::wire::{self, Client, soon};

const WRONG_CONFIGURATION: i32 = 78;

/// A folder with the certificates, keys and secrets that the faulty files name.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(bench.path("certs")).unwrap();
        rig::certificate(&bench.path("certs"), "onlyoffice.rapidpm.uk", &["onlyoffice.rapidpm.uk"]);
        rig::certificate(&bench.path("certs"), "other", &["other.example", "*.wild.example"]);
        for (name, text, mode) in [
            ("certs/onlyoffice.rapidpm.uk.key", None, 0o600),
            ("certs/other.key", None, 0o600),
            ("secret", Some(SECRET), 0o600),
            ("open-secret", Some(SECRET), 0o644),
            ("empty", Some("\n"), 0o600),
            ("weak", Some("ChangeMe!\n"), 0o600),
            ("known_hosts", Some("files.rapidpm.uk ssh-ed25519 AAAA\n"), 0o644),
            ("archive.key", Some("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600),
            ("creds/onlyoffice-secret", Some(SECRET), 0o600),
        ] {
            let path = bench.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(arguments);
        command.current_dir(self.0.path());
        command.env("OLD_SECRET", "an older one, 9c1f44ab20dd7e61, long enough");
        command.env("EMPTY", "").env("WEAK", "my_jwt_secret").env("SHORT", "Zk8q0-vR3x");
        command.env("CREDENTIALS_DIRECTORY", self.path("creds"));
        command
    }

    fn output(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = [stdout, stderr].concat();
        let folder = format!("{}/", self.0.path().display());
        (status.code().unwrap(), String::from_utf8(text).unwrap().replace(&folder, ""))
    }
}

fn invalid() -> BTreeSet<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect()
}

#[test]
fn every_faulty_configuration_is_refused_with_every_line() {
    let bench = Bench::new();
    let files = invalid();
    assert!(files.len() >= 50, "{}", files.len());
    for file in &files {
        fs::copy(file, bench.path("gateway.toml")).unwrap();
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        for command in ["run", "check"] {
            let (code, said) =
                bench.output(&[command, "--config", bench.path("gateway.toml").to_str().unwrap()]);
            assert_eq!(code, WRONG_CONFIGURATION, "{command} {}: {said}", file.display());
            for fault in expected.lines() {
                let fault = match fault.strip_prefix("-: ") {
                    Some(whole) => format!("gateway.toml: {whole}"),
                    None => format!("gateway.toml:{fault}"),
                };
                assert!(said.contains(&fault), "{command} {}: no {fault} in\n{said}", file.display());
            }
            assert!(!said.contains(SECRET) && !said.contains("\"started\""), "{command} {}", file.display());
        }
    }
}

/// The configuration is judged before a port is touched: with every port of a faulty file taken, it is the file that is at fault.
#[test]
fn a_port_is_opened_only_for_a_configuration_without_faults() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let toml = |mode: &str, server: &str| {
        format!(
            "public_url = \"https://onlyoffice.rapidpm.uk\"\nmode = \"{mode}\"\n[server]\n{server}\n\
             [[tls.certificates]]\nnames = [\"onlyoffice.rapidpm.uk\"]\nchain = \"certs/onlyoffice.rapidpm.uk.pem\"\n\
             key = \"certs/onlyoffice.rapidpm.uk.key\"\n[saves]\ndirectory = \"saves\"\n"
        )
    };
    let free = "127.0.0.1:0";
    for (https, http, admin) in [
        (address.to_string(), free.to_owned(), free.to_owned()),
        (free.to_owned(), address.to_string(), free.to_owned()),
        (free.to_owned(), free.to_owned(), address.to_string()),
    ] {
        let server = format!("https = [\"{https}\"]\nhttp = [\"{http}\"]\nadmin = \"{admin}\"");
        for (mode, expected) in [("enforced", WRONG_CONFIGURATION), ("enforce", 1)] {
            fs::write(bench.path("gateway.toml"), toml(mode, &server)).unwrap();
            let (code, said) = bench.output(&["run", "--config", "gateway.toml"]);
            assert_eq!(code, expected, "{server}: {said}");
            assert_eq!(said.contains(&address.to_string()), expected == 1, "it names the port: {said}");
        }
    }
}

#[test]
fn what_cannot_be_typed_is_wrong_usage_and_no_file_is_a_wrong_configuration() {
    let bench = Bench::new();
    for arguments in [&["chek"][..], &["run", "--confg", "x"], &["check", "--config"], &["certs"], &["--jsn"]]
    {
        assert_eq!(bench.output(arguments).0, 2, "{arguments:?}");
    }
    for arguments in [&["run", "--config", "nowhere.toml"][..], &["check", "--config", "certs"]] {
        let (code, said) = bench.output(arguments);
        assert_eq!(code, WRONG_CONFIGURATION, "{arguments:?}");
        assert!(said.contains(arguments[2]), "{said}");
    }
}

#[test]
fn the_shipped_configuration_is_fine() {
    let bench = Bench::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    fs::copy(shipped, bench.path("gateway.toml")).unwrap();
    let (code, said) = bench.output(&["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("gateway.toml is fine") && !said.contains("warning"), "{said}");
    let (code, said) = bench.output(&["check", "--json"]);
    assert_eq!((code, &serde_json::from_str::<serde_json::Value>(&said).unwrap()["fine"]), (0, &true.into()));
}

async fn status(gateway: &Process, target: &str) -> u16 {
    let mut client = Client::new(gateway.https, "h2").await;
    let (_, none) = wire::pieces(Some(0));
    let asked = wire::request("h2", "GET", target).body(none).unwrap();
    soon(target, client.send(asked)).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_change_changes_nothing_and_a_good_one_everything() {
    let mut gateway = Process::start(Setup::default()).await;
    let good = fs::read_to_string(gateway.file()).unwrap();
    assert_eq!(status(&gateway, "/example/").await, 404);
    // Six faults with their lines, more text than a fact of the log may hold.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    fs::copy(folder.join("six-faults.toml"), gateway.file()).unwrap();
    gateway.signal("HUP");
    let refused = gateway.log.wait_for("the refusal", |line| line["event"] == "reload_refused");
    assert_eq!(refused["level"], "error");
    for fault in fs::read_to_string(folder.join("six-faults.txt")).unwrap().lines() {
        let named = format!("gateway.toml:{fault}");
        gateway.log.wait_for(fault, |line| {
            line["event"] == "configuration"
                && line["message"].as_str().is_some_and(|said| said.contains(&named))
        });
    }
    assert_eq!(status(&gateway, "/example/").await, 404);
    assert_eq!(status(&gateway, "/web-apps/size-7").await, 200);
    fs::write(gateway.file(), good.replace("servers = [", "example = true\nservers = [")).unwrap();
    gateway.signal("HUP");
    gateway.log.wait_for("the reload", |line| line["event"] == "reloaded");
    // 502 is the stand-in's own answer: the route is open.
    soon("the change in force", async { while status(&gateway, "/example/").await != 502 {} }).await;
    assert!(gateway.child.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_leave_it_finishes_what_it_began() {
    for signal in ["TERM", "INT"] {
        let drain = vec![("server", "drain = \"5s\"".into())];
        let mut gateway = Process::start(Setup { lines: drain, ..Setup::default() }).await;
        let mut waiting = Vec::new();
        for (number, protocol) in wire::PROTOCOLS.into_iter().enumerate() {
            let path = format!("/web-apps/{number}/size-9");
            gateway.server.fault(&path, Fault::Delay(Duration::from_millis(700)));
            let mut client = Client::new(gateway.https, protocol).await;
            let (_, none) = wire::pieces(Some(0));
            let answer = tokio::spawn(client.send(wire::request(protocol, "GET", &path).body(none).unwrap()));
            gateway.server.wait_for_request(|seen| seen.path() == path).await;
            waiting.push((client, answer));
        }
        let _idle = Client::new(gateway.https, "h2").await;
        gateway.signal(signal);
        gateway.log.wait_for("the stop", |line| line["event"] == "stopping");
        for (_client, answer) in waiting {
            let response = soon("an answer", answer).await.unwrap().unwrap();
            assert_eq!(response.status(), 200);
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
            assert_eq!(body.to_bytes().len(), 9);
        }
        let answered = Instant::now();
        assert_eq!(gateway.ended().await, 0, "{signal}");
        println!("SIG{signal}: gone {:?} after the last answer", answered.elapsed());
        assert!(answered.elapsed() < Duration::from_secs(4), "it does not wait for the whole of drain (5 s)");
        assert_eq!(gateway.log.until_it_ends().last().unwrap()["event"], "stopped");
        assert_eq!(gateway.stderr(), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_leave_it_does_not_wait_for_ever() {
    let setup = Setup { lines: vec![("server", "drain = \"200ms\"".into())], ..Setup::default() };
    let mut gateway = Process::start(setup).await;
    gateway.server.fault("/web-apps/never", Fault::Stall);
    let mut client = Client::new(gateway.https, "http/1.1").await;
    let (_, none) = wire::pieces(Some(0));
    let answer =
        tokio::spawn(client.send(wire::request("http/1.1", "GET", "/web-apps/never").body(none).unwrap()));
    gateway.server.wait_for_request(|seen| seen.path() == "/web-apps/never").await;
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, 0);
    assert!(soon("the end", answer).await.unwrap().is_err());
    let ends = |line: &serde_json::Value| line["path"] == "/web-apps/never";
    assert!(gateway.log.until_it_ends().iter().any(ends), "a request that was cut is in the log");
}
