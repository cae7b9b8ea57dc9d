//! What operators want of a save, left for the gateway in its directory by `saves retry` and `saves discard`.

use std::sync::Arc;

use super::fetch;
use super::journal::Entry;
use super::worker::Relay;
use crate::ops::log::Level;
use crate::rules::save::{Id, Limits, Ordered};

/// Takes an order and carries it out. One that comes too early, while the save is on its way, is put back.
pub(super) async fn carry_out(relay: &Arc<Relay>, verb: String, id: Id, limits: &Limits) {
    let (spool, taken) = (relay.spool.clone(), verb.clone());
    if let Err(error) = fetch::blocking(move || spool.take_order(&taken, id)).await {
        let message = "an order cannot be taken from the directory of saves";
        return relay.say(Level::Error, message, &error.to_string());
    }
    let (ordered, known) = relay.with_machine(|saves, now, actions| {
        let ordered = match verb.as_str() {
            "retry" => saves.retry(now, id, limits, actions),
            "discard" => saves.discard(now, id, actions),
            _ => Ordered::Pointless,
        };
        (ordered, saves.get(id).is_some())
    });
    if ordered == Ordered::Later {
        let spool = relay.spool.clone();
        if let Err(error) = fetch::blocking(move || spool.order(&verb, id)).await {
            relay.say(Level::Error, "an order is lost; give it again", &error.to_string());
        }
    } else if verb == "discard" && !known {
        // What cannot be read is no save to the machine, and still somebody wants it gone.
        relay.journal.note(id, Entry::Drop);
    }
}
