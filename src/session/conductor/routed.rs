//! A recipient that an attempt's hop accepted: what is made of that, and whose it is then.
//!
//! In:    what was decided about the acceptance, where a route led there.
//! Out:   the recipient in the transaction, which moves to that hop if nothing pins it; or taken back there.
//! Never: keeps a recipient at a hop that is not the transaction's (452 4.5.3 instead).

use super::super::attempt::Attempt;
use super::super::conversations::About;
use super::super::events::{AttemptEnd, Event, SessionEnd};
use super::super::law::reply_verdict;
use super::super::notes::Told;
use super::super::owed::{Answer, Entry};
use super::super::peer::HopId;
use super::super::said::{Said, Written};
use super::super::stage::{Giver, Stage};
use super::super::transaction::Recipient;
use super::super::turn::Turn;
use super::super::verdict::ReplyVerdict;
use super::Conductor;
use crate::smtp::{ReplyRef, own};

impl Conductor {
    /// Does what was decided about a recipient that was accepted where its route led.
    pub(super) fn decide_routed(
        &mut self,
        turn: &mut Turn<'_>,
        attempt: Attempt,
        hop: HopId,
        reply: ReplyRef<'_>,
        verdict: Option<ReplyVerdict>,
        by: Option<Giver>,
    ) {
        self.owed.head_waits_since(turn.now);
        let lawful = |verdict: &ReplyVerdict| reply_verdict(Stage::RcptReply, reply, verdict).is_ok();
        let (said, end) = match verdict.filter(lawful) {
            Some(ReplyVerdict::Disconnect(said)) => {
                (Said::disconnect(said, by, Stage::RcptReply, self.client.id()), true)
            }
            Some(ReplyVerdict::Substitute(instead)) if instead.code().is_negative() => {
                let closes = instead.code().closes();
                (Said::Written(Written::by(by, Stage::RcptReply, instead)), closes)
            }
            Some(ReplyVerdict::Substitute(instead)) => {
                let instead = Written::by(by, Stage::RcptReply, instead);
                return self.take_over(turn, attempt.into_recipient(), hop, reply, Some(instead));
            }
            _ => return self.take_over(turn, attempt.into_recipient(), hop, reply, None),
        };
        self.withdraw_accepted(turn, hop);
        self.client.tell(turn, &said);
        self.note_recipient(turn, attempt.recipient(), Told::Said(&said));
        if end {
            self.hang_up(turn, None, SessionEnd::Verdict);
        }
    }

    /// A recipient that an attempt's hop accepted joins the transaction, if it may.
    pub(super) fn take_over(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Recipient,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        let pinned = self.delivery.transaction().is_some_and(|transaction| transaction.pinned.is_some());
        if pinned && self.hops.current() != Some(hop) {
            return self.accepted_elsewhere(turn, recipient, hop);
        }
        turn.count(Event::Attempt(AttemptEnd::Accepted));
        self.adopt(turn, hop);
        self.commit_recipient(turn, recipient, hop, reply, instead);
    }

    /// Accepted by a hop that is not the transaction's: withdrawn there, and put off.
    pub(super) fn accepted_elsewhere(&mut self, turn: &mut Turn<'_>, recipient: Recipient, hop: HopId) {
        turn.count(Event::Attempt(AttemptEnd::Deferred));
        let said = Said::Own(&own::OTHER_HOP);
        self.note_recipient(turn, &recipient, Told::Said(&said));
        self.withdraw_accepted(turn, hop);
        self.client.tell(turn, &said);
    }

    fn withdraw_accepted(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.hops.current() == Some(hop) {
            self.rebuild(turn, hop);
        } else {
            self.withdraw(turn, hop);
        }
    }

    /// What callouts are being asked about is void: the acceptance of a hop that is lost.
    pub(super) fn ask_no_more(&mut self, turn: &mut Turn<'_>) {
        self.cancel_head(turn);
        match self.owed.pop() {
            Some(Entry { what, answer: Answer::Asked(inquiry) }) => {
                let asked = |inquiry| Answer::Asked(Box::new(inquiry));
                self.owed.put_back(what, (*inquiry).into_attempt().map_or_else(asked, Answer::Trying));
            }
            Some(Entry { what, answer }) => drop(self.owed.put_back(what, answer)),
            None => {}
        }
    }

    /// Whether callouts are asked what to make of this hop's refusal of an attempt.
    pub(super) fn is_asked_about(&self, hop: HopId) -> bool {
        self.owed.inquiry().is_some_and(
            |inquiry| matches!(inquiry.about, About::Reply { hop: at, trial: true, .. } if at == Some(hop)),
        )
    }
}
