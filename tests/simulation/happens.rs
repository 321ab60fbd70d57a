//! What happens on the stage: the client's octets and its leaving, connections made, what hops do.
//!
//! **In**: an event whose time has come. **Out**: octets on the wire, inputs of the session.
//! **Never**: hands octets to the session: `turn` does, when the session reads.

use gatepost::session::client::TlsFaultKind;
use gatepost::session::io::{HopId, Input, Peer};

use super::{Event, Link, Mark, Stage, clipped};
use crate::hop::{Act, Hop};

impl Stage<'_> {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Client(octets, ends) if !self.client_left => {
                self.posted -= 1;
                self.note(|| format!("C: {}", octets.escape_ascii()));
                let link = &mut self.links[0];
                link.wire.extend_from_slice(&octets);
                link.queued += octets.len();
                link.marks.extend(ends.map(|id| (link.queued, Mark::Ends(id))));
            }
            Event::ClientEof if !self.client_left => {
                self.note(|| "C: <eof>".to_owned());
                (self.client_left, self.left_at) = (true, Some(self.now));
                self.links[0].fin = true;
            }
            Event::ClientLost if !self.client_left => {
                self.note(|| "C: <lost>".to_owned());
                self.client_left = true;
                self.ledger.gone = true;
                if self.links[0].open {
                    self.links[0].wire.clear();
                    self.handle(Input::Lost(Peer::Downstream));
                }
            }
            Event::ClientWakes => self.client_speaks(),
            Event::Connect(connection, hop) => self.connected(connection, hop),
            Event::LookedUp(number, domain) => self.looked_up(number, domain),
            Event::Hop(connection, act) => self.hop_acts(connection, act),
            Event::HopHandshake(connection, outcome) => self.hop_handshake_ends(connection, outcome),
            Event::Handshake(fault) => self.handshake_ends(fault),
            Event::Shutdown => {
                self.note(|| "<shutdown>".to_owned());
                self.handle(Input::Shutdown);
            }
            Event::Told(ticket, answer) => {
                let waited = self.desk.answered(ticket);
                self.note(|| format!("    {ticket:?} (waited for: {waited}) {answer:?}"));
                self.ledger.tally.late += u64::from(!waited);
                self.handle(Input::Told { ticket, answer });
            }
            Event::Client(..) | Event::ClientEof | Event::ClientLost => {}
        }
    }

    /// The client says what it may say now, in pieces.
    fn client_speaks(&mut self) {
        if self.client_left || !self.links[0].open {
            return;
        }
        let mut delay = self.links[0].busy.saturating_sub(self.now);
        while let Some(sent) = self.client.next(&mut self.ledger) {
            let mut rest = &sent.octets[..];
            loop {
                let whole = self.rng.percent(70);
                let (piece, more) =
                    rest.split_at(if whole { rest.len() } else { self.rng.below(rest.len()) });
                delay += if self.rng.percent(70) { 0 } else { self.rng.next() % 40 };
                if self.rng.percent(1) && self.rng.percent(20) {
                    delay += self.rng.next() % 600_000;
                }
                let ends = if more.is_empty() { sent.ends.clone() } else { None };
                self.posted += 1;
                self.at(delay, Event::Client(piece.to_vec(), ends));
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        }
        self.links[0].busy = self.now + delay;
        if let Some(bare) = self.client.goes() {
            let delay = delay + if self.rng.percent(50) { 0 } else { self.rng.next() % 100 };
            self.at(delay, if bare { Event::ClientLost } else { Event::ClientEof });
        }
        if self.client.is_done() && self.client.leaves {
            self.at(delay + 50, Event::ClientEof);
        }
    }

    fn connected(&mut self, connection: usize, hop: HopId) {
        let index = Peer::Upstream(hop).index();
        if !self.links[index].open || self.links[index].connection != connection {
            return;
        }
        if !self.bent.fair && self.rng.percent(8) {
            self.note(|| format!("[{connection}] <refused>"));
            self.links[index] = Link::default();
            return self.handle(Input::OpenFailed(hop));
        }
        let (model, acts) = Hop::new(
            connection,
            self.links[index].terms,
            &self.links[index].host,
            self.bent,
            self.rng.fork(),
        );
        self.note(|| format!("[{connection}] <opened> {}", model.describe()));
        self.links[index].hop = Some(model);
        self.handle(Input::Opened(hop));
        self.schedule(connection, acts);
    }

    pub(super) fn schedule(&mut self, connection: usize, acts: Vec<(u64, Act)>) {
        let Some(index) = self.links.iter().position(|link| link.open && link.connection == connection)
        else {
            return;
        };
        for (delay, act) in acts {
            let when = self.links[index].busy.max(self.now + delay);
            self.links[index].busy = when;
            self.at(when - self.now, Event::Hop(connection, act));
        }
    }

    fn hop_acts(&mut self, connection: usize, act: Act) {
        let Some(index) = self.links.iter().position(|link| link.open && link.connection == connection)
        else {
            return;
        };
        let peer = Peer::Upstream(HopId(index as u8 - 1));
        match act {
            Act::Say { octets, answers, of } => {
                self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                let link = &mut self.links[index];
                link.queued += octets.len();
                link.wire.extend(octets);
                link.marks.push_back((link.queued, Mark::Answers(answers, of)));
            }
            Act::Unasked(octets) => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_idle) {
                    link.queued += octets.len();
                    link.wire.extend_from_slice(&octets);
                    self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                }
            }
            Act::Early(octets) => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_in_content) {
                    link.queued += octets.len();
                    link.wire.extend_from_slice(&octets);
                    self.note(|| format!("        [{connection}] S: {}", clipped(&octets)));
                    // Before the client can end its content.
                    while self.read(index) {}
                }
            }
            Act::Leave => {
                let link = &mut self.links[index];
                if link.wire.is_empty() && link.hop.as_ref().is_some_and(Hop::is_idle) {
                    link.fin = true;
                    self.note(|| format!("        [{connection}] <eof>"));
                }
            }
            Act::Eof => {
                self.note(|| format!("        [{connection}] <eof>"));
                self.links[index].fin = true;
            }
            Act::Lost => {
                self.note(|| format!("        [{connection}] <lost>"));
                if self.links[index].securing {
                    return self.breaks_handshake(index, TlsFaultKind::Lost);
                }
                self.links[index].wire.clear();
                self.links[index].marks.clear();
                self.handle(Input::Lost(peer));
            }
        }
    }
}
