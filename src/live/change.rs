//! A change of the running configuration: who asked for it, and what became of it, in a form that everybody can show.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// What made the gateway look at its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// `POST /reload` of the admin listener.
    Admin,
    /// The file, or one that it names, is another.
    File,
}

impl Cause {
    /// As it is written in log and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Admin => "admin",
            Self::File => "file",
        }
    }
}

/// Somebody wants the configuration to be read again, and to hear what came of it.
#[derive(Debug)]
pub struct Ask {
    /// Who.
    pub cause: Cause,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Arc<Outcome>>,
}

/// Where it is asked for. Bounded: who finds it full knows that the file will be read anyway.
pub type Asks = mpsc::Sender<Ask>;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The configuration is in place as it is on disk, but for keys that wait for a restart.
    Applied,
    /// It has faults. What ran before goes on, at most with renewed files.
    Refused,
}

/// Something that is wrong with the file, as `check` tells it.
#[derive(Debug, Clone)]
pub struct Complaint {
    /// For people: where, what, and the line.
    pub text: String,
    /// For programs.
    pub json: Value,
}

impl Serialize for Complaint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// What became of a change.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How it ended.
    pub result: Verdict,
    /// When.
    #[serde(serialize_with = "in_words")]
    pub at: SystemTime,
    /// What made the gateway look.
    pub cause: Cause,
    /// How many configurations have been in place since the start, this one included; the first is 1.
    pub generation: u64,
    /// The configuration's file.
    pub file: String,
    /// What is different now, in words. After a refusal: files that were taken up all the same.
    pub changes: Vec<String>,
    /// Keys that were changed and wait for a restart.
    pub pending: Vec<&'static str>,
    /// The same in words.
    pub pending_changes: Vec<String>,
    /// Everything that is wrong, as `check` tells it.
    pub faults: Vec<Complaint>,
    /// What should be looked at.
    pub warnings: Vec<Complaint>,
    /// Certificates whose files cannot be used as they are on disk, by their first name; the last good pair goes on.
    pub stale_certificates: Vec<String>,
}

impl Outcome {
    /// What of it a person should look at, for monitors; nothing after a change that went well.
    pub fn complaints(&self) -> Vec<String> {
        let refused = (self.result == Verdict::Refused).then(|| {
            format!("the configuration on disk has {}; the one before goes on", faults_of(self.faults.len()))
        });
        let stale = self.stale_certificates.iter().map(|name| {
            format!(
                "the changed files of certificate \"{name}\" cannot be used; the last good pair is served"
            )
        });
        refused.into_iter().chain(stale).collect()
    }
}

impl fmt::Display for Outcome {
    /// One line, for systemd's status and for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, changes, pending, faults, .. } = self;
        match self.result {
            Verdict::Applied => {
                write!(f, "configuration {generation} in place, {} changed", counted(changes.len()))?;
            }
            Verdict::Refused => {
                write!(
                    f,
                    "configuration {generation} stays: the changed one has {}",
                    faults_of(faults.len())
                )?;
                if !changes.is_empty() {
                    write!(f, " ({} taken up from files)", counted(changes.len()))?;
                }
            }
        }
        if !pending.is_empty() {
            write!(f, "; waits for a restart: {}", pending.join(", "))?;
        }
        Ok(())
    }
}

fn counted(number: usize) -> String {
    if number == 0 { "nothing".to_owned() } else { number.to_string() }
}

fn faults_of(number: usize) -> String {
    if number == 1 { "1 fault".to_owned() } else { format!("{number} faults") }
}

fn in_words<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_in_one_line() {
        let outcome = |result, changes: usize, faults: usize, pending: &[&'static str]| Outcome {
            result,
            at: SystemTime::now(),
            cause: Cause::Signal,
            generation: 7,
            file: "gateway.toml".into(),
            changes: vec!["x".into(); changes],
            pending: pending.to_vec(),
            pending_changes: Vec::new(),
            faults: vec![Complaint { text: String::new(), json: Value::Null }; faults],
            warnings: Vec::new(),
            stale_certificates: Vec::new(),
        };
        for (outcome, expected) in [
            (outcome(Verdict::Applied, 0, 0, &[]), "configuration 7 in place, nothing changed"),
            (
                outcome(Verdict::Applied, 2, 0, &["server.https", "saves.directory"]),
                "configuration 7 in place, 2 changed; waits for a restart: server.https, saves.directory",
            ),
            (outcome(Verdict::Refused, 0, 1, &[]), "configuration 7 stays: the changed one has 1 fault"),
            (
                outcome(Verdict::Refused, 1, 3, &[]),
                "configuration 7 stays: the changed one has 3 faults (1 taken up from files)",
            ),
        ] {
            assert_eq!(outcome.to_string(), expected);
            assert_eq!(outcome.complaints().is_empty(), outcome.result == Verdict::Applied);
        }
        let mut stale = outcome(Verdict::Refused, 0, 1, &[]);
        stale.stale_certificates.push("a.example".into());
        assert_eq!(stale.complaints().len(), 2);
    }
}
