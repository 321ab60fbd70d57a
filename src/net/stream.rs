//! One connected byte stream, to a client or to a hop.
//!
//! In:    octets to write, as slices in order.
//! Out:   octets read, into the caller's buffer.
//! Never: buffers, waits, or knows what the octets mean. One enum, so that a poll is a branch and not a call
//!        through a table; all of the shell's reading and writing goes through here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket, or a pair of them (the embedded sink).
    Unix(UnixStream),
}

impl Stream {
    /// Reads what is there into `buffer`; nothing added means the other side has ended.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Writes from `octets` in one call; tells how much was taken.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    /// Writes from `slices` in one call; tells how much was taken.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    /// Ends our direction, once everything written is in the kernel; reading goes on. Done at once.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        let how = std::net::Shutdown::Write;
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).shutdown(how),
            Self::Unix(stream) => SockRef::from(&*stream).shutdown(how),
        }
    }
}
