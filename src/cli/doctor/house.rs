//! What `doctor` knows of the house before it asks: the configuration, and requests and tokens made from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::ask::Peer;
use crate::cli::token;
use crate::config::Loaded;
use crate::live::Snapshot;
use crate::rules::client::{self, Client};
use crate::rules::headers::{self, Forwarded, Hop};
use crate::rules::host::PublicUrl;
use crate::rules::token::Algorithm;
use crate::secret::Secret;

/// How long a token of `doctor` holds.
const LIFE: u64 = 300;

/// The configuration, ready for asking.
pub struct House {
    /// As loaded.
    pub loaded: Loaded,
    /// Callback paths, by integrator.
    pub callbacks: Vec<(String, String)>,
    /// Whether callbacks may be posted.
    pub post: bool,
    /// A name that no document has.
    pub key: String,
}

impl House {
    /// Of a configuration.
    pub fn new(loaded: Loaded, callbacks: Vec<(String, String)>, post: bool) -> Self {
        let mut random = [0; 8];
        // Without randomness the name is a fixed one, which does no harm.
        SystemRandom::new().fill(&mut random).ok();
        let key = random.iter().fold("doctor-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
        Self { loaded, callbacks, post, key }
    }

    /// What a reload would put in place.
    pub fn snapshot(&self) -> &Snapshot {
        &self.loaded.snapshot
    }

    /// The first public URL: what links are made from.
    pub fn public(&self) -> Option<&PublicUrl> {
        self.snapshot().site.public.first()
    }

    /// `https://host[:port][/path]` of a public URL.
    pub fn address(public: &PublicUrl) -> String {
        format!("https://{}", public.forwarded_host().to_str().unwrap_or_default())
    }

    /// A token that holds for some minutes.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(claims, &self.snapshot().relay.secret)
    }

    /// The same, signed with a secret that nobody has.
    pub fn foreign_token(&self, claims: &Value) -> String {
        self.token_of(claims, &Secret::new(format!("not-the-secret-of-anybody-{}", self.key).into_bytes()))
    }

    fn token_of(&self, claims: &Value, secret: &Secret) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut claims = claims.clone();
        claims["iat"] = now.into();
        claims["exp"] = (now + LIFE).into();
        let algorithm = self.snapshot().tokens.algorithms.first().copied().unwrap_or(Algorithm::Hs256);
        // What cannot be signed is refused wherever it is shown, and that is what is told then.
        token::signed(&claims, algorithm, secret).unwrap_or_default()
    }

    /// The claims of a reader of a document that does not exist. Readers are no editors: no callback tells of them.
    pub fn open_claims(&self) -> Value {
        let url = self.public().map(Self::address).unwrap_or_default();
        json!({
            "document": { "key": self.key, "url": format!("{url}/robots.txt"), "fileType": "txt", "title": "doctor.txt" },
            "editorConfig": { "mode": "view" },
        })
    }

    /// A request as the gateway would send it to a Document Server.
    pub fn to_server(&self, method: Method, target: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = request(method, target, body);
        if let Some(public) = self.public() {
            let client = Client::of(&client::Peer::new(Ipv4Addr::LOCALHOST.into()), &HeaderMap::new(), &[]);
            headers::to_upstream(request.headers_mut(), &Forwarded::new(public, &[]), &client, Hop::Ordinary);
        }
        request
    }

    /// A request as a browser would send it.
    pub fn to_public(public: &PublicUrl, method: Method, target: &str) -> Request<Full<Bytes>> {
        let target = format!("{}{target}", public.prefix());
        let mut request = request(method, &target, Vec::new());
        request.headers_mut().insert("host", public.host_value().clone());
        request
    }

    /// The running gateway's listener on this machine, as a browser that asks for `public` would meet it.
    pub fn listener(&self, public: &PublicUrl) -> Option<Peer> {
        let address = here(*self.loaded.fixed.https.first()?);
        Some(Peer {
            tls: Some(public.host().to_owned()),
            any_certificate: true,
            ..Peer::plain(address.ip().to_string(), address.port())
        })
    }

    /// The running gateway's admin listener.
    pub fn admin(&self) -> Peer {
        let address = here(self.loaded.fixed.admin);
        Peer::plain(address.ip().to_string(), address.port())
    }
}

/// Where to connect to on this machine for a socket that listens everywhere.
pub fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A request with a body of JSON, or none. What cannot be a target asks for `/`.
pub fn request(method: Method, target: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let with_body = !body.is_empty();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap_or_default();
    if with_body {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_everywhere_is_found_here() {
        for (written, met) in [
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("[::]:443", "[::1]:443"),
            ("192.0.2.1:8443", "192.0.2.1:8443"),
        ] {
            assert_eq!(here(written.parse().unwrap()), met.parse().unwrap());
        }
    }
}
