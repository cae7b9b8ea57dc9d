//! `run`: the gateway itself, from its configuration until somebody tells it to leave.

use std::io::{self, stdout};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArgs, FAILED, WRONG_CONFIGURATION, out};
use crate::app::{Bound, Gateway, Inherited};
use crate::config::{self, Env, Loaded};
use crate::ops::log::Level;
use crate::ops::{process, systemd};
use crate::reload;
use crate::tls::Tickets;

/// Runs until SIGTERM or SIGINT. SIGHUP reads the configuration again.
pub fn run(args: &ConfigArgs, env: Env) -> ExitCode {
    let (path, tickets) = match (args.find(&env), Tickets::new()) {
        (Ok(path), Ok(tickets)) => (path, tickets),
        (Err(faults), _) => {
            out::complain(&faults);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
        (_, Err(e)) => return failed(&e),
    };
    let loaded = match config::load(&path, &env, &tickets) {
        Ok(loaded) => loaded,
        Err(faults) => {
            out::complain(&faults);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    match serve(&path, env, &tickets, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

fn failed(e: &dyn std::error::Error) -> ExitCode {
    out::complain(&format_args!("the gateway cannot run: {e}"));
    ExitCode::from(FAILED)
}

fn serve(path: &Path, env: Env, tickets: &Tickets, loaded: Loaded) -> io::Result<()> {
    let leaves_no_core = process::leaves_no_core();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody can hear that it runs: an unhandled SIGHUP or SIGTERM ends a process.
    let signals = runtime.block_on(async { Signals::new() })?;
    let bound = Bound::with(&loaded.fixed, Inherited::from_env()?)?;
    let to_the_journal = is_journal(&env);
    let file = reload::File::new(path.to_owned(), env, tickets.clone(), &loaded);
    let mut gateway = Gateway::start(loaded.snapshot, &loaded.fixed, bound, stdout())?;
    if to_the_journal {
        gateway.ops.log.is_journal();
    }
    for warning in &loaded.warnings {
        gateway.ops.log.event(Level::Warn, "configuration", &warning.to_string(), &[]);
    }
    if !leaves_no_core {
        let message =
            "a crash may leave a core with every secret behind: set the limit of cores to 0 (`ulimit -c 0`)";
        gateway.ops.log.event(Level::Warn, "process", message, &[]);
    }
    say_where(&gateway);
    gateway.follow(file);
    if let Some(patience) = systemd::watchdog() {
        gateway.watch_threads(patience, systemd::alive);
    }
    systemd::ready("serves");
    // Only signals are waited for here; cores and control have their own threads.
    runtime.block_on(signals.obeyed(&gateway));
    systemd::stopping("leaves: requests finish, editors reconnect to the next process");
    gateway.stop();
    Ok(())
}

/// Whether stdout is what systemd connected to its journal. `JOURNAL_STREAM` alone does not say it: a unit, or a shell in it,
/// may have sent stdout elsewhere (systemd.exec(5)).
fn is_journal(env: &Env) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Some(stream) = env.get("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/1")
        .is_ok_and(|out| stream.to_str() == Some(&format!("{}:{}", out.dev(), out.ino())))
}

fn say_where(gateway: &Gateway) {
    let list = |addresses: &[std::net::SocketAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    gateway.ops.log.event(
        Level::Info,
        "started",
        "the gateway serves",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("https", &list(&gateway.https)),
            ("http", &list(&gateway.http)),
            ("relay", &list(&gateway.container)),
            ("admin", &gateway.admin.to_string()),
        ],
    );
}

/// What the gateway is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them from now on; what comes before [`Signals::obeyed`] is kept until then.
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Reloads on SIGHUP, until one of the others comes.
    async fn obeyed(mut self, gateway: &Gateway) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => gateway.reload(),
            }
        }
    }
}
