//! A real Redis that demands a password, started on a free port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub const PASSWORD: &str = "p@ss";

/// Ends with the test.
pub struct Redis {
    child: Child,
    pub port: u16,
}

impl Redis {
    /// `None` where there is none to be had.
    pub fn start(folder: &Path) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_on(port, folder)
    }

    /// The same on this port.
    pub fn start_on(port: u16, folder: &Path) -> Option<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--requirepass", PASSWORD, "--save", "", "--dir"]).arg(folder);
        let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
            assert!(std::env::var_os("CI").is_none(), "redis-server is needed");
            println!("not tried: there is no redis-server");
            return None;
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let redis = Self { child, port };
        let ready = lines.map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
        assert!(ready, "redis-server ended");
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
