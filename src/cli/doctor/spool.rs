//! Whether saves can be kept: the directory, who may read it, how much room there is, and whether the disk is honest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::Running;
use super::question::{Finding, Question, Verdict};
use crate::relay::Saves;

/// How often the disk is asked to keep something.
const TRIES: usize = 9;
/// No disk keeps anything in less: a fast one with a battery needs 30 µs or more, memory about 2.
const TOO_FAST: Duration = Duration::from_micros(10);
/// A save costs about six of them while an editor waits.
const SLOW: Duration = Duration::from_millis(100);

/// What was seen of the directory.
struct Seen {
    directory: PathBuf,
    /// Mode and owner; `None` when it is not there.
    about: io::Result<(u32, u32)>,
    /// How long the disk took to keep something, or why it could not be tried.
    kept: Result<Duration, io::Error>,
    /// Who runs the gateway, where it runs.
    gateway: Option<u32>,
    /// File system, as `/proc/self/mountinfo` calls it.
    kind: Option<String>,
}

/// Everything about the directory. Blocks: it waits for the disk.
pub fn questions(saves: &Saves, running: Option<&Running>) -> Vec<Finding> {
    let directory = &saves.directory;
    let about = fs::metadata(directory).map(|about| (about.mode() & 0o7777, about.uid()));
    let kept = match about {
        Ok(_) => keep(directory),
        Err(_) => Err(io::ErrorKind::NotFound.into()),
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let there = existing(directory);
    let kind = kind_of(&mounts, &fs::canonicalize(there).unwrap_or_else(|_| there.to_owned()));
    let gateway = running.map(|running| running.uid);
    let seen = Seen { directory: directory.clone(), about, kept, gateway, kind };
    let of = directory.display().to_string();
    vec![
        Question::Spool.is(&of, writable(&seen)),
        Question::Space.is(&of, space(free(there), saves.max_document, saves.max_size)),
        Question::Fsync.is(&of, honest(&seen)),
    ]
}

/// The nearest folder above that exists.
fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// Writes a small file there as a save would be, several times; the median.
fn keep(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!(".doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let taken = time(&file);
    fs::remove_file(&path)?;
    taken
}

fn time(mut file: &File) -> io::Result<Duration> {
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    Ok(taken.get(TRIES / 2).copied().unwrap_or_default())
}

/// The file system that holds `path`: the longest mount point above it.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        Some((place.split(' ').nth(4)?, kind.split(' ').next()?))
    });
    let above = mounts.filter(|(place, _)| path.starts_with(place));
    // Of two mounts at one place the later lies on top.
    above.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.to_owned())
}

fn free(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

fn writable(seen: &Seen) -> Verdict {
    let place = seen.directory.display();
    let make = format!(
        "`install -d -m 0700 -o rapidpm-gateway -g rapidpm-gateway {place}` (systemd: StateDirectory=rapidpm-gateway)."
    );
    let (mode, owner) = match &seen.about {
        Ok(about) => *about,
        Err(error) if error.kind() == io::ErrorKind::NotFound && seen.gateway.is_none() => {
            return Verdict::warning("does not exist yet; the gateway makes it when it may", make);
        }
        Err(error) => return Verdict::failed(format!("saves cannot be kept: {error}"), make),
    };
    let foreign = seen.gateway.filter(|gateway| *gateway != 0 && *gateway != owner);
    if let Some(gateway) = foreign {
        return Verdict::failed(
            format!("belongs to user {owner}, but the gateway runs as user {gateway}: saves cannot be kept"),
            format!("`chown -R {gateway} {place}`"),
        );
    }
    match &seen.kept {
        // The gateway's own user could do what we may not.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && seen.gateway == Some(owner)
                && mode & 0o300 == 0o300 => {}
        Err(error) => return Verdict::failed(format!("saves cannot be kept: {error}"), make),
        Ok(_) => {}
    }
    if mode & 0o077 != 0 {
        return Verdict::warning(
            format!("others may read the documents in it (mode {mode:04o})"),
            format!("`chmod 0700 {place}`"),
        );
    }
    Verdict::ok(format!("can be written to, mode {mode:04o}"))
}

fn space(free: io::Result<u64>, one: u64, all: u64) -> Verdict {
    let mib = |bytes: u64| bytes >> 20;
    let free = match free {
        Ok(free) => free,
        Err(error) => return Verdict::skipped(error.to_string()),
    };
    let cure = "Make room on this disk, or move saves.directory to a larger one.";
    if free < one {
        let seen = format!("{} MiB are free, less than one document (saves.max_document)", mib(free));
        return Verdict::failed(seen, cure);
    }
    if free < all {
        return Verdict::warning(
            format!("{} MiB are free, less than saves.max_size ({} MiB)", mib(free), mib(all)),
            format!(
                "{cure} Or lower saves.max_size: it should say when the gateway stops taking saves over, before the disk is full."
            ),
        );
    }
    Verdict::ok(format!("{} MiB are free", mib(free)))
}

fn honest(seen: &Seen) -> Verdict {
    if let Some(kind @ ("tmpfs" | "ramfs")) = seen.kind.as_deref() {
        return Verdict::warning(
            format!("is in memory ({kind}): saves that wait are gone after a reboot"),
            "Put saves.directory on a disk.",
        );
    }
    let Ok(median) = seen.kept else { return Verdict::skipped("nothing can be written there by this user") };
    let kind = seen.kind.as_deref().unwrap_or("disk");
    let shown = format!("keeping 4 KiB takes {} µs ({kind})", median.as_micros());
    if median < TOO_FAST {
        return Verdict::warning(
            format!("{shown}: faster than any disk, so something only says that it has kept them"),
            "Look for eatmydata, a volatile overlay, or a virtual disk with cache mode \"unsafe\"; saves could be lost with the power.",
        );
    }
    if median > SLOW {
        return Verdict::warning(
            format!("{shown}: each save waits for several of these"),
            "Put saves.directory on a faster disk; look at its health (`smartctl -a`) and load (`iostat -x`).",
        );
    }
    Verdict::ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(about: io::Result<(u32, u32)>, kept: Result<u64, io::ErrorKind>, gateway: Option<u32>) -> Seen {
        let kept = kept.map(Duration::from_micros).map_err(Into::into);
        Seen { directory: "/x".into(), about, kept, gateway, kind: Some("ext4".into()) }
    }

    #[test]
    fn a_directory_is_judged_for_the_user_who_runs_the_gateway() {
        use io::ErrorKind::{NotFound, PermissionDenied, StorageFull};
        let none = |kind: io::ErrorKind| Err(kind.into());
        for (seen, state, word) in [
            (seen(Ok((0o700, 5)), Ok(300), Some(5)), "ok", "0700"),
            (seen(Ok((0o700, 5)), Ok(300), Some(0)), "ok", "0700"),
            (seen(Ok((0o700, 5)), Err(PermissionDenied), Some(5)), "ok", "0700"),
            (seen(Ok((0o750, 5)), Ok(300), None), "warning", "0750"),
            (seen(Ok((0o700, 5)), Ok(300), Some(6)), "failed", "runs as user 6"),
            (seen(Ok((0o500, 5)), Err(PermissionDenied), Some(5)), "failed", "cannot be kept"),
            (seen(Ok((0o700, 5)), Err(StorageFull), Some(5)), "failed", "cannot be kept"),
            (seen(none(NotFound), Err(NotFound), None), "warning", "does not exist yet"),
            (seen(none(NotFound), Err(NotFound), Some(5)), "failed", "cannot be kept"),
            (seen(none(io::ErrorKind::NotADirectory), Err(NotFound), None), "failed", "cannot be kept"),
        ] {
            let verdict = writable(&seen);
            assert!(verdict.state() == state && verdict.seen().contains(word), "{verdict:?}");
        }
    }

    #[test]
    fn room_is_measured_by_what_may_wait() {
        assert_eq!(space(Ok(100 << 20), 10 << 20, 90 << 20).state(), "ok");
        assert_eq!(space(Ok(50 << 20), 10 << 20, 90 << 20).state(), "warning");
        assert_eq!(space(Ok(5 << 20), 10 << 20, 90 << 20).state(), "failed");
        assert_eq!(space(Err(io::ErrorKind::Other.into()), 1, 1).state(), "skipped");
    }

    #[test]
    fn a_disk_that_is_too_fast_lies() {
        for (micros, state) in [(3, "warning"), (60, "ok"), (9_000, "ok"), (200_000, "warning")] {
            assert_eq!(honest(&seen(Ok((0o700, 5)), Ok(micros), None)).state(), state, "{micros}");
        }
        let mut memory = seen(Ok((0o700, 5)), Ok(60), None);
        memory.kind = Some("tmpfs".into());
        assert!(honest(&memory).seen().contains("reboot"));
    }

    #[test]
    fn the_file_system_is_that_of_the_longest_mount() {
        let mounts = "\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /tmp rw - tmpfs tmpfs rw
24 22 0:6 / /tmpfoo rw - xfs /dev/sdb rw";
        for (path, kind) in
            [("/var/lib/x", "ext4"), ("/tmp/x", "tmpfs"), ("/tmpfoo", "xfs"), ("/tmpf", "ext4")]
        {
            assert_eq!(kind_of(mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
    }
}
