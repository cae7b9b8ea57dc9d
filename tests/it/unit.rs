//! Listening sockets that outlive the gateway, as systemd's socket units do: it is started with them, stopped, started again.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use standin::DocumentServer;
use standin::document_server::Options;

use crate::process;
use crate::rig::{self, SECRET, Setup};

/// How many restarts a story makes: as `RESTARTS` in the environment says.
pub fn restarts() -> usize {
    std::env::var("RESTARTS").ok().and_then(|number| number.parse().ok()).unwrap_or(5)
}

/// What systemd is to the gateway: holds its sockets, and starts it with them.
pub struct Unit {
    pub https: SocketAddr,
    pub server: DocumentServer,
    pub sockets: Vec<(&'static str, TcpListener)>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Unit {
    pub async fn new(setup: Setup) -> Self {
        let options = Options { secret: SECRET.into(), ..setup.server.clone() };
        let server = DocumentServer::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        rig::certificate(folder.path(), "rig", &setup.names);
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = vec![("https", listen()), ("http", listen())];
        let [https, http] = [0, 1].map(|at: usize| sockets[at].1.local_addr().unwrap());
        let text = rig::toml_on([https.port(), http.port()], &setup, server.address(), folder.path());
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Self { https, server, sockets, folder, child: None }
    }

    /// The gateway with these sockets, by their names. A shell becomes the gateway, since `LISTEN_PID` must be its own.
    pub fn command(&self, names: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let file = self.folder.path().join("gateway.toml");
        command.args([
            "-c",
            "export LISTEN_PID=$$; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_rapidpm-gateway"),
        ]);
        command
            .args(["run", "--config", file.to_str().unwrap()])
            .env_clear()
            .env("ONLY_OFFICE_SECRET", SECRET);
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let given = self.sockets.iter().zip(3..).take(names.len());
        let given = given.map(|((_, socket), child_fd)| FdMapping {
            parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
            child_fd,
        });
        command.fd_mappings(given.collect()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&mut self) {
        let mut child = self.command(&["https", "http"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut lines = tokio::task::spawn_blocking(move || {
            process::started(&mut lines);
            lines
        })
        .await
        .unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        self.child = Some(child);
    }

    /// Stops it as systemd does, and waits until it is gone.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let kill = Command::new("/bin/sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        assert!(kill.unwrap().success());
        let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
