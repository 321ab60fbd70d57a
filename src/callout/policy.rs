//! `type: policy`: Postfix's policy delegation, over connections that are kept.
//!
//! **In**: a request, and the transaction it is about. **Out**: the octets of an answer; or a [`Fault`].
//! **Never**: asks two things at once on one connection, takes what was there before a request for its answer, reads more
//! than a bounded answer, or keeps a deadline: whoever waits drops the future, and its connection with it.
//!
//! A transaction's requests go over one connection (SMTPD_POLICY_README: a server may count a message once though it is
//! asked for each recipient), which nobody else has until the message is over, its session asks about another, or ends.
//! What is kept beyond `concurrency` is closed, that which has waited longest first: a client that says nothing keeps
//! nobody from being served. A connection that turns out to be dead is replaced, once, if not an octet of an answer was
//! heard on it. Of several addresses the one that answered last is tried first.

mod action;
mod attributes;
#[cfg(test)]
mod tests;

use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::Instance;
use super::place::{First, Place};
use crate::config::types::{Dns, Target};
use crate::session::callout::{Fault, FaultKind};

pub use action::decode;
pub use attributes::{action, encode};

/// Octets of an answer: an action is a line.
const ANSWER: usize = 8 << 10;
/// How long a connection may be idle before it is closed, as Postfix closes its own.
const IDLE: Duration = Duration::from_secs(300);

/// A server, and the connections to it.
pub(super) struct PolicyClient {
    addresses: Box<[Address]>,
    first: First,
    concurrency: usize,
    /// Places for requests, of all workers together.
    places: Semaphore,
    /// Of each worker, whose runtime has them.
    idle: ThreadLocal<Arc<Mutex<Idle>>>,
}

/// Connections without a request, in the order in which they were used.
#[derive(Default)]
struct Idle {
    kept: Vec<Kept>,
    /// Somebody closes those that wait for too long.
    is_watched: bool,
}

enum Address {
    Tcp(Box<Place>),
    Unix(Box<Path>),
}

trait Duplex: AsyncRead + AsyncWrite + AsFd + Send {}
impl<T: AsyncRead + AsyncWrite + AsFd + Send> Duplex for T {}
type Connection = Pin<Box<dyn Duplex>>;

struct Kept {
    connection: Connection,
    /// Whose it is, as long as that is there.
    instance: Weak<()>,
    since: Instant,
}

impl PolicyClient {
    /// One that asks at these addresses, so many requests at once.
    pub(super) fn new(addresses: &[Target], concurrency: usize, dns: &Dns) -> Self {
        let address = |target: &Target| match target {
            Target::Tcp { host, port } => Address::Tcp(Box::new(Place::new(host, *port, dns))),
            Target::Unix(path) => Address::Unix(path.as_path().into()),
        };
        Self {
            addresses: addresses.iter().map(address).collect(),
            first: First::default(),
            concurrency,
            places: Semaphore::new(concurrency),
            idle: ThreadLocal::new(),
        }
    }

    /// Asks. What comes back is the answer up to its empty line.
    pub(super) async fn ask(&self, request: &[u8], instance: &Instance) -> Result<Vec<u8>, Fault> {
        // Never closed; without a place there would merely be no bound.
        let _place = self.places.acquire().await.ok();
        let idle = self.idle.get_or_default();
        if let Some(mut connection) = take(idle, instance)
            && let Exchange::Answered(answer) = exchange(&mut connection, request).await?
        {
            self.keep(idle, connection, instance);
            return Ok(answer);
        }
        let mut fault = Fault::new(FaultKind::Unreachable, "");
        let several = self.addresses.len() > 1;
        for number in self.first.order(self.addresses.len()) {
            match self.addresses[number].connect(several).await {
                Err(what) => fault = Fault::new(FaultKind::Unreachable, what),
                Ok(mut connection) => match exchange(&mut connection, request).await? {
                    Exchange::Answered(answer) => {
                        self.first.answered(number);
                        self.keep(idle, connection, instance);
                        return Ok(answer);
                    }
                    // As a server does that cannot answer.
                    Exchange::Closed => fault = Fault::new(FaultKind::Lost, "closed without an answer"),
                },
            }
        }
        Err(fault)
    }

    fn keep(&self, idle: &Arc<Mutex<Idle>>, connection: Connection, instance: &Instance) {
        let mut all = idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.kept.push(Kept { connection, instance: instance.held(), since: Instant::now() });
        if all.kept.len() > self.concurrency {
            all.kept.remove(0);
        }
        if !std::mem::replace(&mut all.is_watched, true) {
            tokio::spawn(close_idle(Arc::downgrade(idle)));
        }
    }
}

impl Address {
    async fn connect(&self, another: bool) -> Result<Connection, String> {
        match self {
            Address::Tcp(place) => place.connect(another).await.map(|tcp| Box::pin(tcp) as Connection),
            Address::Unix(path) => {
                let connected = UnixStream::connect(path).await;
                let failed = |error| format!("unix:{}: {error}", path.display());
                connected.map(|unix| Box::pin(unix) as Connection).map_err(failed)
            }
        }
    }
}

/// A connection for this transaction: its own, or one that is nobody's.
fn take(idle: &Mutex<Idle>, instance: &Instance) -> Option<Connection> {
    let mut all = idle.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let own = all.kept.iter().rposition(|kept| instance.holds(&kept.instance));
        let free = || all.kept.iter().rposition(|kept| kept.instance.strong_count() == 0);
        let place = own.or_else(free)?;
        let connection = all.kept.remove(place).connection;
        // What is there now answers nothing that will be asked, and an end is an end.
        if is_silent(&connection) {
            return Some(connection);
        }
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
        let mut all = idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.kept.retain(|kept| kept.since.elapsed() < IDLE);
        if all.kept.is_empty() {
            all.is_watched = false;
            return;
        }
    }
}

enum Exchange {
    Answered(Vec<u8>),
    /// It is closed, and nothing was said on it.
    Closed,
}

/// One request and its answer.
async fn exchange(connection: &mut Connection, request: &[u8]) -> Result<Exchange, Fault> {
    if connection.write_all(request).await.is_err() || connection.flush().await.is_err() {
        return Ok(Exchange::Closed);
    }
    let mut answer = Vec::new();
    loop {
        let heard = answer.len();
        if connection.as_mut().read_buf(&mut answer).await.unwrap_or_default() == 0 {
            return match heard {
                0 => Ok(Exchange::Closed),
                _ => Err(Fault::new(FaultKind::Lost, "closed in the midst of an answer")),
            };
        }
        match attributes::end_of_answer(&answer) {
            Some(end) if end == answer.len() => return Ok(Exchange::Answered(answer)),
            Some(_) => return Err(Fault::new(FaultKind::Malformed, "more than one answer")),
            None if answer.len() > ANSWER => {
                return Err(Fault::new(FaultKind::Malformed, format!("more than {ANSWER} octets")));
            }
            None => {}
        }
    }
}
