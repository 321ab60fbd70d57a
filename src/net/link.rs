//! One connection of a session, as its turn sees it.
//!
//! In:    a connected stream; octets to write from the session's [`Tx`].
//! Out:   octets read into [`Rx`]; what could not be written yet is kept, with the buffer it refers to.
//! Never: writes more than once a turn unless the kernel took all and more was said.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use smallvec::SmallVec;

use super::buffers::Rx;
use super::stream::Stream;
use crate::session::io::Tx;

/// Slices in one vectored write.
const SLICES: usize = 64;

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// Its stream.
    pub stream: Stream,
    /// What it sent.
    pub rx: Rx,
    /// What it could not be sent in the last turn.
    pub unsent: Option<Box<Tx>>,
    /// It will send no more.
    pub ended: bool,
    /// It is to be closed once everything is written.
    pub closing: bool,
}

impl Link {
    /// A connection that was just made.
    pub fn new(stream: Stream) -> Link {
        Link { stream, rx: Rx::default(), unsent: None, ended: false, closing: false }
    }

    /// Writes what there is; `received` is the buffer that content ranges refer to. Ready: all is in the kernel.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut Tx, received: &[u8]) -> Poll<io::Result<()>> {
        while !tx.is_empty() {
            let written = {
                let mut runs = tx.slices(received);
                match (runs.next(), runs.next()) {
                    // Cheaper in the kernel than a vector of one.
                    (Some(only), None) => self.stream.poll_write(cx, only),
                    _ => {
                        let slices: SmallVec<[IoSlice<'_>; SLICES]> =
                            tx.slices(received).take(SLICES).map(IoSlice::new).collect();
                        self.stream.poll_write_vectored(cx, &slices)
                    }
                }
            };
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => tx.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        tx.clear();
        Poll::Ready(Ok(()))
    }
}
