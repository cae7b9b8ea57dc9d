//! Claims of each class, from a few flags: the shapes that RapidPM and the Document Server sign.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Opens a document in an editor (--key --url [--callback-url --user --mode --title])
    Open,
    /// An older version of a document (--key --url [--document-version --changes-url])
    History,
    /// A picture or document to put into another (--url [--c])
    Insert,
    /// An order to the Document Server (--c [--key])
    Command,
    /// A conversion (--url --output-type [--key --title])
    Convert,
    /// A script for the document builder (--url)
    Builder,
    /// As the Document Server signs it for an editor that is open (--key [--user])
    Session,
    /// As the Document Server signs it for printing (--key)
    Print,
    /// As the Document Server signs a callback (--key [--status --url --user])
    Callback,
    /// As the Document Server signs when it fetches a document (--url)
    Download,
}

impl Kind {
    /// How long a token of the kind lives when nobody says how long: minutes for what is sent at once, an hour for what waits
    /// in an open page. The Document Server's own session tokens live 30 days; one for trying need not.
    pub const fn life(self) -> Duration {
        match self {
            Self::Command | Self::Convert | Self::Builder | Self::Callback | Self::Download => {
                Duration::from_secs(300)
            }
            Self::Open | Self::History | Self::Insert | Self::Session | Self::Print => {
                Duration::from_secs(3_600)
            }
        }
    }

    /// The name, as in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::History => "history",
            Self::Insert => "insert",
            Self::Command => "command",
            Self::Convert => "convert",
            Self::Builder => "builder",
            Self::Session => "session",
            Self::Print => "print",
            Self::Callback => "callback",
            Self::Download => "download",
        }
    }

    /// The flags it takes; those before the bar it needs.
    const fn takes(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Open => (&["key", "url"], &["callback-url", "user", "mode", "title", "file-type"]),
            Self::History => (&["key", "url"], &["document-version", "changes-url", "file-type"]),
            Self::Insert => (&["url"], &["c", "file-type"]),
            Self::Command => (&["c"], &["key"]),
            Self::Convert => (&["url", "output-type"], &["key", "title", "file-type"]),
            Self::Builder => (&["url"], &[]),
            Self::Session => (&["key"], &["user", "mode"]),
            Self::Print => (&["key"], &[]),
            Self::Callback => (&["key"], &["status", "url", "user", "callback-url"]),
            Self::Download => (&["url"], &[]),
        }
    }
}

/// What claims are made of.
#[derive(Debug, Clone, Default, Args)]
pub struct Pieces {
    /// The document's key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Where the document is
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Where saves of the document go
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<String>,
    /// Who edits it
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// edit or view
    #[arg(long, value_parser = ["edit", "view"])]
    pub mode: Option<String>,
    /// The document's title [default: the key and the file type]
    #[arg(long)]
    pub title: Option<String>,
    /// docx, xlsx, png, … [default: from the URL]
    #[arg(long, value_name = "TYPE")]
    pub file_type: Option<String>,
    /// What a conversion makes
    #[arg(long, value_name = "TYPE")]
    pub output_type: Option<String>,
    /// The order: version, forcesave, info, drop, …; or what is inserted: add, compare, mailmerge, …
    #[arg(short = 'c', long = "c", value_name = "ORDER")]
    pub c: Option<String>,
    /// Which older version [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub document_version: Option<u32>,
    /// Where the changes of an older version are
    #[arg(long, value_name = "URL")]
    pub changes_url: Option<String>,
    /// A callback's status [default: 2 with --url, else 1]
    #[arg(long, value_name = "NUMBER")]
    pub status: Option<u32>,
}

impl Pieces {
    /// The flags that were written.
    pub fn written(&self) -> Vec<&'static str> {
        [
            ("key", self.key.is_some()),
            ("url", self.url.is_some()),
            ("callback-url", self.callback_url.is_some()),
            ("user", self.user.is_some()),
            ("mode", self.mode.is_some()),
            ("title", self.title.is_some()),
            ("file-type", self.file_type.is_some()),
            ("output-type", self.output_type.is_some()),
            ("c", self.c.is_some()),
            ("document-version", self.document_version.is_some()),
            ("changes-url", self.changes_url.is_some()),
            ("status", self.status.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, written)| written.then_some(name))
        .collect()
    }

    /// The claims of a kind, without times.
    pub fn claims(&self, kind: Kind, now: SystemTime) -> Result<Value, String> {
        let (needs, may) = kind.takes();
        let written = self.written();
        if let Some(missing) = needs.iter().find(|name| !written.contains(name)) {
            return Err(format!("--class {} needs --{missing}", kind.name()));
        }
        if let Some(extra) = written.iter().find(|name| !needs.contains(name) && !may.contains(name)) {
            return Err(format!("--{extra} has no place in a token of class {}", kind.name()));
        }
        let key = self.key.as_deref().unwrap_or_default();
        let url = self.url.as_deref().unwrap_or_default();
        Ok(match kind {
            Kind::Open => self.open(key, url)?,
            Kind::History => self.history(key, url)?,
            Kind::Insert => self.insert(url)?,
            Kind::Command => with(json!({ "c": self.c }), [("key", self.key.as_deref())]),
            Kind::Convert => self.convert(url)?,
            Kind::Builder => json!({ "async": false, "url": url }),
            Kind::Session => self.session(key, now),
            Kind::Print => json!({ "document": { "key": key } }),
            Kind::Callback => self.callback(key),
            Kind::Download => json!({ "url": url }),
        })
    }

    fn open(&self, key: &str, url: &str) -> Result<Value, String> {
        let kind = self.file_type(url)?;
        let title = self.title.clone().unwrap_or_else(|| format!("{key}.{kind}"));
        let document = json!({ "fileType": kind, "key": key, "title": title, "url": url });
        let mut editor = with(
            json!({ "mode": self.mode.as_deref().unwrap_or("edit") }),
            [("callbackUrl", self.callback_url.as_deref())],
        );
        if let (Some(user), Value::Object(editor)) = (self.user(), &mut editor) {
            editor.insert("user".to_owned(), user);
        }
        Ok(json!({ "document": document, "editorConfig": editor }))
    }

    fn history(&self, key: &str, url: &str) -> Result<Value, String> {
        let version = self.document_version.unwrap_or(1);
        let claims = json!({ "fileType": self.file_type(url)?, "key": key, "url": url, "version": version });
        Ok(with(claims, [("changesUrl", self.changes_url.as_deref())]))
    }

    fn insert(&self, url: &str) -> Result<Value, String> {
        let kind = self.file_type(url)?;
        Ok(match self.c.as_deref().unwrap_or("add") {
            picture @ ("add" | "change" | "fill" | "watermark" | "slide") => {
                json!({ "c": picture, "images": [{ "fileType": kind, "url": url }] })
            }
            document => json!({ "c": document, "fileType": kind, "url": url }),
        })
    }

    fn convert(&self, url: &str) -> Result<Value, String> {
        let claims = json!({
            "async": false, "filetype": self.file_type(url)?, "outputtype": self.output_type, "url": url,
        });
        Ok(with(claims, [("key", self.key.as_deref()), ("title", self.title.as_deref())]))
    }

    fn session(&self, key: &str, now: SystemTime) -> Value {
        let edit = self.mode.as_deref() != Some("view");
        let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut editor = json!({
            "ds_isCloseCoAuthoring": false,
            "ds_sessionTimeConnect": u64::try_from(millis).unwrap_or(u64::MAX),
        });
        if let (Some(user), Value::Object(editor)) = (self.user(), &mut editor) {
            editor.insert("user".to_owned(), user);
        }
        let document = json!({ "ds_encrypted": false, "key": key, "permissions": { "edit": edit } });
        json!({ "document": document, "editorConfig": editor })
    }

    fn callback(&self, key: &str) -> Value {
        let status = self.status.unwrap_or(if self.url.is_some() { 2 } else { 1 });
        let mut claims = with(json!({ "key": key, "status": status }), [("url", self.url.as_deref())]);
        if let (Some(user), Value::Object(claims)) = (self.user(), &mut claims) {
            claims.insert("users".to_owned(), json!([user["id"]]));
        }
        claims
    }

    /// A name and an id made from it.
    fn user(&self) -> Option<Value> {
        let name = self.user.as_deref()?;
        let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
        let id: String = name.to_lowercase().chars().map(plain).collect();
        Some(json!({ "id": id, "name": name }))
    }

    fn file_type(&self, url: &str) -> Result<String, String> {
        if let Some(written) = &self.file_type {
            return Ok(written.clone());
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        match name.rsplit_once('.') {
            Some((_, kind)) if matches!(kind.len(), 1..=8) && path.matches('/').count() > 2 => {
                Ok(kind.to_ascii_lowercase())
            }
            _ => Err("the URL does not say what the document is; --file-type docx does".to_owned()),
        }
    }
}

/// Adds what is there.
fn with<const N: usize>(mut claims: Value, more: [(&str, Option<&str>); N]) -> Value {
    if let Value::Object(claims) = &mut claims {
        let more = more.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
        claims.extend::<Map<String, Value>>(more.collect());
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::super::guess::tests::{NOW, at};
    use super::*;
    use crate::rules::class::{Class, Reading};

    type Written<'w> = &'w [(&'w str, &'w str)];

    fn pieces(written: Written<'_>) -> Pieces {
        let mut pieces = Pieces::default();
        for (name, text) in written {
            let text = Some((*text).to_owned());
            match *name {
                "key" => pieces.key = text,
                "url" => pieces.url = text,
                "callback-url" => pieces.callback_url = text,
                "user" => pieces.user = text,
                "mode" => pieces.mode = text,
                "output-type" => pieces.output_type = text,
                "file-type" => pieces.file_type = text,
                "c" => pieces.c = text,
                other => panic!("{other}"),
            }
        }
        pieces
    }

    #[test]
    fn every_kind_is_taken_for_its_class() {
        let (key, url) = (("key", "k"), ("url", "https://a.example/x/b.docx"));
        let table: [(Kind, Written<'_>); 16] = [
            (Kind::Open, &[key, url]),
            (
                Kind::Open,
                &[key, url, ("mode", "view"), ("user", "Ann"), ("callback-url", "https://a.example/c")],
            ),
            (Kind::History, &[key, url]),
            (Kind::Insert, &[url]),
            (Kind::Insert, &[url, ("c", "compare")]),
            (Kind::Insert, &[("url", "https://a.example/x"), ("file-type", "png"), ("c", "change")]),
            (Kind::Command, &[("c", "version")]),
            (Kind::Command, &[("c", "forcesave"), key]),
            (Kind::Convert, &[url, ("output-type", "pdf")]),
            (Kind::Convert, &[url, key, ("output-type", "pdf")]),
            (Kind::Builder, &[url]),
            (Kind::Session, &[key, ("user", "Ann")]),
            (Kind::Print, &[key]),
            (Kind::Callback, &[key]),
            (Kind::Callback, &[key, url, ("user", "Ann")]),
            (Kind::Download, &[url]),
        ];
        for (kind, written) in table {
            let mut claims = pieces(written).claims(kind, at(NOW)).unwrap();
            if kind == Kind::Download {
                claims = json!({ "payload": claims });
            }
            assert_eq!(Class::of(&claims, Reading::Merged).name(), kind.name(), "{claims}");
        }
        // Whoever adds a class finds the flags that make it.
        for class in Class::ALL {
            let kind = Kind::value_variants().iter().any(|kind| kind.name() == class.name());
            assert!(kind || matches!(class, Class::Partial | Class::Unknown), "{}", class.name());
        }
    }

    #[test]
    fn what_is_missing_or_out_of_place_is_said() {
        let url = ("url", "https://a.example/b.docx");
        let table: [(Kind, Written<'_>, &str); 5] = [
            (Kind::Open, &[url], "--class open needs --key"),
            (Kind::Command, &[], "--class command needs --c"),
            (Kind::Print, &[("key", "k"), url], "--url has no place in a token of class print"),
            (Kind::Convert, &[("url", "https://a.example/b"), ("output-type", "pdf")], "--file-type"),
            (Kind::Convert, &[("url", "https://a.example"), ("output-type", "pdf")], "--file-type"),
        ];
        for (kind, written, words) in table {
            let fault = pieces(written).claims(kind, at(NOW)).unwrap_err();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
