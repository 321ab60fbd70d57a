//! What breaks into a session: the client gone, the end of the process, or the last word to the client.
//!
//! In:    the interruption, whatever is owed and under way.
//! Out:   what can still be said is said; a hop that has a whole message is heard out.
//! Never: completes what the client did not complete, or leaves anything waiting for nobody.
//!
//! RFC 5321 3.8, 4.5.3.2; RFC 1047.

use super::super::client::Phase;
use super::super::events::{Event, MessageEnd, SessionEnd};
use super::super::notes::Told;
use super::super::owed::{Answer, What};
use super::super::record::LastWord;
use super::super::said::Said;
use super::super::turn::Turn;
use super::Conductor;

impl Conductor {
    /// The client's last word is heard, or its dialog must end: says so, if there is anything to say, and closes.
    pub(super) fn hang_up(&mut self, turn: &mut Turn<'_>, said: Option<Said>, end: SessionEnd) {
        if !self.client.is_over() {
            self.conclude_judged(turn);
        }
        if self.client.is_over() {
            return;
        }
        let said = said.filter(|_| self.client.phase() != Phase::Securing);
        let is_of_hop = matches!(end, SessionEnd::HopClosed | SessionEnd::HopLost);
        // Unless it is the head's very answer, as a chunk's before its message.
        let is_next = self.owed.head().is_some_and(|head| matches!(head.answer, Answer::Own(_)));
        if let Some(said) = said.as_ref().filter(|_| is_of_hop && self.owed.awaits_message() && !is_next) {
            // It must not be heard as the answer to content that another hop has (law 3).
            self.note_unanswered(Some(said));
            self.let_go(turn, self.last_word(Told::Said(said)));
            self.owed.push(turn.now, What::Close(end), Answer::Own(said.clone()));
            return;
        }
        self.note_unanswered(said.as_ref());
        if let Some(said) = &said {
            self.client.tell(turn, said);
            self.hop_refused(turn, Told::Said(said));
        }
        let last = said.as_ref().and_then(|said| self.last_word(Told::Said(said)));
        self.client.hang_up(turn, end);
        self.let_go(turn, last);
    }

    /// Nothing goes on but messages that hops have, which are heard out.
    fn let_go(&mut self, turn: &mut Turn<'_>, last: Option<LastWord>) {
        let abandoned = self.delivery.abandon_content();
        if let Some(Some(hop)) = abandoned {
            self.drop_hop(turn, hop);
        }
        self.drop_transaction(turn, abandoned.map(|_| MessageEnd::Lost), last);
        self.stop_asking(turn);
        self.owed.keep_messages();
        self.dismiss_all(turn);
    }

    /// The client cannot be told anything any more.
    pub(super) fn client_gone(&mut self, turn: &mut Turn<'_>, end: SessionEnd) {
        self.client.is_lost();
        self.hang_up(turn, None, end);
    }

    /// The transaction ends without content.
    pub(super) fn drop_transaction(
        &mut self,
        turn: &mut Turn<'_>,
        end: Option<MessageEnd>,
        last: Option<LastWord>,
    ) {
        self.leave_content(turn);
        if let Some(transaction) = self.delivery.take_transaction() {
            if let Some(end) = end {
                turn.count(Event::Message(end, transaction.octets));
            }
            self.record(turn, *transaction, end, last, self.hops.current());
        }
        self.client.forget_forwarded();
        self.leave_away(turn);
    }
}
