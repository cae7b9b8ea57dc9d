//! What systemd is told: ready, reloading, stopping, a line for `systemctl status`, and that every thread still turns.
//!
//! Without systemd (`NOTIFY_SOCKET` is not set) nobody is told, and nothing changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::sleep;

use super::log::{Level, Log};

/// Of the time after which systemd takes the gateway for hung, a round of the roll call takes this part: two rounds may fail
/// before it acts.
const ROUNDS: u32 = 3;

/// It listens, and its configuration is in place. `status` is the line that `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again, until this is dropped: whatever comes of it, systemd must hear that it has ended.
#[derive(Debug)]
pub struct Reloading(());

impl Reloading {
    /// Says so. systemd 253 and later (`Type=notify-reload`) want the time in the same message, and older ones do not mind.
    pub fn begin() -> Self {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

/// The line that `systemctl status` shows.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// It leaves.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// How often systemd wants to hear that the gateway lives; `None`: never.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// It lives.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// A message that does not arrive is not worth an error: systemd acts on its absence by itself.
fn tell(states: &[NotifyState<'_>]) {
    sd_notify::notify(states).ok();
}

/// Asks every thread that matters to show that it turns: a thread that hangs cannot answer, whatever a timer says.
#[derive(Debug)]
pub struct Roll {
    call: watch::Sender<u64>,
    answers: Vec<(String, Arc<AtomicU64>)>,
}

/// A thread's place in the roll.
#[derive(Debug)]
pub struct Present {
    call: watch::Receiver<u64>,
    answer: Arc<AtomicU64>,
}

impl Default for Roll {
    fn default() -> Self {
        Self { call: watch::Sender::new(0), answers: Vec::new() }
    }
}

impl Roll {
    /// A place for the thread of this name.
    pub fn place(&mut self, name: String) -> Present {
        let answer = Arc::new(AtomicU64::new(0));
        self.answers.push((name, answer.clone()));
        Present { call: self.call.subscribe(), answer }
    }

    /// Calls the roll for ever, and says that the gateway is alive after each round in which everybody answered. Runs on the
    /// control runtime, which thereby answers for itself.
    pub async fn watch(self, patience: Duration, log: Log, alive: impl Fn()) {
        let mut told = false;
        for round in 1.. {
            self.call.send_replace(round);
            sleep(patience / ROUNDS).await;
            let silent = self.answers.iter().find(|(_, answer)| answer.load(Ordering::Relaxed) < round);
            match silent {
                None => alive(),
                Some((name, _)) if !told => {
                    let message = "a thread does not turn; systemd will restart the gateway if that goes on";
                    log.event(Level::Error, "hung", message, &[("thread", name)]);
                }
                Some(_) => {}
            }
            told = silent.is_some();
        }
    }
}

impl Present {
    /// Answers the next call.
    pub async fn answer(&mut self) {
        match self.call.changed().await {
            Ok(()) => self.answer.store(*self.call.borrow_and_update(), Ordering::Relaxed),
            Err(_) => std::future::pending().await, // nobody calls
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::ops::log::{Format, Settings};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A gateway whose timers all work and one of whose cores hangs must not look alive.
    #[tokio::test(start_paused = true)]
    async fn one_thread_that_hangs_is_enough() {
        let (log, _writer) =
            Log::start(Settings { format: Format::Json, level: Level::Info }, std::io::sink()).unwrap();
        let mut roll = Roll::default();
        let mut places = ["core-0", "core-1"].map(|name| roll.place(name.into()));
        let pings = Cell::new(0);
        let watch = roll.watch(PATIENCE, log, || pings.set(pings.get() + 1));
        let hangs = Cell::new(false);
        let [first, second] = &mut places;
        let turning = async {
            loop {
                tokio::select! {
                    () = first.answer() => {}
                    () = second.answer(), if !hangs.get() => {}
                }
            }
        };
        let story = async {
            sleep(4 * PATIENCE).await;
            let before = pings.get();
            assert!((11..=12).contains(&before), "{before}");
            hangs.set(true);
            sleep(PATIENCE).await; // what was begun before is answered still
            let last = pings.get();
            sleep(4 * PATIENCE).await;
            assert_eq!(pings.get(), last, "nothing says that it lives");
            hangs.set(false);
            sleep(PATIENCE).await;
            assert!(pings.get() > last, "it turns again");
        };
        tokio::select! {
            () = watch => {}
            () = turning => {}
            () = story => {}
        }
    }
}
