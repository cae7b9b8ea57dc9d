//! The line of a request or a closed socket, written by hand: a serializer took 6,500 of a request's 68,000 instructions, half
//! of them for names that need no escape.

use std::io::{self, Write};
use std::time::Duration;

use super::line::{milliseconds, number};
use super::text::{Text, string};

/// What stands before the value of a field.
macro_rules! field {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// One request as the log tells it. Text of the client is cut to a length and escaped; queries are never in it,
/// because they carry tokens (`/printfile?token=`, `/downloadas?cmd=`).
#[derive(Debug)]
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
    pub host: Option<Text<'a>>,
    /// Path without query.
    pub path: Text<'a>,
    /// Name of the matched route.
    pub route: &'a str,
    /// Status of the answer; 499 when the client left before there was one.
    pub status: u16,
    /// `Gateway-Refusal` of the answer.
    pub refusal: Option<&'a str>,
    /// What a rule that only watches would have refused it with.
    pub would_refuse: Option<&'a str>,
    /// What went wrong, in words for the operator.
    pub why: Option<Text<'a>>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the head read to the last byte given out.
    pub took: Duration,
    /// From the head read to the head of the Document Server's answer.
    pub upstream_took: Option<Duration>,
    /// The Document Server that was asked.
    pub upstream: Option<&'a str>,
    /// How often it was asked, where more than once.
    pub tries: u32,
    /// `1.0`, `1.1` or `2`.
    pub http: &'a str,
    /// `1.2`, `1.3`, or nothing on a plain listener.
    pub tls: Option<&'a str>,
    /// The client's program.
    pub agent: Option<Text<'a>>,
    /// The origin of the page that asked.
    pub referer: Option<Text<'a>>,
    /// How an editor socket ended.
    pub close: Option<&'a str>,
    /// Whose editor socket it was: the id that the token names.
    pub user: Option<Text<'a>>,
    /// Whether the answer was cut short.
    pub aborted: bool,
    /// Whether the answer came from the gateway's memory.
    pub memory: bool,
}

impl Access<'_> {
    /// As one JSON object. `ts`, `level` and `event` are first in every line.
    pub(super) fn json(&self, line: &mut Vec<u8>, now: &str) -> io::Result<()> {
        line.extend_from_slice(b"{\"ts\":\"");
        line.extend_from_slice(now.as_bytes());
        line.extend_from_slice(b"\",\"level\":\"info\",\"event\":\"access\"");
        said(line, field!("id"), self.id)?;
        said(line, field!("trace"), self.trace)?;
        said(line, field!("remote"), self.remote)?;
        shown(line, field!("method"), Some(self.method))?;
        shown(line, field!("host"), self.host)?;
        shown(line, field!("path"), Some(self.path))?;
        said(line, field!("route"), self.route)?;
        counted(line, field!("status"), self.status.into());
        said(line, field!("refusal"), self.refusal)?;
        said(line, field!("would_refuse"), self.would_refuse)?;
        shown(line, field!("why"), self.why)?;
        counted(line, field!("bytes_in"), self.bytes_in);
        counted(line, field!("bytes_out"), self.bytes_out);
        timed(line, field!("ms"), Some(self.took));
        timed(line, field!("upstream_ms"), self.upstream_took);
        said(line, field!("upstream"), self.upstream)?;
        if self.tries > 1 {
            counted(line, field!("tries"), self.tries.into());
        }
        said(line, field!("http"), self.http)?;
        said(line, field!("tls"), self.tls)?;
        shown(line, field!("agent"), self.agent)?;
        shown(line, field!("referer"), self.referer)?;
        said(line, field!("close"), self.close)?;
        shown(line, field!("user"), self.user)?;
        for (field, is_so) in [(field!("aborted"), self.aborted), (field!("memory"), self.memory)] {
            if is_so {
                line.extend_from_slice(field.as_bytes());
                line.extend_from_slice(b"true");
            }
        }
        line.push(b'}');
        Ok(())
    }

    /// For people, with the fields that they look for.
    pub(super) fn text(&self, line: &mut Vec<u8>, now: &str) -> io::Result<()> {
        let Self { remote, method, status, route, bytes_in, bytes_out, id, .. } = self;
        // `{:?}` escapes what a terminal would obey.
        let (path, method) = (self.path.shown(), method.shown());
        write!(
            line,
            "{now} INFO  {remote} {method} {path:?} {status} {route} in={bytes_in} out={bytes_out} "
        )?;
        write!(line, "{:.1}ms {id}", self.took.as_secs_f64() * 1e3)?;
        if let Some(refusal) = self.refusal {
            write!(line, " refused={refusal}")?;
        }
        if let Some(reason) = self.would_refuse {
            write!(line, " would_refuse={reason}")?;
        }
        if let Some(why) = self.why {
            write!(line, " why={:?}", why.shown())?;
        }
        if let Some(close) = self.close {
            write!(line, " close={close}")?;
        }
        if let Some(user) = self.user {
            write!(line, " user={:?}", user.shown())?;
        }
        Ok(())
    }
}

/// In words of the gateway, or checked before.
fn said<'a>(line: &mut Vec<u8>, field: &str, value: impl Into<Option<&'a str>>) -> io::Result<()> {
    let Some(value) = value.into() else { return Ok(()) };
    line.extend_from_slice(field.as_bytes());
    string(line, value)
}

/// In words from outside.
fn shown(line: &mut Vec<u8>, field: &str, value: Option<Text<'_>>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    said(line, field, &*value.shown())
}

fn counted(line: &mut Vec<u8>, field: &str, value: u64) {
    line.extend_from_slice(field.as_bytes());
    number(line, value);
}

fn timed(line: &mut Vec<u8>, field: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    line.extend_from_slice(field.as_bytes());
    milliseconds(line, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-25T01:46:39.123Z";

    #[test]
    fn a_line_has_every_field_that_there_is() {
        let mut access = Access {
            id: "deadbeef000001ff",
            trace: "0af7651916cd43dd8448eb211c80319c",
            remote: "127.0.0.1",
            method: Text("GET"),
            host: Some(Text("onlyoffice.rapidpm.uk")),
            path: Text("/a\"b"),
            route: "socket",
            status: 101,
            refusal: Some("token_expired"),
            would_refuse: Some("token_missing"),
            why: Some(Text("because")),
            bytes_in: 0,
            bytes_out: u64::MAX,
            took: Duration::from_micros(1_500),
            upstream_took: Some(Duration::from_micros(40)),
            upstream: Some("127.0.0.1:8080"),
            tries: 2,
            http: "1.1",
            tls: Some("1.3"),
            agent: Some(Text("Mozilla")),
            referer: Some(Text("https://rapidpm.uk")),
            close: Some("client"),
            user: Some(Text("ann")),
            aborted: true,
            memory: true,
        };
        let (mut json, mut text) = (Vec::new(), Vec::new());
        access.json(&mut json, NOW).unwrap();
        access.text(&mut text, NOW).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"ts":"2026-11-25T01:46:39.123Z","level":"info","event":"access","id":"deadbeef000001ff","trace":"0af7651916cd43dd8448eb211c80319c","remote":"127.0.0.1","method":"GET","host":"onlyoffice.rapidpm.uk","path":"/a\"b","route":"socket","status":101,"refusal":"token_expired","would_refuse":"token_missing","why":"because","bytes_in":0,"bytes_out":18446744073709551615,"ms":1.50,"upstream_ms":0.04,"upstream":"127.0.0.1:8080","tries":2,"http":"1.1","tls":"1.3","agent":"Mozilla","referer":"https://rapidpm.uk","close":"client","user":"ann","aborted":true,"memory":true}"#
        );
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2026-11-25T01:46:39.123Z INFO  127.0.0.1 GET \"/a\\\"b\" 101 socket in=0 out=18446744073709551615 1.5ms deadbeef000001ff refused=token_expired would_refuse=token_missing why=\"because\" close=client user=\"ann\""
        );
        access = Access { host: None, refusal: None, would_refuse: None, why: None, ..access };
        access = Access { upstream_took: None, upstream: None, tries: 1, tls: None, ..access };
        access = Access { agent: None, referer: None, close: None, user: None, ..access };
        access = Access { aborted: false, memory: false, ..access };
        let mut json = Vec::new();
        access.json(&mut json, NOW).unwrap();
        let told: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).unwrap();
        let mut names: Vec<_> = told.keys().map(String::as_str).collect();
        names.sort_unstable();
        let always = "bytes_in bytes_out event http id level method ms path remote route status trace ts";
        assert_eq!(names.join(" "), always);
    }
}
