//! Saves and integrators one by one, for people: where each save stands, and what to do about it. Neither tokens nor links are in
//! here, nor the callback URL, which may be signed.

use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::heard::Last;
use super::record::kind_name;
use super::worker::Relay;
use crate::rules::save::{Id, Parked, Phase, Save, Saves, Time};

/// A save that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, as `saves list` shows it.
    pub id: Id,
    /// The document's key.
    pub key: String,
    /// Whom it is for.
    pub integrator: String,
    /// `final`, `form`, `spare`, `farewell`.
    pub kind: &'static str,
    /// Where it stands.
    pub standing: Standing,
    /// How long ago it came.
    pub age: Duration,
    /// How often it was tried.
    pub tries: u32,
    /// What the integrator answered that did not want it.
    pub answer: Option<String>,
}

/// Where a save stands, as people think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It waits for a person.
    Parked(Why),
    /// The gateway has taken it over; it is tried again after this time, or as soon as those before it are through.
    Waiting(Duration),
    /// The gateway has taken it over, and it is on its way.
    Retrying,
    /// The Document Server waits for its answer, and it is being fetched.
    Fetching,
    /// The Document Server waits, and so does the save: others come first.
    Queued,
    /// The Document Server waits, and it is on its way.
    Delivering,
    /// The Document Server waits, and it is on its way without having been kept.
    Passing,
    /// A force-save that its integrator did not take, kept in case its session has no end.
    Reserve,
}

/// Why a save waits for a person; in the order in which people should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// [`Parked::Refused`].
    Refused,
    /// [`Parked::OutOfTime`].
    OutOfTime,
    /// [`Parked::Superseded`].
    Superseded,
}

/// What a person counts a save among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Waits for a person.
    Parked,
    /// Waits for its integrator.
    Waiting,
    /// Its Document Server waits for an answer.
    InFlight,
    /// In reserve.
    Reserve,
}

impl Group {
    /// In JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::InFlight => "in_flight",
            Self::Reserve => "reserve",
        }
    }
}

impl Standing {
    fn of(saves: &Saves, save: &Save, now: Time) -> Option<Self> {
        let waits = save.replied.is_none();
        Some(match save.phase {
            Phase::Parked(Parked::Refused) => Self::Parked(Why::Refused),
            Phase::Parked(Parked::OutOfTime) => Self::Parked(Why::OutOfTime),
            Phase::Parked(Parked::Superseded) => Self::Parked(Why::Superseded),
            Phase::Intake => Self::Fetching,
            Phase::Ready if waits => Self::Queued,
            Phase::Ready => Self::Waiting(Duration::from_millis(saves.not_before(save).saturating_sub(now))),
            Phase::Trying if waits => Self::Delivering,
            Phase::Trying => Self::Retrying,
            Phase::Passing => Self::Passing,
            Phase::Reserve => Self::Reserve,
            Phase::Settled(_) => return None,
        })
    }

    /// After what time it is tried next, where that is known: it is not while those before it are not through.
    pub fn next(self) -> Option<Duration> {
        match self {
            Self::Waiting(next) if !next.is_zero() => Some(next),
            _ => None,
        }
    }

    /// What it counts among.
    pub fn group(self) -> Group {
        match self {
            Self::Parked(_) => Group::Parked,
            Self::Waiting(_) | Self::Retrying => Group::Waiting,
            Self::Fetching | Self::Queued | Self::Delivering | Self::Passing => Group::InFlight,
            Self::Reserve => Group::Reserve,
        }
    }

    /// In JSON, and for who knows the machine.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked(Why::Refused) => "refused",
            Self::Parked(Why::OutOfTime) => "out_of_time",
            Self::Parked(Why::Superseded) => "superseded",
            Self::Waiting(_) => "waiting",
            Self::Retrying => "retrying",
            Self::Fetching => "fetching",
            Self::Queued => "queued",
            Self::Delivering => "delivering",
            Self::Passing => "passing",
            Self::Reserve => "reserve",
        }
    }
}

impl Listed {
    fn of(saves: &Saves, save: &Save, now: Time, answer: Option<&Answer>) -> Option<Self> {
        let standing = Standing::of(saves, save, now)?;
        let refused = standing == Standing::Parked(Why::Refused);
        Some(Self {
            id: save.fresh.id,
            key: save.fresh.key.clone(),
            integrator: save.fresh.integrator.clone(),
            kind: kind_name(save.fresh.kind),
            standing,
            age: Duration::from_millis(now.saturating_sub(save.came)),
            tries: save.tries,
            answer: answer.filter(|_| refused).map(in_words),
        })
    }

    /// Its number, as commands take it.
    pub fn number(&self) -> String {
        format!("{:016x}", self.id.0)
    }

    /// Why it stands where it stands.
    pub fn reason(&self) -> String {
        match (self.standing, &self.answer) {
            (Standing::Parked(Why::Refused), Some(answer)) => {
                format!("{} does not want it: it answered {answer}", self.integrator)
            }
            (Standing::Parked(Why::Refused), None) => format!("{} does not want it", self.integrator),
            (Standing::Parked(Why::OutOfTime), _) => "tried for saves.keep_trying without success".into(),
            (Standing::Parked(Why::Superseded), _) => "something newer was saved to the same place".into(),
            (Standing::Waiting(_) | Standing::Retrying, _) => {
                format!("{} has not taken it yet; it is safe here", self.integrator)
            }
            (Standing::Fetching, _) => "its document is on its way from the Document Server".into(),
            (Standing::Queued, _) => "an earlier save for the same place goes first".into(),
            (Standing::Delivering, _) => format!("on its way to {}", self.integrator),
            (Standing::Passing, _) => {
                format!("could not be kept; on its way to {} all the same", self.integrator)
            }
            (Standing::Reserve, _) => {
                format!("a force-save that {} did not take; kept until its session ends", self.integrator)
            }
        }
    }

    /// What a person can do about it; `None`: nothing has to be done.
    pub fn advice(&self) -> Option<String> {
        let number = self.number();
        match self.standing {
            Standing::Parked(Why::Refused) => Some(format!(
                "Look into the log of {} for why; then `rapidpm-gateway saves retry {number}`, or take the document out with \
                 `rapidpm-gateway saves export {number} FILE`",
                self.integrator
            )),
            Standing::Parked(Why::OutOfTime) => Some(format!(
                "Once {} takes saves again: `rapidpm-gateway saves retry {number}`",
                self.integrator
            )),
            Standing::Parked(Why::Superseded) => Some(format!(
                "If its content is missed: `rapidpm-gateway saves export {number} FILE`; else \
                 `rapidpm-gateway saves discard {number}`"
            )),
            Standing::Waiting(_) | Standing::Retrying => {
                Some(format!("See that {} is up; the gateway tries again by itself", self.integrator))
            }
            _ => None,
        }
    }
}

/// Status and error code. The body is the application's own and may hold anything.
fn in_words(answer: &Answer) -> String {
    let body = serde_json::from_slice::<Value>(&answer.body).ok();
    let error = body.as_ref().and_then(|body| body.get("error"));
    let error = error.and_then(|error| error.as_i64().or_else(|| error.as_str()?.parse().ok()));
    match error {
        Some(error) => format!("{} with error {error}", answer.status),
        None => answer.status.to_string(),
    }
}

/// An integrator as callbacks find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correspondent {
    /// Its name.
    pub name: String,
    /// Where it is, without path.
    pub origin: String,
    /// Whether it is taken for being away.
    pub away: bool,
    /// What it last said; `None`: nothing was sent to it since the start.
    pub last: Option<Last>,
}

impl Relay {
    /// Saves that are not settled, at most so many of each kind; those that need a person first, then the oldest.
    pub fn list(&self, most: usize) -> Vec<Listed> {
        let mut list: Vec<Listed> = self.look(|saves, now, answers| {
            let all = saves.unsettled(most);
            all.filter_map(|save| Listed::of(saves, save, now, answers.get(&save.fresh.id))).collect()
        });
        let rank = |save: &Listed| match save.standing.group() {
            Group::Parked => 0,
            Group::Waiting => 1,
            Group::InFlight => 2,
            Group::Reserve => 3,
        };
        list.sort_by_key(|save| (rank(save), save.id));
        list
    }

    /// Integrators, in the order of the configuration.
    pub fn correspondents(&self) -> Vec<Correspondent> {
        let house = (self.current)();
        let known = house.relay().integrators.iter().map(|integrator| Correspondent {
            name: integrator.name.clone(),
            origin: integrator.origin(),
            away: self.is_down(&integrator.name),
            last: self.heard.last(&integrator.name),
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::save::{Fresh, Kind, Limits};

    #[test]
    fn answers_are_told_without_what_they_carry() {
        let of = |status, body: &'static str| {
            in_words(&Answer { status, content_type: None, body: body.as_bytes().into() })
        };
        assert_eq!(of(200, "{\"error\":4,\"token\":\"x\"}"), "200 with error 4");
        assert_eq!(of(200, "{\"error\":\"3\"}"), "200 with error 3");
        assert_eq!(of(200, "{\"error\":\"<script>\"}"), "200");
        assert_eq!(of(413, "<html>"), "413");
    }

    #[test]
    fn a_save_is_followed_from_its_arrival() {
        let mut saves = Saves::default();
        let fresh = Fresh {
            id: Id(7),
            name: "n".into(),
            key: "k".into(),
            integrator: "app".into(),
            target: "/c?signature=1".into(),
            kind: Kind::Final,
        };
        saves.arrive(5, fresh, &mut Vec::new());
        let limits = Limits { answer_within: 10, keep_trying: 1_000, hold_editors: 100 };
        let seen =
            |saves: &Saves, now| Listed::of(saves, saves.unsettled(9).next().unwrap(), now, None).unwrap();
        assert_eq!((seen(&saves, 9).standing, seen(&saves, 9).advice()), (Standing::Fetching, None));
        let mut happens = |now, event| saves.happened(now, Id(7), event, &limits, &mut Vec::new());
        happens(10, crate::rules::save::Event::Kept);
        assert_eq!(seen(&saves, 10).standing, Standing::Delivering);
        let again = crate::rules::save::Verdict::Again { down: true };
        saves.happened(11, Id(7), crate::rules::save::Event::Answered(again), &limits, &mut Vec::new());
        let waiting = seen(&saves, 11);
        assert!(matches!(waiting.standing, Standing::Waiting(_)), "{waiting:?}");
        assert_eq!(
            (waiting.age, waiting.tries, waiting.standing.group()),
            (Duration::from_millis(6), 1, Group::Waiting)
        );
        assert!(!format!("{waiting:?}").contains("signature"));
        saves.tick(100_001, &limits, &mut Vec::new());
        assert_eq!(seen(&saves, 100_001).standing.group(), Group::Parked);
        saves.retry(200_000, Id(7), &limits, &mut Vec::new());
        let again = seen(&saves, 200_005);
        assert_eq!(
            (again.standing, again.age),
            (Standing::Retrying, Duration::from_millis(200_000)),
            "it came then"
        );
    }
    /// The page said "in 0 s" for as long as an integrator was away, of all but the one that had asked last.
    #[test]
    fn who_waits_for_an_integrator_is_tried_when_that_is_asked_again() {
        let (mut saves, limits) =
            (Saves::default(), Limits { answer_within: 10, keep_trying: 9_000, hold_editors: 100 });
        let again = crate::rules::save::Verdict::Again { down: true };
        for (number, at) in [(1, 10), (2, 20)] {
            let (key, target) = (format!("k{number}"), format!("/{number}"));
            let (name, integrator) = (key.clone(), "app".to_owned());
            let fresh = Fresh { id: Id(number), name, key, integrator, target, kind: Kind::Final };
            saves.arrive(at, fresh, &mut Vec::new());
            for event in [crate::rules::save::Event::Kept, crate::rules::save::Event::Answered(again)] {
                saves.happened(at, Id(number), event, &limits, &mut Vec::new());
            }
        }
        // Its own pause is over at 1,010; the second failure asked for two seconds.
        let first = |now| Listed::of(&saves, saves.unsettled(9).next().unwrap(), now, None).unwrap();
        let next = |now| (first(now).id, first(now).standing.next());
        assert_eq!(next(1_500), (Id(1), Some(Duration::from_millis(518))));
        assert_eq!(next(2_018), (Id(1), None), "its turn may come any moment");
    }
}
