//! The route table of Document Server 9.0 as data: what each route takes, asks for and refuses like (protocol.md 1.2).

use hyper::Method;

use super::class::{Class, Reading};
use super::purpose::{Door, Purpose};
use super::route::Route;

/// All that is fixed about a route.
#[derive(Debug)]
pub struct Rule {
    /// The route it is about.
    pub route: Route,
    /// The label in logs and metrics.
    pub name: &'static str,
    /// Which methods it takes.
    pub methods: Methods,
    /// Who may pass.
    pub access: Access,
    /// What a token must be made for.
    pub purpose: Purpose,
    /// What happens to a request's body.
    pub body: BodyRule,
    /// What a refusal looks like.
    pub refusal: RefusalShape,
    /// How long the head of an answer may take.
    pub patience: Patience,
    /// Whether browsers show it as a page.
    pub shown: Shown,
}

/// The methods of a route. `OPTIONS` is in none: the Document Server has no CORS to offer there (measured: 400 on the socket path).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// GET and HEAD.
    Read,
    /// POST.
    Write,
    /// GET, HEAD and POST.
    ReadWrite,
    /// GET and POST: Engine.IO knows no HEAD.
    Socket,
    /// Whatever comes.
    Any,
}

impl Methods {
    /// Whether `method` is one of them.
    pub fn allow(self, method: &Method) -> bool {
        let read = method == Method::GET || method == Method::HEAD;
        match self {
            Self::Read => read,
            Self::Write => method == Method::POST,
            Self::ReadWrite => read || method == Method::POST,
            Self::Socket => method == Method::GET || method == Method::POST,
            Self::Any => true,
        }
    }

    /// The value of `Allow` beside a 405.
    pub const fn allow_value(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Write => "POST",
            Self::ReadWrite | Self::Any => "GET, HEAD, POST",
            Self::Socket => "GET, POST",
        }
    }
}

/// Who may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone: what an editor needs before it has a token, and links that carry their own signature.
    Open,
    /// The gate decides, once the first packet is there.
    Socket,
    /// Who shows a token. The carriers in the order in which the Document Server looks; the first that holds one decides.
    Token(&'static [Carrier]),
    /// Nobody.
    Closed(Closed),
    /// The gateway answers itself.
    Own(Own),
}

impl Access {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Socket => "socket",
            Self::Token(_) => "token",
            Self::Closed(_) => "closed",
            Self::Own(_) => "own",
        }
    }
}

/// Why nobody may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// No such path in the table.
    Unknown,
    /// For operators on the machine itself, never through the gateway.
    Always,
    /// Until the named key of `[document_server]` is set.
    Until(Switch),
    /// The path needs a document key and holds something else.
    KeyInvalid,
}

/// A key of `[document_server]` that opens closed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// `/docbuilder`.
    DocBuilder,
    /// `/ai-proxy`.
    AiProxy,
    /// `/hosting/*`.
    Wopi,
    /// `/example/*` and `/welcome/*`.
    Example,
}

impl Switch {
    /// The key's name.
    pub const fn key(self) -> &'static str {
        match self {
            Self::DocBuilder => "docbuilder",
            Self::AiProxy => "ai_proxy",
            Self::Wopi => "wopi",
            Self::Example => "example",
        }
    }

    /// What stands behind it once it is on.
    pub(super) const fn opens(self) -> Access {
        match self {
            Self::DocBuilder => Access::Token(BODY),
            Self::AiProxy => Access::Token(&[Carrier::Bearer]),
            Self::Wopi | Self::Example => Access::Open,
        }
    }
}

/// Where a token is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// The field that `[jwt] header` names, behind `[jwt] prefix`.
    Header,
    /// `Authorization: Bearer`, whatever `[jwt]` says (S: DocService/sources/fileuploaderservice.js:95-111).
    Bearer,
    /// The query's `token`.
    Query,
    /// The body's `token`; if the body is not JSON, the query's (S: DocsCoServer.js:1504-1550).
    Body,
    /// `tokenDownload`, else `tokenSession`, of the JSON in the query's `cmd` (S: canvasservice.js:1432-1521).
    CmdDownload,
    /// `tokenSession` of the JSON in the query's `cmd` (S: canvasservice.js:1522-1582).
    CmdSession,
    /// The first packet of an editor's socket (protocol.md 3).
    Packet,
}

impl Carrier {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Bearer => "authorization",
            Self::Query => "query",
            Self::Body => "body",
            Self::CmdDownload | Self::CmdSession => "cmd",
            Self::Packet => "packet",
        }
    }
}

/// What happens to a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// There is none; one that comes is not passed on.
    None,
    /// Passes as it comes.
    Stream,
    /// Is read first, because the token may be in it.
    Inspect {
        /// How many bytes are read at most.
        limit: usize,
    },
}

/// What a refusal looks like, so that every client of the Document Server understands it (protocol.md 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalShape {
    /// 200 `{"error":6}`, 7 for an expired token.
    Command,
    /// 200 `{"error":-8}`.
    Convert,
    /// 200 and XML, unless JSON is asked for (S: Common/sources/utils.js:582-643).
    ConvertXml,
    /// 403 `Forbidden`.
    Forbidden,
    /// The gateway's own: problem+json, or a small page.
    Gateway,
}

/// How long the head of an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The container's nginx gives up after 60 s.
    Ordinary,
    /// The answer waits for a callback (10 minutes, default.json:321-324) or a conversion.
    Long,
}

/// Whether browsers show it as a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Part of the editor's pages: gets HSTS and `frame-ancestors`.
    Page,
    /// Not.
    Data,
}

/// What the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// `/`.
    Root,
    /// `/robots.txt`.
    Robots,
    /// `/healthcheck`, from the gateway's own probe.
    Healthcheck,
    /// `/relay/<integrator>/…`.
    Relay,
    /// `/saved/…`.
    Saved,
}

/// Largest body that is read for its token. Real ones are below 10 KB (captures/callbacks); commands and conversions hold links, no documents.
const INSPECTED: usize = 1024 * 1024;

const BODY: &[Carrier] = &[Carrier::Body, Carrier::Header];

const fn row(route: Route, name: &'static str, methods: Methods, access: Access) -> Rule {
    let (body, shown) = (BodyRule::None, Shown::Data);
    Rule {
        route,
        name,
        methods,
        access,
        purpose: Purpose::NONE,
        body,
        refusal: RefusalShape::Gateway,
        patience: Patience::Ordinary,
        shown,
    }
}

const fn open(route: Route, name: &'static str) -> Rule {
    row(route, name, Methods::Read, Access::Open)
}

const fn closed(route: Route, name: &'static str) -> Rule {
    Rule { body: BodyRule::Stream, ..row(route, name, Methods::Any, Access::Closed(Closed::Always)) }
}

const fn until(route: Route, name: &'static str, switch: Switch) -> Rule {
    Rule { access: Access::Closed(Closed::Until(switch)), ..closed(route, name) }
}

const fn own(route: Route, name: &'static str, own: Own) -> Rule {
    row(route, name, Methods::Read, Access::Own(own))
}

const fn token(route: Route, name: &'static str, methods: Methods, carriers: &'static [Carrier]) -> Rule {
    let (body, refusal) = (BodyRule::Stream, RefusalShape::Forbidden);
    Rule { body, refusal, ..row(route, name, methods, Access::Token(carriers)) }
}

const fn for_browsers(takes: &'static [Class], rule: Rule) -> Rule {
    Rule { purpose: Purpose::browser(takes), ..rule }
}

const fn for_backends(takes: &'static [Class], rule: Rule) -> Rule {
    Rule { purpose: Purpose::backend(takes), ..rule }
}

const fn inspected(route: Route, name: &'static str, methods: Methods, refusal: RefusalShape) -> Rule {
    Rule { body: BodyRule::Inspect { limit: INSPECTED }, refusal, ..token(route, name, methods, BODY) }
}

const fn long(rule: Rule) -> Rule {
    Rule { patience: Patience::Long, ..rule }
}

const fn page(rule: Rule) -> Rule {
    Rule { shown: Shown::Page, ..rule }
}

/// One row for each route, in the order of [`Route`].
#[rustfmt::skip]
pub(super) const TABLE: [Rule; Route::COUNT] = [
    // Static files: ds-docservice.conf.m4:8-40.
    page(open(Route::ApiJs, "api_js")),
    page(open(Route::WebApps, "web_apps")),
    open(Route::Sdkjs, "sdkjs"),
    page(open(Route::SdkjsPlugins, "sdkjs_plugins")),
    open(Route::Fonts, "fonts"),
    open(Route::Dictionaries, "dictionaries"),
    open(Route::ServiceWorker, "service_worker"),
    open(Route::PluginsJson, "plugins_json"),
    open(Route::ThemesJson, "themes_json"),
    // A link with its own signature and expiry: ds-docservice.conf.m4:42-56.
    open(Route::CacheFiles, "cache_files"),
    // Browsers with a token.
    Rule { body: BodyRule::Stream, ..row(Route::Socket, "socket", Methods::Socket, Access::Socket) },
    for_browsers(&[Class::Session], token(Route::Upload, "upload", Methods::Write, &[Carrier::Bearer, Carrier::Query])),
    for_browsers(&[Class::Session, Class::Insert], token(Route::DownloadAs, "downloadas", Methods::Write, &[Carrier::CmdDownload])),
    for_browsers(&[Class::Session], long(token(Route::SaveFile, "savefile", Methods::Write, &[Carrier::CmdSession]))),
    for_browsers(&[Class::Print], Rule { body: BodyRule::None, ..token(Route::PrintFile, "printfile", Methods::Read, &[Carrier::Query]) }),
    Rule {
        purpose: Purpose { takes: &[Class::Open, Class::History, Class::Insert], reading: Reading::Merged, door: Door::Browser },
        ..inspected(Route::DownloadFile, "downloadfile", Methods::ReadWrite, RefusalShape::Forbidden)
    },
    // Backends with a token.
    for_backends(&[Class::Command], long(inspected(Route::CommandService, "command_service", Methods::ReadWrite, RefusalShape::Command))),
    for_backends(&[Class::Command], long(inspected(Route::Command, "command", Methods::Write, RefusalShape::Command))),
    for_backends(&[Class::Convert], long(inspected(Route::ConvertService, "convert_service", Methods::ReadWrite, RefusalShape::ConvertXml))),
    for_backends(&[Class::Convert], long(inspected(Route::Converter, "converter", Methods::Write, RefusalShape::Convert))),
    Rule {
        access: Access::Closed(Closed::Until(Switch::DocBuilder)),
        purpose: Purpose { door: Door::Builder, ..Purpose::backend(&[Class::Builder]) },
        ..long(inspected(Route::DocBuilder, "docbuilder", Methods::Write, RefusalShape::Convert))
    },
    // The Document Server itself takes any text for a token here (S: aiProxyHandler.js:170-171).
    for_browsers(&[Class::Session], Rule { refusal: RefusalShape::Forbidden, ..until(Route::AiProxy, "ai_proxy", Switch::AiProxy) }),
    until(Route::Hosting, "hosting", Switch::Wopi),
    // No token at all, even with WOPI on (S: converterservice.js:495-622): a converter for everyone is nobody's wish.
    closed(Route::ConvertTo, "convert_to"),
    // For operators on the machine.
    closed(Route::Info, "info"),
    closed(Route::Internal, "internal"),
    closed(Route::WopiFiles, "wopi_files"),
    closed(Route::DummyCallback, "dummy_callback"),
    closed(Route::BaseUrl, "baseurl"),
    closed(Route::IndexHtml, "index_html"),
    until(Route::Welcome, "welcome", Switch::Example),
    until(Route::Example, "example", Switch::Example),
    closed(Route::AcmeChallenge, "acme_challenge"),
    closed(Route::Meta, "meta"),
    closed(Route::Admin, "admin"),
    // The gateway itself.
    own(Route::Root, "root", Own::Root),
    own(Route::Robots, "robots", Own::Robots),
    own(Route::Healthcheck, "healthcheck", Own::Healthcheck),
    Rule { body: BodyRule::Stream, methods: Methods::ReadWrite, patience: Patience::Long, ..own(Route::Relay, "relay", Own::Relay) },
    own(Route::Saved, "saved", Own::Saved),
    Rule { access: Access::Closed(Closed::Unknown), ..closed(Route::Unknown, "unknown") },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn has_one_row_for_each_route_in_its_place() {
        for (at, rule) in TABLE.iter().enumerate() {
            assert_eq!(rule.route as usize, at, "{}", rule.name);
        }
        let names: HashSet<_> = TABLE.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), TABLE.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn methods() {
        let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"];
        let table = [
            (Methods::Read, "GET HEAD"),
            (Methods::Write, "POST"),
            (Methods::ReadWrite, "GET HEAD POST"),
            (Methods::Socket, "GET POST"),
        ];
        for (methods, allowed) in table {
            let got: Vec<_> = all.into_iter().filter(|m| methods.allow(&m.parse().unwrap())).collect();
            assert_eq!(got.join(" "), allowed, "{methods:?}");
            assert_eq!(methods.allow_value().replace(", ", " "), allowed);
        }
    }

    #[test]
    fn what_reads_a_body_for_its_token_inspects_it() {
        for rule in &TABLE {
            if let Access::Token(carriers) = rule.access {
                let inspects = matches!(rule.body, BodyRule::Inspect { .. });
                assert_eq!(carriers.contains(&Carrier::Body), inspects, "{}", rule.name);
                assert_ne!(rule.refusal, RefusalShape::Gateway, "{}", rule.name);
            }
        }
    }
}
