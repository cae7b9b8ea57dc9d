//! `saves`: what waits in the directory of saves, read beside a running gateway; and orders to the gateway that owns it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{ConfigArgs, FAILED, WRONG_CONFIGURATION, out};
use crate::config::{self, Env};
use crate::relay::spool::{Found, RealDisk, Role, Spool};
use crate::rules::save::{Id, Phase};
use crate::tls;

mod forgotten;
mod order;

/// What can be done with saves.
#[derive(Debug, Clone, Subcommand)]
pub enum SavesCommand {
    /// Saves that are not settled; with --all those of the last day, too
    List {
        /// Where they are
        #[command(flatten)]
        from: From,
        /// Settled ones, too
        #[arg(long)]
        all: bool,
        /// Instead, what Document Servers keep because nobody took it
        #[arg(long, conflicts_with = "all")]
        forgotten: bool,
    },
    /// Everything that is known of one save
    Show(One),
    /// Copy a save's document to a file
    Export {
        /// Which
        #[command(flatten)]
        one: One,
        /// Where to; must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Which of its documents: document, changes or form
        #[arg(long, default_value = "document")]
        part: String,
        /// SAVE is a key of `list --forgotten`: copy that file from its Document Server
        #[arg(long, conflicts_with = "part")]
        forgotten: bool,
    },
    /// Have the running gateway try a save at once, a parked one too
    Retry(One),
    /// Have the running gateway throw a save away
    Discard(One),
}

/// Where the saves are.
#[derive(Debug, Clone, Args)]
pub struct From {
    #[command(flatten)]
    config: ConfigArgs,
    /// The directory, instead of the configuration's saves.directory
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One save.
#[derive(Debug, Clone, Args)]
pub struct One {
    #[command(flatten)]
    from: From,
    /// Its number, as `list` shows it
    #[arg(value_name = "SAVE")]
    id: String,
}

/// Does what was typed.
pub fn saves(command: &SavesCommand, env: &Env) -> ExitCode {
    let from = match command {
        SavesCommand::List { from, forgotten: true, .. } => return forgotten::list(from, env),
        SavesCommand::Export { one, file, forgotten: true, .. } => {
            return forgotten::export(&one.from, &one.id, file, env);
        }
        SavesCommand::List { from, .. } => from,
        SavesCommand::Export { one, .. } => &one.from,
        SavesCommand::Show(one) | SavesCommand::Retry(one) | SavesCommand::Discard(one) => &one.from,
    };
    let spool = match directory(from, env) {
        Ok(root) => Spool::new(root, Arc::new(RealDisk)),
        Err(code) => return code,
    };
    let done = match command {
        SavesCommand::List { from, all, .. } => list(&spool, *all, from.json),
        SavesCommand::Show(one) => show(&spool, one),
        SavesCommand::Export { one, file, part, .. } => export(&spool, one, file, part),
        SavesCommand::Retry(one) => return order::give(&spool, one, "retry"),
        SavesCommand::Discard(one) => return order::give(&spool, one, "discard"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&format_args!("{}: {error}", spool.root().display()));
            ExitCode::from(FAILED)
        }
    }
}

fn directory(from: &From, env: &Env) -> Result<PathBuf, ExitCode> {
    if let Some(directory) = &from.directory {
        return Ok(directory.clone());
    }
    let tickets = tls::Tickets::new().map_err(|_| ExitCode::from(FAILED))?;
    let loaded = from.config.find(env).and_then(|path| config::load(&path, env, &tickets));
    loaded.map(|loaded| loaded.snapshot.relay.saves.directory).map_err(|faults| {
        out::complain(&faults);
        ExitCode::from(WRONG_CONFIGURATION)
    })
}

fn list(spool: &Spool, all: bool, as_json: bool) -> io::Result<()> {
    let saves = spool.list()?;
    let shown: Vec<&Found> = saves.iter().filter(|save| all || !is_settled(save)).collect();
    if as_json {
        out::say(&Value::from(shown.iter().map(|save| describe(save)).collect::<Vec<_>>()));
        return Ok(());
    }
    if shown.is_empty() {
        out::say(&"no saves wait");
        return Ok(());
    }
    out::say(&format_args!(
        "{:16}  {:12}  {:>9}  {:>10}  {:12}  KEY",
        "SAVE", "STATE", "AGE", "BYTES", "FOR"
    ));
    for save in shown {
        let told = describe(save);
        let text = |name: &str| told[name].as_str().unwrap_or("?").to_owned();
        let age =
            humantime::format_duration(Duration::from_secs(told["age"].as_u64().unwrap_or(0))).to_string();
        let age = age.split(' ').take(2).collect::<String>();
        out::say(&format_args!(
            "{:16}  {:12}  {age:>9}  {:>10}  {:12}  {}",
            text("save"),
            text("state"),
            told["bytes"].as_u64().unwrap_or(0),
            text("integrator"),
            // A key is the application's text; a terminal must not obey it.
            text("key").escape_debug()
        ));
    }
    Ok(())
}

fn is_settled(save: &Found) -> bool {
    save.state.as_ref().is_some_and(|state| matches!(state.phase(), Phase::Settled(_)))
}

fn describe(save: &Found) -> Value {
    let number = format!("{:016x}", save.id.0);
    let state = save.state.as_ref().map_or("ready", |state| state.phase.as_str());
    let Some(record) = &save.record else { return json!({"save": number, "state": "unreadable"}) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_millis(record.since)).as_secs();
    let bytes: u64 = record.documents.iter().map(|document| document.bytes).sum();
    json!({
        "save": number, "state": state, "key": record.key, "integrator": record.integrator, "target": record.target,
        "status": record.status, "kind": record.kind, "age": age, "bytes": bytes, "documents": record.documents,
        "answer": save.state.as_ref().and_then(|state| state.answer.clone()),
    })
}

fn find(spool: &Spool, one: &One) -> io::Result<Found> {
    let absent = || io::Error::new(io::ErrorKind::NotFound, format!("no save {}", one.id.escape_debug()));
    let id = u64::from_str_radix(&one.id, 16).map_err(|_| absent())?;
    spool.list()?.into_iter().find(|save| save.id == Id(id)).ok_or_else(absent)
}

fn show(spool: &Spool, one: &One) -> io::Result<()> {
    let save = find(spool, one)?;
    let mut told = describe(&save);
    told["folder"] = spool.folder(save.id).display().to_string().into();
    told["claims"] = save.record.map(|record| record.claims.into()).unwrap_or_default();
    out::say(&if one.from.json { told.to_string() } else { format!("{told:#}") });
    Ok(())
}

fn export(spool: &Spool, one: &One, file: &PathBuf, part: &str) -> io::Result<()> {
    let save = find(spool, one)?;
    let role = Role::of(part).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such part"))?;
    let expected =
        save.record.iter().flat_map(|record| &record.documents).find(|document| document.role == role);
    let mut source = fs::File::open(spool.document(save.id, role))?;
    let mut target = fs::File::create_new(file)?;
    let bytes = io::copy(&mut source, &mut target)?;
    if expected.is_some_and(|document| document.bytes != bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the document is not as long as it was when it was kept",
        ));
    }
    out::say(&format_args!("{bytes} bytes to {}", file.display()));
    Ok(())
}
