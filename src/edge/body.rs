//! Bodies in both directions, with what bounds them: the client's on its way up, and the answer's on its way down.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::exchange::Exchange;
use crate::assets::Draft;
use crate::rules::packet::Packets;
use crate::upstream::{AnswerBody, BodyFault, Outgoing, Progress};

/// Largest body, as the container's nginx has it (`client_max_body_size 100m`, ds-common.conf.m4:2).
pub const LARGEST: u64 = 100 << 20;
/// How long the bytes of a refused client are read and thrown away; nginx calls it lingering.
const LINGER: Duration = Duration::from_secs(10);

/// The client's body: counted, bounded, and given up when it stands still.
pub struct ClientBody {
    /// `None` once the client has sent too much and is left to finish on its own.
    inner: Option<Incoming>,
    left: u64,
    exchange: Rc<Exchange>,
    progress: Rc<Progress>,
    /// For bodies of a session that polls.
    packets: Option<Packets>,
    /// Armed while the client is waited for; most bodies come in one piece and never need it.
    stall: Option<Pin<Box<Sleep>>>,
}

impl ClientBody {
    /// A body that is streamed to the Document Server; `packets` follows what it says, if anybody has to know.
    fn outgoing(inner: Incoming, exchange: &Rc<Exchange>, packets: Option<Packets>) -> Outgoing {
        if inner.is_end_stream() {
            return Outgoing::Empty;
        }
        let progress = Progress::new();
        let body = Self {
            inner: Some(inner),
            left: LARGEST,
            exchange: exchange.clone(),
            progress: progress.clone(),
            packets,
            stall: None,
        };
        Outgoing::Stream { body: Box::pin(body), progress }
    }

    fn fail(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.progress.failed(fault);
        Poll::Ready(Some(Err(fault)))
    }

    /// Nothing more of it goes up; its client reads the refusal instead of a reset.
    fn give_up(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(inner) = self.inner.take() {
            linger(inner);
        }
        self.fail(fault)
    }

    fn over(&self) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.progress.over();
        Poll::Ready(None)
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.exchange.progress())));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail(BodyFault::Stalled),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Pending => return self.wait(cx),
            Poll::Ready(None) => return self.over(),
            Poll::Ready(Some(Err(e))) => return self.fail(why(&e)),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let late = Instant::now() + self.exchange.progress();
        if let Some(stall) = &mut self.stall {
            stall.as_mut().reset(late);
        }
        // Trailers of a client go nowhere: nothing that speaks to a Document Server sends any, and they are a way
        // around every check of the head.
        let Ok(data) = frame.into_data() else { return self.over() };
        self.exchange.took(data.len());
        self.progress.moved();
        match self.left.checked_sub(data.len() as u64) {
            Some(left) => self.left = left,
            None => return self.give_up(BodyFault::TooLarge),
        }
        if self.packets.as_mut().is_some_and(|packets| packets.follow(&data)) {
            return self.give_up(BodyFault::Connect);
        }
        if self.is_end_stream() {
            self.progress.over();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

/// Whether a body broke off or was never one: chunks that cannot be read are an `io::Error` of bad input inside hyper's.
fn why(error: &hyper::Error) -> BodyFault {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        {
            return BodyFault::Malformed;
        }
        cause = inner.source();
    }
    BodyFault::Gone
}

/// A request's body before anybody has asked for it. Dropped unread, it is drained for a while, so that a client that is
/// refused in the middle of sending reads the refusal instead of a reset.
pub struct Unread(pub Option<Incoming>);

impl Unread {
    /// How large the client says it is; 0 where it does not say.
    pub fn declared(&self) -> u64 {
        self.0.as_ref().map_or(0, |body| body.size_hint().lower())
    }

    /// Whether anything of it is still to come.
    pub fn comes(&self) -> bool {
        self.0.as_ref().is_some_and(|body| !body.is_end_stream())
    }

    /// Streams it to the Document Server.
    pub fn outgoing(&mut self, exchange: &Rc<Exchange>) -> Outgoing {
        self.0.take().map_or(Outgoing::Empty, |body| ClientBody::outgoing(body, exchange, None))
    }

    /// Streams it to the Document Server as packets of a session that polls, none of which may be a CONNECT.
    pub fn packets(&mut self, exchange: &Rc<Exchange>) -> Outgoing {
        let packets = Some(Packets::default());
        self.0.take().map_or(Outgoing::Empty, |body| ClientBody::outgoing(body, exchange, packets))
    }

    /// Reads it, up to `limit` bytes, because it must be looked at.
    ///
    /// # Errors
    /// When it is larger, stands still, or its client leaves.
    pub async fn read(&mut self, limit: usize, exchange: &Exchange) -> Result<Bytes, BodyFault> {
        let Some(body) = &mut self.0 else { return Ok(Bytes::new()) };
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut length = 0;
        loop {
            let data = match timeout(exchange.progress(), body.frame()).await {
                Err(_) => return Err(BodyFault::Stalled),
                Ok(None) => break,
                Ok(Some(Err(e))) => return Err(why(&e)),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            exchange.took(data.len());
            length += data.len();
            if length > limit {
                return Err(BodyFault::TooLarge);
            }
            pieces.push(data);
        }
        // Commands come in one piece: no copy.
        Ok(if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            linger(body);
        }
    }
}

fn linger(mut body: Incoming) {
    // What a core still holds when it ends is dropped outside of its runtime, where nothing can be waited for.
    if body.is_end_stream() || Handle::try_current().is_err() {
        return;
    }
    tokio::task::spawn_local(timeout(LINGER, async move { while let Some(Ok(_)) = body.frame().await {} }));
}

/// The answer's body.
pub struct Reply {
    kind: Kind,
    exchange: Option<Rc<Exchange>>,
}

enum Kind {
    /// With the copy that is kept of it, if one is.
    Upstream(AnswerBody, Option<Box<Draft>>),
    Whole(Bytes),
    Streamed(Incoming),
    /// A file, piece by piece, and how much of it is left.
    File(mpsc::Receiver<io::Result<Bytes>>, u64),
}

impl Reply {
    /// Streamed from the Document Server.
    pub fn upstream(body: AnswerBody, exchange: &Rc<Exchange>) -> Self {
        Self::kept(body, None, exchange)
    }

    /// Streamed from the Document Server, and kept.
    pub fn kept(body: AnswerBody, draft: Option<Draft>, exchange: &Rc<Exchange>) -> Self {
        Self { kind: Kind::Upstream(body, draft.map(Box::new)), exchange: Some(exchange.clone()) }
    }

    /// Streamed from an integrator.
    pub fn streamed(body: Incoming, exchange: &Rc<Exchange>) -> Self {
        Self { kind: Kind::Streamed(body), exchange: Some(exchange.clone()) }
    }

    /// A file of that length.
    pub fn file(pieces: mpsc::Receiver<io::Result<Bytes>>, length: u64, exchange: &Rc<Exchange>) -> Self {
        Self { kind: Kind::File(pieces, length), exchange: Some(exchange.clone()) }
    }

    /// The gateway's own words.
    pub fn whole(bytes: impl Into<Bytes>, exchange: &Rc<Exchange>) -> Self {
        Self { kind: Kind::Whole(bytes.into()), exchange: Some(exchange.clone()) }
    }

    /// Nothing, of no exchange: the redirecting listener has none.
    pub fn plain(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Whole(bytes.into()), exchange: None }
    }

    /// Keeps the gateway's own words back and gives their length.
    pub fn withhold(&mut self) -> Option<u64> {
        match &mut self.kind {
            Kind::Whole(bytes) => Some(std::mem::take(bytes).len() as u64),
            Kind::Upstream(..) | Kind::Streamed(_) | Kind::File(..) => None,
        }
    }

    fn gave(&self, bytes: usize) {
        if let Some(exchange) = &self.exchange {
            exchange.gave(bytes);
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled: Poll<Option<Result<Frame<Bytes>, Self::Error>>> = match &mut self.kind {
            Kind::Upstream(body, draft) => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                if draft.is_some() {
                    copy(draft, &polled, body.is_end_stream());
                }
                polled.map_err(Into::into)
            }
            Kind::Streamed(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::File(pieces, left) => pieces.poll_recv(cx).map(|piece| {
                piece.map(|piece| {
                    let piece = piece?;
                    *left = left.saturating_sub(piece.len() as u64);
                    Ok(Frame::data(piece))
                })
            }),
            Kind::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.gave(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        };
        let Some(exchange) = &self.exchange else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                exchange.gave(frame.data_ref().map_or(0, Bytes::len));
                exchange.waits_for_client();
            }
            Poll::Pending => exchange.waits_for_server(),
            Poll::Ready(None) => exchange.waits_no_more(),
            Poll::Ready(Some(Err(e))) => {
                exchange.because(format!("the answer broke off: {e}"));
                exchange.abort();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Upstream(body, _) => body.is_end_stream(),
            Kind::Streamed(body) => body.is_end_stream(),
            Kind::File(_, left) => *left == 0,
            Kind::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Upstream(body, _) => body.size_hint(),
            Kind::Streamed(body) => body.size_hint(),
            Kind::File(_, left) => SizeHint::with_exact(*left),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// Copies a piece of an answer. What breaks off, is too large or has trailers is not kept.
fn copy<E>(draft: &mut Option<Box<Draft>>, polled: &Poll<Option<Result<Frame<Bytes>, E>>>, over: bool) {
    let piece = match polled {
        Poll::Pending => return,
        Poll::Ready(None) => None,
        Poll::Ready(Some(Err(_))) => return *draft = None,
        Poll::Ready(Some(Ok(frame))) => Some(frame.data_ref()),
    };
    let (Some(copy), over) = (draft.as_mut(), over || piece.is_none()) else { return };
    if !piece.is_none_or(|piece| piece.is_some_and(|piece| copy.take(piece))) {
        *draft = None;
    } else if over && let Some(draft) = draft.take() {
        draft.finish();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange
            && !self.is_end_stream()
        {
            exchange.abort();
        }
    }
}
