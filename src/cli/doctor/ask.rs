//! How `doctor` asks over the network: one request a connection, bounded in bytes and time, and told by stages, so that the
//! answer can say whether the name, the connection or the certificate is at fault.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{DATE, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::relay::client::whole;

/// For name, connection and handshake together, and again for an answer; who needs longer is in trouble.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Pages that are looked at are small.
const LARGEST: usize = 1 << 20;

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The name has no address.
    Name,
    /// Nobody listens, or nobody answers the connection.
    Connect,
    /// The handshake did not end, or the certificate does not hold.
    Tls,
    /// No answer to the request.
    Answer,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// How far it came.
    pub stage: Stage,
    /// What was said.
    pub why: String,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Name => "the name cannot be resolved",
            Stage::Connect => "no connection",
            Stage::Tls => "TLS fails",
            Stage::Answer => "no answer",
        };
        write!(f, "{stage} ({})", self.why)
    }
}

/// Who is asked.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Host name or address, where to connect.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The name that the certificate must have; `None`: without TLS.
    pub tls: Option<String>,
    /// Roots besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether to go on with a certificate that does not hold, so that more can be said.
    pub any_certificate: bool,
}

impl Peer {
    /// Without TLS.
    pub fn plain(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, tls: None, roots: Vec::new(), any_certificate: false }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How far the other clock is ahead of ours, in seconds, where the answer has a date.
    pub ahead: Option<f64>,
}

impl Answer {
    /// The body, as far as it is text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// A field of its head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a server showed of itself.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Its chain, the server's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why the chain does not hold.
    pub fault: Option<rustls::Error>,
}

/// A byte stream to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn missed(stage: Stage, why: impl fmt::Display) -> Missed {
    Missed { stage, why: why.to_string() }
}

async fn within<T>(stage: Stage, what: impl Future<Output = io::Result<T>>) -> Result<T, Missed> {
    match timeout(PATIENCE, what).await {
        Ok(done) => done.map_err(|error| missed(stage, error)),
        Err(_) => Err(missed(stage, format_args!("nothing within {} s", PATIENCE.as_secs()))),
    }
}

/// The addresses of a name.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Missed> {
    let bare = host.trim_matches(['[', ']']);
    let found: Vec<_> = within(Stage::Name, lookup_host((bare, port))).await?.collect();
    if found.is_empty() { Err(missed(Stage::Name, "no address")) } else { Ok(found) }
}

/// A connection, and what the other side showed.
pub async fn connect(peer: &Peer) -> Result<(Box<dyn Stream>, Shown), Missed> {
    let all = timeout(PATIENCE, connected(peer)).await;
    all.unwrap_or_else(|_| {
        Err(missed(Stage::Connect, format_args!("nothing within {} s", PATIENCE.as_secs())))
    })
}

async fn connected(peer: &Peer) -> Result<(Box<dyn Stream>, Shown), Missed> {
    let addresses = resolve(&peer.host, peer.port).await?;
    let stream = within(Stage::Connect, TcpStream::connect(&*addresses)).await?;
    let Some(name) = &peer.tls else { return Ok((Box::new(stream), Shown::default())) };
    let bare = name.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(bare).map_err(|error| missed(Stage::Tls, error))?;
    let witness = Arc::new(Witness::new(&peer.roots).map_err(|error| missed(Stage::Tls, error))?);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| missed(Stage::Tls, error))?;
    let mut config =
        config.dangerous().with_custom_certificate_verifier(witness.clone()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = within(Stage::Tls, TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    let shown = witness.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match &shown.fault {
        Some(fault) if !peer.any_certificate => Err(missed(Stage::Tls, fault)),
        _ => Ok((Box::new(stream), shown)),
    }
}

/// One request and its whole answer. `Host` is the caller's to set.
pub async fn ask(peer: &Peer, request: Request<Full<Bytes>>) -> Result<Answer, Missed> {
    ask_for(peer, request, PATIENCE).await
}

/// The same with other patience for the answer.
pub async fn ask_for(
    peer: &Peer,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Answer, Missed> {
    let (stream, _) = connect(peer).await?;
    let before = SystemTime::now();
    let (response, _) = send(stream, request, patience).await?;
    let ahead = ahead(response.headers(), before, SystemTime::now());
    let (parts, body) = response.into_parts();
    let body = whole(body, LARGEST, PATIENCE).await.map_err(|error| missed(Stage::Answer, error))?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, ahead })
}

/// Sends a request over a stream; the head of the answer, and the task that carries the connection.
pub async fn send(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<(Response<Incoming>, tokio::task::JoinHandle<()>), Missed> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| missed(Stage::Answer, error))?;
    let carried = tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let response = timeout(patience, sender.send_request(request)).await;
    let response = response
        .map_err(|_| missed(Stage::Answer, format_args!("nothing within {} s", patience.as_secs())))?;
    Ok((response.map_err(|error| missed(Stage::Answer, error))?, carried))
}

/// How far the other clock is ahead. Its date has no fractions: half a second is in the middle.
fn ahead(headers: &HeaderMap, before: SystemTime, after: SystemTime) -> Option<f64> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    Some(seconds(theirs) + 0.5 - (seconds(before) + seconds(after)) / 2.0)
}

/// Why a browser would refuse this chain for `host`, if it would.
pub fn vouched(chain: &[CertificateDer<'static>], host: &str) -> Option<rustls::Error> {
    let (own, others) = chain.split_first()?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let Ok(witness) = Witness::new(&[]) else {
        return Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
    };
    witness.judge.verify_server_cert(own, others, &name, &[], UnixTime::now()).err()
}

/// Looks at a certificate as a browser does, remembers what it saw, and goes on.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    shown: Mutex<Shown>,
}

impl Witness {
    fn new(more: &[CertificateDer<'static>]) -> Result<Self, rustls::client::VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(more.iter().cloned());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { judge, shown: Mutex::default() })
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fault = self.judge.verify_server_cert(own, others, name, ocsp, now).err();
        let chain = [own].into_iter().chain(others).map(|one| one.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown { chain, fault };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
