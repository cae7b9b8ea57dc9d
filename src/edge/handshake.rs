//! Why a TLS handshake failed, as far as an error tells.

use std::io;

use crate::ops::tls::HandshakeFault;

/// What went wrong with a handshake.
#[expect(clippy::needless_pass_by_value, reason = "stands behind map_err")]
pub fn fault(error: io::Error) -> HandshakeFault {
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
