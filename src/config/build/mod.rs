//! From "as written" to "ready to use": defaults, ranges, files, and everything that one key says about another.

mod certificates;
mod integrators;
mod jwt;
mod listeners;
mod saves;
mod servers;
mod site;
mod sockets;

use std::io::{self, ErrorKind};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::env::Env;
use super::fault::Report;
use super::read::Section;
use super::values::Prefix;
use super::{raw, url};
use crate::live::{Fixed, Limits, Mode, Snapshot};
use crate::ops::log;
use crate::{relay, state, tls};

/// Keys, certificates and secrets are small; whoever names a disk by mistake is told so.
const LARGEST_FILE: u64 = 1 << 20;

/// What a configuration without faults becomes.
pub struct Built {
    /// What a reload replaces.
    pub snapshot: Snapshot,
    /// What only a restart changes.
    pub fixed: Fixed,
    /// Every file that was named.
    pub files: Vec<PathBuf>,
}

/// A section with its place; the defaults with no place where it is not written.
type Part<T> = Spanned<T>;

/// A section that is there but cannot be read counts as if every key were written: what it lacks is not known.
fn part<T: Section>(section: Option<Spanned<T>>, written: &[&str]) -> Part<T> {
    section.unwrap_or_else(|| {
        let mut unwritten = T::default();
        if written.contains(&T::TITLE) {
            unwritten.written().extend(T::KEYS);
        }
        Spanned::new(0..0, unwritten)
    })
}

/// Builds everything and reports whatever is wrong; `None` when there was a fault, here or before.
pub fn build(
    file: raw::File,
    path: &Path,
    env: &Env,
    tickets: &tls::Tickets,
    report: &mut Report,
) -> Option<Built> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let context = &mut Context { report, env, folder, files: Vec::new() };
    let (server, headers, limits) = (
        part(file.server, &file.written),
        part(file.headers, &file.written),
        part(file.limits, &file.written),
    );
    let document_server = part(file.document_server, &file.written);

    let mode = context.mode(file.mode.as_ref());
    let fixed = listeners::build(&server, context);
    let drain = listeners::drain(&server, context);
    let tokens = jwt::build(&part(file.jwt, &file.written), context);
    let integrators = integrators::build(file.integrators.as_ref(), context);
    let public = site::public_urls(file.public_url.as_ref(), context);
    let tls = certificates::build(&part(file.tls, &file.written), &public, &fixed, tickets, context);
    let site = site::build(public, &server, &headers, &document_server, &integrators, context);
    let upstream = servers::build(&document_server, context);
    let sockets = sockets::build(&part(file.sockets, &file.written), &limits, context);
    let saves = saves::build(&part(file.saves, &file.written), context);
    let archive = saves::archive(&part(file.archive, &file.written), context);
    let state = context.state(file.state.map(Spanned::into_inner));
    let limits = context.limits(limits.get_ref());
    let log = log_settings(&part(file.log, &file.written));

    if !context.report.is_fine() {
        return None;
    }
    let (tokens, secret) = tokens?;
    let routes = servers::switches(document_server.get_ref());
    let relay = relay::Settings { integrators: integrators.built, saves, archive: archive?, secret };
    let (site, tls) = (site?, tls?);
    let snapshot =
        Snapshot { mode, site, tokens, routes, tls, upstream, sockets, relay, state, limits, log, drain };
    Some(Built { snapshot, fixed, files: std::mem::take(&mut context.files) })
}

fn log_settings(log: &Part<raw::Log>) -> log::Settings {
    let log = log.get_ref();
    log::Settings {
        format: value(log.format.as_ref(), log::Format::Json),
        level: value(log.level.as_ref(), log::Level::Info),
    }
}

/// What is written, else the default.
fn value<T: Copy>(written: Option<&Spanned<T>>, default: T) -> T {
    written.map_or(default, |written| *written.get_ref())
}

/// What all sections are built with.
pub struct Context<'a> {
    /// Takes what is wrong.
    pub report: &'a mut Report,
    /// Variables.
    pub env: &'a Env,
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Context<'_> {
    /// A path of the file: relative to the file's folder, not to wherever the gateway was started.
    pub fn path(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// Reads a small file that the configuration names. `None` after a fault has been reported.
    pub fn read(&mut self, key: &str, path: &Path, span: Range<usize>) -> Option<Vec<u8>> {
        if !self.files.iter().any(|file| file == path) {
            self.files.push(path.to_owned());
        }
        match read_small(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.report
                    .fault(span, format!("`{key}`: {} cannot be read: {}", path.display(), why(&error)));
                None
            }
        }
    }

    /// As `read`, for what nobody else should be able to read; warns if everybody can.
    pub fn read_private(&mut self, key: &str, path: &Path, span: Range<usize>) -> Option<Vec<u8>> {
        /// Rights of everybody. A group is fine: that is how a service's user gets at its key (`root:service 0640`).
        const OTHERS: u32 = 0o007;
        let bytes = self.read(key, path, span.clone())?;
        if std::fs::metadata(path).is_ok_and(|about| about.mode() & OTHERS != 0) {
            let message =
                format!("`{key}`: every user of this machine can read {} (chmod o= it)", path.display());
            self.report.warn(span, message);
        }
        Some(bytes)
    }

    /// Reports keys that a section cannot do without.
    fn require(&mut self, section: &str, keys: &[&str], written: &[&str], span: Range<usize>) {
        for key in keys.iter().filter(|key| !written.contains(key)) {
            self.report.fault(span.clone(), format!("{section} needs `{key}`"));
        }
    }

    /// What stands before a token. Written without its space, no token would ever be found behind it.
    fn prefix(&mut self, key: &str, written: Option<&Spanned<Prefix>>) -> Option<String> {
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
    fn duration(
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
    fn number(
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

    fn mode(&mut self, mode: Option<&Spanned<Mode>>) -> Mode {
        if let Some(mode) = mode.filter(|mode| *mode.get_ref() == Mode::Observe) {
            let message = "`mode` is \"observe\": class, origin, binding and host rules only log what they would refuse";
            self.report.warn(mode.span(), message);
        }
        value(mode, Mode::Enforce)
    }

    fn state(&mut self, state: Option<raw::State>) -> state::Settings {
        let Some(redis) = state.and_then(|state| state.redis) else { return state::Settings::Embedded };
        if url::is_far(&redis.get_ref().host) {
            let message =
                "`state.redis` is reached without encryption, and not on this machine or a private network";
            self.report.warn(redis.span(), message);
        }
        state::Settings::Redis(redis.into_inner().url)
    }

    fn limits(&mut self, limits: &raw::Limits) -> Limits {
        let connections = limits.connections.as_ref();
        let each = limits.connections_per_address.as_ref();
        let built = Limits {
            connections: self.number(
                "limits.connections",
                connections,
                20_000,
                1..=1_000_000,
                "each needs a file descriptor",
            ),
            connections_per_address: self.number(
                "limits.connections_per_address",
                each,
                2_000,
                1..=1_000_000,
                "an office behind one address has many editors, but not millions",
            ),
        };
        if let Some(each) = each.filter(|_| built.connections_per_address > built.connections) {
            let message = "`limits.connections_per_address` is more than `limits.connections`: one address can take all";
            self.report.warn(each.span(), message);
        }
        built
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
    if about.len() > LARGEST_FILE {
        return Err(io::Error::other(format!("it has {} bytes; {LARGEST_FILE} is the limit", about.len())));
    }
    std::fs::read(path)
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
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
        .map_or_else(
            || if millis == 0 { "0s".into() } else { format!("{millis}ms") },
            |(name, unit)| format!("{}{name}", millis / unit),
        )
}
