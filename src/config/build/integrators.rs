//! `[[integrators]]`: the applications that embed the editor.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::Spanned;

use super::Context;
use crate::config::raw;
use crate::config::url::{HttpUrl, is_loopback};
use crate::relay::{Integrator, Scheme};

/// Integrators, with their origins for frames.
pub struct Integrators {
    /// As the relay takes them.
    pub built: Vec<Integrator>,
}

impl Integrators {
    /// Their origins, in the order of the file.
    pub fn origins(&self) -> Vec<String> {
        self.built.iter().map(origin).collect()
    }

    /// The origin of the one with this name.
    pub fn origin_of(&self, name: &str) -> Option<String> {
        self.built.iter().find(|integrator| integrator.name == name).map(origin)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.built.iter().map(|integrator| integrator.name.as_str())
    }
}

fn origin(integrator: &Integrator) -> String {
    let Integrator { scheme, host, port, .. } = integrator;
    HttpUrl { scheme: *scheme, host: host.clone(), port: *port, path: String::new() }.origin()
}

/// Those of the file; RapidPM where the file has none. `integrators = []` means none at all.
pub fn build(
    written: Option<&Spanned<Vec<Spanned<raw::Integrator>>>>,
    context: &mut Context<'_>,
) -> Integrators {
    let Some(list) = written else { return Integrators { built: vec![rapidpm()] } };
    let mut built: Vec<Integrator> = Vec::new();
    for entry in list.get_ref() {
        let raw = entry.get_ref();
        context.require("[[integrators]]", &["name", "url"], &raw.written, entry.span());
        let roots = roots(raw.ca.as_ref(), context);
        let prefix = context.prefix("integrators.prefix", raw.prefix.as_ref());
        let Some(integrator) = integrator(raw, roots, prefix) else { continue };
        report(raw, &integrator, &built, context);
        built.push(integrator);
    }
    Integrators { built }
}

fn rapidpm() -> Integrator {
    Integrator {
        name: "rapidpm".into(),
        scheme: Scheme::Https,
        host: "rapidpm.uk".into(),
        port: 443,
        path: String::new(),
        header: None,
        prefix: None,
        connect: None,
        roots: Vec::new(),
        hosts: Vec::new(),
    }
}

fn integrator(
    raw: &raw::Integrator,
    roots: Vec<CertificateDer<'static>>,
    prefix: Option<String>,
) -> Option<Integrator> {
    let url = raw.url.as_ref()?.get_ref();
    Some(Integrator {
        name: raw.name.as_ref()?.get_ref().0.clone(),
        scheme: url.scheme,
        host: url.host.clone(),
        port: url.port,
        path: url.path.clone(),
        header: raw.header.as_ref().map(|header| header.get_ref().clone()),
        prefix,
        connect: raw.connect.as_ref().map(|connect| connect.get_ref().0.clone()),
        roots,
        hosts: raw
            .hosts
            .iter()
            .flat_map(|list| list.get_ref())
            .map(|host| host.get_ref().0.clone())
            .collect(),
    })
}

fn report(raw: &raw::Integrator, integrator: &Integrator, others: &[Integrator], context: &mut Context<'_>) {
    if let Some(name) = raw.name.as_ref().filter(|_| others.iter().any(|other| other.name == integrator.name))
    {
        let message = format!(
            "`integrators.name`: \"{}\" is taken already; the name stands in /relay/<name>/",
            integrator.name
        );
        context.report.fault(name.span(), message);
    }
    let Some(url) = &raw.url else { return };
    if integrator.scheme == Scheme::Http && !is_loopback(&integrator.host) {
        let message = "`integrators.url` is http: documents and tokens travel there without encryption";
        context.report.warn(url.span(), message);
    }
    if let Some(ca) = raw.ca.as_ref().filter(|_| integrator.scheme == Scheme::Http) {
        context.report.warn(ca.span(), "`integrators.ca` is not used: the url is http");
    }
}

fn roots(written: Option<&Spanned<String>>, context: &mut Context<'_>) -> Vec<CertificateDer<'static>> {
    let Some(written) = written else { return Vec::new() };
    let path = context.path(written.get_ref());
    let Some(pem) = context.read("integrators.ca", &path, written.span()) else { return Vec::new() };
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut store = RootCertStore::empty();
    let why = match &roots {
        Err(error) => error.to_string(),
        Ok(roots) if roots.is_empty() => "no CERTIFICATE block".to_owned(),
        Ok(roots) => match roots.iter().try_for_each(|root| store.add(root.clone())) {
            Ok(()) => return roots.clone(),
            Err(error) => error.to_string(),
        },
    };
    let message = format!("`integrators.ca`: {} holds no usable certificate: {why}", path.display());
    context.report.fault(written.span(), message);
    Vec::new()
}
