//! Faults that a stand-in plays on chosen paths.

use crate::answer::{self, Answer};
use crate::server::Connection;
use std::sync::Mutex;
use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and a small page.
    Status(u16),
    /// Answers 200 with this text, as something that is no stand-in would.
    Says(&'static str),
    /// Answers rightly, but only after this time.
    Delay(Duration),
    /// Takes the request and never answers.
    Stall,
    /// Resets the connection.
    Reset,
    /// Closes the connection without an answer.
    Close,
    /// Answers rightly, but breaks the connection after this many bytes of the body.
    Cut(usize),
    /// Answers rightly, but sends nothing more after this many bytes of the body.
    StallBody(usize),
}

impl Fault {
    /// Plays the part that comes before an answer: `Ok` means that there is to be one.
    pub(crate) async fn before(&self, connection: &Connection) -> Result<(), Answer> {
        match self {
            Fault::Status(status) => Err(answer::nginx(*status)),
            Fault::Says(text) => Err(answer::answer(200, "text/plain", *text)),
            Fault::Stall => std::future::pending().await,
            Fault::Reset => Err(connection.reset().await),
            Fault::Close => Err(connection.cut().await),
            Fault::Delay(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Fault::Cut(_) | Fault::StallBody(_) => Ok(()),
        }
    }

    /// Plays the part that concerns the answer's body.
    pub(crate) fn after(&self, answer: Answer) -> Answer {
        match self {
            Fault::Cut(length) => answer::Broken::after(*length, false, answer),
            Fault::StallBody(length) => answer::Broken::after(*length, true, answer),
            _ => answer,
        }
    }
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
