//! `doctor`: asks everything around the gateway that can go wrong, and says of each what to do.
//!
//! A topic is a file: it observes, and a pure function judges what was observed, so that every explanation is tested as a row of
//! a table. Topics are asked at the same time; whatever is asked over the network has 5 s.

mod ask;
mod certificate;
mod document_server;
mod gateway;
mod house;
mod integrators;
mod network;
mod process;
mod public;
mod question;
mod report;
mod socket;
mod spool;
mod stores;
mod would_refuse;

use std::collections::HashSet;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::{ConfigArgs, FAILED, WRONG_CONFIGURATION, out};
use crate::config::{self, Env};
use crate::tls;
use house::House;
use question::{Finding, Question, Verdict};
use report::Report;

/// For everything together. Each question has its own bounds, but a slow server is asked many.
const LONGEST: Duration = Duration::from_secs(60);

/// What `doctor` is told.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Only list what a stricter configuration would have refused since the gateway started (exit code 1 if anything)
    #[arg(long, conflicts_with_all = ["callback", "post"])]
    would_refuse: bool,
    /// Ask at this callback path of an integrator, below its url; may be repeated
    #[arg(long, value_name = "INTEGRATOR=/PATH", value_parser = callback)]
    callback: Vec<(String, String)>,
    /// Send a signed callback of status 4 (closed without changes) there instead of a GET
    #[arg(long, requires = "callback")]
    post: bool,
}

fn callback(text: &str) -> Result<(String, String), String> {
    let (name, path) = text.split_once('=').ok_or("write it like rapidpm=/callback?id=1")?;
    let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        Ok((name.to_owned(), path.to_owned()))
    } else {
        Err("the path must begin with / and be encoded".into())
    }
}

/// Asks: 0 when nothing fails, 1 when something does, 78 for a wrong configuration.
pub fn doctor(args: &DoctorArgs, env: &Env) -> ExitCode {
    let tickets = match tls::Tickets::new() {
        Ok(tickets) => tickets,
        Err(error) => return failed(&format_args!("the system gives no randomness: {error}")),
    };
    let loaded = args.config.find(env).and_then(|path| config::load(&path, env, &tickets));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => {
            out::complain(&faults);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if let Some((name, _)) = args.callback.iter().find(|(name, _)| {
        !loaded.snapshot.relay.integrators.iter().any(|integrator| integrator.name == *name)
    }) {
        out::complain(&format_args!("--callback: no integrator is called {}", super::token::shown(name)));
        return ExitCode::from(super::USAGE);
    }
    let house = House::new(loaded, args.callback.clone(), args.post);
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let code = match args.would_refuse {
        true => runtime.block_on(list(&house, args.json)),
        false => {
            let report = Report(runtime.block_on(examine(house)));
            if args.json {
                out::say(&report.to_json())
            } else {
                out::say(&report)
            }
            if report.fails() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
        }
    };
    runtime.shutdown_background(); // a resolver that hangs holds nobody up
    code
}

fn failed(why: &dyn std::fmt::Display) -> ExitCode {
    out::complain(&why);
    ExitCode::from(FAILED)
}

async fn list(house: &House, json: bool) -> ExitCode {
    let list = match would_refuse::list(house).await {
        Ok(list) => list,
        Err(why) => return failed(&why),
    };
    if json {
        out::say(&list)
    } else {
        out::say(&would_refuse::text(&list))
    }
    if would_refuse::is_empty(&list) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Asks everything at the same time; the answers in the order of the questions.
async fn examine(house: House) -> Vec<Finding> {
    let mut topics = JoinSet::new();
    let running = process::find(house.loaded.fixed.admin);
    let (admin, connections) = (house.loaded.fixed.admin, house.snapshot().limits.connections);
    let saves = house.snapshot().relay.saves.clone();
    topics.spawn(async move {
        let asked = spawn_blocking(move || {
            let mut findings = process::questions(admin, running.as_ref(), connections);
            findings.extend(spool::questions(&saves, running.as_ref()));
            findings
        });
        asked.await.unwrap_or_default()
    });
    let house = Arc::new(house);
    /// A topic on a task of its own.
    macro_rules! topic {
        ($house:ident => $asked:expr) => {{
            let $house = house.clone();
            topics.spawn(async move { $asked })
        }};
    }
    for server in house.snapshot().upstream.servers.clone() {
        let of = server.clone();
        topic!(house => document_server::questions(&house, &of).await);
        let of = server.clone();
        topic!(house => vec![socket::direct(&house, &of).await]);
        topic!(house => vec![network::exposed(&house, &server).await]);
    }
    for public in house.snapshot().site.public.clone() {
        let of = public.clone();
        topic!(house => certificate::questions(&house, &of).await);
        let of = public.clone();
        topic!(house => vec![socket::through_gateway(&house, &of).await]);
        topic!(house => public::questions(&house, &public).await);
    }
    for integrator in house.snapshot().relay.integrators.clone() {
        topic!(house => integrators::questions(&house, &integrator).await);
    }
    topic!(house => gateway::questions(&house).await);
    topic!(house => vec![
        stores::archive(house.snapshot().relay.archive.as_ref()).await,
        stores::redis(&house.snapshot().state).await,
    ]);
    let (mut findings, whole) = gather(topics).await;
    let asked: HashSet<Question> = findings.iter().map(|finding| finding.question).collect();
    for question in Question::ALL.iter().filter(|question| !asked.contains(question)) {
        findings.push(question.is("", unasked(whole)));
    }
    let place = |question: Question| Question::ALL.iter().position(|known| *known == question);
    findings.sort_by(|a, b| (place(a.question), &a.of).cmp(&(place(b.question), &b.of)));
    findings
}

/// A question that brought no answer: nobody to ask, or somebody who held the asking up.
fn unasked(whole: bool) -> Verdict {
    match whole {
        true => Verdict::skipped("nothing of the kind is configured"),
        false => Verdict::failed(
            format!("no answer within {} s", LONGEST.as_secs()),
            "Something takes connections and stands still; ask again, and see which other questions are slow.",
        ),
    }
}

/// Waits for all of them, for a time; whether all came. Says how far they are where a person looks on.
async fn gather(mut topics: JoinSet<Vec<Finding>>) -> (Vec<Finding>, bool) {
    let end = Instant::now() + LONGEST;
    let (all, person) = (topics.len(), stderr().is_terminal());
    let mut findings = Vec::new();
    while let Ok(Some(found)) = timeout_at(end, topics.join_next()).await {
        findings.extend(found.unwrap_or_default());
        if person {
            write!(stderr(), "\rasked {} of {all} … ", all - topics.len()).ok();
        }
    }
    if person {
        write!(stderr(), "\r{:24}\r", "").ok();
    }
    let whole = topics.is_empty();
    (findings, whole)
}
