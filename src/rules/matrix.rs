//! Every route, every kind of token, every place for it: the decisions as a table in the repository, and what must hold of
//! that table whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use super::carrier::{Carried, TokenField, TokenFields};
use super::class::Class;
use super::path::canonical;
use super::policy::{Admitted, Caller, HostRule, Mode, Refusal, Rules, admit, admit_open, knock};
use super::route::{Route, Switches, find, own_path};
use super::specimens::{self, KEY};
use super::table::{Access, Own};
use super::token::Algorithm;
use super::token::tests::{NOW, SECRET, at, settings, sign, sign_raw};

/// Where a token may be put. `Wrapped` is the header, with the claims under `payload`.
const PLACES: [&str; 7] = ["header", "custom", "wrapped", "body", "query", "cmd_session", "cmd_download"];

/// A kind of token: its column in the table.
struct Kind {
    name: String,
    class: Option<Class>,
    /// The reason that any place it is read from gives, whatever its class.
    fault: Option<&'static str>,
    plain: Option<String>,
    wrapped: Option<String>,
}

fn kinds() -> Vec<Kind> {
    let command = json!({"c": "version"});
    let forged = |claims: &Value, name: &str| match name {
        "bad_signature" => {
            sign_raw(HEAD, &claims.to_string(), Algorithm::Hs256, "another-secret-0123456789abcdef012345")
        }
        "alg_none" => {
            let token = sign_raw(r#"{"alg":"none"}"#, &claims.to_string(), Algorithm::Hs256, "x");
            token.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).unwrap()
        }
        "hs512" => sign_raw(r#"{"alg":"HS512"}"#, &claims.to_string(), Algorithm::Hs512, SECRET),
        _ => sign(claims),
    };
    let faults = [
        ("bad_signature", "token_signature", command.clone()),
        ("expired", "token_expired", json!({"c": "version", "exp": NOW - 61})),
        ("alg_none", "token_algorithm", command.clone()),
        ("hs512", "token_algorithm", command.clone()),
        ("not_yet", "token_not_yet", json!({"c": "version", "nbf": NOW + 61})),
    ];
    let mut kinds = vec![Kind { name: "none".into(), class: None, fault: None, plain: None, wrapped: None }];
    for (name, reason, claims) in faults {
        let mut outer = claims.clone();
        outer["payload"] = json!({"c": "version"});
        kinds.push(Kind {
            name: name.into(),
            class: None,
            fault: Some(reason),
            plain: Some(forged(&claims, name)),
            wrapped: Some(forged(&outer, name)),
        });
    }
    for specimen in specimens::all().into_iter().chain(specimens::astray()) {
        kinds.push(Kind {
            name: format!("{}/{}", specimen.class.name(), specimen.name),
            class: Some(specimen.class),
            fault: None,
            plain: Some(sign(&specimen.claims)),
            wrapped: Some(sign(&json!({"payload": specimen.claims}))),
        });
    }
    kinds
}

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A path of each route.
fn path(route: Route) -> String {
    let path = match route {
        Route::ApiJs => "/web-apps/apps/api/documents/api.js",
        Route::WebApps => "/9.0.4-a/web-apps/apps/documenteditor/main/index.html",
        Route::Sdkjs => "/9.0.4-a/sdkjs/word/sdk-all.js",
        Route::SdkjsPlugins => "/sdkjs-plugins/v1/plugins.js",
        Route::Fonts => "/fonts/000",
        Route::Dictionaries => "/dictionaries/en_GB/en_GB.aff",
        Route::ServiceWorker => "/document_editor_service_worker.js",
        Route::PluginsJson => "/plugins.json",
        Route::ThemesJson => "/themes.json",
        Route::CacheFiles => "/cache/files/data/k1/output.docx/a.docx",
        Route::Socket => "/9.0.4-a/doc/k1/c/",
        Route::Upload => "/9.0.4-a/upload/k1",
        Route::DownloadAs => "/9.0.4-a/downloadas/k1",
        Route::SaveFile => "/savefile/k1",
        Route::PrintFile => "/printfile/k1/a.pdf",
        Route::DownloadFile => "/downloadfile/k1",
        Route::CommandService => "/coauthoring/CommandService.ashx",
        Route::Command => "/command",
        Route::ConvertService => "/ConvertService.ashx",
        Route::Converter => "/converter",
        Route::DocBuilder => "/docbuilder",
        Route::AiProxy => "/ai-proxy",
        Route::Hosting => "/hosting/discovery",
        Route::ConvertTo => "/cool/convert-to/pdf",
        Route::Info => "/info/config",
        Route::Internal => "/internal/cluster/inactive",
        Route::WopiFiles => "/wopi/files/1",
        Route::DummyCallback => "/dummyCallback",
        Route::BaseUrl => "/baseurl",
        Route::IndexHtml => "/index.html",
        Route::Welcome => "/welcome/",
        Route::Example => "/example/editor",
        Route::AcmeChallenge => "/.well-known/acme-challenge/x",
        Route::Meta => "/meta/x",
        Route::Admin => "/admin",
        Route::Root => "/",
        Route::Robots => "/robots.txt",
        Route::Healthcheck => "/healthcheck",
        Route::Relay => "/relay/rapidpm/callback",
        Route::Saved => "/saved/x",
        Route::Unknown => "/nosuch",
    };
    path.to_owned()
}

/// Where a request leads. The relay and saved documents are looked for before all else.
fn ask(route: Route, switches: Switches, kind: &Kind, place: &str, rules: &Rules) -> String {
    let path = path(route);
    if own_path(&path).is_some() {
        return "own".to_owned();
    }
    let path = canonical(&path).unwrap();
    let matched = find(&path, switches);
    assert_eq!(matched.route(), route);
    let method = match matched.rule.methods.allow(&Method::POST) {
        true => Method::POST,
        false => Method::GET,
    };
    let (mut headers, mut query, mut body) = (HeaderMap::new(), None, String::new());
    let token = if place == "wrapped" { &kind.wrapped } else { &kind.plain };
    if let Some(token) = token {
        match place {
            "header" | "wrapped" => {
                headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
            }
            "custom" => {
                headers.insert("authorizationjwt", format!("JWT {token}").parse().unwrap());
            }
            "body" => body = json!({"token": token, "c": "version"}).to_string(),
            "query" => query = Some(format!("shardkey={KEY}&token={token}")),
            "cmd_session" => query = Some(format!("cmd={{\"c\":\"save\",\"tokenSession\":\"{token}\"}}")),
            _ => query = Some(format!("cmd={{\"c\":\"save\",\"tokenDownload\":\"{token}\"}}")),
        }
    }
    let field =
        |name, prefix: &str| TokenField { name: HeaderName::from_static(name), prefix: prefix.to_owned() };
    let fields = TokenFields::new(field("authorization", "Bearer "), [field("authorizationjwt", "JWT ")]);
    let admitted: Result<Admitted, Refusal> = match matched.access {
        Access::Own(_) => return "own".to_owned(),
        Access::Socket => {
            return knock(&matched, &Method::GET).map_or_else(|r| r.reason().into(), |_| "gate".into());
        }
        Access::Token(_) => {
            fields.settle(&mut headers, matched.access).unwrap();
            assert!(!headers.contains_key("authorizationjwt") || !headers.contains_key("authorization"));
            let carried = Carried { headers: &headers, query: query.as_deref(), body: body.as_bytes() };
            let caller = Caller { address: "192.0.2.7".parse().unwrap(), now: at(NOW) };
            admit(&matched, &method, &carried, &settings(&[SECRET]), rules, caller)
        }
        _ => admit_open(&matched, &method).map(|permit| Admitted { permit, objections: Vec::new() }),
    };
    match admitted {
        Err(refusal) => refusal.reason().to_owned(),
        Ok(admitted) => {
            assert_eq!(admitted.permit.route(), route);
            assert_eq!(admitted.permit.class().is_some(), matches!(matched.access, Access::Token(_)));
            let mut decision = "pass".to_owned();
            for objection in admitted.objections {
                decision += " but ";
                decision += objection.reason();
            }
            decision
        }
    }
}

fn rules(mode: Mode) -> Rules {
    let hosts = vec!["127.0.0.1".to_owned(), "rapidpm.uk".to_owned()];
    Rules { mode, backend_networks: Vec::new(), hosts, host_rule: HostRule::Refuse }
}

/// A line of the table.
struct Cell {
    route: &'static str,
    place: &'static str,
    kind: usize,
    enforce: String,
    observe: String,
}

/// Rows as shipped; those that a switch opens to tokens once more, opened.
fn cells(kinds: &[Kind]) -> Vec<Cell> {
    let mut cells = Vec::new();
    let opened = Switches { docbuilder: true, ai_proxy: true, ..Switches::default() };
    let shipped = Route::all().map(|route| (route, route.name(), Switches::default()));
    let extra =
        [(Route::DocBuilder, "docbuilder(opened)", opened), (Route::AiProxy, "ai_proxy(opened)", opened)];
    for (route, name, switches) in shipped.chain(extra) {
        let path =
            canonical(&path(route)).map(|path| matches!(find(&path, switches).access, Access::Token(_)));
        let takes_tokens = path.unwrap();
        for (at, kind) in kinds.iter().enumerate() {
            let mut row: Vec<Cell> = PLACES
                .into_iter()
                .map(|place| Cell {
                    route: name,
                    place,
                    kind: at,
                    enforce: ask(route, switches, kind, place, &rules(Mode::Enforce)),
                    observe: ask(route, switches, kind, place, &rules(Mode::Observe)),
                })
                .collect();
            if !takes_tokens {
                // A token changes nothing where none is asked for, wherever it is.
                assert!(row.iter().all(|cell| cell.enforce == row[0].enforce), "{name} {}", kind.name);
                assert!(row.iter().all(|cell| cell.enforce == cell.observe), "{name} {}", kind.name);
                row.truncate(1);
                row[0].place = "any";
            }
            cells.extend(row);
        }
    }
    cells
}

fn table(cells: &[Cell], kinds: &[Kind]) -> String {
    let mut text = format!(
        "# {} decisions: route | place of the token | token | mode = enforce | mode = observe\n# Made by rules/matrix.rs; UPDATE_EXPECTED=1 rewrites it.\n",
        cells.len()
    );
    for cell in cells {
        let Cell { route, place, kind, enforce, observe } = cell;
        text += &format!("{route} | {place} | {} | {enforce} | {observe}\n", kinds[*kind].name);
    }
    text
}

#[test]
fn decisions_are_those_of_the_table() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/matrix/decisions.txt");
    let kinds = kinds();
    let text = table(&cells(&kinds), &kinds);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    let differing: Vec<_> = text.lines().zip(expected.lines()).filter(|(a, b)| a != b).take(10).collect();
    assert!(text == expected, "(now, in the table): {differing:#?}");
}

/// The places that a route's handler looks at, by protocol.md 1.2; empty for routes that take no token.
fn places(route: &str) -> &'static [&'static str] {
    match route {
        "upload" => &["header", "wrapped", "query"],
        "ai_proxy(opened)" => &["header", "wrapped"],
        "printfile" => &["query"],
        "savefile" => &["cmd_session"],
        "downloadas" => &["cmd_session", "cmd_download"],
        // A query counts where there is no JSON in the body (protocol.md 2.3).
        "downloadfile" | "command" | "command_service" | "converter" | "convert_service"
        | "docbuilder(opened)" => &["header", "custom", "wrapped", "body", "query"],
        _ => &[],
    }
}

/// The classes that are legal on a route, by protocol.md 2.6 and design.md 3.3.
fn legal(route: &str) -> &'static [Class] {
    match route {
        "upload" | "savefile" | "ai_proxy(opened)" => &[Class::Session],
        "downloadas" => &[Class::Session, Class::Insert],
        "printfile" => &[Class::Print],
        "downloadfile" => &[Class::Open, Class::History, Class::Insert],
        "command" | "command_service" => &[Class::Command],
        "converter" | "convert_service" => &[Class::Convert],
        "docbuilder(opened)" => &[Class::Builder],
        _ => &[],
    }
}

const BACKEND: [&str; 5] =
    ["command", "command_service", "converter", "convert_service", "docbuilder(opened)"];
const ON_BROWSERS: [Class; 6] =
    [Class::Open, Class::History, Class::Insert, Class::Session, Class::Print, Class::Partial];

#[test]
fn the_table_keeps_the_design_whatever_the_rules_say() {
    let kinds = kinds();
    let cells = cells(&kinds);
    let mut passes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut counts, mut seen) = (BTreeMap::<&str, usize>::new(), 0);
    for cell in &cells {
        let kind = &kinds[cell.kind];
        let cell_name =
            format!("{} | {} | {} : {} / {}", cell.route, cell.place, kind.name, cell.enforce, cell.observe);
        if legal(cell.route).is_empty() {
            continue;
        }
        seen += 1;
        *counts.entry(cell.route).or_default() += 1;
        let read = places(cell.route).contains(&cell.place);
        // No token, or one where nobody looks: missing, in both modes.
        if !read || kind.name == "none" {
            assert_eq!((&*cell.enforce, &*cell.observe), ("token_missing", "token_missing"), "{cell_name}");
            continue;
        }
        // Unsigned, badly signed, out of time: refused in both modes, whatever the route.
        if let Some(reason) = kind.fault {
            assert_eq!((&*cell.enforce, &*cell.observe), (reason, reason), "{cell_name}");
            continue;
        }
        // A bare `url` under `payload` is what the Document Server sends to whoever it fetches from.
        let lured = cell.place == "wrapped" && kind.name == "unknown/url_alone";
        let class = if lured { Class::Download } else { kind.class.unwrap() };
        let spread = cell.place == "wrapped" && ["upload", "ai_proxy(opened)"].contains(&cell.route);
        // One layer deeper, a download token's `url` is nobody's claim any more.
        let deeper = cell.place == "wrapped" && class == Class::Download && !lured;
        let right = legal(cell.route).contains(&class) && !spread;
        let astray = kind.name.ends_with("/other_document") || kind.name.contains("/foreign_");
        // No browser's token opens a backend's route, in any mode, nor does one that the Document Server hands out; a builder's
        // opens to its own alone.
        let handed_out = [Class::Callback, Class::Download].contains(&class) && !deeper;
        let shut = (BACKEND.contains(&cell.route) && (ON_BROWSERS.contains(&class) || handed_out))
            || (cell.route == "docbuilder(opened)" && !right);
        if shut {
            let both = ("class_not_allowed", "class_not_allowed");
            assert_eq!((&*cell.enforce, &*cell.observe), both, "{cell_name}");
        } else if !right {
            assert_eq!(cell.enforce, "class_not_allowed", "{cell_name}");
            assert!(cell.observe.starts_with("pass but class_not_allowed"), "{cell_name}");
        } else if astray {
            let reason = if kind.name.contains("/foreign_") { "host_not_allowed" } else { "key_mismatch" };
            if reason == "key_mismatch" && cell.route.starts_with("ai_proxy") {
                assert_eq!(cell.enforce, "pass", "{cell_name}"); // no key in its path
            } else {
                assert_eq!(
                    (&*cell.enforce, &*cell.observe),
                    (reason, &*format!("pass but {reason}")),
                    "{cell_name}"
                );
            }
        } else {
            assert_eq!((&*cell.enforce, &*cell.observe), ("pass", "pass"), "{cell_name}");
            passes.entry(cell.route).or_default().insert(cell.place);
        }
    }
    // Nothing is right that is never let through, and every route was asked the same.
    for route in counts.keys() {
        let wrapped_too =
            |place: &&&str| **place != "wrapped" || !["upload", "ai_proxy(opened)"].contains(route);
        let expected: BTreeSet<&str> = places(route).iter().filter(wrapped_too).copied().collect();
        assert_eq!(passes.get(route), Some(&expected), "{route}");
        assert_eq!(counts[route], kinds.len() * PLACES.len(), "{route}");
    }
    assert_eq!(counts.len(), 11);
    assert!(seen >= 800 && cells.len() > seen, "{seen}");
    for class in Class::ALL {
        assert!(kinds.iter().filter(|kind| kind.class == Some(class)).count() >= 2, "{}", class.name());
    }
}

#[test]
fn routes_without_tokens_are_open_or_closed_and_no_token_changes_that() {
    let kinds = kinds();
    let cells = cells(&kinds);
    let decision = |route: &str| match route {
        "api_js" | "web_apps" | "sdkjs" | "sdkjs_plugins" | "fonts" | "dictionaries" | "service_worker"
        | "plugins_json" | "themes_json" | "cache_files" => "pass",
        "socket" => "gate",
        "root" | "robots" | "healthcheck" | "relay" | "saved" => "own",
        "docbuilder" | "ai_proxy" | "hosting" | "welcome" | "example" => "switched_off",
        "unknown" => "unknown_path",
        "convert_to" | "info" | "internal" | "wopi_files" | "dummy_callback" | "baseurl" | "index_html"
        | "acme_challenge" | "meta" | "admin" => "closed_path",
        other => panic!("a route that nobody thought of: {other}"),
    };
    let mut count = 0;
    for cell in cells.iter().filter(|cell| legal(cell.route).is_empty()) {
        assert_eq!(cell.enforce, decision(cell.route), "{}", cell.route);
        count += 1;
    }
    assert_eq!(count, (Route::COUNT - 9) * kinds.len());
    let own = [Own::Root, Own::Robots, Own::Healthcheck, Own::Relay, Own::Saved];
    assert_eq!(own.len(), cells.iter().filter(|cell| cell.enforce == "own" && cell.kind == 0).count());
}
