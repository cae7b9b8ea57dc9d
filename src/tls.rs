//! Certificates and the TLS of the public listener: pairs are checked before they serve, and chosen by SNI.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SupportedProtocolVersion};

use crate::rules::host::NamePattern;

/// What the public listener serves TLS with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Handed to every handshake.
    pub server: Arc<ServerConfig>,
    /// The pairs behind it, in the order of the file; the first serves clients without SNI.
    pub certificates: Arc<Certificates>,
    /// The oldest version that is spoken.
    pub min: MinVersion,
}

/// `tls.min_version` of gateway.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 with Mozilla's intermediate suites, and 1.3.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

impl MinVersion {
    /// As it is written in gateway.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// Session tickets. Made once for the life of the process and kept across reloads: a reload that made new ones
/// would cost every returning browser a full handshake.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys, rotated every six hours by rustls.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new() -> Result<Self, rustls::Error> {
        aws_lc_rs::Ticketer::new().map(Self)
    }
}

impl Settings {
    /// Puts the listener's TLS together.
    ///
    /// # Errors
    /// When the versions and suites do not fit together; not by anything an operator writes.
    pub fn new(
        certificates: Certificates,
        min: MinVersion,
        tickets: &Tickets,
    ) -> Result<Self, rustls::Error> {
        let certificates = Arc::new(certificates);
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(versions(min))?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ticketer = tickets.0.clone();
        // Two tickets a handshake (rustls' default) are one more than a browser uses; each costs an encryption
        // and 200 bytes on the wire.
        server.send_tls13_tickets = 1;
        Ok(Self { server: Arc::new(server), certificates, min })
    }
}

/// Mozilla's intermediate suites (ECDHE with AES-GCM or ChaCha20; no CBC) are what rustls has for TLS 1.2; all of
/// rustls' 1.3 suites belong to them too. AES-128 first: the same security here, measurably less CPU.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ => 1,
    });
    provider
}

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        MinVersion::Tls12 => rustls::DEFAULT_VERSIONS, // 1.3 and 1.2
        MinVersion::Tls13 => TLS13_ALONE,
    }
}

static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A certificate chain with its key and the names it serves.
#[derive(Debug)]
pub struct Pair {
    names: Vec<NamePattern>,
    key: Arc<CertifiedKey>,
    validity: Validity,
    files: Vec<PathBuf>,
}

/// From when until when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub from: SystemTime,
    /// `notAfter`.
    pub until: SystemTime,
}

impl Validity {
    /// Of a certificate; of an issuer that says nothing readable, there is none.
    fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        // What lies before 1970 is as good as 1970.
        let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let validity = certificate.validity();
        Some(Self {
            from: time(validity.not_before.timestamp()),
            until: time(validity.not_after.timestamp()),
        })
    }
}

/// Why a pair cannot serve.
#[derive(Debug)]
pub enum PairFault {
    /// The chain file holds no certificate, or PEM that cannot be read.
    Chain(String),
    /// The key file holds no private key, or PEM that cannot be read.
    Key(String),
    /// Key and first certificate do not belong together.
    Mismatch,
}

impl fmt::Display for PairFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(why) => write!(
                f,
                "no certificate chain in it ({why}); PEM with the server's certificate first is expected"
            ),
            Self::Key(why) => write!(
                f,
                "no private key in it ({why}); PEM, PKCS#8, SEC1 or PKCS#1, without a passphrase is expected"
            ),
            Self::Mismatch => f.write_str("this key does not belong to the first certificate of the chain"),
        }
    }
}

impl std::error::Error for PairFault {}

impl Pair {
    /// Reads and checks a pair.
    ///
    /// # Errors
    /// When either half cannot be read, or they do not belong together.
    pub fn from_pem(names: Vec<NamePattern>, chain: &[u8], key: &[u8]) -> Result<Self, PairFault> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| PairFault::Chain(e.to_string()))?;
        if chain.is_empty() {
            return Err(PairFault::Chain("no CERTIFICATE block".into()));
        }
        let validity = Validity::of(&chain[0])
            .ok_or_else(|| PairFault::Chain("the first certificate cannot be read".into()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| PairFault::Key(e.to_string()))?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|e| PairFault::Key(e.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => Ok(Self { names, key: Arc::new(key), validity, files: Vec::new() }),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(PairFault::Mismatch)
            }
            Err(e) => Err(PairFault::Chain(e.to_string())),
        }
    }

    /// The same, with the files that it was read from.
    pub fn read_from(self, files: impl Into<Vec<PathBuf>>) -> Self {
        Self { files: files.into(), ..self }
    }

    /// Where chain and key lie.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The names it serves, as configured.
    pub fn names(&self) -> &[NamePattern] {
        &self.names
    }

    /// The first of its names: what metrics and logs call it. No two pairs share one.
    pub fn label(&self) -> String {
        self.names.first().map(ToString::to_string).unwrap_or_default()
    }

    /// From when until when its own certificate is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificates, the server's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    fn serves(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }
}

/// Every pair of the configuration, in its order.
#[derive(Debug)]
pub struct Certificates(Vec<Pair>);

impl Certificates {
    /// Takes the pairs; `None` when there are none, since TLS without a certificate serves nobody.
    pub fn new(pairs: Vec<Pair>) -> Option<Self> {
        (!pairs.is_empty()).then_some(Self(pairs))
    }

    /// The pairs, in the order of the file.
    pub fn pairs(&self) -> &[Pair] {
        &self.0
    }

    /// The chain that clients get who ask for `host`, its own certificate first.
    pub fn chain_for(&self, host: &str) -> &[CertificateDer<'static>] {
        let pair = self.0.get(self.position(host).unwrap_or(0));
        pair.map_or(&[], |pair| &pair.key.cert)
    }

    fn position(&self, host: &str) -> Option<usize> {
        // An exact name wins over a wildcard, wherever they stand in the file.
        self.0
            .iter()
            .position(|pair| {
                pair.names.iter().any(|name| matches!(name, NamePattern::Exact(_)) && name.covers(host))
            })
            .or_else(|| self.0.iter().position(|pair| pair.serves(host)))
    }

    /// Whether a request for `host` may come over a connection that asked for `sni`: the certificate chosen for the
    /// connection must be the one that serves the host. Without SNI the first certificate was served and the host
    /// must be a configured name. `host` is lower case without port.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        match (sni, self.position(host)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(sni), Some(_)) if sni.eq_ignore_ascii_case(host) => true, // nearly always
            (Some(sni), Some(wanted)) => {
                let served = self.position(sni).unwrap_or(0);
                served == wanted || self.0[served].serves(host)
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    /// Unknown names get the first certificate: the client's own check then says what is wrong, which explains more
    /// than an aborted handshake; the request itself is refused with 421.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let position = hello.server_name().and_then(|name| self.position(name)).unwrap_or(0);
        self.0.get(position).map(|pair| pair.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn pair(name: &str) -> Pair {
        let (chain, key) = pem(name);
        Pair::from_pem(vec![NamePattern::parse(name).unwrap()], chain.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn halves_that_do_not_fit_are_refused() {
        let (chain, key) = pem("a.example");
        let (_, other) = pem("a.example");
        type Expected = fn(&PairFault) -> bool;
        let cases: [(&str, &str, Expected); 4] = [
            (&chain, &other, |f| matches!(f, PairFault::Mismatch)),
            (&key, &key, |f| matches!(f, PairFault::Chain(_))),
            (&chain, &chain, |f| matches!(f, PairFault::Key(_))),
            (&chain[..chain.len() / 2], &key, |f| matches!(f, PairFault::Chain(_))),
        ];
        for (chain, key, expected) in cases {
            let fault = Pair::from_pem(Vec::new(), chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(expected(&fault), "{fault:?}");
        }
    }

    #[test]
    fn a_host_must_belong_to_the_certificate_of_its_connection() {
        let all =
            Certificates::new(vec![pair("a.example"), pair("*.b.example"), pair("x.b.example")]).unwrap();
        for (sni, host, expected) in [
            (Some("a.example"), "a.example", true),
            (Some("a.example"), "y.b.example", false),
            (Some("y.b.example"), "z.b.example", true),
            (Some("y.b.example"), "x.b.example", true), // the wildcard serves it too
            (Some("x.b.example"), "y.b.example", false),
            (Some("a.example"), "other.example", false),
            (Some("other.example"), "a.example", true), // the first certificate was served
            (None, "y.b.example", true),
            (None, "other.example", false),
        ] {
            assert_eq!(all.covers(sni, host), expected, "{sni:?} {host}");
        }
    }
}
