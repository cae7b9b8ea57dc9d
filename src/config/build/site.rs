//! How the site is called from outside, whom it believes, and what its pages carry.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderValue;
use ipnet::IpNet;
use toml::Spanned;

use super::context::short;
use super::integrators::Integrators;
use super::{Context, Part};
use crate::config::read::{OneOrMore, Wrong, report_wrong, shown};
use crate::config::suggest::nearest;
use crate::config::url::HttpUrl;
use crate::config::values::{HostName, Sometimes};
use crate::config::{raw, url};
use crate::live::Site;
use crate::rules::host::PublicUrl;
use crate::rules::visitor;

/// The production this gateway is made for; with a warning, since somebody else's would be wrong.
const PRODUCTION: &str = "https://onlyoffice.rapidpm.uk";

/// The environment's word for `public_url`.
const VARIABLE: &str = "ONLY_OFFICE_URL";

/// A year: what a browser remembers when nothing is written.
const HSTS: Duration = Duration::from_secs(365 * 24 * 3600);

/// What browsers see, each with its place in the file.
pub type Public = Vec<Spanned<PublicUrl>>;

/// `public_url`, else the environment's, else the production's.
pub fn public_urls(written: Option<&Spanned<OneOrMore<String>>>, context: &mut Context<'_>) -> Public {
    let Some(written) = written else {
        return vec![public_url_unwritten(context)].into_iter().flatten().collect();
    };
    let mut urls: Public = Vec::new();
    if written.get_ref().0.is_empty() {
        context.report.fault(written.span(), "`public_url` is an empty list; name at least one URL");
    }
    for text in &written.get_ref().0 {
        let Some(url) = public_url("public_url", text.get_ref(), text.span(), context) else { continue };
        if urls.iter().any(|other| other.get_ref().host_value() == url.host_value()) {
            let message =
                format!("`public_url`: a URL of {}:{} stands there already", url.host(), url.port());
            context.report.fault(text.span(), message);
        }
        urls.push(Spanned::new(text.span(), url));
    }
    urls
}

fn public_url_unwritten(context: &mut Context<'_>) -> Option<Spanned<PublicUrl>> {
    let text = match context.env.get(VARIABLE).map(|value| value.to_string_lossy().into_owned()) {
        Some(text) if !text.is_empty() => text,
        _ => {
            let message =
                format!("`public_url` is not written and {VARIABLE} is not set; {PRODUCTION} is taken");
            context.report.warn(0..0, message);
            PRODUCTION.to_owned()
        }
    };
    public_url(VARIABLE, &text, 0..0, context).map(|url| Spanned::new(0..0, url))
}

fn public_url(key: &str, text: &str, span: Range<usize>, context: &mut Context<'_>) -> Option<PublicUrl> {
    match PublicUrl::parse(text) {
        Ok(url) => Some(url),
        Err(fault) => {
            context.report.fault(span, format!("`{key}`: {}: {fault}", shown(text)));
            None
        }
    }
}

/// Puts the site together; `None` after a fault.
pub fn build(
    public: Public,
    server: &Part<raw::Server>,
    headers: &Part<raw::Headers>,
    document_server: &Part<raw::DocumentServer>,
    integrators: &Integrators,
    context: &mut Context<'_>,
) -> Option<Site> {
    let (server, headers) = (server.get_ref(), headers.get_ref());
    let trusted_proxies = networks(server.trusted_proxies.as_ref());
    for believed in server.trusted_proxies.iter().flat_map(|list| list.get_ref()) {
        report_believed(believed, context);
    }
    for told in server.health_networks.iter().flat_map(|list| list.get_ref()) {
        if told.get_ref().prefix_len() == 0 {
            let message = "`server.health_networks` names everybody: strangers see how the gateway is, and how many edit";
            context.report.warn(told.span(), message);
        }
    }
    let hsts = hsts(headers.hsts.as_ref(), context);
    let frame_ancestors = frame_ancestors(headers, integrators, context);
    Some(Site {
        public: public.into_iter().map(Spanned::into_inner).collect(),
        trusted_proxies,
        health_networks: networks(server.health_networks.as_ref()),
        admin_names: admin_names(server, context),
        acme_challenge: acme_challenge(server, context),
        hsts,
        frame_ancestors,
        backend_networks: networks(document_server.get_ref().backend_networks.as_ref()),
        relay: server.relay.iter().flat_map(|list| list.get_ref()).map(|at| at.get_ref().ip()).collect(),
    })
}

/// Warns about proxies that are believed although they are not ours: who is believed may pretend to have any address.
fn report_believed(network: &Spanned<IpNet>, context: &mut Context<'_>) {
    let net = network.get_ref();
    // The largest networks of one's own are 10.0.0.0/8 and fd00::/8; a provider's are smaller.
    let is_wide = net.prefix_len() < 8 || (net.prefix_len() < 16 && url::is_far(&net.addr().to_string()));
    if net.prefix_len() == 0 {
        let message =
            "`server.trusted_proxies` believes everybody: any client can pretend to have any address";
        context.report.warn(network.span(), message);
    } else if is_wide {
        let message = format!(
            "`server.trusted_proxies`: {net} is a large piece of the internet: whoever is in it can pretend to have any address"
        );
        context.report.warn(network.span(), message);
    }
}

/// Names of the admin listener beyond those that it is called by without being told.
fn admin_names(server: &raw::Server, context: &mut Context<'_>) -> Vec<String> {
    let list = server.admin_names.iter().flat_map(|list| list.get_ref());
    let names = list.map(|name| {
        let HostName(written) = name.get_ref();
        if !visitor::needs_a_name(written) {
            let message = format!("`server.admin_names`: {written:?} needs no entry; addresses and names without a dot are known");
            context.report.warn(name.span(), message);
        }
        written.clone()
    });
    names.collect()
}

fn networks(written: Option<&Spanned<Vec<Spanned<IpNet>>>>) -> Vec<IpNet> {
    written.map_or_else(Vec::new, |list| list.get_ref().iter().map(|net| *net.get_ref()).collect())
}

fn acme_challenge(server: &raw::Server, context: &mut Context<'_>) -> Option<PathBuf> {
    let written = server.acme_challenge.as_ref()?;
    let path = context.folder("server.acme_challenge", written);
    if server.http.as_ref().is_some_and(|http| http.get_ref().is_empty()) {
        let message = "`server.acme_challenge` is never served: `server.http` is empty";
        context.report.warn(written.span(), message);
    }
    if !path.is_dir() {
        let message = format!(
            "`server.acme_challenge`: there is no folder {}; challenges will not be found",
            path.display()
        );
        context.report.warn(written.span(), message);
    }
    Some(path)
}

fn hsts(written: Option<&Spanned<Sometimes>>, context: &mut Context<'_>) -> Option<HeaderValue> {
    /// Ten years: longer is a slip of the pen, and browsers keep it.
    const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    let age = written.map_or(Some(HSTS), |hsts| hsts.get_ref().0)?;
    if let Some(written) = written.filter(|_| age > LONGEST) {
        let message =
            format!("`headers.hsts` must be at most {}: browsers keep it that long", short(LONGEST));
        context.report.fault(written.span(), message);
    }
    HeaderValue::try_from(format!("max-age={}", age.as_secs())).ok()
}

/// `frame-ancestors` of what may show the editor in a frame. An empty list means nobody, as it says.
fn frame_ancestors(
    headers: &raw::Headers,
    integrators: &Integrators,
    context: &mut Context<'_>,
) -> Option<HeaderValue> {
    let mut sources: Vec<String> = Vec::new();
    match &headers.frame_ancestors {
        None => {
            sources.push("'self'".into());
            sources.extend(integrators.origins());
        }
        Some(list) => {
            for entry in list.get_ref() {
                match ancestor(entry.get_ref(), integrators) {
                    Ok(Ancestors::Everybody) => {
                        let message =
                            "`headers.frame_ancestors`: \"*\" lets every page put the editor into a frame";
                        context.report.warn(entry.span(), message);
                        return None;
                    }
                    Ok(Ancestors::These(more)) => sources.extend(more),
                    Err(wrong) => {
                        report_wrong(
                            "headers.frame_ancestors",
                            entry.get_ref(),
                            wrong,
                            entry.span(),
                            context.report,
                        );
                    }
                }
            }
        }
    }
    if sources.is_empty() {
        sources.push("'none'".into());
    }
    let mut once: Vec<String> = Vec::new();
    sources.into_iter().for_each(|source| {
        if !once.contains(&source) {
            once.push(source);
        }
    });
    HeaderValue::try_from(format!("frame-ancestors {}", once.join(" "))).ok()
}

enum Ancestors {
    Everybody,
    These(Vec<String>),
}

fn ancestor(entry: &str, integrators: &Integrators) -> Result<Ancestors, Wrong> {
    match entry {
        "self" => return Ok(Ancestors::These(vec!["'self'".into()])),
        "integrators" => return Ok(Ancestors::These(integrators.origins())),
        "*" => return Ok(Ancestors::Everybody),
        "none" => return Err(Wrong::new("is written as an empty list: frame_ancestors = []")),
        _ => {}
    }
    if let Some(origin) = integrators.origin_of(entry) {
        return Ok(Ancestors::These(vec![origin]));
    }
    if entry.contains("://") {
        return origin(entry).map(|origin| Ancestors::These(vec![origin]));
    }
    let known = ["self", "integrators"].into_iter().chain(integrators.names());
    let meant = nearest(entry.trim_matches('\''), known);
    Err(Wrong::meaning(
        "is neither \"self\", \"integrators\", the name of one, nor an origin such as \"https://rapidpm.uk\"",
        meant,
    ))
}

/// An origin as browsers write it: scheme, host, port and nothing behind.
pub fn origin(text: &str) -> Result<String, Wrong> {
    let url = HttpUrl::parse(text)?;
    if !url.path.is_empty() || text.ends_with('/') {
        return Err(Wrong::meaning("has a path; an origin ends with its host or port", Some(url.origin())));
    }
    Ok(url.origin())
}
