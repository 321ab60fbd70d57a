//! One connected byte stream, to a client or to a hop.
//!
//! In:    octets to write, as slices in order.
//! Out:   octets read, into room that is asked for only when there are some.
//! Never: buffers (under TLS: beyond records that are not whole), waits, or knows what the octets mean. One enum, so
//!        that a call is a branch and not a call through a table; all of the shell's reading and writing goes through
//!        here.
//!
//! Whether a socket is ready is known without a system call, and without a lock: the runtime keeps it. It is told who
//! is to be woken only when nothing was there ([`Stream::watch`]).

mod handshake;
mod secured;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

pub use self::handshake::{Handshake, Outcome};
pub use self::secured::Secured;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket, or a pair of them (the embedded sink).
    Unix(UnixStream),
    /// Either of them, under TLS.
    Tls(Box<Secured>),
    /// Either of them, while TLS is agreed upon: nothing can be read or written.
    Securing(Option<Handshake>),
}

/// A socket alone may be asked for a system call.
const NO_SOCKET: io::ErrorKind = io::ErrorKind::WouldBlock;

impl Stream {
    /// Reads once what is there into `room`; `Ok(0)` means the other side has ended.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing is there; `room` is asked for only where something may be. Else what the kernel says.
    pub fn try_read<'a>(&mut self, room: impl FnOnce() -> &'a mut [u8]) -> io::Result<usize> {
        if let Self::Tls(secured) = self { secured.try_read(room) } else { self.try_receive(room) }
    }

    /// The same of a socket.
    fn try_receive<'a>(&self, room: impl FnOnce() -> &'a mut [u8]) -> io::Result<usize> {
        let mut short = None;
        let read = self.try_io(Interest::READABLE, |socket| {
            let room = room();
            let most = room.len();
            let (read, _) = recv(socket, room, RecvFlags::empty())?;
            if read > 0 && read < most {
                // All that was there: the runtime need not try to find that out, and waits for the next event.
                short = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        short.map_or(read, Ok)
    }

    /// Writes from `octets` in one call; tells how much was taken.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where nothing is taken now. Else what the kernel says.
    pub fn try_write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if let Self::Tls(secured) = self {
            return secured.try_write_vectored(&[IoSlice::new(octets)]);
        }
        self.try_io(Interest::WRITABLE, |socket| Ok(send(socket, octets, SendFlags::NOSIGNAL)?))
    }

    /// Writes from `slices` in one call; tells how much was taken.
    ///
    /// # Errors
    ///
    /// As [`Stream::try_write`].
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(stream) => stream.try_write_vectored(slices),
            Self::Tls(secured) => secured.try_write_vectored(slices),
            Self::Securing(_) => Err(NO_SOCKET.into()),
        }
    }

    /// Whether octets that were taken are not in the kernel yet.
    pub fn holds_records(&self) -> bool {
        matches!(self, Self::Tls(secured) if secured.holds_records())
    }

    /// Writes them.
    ///
    /// # Errors
    ///
    /// As [`Stream::try_write`].
    pub fn flush(&mut self) -> io::Result<()> {
        if let Self::Tls(secured) = self { secured.flush() } else { Ok(()) }
    }

    /// Tells the other side that nothing more will be written, where there is a way to say so. A courtesy.
    pub fn take_leave(&mut self) {
        if let Self::Tls(secured) = self {
            secured.close_notify();
        }
    }

    /// Has the task woken once there is something to read. Pending: it will be. (Not for what was read already and lies
    /// under TLS: whoever wants to read tries to, first.)
    pub fn watch(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(secured) => secured.socket().watch(cx),
            // The handshake has the task woken.
            Self::Securing(_) => Poll::Pending,
        }
    }

    /// Has the task woken once something can be written. Pending: it will be.
    pub fn watch_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(secured) => secured.socket().watch_room(cx),
            Self::Securing(_) => Poll::Pending,
        }
    }

    /// Ends our direction, once everything written is in the kernel; reading goes on. Done at once.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        let how = std::net::Shutdown::Write;
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).shutdown(how),
            Self::Unix(stream) => SockRef::from(&*stream).shutdown(how),
            Self::Tls(secured) => secured.shutdown_write(),
            Self::Securing(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Closing it from now on breaks it off (RST), instead of ending it.
    pub fn reset_when_closed(&self) {
        let linger = Some(Duration::ZERO);
        // Where the kernel will not, the other side hears an end: as good as any.
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_linger(linger),
            Self::Unix(stream) => SockRef::from(stream).set_linger(linger),
            Self::Tls(secured) => return secured.socket().reset_when_closed(),
            // Its handshake goes with it, and that ends it.
            Self::Securing(_) => return,
        };
    }

    fn try_io<T>(
        &self,
        interest: Interest,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, || call(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(interest, || call(stream.as_fd())),
            Self::Tls(_) | Self::Securing(_) => Err(NO_SOCKET.into()),
        }
    }
}
