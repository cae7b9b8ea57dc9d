//! `GET /events`: the status page's parts as they change, for its script (server-sent events). One view is made for all who look.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Admin;
use super::page::{self, Parts};
use super::view::{FOR_PEOPLE, View};

/// What happens is on the screen within a second.
const TICK: Duration = Duration::from_millis(500);
/// People who look at once; the rest of the listener is for monitors. Who comes when all seats are taken gets the one that was taken
/// first: buffers on the way hold hours of events for a browser that sleeps, and one that is awake asks again.
const STREAMS: usize = 16;
/// A browser that takes nothing for this long, with every buffer on the way full, is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The page as it was last made, and who may follow it.
#[derive(Default)]
pub(super) struct Feed {
    latest: watch::Sender<Arc<Parts>>,
    seats: Mutex<VecDeque<AbortHandle>>,
}

impl Feed {
    /// Takes a seat for who looks.
    fn seat(&self, carried: AbortHandle) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| !seat.is_finished());
        if seats.len() >= STREAMS
            && let Some(first) = seats.pop_front()
        {
            first.abort();
        }
        seats.push_back(carried);
    }
}

/// Makes the page anew as long as anybody looks.
pub(super) async fn publish(admin: &Admin, feed: &Feed) {
    loop {
        sleep(TICK).await;
        if feed.latest.receiver_count() > 0 {
            feed.latest.send_replace(Arc::new(page::parts(&View::of(admin, FOR_PEOPLE))));
        }
    }
}

/// The answer: a stream.
pub(super) fn answer(admin: &Admin, feed: &Feed) -> Response<Either<Full<Bytes>, Stream>> {
    let (out, received) = mpsc::channel(1);
    feed.seat(tokio::spawn(carry(admin.clone(), feed.latest.subscribe(), out)).abort_handle());
    let mut response = Response::new(Either::Right(Stream(received)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Sends what has changed until the browser leaves, or the gateway does.
async fn carry(admin: Admin, mut latest: watch::Receiver<Arc<Parts>>, out: mpsc::Sender<Bytes>) {
    let mut sent = Arc::<Parts>::default();
    let mut event = format!("retry: 2000\nevent: build\ndata: {}\n\n", page::build());
    loop {
        if !event.is_empty() && !matches!(timeout(PATIENCE, out.send(event.into())).await, Ok(Ok(()))) {
            return;
        }
        if admin.leaving.load(Ordering::Relaxed) && !sent.is_empty() {
            return;
        }
        tokio::select! {
            changed = latest.changed() => if changed.is_err() { return },
            () = out.closed() => return,
        }
        let now = latest.borrow_and_update().clone();
        event = changes(&sent, &now);
        sent = now;
    }
}

/// One event with every part that is another now; nothing if none is.
fn changes(before: &Parts, now: &Parts) -> String {
    let differs = |(name, part): &&(&'static str, String)| {
        !before.iter().any(|(known, was)| known == name && was == part)
    };
    let changed = now.iter().filter(differs);
    let changed: Map<String, Value> =
        changed.map(|(name, part)| ((*name).to_owned(), part.as_str().into())).collect();
    if changed.is_empty() {
        return String::new();
    }
    // JSON escapes the ends of lines, which would end the event.
    format!("data: {}\n\n", Value::from(changed))
}

/// A body that goes on.
pub(super) struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_sent_and_no_line_ends_early() {
        let before = vec![("a", "1".to_owned()), ("b", "2".to_owned())];
        let now = vec![("a", "1".to_owned()), ("b", "2\n\ndata: x\r\n".to_owned())];
        assert_eq!(changes(&before, &before), "");
        let event = changes(&before, &now);
        assert_eq!(event, "data: {\"b\":\"2\\n\\ndata: x\\r\\n\"}\n\n");
        assert!(changes(&Parts::default(), &now).contains("\"a\":\"1\""));
    }
}
