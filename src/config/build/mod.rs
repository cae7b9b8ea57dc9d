//! From "as written" to "ready to use": defaults, ranges, files, and everything that one key says about another.

mod assets;
mod certificates;
mod context;
mod integrators;
mod jwt;
mod listeners;
mod saves;
mod servers;
mod site;
mod sockets;

use std::path::Path;
use std::time::SystemTime;

use toml::Spanned;

use super::env::Env;
use super::fault::Report;
use super::files::Files;
use super::read::Section;
use super::{raw, url};
use crate::live::{Fixed, Limits, Mode, Snapshot};
use crate::ops::log;
use crate::{relay, state, tls};
use context::value;
pub use context::{Context, short, why};

/// What a configuration without faults becomes.
pub struct Built {
    /// What a reload replaces.
    pub snapshot: Snapshot,
    /// What only a restart changes.
    pub fixed: Fixed,
}

/// What a file of the operator's meets on its way: the world around it.
pub struct Around<'a> {
    /// Variables.
    pub env: &'a Env,
    /// When it is.
    pub now: SystemTime,
    /// Kept over reloads.
    pub tickets: &'a tls::Tickets,
    /// What it names is read from here, and from the disk where it has not been read yet.
    pub files: &'a mut Files,
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
pub fn build(file: raw::File, path: &Path, around: Around<'_>, report: &mut Report) -> Option<Built> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let Around { env, now, tickets, files } = around;
    let context = &mut Context::new(report, env, now, folder, files);
    let (server, headers, limits) = (
        part(file.server, &file.written),
        part(file.headers, &file.written),
        part(file.limits, &file.written),
    );
    let document_server = part(file.document_server, &file.written);

    context.report_open(path);
    let mode = mode(file.mode.as_ref(), context);
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
    let state = state(file.state.map(Spanned::into_inner), context);
    let assets = assets::build(&part(file.assets, &file.written), context);
    let limits = self::limits(limits.get_ref(), context);
    let log = log_settings(&part(file.log, &file.written));

    if !context.report.is_fine() {
        return None;
    }
    let (tokens, secret) = tokens?;
    let routes = servers::switches(document_server.get_ref());
    let relay = relay::Settings { integrators: integrators.built, saves, archive: archive?, secret };
    let (site, tls) = (site?, tls?);
    let snapshot = Snapshot {
        mode,
        site,
        tokens,
        routes,
        tls,
        upstream,
        sockets,
        assets,
        relay,
        state,
        limits,
        log,
        drain,
    };
    Some(Built { snapshot, fixed })
}

fn log_settings(log: &Part<raw::Log>) -> log::Settings {
    let log = log.get_ref();
    log::Settings {
        format: value(log.format.as_ref(), log::Format::Json),
        level: value(log.level.as_ref(), log::Level::Info),
    }
}

fn mode(mode: Option<&Spanned<Mode>>, context: &mut Context<'_>) -> Mode {
    if let Some(mode) = mode.filter(|mode| *mode.get_ref() == Mode::Observe) {
        let message =
            "`mode` is \"observe\": class, origin, binding and host rules only log what they would refuse";
        context.report.warn(mode.span(), message);
    }
    value(mode, Mode::Enforce)
}

fn state(state: Option<raw::State>, context: &mut Context<'_>) -> state::Settings {
    let Some(redis) = state.and_then(|state| state.redis) else { return state::Settings::Embedded };
    if url::is_far(&redis.get_ref().host) {
        let message =
            "`state.redis` is reached without encryption, and not on this machine or a private network";
        context.report.warn(redis.span(), message);
    }
    state::Settings::Redis(redis.into_inner().url)
}

fn limits(limits: &raw::Limits, context: &mut Context<'_>) -> Limits {
    let connections = limits.connections.as_ref();
    let each = limits.connections_per_address.as_ref();
    let built = Limits {
        connections: context.number(
            "limits.connections",
            connections,
            20_000,
            1..=1_000_000,
            "each needs a file descriptor",
        ),
        connections_per_address: context.number(
            "limits.connections_per_address",
            each,
            2_000,
            1..=1_000_000,
            "an office behind one address has many editors, but not millions",
        ),
    };
    if let Some(each) = each.filter(|_| built.connections_per_address > built.connections) {
        let message =
            "`limits.connections_per_address` is more than `limits.connections`: one address can take all";
        context.report.warn(each.span(), message);
    }
    built
}
