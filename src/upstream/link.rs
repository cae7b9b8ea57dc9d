//! One connection to a Document Server, and what moves it: whoever waits for it, not a task of its own.
//!
//! hyper's connection is a future that somebody has to poll. In a task of its own, each request would wake two tasks
//! and be passed between them four times; polled by the request itself, everything happens where the request is. A
//! task is made only when a connection has to go on without its request: to become a WebSocket, or to take up the rest
//! of a body whose answer came early.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use tokio::task::unconstrained;

use super::body::Outgoing;

/// What `try_send_request` comes to; a request of which nothing was sent is in the error.
type Answered = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

type Driven = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// A connection that can carry a request.
pub(super) struct Link {
    sender: SendRequest<Outgoing>,
    /// `None` once it has ended, or goes on by itself.
    connection: Option<Driven>,
    gate: Arc<Gate>,
    waker: Waker,
}

impl Link {
    /// Begins HTTP/1 on a fresh stream.
    ///
    /// # Errors
    /// hyper's.
    pub async fn over(io: impl Read + Write + Unpin + Send + 'static) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new().handshake(io).await?;
        let gate = Arc::new(Gate { shut: AtomicBool::new(false), task: Mutex::new(None) });
        let waker = Waker::from(gate.clone());
        Ok(Self { sender, connection: Some(Box::pin(connection.with_upgrades())), gate, waker })
    }

    /// Sends a request; the future moves the connection until the answer's head is there.
    pub async fn ask(&mut self, request: Box<Request<Outgoing>>) -> Answered {
        // What comes through the channel was put there by `drive`, one line above: no waker is needed for it, and its
        // share of the task's budget is none of its own, since a Pending for want of budget would wake nobody.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(*request)));
        let mut quiet = Context::from_waker(Waker::noop());
        std::future::poll_fn(|cx| {
            Self::drive(&mut self.connection, &self.gate, &self.waker, cx);
            answer.as_mut().poll(&mut quiet)
        })
        .await
    }

    /// The next piece of the answer's body.
    pub fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.connection.is_some() {
            let piece = self.gate.quietly(body);
            if piece.is_ready() {
                return piece;
            }
            Self::drive(&mut self.connection, &self.gate, &self.waker, cx);
        }
        match self.connection {
            Some(_) => self.gate.quietly(body),
            None => Pin::new(body).poll_frame(cx),
        }
    }

    /// Whether it can carry another request; nobody moves it until then.
    pub fn rest(&mut self) -> bool {
        self.gate.leads_to(None);
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Lets the connection go on by itself.
    pub fn detach(&mut self) {
        if let Some(connection) = self.connection.take() {
            // How it ends is told to the request on it; without one it is of no interest.
            tokio::task::spawn_local(async move { connection.await.ok() });
        }
    }

    fn drive(connection: &mut Option<Driven>, gate: &Gate, waker: &Waker, cx: &mut Context<'_>) {
        if let Some(driven) = connection {
            gate.leads_to(Some(cx.waker()));
            if driven.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                *connection = None;
            }
        }
    }
}

/// Between the connection's wakers and the task that polls it. It is shut while that task takes a piece of a body out of
/// hyper's channel: hyper then wakes the connection, which here is the task itself, and each piece would be followed by
/// a turn for nothing. Nothing is lost, since whoever took a piece polls for the next.
struct Gate {
    shut: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Gate {
    fn leads_to(&self, waker: Option<&Waker>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match (&*task, waker) {
            (Some(known), Some(waker)) => known.will_wake(waker),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let before = std::mem::replace(&mut *task, waker.cloned());
            drop(task); // before the waker, which may be the last that holds a task
            drop(before);
        }
    }

    fn quietly(&self, body: &mut Incoming) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.shut.store(true, Ordering::Relaxed);
        let piece = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        self.shut.store(false, Ordering::Relaxed);
        piece
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The connection never leaves its core, so whoever shuts the gate and whoever knocks are the same thread.
        if !self.shut.load(Ordering::Relaxed)
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}
