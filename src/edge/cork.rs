//! What an HTTP/2 connection writes in one turn, gathered: hyper flushes after every frame with a body of more than 256
//! bytes, and each flush would be a TLS record and a system call of its own. Here frames gather until whoever polls the
//! connection has done so, which then lets them flow: ten answers that came together leave together.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::ClientStream;

/// As much as fits one TLS record: more would be cut, less costs another seal of 22 bytes and half a microsecond.
const RECORD: usize = 16 << 10;
/// What a connection keeps of that between two turns: a few heads.
const KEPT: usize = 1 << 10;

/// A client's stream that does not flush before [`Cork::flow`]. Clones are the same stream.
#[derive(Clone)]
pub struct Cork(Rc<RefCell<Gathered>>);

struct Gathered {
    stream: ClientStream,
    plain: Vec<u8>,
}

impl Cork {
    /// Puts the cork in.
    pub fn new(stream: ClientStream) -> Self {
        Self(Rc::new(RefCell::new(Gathered { stream, plain: Vec::new() })))
    }

    /// Lets out what has gathered.
    pub fn flow(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().flow(cx)
    }
}

impl Gathered {
    /// Hands everything to TLS, which holds 64 KiB before it has to be written.
    fn seal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sealed = 0;
        while sealed < self.plain.len() {
            match self.stream.seal(&self.plain[sealed..])? {
                0 => match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    unready => {
                        self.plain.drain(..sealed);
                        return unready;
                    }
                },
                taken => sealed += taken,
            }
        }
        self.plain.clear();
        Poll::Ready(Ok(()))
    }

    fn flow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.plain.is_empty() {
            ready!(self.seal(cx))?;
            self.plain.shrink_to(KEPT);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn gather(&mut self, slices: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.plain.len() >= RECORD {
            ready!(self.seal(cx))?;
        }
        let mut gathered = 0;
        for slice in slices {
            let room = RECORD - self.plain.len();
            let piece = &slice[..slice.len().min(room)];
            self.plain.extend_from_slice(piece);
            gathered += piece.len();
        }
        Poll::Ready(Ok(gathered))
    }
}

impl AsyncRead for Cork {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cork {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().gather(&[IoSlice::new(bytes)], cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().gather(slices, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.borrow_mut();
        ready!(gathered.flow(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }
}
