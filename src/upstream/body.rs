//! Bodies between the gateway and a Document Server: what goes up, what comes down, and what becomes of the connection.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::link::Link;
use super::pool::Pool;
use super::server::Server;

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
    /// It says CONNECT where nobody would judge it.
    Connect,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is larger than allowed",
            Self::Stalled => "the client stopped sending its body",
            Self::Malformed => "the chunks of the body cannot be read",
            Self::Gone => "the client went away while sending its body",
            Self::Connect => "the body says CONNECT a second time",
        })
    }
}

impl StdError for BodyFault {}

/// What a streamed body tells the one who waits for the answer.
#[derive(Debug)]
pub struct Progress {
    pub(super) last: Cell<Instant>,
    pub(super) fault: Cell<Option<BodyFault>>,
    pub(super) over: Cell<bool>,
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

    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        match self {
            Self::Stream { progress, .. } => Some(progress.clone()),
            Self::Empty | Self::Whole(_) => None,
        }
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
    /// In a box: answers are moved often, and looked at by those that have none.
    lease: Option<Box<Lease>>,
    /// Why it broke off; told one turn later, so that what came before can leave: it may have come in the same moment.
    broken: Option<hyper::Error>,
}

/// The connection that an answer comes on.
pub(super) struct Lease {
    pub link: Link,
    /// Whether it may carry another request.
    pub reuse: bool,
    pub pool: Rc<Pool>,
    pub server: Arc<Server>,
}

impl AnswerBody {
    pub(super) fn new(inner: Incoming, lease: Option<Lease>) -> Self {
        let mut body = Self { inner, lease: lease.map(Box::new), broken: None };
        body.settle();
        body
    }

    fn settle(&mut self) {
        if self.inner.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            let Lease { link, reuse, pool, server } = *lease;
            match reuse {
                true => pool.put(server.address(), link),
                false => pool.closed(server.address(), 1, "it may still carry a body that nobody took"),
            }
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            lease.pool.closed(lease.server.address(), 1, "the answer was not read to its end");
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
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Self { inner, lease, .. } = &mut *self;
        let polled = match lease {
            Some(lease) => lease.link.poll_frame(inner, cx),
            None => Pin::new(inner).poll_frame(cx),
        };
        match polled {
            Poll::Ready(Some(Err(broken))) => {
                self.lease = None;
                self.broken = Some(broken);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) => self.settle(),
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
