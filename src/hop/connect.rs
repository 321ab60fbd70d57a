//! Dials a target.
//!
//! In:    a [`Target`].
//! Out:   a connected [`Stream`], or the error of the system call that failed.
//! Never: waits with a deadline of its own (the caller drops the future when `timeouts.connect` is over), reads the
//!        greeting, or asks the kernel for names of either end.
//!
//! System calls for TCP: socket, setsockopt twice (no delay, keepalive), connect, the reactor's add, SO_ERROR.

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
            // A hop that vanished while its client idles is noticed by the kernel.
            socket.set_keepalive(true)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Address::Sink(path) => Ok(Stream::Unix(sink::open(path)?)),
    }
}
