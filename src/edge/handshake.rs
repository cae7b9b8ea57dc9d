//! How a TLS handshake ended: counted, and told to whoever reads along.

use std::fmt::Display;
use std::io;

use rustls::ServerConnection;

use crate::ops::Ops;
use crate::ops::tls::HandshakeFault;
use crate::rules::client::Peer;

/// It did not come to an end; without an error, not in time.
pub fn failed(ops: &Ops, peer: &Peer, error: Option<&io::Error>) {
    let kind = error.map_or(HandshakeFault::Late, fault);
    let why: &dyn Display = error.map_or(&"it took too long", |error| error);
    ops.log.debug(
        "tls",
        "a handshake failed",
        &[("remote", &peer.text()), ("kind", &kind.name()), ("error", why)],
    );
    ops.metrics.tls.failed(kind);
}

/// It did.
pub fn succeeded(ops: &Ops, peer: &Peer, session: &ServerConnection) {
    ops.metrics.tls.succeeded();
    if !ops.log.is_debugging() {
        return;
    }
    let sni = session.server_name().unwrap_or("none");
    let alpn = String::from_utf8_lossy(session.alpn_protocol().unwrap_or(b"none"));
    let version = session.protocol_version().map_or_else(String::new, |version| format!("{version:?}"));
    let kind = session.handshake_kind().map_or_else(String::new, |kind| format!("{kind:?}"));
    ops.log.debug(
        "tls",
        "a handshake is done",
        &[
            ("remote", &peer.text()),
            ("sni", &sni),
            ("alpn", &alpn),
            ("version", &version),
            ("handshake", &kind),
        ],
    );
}

/// What went wrong, as far as an error tells.
fn fault(error: &io::Error) -> HandshakeFault {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => HandshakeFault::NotTls,
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeFault::Incompatible
        }
        Some(rustls::Error::AlertReceived(_)) => HandshakeFault::Alert,
        None if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe | ConnectionAborted) => {
            HandshakeFault::Closed
        }
        _ => HandshakeFault::Other,
    }
}
