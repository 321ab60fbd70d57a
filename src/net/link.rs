//! One connection of a session, as its turn sees it.
//!
//! In:    a connected stream; octets to write from the session's [`Tx`].
//! Out:   octets read into [`Rx`]; what could not be written yet is kept, with the buffer it refers to.
//! Never: writes more than once a turn unless the kernel took all and more was said.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::task::coop::has_budget_remaining;

use super::buffers::{Pool, Rx};
use crate::dialog::Tx;
use crate::session::io::Peer;
use crate::stream::Stream;

/// Slices in one vectored write.
const SLICES: usize = 64;

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// With whom.
    pub peer: Peer,
    /// Its stream.
    pub stream: Stream,
    /// What it sent.
    pub rx: Rx,
    /// What it could not be sent in the last turn.
    pub unsent: Option<Box<Tx>>,
    /// The task is woken when there is something to read.
    watched: bool,
    /// It will send no more.
    pub ended: bool,
    /// It is to be closed once everything is written.
    pub closing: bool,
    /// It is to be sent our FIN once everything is written.
    pub finishing: bool,
}

impl Link {
    /// A connection that was just made.
    pub fn new(peer: Peer, stream: Stream) -> Link {
        Link {
            peer,
            stream,
            rx: Rx::default(),
            unsent: None,
            watched: false,
            ended: false,
            closing: false,
            finishing: false,
        }
    }

    /// Its handshake is done: from now on it goes through this.
    pub fn secured(&mut self, stream: Stream) {
        self.stream = stream;
        self.watched = false;
    }

    /// Reads once, behind what was read before. `Ok(0)`: the peer has ended. Pending: nothing is there.
    pub fn read(&mut self, pool: &mut Pool, most: usize) -> Poll<io::Result<usize>> {
        let Link { stream, rx, watched, .. } = self;
        let read = stream.try_read(|| {
            // There is something, or was: whoever was to be woken was.
            *watched = false;
            rx.room(pool, most)
        });
        match read {
            Ok(read) => {
                rx.filled(read);
                Poll::Ready(Ok(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Has the task woken when there is something to read.
    pub fn watch(&mut self, cx: &mut Context<'_>) {
        if !self.watched && !self.ended {
            // A task that has used up its budget is told Pending, and woken to ask again: nobody watches then.
            self.watched = self.stream.watch(cx).is_pending() && has_budget_remaining();
        }
    }

    /// Writes what there is; `received` is the buffer that content ranges refer to. Ready: all is in the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut Tx, received: &[u8]) -> Poll<io::Result<()>> {
        while !tx.is_empty() {
            let written = {
                let mut runs = tx.slices(received);
                match (runs.next(), runs.next()) {
                    // Cheaper in the kernel than a vector of one.
                    (Some(only), None) => self.stream.try_write(only),
                    _ => {
                        let slices: SmallVec<[IoSlice<'_>; SLICES]> =
                            tx.slices(received).take(SLICES).map(IoSlice::new).collect();
                        self.stream.try_write_vectored(&slices)
                    }
                }
            };
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => tx.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.watch_room(cx))?
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        tx.clear();
        while self.stream.holds_records() {
            match self.stream.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.watch_room(cx))?
                }
                flushed => flushed?,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;

    use tokio::net::UnixStream;
    use tokio::task::coop::consume_budget;

    use super::*;

    #[tokio::test]
    async fn a_task_without_budget_watches_again_when_it_has_some() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let mut link = Link::new(Peer::Downstream, Stream::Unix(stream));
        let mut turns = 0;
        poll_fn(|cx| {
            turns += 1;
            while turns == 1 && pin!(consume_budget()).poll(cx).is_ready() {}
            link.watch(cx);
            assert_eq!(link.watched, turns > 1);
            if link.watched { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
