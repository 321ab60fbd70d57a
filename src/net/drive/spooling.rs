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
    /// The session will say no more to it.
    ending: bool,
    /// What it could not take in the last turn.
    pub(super) unkept: Option<Box<Tx>>,
}

impl Spooling {
    /// The message, once all of it is kept.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.spool.kept()
    }

    /// Gives it what it has room for; its end comes behind all of that.
    fn fill(&mut self, tx: &mut Tx, received: &[u8]) {
        if self.spool.has_room() {
            self.spool.take(tx.slices(received));
            tx.clear();
        }
        if self.ending && tx.is_empty() {
            self.spool.end();
        }
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
                self.spool = Some(Box::new(Spooling { spool, ending: false, unkept: None }));
            }
            SpoolOrder::End => self.spool.iter_mut().for_each(|kept| kept.ending = true),
            SpoolOrder::Pour(rope) => {
                if let Some(kept) = &mut self.spool {
                    kept.spool.pour(rope);
                }
            }
            SpoolOrder::Drop => self.spool = None,
        }
    }

    /// Gives the spool what was said to it.
    pub(super) fn fill_spool(&mut self, scratch: &mut Scratch) {
        let tx = &mut scratch.out.tx[Peer::Spool.index()];
        let Some(kept) = &mut self.spool else { return tx.clear() };
        let received = self.client.as_ref().map(|link| link.rx.whole()).unwrap_or_default();
        kept.fill(tx, received);
    }

    /// Goes on with it; whether anything came of that.
    pub(super) fn tend_spool(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Instant) -> bool {
        if self.spool.is_none() {
            return false;
        }
        self.fill_spool(scratch);
        let Some(kept) = &mut self.spool else { return false };
        let mut any = false;
        if let Poll::Ready(kept) = kept.spool.poll(cx) {
            let kept = kept.map_err(|error| self.spool_failed(scratch, &error, SpoolFault::NoRoom));
            self.session.handle(now, Input::Spooled(kept), &mut scratch.out);
            any = true;
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    /// The disk is slow: what has to wait for it is kept, too, although the end is known.
    #[test]
    fn the_end_comes_behind_what_waits_for_room() {
        let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        let (go_on, wait) = mpsc::channel::<()>();
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || wait.recv());
            let folder = tempfile::tempdir().unwrap();
            let spool = Spool::new(folder.path().to_owned(), 4, Scan::default());
            let mut kept = Spooling { spool, ending: false, unkept: None };
            let mut tx = Tx::default();
            for line in [&b"A: b\r\n"[..], b"C: d\r\n", b"E: f\r\n"] {
                tx.put(line);
                kept.fill(&mut tx, &[]);
                let idle = poll_fn(|cx| Poll::Ready(kept.spool.poll(cx).is_pending())).await;
                assert!(idle);
            }
            assert!(!tx.is_empty(), "it has no room");
            kept.ending = true;
            kept.fill(&mut tx, &[]);
            go_on.send(()).unwrap();
            // However quickly all that it took is written.
            let early = timeout(Duration::from_millis(100), poll_fn(|cx| kept.spool.poll(cx))).await;
            assert!(early.is_err(), "{early:?} without {} octets", tx.len());
            kept.fill(&mut tx, &[]);
            let message = poll_fn(|cx| kept.spool.poll(cx)).await.unwrap();
            assert_eq!(message.size(), 18);
        });
    }
}
