//! What hops do on the stage: they are reached or not, speak, leave, and break off.
//!
//! **In**: a connection that is asked for, acts of [`Hop`]s when they are due. **Out**: octets on the wire, inputs.
//! **Never**: lets a hop act on a connection that is closed.

use gatepost::session::client::TlsFaultKind;
use gatepost::session::io::{HopId, Input, Peer};

use super::{Event, Link, Mark, Stage, clipped};
use crate::hop::{Act, Hop};

impl Stage<'_> {
    pub(super) fn connected(&mut self, connection: usize, hop: HopId) {
        let index = Peer::Upstream(hop).index();
        if !self.links[index].open || self.links[index].connection != connection {
            return;
        }
        if self.fair.is_none() && self.rng.percent(8) {
            self.note(|| format!("[{connection}] <refused>"));
            self.links[index] = Link::default();
            return self.handle(Input::OpenFailed(hop));
        }
        let (model, acts) = Hop::new(
            connection,
            self.links[index].terms,
            &self.links[index].host,
            self.bent,
            self.fair,
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

    pub(super) fn hop_acts(&mut self, connection: usize, act: Act) {
        let Some(index) = self.links.iter().position(|link| link.open && link.connection == connection)
        else {
            return;
        };
        let peer = self.peer(index);
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
            Act::Twice { reply, more, of } => {
                let link = &self.links[index];
                let alone = link.hop.as_ref().is_some_and(|hop| hop.owed.len() == 1);
                let at_once = alone && link.wire.is_empty() && self.session.wants_read(peer);
                self.hop_acts(connection, Act::Say { octets: reply, answers: 1, of });
                if at_once {
                    self.note(|| format!("        [{connection}] S: {}", clipped(&more)));
                    let link = &mut self.links[index];
                    link.queued += more.len();
                    link.wire.extend_from_slice(&more);
                    // Before anything is asked that it could be taken for an answer to.
                    link.whole = true;
                    self.read(index);
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
