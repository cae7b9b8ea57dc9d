//! A request to a Document Server: waits while the server restarts, repeats what is safe to repeat, streams both ways.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::pool::{Pool, Sender, connect};
use super::server::Server;
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
    Unreachable(std::io::Error),
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

/// What can go wrong with a body on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It grew beyond the limit.
    TooLarge,
    /// The client sent nothing for too long.
    Stalled,
    /// Its framing cannot be read.
    Malformed,
    /// The client went away.
    Gone,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is larger than allowed",
            Self::Stalled => "the client stopped sending its body",
            Self::Malformed => "the chunks of the body cannot be read",
            Self::Gone => "the client went away while sending its body",
        })
    }
}

impl StdError for BodyFault {}

/// What a streamed body tells the one who waits for the answer.
#[derive(Debug)]
pub struct Progress {
    last: Cell<Instant>,
    fault: Cell<Option<BodyFault>>,
    over: Cell<bool>,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { last: Cell::new(Instant::now()), fault: Cell::new(None), over: Cell::new(false) })
    }

    /// A piece of the body has gone up.
    pub fn moved(&self) {
        self.last.set(Instant::now());
    }

    /// Its last piece has gone up.
    pub fn over(&self) {
        self.over.set(true);
    }

    /// The body has failed.
    pub fn failed(&self, fault: BodyFault) {
        self.fault.set(Some(fault));
    }
}

/// A body on its way to the Document Server.
pub enum Outgoing {
    /// None.
    Empty,
    /// Read and looked at before; sent as it came.
    Whole(Bytes),
    /// Streamed from the client.
    Stream {
        /// The client's body with its limits.
        body: Pin<Box<dyn Body<Data = Bytes, Error = BodyFault>>>,
        /// Shared with the body.
        progress: Rc<Progress>,
    },
}

impl Outgoing {
    /// A body that was read before.
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream { body, .. } => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}

/// A body on its way from the Document Server; at its end the connection goes back to the pool.
pub struct AnswerBody {
    inner: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    sender: Sender,
    /// The request's body, which a server need not have read to its end when it answers.
    asked: Option<Rc<Progress>>,
    pool: Rc<Pool>,
    server: Arc<Server>,
}

impl AnswerBody {
    fn new(inner: Incoming, lease: Option<Lease>) -> Self {
        let mut body = Self { inner, lease };
        body.settle();
        body
    }

    fn settle(&mut self) {
        if self.inner.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        // A connection that still carries a body up would hold up whoever got it next, for as long as that takes.
        if let Some(Lease { sender, asked, pool, server }) = self.lease.take()
            && asked.is_none_or(|body| body.over.get())
        {
            pool.put(server.address(), sender);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) => self.settle(),
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
        let body = progress(&question.body);
        let mut request = request(question);
        let (mut tries, mut fresh) = (0, 0);
        loop {
            tries += 1;
            let seen = server.verdict();
            let (sender, reused) = self.connection(server, deadline, fresh > 0).await?;
            let copy = repeatable.then(|| head(&request));
            let answered = send(sender, request, patience).await;
            let again = match answered {
                Ok((response, sender)) if !is_gateway_error(response.status()) || copy.is_none() => {
                    return Ok(Answer { response: self.lend(response, sender, body, server), tries });
                }
                Ok((response, sender)) => {
                    // The container's own nginx answers for a DocService that is not up yet.
                    server.suspect();
                    let health =
                        server.next_verdict(seen, (Instant::now() + SECOND_LOOK).min(deadline)).await;
                    if health.serves() || !server.until_serving(deadline).await {
                        return Ok(Answer { response: self.lend(response, sender, body, server), tries });
                    }
                    copy
                }
                Err(Failure::Unsent(back)) => Some(*back),
                Err(Failure::Silent) => return Err(Fault::Silent),
                Err(Failure::Body(fault)) => return Err(Fault::Body(fault)),
                Err(Failure::Broken(error)) => {
                    if !reused {
                        fresh += 1;
                    }
                    let Some(copy) = copy else { return Err(Fault::Broken(error)) };
                    if fresh >= FRESH_TRIES || Instant::now() >= deadline {
                        return Err(Fault::Broken(error));
                    }
                    if !reused {
                        server.suspect();
                        server.next_verdict(seen, (Instant::now() + SECOND_LOOK).min(deadline)).await;
                    }
                    Some(copy)
                }
            };
            let Some(again) = again else { return Err(Fault::Silent) };
            request = again;
        }
    }

    /// An idle connection, else a new one, waiting for the server while it is down.
    async fn connection(
        &self,
        server: &Arc<Server>,
        deadline: Instant,
        fresh: bool,
    ) -> Result<(Sender, bool), Fault> {
        while !fresh && let Some(mut sender) = self.pool.take(server.address()) {
            if sender.ready().await.is_ok() {
                return Ok((sender, true));
            }
        }
        loop {
            let seen = server.verdict();
            let error = match connect(server.address()).await {
                Ok(sender) => return Ok((sender, false)),
                Err(error) => error,
            };
            self.pool.forget(server.address());
            server.suspect();
            let look = (Instant::now() + SECOND_LOOK).min(deadline);
            server.next_verdict(seen, look).await;
            if Instant::now() >= deadline || !server.until_serving(deadline).await {
                return Err(Fault::Unreachable(error));
            }
        }
    }

    fn lend(
        &self,
        response: Response<Incoming>,
        sender: Sender,
        asked: Option<Rc<Progress>>,
        server: &Arc<Server>,
    ) -> Response<AnswerBody> {
        let lease = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then(|| Lease {
            sender,
            asked,
            pool: self.pool.clone(),
            server: server.clone(),
        });
        response.map(|body| AnswerBody::new(body, lease))
    }
}

enum Failure {
    /// Not a byte of it was sent; here it is back.
    Unsent(Box<Request<Outgoing>>),
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

fn progress(body: &Outgoing) -> Option<Rc<Progress>> {
    match body {
        Outgoing::Stream { progress, .. } => Some(progress.clone()),
        Outgoing::Empty | Outgoing::Whole(_) => None,
    }
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
    let progress = progress(request.body());
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
                    (Some(back), _) => Failure::Unsent(Box::new(back)),
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
