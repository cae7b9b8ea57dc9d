//! The editors that are open now: the only source of joins, leaves and active sessions (design.md 6), and of the caps on sockets.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ops::metrics::Metrics;
use crate::rules::client::household;
use crate::rules::policy::{Editor, EditorMode};

/// Who comes back within this time has not left: the editor tries again every 2 s (default.json:502-505), and a proxy's or a
/// server's restart takes a few of those.
pub const GRACE: Duration = Duration::from_secs(10);

/// Who has gone and may come back is remembered for so many, a few megabytes: three times what a large site has open.
const MOST_GONE: usize = 1 << 16;

/// Caps on sockets whose token holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Of one document: the Document Server sends every change to each of them.
    pub document: usize,
    /// Of one client address; of IPv6, one network.
    pub address: usize,
    /// In all.
    pub total: usize,
}

/// The editors that are open now. One for the process; a reload does not touch it.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    grace: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Inner {
    number: u64,
    documents: HashMap<Arc<str>, HashMap<u64, Guest>>,
    addresses: HashMap<IpAddr, usize>,
    total: usize,
    /// Who has gone and may come back, the longest gone first.
    gone: VecDeque<Gone>,
}

#[derive(Debug)]
struct Guest {
    user: Option<Box<str>>,
    mode: EditorMode,
    since: Instant,
    joined: bool,
}

#[derive(Debug)]
struct Gone {
    document: Arc<str>,
    user: Option<Box<str>>,
    at: Instant,
}

/// Who is there, for people to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crowd {
    /// How many documents are open.
    pub documents: usize,
    /// How many editors are in them.
    pub editors: usize,
    /// The documents with the most editors, these first.
    pub open: Vec<Open>,
}

/// A document and its editors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The document's key.
    pub document: Arc<str>,
    /// How many are in it.
    pub count: usize,
    /// Those who came first.
    pub editors: Vec<Present>,
}

/// An editor in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The user's id, where the token has one.
    pub user: Option<Box<str>>,
    /// What the token lets them do.
    pub mode: EditorMode,
    /// Since when.
    pub since: Instant,
}

impl Registry {
    /// An empty one.
    pub fn new(metrics: Arc<Metrics>, grace: Duration) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), grace, metrics })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a socket whose token holds; `None` when a cap is reached.
    pub fn enter(
        self: &Arc<Self>,
        document: &str,
        editor: Editor,
        address: IpAddr,
        caps: Caps,
    ) -> Option<Session> {
        let address = household(address);
        let mut inner = self.inner();
        let here = inner.documents.get(document).map_or(0, HashMap::len);
        let of_address = inner.addresses.get(&address).copied().unwrap_or(0);
        if here >= caps.document || of_address >= caps.address || inner.total >= caps.total {
            return None;
        }
        inner.total += 1;
        inner.number += 1;
        let number = inner.number;
        *inner.addresses.entry(address).or_default() += 1;
        let guest = Guest { user: editor.user, mode: editor.mode, since: Instant::now(), joined: false };
        let document: Arc<str> = match inner.documents.get_key_value(document) {
            Some((known, _)) => known.clone(),
            None => document.into(),
        };
        inner.documents.entry(document.clone()).or_default().insert(number, guest);
        drop(inner);
        Some(Session { registry: self.clone(), document, address, number })
    }

    /// Counts those who have not come back in time. To be called every few seconds.
    pub fn settle(&self) {
        self.settle_at(Instant::now());
    }

    fn settle_at(&self, now: Instant) {
        let mut inner = self.inner();
        while inner.gone.front().is_some_and(|gone| now.saturating_duration_since(gone.at) >= self.grace) {
            inner.gone.pop_front();
            self.metrics.leaves.increment(1);
        }
    }

    /// Who is there: of at most so many documents, and of each at most so many editors, by name.
    pub fn crowd(&self, documents: usize, editors: usize) -> Crowd {
        let inner = self.inner();
        let joined = |guests: &HashMap<u64, Guest>| guests.values().filter(|guest| guest.joined).count();
        let counted = inner.documents.iter().map(|(document, guests)| (joined(guests), document, guests));
        let mut counted: Vec<_> = counted.filter(|(count, ..)| *count > 0).collect();
        let mut crowd = Crowd {
            documents: counted.len(),
            editors: counted.iter().map(|(count, ..)| count).sum(),
            open: Vec::new(),
        };
        // Whoever joins waits for this: of thousands of documents only the few that are shown are put in order.
        type Counted<'i> = (usize, &'i Arc<str>, &'i HashMap<u64, Guest>);
        let order =
            |(a, one, _): &Counted<'_>, (b, other, _): &Counted<'_>| b.cmp(a).then_with(|| one.cmp(other));
        if counted.len() > documents {
            counted.select_nth_unstable_by(documents, order);
            counted.truncate(documents);
        }
        counted.sort_unstable_by(order);
        crowd.open = counted.into_iter().map(|(_, key, guests)| open(key, guests, editors)).collect();
        crowd
    }

    /// How many editors are in documents.
    pub fn editors(&self) -> usize {
        self.inner().documents.values().flat_map(HashMap::values).filter(|guest| guest.joined).count()
    }
}

fn open(document: &Arc<str>, guests: &HashMap<u64, Guest>, most: usize) -> Open {
    let mut joined: Vec<_> = guests.iter().filter(|(_, guest)| guest.joined).collect();
    joined.sort_unstable_by_key(|(number, _)| **number);
    let present = |guest: &Guest| Present { user: guest.user.clone(), mode: guest.mode, since: guest.since };
    Open {
        document: document.clone(),
        count: joined.len(),
        editors: joined.iter().take(most).map(|(_, guest)| present(guest)).collect(),
    }
}

/// A socket's place. Dropping it gives the place back; whoever had joined leaves.
#[derive(Debug)]
#[must_use]
pub struct Session {
    registry: Arc<Registry>,
    document: Arc<str>,
    address: IpAddr,
    number: u64,
}

impl Session {
    /// The user's id, where the token has one.
    pub fn user(&self) -> Option<Box<str>> {
        let inner = self.registry.inner();
        inner.documents.get(&self.document).and_then(|all| all.get(&self.number))?.user.clone()
    }

    /// The Document Server has taken the socket: an editor has joined, or has come back.
    pub fn join(&self) {
        self.registry.settle();
        let mut inner = self.registry.inner();
        let Some(guest) = inner.documents.get_mut(&self.document).and_then(|all| all.get_mut(&self.number))
        else {
            return;
        };
        if std::mem::replace(&mut guest.joined, true) {
            return;
        }
        let user = guest.user.clone();
        // Without a name nobody can be told to be the one who left.
        let back = inner
            .gone
            .iter()
            .position(|gone| user.is_some() && gone.user == user && gone.document == self.document);
        match back {
            Some(at) => drop(inner.gone.remove(at)),
            None => self.registry.metrics.joins.increment(1),
        }
        self.registry.metrics.active_sessions.increment(1.0);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        let left = inner.documents.get_mut(&self.document).and_then(|all| all.remove(&self.number));
        if inner.documents.get(&self.document).is_some_and(HashMap::is_empty) {
            inner.documents.remove(&self.document);
        }
        if let Entry::Occupied(mut of_address) = inner.addresses.entry(self.address) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
        inner.total = inner.total.saturating_sub(1);
        if let Some(guest) = left.filter(|guest| guest.joined) {
            self.registry.metrics.active_sessions.decrement(1.0);
            let gone = Gone { document: self.document.clone(), user: guest.user, at: Instant::now() };
            if inner.gone.len() >= MOST_GONE {
                inner.gone.pop_front();
                self.registry.metrics.leaves.increment(1);
            }
            inner.gone.push_back(gone);
        }
        drop(inner);
        self.registry.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps { document: 2, address: 3, total: 4 };

    fn registry() -> Arc<Registry> {
        Registry::new(Arc::new(Metrics::new()), GRACE)
    }

    fn editor(user: &str) -> Editor {
        let user = (!user.is_empty()).then(|| user.into());
        Editor { document: None, user, mode: EditorMode::Edit }
    }

    fn counts(registry: &Registry) -> (String, String, String) {
        let page = registry.metrics.render();
        let one = |series: &str| {
            let line = page.lines().find(|line| line.starts_with(series)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        (
            one("onlyoffice_session_events_total{event=\"join\"}"),
            one("onlyoffice_session_events_total{event=\"leave\"}"),
            one("onlyoffice_active_sessions"),
        )
    }

    fn expect(registry: &Registry, join: u32, leave: u32, active: u32) {
        assert_eq!(counts(registry), (join.to_string(), leave.to_string(), active.to_string()));
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn caps_hold_for_document_address_and_total() {
        let registry = registry();
        let enter = |key, last| registry.enter(key, editor(""), address(last), CAPS);
        let (_a, b) = (enter("k1", 1).unwrap(), enter("k1", 2).unwrap());
        assert!(enter("k1", 3).is_none(), "a document has two");
        let (_c, d) = (enter("k2", 1).unwrap(), enter("k3", 1).unwrap());
        assert!(enter("k4", 9).is_none(), "four in all");
        drop(b);
        assert!(enter("k4", 1).is_none(), "an address has three");
        drop(d);
        let _e = enter("k1", 1).unwrap();
        let _f = enter("k5", 7).unwrap();
        assert_eq!(registry.crowd(9, 9), Crowd::default(), "nobody has joined");
        expect(&registry, 0, 0, 0);
    }

    #[test]
    fn of_many_documents_the_fullest_are_shown() {
        let registry = registry();
        let caps = Caps { document: 9, address: 99, total: 99 };
        let join = |key: &str| {
            let session = registry.enter(key, editor(""), address(1), caps).unwrap();
            session.join();
            session
        };
        let sessions: Vec<_> = ["a", "b", "b", "c", "d", "d", "d", "e"].map(join).into();
        for (most, shown) in
            [(0, ""), (1, "d"), (2, "db"), (3, "dba"), (4, "dbac"), (5, "dbace"), (9, "dbace")]
        {
            let crowd = registry.crowd(most, 1);
            let keys: String = crowd.open.iter().map(|open| &*open.document).collect();
            assert_eq!((keys.as_str(), crowd.documents, crowd.editors), (shown, 5, sessions.len()), "{most}");
        }
    }

    #[test]
    fn who_comes_back_in_time_has_not_left() {
        let registry = registry();
        let join = |key: &str, user: &str| {
            let session =
                registry.enter(key, editor(user), address(1), Caps { address: 9, total: 9, ..CAPS });
            let session = session.unwrap();
            session.join();
            session.join(); // twice is once
            session
        };
        let (ann, bob) = (join("k1", "ann"), join("k1", "bob"));
        expect(&registry, 2, 0, 2);
        let crowd = registry.crowd(9, 1);
        let open = &crowd.open[0];
        assert_eq!((crowd.documents, crowd.editors, registry.editors()), (1, 2, 2));
        assert_eq!((&*open.document, open.count, open.editors.len()), ("k1", 2, 1));
        assert_eq!((open.editors[0].user.as_deref(), registry.crowd(0, 0).documents), (Some("ann"), 1));
        drop(ann);
        expect(&registry, 2, 0, 1);
        let ann = join("k1", "ann");
        expect(&registry, 2, 0, 2);
        drop(ann);
        let _elsewhere = join("k2", "ann"); // another document: she has not come back
        expect(&registry, 3, 0, 2);
        registry.settle_at(Instant::now() + GRACE);
        expect(&registry, 3, 1, 2);
        let _again = join("k1", "ann");
        expect(&registry, 4, 1, 3);
        drop(bob);
        let (one, two) = (join("k3", ""), join("k3", ""));
        drop((one, two));
        let _nobody = join("k3", ""); // somebody without a name: who knows
        expect(&registry, 7, 1, 3);
        registry.settle_at(Instant::now() + GRACE);
        expect(&registry, 7, 4, 3);
    }
}
