//! What callouts say, and what a failed one comes to.
//!
//! In:    an answer or a failure, by ticket; a deadline; the end of the asking.
//! Out:   the verdict carried out as a rule's would be; else the next callout is asked.
//! Never: believes an answer its stage does not allow, or takes a failure for leave to go on: `on_error` says what
//!        becomes of it (law 6). Nothing of an answer that is not believed is carried out.
//!
//! RFC 5321 4.5.1 (postmaster).

use std::sync::Arc;

use super::super::callout::{Beside, CalloutAnswer};
use super::super::conversations::{About, Inquiry, Open, Ruling};
use super::super::events::{CalloutEnd, Event, VerdictKind};
use super::super::fault::{Fault, FaultKind};
use super::super::io::Output;
use super::super::law::{command_fault, is_postmaster, message_fault, reply_fault};
use super::super::owed::{Answer, Entry, What};
use super::super::peer::Ticket;
use super::super::stage::{Giver, Stage};
use super::super::transaction::ENVELOPE;
use super::super::turn::Turn;
use super::super::verdict::{CommandVerdict, ReplyVerdict};
use super::Conductor;
use super::asking::Heard;
use crate::smtp::Own;

impl Conductor {
    /// A callout answered, or failed to.
    pub(super) fn told(&mut self, turn: &mut Turn<'_>, ticket: Ticket, answer: Result<CalloutAnswer, Fault>) {
        if !self.owed.inquiry().is_some_and(|inquiry| inquiry.awaits(ticket)) {
            return turn.count(Event::LateAnswer);
        }
        self.heard_out(turn, answer);
    }

    /// The callout at the head has had its time.
    pub(super) fn callout_timed_out(&mut self, turn: &mut Turn<'_>) {
        if let Some(fault) = self.owed.inquiry().and_then(|inquiry| inquiry.timed_out(turn)) {
            self.heard_out(turn, Err(fault));
        }
    }

    /// The client has waited long enough: the question at the head ends with a reply of our own.
    pub(super) fn refuse_inquiry(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        self.cancel_head(turn);
        if let Some(Entry { what, answer: Answer::Asked(inquiry) }) = self.owed.pop() {
            let ruling = Ruling::Refused(Arc::new(own.reply(self.client.id())));
            self.conclude_inquiry(turn, what, *inquiry, ruling, None);
        }
    }

    fn heard_out(&mut self, turn: &mut Turn<'_>, answer: Result<CalloutAnswer, Fault>) {
        let Some(Entry { what, answer: Answer::Asked(mut inquiry) }) = self.owed.pop() else { return };
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
            (CalloutAnswer::Command { .. }, _) if inquiry.stage == Stage::Message => {
                Some("a verdict for a command")
            }
            (CalloutAnswer::Command { rewrites, verdict, beside }, None) => {
                command_fault(inquiry.stage, rewrites, verdict.as_ref(), beside.as_deref(), terms)
                    .or_else(|| self.rewrites_fault(what, rewrites))
                    .or_else(|| self.prepend_fault(beside.as_deref()))
            }
            (CalloutAnswer::Reply(verdict), Some(reply)) => {
                let most = self.settings.limits.command_line;
                verdict.as_ref().and_then(|verdict| reply_fault(inquiry.stage, reply, verdict, most))
            }
            (CalloutAnswer::Message(answer), _) if inquiry.stage == Stage::Message => {
                message_fault(answer, terms)
                    .or_else(|| self.envelope_fault(&answer.envelope))
                    .or_else(|| self.discards_fault(answer, terms))
            }
            (CalloutAnswer::Message(_), _) => Some("a verdict for a message"),
            (CalloutAnswer::Command { .. }, Some(_)) => Some("a verdict for a command"),
            (CalloutAnswer::Reply(_), None) => Some("a verdict for a reply"),
        };
        match fault {
            Some(fault) => Err(Fault::new(FaultKind::NotAllowed, fault)),
            None => Ok(answer),
        }
    }

    fn prepend_fault(&self, beside: Option<&Beside>) -> Option<&'static str> {
        let octets = beside?.prepend.as_ref()?.len();
        let transaction = self.delivery.transaction()?;
        (transaction.held() + octets > ENVELOPE)
            .then_some("more header fields than a transaction has room for")
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
            CalloutAnswer::Command { rewrites, verdict, beside } => {
                if let Some(beside) = beside {
                    if !tolerates {
                        inquiry.provisos.note(open.callout, &beside);
                    }
                    if let Some(remark) = beside.remark {
                        let name = self.settings.callouts.name(open.callout).into();
                        turn.wish(Output::Remarked(name, stage, remark));
                    }
                    if let (Some(field), Some(transaction)) =
                        (beside.prepend, self.delivery.transaction_mut())
                    {
                        transaction.prepended.add(&field, stage == Stage::Data);
                    }
                }
                let rewritten = self.rewrite(&mut what, rewrites);
                let end = match rewritten {
                    Ok(true) => {
                        self.note(turn, stage, by, VerdictKind::Rewrite);
                        CalloutEnd::Verdict(VerdictKind::Rewrite)
                    }
                    _ => CalloutEnd::Passed,
                };
                let ruling = match (rewritten, verdict) {
                    (Err(own), _) => Ruling::Refused(Arc::new(own.reply(self.client.id()))),
                    (Ok(_), Some(verdict)) => Ruling::Command(verdict),
                    (Ok(_), None) => Ruling::Nothing,
                };
                (end, ruling)
            }
            CalloutAnswer::Message(answer) => {
                let end = if answer.is_edit() {
                    self.note(turn, stage, by, VerdictKind::Edit);
                    CalloutEnd::Verdict(VerdictKind::Edit)
                } else {
                    CalloutEnd::Passed
                };
                self.delivery.edit(&answer.edits, answer.envelope);
                (end, answer.verdict.map_or(Ruling::Nothing, Ruling::Message))
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
            Ruling::Command(verdict) => Some(verdict.kind(stage)),
            Ruling::Reply(verdict) => Some(verdict.kind()),
            Ruling::Message(verdict) => Some(verdict.kind()),
            Ruling::Refused(_) | Ruling::Nothing => None,
        };
        if let Some(kind) = kind {
            self.note(turn, stage, by, kind);
            end = CalloutEnd::Verdict(kind);
        }
        turn.count(Event::Asked(open.callout, stage, end, turn.now.saturating_duration_since(open.since)));
        inquiry.after = Some(open.callout);
        if ignored || matches!(ruling, Ruling::Nothing) {
            self.owed.put_back(what, Answer::Asked(inquiry));
        } else {
            self.conclude_inquiry(turn, what, *inquiry, ruling, Some(by));
        }
    }

    /// A callout failed: `on_error` says what comes of it.
    pub(super) fn callout_failed(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        mut inquiry: Box<Inquiry>,
        open: &Open,
        fault: Fault,
    ) {
        let (stage, callout) = (inquiry.stage, open.callout);
        let took = turn.now.saturating_duration_since(open.since);
        turn.count(Event::Asked(callout, stage, CalloutEnd::Failed(fault.kind), took));
        let name = self.settings.callouts.name(callout).into();
        turn.wish(Output::CalloutFailed(name, stage, fault));
        self.note(turn, stage, Giver::Callout(callout), VerdictKind::Failed);
        inquiry.after = Some(callout);
        match self.settings.callouts.terms(callout).on_error.reply(stage) {
            None => drop(self.owed.put_back(what, Answer::Asked(inquiry))),
            Some(own) => {
                // A hop's refusal is as good as one of ours, unless another attempt could end better.
                let refused = inquiry.reply().is_some_and(|reply| {
                    reply.code().is_transient() || (reply.code().is_negative() && !own.code().is_transient())
                });
                let ruling = match refused {
                    true => Ruling::Reply(ReplyVerdict::Accept),
                    false => Ruling::Refused(Arc::new(own.reply(self.client.id()))),
                };
                self.conclude_inquiry(turn, what, *inquiry, ruling, None);
            }
        }
    }

    /// All who were to be asked have been, or one has decided.
    pub(super) fn conclude_inquiry(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        mut inquiry: Inquiry,
        mut ruling: Ruling,
        mut by: Option<Giver>,
    ) {
        if let Some((reply, callout)) = inquiry.provided(&ruling) {
            let verdict = CommandVerdict::Reply(reply);
            let giver = Giver::Callout(callout);
            self.note(turn, inquiry.stage, giver, verdict.kind(inquiry.stage));
            (ruling, by) = (Ruling::Command(verdict), Some(giver));
        }
        self.shadow_inquiry(turn, &what, &inquiry, &ruling);
        let (since, behind) = (self.owed.since(), self.owed.head_number());
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
                self.decide_chunks(turn, size, last, ruling.of_command(), by);
                self.count_command(turn, verb, said);
            }
            About::Message => self.decide_message(turn, ruling.of_message(), by),
            About::Reply { hop, origin, reply, trial, .. } => {
                let heard = Heard { reply: reply.as_ref().as_ref(), origin, hop };
                self.decide_reply(turn, what, heard, ruling.of_reply(), by);
                if trial && let Some(hop) = hop {
                    self.leave_attempt(turn, hop);
                }
            }
            About::Accepted { attempt, hop, reply } => {
                self.decide_routed(turn, *attempt, hop, reply.as_ref().as_ref(), ruling.of_reply(), by);
            }
        }
        // The client waits on for the same answer, or begins to wait for the next one.
        let same = if command { !self.owed.is_empty() } else { self.owed.head_number() != behind };
        self.owed.head_waits_since(if same { since } else { turn.now });
    }
}
