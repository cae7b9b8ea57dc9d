//! The archive's protocol: sign in at the one server that `known_hosts` knows, write a document under a name of its own, see
//! that it is whole, give it its final name. What goes wrong is said with the cure.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::{Algorithm, HashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Preferred};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Archive, fetch};
use crate::rules::copies::Place;

mod key;
mod known_hosts;

pub use key::Key;
#[cfg(test)]
pub use key::specimen;
use known_hosts::{Host, Verdict};

/// Name, connection, handshake and signing in.
const CONNECT: Duration = Duration::from_secs(20);
/// Between signs of life of a server while a document is written: disks of archives may sleep.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names that are tried for one document: more than this is no accident.
const NAMES: u32 = 9;
/// Pieces that are read back.
const PIECE: usize = 32 << 10;

/// Why nothing was stored; the text is for operators.
#[derive(Debug)]
pub enum Fault {
    /// The server is away, is not the one it should be, or does not let us in.
    Away(String),
    /// The server does not take this document.
    Refused(String),
    /// The kept copy cannot be read any more.
    Gone(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(text) | Self::Refused(text) | Self::Gone(text)) = self;
        f.write_str(text)
    }
}

/// A document to be stored.
pub struct Parcel<'p> {
    /// Where it goes.
    pub place: &'p Place,
    /// Where it lies here.
    pub file: &'p Path,
    /// Its length.
    pub bytes: u64,
    /// Its CRC-32.
    pub crc: u32,
}

/// Signed in.
pub struct Session {
    sftp: SftpSession,
    _connection: Handle<Doorman>,
}

/// Judges the server's key.
struct Doorman {
    archive: Doubted,
    known_hosts: String,
}

/// What the texts of a doubt need.
#[derive(Clone)]
struct Doubted {
    host: String,
    port: u16,
    file: String,
}

/// Why a connection was not made.
#[derive(Debug)]
enum Doubt {
    Ssh(russh::Error),
    Host(String),
}

impl From<russh::Error> for Doubt {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Doorman {
    type Error = Doubt;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Doubt> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Err(Doubt::Host("the server shows a certificate that nobody asked for".into()));
        };
        let host = Host::new(&self.known_hosts, &self.archive.host, self.archive.port);
        let what = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        match host.judge(key) {
            Verdict::Known => Ok(true),
            verdict => Err(Doubt::Host(self.archive.doubt(verdict, &host.name, &what))),
        }
    }
}

impl Doubted {
    fn doubt(&self, verdict: Verdict, name: &str, shown: &str) -> String {
        let Self { host, port, file } = self;
        let scan = format!("`ssh-keyscan -p {port} -t ed25519,ecdsa {host} >> {file}`");
        match verdict {
            Verdict::Revoked => {
                format!("{name} shows {shown}, which {file} marks @revoked; it needs a new host key")
            }
            Verdict::Changed => format!(
                "{name} shows {shown}, and {file} has another key for it: somebody may stand in between. Only if the server was \
                 set up anew: `ssh-keygen -R '{name}' -f {file}`, then {scan}"
            ),
            Verdict::Known | Verdict::Unknown => format!(
                "{name} shows {shown}, which {file} does not have. If its administrator confirms that fingerprint: {scan}"
            ),
        }
    }
}

/// Signs in.
///
/// # Errors
/// [`Fault::Away`], whatever the reason.
pub async fn connect(archive: &Archive) -> Result<Session, Fault> {
    let late = || Fault::Away(format!("{} does not answer within {} s", archive.host, CONNECT.as_secs()));
    timeout(CONNECT, sign_in(archive)).await.map_err(|_| late())?
}

async fn sign_in(archive: &Archive) -> Result<Session, Fault> {
    let Archive { host, port, user, .. } = archive;
    let file = archive.known_hosts.display().to_string();
    let path = archive.known_hosts.clone();
    let text = fetch::blocking(move || std::fs::read(path)).await;
    let text = text.map_err(|error| Fault::Away(format!("{file} cannot be read: {error}")))?;
    let doubted = Doubted { host: host.clone(), port: *port, file };
    let doorman =
        Doorman { archive: doubted.clone(), known_hosts: String::from_utf8_lossy(&text).into_owned() };
    let config = Arc::new(config(&Host::new(&doorman.known_hosts, host, *port), &doubted)?);
    let stream = TcpStream::connect((host.as_str(), *port)).await;
    let stream = stream.map_err(|error| Fault::Away(format!("{host} port {port}: {error}")))?;
    stream.set_nodelay(true).ok();
    let connected = client::connect_stream(config, stream, doorman).await;
    let mut connection = connected.map_err(|doubt| Fault::Away(said(doubt, archive)))?;
    let ssh = |error: russh::Error| Fault::Away(said(Doubt::Ssh(error), archive));
    if !archive.key.sign_in(&mut connection, user).await.map_err(ssh)? {
        return Err(Fault::Away(format!(
            "{host} does not let {user} in with archive.key; ~{user}/.ssh/authorized_keys there needs {}",
            archive.key.line_to_add()
        )));
    }
    let channel = connection.channel_open_session().await.map_err(ssh)?;
    channel.request_subsystem(true, "sftp").await.map_err(ssh)?;
    let settings =
        russh_sftp::client::Config { request_timeout_secs: PATIENCE.as_secs(), ..Default::default() };
    let sftp = SftpSession::new_with_config(channel.into_stream(), settings).await;
    let none = |error| Fault::Away(format!("{host} offers {user} no SFTP: {error}"));
    Ok(Session { sftp: sftp.map_err(none)?, _connection: connection })
}

/// The server must prove that it holds one of the keys it is known by; one that is not known at all shows its best.
fn config(host: &Host<'_>, doubted: &Doubted) -> Result<client::Config, Fault> {
    let kinds = host.kinds();
    if kinds.is_empty() && host.has_rsa() {
        let Doubted { host: name, port, file } = doubted;
        return Err(Fault::Away(format!(
            "{file} knows {} by an RSA key alone, which the gateway does not verify: `ssh-keyscan -p {port} -t ed25519,ecdsa {name} >> {file}`",
            host.name
        )));
    }
    let kinds: Cow<'static, [Algorithm]> =
        if kinds.is_empty() { Cow::Borrowed(&known_hosts::KINDS) } else { Cow::Owned(kinds) };
    Ok(client::Config {
        preferred: Preferred { key: kinds, ..Preferred::DEFAULT },
        keepalive_interval: Some(Duration::from_secs(15)),
        ..client::Config::default()
    })
}

fn said(doubt: Doubt, archive: &Archive) -> String {
    let Archive { host, port, .. } = archive;
    match doubt {
        Doubt::Host(text) => text,
        Doubt::Ssh(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. }) => format!(
            "{host} port {port} shows only host keys that {} does not have for it or that the gateway does not verify: it has {}",
            archive.known_hosts.display(),
            theirs.join(", ")
        ),
        Doubt::Ssh(error) => format!("{host} port {port}: {error}"),
    }
}

fn is(error: &SftpError, code: StatusCode) -> bool {
    matches!(error, SftpError::Status(status) if status.status_code == code)
}

impl Session {
    /// Whether the archive's folder can be used.
    ///
    /// # Errors
    /// When it is not there and cannot be made.
    pub async fn look(&self, folder: &str) -> Result<(), Fault> {
        self.make(folder).await
    }

    /// Stores a document below `folder`; where it lies then.
    ///
    /// # Errors
    /// When it is not there whole and under its final name.
    pub async fn store(&self, folder: &str, parcel: &Parcel<'_>) -> Result<String, Fault> {
        let place = parcel.place;
        let folder = format!("{}/{}/{}", folder.trim_end_matches('/'), place.integrator, place.key);
        self.make(&folder).await?;
        let Some(name) = self.free_name(&folder, parcel).await? else {
            return Err(Fault::Refused(format!("{folder} has {NAMES} other documents of that name")));
        };
        let (path, is_there) = name;
        if is_there {
            return Ok(path);
        }
        let temporary = format!("{folder}/{}", place.temporary);
        if let Err(fault) = self.write(&temporary, parcel).await {
            self.sftp.remove_file(temporary).await.ok();
            return Err(fault);
        }
        match self.sftp.rename(temporary.as_str(), path.as_str()).await {
            Ok(()) => Ok(path),
            Err(error) => Err(self.fault(&format!("{temporary} cannot be renamed to {path}"), &error).await),
        }
    }

    /// Makes a folder and those above it.
    async fn make(&self, folder: &str) -> Result<(), Fault> {
        let mut missing = Vec::new();
        let mut path = folder.trim_end_matches('/');
        while !path.is_empty() {
            match self.sftp.metadata(path).await {
                Ok(found) if found.is_dir() => break,
                Ok(_) => return Err(Fault::Refused(format!("{path} is no folder"))),
                Err(error) if is(&error, StatusCode::NoSuchFile) => missing.push(path),
                Err(error) => {
                    return Err(self.fault(&format!("the folder {path} cannot be looked at"), &error).await);
                }
            }
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
        for path in missing.into_iter().rev() {
            if let Err(error) = self.sftp.create_dir(path).await {
                // Another gateway may have been faster.
                if !self.sftp.metadata(path).await.is_ok_and(|found| found.is_dir()) {
                    return Err(self.fault(&format!("the folder {path} cannot be made"), &error).await);
                }
            }
        }
        Ok(())
    }

    /// A name that nothing has, or the one under which this very document lies already: it was stored, and the word of it was
    /// lost.
    async fn free_name(&self, folder: &str, parcel: &Parcel<'_>) -> Result<Option<(String, bool)>, Fault> {
        for number in 1..=NAMES {
            let path = format!("{folder}/{}", parcel.place.name(number));
            match self.sftp.metadata(path.as_str()).await {
                Err(error) if is(&error, StatusCode::NoSuchFile) => return Ok(Some((path, false))),
                Err(error) => return Err(self.fault(&format!("{path} cannot be looked at"), &error).await),
                Ok(found) if found.size == Some(parcel.bytes) && self.holds(&path, parcel).await? => {
                    return Ok(Some((path, true)));
                }
                Ok(_) => {}
            }
        }
        Ok(None)
    }

    async fn holds(&self, path: &str, parcel: &Parcel<'_>) -> Result<bool, Fault> {
        let read = async {
            let mut file = self.sftp.open(path).await.map_err(io::Error::from)?;
            let (mut crc, mut bytes, mut piece) = (crc32fast::Hasher::new(), 0_u64, vec![0; PIECE]);
            loop {
                let read =
                    match timeout(PATIENCE, file.read(&mut piece)).await.map_err(io::Error::other)?? {
                        0 => break,
                        read => read,
                    };
                crc.update(piece.get(..read).unwrap_or_default());
                bytes += read as u64;
                if bytes > parcel.bytes {
                    return Ok(false);
                }
            }
            Ok((bytes, crc.finalize()) == (parcel.bytes, parcel.crc))
        };
        match read.await {
            Ok(same) => Ok(same),
            Err(error) => Err(self.broken(&format!("{path} cannot be read back"), &error).await),
        }
    }

    async fn write(&self, path: &str, parcel: &Parcel<'_>) -> Result<(), Fault> {
        let gone = |error: io::Error| Fault::Gone(format!("the kept copy cannot be read: {error}"));
        let (_, mut pieces) = fetch::read(parcel.file).await.map_err(gone)?;
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut file = match self.sftp.open_with_flags(path, flags).await {
            Ok(file) => file,
            Err(error) => return Err(self.fault(&format!("{path} cannot be written"), &error).await),
        };
        let (mut crc, mut bytes) = (crc32fast::Hasher::new(), 0_u64);
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(gone)?;
            crc.update(&piece);
            bytes += piece.len() as u64;
            let written = timeout(PATIENCE, file.write_all(&piece)).await;
            if let Err(error) = written.unwrap_or_else(|late| Err(io::Error::other(late))) {
                return Err(self
                    .broken(&format!("{path} cannot be written whole; is the disk there full?"), &error)
                    .await);
            }
        }
        if (bytes, crc.finalize()) != (parcel.bytes, parcel.crc) {
            return Err(Fault::Gone("the kept copy is not what was kept".into()));
        }
        // Flushing makes it durable where the server can; closing alone would not.
        let ended = async {
            file.flush().await?;
            file.shutdown().await
        };
        let ended = timeout(PATIENCE, ended).await;
        if let Err(error) = ended.unwrap_or_else(|late| Err(io::Error::other(late))) {
            return Err(self
                .broken(&format!("{path} cannot be written whole; is the disk there full?"), &error)
                .await);
        }
        match self.sftp.metadata(path).await {
            Ok(found) if found.size == Some(parcel.bytes) => Ok(()),
            Ok(found) => Err(Fault::Refused(format!(
                "{path} has {} bytes there instead of {}",
                found.size.unwrap_or_default(),
                parcel.bytes
            ))),
            Err(error) => Err(self.fault(&format!("{path} cannot be looked at"), &error).await),
        }
    }

    async fn broken(&self, what: &str, error: &io::Error) -> Fault {
        self.told(format!("{what}: {error}")).await
    }

    async fn fault(&self, what: &str, error: &SftpError) -> Fault {
        self.told(format!("{what}: {error}")).await
    }

    /// Whose fault it is: a server that still answers has refused this one document.
    async fn told(&self, text: String) -> Fault {
        const ALIVE: Duration = Duration::from_secs(5);
        match timeout(ALIVE, self.sftp.canonicalize(".")).await {
            Ok(Ok(_)) => Fault::Refused(text),
            _ => Fault::Away(text),
        }
    }
}
