//! Port 80: files of the ACME webroot, so that certificates renew, and for everything else the way to https.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::Reply;
use super::core::Core;
use crate::live::Site;
use crate::rules::host::{self, Authority};
use crate::rules::route::own_path;

/// Nothing on this port takes longer than a few round trips, so one limit on the whole connection is enough.
const WHOLE: Duration = Duration::from_secs(30);
/// A head on this port is a browser's first word.
const HEAD: Duration = Duration::from_secs(10);
/// A challenge is 87 bytes; a webroot may hold other things by accident.
const LARGEST_CHALLENGE: u64 = 64 << 10;
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Serves a connection of the plain listener.
pub async fn serve(core: Rc<Core>, stream: TcpStream) {
    let service = service_fn(|request| {
        let core = core.clone();
        core.ops.metrics.redirects.increment(1);
        async move { Ok::<_, Infallible>(answer(&core.live.load().settings.site, &request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 << 10)
        .keep_alive(false) // a redirect needs one request, and a stop need not wait for the next
        .serve_connection(TokioIo::new(stream), service);
    timeout(WHOLE, pin!(served)).await.ok();
}

async fn answer(site: &Site, request: &Request<Incoming>) -> Response<Reply> {
    let path = request.uri().path();
    if let Some(name) = path.strip_prefix(CHALLENGES) {
        return challenge(site.acme_challenge.as_deref(), name).await;
    }
    // A redirect would turn the callback's POST into a GET and lose the save (protocol.md 4.3).
    if own_path(path).is_some() {
        return plain(StatusCode::FORBIDDEN, "The relay is served over https only.\n");
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Some(location) = location(site, host, target) else {
        return plain(StatusCode::BAD_REQUEST, "This address cannot be redirected.\n");
    };
    // 308 keeps method and body of clients that were configured with http.
    let status = match *request.method() {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let mut response = plain(status, "");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The same address below https, at the public URL of that host: never at a host that the client made up.
fn location(site: &Site, host: &str, target: &str) -> Option<HeaderValue> {
    let public = host::choose(&site.public, Authority::parse(host).ok().as_ref())?;
    let shown = public.host_value().to_str().ok()?;
    // `*` and `?x` would run on from the host's name.
    let slash = if target.starts_with('/') { "" } else { "/" };
    HeaderValue::from_str(&format!("https://{shown}{slash}{target}")).ok()
}

/// A file of the webroot: a plain name, nothing above or below it, nothing large.
async fn challenge(webroot: Option<&Path>, name: &str) -> Response<Reply> {
    let plain_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let (Some(webroot), true) = (webroot, plain_name) else {
        return plain(StatusCode::NOT_FOUND, "No such challenge.\n");
    };
    let file = webroot.join(CHALLENGES.trim_start_matches('/')).join(name);
    match tokio::task::spawn_blocking(move || read(file)).await {
        Ok(Some(bytes)) => {
            let mut response = Response::new(Reply::plain(bytes));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "No such challenge.\n"),
    }
}

fn read(file: PathBuf) -> Option<Vec<u8>> {
    let about = std::fs::metadata(&file).ok()?;
    (about.is_file() && about.len() <= LARGEST_CHALLENGE).then(|| std::fs::read(file).ok())?
}

fn plain(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::plain(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
