//! What lies on disk of a save, in words: what came, and where it stands. Each is one line: CRC-32 and JSON.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rules::save::{Fresh, Id, Kind, Parked, Phase, Settled};

/// Which document of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `url`.
    Document,
    /// `changesurl`.
    Changes,
    /// `formsdataurl`.
    Form,
}

impl Role {
    /// All of them, with the claims that lead to them.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Document, "url"), (Self::Changes, "changesurl"), (Self::Form, "formsdataurl")];

    /// In links and on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Changes => "changes",
            Self::Form => "form",
        }
    }

    /// The role of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(role, _)| role).find(|role| role.name() == name)
    }
}

/// A document of a save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Which.
    pub role: Role,
    /// The last segment of its link.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its CRC-32.
    pub crc: u32,
}

/// What came, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What makes it the same save as another callback.
    pub name: String,
    /// The document's key.
    pub key: String,
    /// The integrator's name.
    pub integrator: String,
    /// Path and query below the integrator's URL.
    pub target: String,
    /// `final`, `form`, `spare`, `farewell`.
    pub kind: String,
    /// `status` of the callback.
    pub status: u8,
    /// When it came, in milliseconds since 1970.
    pub since: u64,
    /// The claims, without times.
    pub claims: Map<String, Value>,
    /// Its documents.
    pub documents: Vec<Document>,
    /// `traceparent` of the first try. Records of former versions have none, and former versions read past it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Where a save stands, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `ready`, `reserve`, `refused`, `superseded`, `out_of_time`, `delivered`, `failed`, `discarded`.
    pub phase: String,
    /// When that was written, in milliseconds since 1970.
    pub at: u64,
    /// What the Document Server was answered.
    pub answer: Option<(u16, String)>,
    /// Whether something newer has come to the same place, which it must not overwrite.
    #[serde(default)]
    pub newer: bool,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Final, "final"), (Kind::Form, "form"), (Kind::Spare, "spare"), (Kind::Farewell, "farewell")];
const PHASES: [(Phase, &str); 8] = [
    (Phase::Ready, "ready"),
    (Phase::Reserve, "reserve"),
    (Phase::Parked(Parked::Refused), "refused"),
    (Phase::Parked(Parked::Superseded), "superseded"),
    (Phase::Parked(Parked::OutOfTime), "out_of_time"),
    (Phase::Settled(Settled::Delivered), "delivered"),
    (Phase::Settled(Settled::Failed), "failed"),
    (Phase::Settled(Settled::Discarded), "discarded"),
];

/// The name of a kind.
pub fn kind_name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("final", |(_, name)| name)
}

/// The name of a phase; what is under way is `ready`.
pub fn phase_name(phase: Phase) -> &'static str {
    PHASES.iter().find(|(known, _)| *known == phase).map_or("ready", |(_, name)| name)
}

impl Record {
    /// As the machine knows it.
    pub fn fresh(&self, id: Id) -> Fresh {
        Fresh {
            id,
            name: self.name.clone(),
            key: self.key.clone(),
            integrator: self.integrator.clone(),
            target: self.target.clone(),
            kind: KINDS.iter().find(|(_, name)| *name == self.kind).map_or(Kind::Final, |(kind, _)| *kind),
        }
    }
}

impl State {
    /// As the machine knows it.
    pub fn phase(&self) -> Phase {
        PHASES.iter().find(|(_, name)| *name == self.phase).map_or(Phase::Ready, |(phase, _)| *phase)
    }
}

/// A record is a callback's claims, at most 1 MiB of body, escaped.
const LARGEST_RECORD: u64 = 8 << 20;

/// As it is written: a checksum before the JSON.
pub(super) fn checked(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut text = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    text.extend_from_slice(&json);
    text.push(b'\n');
    Ok(text)
}

/// What such a file holds.
pub(super) fn read_checked<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST_RECORD).read_to_end(&mut text)?;
    parse_checked(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its checksum does not hold"))
}

fn parse_checked<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Option<T> {
    let (crc, json) = (text.get(..8)?, text.get(8..)?.strip_prefix(b" ")?.strip_suffix(b"\n")?);
    let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    (crc == crc32fast::hash(json)).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first version wrote it.
    const FIRST: &str = r#"{"name":"k\n2","key":"k","integrator":"rapidpm","target":"callback?id=1","kind":"final","status":2,"since":7,"claims":{},"documents":[]}"#;

    fn read(json: &str) -> Record {
        let text = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        parse_checked(text.as_bytes()).unwrap_or_else(|| panic!("{json}"))
    }

    /// Both directions: an upgrade finds what was kept before, and whoever goes back loses nothing.
    #[test]
    fn records_of_other_versions_are_read() {
        let old = read(FIRST);
        assert_eq!((old.key.as_str(), old.trace.as_deref()), ("k", None));
        let later = FIRST.replacen('{', "{\"unheard_of\":[1],", 1);
        assert_eq!(read(&later), old);
        // What there is nothing to say about is written as the first version wrote it.
        assert_eq!(serde_json::to_string(&old).unwrap(), FIRST);
        let traced = Record { trace: Some("00-1-2-03".into()), ..old };
        assert_eq!(read(&serde_json::to_string(&traced).unwrap()), traced);
    }
}
