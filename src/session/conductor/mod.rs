//! The conductor: whatever concerns two machines of a session.
//!
//! In:    one event of one machine.
//! Out:   the others told of it; answers that are ready, given; a session with nothing left to do, ended.
//! Never: keeps state of its own, or carries a step out twice.
//!
//! A command comes in at [`commands`], is asked about at [`asking`] and decided at [`decisions`]; its reply comes in at
//! [`replies`], is asked about again, and concluded at [`answers`] and [`outcomes`]. What moves on is decided at the head
//! of the queue of answers owed. Interruptions are one function over that queue ([`interruptions`]).

mod answers;
mod asking;
mod attempted;
mod attempts;
mod commands;
mod content;
mod deadlines;
mod decisions;
mod dialogs;
mod domain;
mod envelope;
mod heeding;
mod interruptions;
mod invariants;
mod opening;
mod outcomes;
mod questions;
mod records;
mod replies;
mod routed;
mod trust;

use super::client::Phase;
use super::io::SessionEnd;
use super::owed::{Answer, Said, What};
use super::turn::Turn;
use super::{Session, Stopping};
use crate::smtp::own;

/// More answers than this are never owed at once; further commands wait in the line buffer.
const OWED: usize = 256;

impl Session {
    /// Takes the client's octets, as far as they may be taken now.
    pub(super) fn receive_downstream(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> usize {
        if self.client.is_greeting_delayed() && !octets.is_empty() {
            self.spoke_early(turn);
        }
        if self.awaits_passage() && !octets.is_empty() {
            self.refuse_early_octets(turn);
        }
        if self.client.phase() == Phase::ClientHello {
            self.take_client_hello(turn, octets);
        }
        let mut taken = 0;
        while taken < octets.len() {
            match self.client.phase() {
                Phase::Over => return octets.len(),
                Phase::Securing => return taken,
                Phase::ClientHello | Phase::Unspeakable => break,
                Phase::Open | Phase::OnlyQuit => {}
            }
            if self.passage.is_some() {
                break;
            }
            self.client.has_more(false);
            let went = if self.delivery.takes_content(&self.hops) {
                self.take_content(turn, octets, taken)
            } else if self.takes_command() {
                self.take_line(turn, &octets[taken..])
            } else {
                None
            };
            match went {
                Some(went) => taken += went,
                None => break,
            }
        }
        // With nothing to come and nothing owed, what was not taken is no line and never will be.
        let idle = self.owed.is_empty() && !self.delivery.in_content();
        let torn = self.client.has_finished() && taken == 0 && idle;
        self.client.has_more(taken < octets.len() && !torn);
        taken
    }

    /// Whether the client's next command may be taken.
    fn takes_command(&self) -> bool {
        !self.authenticated_hop_lost
            && self.delivery.content().is_none_or(|content| content.is_between_chunks())
            && self.owed.len() < OWED
            && self.owed.tail().is_none_or(|tail| {
                !tail.what.holds_back()
                    && match &tail.answer {
                        Answer::Held(_) | Answer::Trying(_) => false,
                        Answer::Asked(inquiry) => !inquiry.is_about_command(),
                        Answer::Unsaid | Answer::Hop(_) | Answer::Heard(..) | Answer::Own(_) => true,
                    }
            })
            && !matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Trying(_)))
    }

    /// What follows every step: answers that are ready go out, and a session with nothing left to do ends.
    pub(super) fn after(&mut self, turn: &mut Turn<'_>) {
        if self.passage.is_some() {
            return;
        }
        self.finish_empty_chunk(turn);
        self.settle(turn);
        if self.client.is_over() {
            return self.dismiss_all(turn);
        }
        let finished = self.client.has_finished() && !self.client.is_early();
        if self.authenticated_hop_lost && self.owed.is_empty() && !self.delivery.in_content() {
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        } else if self.is_to_stop() {
            self.hang_up(turn, Some(Said::Own(&own::SHUTTING_DOWN)), SessionEnd::Shutdown);
        } else if finished && (self.delivery.lacks_octets() || self.owed.is_empty()) {
            self.client_gone(turn, SessionEnd::ClientGone);
        }
    }

    fn is_to_stop(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            // Nothing is under way: no command unanswered, no transaction.
            Stopping::Soon => self.owed.is_empty() && self.delivery.is_none(),
            Stopping::Now => !self.must_finish(),
        }
    }

    /// Owes the client a reply of our own to what it just said; it goes out in its turn.
    fn owe(&mut self, turn: &mut Turn<'_>, what: What, said: Said) {
        self.owed.push(turn.now, what, Answer::Own(said));
        self.settle(turn);
    }
}
