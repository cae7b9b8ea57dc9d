//! One shared document: its text, its changes in order, and who is in it.

use super::engine::{Outbox, Outgoing};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Someone in a document.
pub(crate) struct Participant {
    pub sid: String,
    pub user: String,
    pub name: String,
    pub index: u32,
    pub view: bool,
    pub out: Outbox,
}

impl Participant {
    /// The user's id with the index behind it, by which editors tell two tabs of one user apart.
    pub fn id(&self) -> String {
        format!("{}{}", self.user, self.index)
    }

    pub fn describe(&self) -> Value {
        json!({
            "id": self.id(), "idOriginal": self.user, "username": self.name, "indexUser": self.index, "view": self.view,
            "connectionId": self.sid, "isCloseCoAuthoring": false, "isLiveViewer": false, "encrypted": false,
        })
    }
}

/// One change as an editor sent it.
#[derive(Clone)]
pub(crate) struct Change {
    pub text: String,
    pub millis: u64,
    pub id: String,
    pub user: String,
    pub name: String,
}

impl Change {
    pub fn describe(&self, key: &str) -> Value {
        let seconds = self.millis / 1000 * 1000;
        let change = Value::from(self.text.as_str()).to_string();
        json!({"docid": key, "change": change, "time": seconds, "user": self.id, "useridoriginal": self.user})
    }
}

/// A document that somebody opened and that has not been given back yet.
pub(crate) struct Document {
    pub kind: String,
    pub original: Option<Vec<u16>>,
    pub changes: Vec<Change>,
    pub participants: Vec<Participant>,
    pub callbacks: HashMap<String, String>,
    pub base: String,
    pub opened: u64,
    pub saved: Option<u64>,
    /// How many changes the last force-save had.
    pub forced: usize,
    pub was_forgotten: bool,
    pub save_lock: Option<String>,
    /// Counts comings and goings of those who edit, so that a pending save knows that somebody has come back.
    pub generation: u64,
    pub loading: Arc<tokio::sync::Mutex<()>>,
    next_index: u32,
    text: Vec<u16>,
}

impl Document {
    pub fn new(kind: &str, base: &str, opened: u64) -> Self {
        Document {
            kind: kind.to_owned(),
            original: None,
            changes: Vec::new(),
            participants: Vec::new(),
            callbacks: HashMap::new(),
            base: base.to_owned(),
            opened,
            saved: None,
            forced: 0,
            was_forgotten: false,
            save_lock: None,
            generation: 0,
            loading: Arc::default(),
            next_index: 0,
            text: Vec::new(),
        }
    }

    /// The index for someone new, or the one that a session had before.
    pub fn index(&mut self, wanted: Option<u32>) -> u32 {
        let index = wanted.unwrap_or(self.next_index + 1);
        self.next_index = self.next_index.max(index);
        index
    }

    pub fn load(&mut self, text: &str) {
        self.text = text.encode_utf16().collect();
        self.original = Some(self.text.clone());
    }

    pub fn text(&self) -> String {
        String::from_utf16_lossy(&self.text)
    }

    /// Takes a change; those of the small editor are `{"p":position,"d":deleted,"i":"inserted"}` in UTF-16 units.
    pub fn apply(&mut self, change: Change) {
        if let Ok(edit) = serde_json::from_str::<Value>(&change.text) {
            let number = |name: &str| usize::try_from(edit[name].as_u64().unwrap_or(0)).unwrap_or(0);
            let start = number("p").min(self.text.len());
            let end = start.saturating_add(number("d")).min(self.text.len());
            let inserted = edit["i"].as_str().unwrap_or_default().encode_utf16();
            self.text.splice(start..end, inserted);
        }
        self.changes.push(change);
    }

    /// After a save that was taken: what was changed is gone, also for someone who came meanwhile, as in the real server.
    pub fn given_back(&mut self, now: u64) {
        self.changes.clear();
        self.forced = 0;
        self.saved = Some(now);
        self.text = self.original.clone().unwrap_or_default();
    }

    pub fn editors(&self) -> Vec<&Participant> {
        self.participants.iter().filter(|participant| !participant.view).collect()
    }

    /// User ids of the editors, each once.
    pub fn editor_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for editor in self.editors() {
            if !ids.contains(&editor.user) {
                ids.push(editor.user.clone());
            }
        }
        ids
    }

    pub fn user_ids(&self) -> Vec<String> {
        self.participants.iter().map(|participant| participant.user.clone()).collect()
    }

    pub fn describe_everyone(&self) -> Value {
        self.participants.iter().map(Participant::describe).collect()
    }

    pub fn push(&self, packet: &str) -> usize {
        for participant in &self.participants {
            let _ = participant.out.send(Outgoing::Packet(packet.to_owned()));
        }
        self.participants.len()
    }

    /// Sends a packet to everyone but one.
    pub fn push_others(&self, sid: &str, packet: &str) {
        for participant in self.participants.iter().filter(|participant| participant.sid != sid) {
            let _ = participant.out.send(Outgoing::Packet(packet.to_owned()));
        }
    }

    /// Sends a packet to all sockets of some users.
    pub fn drop_users(&self, users: &[&str], packet: &str) {
        for participant in
            self.participants.iter().filter(|participant| users.contains(&participant.user.as_str()))
        {
            let _ = participant.out.send(Outgoing::Packet(packet.to_owned()));
        }
    }

    pub fn close_everyone(&self) -> usize {
        for participant in &self.participants {
            let _ = participant.out.send(Outgoing::Close);
        }
        self.participants.len()
    }

    /// After a kill: nobody is here any more.
    pub fn forget_everyone(&mut self) {
        self.participants.clear();
        self.save_lock = None;
        self.generation += 1;
        self.loading = Arc::default();
    }
}
