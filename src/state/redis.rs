//! Redis, as far as it is asked how it is: where it listens, how one signs in, and whether it answers PING.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::secret::Secret;

/// For name, connection and answer together; who needs longer is in trouble.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line that is read: `+PONG`, or a fault in a sentence.
const LINE: usize = 512;

/// Where Redis is, and the words of AUTH.
#[derive(Clone)]
pub struct Place {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    login: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Place {
    /// From `redis://[user:password@]host[:port][/database]`; `None` where that cannot be taken apart.
    pub fn of(url: &Secret) -> Option<Self> {
        let rest = std::str::from_utf8(url.expose()).ok()?.split_once("://")?.1;
        let rest = rest.split(['/', '?']).next()?;
        let (login, authority) = rest.rsplit_once('@').map_or((None, rest), |(login, at)| (Some(login), at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 6379),
        };
        let login = login.map(|login| login.split_once(':').unwrap_or(("", login)));
        let words = login.into_iter().flat_map(|(user, password)| [user, password]);
        let login = words.filter(|word| !word.is_empty()).map(decoded).collect();
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), port, login })
    }
}

/// Why Redis did not answer PING.
#[derive(Debug)]
pub enum Fault {
    /// Nobody listens, or the name has no address.
    Connection(io::Error),
    /// Nothing within [`PATIENCE`].
    Late,
    /// The connection ended, or was no use.
    Answer(io::Error),
    /// It does not let us in; in its words.
    Refused(String),
    /// It says something else; in its words.
    Strange(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "no connection ({error})"),
            Self::Late => write!(f, "nothing within {} s", PATIENCE.as_secs()),
            Self::Answer(error) => write!(f, "no answer ({error})"),
            Self::Refused(said) => write!(f, "does not let us in: {}", said.escape_debug()),
            Self::Strange(said) => write!(f, "answers PING with {}", said.escape_debug()),
        }
    }
}

/// Asks Redis how it is.
///
/// # Errors
/// When it does not say PONG.
pub async fn ping(place: &Place) -> Result<(), Fault> {
    timeout(PATIENCE, asked(place)).await.map_err(|_| Fault::Late)?
}

async fn asked(place: &Place) -> Result<(), Fault> {
    let connected = TcpStream::connect((place.host.as_str(), place.port)).await;
    let mut stream = connected.map_err(Fault::Connection)?;
    if !place.login.is_empty() {
        let words: Vec<&str> = ["AUTH"].into_iter().chain(place.login.iter().map(String::as_str)).collect();
        let said = told(&mut stream, &words).await?;
        if said.starts_with('-') {
            return Err(judged(said));
        }
    }
    match told(&mut stream, &["PING"]).await? {
        said if said == "+PONG" => Ok(()),
        said => Err(judged(said)),
    }
}

fn judged(said: String) -> Fault {
    match said.starts_with('-') && (said.contains("AUTH") || said.starts_with("-WRONGPASS")) {
        true => Fault::Refused(said),
        false => Fault::Strange(said),
    }
}

/// What it says to a command, in Redis' own framing, in which words may hold anything.
async fn told(stream: &mut TcpStream, words: &[&str]) -> Result<String, Fault> {
    stream.write_all(command(words).as_bytes()).await.map_err(Fault::Answer)?;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.map_err(Fault::Answer)? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            byte if line.len() < LINE => line.push(byte),
            _ => return Err(Fault::Answer(io::Error::other("a line without an end"))),
        }
    }
}

fn command(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

/// `%XX` as the byte that it stands for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = byte.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, login) in [
            ("redis://127.0.0.1", "127.0.0.1", 6379, &[][..]),
            ("redis://h:7000/3", "h", 7000, &[]),
            ("redis://:p%40ss@h:1", "h", 1, &["p@ss"]),
            ("redis://u:p@[::1]:6380", "::1", 6380, &["u", "p"]),
            ("redis://[::1]", "::1", 6379, &[]),
        ] {
            let place = Place::of(&Secret::new(url.into())).unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port), "{url}");
            assert_eq!(place.login, login, "{url}");
        }
        assert_eq!(command(&["AUTH", "a b"]), "*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n");
        assert_eq!(decoded("100%"), "100%");
    }

    #[test]
    fn what_it_says_is_judged() {
        assert!(matches!(judged("-NOAUTH Authentication required.".into()), Fault::Refused(_)));
        assert!(matches!(judged("-WRONGPASS invalid".into()), Fault::Refused(_)));
        assert!(matches!(judged("HTTP/1.1 400 AUTH".into()), Fault::Strange(_)));
    }
}
