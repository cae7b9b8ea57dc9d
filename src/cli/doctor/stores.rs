//! Questions to what else is configured: Redis, which several gateways share, and the SFTP archive.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::ask::{Missed, PATIENCE, Peer, Stage, Stream, connect};
use super::question::{Finding, Question, Verdict};
use crate::relay::{Archive, sftp};
use crate::state;

/// The longest line of either protocol that is read.
const LINE: usize = 512;

/// A line that a server said, without its end.
async fn line(stream: &mut Box<dyn Stream>) -> Result<String, Missed> {
    let missed = |why: String| Missed { stage: Stage::Answer, why };
    let read = async {
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await? {
                b'\n' => return Ok::<_, io::Error>(line),
                byte if line.len() < LINE => line.push(byte),
                _ => return Err(io::Error::other("a line without an end")),
            }
        }
    };
    let line = timeout(PATIENCE, read).await.map_err(|_| missed("nothing within 5 s".into()))?;
    let line = line.map_err(|error| missed(error.to_string()))?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Whether Redis answers PING.
pub async fn redis(settings: &state::Settings) -> Finding {
    let url = match settings {
        state::Settings::Embedded => {
            return Question::Redis.is("", Verdict::skipped("not configured: one gateway needs none"));
        }
        state::Settings::Redis(url) => String::from_utf8_lossy(url.expose()).into_owned(),
    };
    let Some((peer, login)) = parse(&url) else {
        return Question::Redis.is("", Verdict::skipped("state.redis cannot be taken apart"));
    };
    let of = format!("{}:{}", peer.host, peer.port);
    Question::Redis.is(of, pong(ping(&peer, login).await))
}

/// `redis://[user:password@]host[:port][/database]`: where, and the words of AUTH.
fn parse(url: &str) -> Option<(Peer, Vec<String>)> {
    let rest = url.split_once("://")?.1;
    let rest = rest.split(['/', '?']).next()?;
    let (login, authority) = rest.rsplit_once('@').map_or((None, rest), |(login, at)| (Some(login), at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 6379),
    };
    let login = login.map(|login| login.split_once(':').unwrap_or(("", login)));
    let words = login.into_iter().flat_map(|(user, password)| [user, password]);
    Some((
        Peer::plain(host.trim_matches(['[', ']']), port),
        words.filter(|word| !word.is_empty()).map(decoded).collect(),
    ))
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

/// A command in Redis' own framing, in which words may hold anything.
fn command(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

async fn ping(peer: &Peer, login: Vec<String>) -> Result<String, Missed> {
    let (mut stream, _) = connect(peer).await?;
    let mut commands = Vec::new();
    if !login.is_empty() {
        let words: Vec<&str> = ["AUTH"].into_iter().chain(login.iter().map(String::as_str)).collect();
        commands.push(command(&words));
    }
    commands.push(command(&["PING"]));
    let mut said = String::new();
    for command in commands {
        let written = stream.write_all(command.as_bytes()).await;
        written.map_err(|error| Missed { stage: Stage::Answer, why: error.to_string() })?;
        said = line(&mut stream).await?;
        if said.starts_with('-') {
            break;
        }
    }
    Ok(said)
}

fn pong(said: Result<String, Missed>) -> Verdict {
    match said {
        Ok(said) if said == "+PONG" => Verdict::ok("answers PING"),
        Ok(said)
            if said.starts_with("-NOAUTH") || said.starts_with("-WRONGPASS") || said.contains("AUTH") =>
        {
            Verdict::failed(
                format!("does not let us in: {}", crate::cli::token::shown(&said)),
                "Write user and password into state.redis: redis://user:password@host:port.",
            )
        }
        Ok(said) => Verdict::failed(
            format!("answers PING with {}", crate::cli::token::shown(&said)),
            "Is it Redis that listens there? `redis-cli -u URL ping` should say PONG.",
        ),
        Err(missed) => Verdict::failed(
            missed.to_string(),
            "Start Redis (`systemctl status redis-server`), or correct state.redis; one gateway alone needs none.",
        ),
    }
}

/// Whether the gateway can sign in at the archive: the way it goes with each copy, up to the first that it would write.
pub async fn archive(archive: Option<&Archive>) -> Finding {
    let Some(archive) = archive else {
        return Question::Archive.is("", Verdict::skipped("not configured"));
    };
    let signed_in = timeout(PATIENCE, sftp::connect(archive)).await;
    let said = match signed_in {
        Ok(Ok(_)) => return Question::Archive.is(place(archive), Verdict::ok("known, and lets us in")),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("nothing within {} s", PATIENCE.as_secs()),
    };
    let cure = "Saves go on meanwhile, and what is accepted waits for its second copy. Is the SSH server up, does a firewall let this \
                machine through, are [archive] and its known_hosts right?";
    Question::Archive.is(place(archive), Verdict::failed(said, cure))
}

fn place(archive: &Archive) -> String {
    format!("{}:{}", archive.host, archive.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_urls_are_taken_apart() {
        for (url, host, port, login) in [
            ("redis://127.0.0.1", "127.0.0.1", 6379, &[][..]),
            ("redis://h:7000/3", "h", 7000, &[]),
            ("redis://:p%40ss@h:1", "h", 1, &["p@ss"]),
            ("redis://u:p@[::1]:6380", "::1", 6380, &["u", "p"]),
            ("redis://[::1]", "::1", 6379, &[]),
        ] {
            let (peer, words) = parse(url).unwrap();
            assert_eq!(
                (peer.host.as_str(), peer.port, &*words),
                (host, port, &*login.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "{url}"
            );
        }
        assert_eq!(command(&["AUTH", "a b"]), "*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n");
        assert_eq!(decoded("100%"), "100%");
    }

    #[test]
    fn what_redis_says_is_judged() {
        let missed = || Err(Missed { stage: Stage::Connect, why: "x".into() });
        assert_eq!(pong(Ok("+PONG".into())).state(), "ok");
        assert!(pong(Ok("-NOAUTH Authentication required.".into())).cure().unwrap().contains("password"));
        assert!(pong(Ok("HTTP/1.1 400".into())).cure().unwrap().contains("redis-cli"));
        assert!(pong(missed()).cure().unwrap().contains("Start Redis"));
    }
}
