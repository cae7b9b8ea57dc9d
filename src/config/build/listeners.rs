//! `[server]`: where the gateway listens. Two listeners that cannot both be bound are found here, not at start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use toml::Spanned;

use super::{Context, Part};
use crate::config::{raw, url};
use crate::live::Fixed;

/// What only a restart changes.
pub fn build(server: &Part<raw::Server>, context: &mut Context<'_>) -> Fixed {
    let server = server.get_ref();
    let fixed = Fixed {
        https: addresses(server.https.as_ref(), everywhere(443)),
        http: addresses(server.http.as_ref(), everywhere(80)),
        admin: server
            .admin
            .as_ref()
            .map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), |admin| *admin.get_ref()),
        relay: addresses(server.relay.as_ref(), Vec::new()),
        workers: workers(server.workers.as_ref(), context),
    };
    report_clashes(server, &fixed, context);
    report_exposed(server, &fixed, context);
    fixed
}

/// How long requests may finish on stop.
pub fn drain(server: &Part<raw::Server>, context: &mut Context<'_>) -> Duration {
    context.duration(
        "server.drain",
        server.get_ref().drain.as_ref(),
        Duration::from_secs(5),
        Duration::ZERO..=Duration::from_secs(60),
        "systemd kills what has not stopped after TimeoutStopSec=, 90s unless changed, and sockets close last",
    )
}

/// Both families by name: `[::]` alone would mean IPv6 only here (`IPV6_V6ONLY`).
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

fn addresses(
    written: Option<&Spanned<Vec<Spanned<SocketAddr>>>>,
    default: Vec<SocketAddr>,
) -> Vec<SocketAddr> {
    written.map_or(default, |list| list.get_ref().iter().map(|address| *address.get_ref()).collect())
}

fn workers(written: Option<&Spanned<u64>>, context: &mut Context<'_>) -> Option<NonZeroUsize> {
    let because = "each worker is a core; 0 means all there are";
    NonZeroUsize::new(context.number("server.workers", written, 0, 0..=1024, because))
}

/// Every listener that is written, with its key; defaults have no place of their own and come first.
fn report_clashes(server: &raw::Server, fixed: &Fixed, context: &mut Context<'_>) {
    let lists = [
        ("server.https", server.https.as_ref(), &fixed.https),
        ("server.http", server.http.as_ref(), &fixed.http),
        ("server.relay", server.relay.as_ref(), &fixed.relay),
    ];
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let mut written = Vec::new();
    for (key, list, built) in lists {
        match list {
            Some(list) => written.extend(list.get_ref().iter().map(|a| (key, *a.get_ref(), a.span()))),
            None => taken.extend(built.iter().map(|address| (key, *address))),
        }
    }
    match &server.admin {
        Some(admin) => written.push(("server.admin", fixed.admin, admin.span())),
        None => taken.push(("server.admin", fixed.admin)),
    }
    written.sort_by_key(|(_, _, span)| span.start);
    for (key, address, span) in written {
        if let Some((other, with)) = taken.iter().find(|(_, with)| clash(*with, address)) {
            let message = format!("`{key}`: {address} is taken already, by {with} of `{other}`");
            context.report.fault(span, message);
        }
        taken.push((key, address));
    }
}

/// Whether the system would refuse the second of the two. Port 0 is a new port each time.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && overlap
}

fn report_exposed(server: &raw::Server, fixed: &Fixed, context: &mut Context<'_>) {
    if let Some(admin) = server.admin.as_ref().filter(|admin| !admin.get_ref().ip().is_loopback()) {
        let message = "`server.admin` is not on loopback: whoever reaches it reads sessions and may reload, without encryption";
        context.report.warn(admin.span(), message);
    }
    for relay in server.relay.iter().flat_map(|list| list.get_ref()) {
        let ip = relay.get_ref().ip();
        if is_everywhere(ip) || url::is_far(&ip.to_string()) {
            let message =
                "`server.relay` is plain HTTP for the container; listen on the container's bridge alone";
            context.report.warn(relay.span(), message);
        }
    }
    if fixed.https.is_empty() && fixed.http.is_empty() {
        let at = server.https.as_ref().map_or(0..0, Spanned::span);
        context.report.warn(at, "nothing is served to browsers: `server.https` and `server.http` are empty");
    }
}

fn is_everywhere(ip: IpAddr) -> bool {
    ip.is_unspecified()
}
