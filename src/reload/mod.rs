//! A changed configuration: noticed (`watch`), judged as a whole (`decide`), put in place in one swap or not at all, and
//! told to everybody who wants to know.

mod decide;
mod inotify;
mod tell;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::config::{Change, Env, Files, Loaded};
use crate::live::{Ask, Cause, Fixed, Live};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::ops::systemd::Reloading;
use crate::tls::Tickets;
use decide::Decided;
use watch::Watch;

/// The configuration's file, what it is read with, and what of it is in place.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// The environment of the start.
    env: Env,
    /// Kept over reloads, so that returning browsers resume their sessions.
    tickets: Tickets,
    /// What only a restart changes, as it runs.
    fixed: Fixed,
    /// The files that the running configuration was built from, as they were.
    running: Files,
    /// The files that were looked at last, whatever they were worth.
    seen: Files,
    /// What was changed in the file and waits for a restart.
    pending: Vec<Change>,
    generation: u64,
    watched: bool,
}

impl File {
    /// A configuration that has just been loaded from `path`.
    pub fn new(path: PathBuf, env: Env, tickets: Tickets, loaded: &Loaded) -> Self {
        let (fixed, files) = (loaded.fixed.clone(), loaded.files.clone());
        Self {
            path,
            env,
            tickets,
            fixed,
            running: files.clone(),
            seen: files,
            pending: Vec::new(),
            generation: 1,
            watched: true,
        }
    }

    /// Changes are taken up when somebody asks, not by themselves.
    pub fn only_when_asked(self) -> Self {
        Self { watched: false, ..self }
    }
}

/// Follows the configuration until nobody can ask any more: what is asked for and what changes by itself is decided, put in
/// place, and told. `swap` puts a configuration in place.
pub async fn follow(
    file: File,
    live: Arc<Live>,
    ops: Ops,
    mut asks: mpsc::Receiver<Ask>,
    swap: impl Fn(crate::live::Snapshot),
) {
    tell::standing(&ops, &live.load().settings);
    let mut watch = file.watched.then(|| Watch::new(file.seen.paths(), &ops.log));
    let file = Arc::new(Mutex::new(file));
    loop {
        let ask = tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => Some(ask),
                None => return,
            },
            () = changed(&mut watch) => None,
        };
        // Only what was asked for is a reload to systemd; it ends with this round, however that ends.
        let _reloading = ask.as_ref().map(|_| Reloading::begin());
        let cause = ask.as_ref().map_or(Cause::File, |ask| ask.cause);
        ops.log.debug("reload", "files are read", &[("cause", &cause.name())]);
        let before = live.load();
        let (deciding, running) = (file.clone(), before.clone());
        // Files may lie on a disk that is slow, or gone.
        let decided = tokio::task::spawn_blocking(move || {
            let mut file = deciding.lock().unwrap_or_else(PoisonError::into_inner);
            let decided = file.decide(cause, &running.settings);
            (decided, file.seen.paths().map(PathBuf::from).collect::<Vec<_>>())
        });
        let (decided, paths) = match decided.await {
            Ok(decided) => decided,
            // A panic, which was told of where it happened. Its words may quote the configuration.
            Err(_) => {
                let message = "the configuration was not read: a fault of the gateway, please report it";
                ops.log.event(Level::Error, "reload_failed", message, &[]);
                continue;
            }
        };
        if let Some(watch) = &mut watch {
            watch.follow(paths.iter().map(PathBuf::as_path));
        }
        ops.log.debug("reload", "files are watched", &[("number", &paths.len())]);
        let Some(Decided { snapshot, outcome }) = decided else {
            ops.log.debug("reload", "nothing in them has changed", &[]);
            continue;
        };
        if let Some(snapshot) = snapshot {
            swap(*snapshot);
            ops.log.debug(
                "reload",
                "the new configuration is swapped in",
                &[("generation", &outcome.generation)],
            );
        }
        let outcome = Arc::new(outcome);
        tell::ended(&ops, &before.settings, &live.load().settings, &outcome);
        live.ended(outcome.clone());
        if let Some(ask) = ask {
            ask.answer.send(outcome).ok(); // whoever asked may have left
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
