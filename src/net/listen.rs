//! Listeners: each worker has its own socket on every address (SO_REUSEPORT), and accepts for itself. A socket that
//! systemd has opened there is only once: one worker accepts there, and all have its clients in turn.
//!
//! In:    the addresses of the configuration.
//! Out:   clients that are admitted, each a task on a worker; the others answered 421.
//! Never: leaves a client that was accepted by the kernel without an answer when a listener closes. (One that systemd
//!        keeps open does not close: who waits there is served by the next start.)

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::drive::{Drive, LINGER};
use super::intercept::{self, Looped};
use super::prelude::{self, Prelude};
use super::share::{Guest, Share};
use super::worker::{self, Registered, Serving, Stopping};
use crate::config::types::Intercept;
use crate::limits::{Entered, Exceeded, Permit};
use crate::log;
use crate::metrics::Occurrence;
use crate::metrics::labels::Refusal;
use crate::session::client::ClientFacts;
use crate::session::limiter::Bound;
use crate::session::record::Speaker;
use crate::session::route::PoolId;
use crate::session::settings::{self, Entrance};
use crate::smtp::{Own, SessionId, own};
use crate::stream::Stream;

/// Clients the kernel may hold for us.
const BACKLOG: i32 = 4096;

/// How long a listener rests when descriptors ran out.
const REST: Duration = Duration::from_millis(100);

/// Refused clients that are still listened to, in the whole process: half of the descriptors that are not sessions'.
static LINGERING: Semaphore = Semaphore::const_new(64);

/// Which listener a door is, and where it leads.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The address as configured.
    pub address: SocketAddr,
    /// The listener, by its place in the file.
    pub listener: u16,
    /// Its pool.
    pub pool: PoolId,
    /// Whether its clients were going somewhere else.
    pub intercept: Intercept,
}

/// The same, on a worker's runtime. Its task accepts until the door is shut.
pub struct Listening {
    socket: TcpListener,
    opens: ArcSwap<Opens>,
    /// Who has the clients, if not this worker alone.
    share: Option<Arc<Share>>,
}

/// Somebody who has just connected.
pub(super) struct Arrival {
    /// The connection.
    pub(super) stream: TcpStream,
    /// Who it is, or who speaks for it.
    pub(super) client: SocketAddr,
    /// What else is known of the client.
    pub(super) facts: Option<Box<ClientFacts>>,
}

/// What a client who comes through a door finds.
pub(super) struct Opens {
    entry: Entry,
    serving: Arc<Serving>,
}

impl Opens {
    /// What holds at this listener.
    pub(super) fn door(&self) -> &settings::Door {
        &self.serving.settings.doors[usize::from(self.entry.listener)]
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.entry.address
    }
}

impl Listening {
    /// Takes a socket onto this worker's runtime.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open(
        socket: Socket,
        share: Option<Share>,
        entry: Entry,
        serving: &Arc<Serving>,
    ) -> io::Result<Arc<Listening>> {
        let opens = Opens { entry, serving: Arc::clone(serving) };
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Arc::new(Listening { socket, opens: ArcSwap::from_pointee(opens), share: share.map(Arc::new) }))
    }

    /// From now on it opens to this.
    pub fn serve(&self, entry: Entry, serving: &Arc<Serving>) {
        if let Err(error) = intercept::enable((&self.socket).into(), entry.address, entry.intercept) {
            tracing::error!(address = %entry.address, %error, "listen");
        }
        self.opens.store(Arc::new(Opens { entry, serving: Arc::clone(serving) }));
    }
}

/// Binds an address.
///
/// # Errors
///
/// What the kernel says.
pub fn bind(address: SocketAddr, how: Intercept) -> io::Result<Socket> {
    let socket = socket(address, how)?;
    socket.set_reuse_port(true)?;
    inherit(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Sets what every accepted socket inherits, once: no delay, keepalive. And that accepting never blocks.
///
/// # Errors
///
/// What the kernel says.
pub fn inherit(listener: &Socket) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    listener.set_tcp_nodelay(true)?;
    listener.set_keepalive(true)
}

/// Says whether somebody else listens on an address: SO_REUSEPORT alone would let two processes share it unnoticed.
///
/// # Errors
///
/// What the kernel says to binding it exclusively.
pub fn is_free(address: SocketAddr, how: Intercept) -> io::Result<()> {
    socket(address, how)?.bind(&address.into())
}

fn socket(address: SocketAddr, how: Intercept) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    intercept::enable((&socket).into(), address, how)?;
    Ok(socket)
}

/// Names for sessions, unlike any other process's or worker's.
#[derive(Clone)]
pub struct Ids(Arc<AtomicU64>);

impl Ids {
    /// A sequence for one worker.
    pub fn new(worker: u64) -> Ids {
        Ids(Arc::new(AtomicU64::new(RandomState::new().hash_one(worker))))
    }

    fn next(&self) -> SessionId {
        // An odd step visits every number once.
        SessionId(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}

thread_local! {
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static LAST: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Waits until this worker has no session.
pub async fn sessions_over() {
    poll_fn(|cx| {
        if OPEN.get() == 0 {
            return Poll::Ready(());
        }
        LAST.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// A session counted among the worker's.
pub(super) struct Counted;

impl Counted {
    pub(super) fn new() -> Counted {
        OPEN.set(OPEN.get() + 1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
        if OPEN.get() == 0
            && let Some(waker) = LAST.take()
        {
            waker.wake();
        }
    }
}

/// Accepts until the process wants to stop or the task is aborted; [`empty`] comes after it.
pub async fn accept(door: Arc<Listening>, ids: Ids) {
    let mut registered = Registered::default();
    loop {
        let accepted = poll_fn(|cx| {
            registered.first(cx);
            if worker::stopping() != Stopping::No {
                return Poll::Ready(None);
            }
            door.socket.poll_accept(cx).map(Some)
        })
        .await;
        match accepted {
            None => return,
            Some(Ok((stream, client))) => admit(stream, client, &door, &ids),
            Some(Err(error)) => failed(&error).await,
        }
    }
}

/// RFC 5321 3.8: whoever was already connected hears 421. At a socket that stays open he waits instead.
pub async fn empty(door: &Listening, ids: &Ids) {
    if door.share.is_some() {
        return;
    }
    poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, _))) = door.socket.poll_accept(cx) {
            refuse(stream, &own::SHUTTING_DOWN, Refusal::Draining, ids);
        }
        Poll::Ready(())
    })
    .await;
}

fn admit(stream: TcpStream, client: SocketAddr, door: &Listening, ids: &Ids) {
    let opens = door.opens.load();
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let entered = match opens.serving.sessions.enter() {
        Ok(entered) => entered,
        Err(exceeded) => return refuse_beyond(stream, exceeded, ids),
    };
    let arrival = Arrival { stream, client, facts: None };
    match prelude::of(opens.door(), client.ip()) {
        Prelude::None => let_in(arrival, entered, &opens, door.share.as_deref(), ids),
        Prelude::Header => {
            prelude::begin(arrival, entered, Arc::clone(&opens), door.share.clone(), ids.clone())
        }
        Prelude::Refused => prelude::refuse(arrival, &opens, ids),
    }
}

/// Admits a client that is known, and begins its session here or on the worker whose turn it is.
pub(super) fn let_in(
    arrival: Arrival,
    entered: Entered,
    opens: &Arc<Opens>,
    share: Option<&Share>,
    ids: &Ids,
) {
    let permit = match entered.admit(arrival.client.ip(), Instant::now()) {
        Ok(permit) => permit,
        Err(exceeded) => return refuse_beyond(arrival.stream, exceeded, ids),
    };
    let Some(share) = share else { return begin(arrival, opens, permit, ids) };
    let Arrival { stream, client, facts } = arrival;
    match stream.into_std() {
        Ok(stream) => share.hand_out(Guest { stream, client, facts, opens: Arc::clone(opens), permit }, ids),
        Err(error) => tracing::warn!(%error, "accept: a client could not be handed to its worker"),
    }
}

/// Begins a session.
pub(super) fn begin(arrival: Arrival, opens: &Opens, permit: Permit, ids: &Ids) {
    let Opens { entry, serving } = opens;
    let Arrival { stream, client, facts } = arrival;
    let facts = match (facts, intercept::destination(&stream, entry.intercept, &serving.listeners)) {
        (_, Err(Looped)) => return refuse(stream, &own::LOOPED, Refusal::Loop, ids),
        (Some(facts), Ok(_)) => Some(facts),
        (None, Ok(destination)) => {
            // A connection that has no address any more is over already.
            let told = || opens.door().tells_destination.then(|| stream.local_addr().ok()).flatten();
            let destination = destination.or_else(told);
            destination.map(|to| Box::new(ClientFacts { destination: Some(to), ..ClientFacts::default() }))
        }
    };
    worker::with_scratch(|scratch| scratch.meter.count(Occurrence::SessionOpened));
    let entrance = Entrance { listener: entry.listener, pool: entry.pool, client, facts };
    let tls = serving.tls.get(usize::from(entry.listener)).cloned().flatten();
    let stream = Stream::Tcp(stream);
    let drive = Drive::new(stream, Arc::clone(&serving.settings), entrance, ids.next(), tls, permit);
    let counted = Counted::new();
    tokio::spawn(async move {
        drive.await;
        drop(counted);
    });
}

/// Answers a client that is beyond a limit.
fn refuse_beyond(stream: TcpStream, exceeded: Exceeded, ids: &Ids) {
    refuse(stream, exceeded.reply(), refusal(exceeded), ids);
}

/// What a client who met a limit is counted as.
fn refusal(exceeded: Exceeded) -> Refusal {
    match exceeded {
        Exceeded::Sessions => Refusal::Sessions,
        Exceeded::PerClient => Refusal::PerClient,
        Exceeded::PerRange => Refusal::PerRange,
        Exceeded::Rate(Bound::Client) => Refusal::ClientRate,
        Exceeded::Rate(Bound::Range) => Refusal::RangeRate,
    }
}

/// Answers a client that is not let in.
pub(super) fn refuse(stream: TcpStream, own: &Own, why: Refusal, ids: &Ids) {
    worker::with_scratch(|scratch| scratch.meter.count(Occurrence::SessionRefused(why)));
    let id = ids.next();
    let reply = own.reply(id);
    // Behind a load balancer that is not trusted to name clients, it is the balancer.
    if let Ok(client) = stream.peer_addr() {
        log::refused(id, client, &Speaker::Gatepost, None, reply.as_bytes());
    }
    // A fresh socket's buffer takes a line; a client that is gone already needs none.
    let _ = stream.try_write(reply.as_bytes());
    linger(stream);
}

/// Closes our side, and listens for a moment to what a client says that did not wait for its greeting: to close on
/// octets that nobody has read is a reset, and that may overtake the reply.
fn linger(stream: TcpStream) {
    let Ok(place) = LINGERING.try_acquire() else { return };
    let counted = Counted::new();
    tokio::spawn(async move {
        // Time is up, or the client is gone: either way there is nothing left to do for it.
        let _ = tokio::time::timeout(LINGER.0, hear_out(stream)).await;
        drop((place, counted));
    });
}

async fn hear_out(stream: TcpStream) -> io::Result<()> {
    let mut stream = Stream::Tcp(stream);
    stream.shutdown_write()?;
    let mut dropped = [0; 512];
    let mut left = LINGER.1 as usize;
    while left > 0 {
        poll_fn(|cx| stream.watch(cx)).await?;
        match stream.try_read(|| &mut dropped) {
            Ok(0) => return Ok(()),
            Ok(read) => left = left.saturating_sub(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn failed(error: &io::Error) {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM: others must end first. Anything else concerns one client only.
    if matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12)) {
        worker::with_scratch(|scratch| scratch.meter.count(Occurrence::AcceptPaused));
        tracing::warn!(%error, "accept: paused");
        tokio::time::sleep(REST).await;
    }
}
