//! Dials a target.
//!
//! In:    a [`Target`], and what it is to hear or see of a client before anything else.
//! Out:   a connected [`Stream`], or why there is none: the error of the system call that failed, or that the hop
//!        could not be told who the client is.
//! Never: waits with a deadline of its own (the caller drops the future when `timeouts.connect` is over), reads the
//!        greeting, or asks the kernel for names of either end.
//!
//! System calls for TCP: socket, setsockopt (no delay), connect, the reactor's add, SO_ERROR. No keepalive: a hop that
//! vanished is noticed by the next command's deadline, long before the kernel would.

use std::fmt;
use std::io;

use tokio::net::{TcpSocket, UnixStream};

use super::identity::{self, Introduction, Untold};
use super::sink;
use super::target::{Address, Target};
use crate::stream::Stream;

/// A connection to a host.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: Stream,
    /// Why the host does not see the client's address, as it should have, and may do without.
    pub untold: Option<Untold>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NotConnected {
    /// The host cannot be reached.
    Failed(io::Error),
    /// It could be, but would not see the client's address. That is not its fault.
    Untold(Untold),
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotConnected::Failed(error) => error.fmt(f),
            NotConnected::Untold(why) => why.fmt(f),
        }
    }
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        NotConnected::Failed(error)
    }
}

/// Connects to `target` and introduces the client to it.
///
/// # Errors
///
/// See [`NotConnected`].
pub async fn connect(target: &Target, introduction: &Introduction) -> Result<Connected, NotConnected> {
    let mut untold = None;
    let mut stream = match target.address() {
        Address::Ip(address) => {
            let socket = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let mut own = socket()?;
            if let Introduction::From { client, required } = introduction
                && let Err(why) = identity::come_from(&own, *client, address.ip())
            {
                untold = Some(may_do_without(why, *required)?);
                // Nobody knows how much of it was done.
                own = socket()?;
            }
            // Groups of commands are written whole; waiting for more would only add the peer's delayed ACK.
            own.set_nodelay(true)?;
            Stream::Tcp(own.connect(*address).await?)
        }
        Address::Unix(path) => {
            untold = without_address(introduction)?;
            Stream::Unix(UnixStream::connect(path).await?)
        }
        Address::Sink(path) => {
            untold = without_address(introduction)?;
            Stream::Unix(sink::open(path)?)
        }
    };
    if let Introduction::Header(octets) = introduction {
        // In one write, as receivers expect it: there is room for it in the buffer of a socket that is new.
        let written = stream.try_write(octets)?;
        if written < octets.len() {
            return Err(NotConnected::Failed(io::ErrorKind::WriteZero.into()));
        }
    }
    Ok(Connected { stream, untold })
}

fn without_address(introduction: &Introduction) -> Result<Option<Untold>, NotConnected> {
    match introduction {
        Introduction::From { required, .. } => may_do_without(Untold::NoAddress, *required).map(Some),
        Introduction::None | Introduction::Header(_) => Ok(None),
    }
}

fn may_do_without(why: Untold, required: bool) -> Result<Untold, NotConnected> {
    if required { Err(NotConnected::Untold(why)) } else { Ok(why) }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::time::Instant;

    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::config::types::UpstreamPool;
    use crate::hop::{Endpoint, HostSpec, Pool, PoolSpec, Registry};
    use crate::session::route::Identity;

    fn target(endpoint: Endpoint) -> Target {
        let mut spec = PoolSpec::new("main", &UpstreamPool::default());
        spec.hosts = vec![HostSpec { endpoint, preference: 0, weight: 1, server_name: None }];
        Pool::new(spec, &Registry::new(Instant::now())).targets()[0].clone()
    }

    #[tokio::test]
    async fn tcp_has_its_options_and_moves_octets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(Endpoint::Ip(listener.local_addr().unwrap()));
        let mut ours = connect(&target, &Introduction::None).await.unwrap().stream;
        let Stream::Tcp(stream) = &ours else { panic!("not TCP") };
        assert!(stream.nodelay().unwrap());

        let mut theirs = Stream::Tcp(listener.accept().await.unwrap().0);
        poll_fn(|cx| ours.watch_room(cx)).await.unwrap();
        let slices = [IoSlice::new(b"NO"), IoSlice::new(b"OP\r\n")];
        assert_eq!(ours.try_write_vectored(&slices).unwrap(), 6);
        ours.shutdown_write().unwrap();
        let mut octets = [0; 16];
        poll_fn(|cx| theirs.watch(cx)).await.unwrap();
        assert_eq!(theirs.try_read(|| &mut octets).unwrap(), 6);
        assert_eq!(&octets[..6], b"NOOP\r\n");
        poll_fn(|cx| theirs.watch(cx)).await.unwrap();
        assert_eq!(theirs.try_read(|| &mut octets).unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(Endpoint::Ip(listener.local_addr().unwrap()));
        drop(listener);
        let Err(NotConnected::Failed(error)) = connect(&target, &Introduction::None).await else {
            panic!("nobody listens there")
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn unix_sockets_are_dialled_by_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lmtp");
        let _listener = UnixListener::bind(&path).unwrap();
        let target = target(Endpoint::Unix(path.into()));
        let connected = connect(&target, &Introduction::None).await.unwrap();
        assert!(matches!(connected.stream, Stream::Unix(_)) && connected.untold.is_none());
        // It sees no address.
        let from = |required| Introduction::From { client: [192, 0, 2, 1].into(), required };
        assert!(matches!(connect(&target, &from(true)).await, Err(NotConnected::Untold(_))));
        assert!(connect(&target, &from(false)).await.unwrap().untold.is_some());
    }

    #[tokio::test]
    async fn a_header_is_the_first_thing_a_hop_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(Endpoint::Ip(listener.local_addr().unwrap()));
        let introduction = Introduction::of_probe(Identity::ProxyV1);
        let _ours = connect(&target, &introduction).await.unwrap();
        let mut theirs = Stream::Tcp(listener.accept().await.unwrap().0);
        let mut octets = [0; 32];
        poll_fn(|cx| theirs.watch(cx)).await.unwrap();
        let read = theirs.try_read(|| &mut octets).unwrap();
        assert_eq!(&octets[..read], b"PROXY UNKNOWN\r\n");
    }

    #[tokio::test]
    async fn another_family_cannot_be_come_from() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(Endpoint::Ip(listener.local_addr().unwrap()));
        let client = "2001:db8::1".parse().unwrap();
        let required = connect(&target, &Introduction::From { client, required: true }).await;
        let Err(NotConnected::Untold(why)) = required else { panic!("it was told") };
        let said = why.to_string();
        assert!(said.contains("2001:db8::1 is of another family than the host's, 127.0.0.1"), "{said}");
        let connected = connect(&target, &Introduction::From { client, required: false }).await.unwrap();
        assert!(connected.untold.is_some());
    }
}
