//! Whether shared state can be reached, asked in the background: whoever asks for health waits for nobody.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Settings;
use super::redis::{self, Place};
use crate::ops::Ops;
use crate::ops::log::Level;

/// How often it is asked, and how soon a change of the configuration is seen.
const PAUSE: Duration = Duration::from_secs(5);

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What came of the last question; `None`: nothing is configured, or nobody has asked yet.
    pub answer: Option<Result<(), String>>,
    /// Since when it has been so.
    pub since: SystemTime,
}

/// Asks while it lives.
#[derive(Debug)]
pub struct Watch(Mutex<Standing>);

impl Watch {
    /// Begins to ask what `place` says is configured, which may change.
    pub fn start(
        runtime: &Handle,
        ops: Ops,
        place: impl Fn() -> Option<Place> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let watch = Arc::new(Self(Mutex::new(Standing { answer: None, since: SystemTime::now() })));
        let asking = Arc::downgrade(&watch);
        runtime.spawn(async move {
            while Weak::strong_count(&asking) > 0 {
                let answer = match place() {
                    Some(place) => Some(redis::ping(&place).await.map_err(|fault| fault.to_string())),
                    None => None,
                };
                let Some(watch) = asking.upgrade() else { return };
                watch.heard(answer, &ops);
                drop(watch);
                sleep(PAUSE).await;
            }
        });
        watch
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heard(&self, answer: Option<Result<(), String>>, ops: &Ops) {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.answer == answer {
            return;
        }
        match (&answer, &standing.answer) {
            (Some(Err(fault)), _) => {
                ops.log.event(Level::Error, "redis", "Redis does not answer", &[("error", fault)]);
            }
            (Some(Ok(())), Some(Err(_))) => ops.log.event(Level::Info, "redis", "Redis answers again", &[]),
            _ => {}
        }
        *standing = Standing { answer, since: SystemTime::now() };
    }
}

impl Settings {
    /// Where shared state is, if it is shared.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Embedded => None,
            Self::Redis(url) => Place::of(url),
        }
    }
}
