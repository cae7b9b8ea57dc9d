//! A configuration as lines that can be compared: each key with what it means, defaults included. Every struct is taken
//! apart by name, so that a new field does not compile until it has its line.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use hyper::header::HeaderValue;

use super::build::short;
use super::diff::{Change, Line, Value, compare};
use crate::live::{Fixed, Limits, Site, Snapshot};
use crate::ops::log;
use crate::relay::{self, Archive, Connect, Integrator, Saves};
use crate::rules::route::Switches;
use crate::rules::{host::PublicUrl, token};
use crate::{assets, sockets, state, tls, upstream};

/// Keys that only a restart takes up.
pub const FIXED: [&str; 6] =
    ["server.https", "server.http", "server.admin", "server.relay", "server.workers", "saves.directory"];

/// What `now` has that `before` had not, in words.
pub fn changes(before: (&Snapshot, &Fixed), now: (&Snapshot, &Fixed)) -> Vec<Change> {
    compare(&lines(before.0, before.1), &lines(now.0, now.1))
}

fn lines<'a>(snapshot: &'a Snapshot, fixed: &'a Fixed) -> Vec<Line<'a>> {
    let Snapshot {
        mode,
        site,
        tokens,
        routes,
        tls,
        upstream,
        sockets,
        assets,
        relay,
        state,
        limits,
        log,
        drain,
    } = snapshot;
    let assets::Settings { memory } = assets;
    let relay::Settings { integrators, saves, archive, secret } = relay;
    let mut all = vec![line("mode", word(mode))];
    all.extend(of_site(site));
    all.extend(of_fixed(fixed));
    all.push(line("server.drain", time(*drain)));
    all.extend(of_tls(tls.as_ref()));
    all.push(line("jwt.secret", Value::Secret(secret)));
    all.extend(of_tokens(tokens));
    all.extend(of_servers(upstream, *routes));
    all.extend(of_sockets(sockets));
    all.extend(integrators.iter().flat_map(of_integrator));
    all.extend(of_saves(saves));
    all.extend(of_archive(archive.as_ref()));
    all.push(match state {
        state::Settings::Embedded => line("state.redis", one("off")),
        state::Settings::Redis(url) => line("state.redis", Value::Secret(url)),
    });
    all.push(line("assets.memory", one(format!("{memory} bytes"))));
    all.extend(of_limits(*limits, *log));
    all
}

fn line<'a>(key: &'static str, value: Value<'a>) -> Line<'a> {
    Line { key, entry: None, value, fixed: FIXED.contains(&key) }
}

fn one(text: impl Into<String>) -> Value<'static> {
    Value::One(text.into())
}

/// An enum's variant, as it is written in gateway.toml.
fn word(variant: &impl Debug) -> Value<'static> {
    one(format!("{variant:?}").to_ascii_lowercase())
}

fn time(duration: Duration) -> Value<'static> {
    one(short(duration))
}

fn number(number: impl ToString) -> Value<'static> {
    one(number.to_string())
}

fn several(of: impl IntoIterator<Item = impl ToString>) -> Value<'static> {
    Value::Several(of.into_iter().map(|one| one.to_string()).collect())
}

fn text(value: Option<&HeaderValue>) -> Value<'static> {
    one(value.and_then(|value| value.to_str().ok()).unwrap_or("off"))
}

fn url(url: &PublicUrl) -> String {
    format!("https://{}", url.forwarded_host().to_str().unwrap_or_default())
}

fn of_site(site: &Site) -> Vec<Line<'_>> {
    // `relay` follows from `server.relay`.
    let Site {
        public,
        relay: _,
        trusted_proxies,
        health_networks,
        admin_names,
        acme_challenge,
        hsts,
        frame_ancestors,
        backend_networks,
    } = site;
    let folder = acme_challenge.as_ref().map_or("off".to_owned(), |folder| folder.display().to_string());
    vec![
        line("public_url", several(public.iter().map(url))),
        line("server.trusted_proxies", several(trusted_proxies)),
        line("server.health_networks", several(health_networks)),
        line("server.admin_names", several(admin_names)),
        line("server.acme_challenge", one(folder)),
        line("headers.hsts", text(hsts.as_ref())),
        line("headers.frame_ancestors", text(frame_ancestors.as_ref())),
        line("document_server.backend_networks", several(backend_networks)),
    ]
}

fn of_fixed(fixed: &Fixed) -> Vec<Line<'_>> {
    let Fixed { https, http, admin, relay, workers } = fixed;
    vec![
        line("server.https", several(https)),
        line("server.http", several(http)),
        line("server.admin", number(admin)),
        line("server.relay", several(relay)),
        line("server.workers", number(workers.map_or(0, usize::from))),
    ]
}

fn of_tls(tls: Option<&tls::Settings>) -> Vec<Line<'_>> {
    let Some(tls) = tls else { return Vec::new() };
    let certificate = |pair: &tls::Pair| Line {
        entry: Some(format!("certificate \"{}\"", pair.label())),
        ..line("tls.certificates", one(certificate(pair)))
    };
    let names = |pair: &tls::Pair| Line {
        entry: Some(format!("certificate \"{}\"", pair.label())),
        ..line("tls.certificates.names", several(pair.names()))
    };
    let pairs = tls.certificates.pairs();
    // The first serves clients without SNI: their order means something.
    let order = pairs.first().map_or(String::new(), tls::Pair::label);
    let mut all = vec![line("tls.min_version", one(tls.min.name())), line("tls.certificates", one(order))];
    all.extend(pairs.iter().map(certificate));
    all.extend(pairs.iter().map(names));
    all
}

/// As `openssl x509 -fingerprint -sha256 -enddate` tells it, the first bytes of the fingerprint.
fn certificate(pair: &tls::Pair) -> String {
    let leaf = pair.chain().first().map(AsRef::as_ref).unwrap_or_default();
    let print: Vec<String> = digest::digest(&digest::SHA256, leaf).as_ref()[..4]
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let until = humantime::format_rfc3339_seconds(pair.validity().until);
    let length = pair.chain().len();
    format!("{} until {until} (chain of {length})", print.join(":"))
}

fn of_tokens(tokens: &token::Settings) -> Vec<Line<'_>> {
    let token::Settings { keys, algorithms, leeway, header, prefix } = tokens;
    let previous = keys.iter().skip(1).map(token::VerifyingKey::secret).collect();
    vec![
        line("jwt.previous", Value::Secrets(previous)),
        line("jwt.algorithms", several(algorithms.iter().map(|algorithm| algorithm.name()))),
        line("jwt.leeway", time(*leeway)),
        line("jwt.header", number(header)),
        line("jwt.prefix", one(format!("{prefix:?}"))),
    ]
}

fn of_servers(upstream: &upstream::Settings, routes: Switches) -> Vec<Line<'_>> {
    let upstream::Settings { servers, health, wait } = upstream;
    let Switches { docbuilder, ai_proxy, wopi, example } = routes;
    vec![
        line("document_server.servers", several(servers.iter().map(|server| format!("http://{server}")))),
        line("document_server.health", time(*health)),
        line("document_server.wait", time(*wait)),
        line("document_server.docbuilder", number(docbuilder)),
        line("document_server.ai_proxy", number(ai_proxy)),
        line("document_server.wopi", number(wopi)),
        line("document_server.example", number(example)),
    ]
}

fn of_sockets(sockets: &sockets::Settings) -> Vec<Line<'_>> {
    let sockets::Settings { key_binding, origins, without_origin, polling, per_document } = sockets;
    let none = without_origin.then(|| "none".to_owned());
    vec![
        line("sockets.key_binding", word(key_binding)),
        line("sockets.origins", several(origins.iter().cloned().chain(none))),
        line("sockets.polling", number(polling)),
        line("limits.sockets_per_document", number(per_document)),
    ]
}

fn of_integrator(integrator: &Integrator) -> Vec<Line<'_>> {
    let Integrator { name, scheme: _, host: _, port: _, path, header, prefix, connect, roots, hosts } =
        integrator;
    let as_in_jwt = || "as in [jwt]".to_owned();
    let connect = connect.as_ref().map_or("off".to_owned(), |connect| match connect {
        Connect::Address(IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
        Connect::Address(ip, port) => format!("{ip}:{port}"),
        Connect::Name(name, port) => format!("{name}:{port}"),
    });
    let mut digest = digest::Context::new(&digest::SHA256);
    roots.iter().for_each(|root| digest.update(root));
    let print = digest.finish();
    let print: String = print.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = [
        line("integrators.url", one(format!("{}{path}", integrator.origin()))),
        line("integrators.header", one(header.as_ref().map_or_else(as_in_jwt, ToString::to_string))),
        line(
            "integrators.prefix",
            one(prefix.as_ref().map_or_else(as_in_jwt, |prefix| format!("{prefix:?}"))),
        ),
        line("integrators.connect", one(connect)),
        line("integrators.ca", one(format!("{} roots ({print})", roots.len()))),
        line("integrators.hosts", several(hosts)),
    ];
    let entry = Some(format!("integrator \"{name}\""));
    lines.into_iter().map(|line| Line { entry: entry.clone(), ..line }).collect()
}

fn of_saves(saves: &Saves) -> Vec<Line<'_>> {
    let Saves { directory, answer_within, keep_trying, hold_editors, validate, max_document, max_size } =
        saves;
    vec![
        line("saves.directory", number(directory.display())),
        line("saves.answer_within", time(*answer_within)),
        line("saves.keep_trying", time(*keep_trying)),
        line("saves.hold_editors", time(*hold_editors)),
        line("saves.validate", word(validate)),
        line("saves.max_document", one(format!("{max_document} bytes"))),
        line("saves.max_size", one(format!("{max_size} bytes"))),
    ]
}

fn of_archive(archive: Option<&Archive>) -> Vec<Line<'_>> {
    let Some(Archive { user, host, port, path, key, known_hosts }) = archive else { return Vec::new() };
    let lines = [
        line("archive.sftp", one(format!("sftp://{user}@{host}:{port}{path}"))),
        line("archive.key", one(key.fingerprint())),
        line("archive.known_hosts", number(known_hosts.display())),
    ];
    lines.into_iter().map(|line| Line { entry: Some("the archive".into()), ..line }).collect()
}

fn of_limits(limits: Limits, log: log::Settings) -> Vec<Line<'static>> {
    let Limits { connections, connections_per_address } = limits;
    let log::Settings { format, level } = log;
    vec![
        line("limits.connections", number(connections)),
        line("limits.connections_per_address", number(connections_per_address)),
        line("log.format", word(&format)),
        line("log.level", one(level.name())),
    ]
}
