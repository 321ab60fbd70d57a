//! Where a service is, and connections to it.
//!
//! **In**: a host and a port, as configured. **Out**: a connection; or why there is none.
//! **Never**: keeps a deadline of its own for a question that waits; asks DNS for an address, or for a name again while
//! its worker's resolver knows it.
//!
//! A name is asked for whenever a connection is made, so that a service that moved is found again. Its addresses are
//! tried one after the other, IPv4 first, until one takes the connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thread_local::ThreadLocal;
use tokio::net::{TcpSocket, TcpStream};

use crate::config::scoped;
use crate::config::types::Dns;
use crate::hop::Resolver;
use crate::hop::dns::Question;

/// How long a name may take; the question's own time is usually over before.
const DNS: Duration = Duration::from_secs(10);

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

    /// Connects, to the first address that takes the connection.
    pub(super) async fn connect(&self) -> Result<TcpStream, String> {
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

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A question is written whole; waiting for more would only add the peer's delayed ACK.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
