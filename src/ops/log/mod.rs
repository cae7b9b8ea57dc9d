//! The log: one line an event, through a bounded queue to a writer of its own, so that a full pipe never stalls editing.
//!
//! Cores append formatted lines to one buffer under a short lock; the writer takes the whole buffer at once. The
//! first line into an empty buffer wakes the writer, which then lets a few milliseconds of lines gather: one system
//! call and one wake-up for hundreds of lines.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

mod access;
mod line;
mod text;

pub use access::Access;
pub use text::Text;

/// About 10,000 access lines: seconds of full load. Beyond it lines are dropped and counted; a log that nobody reads
/// must cost neither memory nor editing.
const QUEUE_BYTES: usize = 4 << 20;
/// How long lines gather before they are written: short for a person who watches, long enough for a batch.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for a reader of the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What is written, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// One JSON object a line, or text for people.
    pub format: Format,
    /// Events below this are not written.
    pub level: Level,
}

/// `log.format` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A line for people.
    Text,
}

/// How much an event matters; `log.level` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something an operator must act on.
    Error,
    /// Something an operator should know.
    Warn,
    /// What happened: access lines, start, stop, reload.
    Info,
    /// Why it happened.
    Debug,
}

impl Level {
    /// As it is written in the log and in gateway.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// syslog's priority at the beginning of a line, which journald takes away and keeps (sd-daemon(3)).
    fn priority(self) -> &'static [u8] {
        match self {
            Self::Error => b"<3>",
            Self::Warn => b"<4>",
            Self::Info => b"<6>",
            Self::Debug => b"<7>",
        }
    }
}

/// The front of the queue; clones share it.
#[derive(Clone)]
pub struct Log(Arc<Queue>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({} lines dropped)", self.dropped())
    }
}

struct Queue {
    pending: Mutex<Pending>,
    filled: Condvar,
    dropped: AtomicU64,
    format: AtomicU8,
    level: AtomicU8,
    /// Whether whoever reads takes priorities off the lines.
    journal: AtomicBool,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    closed: bool,
}

/// The writer's thread. Dropping it without [`Writer::finish`] leaves it running.
pub struct Writer {
    log: Log,
    ended: Receiver<()>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Writes what is queued and ends. A reader that does not read is not waited for longer than half a second: it
    /// must not keep the process from ending.
    pub fn finish(self) {
        self.log.0.pending.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.log.0.filled.notify_one();
        self.ended.recv_timeout(LAST_LINES).ok(); // an error when the thread has ended, and with it the sender
    }
}

impl Log {
    /// Starts the writer.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(settings: Settings, sink: impl Write + Send + 'static) -> std::io::Result<(Self, Writer)> {
        let log = Self(Arc::new(Queue {
            pending: Mutex::default(),
            filled: Condvar::new(),
            dropped: AtomicU64::new(0),
            format: AtomicU8::new(settings.format as u8),
            level: AtomicU8::new(settings.level as u8),
            journal: AtomicBool::new(false),
        }));
        let queue = log.0.clone();
        let (ending, ended) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            queue.write_to(sink);
            drop(ending);
        })?;
        Ok((log.clone(), Writer { log, ended }))
    }

    /// Takes up settings that a reload changed.
    pub fn apply(&self, settings: Settings) {
        self.0.format.store(settings.format as u8, Ordering::Relaxed);
        self.0.level.store(settings.level as u8, Ordering::Relaxed);
    }

    /// The reader is systemd's journal: lines begin with their priority from now on.
    pub fn is_journal(&self) {
        self.0.journal.store(true, Ordering::Relaxed);
    }

    /// Lines dropped because nobody took them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether events of this level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level as u8 <= self.0.level.load(Ordering::Relaxed)
    }

    /// A request.
    pub fn access(&self, access: &Access<'_>) {
        if !self.enabled(Level::Info) {
            return;
        }
        self.append(Level::Info, |line, now| match self.text() {
            true => access.text(line, now),
            false => access.json(line, now),
        });
    }

    /// Anything else that happened: a stable name for machines, a sentence for people, and facts.
    pub fn event(&self, level: Level, event: &'static str, message: &str, facts: &[(&'static str, &str)]) {
        if !self.enabled(level) {
            return;
        }
        self.append(level, |line, now| {
            if self.text() {
                write!(line, "{now} {:5} {event}: {message}", level.name().to_uppercase())?;
                for (name, value) in facts {
                    write!(line, " {name}={:?}", Text(value).shown())?;
                }
                return Ok(());
            }
            write!(
                line,
                "{{\"ts\":\"{now}\",\"level\":\"{}\",\"event\":\"{event}\",\"message\":",
                level.name()
            )?;
            text::string(line, message)?;
            for (name, value) in facts {
                write!(line, ",\"{name}\":")?;
                text::string(line, &Text(value).shown())?;
            }
            line.push(b'}');
            Ok(())
        });
    }

    fn text(&self) -> bool {
        self.0.format.load(Ordering::Relaxed) == Format::Text as u8
    }

    /// A line that cannot be written whole is not written at all.
    fn append(&self, level: Level, write: impl FnOnce(&mut Vec<u8>, &str) -> std::io::Result<()>) {
        line::make(|line, now| {
            if self.0.journal.load(Ordering::Relaxed) {
                line.extend_from_slice(level.priority());
            }
            if write(line, now).is_ok() {
                line.push(b'\n');
                self.queue(line);
            }
        });
    }

    fn queue(&self, line: &[u8]) {
        let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = pending.lines.is_empty();
        if pending.lines.len() >= QUEUE_BYTES {
            drop(pending);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.lines.extend_from_slice(line);
        drop(pending);
        if was_empty {
            self.0.filled.notify_one();
        }
    }
}

impl Queue {
    fn write_to(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        let mut told = 0;
        loop {
            {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                while pending.lines.is_empty() && !pending.closed {
                    pending = self.filled.wait(pending).unwrap_or_else(PoisonError::into_inner);
                }
                if pending.lines.is_empty() {
                    return;
                }
                if !pending.closed {
                    // The lock is free while lines gather; only `finish` cuts this short.
                    (pending, _) =
                        self.filled.wait_timeout(pending, GATHER).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut pending.lines, &mut batch);
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > told {
                let lost = dropped - told;
                if self.journal.load(Ordering::Relaxed) {
                    batch.extend_from_slice(Level::Warn.priority());
                }
                let now = humantime::format_rfc3339_millis(SystemTime::now());
                let what = "log lines were lost because the reader of the log was too slow";
                let line = match self.format.load(Ordering::Relaxed) == Format::Text as u8 {
                    true => format!("{now} WARN  log_dropped: {what} lines={lost}\n"),
                    false => format!(
                        "{{\"ts\":\"{now}\",\"level\":\"warn\",\"event\":\"log_dropped\",\"message\":\"{what}\",\"lines\":{lost}}}\n"
                    ),
                };
                batch.extend_from_slice(line.as_bytes());
                told = dropped;
            }
            // A reader that has gone away must not end the gateway.
            sink.write_all(&batch).and_then(|()| sink.flush()).ok();
            batch.clear();
            batch.shrink_to(QUEUE_BYTES / 16);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written of what `write` tells.
    pub(in crate::ops) fn written(settings: Settings, write: impl FnOnce(&Log)) -> String {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (log, writer) = Log::start(settings, Sink(bytes.clone())).unwrap();
        write(&log);
        writer.finish();
        String::from_utf8(bytes.lock().unwrap().clone()).unwrap()
    }

    fn access<'a>(path: &'a str, agent: &'a str) -> Access<'a> {
        Access {
            id: "1",
            trace: "0af7651916cd43dd8448eb211c80319c",
            remote: "127.0.0.1",
            method: Text("GET"),
            host: Some(Text("onlyoffice.rapidpm.uk")),
            path: Text(path),
            route: "static",
            status: 200,
            refusal: None,
            would_refuse: None,
            why: None,
            bytes_in: 0,
            bytes_out: 7,
            took: Duration::from_micros(1_500),
            upstream_took: None,
            upstream: None,
            tries: 1,
            http: "2",
            tls: Some("1.3"),
            agent: Some(Text(agent)),
            referer: None,
            close: None,
            user: None,
            aborted: false,
            memory: false,
        }
    }

    #[test]
    fn every_line_is_one_object_and_gives_back_its_text() {
        let settings = Settings { format: Format::Json, level: Level::Info };
        for text in ["plain", "a\nb", "\"},{\"x\":1", "\u{1b}[31mred", "\u{202e}rtl", "\r\n\t\0", "日本"] {
            let log = written(settings, |log| {
                log.access(&access(text, text));
                log.event(Level::Warn, "x", text, &[("fact", text)]);
            });
            let lines: Vec<serde_json::Value> =
                log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 2, "{log}");
            assert_eq!((&lines[0]["path"], &lines[0]["agent"]), (&text.into(), &text.into()));
            assert_eq!((&lines[1]["message"], &lines[1]["fact"]), (&text.into(), &text.into()));
        }
    }

    /// A method may be any word: it was written as it came.
    #[test]
    fn no_field_of_a_line_holds_a_token() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJjIjoidmVyc2lvbiJ9.c2ln";
        for format in [Format::Json, Format::Text] {
            let log = written(Settings { format, level: Level::Info }, |log| {
                let [text, some] = [Text(token), Text("a %65yJhbGciOiJIUzI1NiJ9%2EeyJj%2Ec2ln")];
                let fields =
                    Access { method: text, host: Some(text), why: Some(some), ..access(token, token) };
                log.access(&Access { referer: Some(text), user: Some(some), ..fields });
                log.event(Level::Info, "x", "y", &[("key", token)]);
            });
            assert!(!log.contains("eyJ") && !log.contains("yJ") && !log.contains("c2ln"), "{log}");
            assert_eq!(log.matches("[token]").count(), if format == Format::Json { 8 } else { 5 }, "{log}");
        }
    }

    #[test]
    fn the_journal_gets_priorities() {
        let settings = Settings { format: Format::Json, level: Level::Debug };
        let log = written(settings, |log| {
            log.is_journal();
            for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
                log.event(level, "x", "y", &[]);
            }
            log.access(&access("/", "x"));
        });
        let starts: Vec<_> = log.lines().map(|line| line.split('{').next().unwrap()).collect();
        assert_eq!(starts, ["<3>", "<4>", "<6>", "<7>", "<6>"]);
    }

    #[test]
    fn events_below_the_level_are_not_written_and_text_is_for_people() {
        let settings = Settings { format: Format::Text, level: Level::Warn };
        let log = written(settings, |log| {
            log.access(&access("/", "x"));
            log.event(Level::Info, "quiet", "not this", &[]);
            log.event(Level::Error, "loud", "this one", &[("server", "127.0.0.1:80")]);
        });
        assert!(log.ends_with("ERROR loud: this one server=\"127.0.0.1:80\"\n"), "{log}");
        assert_eq!(log.lines().count(), 1);
    }

    /// A reader that does not read: callers go on, lines are counted, memory stays bounded.
    #[test]
    fn a_full_pipe_stalls_nobody() {
        struct Stuck(Receiver<()>, Sink);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.recv().ok(); // until the sender is dropped
                self.1.write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for (format, told) in [
            (Format::Json, "\"event\":\"log_dropped\""),
            (Format::Text, "Z WARN  log_dropped: log lines were lost"),
        ] {
            let (release, stuck) = mpsc::channel();
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let sink = Stuck(stuck, Sink(bytes.clone()));
            let (log, writer) = Log::start(Settings { format, level: Level::Info }, sink).unwrap();
            let path = "x".repeat(400);
            for _ in 0..40_000 {
                log.access(&access(&path, "agent"));
            }
            assert!(log.dropped() > 1000, "{log:?}");
            assert!(log.0.pending.lock().unwrap().lines.capacity() <= 2 * QUEUE_BYTES);
            drop(release);
            writer.finish();
            let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
            let line = text.lines().find(|line| line.contains("log_dropped")).unwrap();
            assert!(line.contains(told) && line.starts_with('{') == (format == Format::Json), "{line}");
        }
    }
}
