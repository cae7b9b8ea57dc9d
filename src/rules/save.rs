//! The life of saves as one machine without I/O: who may be tried when, what an answer means, when the Document Server is
//! answered and with what, which documents are locked, what is superseded.
//!
//! Time is milliseconds of a clock that never jumps; `now` is passed in. Whoever drives the machine does what its actions say
//! and tells it what came of them. A lock is not a thing of its own that could be forgotten: a document is locked as long as
//! a final save of it is open.

mod machine;
mod place;
mod turn;

use std::sync::Arc;

pub use machine::Saves;

/// Milliseconds.
pub type Time = u64;

/// A save's number: grows with every arrival, also across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u64);

/// What an integrator's answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has the save.
    Taken,
    /// It does not want it, and would not want it again.
    Final,
    /// Nobody knows; again.
    Again {
        /// Whether the integrator as a whole seems to be away.
        down: bool,
    },
}

/// What an answer of that status and body means; `None`: there was none.
pub fn meaning(status: Option<u16>, body: &[u8]) -> Verdict {
    match status {
        Some(200) => {
            match serde_json::from_slice::<serde_json::Value>(body).ok().as_ref().map(|v| v.get("error")) {
                Some(Some(error)) if error.as_f64() == Some(0.0) || error == "0" => Verdict::Taken,
                Some(Some(_)) => Verdict::Final,
                _ => Verdict::Again { down: false },
            }
        }
        Some(410 | 413) => Verdict::Final,
        Some(429 | 500..) | None => Verdict::Again { down: true },
        Some(_) => Verdict::Again { down: false },
    }
}

/// What kind of save it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The end of a session: taken over, and its document is locked.
    Final,
    /// A form's submission: taken over; the session goes on.
    Form,
    /// A save of a session that goes on: the truth goes back.
    Spare,
    /// A session that ended without changes: taken over; there is nothing to lock.
    Farewell,
}

impl Kind {
    fn is_taken_over(self) -> bool {
        self != Self::Spare
    }

    fn has_document(self) -> bool {
        self != Self::Farewell
    }
}

/// A callback as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Its number.
    pub id: Id,
    /// What makes it the same save as another callback.
    pub name: String,
    /// The document's key.
    pub key: String,
    /// The integrator's name.
    pub integrator: String,
    /// Where at the integrator it goes: path and query of the callback URL.
    pub target: String,
    /// What kind it is.
    pub kind: Kind,
}

/// Why a save waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// The integrator does not want it.
    Refused,
    /// Something newer has been saved to the same place.
    Superseded,
    /// It has been tried for `keep_trying`.
    OutOfTime,
}

/// How a save ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The integrator has it.
    Delivered,
    /// It could not be kept and the integrator did not take it: the Document Server still has it.
    Failed,
    /// An operator threw it away, or a later callback made it pointless.
    Discarded,
}

/// Where a save stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is being fetched and written.
    Intake,
    /// It is on disk and waits for its turn, or for the end of a pause.
    Ready,
    /// It is on its way to the integrator.
    Trying,
    /// It could not be kept and is on its way to the integrator all the same.
    Passing,
    /// A save of a session that goes on, kept in case its end never comes.
    Reserve,
    /// It waits for a person.
    Parked(Parked),
    /// It is over.
    Settled(Settled),
}

impl Phase {
    /// Whether something is still to be done.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Intake | Self::Ready | Self::Trying | Self::Passing)
    }
}

/// What a waiting Document Server is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The integrator's own answer.
    Theirs,
    /// `{"error":0}`: it is safe here.
    Kept,
    /// `{"error":1}`: the document failed its check.
    Rejected,
    /// 503: again, please.
    Unavailable,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send it to the integrator and report [`Event::Answered`].
    Try(Id),
    /// Answer every Document Server that waits for it.
    Reply(Id, Reply),
    /// Write down where it stands.
    Store(Id),
    /// Forget it and its documents.
    Drop(Id),
    /// Count it: settled well, or not.
    Count(bool),
    /// It is accepted, by its integrator or by the gateway: its document may be copied to the archive. Said once, and before
    /// its documents are let go.
    Copy(Id),
    /// Say that it has waited for long.
    Alert(Id),
    /// Say that new editors of its document are let in although it waits.
    LetIn(Id),
}

/// How the lock of a document ended, for an editor who waited for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// Its saves are settled: the document has another version now.
    Settled,
    /// They still wait, and new editors are kept out no longer.
    LetIn,
}

/// How many saves there are of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Under way, or waiting for another try.
    pub open: usize,
    /// Of these, those that the gateway has taken over.
    pub waiting: usize,
    /// Documents whose final save is under way.
    pub locked: usize,
    /// Force-saves that their integrators did not take.
    pub reserve: usize,
    /// Parked because their integrators do not want them.
    pub refused: usize,
    /// Parked because something newer has been saved to the same place.
    pub superseded: usize,
    /// Parked because they were tried for too long.
    pub out_of_time: usize,
    /// How long the oldest waits that was taken over.
    pub oldest: Option<Time>,
}

impl Survey {
    /// Saves that wait for a person.
    pub fn parked(&self) -> usize {
        self.refused + self.superseded + self.out_of_time
    }
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is on disk.
    Kept,
    /// It could not be brought to disk.
    NotKept,
    /// Its document failed its check, and that counts.
    Invalid,
    /// The integrator has answered, or not.
    Answered(Verdict),
}

/// What is said to a callback that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// It is new: fetch its documents.
    New,
    /// It is a repeat of one that is being worked on: wait for its answer.
    Joins(Id),
    /// It is a repeat of one that has been answered.
    Answered(Id, Reply),
}

/// What came of an operator's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// It was carried out.
    Done,
    /// Not now: the save is on its way, and nobody knows yet what comes of it.
    Later,
    /// There is nothing to carry out any more.
    Pointless,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `saves.answer_within`.
    pub answer_within: Time,
    /// `saves.keep_trying`.
    pub keep_trying: Time,
    /// `saves.hold_editors`.
    pub hold_editors: Time,
}

/// One save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// What it is.
    pub fresh: Fresh,
    /// Where it stands.
    pub phase: Phase,
    /// When it came.
    pub came: Time,
    /// Since when it is tried: since it came, or since an operator wanted it tried again.
    pub since: Time,
    /// How often it was tried.
    pub tries: u32,
    /// When it may be tried next; while it is on its way, since when it is.
    pub due: Time,
    /// What the Document Server was answered; `None`: it waits.
    pub replied: Option<Reply>,
    /// Whether something newer has come to the same place: it must not be delivered any more.
    pub newer: bool,
    line: Arc<str>,
    late: Time,
    tried: bool,
    counted: bool,
    alerted: bool,
    /// It keeps new editors out no longer.
    let_in: bool,
    copied: bool,
}

impl Save {
    fn new(now: Time, fresh: Fresh) -> Self {
        Self {
            phase: Phase::Intake,
            came: now,
            since: now,
            tries: 0,
            due: now,
            replied: None,
            newer: false,
            line: format!("{}\n{}", fresh.integrator, fresh.target).into(),
            late: Time::MAX,
            tried: false,
            counted: false,
            alerted: false,
            let_in: false,
            copied: false,
            fresh,
        }
    }

    fn begin(&mut self, now: Time) {
        self.tries += 1;
        self.tried = true;
        self.due = now;
    }

    /// Whether the next try is not the one that the Document Server waits for.
    fn is_again(&self) -> bool {
        self.tries > 0 || self.replied.is_some()
    }

    /// Whether it must be out of the way before `other`: same callback URL, or same document.
    fn is_before(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.fresh, &other.fresh);
        self.line == other.line || (own.key == theirs.key && own.integrator == theirs.integrator)
    }

    /// Whether it has never been sent: its body may go as it came.
    pub fn is_first_try(&self) -> bool {
        self.tries <= 1 && self.replied.is_none()
    }
}

#[cfg(test)]
mod tests;
