//! What the session says and wishes, handed to whom it is for.
//!
//! **In**: octets to a peer, outputs. **Out**: hops and the client who heard it, events that come of it.
//! **Never**: lets the session say that it had no answer in time where nobody had been asked for one (law 7).

use gatepost::session::io::{Output, Peer};

use super::{Event, Link, Stage, clipped};
use crate::hop::Hop;

impl Stage<'_> {
    /// Whether a hop, a lookup or a callout lets the session wait.
    pub(super) fn waited_for(&self) -> bool {
        let hop = |link: &Link| {
            let quiet =
                link.hop.as_ref().is_some_and(Hop::is_quiet) && link.wire.is_empty() && link.read.is_empty();
            link.open && (link.securing || link.unsent > 0 || !quiet)
        };
        self.links.iter().skip(1).any(hop) || self.looking || self.desk.is_open()
    }

    /// Whether the client has said something whole, is to hear an answer, and can do nothing about it.
    pub(super) fn client_waits(&self) -> bool {
        let listens = !self.client_left && self.links[0].open && !self.links[0].securing;
        listens && self.posted == 0 && self.client.waits()
    }

    pub(super) fn heard(&mut self, index: usize, octets: &[u8]) {
        assert!(self.links[index].open, "said to a connection that is closed: {}", octets.escape_ascii());
        let connection = self.links[index].connection;
        if index == 0 {
            self.note(|| format!("S: {}", octets.escape_ascii()));
            let late = octets.windows(9).any(|nine| nine == b"451 4.4.1");
            assert!(self.waited_for || !late, "law 7: the client waited, and nobody was asked");
            if !self.ledger.gone {
                self.client.hear(octets, &mut self.ledger);
                self.at(0, Event::ClientWakes);
            }
            return;
        }
        self.note(|| format!("        [{connection}] C: {}", clipped(octets)));
        assert!(!self.links[index].securing, "law 5: said during a handshake");
        if self.links[index].hop.as_ref().is_some_and(|hop| hop.stalled) {
            self.links[index].unsent += octets.len();
            return;
        }
        let acts = match &mut self.links[index].hop {
            Some(hop) => hop.receive(octets, &mut self.ledger),
            None => panic!("said before the connection stood: {}", octets.escape_ascii()),
        };
        self.schedule(connection, acts);
    }

    pub(super) fn want(&mut self, output: Output) {
        match output {
            Output::StartTls(Peer::Downstream) => self.client_begins_tls(),
            Output::StartTls(Peer::Upstream(hop)) => self.begins_tls_with(hop),
            Output::Open { hop, host } => {
                let index = Peer::Upstream(hop).index();
                assert!(!self.client.authenticated, "an authenticated session goes to another hop");
                assert!(!self.links[index].open, "law 7: a slot in use is opened again");
                self.connections += 1;
                let connection = self.connections;
                self.note(|| format!("[{connection}] connect to {}", host.name()));
                self.links[index] = Link {
                    id: Some(hop),
                    connection,
                    open: true,
                    host: host.name().to_string(),
                    terms: host.terms(),
                    ..Link::default()
                };
                let delay = if self.rng.percent(96) { self.rng.next() % 20 } else { 20_000 };
                self.at(delay, Event::Connect(connection, hop));
            }
            Output::Close(peer) | Output::Abort(peer) => {
                let connection = self.links[peer.index()].connection;
                self.ended += 1;
                self.note(|| format!("[{connection}] <closed>"));
                self.links[peer.index()] = Link::default();
                if peer == Peer::Downstream {
                    self.ledger.gone = true;
                }
            }
            Output::Reset => panic!("nobody is intercepted here"),
            // Nobody is bounded here.
            Output::Recount(_) => {}
            Output::Finish(_) | Output::Passed(_) => panic!("nothing passes through here"),
            Output::LookUp(domain) => self.looks_up(domain),
            Output::Ask(ask) => {
                self.note(|| format!("    {ask:?}: {}", ask.question.escape_ascii()));
                self.desk.asks(&ask, self.ended);
                self.ledger.tally.asked += 1;
                for (delay, answer) in self.callouts.fate(&ask) {
                    self.at(delay, Event::Told(ask.ticket, answer));
                }
            }
            Output::Cancel(ticket) => {
                self.note(|| format!("    cancel {ticket:?}"));
                self.desk.cancelled(ticket);
            }
            Output::CalloutFailed(_, stage, fault) => {
                self.ledger.tally.failed += 1;
                self.note(|| format!("    failed at {}: {fault}", stage.as_str()));
            }
            Output::Unmet(host, unmet) => self.note(|| format!("    hop {}: {unmet}", host.name())),
            Output::Spool(_)
            | Output::StartTls(Peer::Spool)
            | Output::Record(_)
            | Output::NotSecured(..)
            | Output::Hidden(..)
            | Output::Refused(_)
            | Output::HopRefused(..)
            | Output::Shadow(..)
            | Output::Remarked(..)
            | Output::Malformed(..)
            | Output::Foreign(..)
            | Output::StrayHeader
            | Output::Trace(..) => {}
        }
    }
}
