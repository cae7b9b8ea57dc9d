//! Who asks for a document whose save is under way: makes it go at once, and hears how its lock ends.

use std::sync::Arc;

use super::Relay;
use super::house;
use crate::rules::save::Freed;

impl Relay {
    /// An editor asks for a document. `None`: it may come in. Else what waits of it is tried at once, and how the lock ends is told
    /// to who waits for that.
    pub fn asked_for(self: &Arc<Self>, key: &str) -> Option<impl Future<Output = Freed> + use<>> {
        let mut moved = self.moved.subscribe();
        let limits = house::limits(&*(self.current)());
        let kept_out = self.with_machine(|saves, now, actions| {
            let kept_out = saves.freed(key).is_none();
            if kept_out {
                saves.hurry(now, key, &limits, actions);
            }
            kept_out
        });
        let (relay, key) = (self.clone(), key.to_owned());
        kept_out.then_some(async move {
            loop {
                let freed = relay.with_machine(|saves, _, _| saves.freed(&key));
                if let Some(freed) = freed {
                    return freed;
                }
                moved.changed().await.ok(); // its sender lives as long as the relay
            }
        })
    }
}
