//! Memory for first packets that nobody has verified yet: a little for everyone, more only while there is some left for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What every socket may send without a question. Real first packets are 2 to 15 KB (captures/browser).
pub const FREE: usize = 64 << 10;
/// The most that is looked at: an open token may carry a large `editorConfig`, and the packet repeats it.
pub const MOST: usize = 1 << 20;
/// For all sockets of the process beyond [`FREE`]: 33 packets of the largest size at a time.
const ALL: usize = 32 << 20;

/// What is left for all.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicUsize::new(ALL))
    }
}

/// A socket's share, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    taken: usize,
}

impl Share {
    /// Nothing so far.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), taken: 0 }
    }

    /// Makes room for `held` bytes; says whether there is.
    pub fn covers(&mut self, held: usize) -> bool {
        let more = held.saturating_sub(FREE).saturating_sub(self.taken);
        if more == 0 {
            return true;
        }
        let take = |left: usize| left.checked_sub(more);
        let took = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if took {
            self.taken += more;
        }
        took
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_packets_share_what_there_is() {
        let budget = Arc::new(Budget::default());
        let mut shares: Vec<Share> = (0..40).map(|_| Share::new(&budget)).collect();
        assert!(shares.iter_mut().all(|share| share.covers(FREE)));
        let large = shares.iter_mut().filter_map(|share| share.covers(MOST).then_some(())).count();
        assert_eq!(large, ALL / (MOST - FREE));
        assert!(shares[0].covers(MOST), "it has its share already");
        shares.truncate(20);
        let mut late = Share::new(&budget);
        assert!(late.covers(FREE + 1) && late.covers(MOST));
        drop((shares, late));
        assert_eq!(budget.0.load(Ordering::Relaxed), ALL);
    }
}
