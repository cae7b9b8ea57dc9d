//! Faults that a stand-in plays on chosen paths.

use std::sync::Mutex;
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and a small page.
    Status(u16),
    /// Answers rightly, but only after this time.
    Delay(Duration),
    /// Takes the request and never answers.
    Stall,
    /// Resets the connection.
    Reset,
    /// Closes the connection without an answer.
    Close,
}

/// Faults by path, the newest first.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<(String, Fault, Option<u32>)>>);

impl Faults {
    /// Plays `fault` where the decoded path starts with `prefix`, `times` times or until cleared.
    pub fn set(&self, prefix: &str, fault: Fault, times: Option<u32>) {
        self.0.lock().unwrap().insert(0, (prefix.to_lowercase(), fault, times));
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// The fault for a path, if there is one left.
    pub fn take(&self, path: &str) -> Option<Fault> {
        let path = path.to_lowercase();
        let mut faults = self.0.lock().unwrap();
        let (_, fault, times) = faults
            .iter_mut()
            .find(|(prefix, _, times)| path.starts_with(prefix.as_str()) && *times != Some(0))?;
        if let Some(times) = times {
            *times -= 1;
        }
        Some(fault.clone())
    }
}
