//! Numbers of TLS: handshakes, and why some failed.

use metrics::Counter;

use super::maker::Maker;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFault {
    /// It took too long.
    Late,
    /// The client hung up in the middle: a port scan, or a page that was left.
    Closed,
    /// What came was not TLS, plain HTTP perhaps.
    NotTls,
    /// No version, suite or group that both know.
    Incompatible,
    /// The client said why it would not go on: mostly that it does not trust the certificate.
    Alert,
    /// Anything else.
    Other,
}

impl HandshakeFault {
    const ALL: [Self; 6] =
        [Self::Late, Self::Closed, Self::NotTls, Self::Incompatible, Self::Alert, Self::Other];

    /// The label, and the name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::Other => "other",
        }
    }
}

/// Handles of TLS.
pub struct TlsMetrics {
    succeeded: Counter,
    failed: [Counter; HandshakeFault::ALL.len()],
}

impl TlsMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let failed = |fault: HandshakeFault| {
            let help = "TLS handshakes that failed, by what went wrong.";
            make.counter("gateway_tls_handshakes_failed_total", help, &[("kind", fault.name())])
        };
        Self {
            succeeded: make.counter("gateway_tls_handshakes_total", "TLS handshakes that succeeded.", &[]),
            failed: HandshakeFault::ALL.map(failed),
        }
    }

    /// A handshake succeeded.
    pub fn succeeded(&self) {
        self.succeeded.increment(1);
    }

    /// A handshake failed.
    pub fn failed(&self, fault: HandshakeFault) {
        self.failed[fault as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_at_its_place() {
        for (at, fault) in HandshakeFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, at);
        }
    }
}
