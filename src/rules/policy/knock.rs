//! An editor's socket at the door. Its token comes after the upgrade, in the first packet (protocol.md 3): until then it has a
//! [`Knock`], which buys a greeting and nothing else. A knock and a packet that holds make a [`Pass`], and only that makes permits.

use hyper::Method;
use serde_json::Value;

use super::{Caller, Permit, Proof, Refusal, check};
use crate::rules::class::Class;
use crate::rules::looked::{Looked, Place};
use crate::rules::objection::Objection;
use crate::rules::packet::Connect;
use crate::rules::purpose::{Purpose, Rules, Shown};
use crate::rules::route::{Matched, Route};
use crate::rules::table::{Access, Carrier};
use crate::rules::token::{Settings, TokenFault};

/// What the packet's token may be: history tokens may also be the CONNECT token (design.md 3.3).
const PURPOSE: Purpose = Purpose::browser(&[Class::Open, Class::History, Class::Session]);

/// A request for an editor's socket, before anybody has seen its token.
#[derive(Debug)]
#[must_use = "a knock that is not answered opens nothing"]
pub struct Knock {
    route: Route,
    key: Box<str>,
}

/// Lets a request knock at the editor's socket.
///
/// # Errors
/// When the route is no socket's, or not served.
pub fn knock(matched: &Matched<'_>, method: &Method) -> Result<Knock, Refusal> {
    check(matched, method)?;
    match (matched.access, matched.key) {
        (Access::Socket, Some(key)) => Ok(Knock { route: matched.route(), key: key.into() }),
        _ => Err(Refusal::WrongDoor),
    }
}

/// A first packet that holds.
#[derive(Debug)]
#[must_use = "a pass that is not used opens nothing"]
pub struct Pass {
    route: Route,
    key: Box<str>,
    /// Who edits what, as far as the token says.
    pub editor: Editor,
    /// What `mode = "enforce"` would have refused.
    pub objections: Vec<Objection>,
    /// Which secret signed the token: 0 is the present one.
    pub secret_index: usize,
    /// `document.key` of `data.jwtOpen`, which the Document Server reads the document from.
    opens: Option<Box<str>>,
    /// Whether it may change the document: everybody but those who are said to look at it only.
    pub edits: bool,
    /// Whether it is an editor that comes back to what it has open.
    pub returns: bool,
}

/// What a token says of whoever opens a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editor {
    /// `document.key`.
    pub document: Option<Box<str>>,
    /// `editorConfig.user.id`.
    pub user: Option<Box<str>>,
    /// `editorConfig.mode`.
    pub mode: EditorMode,
}

/// `editorConfig.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditorMode {
    /// `edit`.
    Edit,
    /// `view`.
    View,
    /// Absent, as in the Document Server's own session tokens.
    Unsaid,
}

/// Longest user id that is kept; the Document Server's own table holds 255 characters (schema/mysql/createdb.sql).
const LONGEST_USER: usize = 255;

impl Editor {
    fn of(claims: &Value) -> Self {
        let text = |place| claims.pointer(place).and_then(Value::as_str).filter(|text| !text.is_empty());
        let user = match claims.pointer("/editorConfig/user/id") {
            Some(Value::Number(id)) => Some(id.to_string().into()),
            _ => text("/editorConfig/user/id").filter(|id| id.len() <= LONGEST_USER).map(Box::from),
        };
        Self {
            document: text("/document/key").map(Box::from),
            user,
            mode: match text("/editorConfig/mode") {
                Some("edit") => EditorMode::Edit,
                Some("view") => EditorMode::View,
                _ => EditorMode::Unsaid,
            },
        }
    }
}

impl Knock {
    /// The document key in the path.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Judges the first packet: its deciding token, and `data.jwtOpen` where that counts as well.
    ///
    /// # Errors
    /// When a token does not hold, or is made for something else.
    pub fn admit(
        &self,
        packet: &Connect<'_>,
        settings: &Settings,
        rules: &Rules,
        caller: Caller,
    ) -> Result<Pass, Refusal> {
        let refused = |fault| Refusal::Token { fault, place: Place::In(Carrier::Packet) };
        let missing = |fault| match fault {
            TokenFault::Missing => Refusal::no_token(Looked::of_route(&[Carrier::Packet])),
            fault => refused(fault),
        };
        let token = packet.chosen().map_err(missing)?;
        let also = packet.also().map_err(refused)?;
        let verified = settings.verify(token, caller.now).map_err(refused)?;
        let judge = |claims| {
            // Whose document it is, `sockets.key_binding` decides: the path's key is compared by the gate.
            let shown = Shown { claims, carrier: Carrier::Packet, key: None, client: caller.address };
            PURPOSE.weigh(&shown, rules)
        };
        let edits = |class, mode| match mode {
            EditorMode::View => false,
            EditorMode::Edit => true,
            EditorMode::Unsaid => class != Class::History && !packet.only_looks(),
        };
        let (class, mut objections) = judge(&verified.claims)?;
        let editor = Editor::of(&verified.claims);
        let mut may_edit = edits(class, editor.mode);
        let mut opens = None;
        if let Some(also) = also {
            let also = settings.verify(also, caller.now).map_err(refused)?;
            let (class, more) = judge(&also.claims)?;
            objections.extend(more);
            let opened = Editor::of(&also.claims);
            may_edit |= edits(class, opened.mode);
            opens = opened.document;
        }
        let secret_index = verified.secret_index;
        let (key, returns) = (self.key.clone(), packet.returns());
        Ok(Pass { route: self.route, key, editor, objections, secret_index, opens, edits: may_edit, returns })
    }
}

#[cfg(test)]
impl Knock {
    /// For tests of flows, which end at the door.
    pub fn for_flows(self) -> Permit {
        Permit { route: self.route, key: Some(self.key), proof: Proof::Packet }
    }
}

impl Pass {
    /// The document that the socket is for, as the Document Server reads it: `data.jwtOpen`'s, else the token's, else (a history
    /// token names none) the path's. Sessions, caps and the locks of saves go by it; the path's key is a client's word.
    pub fn document(&self) -> &str {
        self.opens.as_deref().or(self.editor.document.as_deref()).unwrap_or(&self.key)
    }

    /// Leave to pass for a request of the same socket.
    ///
    /// # Errors
    /// When the request is for another document.
    pub fn permit(&self, knock: &Knock) -> Result<Permit, Refusal> {
        if self.key != knock.key || self.route != knock.route {
            return Err(Refusal::WrongDoor);
        }
        Ok(Permit { route: self.route, key: Some(self.key.clone()), proof: Proof::Packet })
    }

    /// Which of the three names of the document differs from the path's: the token's, or `shardkey`. `None`: all say the same, or
    /// nothing. A history token has no `document.key`, and is for another version's key rightly.
    pub fn other_key(&self, shardkey: Option<&str>) -> Option<&'static str> {
        let differs = |key: Option<&str>| key.is_some_and(|key| key != &*self.key);
        if differs(self.editor.document.as_deref()) {
            return Some("document.key");
        }
        if differs(self.opens.as_deref()) {
            return Some("document.key of data.jwtOpen");
        }
        differs(shardkey).then_some("shardkey")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use serde_json::json;

    use super::*;
    use crate::rules::path::canonical;
    use crate::rules::policy::Mode;
    use crate::rules::route::{Switches, find};
    use crate::rules::token::tests::{NOW, SECRET, at, settings, sign};

    fn at_door(path: &str) -> Result<Knock, Refusal> {
        let path = canonical(path).unwrap();
        knock(&find(&path, Switches::default()), &Method::GET)
    }

    fn ask(packet: &str, mode: Mode) -> Result<Pass, Refusal> {
        let caller = Caller { address: IpAddr::V4(Ipv4Addr::LOCALHOST), now: at(NOW) };
        let rules = Rules { mode, ..Rules::default() };
        let knock = at_door("/9.0.4-a/doc/k1/c/").unwrap();
        knock.admit(&Connect::parse(packet).unwrap(), &settings(&[SECRET]), &rules, caller)
    }

    fn open(key: &str) -> Value {
        json!({"document": {"key": key, "url": "http://x/y"}, "editorConfig": {"mode": "edit", "user": {"id": "u1"}}})
    }

    #[test]
    fn only_sockets_are_knocked_at() {
        assert!(at_door("/doc/k1/c").is_ok());
        for path in ["/web-apps/x.js", "/command", "/", "/upload/k", "/nothing", "/info/info.json"] {
            assert!(at_door(path).is_err(), "{path}");
        }
    }

    #[test]
    fn tokens_of_the_right_class_pass_and_say_who_edits() {
        let session = json!({"document": {"key": "k1"}, "editorConfig": {"ds_sessionTimeConnect": 1, "user": {"id": "u2"}}});
        let history = json!({"key": "older", "version": 3, "url": "http://x/y"});
        let expired = sign(&json!({"document": {"key": "k1", "url": "http://x/y"}, "exp": NOW - 120}));
        let fresh = sign(&open("k1"));
        let pass = ask(&format!(r#"40{{"token":"{fresh}","data":{{"jwtOpen":"{fresh}"}}}}"#), Mode::Enforce)
            .unwrap();
        assert_eq!((pass.editor.user.as_deref(), pass.editor.mode), (Some("u1"), EditorMode::Edit));
        // The reconnect of captures/browser/resil-quick.txt, long after the open token has expired.
        let again = format!(r#"40{{"session":"{}","data":{{"jwtOpen":"{expired}"}}}}"#, sign(&session));
        let pass = ask(&again, Mode::Enforce).unwrap();
        assert_eq!((pass.editor.user.as_deref(), pass.editor.mode), (Some("u2"), EditorMode::Unsaid));
        let pass = ask(&format!(r#"40{{"token":"{}"}}"#, sign(&history)), Mode::Enforce).unwrap();
        assert_eq!((pass.editor.user.as_deref(), pass.other_key(Some("k1"))), (None, None));
        let refused = |packet: &str| ask(packet, Mode::Enforce).unwrap_err().reason();
        assert_eq!(refused("40"), "token_missing");
        assert_eq!(refused(&format!(r#"40{{"token":"{expired}"}}"#)), "token_expired");
        assert_eq!(refused(&format!(r#"40{{"token":"{fresh}","session":"x"}}"#)), "token_malformed");
        assert_eq!(
            refused(&format!(r#"40{{"token":"{fresh}","data":{{"jwtOpen":"{expired}"}}}}"#)),
            "token_expired"
        );
        assert_eq!(
            refused(&format!(r#"40{{"token":"{fresh}","data":{{"jwtOpen":"x"}}}}"#)),
            "token_malformed"
        );
    }

    #[test]
    fn tokens_of_other_classes_do_not() {
        let others = [
            json!({"c": "version"}),
            json!({"outputtype": "pdf", "url": "http://x/y", "filetype": "docx", "key": "k"}),
            json!({"document": {"key": "k1"}}),
            json!({"status": 2, "key": "k1"}),
            json!({"payload": {"url": "http://x/y"}}),
            json!({"images": [], "c": "add"}),
            json!({}),
        ];
        for claims in others {
            let packet = format!(r#"40{{"token":"{}"}}"#, sign(&claims));
            assert_eq!(ask(&packet, Mode::Enforce).unwrap_err().reason(), "class_not_allowed", "{claims}");
            assert!(!ask(&packet, Mode::Observe).unwrap().objections.is_empty(), "{claims}");
            let both =
                format!(r#"40{{"token":"{}","data":{{"jwtOpen":"{}"}}}}"#, sign(&open("k1")), sign(&claims));
            assert_eq!(ask(&both, Mode::Enforce).unwrap_err().reason(), "class_not_allowed", "{claims}");
        }
    }

    /// Who waits while a save of the document is under way: whoever could lose changes by coming in.
    #[test]
    fn who_edits_and_who_only_looks() {
        let mode = |mode: &str| {
            sign(&json!({"document": {"key": "k1", "url": "http://x/y"}, "editorConfig": {"mode": mode}}))
        };
        let unsaid =
            sign(&json!({"document": {"key": "k1", "url": "http://x/y"}, "editorConfig": {"lang": "en"}}));
        let session = sign(
            &json!({"document": {"key": "k1"}, "editorConfig": {"ds_sessionTimeConnect": 1, "user": {"id": "u2"}}}),
        );
        let history = sign(&json!({"key": "older", "version": 3, "url": "http://x/y"}));
        let (edit, view) = (mode("edit"), mode("view"));
        let table = [
            (format!(r#"{{"token":"{edit}"}}"#), true, false),
            (format!(r#"{{"token":"{edit}","data":{{"mode":"view"}}}}"#), true, false),
            (format!(r#"{{"token":"{view}"}}"#), false, false),
            (format!(r#"{{"token":"{view}","data":{{"mode":"edit","jwtOpen":"{view}"}}}}"#), false, false),
            (format!(r#"{{"token":"{view}","data":{{"jwtOpen":"{edit}"}}}}"#), true, false),
            (format!(r#"{{"token":"{unsaid}"}}"#), true, false),
            (format!(r#"{{"token":"{unsaid}","data":{{"mode":"view"}}}}"#), false, false),
            (format!(r#"{{"token":"{history}"}}"#), false, false),
            (format!(r#"{{"session":"{session}"}}"#), true, true),
            (format!(r#"{{"session":"{session}","data":{{"mode":"edit","jwtOpen":"{view}"}}}}"#), true, true),
            (format!(r#"{{"session":"{session}","data":{{"mode":"view"}}}}"#), false, true),
        ];
        for (auth, edits, returns) in table {
            let pass = ask(&format!("40{auth}"), Mode::Enforce).unwrap();
            assert_eq!((pass.edits, pass.returns), (edits, returns), "{auth}");
        }
    }

    #[test]
    fn a_pass_is_for_its_own_document() {
        let pass = ask(&format!(r#"40{{"token":"{}"}}"#, sign(&open("k1"))), Mode::Enforce).unwrap();
        assert!(pass.permit(&at_door("/doc/k1/c").unwrap()).is_ok());
        assert_eq!(pass.permit(&at_door("/doc/k2/c").unwrap()).unwrap_err().reason(), "wrong_door");
        assert_eq!(pass.other_key(None), None);
        assert_eq!(pass.other_key(Some("k1")), None);
        assert_eq!(pass.other_key(Some("k2")), Some("shardkey"));
        let other = ask(&format!(r#"40{{"token":"{}"}}"#, sign(&open("k2"))), Mode::Enforce).unwrap();
        assert_eq!(other.other_key(Some("k1")), Some("document.key"));
        assert_eq!((pass.document(), other.document()), ("k1", "k2"));
        let (one, two) = (sign(&open("k1")), sign(&open("k3")));
        let both =
            ask(&format!(r#"40{{"token":"{one}","data":{{"jwtOpen":"{two}"}}}}"#), Mode::Enforce).unwrap();
        assert_eq!(both.document(), "k3");
        let history = sign(&json!({"key": "older", "version": 3, "url": "http://x/y"}));
        assert_eq!(ask(&format!(r#"40{{"token":"{history}"}}"#), Mode::Enforce).unwrap().document(), "k1");
    }
}
