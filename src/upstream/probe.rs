//! Asks each Document Server how it is: `GET /healthcheck` must answer `true`.

use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::server::{Health, Server};
use crate::ops::Ops;
use crate::ops::debug::Fact;
use crate::ops::log::Level;

/// How often a server that is down is asked: requests that wait go through within 200 ms of its return, so half of
/// that, less the time a connection takes.
const WHILE_DOWN: Duration = Duration::from_millis(80);
/// How long an answer may take. The real `/healthcheck` asks a database, a queue and a disk and took 93 ms in the
/// captures; a server that needs longer than this is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// The answer is `true` or `false`; anything longer is an error page.
const LONGEST_ANSWER: usize = 4096;

/// Watches a server until nobody else holds it. Runs on the control runtime. `every` is asked before each pause, so
/// that a reload changes the pace.
pub async fn watch(server: Weak<Server>, every: impl Fn() -> Duration, ops: Ops) {
    let mut known = Cow::Borrowed("");
    loop {
        let Some(server) = server.upgrade() else { return };
        let (health, why) = ask(&server).await;
        let before = server.judge(health);
        report(&server, before, health, &ops);
        if why != known {
            let facts: [Fact<'_>; 2] = [("server", &server.name()), ("healthcheck", &why)];
            ops.log.debug("upstream", "the probe hears something else", &facts);
            known = why;
        }
        let pause = if health == Health::Down { WHILE_DOWN } else { every() };
        tokio::select! {
            () = sleep(pause) => {}
            () = server.suspicion() => {}
        }
    }
}

/// Down is who refuses, hangs up or answers 502-504; who takes the question and is slow still serves.
async fn ask(server: &Arc<Server>) -> (Health, Cow<'static, str>) {
    let address = server.address();
    let connect = TcpStream::connect((address.host.as_str(), address.port));
    let stream = match timeout(PATIENCE, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (Health::Down, error.to_string().into()),
        Err(_) => return (Health::Down, "no connection within 3 s".into()),
    };
    match timeout(PATIENCE, healthcheck(server, stream)).await {
        Ok(Ok((health, why))) => (health, why),
        Ok(Err(error)) => (Health::Down, error.to_string().into()),
        Err(_) => (Health::Unwell, "no answer within 3 s".into()),
    }
}

async fn healthcheck(
    server: &Server,
    stream: TcpStream,
) -> Result<(Health, Cow<'static, str>), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _ended_with_the_question = AbortOnDrop(tokio::spawn(connection).abort_handle());
    let request = Request::get("/healthcheck").header("host", server.name()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(match status {
        StatusCode::OK if body.trim_ascii() == b"true" => (Health::Up, "true".into()),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            (Health::Down, format!("status {status}").into())
        }
        StatusCode::OK => (Health::Unwell, "not true".into()),
        _ => (Health::Unwell, format!("status {status}").into()),
    })
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn report(server: &Server, before: Health, now: Health, ops: &Ops) {
    if before == now {
        return;
    }
    let (level, message) = match now {
        Health::Up => (Level::Info, "the Document Server is well"),
        Health::Unwell => (
            Level::Warn,
            "the Document Server answers, but its /healthcheck does not say true: look at its database, queue and disk",
        ),
        _ => (Level::Warn, "the Document Server does not answer: requests wait for it, then get 503"),
    };
    ops.log.event(level, "upstream_health", message, &[("server", server.name())]);
}
