//! The end of a client's connection: at once where it is expected, else listened to for a moment.
//!
//! In:    a connection whose last reply is in the kernel.
//! Out:   the connection closed; what a hop has not been sent yet of the client's octets kept.
//! Never: closes on octets that nobody has read while the client may still read its reply: that is a reset.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Drive;
use crate::net::buffers::SIZE;
use crate::net::worker::Scratch;

/// How long, and for how much, a connection that is closed early is listened to, so that the reply is not lost to a
/// reset.
pub const LINGER: (Duration, u32) = (Duration::from_secs(2), 64 << 10);

impl Drive {
    /// All is written: the connection is closed, at once where the client expects it.
    pub(super) fn close_client(&mut self, scratch: &mut Scratch, now: Instant) {
        let Some(link) = &mut self.client else { return };
        if link.ended || (self.quit && link.rx.is_empty()) {
            link.stream.take_leave();
            self.let_client_go(scratch);
        } else if link.stream.shutdown_write().is_err() {
            self.let_client_go(scratch);
        } else {
            own_all(scratch, link.rx.whole());
            self.linger = Some(LINGER.1);
            self.close_by = Some(now + LINGER.0);
        }
    }

    /// The client's connection closes; what a hop has not been sent yet of its octets is kept.
    pub(super) fn let_client_go(&mut self, scratch: &mut Scratch) {
        if let Some(link) = self.client.take() {
            own_all(scratch, link.rx.whole());
        }
        (self.linger, self.close_by) = (None, None);
    }

    /// Reads and drops what a client still sends, so that it can read why it was closed.
    pub(super) fn linger_on(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        while let (Some(link), Some(left)) = (&mut self.client, &mut self.linger) {
            link.rx.drop_all();
            let read = link.read(&mut scratch.pool, SIZE);
            link.rx.drop_all();
            match read {
                Poll::Pending => {
                    link.watch(cx);
                    break;
                }
                Poll::Ready(Ok(read)) if read > 0 && read < *left as usize => *left -= read as u32,
                Poll::Ready(_) => self.let_client_go(scratch),
            }
        }
        if self.close_by.is_some_and(|until| until <= now) {
            self.let_client_go(scratch);
        }
    }
}

/// Nothing refers to the client's buffer any more.
fn own_all(scratch: &mut Scratch, received: &[u8]) {
    scratch.out.tx.iter_mut().for_each(|tx| tx.own(received));
}
