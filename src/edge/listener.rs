//! One acceptor for every listening socket: counts, limits, backs off, and hands each connection to the emptiest core.
//!
//! One socket per address and no SO_REUSEPORT: closing such a listener resets what waits in its queue, and the kernel's
//! hash cannot balance editor sockets that live for hours (design D1).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::sleep;

use super::core::Stage;
use super::inherited::Inherited;
use crate::live::Live;
use crate::ops::Ops;
use crate::ops::log::Level;
use crate::rules::client::household;

/// Connections the kernel holds while the acceptor is busy or restarting. Linux caps it at `somaxconn` (4096).
const BACKLOG: i32 = 4096;
/// Pause when descriptors have run out: a loop that tries at once burns a core and helps nobody (threats.md, row 27).
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// TLS, everything.
    Https,
    /// Plain: ACME challenges and a redirect.
    Http,
    /// Plain, for the Document Server's container alone: `/relay/` and nothing else.
    Relay,
}

/// A socket that listens, bound before anything is served so that a taken port is an error of the start.
#[derive(Debug)]
pub struct Listener {
    /// What it is for.
    pub door: Door,
    socket: std::net::TcpListener,
}

impl Door {
    /// Its name in `server.*`, and in `FileDescriptorName=` of a socket unit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Relay => "relay",
        }
    }
}

impl Listener {
    /// Takes the socket that was inherited for this address, or binds one.
    ///
    /// # Errors
    /// As [`listen`].
    pub fn open(door: Door, address: SocketAddr, inherited: &mut Inherited) -> io::Result<Self> {
        Ok(Self { door, socket: listen(door.name(), address, inherited)? })
    }

    /// Where it listens; with port 0 in the configuration this is where the port is learned.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A listening socket: the inherited one of that name and address, or one of our own. IPv6 sockets take IPv6 alone, so that
/// `0.0.0.0` and `[::]` can stand side by side.
///
/// # Errors
/// When the address is taken, not ours, or needs a privilege, or when what was inherited is not what is configured; the text
/// says which address.
pub fn listen(
    name: &str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> io::Result<std::net::TcpListener> {
    if let Some(socket) = inherited.take(name, address)? {
        return Ok(socket);
    }
    bind(address)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}{}", cure(&e))))
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // a restart must not wait for TIME_WAIT
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What to do about a socket that cannot be had.
fn cure(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::AddrInUse => "; another program, or another gateway, has it: `ss -ltnp` says which",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// A connection on its way to a core.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub stream: std::net::TcpStream,
    /// Who is there.
    pub peer: SocketAddr,
    /// By which door.
    pub door: Door,
    /// Counts it while it lives.
    pub counted: Counted,
}

/// A core as the acceptor sees it.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Takes connections.
    pub arrivals: UnboundedSender<Arrival>,
    /// How many it has.
    pub load: Arc<Load>,
}

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
    sockets: AtomicUsize,
    late: AtomicUsize,
}

impl Load {
    /// Connections that carry requests: a gateway that leaves waits for them, while editor sockets stay to the end.
    pub fn requests(&self) -> usize {
        self.connections.load(Ordering::Relaxed).saturating_sub(self.sockets.load(Ordering::Relaxed))
    }

    /// Those of them that were there before the gateway began to leave. Others come as long as it accepts.
    pub fn early(&self) -> usize {
        self.requests().saturating_sub(self.late.load(Ordering::Relaxed))
    }
}

/// How many connections there are, in all and by address.
#[derive(Debug, Default)]
pub struct Census(Mutex<HashMap<IpAddr, usize>>, AtomicUsize);

/// A connection that is counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    census: Arc<Census>,
    address: IpAddr,
    load: Arc<Load>,
    socket: AtomicBool,
    /// It came while the gateway was leaving, and carries requests.
    late: AtomicBool,
    ops: Ops,
}

impl Counted {
    /// It has become an editor socket. It stays the connection that it is, for the caps and for the choice of a core.
    pub fn is_socket(&self) {
        if !self.socket.swap(true, Ordering::Relaxed) {
            self.load.sockets.fetch_add(1, Ordering::Relaxed);
            self.no_longer_late();
            self.ops.metrics.sockets.increment(1.0);
        }
    }
}

impl Counted {
    fn no_longer_late(&self) {
        if self.late.swap(false, Ordering::Relaxed) {
            self.load.late.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Census {
    /// Counts a connection unless a cap is reached.
    fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        live: &Live,
        seat: &Seat,
        late: bool,
        ops: &Ops,
    ) -> Option<Counted> {
        let running = live.load();
        let limits = running.settings.limits;
        // A load balancer is one address and many clients.
        let is_proxy = running.settings.site.trusted_proxies.iter().any(|network| network.contains(&address));
        let address = household(address);
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = addresses.entry(address).or_insert(0);
        if self.1.load(Ordering::Relaxed) >= limits.connections
            || (*of_address >= limits.connections_per_address && !is_proxy)
        {
            if *of_address == 0 {
                addresses.remove(&address);
            }
            return None;
        }
        *of_address += 1;
        self.1.fetch_add(1, Ordering::Relaxed);
        if late {
            seat.load.late.fetch_add(1, Ordering::Relaxed);
        }
        seat.load.connections.fetch_add(1, Ordering::Relaxed);
        ops.metrics.connections.increment(1.0);
        Some(Counted {
            census: self.clone(),
            address,
            load: seat.load.clone(),
            socket: AtomicBool::new(false),
            late: AtomicBool::new(late),
            ops: ops.clone(),
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut addresses = self.census.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
        self.census.1.fetch_sub(1, Ordering::Relaxed);
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
        self.no_longer_late();
        if *self.socket.get_mut() {
            self.load.sockets.fetch_sub(1, Ordering::Relaxed);
            self.ops.metrics.sockets.decrement(1.0);
        }
        self.ops.metrics.connections.decrement(1.0);
    }
}

/// Accepts until it is dropped. Runs on the acceptor's own thread.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn accept(
    listener: Listener,
    seats: Vec<Seat>,
    census: Arc<Census>,
    (live, stage, ops): (Arc<Live>, watch::Receiver<Stage>, Ops),
) -> io::Result<()> {
    let door = listener.door;
    let socket = TcpListener::from_std(listener.socket)?;
    let mut told = false;
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(e) if is_of_the_connection(&e) => continue,
            Err(e) => {
                if !told {
                    let message = "connections cannot be accepted: is LimitNOFILE high enough?";
                    ops.log.event(Level::Error, "accept", message, &[("error", &e.to_string())]);
                    told = true;
                }
                sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        told = false;
        let Some(seat) = seats.iter().min_by_key(|seat| seat.load.connections.load(Ordering::Relaxed)) else {
            continue;
        };
        let late = *stage.borrow() != Stage::Serving;
        let Some(counted) = census.admit(peer.ip().to_canonical(), &live, seat, late, &ops) else {
            ops.metrics.connections_refused.increment(1);
            continue; // closed: an answer would need a handshake, which is what the cap protects
        };
        if let Ok(stream) = prepare(stream) {
            seat.arrivals.send(Arrival { stream, peer, door, counted }).ok();
        }
    }
}

/// The connection was gone before it was accepted; the listener is well.
fn is_of_the_connection(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn prepare(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?; // small frames of editors must not wait for each other
    stream.into_std()
}
