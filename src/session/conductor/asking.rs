//! The asking step: rules first, in file order, then callouts, in file order; what they say, carried out.
//!
//! In:    a command that was checked, or a hop's reply at the head of the queue.
//! Out:   what was decided, handed on to whoever carries it out; or a question to the next callout.
//! Never: asks twice about one command, or anybody about a secret.

use std::sync::Arc;

use super::super::attempt::Attempt;
use super::super::conversations::{About, Inquiry, Ruling};
use super::super::events::{Event, Taken};
use super::super::io::Decided;
use super::super::owed::{Answer, Entry, What};
use super::super::peer::{HopId, Origin};
use super::super::said::Said;
use super::super::stage::CalloutId;
use super::super::stage::{Giver, Stage};
use super::super::turn::Turn;
use super::super::verdict::{CommandVerdict, Question, ReplyVerdict};
use super::Conductor;
use super::questions::reply_stage;
use crate::smtp::{ReplyRef, Verb, own};

/// What is asked about before anything goes to a hop.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A command, or the connection itself.
    Command { verb: Verb, argument: &'a [u8] },
    /// The first BDAT of a message.
    Chunks { size: u64, last: bool },
}

impl Subject<'_> {
    fn to_about(self) -> About {
        match self {
            Subject::Command { verb, argument } => About::Command { verb, argument: argument.into() },
            Subject::Chunks { size, last } => About::Chunks { size, last },
        }
    }
}

/// Whose reply is asked about.
pub(super) enum Occasion {
    /// A hop's, or what a ladder came to. `hop`: where something may come of it.
    Reply { hop: Option<HopId>, origin: Origin },
    /// A hop's where a route led: it accepted the recipient.
    Accepted { attempt: Box<Attempt>, hop: HopId },
}

impl Occasion {
    /// A hop's reply.
    pub(super) fn of(hop: HopId) -> Occasion {
        Occasion::Reply { hop: Some(hop), origin: Origin::Hop(hop) }
    }
}

/// A reply that is the client's to hear.
#[derive(Clone, Copy)]
pub(super) struct Heard<'r> {
    pub reply: ReplyRef<'r>,
    /// Who said it.
    pub origin: Origin,
    /// The hop that what comes of it concerns.
    pub hop: Option<HopId>,
}

impl Conductor {
    /// Asks about a command, and does what is decided.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, stage: Stage, mut what: What, subject: Subject<'_>) {
        if let (Stage::Data, Some(transaction)) = (stage, self.delivery.transaction_mut()) {
            transaction.prepended.data_again();
        }
        if self.settings.rules.stages().has(stage) {
            let answer = self.settings.rules.command(&self.subject_question(stage, &what, subject));
            self.note_command(turn, stage, &answer);
            if let Err(own) = self.rewrite_by_rule(&mut what, answer.rewrites) {
                if matches!(what, What::Mail(_)) {
                    self.delivery.take_transaction();
                }
                return self.reply_own(turn, own);
            }
            if answer.verdict.is_some() {
                let by = answer.by.last().copied().map(Giver::Rule);
                return self.decide_on(turn, stage, what, subject, answer.verdict, by);
            }
        }
        if self.settings.callouts.stages().has(stage)
            && self
                .settings
                .callouts
                .next(&self.subject_question(stage, &what, subject), None, None)
                .is_some()
        {
            // The question is opened when all before it is answered.
            let inquiry = Inquiry::new(stage, subject.to_about(), None);
            self.owed.push(turn.now, what, Answer::Asked(Box::new(inquiry)));
            return self.settle(turn);
        }
        self.decide_on(turn, stage, what, subject, None, None);
    }

    fn decide_on(
        &mut self,
        turn: &mut Turn<'_>,
        stage: Stage,
        what: What,
        subject: Subject<'_>,
        verdict: Option<CommandVerdict>,
        by: Option<Giver>,
    ) {
        if self.has_shadow(stage) {
            let question = self.subject_question(stage, &what, subject);
            self.shadow(turn, &question, Decided::Command(verdict.clone()));
        }
        match subject {
            Subject::Command { .. } => self.decide(turn, what, verdict, by),
            Subject::Chunks { size, last } => self.decide_chunks(turn, size, last, verdict, by),
        }
    }

    fn subject_question<'a>(&'a self, stage: Stage, what: &'a What, subject: Subject<'a>) -> Question<'a> {
        match subject {
            Subject::Command { verb, argument } => self.command_question(stage, what, verb, argument),
            Subject::Chunks { .. } => self.command_question(stage, what, Verb::Bdat, b""),
        }
    }

    /// Asks about a hop's reply, and does what is decided. `after`: whose ladder failed with it.
    pub(super) fn judge(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        occasion: Occasion,
        reply: ReplyRef<'_>,
        after: Option<Giver>,
    ) {
        let Some(stage) = reply_stage(&what).filter(|_| !self.client.is_over()) else {
            return self.decide_on_reply(turn, what, occasion, reply, None, None);
        };
        // A callout's ladder came after all rules were asked.
        let (rules, callout) = match after {
            Some(Giver::Callout(callout)) => (None, Some(callout)),
            Some(Giver::Rule(rule)) => (Some(Some(rule)), None),
            None => (Some(None), None),
        };
        if let Some(after) = rules.filter(|_| self.settings.rules.stages().has(stage))
            && let Some((verdict, by)) =
                self.settings.rules.reply(&self.reply_question(stage, &what), reply, after)
        {
            self.note(turn, stage, Giver::Rule(by), verdict.kind());
            let by = Some(Giver::Rule(by));
            // Behind a ladder they were asked before it.
            if after.is_none() {
                self.shadow_reply(turn, stage, &what, reply, Some(&verdict));
            }
            return self.decide_on_reply(turn, what, occasion, reply, Some(verdict), by);
        }
        if !self.has_callout_for(stage, &what, reply, callout) {
            if after.is_none() {
                self.shadow_reply(turn, stage, &what, reply, None);
            }
            return self.decide_on_reply(turn, what, occasion, reply, None, None);
        }
        let reply = Box::new(reply.to_owned());
        let about = match occasion {
            Occasion::Accepted { attempt, hop } => About::Accepted { attempt, hop, reply },
            Occasion::Reply { hop, origin } => {
                let trial = matches!(what, What::Rcpt(_)) && self.hops.current() != hop;
                About::Reply { hop, origin, reply, spent: after.is_some(), trial }
            }
        };
        self.owed.put_back(what, Answer::Asked(Box::new(Inquiry::new(stage, about, callout))));
    }

    fn decide_on_reply(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        occasion: Occasion,
        reply: ReplyRef<'_>,
        verdict: Option<ReplyVerdict>,
        by: Option<Giver>,
    ) {
        match (occasion, verdict) {
            (Occasion::Accepted { attempt, hop }, verdict) => {
                self.decide_routed(turn, *attempt, hop, reply, verdict, by);
            }
            (Occasion::Reply { hop, origin }, verdict) => {
                self.decide_reply(turn, what, Heard { reply, origin, hop }, verdict, by);
            }
        }
    }

    /// Whether a callout is to be asked about a hop's reply.
    fn has_callout_for(
        &self,
        stage: Stage,
        what: &What,
        reply: ReplyRef<'_>,
        after: Option<CalloutId>,
    ) -> bool {
        self.settings.callouts.stages().has(stage)
            && !is_challenge(stage, reply)
            && self.settings.callouts.next(&self.reply_question(stage, what), Some(reply), after).is_some()
    }

    /// The head is to be asked about: opens its next question, or carries on if there is none. Returns whether the
    /// head may have moved on.
    pub(super) fn inquire(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(Entry { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop() else { return false };
        if inquiry.open.is_some() {
            self.owed.put_back(what, Answer::Asked(inquiry));
            return false;
        }
        if matches!(what, What::Rcpt(_) | What::Data)
            && inquiry.is_about_command()
            && !self.delivery.has_transaction()
        {
            // Its MAIL was refused in the meantime: there is nothing to ask about.
            turn.count(Event::Command(inquiry.verb(), Taken::Refused));
            self.owed.put_back(what, Answer::Own(Said::Own(&own::NEED_MAIL)));
            return true;
        }
        let callouts = Arc::clone(&self.settings.callouts);
        let question = self.inquiry_question(&what, &inquiry);
        let Some(callout) = callouts.next(&question, inquiry.reply(), inquiry.after) else {
            self.conclude_inquiry(turn, what, *inquiry, Ruling::Nothing, None);
            return true;
        };
        if let Some((open, fault)) = inquiry.runs_out(turn.now, self.settings.timeouts.callouts, callout) {
            self.callout_failed(turn, what, inquiry, &open, fault);
            return true;
        }
        let question = self.inquiry_question(&what, &inquiry);
        let octets = callouts.encode(callout, &question, inquiry.reply());
        let octets = (octets, question.instance, question.message.cloned());
        self.conversations.ask(turn, &mut inquiry, &callouts, callout, octets);
        self.owed.put_back(what, Answer::Asked(inquiry));
        false
    }

    /// A hop is let go of or lost. If callouts are asked about a reply by which something was yet to happen there, the
    /// reply is void: it is as if it had not come, and another one will be asked about anew.
    pub(super) fn ask_again(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(inquiry) = self.owed.inquiry_mut().filter(|inquiry| inquiry.rests_on(hop)) {
            inquiry.cancel(turn);
            self.owed.hop_says_head(hop);
        }
    }

    /// The session ends: nobody waits for callouts any more.
    pub(super) fn stop_asking(&mut self, turn: &mut Turn<'_>) {
        self.cancel_head(turn);
        for owed in self.owed.iter() {
            if let Answer::Asked(inquiry) = &owed.answer
                && inquiry.is_about_command()
                && !matches!(owed.what, What::Greeting)
            {
                turn.count(Event::Command(inquiry.verb(), Taken::Refused));
            }
        }
    }

    /// Content that a hop has judged is concluded without callouts: whatever the client hears next, it hears that first
    /// (law 3).
    pub(super) fn conclude_judged(&mut self, turn: &mut Turn<'_>) {
        let judged =
            |head: &Entry| matches!((&head.what, &head.answer), (What::Message(_), Answer::Asked(_)));
        if self.owed.head().is_some_and(judged)
            && let Some(Entry { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop()
        {
            inquiry.cancel(turn);
            self.conclude_inquiry(turn, what, *inquiry, Ruling::Nothing, None);
        }
    }

    /// The question at the head, if one is open, is not asked any more.
    pub(super) fn cancel_head(&mut self, turn: &mut Turn<'_>) {
        if let Some(inquiry) = self.owed.inquiry_mut() {
            inquiry.cancel(turn);
        }
    }

    /// The question as it stands now.
    pub(super) fn inquiry_question<'a>(&'a self, what: &'a What, inquiry: &'a Inquiry) -> Question<'a> {
        match &inquiry.about {
            About::Command { verb, argument } => self.command_question(inquiry.stage, what, *verb, argument),
            About::Chunks { .. } => self.command_question(inquiry.stage, what, Verb::Bdat, b""),
            About::Message => self.message_question(),
            About::Reply { .. } | About::Accepted { .. } => self.reply_question(inquiry.stage, what),
        }
    }
}

/// A challenge is the AUTH exchange itself (law 9).
pub(super) fn is_challenge(stage: Stage, reply: ReplyRef<'_>) -> bool {
    stage == Stage::AuthReply && reply.code().is_intermediate()
}
