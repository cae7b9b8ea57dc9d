//! The built program as a process of its own: its ports are learned from its log, its memory from the system.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use standin::DocumentServer;
use standin::document_server::Options;

use crate::rig::{self, SECRET, Setup};

/// How long a test waits for a line or an end that must come.
const LONG: Duration = Duration::from_secs(30);

/// `rapidpm-gateway` with these arguments and nothing in its environment but the secret.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rapidpm-gateway"));
    command.args(arguments).env_clear().env("ONLY_OFFICE_SECRET", SECRET);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A gateway in a process of its own. Dropping it kills the process.
pub struct Process {
    pub https: SocketAddr,
    pub admin: SocketAddr,
    pub server: DocumentServer,
    pub folder: tempfile::TempDir,
    pub child: Child,
    /// The log, after the line that told the ports.
    pub log: Log,
    stderr: Option<ChildStderr>,
}

impl Process {
    /// Starts one with a stand-in behind it, and reads its log as it comes.
    pub async fn start(setup: Setup) -> Self {
        Self::with(setup, None).await.reading()
    }

    /// Starts one whose log nobody reads beyond the line that tells its ports, in front of another server than the stand-in
    /// where one is given.
    pub async fn with(setup: Setup, behind: Option<SocketAddr>) -> Self {
        Self::adjusted(setup, behind, |_| {}).await
    }

    /// The same with something else in its environment.
    pub async fn adjusted(
        setup: Setup,
        behind: Option<SocketAddr>,
        adjust: impl FnOnce(&mut Command),
    ) -> Self {
        let options = Options { secret: SECRET.into(), ..setup.server.clone() };
        let server = DocumentServer::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        rig::certificate(folder.path(), "rig", &setup.names);
        let text = rig::toml(&setup, behind.unwrap_or(server.address()), folder.path());
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        let file = folder.path().join("gateway.toml");
        let mut command = command(&["run", "--config", file.to_str().unwrap()]);
        adjust(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take();
        let mut lines = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let (started, lines) =
            tokio::task::spawn_blocking(move || (started(&mut lines), lines)).await.unwrap();
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self {
            https: address("https"),
            admin: address("admin"),
            server,
            folder,
            child,
            log: Log::Unread(lines),
            stderr,
        }
    }

    /// Begins to read the log.
    pub fn reading(mut self) -> Self {
        self.log.read();
        self
    }

    /// Where its gateway.toml lies.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Starts it once more, after it has ended, with the same configuration and on ports of its own.
    pub async fn again(&mut self) {
        self.child.wait().unwrap();
        let mut child = command(&["run", "--config", self.file().to_str().unwrap()]).spawn().unwrap();
        self.stderr = child.stderr.take();
        let mut lines = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let (started, lines) =
            tokio::task::spawn_blocking(move || (started(&mut lines), lines)).await.unwrap();
        self.https = started["https"].as_str().unwrap().parse().unwrap();
        self.admin = started["admin"].as_str().unwrap().parse().unwrap();
        self.child = child;
        self.log = Log::Unread(lines);
        self.log.read();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end: the exit code.
    pub async fn ended(&mut self) -> i32 {
        let begun = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < LONG, "the process does not end");
            tokio::time::sleep(Duration::from_millis(5)).await; // there is no event for this without more parts
        }
    }

    /// What it said on stderr, once it has ended.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Its memory now, in bytes, without the program's own file: how much of that counts depends on who else runs it.
    pub fn memory(&self) -> u64 {
        let rollup = Path::new("/proc").join(self.child.id().to_string()).join("smaps_rollup");
        let rollup = std::fs::read_to_string(rollup).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The most memory it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = Path::new("/proc").join(self.child.id().to_string()).join("status");
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The log of a process.
pub enum Log {
    /// Nobody reads it.
    Unread(BufReader<std::process::ChildStdout>),
    /// Lines as they come.
    Read(Receiver<String>, Vec<Value>),
}

impl Log {
    /// Begins to read.
    pub fn read(&mut self) {
        let (sender, lines) = mpsc::channel();
        if let Self::Unread(unread) = std::mem::replace(self, Self::Read(lines, Vec::new())) {
            std::thread::spawn(move || {
                let unread = BufReader::new(unread); // whole blocks from here on
                for line in unread.lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Waits for a line; those before it are kept. Every line must be one JSON object.
    pub fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let Self::Read(lines, seen) = self else { panic!("nobody reads this log") };
        if let Some(line) = seen.iter().find(|line| fits(line)) {
            return line.clone();
        }
        loop {
            let line =
                lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("no line about {what} in {seen:#?}"));
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            seen.push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// Every line until the process has closed its log.
    pub fn until_it_ends(&mut self) -> Vec<Value> {
        let Self::Read(lines, seen) = self else { panic!("nobody reads this log") };
        while let Ok(line) = lines.recv_timeout(LONG) {
            seen.push(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")));
        }
        seen.clone()
    }
}

/// The line that tells the ports.
pub fn started(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it served");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["event"] == "started" {
            return line;
        }
    }
}
