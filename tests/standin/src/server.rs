//! A listener that can be killed like a process: everything that hangs on it ends at once, and the port is free again.

use crate::answer::Answer;
use crate::record::{self, Counted, Record, Wire};
use futures_util::future::BoxFuture;
use hyper::Request;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

/// The life of one listener; what is spawned on it ends with it.
#[derive(Clone)]
pub(crate) struct Life(watch::Receiver<bool>);

impl Life {
    /// Runs `task` until it is done or the listener is killed.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut life = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = life.wait_for(|over| *over) => {}
                () = task => {}
            }
        })
    }
}

/// One connection of a client.
pub(crate) struct Connection {
    pub number: u64,
    pub peer: SocketAddr,
    pub life: Life,
    broken: Notify,
    reset: Arc<AtomicBool>,
}

impl Connection {
    /// Ends the connection with a TCP reset, and the task that asked for it.
    pub async fn reset(&self) -> Answer {
        self.reset.store(true, Ordering::Relaxed);
        self.cut().await
    }

    /// Ends the connection without another byte, and the task that asked for it.
    pub async fn cut(&self) -> Answer {
        self.broken.notify_one();
        std::future::pending().await
    }
}

/// What answers requests.
pub(crate) type Handler =
    Arc<dyn Fn(Request<Counted>, Arc<Connection>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A listener with all its connections and tasks.
pub(crate) struct Server {
    over: watch::Sender<bool>,
    address: SocketAddr,
}

impl Server {
    pub async fn start(
        listen: SocketAddr,
        tls: Option<TlsAcceptor>,
        record: Arc<Record>,
        handler: Handler,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (over, life) = watch::channel(false);
        let life = Life(life);
        let for_connections = life.clone();
        life.spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else { continue };
                accept(stream, peer, tls.clone(), &record, &handler, &for_connections);
            }
        });
        Ok(Server { over, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills listener, connections and tasks, and returns when they are gone.
    pub async fn stop(&self) {
        self.over.send_replace(true);
        self.over.closed().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.send_replace(true);
    }
}

fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    record: &Arc<Record>,
    handler: &Handler,
    life: &Life,
) {
    let _ = stream.set_nodelay(true);
    let (number, wire) = record.connected();
    let reset = Arc::new(AtomicBool::new(false));
    let connection = Arc::new(Connection {
        number,
        peer,
        life: life.clone(),
        broken: Notify::new(),
        reset: Arc::clone(&reset),
    });
    let (record, handler) = (Arc::clone(record), Arc::clone(handler));
    let stream = Tcp { stream, reset };
    life.spawn(async move {
        let broken = Arc::clone(&connection);
        let served = async move {
            match tls {
                None => serve(Tap { stream, wire }, record, handler, connection).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    serve(Tap { stream, wire }, record, handler, connection).await;
                }
            }
        };
        tokio::select! {
            () = served => {}
            () = broken.broken.notified() => {}
        }
    });
}

async fn serve<S>(stream: S, record: Arc<Record>, handler: Handler, connection: Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let request = record.request(request, connection.peer, connection.number);
        let answer = handler(request, Arc::clone(&connection));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.title_case_headers(true);
    // A client that breaks off or sends nonsense is what tests do; there is nobody to tell.
    let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// The socket, which ends with a reset where that was asked for.
struct Tcp {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// A stream whose bytes are kept for tests that look at the exact framing.
struct Tap<S> {
    stream: S,
    wire: Wire,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            record::keep(&self.wire, &buffer.filled()[before..]);
        }
        polled
    }
}

/// Passes writing on to a field.
macro_rules! write_through {
    () => {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            parts: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(context, parts)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    };
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    write_through!();
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tcp {
    write_through!();
}
