//! A line of the access log, as one that a browser's request leaves, and a log that nobody keeps.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rapidpm_gateway::ops::log::{Access, Format, Level, Log, Settings, Text};

use crate::fields::BROWSER;
use crate::path::VERSIONED;

/// A script that the Document Server gave.
pub fn access() -> Access<'static> {
    let field = |name| BROWSER.into_iter().find(|(known, _)| *known == name).map(|(_, value)| Text(value));
    Access {
        id: "deadbeef000001ff",
        trace: "0af7651916cd43dd8448eb211c80319c",
        remote: "203.0.113.9",
        method: Text("GET"),
        host: field("host"),
        path: Text(VERSIONED),
        route: "web-apps",
        status: 200,
        refusal: None,
        would_refuse: None,
        why: None,
        bytes_in: 0,
        bytes_out: 2_156_774,
        took: Duration::from_micros(1_730),
        upstream_took: Some(Duration::from_micros(430)),
        upstream: Some("127.0.0.1:8088"),
        tries: 1,
        http: "2",
        tls: Some("1.3"),
        agent: field("user-agent"),
        referer: Some(Text("https://office.example")), // the page's origin alone is written
        close: None,
        user: None,
        aborted: false,
        memory: false,
    }
}

/// A log whose sink discards what it takes, and tells how many bytes that was.
///
/// # Errors
/// When the system has no thread to give.
pub fn log() -> io::Result<(Log, Receiver<usize>)> {
    let (tell, told) = channel();
    let settings = Settings { format: Format::Json, level: Level::Info };
    let (log, _writer) = Log::start(settings, Discard(tell))?;
    Ok((log, told))
}

struct Discard(Sender<usize>);

impl Write for Discard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.len()).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
