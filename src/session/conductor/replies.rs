//! What hops say and do: each reply given to whom it is for.
//!
//! In:    a hop's octets, and what became of its connection.
//! Out:   one call per reply, to whoever expects it: the answer that is owed, the envelope being said again, an
//!        attempt, the content, the hop's own terms.
//! Never: gives a reply to a command that was written after it was read, or believes what nobody asked for (law 1).
//!
//! RFC 5321 3.1 (greeting), 3.8 (421), 4.2 (replies).

use super::super::events::{Event, SessionEnd};
use super::super::facts::{TlsFacts, TlsFault};
use super::super::hop::{Greeting, Hop, Lent, Step, WRONG_CLASS, Word, is_policy};
use super::super::owed::What;
use super::super::peer::HopId;
use super::super::peer::Why;
use super::super::route::HostNews;
use super::super::said::Said;
use super::super::turn::Turn;
use super::super::unmet::Lack;
use super::Conductor;
use crate::dialog::Expect;
use crate::smtp::{ReplyRef, own};

impl Conductor {
    /// Takes a hop's octets, reply by reply.
    pub fn receive_upstream(&mut self, turn: &mut Turn<'_>, hop: HopId, octets: &[u8]) -> usize {
        if let Some(open) = self.hops.get_mut(hop) {
            open.arrives();
        }
        let mut taken = 0;
        while taken < octets.len() {
            match self.take_reply(turn, hop, &octets[taken..]) {
                Some(went) => taken += went,
                None => break,
            }
        }
        // What is left is nobody's where the connection is gone, or given up for another.
        if self.hops.get(hop).is_none_or(Hop::is_connecting) { octets.len() } else { taken }
    }

    /// Frames and takes one reply of a hop; `None`: there is not a whole one.
    fn take_reply(&mut self, turn: &mut Turn<'_>, hop: HopId, octets: &[u8]) -> Option<usize> {
        let streams = self.delivery.streams_to(hop);
        let word = self.hops.get_mut(hop)?.hear(turn, octets, &self.settings.limits, streams);
        let (reply, expect, taken, more_unasked) = match word {
            Word::Reply { reply, expect, taken, more_unasked } => (reply, expect, taken, more_unasked),
            Word::Partial => return None,
            Word::Unasked => {
                turn.count(Event::Unasked);
                self.lost(turn, hop, None);
                return None;
            }
            Word::Malformed(fault) => {
                self.hops.get(hop)?.spoke_nonsense(turn, &fault.to_string(), octets);
                self.lost_because(turn, hop, Why::Malformed, None);
                return None;
            }
            Word::Injected => {
                self.terms(turn, hop, |open, turn, lent| open.reply_injected(turn, lent));
                return None;
            }
        };
        self.hop_said(turn, hop, reply, expect);
        if let Some(passage) = &mut self.passage {
            passage.begins_behind(turn, &octets[taken..]);
            return Some(octets.len());
        }
        if more_unasked && self.hops.get(hop).is_some() && !self.delivery.streams_to(hop) {
            // Said before its command was: an answer to nothing (law 1).
            turn.count(Event::Unasked);
            self.lost(turn, hop, None);
            return None;
        }
        self.hops.get_mut(hop)?.pump(turn);
        Some(taken)
    }

    /// A reply of a class that its command cannot have (semantics of malformed replies): that hop is lost.
    pub(super) fn spoke_out_of_class(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if let Some(open) = self.hops.get(hop) {
            open.spoke_nonsense(turn, WRONG_CLASS, reply.as_bytes());
        }
        self.lost_because(turn, hop, Why::Malformed, None);
    }

    fn hop_said(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>, expect: Option<Expect>) {
        let Some(expect) = expect else {
            return self.spoke_unasked(turn, hop, reply);
        };
        match expect {
            Expect::Greeting => return self.greeted(turn, hop, reply),
            Expect::Terms => {
                return self.terms(turn, hop, |open, turn, lent| open.terms_answered(turn, lent, reply));
            }
            _ if reply.code().closes() && !self.is_message(expect) => {
                return self.hop_closes(turn, hop, reply, expect);
            }
            _ => {}
        }
        match expect {
            // Nobody takes the content or the secret that it waits for now.
            Expect::Nobody if reply.code().is_intermediate() => {
                self.spoke_out_of_class(turn, hop, reply);
            }
            Expect::Greeting | Expect::Terms | Expect::Nobody => {}
            Expect::Xforward => {
                self.terms(turn, hop, |open, turn, lent| open.xforward_answered(turn, lent, reply))
            }
            Expect::Hello => self.hello_said_again(turn, hop, reply),
            Expect::Owed(number) => self.answered(turn, number, hop, reply),
            Expect::Replayed if reply.code().is_positive() => {
                if self.delivery.awaits_chunks(hop) {
                    self.open_content(turn, hop);
                }
            }
            Expect::Replayed => self.lost_because(turn, hop, Why::Unfit, None),
            Expect::Added => self.added_answered(turn, hop, reply),
            Expect::Alive if reply.code().is_intermediate() => self.spoke_out_of_class(turn, hop, reply),
            Expect::Alive => {}
            Expect::RungMail | Expect::RungRcpt => self.attempt_answered(turn, hop, expect, reply),
            Expect::Reset if !reply.code().is_positive() => self.hop_not_reset(turn, hop),
            Expect::Reset => {}
            Expect::Go => self.content_may_flow(turn, hop, reply),
            Expect::Part => self.part_answered(turn, hop, reply),
        }
    }

    fn spoke_unasked(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if self.delivery.streams_to(hop) {
            return self.early_reply(turn, hop, reply);
        }
        turn.count(Event::Unasked);
        let serves = self.hops.get(hop).is_some_and(Hop::serves);
        if reply.code().closes() && !serves && self.owed.is_empty() {
            self.host_failed(turn, hop, HostNews::NoService);
        }
        self.lost(turn, hop, None);
    }

    /// The connection stands.
    pub(super) fn opened(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(open) = self.hops.get_mut(hop) {
            open.opened(turn);
        }
    }

    fn greeted(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_positive() {
            self.hops.was_reached();
        }
        self.terms(turn, hop, |open, turn, lent| open.greeted(turn, lent, reply));
    }

    /// It cannot be told who the client is.
    pub(super) fn not_told(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack) {
        self.terms(turn, hop, |open, turn, lent| open.not_told(turn, lent, lack));
    }

    /// Its octets come through TLS from now on.
    pub(super) fn hop_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, facts: TlsFacts) {
        self.terms(turn, hop, |open, turn, lent| open.secured(turn, lent, facts));
    }

    /// There is no TLS with it. Once it has spoken under TLS, that is a connection lost like any.
    pub(super) fn hop_not_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, fault: TlsFault) {
        if self.owed.awaits_auth(hop) {
            // It refuses us behind the handshake; what it has heard cannot be said again.
            return self.lost(turn, hop, None);
        }
        let Some(open) = self.hops.get(hop) else { return };
        if open.tls().is_some() && !open.may_refuse_tls() {
            return self.lost(turn, hop, None);
        }
        self.terms(turn, hop, |open, turn, lent| open.not_secured(turn, lent, fault));
    }

    /// A hop takes a step towards its terms.
    fn terms<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        with: impl FnOnce(&mut Hop, &mut Turn<'_>, &mut Lent<'_>) -> Step<'r>,
    ) {
        let warned = self.hops.has_warned();
        let Some(open) = self.hops.get_mut(hop) else { return };
        let mut lent = Lent { settings: &self.settings, client: &self.client, warned };
        let step = with(open, turn, &mut lent);
        if lent.warned {
            self.hops.warned();
        }
        match step {
            Step::Waits => {}
            Step::Met(greeting) => self.terms_met(turn, hop, greeting),
            Step::RefusesClient(reply) => self.hop_refuses_client(turn, hop, reply),
            Step::Lost { why, refusal, missed } => {
                if let Some(missed) = missed.filter(|_| !self.is_trial(hop)) {
                    self.hops.missed(missed);
                }
                self.lost_because(turn, hop, why, refusal);
            }
        }
    }

    /// The client's dialog is next: it hears the hop's greeting, or the hop hears the client's EHLO.
    fn terms_met(&mut self, turn: &mut Turn<'_>, hop: HopId, greeting: Option<Greeting<'_>>) {
        let greets = self.owed.is_greeting_of(hop);
        let accepted = self.delivery.transaction().is_some_and(|transaction| transaction.accepted);
        let replays = accepted && self.hops.current() == Some(hop);
        let is_needed = replays || self.owed.needs_hello(hop) || self.is_trial(hop);
        let Some(open) = self.hops.get_mut(hop) else { return };
        match (greeting.filter(|_| greets), self.client.hello()) {
            (Some(greeting), _) => {
                open.is_made_ready();
                let number = self.owed.head_number();
                match greeting {
                    Greeting::Heard(reply) => self.answered(turn, number, hop, reply),
                    Greeting::Kept(reply) => self.answered(turn, number, hop, reply.as_ref().as_ref()),
                    Greeting::Forgotten => {
                        let own = self.own_greeting();
                        self.answered(turn, number, hop, own.as_ref().as_ref());
                    }
                }
            }
            (None, Some(hello)) => open.say_hello(turn, hello),
            (None, None) if is_needed => self.resume_without_hello(turn, hop),
            (None, None) => {
                open.is_made_ready();
                self.resume(turn, hop);
            }
        }
    }

    /// The client's commands are next, and it has not said EHLO: nor may gatepost have, as far as this hop knows.
    fn resume_without_hello(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let trial = self.is_trial(hop);
        let Some(open) = self.hops.get_mut(hop) else { return };
        if !open.knows_ours() {
            open.is_made_ready();
            return self.resume(turn, hop);
        }
        if open.may_be_unannounced(&self.client, turn.now) {
            return open.dial_unannounced(turn);
        }
        if trial {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        open.is_made_ready();
        for number in self.owed.of(hop) {
            self.owed.answer(number, Said::Own(&own::NEED_HELLO));
        }
        // Nor may it have content: the envelope cannot be said there.
        if self.delivery.awaits_go(hop) {
            self.refuse_content(turn, Said::Own(&own::CONTENT_LOST));
        }
        self.settle(turn);
    }

    /// A hop's connection ended.
    pub(super) fn hop_hung_up(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.hops.get(hop).is_some_and(Hop::was_just_told) {
            return self.hop_refuses_client(turn, hop, None);
        }
        self.lost(turn, hop, None);
    }

    /// A hop that was told who the client is does not want it: that is its word to the client, and no outage. `None`: it
    /// hung up without one.
    fn hop_refuses_client(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: Option<ReplyRef<'_>>) {
        if self.is_trial(hop) {
            return self.lost_because(turn, hop, Why::Unfit, reply.map(|reply| Box::new(reply.to_owned())));
        }
        let said = match reply {
            // Another host has had this client already, and nothing was wrong with it.
            _ if self.hops.is_behind_loss() && self.delivery.in_content() => Said::Own(&own::CONTENT_LOST),
            _ if self.hops.is_behind_loss() => Said::Own(&own::HOP_LOST),
            Some(reply) => Said::heard(hop, reply),
            None => Said::Own(&own::HOP_HUNG_UP),
        };
        let greets = self.owed.is_greeting_of(hop);
        if self.delivery.in_content() {
            self.refuse_content(turn, said);
        } else if greets {
            self.owed.pop();
            self.refuse_client(turn, said, SessionEnd::HopClosed);
        } else {
            self.hang_up(turn, Some(said), SessionEnd::HopClosed);
        }
        self.release(turn, hop, &own::ATTEMPTS_FAILED);
        self.hops.close(turn, hop, false);
    }

    fn hello_said_again(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_negative() && self.hops.get(hop).is_some_and(Hop::is_told) {
            return self.hop_refuses_client(turn, hop, Some(reply));
        }
        if !reply.code().is_positive() {
            let refusal = reply.code().is_negative().then(|| Box::new(reply.to_owned()));
            return self.lost_because(turn, hop, Why::Unfit, refusal);
        }
        let extended = self.client.hello().is_some_and(|hello| hello.extended);
        let Some(open) = self.hops.get_mut(hop) else { return };
        open.is_made_ready();
        if extended || open.is_lmtp() {
            open.offers_as(Some(reply));
        }
        self.resume(turn, hop);
    }

    /// A 421 or 521 in answer to something: the hop's word to this client, or an outage.
    fn hop_closes(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>, expect: Expect) {
        let to_client = is_policy(reply) && !self.is_trial(hop);
        match expect {
            Expect::Owed(number) if to_client || self.owed.is_said_once(number) => {
                let said = Said::heard(hop, reply);
                if number == self.owed.head_number() {
                    self.note_no_answer(hop, Some(&reply.to_owned()));
                }
                // Behind a chunk that is refused so, the message may be owed still, and is heard out.
                self.owed.answer(number, said.clone());
                self.hang_up(turn, Some(said), SessionEnd::HopClosed);
            }
            Expect::Hello if to_client || self.hops.get(hop).is_some_and(Hop::is_told) => {
                self.hop_refuses_client(turn, hop, Some(reply));
            }
            // Nobody asked for what it answers.
            Expect::Nobody | Expect::Reset | Expect::Alive => self.lost(turn, hop, None),
            _ => self.lost(turn, hop, Some(Box::new(reply.to_owned()))),
        }
    }

    /// It does not take RSET, and is in the midst of what the client knows nothing of: another dialog, with the same host
    /// if need be.
    fn hop_not_reset(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.lost_because(turn, hop, Why::Unwilling, None);
    }

    fn is_message(&self, expect: Expect) -> bool {
        matches!(expect, Expect::Owed(number)
            if self.owed.at(number).is_some_and(|entry| matches!(entry.what, What::Message(_))))
    }

    fn host_failed(&self, turn: &Turn<'_>, hop: HopId, news: HostNews) {
        if let Some(open) = self.hops.get(hop) {
            open.host_failed(turn, news);
        }
    }

    /// The time for something from a hop is over.
    pub(super) fn hop_too_late(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.hops.get(hop).is_some_and(Hop::is_securing) {
            return self.terms(turn, hop, |open, turn, lent| open.not_secured_in_time(turn, lent));
        }
        if let Some(open) = self.hops.get_mut(hop) {
            open.connected_too_late(turn);
        }
        self.lost(turn, hop, None);
    }
}
