//! A gateway in front of a stand-in Document Server, and clients that speak to it. Every port is the system's choice.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rapidpm_gateway::app::{Bound, Deadlines, Gateway};
use rapidpm_gateway::config::{self, Env};
use rapidpm_gateway::reload;
use rapidpm_gateway::tls::Tickets;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use standin::DocumentServer;
use standin::document_server::Options;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the admin listener shows, but for `/events`, which never ends.
pub const ADMIN_PAGES: [&str; 9] = [
    "/",
    "/metrics",
    "/api/metrics",
    "/api/v1/onlyoffice/health",
    "/api/v1/sessions",
    "/api/v1/saves",
    "/api/v1/would-refuse",
    "/livez",
    "/readyz",
];

/// The secret of every rig.
pub const SECRET: &str = "7f3c91d0a2b84e65b1c7d92e40fa8136c05d";

/// A gateway and what stands around it. Dropping it takes everything down.
pub struct Rig {
    pub server: DocumentServer,
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub gateway: Option<Gateway>,
    pub folder: tempfile::TempDir,
    pub log: LogLines,
}

/// What a rig starts with; `..Setup::default()` for the rest.
pub struct Setup {
    /// Host of `public_url`, with its path if it has one. Several, separated by spaces, make a list.
    pub public: &'static str,
    /// Listens on a port that was free a moment ago, and names it in `public_url`: for browsers, which follow links.
    pub port_in_url: bool,
    /// Names of the certificate.
    pub names: Vec<&'static str>,
    /// Names of further certificates, each with a pair of its own.
    pub more_names: Vec<Vec<&'static str>>,
    /// Further lines for tables of gateway.toml, by table: `("limits", "connections = 3")`. Table "" is the top.
    pub lines: Vec<(&'static str, String)>,
    /// Further tables, as text at the end.
    pub tables: String,
    /// The stand-in's options; secret and links are set by the rig.
    pub server: Options,
    /// Another server to stand behind the gateway, for answers that the stand-in would never give.
    pub upstream: Option<SocketAddr>,
    /// How long clients may be slow.
    pub deadlines: Deadlines,
    /// Whether changed files are taken up by themselves: not where a test asks for it, and wants to hear what came of it.
    pub watch: bool,
    /// Chain and key to serve with, as PEM; a pair that signs itself otherwise.
    pub pair: Option<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            public: "localhost",
            port_in_url: false,
            names: vec!["localhost"],
            more_names: Vec::new(),
            lines: Vec::new(),
            tables: String::new(),
            server: Options::default(),
            upstream: None,
            deadlines: Deadlines::default(),
            watch: false,
            pair: None,
        }
    }
}

impl Rig {
    /// With everything as usual.
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// With something else.
    pub async fn with(setup: Setup) -> Self {
        let server =
            DocumentServer::start(Options { secret: SECRET.into(), ..setup.server.clone() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        match &setup.pair {
            Some((chain, key)) => write_pair(folder.path(), "rig", chain, key),
            None => certificate(folder.path(), "rig", &setup.names),
        }
        for (at, names) in setup.more_names.iter().enumerate() {
            certificate(folder.path(), &format!("more-{at}"), names);
        }
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, toml(&setup, setup.upstream.unwrap_or(server.address()), folder.path()))
            .unwrap();
        let tickets = Tickets::new().unwrap();
        let loaded = config::load(&file, &env(), &tickets).unwrap_or_else(|faults| panic!("{faults}"));
        let bound = Bound::new(&loaded.fixed).unwrap();
        let log = LogLines::default();
        let followed = reload::File::new(file, env(), tickets, &loaded);
        let followed = if setup.watch { followed } else { followed.only_when_asked() };
        let mut gateway =
            Gateway::start_with(loaded.snapshot, &loaded.fixed, bound, log.clone(), setup.deadlines).unwrap();
        gateway.follow(followed);
        Self {
            https: gateway.https[0],
            http: gateway.http[0],
            admin: gateway.admin,
            server,
            gateway: Some(gateway),
            folder,
            log,
        }
    }

    /// Takes the gateway down as SIGTERM does, and waits until it is: its log is whole then.
    pub async fn stop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            tokio::task::spawn_blocking(|| gateway.stop()).await.unwrap();
        }
    }

    /// A TLS connection that offers these protocols, with or without SNI.
    pub async fn tls(&self, name: Option<&str>, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        tls(self.https, name, protocols).await
    }

    /// An HTTP/1.1 client.
    pub async fn h1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.tls(Some("localhost"), &["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// An HTTP/2 client.
    pub async fn h2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.tls(Some("localhost"), &["h2"]).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Where its gateway.toml lies.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Changes a piece of gateway.toml, as editors do: written beside it and renamed over it.
    pub fn edit(&self, piece: &str, with: &str) {
        let text = std::fs::read_to_string(self.file()).unwrap();
        assert!(text.contains(piece), "{piece:?} is not in {text}");
        put(&self.file(), &text.replacen(piece, with, 1));
    }

    /// `POST /reload`: what came of it.
    pub async fn reload(&self) -> Value {
        ask_to_reload(self.admin).await
    }

    /// One GET over a connection of its own.
    pub async fn get(&self, target: &str) -> Got {
        let request = Request::get(target).header("host", "localhost").body(Full::default()).unwrap();
        Got::from(self.h1().await.send_request(request).await.unwrap()).await
    }

    /// One request over a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        Got::from(self.h1().await.send_request(request).await.unwrap()).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            // Stopping blocks, which a test's runtime forbids on its own threads.
            std::thread::spawn(|| gateway.stop()).join().unwrap();
        }
    }
}

/// Puts a file in its place in one step.
pub fn put(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    if let Ok(about) = std::fs::metadata(file) {
        std::fs::set_permissions(&beside, about.permissions()).unwrap();
    }
    std::fs::rename(beside, file).unwrap();
}

/// `POST /reload` of any gateway: what came of it.
pub async fn ask_to_reload(admin: SocketAddr) -> Value {
    let request = Request::post("/reload").body(Full::default()).unwrap();
    let got = ask_admin(admin, request).await;
    assert!(matches!(got.status, 200 | 422), "{got:?}");
    let outcome: Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(outcome["result"], if got.status == 200 { "applied" } else { "refused" });
    outcome
}

/// One request to the admin listener.
pub async fn ask_admin(admin: SocketAddr, mut request: Request<Full<Bytes>>) -> Got {
    let stream = TcpStream::connect(admin).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().insert("host", admin.to_string().parse().unwrap());
    Got::from(sender.send_request(request).await.unwrap()).await
}

/// An answer with its body read.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub async fn from(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The environment of every rig.
pub fn env() -> Env {
    [(OsString::from("ONLY_OFFICE_SECRET"), OsString::from(SECRET))].into_iter().collect()
}

/// A self-signed pair `<stem>.pem`, `<stem>.key`.
pub fn certificate(folder: &Path, stem: &str, names: &[&str]) {
    let made =
        rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .unwrap();
    write_pair(folder, stem, &made.cert.pem(), &made.signing_key.serialize_pem());
}

/// Writes a pair as `<stem>.pem`, `<stem>.key`.
pub fn write_pair(folder: &Path, stem: &str, chain: &str, key: &str) {
    std::fs::write(folder.join(format!("{stem}.pem")), chain).unwrap();
    let file = folder.join(format!("{stem}.key"));
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// gateway.toml of a rig.
pub fn toml(setup: &Setup, server: SocketAddr, folder: &Path) -> String {
    let port = if setup.port_in_url { free_port() } else { 0 };
    toml_on([port, 0], setup, server, folder)
}

/// The same, with these ports for https and http.
pub fn toml_on([https, http]: [u16; 2], setup: &Setup, server: SocketAddr, folder: &Path) -> String {
    let lines = |table: &str| {
        let of_table = setup.lines.iter().filter(|(name, _)| *name == table);
        of_table.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    // A rig that is dropped blocks its clients, which then cannot answer the goodbye: nothing is worth waiting for.
    let drain = if lines("server").contains("drain") { "" } else { "drain = \"50ms\"\n" };
    let names = quoted(&setup.names);
    let at_port = if setup.port_in_url { format!(":{https}") } else { String::new() };
    let public =
        setup.public.split(' ').map(|host| format!("\"https://{host}{at_port}\"")).collect::<Vec<_>>();
    let pairs = setup.more_names.iter().enumerate().map(|(at, names)| {
        let names = quoted(names);
        format!(
            "[[tls.certificates]]\nnames = [{names}]\nchain = \"more-{at}.pem\"\nkey = \"more-{at}.key\"\n"
        )
    });
    format!(
        "public_url = [{}]\n{}\n\
         [server]\nhttps = [\"127.0.0.1:{https}\"]\nhttp = [\"127.0.0.1:{http}\"]\nadmin = \"127.0.0.1:0\"\nworkers = 2\n{drain}{}\n\
         [[tls.certificates]]\nnames = [{names}]\nchain = \"rig.pem\"\nkey = \"rig.key\"\n{}\
         [jwt]\nsecret = {{ env = \"ONLY_OFFICE_SECRET\" }}\n{}\n\
         [document_server]\nservers = [\"http://{server}\"]\n{}\n\
         [saves]\ndirectory = {:?}\n{}\n\
         [sockets]\n{}\n[limits]\n{}\n{}",
        public.join(", "),
        lines(""),
        lines("server"),
        pairs.collect::<String>(),
        lines("jwt"),
        lines("document_server"),
        folder.join("saves"),
        lines("saves"),
        lines("sockets"),
        lines("limits"),
        setup.tables,
    )
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A TLS connection to any gateway; no certificate is too odd for it.
pub async fn tls(
    to: SocketAddr,
    name: Option<&str>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    tls_over(stream, name, protocols).await
}

/// The same over a connection that is there already.
pub async fn tls_over(
    stream: TcpStream,
    name: Option<&str>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut client = client(rustls::DEFAULT_VERSIONS);
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    client.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("localhost").to_owned()).unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

/// The ordinary size of a test, or that of the promise, which takes longer: with `FULL_SIZE=1` in the environment.
pub fn size(ordinary: usize, full: usize) -> usize {
    if std::env::var_os("FULL_SIZE").is_some() { full } else { ordinary }
}

/// A TLS client of these versions, to which no certificate is too odd.
pub fn client(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth()
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The gateway's log, as it is written.
#[derive(Clone, Default)]
pub struct LogLines(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl LogLines {
    /// Every line so far.
    pub fn all(&self) -> Vec<Value> {
        let bytes = self.0.0.lock().unwrap();
        bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect()
    }

    /// Waits for a line; fails the test when none comes within ten seconds.
    pub async fn wait_for(&self, fits: impl Fn(&Value) -> bool + Send + 'static) -> Value {
        let log = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut bytes = log.0.0.lock().unwrap();
            loop {
                let lines = bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
                if let Some(line) = lines.into_iter().find(|line| fits(line)) {
                    return line;
                }
                let (next, late) = log.0.1.wait_timeout(bytes, Duration::from_secs(10)).unwrap();
                assert!(!late.timed_out(), "no such line in the log:\n{}", String::from_utf8_lossy(&next));
                bytes = next;
            }
        })
        .await
        .unwrap()
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.0.lock().unwrap().extend_from_slice(bytes);
        self.0.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
