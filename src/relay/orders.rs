//! What operators want of a save, left for the gateway in its directory by `saves retry` and `saves discard`.

use std::sync::Arc;

use super::fetch;
use super::journal::Entry;
use super::worker::Relay;
use crate::ops::log::Level;
use crate::rules::save::{Id, Limits, Ordered};

/// Carries an order out and takes it away. A crash in between may cost the order, and never a save.
pub(super) async fn carry_out(relay: &Arc<Relay>, verb: String, id: Id, limits: &Limits) {
    match verb.as_str() {
        // Taken first: a retry that could not be taken away would be one every second.
        "retry" if take(relay, verb.clone(), id).await => {
            relay.with_machine(|saves, now, actions| saves.retry(now, id, limits, actions));
        }
        "retry" => {}
        _ => discard(relay, verb, id).await,
    }
}

async fn discard(relay: &Arc<Relay>, verb: String, id: Id) {
    let (ordered, known) = relay.with_machine(|saves, now, actions| {
        let ordered = if verb == "discard" { saves.discard(now, id, actions) } else { Ordered::Pointless };
        (ordered, saves.get(id).is_some())
    });
    if ordered == Ordered::Later {
        return; // it stays where it is until the save is not on its way any more
    }
    // What cannot be read is no save to the machine, and still somebody wants it gone.
    if take(relay, verb.clone(), id).await && verb == "discard" && !known {
        relay.journal.note(id, Entry::Drop);
    }
}

async fn take(relay: &Arc<Relay>, verb: String, id: Id) -> bool {
    let spool = relay.spool.clone();
    let taken = fetch::blocking(move || spool.take_order(&verb, id)).await;
    if let Err(error) = &taken {
        let message = "an order cannot be taken from the directory of saves";
        relay.say(Level::Error, message, &error.to_string());
    }
    taken.is_ok()
}
