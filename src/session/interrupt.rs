//! What breaks into a session: the client gone, a deadline, the end of the process.
//!
//! In:    the interruption, whatever is owed and under way.
//! Out:   what can still be said is said; a hop that has a whole message is heard out.
//! Never: completes what the client did not complete, or leaves anything waiting for nobody.
//!
//! RFC 5321 3.8, 4.5.3.2; RFC 1047.

use super::io::{Event, HOPS, HopId, Output, Peer, SessionEnd};
use super::owed::{Answer, Said, What};
use super::timers::Wait;
use super::{Phase, Session, Turn};
use crate::smtp::own;

impl Session {
    /// The client's last word is heard, or its dialog must end: says so, if there is anything to say, and closes.
    pub(super) fn hang_up(&mut self, turn: &mut Turn<'_>, said: Option<Said>, end: SessionEnd) {
        if self.phase != Phase::Ending {
            self.conclude_judged(turn);
        }
        if self.phase == Phase::Ending {
            return;
        }
        let securing = self.phase == Phase::Securing;
        if let Some(said) = said
            && !securing
        {
            self.tell(turn, &said);
        }
        self.phase = Phase::Ending;
        self.flags.gone = true;
        turn.out.count(Event::Ended(end));
        let peer = Peer::Downstream;
        turn.out.outputs.push(if securing { Output::Abort(peer) } else { Output::Close(peer) });
        let lost = self.abandon_content(turn);
        self.drop_transaction(turn, lost, None);
        self.stop_asking(turn);
        self.owed.keep_messages();
        self.dismiss_all(turn);
    }

    /// Lets every hop go but those that owe the reply to a message.
    pub(super) fn dismiss_all(&mut self, turn: &mut Turn<'_>) {
        for hop in self.upstreams.ids() {
            if !self.owes_message(hop) {
                self.dismiss(turn, hop);
            }
        }
    }

    /// The client cannot be told anything any more.
    pub(super) fn client_gone(&mut self, turn: &mut Turn<'_>, end: SessionEnd) {
        self.flags.gone = true;
        self.hang_up(turn, None, end);
    }

    /// The client will send no more. What it sent before is served: it may still be listening.
    pub(super) fn client_eof(&mut self, turn: &mut Turn<'_>) {
        self.flags.eof = true;
        if self.lacks_octets() && !self.flags.early {
            self.client_gone(turn, SessionEnd::ClientGone);
        }
    }

    /// `shutdown_grace` is over. A message whose end-of-data has left is waited for all the same.
    pub(super) fn stop(&mut self) {
        (self.flags.stopping, self.flags.stopped) = (true, true);
    }

    /// Time has passed: ends every wait that is over.
    pub(super) fn deadline_passed(&mut self, turn: &mut Turn<'_>, stalled: bool) {
        // Each round ends one wait; there are only so many.
        for _ in 0..=2 * HOPS {
            match self.next_wait() {
                Some((wait, until)) if until <= turn.now => self.waited_enough(turn, wait, stalled),
                _ => return,
            }
        }
    }

    fn waited_enough(&mut self, turn: &mut Turn<'_>, wait: Wait, stalled: bool) {
        match wait {
            Wait::Passage => self.end_passage(turn, SessionEnd::Idle),
            Wait::Command => self.hang_up(turn, Some(Said::Own(&own::IDLE)), SessionEnd::Idle),
            Wait::Content => match self.upstreams.current().filter(|&hop| stalled && self.streams_to(hop)) {
                Some(hop) => {
                    self.heard_at = turn.now;
                    self.lost(turn, hop, None);
                }
                None => self.hang_up(turn, Some(Said::Own(&own::IDLE)), SessionEnd::Idle),
            },
            Wait::Opening => self.content_waited_enough(turn),
            Wait::Handshake => self.handshake_too_late(turn),
            Wait::Greeting => self.waited_to_greet(turn),
            Wait::Answer => self.answer_too_late(turn),
            Wait::Attempts => self.attempts_timed_out(turn),
            Wait::Callout => self.callout_timed_out(turn),
            Wait::Quit => {
                if let Some(hop) = self.answer_head(Said::Own(&own::BYE)) {
                    self.drop_current(turn, hop);
                }
                self.settle(turn);
            }
            Wait::Hop(hop) => self.hop_too_late(turn, hop),
        }
    }

    /// The client has waited long enough for the answer at the head.
    fn answer_too_late(&mut self, turn: &mut Turn<'_>) {
        match self.owed.head() {
            Some(head) if matches!(head.what, What::Greeting) => {
                let said = Said::Own(&own::ANSWER_TIMEOUT_GREETING);
                self.hang_up(turn, Some(said), SessionEnd::HopLost);
            }
            Some(head) if matches!(head.answer, Answer::Trying(_)) => self.attempts_timed_out(turn),
            Some(head) if matches!(head.answer, Answer::Asked(_)) => {
                self.refuse_inquiry(turn, &own::ANSWER_TIMEOUT);
                self.settle(turn);
            }
            _ => {
                if let Some(hop) = self.answer_head(Said::Own(&own::ANSWER_TIMEOUT)) {
                    // Its reply may still come and must not be taken for another's.
                    self.lost(turn, hop, None);
                }
                self.settle(turn);
            }
        }
    }

    /// Answers the head ourselves; returns the hop that should have.
    fn answer_head(&mut self, said: Said) -> Option<HopId> {
        let head = self.owed.head_mut()?;
        match std::mem::replace(&mut head.answer, Answer::Own(said)) {
            Answer::Hop(hop) => Some(hop),
            _ => None,
        }
    }
}
