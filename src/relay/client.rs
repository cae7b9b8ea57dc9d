//! One request to an integrator or a Document Server on a connection of its own: verified TLS, the configured host, no redirects.
//!
//! Saves are few and the Document Server itself never reuses a connection for them (protocol.md 2.5), so neither is done here:
//! a connection that was idle is one more way for a save not to arrive.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Connect, Integrator, Scheme};

/// Name, connection and handshake: past this the other side is taken for being away.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a silent host is asked whether it still lives; nine times without an answer, and the connection is over.
const ALIVE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The roots that integrators' certificates are verified with.
#[derive(Default)]
pub struct Trust(OnceLock<RootCertStore>);

impl Trust {
    /// The system's roots, read once, with those of the integrator.
    fn config(&self, integrator: &Integrator) -> io::Result<ClientConfig> {
        let mut roots = self.0.get_or_init(system_roots).clone();
        roots.add_parsable_certificates(integrator.roots.iter().cloned());
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// A connection to an integrator that can carry one request.
    ///
    /// # Errors
    /// When it cannot be found, refuses, or shows a certificate that does not hold.
    pub async fn connect(&self, to: &Integrator) -> io::Result<SendRequest<Full<Bytes>>> {
        let (host, port) = match &to.connect {
            Some(Connect::Address(ip, port)) => (ip.to_string(), *port),
            Some(Connect::Name(name, port)) => (name.clone(), *port),
            None => (to.host.clone(), to.port),
        };
        let connected = async {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            // An answer may take minutes; a host that died says nothing at all.
            SockRef::from(&stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(ALIVE).with_interval(ALIVE))?;
            let stream: Box<dyn Stream> = match to.scheme {
                Scheme::Http => Box::new(stream),
                Scheme::Https => {
                    let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
                    let connector = TlsConnector::from(Arc::new(self.config(to)?));
                    Box::new(connector.connect(name, stream).await?)
                }
            };
            carry(stream).await
        };
        within(connected).await
    }
}

/// A connection to a Document Server: plain, since it stands on the same host or network.
///
/// # Errors
/// When it refuses or cannot be found.
pub async fn plain(host: &str, port: u16) -> io::Result<SendRequest<Full<Bytes>>> {
    within(async { carry(Box::new(TcpStream::connect((host, port)).await?)).await }).await
}

async fn within<T>(connected: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s");
    timeout(CONNECT, connected).await.map_err(|_| late())?
}

async fn carry(stream: Box<dyn Stream>) -> io::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // How it ends is told to the request on it.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Sends one request and gives the head of its answer.
///
/// # Errors
/// When none comes within `patience`.
pub async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> io::Result<Response<Incoming>> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    timeout(patience, sender.send_request(request)).await.map_err(|_| silent())?.map_err(io::Error::other)
}

/// A body of at most `limit` bytes that keeps moving.
///
/// # Errors
/// When it is larger, breaks off or stands still for `patience`.
pub async fn whole(mut body: Incoming, limit: usize, patience: Duration) -> io::Result<Bytes> {
    let mut read = Vec::new();
    while let Some(data) = piece(&mut body, patience).await? {
        if read.len() + data.len() > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the answer is too long"));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

/// The next piece of a body.
///
/// # Errors
/// When it breaks off or stands still for `patience`.
pub async fn piece<B: Body<Data = Bytes, Error = hyper::Error> + Unpin>(
    body: &mut B,
    patience: Duration,
) -> io::Result<Option<Bytes>> {
    let stalled = || io::Error::new(io::ErrorKind::TimedOut, "the answer stands still");
    match timeout(patience, body.frame()).await.map_err(|_| stalled())? {
        None => Ok(None),
        Some(frame) => Ok(Some(frame.map_err(io::Error::other)?.into_data().unwrap_or_default())),
    }
}
