//! Whether a certificate fits `public_url`: its names, its times, the order of its chain, who vouches for it, and whether the
//! running listener serves it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::ask::{Missed, Shown, Stage, connect, vouched};
use super::house::House;
use super::question::{Finding, Question, Verdict};
use crate::rules::host::{NamePattern, PublicUrl};

/// Renewals run at a third of the life that is left (30 days of 90); two weeks before the end one has failed.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// What is configured for a public URL, and what the listener serves.
pub async fn questions(house: &House, public: &PublicUrl) -> Vec<Finding> {
    let of = public.host().to_owned();
    let Some(tls) = &house.snapshot().tls else {
        let why = "server.https is empty: somebody else ends TLS";
        return vec![
            Question::Certificate.is(&of, Verdict::skipped(why)),
            Question::Served.is(of, Verdict::skipped(why)),
        ];
    };
    let chain = tls.certificates.chain_for(public.host());
    let fault = vouched(chain, public.host());
    let read: Option<Vec<_>> = chain.iter().map(read).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let judged = read.map_or_else(
        || {
            Verdict::failed(
                "a certificate of the chain cannot be read",
                "Order or make another one; `openssl x509 -text` may say more.",
            )
        },
        |read| judge(&read, public.host(), now, fault.as_ref()),
    );
    let served = match house.listener(public) {
        Some(peer) => serves(connect(&peer).await.map(|(_, shown)| shown).as_ref(), chain),
        None => Verdict::skipped("server.https is empty"),
    };
    vec![Question::Certificate.is(&of, judged), Question::Served.is(of, served)]
}

/// What is looked at of a certificate.
#[derive(Debug, Clone, Default)]
struct Read {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    names: Vec<String>,
    from: i64,
    until: i64,
}

fn read(der: &CertificateDer<'static>) -> Option<Read> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.into_iter().flat_map(|names| names.value.general_names.iter());
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Some(Read {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        names: names.collect(),
        from: certificate.validity().not_before.timestamp(),
        until: certificate.validity().not_after.timestamp(),
    })
}

/// As hosts are written: IPv6 in brackets.
fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| format!("[{}]", std::net::Ipv6Addr::from(bytes))),
    }
}

fn judge(chain: &[Read], host: &str, now: Duration, fault: Option<&rustls::Error>) -> Verdict {
    let Some(own) = chain.first() else {
        return Verdict::failed("there is no certificate for it", "Add a pair to [[tls.certificates]].");
    };
    let day = |seconds: i64| {
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        humantime::format_rfc3339_seconds(time).to_string()
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let covers = |name: &String| NamePattern::parse(name).is_ok_and(|pattern| pattern.covers(host));
    if !own.names.iter().any(covers) {
        return Verdict::failed(
            format!("the certificate is for {}, not for {host}", own.names.join(", ")),
            format!(
                "Order one for {host} (certbot: -d {host}), and write chain and key into [[tls.certificates]]."
            ),
        );
    }
    if now > own.until {
        return Verdict::failed(
            format!("the certificate has expired on {}", day(own.until)),
            "Renew it (`certbot renew`); the gateway takes the new files up by itself.",
        );
    }
    if now < own.from {
        return Verdict::failed(
            format!("the certificate is not valid before {}", day(own.from)),
            "Set this machine's clock (`timedatectl`); if it is right, the certificate was made with a wrong one.",
        );
    }
    if chain.windows(2).any(|pair| matches!(pair, [lower, upper] if lower.issuer != upper.subject)) {
        return Verdict::warning(
            "the chain is out of order: a certificate is not followed by the one that signed it",
            "Write the server's own certificate first, then the intermediates upwards (certbot: fullchain.pem).",
        );
    }
    if now + i64::try_from(SOON.as_secs()).unwrap_or(0) > own.until {
        return Verdict::warning(
            format!("the certificate expires on {}", day(own.until)),
            "See why it has not been renewed: `certbot renew --dry-run`, `systemctl list-timers`.",
        );
    }
    match fault {
        None => Verdict::ok(format!("covers {host} until {}", day(own.until))),
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
            if own.subject == own.issuer =>
        {
            Verdict::warning(
                "the certificate signs itself: browsers warn, and the Document Server refuses to call back",
                "Fine for trying. Otherwise order one, or give the container the certificate (NODE_EXTRA_CA_CERTS).",
            )
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Verdict::warning(
            "nobody whom this machine trusts vouches for the certificate: the chain is incomplete, or its CA is private",
            "Let the chain file hold the intermediates (certbot: fullchain.pem); a private CA must be known to browsers and container.",
        ),
        Some(fault) => {
            Verdict::failed(fault.to_string(), "`openssl verify` may say more; order another one.")
        }
    }
}

fn serves(shown: Result<&Shown, &Missed>, configured: &[CertificateDer<'static>]) -> Verdict {
    match shown {
        Ok(shown) if shown.chain.first() == configured.first() => Verdict::ok("as configured"),
        Ok(_) => Verdict::failed(
            "the listener serves another certificate than the one in the configured file",
            "Reload the gateway (`systemctl reload rapidpm-gateway`), and see in its log why it kept the old one;\n\
             or another program listens on this port.",
        ),
        Err(missed) if missed.stage == Stage::Connect => {
            Verdict::skipped("no gateway listens on this machine")
        }
        Err(missed) => Verdict::failed(
            missed.to_string(),
            "Another program listens there (`ss -ltnp`), or the handshake is cut short.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_600_000);

    fn one(subject: u8, issuer: u8) -> Read {
        let now = NOW.as_secs().cast_signed();
        let names = vec!["a.example".to_owned(), "*.b.example".to_owned(), "192.0.2.1".to_owned()];
        Read { subject: vec![subject], issuer: vec![issuer], names, from: now - 10, until: now + 60 * 86_400 }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said() {
        let now = NOW.as_secs().cast_signed();
        let good = || vec![one(1, 2), Read { subject: vec![2], issuer: vec![3], ..Read::default() }];
        let unknown = || Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let with = |change: fn(&mut Read, i64)| {
            let mut chain = good();
            change(&mut chain[0], now);
            chain
        };
        for (chain, host, fault, state, word) in [
            (good(), "a.example", None, "ok", "covers"),
            (good(), "x.b.example", None, "ok", "covers"),
            (good(), "192.0.2.1", None, "ok", "covers"),
            (good(), "c.example", None, "failed", "not for c.example"),
            (with(|own, now| own.until = now - 1), "a.example", None, "failed", "expired"),
            (with(|own, now| own.from = now + 9), "a.example", None, "failed", "not valid before"),
            (with(|own, now| own.until = now + 86_400), "a.example", None, "warning", "expires"),
            (with(|own, _| own.issuer = vec![9]), "a.example", None, "warning", "out of order"),
            (good(), "a.example", unknown(), "warning", "nobody whom"),
            (vec![one(1, 1)], "a.example", unknown(), "warning", "signs itself"),
            (Vec::new(), "a.example", None, "failed", "no certificate"),
        ] {
            let verdict = judge(&chain, host, NOW, fault.as_ref());
            assert!(verdict.state() == state && verdict.seen().contains(word), "{verdict:?}");
        }
    }

    #[test]
    fn a_real_certificate_is_read() {
        let made =
            rcgen::generate_simple_self_signed(vec!["a.example".to_owned(), "::1".to_owned()]).unwrap();
        let read = read(made.cert.der()).unwrap();
        assert_eq!(read.names, ["a.example", "[::1]"]);
        assert!(read.subject == read.issuer && read.from < read.until);
    }

    #[test]
    fn the_listener_must_serve_what_is_configured() {
        let der = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            made.cert.der().clone()
        };
        let (a, b) = (der("a"), der("b"));
        let shown = |chain: Vec<_>| Shown { chain, fault: None };
        let missed = |stage| Missed { stage, why: "x".into() };
        assert_eq!(serves(Ok(&shown(vec![a.clone()])), std::slice::from_ref(&a)).state(), "ok");
        assert_eq!(serves(Ok(&shown(vec![b])), std::slice::from_ref(&a)).state(), "failed");
        assert_eq!(serves(Err(&missed(Stage::Connect)), std::slice::from_ref(&a)).state(), "skipped");
        assert_eq!(serves(Err(&missed(Stage::Tls)), &[a]).state(), "failed");
    }
}
