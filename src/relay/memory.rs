//! What is remembered of documents for a month: whose they are and where their saves go. A file that nobody took can lie at the
//! Document Server for weeks, and its key alone tells an operator nothing.
//!
//! One file, a line of JSON for each news; rewritten at the start and when it has grown. Nothing is promised by it, so nothing
//! is waited for: a crash may lose its last lines, and a torn one is skipped.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// How long, in milliseconds.
const MONTH: u64 = 30 * DAY;
/// A document in use is written down once a day.
const DAY: u64 = 24 * 3_600_000;
/// Documents: more than are edited behind one gateway in a month, and 8 MiB at the very most.
const MOST: usize = 10_000;
/// Longest key (the Document Server's own limit is 240) and longest callback path that are remembered.
const LONGEST: (usize, usize) = (256, 512);
/// Most that is read of the file.
const LARGEST: u64 = 32 << 20;

/// What is remembered of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its key.
    pub key: String,
    /// The integrator's name.
    pub integrator: String,
    /// Path and query of its callbacks, below the integrator's URL.
    pub target: String,
    /// When one came last, in milliseconds since 1970; to a day.
    pub at: u64,
}

/// Every document that is remembered.
pub struct Memory {
    file: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, Known>,
    lines: usize,
}

impl Memory {
    /// Takes up what the directory of saves remembers.
    pub fn open(directory: &Path, now: u64) -> Self {
        let memory = Self { file: directory.join("keys"), inner: Mutex::default() };
        memory.inner().known = read(directory, now);
        memory.rewrite().ok(); // what cannot be written now is complained about with the first news
        memory
    }

    /// A callback of a document has come. What is to be written down, if that is news.
    pub fn heard(&self, known: Known) -> Option<Known> {
        if known.key.is_empty() || known.key.len() > LONGEST.0 || known.target.len() > LONGEST.1 {
            return None;
        }
        let mut inner = self.inner();
        let is_old = |old: &Known| {
            old.integrator == known.integrator
                && old.target == known.target
                && known.at.saturating_sub(old.at) < DAY
        };
        if inner.known.get(&known.key).is_some_and(is_old) {
            return None;
        }
        inner.known.insert(known.key.clone(), known.clone());
        Some(known)
    }

    /// What is remembered of a key.
    pub fn get(&self, key: &str) -> Option<Known> {
        self.inner().known.get(key).cloned()
    }

    /// Writes news down.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, known: &Known) -> io::Result<()> {
        let full = {
            let mut inner = self.inner();
            inner.lines += 1;
            if inner.known.len() > MOST {
                shrink(&mut inner.known, known.at);
            }
            inner.lines > 2 * inner.known.len() + 1_000
        };
        if full {
            return self.rewrite();
        }
        let mut line = serde_json::to_vec(known)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.file)?.write_all(&line)
    }

    fn rewrite(&self) -> io::Result<()> {
        let known: Vec<Known> = self.inner().known.values().cloned().collect();
        let fresh = self.file.with_extension("new");
        let mut text = Vec::new();
        for known in &known {
            serde_json::to_writer(&mut text, known)?;
            text.push(b'\n');
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600).open(&fresh)?.write_all(&text)?;
        fs::rename(fresh, &self.file)?;
        self.inner().lines = known.len();
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the directory of saves remembers; changes nothing, so anyone may ask beside a running gateway.
pub fn read(directory: &Path, now: u64) -> HashMap<String, Known> {
    let Ok(file) = File::open(directory.join("keys")) else { return HashMap::new() };
    let mut known = HashMap::new();
    for line in BufReader::new(file.take(LARGEST)).split(b'\n').map_while(Result::ok) {
        if let Ok(news) = serde_json::from_slice::<Known>(&line) {
            known.insert(news.key.clone(), news);
        }
    }
    shrink(&mut known, now);
    known
}

/// Forgets what is older than a month, and the oldest tenth of too many.
fn shrink(known: &mut HashMap<String, Known>, now: u64) {
    known.retain(|_, known| now.saturating_sub(known.at) < MONTH);
    if known.len() > MOST {
        let mut times: Vec<u64> = known.values().map(|known| known.at).collect();
        let (_, newest_to_go, _) = times.select_nth_unstable(known.len() - MOST / 10 * 9);
        let newest_to_go = *newest_to_go;
        known.retain(|_, known| known.at > newest_to_go);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(key: &str, target: &str, at: u64) -> Known {
        Known { key: key.into(), integrator: "rapidpm".into(), target: target.into(), at }
    }

    #[test]
    fn a_month_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path(), 0);
        for (key, target, at, news) in [
            ("a", "cb?1", 1, true),
            ("a", "cb?1", DAY, false),
            ("a", "cb?2", DAY, true),
            ("a", "cb?2", 2 * DAY, true),
            ("b", "cb?3", 2 * DAY, true),
            ("", "cb", 1, false),
            (&"k".repeat(257), "cb", 1, false),
            ("c", &"t".repeat(513), 1, false),
        ] {
            let line = memory.heard(known(key, target, at));
            assert_eq!(line.is_some(), news, "{key} {target}");
            line.iter().for_each(|line| memory.write(line).unwrap());
        }
        assert_eq!(memory.get("a"), Some(known("a", "cb?2", 2 * DAY)));
        // Torn by a crash.
        let file = folder.path().join("keys");
        let mut text = fs::read(&file).unwrap();
        text.truncate(text.len() - 3);
        fs::write(&file, text).unwrap();
        let again = Memory::open(folder.path(), 3 * DAY);
        assert_eq!((again.get("a"), again.get("b")), (Some(known("a", "cb?2", 2 * DAY)), None));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1, "rewritten");
        assert!(Memory::open(folder.path(), 33 * DAY).get("a").is_none());
    }

    #[test]
    fn neither_the_file_nor_what_is_remembered_grows_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path(), 0);
        for at in 0..30_000 {
            let line = memory.heard(known(&format!("k{at}"), "cb", at)).unwrap();
            memory.write(&line).unwrap();
        }
        assert!(memory.inner().known.len() <= MOST);
        assert!(memory.get("k29999").is_some() && memory.get("k0").is_none());
        for at in 0..5_000 {
            let line = memory.heard(known("k29999", &format!("cb{at}"), 30_000)).unwrap();
            memory.write(&line).unwrap();
        }
        let lines = fs::read_to_string(folder.path().join("keys")).unwrap().lines().count();
        assert!(lines <= 2 * MOST + 1_001, "{lines}");
    }
}
