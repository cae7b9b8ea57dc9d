//! What a token was made for, read from its claims: one secret signs every kind of token and none of them says its kind
//! (protocol.md 0.1, 2.6).
//!
//! The order of the questions is the rule: **what a browser ever holds is recognised first**, so that no claim added to it
//! makes it a backend's token. Whoever has `document`, `editorConfig`, `images` or `status` among the claims is neither
//! command nor conversion nor builder, whatever else is there. A claim counts as being there whatever its value is; it counts
//! towards a class only with the right kind of value.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What a token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// An editor's configuration, made by an integrator: `document.key` and `document.url`. `editorConfig`, `user`,
    /// `callbackUrl` and `exp` are optional (viewers, anonymous links).
    Open,
    /// An older version of a document: `key`, `url` and `version` (or `previous`, `changesUrl`).
    History,
    /// Something to take into a document: `images`, or `url` with `fileType`; `c` may be absent, add, compare, mailmerge, …
    Insert,
    /// For the command service: `c`.
    Command,
    /// For the conversion service: `outputtype` or `outputType`.
    Convert,
    /// For the document builder: `async` with `url` or `key`.
    Builder,
    /// An editor's session, made by the Document Server: `document.key` and `editorConfig.ds_sessionTimeConnect`.
    Session,
    /// A document to print, made by the Document Server: `document.key` and nothing else.
    Print,
    /// The Document Server tells an integrator something: `status` and `key`.
    Callback,
    /// The Document Server asks for a file: `payload.url` and nothing else.
    Download,
    /// Fields of a browser's token or a callback's, but not all that make one. Trusted like a browser's, good for nothing.
    Partial,
    /// None of these.
    Unknown,
}

/// Who comes into possession of a token in the normal course of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Everyone who opens a document.
    Browser,
    /// The integrator's own server alone.
    Backend,
    /// The Document Server, and every host whose URL it is asked to fetch: it signs the requests for images, too
    /// (S: canvasservice.js:709-713), so that a user can have such a token sent wherever they like.
    Server,
    /// Not known.
    Unknown,
}

/// How a route's handler in the Document Server reads claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As they are: `decoded.document.key` (S: fileuploaderservice.js:95-111, canvasservice.js:1432-1662).
    Plain,
    /// `payload` and `query` laid over them (S: DocsCoServer.js:1504-1550).
    Merged,
}

/// `c` of the command service (S: DocsCoServer.js:4254-4477, commondefines.js:1124-1133).
const COMMANDS: [&str; 10] = [
    "info",
    "drop",
    "forcesave",
    "saved",
    "meta",
    "version",
    "license",
    "getForgotten",
    "getForgottenList",
    "deleteForgotten",
];

/// Claims that say when and nothing about what.
const TIMES: [&str; 3] = ["iat", "exp", "nbf"];

/// The claims as the Document Server's services see them: `payload`, then `query`, laid over the rest, where they are objects.
/// Text in their place is spread letter by letter there (protocol.md 2.3), which adds nothing that has a meaning.
pub fn merged(claims: &Value) -> Cow<'_, Value> {
    let layers: Vec<&Map<String, Value>> = ["payload", "query"]
        .into_iter()
        .filter_map(|name| claims.get(name)?.as_object().filter(|layer| !layer.is_empty()))
        .collect();
    let Value::Object(own) = claims else { return Cow::Borrowed(claims) };
    if layers.is_empty() {
        return Cow::Borrowed(claims);
    }
    let mut all = own.clone();
    for layer in layers {
        all.extend(layer.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Cow::Owned(Value::Object(all))
}

impl Reading {
    /// The claims as such a handler sees them.
    pub fn of(self, claims: &Value) -> Cow<'_, Value> {
        match self {
            Self::Plain => Cow::Borrowed(claims),
            Self::Merged => merged(claims),
        }
    }
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::History,
        Self::Insert,
        Self::Command,
        Self::Convert,
        Self::Builder,
        Self::Session,
        Self::Print,
        Self::Callback,
        Self::Download,
        Self::Partial,
        Self::Unknown,
    ];

    /// The name in log and metric.
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
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }

    /// Who has tokens of this class.
    pub const fn holder(self) -> Holder {
        match self {
            Self::Open | Self::History | Self::Insert | Self::Session | Self::Print | Self::Partial => {
                Holder::Browser
            }
            Self::Command | Self::Convert | Self::Builder => Holder::Backend,
            Self::Callback | Self::Download => Holder::Server,
            Self::Unknown => Holder::Unknown,
        }
    }

    /// Judges claims as signed, the way the route's handler reads them.
    pub fn of(claims: &Value, reading: Reading) -> Self {
        if is_download(claims) { Self::Download } else { Self::judge(&reading.of(claims)) }
    }

    fn judge(claims: &Value) -> Self {
        let has = |name| claims.get(name).is_some();
        let text = |name| is_text(claims.get(name));
        if has("document") || has("editorConfig") {
            return Self::of_document(claims);
        }
        if let Some(images) = claims.get("images") {
            return if images.is_array() { Self::Insert } else { Self::Partial };
        }
        if let Some(status) = claims.get("status") {
            return if status.is_number() && text("key") { Self::Callback } else { Self::Partial };
        }
        let older = has("version") || has("previous") || has("changesUrl");
        if older && text("key") && text("url") {
            return Self::History;
        }
        // Before `insert`: a conversion may spell `fileType` as newer services do. No browser's token has an output type.
        if text("outputtype") || text("outputType") {
            return if has("c") { Self::Unknown } else { Self::Convert };
        }
        if text("url") && text("fileType") {
            return Self::Insert;
        }
        match claims.get("c") {
            Some(Value::String(c)) if COMMANDS.contains(&c.as_str()) => Self::Command,
            Some(_) => Self::Unknown,
            // `async` tells a builder's from a bare `url`, which is what the Document Server sends to strangers.
            None if has("async") && (text("url") || text("key")) => Self::Builder,
            None => Self::Unknown,
        }
    }

    /// Of what has `document` or `editorConfig`.
    fn of_document(claims: &Value) -> Self {
        let Some(Value::Object(document)) = claims.get("document") else { return Self::Partial };
        if !is_text(document.get("key")) {
            return Self::Partial;
        }
        if inner(claims, "editorConfig", "ds_sessionTimeConnect").is_some() {
            return Self::Session;
        }
        let only = |name: &String| name == "document" || TIMES.contains(&name.as_str());
        if document.len() == 1 && claims.as_object().is_some_and(|all| all.keys().all(only)) {
            return Self::Print;
        }
        if is_text(document.get("url")) { Self::Open } else { Self::Partial }
    }
}

/// `payload.url` and nothing else but times. As signed: merged, it would look like half of many things.
fn is_download(claims: &Value) -> bool {
    let only = |name: &String| name == "payload" || TIMES.contains(&name.as_str());
    let Some(Value::Object(payload)) = claims.get("payload") else { return false };
    payload.len() == 1
        && is_text(payload.get("url"))
        && claims.as_object().is_some_and(|all| all.keys().all(only))
}

/// The claim `outer.name`.
pub(super) fn inner<'c>(claims: &'c Value, outer: &str, name: &str) -> Option<&'c Value> {
    claims.get(outer)?.get(name)
}

fn is_text(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::specimens;
    use super::*;

    fn class(claims: &Value) -> Class {
        Class::of(claims, Reading::Merged)
    }

    #[test]
    fn every_real_shape_is_what_it_is() {
        for specimen in specimens::all().into_iter().chain(specimens::astray()) {
            let name = format!("{} {}", specimen.class.name(), specimen.name);
            assert_eq!(class(&specimen.claims), specimen.class, "{name}");
            assert_eq!(Class::of(&specimen.claims, Reading::Plain), specimen.class, "{name}");
            // Nested, as tokens in a header are; a download is nested already, and a bare URL becomes one.
            let nested = json!({"payload": specimen.claims, "iat": 1, "exp": 2});
            let expected = match (specimen.class, specimen.name) {
                (Class::Download, _) => Class::Unknown,
                (_, "url_alone") => Class::Download,
                // Nothing but the key: the layer itself is one word too many.
                (Class::Print, _) => Class::Partial,
                (class, _) => class,
            };
            assert_eq!(class(&nested), expected, "{name}");
            assert_ne!(class(&json!({"query": specimen.claims})), Class::Download, "{name}");
        }
    }

    #[test]
    fn every_command_is_one_and_nothing_else_is() {
        for c in COMMANDS {
            assert_eq!(class(&json!({"c": c})), Class::Command);
            assert_eq!(class(&json!({"payload": {"c": c, "key": "k"}})), Class::Command);
            assert_eq!(class(&json!({"c": c, "payload": {}})), Class::Command, "an empty payload is none");
        }
        for c in [
            json!("Info"),
            json!("info "),
            json!(""),
            json!("open"),
            json!("conv"),
            json!(1),
            json!(null),
            json!(["info"]),
        ] {
            assert_eq!(class(&json!({"c": c})), Class::Unknown, "{c}");
        }
    }

    /// What a browser may hold, with whatever a backend's token has laid over it or under it.
    #[test]
    fn a_browsers_token_never_becomes_a_backends() {
        let all = specimens::all();
        let backends = || all.iter().filter(|s| s.class.holder() == Holder::Backend);
        let mut count = 0;
        for browser in all.iter().filter(|s| matches!(s.class.holder(), Holder::Browser | Holder::Server)) {
            for backend in backends() {
                let mixed = |upper: &Value, lower: &Value| {
                    let mut mixed = lower.as_object().unwrap().clone();
                    mixed.extend(upper.as_object().unwrap().clone());
                    Value::Object(mixed)
                };
                let wrapped = |outer: &Value, layer: &str, inner: &Value| {
                    let mut outer = outer.clone();
                    outer[layer] = inner.clone();
                    outer
                };
                let nested = browser.claims.get("payload").is_some();
                for claims in [
                    mixed(&browser.claims, &backend.claims),
                    mixed(&backend.claims, &browser.claims),
                    wrapped(&browser.claims, "payload", &backend.claims),
                    wrapped(&backend.claims, "payload", &browser.claims),
                    wrapped(&browser.claims, "query", &backend.claims),
                    wrapped(&backend.claims, "query", &browser.claims),
                ] {
                    // Two shapes are so thin that an output type makes a conversion of them, or a word more anything: `url`
                    // with `fileType`, and a URL in a payload. Only who has the secret can sign that.
                    let bare = browser.class == Class::Insert && browser.claims.get("images").is_none();
                    if nested || (bare && backend.class == Class::Convert) {
                        continue;
                    }
                    count += 1;
                    assert_ne!(class(&claims).holder(), Holder::Backend, "{claims}");
                }
            }
        }
        assert!(count > 300, "{count}");
    }

    #[test]
    fn what_forbids_a_class_does_so_whatever_its_value_is() {
        for odd in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
            for name in ["document", "editorConfig", "status"] {
                for backend in [
                    json!({"c": "info"}),
                    json!({"outputtype": "pdf", "url": "u"}),
                    json!({"async": true, "url": "u"}),
                ] {
                    let mut claims = backend.clone();
                    claims[name] = odd.clone();
                    assert_eq!(class(&claims), Class::Partial, "{claims}");
                    assert_eq!(class(&json!({"payload": claims})), Class::Partial, "{claims}");
                    // Emptied by a layer above, it is still there.
                    let mut hidden = backend.clone();
                    hidden["document"] = json!({"key": "k", "url": "u"});
                    hidden["payload"] = json!({"document": null, "c": "info"});
                    assert_eq!(class(&hidden), Class::Partial, "{hidden}");
                }
            }
            assert_ne!(class(&json!({"images": odd, "c": "info"})).holder(), Holder::Backend);
        }
    }

    #[test]
    fn layers_lie_as_object_assign_lays_them() {
        let table = [
            (json!({"a": 1}), json!({"a": 1})),
            (
                json!({"a": 1, "payload": {"a": 2, "b": 3}}),
                json!({"a": 2, "b": 3, "payload": {"a": 2, "b": 3}}),
            ),
            (
                json!({"a": 1, "payload": {"a": 2}, "query": {"a": 3}}),
                json!({"a": 3, "payload": {"a": 2}, "query": {"a": 3}}),
            ),
            (
                json!({"payload": {"query": {"a": 3}}}),
                json!({"payload": {"query": {"a": 3}}, "query": {"a": 3}}),
            ),
            (json!({"a": 1, "payload": "text"}), json!({"a": 1, "payload": "text"})),
            (json!({"a": 1, "payload": [{"a": 2}]}), json!({"a": 1, "payload": [{"a": 2}]})),
            (json!({"a": 1, "payload": null, "query": 7}), json!({"a": 1, "payload": null, "query": 7})),
        ];
        for (claims, expected) in table {
            assert_eq!(*merged(&claims), expected, "{claims}");
        }
        assert!(matches!(merged(&json!({"a": 1, "payload": {}})), Cow::Borrowed(_)));
        assert!(matches!(merged(&json!([1])), Cow::Borrowed(_)));
    }

    #[test]
    fn odd_claims_are_nothing() {
        for claims in [
            json!(null),
            json!([]),
            json!("x"),
            json!({}),
            json!({"payload": {"url": ""}}),
            json!({"payload": {"url": 7}}),
        ] {
            assert_eq!(class(&claims), Class::Unknown, "{claims}");
        }
        // A download token with one more word is none.
        assert_eq!(class(&json!({"payload": {"url": "u", "x": 1}})), Class::Unknown);
        assert_eq!(class(&json!({"payload": {"url": "u"}, "x": 1})), Class::Unknown);
        // A print token with one more word is none either.
        assert_eq!(class(&json!({"document": {"key": "k"}, "x": 1})), Class::Partial);
        assert_eq!(class(&json!({"document": {"key": ""}})), Class::Partial);
    }
}
