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

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::masked::Masked;

/// About 10,000 access lines: seconds of full load. Beyond it lines are dropped and counted; a log that nobody reads
/// must cost neither memory nor editing.
const QUEUE_BYTES: usize = 4 << 20;
/// How long lines gather before they are written: short for a person who watches, long enough for a batch.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for a reader of the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Longest text of a client that goes into a line; the rest is cut. Agents and paths are shorter, attacks are not.
const LONGEST_TEXT: usize = 512;

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

/// One request as the log tells it. Text of the client is cut to a length and escaped; queries are never in it,
/// because they carry tokens (`/printfile?token=`, `/downloadas?cmd=`).
#[derive(Debug, Serialize)]
pub struct Access<'a> {
    /// Request id, also in the answer's `X-Request-Id`.
    pub id: &'a str,
    /// The trace it belongs to (W3C Trace Context).
    pub trace: &'a str,
    /// The client's address.
    pub remote: &'a str,
    /// Method: any word, where a client wants it.
    pub method: Text<'a>,
    /// Host as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Text<'a>>,
    /// Path without query.
    pub path: Text<'a>,
    /// Name of the matched route.
    pub route: &'a str,
    /// Status of the answer; 499 when the client left before there was one.
    pub status: u16,
    /// `Gateway-Refusal` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    /// What a rule that only watches would have refused it with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_refuse: Option<&'a str>,
    /// What went wrong, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Text<'a>>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the head read to the last byte given out, in milliseconds.
    pub ms: f64,
    /// From the head read to the head of the Document Server's answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<f64>,
    /// The Document Server that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// How often it was asked, where more than once.
    #[serde(skip_serializing_if = "is_once")]
    pub tries: u32,
    /// `1.0`, `1.1` or `2`.
    pub http: &'a str,
    /// `1.2`, `1.3`, or nothing on a plain listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a str>,
    /// The client's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Text<'a>>,
    /// The origin of the page that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<Text<'a>>,
    /// How an editor socket ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<&'a str>,
    /// Whose editor socket it was: the id that the token names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text<'a>>,
    /// Whether the answer was cut short.
    #[serde(skip_serializing_if = "is_false")]
    pub aborted: bool,
    /// Whether the answer came from the gateway's memory.
    #[serde(skip_serializing_if = "is_false")]
    pub memory: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_once(tries: &u32) -> bool {
    *tries < 2
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Text that came from outside: cut to 512 bytes, and anything shaped like a token is masked.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end = self.0.len().min(LONGEST_TEXT);
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        Masked(&self.0[..end]).fmt(f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() <= LONGEST_TEXT && !Masked(self.0).hides() {
            serializer.serialize_str(self.0)
        } else {
            serializer.collect_str(self)
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
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        self.append(Level::Info, |line| {
            if self.text() {
                write_text_access(line, &now, access)
            } else {
                write!(line, "{{\"ts\":\"{now}\",\"level\":\"info\",\"event\":\"access\",")?;
                // serde_json writes `{"id":…}`; its opening brace becomes ours.
                let open = line.len();
                serde_json::to_writer(&mut *line, access)?;
                line.remove(open);
                Ok(())
            }
        });
    }

    /// Anything else that happened: a stable name for machines, a sentence for people, and facts.
    pub fn event(&self, level: Level, event: &'static str, message: &str, facts: &[(&'static str, &str)]) {
        if !self.enabled(level) {
            return;
        }
        let now = humantime::format_rfc3339_millis(SystemTime::now());
        self.append(level, |line| {
            if self.text() {
                write!(line, "{now} {:5} {message}", level.name().to_uppercase())?;
                for (name, value) in facts {
                    write!(line, " {name}={:?}", Text(value).to_string())?;
                }
                return Ok(());
            }
            let mut json = serde_json::Serializer::new(&mut *line);
            let mut map = json.serialize_map(None)?;
            map.serialize_entry("ts", &format_args!("{now}"))?;
            map.serialize_entry("level", level.name())?;
            map.serialize_entry("event", event)?;
            map.serialize_entry("message", message)?;
            for (name, value) in facts {
                map.serialize_entry(name, &Text(value))?;
            }
            SerializeMap::end(map)?;
            Ok(())
        });
    }

    fn text(&self) -> bool {
        self.0.format.load(Ordering::Relaxed) == Format::Text as u8
    }

    /// Formats under the lock, straight into the queue: no buffer of its own, no copy. A line that fails half-way is
    /// taken back.
    fn append(&self, level: Level, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let (was_empty, start) = (pending.lines.is_empty(), pending.lines.len());
        if start >= QUEUE_BYTES {
            drop(pending);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.0.journal.load(Ordering::Relaxed) {
            pending.lines.extend_from_slice(level.priority());
        }
        match write(&mut pending.lines) {
            Ok(()) => pending.lines.push(b'\n'),
            Err(_) => pending.lines.truncate(start),
        }
        drop(pending);
        if was_empty {
            self.0.filled.notify_one();
        }
    }
}

fn write_text_access(
    line: &mut Vec<u8>,
    now: &impl fmt::Display,
    access: &Access<'_>,
) -> std::io::Result<()> {
    // `{:?}` escapes what a terminal would obey.
    let path = Text(access.path.0).to_string();
    write!(
        line,
        "{now} INFO  {} {} {path:?} {} {} in={} out={} {:.1}ms {}",
        access.remote,
        access.method,
        access.status,
        access.route,
        access.bytes_in,
        access.bytes_out,
        access.ms,
        access.id
    )?;
    if let Some(refusal) = access.refusal {
        write!(line, " refused={refusal}")?;
    }
    if let Some(reason) = access.would_refuse {
        write!(line, " would_refuse={reason}")?;
    }
    if let Some(why) = access.why {
        write!(line, " why={:?}", why.to_string())?;
    }
    if let Some(close) = access.close {
        write!(line, " close={close}")?;
    }
    if let Some(user) = access.user {
        write!(line, " user={:?}", user.to_string())?;
    }
    Ok(())
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
                let now = humantime::format_rfc3339_millis(SystemTime::now());
                let lost = dropped - told;
                if self.journal.load(Ordering::Relaxed) {
                    batch.extend_from_slice(Level::Warn.priority());
                }
                writeln!(
                    batch,
                    "{{\"ts\":\"{now}\",\"level\":\"warn\",\"event\":\"log_dropped\",\"message\":\"log lines were lost because the reader of the log was too slow\",\"lines\":{lost}}}"
                )
                .ok();
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
mod tests {
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

    fn written(settings: Settings, write: impl FnOnce(&Log)) -> String {
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
            ms: 1.5,
            upstream_ms: None,
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

    #[test]
    fn tokens_and_long_texts_are_cut() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJjIjoidmVyc2lvbiJ9.c2ln";
        for (text, expected) in [
            (format!("/upload/{token}/x"), "/upload/[token]/x".to_owned()),
            (format!("{token}{token}"), "[token]".to_owned()),
            ("ä".repeat(400), "ä".repeat(256)),
        ] {
            assert_eq!(Text(&text).to_string(), expected);
            assert_eq!(serde_json::to_value(Text(&text)).unwrap(), expected);
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
        assert!(log.ends_with("ERROR this one server=\"127.0.0.1:80\"\n"), "{log}");
        assert_eq!(log.lines().count(), 1);
    }

    /// A reader that does not read: callers go on, lines are counted, memory stays bounded.
    #[test]
    fn a_full_pipe_stalls_nobody() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.recv().ok(); // until the sender is dropped
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let (log, writer) =
            Log::start(Settings { format: Format::Json, level: Level::Info }, Stuck(stuck)).unwrap();
        let path = "x".repeat(400);
        for _ in 0..40_000 {
            log.access(&access(&path, "agent"));
        }
        assert!(log.dropped() > 1000, "{log:?}");
        assert!(log.0.pending.lock().unwrap().lines.capacity() <= 2 * QUEUE_BYTES);
        drop(release);
        writer.finish();
    }
}
