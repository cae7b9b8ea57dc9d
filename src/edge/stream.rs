//! The client's stream: TLS, with a pulse that tells the connection's timer what moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::pulse::Pulse;
use crate::sockets::HELD_BY_TLS;

/// A client's connection as hyper and the sockets see it.
#[derive(Debug)]
pub struct ClientStream {
    tls: Box<TlsStream<TcpStream>>,
    pulse: Arc<Pulse>,
}

impl ClientStream {
    /// After a handshake.
    pub fn new(stream: TlsStream<TcpStream>, pulse: Arc<Pulse>) -> Self {
        Self { tls: Box::new(stream), pulse }
    }

    /// It carries an editor socket from now on, for hours perhaps and with thousands of others: it buffers less.
    pub fn is_socket(&mut self) {
        self.tls.get_mut().1.set_buffer_limit(Some(HELD_BY_TLS));
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.pulse.written(polled.is_ready());
        polled
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(self.tls.as_mut()).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before {
            self.pulse.read();
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.tls.as_mut()).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(self.tls.as_mut()).poll_write_vectored(cx, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.tls.as_mut()).poll_flush(cx);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.tls.as_mut()).poll_shutdown(cx);
        self.wrote(polled)
    }
}
