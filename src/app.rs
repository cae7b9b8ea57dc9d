//! The one place where rooms meet: builds the house from a configuration, starts it, and takes it down in order.

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, LocalOptions, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::admin::{self, Admin};
use crate::document;
use crate::edge::{self, Arrival, Census, Core, Door, Listener, Load, Seat, Stage};
pub use crate::edge::{Deadlines, Inherited};
use crate::live::{Ask, Asks, Cause, Fixed, Live, Snapshot};
use crate::ops::Ops;
use crate::ops::log::{Level, Log, Writer};
use crate::ops::metrics::Metrics;
use crate::ops::systemd::{Present, Roll};
use crate::relay::spool::{RealDisk, Spool};
use crate::relay::{House, Relay};
use crate::rules::monitor::Audience;
use crate::{assets, reload, sockets, state, upstream};

/// How long cores may take to let go of what is still open once they are told to.
const LAST: Duration = Duration::from_millis(500);
/// What of `drain` is left to those who came while others finished: a handshake and a request, from the other end of the world.
const LATECOMERS: Duration = Duration::from_secs(1);
/// Histograms keep raw samples until somebody sorts them in.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long one document may be looked at. The slowest real one took 5 ms, 65,504 entries 0.3 s.
const LOOK: Duration = Duration::from_secs(5);

/// Reloads that may be asked for at once; each reads what lies there, so more would bring nothing.
const MOST_ASKS: usize = 16;

/// Judges a saved document by its declared type. Time that ran out and a file that cannot be read speak against the
/// gateway, not against the document: it passes.
fn judge(file: &Path, declared: Option<&str>) -> Result<(), &'static str> {
    let Ok(mut file) = File::open(file) else { return Ok(()) };
    let end = Instant::now() + LOOK;
    let out_of_time = || Instant::now() >= end;
    match document::check(&mut file, declared.unwrap_or_default(), &document::Limits::default(), &out_of_time)
    {
        Err(document::Fault::Rejected(rejection)) => Err(rejection.reason.label()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Listening sockets, bound before anything is served, so that a taken port is an error of the start and tests can ask
/// for port 0.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
    admin: TcpListener,
    /// Where https is served.
    pub https: Vec<SocketAddr>,
    /// Where http is redirected.
    pub http: Vec<SocketAddr>,
    /// Where the container finds the relay.
    pub container: Vec<SocketAddr>,
    /// Where metrics are.
    pub admin_address: SocketAddr,
}

impl Bound {
    /// Binds every address of the configuration.
    ///
    /// # Errors
    /// When one of them cannot be had; the text names it.
    pub fn new(fixed: &Fixed) -> io::Result<Self> {
        Self::with(fixed, Inherited::default())
    }

    /// Takes what was inherited, and binds the rest.
    ///
    /// # Errors
    /// As [`Bound::new`], and when what was inherited is not what is configured.
    pub fn with(fixed: &Fixed, mut inherited: Inherited) -> io::Result<Self> {
        let mut open = |door, addresses: &[SocketAddr]| {
            let opened = addresses.iter().map(|address| Listener::open(door, *address, &mut inherited));
            opened.collect::<io::Result<Vec<_>>>()
        };
        let addresses =
            |listeners: &[Listener]| listeners.iter().map(Listener::address).collect::<io::Result<Vec<_>>>();
        let (https, http) = (open(Door::Https, &fixed.https)?, open(Door::Http, &fixed.http)?);
        let container = open(Door::Relay, &fixed.relay)?;
        let admin = edge::listen("admin", fixed.admin, &mut inherited)?;
        inherited.finish()?;
        Ok(Self {
            https: addresses(&https)?,
            http: addresses(&http)?,
            container: addresses(&container)?,
            admin_address: admin.local_addr()?,
            listeners: https.into_iter().chain(http).chain(container).collect(),
            admin,
        })
    }
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    /// Where https is served.
    pub https: Vec<SocketAddr>,
    /// Where http is redirected.
    pub http: Vec<SocketAddr>,
    /// Where the container finds the relay.
    pub container: Vec<SocketAddr>,
    /// Where metrics are.
    pub admin: SocketAddr,
    /// What runs, for a reload to replace.
    pub live: Arc<Live>,
    /// Log and metrics.
    pub ops: Ops,
    load: Vec<Arc<Load>>,
    stage: watch::Sender<Stage>,
    leaving: Arc<AtomicBool>,
    roll: Option<Roll>,
    threads: Vec<JoinHandle<()>>,
    control: Option<Runtime>,
    relay: Arc<Relay>,
    writer: Option<Writer>,
    asks: Asks,
    asked: Option<mpsc::Receiver<Ask>>,
}

impl Gateway {
    /// Starts the house. The log goes to `sink`.
    ///
    /// # Errors
    /// When the system has no threads or descriptors to give.
    pub fn start(
        snapshot: Snapshot,
        fixed: &Fixed,
        bound: Bound,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(snapshot, fixed, bound, sink, Deadlines::default())
    }

    /// Starts it with deadlines of the caller's own.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_with(
        snapshot: Snapshot,
        fixed: &Fixed,
        bound: Bound,
        sink: impl Write + Send + 'static,
        deadlines: Deadlines,
    ) -> io::Result<Self> {
        let begun = Instant::now();
        let (log, writer) = Log::start(snapshot.log, sink)?;
        let ops = Ops { log, metrics: Arc::new(Metrics::new()), objections: Arc::default() };
        let live = Arc::new(Live::new(snapshot, ops.metrics.clone()));
        let sockets = sockets::Shared::new(ops.metrics.clone(), deadlines.grace);
        let (stage, staged) = watch::channel(Stage::Serving);
        let control = control_runtime()?;
        let spool = Spool::new(live.load().settings.relay.saves.directory.clone(), Arc::new(RealDisk));
        let current = live.clone();
        let relay = Relay::start(control.handle().clone(), spool, ops.clone(), judge, move || {
            current.load() as Arc<dyn House>
        })?;
        let current = live.clone();
        let state =
            state::Watch::start(control.handle(), ops.clone(), move || current.load().settings.state.place());
        let workers =
            fixed.workers.map_or_else(|| thread::available_parallelism().map_or(1, Into::into), Into::into);
        let (asks, asked) = mpsc::channel(MOST_ASKS);
        let mut gateway = Self {
            asks: asks.clone(),
            asked: Some(asked),
            https: bound.https,
            http: bound.http,
            container: bound.container,
            admin: bound.admin_address,
            live: live.clone(),
            ops: ops.clone(),
            load: Vec::new(),
            stage,
            leaving: Arc::default(),
            roll: None,
            threads: Vec::new(),
            control: None,
            relay: relay.clone(),
            writer: Some(writer),
        };
        let leaving = gateway.leaving.clone();
        let admin = Admin { live, ops, asks, relay, sockets, state, leaving, begun: begun.into_std() };
        let (mut seats, mut roll) = (Vec::new(), Roll::default());
        let house = house(&admin, staged.clone(), deadlines);
        for number in 0..workers {
            let (seat, arrivals) = seat();
            gateway.load.push(seat.load.clone());
            seats.push(seat);
            let present = roll.place(format!("core-{number}"));
            gateway.threads.push(spawn_core(number, house.clone(), (arrivals, present))?);
        }
        let acceptor = (admin.live.clone(), admin.ops.clone(), staged, roll.place("accept".into()));
        gateway.threads.push(spawn_acceptor(bound.listeners, seats, acceptor)?);
        gateway.roll = Some(roll);
        compress_assets(&admin.live, &admin.ops.metrics);
        gateway.control = Some(serve_control(control, bound.admin, admin));
        Ok(gateway)
    }

    /// Follows the configuration's file from now on: changes of it, signals ([`Gateway::reload`]) and `POST /reload` put
    /// another configuration in place for every request that begins from then on. Once for each gateway.
    pub fn follow(&mut self, file: reload::File) {
        let (Some(control), Some(asked)) = (&self.control, self.asked.take()) else { return };
        let (live, ops, runtime) = (self.live.clone(), self.ops.clone(), control.handle().clone());
        let swap = {
            let (live, ops) = (live.clone(), ops.clone());
            move |snapshot: Snapshot| {
                ops.log.apply(snapshot.log);
                live.swap(snapshot);
                watch_servers(&runtime, &live, &ops);
                compress_assets(&live, &ops.metrics);
            }
        };
        control.spawn(reload::follow(file, live, ops, asked, swap));
    }

    /// Asks for the configuration to be read again, without waiting for what comes of it.
    pub fn reload(&self) {
        // Full: whoever asked before is not served yet, and will read the same file.
        self.asks.try_send(Ask { cause: Cause::Signal, answer: oneshot::channel().0 }).ok();
    }

    /// Calls `alive` a few times within each `patience`, as long as every core, the acceptor and the control runtime turn.
    pub fn watch_threads(&mut self, patience: Duration, alive: impl Fn() + Send + Sync + 'static) {
        if let (Some(control), Some(roll)) = (&self.control, self.roll.take()) {
            control.spawn(roll.watch(patience, self.ops.log.clone(), alive));
        }
    }

    /// Lets requests finish, at most for the configured time, and takes the house down, editors last. Blocks.
    pub fn stop(mut self) {
        let drain = self.live.load().settings.drain;
        self.ops.log.event(Level::Info, "stopping", "requests in flight finish; editors are told last", &[]);
        self.leaving.store(true, Ordering::Relaxed);
        self.stage.send_replace(Stage::Draining);
        self.relay.leave();
        if let Some(control) = &self.control {
            control.block_on(self.drained(drain));
        }
        self.stage.send_replace(Stage::Closing);
        for thread in self.threads.drain(..) {
            thread.join().ok(); // its panic was printed by itself
        }
        self.ops.log.event(Level::Info, "stopped", "the gateway has stopped", &[]);
        if let Some(control) = self.control.take() {
            control.shutdown_timeout(LAST);
        }
        self.relay.stop();
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }

    /// Accepts until those have gone that were there before, and then lets those finish that came meanwhile: whoever connects
    /// after that waits in the queue of an inherited socket for the next process.
    async fn drained(&self, drain: Duration) {
        let end = Instant::now() + drain;
        let cores = |is_done: fn(&Load) -> bool| self.load.iter().all(|core| is_done(core));
        let early = || cores(|core| core.early() == 0) && !self.relay.is_busy();
        until(end - (drain / 2).min(LATECOMERS), early).await;
        self.stage.send_replace(Stage::Leaving);
        until(end, || cores(|core| core.requests() == 0) && !self.relay.is_busy()).await;
    }
}

async fn until(end: Instant, over: impl Fn() -> bool) {
    while Instant::now() < end && !over() {
        sleep(Duration::from_millis(10)).await;
    }
}

fn seat() -> (Seat, mpsc::UnboundedReceiver<Arrival>) {
    let (arrivals, received) = mpsc::unbounded_channel(); // bounded by the cap on connections
    (Seat { arrivals, load: Arc::default() }, received)
}

/// What cores share. Monitors that ask one of them hear what the admin listener says, without why.
fn house(admin: &Admin, stage: watch::Receiver<Stage>, deadlines: Deadlines) -> edge::House {
    let Admin { live, ops, relay, sockets, .. } = admin.clone();
    let admin = admin.clone();
    let monitors = Arc::new(move |check| admin.told(check, Audience::Network));
    edge::House { live, ops, relay, stage, deadlines, sockets, monitors }
}

fn spawn_core(
    number: usize,
    house: edge::House,
    (arrivals, present): (mpsc::UnboundedReceiver<Arrival>, Present),
) -> io::Result<JoinHandle<()>> {
    // Ids of two cores, or of two starts, must not meet in one log.
    let prefix = random_u32() & !0xff | u32::try_from(number).unwrap_or(0xff) & 0xff;
    let (made, is_made) = std::sync::mpsc::channel();
    let thread = thread::Builder::new().name(format!("core-{number}")).spawn(move || {
        // A local runtime stays on its thread, so it is made there.
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(e) => return drop(made.send(Err(e))),
        };
        made.send(Ok(())).ok();
        let core = Core::new(house, prefix);
        runtime.block_on(core.run(arrivals, present));
        runtime.shutdown_timeout(LAST);
    })?;
    is_made.recv().map_err(io::Error::other)??;
    Ok(thread)
}

/// From the randomness that std seeds its hash maps with: good enough for names.
fn random_u32() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0);
    (random >> 32) as u32
}

fn spawn_acceptor(
    listeners: Vec<Listener>,
    seats: Vec<Seat>,
    (live, ops, mut stage, mut present): (Arc<Live>, Ops, watch::Receiver<Stage>, Present),
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let census = Arc::new(Census::default());
    thread::Builder::new().name("accept".into()).spawn(move || {
        for listener in listeners {
            let house = (live.clone(), stage.clone(), ops.clone());
            let accepting = edge::accept(listener, seats.clone(), census.clone(), house);
            let log = ops.log.clone();
            runtime.spawn(async move {
                if let Err(e) = accepting.await {
                    log.event(Level::Error, "accept", "a listener has ended", &[("error", &e.to_string())]);
                }
            });
        }
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = stage.wait_for(|stage| *stage >= Stage::Leaving) => return,
                    () = present.answer() => {}
                }
            }
        });
    })
}

/// The control runtime: admin pages, probes and saves, away from the cores that carry editing.
fn control_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()
}

fn serve_control(runtime: Runtime, socket: TcpListener, admin: Admin) -> Runtime {
    watch_servers(runtime.handle(), &admin.live, &admin.ops);
    let (metrics, patience) = (admin.ops.metrics.clone(), Deadlines::default().packet);
    let sockets = admin.sockets.clone();
    runtime.spawn(async move {
        let mut next = Instant::now();
        loop {
            next += UPKEEP;
            sleep_until(next).await;
            metrics.upkeep();
            metrics.history.editors(sockets.registry.editors());
            sockets.registry.settle();
            sockets.polls.settle(patience);
        }
    });
    runtime.spawn(async move { admin::serve(socket, admin).await });
    runtime
}

/// A thread for the brotli of kept files, if there are such and they have none yet. It ends with them.
fn compress_assets(live: &Live, metrics: &Arc<Metrics>) {
    let running = live.load();
    let Some((cache, work)) = running.assets.as_ref().and_then(|cache| Some((cache, cache.claim_worker()?)))
    else {
        return;
    };
    let (cache, metrics) = (Arc::downgrade(cache), metrics.clone());
    let busy = move || metrics.requests.in_flight() > 0;
    // Without it files stay gzip.
    thread::Builder::new().name("assets".into()).spawn(move || assets::compress(&cache, &work, busy)).ok();
}

/// A probe for each server that has none yet. It ends by itself when its server is configured no more.
fn watch_servers(runtime: &Handle, live: &Arc<Live>, ops: &Ops) {
    for server in live.load().servers.all() {
        if server.claim_probe() {
            let live: Weak<Live> = Arc::downgrade(live);
            let every = move || live.upgrade().map_or(UPKEEP, |live| live.load().servers.health);
            runtime.spawn(upstream::watch(Arc::downgrade(server), every, ops.clone()));
        }
    }
}
