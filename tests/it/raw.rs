//! A client of HTTP/1.1 that writes what it is told, byte for byte, so that a test can say what no library would.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::rig::Rig;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Why the gateway refused it, if it did.
    pub fn refusal(&self) -> Option<&str> {
        self.header("gateway-refusal")
    }

    /// Whether the stand-in's nginx has said something of it.
    pub fn is_upstreams(&self) -> bool {
        self.header("server") == Some("nginx")
    }

    fn ends_connection(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A connection that is kept alive, and replaced when the gateway closes it.
pub struct Client<'r> {
    rig: &'r Rig,
    line: Option<Line<TlsStream<TcpStream>>>,
}

impl<'r> Client<'r> {
    pub fn of(rig: &'r Rig) -> Self {
        Self { rig, line: None }
    }

    /// Sends `bytes` and reads one answer. `None`: the connection was closed without a word.
    pub async fn send(&mut self, bytes: &[u8]) -> Option<Answer> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => Line::over(self.rig.tls(Some("localhost"), &["http/1.1"]).await.unwrap()),
        };
        let answer = line.ask(bytes).await;
        if answer.as_ref().is_some_and(|answer| !answer.ends_connection()) {
            self.line = Some(line);
        }
        answer
    }

    /// A request without a body; `lines` stand behind `Host`, each with its CRLF.
    pub async fn ask(&mut self, method: &str, target: &str, lines: &str) -> Option<Answer> {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes()).await
    }

    /// A GET that must be answered.
    pub async fn get(&mut self, target: &str, lines: &str) -> Answer {
        self.ask("GET", target, lines).await.unwrap_or_else(|| panic!("no answer to {target}"))
    }

    /// A POST that must be answered.
    pub async fn post(&mut self, target: &str, lines: &str, body: &str) -> Answer {
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n");
        let sent = self.send(format!("{head}{body}").as_bytes()).await;
        sent.unwrap_or_else(|| panic!("no answer to {target}"))
    }
}

/// One connection of any kind.
pub struct Line<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends `bytes` and reads one answer. `None`: the connection was closed without a word.
    pub async fn ask(&mut self, bytes: &[u8]) -> Option<Answer> {
        self.stream.write_all(bytes).await.ok()?;
        self.stream.flush().await.ok()?;
        loop {
            let mut answer = self.head().await?;
            if answer.status == 100 {
                continue;
            }
            let empty = bytes.starts_with(b"HEAD ") || matches!(answer.status, 101 | 204 | 304);
            if !empty {
                answer.body = self.body(&answer).await?;
            }
            return Some(answer);
        }
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.read).await.ok()?;
        (read > 0).then_some(())
    }

    async fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Some(Answer { status, headers: headers.collect(), body: Vec::new() })
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Some(self.read.drain(..length).collect())
    }

    async fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.read.windows(2).position(|w| w == b"\r\n") {
                break end;
            }
            self.more().await?;
        };
        let line: Vec<u8> = self.read.drain(..end + 2).collect();
        Some(String::from_utf8(line).unwrap().trim_end().to_owned())
    }

    async fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if let Some(length) = answer.header("content-length") {
            return self.exactly(length.parse().unwrap()).await;
        }
        if answer.header("transfer-encoding") != Some("chunked") {
            while self.more().await.is_some() {}
            return Some(std::mem::take(&mut self.read));
        }
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line().await?, 16).unwrap();
            body.extend(self.exactly(length).await?);
            self.line().await?;
            if length == 0 {
                return Some(body);
            }
        }
    }
}
