//! Ten thousand spellings of paths against a model of what the container does with the bytes that would reach it.
//!
//! The model shares no code with the rules: nginx decodes, merges, resolves dots and chooses a location
//! (ds-docservice.conf.m4), Express matches what nginx hands on, raw or decoded (server.js).

use fastrand::Rng;
use hyper::header::{HeaderMap, HeaderValue};

use super::carrier::Carried;
use super::client::{Client, Peer};
use super::headers::{Hop, to_client};
use super::host::{Authority, NamePattern, PublicUrl};
use super::path::canonical;
use super::pick::document_key;
use super::route::{Route, Switches, find, own_path};
use super::table::{Access, Carrier};
use super::token::tests::{NOW, SECRET, at, settings, sign};

const SPELLINGS: usize = 10_000;

/// nginx' normalised path of a request line's path, or why it answers itself.
fn nginx(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some(&byte) = rest.first() {
        if byte == b'?' || byte == b'#' {
            break;
        }
        if byte == b'%' {
            let digits = rest.get(1..3).and_then(|d| std::str::from_utf8(d).ok()).ok_or("400")?;
            decoded.push(u8::from_str_radix(digits, 16).map_err(|_| "400")?);
            rest = &rest[3..];
        } else {
            decoded.push(byte);
            rest = &rest[1..];
        }
    }
    if decoded.contains(&0) || decoded.first() != Some(&b'/') {
        return Err("400");
    }
    let mut out: Vec<&[u8]> = Vec::new();
    let mut pieces = decoded[1..].split(|b| *b == b'/').peekable();
    let mut slash = false;
    while let Some(piece) = pieces.next() {
        slash = pieces.peek().is_none() && matches!(piece, b"" | b"." | b"..");
        match piece {
            b"" | b"." => {}
            b".." => drop(out.pop().ok_or("400")?),
            other => out.push(other),
        }
    }
    let mut path = out.iter().flat_map(|s| [&b"/"[..], s].concat()).collect::<Vec<_>>();
    if slash || path.is_empty() {
        path.push(b'/');
    }
    Ok(path)
}

/// The length of `^/\d+\.\d+\.\d+[.|-]\w+` where a slash follows.
fn version(path: &str) -> usize {
    let Some(end) = path[1..].find('/').map(|at| at + 1) else { return 0 };
    let mut parts = path[1..end].splitn(3, '.');
    let number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let (Some(a), Some(b), Some(c)) = (parts.next(), parts.next(), parts.next()) else { return 0 };
    let Some(at) = c.find(['.', '|', '-']) else { return 0 };
    let word = &c[at + 1..];
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if number(a) && number(b) && number(&c[..at]) && is_word { end } else { 0 }
}

/// Which handler in the container a request line's path reaches.
fn container(forward: &str) -> &'static str {
    let path = match nginx(forward.as_bytes()) {
        Ok(path) => String::from_utf8_lossy(&path).into_owned(),
        Err(answer) => return answer,
    };
    let stripped = &path[version(&path)..];
    let lower = stripped.to_ascii_lowercase();
    if path.to_ascii_lowercase().starts_with("/cache/files") && path.rfind('/') >= Some(12) {
        return "cache";
    }
    for closed in ["info", "internal"] {
        if lower.starts_with(&format!("/{closed}/")) {
            return closed;
        }
    }
    for folder in [
        "/web-apps/",
        "/sdkjs/",
        "/sdkjs-plugins/",
        "/fonts/",
        "/dictionaries/",
        "/document_editor_service_worker.js",
    ] {
        if stripped.starts_with(folder) {
            return "static";
        }
    }
    if version(&path) > 0 || stripped.starts_with("/doc/") {
        return express(stripped);
    }
    // `proxy_pass` without a path hands the request line on as it came.
    let raw = forward.split(['?', '#']).next().unwrap_or_default();
    match express(raw) {
        "404" => express(&path),
        handler => handler,
    }
}

/// Express: without case, one trailing slash ignored, `app.use` prefixes end at a slash or a dot.
fn express(path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let exact = [
        ("/coauthoring/commandservice.ashx", "command_service"),
        ("/command", "command"),
        ("/convertservice.ashx", "convert_service"),
        ("/converter", "converter"),
        ("/docbuilder", "docbuilder"),
        ("/plugins.json", "plugins_json"),
        ("/themes.json", "themes_json"),
        ("/healthcheck", "healthcheck"),
        ("/baseurl", "baseurl"),
        ("/robots.txt", "robots"),
        ("/index.html", "index_html"),
        ("/dummycallback", "dummy_callback"),
        ("", "root"),
    ];
    if let Some((_, handler)) = exact.iter().find(|(p, _)| *p == path) {
        return handler;
    }
    for (prefix, handler) in [
        ("/info", "info"),
        ("/internal", "internal"),
        ("/ai-proxy", "ai_proxy"),
        ("/hosting", "hosting"),
        ("/lool", "convert_to"),
        ("/cool", "convert_to"),
        ("/wopi", "wopi_files"),
        ("/welcome", "welcome"),
        ("/example", "example"),
        ("/meta", "meta"),
        ("/admin", "admin"),
    ] {
        if path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.'])) {
            return handler;
        }
    }
    let segments: Vec<_> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["doc", _, "c"] => "socket",
        ["upload", key, ..] if !key.is_empty() => "upload",
        ["downloadas", key] if !key.is_empty() => "downloadas",
        ["savefile", key] if !key.is_empty() => "savefile",
        ["downloadfile", key] if !key.is_empty() => "downloadfile",
        ["printfile", key, title] if !key.is_empty() && !title.is_empty() => "printfile",
        _ => "404",
    }
}

/// Whether what the container does is what the gateway thinks it does.
fn agree(route: Route, handler: &str) -> bool {
    match route {
        Route::ApiJs
        | Route::WebApps
        | Route::Sdkjs
        | Route::SdkjsPlugins
        | Route::Fonts
        | Route::Dictionaries
        | Route::ServiceWorker => matches!(handler, "static" | "404"),
        Route::CacheFiles => matches!(handler, "cache" | "404"),
        route => route.name() == handler,
    }
}

fn switches_on() -> Switches {
    Switches { docbuilder: true, ai_proxy: true, wopi: true, example: true }
}

/// Some letters in the other case.
fn recase(rng: &mut Rng, text: &str) -> String {
    text.chars()
        .map(|c| {
            if rng.u8(..4) == 0 {
                if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
            } else {
                c
            }
        })
        .collect()
}

/// Some bytes encoded, `layers` times over.
fn encode(rng: &mut Rng, text: &str, slashes: bool, layers: usize) -> String {
    let percent = format!("%{}", "25".repeat(layers - 1));
    text.bytes()
        .map(|b| match b {
            b'/' if !slashes => "/".to_owned(),
            b if rng.u8(..4) == 0 => match rng.bool() {
                true => format!("{percent}{b:02x}"),
                false => format!("{percent}{b:02X}"),
            },
            b => char::from(b).to_string(),
        })
        .collect()
}

/// Slashes doubled, steps on the spot and detours, at random slashes.
fn detour(rng: &mut Rng, path: &str) -> String {
    path.chars()
        .map(|c| match (c, rng.u8(..12)) {
            ('/', 0) => "//".to_owned(),
            ('/', 1) => "/./".to_owned(),
            ('/', 2) => "/zz/../".to_owned(),
            ('/', 3) => "/zz/%2e%2E/".to_owned(),
            ('/', 4) => "/%2e/".to_owned(),
            ('/', 5) => "/zz/.%2e//".to_owned(),
            (c, _) => c.to_string(),
        })
        .collect()
}

const CLOSED: [&str; 24] = [
    "/info/config",
    "/info/info.json",
    "/info/plugin/settings",
    "/info",
    "/internal/cluster/inactive",
    "/internal/connections/edit",
    "/docbuilder",
    "/ai-proxy",
    "/ai-proxy/v1/models",
    "/hosting/discovery",
    "/hosting/wopi/word/edit",
    "/lool/convert-to/pdf",
    "/cool/convert-to/pdf",
    "/wopi/files/x/contents",
    "/dummyCallback",
    "/baseurl",
    "/index.html",
    "/welcome/",
    "/example/editor",
    "/meta/x",
    "/admin/",
    "/healthcheck",
    "/.well-known/acme-challenge/x",
    "/robots.txt",
];

const WAYS_IN: [&str; 24] = [
    "",
    "",
    "",
    "/9.0.4-0ac7",
    "/9.0.4.54",
    "/9.0.4|x",
    "/9.0.4-a/9.0.4-b",
    "/9.0.4-a/%2e%2e",
    "/web-apps/..",
    "/web-apps%2f..",
    "/fonts/%2e%2e",
    "/fonts/..%2f..",
    "/sdkjs/..;",
    "/sdkjs/..%3b/..",
    "/cache/files/../..",
    "/cache/files/x%2f..%2f..%2f..",
    "/cache/files/..%5c..",
    "/printfile/k/..%2f..",
    "/printfile/k/%252e%252e%252f",
    "/doc/k/c/../../..",
    "/doc/k/c%3f",
    "/plugins.json%00",
    "/upload/k%2f..%2f..",
    "/command/../.",
];

fn spell_closed(rng: &mut Rng) -> String {
    let way_in = WAYS_IN[rng.usize(..WAYS_IN.len())];
    let mut path = CLOSED[rng.usize(..CLOSED.len())].to_owned();
    if rng.bool() {
        path = recase(rng, &path);
    }
    match rng.u8(..8) {
        0..=2 => path = encode(rng, &path, false, 1),
        3 => path = encode(rng, &path, false, 2),
        4 => path = encode(rng, &path, true, 1),
        5 => path = encode(rng, &path, true, 2),
        _ => {}
    }
    path = detour(rng, &path);
    match rng.u8(..8) {
        0 => path.push('/'),
        1 => path.push_str(";x"),
        2 => path.push_str("%3fx"),
        3 => path.push_str("/.."),
        4 => path.push_str("%20"),
        _ => {}
    }
    format!("{way_in}{path}")
}

#[test]
fn closed_paths_stay_closed_in_every_spelling() {
    let mut rng = Rng::with_seed(0x0ffc_e001);
    let mut resolved = 0;
    for _ in 0..SPELLINGS {
        let sent = spell_closed(&mut rng);
        let Ok(path) = canonical(&sent) else { continue };
        resolved += 1;
        let matched = find(&path, Switches::default());
        if let Access::Open | Access::Socket | Access::Token(_) = matched.access {
            let handler = container(path.forward());
            assert!(
                agree(matched.route(), handler),
                "{sent} -> {} is {:?}, there {handler}",
                path.forward(),
                matched.route()
            );
        }
    }
    assert!(resolved > SPELLINGS / 4, "{resolved}: most spellings were refused outright and showed nothing");
}

#[test]
fn no_spelling_reaches_another_handler_than_the_one_admitted() {
    let mut rng = Rng::with_seed(0x0ffc_e002);
    let pieces = [
        "/",
        "/",
        "/",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "%25",
        "%252e",
        "%00",
        "%3f",
        "%23",
        "%20",
        ";x",
        "?",
        "\\",
        "info",
        "Info",
        "%69nfo",
        "internal",
        "config",
        "cache",
        "files",
        "CACHE",
        "printfile",
        "doc",
        "c",
        "k1",
        "upload",
        "command",
        "converter",
        "docbuilder",
        "9.0.4-a",
        "9.0.4.b",
        "9.0.4|c",
        "web-apps",
        "fonts",
        "a b",
        "%c0%ae",
        "%C3%A4",
        "ai-proxy",
        "%zz",
        "data",
    ];
    let mut admitted = 0;
    for _ in 0..SPELLINGS * 4 {
        let (length, skipped) = (rng.usize(1..9), usize::from(rng.u8(..9) == 0));
        let sent: String =
            (0..length).flat_map(|_| ["/", pieces[rng.usize(..pieces.len())]]).skip(skipped).collect();
        let Ok(path) = canonical(&sent) else { continue };
        let matched = find(&path, switches_on());
        if let Access::Open | Access::Socket | Access::Token(_) = matched.access {
            admitted += 1;
            let handler = container(path.forward());
            assert!(
                agree(matched.route(), handler),
                "{sent} -> {} is {:?}, there {handler}",
                path.forward(),
                matched.route()
            );
        }
    }
    assert!(admitted > 500, "{admitted}");
}

const OPEN: [(&str, Route); 18] = [
    ("/web-apps/apps/api/documents/api.js", Route::ApiJs),
    ("/web-apps/apps/documenteditor/main/index.html", Route::WebApps),
    ("/sdkjs/word/sdk-all-min.js", Route::Sdkjs),
    ("/sdkjs-plugins/{9DC93CDB}/index.html", Route::SdkjsPlugins),
    ("/fonts/000", Route::Fonts),
    ("/dictionaries/en_GB/en_GB.dic", Route::Dictionaries),
    ("/document_editor_service_worker.js", Route::ServiceWorker),
    ("/plugins.json", Route::PluginsJson),
    ("/themes.json", Route::ThemesJson),
    ("/doc/Khirz6zTPdfd7_1=-./c", Route::Socket),
    ("/upload/k1", Route::Upload),
    ("/downloadas/k1", Route::DownloadAs),
    ("/savefile/k1", Route::SaveFile),
    ("/downloadfile/k1", Route::DownloadFile),
    ("/coauthoring/CommandService.ashx", Route::CommandService),
    ("/command", Route::Command),
    ("/ConvertService.ashx", Route::ConvertService),
    ("/converter", Route::Converter),
];

#[test]
fn open_paths_are_forwarded_as_they_were_matched() {
    let mut rng = Rng::with_seed(0x0ffc_e003);
    for _ in 0..SPELLINGS {
        let (base, route) = OPEN[rng.usize(..OPEN.len())];
        let version = ["", "/9.0.4-a0_", "/9.0.4.54"][rng.usize(..3)];
        let slash = ["", "/"][rng.usize(..2)];
        let cased = if rng.bool() { recase(&mut rng, base) } else { base.to_owned() };
        let plain = format!("{version}{cased}{slash}");
        let encoded = encode(&mut rng, &plain, false, 1);
        let sent = detour(&mut rng, &encoded);
        let path = canonical(&sent).unwrap_or_else(|fault| panic!("{sent}: {fault:?}"));
        let matched = find(&path, Switches::default());
        assert_eq!(matched.route(), route, "{sent}");
        assert_eq!(nginx(path.forward().as_bytes()), Ok(plain.clone().into_bytes()), "{sent}");
        assert_eq!(path.matchable(), cased, "{sent}");
        assert_eq!(path.version(), version.strip_prefix('/'), "{sent}");
        assert!(agree(route, container(path.forward())), "{sent}");
        let again = canonical(path.forward()).unwrap();
        assert_eq!((again.forward(), again.matchable()), (path.forward(), path.matchable()), "{sent}");
    }
}

#[test]
fn titles_survive_byte_for_byte() {
    let mut rng = Rng::with_seed(0x0ffc_e004);
    let alphabet: Vec<char> =
        "abcXYZ019 .-_~!'()*%/\\?#&=+;:@,\"<>|{}[]^`äß–漢🙂\u{301}\u{1}\u{7f}".chars().collect();
    for round in 0..SPELLINGS {
        let title: String = match round {
            0 => "Q1/Q2 – 100 %.docx".to_owned(),
            _ => (0..rng.usize(1..24)).map(|_| alphabet[rng.usize(..alphabet.len())]).collect(),
        };
        let dots = title.split(['/', '\\']).any(|s| matches!(s, "." | ".."));
        // As `encodeURIComponent` writes it, once (print) or twice (storage-base.js:144-195).
        let component = |text: &str| -> String {
            let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&b);
            text.bytes()
                .map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
                .collect()
        };
        let (once, twice) = (component(&title), component(&component(&title)));
        for (folder, sent, refused) in [
            ("/cache/files/data/k_1/output.docx", &twice, matches!(title.as_str(), "." | "..")),
            ("/cache/files/data/k_1/output.docx", &once, dots),
            ("/printfile/k", &once, dots),
        ] {
            let raw = format!("{folder}/{sent}");
            match canonical(&raw) {
                Ok(path) if !refused => {
                    assert_eq!(path.forward(), raw);
                    assert!(
                        matches!(
                            find(&path, Switches::default()).route(),
                            Route::CacheFiles | Route::PrintFile
                        ),
                        "{raw}"
                    );
                }
                other => assert!(refused && other.is_err(), "{raw}: {other:?}"),
            }
            let detoured = format!("/{}/{sent}", detour(&mut rng, folder));
            assert_eq!(
                canonical(&detoured).map(|p| p.forward().to_owned()).ok(),
                (!refused).then(|| raw.clone()),
                "{detoured}"
            );
            // Below any other folder, or behind a version, the same bytes are an ordinary segment.
            if once.contains("%2F") && !refused {
                assert!(canonical(&format!("/9.0.4-a{folder}/{once}")).is_err(), "{raw}");
                assert!(canonical(&format!("/fonts/{once}")).is_err(), "{raw}");
                assert!(canonical(&format!("/fonts/x/{once}")).is_err(), "{raw}");
            }
        }
    }
}

#[test]
fn the_model_sees_what_was_measured() {
    // [L] protocol.md 0.2 and 1.1; threats.md 0.4.
    for path in [
        "/info/config",
        "/INFO/config",
        "/9.0.4-xx/info/config",
        "/%69nfo/config",
        "//info/config",
        "/x/../info/config",
    ] {
        assert_eq!(container(path), "info", "{path}");
    }
    for path in ["/CONVERTER", "/converter/", "/9.0.4-a/CoNvErTeR/"] {
        assert_eq!(container(path), "converter", "{path}");
    }
    assert_eq!(container("/9.0.4-a/%61i-proxy"), "ai_proxy");
    assert_eq!(container("/9.0.4-a/9.0.4-b/info/config"), "404");
    assert_eq!(container("/cache/files/x/%2e%2e%2f..%2f..%2finfo%2fconfig"), "info");
}

#[test]
fn no_input_panics() {
    let mut rng = Rng::with_seed(0x0ffc_e005);
    let settings = settings(&[SECRET]);
    let token = sign(&serde_json::json!({"c": "version", "exp": NOW}));
    let seeds = [
        "/9.0.4-a/doc/k/c/",
        "/cache/files/data/k_1/output.docx/Q1%252FQ2.docx",
        "https://office.example:8443/docs",
        "[::1]:443",
        "a.example.org.",
        "*.example.org",
        "token=a%20b&cmd={\"tokenSession\":\"x\"}&[token]=y",
        "{\"token\":\"b\",\"x\":[1,2]}",
        &token,
        "/relay/rapidpm/x",
        "1.1.1.1, [2001:db8::1]:443",
    ];
    for _ in 0..SPELLINGS * 2 {
        let mut bytes = seeds[rng.usize(..seeds.len())].as_bytes().to_vec();
        for _ in 0..rng.usize(..6) {
            let at = rng.usize(..=bytes.len());
            match rng.u8(..4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, rng.u8(..)),
                2 => bytes.insert(at, b"%/.:[]\\&=?#,*@\"{}"[rng.usize(..17)]),
                _ => {
                    let more = seeds[rng.usize(..seeds.len())].as_bytes();
                    bytes.splice(at..at, more.iter().copied());
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(path) = canonical(&text) {
            let matched = find(&path, switches_on());
            let _ = document_key(&path, &matched, Some(&text));
            assert!(
                path.forward().starts_with('/')
                    && !path.forward().contains(['?', '#', ' ', '\\', '\r', '\n']),
                "{text}"
            );
        }
        let _ = (
            own_path(&text),
            PublicUrl::parse(&text),
            NamePattern::parse(&text),
            Authority::parse(&text).is_ok(),
        );
        assert!(settings.verify(&text, at(NOW)).is_err() || text == token, "{text}");
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            for name in ["authorization", "connection", "x-forwarded-for"] {
                headers.append(name, value.clone());
            }
        }
        let carried = Carried { headers: &headers, query: Some(&text), body: &bytes };
        let all = [Carrier::Body, Carrier::CmdDownload, Carrier::Query, Carrier::Header, Carrier::Bearer];
        for carrier in all {
            let _ = carried.find(&[carrier], &settings);
        }
        let client = Client::of(
            &Peer::new([10, 0, 0, 1].into()),
            &headers,
            &["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        );
        assert!(client.proxies().len() <= 16);
        to_client(&mut headers, Hop::Ordinary);
    }
}
