//! One Document Server as every core sees it: where it is and whether it is well.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{Address, Settings};
use crate::ops::latency::Latency;
use crate::rules::pick::Ring;

/// What the probe last saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet: requests try.
    Unknown,
    /// `/healthcheck` said `true`.
    Up,
    /// It answers, but not `true`: its database, queue or storage is in trouble. Requests still pass, since static
    /// files and open editors work.
    Unwell,
    /// It does not answer, or its own nginx answers for it with 502-504. Requests wait.
    Down,
}

impl Health {
    /// Whether a request may be sent.
    pub fn serves(self) -> bool {
        !matches!(self, Self::Down)
    }
}

/// A verdict of the probe, numbered so that a request can wait for one that is newer than its own failure.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// What was seen.
    pub health: Health,
    /// How many verdicts came before.
    pub number: u64,
    /// Since when it has been so.
    pub since: SystemTime,
}

/// One Document Server. Lives as long as it is configured; reloads hand it on.
pub struct Server {
    address: Address,
    name: String,
    verdict: watch::Sender<Verdict>,
    suspected: Notify,
    probed: AtomicBool,
    latency: Latency,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.address, self.health())
    }
}

impl Server {
    /// A server of which nothing is known yet.
    pub fn new(address: Address) -> Self {
        let (verdict, _) =
            watch::channel(Verdict { health: Health::Unknown, number: 0, since: SystemTime::now() });
        Self {
            name: address.to_string(),
            address,
            verdict,
            suspected: Notify::new(),
            probed: AtomicBool::new(false),
            latency: Latency::default(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `host:port`, for the log and for `Host` where nothing better is known.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the probe last saw.
    pub fn health(&self) -> Health {
        self.verdict.borrow().health
    }

    /// The probe's last verdict with its number.
    pub fn verdict(&self) -> Verdict {
        *self.verdict.borrow()
    }

    /// Called by the probe alone. Returns what was believed before.
    pub(super) fn judge(&self, health: Health) -> Health {
        let mut before = Health::Unknown;
        self.verdict.send_modify(|verdict| {
            before = verdict.health;
            let since = if before == health { verdict.since } else { SystemTime::now() };
            *verdict = Verdict { health, number: verdict.number + 1, since };
        });
        before
    }

    /// Asks the probe to look now: a request has met a refused connection or a 502.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Whether the caller is the first who wants to probe it: a server that outlives a reload keeps its probe.
    pub fn claim_probe(&self) -> bool {
        !self.probed.swap(true, Ordering::Relaxed)
    }

    /// How long it took to answer, since it is configured.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// It took so long to answer.
    pub fn took(&self, time: Duration) {
        self.latency.record(time);
    }

    pub(super) async fn suspicion(&self) {
        self.suspected.notified().await;
    }

    /// Waits until the probe has judged again after `seen`, at most until `deadline`; the health then.
    pub async fn next_verdict(&self, seen: Verdict, deadline: Instant) -> Health {
        let mut verdicts = self.verdict.subscribe();
        let newer = verdicts.wait_for(|verdict| verdict.number > seen.number);
        match timeout_at(deadline, newer).await {
            Ok(Ok(verdict)) => verdict.health,
            _ => self.health(),
        }
    }

    /// Waits until the server serves, at most until `deadline`. Whether it does.
    pub async fn until_serving(&self, deadline: Instant) -> bool {
        let mut verdicts = self.verdict.subscribe();
        let serving = verdicts.wait_for(|verdict| verdict.health.serves());
        matches!(timeout_at(deadline, serving).await, Ok(Ok(_)))
    }
}

/// The Document Servers of one configuration, and which document belongs to which.
#[derive(Debug)]
pub struct Servers {
    list: Vec<Arc<Server>>,
    /// Where each stands on the ring, in the order of `list`.
    points: Vec<SocketAddr>,
    ring: Ring,
    /// How long a request waits for one of them.
    pub wait: Duration,
    /// How often each must say that it is well.
    pub health: Duration,
}

impl Servers {
    /// The servers of `settings`; those that `before` knows already are taken over with what is known of them.
    pub fn new(settings: &Settings, before: Option<&Self>) -> Self {
        let known = |address: &Address| {
            before.and_then(|before| before.list.iter().find(|server| server.address == *address)).cloned()
        };
        let list: Vec<_> = settings
            .servers
            .iter()
            .map(|address| known(address).unwrap_or_else(|| Arc::new(Server::new(address.clone()))))
            .collect();
        let points: Vec<SocketAddr> = settings.servers.iter().map(point).collect();
        Self { ring: Ring::new(&points), points, list, wait: settings.wait, health: settings.health }
    }

    /// Every server, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Server>] {
        &self.list
    }

    /// The server of a document, or, without a key, the first that serves.
    ///
    /// A key stays with its server even while that is down: two servers with one document would be two documents.
    pub fn choose(&self, key: Option<&str>) -> Option<&Arc<Server>> {
        if self.list.len() < 2 {
            return self.list.first();
        }
        match key {
            Some(key) => {
                let owner = self.ring.owner(key)?;
                self.list.get(self.points.iter().position(|point| *point == owner)?)
            }
            None => self.list.iter().find(|server| server.health().serves()).or_else(|| self.list.first()),
        }
    }
}

/// Where a server stands on the ring. The ring knows socket addresses; a name becomes one that no machine has
/// (RFC 4193), made from its letters, so that it stands in the same place after every restart.
fn point(address: &Address) -> SocketAddr {
    match address.host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, address.port),
        Err(_) => {
            let mut hash: u64 = 0xcbf2_9ce4_8422_2325; // FNV-1a
            for byte in address.host.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            SocketAddr::new(Ipv6Addr::from((0xfd_u128 << 120) | u128::from(hash)).into(), address.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: &[&str]) -> Servers {
        let servers = names.iter().map(|host| Address { host: (*host).to_owned(), port: 80 }).collect();
        let settings = Settings { servers, health: Duration::from_secs(5), wait: Duration::from_secs(5) };
        Servers::new(&settings, None)
    }

    #[test]
    fn a_document_stays_with_its_server_in_whatever_order_they_are_written() {
        let one = servers(&["a", "b", "c"]);
        let other = servers(&["c", "a", "b"]);
        let mut seen = std::collections::HashSet::new();
        for key in 0..200 {
            let key = format!("document{key}");
            let name = one.choose(Some(&key)).unwrap().name();
            assert_eq!(name, other.choose(Some(&key)).unwrap().name());
            seen.insert(name.to_owned());
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_server_that_is_down_keeps_its_documents_but_gets_no_others() {
        let all = servers(&["a", "b"]);
        all.list[0].judge(Health::Down);
        assert_eq!(all.choose(None).unwrap().name(), "b:80");
        let owners: std::collections::HashSet<_> =
            (0..100).map(|n| all.choose(Some(&n.to_string())).unwrap().name().to_owned()).collect();
        assert_eq!(owners.len(), 2);
    }
}
