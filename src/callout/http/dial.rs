//! Connections to an HTTP callout.
//!
//! **In**: where the service is. **Out**: a connected socket, as hyper reads and writes it, and whether anything was
//! [`Heard`] on it.
//! **Never**: keeps a deadline; asks DNS for an address, or for a name again while its worker's resolver knows it.
//!
//! A name is asked for whenever a connection is made, so that a service that moved is found again. Its addresses are
//! tried one after the other, IPv4 first.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use crate::config::types::{Dns, HttpUrl};
use crate::hop::Resolver;
use crate::hop::dns::Question;
use crate::session::callout::{Fault, FaultKind};

/// How long a name may take; the question's own time is usually over before.
const DNS: Duration = Duration::from_secs(10);

/// Where a service is.
pub(super) struct Dialler {
    host: Box<str>,
    port: u16,
    dns: Dns,
    /// Names are resolved by each worker for itself: a resolver's tasks live on the runtime that first needed them.
    resolvers: ThreadLocal<Resolver>,
}

impl Dialler {
    pub(super) fn new(url: &HttpUrl, dns: &Dns) -> Self {
        let host = url.host.as_str().into();
        Self { host, port: url.port, dns: dns.clone(), resolvers: ThreadLocal::new() }
    }

    /// Connects, to the first address that takes the connection.
    pub(super) async fn dial(&self) -> Result<(TokioIo<Socket>, Heard), Fault> {
        let unreachable = |what: String| Fault::new(FaultKind::Unreachable, what);
        let mut last = None;
        for ip in self.addresses().await.map_err(unreachable)? {
            let address = SocketAddr::new(ip, self.port);
            match connect(address).await {
                Ok(stream) => {
                    let heard = Heard::default();
                    return Ok((TokioIo::new(Socket { stream, heard: heard.clone() }), heard));
                }
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
        // A name that resolves has an address.
        Err(unreachable(last.unwrap_or_default()))
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![ip]);
        }
        let resolver =
            self.resolvers.get_or_try(|| Resolver::new(&self.dns)).map_err(|error| error.to_string())?;
        let question = Question::Name(self.host.clone());
        let found = resolver.ask(&question, DNS).await.map_err(|error| format!("{}: {error}", self.host))?;
        Ok(found.hosts.into_iter().flat_map(|host| host.addresses).collect())
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A question is written whole; waiting for more would only add the peer's delayed ACK.
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Whether an octet came in since it was last asked to forget.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    pub(super) fn anything(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn forget(&self) {
        self.0.store(false, Relaxed);
    }
}

/// A socket that notes whether anything was heard on it.
pub(super) struct Socket {
    stream: TcpStream,
    heard: Heard,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.0.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
