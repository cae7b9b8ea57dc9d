//! `saves retry` and `saves discard`: an order for the gateway that owns the directory, and what came of it.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{One, find, is_settled};
use crate::cli::{FAILED, out};
use crate::relay::spool::{Spool, State};
use crate::rules::save::{Id, Phase};

/// A gateway looks for orders every second; a disk that is busy may take as long again, and once more.
const TAKEN: Duration = Duration::from_secs(3);
/// How long what came of it is waited for: a delivery on a good day, and the journal's line.
const CAME: Duration = Duration::from_secs(2);
/// How often the directory is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    /// The gateway has taken it; where the save stands now.
    Taken(String),
    /// The gateway leaves it where it is: the save is on its way.
    Waits,
    /// No gateway works on the directory.
    NotRunning,
    /// There was nothing to do any more: how the save has ended.
    Settled(String),
    /// There is no such save.
    NoSuchSave,
}

impl Came {
    /// For programs.
    const fn name(&self) -> &'static str {
        match self {
            Self::Taken(_) => "taken",
            Self::Waits => "waits",
            Self::NotRunning => "not_running",
            Self::Settled(_) => "settled",
            Self::NoSuchSave => "no_such_save",
        }
    }

    fn state(&self) -> Option<&str> {
        match self {
            Self::Taken(state) | Self::Settled(state) => Some(state),
            Self::Waits | Self::NotRunning | Self::NoSuchSave => None,
        }
    }

    /// For people.
    fn words(&self) -> String {
        match self {
            Self::Taken(state) => match state.as_str() {
                "ready" => "taken; the save is being tried, `saves list` shows what comes of it".to_owned(),
                state => format!("taken; the save is {state} now"),
            },
            Self::Waits => "the save is on its way; the gateway takes the order once it is back".to_owned(),
            Self::NotRunning => {
                "no gateway works on this directory; the order waits for the next that does".to_owned()
            }
            Self::Settled(state) => format!("nothing to do: the save is {state}"),
            Self::NoSuchSave => "there is no such save".to_owned(),
        }
    }
}

/// Leaves the order and waits for what comes of it: 0 when the gateway has taken it, else 1.
pub fn give(spool: &Spool, one: &One, verb: &'static str) -> ExitCode {
    let came = match ordered(spool, one, verb) {
        Ok(came) => came,
        Err(error) => {
            out::complain(&format_args!("{}: {error}", spool.root().display()));
            return ExitCode::from(FAILED);
        }
    };
    let words = came.words();
    // What was typed is shown as text; a terminal must not obey it.
    let id = one.id.escape_debug().to_string();
    match one.from.json {
        true => out::say(&json!({
            "save": id, "order": verb, "outcome": came.name(), "state": came.state(), "message": words,
        })),
        false if matches!(came, Came::Taken(_)) => out::say(&format_args!("{verb} {id}: {words}")),
        false => out::complain(&format_args!("{verb} {id}: {words}")),
    }
    if matches!(came, Came::Taken(_)) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn ordered(spool: &Spool, one: &One, verb: &'static str) -> io::Result<Came> {
    let save = match find(spool, one) {
        Ok(save) => save,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Came::NoSuchSave),
        Err(error) => return Err(error),
    };
    if let Some(state) = save.state.as_ref().filter(|_| is_settled(&save)) {
        return Ok(Came::Settled(state.phase.clone()));
    }
    spool.order(verb, save.id)?;
    let waits =
        || spool.orders().map(|orders| orders.iter().any(|(what, id)| what == verb && *id == save.id));
    let asked = Instant::now();
    while waits()? {
        if asked.elapsed() >= TAKEN {
            return Ok(if spool.is_worked_on()? { Came::Waits } else { Came::NotRunning });
        }
        thread::sleep(LOOK);
    }
    Ok(outcome(spool, save.id, verb, save.state.map(|state| state.at)))
}

/// Where the save stands once its state has been written anew, or as long as that may take.
fn outcome(spool: &Spool, id: Id, verb: &str, before: Option<u64>) -> Came {
    let taken = Instant::now();
    loop {
        let state = spool.state(id).ok();
        let moved = state.as_ref().filter(|state| Some(state.at) != before).map(State::phase);
        let over = match moved {
            Some(Phase::Settled(_) | Phase::Parked(_)) => true,
            _ => !spool.folder(id).exists() || taken.elapsed() >= CAME,
        };
        if over {
            let phase = state.map_or_else(|| "discarded".to_owned(), |state| state.phase);
            return match verb {
                // It was quicker.
                "discard" if phase == "delivered" => Came::Settled(phase),
                _ => Came::Taken(phase),
            };
        }
        thread::sleep(LOOK);
    }
}
