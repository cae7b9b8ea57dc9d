//! Copies of accepted saves on their way to the archive, as a machine without I/O: which goes next, when a failure is tried
//! again, which is given up when room runs short, and where a copy lies in the archive.
//!
//! One copy goes at a time: the archive stands beside the delivery and must not compete with it. While the server is away one
//! try at a time asks whether it is back; a copy that the server itself refuses pauses alone. Time is as in `rules::save`.

use std::collections::BTreeMap;

use super::save::{Id, Time};

mod name;

pub use name::{Place, extension, place};

/// Copies that wait at once: each is a folder, and a year of outage must not make the directory slow to list.
pub const MOST: usize = 10_000;
/// The first pause after a failure.
const FIRST: Time = 1_000;
/// Pauses grow to this: nobody waits for a copy, and an archive that is away for a night need not be asked every second.
const LONGEST: Time = 300_000;
/// How often an idle archive is asked whether it is there, so that health tells the truth before the next save.
const LOOK: Time = 300_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write it to the archive and report an [`Outcome`].
    Upload(Id),
    /// Sign in at the archive and report an [`Outcome`] without a copy.
    Look,
    /// Forget it, loudly: there is no room for it.
    GiveUp(Id),
}

/// What came of an upload or a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the archive; or the archive is there.
    Done,
    /// The server does not take this one.
    Refused,
    /// The server is away, or is not the one it should be, or does not let us in.
    Away,
    /// There is nothing to upload any more: it cannot be read here.
    Gone,
}

#[derive(Debug)]
struct Copy {
    bytes: u64,
    /// The save still holds the same bytes: giving the copy up would free nothing.
    shared: bool,
    failed: u32,
    due: Time,
}

/// Every copy that waits.
#[derive(Debug, Default)]
pub struct Copies {
    waiting: BTreeMap<Id, Copy>,
    bytes: u64,
    /// What is under way; `Some(None)` is a look.
    going: Option<Option<Id>>,
    failed: u32,
    /// While the server is away, nobody asks before this.
    quiet: Time,
    /// When it was last there.
    seen: Option<Time>,
}

/// How long to wait after so many failures.
fn pause(failed: u32) -> Time {
    (FIRST << failed.saturating_sub(1).min(20)).min(LONGEST)
}

impl Copies {
    /// An accepted save's document waits for the archive; `shared`: the save holds it, too. Whether it is new.
    pub fn enlist(&mut self, now: Time, id: Id, bytes: u64, shared: bool) -> bool {
        if self.waiting.contains_key(&id) {
            return false;
        }
        self.waiting.insert(id, Copy { bytes, shared, failed: 0, due: now });
        self.bytes += if shared { 0 } else { bytes };
        true
    }

    /// The save has let go of its document: from now on the copy alone holds the bytes.
    pub fn parted(&mut self, id: Id) {
        if let Some(copy) = self.waiting.get_mut(&id).filter(|copy| copy.shared) {
            copy.shared = false;
            self.bytes += copy.bytes;
        }
    }

    /// Lets time pass. `room` is how many bytes copies may take; without `archive` nothing goes anywhere.
    pub fn tick(&mut self, now: Time, archive: bool, room: u64, steps: &mut Vec<Step>) {
        while self.bytes > room || self.waiting.len() > MOST {
            // The oldest first: of a document that is saved again and again, the newest copy is worth the most.
            let too_many = self.waiting.len() > MOST;
            let may_go =
                |(id, copy): &(&Id, &Copy)| self.going != Some(Some(**id)) && (too_many || !copy.shared);
            let Some(id) = self.waiting.iter().find(may_go).map(|(id, _)| *id) else { break };
            self.forget(id);
            steps.push(Step::GiveUp(id));
        }
        if !archive || self.going.is_some() || now < self.quiet {
            return;
        }
        if let Some((id, _)) =
            self.waiting.iter().filter(|(_, copy)| copy.due <= now).min_by_key(|(id, c)| (c.failed, **id))
        {
            let id = *id;
            self.going = Some(Some(id));
            steps.push(Step::Upload(id));
        } else if self.seen.is_none_or(|seen| now.saturating_sub(seen) >= LOOK) {
            self.going = Some(None);
            steps.push(Step::Look);
        }
    }

    /// What was under way has ended.
    pub fn ended(&mut self, now: Time, outcome: Outcome) {
        let Some(going) = self.going.take() else { return };
        match outcome {
            Outcome::Away => {
                self.failed = self.failed.saturating_add(1);
                self.quiet = now.saturating_add(pause(self.failed));
                return;
            }
            Outcome::Done | Outcome::Refused => (self.failed, self.quiet, self.seen) = (0, now, Some(now)),
            Outcome::Gone => {}
        }
        let Some(id) = going else { return };
        match self.waiting.get_mut(&id).filter(|_| outcome == Outcome::Refused) {
            Some(copy) => {
                copy.failed = copy.failed.saturating_add(1);
                copy.due = now.saturating_add(pause(copy.failed));
            }
            None => self.forget(id),
        }
    }

    /// The archive is another one, or its settings are: nothing that was learned of it holds.
    pub fn changed(&mut self, now: Time) {
        (self.failed, self.quiet, self.seen) = (0, now, None);
        self.waiting.values_mut().for_each(|copy| copy.due = now);
    }

    /// When to [`Copies::tick`] next, at the latest.
    pub fn next(&self, now: Time) -> Time {
        /// Room may run short at any time without this machine hearing of it.
        const OFTEN: Time = 5_000;
        let due = self.waiting.values().map(|copy| copy.due).min().unwrap_or(Time::MAX);
        let look = self.seen.map_or(now, |seen| seen.saturating_add(LOOK));
        let next = if self.going.is_some() { Time::MAX } else { due.min(look).max(self.quiet) };
        next.clamp(now + 1, now + OFTEN)
    }

    /// Whether anything failed that has not succeeded since.
    pub fn is_troubled(&self) -> bool {
        self.failed > 0 || self.waiting.values().any(|copy| copy.failed > 0)
    }

    /// How many wait, and how many bytes are held for them alone.
    pub fn waiting(&self) -> (usize, u64) {
        (self.waiting.len(), self.bytes)
    }

    fn forget(&mut self, id: Id) {
        if let Some(copy) = self.waiting.remove(&id) {
            self.bytes -= if copy.shared { 0 } else { copy.bytes };
        }
    }
}

#[cfg(test)]
mod tests;
