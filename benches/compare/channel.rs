//! A client's connection: a socket that never blocks, plain or under TLS.
//!
//! In:    octets to send; buffers to read with.
//! Out:   octets received; what the socket could not take yet waits for its next readiness.
//! Never: knows what is said, nor waits. A read is one read(2), unless it filled the buffer.
//!
//! Under TLS, what is written before the handshake is over waits for it, so a caller need not know how far it is.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustls::ClientConnection;

/// One connection.
pub struct Channel {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Channel {
    /// A socket that is connected or on its way.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket: socket.into(), tls: None }
    }

    /// All that follows is under TLS.
    pub fn secure(&mut self, tls: ClientConnection) {
        self.tls = Some(Box::new(tls));
    }

    /// Reads what is there into `octets`; `Ok(0)` is the other side's end, `WouldBlock` that there is nothing yet.
    /// Under TLS `records` takes what comes from the socket.
    pub fn read(&mut self, records: &mut [u8], octets: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(octets) };
        let mut filled = true;
        while filled {
            let count = match self.socket.read(records) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                count => count?,
            };
            if count == 0 {
                return Ok(0);
            }
            let mut rest = &records[..count];
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            filled = count == records.len();
        }
        let read = tls.reader().read(octets);
        self.flush()?;
        read
    }

    /// Takes as much of `octets` as goes now; `WouldBlock` where nothing does.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.write(octets);
        }
        self.flush()?;
        let Some(tls) = &mut self.tls else { return Ok(0) };
        match tls.writer().write(octets)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => {
                self.flush()?;
                Ok(count)
            }
        }
    }

    /// Sends what could not be sent yet, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                // Not connected yet, or full: the socket says when.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The end, said properly where that takes saying (RFC 8446 6.1).
    pub fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            // A peer that has closed first, after its 221, hears it no more.
            let _ = self.flush();
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
