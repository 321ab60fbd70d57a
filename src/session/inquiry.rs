//! Callouts asked, one after the other, about the command or reply at the head of the queue.
//!
//! In:    what is asked about, when the rules had nothing to decide.
//! Out:   one question at a time, encoded; taken back when nobody waits for its answer any more.
//! Never: asks a callout twice about one command, or two at once.
//!
//! A question is opened only at the head of the queue: it shows the dialog as it stands, with all before it answered.
//! Rewrites accumulate in the candidate, so that later callouts see them; the first verdict that decides ends the
//! stage. One deadline per callout, one budget for all of a stage, both within `timeouts.answer`.

use std::sync::Arc;
use std::time::Instant;

use super::attempt::Ladder;
use super::callout::{CalloutId, Fault, FaultKind};
use super::heed::Ruling;
use super::io::{Ask, CalloutEnd, Event, HopId, Output, Taken, Ticket};
use super::owed::{Answer, Owed, Said, What};
use super::verdict::{Question, Stage};
use super::{Session, Turn};
use crate::smtp::{Reply, ReplyRef, Verb, own};

/// What callouts are being asked about.
#[derive(Debug)]
pub struct Inquiry {
    pub stage: Stage,
    pub about: About,
    /// The last one that is done with.
    pub after: Option<CalloutId>,
    /// The question that is open; `None` while the entry is not yet the head.
    pub open: Option<Open>,
    /// When the time of all of them is over.
    until: Option<Instant>,
}

/// On which occasion.
#[derive(Debug)]
pub enum About {
    /// A command, or the connection itself.
    Command { verb: Verb, argument: Box<[u8]> },
    /// The first BDAT of a message, whose octets wait.
    Chunks { size: u64, last: bool },
    /// A hop's reply. `spent`: a ladder has failed with it; `trial`: it comes from where a route led.
    Reply { hop: Option<HopId>, reply: Box<Reply>, spent: bool, trial: bool },
    /// A recipient that was accepted where its route led.
    Accepted { ladder: Box<Ladder>, hop: HopId, reply: Box<Reply> },
}

/// One question.
#[derive(Debug)]
pub struct Open {
    pub ticket: Ticket,
    pub callout: CalloutId,
    pub since: Instant,
    pub until: Instant,
}

impl Inquiry {
    pub fn new(stage: Stage, about: About, after: Option<CalloutId>) -> Inquiry {
        Inquiry { stage, about, after, open: None, until: None }
    }

    /// Whether it is about a command: then nothing behind it is taken before it is decided.
    pub fn is_about_command(&self) -> bool {
        matches!(self.about, About::Command { .. } | About::Chunks { .. })
    }

    /// Whether the loss of this hop takes away what is asked about: a reply by which something is yet to happen there.
    pub fn rests_on(&self, hop: HopId) -> bool {
        match &self.about {
            About::Reply { hop: at, reply, .. } => {
                *at == Some(hop) && self.stage != Stage::MessageReply && !reply.code().is_negative()
            }
            _ => false,
        }
    }

    /// Whether it is about what this hop said.
    pub fn names(&self, hop: HopId) -> bool {
        match &self.about {
            About::Reply { hop: at, .. } => *at == Some(hop),
            About::Accepted { hop: at, .. } => *at == hop,
            About::Command { .. } | About::Chunks { .. } => false,
        }
    }

    /// When the open question's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// The attempt goes on as if its hop had not accepted.
    pub fn into_attempt(self) -> Answer {
        let Inquiry { about, stage, after, open, until } = self;
        match about {
            About::Accepted { ladder, .. } => Answer::Trying(ladder),
            about => Answer::Asked(Box::new(Inquiry { about, stage, after, open, until })),
        }
    }

    /// The reply that is asked about.
    pub fn reply(&self) -> Option<ReplyRef<'_>> {
        match &self.about {
            About::Reply { reply, .. } | About::Accepted { reply, .. } => Some(reply.as_ref().as_ref()),
            About::Command { .. } | About::Chunks { .. } => None,
        }
    }
}

impl Inquiry {
    /// The verb of the command that is asked about.
    pub fn verb(&self) -> Verb {
        match self.about {
            About::Command { verb, .. } => verb,
            _ => Verb::Bdat,
        }
    }

    /// Takes back the question that is open.
    pub fn cancel(&mut self, turn: &mut Turn<'_>) {
        if let Some(open) = self.open.take() {
            let took = turn.now.saturating_duration_since(open.since);
            turn.out.outputs.push(Output::Cancel(open.ticket));
            turn.out.count(Event::Asked(open.callout, self.stage, CalloutEnd::Cancelled, took));
        }
    }
}

impl Session {
    /// Asks callouts about a command, if any is to be asked, else carries on.
    pub(super) fn consult(
        &mut self,
        turn: &mut Turn<'_>,
        stage: Stage,
        what: What,
        verb: Verb,
        argument: &[u8],
    ) {
        if self.settings.callouts.stages().has(stage) {
            let question = self.command_question(stage, &what, verb, argument);
            if self.settings.callouts.next(&question, None, None).is_some() {
                let about = About::Command { verb, argument: argument.into() };
                return self.inquire_in_turn(turn, stage, what, about);
            }
        }
        self.decide(turn, what, None, None);
    }

    /// Queues a question about a command; it is opened when all before it is answered.
    pub(super) fn inquire_in_turn(&mut self, turn: &mut Turn<'_>, stage: Stage, what: What, about: About) {
        if self.owed.is_empty() {
            self.head_since = turn.now;
        }
        self.owed.push(what, Answer::Asked(Box::new(Inquiry::new(stage, about, None))));
        self.settle(turn);
    }

    /// Whether a callout is to be asked about a hop's reply.
    pub(super) fn has_callout_for(
        &self,
        stage: Stage,
        what: &What,
        reply: ReplyRef<'_>,
        after: Option<CalloutId>,
    ) -> bool {
        // A challenge is the AUTH exchange itself (law 9).
        let secret = stage == Stage::AuthReply && reply.code().is_intermediate();
        self.settings.callouts.stages().has(stage)
            && !secret
            && self.settings.callouts.next(&self.reply_question(stage, what), Some(reply), after).is_some()
    }

    /// The head is to be asked about: opens its next question, or carries on if there is none. Returns whether the
    /// head may have moved on.
    pub(super) fn inquire(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(Owed { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop() else { return false };
        if inquiry.open.is_some() {
            self.owed.put_back(what, Answer::Asked(inquiry));
            return false;
        }
        if matches!((&what, &inquiry.about), (What::Rcpt(_), About::Command { .. }))
            && !self.has_transaction()
            || matches!(what, What::Data) && inquiry.is_about_command() && self.transaction.is_none()
        {
            // Its MAIL was refused in the meantime: there is nothing to ask about.
            turn.out.count(Event::Command(inquiry.verb(), Taken::Refused));
            self.owed.put_back(what, Answer::Own(Said::Own(&own::NEED_MAIL)));
            return true;
        }
        let callouts = Arc::clone(&self.settings.callouts);
        let question = self.inquiry_question(&what, &inquiry);
        let Some(callout) = callouts.next(&question, inquiry.reply(), inquiry.after) else {
            self.conclude_inquiry(turn, what, *inquiry, Ruling::Nothing, None);
            return true;
        };
        let budget = *inquiry.until.get_or_insert(turn.now + self.settings.timeouts.callouts);
        if budget <= turn.now {
            let fault = Fault::new(FaultKind::TimedOut, "no time is left of timeouts.callouts");
            let open = Open { ticket: Ticket::default(), callout, since: turn.now, until: turn.now };
            self.callout_failed(turn, what, inquiry, &open, fault);
            return true;
        }
        let octets = callouts.encode(callout, &self.inquiry_question(&what, &inquiry), inquiry.reply());
        let ticket = self.owed.ticket();
        let until = budget.min(turn.now + callouts.terms(callout).timeout);
        inquiry.open = Some(Open { ticket, callout, since: turn.now, until });
        let stage = inquiry.stage;
        turn.out.outputs.push(Output::Ask(Box::new(Ask {
            ticket,
            callouts,
            callout,
            stage,
            question: octets,
        })));
        self.owed.put_back(what, Answer::Asked(inquiry));
        false
    }

    /// A hop is let go of or lost. If callouts are asked about a reply by which something was yet to happen there, the
    /// reply is void: it is as if it had not come, and another one will be asked about anew.
    pub(super) fn ask_again(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(Owed { answer, .. }) = self.owed.head_mut()
            && let Answer::Asked(inquiry) = answer
            && inquiry.rests_on(hop)
        {
            inquiry.cancel(turn);
            *answer = Answer::Hop(hop);
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
                turn.out.count(Event::Command(inquiry.verb(), Taken::Refused));
            }
        }
    }

    /// Content that a hop has judged is concluded without callouts: whatever the client hears next, it hears that first
    /// (law 3).
    pub(super) fn conclude_judged(&mut self, turn: &mut Turn<'_>) {
        let judged = |head: &Owed| matches!((&head.what, &head.answer), (What::Message(_), Answer::Asked(_)));
        if self.owed.head().is_some_and(judged)
            && let Some(Owed { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop()
        {
            inquiry.cancel(turn);
            self.conclude_inquiry(turn, what, *inquiry, Ruling::Nothing, None);
        }
    }

    /// The question at the head, if one is open, is not asked any more.
    pub(super) fn cancel_head(&mut self, turn: &mut Turn<'_>) {
        if let Some(Owed { answer: Answer::Asked(inquiry), .. }) = self.owed.head_mut() {
            inquiry.cancel(turn);
        }
    }

    /// The question as it stands now.
    fn inquiry_question<'a>(&'a self, what: &'a What, inquiry: &'a Inquiry) -> Question<'a> {
        match &inquiry.about {
            About::Command { verb, argument } => self.command_question(inquiry.stage, what, *verb, argument),
            About::Chunks { .. } => self.command_question(inquiry.stage, what, Verb::Bdat, b""),
            About::Reply { .. } | About::Accepted { .. } => self.reply_question(inquiry.stage, what),
        }
    }
}
