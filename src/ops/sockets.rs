//! Numbers of editor sockets: how they ended. Who is in which document is counted by the sockets' registry.

use metrics::Counter;

use super::maker::Maker;

/// How an editor socket ended; also `close` in its line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Close {
    /// One side ended it, and then the other.
    Closed,
    /// A connection failed.
    Failed,
    /// Nothing moved for too long.
    Idle,
    /// The gateway left.
    Left,
    /// A packet of it was refused: the first, or a second CONNECT.
    Refused,
    /// No Document Server took it.
    Unreachable,
    /// The client left before its first packet was judged.
    Gone,
}

impl Close {
    const ALL: [Self; 7] =
        [Self::Closed, Self::Failed, Self::Idle, Self::Left, Self::Refused, Self::Unreachable, Self::Gone];

    /// The name in log and metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Left => "left",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
        }
    }
}

/// Handles of editor sockets.
pub struct SocketMetrics {
    closed: [Counter; Close::ALL.len()],
}

impl SocketMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let closed = |close: Close| {
            let help = "Editor sockets that have ended, by how.";
            make.counter("gateway_sockets_closed_total", help, &[("reason", close.name())])
        };
        Self { closed: Close::ALL.map(closed) }
    }

    /// A socket has ended.
    pub fn closed(&self, close: Close) {
        self.closed[close as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_stands_at_its_place() {
        for (at, close) in Close::ALL.into_iter().enumerate() {
            assert_eq!(close as usize, at);
        }
    }
}
