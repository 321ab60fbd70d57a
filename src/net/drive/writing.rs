//! The turn's writing: each peer once, and what it did not take kept for the next turn.
//!
//! In:    what the session said.
//! Out:   octets in the kernel; the rest put away with the connection.
//! Never: keeps a receive buffer that nothing refers to.

use std::task::{Context, Poll};
use std::time::Instant;

use super::Drive;
use crate::net::slots::Slot;
use crate::net::worker::Scratch;
use crate::session::io::{HOPS, Input, Out, PEERS, Peer};

impl Drive {
    /// Writes each peer once.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        let mut broken: Option<Peer> = None;
        self.fill_spool(scratch);
        let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
        for peer in scratch.out.spoken.filter(|peer| (1..=HOPS).contains(peer)) {
            let tx = &mut scratch.out.tx[peer];
            match self.hops.at(peer - 1) {
                Slot::Linked(link) => {
                    if let Poll::Ready(Err(_)) = link.poll_flush(cx, tx, received) {
                        tx.clear();
                        broken = Some(link.peer);
                    }
                }
                Slot::Connecting(..) => {}
                Slot::Vacant => tx.clear(),
            }
        }
        if let Some(hop) = broken {
            self.session.handle(now, Input::Lost(hop), &mut scratch.out);
        }
        self.flush_client(cx, scratch, now);
        self.finish(scratch, now);
    }

    /// Whoever was sent everything, and is to be sent no more, is sent our FIN.
    fn finish(&mut self, scratch: &mut Scratch, now: Instant) {
        let hops = self.hops.taken().map(|place| 1 + place);
        for peer in std::iter::once(0).chain(hops) {
            let link = if peer == 0 { self.client.as_mut() } else { self.hops.link(peer - 1) };
            let Some(link) = link.filter(|link| link.finishing && scratch.out.tx[peer].is_empty()) else {
                continue;
            };
            link.finishing = false;
            let peer = link.peer;
            let input =
                if link.stream.shutdown_write().is_ok() { Input::Finished(peer) } else { Input::Lost(peer) };
            self.session.handle(now, input, &mut scratch.out);
        }
    }

    pub(super) fn flush_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) {
        let tx = &mut scratch.out.tx[0];
        let Some(link) = &mut self.client else { return tx.clear() };
        match link.poll_flush(cx, tx, &[]) {
            Poll::Ready(Ok(())) if link.closing && self.linger.is_none() => self.close_client(scratch, now),
            Poll::Pending | Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                tx.clear();
                let closing = link.closing;
                self.let_client_go(scratch);
                if !closing {
                    self.session.handle(now, Input::Lost(Peer::Downstream), &mut scratch.out);
                }
            }
        }
    }

    /// Octets that could not be written last time come first.
    pub(super) fn bring_unsent(&mut self, scratch: &mut Scratch) {
        if let Some(unsent) = self.client.as_mut().and_then(|link| link.unsent.take()) {
            scratch.bring(0, unsent);
        }
        if let Some(unsent) = self.spool.as_mut().and_then(|kept| kept.unkept.take()) {
            scratch.bring(Peer::Spool.index(), unsent);
        }
        for place in self.hops.taken() {
            if let Some(unsent) = self.hops.link(place).and_then(|link| link.unsent.take()) {
                scratch.bring(1 + place, unsent);
            }
        }
    }

    /// What could not be written is kept here; buffers that nothing refers to go back.
    pub(super) fn put_away(&mut self, scratch: &mut Scratch) {
        let borrowed = scratch.out.borrows();
        if let Some(link) = &mut self.client
            && !borrowed
        {
            link.rx.settle(&mut scratch.pool);
        }
        for peer in scratch.out.spoken.drain() {
            if peer == Peer::Spool.index() {
                match &mut self.spool {
                    Some(kept) if !scratch.out.tx[peer].is_empty() => {
                        kept.unkept = Some(scratch.put_away(peer));
                    }
                    _ => scratch.out.tx[peer].clear(),
                }
                continue;
            }
            let link = if peer == 0 { self.client.as_mut() } else { self.hops.link(peer - 1) };
            match link {
                // Records that the kernel has not taken wait, too.
                Some(link) if !scratch.out.tx[peer].is_empty() || link.stream.holds_records() => {
                    link.unsent = Some(scratch.put_away(peer));
                }
                _ => scratch.out.tx[peer].clear(),
            }
        }
    }
}

/// Octets that wait, by peer: one may lose as many as another is told.
pub(super) fn waiting(out: &Out) -> [usize; PEERS] {
    let mut waiting = [0; PEERS];
    out.spoken.into_iter().for_each(|peer| waiting[peer] = out.tx[peer].len());
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::io::HopId;

    #[test]
    fn what_a_lost_hop_was_not_told_hides_nothing_that_the_client_is() {
        let mut out = Out::default();
        let hop = Peer::Upstream(HopId::numbered(1).unwrap());
        out.to(hop).put(b"NOOP\r\n");
        let before = waiting(&out);
        out.tx[hop.index()].clear();
        out.to(Peer::Downstream).put(b"250 -\n");
        assert_ne!(waiting(&out), before);
    }
}
