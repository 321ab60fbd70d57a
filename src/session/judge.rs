//! Verdicts on replies: asked for, and carried out, whoever gave them.
//!
//! In:    a hop's reply at the head of the queue.
//! Out:   the reply concluded, as it is or replaced; a ladder begun; the dialog closed; or callouts asked first.
//! Never: tells the client a class the hop's reply does not allow.
//!
//! RFC 5321 4.3.2 (replies by command).

use super::ask::reply_stage;
use super::inquiry::{About, Inquiry};
use super::io::{HopId, SessionEnd};
use super::notes::kind_of_reply_verdict;
use super::owed::{Answer, Said, What};
use super::verdict::{Giver, ReplyVerdict};
use super::{Session, Turn};
use crate::smtp::{Reply, ReplyRef};

impl Session {
    /// Asks about a hop's reply and does what is decided. `after`: whose ladder failed with this reply; `hop`: the one
    /// that said it, or that the transaction has by then, if it has one.
    pub(super) fn judge(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        hop: Option<HopId>,
        reply: ReplyRef<'_>,
        after: Option<Giver>,
    ) {
        let Some(stage) = reply_stage(&what).filter(|_| !self.is_ending()) else {
            return self.conclude(turn, what, hop, reply, None);
        };
        // A callout's ladder came after all rules were asked.
        let (rules, callout) = match after {
            Some(Giver::Callout(callout)) => (None, Some(callout)),
            Some(Giver::Rule(rule)) => (Some(Some(rule)), None),
            None => (Some(None), None),
        };
        if let Some(after) = rules.filter(|_| self.settings.rules.stages().has(stage)) {
            let question = self.reply_question(stage, &what);
            if let Some((verdict, by)) = self.settings.rules.reply(&question, reply, after) {
                self.note(turn, stage, Giver::Rule(by), kind_of_reply_verdict(&verdict));
                return self.decide_reply(turn, what, hop, reply, verdict, Some(Giver::Rule(by)));
            }
        }
        if !self.has_callout_for(stage, &what, reply, callout) {
            return self.conclude(turn, what, hop, reply, None);
        }
        let trial = matches!(what, What::Rcpt(_)) && self.upstreams.current() != hop;
        let spent = after.is_some();
        let about = About::Reply { hop, reply: Box::new(reply.to_owned()), spent, trial };
        self.owed.put_back(what, Answer::Asked(Box::new(Inquiry::new(stage, about, callout))));
    }

    /// Does what was decided about a hop's reply, whoever decided it.
    pub(super) fn decide_reply(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        hop: Option<HopId>,
        reply: ReplyRef<'_>,
        verdict: ReplyVerdict,
        by: Option<Giver>,
    ) {
        match (verdict, what) {
            // A hop's word on the content stands: a 2xx stays one.
            (ReplyVerdict::Substitute(instead), what @ What::Message(_))
                if reply.code().is_positive() != instead.code().is_positive() =>
            {
                self.conclude(turn, what, hop, reply, None);
            }
            (ReplyVerdict::Disconnect(_), what @ What::Message(_)) => {
                self.conclude(turn, what, hop, reply, None)
            }
            (ReplyVerdict::Substitute(instead), what) if may_replace(reply, &instead) => {
                self.conclude(turn, what, hop, reply, Some(instead));
            }
            (ReplyVerdict::Retry(rungs), What::Rcpt(recipient))
                if reply.code().is_negative() && self.has_transaction() && by.is_some() =>
            {
                self.begin_ladder(turn, recipient, hop, reply, rungs, by);
            }
            (ReplyVerdict::Disconnect(said), _) => {
                self.hang_up(turn, Some(Said::disconnect(said)), SessionEnd::Verdict);
            }
            (_, what) => self.conclude(turn, what, hop, reply, None),
        }
    }
}

/// What may stand in a reply's place: the same class, or a refusal for anything else; never 2xx or 3xx for a refusal.
fn may_replace(reply: ReplyRef<'_>, instead: &Reply) -> bool {
    instead.code().is_negative() || instead.code().class() == reply.code().class()
}
