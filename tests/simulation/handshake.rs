//! The shell's part of TLS: handshakes with hops, begun, ended, or broken.
//!
//! **In**: a wish for TLS, and what the hop does about it. **Out**: what the session hears of it.
//! **Never**: hands in what was said in plain as if it came under TLS: that is no handshake, and the end of it.

use gatepost::session::client::{TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::io::{HopId, Input, Peer};

use super::{Event, Link, Stage};

impl Stage<'_> {
    pub(super) fn begins_tls_with(&mut self, hop: HopId) {
        let index = Peer::Upstream(hop).index();
        let connection = self.links[index].connection;
        assert!(self.links[index].open, "TLS on a connection that is closed");
        self.note(|| format!("[{connection}] <tls>"));
        self.links[index].securing = true;
        let outcome = self.links[index].hop.as_mut().and_then(|hop| hop.handshake());
        if let Some((delay, outcome)) = outcome {
            self.at(delay, Event::HopHandshake(connection, outcome));
        }
    }

    pub(super) fn hop_handshake_ends(&mut self, connection: usize, outcome: Result<TlsFacts, TlsFault>) {
        let of = |link: &Link| link.open && link.securing && link.connection == connection;
        let Some(index) = self.links.iter().position(of).filter(|&index| index > 0) else { return };
        match outcome {
            Ok(facts) => {
                self.note(|| format!("[{connection}] <secured>"));
                self.ledger.tally.hops_secured += 1;
                self.links[index].securing = false;
                let hop = self.links[index].hop.as_mut();
                let refuses = hop.is_some_and(|hop| hop.refuses_behind(&facts));
                let acts = self.links[index].hop.as_mut().map(|hop| hop.secured()).unwrap_or_default();
                let peer = self.peer(index);
                self.handle(Input::Secured(peer, Box::new(facts)));
                if refuses && self.links[index].open && self.links[index].connection == connection {
                    return self.breaks_handshake(index, TlsFaultKind::Certificate);
                }
                self.schedule(connection, acts);
            }
            Err(fault) => self.breaks_handshake(index, fault.kind),
        }
    }

    /// Whether a peer in a handshake did something else than that.
    pub(super) fn watches_handshake(&mut self, index: usize) -> bool {
        let link = &self.links[index];
        if !link.wire.is_empty() || !link.read.is_empty() {
            self.breaks_handshake(index, TlsFaultKind::Protocol);
        } else if link.fin {
            self.breaks_handshake(index, TlsFaultKind::Lost);
        } else {
            return false;
        }
        true
    }

    pub(super) fn breaks_handshake(&mut self, index: usize, kind: TlsFaultKind) {
        let connection = self.links[index].connection;
        self.note(|| format!("[{connection}] <tls fails: {}>", kind.as_str()));
        self.ledger.tally.unsecured += 1;
        let peer = self.peer(index);
        self.links[index] = Link::default();
        let fault = TlsFault { kind, what: kind.as_str().into() };
        self.handle(Input::TlsFailed(peer, Box::new(fault)));
    }
}
