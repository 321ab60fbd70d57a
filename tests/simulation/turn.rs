//! The stage's turn: who is read, what is handed in, what is carried out.
//!
//! **In**: octets on the wire, inputs. **Out**: the session's words and wishes, handed to whom they are for.
//! **Never**: reads a peer the session does not want, or loses what it did not take.

use gatepost::session::io::{Input, Output, Peer};

use super::{BUFFER, Mark, STEPS, Stage};

impl Stage<'_> {
    pub(super) fn handle(&mut self, input: Input) {
        let now = self.instant();
        self.session.handle(now, input, &mut self.out);
        self.carry_out(&[]);
    }

    /// Reads whoever may be read until nothing moves.
    pub(super) fn pump(&mut self) {
        for _ in 0..STEPS {
            let mut moved = false;
            if let Some(news) = self.paper.news() {
                self.handle(news);
                moved = true;
            }
            moved |= self.give_back();
            for index in 0..self.links.len() {
                moved |= self.read(index);
            }
            moved |= self.offer(0);
            if !moved {
                return;
            }
        }
        panic!("law 7: the session runs in circles");
    }

    /// Gives back what the session wants of a message that was kept.
    fn give_back(&mut self) -> bool {
        let blocked = self.links.iter().any(|link| link.unsent > 0);
        if blocked || self.paper.back().is_empty() || !self.session.wants_read(Peer::Spool) {
            return false;
        }
        let most = if self.whole_pieces { BUFFER } else { 7 };
        let piece = self.paper.back()[..most.min(self.paper.back().len())].to_vec();
        let now = self.instant();
        let taken = self.session.receive(now, Peer::Spool, &piece, &mut self.out);
        self.paper.taken(taken);
        self.carry_out(&piece) | (taken > 0)
    }

    pub(super) fn read(&mut self, index: usize) -> bool {
        let peer = self.peer(index);
        if index > 0 && self.links[index].open && self.links[index].securing {
            return self.watches_handshake(index);
        }
        let blocked = index == 0 && self.links.iter().any(|link| link.unsent > 0);
        let link = &mut self.links[index];
        if !link.open || link.securing || blocked || !self.session.wants_read(peer) {
            return false;
        }
        if link.wire.is_empty() {
            if !std::mem::take(&mut link.fin) {
                return false;
            }
            self.handle(Input::Eof(peer));
            return true;
        }
        let most = BUFFER.saturating_sub(link.read.len());
        let whole = std::mem::take(&mut link.whole) || self.rng.percent(60);
        let count = if whole { most } else { 1 + self.rng.below(20) }.min(most).min(link.wire.len());
        if count == 0 {
            return false;
        }
        link.read.extend(link.wire.drain(..count));
        link.handed += count;
        while link.marks.front().is_some_and(|(at, _)| *at <= link.handed) {
            match link.marks.pop_front() {
                Some((_, Mark::Ends(id))) => {
                    if let Some(message) = self.ledger.messages.get_mut(&id) {
                        message.ended = true;
                    }
                }
                Some((_, Mark::Answers(answers, of))) => {
                    if let Some(hop) = &mut link.hop {
                        hop.greeted = true;
                        hop.owed.drain(..answers.min(hop.owed.len()));
                    }
                    if let Some(sender) = of {
                        self.ledger.reply_heard(link.connection, &sender);
                    }
                }
                None => {}
            }
        }
        self.offer(index);
        true
    }

    fn offer(&mut self, index: usize) -> bool {
        if !self.links[index].open || self.links[index].securing || self.links[index].read.is_empty() {
            return false;
        }
        let peer = self.peer(index);
        let connection = self.links[index].connection;
        let octets = std::mem::take(&mut self.links[index].read);
        let now = self.instant();
        let taken = self.session.receive(now, peer, &octets, &mut self.out);
        assert!(taken <= octets.len(), "took more than it was given");
        let said = self.carry_out(&octets);
        let link = &mut self.links[index];
        if link.open && link.connection == connection {
            link.read = octets[taken..].to_vec();
        }
        taken > 0 || said
    }

    pub(super) fn carry_out(&mut self, received: &[u8]) -> bool {
        let mut said = false;
        for output in self.out.outputs.extract_if(.., |output| matches!(output, Output::Spool(_))) {
            if let Output::Spool(order) = output {
                self.paper.order(order);
            }
        }
        let kept = Peer::Spool.index();
        self.paper.take(self.out.tx[kept].slices(received));
        self.out.tx[kept].clear();
        for index in 0..self.links.len() {
            if self.out.tx[index].is_empty() {
                continue;
            }
            said = true;
            let octets: Vec<u8> = self.out.tx[index].slices(received).flatten().copied().collect();
            self.out.tx[index].clear();
            self.heard(index, &octets);
        }
        let over = self.session.is_over();
        assert!(over || self.session.deadline().is_some(), "law 7: the session waits without a deadline");
        self.out.events.clear();
        for output in std::mem::take(&mut self.out.outputs) {
            said = true;
            self.want(output);
        }
        said
    }
}
