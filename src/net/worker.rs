//! A worker: one thread, its runtime, its sessions.
//!
//! In:    listening sockets; what the control thread has to say ([`Order`]).
//! Out:   a task per client, all of them on this thread.
//! Never: shares a session, a buffer or a counter with another worker.
//!
//! What sessions of one thread share lies in thread-local places: the scratch space of the turn, and whether
//! the process wants to stop.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::Socket;
use tokio::runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::buffers::Pool;
use super::listen::{self, Entry, Ids, Listening};
use super::share::{Guest, Share};
use crate::dialog::Tx;
use crate::limits::Sessions;
use crate::metrics::{Meter, Metrics};
use crate::session::io::Out;
use crate::session::settings::Settings;
use crate::tls::ServerTls;

/// Shorter than any deadline of a session.
const TICK: Duration = Duration::from_millis(900);

/// Spare places a worker keeps.
const SPARE: usize = 256;

/// What holds for clients who come from now on.
pub struct Serving {
    /// The configuration, as sessions see it.
    pub settings: Arc<Settings>,
    /// Who may have how many sessions.
    pub sessions: Arc<Sessions>,
    /// TLS with clients, by listener.
    pub tls: Vec<Option<Arc<ServerTls>>>,
    /// Where gatepost listens, as configured: no client may have been on its way there.
    pub listeners: Box<[SocketAddr]>,
}

/// A worker's sign of life: set by it in passing, taken back by whoever looks. A worker that has ended has dropped its own.
pub type Beat = Arc<AtomicBool>;

/// What the control thread says to a worker.
pub enum Order {
    /// Serve this from now on, through these doors; those that are not named any more are emptied and closed.
    Serve(Arc<Serving>, Vec<(Entry, Opening)>),
    /// Serve a client that another worker has admitted.
    Take(Guest),
    /// Accept no more; sessions end between transactions.
    Drain,
    /// End now.
    Stop,
}

/// How a worker comes by a door.
pub enum Opening {
    /// It has it already, or another worker has it for all.
    Known,
    /// By a socket of its own.
    Own(Socket),
    /// By the only socket there is, whose clients all workers have in turn.
    Shared(Socket, Share),
}

/// Whether the process wants to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopping {
    /// It does not.
    No,
    /// Sessions end between transactions.
    Soon,
    /// Sessions end.
    Now,
}

/// What a turn works with: lent to whichever session has its turn.
pub struct Scratch {
    /// What the session says.
    pub out: Out,
    /// Spare receive buffers.
    pub pool: Pool,
    /// Where this worker counts.
    pub meter: Meter,
    /// Spare places for octets that wait between turns.
    pub spare: Vec<Box<Tx>>,
}

impl Scratch {
    /// Takes up what waited for a peer.
    pub fn bring(&mut self, peer: usize, mut waited: Box<Tx>) {
        std::mem::swap(&mut self.out.tx[peer], &mut waited);
        self.out.spoken.set(peer);
        if self.spare.len() < SPARE {
            waited.clear();
            self.spare.push(waited);
        }
    }

    /// Puts away what must wait for a peer.
    pub fn put_away(&mut self, peer: usize) -> Box<Tx> {
        let mut waits = self.spare.pop().unwrap_or_default();
        std::mem::swap(&mut self.out.tx[peer], &mut waits);
        waits
    }

    /// Nothing of a session stays behind.
    pub fn reset(&mut self) {
        self.out.spoken.drain().for_each(|peer| self.out.tx[peer].clear());
        self.out.outputs.clear();
        self.out.events.clear();
    }
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
    static STOPPING: Cell<Stopping> = const { Cell::new(Stopping::No) };
    static WAKERS: RefCell<(Vec<Option<Waker>>, Vec<usize>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Lends the worker's scratch space.
pub fn with_scratch<T>(turn: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| turn(scratch.as_mut().expect("sessions run on a worker's thread only")))
}

/// Whether the process wants to stop.
pub fn stopping() -> Stopping {
    STOPPING.get()
}

/// Waits until the process wants to stop.
pub async fn until_stopping() {
    let mut registered = Registered::default();
    poll_fn(|cx| {
        registered.first(cx);
        if stopping() == Stopping::No { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// A task's place among those that are woken when the process wants to stop; given back when dropped.
#[derive(Default, Debug)]
pub struct Registered(Option<usize>);

impl Registered {
    /// Registers the task if it is not; says whether it was not.
    pub fn first(&mut self, cx: &Context<'_>) -> bool {
        if self.0.is_some() {
            return false;
        }
        self.0 = Some(WAKERS.with_borrow_mut(|(wakers, free)| {
            let waker = Some(cx.waker().clone());
            match free.pop() {
                Some(place) => {
                    wakers[place] = waker;
                    place
                }
                None => {
                    wakers.push(waker);
                    wakers.len() - 1
                }
            }
        }));
        true
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            WAKERS.with_borrow_mut(|(wakers, free)| {
                wakers[place] = None;
                free.push(place);
            });
        }
    }
}

/// Runs a worker until it is told to stop and its last session is over.
///
/// # Errors
///
/// Where the runtime or a listener cannot be set up.
pub fn run(index: usize, metrics: &Metrics, orders: UnboundedReceiver<Order>, beat: Beat) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let meter = metrics.meter(index);
    SCRATCH.set(Some(Scratch { out: Out::default(), pool: Pool::default(), meter, spare: Vec::new() }));
    runtime.block_on(obey(index as u64, orders, beat))
}

async fn obey(index: u64, mut orders: UnboundedReceiver<Order>, beat: Beat) -> io::Result<()> {
    tokio::spawn(tick(beat));
    let mut doors = Doors { open: Vec::new(), ids: Ids::new(index) };
    while stopping() == Stopping::No
        && let Some(order) = orders.recv().await
    {
        match order {
            Order::Serve(serving, entries) => doors.serve(&serving, entries).await?,
            Order::Take(guest) => guest.enter(&doors.ids),
            Order::Drain => stop(Stopping::Soon),
            Order::Stop => stop(Stopping::Now),
        }
    }
    doors.shut(|_| false).await;
    loop {
        tokio::select! {
            // First whoever another worker admitted just before it was told, too: he hears 421 like the others.
            biased;
            Some(order) = orders.recv() => match order {
                Order::Take(guest) => guest.enter(&doors.ids),
                _ => stop(Stopping::Now),
            },
            () = listen::sessions_over() => {
                orders.close();
                match orders.try_recv() {
                    Ok(Order::Take(guest)) => guest.enter(&doors.ids),
                    Ok(_) => {}
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}

/// A worker's listeners, each with the task that accepts.
struct Doors {
    open: Vec<(Entry, Arc<Listening>, JoinHandle<()>)>,
    ids: Ids,
}

impl Doors {
    /// Opens the doors that are new, tells the others what they open to now, shuts the rest.
    async fn serve(&mut self, serving: &Arc<Serving>, entries: Vec<(Entry, Opening)>) -> io::Result<()> {
        let named: Vec<Entry> = entries.iter().map(|(entry, _)| *entry).collect();
        self.shut(|open| named.iter().any(|entry| entry.address == open.address)).await;
        for (entry, opening) in entries {
            let (socket, share) = match opening {
                Opening::Own(socket) => (socket, None),
                Opening::Shared(socket, share) => (socket, Some(share)),
                Opening::Known => {
                    let known = self.open.iter().find(|(open, ..)| open.address == entry.address);
                    if let Some((_, door, _)) = known {
                        door.serve(entry, serving);
                    }
                    continue;
                }
            };
            let door = Listening::open(socket, share, entry, serving)?;
            let task = tokio::spawn(listen::accept(Arc::clone(&door), self.ids.clone()));
            self.open.push((entry, door, task));
        }
        Ok(())
    }

    /// Shuts the doors that are not to stay. Whoever already stands at one hears 421 (RFC 5321 3.8).
    async fn shut(&mut self, stays: impl Fn(&Entry) -> bool) {
        for (entry, door, task) in std::mem::take(&mut self.open) {
            if stays(&entry) {
                self.open.push((entry, door, task));
                continue;
            }
            task.abort();
            // It was aborted, or ended by itself; either way nobody else accepts there now.
            let _ = task.await;
            listen::empty(&door, &self.ids).await;
        }
    }
}

/// Keeps the nearest timer near. A timer that is set for earlier than all others makes the runtime write to itself, a
/// system call; no session's deadline is earlier than this one. Shows besides that the worker lives.
async fn tick(beat: Beat) {
    loop {
        beat.store(true, Ordering::Relaxed);
        tokio::time::sleep(TICK).await;
    }
}

fn stop(stopping: Stopping) {
    STOPPING.set(stopping);
    let wakers: Vec<Waker> = WAKERS.with_borrow(|(wakers, _)| wakers.iter().flatten().cloned().collect());
    wakers.into_iter().for_each(Waker::wake);
}
