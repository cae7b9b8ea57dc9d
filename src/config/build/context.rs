//! What every section is built with: the report, the environment, files, and limits that give their reason.

use std::io::{self, ErrorKind};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use toml::Spanned;

use crate::config::env::Env;
use crate::config::fault::Report;
use crate::config::files::Files;
use crate::config::values::Prefix;

/// The right of everybody to write a file, or to make and rename files in a folder.
const OTHERS_WRITE: u32 = 0o002;

/// What is written, else the default.
pub fn value<T: Copy>(written: Option<&Spanned<T>>, default: T) -> T {
    written.map_or(default, |written| *written.get_ref())
}

/// What all sections are built with.
pub struct Context<'a> {
    /// Takes what is wrong.
    pub report: &'a mut Report,
    /// Variables.
    pub env: &'a Env,
    /// When it is: certificates have their time.
    pub now: SystemTime,
    folder: PathBuf,
    files: &'a mut Files,
}

impl<'a> Context<'a> {
    /// Nothing read so far.
    pub fn new(
        report: &'a mut Report,
        env: &'a Env,
        now: SystemTime,
        folder: PathBuf,
        files: &'a mut Files,
    ) -> Self {
        Self { report, env, now, folder, files }
    }

    /// A path of the file: relative to the file's folder, not to wherever the gateway was started.
    pub fn path(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// The path of a folder. Written as nothing it would be the configuration's own, which nobody means.
    pub fn folder(&mut self, key: &str, written: &Spanned<String>) -> PathBuf {
        if written.get_ref().trim().is_empty() {
            self.report.fault(written.span(), format!("`{key}` is empty; name a folder"));
        }
        self.path(written.get_ref())
    }

    /// Reads a small file that the configuration names. `None` after a fault has been reported.
    pub fn read(&mut self, key: &str, path: &Path, span: Range<usize>) -> Option<Vec<u8>> {
        match self.files.read(path) {
            Ok(bytes) => Some(bytes.expose().to_vec()),
            Err(why) => {
                self.report.fault(span, format!("`{key}`: {} cannot be read: {why}", path.display()));
                None
            }
        }
    }

    /// As `read`, for what nobody else should be able to read; warns if everybody can, or can put another in its place.
    pub fn read_private(&mut self, key: &str, path: &Path, span: Range<usize>) -> Option<Vec<u8>> {
        /// Rights of everybody. A group is fine: that is how a service's user gets at its key (`root:service 0640`).
        const OTHERS: u32 = 0o007;
        /// Only who owns a file of it may rename that: `/tmp`.
        const STICKY: u32 = 0o1000;
        let bytes = self.read(key, path, span.clone())?;
        if std::fs::metadata(path).is_ok_and(|about| about.mode() & OTHERS != 0) {
            let message =
                format!("`{key}`: every user of this machine can read {} (chmod o= it)", path.display());
            self.report.warn(span.clone(), message);
        }
        let folder = path.parent().filter(|folder| {
            std::fs::metadata(folder)
                .is_ok_and(|about| about.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE)
        });
        if let Some(folder) = folder {
            let message = format!(
                "`{key}`: every user of this machine can replace {} (chmod o-w {})",
                path.display(),
                folder.display()
            );
            self.report.warn(span, message);
        }
        Some(bytes)
    }

    /// Warns when everybody can change the configuration itself, and with it where secrets and saves go.
    pub fn report_open(&mut self, path: &Path) {
        if std::fs::metadata(path).is_ok_and(|about| about.mode() & OTHERS_WRITE != 0) {
            let message = format!("every user of this machine can change {} (chmod o-w it)", path.display());
            self.report.warn(0..0, message);
        }
    }

    /// Reports keys that a section cannot do without.
    pub fn require(&mut self, section: &str, keys: &[&str], written: &[&str], span: Range<usize>) {
        for key in keys.iter().filter(|key| !written.contains(key)) {
            self.report.fault(span.clone(), format!("{section} needs `{key}`"));
        }
    }

    /// What stands before a token. Written without its space, no token would ever be found behind it.
    pub fn prefix(&mut self, key: &str, written: Option<&Spanned<Prefix>>) -> Option<String> {
        let written = written?;
        let prefix = &written.get_ref().0;
        if prefix.ends_with(|c: char| c.is_ascii_alphanumeric()) {
            let message =
                format!("`{key}` ends without a space: the token follows at once, as in \"{prefix}eyJ…\"");
            self.report.warn(written.span(), message);
        }
        Some(prefix.clone())
    }

    /// A duration with its limits; `because` says why they are what they are.
    pub fn duration(
        &mut self,
        key: &str,
        written: Option<&Spanned<Duration>>,
        default: Duration,
        allowed: RangeInclusive<Duration>,
        because: &str,
    ) -> Duration {
        let Some(written) = written else { return default };
        if !allowed.contains(written.get_ref()) {
            let (least, most) = (short(*allowed.start()), short(*allowed.end()));
            let message = format!("`{key}` must be between {least} and {most}: {because}");
            self.report.fault(written.span(), message);
            return default;
        }
        *written.get_ref()
    }

    /// A number with its limits.
    pub fn number(
        &mut self,
        key: &str,
        written: Option<&Spanned<u64>>,
        default: usize,
        allowed: RangeInclusive<usize>,
        because: &str,
    ) -> usize {
        let Some(written) = written else { return default };
        match usize::try_from(*written.get_ref()) {
            Ok(number) if allowed.contains(&number) => number,
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                let message = format!("`{key}` must be between {least} and {most}: {because}");
                self.report.fault(written.span(), message);
                default
            }
        }
    }
}

/// An error of the system in words of its own, without the number.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "the gateway's user may not read it".to_owned(),
        _ => error.to_string(),
    }
}

/// A duration as people write it.
pub fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
        .map_or_else(
            || if millis == 0 { "0s".into() } else { format!("{millis}ms") },
            |(name, unit)| format!("{}{name}", millis / unit),
        )
}
