//! What the gateway is at this moment, read from its owners when Prometheus asks.

use super::Admin;
use crate::ops::page::{Kind, Page};
use crate::ops::process;
use crate::upstream::Health;

/// Handles' counts and everybody's state, as one page.
pub fn page(admin: &Admin) -> String {
    let mut page = Page::default();
    built(&mut page);
    requests(&mut page, admin);
    servers(&mut page, admin);
    saves(&mut page, admin);
    process::write(&mut page);
    let mut text = admin.ops.metrics.render();
    text.push_str(&page.text());
    text
}

fn built(page: &mut Page) {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", option_env!("GATEWAY_COMMIT").unwrap_or("unknown")),
        ("rustc", env!("GATEWAY_RUSTC")),
    ];
    page.info("gateway_build_info", "What runs here.", &labels);
}

#[expect(clippy::cast_precision_loss, reason = "numbers of things, far below 2^52")]
fn requests(page: &mut Page, admin: &Admin) {
    let help = "Requests that have begun and not ended; editor sockets are not among them.";
    page.one("gateway_requests_in_flight", Kind::Gauge, help, admin.ops.metrics.requests.in_flight() as f64);
    let help = "Editors' sessions that poll, because they have no WebSocket.";
    page.one("gateway_polling_sessions", Kind::Gauge, help, admin.sockets.polls.count() as f64);
    let help = "Lines of the log that were lost because its reader was too slow.";
    page.one("gateway_log_dropped_total", Kind::Counter, help, admin.ops.log.dropped() as f64);
}

fn servers(page: &mut Page, admin: &Admin) {
    let running = admin.live.load();
    let up = running
        .servers
        .all()
        .iter()
        .map(|server| (server.name().to_owned(), f64::from(u8::from(server.health() == Health::Up))));
    let help = "Whether a Document Server's /healthcheck says true.";
    page.by("gateway_upstream_up", Kind::Gauge, help, "server", up);
    let help = "From a request to the head of the Document Server's answer, waiting for a restart included.";
    let latencies = running.servers.all().iter().map(|server| (server.name(), server.latency()));
    page.latencies("gateway_upstream_duration_seconds", help, "server", latencies);
}

#[expect(clippy::cast_precision_loss, reason = "numbers of things, far below 2^52")]
fn saves(page: &mut Page, admin: &Admin) {
    let status = admin.relay.status();
    let saves = &status.saves;
    let mut one = |name, help, value| page.one(name, Kind::Gauge, help, value);
    one("onlyoffice_transition_locks", "Documents whose final save is under way.", saves.locked as f64);
    one("gateway_saves_open", "Saves that are under way or wait for another try.", saves.open as f64);
    let oldest = status.oldest().unwrap_or_default().as_secs_f64();
    one("gateway_saves_oldest_seconds", "How long the oldest save waits that was taken over.", oldest);
    let (bytes, most) = status.bytes;
    one("gateway_saves_bytes", "Bytes in the directory of saves.", bytes as f64);
    one("gateway_saves_limit_bytes", "Bytes that may be in it: saves.max_size.", most as f64);
    let parked = [
        ("refused", saves.refused as f64),
        ("superseded", saves.superseded as f64),
        ("out_of_time", saves.out_of_time as f64),
    ];
    page.by("gateway_saves_parked", Kind::Gauge, "Saves that wait for a person, by why.", "reason", parked);
}
