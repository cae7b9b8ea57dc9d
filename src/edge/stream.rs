//! The client's stream: TLS, or plain for the container alone, with a pulse that tells the connection's timer what moves.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::pulse::Pulse;
use crate::sockets::HELD_BY_TLS;
use crate::upstream::Wire;

/// A client's connection as hyper and the sockets see it.
#[derive(Debug)]
pub struct ClientStream<S = TlsStream<Wire>> {
    inner: Box<S>,
    pulse: Arc<Pulse>,
}

impl ClientStream {
    /// It carries an editor socket from now on, for hours perhaps and with thousands of others: it buffers less.
    pub fn is_socket(&mut self) {
        self.inner.get_mut().1.set_buffer_limit(Some(HELD_BY_TLS));
    }

    /// Makes TLS records of bytes without writing them; how many it took, none when it holds all it may.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.get_mut().1.writer().write(bytes)
    }
}

impl<S> ClientStream<S> {
    /// After a handshake, where there is one.
    pub fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { inner: Box::new(stream), pulse }
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.pulse.written(polled.is_ready());
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(self.inner.as_mut()).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before {
            self.pulse.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.inner.as_mut()).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.inner.as_mut()).poll_write_vectored(cx, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.inner.as_mut()).poll_flush(cx);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.inner.as_mut()).poll_shutdown(cx);
        self.wrote(polled)
    }
}
