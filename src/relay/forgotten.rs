//! Files that the Document Server keeps because nobody took them ("forgotten"): found, shown, fetched, and cleared once the very
//! same bytes have been delivered.
//!
//! The gateway has the secret, so it may ask the command service (protocol.md 4.3). A file is cleared for one reason only: its
//! integrator has confirmed a save of that key, and what lies at the Document Server is, byte for byte, what was confirmed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::house::House;
use super::journal::Entry;
use super::spool::{Record, Role};
use super::worker::{Relay, millis};
use super::{client, fetch, letter, memory};
use crate::ops::log::Level;
use crate::rules::save::{Id, Kind, Phase, Reply, Save, Settled};
use crate::secret::Secret;
use crate::upstream::Server;

/// A command is answered from memory or one folder.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer: a list of keys of at most 240 characters.
const LARGEST: usize = 4 << 20;
/// Keys of one server that are looked at.
const MOST: usize = 10_000;
/// Delivered saves whose copies at the Document Server are looked for, and for how many milliseconds: most have none.
const MOST_DELIVERED: usize = 1_000;
const LOOKED_FOR: u64 = 3_600_000;
/// After something went wrong with a save: the Document Server gives up at once, or after its own seven seconds of retries.
/// Then now and then.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(300)];

/// What was found, by key: the Document Servers that have it.
type Found = BTreeMap<String, String>;

/// What is known of forgotten files.
#[derive(Default)]
pub struct Forgotten {
    woken: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    found: Found,
    /// Saves that were confirmed late: length and CRC-32 of each, and when, by key.
    delivered: HashMap<String, (u64, u32, u64)>,
    /// Servers that could not be asked, which is said once.
    silent: BTreeMap<String, String>,
}

/// The answer to a command, if the server carried it out; `None`: it knows no such key.
async fn command(server: &Server, secret: &Secret, claims: &Value) -> io::Result<Option<Value>> {
    let token = letter::token(claims.clone(), secret, SystemTime::now());
    let address = server.address();
    let mut sender = client::plain(&address.host, address.port).await?;
    let host = HeaderValue::try_from(server.name()).map_err(io::Error::other)?;
    let request = Request::post("/command")
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "rapidpm-gateway") // told from what the gateway passes on
        .body(Full::new(Bytes::from(json!({ "token": token }).to_string())));
    let answer = client::send(&mut sender, request.map_err(io::Error::other)?, PATIENCE).await?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(io::Error::other(format!("its command service answers {status}")));
    }
    let answer: Value = serde_json::from_slice(&client::whole(answer.into_body(), LARGEST, PATIENCE).await?)?;
    match answer["error"].as_u64() {
        Some(0) => Ok(Some(answer)),
        Some(1) => Ok(None),
        Some(6 | 7) => Err(io::Error::other(
            "its command service does not take the gateway's token: jwt.secret must be its JWT_SECRET, and the clocks must agree",
        )),
        _ => Err(io::Error::other("its command service answers with an error of its own")),
    }
}

/// The keys of a server's forgotten files.
///
/// # Errors
/// When it cannot be asked.
pub async fn list(server: &Server, secret: &Secret) -> io::Result<Vec<String>> {
    let answer = command(server, secret, &json!({"c": "getForgottenList"})).await?.unwrap_or_default();
    let keys = answer["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(keys.filter(|key| key.len() <= 240).take(MOST).map(str::to_owned).collect())
}

/// A server's forgotten file, piece by piece to `take`. `None`: it has none of that key; else its name.
///
/// # Errors
/// When it cannot be fetched, or what `take` says.
pub async fn read(
    house: &dyn House,
    server: &Server,
    key: &str,
    mut take: impl FnMut(&[u8]) -> io::Result<()> + Send,
) -> io::Result<Option<String>> {
    let order = json!({"c": "getForgotten", "key": key});
    let Some(answer) = command(server, &house.relay().secret, &order).await? else { return Ok(None) };
    let url = answer["url"].as_str().unwrap_or_default();
    let target = fetch::target(house, url)
        .ok_or_else(|| io::Error::other("the Document Server's link leads to no file of its own"))?;
    let mut body = fetch::once(server, &target).await?;
    while let Some(piece) = client::piece(&mut body, PATIENCE).await? {
        take(&piece)?;
    }
    Ok(Some(letter::last_segment(crate::rules::callback::path_of(url))))
}

impl Forgotten {
    /// Something went wrong with a save: look soon.
    pub(super) fn suspect(&self) {
        self.woken.notify_one();
    }

    /// A save was confirmed whose Document Server was not answered with that: its copy may be cleared.
    fn delivered(&self, record: &Record) {
        let Some(document) = record.documents.iter().find(|document| document.role == Role::Document) else {
            return;
        };
        let now = millis(SystemTime::now());
        let mut inner = self.inner();
        inner.delivered.retain(|_, (.., at)| now.saturating_sub(*at) < LOOKED_FOR);
        if inner.delivered.len() < MOST_DELIVERED {
            inner.delivered.insert(record.key.clone(), (document.bytes, document.crc, now));
        }
        drop(inner);
        self.suspect();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Looks for forgotten files now and then, for as long as the relay lives.
    pub(super) async fn watch_forgotten(relay: std::sync::Weak<Self>) {
        let mut looks = 0;
        loop {
            let Some(this) = relay.upgrade() else { return };
            this.look_for_forgotten().await;
            let pause = PAUSES.get(looks).copied().unwrap_or(Duration::from_secs(300));
            tokio::select! {
                () = this.forgotten.woken.notified() => {
                    looks = 0;
                    sleep(PAUSES[0]).await;
                }
                () = sleep(pause) => looks += 1,
            }
        }
    }

    /// Where a save stands has changed, and with it what the Document Server may keep.
    pub(super) fn consider_forgotten(self: &Arc<Self>, save: &Save) {
        match save.phase {
            Phase::Parked(_) | Phase::Settled(Settled::Failed) => self.forgotten.suspect(),
            // Told of the delivery itself, the Document Server clears its own copy.
            Phase::Settled(Settled::Delivered) if save.tries <= 1 && save.replied == Some(Reply::Theirs) => {}
            Phase::Settled(Settled::Delivered) if save.fresh.kind == Kind::Final => {
                let (relay, id) = (self.clone(), save.fresh.id);
                self.runtime.spawn_blocking(move || match relay.spool.record(id) {
                    // A document that failed to convert is not all that the Document Server has of it.
                    Ok(record) if record.status == 2 => relay.forgotten.delivered(&record),
                    _ => {}
                });
            }
            _ => {}
        }
    }

    async fn look_for_forgotten(&self) {
        let house = (self.current)();
        let mut found = Found::new();
        for server in house.servers().all() {
            match list(server, &house.relay().secret).await {
                Ok(keys) => {
                    self.forgotten.inner().silent.remove(server.name());
                    for key in keys {
                        if !self.clear(&*house, server, &key).await {
                            found.insert(key, server.name().to_owned());
                        }
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    let mut inner = self.forgotten.inner();
                    // What it had it still has.
                    let kept = inner.found.iter().filter(|(_, of)| *of == server.name());
                    found.extend(kept.map(|(key, of)| (key.clone(), of.clone())));
                    let is_news =
                        inner.silent.insert(server.name().to_owned(), why.clone()) != Some(why.clone());
                    drop(inner);
                    if is_news {
                        self.say(
                            Level::Warn,
                            "a Document Server could not be asked for forgotten files",
                            &why,
                        );
                    }
                }
            }
        }
        self.ops.metrics.saves.forgotten.set(found.len() as f64);
        let before = std::mem::replace(&mut self.forgotten.inner().found, found.clone());
        for (key, server) in found.iter().filter(|(key, _)| !before.contains_key(*key)) {
            self.tell_forgotten(key, server);
        }
    }

    fn tell_forgotten(&self, key: &str, server: &str) {
        let known = self.memory.get(key);
        let known = known.as_ref();
        let facts = [
            ("key", key),
            ("server", server),
            ("integrator", known.map_or("unknown", |known| known.integrator.as_str())),
            ("callback", known.map_or("unknown", |known| known.target.as_str())),
        ];
        let message = "the Document Server holds a file that nobody took: saves list --forgotten";
        self.ops.log.event(Level::Warn, "forgotten", message, &facts);
    }

    /// Clears a forgotten file whose very bytes have been confirmed. Whether it is gone.
    async fn clear(&self, house: &dyn House, server: &Server, key: &str) -> bool {
        let Some((bytes, crc, _)) = self.forgotten.inner().delivered.get(key).copied() else { return false };
        let (mut seen, mut hash) = (0_u64, crc32fast::Hasher::new());
        let read = read(house, server, key, |piece| {
            seen += piece.len() as u64;
            hash.update(piece);
            if seen > bytes { Err(io::Error::from(io::ErrorKind::FileTooLarge)) } else { Ok(()) }
        });
        let same = match read.await {
            Ok(None) => return true,
            Ok(Some(_)) => (seen, hash.finalize()) == (bytes, crc),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => false, // longer than what was confirmed
            Err(error) => {
                self.say(Level::Warn, "a forgotten file could not be compared", &error.to_string());
                return false; // with the next look
            }
        };
        self.forgotten.inner().delivered.remove(key);
        let facts = [("key", key), ("server", server.name())];
        if !same {
            let message =
                "the Document Server holds another version of a document than the one that was delivered";
            self.ops.log.event(Level::Warn, "forgotten", message, &facts);
            return false;
        }
        let order = json!({"c": "deleteForgotten", "key": key});
        match command(server, &house.relay().secret, &order).await {
            Ok(_) => {
                let message = "the Document Server's own copy was cleared: the save is delivered";
                self.ops.log.event(Level::Info, "forgotten", message, &facts);
                true
            }
            Err(error) => {
                self.say(Level::Warn, "a forgotten file could not be cleared", &error.to_string());
                false
            }
        }
    }

    /// What is to be remembered of a callback's document.
    pub(super) fn remember(&self, post: &super::Post) {
        let known = memory::Known {
            key: post.callback.key.clone(),
            integrator: post.integrator.clone(),
            target: post.target.clone(),
            at: millis(SystemTime::now()),
        };
        if let Some(news) = self.memory.heard(known) {
            self.journal.note(Id(0), Entry::Remember(news)); // of no save
        }
    }
}
