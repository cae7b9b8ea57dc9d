//! Which route a canonical path belongs to; what is in no row of the table belongs to nobody.

use super::path::{Canonical, is_document_key};
use super::table::{Access, Closed, Rule, Switch, TABLE};

/// A route of Document Server 9.0 or of the gateway itself: one for each row of the table, refused ones included, so that
/// logs and metrics can name what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/web-apps/apps/api/documents/api.js`, the one file that is never cached.
    ApiJs,
    /// `/web-apps/*`.
    WebApps,
    /// `/sdkjs/*`.
    Sdkjs,
    /// `/sdkjs-plugins/*`: frames inside the editor's page.
    SdkjsPlugins,
    /// `/fonts/*`.
    Fonts,
    /// `/dictionaries/*`.
    Dictionaries,
    /// `/document_editor_service_worker.js`.
    ServiceWorker,
    /// `/plugins.json`.
    PluginsJson,
    /// `/themes.json`.
    ThemesJson,
    /// `/cache/files/**`: documents behind signed links.
    CacheFiles,
    /// `/doc/{key}/c`: Socket.IO.
    Socket,
    /// `/upload/{key}`: an image for a document.
    Upload,
    /// `/downloadas/{key}`.
    DownloadAs,
    /// `/savefile/{key}`: an encrypted document; answers with the callback's answer.
    SaveFile,
    /// `/printfile/{key}/{title}`.
    PrintFile,
    /// `/downloadfile/{key}`.
    DownloadFile,
    /// `/coauthoring/CommandService.ashx`.
    CommandService,
    /// `/command`.
    Command,
    /// `/ConvertService.ashx`.
    ConvertService,
    /// `/converter`.
    Converter,
    /// `/docbuilder`.
    DocBuilder,
    /// `/ai-proxy`.
    AiProxy,
    /// `/hosting/*`: WOPI.
    Hosting,
    /// `/lool/convert-to/*` and `/cool/convert-to/*`.
    ConvertTo,
    /// `/info/*`: hands out the whole configuration, secrets included.
    Info,
    /// `/internal/*`: closes every editor.
    Internal,
    /// `/wopi/files/*`: a host for tests.
    WopiFiles,
    /// `/dummyCallback`.
    DummyCallback,
    /// `/baseurl`.
    BaseUrl,
    /// `/index.html`.
    IndexHtml,
    /// `/welcome/*`.
    Welcome,
    /// `/example/*`.
    Example,
    /// `/.well-known/*`: served on port 80, by the gateway.
    AcmeChallenge,
    /// `/meta/*`: later Document Servers.
    Meta,
    /// `/admin/*`: the panel of later Document Servers.
    Admin,
    /// `/`.
    Root,
    /// `/robots.txt`.
    Robots,
    /// `/healthcheck`.
    Healthcheck,
    /// `/relay/<integrator>/…`.
    Relay,
    /// `/saved/…`.
    Saved,
    /// Everything else.
    Unknown,
}

impl Route {
    /// How many there are.
    pub const COUNT: usize = Self::Unknown as usize + 1;

    /// All rows of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|rule| rule.route)
    }

    /// What the table says about it.
    pub const fn rule(self) -> &'static Rule {
        const ROWS: &[Rule; Route::COUNT] = &TABLE;
        &ROWS[self as usize]
    }

    /// The label in logs and metrics.
    pub const fn name(self) -> &'static str {
        self.rule().name
    }
}

/// Rows that stay closed until an operator opens them by name in `[document_server]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Switches {
    /// Opens `/docbuilder` to tokens.
    pub docbuilder: bool,
    /// Opens `/ai-proxy` to tokens.
    pub ai_proxy: bool,
    /// Opens `/hosting/*`, where WOPI's own token is the check.
    pub wopi: bool,
    /// Opens `/example/*` and `/welcome/*`.
    pub example: bool,
}

impl Switches {
    fn is_on(self, switch: Switch) -> bool {
        match switch {
            Switch::DocBuilder => self.docbuilder,
            Switch::AiProxy => self.ai_proxy,
            Switch::Wopi => self.wopi,
            Switch::Example => self.example,
        }
    }
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'c> {
    /// The row.
    pub rule: &'static Rule,
    /// Who may pass, once switches and key are looked at; never wider than the row says.
    pub access: Access,
    /// The document key in the path.
    pub key: Option<&'c str>,
}

impl Matched<'_> {
    /// The row's route.
    pub const fn route(&self) -> Route {
        self.rule.route
    }
}

/// What follows the first segment of a path.
#[derive(Clone, Copy)]
enum Rest {
    /// Nothing.
    Nothing,
    /// A file.
    Files,
    /// Anything or nothing.
    Anything,
    /// A document key.
    Key,
    /// A document key and this.
    KeyThen(&'static str),
    /// A document key and one more segment.
    KeyAndTitle,
    /// This.
    Then(&'static str),
    /// This, and a file.
    ThenFiles(&'static str),
}

/// First segments, those of editors' requests first.
#[rustfmt::skip]
const HEADS: [(&str, Rest, Route); 38] = [
    ("web-apps", Rest::Files, Route::WebApps),
    ("sdkjs", Rest::Files, Route::Sdkjs),
    ("sdkjs-plugins", Rest::Files, Route::SdkjsPlugins),
    ("fonts", Rest::Files, Route::Fonts),
    ("dictionaries", Rest::Files, Route::Dictionaries),
    ("doc", Rest::KeyThen("c"), Route::Socket),
    ("cache", Rest::ThenFiles("files"), Route::CacheFiles),
    ("document_editor_service_worker.js", Rest::Nothing, Route::ServiceWorker),
    ("plugins.json", Rest::Nothing, Route::PluginsJson),
    ("themes.json", Rest::Nothing, Route::ThemesJson),
    ("upload", Rest::Key, Route::Upload),
    ("downloadas", Rest::Key, Route::DownloadAs),
    ("savefile", Rest::Key, Route::SaveFile),
    ("printfile", Rest::KeyAndTitle, Route::PrintFile),
    ("downloadfile", Rest::Key, Route::DownloadFile),
    ("coauthoring", Rest::Then("CommandService.ashx"), Route::CommandService),
    ("command", Rest::Nothing, Route::Command),
    ("ConvertService.ashx", Rest::Nothing, Route::ConvertService),
    ("converter", Rest::Nothing, Route::Converter),
    ("docbuilder", Rest::Nothing, Route::DocBuilder),
    ("healthcheck", Rest::Nothing, Route::Healthcheck),
    ("robots.txt", Rest::Nothing, Route::Robots),
    ("ai-proxy", Rest::Anything, Route::AiProxy),
    ("hosting", Rest::Anything, Route::Hosting),
    ("lool", Rest::Anything, Route::ConvertTo),
    ("cool", Rest::Anything, Route::ConvertTo),
    ("info", Rest::Anything, Route::Info),
    ("internal", Rest::Anything, Route::Internal),
    ("wopi", Rest::Anything, Route::WopiFiles),
    ("dummyCallback", Rest::Anything, Route::DummyCallback),
    ("baseurl", Rest::Anything, Route::BaseUrl),
    ("index.html", Rest::Anything, Route::IndexHtml),
    ("welcome", Rest::Anything, Route::Welcome),
    ("example", Rest::Anything, Route::Example),
    (".well-known", Rest::Anything, Route::AcmeChallenge),
    ("meta", Rest::Anything, Route::Meta),
    ("admin", Rest::Anything, Route::Admin),
    ("", Rest::Nothing, Route::Root),
];

/// Finds the row of a path. Compares segments without case, as Express and the container's nginx do; allocates nothing.
pub fn find<'c>(path: &'c Canonical<'_>, switches: Switches) -> Matched<'c> {
    let relative = path.matchable();
    let relative = relative.strip_prefix('/').unwrap_or(relative);
    let (head, tail) = match relative.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (relative, None),
    };
    let Some((_, rest, route)) = HEADS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(head)) else {
        return matched(Route::Unknown, None, switches);
    };
    let fit = rest.fits(tail);
    match (fit, *route) {
        (Fit::No, _) => matched(Route::Unknown, None, switches),
        (Fit::Yes(_), Route::Root) if path.version().is_some() => matched(Route::Unknown, None, switches),
        (Fit::Yes(_), Route::WebApps) if tail.is_some_and(|t| t.eq_ignore_ascii_case(API_JS)) => {
            matched(Route::ApiJs, None, switches)
        }
        (Fit::Yes(key), route) => matched(route, key, switches),
        (Fit::BadKey, route) => {
            Matched { access: Access::Closed(Closed::KeyInvalid), ..matched(route, None, switches) }
        }
    }
}

/// `api.js` below `/web-apps/` (ds-docservice.conf.m4:8-12).
const API_JS: &str = "apps/api/documents/api.js";

fn matched(route: Route, key: Option<&str>, switches: Switches) -> Matched<'_> {
    let rule = route.rule();
    let access = match rule.access {
        Access::Closed(Closed::Until(switch)) if switches.is_on(switch) => switch.opens(),
        access => access,
    };
    Matched { rule, access, key }
}

/// Whether the rest of a path is what its first segment asks for.
enum Fit<'c> {
    No,
    Yes(Option<&'c str>),
    BadKey,
}

impl Rest {
    fn fits(self, tail: Option<&str>) -> Fit<'_> {
        let yes = |fits: bool| if fits { Fit::Yes(None) } else { Fit::No };
        let keyed = |key| if is_document_key(key) { Fit::Yes(Some(key)) } else { Fit::BadKey };
        match (self, tail) {
            (Self::Anything, _) | (Self::Nothing, None) => Fit::Yes(None),
            (_, None) | (Self::Nothing, Some(_)) => Fit::No,
            (Self::Files, Some(tail)) => yes(!tail.is_empty()),
            (Self::Then(name), Some(tail)) => yes(tail.eq_ignore_ascii_case(name)),
            (Self::ThenFiles(name), Some(tail)) => yes(tail
                .split_once('/')
                .is_some_and(|(one, rest)| one.eq_ignore_ascii_case(name) && !rest.is_empty())),
            (Self::Key, Some(tail)) if tail.contains('/') => Fit::No,
            (Self::Key, Some(tail)) => keyed(tail),
            (Self::KeyThen(name), Some(tail)) => match tail.split_once('/') {
                Some((key, rest)) if rest.eq_ignore_ascii_case(name) => keyed(key),
                _ => Fit::No,
            },
            (Self::KeyAndTitle, Some(tail)) => match tail.split_once('/') {
                Some((key, title)) if !title.is_empty() && !title.contains('/') => keyed(key),
                _ => Fit::No,
            },
        }
    }
}

/// A path below which the bytes are somebody else's own: looked for in the path as sent, before it is made canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPath<'r> {
    /// `/relay/<integrator>/<rest>`.
    Relay {
        /// The integrator's `name`.
        integrator: &'r str,
        /// What is put behind the integrator's `url` and a slash, byte for byte.
        rest: &'r str,
    },
    /// `/saved/<rest>`.
    Saved {
        /// What is behind the slash.
        rest: &'r str,
    },
}

impl OwnPath<'_> {
    /// The row of the table.
    pub const fn route(self) -> Route {
        match self {
            Self::Relay { .. } => Route::Relay,
            Self::Saved { .. } => Route::Saved,
        }
    }
}

/// Whether the path as sent is the relay's or the saved documents'. Any other spelling of these is an unknown path.
pub fn own_path(raw: &str) -> Option<OwnPath<'_>> {
    if let Some(rest) = raw.strip_prefix("/relay/") {
        let (integrator, rest) = rest.split_once('/')?;
        let named = !integrator.is_empty()
            && integrator.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        return named.then_some(OwnPath::Relay { integrator, rest });
    }
    raw.strip_prefix("/saved/").map(|rest| OwnPath::Saved { rest })
}
