//! The shell's turn: who is read, what is handed in, what is carried out, and whether all is as it must be then.
//!
//! **In**: octets on the wire, inputs. **Out**: the session's words and wishes, handed to whom they are for; a panic that
//! names what does not hold. **Never**: reads a peer that the session does not want, or loses what it did not take.

use std::fmt::Write as _;
use std::mem::take;

use gatepost::session::client::TlsFaultKind;
use gatepost::session::io::{Event, Input, MessageEnd, Output, Peer};
use gatepost::smtp::{ReplyLimits, Verb};

use super::{Link, Shell, TRANSCRIPT};

/// How much is read of a peer before the session must have taken some.
const BUFFER: usize = 32 << 10;
/// Calls that one input may lead to.
const CALLS: usize = 20_000;

impl Shell {
    /// Reads whoever may be read until nothing moves.
    pub(super) fn pump(&mut self) {
        for _ in 0..CALLS {
            let mut moved = false;
            if let Some(peer) = self.finished.pop_front() {
                self.handle(Input::Finished(peer));
                moved = true;
            }
            if let Some(news) = self.paper.news() {
                self.handle(news);
                moved = true;
            }
            moved |= self.give_back();
            for at in 0..self.links.len() {
                moved |= self.read(at);
            }
            moved |= self.offer(0);
            if !moved {
                return;
            }
        }
        panic!("the session runs in circles");
    }

    fn give_back(&mut self) -> bool {
        let blocked = self.links.iter().any(|link| link.unsent > 0);
        if blocked || self.paper.back().is_empty() || !self.session.wants_read(Peer::Spool) {
            return false;
        }
        let piece = self.paper.back()[..BUFFER.min(self.paper.back().len())].to_vec();
        let taken = self.session.receive(self.now, Peer::Spool, &piece, &mut self.out);
        self.paper.taken(taken);
        self.carry_out(&piece) || taken > 0
    }

    fn read(&mut self, at: usize) -> bool {
        let blocked = at == 0 && self.links.iter().any(|link| link.unsent > 0);
        let link = &mut self.links[at];
        let Some(peer) = link.peer.filter(|_| link.open) else { return false };
        if link.securing {
            let broken = !link.wire.is_empty() || !link.read.is_empty();
            if broken || link.fin {
                self.handshake(at, Some(if broken { TlsFaultKind::Protocol } else { TlsFaultKind::Lost }));
            }
            return broken;
        }
        if blocked || !self.session.wants_read(peer) {
            return false;
        }
        if link.wire.is_empty() {
            let fin = take(&mut link.fin);
            if fin {
                self.handle(Input::Eof(peer));
            }
            return fin;
        }
        let count = link.wire.len().min(BUFFER.saturating_sub(link.read.len()));
        if count == 0 {
            return false;
        }
        link.read.extend(link.wire.drain(..count));
        if at == 0 {
            self.lines += self.links[0].read.iter().filter(|&&octet| octet == b'\n').count();
        }
        self.offer(at);
        true
    }

    fn offer(&mut self, at: usize) -> bool {
        let link = &mut self.links[at];
        let Some(peer) = link.peer.filter(|_| link.open && !link.securing && !link.read.is_empty()) else {
            return false;
        };
        let octets = take(&mut link.read);
        let taken = self.session.receive(self.now, peer, &octets, &mut self.out);
        assert!(taken <= octets.len(), "took more than it was given");
        // Before what it wants: the connection may be another afterwards.
        if let Some(hop) = &mut self.links[at].hop {
            hop.said(&octets[..taken]);
        }
        self.links[at].read = octets[taken..].to_vec();
        if taken < octets.len() {
            self.note(at, || format!("({} not taken)", octets.len() - taken));
        }
        let said = self.carry_out(&octets);
        taken > 0 || said
    }

    /// What the session, or somebody with it, in a place, does.
    pub(super) fn note(&self, at: usize, what: impl FnOnce() -> String) {
        TRANSCRIPT.with_borrow_mut(|transcript| {
            if let Some(transcript) = transcript {
                let time = self.now.duration_since(self.start).as_millis();
                let _ = writeln!(transcript, "{time:>9} {at} {}", what());
            }
        });
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.note(0, || format!("{input:?}"));
        self.session.handle(self.now, input, &mut self.out);
        self.carry_out(&[]);
    }

    /// Hands out what was said, carries out what is wanted, and looks whether all is as it must be.
    pub(super) fn carry_out(&mut self, received: &[u8]) -> bool {
        let mut said = false;
        for output in self.out.outputs.extract_if(.., |output| matches!(output, Output::Spool(_))) {
            if let Output::Spool(order) = output {
                self.paper.order(order);
            }
        }
        let kept = &mut self.out.tx[Peer::Spool.index()];
        self.paper.take(kept.slices(received));
        kept.clear();
        for at in 0..self.links.len() {
            let octets: Vec<u8> = self.out.tx[at].slices(received).flatten().copied().collect();
            self.out.tx[at].clear();
            if !octets.is_empty() {
                said = true;
                self.says(at, &octets);
            }
        }
        self.out.spoken.drain();
        for event in take(&mut self.out.events) {
            let ends =
                matches!(event, Event::Message(..) | Event::Command(Verb::Rset | Verb::Ehlo | Verb::Helo, _));
            self.over += usize::from(ends);
            match event {
                Event::Message(MessageEnd::Accepted | MessageEnd::DeliveredUnheard, _) => {
                    self.tally.accepted += 1
                }
                Event::Passing => {
                    self.passing = true;
                    self.tally.passed += 1;
                }
                _ => {}
            }
        }
        for output in take(&mut self.out.outputs) {
            said = true;
            self.wants(output);
        }
        self.holds();
        said
    }

    fn holds(&self) {
        self.session.check();
        let over = self.session.is_over();
        assert!(over || self.session.deadline().is_some(), "the session waits without a deadline");
        let open = self.links.iter().filter_map(|link| link.hop.as_ref());
        let taken = self.taken + open.map(|hop| hop.taken).sum::<usize>();
        assert!(self.tally.accepted <= taken, "{} messages accepted, {taken} by hops", self.tally.accepted);
        for (at, link) in self.links.iter().enumerate() {
            let believed = !self.passing && link.hop.as_ref().is_some_and(|hop| hop.unasked);
            assert!(!believed, "what {at} said was believed before anything was asked");
        }
        let most = self.lines + 2 + self.sent / 512;
        assert!(
            self.tally.replies.len() <= most,
            "{} replies to {} lines",
            self.tally.replies.len(),
            self.lines
        );
    }

    fn says(&mut self, at: usize, octets: &[u8]) {
        self.note(at, || format!("< {}", octets.escape_ascii()));
        let link = &mut self.links[at];
        assert!(link.open && link.peer.is_some(), "said to nobody, in {at}: {}", octets.escape_ascii());
        assert!(!link.securing, "said during a handshake: {}", octets.escape_ascii());
        assert!(octets.len() <= (64 << 10) + 8 * self.sent, "{} octets at once", octets.len());
        if link.stalled {
            link.unsent += octets.len();
        }
        if self.passing {
            return;
        }
        if let Some(hop) = &mut link.hop {
            return hop.hears(octets);
        }
        self.heard.extend_from_slice(octets);
        let limits = ReplyLimits { line: 4096, reply: 64 << 10 };
        loop {
            let framed = self.framer.next(&self.heard, limits);
            let framed = framed.unwrap_or_else(|fault| panic!("{fault}: {}", self.heard.escape_ascii()));
            let Some(reply) = framed else { return };
            let (code, taken) = (reply.code().get(), reply.as_bytes().len());
            self.tally.replies.push(code);
            self.heard.drain(..taken);
        }
    }

    fn wants(&mut self, output: Output) {
        self.note(0, || format!("{output:?}"));
        match output {
            Output::Open { hop, .. } => {
                let link = &mut self.links[Peer::Upstream(hop).index()];
                assert!(link.peer.is_none(), "a slot in use is opened again");
                *link = Link { peer: Some(Peer::Upstream(hop)), ..Link::default() };
            }
            Output::StartTls(peer) => {
                let link = &mut self.links[peer.index()];
                assert!(link.open && link.peer == Some(peer) && !link.securing, "TLS with nobody");
                link.securing = true;
            }
            Output::Close(peer) | Output::Abort(peer) => {
                let link = &self.links[peer.index()];
                assert!(link.peer.is_none_or(|open| open == peer), "another connection is closed");
                self.forget(peer.index());
            }
            Output::Reset => self.forget(0),
            Output::Finish(peer) => self.finished.push_back(peer),
            Output::LookUp(domain) => {
                self.tally.looked_up += 1;
                self.looking = Some(domain);
            }
            Output::Ask(ask) => {
                assert!(!self.tickets.contains(&ask.ticket), "two questions are called {:?}", ask.ticket);
                self.tally.asked += 1;
                self.tickets.push(ask.ticket);
                self.questions.push(*ask);
            }
            Output::Cancel(ticket) => {
                let before = self.questions.len();
                self.questions.retain(|ask| ask.ticket != ticket);
                assert!(self.questions.len() < before, "what is cancelled was not open");
            }
            Output::CalloutFailed(_, stage, fault) => self.failed.push((stage, fault)),
            _ => {}
        }
    }

    pub(super) fn forget(&mut self, at: usize) {
        let link = take(&mut self.links[at]);
        self.taken += link.hop.map_or(0, |hop| hop.taken);
    }
}
