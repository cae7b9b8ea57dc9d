//! What a connection is waiting for, and since when: a few atomics that the stream writes and one timer reads.
//!
//! hyper's `header_read_timeout` is also its idle limit and allocates a timer for each request (design D7a), so the
//! deadlines are kept here. The timer is armed for the earliest moment at which anything could be late, and when it
//! fires and nothing is, it is armed again: a busy connection arms it a few times a minute, not per request.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sockets::{GRACE, HOLD};

/// How long a client may be slow. Nobody has to tune these, so they are no keys of gateway.toml; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// A TLS handshake.
    pub handshake: Duration,
    /// A request's head, from its first byte (slowloris).
    pub head: Duration,
    /// Silence on a kept-alive connection.
    pub idle: Duration,
    /// A body that stands still, in either direction. There is no limit on how long it takes in all.
    pub progress: Duration,
    /// The first packet of an editor's socket. The editor sends it in the moment in which it is greeted.
    pub packet: Duration,
    /// Silence on an editor's socket, or a reader that takes nothing.
    pub socket: Duration,
    /// How long an editor waits for a save of its document.
    pub hold: Duration,
    /// Who comes back to a document within this time has not left it.
    pub grace: Duration,
}

impl Default for Deadlines {
    /// 10 s handshake: two round trips, who needs longer is not a browser. 10 s head: one packet (nginx: 60 s).
    /// 75 s idle, as nginx has it. 30 s without progress. 5 s first packet (design.md 6). 75 s silence of a socket: three pings of
    /// the Document Server.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            progress: Duration::from_secs(30),
            packet: Duration::from_secs(5),
            socket: Duration::from_secs(75),
            hold: HOLD,
            grace: GRACE,
        }
    }
}

/// Milliseconds since the connection began, plus one; 0 is "not waiting". Wraps after 49 days, which costs at worst
/// one connection.
type Since = AtomicU32;

/// The state of one connection. The stream (which hyper may move to another task) and the connection share it.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    deadlines: Deadlines,
    /// Whether bytes without a request in flight are the beginning of a head: HTTP/1 only, since an HTTP/2 client
    /// sends frames of the connection at any time.
    heads: bool,
    head: Since,
    idle: Since,
    blocked: Since,
    active: AtomicU32,
}

/// `idle` of a connection that has had no request yet.
const FRESH: u32 = 1;
/// While the gateway leaves, a connection that was used within this time will probably be used again, and hears in its next
/// answer that it ends: a connection that is closed instead may lose the request that is on its way.
const REST: Duration = Duration::from_secs(1);

/// What is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// A head was begun and not finished.
    Head,
    /// Nothing was asked for.
    Idle,
    /// The client takes nothing.
    Blocked,
}

/// What the timer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Something is late.
    Late(Late),
    /// Nothing is; look again after this time.
    After(Duration),
}

impl Pulse {
    /// A connection that begins now, idle. `heads`: HTTP/1.
    pub fn new(heads: bool, deadlines: Deadlines) -> Self {
        Self {
            born: Instant::now(),
            deadlines,
            heads,
            head: Since::new(0),
            idle: Since::new(FRESH),
            blocked: Since::new(0),
            active: AtomicU32::new(0),
        }
    }

    fn now(&self) -> u32 {
        u32::try_from(self.born.elapsed().as_millis()).unwrap_or(u32::MAX).max(FRESH + 1)
    }

    /// Bytes have come.
    pub fn read(&self) {
        if self.heads && self.active.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Bytes have gone, or could not go.
    pub fn written(&self, went: bool) {
        if went {
            if self.blocked.load(Ordering::Relaxed) != 0 {
                self.blocked.store(0, Ordering::Relaxed);
            }
        } else if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request's head is complete.
    pub fn begin(&self) {
        self.head.store(0, Ordering::Relaxed);
        self.idle.store(0, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has been answered to its last byte.
    pub fn end(&self) {
        if self.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether anything is late, and when to look again.
    pub fn check(&self) -> Check {
        self.check_at(self.now())
    }

    /// How long to wait until a connection may be told that the gateway leaves without losing a request: not at all while one
    /// is in flight (its answer says it) or where the protocol can take requests back (HTTP/2, once it has begun).
    pub fn until_told(&self) -> Duration {
        self.until_told_at(self.now())
    }

    /// Whether no request has come yet.
    pub fn is_fresh(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == FRESH
    }

    fn until_told_at(&self, now: u32) -> Duration {
        let idle = self.idle.load(Ordering::Relaxed);
        if self.active.load(Ordering::Relaxed) > 0 || (!self.heads && !self.is_fresh()) {
            return Duration::ZERO;
        }
        if self.head.load(Ordering::Relaxed) != 0 {
            return REST; // half a head: its own deadline ends it, if its answer does not
        }
        REST.saturating_sub(Duration::from_millis(u64::from(now.saturating_sub(idle))))
    }

    fn check_at(&self, now: u32) -> Check {
        let Deadlines { head, idle, progress, .. } = self.deadlines;
        let mut next = progress;
        for (since, limit, late) in [
            (&self.head, head, Late::Head),
            (&self.idle, idle, Late::Idle),
            (&self.blocked, progress, Late::Blocked),
        ] {
            let since = since.load(Ordering::Relaxed);
            if since == 0 {
                continue;
            }
            let waited = Duration::from_millis(u64::from(now.saturating_sub(since)));
            match limit.checked_sub(waited) {
                None | Some(Duration::ZERO) => return Check::Late(late),
                Some(left) => next = next.min(left),
            }
        }
        // A head may begin at any moment and is late 10 s after that: looking every 5 s makes it late by 15 at most
        // only when nothing else is awaited. One look costs less than a microsecond.
        Check::After(if self.heads { next.min(head / 2) } else { next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u32 = 1000;

    #[test]
    fn each_kind_of_waiting_has_its_limit() {
        let idle = Pulse::new(true, Deadlines::default());
        assert!(matches!(idle.check_at(74 * SECOND), Check::After(_)));
        assert_eq!(idle.check_at(76 * SECOND), Check::Late(Late::Idle));

        let head = Pulse::new(true, Deadlines::default());
        head.read();
        assert!(matches!(head.check_at(9 * SECOND), Check::After(left) if left < Duration::from_secs(2)));
        assert_eq!(head.check_at(11 * SECOND), Check::Late(Late::Head));

        let busy = Pulse::new(true, Deadlines::default());
        busy.read();
        busy.begin();
        busy.read(); // a body, not a head
        assert!(matches!(busy.check_at(3600 * SECOND), Check::After(_)));
        busy.written(false);
        assert_eq!(busy.check_at(31 * SECOND), Check::Late(Late::Blocked));
        busy.written(true);
        assert!(matches!(busy.check_at(3600 * SECOND), Check::After(_)));
        busy.end();
        assert_eq!(busy.check_at(76 * SECOND), Check::Late(Late::Idle));
    }

    #[test]
    fn a_connection_that_may_lose_a_request_is_not_told_at_once() {
        let told = |heads, had: bool, in_flight: bool, now| {
            let pulse = Pulse::new(heads, Deadlines::default());
            if had {
                pulse.begin();
                pulse.end(); // at 2 ms at the earliest
            }
            if in_flight {
                pulse.begin();
            }
            pulse.until_told_at(now)
        };
        for (heads, had, in_flight, now, expected) in [
            (true, false, false, 1, 1_000), // a client that has just connected
            (false, false, false, 1, 1_000),
            (true, false, true, 1, 0),
            (true, true, true, 1, 0),
            (false, true, false, 2, 0), // HTTP/2 takes back what came too late
            (true, true, false, 2, 1_000),
            (true, true, false, 60_000, 0),
            (true, false, false, 60_000, 0), // a browser's spare connection
        ] {
            let left = told(heads, had, in_flight, now).as_millis();
            assert!(left.abs_diff(expected) < 100, "{heads} {had} {in_flight} {now}: {left}");
        }
        let half = Pulse::new(true, Deadlines::default());
        half.read();
        assert_eq!(half.until_told_at(5_000), REST);
    }

    #[test]
    fn frames_of_an_http2_connection_are_no_heads() {
        let pulse = Pulse::new(false, Deadlines::default());
        pulse.read();
        assert!(matches!(pulse.check_at(20 * SECOND), Check::After(_)));
    }
}
