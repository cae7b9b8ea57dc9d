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

#[cfg(test)]
mod tests {
    use super::super::path::canonical;
    use super::*;

    fn found(path: &str, switches: Switches) -> (Route, Access, Option<String>) {
        let path = canonical(path).unwrap();
        let matched = find(&path, switches);
        (matched.route(), matched.access, matched.key.map(str::to_owned))
    }

    #[test]
    fn every_row_of_the_table() {
        let table = [
            ("/web-apps/apps/api/documents/api.js", Route::ApiJs, None),
            ("/9.0.4-a/web-apps/apps/api/documents/api.js", Route::ApiJs, None),
            ("/web-apps/apps/api/documents/api.js/x", Route::WebApps, None),
            ("/9.0.4-a/web-apps/apps/documenteditor/main/index.html", Route::WebApps, None),
            ("/sdkjs/word/sdk-all.js", Route::Sdkjs, None),
            ("/sdkjs-plugins/v1/plugins.js", Route::SdkjsPlugins, None),
            ("/fonts/000", Route::Fonts, None),
            ("/dictionaries/en_GB/en_GB.aff", Route::Dictionaries, None),
            ("/9.0.4-a/document_editor_service_worker.js", Route::ServiceWorker, None),
            ("/9.0.4-a/plugins.json", Route::PluginsJson, None),
            ("/themes.json/", Route::ThemesJson, None),
            ("/cache/files/data/k1/output.docx/a.docx", Route::CacheFiles, None),
            ("/doc/k1/c/", Route::Socket, Some("k1")),
            ("/9.0.4-a/DOC/k1/C", Route::Socket, Some("k1")),
            ("/upload/k1", Route::Upload, Some("k1")),
            ("/downloadas/k1", Route::DownloadAs, Some("k1")),
            ("/savefile/k1", Route::SaveFile, Some("k1")),
            ("/printfile/k1/a.pdf", Route::PrintFile, Some("k1")),
            ("/downloadfile/k1", Route::DownloadFile, Some("k1")),
            ("/coauthoring/CommandService.ashx", Route::CommandService, None),
            ("/command", Route::Command, None),
            ("/CONVERTSERVICE.ASHX", Route::ConvertService, None),
            ("/9.0.4-a/CoNvErTeR/", Route::Converter, None),
            ("/docbuilder", Route::DocBuilder, None),
            ("/ai-proxy", Route::AiProxy, None),
            ("/ai-proxy/v1", Route::AiProxy, None),
            ("/hosting/discovery", Route::Hosting, None),
            ("/lool/convert-to/pdf", Route::ConvertTo, None),
            ("/cool/convert-to/pdf", Route::ConvertTo, None),
            ("/info/config", Route::Info, None),
            ("/INFO", Route::Info, None),
            ("/internal/cluster/inactive", Route::Internal, None),
            ("/wopi/files/1", Route::WopiFiles, None),
            ("/dummyCallback", Route::DummyCallback, None),
            ("/baseurl", Route::BaseUrl, None),
            ("/index.html", Route::IndexHtml, None),
            ("/welcome/", Route::Welcome, None),
            ("/example/editor", Route::Example, None),
            ("/.well-known/acme-challenge/x", Route::AcmeChallenge, None),
            ("/meta/x", Route::Meta, None),
            ("/admin", Route::Admin, None),
            ("/", Route::Root, None),
            ("/robots.txt", Route::Robots, None),
            ("/healthcheck", Route::Healthcheck, None),
        ];
        for (path, route, key) in table {
            let (found, _, found_key) = found(path, Switches::default());
            assert_eq!((found, found_key.as_deref()), (route, key), "{path}");
        }
        let seen = |route| table.iter().any(|(_, r, _)| *r == route);
        let elsewhere = [Route::Relay, Route::Saved, Route::Unknown];
        assert!(Route::all().all(|route| seen(route) != elsewhere.contains(&route)));
    }

    #[test]
    fn what_is_in_no_row_is_unknown() {
        let table = [
            "/nosuch",
            "/web-apps",
            "/web-apps/",
            "/fonts",
            "/cache",
            "/cache/files",
            "/cache/files/",
            "/cache/other/x",
            "/plugins.json/x",
            "/doc",
            "/doc/k1",
            "/doc/k1/d",
            "/doc/k1/c/x",
            "/doc/c",
            "/upload",
            "/upload/",
            "/upload/k/x",
            "/printfile/k",
            "/printfile/k/a/b",
            "/coauthoring",
            "/coauthoring/x",
            "/command/x",
            "/command;x",
            "/command.x",
            "/commandx",
            "/9.0.4-a/",
            "/9.0.4-a",
            "/9.0.4-a/9.0.4-b/command",
            "/9.0.4|a/command",
            "/relay/rapidpm/x",
            "/saved/x",
            "/RELAY/rapidpm/x",
            "/%72elay/rapidpm/x",
            "/info%20",
            "/metrics",
            "/api/metrics",
        ];
        for path in table {
            let (route, access, _) =
                found(path, Switches { docbuilder: true, ai_proxy: true, wopi: true, example: true });
            assert_eq!((route, access), (Route::Unknown, Access::Closed(Closed::Unknown)), "{path}");
        }
    }

    #[test]
    fn a_key_outside_its_alphabet_is_refused_under_the_route_it_was_meant_for() {
        for path in ["/doc/a%20b/c", "/upload/k;x", "/downloadas/%C3%A4", "/printfile/k%7C/a", "/doc/k%25/c"]
        {
            assert_eq!(found(path, Switches::default()).1, Access::Closed(Closed::KeyInvalid), "{path}");
        }
        let long = format!("/doc/{}/c", "k".repeat(241));
        assert_eq!(found(&long, Switches::default()).1, Access::Closed(Closed::KeyInvalid));
    }

    #[test]
    fn a_switch_opens_its_own_rows_and_no_other() {
        let off = Switches::default();
        let rows = [
            ("/docbuilder", Switches { docbuilder: true, ..off }, Switch::DocBuilder),
            ("/ai-proxy", Switches { ai_proxy: true, ..off }, Switch::AiProxy),
            ("/hosting/discovery", Switches { wopi: true, ..off }, Switch::Wopi),
            ("/example/", Switches { example: true, ..off }, Switch::Example),
            ("/welcome/", Switches { example: true, ..off }, Switch::Example),
        ];
        for (path, _, switch) in rows {
            assert_eq!(found(path, off).1, Access::Closed(Closed::Until(switch)), "{path}");
            for (_, on, opens) in rows {
                let access = found(path, on).1;
                assert_eq!(!matches!(access, Access::Closed(_)), opens == switch, "{path} {on:?}");
            }
        }
        assert!(matches!(found("/docbuilder", rows[0].1).1, Access::Token(_)), "never open, only to tokens");
        assert!(
            matches!(found("/ai-proxy", rows[1].1).1, Access::Token(_)),
            "9.0.4 itself checks nothing here"
        );
        let all = Switches { docbuilder: true, ai_proxy: true, wopi: true, example: true };
        for path in [
            "/info/config",
            "/internal/x",
            "/baseurl",
            "/index.html",
            "/meta",
            "/dummyCallback",
            "/wopi/files/1",
            "/cool/convert-to/pdf",
        ] {
            assert_eq!(found(path, all).1, Access::Closed(Closed::Always), "{path}");
        }
    }

    #[test]
    fn the_rest_below_relay_and_saved_is_raw() {
        let relay = |integrator, rest| Some(OwnPath::Relay { integrator, rest });
        let table = [
            ("/relay/rapidpm/a/b", relay("rapidpm", "a/b")),
            ("/relay/rapidpm/", relay("rapidpm", "")),
            ("/relay/r-p_1//..%2f%00;x", relay("r-p_1", "/..%2f%00;x")),
            ("/saved/id/output.docx", Some(OwnPath::Saved { rest: "id/output.docx" })),
            ("/relay/rapidpm", None),
            ("/relay//x", None),
            ("/relay/%72apidpm/x", None),
            ("/relay/../info/config", None),
            ("/Relay/rapidpm/x", None),
            ("//relay/rapidpm/x", None),
            ("/relayx/rapidpm/x", None),
            ("/saved", None),
        ];
        for (path, expected) in table {
            assert_eq!(own_path(path), expected, "{path}");
        }
    }
}
