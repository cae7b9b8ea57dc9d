//! The relay alone, between a Document Server and an application: no TLS in front, a disk and a moment of the test's choice.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use rapidpm_gateway::config;
use rapidpm_gateway::live::Live;
use rapidpm_gateway::ops::Ops;
use rapidpm_gateway::ops::log::{Log, Writer};
use rapidpm_gateway::ops::metrics::Metrics;
use rapidpm_gateway::relay::spool::{Disk, Spool, Step};
use rapidpm_gateway::relay::{Answer, House, Post, Relay};
use rapidpm_gateway::rules::callback::Callback;
use rapidpm_gateway::rules::carrier::find_header;
use rapidpm_gateway::rules::trace;
use rapidpm_gateway::tls::Tickets;
use serde_json::{Value, json};
use standin::{clock, token};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::rig::{self, LogLines, SECRET, Setup};

/// A relay that runs.
pub struct Desk {
    pub relay: Arc<Relay>,
    pub live: Arc<Live>,
    pub ops: Ops,
    pub log: LogLines,
    writer: Option<Writer>,
}

impl Desk {
    /// Starts one whose files lie below `folder`.
    pub fn start(setup: &Setup, server: SocketAddr, folder: &Path, disk: Arc<dyn Disk>) -> io::Result<Self> {
        rig::certificate(folder, "rig", &setup.names);
        let file = folder.join("gateway.toml");
        std::fs::write(&file, rig::toml(setup, server, folder)).unwrap();
        let loaded = config::load(&file, &rig::env(), &Tickets::new().unwrap())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let log = LogLines::default();
        let (queue, writer) = Log::start(loaded.snapshot.log, log.clone()).unwrap();
        let ops = Ops { log: queue, metrics: Arc::new(Metrics::new()), objections: Arc::default() };
        let live = Arc::new(Live::new(loaded.snapshot, ops.metrics.clone()));
        let spool = Spool::new(live.load().settings.relay.saves.directory.clone(), disk);
        let current = live.clone();
        let relay = Relay::start(
            Handle::current(),
            spool,
            ops.clone(),
            |_, _| Ok(()),
            move || current.load() as Arc<dyn House>,
        )?;
        Ok(Self { relay, live, ops, log, writer: Some(writer) })
    }

    /// Hands in what came with these headers at that moment.
    pub fn hand_in(
        &self,
        target: &str,
        body: Bytes,
        headers: &[(&str, &str)],
        now: SystemTime,
    ) -> oneshot::Receiver<Answer> {
        let running = self.live.load();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
            })
            .collect();
        let field = running.own_field();
        let callback = Callback::read(&body, &headers, &field, &running.settings.tokens, now).unwrap();
        let token = find_header(&headers, &field.name, &field.prefix).unwrap().map(str::to_owned);
        let post = Post {
            integrator: "rapidpm".into(),
            target: target.into(),
            body,
            token,
            trace: trace::carried(&headers),
            callback,
        };
        self.relay.submit(post).expect("there is room")
    }

    /// Hands in a callback of these fields, as the Document Server signs it.
    pub fn post(&self, target: &str, fields: &Value) -> oneshot::Receiver<Answer> {
        let now = clock::system();
        let mut body = fields.clone();
        body["token"] = token::sign(SECRET, &token::expiring(fields.clone(), &now, 300)).into();
        let header = token::sign(SECRET, &token::expiring(json!({"payload": fields}), &now, 300));
        let header = format!("Bearer {header}");
        self.hand_in(target, body.to_string().into(), &[("authorization", &header)], SystemTime::now())
    }

    /// Whether the numbers hold this line.
    pub fn counts(&self, line: &str) -> bool {
        self.ops.metrics.render().lines().any(|known| known == line)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.relay.stop();
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }
}

/// A disk that is sick as the test says: these steps fail with this error number.
#[derive(Default)]
pub struct Sick {
    fails: Mutex<Option<(Vec<Step>, i32)>>,
    asked: AtomicUsize,
}

impl Sick {
    pub fn fall_ill(&self, steps: &[Step], errno: i32) {
        *self.fails.lock().unwrap() = Some((steps.to_vec(), errno));
    }

    pub fn recover(&self) {
        *self.fails.lock().unwrap() = None;
    }

    /// How often a step has failed.
    pub fn failures(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Disk for Sick {
    fn before(&self, step: Step) -> io::Result<()> {
        let fails = self.fails.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fails {
            Some((steps, errno)) if steps.contains(&step) => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(*errno))
            }
            _ => Ok(()),
        }
    }
}
