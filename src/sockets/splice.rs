//! Two ends of an editor socket made one: bytes go straight through, and only what could not be written is kept.
//!
//! `tokio::io::copy_bidirectional` holds two 8 KiB buffers for every socket, used or not. Here one scratch buffer per
//! core is read into and written from at once; a socket keeps memory only while its reader is slow, and then at most
//! one scratch buffer of it, because reading stops until it is gone.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep, timeout};

use crate::rules::follower::{Again, Follower};
use crate::rules::frame::{self, Kind};

/// A TLS record and a half: the 1.5 MB messages of a large paste go in few steps, and a socket whose reader stalls holds at most
/// this, what TLS holds ([`HELD_BY_TLS`]), what the allocator rounds up (3 KB) and its own 12 KB: below 64 KiB in all.
const SCRATCH: usize = 24 << 10;
/// What TLS may hold of a socket encrypted and unsent: one record. rustls' own limit is four.
pub const HELD_BY_TLS: usize = 16 << 10;
/// Reads of one direction before the other gets its turn.
const TURNS: u32 = 8;
/// When one side has ended, the other may finish what it is saying for this long.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// When the gateway leaves, a frame that is half-way through has this long to end. This, the two below and [`LINGER`] stay below
/// the 500 ms in which the process is to be gone (design.md 4).
const TO_BOUNDARY: Duration = Duration::from_millis(150);
/// And the goodbye has this long to be written.
const GOODBYE: Duration = Duration::from_millis(100);
/// And what the client still sends is read for this long: a connection closed with bytes unread is reset, and the goodbye lost.
const LINGER: Duration = Duration::from_millis(100);

/// The scratch buffer of a core.
#[derive(Clone)]
pub struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SCRATCH].into_boxed_slice())))
    }
}

/// Bytes that went each way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// From the client to the Document Server.
    pub up: u64,
    /// From the Document Server to the client.
    pub down: u64,
}

/// How a socket ended.
#[derive(Debug)]
pub enum End {
    /// One side ended it, and then the other.
    Closed,
    /// A connection failed.
    Failed(io::Error),
    /// Nothing moved for too long.
    Idle,
    /// The gateway left, and said so.
    Left,
    /// The client said CONNECT again, which nobody would have judged.
    Again,
}

/// What was there before.
#[derive(Debug)]
pub struct Start {
    /// Where the client's frames stand.
    pub client: Follower,
    /// How many of its bytes have gone up already.
    pub gone_up: u64,
    /// What came and is still to be written: from the client, from the server.
    pub early: [Vec<u8>; 2],
}

/// When a socket ends although neither side wants it to.
pub struct Until<L> {
    /// Nothing has moved for this long, or nobody has taken what is kept: above two pings of the Document Server, which come every
    /// 25 s.
    pub idle: Duration,
    /// The gateway leaves.
    pub leave: L,
}

/// Carries bytes both ways until both sides have ended.
///
/// Returns what was carried, and how it ended.
pub async fn splice<C, S, L>(
    client: C,
    server: S,
    start: Start,
    scratch: Scratch,
    until: Until<L>,
) -> (Carried, End)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    L: Future<Output = ()>,
{
    let [from_client, from_server] = start.early;
    let up = Way::new(start.client, start.gone_up, from_client);
    let down = Way::new(Follower::default(), 0, from_server);
    let mut pair = Pair { client, server, up, down, scratch };
    let end = pair.run(until).await;
    (Carried { up: pair.up.bytes, down: pair.down.bytes }, end)
}

struct Pair<C, S> {
    client: C,
    server: S,
    up: Way,
    down: Way,
    scratch: Scratch,
}

impl<C, S> Pair<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn run<L: Future<Output = ()>>(&mut self, until: Until<L>) -> End {
        let Until { idle, leave } = until;
        let mut leave = pin!(leave);
        let mut timer = pin!(sleep(idle));
        loop {
            tokio::select! {
                biased;
                moved = poll_fn(|cx| self.poll(cx, true)) => {
                    let end = match moved {
                        Ok(()) if self.up.again => End::Again,
                        Ok(()) => self.finish().await,
                        Err(error) => End::Failed(error),
                    };
                    if self.up.again {
                        Box::pin(self.part(POLICY, "")).await;
                        return End::Again;
                    }
                    return end;
                }
                () = leave.as_mut() => {
                    Box::pin(self.part(GOING_AWAY, "restarting")).await;
                    return End::Left;
                }
                () = timer.as_mut() => match self.late_at(idle) {
                    Some(at) => timer.as_mut().reset(at),
                    None => return End::Idle,
                },
            }
        }
    }

    /// When this socket will have been idle for too long; `None`: now.
    fn late_at(&self, idle: Duration) -> Option<Instant> {
        let blocked =
            [&self.up, &self.down].into_iter().filter(|way| !way.kept.is_empty()).map(|way| way.moved);
        // What is kept must move by itself, whatever the other direction does; else any movement counts.
        let since = blocked.min().unwrap_or(self.up.moved.max(self.down.moved));
        Some(since + idle).filter(|at| *at > Instant::now())
    }

    /// One side has ended: the other has a while to say its last words.
    async fn finish(&mut self) -> End {
        if self.up.over && self.down.over {
            return End::Closed;
        }
        match timeout(LAST_WORDS, poll_fn(|cx| self.poll(cx, false))).await {
            Ok(Err(error)) => End::Failed(error),
            Ok(Ok(())) | Err(_) => End::Closed, // it had its time
        }
    }

    /// Says goodbye to both sides, on the boundary of a frame, so that an editor sees a close and not a broken message.
    async fn part(&mut self, code: u16, why: &str) {
        let to_boundary = poll_fn(|cx| {
            let polled = self.down.poll_boundary(cx, &mut self.server, &mut self.client, &self.scratch)?;
            polled.map(Ok::<_, io::Error>)
        });
        if matches!(timeout(TO_BOUNDARY, to_boundary).await, Ok(Ok(()))) && !self.down.frames.is_closed() {
            let goodbye = frame::say(Kind::Close, &frame::goodbye(code, why));
            timeout(GOODBYE, say_last(&mut self.client, &goodbye)).await.ok();
        }
        // Every client of this core hears it before any server does: there may be thousands, and half a second.
        tokio::task::yield_now().await;
        if self.up.kept.is_empty() && self.up.frames.is_at_boundary() && !self.up.frames.is_closed() {
            let goodbye = frame::say_masked(Kind::Close, &frame::goodbye(code, ""));
            timeout(LINGER, say_last(&mut self.server, &goodbye)).await.ok();
        }
        timeout(LINGER, async {
            let mut rest = [0; 512];
            while self.client.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        })
        .await
        .ok();
    }

    /// Moves both ways. Ready when one way is over (`first`), or both.
    fn poll(&mut self, cx: &mut Context<'_>, first: bool) -> Poll<io::Result<()>> {
        let up = self.up.poll(cx, &mut self.client, &mut self.server, &self.scratch)?;
        let down = self.down.poll(cx, &mut self.server, &mut self.client, &self.scratch)?;
        match (up, down) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            (Poll::Ready(()), _) | (_, Poll::Ready(())) if first => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// The close codes of who goes away, and of who does not want to go on (RFC 6455 7.4.1).
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

async fn say_last<T: AsyncWrite + Unpin>(to: &mut T, frame: &[u8]) -> io::Result<()> {
    to.write_all(frame).await?;
    to.flush().await?;
    to.shutdown().await
}

/// One direction.
struct Way {
    /// Read, not yet written; empty unless the reader is slow.
    kept: Vec<u8>,
    written: usize,
    /// Written since the last complete flush: TLS may hold a part of it.
    unflushed: bool,
    /// The source has ended.
    ended: bool,
    /// And the sink has been told.
    over: bool,
    /// The source says CONNECT again: nothing more is read from it.
    again: bool,
    bytes: u64,
    /// Where in a frame the last byte read stands.
    frames: Follower,
    /// When a byte was last read or written.
    moved: Instant,
}

impl Way {
    fn new(frames: Follower, gone: u64, early: Vec<u8>) -> Self {
        let mut way = Self {
            frames,
            moved: Instant::now(),
            bytes: gone,
            kept: Vec::new(),
            written: 0,
            unflushed: false,
            ended: false,
            over: false,
            again: false,
        };
        let allowed = way.follow(&early);
        way.kept = early;
        way.kept.truncate(allowed);
        way.bytes += allowed as u64;
        way
    }

    /// How many of these bytes may go on.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        match self.frames.follow(bytes) {
            Ok(()) => bytes.len(),
            Err(Again(before)) => {
                self.again = true;
                before
            }
        }
    }

    fn poll<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        scratch: &Scratch,
    ) -> io::Result<Poll<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..TURNS {
            if self.over {
                return Ok(Poll::Ready(()));
            }
            if self.write_kept(cx, to)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.again {
                return Ok(Poll::Ready(()));
            }
            if self.ended {
                if Pin::new(&mut *to).poll_shutdown(cx).is_pending() {
                    return Ok(Poll::Pending);
                }
                self.over = true;
                return Ok(Poll::Ready(()));
            }
            if self.carry(cx, from, to, scratch)?.is_pending() {
                return self.flush(cx, to);
            }
        }
        cx.waker().wake_by_ref(); // there may be more: the other direction first, then again
        self.flush(cx, to)
    }

    /// Goes on until everything that was read is written and ends with a frame, or there is no more.
    fn poll_boundary<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        scratch: &Scratch,
    ) -> io::Result<Poll<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if self.write_kept(cx, to)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.frames.is_at_boundary() {
                return Ok(Poll::Ready(()));
            }
            if self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.carry(cx, from, to, scratch)?.is_pending() && !self.frames.is_at_boundary() {
                return self.flush(cx, to);
            }
        }
    }

    fn flush<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut T) -> io::Result<Poll<()>> {
        if self.unflushed && Pin::new(to).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(Poll::Pending)
    }

    fn write_kept<T: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> io::Result<Poll<()>> {
        if self.kept.is_empty() {
            return Ok(Poll::Ready(()));
        }
        let given = give(cx, to, self.kept.get(self.written..).unwrap_or_default())?;
        if given > 0 {
            self.written += given;
            self.unflushed = true;
            self.moved = Instant::now();
        }
        if self.written < self.kept.len() {
            return Ok(Poll::Pending);
        }
        self.kept = Vec::new(); // given back, not cleared: most sockets never need it again
        self.written = 0;
        Ok(Poll::Ready(()))
    }

    /// Reads once and writes it at once. Pending when there is nothing to read, or the sink takes no more.
    fn carry<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        scratch: &Scratch,
    ) -> io::Result<Poll<()>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut scratch = scratch.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        if Pin::new(from).poll_read(cx, &mut buffer)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.ended = true;
            return Ok(Poll::Ready(()));
        }
        let bytes = bytes.get(..self.follow(bytes)).unwrap_or_default();
        self.moved = Instant::now();
        self.bytes += bytes.len() as u64;
        let given = give(cx, to, bytes)?;
        self.unflushed |= given > 0;
        match bytes.get(given..) {
            None | Some([]) => Ok(Poll::Ready(())),
            Some(rest) => {
                self.kept.extend_from_slice(rest);
                Ok(Poll::Pending)
            }
        }
    }
}

/// Writes as much as the sink takes now; says how much that was.
fn give<T: AsyncWrite + Unpin>(cx: &mut Context<'_>, to: &mut T, bytes: &[u8]) -> io::Result<usize> {
    let mut given = 0;
    while let Some(rest) = bytes.get(given..).filter(|rest| !rest.is_empty()) {
        match Pin::new(&mut *to).poll_write(cx, rest)? {
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => given += n,
            Poll::Pending => break,
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    /// The same, and pauses cost no time.
    fn hurried<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(future)
    }

    fn forever() -> Until<std::future::Pending<()>> {
        Until { idle: Duration::from_secs(75), leave: std::future::pending() }
    }

    fn start(early: [Vec<u8>; 2]) -> Start {
        Start { client: Follower::default(), gone_up: 0, early }
    }

    /// A second CONNECT, however it is cut: what came before it goes up, nothing of it does, and both sides are told on the
    /// boundary of a frame. Cut within its frame, the head of that has gone up, and the server's side just ends.
    #[test]
    fn a_second_connect_ends_the_socket() {
        let connect = frame::say_masked(Kind::Text, b"40{\"token\":\"first\"}");
        let event = frame::say_masked(Kind::Text, b"41"); // the Document Server would take another one after this
        let again = frame::say_masked(Kind::Text, b"40{\"token\":\"second\"}");
        let all = [&event[..], &again, &event].concat();
        for cut in 0..all.len() {
            hurried(async {
                let (client, mut browser) = duplex(1000);
                let (server, mut documents) = duplex(1000);
                let start =
                    Start { client: Follower::granted(), gone_up: 0, early: [connect.clone(), Vec::new()] };
                let talk = async {
                    browser.write_all(&all[..cut]).await.unwrap();
                    tokio::task::yield_now().await;
                    browser.write_all(&all[cut..]).await.unwrap();
                    let (mut up, mut down) = (Vec::new(), Vec::new());
                    let (_, heard) =
                        tokio::join!(documents.read_to_end(&mut up), browser.read_to_end(&mut down));
                    heard.unwrap();
                    (up, down)
                };
                let ((_, ended), (up, down)) =
                    tokio::join!(splice(client, server, start, Scratch::default(), forever()), talk);
                assert!(matches!(ended, End::Again), "{cut}: {ended:?}");
                assert_eq!(down, frame::say(Kind::Close, &frame::goodbye(POLICY, "")), "{cut}");
                let before = [&connect[..], &event].concat();
                let goodbye = frame::say_masked(Kind::Close, &frame::goodbye(POLICY, ""));
                let rest = up.strip_prefix(&before[..]).unwrap();
                assert!(rest == goodbye || rest == &again[..rest.len()] && rest.len() < 8, "{cut}: {rest:?}");
                if cut <= event.len() {
                    assert_eq!(rest, goodbye, "{cut}");
                }
            });
        }
    }

    #[test]
    fn early_bytes_come_first_and_everything_arrives() {
        block(async {
            let (client, mut browser) = duplex(1000); // smaller than what is sent: both ways must wait
            let (server, mut documents) = duplex(700);
            let up: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
            let down: Vec<u8> = (0..150_000u32).map(|n| (n * 7) as u8).collect();
            let start = start([b"hello ".to_vec(), b"welcome ".to_vec()]);
            let talk = async {
                let (mut browser_read, mut browser_write) = tokio::io::split(&mut browser);
                let (mut documents_read, mut documents_write) = tokio::io::split(&mut documents);
                let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
                tokio::join!(
                    async {
                        browser_write.write_all(&up).await.unwrap();
                        browser_write.shutdown().await.unwrap();
                    },
                    async {
                        documents_write.write_all(&down).await.unwrap();
                        documents_write.shutdown().await.unwrap();
                    },
                    async { documents_read.read_to_end(&mut got_up).await.unwrap() },
                    async { browser_read.read_to_end(&mut got_down).await.unwrap() },
                );
                (got_up, got_down)
            };
            let ((carried, ended), (got_up, got_down)) =
                tokio::join!(splice(client, server, start, Scratch::default(), forever()), talk);
            assert!(matches!(ended, End::Closed));
            assert_eq!(got_up, [b"hello ".as_slice(), &up].concat());
            assert_eq!(got_down, [b"welcome ".as_slice(), &down].concat());
            assert_eq!(carried, Carried { up: got_up.len() as u64, down: got_down.len() as u64 });
        });
    }

    /// A reader that takes nothing: the writer is held back after one scratch buffer, whatever it has to say.
    #[test]
    fn a_slow_reader_holds_the_writer_back() {
        block(async {
            let (client, mut browser) = duplex(16);
            let (server, mut documents) = duplex(SCRATCH);
            let flood = async {
                let mut sent = 0;
                let chunk = vec![1; SCRATCH];
                while timeout(Duration::from_millis(50), documents.write_all(&chunk)).await.is_ok() {
                    sent += chunk.len();
                    assert!(sent < 10 * SCRATCH, "nobody holds the writer back");
                }
            };
            tokio::select! {
                _ = splice(client, server, start([Vec::new(), Vec::new()]), Scratch::default(), forever()) => panic!("ended"),
                () = flood => {}
            }
            let mut byte = [0];
            browser.read_exact(&mut byte).await.unwrap();
        });
    }
}
