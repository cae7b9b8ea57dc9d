//! Socket.IO by hand: one editor's session, from its CONNECT to its goodbye.

use super::document::{Change, Document, Participant};
use super::engine::{Outbox, Outgoing};
use super::{State, cache, saving};
use crate::answer::object;
use crate::network::Call;
use crate::server::Life;
use crate::token;
use crate::zip;
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Where a session came in.
pub(super) struct Seat {
    /// The key of the path; which document it is, the token decides.
    pub key: String,
    pub shardkey: String,
    pub base: String,
    pub engine: String,
}

/// Whether a session goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Over,
}

struct Session {
    state: Arc<State>,
    life: Life,
    seat: Seat,
    out: Outbox,
    sid: Option<String>,
    /// The key of the document it has joined.
    joined: Option<String>,
    /// The report of that join, which has to be out before the report of the leave.
    report: Option<JoinHandle<()>>,
    /// Whether the editor said that it closes.
    deliberate: bool,
}

/// Serves one session until its transport ends or it is closed.
pub(super) async fn run(
    state: Arc<State>,
    life: Life,
    seat: Seat,
    mut inbox: mpsc::Receiver<String>,
    out: Outbox,
) {
    let (interval, timeout) = (state.options.ping_interval, state.options.ping_timeout);
    let connect_by = Instant::now() + state.options.connect_timeout;
    let mut session =
        Session { state, life, seat, out, sid: None, joined: None, report: None, deliberate: false };
    let mut ping_at = Instant::now() + interval;
    let mut pong_by: Option<Instant> = None;
    loop {
        let connect =
            if session.sid.is_none() { connect_by } else { Instant::now() + Duration::from_secs(86_400) };
        tokio::select! {
            packet = inbox.recv() => match packet.as_deref() {
                None => break,
                Some("3") => {
                    pong_by = None;
                    ping_at = Instant::now() + interval;
                }
                Some(packet) => if session.packet(packet) == Flow::Over { break },
            },
            () = sleep_until(pong_by.unwrap_or(ping_at)) => {
                if pong_by.is_some() { break }
                session.send("2".into());
                pong_by = Some(Instant::now() + timeout);
            }
            () = sleep_until(connect) => break,
        }
    }
    let _ = session.out.send(Outgoing::Close);
    session.leave();
}

impl Session {
    fn send(&self, packet: String) {
        let _ = self.out.send(Outgoing::Packet(packet));
    }

    fn message(&self, fields: &[(&str, Value)]) {
        self.send(message(fields));
    }

    fn packet(&mut self, packet: &str) -> Flow {
        self.state.note_packet(&self.seat.key, packet);
        match packet.as_bytes() {
            [b'4', b'0', ..] if self.sid.is_none() => self.connect(&packet[2..]),
            [b'4', b'2', ..] if self.sid.is_some() => self.event(&packet[2..]),
            // A goodbye, an event before its time, or nonsense: the real server closes at once.
            _ => Flow::Over,
        }
    }

    fn connect(&mut self, rest: &str) -> Flow {
        if rest.starts_with('/') {
            let space = rest.split(',').next().unwrap_or_default();
            self.send(format!("44{space},{}", object(&[("message", "Invalid namespace".into())])));
            return Flow::On;
        }
        let auth: Value =
            if rest.is_empty() { Value::Null } else { serde_json::from_str(rest).unwrap_or(Value::Null) };
        let chosen = [&auth["session"], &auth["token"]].into_iter().find_map(truthy);
        if let Err(refusal) = token::verify(chosen, &self.state.options.secret, &self.state.options.now) {
            let data =
                format!("{{\"code\":{},\"description\":\"token:{}\"}}", refusal.code(), refusal.words());
            self.send(format!("44{{\"message\":\"not authorized\",\"data\":{data}}}"));
            // The raw connection stays until the time for a CONNECT is over.
            return Flow::On;
        }
        let sid = self.state.sid();
        self.send(format!("40{}", object(&[("sid", sid.as_str().into())])));
        self.sid = Some(sid);
        let version = (&self.state.options.version, self.state.options.build);
        let license = object(&[
            ("type", 3.into()),
            ("light", false.into()),
            ("mode", 0.into()),
            ("rights", 1.into()),
            ("buildVersion", version.0.as_str().into()),
            ("buildNumber", version.1.into()),
            ("protectionSupport", true.into()),
            ("isAnonymousSupport", true.into()),
            ("liveViewerSupport", true.into()),
            ("branding", false.into()),
            ("customization", false.into()),
            ("advancedApi", false.into()),
        ]);
        self.send(format!("42[\"message\",{{\"type\":\"license\",\"license\":{license}}}]"));
        Flow::On
    }

    fn event(&mut self, rest: &str) -> Flow {
        let start = rest.find('[').unwrap_or(rest.len());
        let Ok(event) = serde_json::from_str::<Value>(&rest[start..]) else { return Flow::Over };
        if event[0] != "message" {
            return Flow::On;
        }
        let data = &event[1];
        match data["type"].as_str().unwrap_or_default() {
            "auth" => return self.auth(data),
            "close" => self.deliberate = true,
            "isSaveLock" => self.is_save_lock(data),
            "saveChanges" => self.save_changes(data),
            "getMessages" => self.message(&[("type", "message".into())]),
            "getLock" => self.message(&[("type", "getLock".into()), ("locks", json!({}))]),
            "cursor" => self.cursor(data),
            "forceSaveStart" => self.force_save(),
            _ => {}
        }
        Flow::On
    }

    /// The editor introduces itself; its token is judged once more, and this time its document decides.
    fn auth(&mut self, data: &Value) -> Flow {
        let session = truthy(&data["jwtSession"]);
        let chosen = session.or_else(|| truthy(&data["jwtOpen"]));
        let claims = match token::verify(chosen, &self.state.options.secret, &self.state.options.now) {
            Ok(claims) => claims,
            Err(refusal) => return self.disconnect(refusal.code()),
        };
        let misplaced = ["url", "payload", "key"].iter().any(|name| !claims[name].is_null());
        let complete = claims["document"]["key"].is_string()
            && (session.is_some() || claims["document"]["url"].is_string());
        if misplaced || !complete {
            return self.disconnect(4004);
        }
        let key = claims["document"]["key"].as_str().unwrap_or_default().to_owned();
        let since = claims["editorConfig"]["ds_sessionTimeConnect"].as_u64();
        if since.is_some_and(|since| saving::saved_after(&self.state, &key, since)) {
            let fields = [
                ("type", "error".into()),
                ("description", "Update Version error".into()),
                ("code", 4008.into()),
            ];
            self.message(&fields);
            return Flow::On;
        }
        self.join(&key, &claims, data);
        Flow::On
    }

    fn join(&mut self, key: &str, claims: &Value, data: &Value) {
        let (document, editor) = (&claims["document"], &claims["editorConfig"]);
        let user =
            [&editor["user"]["id"], &data["user"]["id"]].into_iter().find_map(truthy).unwrap_or("anonymous");
        let name =
            [&editor["user"]["name"], &data["user"]["username"]].into_iter().find_map(truthy).unwrap_or(user);
        let view = [&editor["mode"], &data["mode"]].into_iter().find_map(truthy) == Some("view");
        let sid = self.sid.clone().unwrap_or_default();
        let now = self.state.millis();
        let kind =
            truthy(&document["fileType"]).or_else(|| truthy(&data["openCmd"]["format"])).unwrap_or("txt");
        let mut documents = self.state.documents.lock().unwrap();
        let shared =
            documents.entry(key.to_owned()).or_insert_with(|| Document::new(kind, &self.seat.base, now));
        shared.participants.retain(|known| known.sid != sid);
        shared.base.clone_from(&self.seat.base);
        shared.generation += u64::from(!view);
        let before = editor["user"]["index"].as_u64().and_then(|index| u32::try_from(index).ok());
        let participant = Participant {
            sid: sid.clone(),
            user: user.to_owned(),
            name: name.to_owned(),
            index: shared.index(before),
            view,
            out: self.out.clone(),
        };
        let index = participant.index;
        if let Some(url) = truthy(&editor["callbackUrl"]).or_else(|| truthy(&data["documentCallbackUrl"])) {
            shared.callbacks.insert(user.to_owned(), url.to_owned());
        }
        shared.participants.push(participant);
        if !shared.changes.is_empty() {
            let changes: Vec<Value> = shared.changes.iter().map(|change| change.describe(key)).collect();
            self.message(&[("type", "authChanges".into()), ("changes", changes.into())]);
        }
        // A session that is continued keeps its id and its token; one that is new gets a token of its own.
        let before = data["sessionId"].as_str().filter(|_| truthy(&data["jwtSession"]).is_some());
        let session = before
            .is_none()
            .then(|| self.session_token(key, (user, name), index, &document["permissions"], now));
        let opened = (before.is_none() && shared.participants.len() == 1).then_some(shared.opened);
        let mut welcome = self.welcome(shared, before.unwrap_or(&sid), since(editor, now), index);
        if let Some(session) = session {
            welcome.push(("jwt", session.into()));
        }
        if let Some(opened) = opened {
            welcome.push(("openedAt", opened.into()));
            if !view {
                welcome.push(("hasForgotten", shared.was_forgotten.into()));
            }
        }
        self.message(&welcome);
        let news = message(&[
            ("type", "connectState".into()),
            ("participantsTimestamp", now.into()),
            ("participants", shared.describe_everyone()),
            ("waitAuth", false.into()),
        ]);
        shared.push_others(&sid, &news);
        let known = shared.original.is_some();
        drop(documents);
        self.joined = Some(key.to_owned());
        self.report = (!view).then(|| saving::report(&self.state, &self.life, key, 1, user, None));
        if !known || !data["openCmd"].is_null() {
            let url = truthy(&document["url"]).unwrap_or_default().to_owned();
            self.life.spawn(open(
                Arc::clone(&self.state),
                key.to_owned(),
                self.seat.shardkey.clone(),
                self.seat.base.clone(),
                url,
                self.out.clone(),
            ));
        }
    }

    fn session_token(
        &self,
        key: &str,
        user: (&str, &str),
        index: u32,
        permissions: &Value,
        now: u64,
    ) -> String {
        let claims = json!({
            "document": {"key": key, "permissions": permissions, "ds_encrypted": false},
            "editorConfig": {
                "user": {"id": user.0, "name": user.1, "index": index},
                "ds_isCloseCoAuthoring": false,
                "ds_sessionTimeConnect": now,
            },
        });
        let claims = token::expiring(claims, &self.state.options.now, 30 * 86_400);
        token::sign(&self.state.options.secret, &claims)
    }

    /// The fields that every successful `auth` has.
    fn welcome(
        &self,
        document: &Document,
        session: &str,
        since: u64,
        index: u32,
    ) -> Vec<(&'static str, Value)> {
        let options = &self.state.options;
        let settings = json!({
            "spellcheckerUrl": "", "reconnection": {"attempts": 50, "delay": 2000}, "binaryChanges": false,
            "websocketMaxPayloadSize": 1_572_864, "maxChangesSize": 157_286_400, "limits_image_size": 26_214_400,
            "limits_image_types_upload": "jpg;jpeg;jpe;png;gif;bmp;svg;tiff;tif",
        });
        vec![
            ("type", "auth".into()),
            ("result", 1.into()),
            ("sessionId", session.into()),
            ("sessionTimeConnect", since.into()),
            ("participants", document.describe_everyone()),
            ("locks", json!({})),
            ("indexUser", index.into()),
            ("g_cAscSpellCheckUrl", "".into()),
            ("buildVersion", options.version.as_str().into()),
            ("buildNumber", options.build.into()),
            ("licenseType", 3.into()),
            ("settings", settings),
        ]
    }

    fn disconnect(&self, code: u32) -> Flow {
        self.message(&[("type", "disconnectReason".into()), ("code", code.into())]);
        self.send("41".into());
        Flow::Over
    }

    /// Runs `act` on the joined document with this session's place in it, editors only.
    fn with_document(&self, act: impl FnOnce(&mut Document, usize)) {
        let Some(key) = &self.joined else { return };
        let mut documents = self.state.documents.lock().unwrap();
        let Some(document) = documents.get_mut(key) else { return };
        let place = document.participants.iter().position(|known| Some(&known.sid) == self.sid.as_ref());
        let place = place.filter(|place| !document.participants[*place].view);
        if let Some(place) = place {
            act(document, place);
        }
    }

    /// An editor may send changes when nobody else is about to and it has seen all that is there.
    fn is_save_lock(&self, data: &Value) {
        self.with_document(|document, place| {
            let sid = &document.participants[place].sid;
            let theirs = document.save_lock.as_ref().is_some_and(|holder| holder != sid);
            let behind =
                data["syncChangesIndex"].as_u64().is_some_and(|index| index < document.changes.len() as u64);
            if !theirs && !behind {
                document.save_lock = Some(sid.clone());
            }
            self.message(&[("type", "saveLock".into()), ("saveLock", (theirs || behind).into())]);
        });
    }

    fn save_changes(&self, data: &Value) {
        let parsed = data["changes"].as_str().and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
        let list = parsed.or_else(|| data["changes"].as_array().cloned()).unwrap_or_default();
        let now = self.state.millis();
        let key = self.joined.clone().unwrap_or_default();
        self.with_document(|document, place| {
            let before = document.changes.len();
            let who = &document.participants[place];
            let (id, user, name, sid) = (who.id(), who.user.clone(), who.name.clone(), who.sid.clone());
            for change in &list {
                let text = change.as_str().map_or_else(|| change.to_string(), str::to_owned);
                document.apply(Change {
                    text,
                    millis: now,
                    id: id.clone(),
                    user: user.clone(),
                    name: name.clone(),
                });
            }
            let total = document.changes.len();
            let news: Vec<Value> =
                document.changes[before..].iter().map(|change| change.describe(&key)).collect();
            let end = data["endSaveChanges"].as_bool().unwrap_or(true);
            let packet = message(&[
                ("type", "saveChanges".into()),
                ("changes", news.into()),
                ("changesIndex", total.into()),
                ("syncChangesIndex", total.into()),
                ("endSaveChanges", end.into()),
                ("locks", json!([])),
                ("excelAdditionalInfo", data["excelAdditionalInfo"].clone()),
            ]);
            document.push_others(&sid, &packet);
            if end {
                document.save_lock = None;
                let seconds = now / 1000 * 1000;
                self.message(&[
                    ("type", "unSaveLock".into()),
                    ("index", before.into()),
                    ("time", seconds.into()),
                    ("syncChangesIndex", total.into()),
                ]);
            } else {
                self.message(&[
                    ("type", "savePartChanges".into()),
                    ("changesIndex", total.into()),
                    ("syncChangesIndex", total.into()),
                ]);
            }
        });
    }

    fn cursor(&self, data: &Value) {
        let now = self.state.millis();
        self.with_document(|document, place| {
            let who = &document.participants[place];
            let news = json!([{"cursor": data["cursor"], "time": now, "user": who.id(), "useridoriginal": who.user}]);
            document.push_others(&who.sid, &message(&[("type", "cursor".into()), ("messages", news)]));
        });
    }

    /// The save button.
    fn force_save(&self) {
        let Some(key) = self.joined.clone() else { return };
        let time = self.state.millis() / 1000 * 1000;
        let user = self.user(&key);
        let pending = saving::has_unsaved(&self.state, &key);
        let code = if pending { 0 } else { 4 };
        let news = json!({"code": code, "time": time, "inProgress": false});
        self.message(&[("type", "forceSaveStart".into()), ("messages", news)]);
        if pending {
            let (state, out) = (Arc::clone(&self.state), self.out.clone());
            self.life.spawn(async move {
                let success = saving::force(&state, &key, 1, &user, None).await;
                let news = json!({"type": 1, "time": time, "success": success});
                let _ =
                    out.send(Outgoing::Packet(message(&[("type", "forceSave".into()), ("messages", news)])));
            });
        }
    }

    fn user(&self, key: &str) -> String {
        let documents = self.state.documents.lock().unwrap();
        let known = documents.get(key).and_then(|document| {
            document.participants.iter().find(|known| Some(&known.sid) == self.sid.as_ref())
        });
        known.map(|known| known.user.clone()).unwrap_or_default()
    }

    fn leave(&mut self) {
        let (Some(key), Some(sid)) = (self.joined.take(), self.sid.take()) else { return };
        let mut documents = self.state.documents.lock().unwrap();
        let Some(document) = documents.get_mut(&key) else { return };
        let Some(place) = document.participants.iter().position(|known| known.sid == sid) else { return };
        let gone = document.participants.remove(place);
        document.generation += u64::from(!gone.view);
        if document.save_lock.as_ref() == Some(&sid) {
            document.save_lock = None;
        }
        let news = message(&[
            ("type", "connectState".into()),
            ("participantsTimestamp", self.state.millis().into()),
            ("participants", document.describe_everyone()),
            ("waitAuth", false.into()),
        ]);
        document.push(&news);
        let generation = document.generation;
        drop(documents);
        if !gone.view {
            let report = self.report.take();
            let leave =
                saving::Leave { key, user: gone.user, generation, deliberate: self.deliberate, report };
            saving::left(&self.state, &self.life, leave);
        }
    }
}

/// `42["message",{…}]` with the fields in this order; `null` fields are left out.
pub(super) fn message(fields: &[(&str, Value)]) -> String {
    format!("42[\"message\",{}]", object(fields))
}

/// A string that JavaScript takes for true.
fn truthy(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn since(editor: &Value, now: u64) -> u64 {
    editor["ds_sessionTimeConnect"].as_u64().unwrap_or(now)
}

/// Fetches the document if nobody has yet, and tells the editor where it finds it.
async fn open(state: Arc<State>, key: String, shardkey: String, base: String, url: String, out: Outbox) {
    let loading = state.documents.lock().unwrap().get(&key).map(|document| Arc::clone(&document.loading));
    let Some(loading) = loading else { return };
    let turn = loading.lock().await;
    let known = state.documents.lock().unwrap().get(&key).and_then(|document| document.original.clone());
    let opened = state.documents.lock().unwrap().get(&key).map_or(0, |document| document.opened);
    let original = match known {
        Some(original) => Some(String::from_utf16_lossy(&original)),
        None => load(&state, &key, &url).await,
    };
    let data = match original {
        Some(text) => {
            let stored = cache::put(&state, &format!("data/{key}/Editor.bin"), text.into_bytes());
            let shardkey = if shardkey.is_empty() { &key } else { &shardkey };
            let link = format!("{base}{}", cache::link(&state, &stored, "Editor.bin", shardkey, 30 * 86_400));
            json!({"type": "open", "status": "ok", "data": {"Editor.bin": link}, "openedAt": opened})
        }
        None => json!({"type": "open", "status": "err", "data": -4}),
    };
    drop(turn);
    let data = object(&["type", "status", "data", "openedAt"].map(|name| (name, data[name].clone())));
    let _ =
        out.send(Outgoing::Packet(format!("42[\"message\",{{\"type\":\"documentOpen\",\"data\":{data}}}]")));
}

/// The text of a document: a forgotten copy first, else from the integrator.
async fn load(state: &Arc<State>, key: &str, url: &str) -> Option<String> {
    let kept = state.forgotten.borrow().get(key).cloned();
    let was_forgotten = kept.is_some();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => download(state, url).await?,
    };
    let text = zip::text_of(&bytes);
    let mut documents = state.documents.lock().unwrap();
    let document = documents.get_mut(key)?;
    document.load(&text);
    document.was_forgotten = was_forgotten;
    Some(text)
}

/// Fetches from the integrator as the converter does: three tries, the token in the header alone.
pub(super) async fn download(state: &Arc<State>, url: &str) -> Option<Vec<u8>> {
    for attempt in 0..3 {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let token = token::sign(&state.options.secret, &token::download(url, &state.options.now));
        let call = Call::new(Method::GET, url, Duration::from_secs(120));
        let call = call.header(&state.options.header, format!("{}{token}", state.options.prefix));
        match state.options.network.send(call).await {
            Ok(reply) if matches!(reply.status, 200 | 206) => return Some(reply.body.to_vec()),
            Err(failure) if failure.0 == "timeout" => return None,
            _ => {}
        }
    }
    None
}
