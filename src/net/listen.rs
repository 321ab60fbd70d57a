//! Listeners: each worker has its own socket on every address (SO_REUSEPORT), and accepts for itself.
//!
//! In:    the addresses of the configuration.
//! Out:   clients that are admitted, each a task on this worker; the others answered 421.
//! Never: leaves a client that was accepted by the kernel without an answer when a listener closes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::drive::Drive;
use super::stream::Stream;
use super::worker::{self, Registered, Serving, Tide};
use crate::limits::Exceeded;
use crate::metrics::Event;
use crate::metrics::labels::Refusal;
use crate::session::route::PoolId;
use crate::session::settings::Entrance;
use crate::smtp::{Own, SessionId, own};

/// Clients the kernel may hold for us.
const BACKLOG: i32 = 4096;

/// How long a listener rests when descriptors ran out.
const REST: Duration = Duration::from_millis(100);

/// Which listener a door is, and where it leads.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The address as configured.
    pub address: SocketAddr,
    /// The listener, by its place in the file.
    pub listener: u16,
    /// Its pool.
    pub pool: PoolId,
    /// Whether AUTH may be shown.
    pub auth: bool,
}

/// The same, on a worker's runtime. Its task accepts until the door is shut.
pub struct Door {
    socket: TcpListener,
    opens: ArcSwap<Opens>,
}

/// What a client who comes through a door finds.
struct Opens {
    entry: Entry,
    serving: Arc<Serving>,
}

impl Door {
    /// Takes a socket onto this worker's runtime.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open(socket: Socket, entry: Entry, serving: &Arc<Serving>) -> io::Result<Arc<Door>> {
        let opens = Opens { entry, serving: Arc::clone(serving) };
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Arc::new(Door { socket, opens: ArcSwap::from_pointee(opens) }))
    }

    /// From now on it opens to this.
    pub fn serve(&self, entry: Entry, serving: &Arc<Serving>) {
        self.opens.store(Arc::new(Opens { entry, serving: Arc::clone(serving) }));
    }
}

/// Binds an address. What every accepted socket inherits is set here, once: no delay, keepalive.
///
/// # Errors
///
/// What the kernel says.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Says whether somebody else listens on an address: SO_REUSEPORT alone would let two processes share it unnoticed.
///
/// # Errors
///
/// What the kernel says to binding it exclusively.
pub fn is_free(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
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
struct Counted;

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

/// Accepts until the tide turns or the task is aborted; [`empty`] comes after it.
pub async fn accept(door: Arc<Door>, ids: Ids) {
    let mut registered = Registered::default();
    loop {
        let accepted = poll_fn(|cx| {
            registered.first(cx);
            if worker::tide() != Tide::Flood {
                return Poll::Ready(None);
            }
            door.socket.poll_accept(cx).map(Some)
        })
        .await;
        match accepted {
            None => return,
            Some(Ok((stream, client))) => admit(stream, client, &door.opens.load(), &ids),
            Some(Err(error)) => failed(&error).await,
        }
    }
}

/// RFC 5321 3.8: whoever was already connected hears 421.
pub async fn empty(door: &Door, ids: &Ids) {
    poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, _))) = door.socket.poll_accept(cx) {
            refuse(&stream, &own::SHUTTING_DOWN, Refusal::Draining, ids);
        }
        Poll::Ready(())
    })
    .await;
}

fn admit(stream: TcpStream, client: SocketAddr, opens: &Opens, ids: &Ids) {
    let Opens { entry, serving } = opens;
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let permit = match serving.sessions.admit(client.ip()) {
        Ok(permit) => permit,
        Err(Exceeded::Sessions) => return refuse(&stream, &own::TOO_MANY_SESSIONS, Refusal::Sessions, ids),
        Err(Exceeded::PerClient) => {
            return refuse(&stream, &own::TOO_MANY_FROM_CLIENT, Refusal::PerClient, ids);
        }
    };
    worker::with_scratch(|scratch| scratch.meter.count(Event::SessionOpened));
    let entrance = Entrance { listener: entry.listener, pool: entry.pool, auth: entry.auth, client };
    let drive = Drive::new(Stream::Tcp(stream), Arc::clone(&serving.settings), entrance, ids.next(), permit);
    OPEN.set(OPEN.get() + 1);
    let counted = Counted;
    tokio::spawn(async move {
        drive.await;
        drop(counted);
    });
}

fn refuse(stream: &TcpStream, own: &Own, why: Refusal, ids: &Ids) {
    worker::with_scratch(|scratch| scratch.meter.count(Event::SessionRefused(why)));
    let mut line = Vec::new();
    own.write(ids.next(), &mut line);
    // A fresh socket's buffer takes a line; a client that is gone already needs none.
    let _ = stream.try_write(&line);
}

async fn failed(error: &io::Error) {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM: others must end first. Anything else concerns one client only.
    if matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12)) {
        worker::with_scratch(|scratch| scratch.meter.count(Event::AcceptPaused));
        tracing::warn!(%error, "accept: paused");
        tokio::time::sleep(REST).await;
    }
}
