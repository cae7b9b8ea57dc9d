//! The files that a configuration is made of, with what was in them: each is read once, so that one build sees one
//! moment, and another moment can be compared with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::build::why;
use crate::secret::Secret;

/// Configurations, keys, certificates and secrets are small; whoever names a disk by mistake is told so.
const LARGEST: u64 = 1 << 20;

/// What was found of a file: its bytes, or why there are none. Keys and secrets are among them.
type Found = Result<Secret, String>;

/// Files by path, in the order in which they were read; the configuration itself is the first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Found)>);

impl Files {
    /// What is in a file: as it was, if it was read before, else as it is now.
    pub fn read(&mut self, path: &Path) -> Result<Secret, String> {
        if let Some(found) = self.found(path) {
            return found.clone();
        }
        let found = read_small(path).map(Secret::new).map_err(|error| why(&error));
        self.0.push((path.to_owned(), found.clone()));
        found
    }

    /// Where they are, in the order in which they were read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    /// Of these files, those that are not the same any more in `now`.
    pub fn other_than(&self, now: &Self) -> Vec<PathBuf> {
        let other = self.0.iter().filter(|(path, found)| now.found(path) != Some(found));
        other.map(|(path, _)| path.clone()).collect()
    }

    /// Of these files, those that have other bytes in `now`; such as cannot be read any more are not among them.
    pub fn renewed(&self, now: &Self) -> Vec<PathBuf> {
        let mut other = self.other_than(now);
        other.retain(|path| matches!(now.found(path), Some(Ok(_))));
        other
    }

    /// The same files, of which some are as `now` has them.
    pub fn with(&self, paths: &[PathBuf], now: &Self) -> Self {
        let taken = |path: &Path| now.found(path).filter(|_| paths.iter().any(|other| other == path));
        let all = self.0.iter();
        Self(all.map(|(path, found)| (path.clone(), taken(path).unwrap_or(found).clone())).collect())
    }

    fn found(&self, path: &Path) -> Option<&Found> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, found)| found)
    }
}

impl fmt::Debug for Files {
    /// Where they are: what is in them is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

/// Reads a file that must be one, and small: a pipe would hang the reload, a device would never end.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > LARGEST {
        return Err(io::Error::other(format!("it has {} bytes; {LARGEST} is the limit", about.len())));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_kept_and_compared_with_another() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "1").unwrap();
        std::fs::write(at("b"), "1").unwrap();
        let look = || {
            let mut files = Files::default();
            let read = ["a", "b", "c"].map(|name| files.read(&at(name)).is_ok());
            (files, read)
        };
        let (mut before, read) = look();
        assert_eq!(read, [true, true, false]);
        std::fs::write(at("a"), "2").unwrap();
        std::fs::write(at("c"), "1").unwrap();
        std::fs::remove_file(at("b")).unwrap();
        assert_eq!(before.read(&at("a")).unwrap().expose(), b"1", "read once");
        let (now, _) = look();
        assert_eq!(before.other_than(&now), [at("a"), at("b"), at("c")]);
        assert_eq!(before.renewed(&now), [at("a"), at("c")], "what is gone is not renewed");
        let mut mixed = before.with(&[at("c")], &now);
        assert_eq!(mixed.read(&at("a")).unwrap().expose(), b"1");
        assert_eq!(mixed.read(&at("c")).unwrap().expose(), b"1");
        assert_ne!(mixed, now);
        assert!(!format!("{before:?}").contains("Secret"));
    }
}
