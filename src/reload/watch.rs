//! Notices that the configuration's files have changed. Folders are watched, not files: editors and certbot replace a file
//! by renaming another over it, Kubernetes swaps a link several steps up. Whether a byte is different is found out by
//! whoever is told; one time too many does no harm.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::inotify::{Event, Inotify};
use crate::ops::log::{Level, Log};

/// How long it must be quiet: an editor writes, renames and sets rights one after the other; chain and key come one by one.
const SETTLED: Duration = Duration::from_millis(300);
/// How long it may be restless before somebody looks all the same.
const AT_MOST: Duration = Duration::from_secs(1);
/// How often files are looked at although nothing was said: on network file systems nothing is ever said.
const ANYWAY: Duration = Duration::from_secs(60);
/// The same where the system says nothing at all.
const UNTOLD: Duration = Duration::from_secs(2);
/// As the kernel: more links in a path are a loop.
const MOST_LINKS: usize = 40;

/// The entries of a folder that matter.
type Names = BTreeSet<OsString>;

/// Folders that are watched.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Option<Inotify>,
    folders: BTreeMap<PathBuf, Names>,
    numbers: BTreeMap<i32, PathBuf>,
    /// A folder has been watched only since somebody looked last: what happened between is not known.
    fresh: bool,
}

impl Watch {
    /// Watches what leads to these files.
    pub fn new<'p>(paths: impl Iterator<Item = &'p Path>, log: &Log) -> Self {
        let inotify = Inotify::new().map_err(|error| {
            let message =
                "changed files are noticed late: the system gives no watch, so they are looked at every 2 s";
            log.event(Level::Warn, "watch", message, &[("error", &error.to_string())]);
        });
        let (folders, numbers) = Default::default();
        let mut watch = Self { inotify: inotify.ok(), folders, numbers, fresh: false };
        watch.follow(paths);
        watch
    }

    /// Watches what leads to these files, and nothing else any more.
    pub fn follow<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) {
        let mut folders: BTreeMap<PathBuf, Names> = BTreeMap::new();
        for (folder, name) in paths.flat_map(steps) {
            folders.entry(folder).or_default().insert(name);
        }
        let Some(inotify) = &self.inotify else { return };
        let mut numbers = BTreeMap::new();
        for folder in folders.keys() {
            // A folder that may not be watched is looked at with the others.
            let Ok(number) = inotify.watch(folder) else { continue };
            self.fresh |= self.numbers.remove(&number).is_none();
            numbers.insert(number, folder.clone());
        }
        self.numbers.keys().for_each(|number| inotify.forget(*number));
        (self.folders, self.numbers) = (folders, numbers);
    }

    /// Ready when somebody should look at the files. Dropped and called again, it has forgotten at most what somebody who
    /// looks meanwhile sees anyway.
    pub async fn changed(&mut self) {
        let anyway = Instant::now() + if self.inotify.is_some() { ANYWAY } else { UNTOLD };
        if !std::mem::take(&mut self.fresh) {
            tokio::select! {
                () = self.something() => {}
                () = sleep_until(anyway) => return,
            }
        }
        let at_most = Instant::now() + AT_MOST;
        loop {
            tokio::select! {
                () = self.something() => {}
                () = sleep(SETTLED) => return,
                () = sleep_until(at_most) => return,
            }
        }
    }

    /// Ready when something has happened that matters.
    async fn something(&self) {
        let Some(inotify) = &self.inotify else { return std::future::pending().await };
        loop {
            match inotify.events().await {
                Ok(events) if events.iter().any(|event| self.matters(event)) => return,
                Ok(_) => {}
                Err(_) => return sleep(UNTOLD).await,
            }
        }
    }

    fn matters(&self, event: &Event) -> bool {
        let Some(folder) = event.folder.and_then(|number| self.numbers.get(&number)) else {
            return event.folder.is_none(); // or of a folder that is watched no more
        };
        match &event.name {
            None => true,
            Some(name) => self.folders.get(folder).is_some_and(|names| names.contains(name)),
        }
    }
}

/// Every entry that decides what a path leads to, with its folder: each link on the way, and the file itself, or the first
/// entry that is missing.
fn steps(path: &Path) -> Vec<(PathBuf, OsString)> {
    let Ok(absolute) = std::path::absolute(path) else { return Vec::new() };
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut left: VecDeque<OsString> = parts(&absolute).into();
    let (mut at, mut found, mut links) = (PathBuf::new(), Vec::new(), 0);
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(_)) => {}
            Some(Component::ParentDir) => {
                at.pop();
                continue;
            }
            Some(Component::RootDir) => {
                at = PathBuf::from("/");
                continue;
            }
            _ => continue,
        }
        let here = at.join(&part);
        match fs::symlink_metadata(&here) {
            Err(_) => {
                found.push((at, part));
                break;
            }
            Ok(about) if about.is_symlink() => {
                found.push((at.clone(), part));
                links += 1;
                let Ok(target) = fs::read_link(&here) else { break };
                if links > MOST_LINKS {
                    break;
                }
                parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
            }
            Ok(_) => {
                if left.is_empty() {
                    found.push((at.clone(), part));
                }
                at = here;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn told(path: &Path, folder: &Path) -> Vec<String> {
        steps(path)
            .iter()
            .map(|(at, name)| at.join(name).strip_prefix(folder).unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn every_link_on_the_way_matters() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().canonicalize().unwrap();
        let at = |name: &str| folder.join(name);
        for made in ["archive/x", "live/x", "kubernetes/..2026_1"] {
            fs::create_dir_all(at(made)).unwrap();
        }
        fs::write(at("archive/x/chain1.pem"), "").unwrap();
        symlink("../../archive/x/chain1.pem", at("live/x/chain.pem")).unwrap();
        fs::write(at("kubernetes/..2026_1/tls.crt"), "").unwrap();
        symlink("..2026_1", at("kubernetes/..data")).unwrap();
        symlink("..data/tls.crt", at("kubernetes/tls.crt")).unwrap();
        symlink(at("live"), at("current")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for (path, expected) in [
            ("archive/x/chain1.pem", &["archive/x/chain1.pem"][..]),
            ("live/x/chain.pem", &["live/x/chain.pem", "archive/x/chain1.pem"]),
            ("current/x/chain.pem", &["current", "live/x/chain.pem", "archive/x/chain1.pem"]),
            (
                "kubernetes/tls.crt",
                &["kubernetes/tls.crt", "kubernetes/..data", "kubernetes/..2026_1/tls.crt"],
            ),
            ("live/./x/../x/none.pem", &["live/x/none.pem"]),
            ("not/there/yet.pem", &["not"]),
        ] {
            assert_eq!(told(&at(path), folder), expected, "{path}");
        }
        assert_eq!(told(&at("loop"), folder).len(), MOST_LINKS + 1);
    }

    fn log() -> Log {
        let settings =
            crate::ops::log::Settings { format: crate::ops::log::Format::Json, level: Level::Error };
        Log::start(settings, std::io::sink()).unwrap().0
    }

    /// Ways to change what a path holds; each must be noticed, and a neighbour's changes must not be.
    #[tokio::test]
    async fn renames_swaps_and_writes_are_noticed_and_neighbours_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str| fs::write(at(name), "x").unwrap();
        for made in ["a", "b"] {
            fs::create_dir(at(made)).unwrap();
            put(&format!("{made}/file"));
        }
        symlink("a", at("now")).unwrap();
        put("plain");
        let (plain, linked, later) = (at("plain"), at("now/file"), at("c/file"));
        let mut watch = Watch::new([plain.as_path(), &linked, &later].into_iter(), &log());
        watch.changed().await; // it has just begun
        let changes: [(&str, &dyn Fn()); 7] = [
            ("written in place", &|| put("plain")),
            ("renamed over", &|| {
                put("plain.new");
                fs::rename(at("plain.new"), at("plain")).unwrap();
            }),
            ("removed", &|| fs::remove_file(at("plain")).unwrap()),
            ("written behind a link", &|| put("a/file")),
            ("link swapped", &|| {
                symlink("b", at("next")).unwrap();
                fs::rename(at("next"), at("now")).unwrap();
            }),
            ("written behind the other link", &|| put("b/file")),
            ("folder made", &|| fs::create_dir(at("c")).unwrap()),
        ];
        for (what, change) in changes {
            put("neighbour");
            put("a/neighbour");
            let events = watch.inotify.as_ref().unwrap().events().await.unwrap();
            assert!(!events.iter().any(|event| watch.matters(event)), "before {what}: {events:?}");
            change();
            watch.something().await;
            watch.follow([plain.as_path(), &linked, &later].into_iter());
        }
        put("c/file");
        watch.something().await;
    }
}
