//! `[saves]` and `[archive]`: where saves wait, how long they are tried, and where their second copies go.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use toml::Spanned;

use super::context::value;
use super::{Context, Part};
use crate::config::raw;
use crate::config::values::Bytes;
use crate::relay::sftp::Key;
use crate::relay::{Archive, Saves, Validate};

/// An empty document has some kilobytes.
const LEAST: u64 = 1024;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How saves are kept and delivered.
pub fn build(saves: &Part<raw::Saves>, context: &mut Context<'_>) -> Saves {
    let raw = saves.get_ref();
    let directory = match &raw.directory {
        Some(written) => context.folder("saves.directory", written),
        None => "/var/lib/rapidpm-gateway".into(),
    };
    if let Some(written) = raw.directory.as_ref().filter(|_| directory.exists() && !directory.is_dir()) {
        context
            .report
            .fault(written.span(), format!("`saves.directory`: {} is not a folder", directory.display()));
    }
    report_directory(raw, &directory, context);
    let built = Saves {
        directory,
        answer_within: context.duration(
            "saves.answer_within",
            raw.answer_within.as_ref(),
            Duration::from_secs(10),
            Duration::from_millis(10)..=4 * MINUTE,
            "the token of a save's link lives 5 minutes, and joiners wait meanwhile",
        ),
        keep_trying: context.duration(
            "saves.keep_trying",
            raw.keep_trying.as_ref(),
            72 * HOUR,
            Duration::from_secs(1)..=90 * 24 * HOUR,
            "what could not be delivered for that long needs a person",
        ),
        hold_editors: context.duration(
            "saves.hold_editors",
            raw.hold_editors.as_ref(),
            15 * MINUTE,
            Duration::ZERO..=24 * HOUR,
            "nobody waits a day for a document",
        ),
        validate: value(raw.validate.as_ref(), Validate::Observe),
        max_document: size("saves.max_document", raw.max_document.as_ref(), 100 << 20, context),
        max_size: size("saves.max_size", raw.max_size.as_ref(), 10 << 30, context),
    };
    report_sizes(raw, &built, context);
    built
}

/// Warns about a directory that does not keep saves: not writable by whoever runs this, or gone after a restart.
fn report_directory(raw: &raw::Saves, directory: &Path, context: &mut Context<'_>) {
    let Some(written) = &raw.directory else { return };
    /// Emptied when the machine starts, or by systemd-tmpfiles.
    const PASSING: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];
    if let Some(place) = PASSING.iter().find(|place| Path::new(written.get_ref()).starts_with(place)) {
        let message = format!(
            "`saves.directory` is below {place}, which does not outlive a restart; saves would be lost"
        );
        context.report.warn(written.span(), message);
    }
    // Made at the start where it is missing: then it is the folder around it that must be writable.
    let Some(standing) = directory.ancestors().find(|folder| folder.exists()) else { return };
    if access(standing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let message = format!(
            "`saves.directory`: {} is not writable by the user who runs this; as the gateway's user, nothing could be kept",
            standing.display()
        );
        context.report.warn(written.span(), message);
    }
}

fn size(key: &str, written: Option<&Spanned<Bytes>>, default: u64, context: &mut Context<'_>) -> u64 {
    let Some(written) = written else { return default };
    if written.get_ref().0 < LEAST {
        context
            .report
            .fault(written.span(), format!("`{key}` must be at least 1KiB: an empty document has more"));
    }
    written.get_ref().0
}

fn report_sizes(raw: &raw::Saves, built: &Saves, context: &mut Context<'_>) {
    if built.max_document > built.max_size && built.max_size >= LEAST {
        let at = raw.max_size.as_ref().or(raw.max_document.as_ref()).map_or(0..0, Spanned::span);
        let message = format!(
            "`saves.max_size` ({} bytes) is less than `saves.max_document` ({} bytes): a large document could never be kept",
            built.max_size, built.max_document
        );
        context.report.fault(at, message);
    }
}

/// The second copy, where one is wanted; `None` after a fault.
pub fn archive(archive: &Part<raw::Archive>, context: &mut Context<'_>) -> Option<Option<Archive>> {
    let raw = archive.get_ref();
    if raw.written.is_empty() {
        return Some(None);
    }
    context.require("[archive]", &["sftp", "key", "known_hosts"], &raw.written, archive.span());
    let key = raw.key.as_ref().and_then(|from| {
        let key = from.get_ref().fetch("archive.key", context)?;
        let key = Key::read(&key);
        key.map_err(|fault| context.report.fault(from.get_ref().span(), format!("`archive.key` {fault}")))
            .ok()
    });
    let known_hosts = raw.known_hosts.as_ref().and_then(|written| {
        let path = context.path(written.get_ref());
        context.read("archive.known_hosts", &path, written.span()).map(|_| path)
    });
    let sftp = raw.sftp.as_ref()?.get_ref();
    Some(Some(Archive {
        user: sftp.user.clone(),
        host: sftp.host.clone(),
        port: sftp.port,
        path: sftp.path.clone(),
        key: key?,
        known_hosts: known_hosts?,
    }))
}
