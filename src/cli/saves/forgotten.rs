//! `saves list --forgotten` and `saves export --forgotten`: what Document Servers keep because nobody took it, asked of them
//! directly, so that it works with and without a running gateway.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{From, is_settled};
use crate::cli::{FAILED, WRONG_CONFIGURATION, out};
use crate::config::{self, Env};
use crate::live::{Live, Running};
use crate::ops::metrics::Metrics;
use crate::relay::memory::{self, Known};
use crate::relay::spool::{RealDisk, Spool};
use crate::relay::{House, forgotten};
use crate::tls;

/// The configuration as a running gateway would have it.
fn running(from: &From, env: &Env) -> Result<Arc<Running>, ExitCode> {
    let tickets = tls::Tickets::new().map_err(|_| ExitCode::from(FAILED))?;
    let loaded = from.config.find(env).and_then(|path| config::load(&path, env, &tickets));
    loaded.map(|loaded| Live::new(loaded.snapshot, Arc::new(Metrics::new())).load()).map_err(|faults| {
        out::complain(&faults);
        ExitCode::from(WRONG_CONFIGURATION)
    })
}

fn wait<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

/// Shows every forgotten file and what the relay remembers of its key.
pub fn list(from: &From, env: &Env) -> ExitCode {
    let house = match running(from, env) {
        Ok(house) => house,
        Err(code) => return code,
    };
    let directory = from.directory.clone().unwrap_or_else(|| house.relay().saves.directory.clone());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let remembered = memory::read(&directory, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let saves = waiting(&directory);
    let (mut found, mut failed) = (Vec::new(), false);
    for server in house.servers().all() {
        match wait(forgotten::list(server, &house.relay().secret)).and_then(|keys| keys) {
            Ok(keys) => {
                let told =
                    |key: String| describe(&key, server.name(), remembered.get(&key), saves.get(&key), now);
                found.extend(keys.into_iter().map(told));
            }
            Err(error) => {
                failed = true;
                out::complain(&format_args!("{}: {error}", server.name()));
            }
        }
    }
    match from.json {
        true => out::say(&Value::from(found)),
        false => table(&found),
    }
    if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// Saves of each key that are not settled: the gateway has bytes of its own.
fn waiting(directory: &Path) -> HashMap<String, Vec<String>> {
    let spool = Spool::new(directory.to_owned(), Arc::new(RealDisk));
    let mut saves: HashMap<String, Vec<String>> = HashMap::new();
    for save in spool.list().unwrap_or_default().iter().filter(|save| !is_settled(save)) {
        if let Some(record) = &save.record {
            saves.entry(record.key.clone()).or_default().push(format!("{:016x}", save.id.0));
        }
    }
    saves
}

fn describe(
    key: &str,
    server: &str,
    known: Option<&Known>,
    saves: Option<&Vec<String>>,
    now: Duration,
) -> Value {
    json!({
        "key": key, "server": server,
        "integrator": known.map(|known| &known.integrator), "callback": known.map(|known| &known.target),
        "heard": known.map(|known| now.saturating_sub(Duration::from_millis(known.at)).as_secs()),
        "saves": saves.cloned().unwrap_or_default(),
    })
}

fn table(found: &[Value]) {
    if found.is_empty() {
        return out::say(&"no Document Server keeps a forgotten file");
    }
    out::say(&format_args!("{:21}  {:12}  {:16}  KEY, CALLBACK", "SERVER", "FOR", "SAVE HERE"));
    for file in found {
        // Keys and paths are the application's text; a terminal must not obey them.
        let text = |value: &Value| value.as_str().unwrap_or("unknown").escape_debug().to_string();
        let save = file["saves"].as_array().and_then(|saves| saves.last()).map_or("-".into(), text);
        out::say(&format_args!(
            "{:21}  {:12}  {save:16}  {}  {}",
            text(&file["server"]),
            text(&file["integrator"]),
            text(&file["key"]),
            text(&file["callback"])
        ));
    }
}

/// Copies a forgotten file to `file`, which must not exist.
pub fn export(from: &From, key: &str, file: &Path, env: &Env) -> ExitCode {
    let house = match running(from, env) {
        Ok(house) => house,
        Err(code) => return code,
    };
    let done = File::create_new(file).and_then(|mut target| {
        let copied = wait(copy(&house, key, &mut target)).and_then(|copied| copied);
        if copied.is_err() {
            fs::remove_file(file).ok(); // half a document is worse than none
        }
        copied
    });
    match done {
        Ok(bytes) => {
            out::say(&format_args!("{bytes} bytes to {}", file.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            out::complain(&format_args!("{}: {error}", file.display()));
            ExitCode::from(FAILED)
        }
    }
}

async fn copy(house: &Running, key: &str, target: &mut File) -> io::Result<u64> {
    for server in house.servers().all() {
        let mut bytes = 0;
        let take = |piece: &[u8]| {
            bytes += piece.len() as u64;
            target.write_all(piece)
        };
        if forgotten::read(house, server, key, take).await?.is_some() {
            target.sync_all()?;
            return Ok(bytes);
        }
    }
    let what = format!("no Document Server keeps a forgotten file of {}", key.escape_debug());
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}
