//! The admin listener: metrics for Prometheus, whether the gateway lives and is ready, and a page for people. For the machine
//! itself, not for the internet.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::live::{Asks, Live};
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::relay::Relay;
use crate::rules::monitor::{Audience, Check, Told};
use crate::{sockets, state};

mod door;
mod events;
mod health;
mod objections;
mod page;
mod reload;
mod scrape;
mod view;

use events::{Feed, Stream};
use health::Health;
use view::{FOR_PEOPLE, View};

/// Scrapers and people: more than this at once is a mistake, and whoever came first makes room for who comes now. Nobody who takes
/// nothing, or says nothing, keeps an operator out.
const CONNECTIONS: usize = 64;
/// A scraper that says nothing for this long is gone.
const HEAD: Duration = Duration::from_secs(60);

const TEXT: &str = "text/plain; charset=utf-8";

/// What else there is, for whoever asks for something else.
const HERE: &str = "Here are / for people, /metrics, /api/v1/onlyoffice/health, /api/v1/sessions, /api/v1/saves, /api/v1/would-refuse, /livez, \
     /readyz and POST /reload.\n";

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The configuration and the servers' health.
    pub live: Arc<Live>,
    /// Numbers.
    pub ops: Ops,
    /// Where a reload is asked for.
    pub asks: Asks,
    /// Saves.
    pub relay: Arc<Relay>,
    /// Who is in which document.
    pub sockets: Arc<sockets::Shared>,
    /// Whether shared state can be reached.
    pub state: Arc<state::Watch>,
    /// Whether the gateway is on its way out: alive, serving, and not ready.
    pub leaving: Arc<AtomicBool>,
    /// Since when the gateway runs.
    pub begun: Instant,
}

/// Serves until it is dropped. Runs on the control runtime.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn serve(socket: std::net::TcpListener, admin: Admin) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let feed = Arc::<Feed>::default();
    tokio::select! {
        () = accept(socket, &admin, &feed) => {}
        () = events::publish(&admin, &feed) => {}
    }
    Ok(())
}

async fn accept(socket: TcpListener, admin: &Admin, feed: &Arc<Feed>) {
    let mut open = VecDeque::<AbortHandle>::new();
    loop {
        let Ok((stream, _)) = socket.accept().await else {
            sleep(Duration::from_millis(50)).await; // out of descriptors
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let (admin, feed) = (admin.clone(), feed.clone());
        let connection = tokio::spawn(async move {
            let (admin, feed) = (&admin, &feed);
            let service = service_fn(async |request: Request<Incoming>| {
                Ok::<_, Infallible>(door::closed(admin.open(&request, feed).await))
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            served.await.ok(); // whoever asked has left
        });
        open.push_back(connection.abort_handle());
    }
}

impl Admin {
    async fn open(
        &self,
        request: &Request<Incoming>,
        feed: &Arc<Feed>,
    ) -> Response<Either<Full<Bytes>, Stream>> {
        if let Some(refusal) = door::turned_away(request, &self.live.load().settings.site.admin_names) {
            let status = refusal.status();
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let facts = [("status", status.as_str()), ("host", host), ("path", request.uri().path())];
            let message = "a request to the admin listener was turned away: 421 for a name that [server] admin_names does not list, \
                 403 for a page of others, 400 for what is no host";
            self.ops.log.event(Level::Warn, "admin_refused", message, &facts);
            return refusal.map(Either::Left);
        }
        if request.uri().path() == "/events" && *request.method() == Method::GET {
            return events::answer(self, feed);
        }
        self.answer(request).await.map(Either::Left)
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/reload" {
            return reload::answer(&self.asks, request.method(), request.headers()).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
        }
        match request.uri().path() {
            "/metrics" | "/api/metrics" => {
                let mut response = text(StatusCode::OK, scrape::page(self));
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            "/" => page::answer(&View::of(self, FOR_PEOPLE)),
            "/api/v1/sessions" => json(&view::sessions(self)),
            "/api/v1/saves" => json(&view::saves(self)),
            "/api/v1/would-refuse" => json(&objections::page(self)),
            path => match Check::at(path) {
                Some(check) => {
                    let Told { status, content_type, body } = self.told(check, Audience::Operators);
                    let mut response = text(status, body);
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                    response
                }
                None => text(StatusCode::NOT_FOUND, HERE.into()),
            },
        }
    }

    /// What monitors are told. Everything is known already: nothing is asked for this.
    #[must_use]
    pub fn told(&self, check: Check, audience: Audience) -> Told {
        let words = |status, words: &str| Told { status, content_type: TEXT, body: format!("{words}\n") };
        match check {
            Check::Health => {
                let (status, body) = Health::of(self).told(audience);
                Told { status, content_type: "application/json", body }
            }
            Check::Alive => words(StatusCode::OK, "alive"),
            Check::Ready if self.leaving.load(Ordering::Relaxed) => {
                words(StatusCode::SERVICE_UNAVAILABLE, "the gateway leaves")
            }
            Check::Ready => {
                let running = self.live.load();
                match running.servers.all().iter().any(|server| server.health().serves()) {
                    true => words(StatusCode::OK, "ready"),
                    false => words(StatusCode::SERVICE_UNAVAILABLE, "no Document Server answers"),
                }
            }
        }
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, format!("{value}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}
