//! `[tls]`: certificates that are read, matched with their keys, and compared with the names they shall serve.

use std::net::Ipv6Addr;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use toml::Spanned;

use super::context::value;
use super::site::Public;
use super::{Context, Part};
use crate::config::raw;
use crate::config::read::shown;
use crate::live::Fixed;
use crate::rules::host::NamePattern;
use crate::tls::{Certificates, MinVersion, Pair, PairFault, Settings, Tickets, Validity};

/// TLS of the public listener; `None` after a fault, `Some(None)` when there is no listener for it.
pub fn build(
    tls: &Part<raw::Tls>,
    public: &Public,
    fixed: &Fixed,
    tickets: &Tickets,
    context: &mut Context<'_>,
) -> Option<Option<Settings>> {
    let written = tls.get_ref().certificates.as_ref();
    let faulty = written.is_none() && tls.get_ref().written.contains(&"certificates");
    let list: &[Spanned<raw::Certificate>] = written.map_or(&[], |list| list.get_ref());
    if list.is_empty() && !faulty && !fixed.https.is_empty() {
        let message = "no certificate: [[tls.certificates]] with names, chain and key is needed for `server.https` \
                       (`rapidpm-gateway certs dev` makes a pair for trying)";
        context.report.fault(tls.span(), message);
    }
    let pairs: Vec<Option<Pair>> = list.iter().map(|entry| pair(entry, context)).collect();
    report_twice(list, context);
    let pairs: Vec<Pair> = pairs.into_iter().collect::<Option<_>>()?;
    report_uncovered(&pairs, public, context);
    let min = value(tls.get_ref().min_version.as_ref(), MinVersion::Tls12);
    let Some(certificates) = Certificates::new(pairs) else { return Some(None) };
    match Settings::new(certificates, min, tickets) {
        Ok(settings) => Some(Some(settings)),
        Err(error) => {
            context.report.fault(tls.span(), format!("[tls] cannot be put together: {error}"));
            None
        }
    }
}

fn pair(entry: &Spanned<raw::Certificate>, context: &mut Context<'_>) -> Option<Pair> {
    let raw = entry.get_ref();
    context.require("[[tls.certificates]]", &["names", "chain", "key"], &raw.written, entry.span());
    let names = raw.names.as_ref().and_then(|names| patterns(names, context));
    let files = [&raw.chain, &raw.key];
    let files: Vec<_> = files.into_iter().flatten().map(|file| context.path(file.get_ref())).collect();
    let chain = raw.chain.as_ref().and_then(|chain| {
        let path = context.path(chain.get_ref());
        context.read("tls.certificates.chain", &path, chain.span())
    });
    let key = raw.key.as_ref().and_then(|key| {
        if key.get_ref().contains("-----BEGIN") {
            let message = "`tls.certificates.key` must be the path of a file; the key itself does not belong into this file";
            context.report.fault(key.span(), message);
            return None;
        }
        let path = context.path(key.get_ref());
        context.read_private("tls.certificates.key", &path, key.span())
    });
    let (names, chain, key) = (names?, chain?, key?);
    report_not_in(&chain, raw.names.as_ref(), context);
    let pair = Pair::from_pem(names, &chain, &key).map_err(|fault| report_pair(raw, &fault, context)).ok()?;
    report_times(raw, &pair, context);
    report_incomplete(raw, &pair, context);
    Some(pair.read_from(files))
}

/// Warns about a certificate whose time is over, nearly over, or has not come.
fn report_times(raw: &raw::Certificate, pair: &Pair, context: &mut Context<'_>) {
    /// Renewal is tried again for weeks before a certificate of 90 days ends; certificates of six days (Let's Encrypt) are
    /// renewed with a third of their time left. Whoever is beyond both has an automation that does not run.
    const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
    let Some(chain) = &raw.chain else { return };
    let Validity { from, until } = pair.validity();
    let lifetime = until.duration_since(from).unwrap_or_default();
    let date = |time| humantime::format_rfc3339_seconds(time);
    let said = match until.duration_since(context.now) {
        Err(_) => Some(format!("ended at {}; browsers refuse it", date(until))),
        Ok(_) if from > context.now => Some(format!(
            "is not valid before {}; browsers refuse it until then. Is the clock right?",
            date(from)
        )),
        Ok(left) if left < SOON.min(lifetime / 3) => {
            Some(format!("ends at {}; is its renewal still running?", date(until)))
        }
        Ok(_) => None,
    };
    if let Some(said) = said {
        context.report.warn(chain.span(), format!("`tls.certificates.chain`: the certificate {said}"));
    }
}

/// Warns about a certificate that comes without the one that signed it: `cert.pem` instead of `fullchain.pem`. Browsers that
/// have met its issuer elsewhere accept it, the Document Server and RapidPM do not.
fn report_incomplete(raw: &raw::Certificate, pair: &Pair, context: &mut Context<'_>) {
    let [leaf] = pair.chain() else { return };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else { return };
    let is_its_own_issuer = parsed.issuer().as_raw() == parsed.subject().as_raw();
    if let Some(chain) = raw.chain.as_ref().filter(|_| !is_its_own_issuer) {
        let message = "`tls.certificates.chain`: only the server's own certificate is in it; without its issuer's (certbot: \
                       fullchain.pem) many programs refuse it";
        context.report.warn(chain.span(), message);
    }
}

fn report_pair(raw: &raw::Certificate, fault: &PairFault, context: &mut Context<'_>) {
    let (key, written) = match fault {
        PairFault::Chain(_) => ("tls.certificates.chain", &raw.chain),
        PairFault::Key(_) | PairFault::Mismatch => ("tls.certificates.key", &raw.key),
    };
    if let Some(written) = written {
        let path = context.path(written.get_ref());
        context.report.fault(written.span(), format!("`{key}`: {}: {fault}", path.display()));
    }
}

fn patterns(names: &Spanned<Vec<Spanned<String>>>, context: &mut Context<'_>) -> Option<Vec<NamePattern>> {
    if names.get_ref().is_empty() {
        context
            .report
            .fault(names.span(), "`tls.certificates.names` is empty; name the hosts this certificate serves");
        return None;
    }
    let parsed: Vec<Option<NamePattern>> = names
        .get_ref()
        .iter()
        .map(|name| match NamePattern::parse(&in_brackets(name.get_ref())) {
            Ok(pattern) => Some(pattern),
            Err(fault) => {
                let message = format!("`tls.certificates.names`: {}: {fault}", shown(name.get_ref()));
                context.report.fault(name.span(), message);
                None
            }
        })
        .collect();
    parsed.into_iter().collect()
}

/// An IPv6 address as it stands in `Host`, which is what names are compared with.
fn in_brackets(name: &str) -> String {
    match name.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => name.to_owned(),
    }
}

/// A name of two certificates: only the first would ever be served.
fn report_twice(list: &[Spanned<raw::Certificate>], context: &mut Context<'_>) {
    let mut seen: Vec<String> = Vec::new();
    for name in
        list.iter().filter_map(|entry| entry.get_ref().names.as_ref()).flat_map(|names| names.get_ref())
    {
        let lower = name.get_ref().to_ascii_lowercase();
        if seen.contains(&lower) {
            let message = format!(
                "`tls.certificates.names`: \"{lower}\" stands there already; only the first would be served"
            );
            context.report.fault(name.span(), message);
        }
        seen.push(lower);
    }
}

/// Warns about configured names that the certificate itself does not have: browsers would refuse it.
fn report_not_in(chain: &[u8], names: Option<&Spanned<Vec<Spanned<String>>>>, context: &mut Context<'_>) {
    let Some(Ok(leaf)) = CertificateDer::pem_slice_iter(chain).next() else { return };
    let Ok(leaf) = ParsedCertificate::try_from(&leaf) else { return };
    for name in names.into_iter().flat_map(|names| names.get_ref()) {
        // Any host below a wildcard stands for it.
        let host = name.get_ref().replacen('*', "any", 1);
        let Ok(host) = ServerName::try_from(host.trim_matches(['[', ']'])) else { continue };
        if verify_server_name(&leaf, &host).is_err() {
            let message = format!(
                "`tls.certificates.names`: the certificate is not made out for {}; browsers will refuse it",
                name.get_ref()
            );
            context.report.warn(name.span(), message);
        }
    }
}

/// Warns about public URLs whose host no certificate serves: requests for them are answered with 421.
fn report_uncovered(pairs: &[Pair], public: &Public, context: &mut Context<'_>) {
    for url in public.iter().filter(|_| !pairs.is_empty()) {
        let host = url.get_ref().host();
        if !pairs.iter().flat_map(Pair::names).any(|name| name.covers(host)) {
            let message = format!(
                "`public_url`: no [[tls.certificates]] names {host}; requests for it are answered with 421"
            );
            context.report.warn(url.span(), message);
        }
    }
}
