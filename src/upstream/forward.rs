//! A request to a Document Server: waits while the server restarts, repeats what is safe to repeat, streams both ways.

use std::fmt;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};

use super::body::{AnswerBody, BodyFault, Lease, Outgoing, Progress};
use super::link::Link;
use super::note::Note;
use super::pool::{Pool, connect};
use super::server::{Health, Server, Verdict};
use super::wire::Wire;
use crate::ops::log::Log;
use crate::rules::policy::Permit;

/// What an upgraded connection to a Document Server is underneath.
pub type UpgradedStream = TokioIo<Wire>;

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
#[derive(Clone)]
pub struct Upstream {
    pool: Rc<Pool>,
}

/// After this many fresh connections on which a healthy server closed without a byte, the request is given up.
const FRESH_TRIES: u32 = 3;
/// How long a request waits for the probe to look again after a failure.
const SECOND_LOOK: Duration = Duration::from_secs(1);

impl Upstream {
    /// Without any connection yet.
    pub fn new(log: Log) -> Self {
        Self { pool: Pool::new(log) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A server that is restarting is waited for, up to `wait`. A request is sent again when nothing of it was sent,
    /// or, for GET and HEAD without a body, when no byte of an answer came or a 502-504 came from a server of which
    /// the probe says that it is down. Never once a body has begun.
    ///
    /// # Errors
    /// When there is no answer; what was tried is in the fault.
    pub fn ask<'a>(
        &'a self,
        server: &'a Arc<Server>,
        wait: Duration,
        question: Question,
    ) -> impl Future<Output = Result<Answer, Fault>> + 'a {
        let asked = Asked {
            deadline: Instant::now() + wait,
            patience: question.patience,
            repeatable: matches!(question.body, Outgoing::Empty)
                && matches!(question.method, Method::GET | Method::HEAD)
                && !question.headers.contains_key(hyper::header::UPGRADE),
            has_body: !matches!(question.body, Outgoing::Empty),
            progress: question.body.progress(),
        };
        // In a box: the future that waits for the answer holds it at several levels, and is moved itself.
        self.ask_until_answered(server, asked, Box::new(request(question)))
    }

    async fn ask_until_answered(
        &self,
        server: &Arc<Server>,
        asked: Asked,
        mut request: Box<Request<Outgoing>>,
    ) -> Result<Answer, Fault> {
        let deadline = asked.deadline;
        let note = self.pool.note(server, &request);
        let (mut tries, mut fresh) = (0, 0);
        loop {
            tries += 1;
            let seen = server.verdict();
            let (link, reused) = self.connection(server, deadline, fresh > 0, &note).await?;
            fresh += u32::from(!reused);
            let copy = asked.repeatable.then(|| Box::new(head(&request)));
            let error = match send(link, request, &asked).await {
                Ok((response, link)) => {
                    // The container's own nginx answers for a DocService that is not up yet.
                    if let Some(copy) = copy.filter(|_| is_gateway_error(response.status()))
                        && !look_again(server, seen, deadline).await.serves()
                        && server.until_serving(deadline).await
                    {
                        note.say("asked again: it was down, and its own nginx answered", &response.status());
                        request = copy;
                        continue;
                    }
                    return Ok(Answer { response: self.lend(response, link, &asked, server), tries });
                }
                Err(Failure::Unsent(back, error)) => {
                    request = back;
                    tries -= u32::from(reused); // an idle connection that had ended, and not the first perhaps
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
            note.say("asked again: the connection has ended", &error);
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
        note: &Note,
    ) -> Result<(Link, bool), Fault> {
        loop {
            // A container's port may accept before anything behind it is up: the probe knows.
            if !server.health().serves() {
                note.say("waits until the Document Server answers", &"it is down");
                server.suspect();
                if !server.until_serving(deadline).await {
                    return Err(Fault::Unreachable(io::Error::other(
                        "it has been down for as long as a request waits",
                    )));
                }
            }
            if !fresh && let Some(link) = self.pool.take(server.address()) {
                note.say("a connection is used again", &"");
                return Ok((link, true));
            }
            let seen = server.verdict();
            let error = match connect(server.address()).await {
                Ok(link) => {
                    note.say("a connection was opened", &"");
                    return Ok((link, false));
                }
                Err(error) => error,
            };
            note.say("no connection could be opened", &error);
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
        mut link: Link,
        asked: &Asked,
        server: &Arc<Server>,
    ) -> Response<AnswerBody> {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // The answer may come before the body has gone up, which then goes on whether the answer is read or not.
        let early = asked.progress.as_ref().is_some_and(|body| !body.over.get());
        if upgraded || early {
            link.detach();
        }
        // Who refuses a body may have left it unread in the kernel, where nobody sees it: the next request would wait
        // behind it.
        let refused = asked.has_body && response.status().as_u16() >= 400;
        let reuse = !early && !refused;
        let lease =
            (!upgraded).then(|| Lease { link, reuse, pool: self.pool.clone(), server: server.clone() });
        response.map(|body| AnswerBody::new(body, lease))
    }
}

/// Has the probe look now, and waits for what it says.
async fn look_again(server: &Server, seen: Verdict, deadline: Instant) -> Health {
    server.suspect();
    server.next_verdict(seen, (Instant::now() + SECOND_LOOK).min(deadline)).await
}

/// What is known of a request that has been taken up.
struct Asked {
    deadline: Instant,
    patience: Duration,
    repeatable: bool,
    has_body: bool,
    progress: Option<Rc<Progress>>,
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
    mut link: Link,
    request: Box<Request<Outgoing>>,
    asked: &Asked,
) -> Result<(Response<Incoming>, Link), Failure> {
    let begun = Instant::now();
    let (patience, progress) = (asked.patience, asked.progress.as_deref());
    let answered = {
        let mut timer = pin!(sleep_until(begun + patience));
        let mut answer = pin!(link.ask(request));
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => break answered,
                () = &mut timer => {
                    let since = progress.map_or(begun, |p| p.last.get().max(begun));
                    if since.elapsed() >= patience {
                        return Err(Failure::Silent);
                    }
                    timer.as_mut().reset(since + patience);
                }
            }
        }
    };
    match answered {
        Ok(response) => Ok((response, link)),
        Err(mut failed) => Err(match (failed.take_message(), progress.and_then(|p| p.fault.get())) {
            (Some(back), _) => Failure::Unsent(Box::new(back), failed.into_error()),
            (None, Some(fault)) => Failure::Body(fault),
            (None, None) => Failure::Broken(failed.into_error()),
        }),
    }
}

#[cfg(test)]
mod tests {
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
        let link = Link::over(TokioIo::new(near)).await.unwrap();
        let silent = async {
            let mut bytes = [0; 1024];
            while far.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            far.flush().await.unwrap();
        };
        let begun = Instant::now();
        let request = Request::post("/upload/x").header("host", "x").body(body).unwrap();
        let asked = Asked {
            deadline: begun,
            patience: PATIENCE,
            repeatable: false,
            has_body: true,
            progress: request.body().progress(),
        };
        tokio::select! {
            sent = send(link, Box::new(request), &asked) => assert!(matches!(sent, Err(Failure::Silent))),
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
