//! The connections to a service: how many there are, and which of them wait to be used.
//!
//! **In**: whoever wants one; one that is done with. **Out**: one that it may have, or a place for a new one.
//! **Never**: has more than its bound, those that wait and those in use together, of all workers; keeps one that
//! nobody uses from whoever needs its place; gives one to another while the one it is kept for may still ask.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use thread_local::ThreadLocal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::Instance;
use super::place::First;

/// How long a connection may be idle before it is closed, as Postfix closes its own.
const IDLE: Duration = Duration::from_secs(300);

/// One in use, with its place among all.
pub(super) struct Open<C> {
    pub(super) connection: C,
    /// Which of the service's addresses it is with.
    pub(super) address: usize,
    pub(super) place: OwnedSemaphorePermit,
}

/// All of them.
pub(super) struct Connections<C: Send> {
    places: Arc<Semaphore>,
    /// How many wait for a place.
    waiting: AtomicUsize,
    /// Of each worker, whose runtime has them.
    idle: ThreadLocal<Arc<Mutex<Idle<C>>>>,
}

/// Those that are not in use, in the order in which they were used.
struct Idle<C> {
    kept: Vec<Kept<C>>,
    /// Somebody closes those that wait for too long.
    is_watched: bool,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self { kept: Vec::new(), is_watched: false }
    }
}

struct Kept<C> {
    open: Open<C>,
    /// For whom it is kept, as long as that is there.
    instance: Weak<()>,
    since: Instant,
}

impl<C: AsFd + Send + 'static> Connections<C> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            idle: ThreadLocal::new(),
        }
    }

    /// The one that is kept for this one.
    pub(super) fn take_own(&self, instance: &Instance) -> Option<Open<C>> {
        let mut all = locked(self.idle.get_or_default());
        let place = all.kept.iter().rposition(|kept| instance.holds(&kept.instance))?;
        Some(all.kept.remove(place).open)
    }

    /// The same, or one that is kept for nobody any more.
    pub(super) fn take(&self, instance: &Instance) -> Option<Open<C>> {
        loop {
            let open = self.take_own(instance).or_else(|| {
                let mut all = locked(self.idle.get_or_default());
                let free = all.kept.iter().rposition(|kept| kept.instance.strong_count() == 0)?;
                Some(all.kept.remove(free).open)
            })?;
            // What is there now answers nothing that will be asked, and an end is an end.
            if heard(&open.connection) == Heard::Nothing {
                return Some(open);
            }
        }
    }

    /// A place for a new one: a free one, or that of whichever has waited longest, else the next.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let free = || Arc::clone(&self.places).try_acquire_owned().ok();
        if let Some(place) = free() {
            return Some(place);
        }
        let _waiting = Waiting::new(&self.waiting);
        self.close_oldest();
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// It waits for what this one asks next.
    pub(super) fn keep(&self, open: Open<C>, instance: &Instance) {
        let idle = self.idle.get_or_default();
        let mut all = locked(idle);
        all.kept.push(Kept { open, instance: instance.held(), since: Instant::now() });
        if !std::mem::replace(&mut all.is_watched, true) {
            tokio::spawn(close_idle(Arc::downgrade(idle)));
        }
        drop(all);
        if self.waiting.load(SeqCst) > 0 {
            self.close_oldest();
        }
    }

    /// What waits at this address is closed: the service there is in doubt.
    pub(super) fn forget(&self, address: usize) {
        for idle in self.idle.iter() {
            locked(idle).kept.retain(|kept| kept.open.address != address);
        }
    }

    fn close_oldest(&self) {
        let first = |idle: &Arc<Mutex<Idle<C>>>| locked(idle).kept.first().map(|kept| kept.since);
        let oldest =
            self.idle.iter().filter_map(|idle| Some((first(idle)?, idle))).min_by_key(|(since, _)| *since);
        if let Some((_, idle)) = oldest {
            let mut all = locked(idle);
            if !all.kept.is_empty() {
                all.kept.remove(0);
            }
        }
    }
}

/// After so long without an answer a service is in doubt, whoever gave the question up.
pub(super) const DOUBT: Duration = Duration::from_secs(1);

/// A question that is under way: if nobody waits for its answer to the end, the service at that address is in doubt.
pub(super) struct Doubt<'a, C: AsFd + Send + 'static> {
    connections: &'a Connections<C>,
    first: &'a First,
    /// Which of how many.
    address: (usize, usize),
    since: Instant,
    over: bool,
}

impl<'a, C: AsFd + Send + 'static> Doubt<'a, C> {
    pub(super) fn new(connections: &'a Connections<C>, first: &'a First, address: (usize, usize)) -> Self {
        Self { connections, first, address, since: Instant::now(), over: false }
    }

    pub(super) fn answered(mut self) {
        self.over = true;
    }
}

impl<C: AsFd + Send + 'static> Drop for Doubt<'_, C> {
    fn drop(&mut self) {
        if !self.over && self.since.elapsed() >= DOUBT {
            let (address, all) = self.address;
            self.connections.forget(address);
            self.first.moves_on(address, all);
        }
    }
}

fn locked<C>(idle: &Mutex<Idle<C>>) -> MutexGuard<'_, Idle<C>> {
    // Nothing in here panics half-way.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that waits for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, SeqCst);
        Self(all)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What waits to be read, as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Nothing,
    /// Nobody asked for it.
    Octets,
    /// It is closed.
    End,
}

/// What is to be heard on a connection where nothing was asked.
pub(super) fn heard(connection: &impl AsFd) -> Heard {
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(connection.as_fd(), &mut [0; 1], peek) {
        Err(error) if error == Errno::AGAIN => Heard::Nothing,
        Ok((_, octets)) if octets > 0 => Heard::Octets,
        _ => Heard::End,
    }
}

/// Closes what has been idle for too long, as long as there is anything.
async fn close_idle<C>(idle: Weak<Mutex<Idle<C>>>) {
    loop {
        sleep(IDLE / 10).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut all = locked(&idle);
        all.kept.retain(|kept| kept.since.elapsed() < IDLE);
        if all.kept.is_empty() {
            all.is_watched = false;
            return;
        }
    }
}
