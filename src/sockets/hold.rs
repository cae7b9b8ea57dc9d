//! Where new editors wait while a save of their document is under way. Let in, they would work on a version that is about to be
//! replaced; and what is changed between the Document Server's last save and the answer to it, it throws away (design.md 5).
//!
//! An editor that opens the document is told by codes (protocol.md 11): with 4008 its page fetches a new configuration, with 4001
//! it says that the connection is lost and sends its user away. One that comes back to what it has open hears 4008, too, since its
//! session is over; it then keeps its words on the screen and asks its user to save a copy. But while the save still waits it is
//! only told to come again: its own reconnecting goes on, and nothing of what it holds is lost.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use crate::ops::Ops;
use crate::ops::metrics::Metrics;
use crate::rules::policy::{Pass, Refusal};
use crate::rules::save::Freed;
use crate::rules::socket::SocketFault;

/// How long a socket waits for a save: longer than an application's restart that goes well, and well below the 45 s after which
/// the editor's client misses a ping.
pub const HOLD: Duration = Duration::from_secs(15);

/// How the lock of a document ends, once it does.
pub type Lock = Pin<Box<dyn Future<Output = Freed>>>;
/// Asks for a document: `None` if it is not locked. Asking makes what waits of it go at once.
pub type Locks<'r> = &'r dyn Fn(&str) -> Option<Lock>;

/// Waits until a socket may be dialled.
///
/// # Errors
/// When it may not: the document has another version now, or its save still waits.
pub async fn wait(pass: &Pass, locks: Locks<'_>, patience: Duration, ops: &Ops) -> Result<(), Refusal> {
    if !pass.edits {
        return Ok(());
    }
    let Some(lock) = locks(pass.document()) else { return Ok(()) };
    let _held = Held::new(&ops.metrics);
    match timeout(patience, lock).await {
        Ok(Freed::LetIn) => Ok(()),
        Ok(Freed::Settled) => Err(Refusal::Socket(SocketFault::Saved)),
        Err(_) => Err(Refusal::Socket(SocketFault::Unsaved { returns: pass.returns })),
    }
}

/// Counts a socket that waits.
struct Held<'m>(&'m Metrics);

impl<'m> Held<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        metrics.saves.held.increment(1.0);
        metrics.saves.held_now.fetch_add(1, Ordering::Relaxed);
        Self(metrics)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.saves.held.decrement(1.0);
        self.0.saves.held_now.fetch_sub(1, Ordering::Relaxed);
    }
}
