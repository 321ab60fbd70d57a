//! The message that is kept while it is asked about.
//!
//! In:    what the session said to the spool, and wants of it.
//! Out:   octets kept, and given back to the session as it takes them; that all is kept, or cannot be.
//! Never: takes from the client what the spool has no room for; gives back what cannot be written on.

use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Drive;
use super::reading::is_choked;
use crate::dialog::Tx;
use crate::log;
use crate::message::Scan;
use crate::metrics::Occurrence;
use crate::net::worker::Scratch;
use crate::session::io::{Input, Peer, SpoolFault, SpoolOrder};
use crate::spool::{Kept, Spool};

/// A message's spool.
pub(super) struct Spooling {
    spool: Spool,
    /// What it could not take in the last turn.
    pub(super) unkept: Option<Box<Tx>>,
}

impl Spooling {
    /// The message, once all of it is kept.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.spool.kept()
    }
}

impl Drive {
    /// Does what the session wants of its spool.
    pub(super) fn order_spool(&mut self, order: SpoolOrder) {
        match order {
            SpoolOrder::Begin { structured } => {
                let keeping = self.session.keeping();
                let scan = if structured { Scan::structured() } else { Scan::default() };
                let spool = Spool::new(keeping.folder.clone(), keeping.memory, scan);
                self.spool = Some(Box::new(Spooling { spool, unkept: None }));
            }
            SpoolOrder::End => self.spool.iter_mut().for_each(|kept| kept.spool.end()),
            SpoolOrder::Pour(rope) => {
                if let Some(kept) = &mut self.spool {
                    kept.spool.pour(rope);
                }
            }
            SpoolOrder::Drop => self.spool = None,
        }
    }

    /// Gives the spool what was said to it, if it has room.
    pub(super) fn fill_spool(&mut self, scratch: &mut Scratch) {
        let tx = &mut scratch.out.tx[Peer::Spool.index()];
        match &mut self.spool {
            Some(kept) if kept.spool.has_room() => {
                let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
                kept.spool.take(tx.slices(received));
                tx.clear();
            }
            Some(_) => {}
            None => tx.clear(),
        }
    }

    /// Goes on with it; whether anything came of that.
    pub(super) fn tend_spool(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        if self.spool.is_none() {
            return false;
        }
        self.fill_spool(scratch);
        let all_taken = scratch.out.tx[Peer::Spool.index()].is_empty();
        let Some(kept) = &mut self.spool else { return false };
        let mut any = false;
        match kept.spool.poll(cx) {
            Poll::Ready(kept) if all_taken || kept.is_err() => {
                let kept = kept.map_err(|error| self.spool_failed(scratch, &error, SpoolFault::NoRoom));
                self.session.handle(now, Input::Spooled(kept), &mut scratch.out);
                any = true;
            }
            _ => {}
        }
        // It may have room now for what had to wait; nobody else would tell.
        let waits = !scratch.out.tx[Peer::Spool.index()].is_empty();
        self.fill_spool(scratch);
        any |= waits && scratch.out.tx[Peer::Spool.index()].is_empty();
        any | self.give_back(cx, scratch, now)
    }

    fn give_back(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        let mut any = false;
        while self.session.wants_read(Peer::Spool) && !is_choked(scratch) {
            let Some(kept) = &mut self.spool else { break };
            match kept.spool.poll_piece(cx) {
                Poll::Pending | Poll::Ready(Ok([])) => break,
                Poll::Ready(Ok(octets)) => {
                    scratch.out.base = None;
                    let taken = self.session.receive(now, Peer::Spool, octets, &mut scratch.out);
                    kept.spool.taken(taken);
                    any |= taken > 0;
                    if taken == 0 {
                        break;
                    }
                }
                Poll::Ready(Err(error)) => {
                    let fault = self.spool_failed(scratch, &error, SpoolFault::Unreadable);
                    self.session.handle(now, Input::Spooled(Err(fault)), &mut scratch.out);
                    any = true;
                }
            }
        }
        any
    }

    /// The log tells why; the client only that.
    fn spool_failed(&mut self, scratch: &mut Scratch, error: &io::Error, fault: SpoolFault) -> SpoolFault {
        scratch.meter.count(Occurrence::SpoolFailed);
        log::spool_failed(self.session.id(), &self.session.keeping().folder, error);
        self.spool = None;
        fault
    }
}
