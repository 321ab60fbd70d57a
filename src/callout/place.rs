//! Where a service is, and connections to it.
//!
//! **In**: a host and a port, or a path, as configured. **Out**: a connection; or why there is none.
//! **Never**: keeps a deadline of its own for a question that waits, unless there is another place to ask; asks DNS for
//! an address, or for a name again while its worker's resolver knows it.
//!
//! A name is asked for whenever a connection is made, so that a service that moved is found again. Its addresses are
//! tried one after the other, IPv4 first, until one takes the connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::config::scoped;
use crate::config::types::{Dns, Target};
use crate::hop::Resolver;
use crate::hop::dns::Question;

/// How long a name may take; the question's own time is usually over before.
const DNS: Duration = Duration::from_secs(10);

/// How long a place may take to connect while there is another.
const CONNECT: Duration = Duration::from_secs(3);

/// How long before a socket is tried again whose queue is full.
const FULL: Duration = Duration::from_millis(20);

/// What a connection is.
pub(super) trait Duplex: AsyncRead + AsyncWrite + AsFd + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + AsFd + Send + Unpin> Duplex for T {}
pub(super) type Connection = Box<dyn Duplex>;

/// One of a service's addresses.
pub(super) enum Address {
    Tcp(Box<Place>),
    Unix(Box<Path>),
}

impl Address {
    pub(super) fn new(target: &Target, dns: &Dns) -> Self {
        match target {
            Target::Tcp { host, port } => Address::Tcp(Box::new(Place::new(host, *port, dns))),
            Target::Unix(path) => Address::Unix(path.as_path().into()),
        }
    }

    /// Connects; by TCP within a bound where there is `another` address to go to.
    pub(super) async fn connect(&self, another: bool) -> Result<Connection, String> {
        match self {
            Address::Tcp(place) => place.connect(another).await.map(|tcp| Box::new(tcp) as Connection),
            Address::Unix(path) => loop {
                match UnixStream::connect(path).await {
                    Ok(unix) => return Ok(Box::new(unix)),
                    // Its queue is full: whoever asks waits for that, as with TCP.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL).await,
                    Err(error) => return Err(format!("unix:{}: {error}", path.display())),
                }
            },
        }
    }
}

/// A host and a port.
pub(super) struct Place {
    host: Box<str>,
    port: u16,
    dns: Dns,
    /// Names are resolved by each worker for itself: a resolver's tasks live on the runtime that first needed them.
    resolvers: ThreadLocal<Resolver>,
}

impl Place {
    pub(super) fn new(host: &str, port: u16, dns: &Dns) -> Self {
        Self { host: host.into(), port, dns: dns.clone(), resolvers: ThreadLocal::new() }
    }

    /// The name or address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Connects; within a bound where there is `another` place to go to.
    pub(super) async fn connect(&self, another: bool) -> Result<TcpStream, String> {
        if !another {
            return self.connect_to_any().await;
        }
        let late = |_| Err(format!("{self}: no connection within {CONNECT:?}"));
        timeout(CONNECT, self.connect_to_any()).await.unwrap_or_else(late)
    }

    /// Connects, to the first address that takes the connection.
    async fn connect_to_any(&self) -> Result<TcpStream, String> {
        let mut last = None;
        for address in self.addresses().await? {
            match connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        // A name that resolves has an address.
        Err(last.unwrap_or_default())
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = scoped(&self.host, self.port) {
            return Ok(vec![address]);
        }
        let resolver =
            self.resolvers.get_or_try(|| Resolver::new(&self.dns)).map_err(|error| error.to_string())?;
        let question = Question::Name(self.host.as_ref().into());
        let found = resolver.ask(&question, DNS).await.map_err(|error| format!("{}: {error}", self.host))?;
        Ok(found.hosts.iter().flat_map(|host| host.at(self.port)).collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Which of several addresses is tried first: the one that answered last.
#[derive(Default)]
pub(super) struct First(AtomicUsize);

impl First {
    /// All of so many, in the order in which they are tried.
    pub(super) fn order(&self, all: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.0.load(Relaxed);
        (0..all).map(move |turn| (first + turn) % all)
    }

    /// This one answered.
    pub(super) fn answered(&self, number: usize) {
        self.0.store(number, Relaxed);
    }

    /// This one did not, of so many: another is first now.
    pub(super) fn moves_on(&self, number: usize, all: usize) {
        let _ = self.0.compare_exchange(number, (number + 1) % all, Relaxed, Relaxed);
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A question is written whole; waiting for more would only add the peer's delayed ACK.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
