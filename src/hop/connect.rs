//! Dials a target.
//!
//! In:    a [`Target`].
//! Out:   a connected [`Stream`], or the error of the system call that failed.
//! Never: waits with a deadline of its own (the caller drops the future when `timeouts.connect` is over), reads the
//!        greeting, or asks the kernel for names of either end.
//!
//! System calls for TCP: socket, setsockopt (no delay), connect, the reactor's add, SO_ERROR. No keepalive: a hop that
//! vanished is noticed by the next command's deadline, long before the kernel would.

use std::io;

use tokio::net::{TcpSocket, UnixStream};

use super::sink;
use super::target::{Address, Target};
use crate::net::stream::Stream;

/// Connects to `target`.
pub async fn connect(target: &Target) -> io::Result<Stream> {
    match target.address() {
        Address::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Groups of commands are written whole; waiting for more would only add the peer's delayed ACK.
            socket.set_nodelay(true)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Address::Sink(path) => Ok(Stream::Unix(sink::open(path)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::IoSlice;
    use std::time::Instant;

    use tokio::net::{TcpListener, UnixListener};

    use super::*;
    use crate::config::types::Upstream;
    use crate::hop::{Endpoint, HostSpec, Pool, PoolSpec, Registry};

    fn target(endpoint: Endpoint) -> Target {
        let mut spec = PoolSpec::new("main", &Upstream::default());
        spec.hosts = vec![HostSpec { endpoint, preference: 0, weight: 1, server_name: None }];
        Pool::new(spec, &Registry::new(Instant::now())).targets()[0].clone()
    }

    #[tokio::test]
    async fn tcp_has_its_options_and_moves_octets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(Endpoint::Ip(listener.local_addr().unwrap()));
        let mut ours = connect(&target).await.unwrap();
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
        assert_eq!(connect(&target).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn unix_sockets_are_dialled_by_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lmtp");
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(matches!(connect(&target(Endpoint::Unix(path.into()))).await.unwrap(), Stream::Unix(_)));
    }
}
