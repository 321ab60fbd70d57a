//! What comes of a recipient that is tried elsewhere.
//!
//! In:    what the hop of an attempt answers, or that it is lost; that the ladder's time is over.
//! Out:   the transaction's new place, the next rung, or the reply that is owed, asked about as one.
//! Never: leaves a hop inside a transaction that went elsewhere.

use std::sync::Arc;

use super::super::attempt::Failure;
use super::super::events::{AttemptEnd, Event};
use super::super::hop::{Hop, Tried};
use super::super::owed::{Answer, Entry};
use super::super::peer::Why;
use super::super::peer::{HopId, Origin};
use super::super::route::Place;
use super::super::said::Said;
use super::super::turn::Turn;
use super::Conductor;
use super::asking::Occasion;
use crate::dialog::Expect;
use crate::smtp::{ReplyRef, own};

impl Conductor {
    /// A hop answered what the attempt said.
    pub(super) fn attempt_answered(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        expect: Expect,
        reply: ReplyRef<'_>,
    ) {
        if reply.code().is_intermediate() {
            return self.spoke_out_of_class(turn, hop, reply);
        }
        let Some((_, attempt)) = self.owed.attempt().filter(|(_, attempt)| attempt.is_at(hop)) else {
            return;
        };
        if expect == Expect::RungMail {
            if reply.code().is_negative() {
                attempt.mail_refused(reply);
            }
            return;
        }
        let refusal = attempt.take_mail_refusal();
        let reply = refusal.as_ref().map_or(reply, |refusal| refusal.as_ref().as_ref());
        self.note_attempt(hop, Some(reply.as_bytes()));
        if reply.code().is_positive() {
            return self.attempt_accepted(turn, hop, reply);
        }
        turn.count(Event::Attempt(AttemptEnd::Refused));
        let Some((_, attempt)) = self.owed.attempt() else { return };
        if attempt.by().is_none() {
            // A route: what this hop says is the answer, and is asked about as one.
            if let Some(Entry { what, .. }) = self.owed.pop() {
                self.judge(turn, what, Occasion::of(hop), reply, None);
                // While callouts are asked about it, the hop is kept: a ladder may begin from there.
                if !self.is_asked_about(hop) {
                    self.leave_attempt(turn, hop);
                    self.owed.head_waits_since(turn.now);
                }
                self.settle(turn);
            }
            return;
        }
        attempt.refused(hop, reply);
        self.withdraw(turn, hop);
        self.next_rung(turn);
    }

    /// 2xx: the recipient joins the transaction, brings it to this hop, or must come by itself.
    fn attempt_accepted(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(Entry { answer: Answer::Trying(attempt), what }) = self.owed.pop() else { return };
        if attempt.by().is_some() {
            self.owed.head_waits_since(turn.now);
            self.take_over(turn, attempt.into_recipient(), hop, reply, None);
        } else {
            self.judge(turn, what, Occasion::Accepted { attempt, hop }, reply, None);
        }
        self.settle(turn);
    }

    /// A route's hop refused the recipient. Where hosts are by domain the dialog stays open for more recipients of it,
    /// unless it is tried on by now, which may be at the transaction's own hop.
    pub(super) fn leave_attempt(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let tried_on = self.owed.attempt().is_some();
        if self.may_settle() && !tried_on && self.hops.get(hop).is_some_and(Hop::may_be_in_mail) {
            self.adopt(turn, hop);
        } else {
            self.withdraw(turn, hop);
        }
    }

    /// Leaves a hop where an attempt was made: the transaction's own is not touched, home hears RSET, any other QUIT.
    pub(super) fn withdraw(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.is_attempted_at(hop) || self.hops.current() == Some(hop) {
            return;
        }
        if self.hops.home() == Some(hop) {
            return self.reset_if_in_mail(turn, hop);
        }
        if self.hops.is_ready(hop) {
            self.reset_if_in_mail(turn, hop);
            if let Some(open) = self.hops.get_mut(hop) {
                open.say_quit(turn);
            }
        }
        self.hops.close(turn, hop, true);
    }

    /// The hop of an attempt was lost: the next host of its place, or the next rung.
    pub(super) fn attempt_lost(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried, why: Why) {
        self.ask_no_more(turn);
        if let Some((_, attempt)) = self.owed.attempt() {
            attempt.hop_lost(why);
        }
        if !self.try_at(turn, place, tried) {
            self.next_rung(turn);
        }
    }

    /// The transaction's own hop was lost in the midst of an attempt on it.
    pub(super) fn attempt_gone(&mut self, turn: &mut Turn<'_>) {
        if let Some((_, attempt)) = self.owed.attempt() {
            attempt.own_hop_lost();
            self.next_rung(turn);
        }
    }

    /// The ladder's time is over.
    pub(super) fn attempts_timed_out(&mut self, turn: &mut Turn<'_>) {
        if let Some(hop) = self.owed.attempt().and_then(|(_, attempt)| attempt.hop()) {
            self.note_attempt(hop, None);
        }
        let Some((_, attempt)) = self.owed.attempt() else { return };
        if let Some(hop) = attempt.time_is_over() {
            // Its answer may still come; nobody may take it for another's.
            if self.hops.current() == Some(hop) {
                self.lost(turn, hop, None);
            } else {
                self.owed.void(hop, &own::OTHER_HOP);
                self.hops.close(turn, hop, false);
            }
        }
        self.ladder_failed(turn);
    }

    /// No rung was accepted: the client hears what sums it up, after the rules that are left were asked about it.
    pub(super) fn ladder_failed(&mut self, turn: &mut Turn<'_>) {
        if self.owed.attempt().is_none() {
            return;
        }
        let Some(Entry { what, answer: Answer::Trying(attempt) }) = self.owed.pop() else { return };
        self.owed.head_waits_since(turn.now);
        let Failure { by, origin, reply, nowhere } = attempt.failure(self.client.id());
        if by.is_some() {
            let hop = self.hops.current();
            self.judge(turn, what, Occasion::Reply { hop, origin }, reply.as_ref().as_ref(), by);
        } else {
            // Its own reasons come first; a host's refusal of the session is one, unless it would end this one.
            let refusal = self.hops.take_refusal().filter(|refusal| !refusal.code().closes());
            let said = match (refusal, nowhere) {
                (Some(refusal), _) => refusal,
                (None, Some(nowhere)) => Said::Own(nowhere),
                (None, None) => match origin {
                    Origin::Hop(hop) => Said::Heard(hop, Arc::new(*reply), None),
                    Origin::Gatepost => Said::Written(Arc::new(*reply).into()),
                },
            };
            self.owed.put_back(what, Answer::Own(said));
        }
        self.settle(turn);
    }

    /// Whether this hop is where an attempt is being made, apart from the transaction's own.
    pub(super) fn is_trial(&self, hop: HopId) -> bool {
        let tried = match self.owed.head().map(|head| &head.answer) {
            Some(Answer::Trying(attempt)) => attempt.is_at(hop),
            Some(Answer::Asked(inquiry)) => inquiry.is_about_acceptance_at(hop),
            _ => false,
        };
        tried && self.hops.current() != Some(hop)
    }

    /// Whether what is under way is a route, not a ladder.
    pub(super) fn is_route(&self) -> bool {
        matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Trying(attempt)) if attempt.by().is_none())
    }

    /// Whether the attempt under way is at this hop, the transaction's own included.
    pub(super) fn is_attempted_at(&self, hop: HopId) -> bool {
        matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Trying(attempt)) if attempt.is_at(hop))
    }
}
