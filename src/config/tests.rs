//! Good and bad configurations: what each is worth, and that a bad one is worth nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod unwise;

/// A secret that would be good enough, and that must never be seen again.
const MARKER: &str = "MARKER-7f1d0c9be2-4a6f93d1e8c05b7724-must-never-be-seen";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// A folder with the certificates, keys and secrets that the files name.
struct Bench {
    folder: tempfile::TempDir,
    tickets: tls::Tickets,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), tickets: tls::Tickets::new().unwrap() };
        bench.pair("onlyoffice.rapidpm.uk", &["onlyoffice.rapidpm.uk"]);
        bench.pair("other", &["other.example", "*.wild.example"]);
        let date = rcgen::date_time_ymd;
        bench.pair_from("ended", date(2019, 1, 1), date(2020, 1, 1), false);
        bench.pair_from("coming", date(2090, 1, 1), date(2091, 1, 1), false);
        bench.pair_from("alone", date(2019, 1, 1), date(2091, 1, 1), true);
        bench.put("secret", &format!("{MARKER}\n"), 0o600);
        bench.put("open-secret", MARKER, 0o644);
        bench.put("empty", "\n", 0o600);
        bench.put("weak", "ChangeMe!\n", 0o600);
        bench.put("known_hosts", "files.rapidpm.uk ssh-ed25519 AAAA\n", 0o644);
        bench.put("archive.key", &crate::relay::sftp::specimen(), 0o600);
        bench.put("creds/onlyoffice-secret", MARKER, 0o600);
        bench
    }

    fn pair(&self, file: &str, names: &[&str]) {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .unwrap();
        self.put(&format!("certs/{file}.pem"), &made.cert.pem(), 0o644);
        self.put(&format!("certs/{file}.key"), &made.signing_key.serialize_pem(), 0o600);
    }

    fn put(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The environment that every file of the test folders is loaded with.
    fn env(&self) -> Env {
        let credentials = self.folder.path().join("creds");
        [
            ("ONLY_OFFICE_SECRET", MARKER),
            ("OLD_SECRET", "an older one, 9c1f44ab20dd7e61, long enough"),
            ("EMPTY", ""),
            ("WEAK", "my_jwt_secret"),
            ("SHORT", "Zk8q0-vR3x"),
            ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        ]
        .into_iter()
        .collect()
    }

    fn load_with(&self, text: &str, env: &Env) -> Result<Loaded, Faults> {
        self.put("gateway.toml", text, 0o644);
        load(&self.folder.path().join("gateway.toml"), env, &self.tickets)
    }

    fn load(&self, text: &str) -> Result<Loaded, Faults> {
        self.load_with(text, &self.env())
    }

    /// `LINE:COLUMN: message` of each fault, without the folder's name.
    fn lines<'f>(&self, faults: impl IntoIterator<Item = &'f Fault>) -> String {
        let folder = format!("{}/", self.folder.path().display());
        faults
            .into_iter()
            .map(|fault| {
                let place =
                    fault.place().map_or_else(|| "-".to_owned(), |at| format!("{}:{}", at.line, at.column));
                format!("{place}: {}\n", fault.sentence().replace(&folder, ""))
            })
            .collect()
    }
}

fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// `UPDATE_EXPECTED=1` writes what is said now; the diff is then read by a person.
fn expect(path: &Path, actual: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        return fs::write(path, actual).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != actual {
        wrong.push(format!("{}\n--- expected\n{expected}+++ actual\n{actual}", path.display()));
    }
}

#[test]
fn good_files_are_loaded() {
    let bench = Bench::new();
    let folder = folder("valid");
    let names = stems(&folder, "toml");
    assert!(names.len() >= 15, "{}", names.len());
    let mut wrong = Vec::new();
    for name in &names {
        let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        match bench.load(&text) {
            // Files with warnings say which; the others have none.
            Ok(loaded) => {
                let said = bench.lines(&loaded.warnings);
                let path = folder.join(format!("{name}.txt"));
                if !said.is_empty() || path.exists() {
                    expect(&path, &said, &mut wrong);
                }
            }
            Err(faults) => wrong.push(format!("{name}:\n{faults}")),
        }
    }
    wrong.extend(stems(&folder, "txt").difference(&names).map(|name| format!("{name}.txt has no .toml")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn bad_files_are_refused_with_every_reason() {
    let bench = Bench::new();
    let folder = folder("invalid");
    let names = stems(&folder, "toml");
    assert!(names.len() >= 50, "{}", names.len());
    let mut wrong = Vec::new();
    for name in &names {
        let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        match bench.load(&text) {
            Ok(_) => wrong.push(format!("{name}.toml was loaded")),
            Err(faults) => {
                expect(&folder.join(format!("{name}.txt")), &bench.lines(faults.faults()), &mut wrong);
                assert!(!faults.to_string().contains(MARKER), "{name}");
            }
        }
    }
    let told = stems(&folder, "txt");
    wrong.extend(names.difference(&told).map(|name| format!("{name}.toml has no .txt")));
    wrong.extend(told.difference(&names).map(|name| format!("{name}.txt has no .toml")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn shipped() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml")).unwrap()
}

/// As the shipped file explains it: a key on a line of its own, or commented out as `# key = …`.
fn explained(text: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.split(']').next().unwrap().trim_matches('[').to_owned();
            continue;
        }
        let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            keys.insert((section.clone(), key.to_owned()));
        }
    }
    keys
}

#[test]
fn the_shipped_file_is_fine_and_says_the_defaults() {
    let bench = Bench::new();
    let shipped = bench.load(&shipped()).unwrap();
    assert_eq!(shipped.warnings, []);
    let least = fs::read_to_string(folder("valid").join("minimal.toml")).unwrap();
    let least = bench.load(&least).unwrap();
    assert_eq!(shipped.fixed, least.fixed);
    let everything_else = |live::Snapshot {
                               mode,
                               site,
                               tokens,
                               routes,
                               upstream,
                               sockets,
                               relay,
                               state,
                               limits,
                               log,
                               drain,
                               ..
                           }: &live::Snapshot| {
        format!(
            "{mode:?} {site:?} {tokens:?} {routes:?} {upstream:?} {sockets:?} {relay:?} {state:?} {limits:?} {log:?} {drain:?}"
        )
    };
    assert_eq!(everything_else(&shipped.snapshot), everything_else(&least.snapshot));
}

#[test]
fn the_shipped_file_explains_every_key_and_no_other() {
    let explained = explained(&shipped());
    for (section, keys) in schema::SECTIONS {
        let title = section.trim_matches(['[', ']']);
        for key in keys
            .iter()
            .filter(|key| !(title.is_empty() && raw::TABLES.contains(key)) && **key != "certificates")
        {
            assert!(
                explained.contains(&(title.to_owned(), (*key).to_owned())),
                "{section} {key} is not explained"
            );
        }
    }
    for (section, key) in &explained {
        let known = schema::SECTIONS.iter().find(|(title, _)| title.trim_matches(['[', ']']) == section);
        assert!(
            known.is_some_and(|(_, keys)| keys.contains(&key.as_str())),
            "[{section}] {key} does not exist"
        );
    }
}

#[test]
fn what_the_shipped_file_has_commented_out_is_right_too() {
    let shipped = shipped();
    let uncommented: String = shipped
        .lines()
        .map(|line| {
            let key = line.strip_prefix("# ").filter(|rest| {
                rest.split_once(" = ")
                    .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            });
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    assert_ne!(uncommented, shipped);
    let (table, errors) = DeTable::parse_recoverable(&uncommented);
    assert!(errors.is_empty(), "{errors:?}");
    let mut report = Report::default();
    let _: raw::File = read::section(table.get_ref(), &mut report);
    let source = Source::new(Path::new("gateway.toml"), uncommented.clone(), table.get_ref());
    report.finish(&source).unwrap();
}

#[test]
fn every_misspelled_key_and_wrong_type_is_found_where_it_is() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("everything.toml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut tried = 0;
    for (number, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let wrong_type = if value.starts_with(['t', 'f']) { "1.5" } else { "true" };
        for broken in
            [format!("{key}x = {value}"), format!("x{key} = {value}"), format!("{key} = {wrong_type}")]
        {
            let mut changed = lines.clone();
            changed[number] = &broken;
            let faults = bench.load(&changed.join("\n")).unwrap_err();
            let said = bench.lines(faults.faults());
            let here =
                faults.faults().iter().find(|fault| fault.place().is_some_and(|at| at.line == number + 1));
            assert!(here.is_some_and(|fault| fault.sentence().contains(key)), "{broken}\n{said}");
            tried += 1;
        }
    }
    assert!(tried >= 150, "{tried}");
}

#[test]
fn a_secret_is_never_shown() {
    let bench = Bench::new();
    for (name, secret) in [
        ("variable", "{ env = \"ONLY_OFFICE_SECRET\" }"),
        ("file", "{ file = \"secret\" }"),
        ("credential", "{ credential = \"onlyoffice-secret\" }"),
    ] {
        let text = fs::read_to_string(folder("valid").join("everything.toml")).unwrap();
        let text = text.replacen("secret = { file = \"secret\" }", &format!("secret = {secret}"), 1);
        let text = text.replace("some-password", MARKER);
        let loaded = bench.load(&text).unwrap();
        assert_eq!(loaded.snapshot.relay.secret.expose(), MARKER.as_bytes(), "{name}");
        let env = bench.env();
        let bytes = format!("{:?}", MARKER.as_bytes());
        for shown in [format!("{loaded:?}"), format!("{loaded:#?}"), format!("{env:?}")] {
            assert!(!shown.contains(MARKER) && !shown.contains(bytes.trim_matches(['[', ']'])), "{name}");
        }
    }
}

#[test]
fn everything_is_taken_over_as_written() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("everything.toml")).unwrap();
    let Loaded { snapshot, fixed, warnings, files } = bench.load(&text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(fixed.workers.map(usize::from), Some(3));
    assert_eq!(fixed.admin.to_string(), "[::1]:9000");
    assert_eq!(
        snapshot.site.frame_ancestors.unwrap(),
        "frame-ancestors 'self' https://chat.example.org:8443 https://intranet.example"
    );
    assert_eq!(snapshot.site.hsts, None);
    assert_eq!(snapshot.site.trusted_proxies.len(), 3);
    assert_eq!(snapshot.site.health_networks, ["10.1.0.0/16".parse().unwrap()]);
    assert_eq!(snapshot.site.admin_names, ["gateway.example.internal"]);
    assert_eq!(snapshot.sockets.origins, ["https://intranet.example:8443"]);
    assert!(snapshot.sockets.without_origin && !snapshot.sockets.polling);
    assert_eq!(snapshot.tokens.leeway.as_secs(), 90);
    assert_eq!(snapshot.tokens.keys.len(), 2);
    let [rapidpm, mattermost] = snapshot.relay.integrators.as_slice() else { panic!() };
    assert_eq!((rapidpm.path.as_str(), rapidpm.roots.len()), ("", 1));
    assert_eq!(
        (mattermost.host.as_str(), mattermost.port, mattermost.path.as_str()),
        ("chat.example.org", 8443, "/plugins/onlyoffice")
    );
    assert_eq!(mattermost.connect, Some(crate::relay::Connect::Name("chat".into(), 8443)));
    let saves = &snapshot.relay.saves;
    assert_eq!(saves.directory, bench.folder.path().join("spool"));
    assert_eq!((saves.max_document, saves.max_size), (1 << 30, 1_000_000_000_000));
    let named: Vec<_> =
        files.paths().map(|file| file.strip_prefix(bench.folder.path()).unwrap().to_str().unwrap()).collect();
    let expected = [
        "gateway.toml",
        "secret",
        "certs/other.pem",
        "certs/onlyoffice.rapidpm.uk.pem",
        "certs/onlyoffice.rapidpm.uk.key",
        "archive.key",
        "known_hosts",
    ];
    assert_eq!(BTreeSet::from_iter(named), BTreeSet::from(expected));
}

#[test]
fn the_environment_fills_in_what_is_not_written() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("production-url-is-the-default.toml")).unwrap();
    let url = |url: &str| {
        bench.load_with(
            &text,
            &[("ONLY_OFFICE_SECRET", MARKER), ("ONLY_OFFICE_URL", url)].into_iter().collect(),
        )
    };
    let loaded = url("https://docs.example/").unwrap();
    assert_eq!(loaded.snapshot.site.public[0].host(), "docs.example");
    let faults = url("docs.example").unwrap_err();
    assert_eq!(
        bench.lines(faults.faults()),
        "1:1: `ONLY_OFFICE_URL`: \"docs.example\": it must start with https://\n"
    );
    let faults = bench.load_with(&text, &Env::default()).unwrap_err();
    assert!(
        bench.lines(faults.faults()).starts_with("1:1: no secret: the environment has no ONLY_OFFICE_SECRET")
    );
    let faults =
        bench.load_with(&text, &[("ONLY_OFFICE_SECRET", "secret")].into_iter().collect()).unwrap_err();
    assert!(
        bench
            .lines(faults.faults())
            .starts_with("1:1: `ONLY_OFFICE_SECRET` is one that everybody tries first")
    );
}

#[test]
fn the_file_is_looked_for_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let usual = [folder.path().join("a.toml"), folder.path().join("b.toml")];
    let env: Env = [(VARIABLE, "from-env.toml")].into_iter().collect();
    let find = |named: Option<&str>, env: &Env| find_among(named.map(Path::new), env, &usual);
    assert_eq!(find(Some("named.toml"), &env).unwrap(), Path::new("named.toml"));
    assert_eq!(find(None, &env).unwrap(), Path::new("from-env.toml"));
    let said = find(None, &Env::default()).unwrap_err().to_string();
    assert!(said.contains("a.toml") && said.contains("b.toml") && said.contains(VARIABLE), "{said}");
    fs::write(&usual[1], "").unwrap();
    assert_eq!(find(None, &Env::default()).unwrap(), usual[1]);
    fs::write(&usual[0], "").unwrap();
    assert_eq!(find(None, &[(VARIABLE, "")].into_iter().collect()).unwrap(), usual[0]);
}

#[test]
fn what_is_no_readable_file_is_said_in_one_line() {
    let bench = Bench::new();
    let at = |name: &str| bench.folder.path().join(name);
    fs::write(at("latin1.toml"), b"# fine\n# Gr\xfc\xdfe\n").unwrap();
    fs::write(at("huge.toml"), vec![b'#'; 1 << 21]).unwrap();
    for (name, expected) in [
        ("nowhere.toml", "cannot be read: there is no such file"),
        ("certs", "cannot be read: it is a folder"),
        ("latin1.toml", "cannot be read: line 2 is not UTF-8"),
        ("huge.toml", "cannot be read: it has 2097152 bytes; 1048576 is the limit"),
    ] {
        let faults = load(&at(name), &bench.env(), &bench.tickets).unwrap_err();
        assert_eq!(faults.to_string(), format!("{}: {expected}", at(name).display()));
    }
}

#[test]
fn a_fault_is_shown_with_its_line_and_a_caret() {
    let bench = Bench::new();
    let text = "\n\nmode = \"enforse\" # ü\n[[tls.certificates]]\nnames = [\"onlyoffice.rapidpm.uk\"]\nchain = \"certs/onlyoffice.rapidpm.uk.pem\"\nkey = \"certs/onlyoffice.rapidpm.uk.key\"\n";
    let faults = bench.load(text).unwrap_err();
    let file = bench.folder.path().join("gateway.toml");
    let file = file.display();
    let expected = format!(
        "{file}:3:8: `mode`: \"enforse\" is not one of \"enforce\", \"observe\"; did you mean \"enforce\"?\n \
         3 | mode = \"enforse\" # ü\n   |        ^^^^^^^^^\n\
         {file}:1:1: warning: `public_url` is not written and ONLY_OFFICE_URL is not set; https://onlyoffice.rapidpm.uk is taken"
    );
    assert_eq!(faults.to_string(), expected);
    let json = faults.faults()[0].to_json();
    assert_eq!(
        (
            json["line"].as_u64(),
            json["column"].as_u64(),
            json["suggestion"].as_str(),
            json["severity"].as_str()
        ),
        (Some(3), Some(8), Some("enforce"), Some("error"))
    );
}

#[test]
fn nesting_without_end_is_refused() {
    let bench = Bench::new();
    for text in
        ["[".repeat(50_000), format!("x = {}", "[".repeat(50_000)), format!("x = {}", "{a=".repeat(50_000))]
    {
        assert!(bench.load(&text).is_err());
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_never_quoted() {
    let bench = Bench::new();
    let text = format!(
        "public_url = \"https://a.example\"\n\n[jwt]\nsecret = \"{MARKER}\"\nprevious = [\n  \"{MARKER}\",\n  {{ env = \"{MARKER}\" }},\n]\n\n\
         [state]\nredis = \"redis://:{MARKER}@127.0.0.1\"\n\n[archive]\nkey = \"\"\"\n{MARKER}\n\"\"\"\n"
    );
    let mut random = fastrand::Rng::with_seed(14);
    let places: Vec<usize> = (0..text.len()).filter(|at| !inside(&text, MARKER, *at)).collect();
    for _ in 0..2_000 {
        let mut bytes = text.clone().into_bytes();
        let at = *random.choice(&places).unwrap();
        match random.u8(0..3) {
            0 => bytes[at] = random.u8(32..127),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *random.choice(b"\"'[]{}=\n.,#\\ ").unwrap()),
        }
        let text = String::from_utf8(bytes).unwrap();
        let faults = bench.load(&text).unwrap_err().to_string();
        assert!(!faults.contains(MARKER), "{text}\n{faults}");
    }
}

/// Whether a byte belongs to an occurrence of `word`.
fn inside(text: &str, word: &str, at: usize) -> bool {
    text.match_indices(word).any(|(start, _)| (start..start + word.len()).contains(&at))
}

#[test]
fn whatever_the_file_holds_nothing_panics() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("everything.toml")).unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(0..bytes.len());
            match random.u8(0..4) {
                0 => bytes[at] = random.u8(32..127),
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.drain(at..(at + random.usize(0..40)).min(bytes.len()))),
                _ => bytes.insert(at, *random.choice(b"\"'[]{}=\n.,#\\\xc3").unwrap()),
            }
            bytes.push(b'\n');
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(faults) = bench.load(&text) {
            let _ = faults.to_string();
            assert!(!faults.faults().is_empty());
        }
    }
}
