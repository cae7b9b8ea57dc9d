//! The documents of a callback, from the Document Server to disk.
//!
//! A link is followed by its path and query alone, at a configured Document Server, and only below `/cache/files/`: its host is
//! whatever the browser's request once said, and a signed callback must not become a way to anywhere else.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HOST, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::client;
use super::house::House;
use super::letter::last_segment;
use super::spool::{Document, Draft, Record, Role, Spool};
use crate::rules::callback::{path_of, target_of};
use crate::rules::path;
use crate::rules::route::{self, Route};
use crate::rules::save::Id;
use crate::upstream::Server;

/// The head of a file that lies on the Document Server's disk, and each piece of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// All documents of a save: a Document Server that trickles must not hold one up for ever.
const ALL: Duration = Duration::from_secs(240);
/// A Document Server that restarts in the middle of a save is asked again after these; its link outlives them by far.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// Pieces on their way to the disk: enough to keep both sides busy, at most 1 MiB of memory.
const PIECES: usize = 16;

/// Fetches what `record` links to, writes it down and makes it durable.
///
/// # Errors
/// When anything of it cannot be kept; then nothing of it is on disk.
pub async fn keep(
    house: Arc<dyn House>,
    spool: Arc<Spool>,
    id: Id,
    mut record: Record,
) -> io::Result<Record> {
    let most = house.relay().saves.max_size;
    let (pool, first) = (spool.clone(), id);
    let draft = blocking(move || pool.begin(first, most)).await?;
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, "the Document Server is too slow with the document");
    let fetched = timeout(ALL, documents(&*house, draft, &mut record)).await.map_err(|_| late())?;
    let draft = fetched?;
    blocking(move || draft.commit(&record).map(|()| record)).await
}

/// Each document that `record` links to.
async fn documents(house: &dyn House, mut draft: Draft, record: &mut Record) -> io::Result<Draft> {
    for (role, claim) in Role::ALL {
        let Some(url) = record.claims.get(claim).and_then(|url| url.as_str()).filter(|url| !url.is_empty())
        else {
            continue;
        };
        let nowhere = || {
            let what = "the callback's link leads to no file of the Document Server";
            io::Error::new(io::ErrorKind::InvalidInput, what)
        };
        let target = target(house, url).ok_or_else(nowhere)?;
        let name = last_segment(path_of(url));
        let (document, back) = whole(house, draft, role, name, &target, &record.key).await?;
        record.documents.push(document);
        draft = back;
    }
    Ok(draft)
}

/// One document, however often the Document Server goes away over it.
async fn whole(
    house: &dyn House,
    mut draft: Draft,
    role: Role,
    name: String,
    target: &str,
    key: &str,
) -> io::Result<(Document, Draft)> {
    let server = house.servers().choose(Some(key)).ok_or_else(|| io::Error::other("no Document Server"))?;
    let mut tries = PAUSES.iter();
    loop {
        let failed = match once(server, target).await {
            Ok(body) => match write(draft, role, name.clone(), body, house.relay().saves.max_document).await?
            {
                (Ok(document), back) => return Ok((document, back)),
                (Err(error), back) => {
                    draft = back;
                    error
                }
            },
            Err(error) => error,
        };
        let again = failed.kind() != io::ErrorKind::PermissionDenied;
        let Some(pause) = tries.next().filter(|_| again) else { return Err(failed) };
        sleep(*pause).await;
    }
}

/// Runs on a thread that may wait for the disk.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| panicked())?
}

/// A panic was told of where it happened; its words may quote what came, and go nowhere.
fn panicked() -> io::Error {
    io::Error::other("a fault of the gateway, please report it")
}

/// Path and query for the Document Server, if it is one of its files.
pub(super) fn target(house: &dyn House, url: &str) -> Option<String> {
    let target = target_of(url);
    let (raw, query) = target.split_once('?').map_or((target, None), |(raw, query)| (raw, Some(query)));
    let below = house.public().iter().find_map(|public| {
        let prefixed = !public.prefix().is_empty();
        public.strip(raw).filter(|_| prefixed)
    });
    let canonical = path::canonical(below.unwrap_or(raw)).ok()?;
    if route::find(&canonical, house.routes()).route() != Route::CacheFiles {
        return None;
    }
    Some(match query {
        Some(query) => format!("{}?{query}", canonical.forward()),
        None => canonical.forward().to_owned(),
    })
}

/// One file of a Document Server.
pub(super) async fn once(server: &Server, target: &str) -> io::Result<Incoming> {
    let address = server.address();
    let mut sender = client::plain(&address.host, address.port).await?;
    let host = HeaderValue::try_from(server.name()).map_err(io::Error::other)?;
    let request = Request::get(target).header(HOST, host).body(Full::<Bytes>::default());
    let answer = client::send(&mut sender, request.map_err(io::Error::other)?, PATIENCE).await?;
    let status = answer.status().as_u16();
    match status {
        200 => Ok(answer.into_body()),
        // What it does not give now it will not give in a second either.
        400..500 => {
            let what = format!("the Document Server answered {status} for the document");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
        }
        _ => Err(io::Error::other(format!("the Document Server answered {status} for the document"))),
    }
}

/// Streams a body to disk: pieces cross to a thread that may wait, so that the disk holds up nobody else. A body that breaks
/// off is the inner error: the draft is as it was before.
async fn write(
    draft: Draft,
    role: Role,
    name: String,
    mut body: Incoming,
    limit: u64,
) -> io::Result<(io::Result<Document>, Draft)> {
    let too_large =
        || io::Error::new(io::ErrorKind::FileTooLarge, "the document is larger than saves.max_document");
    if body.size_hint().lower() > limit {
        return Err(too_large()); // it says so itself: no need to read it
    }
    let (pieces, mut queue) = mpsc::channel::<Bytes>(PIECES);
    let writer = tokio::task::spawn_blocking(move || {
        let mut draft = draft;
        let mut file = draft.file(role)?;
        while let Some(piece) = queue.blocking_recv() {
            if file.bytes() + piece.len() as u64 > limit {
                return Err(too_large());
            }
            draft.write(&mut file, &piece)?;
        }
        Ok((file, draft))
    });
    let mut fault = None;
    loop {
        match client::piece(&mut body, PATIENCE).await {
            Ok(Some(piece)) if pieces.send(piece.clone()).await.is_ok() => {}
            Ok(_) => break,
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
    }
    drop(pieces);
    let (file, mut draft) = writer.await.map_err(|_| panicked())??;
    if let Some(error) = fault {
        draft.abandon(file);
        return Ok((Err(error), draft));
    }
    blocking(move || draft.end(file, name).map(|document| (Ok(document), draft))).await
}

/// The bytes of a kept document as a queue of pieces.
///
/// # Errors
/// When it is not there.
pub async fn read(path: &Path) -> io::Result<(u64, mpsc::Receiver<io::Result<Bytes>>)> {
    use std::io::Read as _;
    /// As large as hyper's own write buffer; four of them are on their way.
    const PIECE: usize = 64 << 10;
    let path = path.to_owned();
    let (mut file, length) = blocking(move || {
        let file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    })
    .await?;
    let (pieces, queue) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => Ok(Bytes::from(piece).slice(..read)),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Ok((length, queue))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of such an error stands on the status page.
    #[tokio::test]
    async fn a_panic_quotes_nothing_of_what_came() {
        let came = "ä?token=eyJhbGciOiJIUzI1NiJ9".to_owned();
        let error = blocking(move || Ok(came[1..].to_owned())).await.unwrap_err();
        assert_eq!(format!("{error} {error:?}").matches("eyJ").count(), 0, "{error:?}");
    }
}
