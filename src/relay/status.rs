//! How saves are doing, for the pages and alerts of operators.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Relay;
use crate::rules::save::Survey;

/// A save that waits for longer than this is worth a person's look.
const LONG: Duration = Duration::from_secs(600);

/// What has gone wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The directory cannot be taken up: what it holds is not worked on, and nothing is kept.
    Directory,
    /// Where saves stand cannot be written down.
    Journal,
    /// The last save that came could not be kept.
    Keeping,
}

/// What is wrong now. A trouble stands until what failed has worked again.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<BTreeMap<Trouble, (SystemTime, String)>>);

impl Troubles {
    /// Something failed. Whether that is news.
    pub fn stand(&self, what: Trouble, why: &str) -> bool {
        let mut all = self.all();
        let since = all.get(&what).map_or_else(SystemTime::now, |(since, _)| *since);
        all.insert(what, (since, why.to_owned())).is_none()
    }

    /// It worked. Whether that is news.
    pub fn over(&self, what: Trouble) -> bool {
        self.all().remove(&what).is_some()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Trouble, (SystemTime, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn list(&self) -> Vec<(Trouble, SystemTime, String)> {
        self.all().iter().map(|(what, (since, why))| (*what, *since, why.clone())).collect()
    }
}

/// How saves are doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// How many there are of what.
    pub saves: Survey,
    /// Bytes in the directory, and how many there may be.
    pub bytes: (u64, u64),
    /// What is wrong now, since when, and why.
    pub troubles: Vec<(Trouble, SystemTime, String)>,
}

impl Status {
    /// How long the oldest save waits that was taken over.
    pub fn oldest(&self) -> Option<Duration> {
        self.saves.oldest.map(Duration::from_millis)
    }

    /// What a person should know, in sentences; empty when all is well.
    pub fn complaints(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .troubles
            .iter()
            .map(|(what, _, why)| match what {
                Trouble::Directory => format!("the directory of saves cannot be used: {why}"),
                Trouble::Journal => format!("where saves stand cannot be written down: {why}"),
                Trouble::Keeping => format!("a save could not be kept and was passed through: {why}"),
            })
            .collect();
        if let Some(oldest) = self.oldest().filter(|oldest| *oldest >= LONG) {
            all.push(format!("the oldest save waits for {} minutes", oldest.as_secs() / 60));
        }
        let Survey { refused, superseded, out_of_time, .. } = self.saves;
        let parked = [(refused, "refused"), (superseded, "superseded"), (out_of_time, "out of time")];
        let parked: Vec<String> =
            parked.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        if !parked.is_empty() {
            all.push(format!(
                "parked saves wait for a person ({}): `rapidpm-gateway saves list`",
                parked.join(", ")
            ));
        }
        all
    }
}

impl Relay {
    /// How saves are doing.
    pub fn status(&self) -> Status {
        let most = (self.current)().relay().saves.max_size;
        Status {
            saves: self.look(|saves, now, _| saves.survey(now)),
            bytes: (self.spool.usage().0, most),
            troubles: self.troubles.list(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_should_know() {
        let well = Status { saves: Survey::default(), bytes: (0, 1), troubles: Vec::new() };
        assert!(well.complaints().is_empty());
        let saves = Survey { refused: 2, out_of_time: 1, oldest: Some(599_999), ..Survey::default() };
        let parked = Status { saves, ..well.clone() };
        assert_eq!(
            parked.complaints(),
            ["parked saves wait for a person (2 refused, 1 out of time): `rapidpm-gateway saves list`"]
        );
        let saves = Survey { oldest: Some(660_000), ..Survey::default() };
        assert_eq!(Status { saves, ..well }.complaints(), ["the oldest save waits for 11 minutes"]);
    }

    #[test]
    fn a_trouble_is_news_once() {
        let troubles = Troubles::default();
        assert!(troubles.stand(Trouble::Journal, "EIO"));
        let since = troubles.list()[0].1;
        assert!(!troubles.stand(Trouble::Journal, "ENOSPC"));
        assert_eq!(troubles.list(), [(Trouble::Journal, since, "ENOSPC".into())]);
        assert!(troubles.over(Trouble::Journal) && !troubles.over(Trouble::Journal));
    }
}
