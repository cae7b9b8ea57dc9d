//! The way out: how a stand-in reaches other hosts, whom it trusts, and where names really lead.

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

/// The largest answer that is read.
const LARGEST: usize = 512 << 20;

/// How a stand-in makes its own requests.
#[derive(Clone, Default)]
pub struct Network {
    roots: Vec<CertificateDer<'static>>,
    insecure: bool,
    hosts: HashMap<String, SocketAddr>,
}

impl fmt::Debug for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Network")
            .field("roots", &self.roots.len())
            .field("insecure", &self.insecure)
            .field("hosts", &self.hosts)
            .finish()
    }
}

impl Network {
    /// Trusts the certificates of a PEM file's content.
    #[must_use]
    pub fn trust_pem(mut self, pem: &[u8]) -> Self {
        self.roots.extend(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        self
    }

    /// Accepts every certificate: for the demo, whose certificate signs itself.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Connects to `address` for `host`, written as `host:port`, whatever DNS says.
    #[must_use]
    pub fn resolve(mut self, host: &str, address: SocketAddr) -> Self {
        self.hosts.insert(host.to_lowercase(), address);
        self
    }

    fn connector(&self) -> TlsConnector {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder =
            builder.with_safe_default_protocol_versions().expect("the provider speaks TLS 1.2 and 1.3");
        let config = if self.insecure {
            let verifier = Arc::new(Anyone(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        } else {
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        TlsConnector::from(Arc::new(config))
    }

    /// One request on a connection of its own, as the Document Server makes them. Redirects are followed as axios follows them.
    pub(crate) async fn send(&self, mut call: Call) -> Result<Reply, Failure> {
        for _ in 0..21 {
            let reply = tokio::time::timeout(call.timeout, self.once(&call))
                .await
                .map_err(|_| Failure("timeout".into()))??;
            let Some(location) = reply.redirect() else { return Ok(reply) };
            let next = join(&call.url, &location);
            if matches!(reply.status, 301..=303) && call.method != Method::HEAD {
                // What loses saves: the POST becomes a GET without a body.
                call.method = Method::GET;
                call.body = Bytes::new();
                call.headers.retain(|(name, _)| !name.to_lowercase().starts_with("content-"));
            }
            if host_of(&next) != host_of(&call.url) {
                call.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            }
            call.url = next;
        }
        Err(Failure("too many redirects".into()))
    }

    async fn once(&self, call: &Call) -> Result<Reply, Failure> {
        let uri: Uri = call.url.parse().map_err(|_| Failure(format!("no URL: {}", call.url)))?;
        let https = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| Failure(format!("no host: {}", call.url)))?.to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = match self.hosts.get(&format!("{}:{port}", host.to_lowercase())) {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((host.trim_matches(['[', ']']), port)).await?,
        };
        let _ = stream.set_nodelay(true);
        if https {
            let name =
                ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(Failure::new)?;
            let stream = self.connector().connect(name, stream).await?;
            exchange(stream, call, &uri).await
        } else {
            exchange(stream, call, &uri).await
        }
    }
}

async fn exchange<S>(stream: S, call: &Call, uri: &Uri) -> Result<Reply, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::client::conn::http1::Builder::new();
    http.title_case_headers(true);
    let (mut sender, connection) =
        http.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(Failure::new)?;
    let driver = tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = target.parse().map_err(Failure::new)?;
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(Failure::new)?;
        request.headers_mut().append(name, HeaderValue::from_str(value).map_err(Failure::new)?);
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    request.headers_mut().insert("host", HeaderValue::from_str(authority).map_err(Failure::new)?);
    let answer = sender.send_request(request).await.map_err(Failure::new)?;
    let (head, body) = answer.into_parts();
    let body =
        Limited::new(body, LARGEST).collect().await.map_err(|error| Failure(error.to_string()))?.to_bytes();
    driver.abort();
    let packed = head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let body = if packed { unpack(&body)? } else { body };
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

fn unpack(packed: &Bytes) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    GzDecoder::new(&packed[..]).take(LARGEST as u64).read_to_end(&mut body)?;
    Ok(body.into())
}

/// A request that a stand-in makes.
pub(crate) struct Call {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub timeout: Duration,
}

impl Call {
    /// With the headers that the Document Server's client sends.
    pub fn new(method: Method, url: &str, timeout: Duration) -> Self {
        let headers = [
            ("Accept", "application/json, text/plain, */*"),
            ("User-Agent", "Node.js/6.13"),
            ("Connection", "Keep-Alive"),
            ("Accept-Encoding", "gzip, compress, deflate, br"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Call { method, url: url.to_owned(), headers, body: Bytes::new(), timeout }
    }

    pub fn header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }
}

/// What came back.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    fn redirect(&self) -> Option<String> {
        let status = StatusCode::from_u16(self.status).ok()?;
        let known = matches!(self.status, 301 | 302 | 303 | 307 | 308) && status.is_redirection();
        known.then(|| self.headers.get("location")?.to_str().ok().map(str::to_owned)).flatten()
    }
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) struct Failure(pub String);

impl Failure {
    fn new(error: impl fmt::Display) -> Self {
        Failure(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure(error.to_string())
    }
}

fn host_of(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.authority().map(|authority| authority.to_string().to_lowercase())
}

/// Resolves a `Location` against the URL that gave it.
fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let start = base.find("://").map_or(0, |at| at + 3);
    let end = base[start..].find('/').map_or(base.len(), |at| start + at);
    if location.starts_with('/') {
        return format!("{}{location}", &base[..end]);
    }
    let folder = base.split('?').next().unwrap_or(base).rfind('/').filter(|at| *at >= end).unwrap_or(end);
    format!("{}/{location}", &base[..folder])
}

/// Accepts every certificate, because the demo's certificate signs itself; signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
