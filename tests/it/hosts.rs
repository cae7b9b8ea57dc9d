//! Which certificate is served, which hosts a connection may ask for, and where port 80 sends people.

use std::sync::Arc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{HandshakeKind, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::raw::{Answer, Line};
use crate::rig::{self, Got, Rig, Setup};

const TARGET: &str = "/fonts/size-3";

/// Three certificates: `localhost` and `one.example`; `*.two.example`; `exact.two.example`.
async fn several() -> Rig {
    let setup = Setup {
        public: "localhost one.example a.two.example exact.two.example",
        names: vec!["localhost", "one.example"],
        more_names: vec![vec!["*.two.example"], vec!["exact.two.example", "two.example"]],
        ..Setup::default()
    };
    Rig::with(setup).await
}

fn certificate(rig: &Rig, stem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(rig.folder.path().join(format!("{stem}.pem"))).unwrap()
}

fn served(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn ask(rig: &Rig, sni: Option<&str>, target: &str, host: &str) -> Answer {
    let stream = rig.tls(sni, &["http/1.1"]).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\n{host}\r\n");
    Line::over(stream).ask(request.as_bytes()).await.unwrap()
}

#[tokio::test]
async fn the_certificate_is_chosen_by_sni() {
    let rig = several().await;
    let table = [
        (Some("localhost"), "rig"),
        (Some("one.example"), "rig"),
        (Some("ONE.example"), "rig"),
        (Some("a.two.example"), "more-0"),
        (Some("b.two.example"), "more-0"),
        (Some("A.TWO.example"), "more-0"),
        (Some("exact.two.example"), "more-1"),
        (Some("EXACT.two.EXAMPLE"), "more-1"),
        (Some("two.example"), "more-1"),
        // A wildcard stands for one label.
        (Some("b.a.two.example"), "rig"),
        (Some("unknown.example"), "rig"),
        (None, "rig"),
    ];
    for (sni, stem) in table {
        for protocols in [&["http/1.1"][..], &["h2"], &[]] {
            let stream = rig.tls(sni, protocols).await.unwrap();
            assert!(served(&stream) == certificate(&rig, stem), "{sni:?} {protocols:?}: not {stem}");
        }
    }
}

#[tokio::test]
async fn a_host_belongs_to_the_certificate_of_its_connection() {
    let rig = several().await;
    let table = [
        (Some("localhost"), "localhost", 200),
        (Some("localhost"), "LOCALHOST.:9", 200),
        (Some("localhost"), "one.example", 200),
        (Some("localhost"), "a.two.example", 421),
        (Some("localhost"), "exact.two.example", 421),
        (Some("localhost"), "unknown.example", 421),
        (Some("localhost"), "localhost.evil.example", 421),
        (Some("localhost"), "127.0.0.1", 421),
        (Some("a.two.example"), "a.two.example", 200),
        (Some("a.two.example"), "b.two.example", 200),
        (Some("a.two.example"), "exact.two.example", 200), // the wildcard covers it as well
        (Some("a.two.example"), "two.example", 421),
        (Some("a.two.example"), "x.a.two.example", 421),
        (Some("a.two.example"), "localhost", 421),
        (Some("exact.two.example"), "exact.two.example", 200),
        (Some("exact.two.example"), "two.example", 200),
        (Some("exact.two.example"), "a.two.example", 421),
        // Whoever names nothing, or something unknown, has got the first certificate.
        (Some("unknown.example"), "localhost", 200),
        (Some("unknown.example"), "a.two.example", 421),
        (Some("unknown.example"), "unknown.example", 421),
        (None, "localhost", 200),
        (None, "a.two.example", 200),
        (None, "unknown.example", 421),
        (None, "127.0.0.1", 421),
    ];
    for (sni, host, status) in table {
        let answer = ask(&rig, sni, TARGET, &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status, status, "{sni:?} {host}");
        assert_eq!(answer.refusal(), (status == 421).then_some("misdirected_host"), "{sni:?} {host}");
    }
    for lines in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nHost: a.two.example\r\n"]
    {
        let answer = ask(&rig, Some("localhost"), TARGET, lines).await;
        assert!(!answer.is_upstreams() && matches!(answer.status, 400 | 421), "{lines:?}: {}", answer.status);
    }
    // An absolute target names its host itself (RFC 9112 3.2.2).
    for (target, host, status) in [
        ("https://localhost/fonts/size-3", "localhost", 200),
        ("https://a.two.example/fonts/size-3", "a.two.example", 421),
        ("https://unknown.example/fonts/size-3", "unknown.example", 421),
    ] {
        let answer = ask(&rig, Some("localhost"), target, &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status, status, "{target} {host}");
    }
    for (target, host) in [
        ("https://a.two.example/fonts/size-3", "localhost"),
        ("https://unknown.example/fonts/size-3", "localhost"),
        ("https://user@localhost/fonts/size-3", "localhost"),
    ] {
        let answer = ask(&rig, Some("localhost"), target, &format!("Host: {host}\r\n")).await;
        assert!(!answer.is_upstreams() && matches!(answer.status, 400 | 421), "{target} {host}");
    }
}

#[tokio::test]
async fn a_host_belongs_to_the_certificate_of_its_connection_over_http2() {
    let rig = several().await;
    let stream = rig.tls(Some("localhost"), &["h2"]).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Browsers put a second host on one connection where the certificate covers both, and go elsewhere on 421.
    for (host, status) in [
        ("localhost", 200),
        ("one.example", 200),
        ("one.example:9", 200),
        ("a.two.example", 421),
        ("unknown.example", 421),
        ("localhost", 200),
    ] {
        let request = Request::get(format!("https://{host}{TARGET}")).body(Full::<Bytes>::default()).unwrap();
        let got = Got::from(sender.send_request(request).await.unwrap()).await;
        assert_eq!(got.status, status, "{host}");
    }
}

async fn connect(rig: &Rig, config: &Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(rig.https).await?;
    TlsConnector::from(config.clone()).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

const OLD: &[&SupportedProtocolVersion] = &[&version::TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&version::TLS13];
const HELLO: &[u8] = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn versions_of_tls_and_their_sessions() {
    let table = [("1.2", OLD, true), ("1.2", NEW, true), ("1.3", OLD, false), ("1.3", NEW, true)];
    for (min, versions, works) in table {
        let tables = format!("[tls]\nmin_version = \"{min}\"\n");
        let rig = Rig::with(Setup { tables, ..Setup::default() }).await;
        let config = Arc::new(rig::client(versions));
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let stream = match connect(&rig, &config).await {
                Ok(stream) => stream,
                Err(error) => {
                    assert!(!works && error.to_string().contains("ProtocolVersion"), "{min}: {error}");
                    break;
                }
            };
            let version = stream.get_ref().1.protocol_version();
            assert_eq!(version, Some(versions[0].version), "{min}");
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The ticket of TLS 1.3 comes behind the handshake, at the latest with the first answer.
            let answer = Line::over(stream).ask(HELLO).await.unwrap();
            assert_eq!(answer.status, 200);
        }
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(kinds, if works { &expected[..] } else { &[] }, "{min} {versions:?}");
    }
}

#[tokio::test]
async fn the_protocol_is_agreed_in_the_handshake() {
    let rig = Rig::start().await;
    let table: [(&[&str], Option<&str>); 5] = [
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")), // the gateway's wish counts
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ];
    for (offered, agreed) in table {
        let stream = rig.tls(Some("localhost"), offered).await.unwrap();
        let alpn =
            stream.get_ref().1.alpn_protocol().map(|alpn| std::str::from_utf8(alpn).unwrap().to_owned());
        assert_eq!(alpn.as_deref(), agreed, "{offered:?}");
        if agreed == Some("h2") {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request =
                Request::get("https://localhost/robots.txt").body(Full::<Bytes>::default()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        } else {
            assert_eq!(Line::over(stream).ask(HELLO).await.unwrap().status, 200, "{offered:?}");
        }
    }
    // Who offers nothing that is spoken here is told so, and who speaks HTTP/2 unasked is not understood.
    assert!(rig.tls(Some("localhost"), &["spdy/3"]).await.is_err());
    let stream = rig.tls(Some("localhost"), &[]).await.unwrap();
    let preface = Line::over(stream).ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(preface.is_none_or(|answer| answer.status >= 400));
}

async fn plainly(rig: &Rig, request: &str) -> Option<Answer> {
    Line::over(TcpStream::connect(rig.http).await.unwrap()).ask(request.as_bytes()).await
}

#[tokio::test]
async fn port_80_sends_to_a_public_url_and_nowhere_else() {
    let setup = Setup {
        public: "one.example two.example:8443 three.example/docs",
        names: vec!["*.example"],
        ..Setup::default()
    };
    let rig = Rig::with(setup).await;
    let table = [
        ("one.example", "/a/b?c=d%20&e=%2F", "https://one.example/a/b?c=d%20&e=%2F"),
        ("ONE.example:80", "/", "https://one.example/"),
        ("one.example.", "/a", "https://one.example/a"),
        ("two.example", "/a", "https://two.example:8443/a"),
        ("two.example:80", "/a", "https://two.example:8443/a"),
        ("three.example", "/docs/a", "https://three.example/docs/a"),
        ("evil.test", "/a", "https://one.example/a"),
        ("evil.test:443", "/a", "https://one.example/a"),
        ("one.example.evil.test", "/a", "https://one.example/a"),
        ("one.example@evil.test", "/a", "https://one.example/a"),
        ("evil.test/x", "/a", "https://one.example/a"),
        ("one.example, evil.test", "/a", "https://one.example/a"),
        ("", "/a", "https://one.example/a"),
        ("[::1]", "/a", "https://one.example/a"),
        ("one.example", "//evil.test/a", "https://one.example//evil.test/a"),
        ("one.example", "/@evil.test", "https://one.example/@evil.test"),
        ("one.example", "http://evil.test/a", "https://one.example/a"),
        ("one.example", "/%0d%0aLocation:%20x", "https://one.example/%0d%0aLocation:%20x"),
        ("evil.test", "/info/config", "https://one.example/info/config"),
    ];
    for (host, target, location) in table {
        let methods =
            [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("OPTIONS", 308)];
        for (method, status) in methods {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
            let answer = plainly(&rig, &request).await.unwrap();
            assert_eq!(answer.status, status, "{method} {host} {target}");
            assert_eq!(answer.header("location"), Some(location), "{method} {host} {target}");
        }
    }
    for head in
        ["GET /a HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n", "GET /a HTTP/1.1\r\nX-Forwarded-Host: evil.test\r\n"]
    {
        if let Some(answer) = plainly(&rig, &format!("{head}\r\n")).await {
            let location = answer.header("location");
            assert!(
                answer.status == 400 || location == Some("https://one.example/a"),
                "{head:?}: {answer:?}"
            );
        }
    }
    // Targets that are no path: whatever is made of them, the host stays a public URL's.
    for target in [
        "*",
        "evil.test",
        "evil.test:80",
        "@evil.test",
        "?x",
        "http://evil.test?x=1",
        ".evil.test/",
        ":1@evil.test/",
        "a:b@c/d",
        "//",
        "/\t",
        "/\\evil.test",
        "\\\\evil.test",
    ] {
        for method in ["GET", "OPTIONS", "CONNECT"] {
            let request = format!("{method} {target} HTTP/1.1\r\nHost: one.example\r\n\r\n");
            let Some(answer) = plainly(&rig, &request).await else { continue };
            let location = answer.header("location").unwrap_or_default();
            assert!(
                answer.status == 400 || location.starts_with("https://one.example/"),
                "{method} {target}: {answer:?}"
            );
        }
    }
    assert!(rig.server.requests().iter().all(|request| request.target == "/healthcheck"));
}

#[tokio::test]
async fn a_callback_is_never_redirected() {
    let rig = Rig::start().await;
    for target in [
        "/relay/rapidpm/callback?x=1",
        "/relay/rapidpm/",
        "/relay/unknown/x",
        "/relay/rapidpm//x/../y",
        "http://localhost/relay/rapidpm/callback",
        "/saved/1/output.docx",
    ] {
        for method in ["POST", "GET", "HEAD", "PUT"] {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = plainly(&rig, &request).await.unwrap();
            assert_eq!((answer.status, answer.header("location")), (403, None), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn challenges_are_served_before_the_redirect_and_nothing_beside_them() {
    let webroot = tempfile::tempdir().unwrap();
    let folder = webroot.path().join(".well-known/acme-challenge");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    std::fs::write(folder.join("T0ken_-x"), "T0ken_-x.thumb").unwrap();
    std::fs::write(folder.join("folder/inside"), "inside").unwrap();
    std::fs::write(folder.join(".hidden"), "hidden").unwrap();
    std::fs::write(folder.join("large"), vec![b'x'; 70_000]).unwrap();
    std::fs::write(webroot.path().join("secret"), "secret").unwrap();
    std::fs::write(webroot.path().join(".well-known/secret"), "secret").unwrap();
    let lines = vec![("server", format!("acme_challenge = {:?}", webroot.path()))];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    for host in ["localhost", "unknown.test", ""] {
        let request = format!("GET /.well-known/acme-challenge/T0ken_-x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = plainly(&rig, &request).await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "T0ken_-x.thumb"), "{host}");
    }
    for name in [
        "",
        "nosuch",
        "folder",
        "folder/",
        "folder/inside",
        "folder%2finside",
        "../secret",
        "../../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "%2E%2E%2F%2E%2E%2Fsecret",
        "..%5csecret",
        "....//secret",
        "./T0ken_-x",
        ".",
        "..",
        "/T0ken_-x",
        "//etc/passwd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        ".hidden",
        "T0ken_-x%00",
        "T0ken_-x/",
        "T0ken_-x/.",
        "%540ken_-x",
        "large",
        "T0ken_-x;a",
    ] {
        let request = format!("GET /.well-known/acme-challenge/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = plainly(&rig, &request).await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (404, None), "{name}");
        assert!(!answer.text().contains("secret") && !answer.text().contains("inside"), "{name}");
    }
    // Beside the folder there is only the redirect, and without a webroot there is no folder.
    for target in [
        "/.well-known/secret",
        "/secret",
        "/.well-known/acme-challenge",
        "/.well-known/%61cme-challenge/T0ken_-x",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(plainly(&rig, &request).await.unwrap().status, 301, "{target}");
    }
    let bare = Rig::start().await;
    let request = "GET /.well-known/acme-challenge/T0ken_-x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(plainly(&bare, request).await.unwrap().status, 404);
}
