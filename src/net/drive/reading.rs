//! The turn's reading: whoever is wanted and readable, a bounded number of times.
//!
//! In:    sockets that are ready, as the runtime knows.
//! Out:   octets handed to the session; whether there were any; wakers left where there were none.
//! Never: reads a source whose octets cannot be written on.

use std::task::{Context, Poll};
use std::time::Instant;

use super::{BACKLOG, Drive};
use crate::net::worker::Scratch;
use crate::session::io::{Input, Peer};
use crate::tls::facts;

impl Drive {
    /// Reads a hop and hands its octets in; whether there were any.
    pub(super) fn read_hop(&mut self, scratch: &mut Scratch, now: Instant, place: usize) -> bool {
        let Some(link) = self.hops.link(place) else { return false };
        let peer = link.peer;
        if link.ended
            || self.securing.has(1 + place)
            || scratch.out.tx[0].len() > BACKLOG
            || !link.rx.has_room(self.reply_limit)
            || !self.session.wants_read(peer)
        {
            return false;
        }
        match link.read(&mut scratch.pool, self.reply_limit) {
            Poll::Pending => {
                link.rx.settle(&mut scratch.pool);
                false
            }
            Poll::Ready(Ok(0)) => {
                link.ended = true;
                self.session.handle(now, Input::Eof(peer), &mut scratch.out);
                true
            }
            Poll::Ready(Ok(_)) => {
                let taken = self.session.receive(now, peer, link.rx.octets(), &mut scratch.out);
                link.rx.take(taken);
                link.rx.settle(&mut scratch.pool);
                true
            }
            Poll::Ready(Err(error)) => {
                let input = match facts::refusal(&error) {
                    None => {
                        link.ended = true;
                        Input::Lost(peer)
                    }
                    Some(fault) => {
                        self.hops.vacate(place);
                        scratch.out.tx[1 + place].clear();
                        Input::TlsFailed(peer, Box::new(fault))
                    }
                };
                self.session.handle(now, input, &mut scratch.out);
                true
            }
        }
    }

    /// Offers the client's waiting octets, or reads more; whether anything went on.
    pub(super) fn read_client(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        if is_choked(scratch) || self.securing.has(0) {
            return false;
        }
        let offered = self.offer(scratch, now);
        let Some(link) = &mut self.client else { return offered };
        if link.closing
            || link.ended
            || !link.rx.has_room(self.line_limit)
            || !self.session.wants_read(Peer::Downstream)
        {
            return offered;
        }
        if is_choked(scratch) || self.securing.has(0) {
            return offered;
        }
        match link.read(&mut scratch.pool, self.line_limit) {
            Poll::Pending => offered,
            Poll::Ready(Ok(0)) => {
                link.ended = true;
                self.session.handle(now, Input::Eof(Peer::Downstream), &mut scratch.out);
                true
            }
            Poll::Ready(Ok(_)) => {
                self.offer(scratch, now);
                true
            }
            Poll::Ready(Err(_)) => {
                link.ended = true;
                self.session.handle(now, Input::Lost(Peer::Downstream), &mut scratch.out);
                true
            }
        }
    }

    /// Hands the client's octets in; whether any were taken.
    pub(super) fn offer(&mut self, scratch: &mut Scratch, now: Instant) -> bool {
        let Some(link) = &mut self.client else { return false };
        if link.rx.is_empty() || link.closing {
            return false;
        }
        scratch.out.base = Some(link.rx.start());
        let taken = self.session.receive(now, Peer::Downstream, link.rx.octets(), &mut scratch.out);
        link.rx.take(taken);
        taken > 0
    }

    /// Whoever has nothing to be read now wakes the session when there is.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.client {
            link.watch(cx);
        }
        for place in self.hops.taken() {
            if let Some(link) = self.hops.link(place) {
                link.watch(cx);
            }
        }
    }
}

/// Whether the client may not be read: content that could not be written on still refers to its buffer, or too much
/// waits for somebody.
pub(super) fn is_choked(scratch: &Scratch) -> bool {
    scratch.out.borrows() || scratch.out.spoken.into_iter().any(|peer| scratch.out.tx[peer].len() > BACKLOG)
}
