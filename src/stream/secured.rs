//! A stream under TLS, after its handshake: plain octets on our side, records on the socket's.
//!
//! In:    octets to write; records from the socket.
//! Out:   records, those of one call in one write; octets of records that are whole and genuine.
//! Never: waits for the socket while octets that were read lie here; keeps a buffer of its own: records on their way in
//!        go through one that a worker's sessions share, and rustls keeps those that are not whole yet, or not written.
//!
//! A FIN without close_notify is an end like any other: whether content is complete is told by SMTP itself, by its dot
//! or its count. RFC 8446 5 and 6.1.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};

use rustls::Connection;

use super::Stream;

/// Octets of records read at a time.
const RECORDS: usize = 32 << 10;

/// What rustls takes at a time, at least, where it holds the beginning of no record.
const GULP: usize = 4096;

/// So many it takes in one go even behind the beginning of the longest record: it takes none while more than a record's
/// plain octets wait in it to be read, for which there must be room.
const SIP: usize = 1792;

/// Octets of records that may come at once without a plain one in them: whoever goes on like that (empty records, new
/// keys again and again) means to keep us busy.
const EMPTY: usize = 8 * RECORDS;

thread_local! {
    static ARRIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream under TLS.
#[derive(Debug)]
pub struct Secured {
    socket: Stream,
    session: Connection,
    /// A record was not genuine; nothing behind it is read.
    broken: bool,
}

impl Secured {
    /// A stream whose handshake is done.
    pub fn new(socket: Stream, session: Connection) -> Self {
        Self { socket, session, broken: false }
    }

    /// The socket below.
    pub fn socket(&self) -> &Stream {
        &self.socket
    }

    /// The other side's own certificate, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.session.peer_certificates()?.first().map(|leaf| &**leaf)
    }

    /// Reads what is there into `room`, as [`Stream::try_read`] does.
    pub fn try_read<'a>(&mut self, room: impl FnOnce() -> &'a mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.session.reader().into_first_chunk() {
            Ok([]) => return Ok(0),
            Ok(_) => return self.session.reader().read(room()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return end(error),
        }
        let (mut ask, mut room) = (Some(room), None);
        ARRIVED.with_borrow_mut(|arrived| {
            arrived.resize(RECORDS, 0);
            let mut empty = 0;
            while empty < EMPTY {
                let read = self.socket.try_receive(|| {
                    let room: &mut &mut [u8] =
                        room.get_or_insert_with(|| ask.take().map(|ask| ask()).unwrap_or_default());
                    // What does not fit into the room stays in rustls, which takes no more records then.
                    let most = if room.len() < 2 * GULP { SIP } else { room.len() - GULP };
                    &mut arrived[..most.min(RECORDS)]
                })?;
                empty += read;
                match self.take_in(&arrived[..read], room.as_deref_mut().unwrap_or_default()) {
                    // No record is whole. Whether there is more the socket knows.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    taken => return taken,
                }
            }
            self.broken = true;
            Err(io::Error::new(io::ErrorKind::InvalidData, "records with nothing in them"))
        })
    }

    /// Hands records to rustls, and what was in them into `room`. `WouldBlock`: none of them was whole.
    fn take_in(&mut self, mut records: &[u8], room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            // Where there are none, this tells it the end.
            let ended = self.session.read_tls(&mut records)? == 0;
            let genuine = self.session.process_new_packets();
            let read = self.session.reader().read(&mut room[filled..]);
            filled += read.as_ref().copied().unwrap_or_default();
            if let Err(error) = genuine {
                self.broken = true;
                self.tell();
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                return if filled > 0 { Ok(filled) } else { Err(error) };
            }
            if ended || records.is_empty() {
                self.tell();
                return match read {
                    Err(error) if filled == 0 => end(error),
                    _ => Ok(filled),
                };
            }
        }
    }

    /// Writes from `slices` in one call, as [`Stream::try_write_vectored`] does. What was taken may still lie here:
    /// see [`Secured::flush`].
    pub fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let taken = match slices {
            [only] => self.session.writer().write(only)?,
            _ => self.session.writer().write_vectored(slices)?,
        };
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether there are records that the kernel has not taken yet.
    pub fn holds_records(&self) -> bool {
        self.session.wants_write()
    }

    /// Writes the records that lie here.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Socket(&mut self.socket))?;
        }
        Ok(())
    }

    /// Says that nothing more will be written, and writes it, if it goes at once.
    pub fn close_notify(&mut self) {
        self.session.send_close_notify();
        self.tell();
    }

    /// Ends our direction.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.close_notify();
        self.socket.shutdown_write()
    }

    /// An answer of TLS itself, to an alert or for new keys: it goes now or with what is written next.
    fn tell(&mut self) {
        let _ = self.flush();
    }
}

/// The end of what the other side writes.
fn end(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(0) } else { Err(error) }
}

/// The socket, as rustls writes to one.
struct Socket<'a>(&'a mut Stream);

impl Write for Socket<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [only] => self.0.try_write(only),
            _ => self.0.try_write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
