//! `check`: says everything that is wrong with a configuration before a running gateway meets it.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{ConfigArgs, FAILED, WRONG_CONFIGURATION, out};
use crate::config::{self, Env, Fault, Faults, Loaded};
use crate::live::Mode;
use crate::tls;

/// What `check` is told.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Checks the configuration that is meant: 0 when it can be used, 78 when not.
pub fn check(args: &CheckArgs, env: &Env) -> ExitCode {
    let tickets = match tls::Tickets::new() {
        Ok(tickets) => tickets,
        Err(error) => {
            out::complain(&format_args!("the system gives no randomness: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let found = args.config.find(env);
    let outcome = found.and_then(|path| config::load(&path, env, &tickets).map(|loaded| (path, loaded)));
    match outcome {
        Ok((path, loaded)) => {
            if args.json {
                out::say(&fine_json(&path, &loaded));
            } else {
                loaded.warnings.iter().for_each(out::say);
                out::say(&Summary { path: &path, loaded: &loaded });
            }
            ExitCode::SUCCESS
        }
        Err(faults) => {
            if args.json {
                out::say(&faulty_json(&faults));
            } else {
                out::say(&faults);
                out::say(&count(&faults));
            }
            ExitCode::from(WRONG_CONFIGURATION)
        }
    }
}

fn count(faults: &Faults) -> String {
    match faults.faults().len() {
        1 => "1 fault; nothing would be applied".to_owned(),
        n => format!("{n} faults; nothing would be applied"),
    }
}

fn list(faults: &[Fault]) -> Vec<Value> {
    faults.iter().map(Fault::to_json).collect()
}

fn faulty_json(faults: &Faults) -> Value {
    json!({ "fine": false, "faults": list(faults.faults()), "warnings": list(faults.warnings()) })
}

fn fine_json(path: &Path, loaded: &Loaded) -> Value {
    let named: Vec<&Path> = loaded.files.paths().filter(|file| *file != path).collect();
    json!({ "fine": true, "file": path, "faults": [], "warnings": list(&loaded.warnings), "files": named })
}

/// What a configuration without faults would serve, in a few lines.
struct Summary<'a> {
    path: &'a Path,
    loaded: &'a Loaded,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { snapshot, fixed, warnings, .. } = self.loaded;
        write!(f, "{} is fine", self.path.display())?;
        match warnings.len() {
            0 => writeln!(f)?,
            1 => writeln!(f, ", with 1 warning")?,
            n => writeln!(f, ", with {n} warnings")?,
        }
        let mode = if snapshot.mode == Mode::Enforce { "enforce" } else { "observe" };
        let public: Vec<String> = snapshot.site.public.iter().filter_map(address).collect();
        writeln!(f, "  serves       {} (mode {mode})", public.join(", "))?;
        writeln!(f, "  https        {}", joined(&fixed.https))?;
        writeln!(f, "  http         {}", joined(&fixed.http))?;
        writeln!(f, "  admin        {}", fixed.admin)?;
        if !fixed.relay.is_empty() {
            writeln!(f, "  relay        {}", joined(&fixed.relay))?;
        }
        let servers: Vec<String> =
            snapshot.upstream.servers.iter().map(|server| authority(&server.host, server.port)).collect();
        writeln!(f, "  in front of  {}", servers.join(", "))?;
        let integrators: Vec<&str> = snapshot.relay.integrators.iter().map(|i| i.name.as_str()).collect();
        let integrators = if integrators.is_empty() { "none".to_owned() } else { integrators.join(", ") };
        writeln!(f, "  integrators  {integrators}")?;
        write!(f, "  saves        {}", snapshot.relay.saves.directory.display())
    }
}

fn address(url: &crate::rules::host::PublicUrl) -> Option<String> {
    url.forwarded_host().to_str().ok().map(|rest| format!("https://{rest}"))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn joined(addresses: &[std::net::SocketAddr]) -> String {
    if addresses.is_empty() {
        return "not served".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (tempfile::TempDir, Result<Loaded, Faults>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let env = [("ONLY_OFFICE_SECRET", "0123456789abcdef-0123456789-zyxwvu")].into_iter().collect();
        let loaded = config::load(&path, &env, &tls::Tickets::new().unwrap());
        (folder, loaded)
    }

    #[test]
    fn says_what_would_be_served() {
        let text = "public_url = \"https://a.example:8443/x\"\n[server]\nhttps = []\nhttp = [\"127.0.0.1:0\"]\n[document_server]\nservers = [\"http://[fd00::1]\"]\n";
        let (_folder, loaded) = load(text);
        let loaded = loaded.unwrap();
        let summary = Summary { path: Path::new("x.toml"), loaded: &loaded }.to_string();
        for piece in [
            "x.toml is fine\n",
            "https://a.example:8443/x (mode enforce)",
            "not served",
            "[fd00::1]:80",
            "rapidpm",
        ] {
            assert!(summary.contains(piece), "{piece}\n{summary}");
        }
        let json = fine_json(Path::new("x.toml"), &loaded);
        assert_eq!(
            (json["fine"].as_bool(), json["warnings"].as_array().map(Vec::len)),
            (Some(true), Some(0))
        );
    }

    #[test]
    fn says_everything_that_is_wrong() {
        let (_folder, loaded) = load("mode = \"x\"\nzzz = 1\n[server]\nhttps = []\n");
        let faults = loaded.unwrap_err();
        assert_eq!(count(&faults), "2 faults; nothing would be applied");
        let json = faulty_json(&faults);
        assert_eq!(json["fine"], false);
        assert_eq!(json["faults"][1]["line"], 2);
        assert_eq!(json["warnings"][0]["severity"], "warning");
    }
}
