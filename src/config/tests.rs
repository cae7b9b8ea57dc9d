//! Good and bad configurations: what each is worth, and that a bad one is worth nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A secret that would be good enough, and that must never be seen again.
const MARKER: &str = "MARKER-7f1d0c9be2-must-never-be-seen";

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
        bench.put("secret", &format!("{MARKER}\n"), 0o600);
        bench.put("open-secret", MARKER, 0o644);
        bench.put("empty", "\n", 0o600);
        bench.put("weak", "ChangeMe!\n", 0o600);
        bench.put("known_hosts", "files.rapidpm.uk ssh-ed25519 AAAA\n", 0o644);
        bench.put("archive.key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600);
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
