//! A recipient accepted or refused where its route led: that is its reply, and is asked about as any other.
//!
//! In:    what the hop of a route said to the recipient.
//! Out:   the recipient joins the transaction, or is withdrawn there.
//! Never: gives up the hop while callouts are asked about what it said: a ladder may begin from there.

use std::sync::Arc;

use super::attempt::Ladder;
use super::inquiry::{About, Inquiry};
use super::io::{AttemptEnd, Event, HopId, SessionEnd};
use super::notes::{kind_of_reply_verdict, said_line};
use super::owed::{Answer, Owed, Said, What};
use super::transaction::Recipient;
use super::verdict::{Giver, ReplyVerdict, Stage};
use super::{Session, Turn};
use crate::smtp::{Reply, ReplyRef};

impl Session {
    /// A route's hop accepted the recipient: that is its reply, and is asked about as one.
    pub(super) fn ask_about_routed(
        &mut self,
        turn: &mut Turn<'_>,
        original: Box<Recipient>,
        ladder: Box<Ladder>,
        hop: HopId,
        reply: ReplyRef<'_>,
    ) {
        let (stage, what) = (Stage::RcptReply, What::Rcpt(original));
        if self.settings.rules.stages().has(stage)
            && let Some((verdict, by)) =
                self.settings.rules.reply(&self.reply_question(stage, &what), reply, None)
        {
            self.note(turn, stage, Giver::Rule(by), kind_of_reply_verdict(&verdict));
            return self.decide_routed(turn, *ladder, hop, reply, Some(verdict));
        }
        if self.has_callout_for(stage, &what, reply, None) {
            let about = About::Accepted { ladder, hop, reply: Box::new(reply.to_owned()) };
            self.owed.put_back(what, Answer::Asked(Box::new(Inquiry::new(stage, about, None))));
            return;
        }
        self.decide_routed(turn, *ladder, hop, reply, None);
    }

    /// Does what was decided about a recipient that was accepted where its route led.
    pub(super) fn decide_routed(
        &mut self,
        turn: &mut Turn<'_>,
        ladder: Ladder,
        hop: HopId,
        reply: ReplyRef<'_>,
        verdict: Option<ReplyVerdict>,
    ) {
        self.head_since = turn.now;
        let (said, end) = match verdict {
            Some(ReplyVerdict::Disconnect(said)) => (Said::disconnect(said), true),
            Some(ReplyVerdict::Substitute(instead)) if instead.code().is_negative() => {
                let closes = super::closes(instead.code().get());
                (Said::Written(instead), closes)
            }
            Some(ReplyVerdict::Substitute(instead)) if instead.code().is_positive() => {
                return self.take_over(turn, *ladder.recipient, hop, reply, Some(instead));
            }
            _ => return self.take_over(turn, *ladder.recipient, hop, reply, None),
        };
        self.withdraw_accepted(turn, hop);
        self.tell(turn, &said);
        self.note_recipient(turn, &ladder.recipient, said_line(&said), None, said.code().class());
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
        instead: Option<Arc<Reply>>,
    ) {
        let pinned = self.transaction.as_ref().is_some_and(|transaction| transaction.pinned.is_some());
        if pinned && self.upstreams.current() != Some(hop) {
            return self.accepted_elsewhere(turn, recipient, hop, reply);
        }
        turn.out.count(Event::Attempt(AttemptEnd::Accepted));
        self.adopt(turn, hop);
        self.commit_recipient(turn, recipient, hop, reply, instead);
    }

    /// What callouts are being asked about is void: the acceptance of a hop that is lost.
    pub(super) fn ask_no_more(&mut self, turn: &mut Turn<'_>) {
        self.cancel_head(turn);
        match self.owed.pop() {
            Some(Owed { what, answer: Answer::Asked(inquiry) }) => {
                self.owed.put_back(what, (*inquiry).into_attempt());
            }
            Some(Owed { what, answer }) => drop(self.owed.put_back(what, answer)),
            None => {}
        }
    }

    /// Whether callouts are asked what to make of this hop's refusal of an attempt.
    pub(super) fn is_asked_about(&self, hop: HopId) -> bool {
        matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Asked(inquiry))
            if matches!(inquiry.about, About::Reply { hop: at, trial: true, .. } if at == Some(hop)))
    }
}
