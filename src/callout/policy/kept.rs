//! The connections to a policy server: how many there are, and which of them wait for a request.
//!
//! **In**: a transaction that wants one; one that is done with. **Out**: one that it may have, or a place for a new one.
//! **Never**: has more than its bound, those that wait and those in use together, of all workers; keeps one that
//! nobody uses from whoever needs its place; gives one to another transaction while its own may still ask.

use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::callout::Instance;

/// How long a connection may be idle before it is closed, as Postfix closes its own.
const IDLE: Duration = Duration::from_secs(300);

/// What a connection is.
pub(super) trait Duplex: AsyncRead + AsyncWrite + AsFd + Send {}
impl<T: AsyncRead + AsyncWrite + AsFd + Send> Duplex for T {}
pub(super) type Connection = Pin<Box<dyn Duplex>>;

/// One in use, with its place among all.
pub(super) struct Open {
    pub(super) connection: Connection,
    /// Which of the server's addresses it is with.
    pub(super) address: usize,
    pub(super) place: OwnedSemaphorePermit,
}

/// All of them.
pub(super) struct Connections {
    places: Arc<Semaphore>,
    /// Requests that wait for a place.
    waiting: AtomicUsize,
    /// Of each worker, whose runtime has them.
    idle: ThreadLocal<Arc<Mutex<Idle>>>,
}

/// Those without a request, in the order in which they were used.
#[derive(Default)]
struct Idle {
    kept: Vec<Kept>,
    /// Somebody closes those that wait for too long.
    is_watched: bool,
}

struct Kept {
    open: Open,
    /// Whose it is, as long as that is there.
    instance: Weak<()>,
    since: Instant,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            idle: ThreadLocal::new(),
        }
    }

    /// One for this transaction: its own, or one that is nobody's.
    pub(super) fn take(&self, instance: &Instance) -> Option<Open> {
        let mut all = locked(self.idle.get_or_default());
        loop {
            let own = all.kept.iter().rposition(|kept| instance.holds(&kept.instance));
            let free = || all.kept.iter().rposition(|kept| kept.instance.strong_count() == 0);
            let place = own.or_else(free)?;
            let open = all.kept.remove(place).open;
            // What is there now answers nothing that will be asked, and an end is an end.
            if is_silent(&open.connection) {
                return Some(open);
            }
        }
    }

    /// A place for a new one: a free one, or that of whichever has waited longest for a request, else the next.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let free = || Arc::clone(&self.places).try_acquire_owned().ok();
        if let Some(place) = free() {
            return Some(place);
        }
        let _waiting = Waiting::new(&self.waiting);
        self.close_oldest();
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// It waits for the next request of this transaction.
    pub(super) fn keep(&self, open: Open, instance: &Instance) {
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

    /// What waits at this address is closed: the server there is in doubt.
    pub(super) fn forget(&self, address: usize) {
        for idle in self.idle.iter() {
            locked(idle).kept.retain(|kept| kept.open.address != address);
        }
    }

    fn close_oldest(&self) {
        let first = |idle: &Arc<Mutex<Idle>>| locked(idle).kept.first().map(|kept| kept.since);
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

fn locked(idle: &Mutex<Idle>) -> std::sync::MutexGuard<'_, Idle> {
    // Nothing in here panics half-way.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request that waits for a place.
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

/// Whether nothing waits to be read, as the kernel knows it.
fn is_silent(connection: &Connection) -> bool {
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    recv(connection.as_fd(), &mut [0; 1], peek).is_err_and(|error| error == Errno::AGAIN)
}

/// Closes what has been idle for too long, as long as there is anything.
async fn close_idle(idle: Weak<Mutex<Idle>>) {
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
