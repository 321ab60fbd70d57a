//! One step's surroundings, lent to whoever takes part in it.
//!
//! In:    the time, and where words, wishes and counts go.
//! Out:   the same, with what was said.
//! Never: outlives the step.

use std::time::Instant;

use super::events::Event;
use super::io::{Out, Output, TraceSide};
use super::peer::Peer;
use crate::dialog::Tx;

/// One step.
pub struct Turn<'a> {
    /// When it is taken.
    pub now: Instant,
    /// What comes of it.
    pub out: &'a mut Out,
    /// Whether the dialogs are traced.
    pub tracing: bool,
}

impl Turn<'_> {
    /// The octets for a peer.
    pub fn to(&mut self, peer: Peer) -> &mut Tx {
        self.out.to(peer)
    }

    /// Has something done.
    pub fn wish(&mut self, output: Output) {
        self.out.outputs.push(output);
    }

    /// Counts.
    pub fn count(&mut self, event: Event) {
        self.out.count(event);
    }

    /// Shows what was said; a challenge of AUTH is a secret.
    pub fn trace(&mut self, peer: Peer, side: TraceSide, octets: &[u8]) {
        if self.tracing && side == TraceSide::Server && octets.starts_with(b"334") {
            self.wish(Output::Trace(peer, side, b"334 (secret)".as_slice().into()));
        } else if self.tracing {
            for line in octets.split_inclusive(|&octet| octet == b'\n') {
                self.wish(Output::Trace(peer, side, line.trim_ascii_end().into()));
            }
        }
    }
}
