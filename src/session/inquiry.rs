//! Callouts asked, one after the other, about the command or reply at the head of the queue.
//!
//! In:    what is asked about, when the rules had nothing to decide; answers and failures, by ticket; the deadline.
//! Out:   one question at a time, then the verdict carried out as a rule's would be.
//! Never: asks a callout twice about one command, believes an answer its stage does not allow, or takes a failure for
//!        leave to go on: `on_error` says what becomes of it (law 6).
//!
//! A question is opened only at the head of the queue: it shows the dialog as it stands, with all before it answered.
//! Rewrites accumulate in the candidate, so that later callouts see them; the first verdict that decides ends the
//! stage. One deadline per callout, one budget for all of a stage, both within `timeouts.answer`.

use std::sync::Arc;
use std::time::Instant;

use super::allowed::{command_fault, is_postmaster, reply_fault};
use super::attempt::Ladder;
use super::callout::{CalloutAnswer, CalloutId, Fault, FaultKind, OnError};
use super::io::{Ask, CalloutEnd, Event, HopId, Output, Taken, Ticket, VerdictKind};
use super::notes::{kind_of_command_verdict, kind_of_reply_verdict};
use super::owed::{Answer, Owed, Said, What};
use super::verdict::{CommandVerdict, Giver, Question, ReplyVerdict, Stage};
use super::{Session, Turn};
use crate::smtp::{Own, Reply, ReplyRef, Verb, own};

/// What callouts are being asked about.
#[derive(Debug)]
pub struct Inquiry {
    pub stage: Stage,
    pub about: About,
    /// The last one that is done with.
    after: Option<CalloutId>,
    /// The question that is open; `None` while the entry is not yet the head.
    open: Option<Open>,
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
    Reply { hop: HopId, reply: Box<Reply>, spent: bool, trial: bool },
    /// A recipient that was accepted where its route led.
    Accepted { ladder: Box<Ladder>, hop: HopId, reply: Box<Reply> },
}

/// One question.
#[derive(Debug)]
struct Open {
    ticket: Ticket,
    callout: CalloutId,
    since: Instant,
    until: Instant,
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
                *at == hop && self.stage != Stage::MessageReply && !reply.code().is_negative()
            }
            _ => false,
        }
    }

    /// When the open question's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// The attempt goes on as if its hop had not accepted.
    pub fn into_attempt(self: Box<Inquiry>) -> Answer {
        let Inquiry { about, stage, after, open, until } = *self;
        match about {
            About::Accepted { ladder, .. } => Answer::Trying(ladder),
            about => Answer::Asked(Box::new(Inquiry { about, stage, after, open, until })),
        }
    }

    fn reply(&self) -> Option<ReplyRef<'_>> {
        match &self.about {
            About::Reply { reply, .. } | About::Accepted { reply, .. } => Some(reply.as_ref().as_ref()),
            About::Command { .. } | About::Chunks { .. } => None,
        }
    }
}

impl Inquiry {
    fn verb(&self) -> Verb {
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

/// What the asking came to.
enum Ruling {
    /// Nobody decided anything.
    Nothing,
    Command(CommandVerdict),
    Reply(ReplyVerdict),
    /// A reply of our own, in place of whatever would have come.
    Refused(Arc<Reply>),
}

impl Ruling {
    fn of_command(self) -> Option<CommandVerdict> {
        match self {
            Ruling::Command(verdict) => Some(verdict),
            Ruling::Refused(reply) => Some(CommandVerdict::Reply(reply)),
            Ruling::Nothing | Ruling::Reply(_) => None,
        }
    }

    fn of_reply(self) -> Option<ReplyVerdict> {
        match self {
            Ruling::Reply(verdict) => Some(verdict),
            Ruling::Refused(reply) => Some(ReplyVerdict::Substitute(reply)),
            Ruling::Nothing | Ruling::Command(_) => None,
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
            self.count_command(turn, inquiry.verb(), turn.out.events.len());
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

    /// A callout answered, or failed to.
    pub(super) fn told(&mut self, turn: &mut Turn<'_>, ticket: Ticket, answer: Result<CalloutAnswer, Fault>) {
        let waited_for = matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Asked(inquiry))
            if inquiry.open.as_ref().is_some_and(|open| open.ticket == ticket));
        if !waited_for {
            return turn.out.count(Event::LateAnswer);
        }
        self.heard_out(turn, answer);
    }

    /// The callout at the head has had its time.
    pub(super) fn callout_timed_out(&mut self, turn: &mut Turn<'_>) {
        if let Some(Answer::Asked(inquiry)) = self.owed.head().map(|head| &head.answer)
            && let Some(open) = &inquiry.open
        {
            turn.out.outputs.push(Output::Cancel(open.ticket));
            let waited = open.until.saturating_duration_since(open.since);
            let fault = Fault::new(FaultKind::TimedOut, format!("no answer within {waited:?}"));
            self.heard_out(turn, Err(fault));
        }
    }

    /// The client has waited long enough: the question at the head ends with a reply of our own.
    pub(super) fn refuse_inquiry(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        self.cancel_head(turn);
        if let Some(Owed { what, answer: Answer::Asked(inquiry) }) = self.owed.pop() {
            let ruling = Ruling::Refused(Arc::new(own.reply(self.id)));
            self.conclude_inquiry(turn, what, *inquiry, ruling, None);
        }
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

    fn heard_out(&mut self, turn: &mut Turn<'_>, answer: Result<CalloutAnswer, Fault>) {
        let Some(Owed { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop() else { return };
        let Some(open) = inquiry.open.take() else {
            self.owed.put_back(what, Answer::Asked(inquiry));
            return;
        };
        match answer.and_then(|answer| self.checked(&what, &inquiry, &open, answer)) {
            Ok(answer) => self.heed(turn, what, inquiry, &open, answer),
            Err(fault) => self.callout_failed(turn, what, inquiry, &open, fault),
        }
        self.settle(turn);
    }

    /// An answer, held against what its stage allows.
    fn checked(
        &self,
        what: &What,
        inquiry: &Inquiry,
        open: &Open,
        answer: CalloutAnswer,
    ) -> Result<CalloutAnswer, Fault> {
        let terms = self.settings.callouts.terms(open.callout);
        let fault = match (&answer, inquiry.reply()) {
            (CalloutAnswer::Command { rewrites, verdict }, None) => {
                command_fault(inquiry.stage, rewrites, verdict.as_ref(), terms)
                    .or_else(|| self.rewrites_fault(what, rewrites))
            }
            (CalloutAnswer::Reply(verdict), Some(reply)) => {
                let most = self.settings.limits.command_line;
                verdict.as_ref().and_then(|verdict| reply_fault(inquiry.stage, reply, verdict, most))
            }
            (CalloutAnswer::Command { .. }, Some(_)) => Some("a verdict for a command"),
            (CalloutAnswer::Reply(_), None) => Some("a verdict for a reply"),
        };
        match fault {
            Some(fault) => Err(Fault::new(FaultKind::NotAllowed, fault)),
            None => Ok(answer),
        }
    }

    /// An answer that may be believed.
    fn heed(
        &mut self,
        turn: &mut Turn<'_>,
        mut what: What,
        mut inquiry: Box<Inquiry>,
        open: &Open,
        answer: CalloutAnswer,
    ) {
        let (stage, by) = (inquiry.stage, Giver::Callout(open.callout));
        let tolerates = !self.settings.callouts.terms(open.callout).refuse_postmaster && is_postmaster(&what);
        let (mut end, ruling) = match answer {
            CalloutAnswer::Command { rewrites, verdict } => {
                let rewritten = self.rewrite(&mut what, rewrites);
                let end = match rewritten {
                    Ok(true) => {
                        self.note(turn, stage, by, VerdictKind::Rewrite);
                        CalloutEnd::Verdict(VerdictKind::Rewrite)
                    }
                    _ => CalloutEnd::Passed,
                };
                let ruling = match (rewritten, verdict) {
                    (Err(own), _) => Ruling::Refused(Arc::new(own.reply(self.id))),
                    (Ok(_), Some(verdict)) => Ruling::Command(verdict),
                    (Ok(_), None) => Ruling::Nothing,
                };
                (end, ruling)
            }
            CalloutAnswer::Reply(verdict) => {
                (CalloutEnd::Passed, verdict.map_or(Ruling::Nothing, Ruling::Reply))
            }
        };
        // RFC 5321 4.5.1; and semantics of a failed ladder: there is no second one.
        let positive = inquiry.reply().is_none_or(|reply| reply.code().is_positive());
        let ignored = match &ruling {
            Ruling::Command(CommandVerdict::Reply(reply)) => tolerates && reply.code().is_negative(),
            Ruling::Reply(ReplyVerdict::Substitute(reply)) => {
                tolerates && positive && reply.code().is_negative()
            }
            Ruling::Reply(ReplyVerdict::Retry(_)) => {
                matches!(inquiry.about, About::Reply { spent: true, .. })
            }
            _ => false,
        };
        let kind = match &ruling {
            _ if ignored => Some(VerdictKind::Skipped),
            Ruling::Command(verdict) => Some(kind_of_command_verdict(stage, verdict)),
            Ruling::Reply(verdict) => Some(kind_of_reply_verdict(verdict)),
            Ruling::Refused(_) | Ruling::Nothing => None,
        };
        if let Some(kind) = kind {
            self.note(turn, stage, by, kind);
            end = CalloutEnd::Verdict(kind);
        }
        turn.out.count(Event::Asked(
            open.callout,
            stage,
            end,
            turn.now.saturating_duration_since(open.since),
        ));
        inquiry.after = Some(open.callout);
        if ignored || matches!(ruling, Ruling::Nothing) {
            self.owed.put_back(what, Answer::Asked(inquiry));
        } else {
            self.conclude_inquiry(turn, what, *inquiry, ruling, Some(by));
        }
    }

    /// A callout failed: `on_error` says what comes of it.
    fn callout_failed(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        mut inquiry: Box<Inquiry>,
        open: &Open,
        fault: Fault,
    ) {
        let (stage, callout) = (inquiry.stage, open.callout);
        let took = turn.now.saturating_duration_since(open.since);
        turn.out.count(Event::Asked(callout, stage, CalloutEnd::Failed(fault.kind), took));
        let name = self.settings.callouts.name(callout).into();
        turn.out.outputs.push(Output::CalloutFailed(name, stage, fault));
        self.note(turn, stage, Giver::Callout(callout), VerdictKind::Failed);
        inquiry.after = Some(callout);
        let own = match self.settings.callouts.terms(callout).on_error {
            OnError::Pass => None,
            // What a hop has accepted it will deliver, whoever could not be asked about that.
            _ if stage == Stage::MessageReply => None,
            OnError::Tempfail if matches!(stage, Stage::Connect | Stage::ConnectReply) => {
                Some(&own::CALLOUT_FAILED_CLOSING)
            }
            OnError::Tempfail => Some(&own::CALLOUT_FAILED),
            OnError::Reject => Some(&own::CALLOUT_REJECTED),
        };
        match own {
            None => drop(self.owed.put_back(what, Answer::Asked(inquiry))),
            Some(own) => {
                // A hop's refusal is as good as one of ours, unless another attempt could end better.
                let refused = inquiry.reply().is_some_and(|reply| {
                    reply.code().is_transient() || (reply.code().is_negative() && !own.code().is_transient())
                });
                let ruling = match refused {
                    true => Ruling::Reply(ReplyVerdict::Accept),
                    false => Ruling::Refused(Arc::new(own.reply(self.id))),
                };
                self.conclude_inquiry(turn, what, *inquiry, ruling, None);
            }
        }
    }

    /// All who were to be asked have been, or one has decided.
    fn conclude_inquiry(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        inquiry: Inquiry,
        ruling: Ruling,
        by: Option<Giver>,
    ) {
        let (since, behind) = (self.head_since, self.owed.head_number());
        let (command, verb) = (inquiry.is_about_command(), inquiry.verb());
        match inquiry.about {
            About::Command { .. } => {
                let said = turn.out.events.len();
                let counts = !matches!(what, What::Greeting);
                self.decide(turn, what, ruling.of_command(), by);
                if counts {
                    self.count_command(turn, verb, said);
                }
            }
            About::Chunks { size, last } => {
                let said = turn.out.events.len();
                self.decide_chunks(turn, size, last, ruling.of_command());
                self.count_command(turn, verb, said);
            }
            About::Reply { hop, reply, trial, .. } => {
                let reply = reply.as_ref().as_ref();
                match ruling.of_reply() {
                    Some(verdict) => self.decide_reply(turn, what, hop, reply, verdict, by),
                    None => self.conclude(turn, what, hop, reply, None),
                }
                if trial {
                    self.withdraw(turn, hop);
                }
            }
            About::Accepted { ladder, hop, reply } => {
                self.decide_routed(turn, *ladder, hop, reply.as_ref().as_ref(), ruling.of_reply());
            }
        }
        // The client waits on for the same answer, or begins to wait for the next one.
        let same = if command { !self.owed.is_empty() } else { self.owed.head_number() != behind };
        self.head_since = if same { since } else { turn.now };
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
