//! A request to a Document Server: waits while the server restarts, repeats what is safe to repeat, streams both ways.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::body::{AnswerBody, BodyFault, Lease, Outgoing, Progress};
use super::pool::{Pool, Sender, connect};
use super::server::{Health, Server, Verdict};
use crate::rules::policy::Permit;

/// What an upgraded connection to a Document Server is underneath.
pub type UpgradedStream = TokioIo<TcpStream>;

/// A request as the Document Server shall see it.
pub struct Question {
    /// Proof that policy let it pass.
    pub permit: Permit,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// Header fields, already those of the Document Server's side.
    pub headers: HeaderMap,
    /// Body.
    pub body: Outgoing,
    /// How long the head of the answer may take once the body has gone.
    pub patience: Duration,
}

/// An answer and the way it came.
pub struct Answer {
    /// The answer of the Document Server; on 101 its extensions hold the upgrade.
    pub response: Response<AnswerBody>,
    /// How often the request was sent or a connection tried.
    pub tries: u32,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// No server took the connection within the time a request waits for a restart.
    Unreachable(io::Error),
    /// The connection ended before the answer's head, and the request could not be repeated.
    Broken(hyper::Error),
    /// The answer's head did not come in time.
    Silent,
    /// The client's side of the request failed while it was being sent.
    Body(BodyFault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(e) => write!(f, "the Document Server cannot be reached: {e}"),
            Self::Broken(e) => write!(f, "the Document Server closed the connection before it answered: {e}"),
            Self::Silent => f.write_str("the Document Server did not answer in time"),
            Self::Body(e) => write!(f, "{e}"),
        }
    }
}

/// The way to the Document Servers from one core.
#[derive(Clone, Default)]
pub struct Upstream {
    pool: Rc<Pool>,
}

/// After this many fresh connections on which a healthy server closed without a byte, the request is given up.
const FRESH_TRIES: u32 = 3;
/// How long a request waits for the probe to look again after a failure.
const SECOND_LOOK: Duration = Duration::from_secs(1);

impl Upstream {
    /// Sends a request and waits for the head of its answer.
    ///
    /// A server that is restarting is waited for, up to `wait`. A request is sent again when nothing of it was sent,
    /// or, for GET and HEAD without a body, when no byte of an answer came or a 502-504 came from a server of which
    /// the probe says that it is down. Never once a body has begun.
    ///
    /// # Errors
    /// When there is no answer; what was tried is in the fault.
    pub async fn ask(
        &self,
        server: &Arc<Server>,
        wait: Duration,
        question: Question,
    ) -> Result<Answer, Fault> {
        let deadline = Instant::now() + wait;
        let patience = question.patience;
        let repeatable = matches!(question.body, Outgoing::Empty)
            && matches!(question.method, Method::GET | Method::HEAD)
            && !question.headers.contains_key(hyper::header::UPGRADE);
        let body = question.body.progress();
        let has_body = !matches!(question.body, Outgoing::Empty);
        let mut request = request(question);
        let (mut tries, mut fresh) = (0, 0);
        loop {
            tries += 1;
            let seen = server.verdict();
            let (sender, reused) = self.connection(server, deadline, fresh > 0).await?;
            fresh += u32::from(!reused);
            let copy = repeatable.then(|| head(&request));
            let error = match send(sender, request, patience).await {
                Ok((response, sender)) => {
                    // The container's own nginx answers for a DocService that is not up yet.
                    if let Some(copy) = copy.filter(|_| is_gateway_error(response.status()))
                        && !look_again(server, seen, deadline).await.serves()
                        && server.until_serving(deadline).await
                    {
                        request = copy;
                        continue;
                    }
                    return Ok(Answer {
                        response: self.lend(response, sender, (has_body, body), server),
                        tries,
                    });
                }
                Err(Failure::Unsent(back, error)) => {
                    request = *back;
                    error
                }
                Err(Failure::Silent) => return Err(Fault::Silent),
                Err(Failure::Body(fault)) => return Err(Fault::Body(fault)),
                Err(Failure::Broken(error)) => {
                    let Some(copy) = copy else { return Err(Fault::Broken(error)) };
                    request = copy;
                    error
                }
            };
            if reused {
                continue; // an idle connection had ended; the next one is new
            }
            if look_again(server, seen, deadline).await.serves() {
                if fresh >= FRESH_TRIES || Instant::now() >= deadline {
                    return Err(Fault::Broken(error));
                }
            } else if !server.until_serving(deadline).await {
                return Err(Fault::Unreachable(io::Error::other(error)));
            } else {
                fresh = 1; // whatever was tried while it was down does not count
            }
        }
    }

    /// An idle connection, else a new one, waiting for the server while it is down. Nothing has been sent yet, so every
    /// kind of request may wait here.
    async fn connection(
        &self,
        server: &Arc<Server>,
        deadline: Instant,
        fresh: bool,
    ) -> Result<(Sender, bool), Fault> {
        loop {
            // A container's port may accept before anything behind it is up: the probe knows.
            if !server.health().serves() {
                server.suspect();
                if !server.until_serving(deadline).await {
                    return Err(Fault::Unreachable(io::Error::other(
                        "it has been down for as long as a request waits",
                    )));
                }
            }
            if !fresh && let Some(sender) = self.pool.take(server.address()) {
                return Ok((sender, true));
            }
            let seen = server.verdict();
            let error = match connect(server.address()).await {
                Ok(sender) => return Ok((sender, false)),
                Err(error) => error,
            };
            self.pool.forget(server.address());
            look_again(server, seen, deadline).await;
            if Instant::now() >= deadline {
                return Err(Fault::Unreachable(error));
            }
        }
    }

    fn lend(
        &self,
        response: Response<Incoming>,
        sender: Sender,
        (has_body, asked): (bool, Option<Rc<Progress>>),
        server: &Arc<Server>,
    ) -> Response<AnswerBody> {
        // Who refuses a body may have left it unread in the kernel, where nobody sees it: the next request would wait
        // behind it.
        let reuse = !(has_body && response.status().as_u16() >= 400);
        let lease = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then(|| Lease {
            sender,
            asked,
            reuse,
            pool: self.pool.clone(),
            server: server.clone(),
        });
        response.map(|body| AnswerBody::new(body, lease))
    }
}

/// Has the probe look now, and waits for what it says.
async fn look_again(server: &Server, seen: Verdict, deadline: Instant) -> Health {
    server.suspect();
    server.next_verdict(seen, (Instant::now() + SECOND_LOOK).min(deadline)).await
}

enum Failure {
    /// Not a byte of it was sent; here it is back.
    Unsent(Box<Request<Outgoing>>, hyper::Error),
    Broken(hyper::Error),
    Silent,
    Body(BodyFault),
}

fn request(question: Question) -> Request<Outgoing> {
    let Question { permit: _, method, target, headers, body, patience: _ } = question;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    request
}

/// The request once more, for those that have no body.
fn head(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Outgoing::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

fn is_gateway_error(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// Sends once. The time for the head counts from the last movement of the body, so that an upload may take as long as
/// it moves.
async fn send(
    mut sender: Sender,
    request: Request<Outgoing>,
    patience: Duration,
) -> Result<(Response<Incoming>, Sender), Failure> {
    let progress = request.body().progress();
    let begun = Instant::now();
    let answer = sender.try_send_request(request);
    tokio::pin!(answer);
    let timer = sleep_until(begun + patience);
    tokio::pin!(timer);
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return match answered {
                Ok(response) => Ok((response, sender)),
                Err(mut failed) => Err(match (failed.take_message(), progress.and_then(|p| p.fault.get())) {
                    (Some(back), _) => Failure::Unsent(Box::new(back), failed.into_error()),
                    (None, Some(fault)) => Failure::Body(fault),
                    (None, None) => Failure::Broken(failed.into_error()),
                }),
            },
            () = &mut timer => {
                let since = progress.as_ref().map_or(begun, |p| p.last.get().max(begun));
                if since.elapsed() >= patience {
                    return Err(Failure::Silent);
                }
                timer.as_mut().reset(since + patience);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(75);

    /// A body that sends so many pieces, one every 60 s.
    struct Slow {
        pieces: u32,
        pause: Pin<Box<tokio::time::Sleep>>,
        progress: Rc<Progress>,
    }

    impl Body for Slow {
        type Data = Bytes;
        type Error = BodyFault;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
            if self.pieces == 0 {
                return Poll::Ready(None);
            }
            std::task::ready!(self.pause.as_mut().poll(cx));
            self.pieces -= 1;
            self.pause = Box::pin(sleep(Duration::from_secs(60)));
            self.progress.moved();
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
        }
    }

    fn slow(pieces: u32) -> Outgoing {
        let progress = Progress::new();
        let pause = Box::pin(sleep(Duration::from_secs(60)));
        Outgoing::Stream { body: Box::pin(Slow { pieces, pause, progress: progress.clone() }), progress }
    }

    /// How long a request took to be given up, in front of a server that reads everything and says nothing.
    async fn given_up_after(body: Outgoing) -> Duration {
        let (near, mut far) = duplex(1 << 16);
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let local = tokio::task::LocalSet::new();
        local.spawn_local(connection);
        let silent = async {
            let mut bytes = [0; 1024];
            while far.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            far.flush().await.unwrap();
        };
        let begun = Instant::now();
        let request = Request::post("/upload/x").header("host", "x").body(body).unwrap();
        tokio::select! {
            sent = local.run_until(send(sender, request, PATIENCE)) => assert!(matches!(sent, Err(Failure::Silent))),
            () = silent => panic!("the connection was closed first"),
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_has_its_time_from_the_last_piece_of_the_body() {
        for (pieces, minutes) in [(0, 0), (1, 1), (5, 5)] {
            let body = if pieces == 0 { Outgoing::Empty } else { slow(pieces) };
            let expected = Duration::from_secs(60 * minutes) + PATIENCE;
            let took = given_up_after(body).await;
            assert!(took >= expected && took < expected + Duration::from_secs(1), "{pieces}: {took:?}");
        }
    }
}
