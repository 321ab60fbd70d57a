//! What breaks into a session: the client gone, the end of the process, or the last word to the client.
//!
//! In:    the interruption, whatever is owed and under way.
//! Out:   what can still be said is said; a hop that has a whole message is heard out.
//! Never: completes what the client did not complete, or leaves anything waiting for nobody.
//!
//! RFC 5321 3.8, 4.5.3.2; RFC 1047.

use super::super::client::Phase;
use super::super::events::{Event, MessageEnd, SessionEnd};
use super::super::said::Said;
use super::super::turn::Turn;
use super::Conductor;
use crate::smtp::ReplyRef;

impl Conductor {
    /// The client's last word is heard, or its dialog must end: says so, if there is anything to say, and closes.
    pub(super) fn hang_up(&mut self, turn: &mut Turn<'_>, said: Option<Said>, end: SessionEnd) {
        if !self.client.is_over() {
            self.conclude_judged(turn);
        }
        if self.client.is_over() {
            return;
        }
        if let Some(said) = said.filter(|_| self.client.phase() != Phase::Securing) {
            self.client.tell(turn, &said);
        }
        self.client.hang_up(turn, end);
        let abandoned = self.delivery.abandon_content();
        if let Some(Some(hop)) = abandoned {
            self.drop_hop(turn, hop);
        }
        self.drop_transaction(turn, abandoned.map(|_| MessageEnd::Lost), None);
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
        reply: Option<ReplyRef<'_>>,
    ) {
        self.leave_content(turn);
        if let Some(transaction) = self.delivery.take_transaction() {
            if let Some(end) = end {
                turn.count(Event::Message(end, transaction.octets));
            }
            let line = reply.map(|reply| super::super::notes::first_line(reply.as_bytes()));
            self.record(turn, *transaction, end, line, self.hops.current());
        }
        self.client.forget_forwarded();
        self.leave_away(turn);
    }
}
