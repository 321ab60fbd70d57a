//! What is counted and kept of a transaction for its record.
//!
//! In:    verdicts, recipients and their replies, the end of the message.
//! Out:   events; one record, if records are wanted.
//! Never: keeps more recipients or verdicts than `limits.recipients`.

use std::sync::Arc;

use super::io::{Event, HopId, MessageEnd, Output, VerdictKind};
use super::owed::Said;
use super::record::{RecipientRecord, Record};
use super::transaction::{Recipient, Transaction};
use super::verdict::{CommandAnswer, CommandVerdict, Giver, ReplyVerdict, Stage};
use super::{Session, Turn};

impl Session {
    /// Counts and notes what was said to a command.
    pub(super) fn note_command(&mut self, turn: &mut Turn<'_>, stage: Stage, answer: &CommandAnswer) {
        let decider = answer.verdict.is_some().then(|| answer.by.len().saturating_sub(1));
        for (i, &by) in answer.by.iter().enumerate() {
            let kind = match &answer.verdict {
                Some(verdict) if Some(i) == decider => kind_of_command_verdict(stage, verdict),
                _ => VerdictKind::Rewrite,
            };
            self.note(turn, stage, Giver::Rule(by), kind);
        }
    }

    pub(super) fn note(&mut self, turn: &mut Turn<'_>, stage: Stage, by: Giver, kind: VerdictKind) {
        if kind != VerdictKind::Failed {
            turn.out.count(Event::Verdict(kind));
        }
        let most = self.settings.limits.recipients;
        if let Some(notes) = self.transaction.as_mut().and_then(|transaction| transaction.notes.as_mut())
            && notes.verdicts.len() < most
        {
            notes.verdicts.push((stage, by, kind));
        }
    }

    /// Counts and notes what a recipient was answered.
    pub(super) fn note_recipient(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: &Recipient,
        reply: Box<[u8]>,
        hop: Option<Arc<str>>,
        class: u8,
    ) {
        turn.out.count(Event::Recipient(class));
        let most = self.settings.limits.recipients;
        if let Some(notes) = self.transaction.as_mut().and_then(|transaction| transaction.notes.as_mut())
            && notes.recipients.len() < most
        {
            notes.recipients.push(RecipientRecord { address: recipient.address(), reply, hop });
        }
    }

    pub(super) fn record(
        &self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        end: Option<MessageEnd>,
        reply: Option<Box<[u8]>>,
        hop: Option<HopId>,
    ) {
        let Some(notes) = transaction.notes else { return };
        let hop = hop.and_then(|hop| self.upstreams.get(hop));
        turn.out.outputs.push(Output::Record(Box::new(Record {
            session: self.id,
            client: self.entrance.client,
            helo: self.helo().map(Into::into),
            facts: self.entrance.facts.clone(),
            authenticated: self.flags.authenticated,
            sender: transaction.mail.address(),
            recipients: notes.recipients,
            hop: hop.map(|up| Arc::clone(up.host.name())),
            hop_tls: hop.and_then(|up| up.terms.as_ref()?.tls.clone()),
            verdicts: notes
                .verdicts
                .into_iter()
                .map(|(stage, by, kind)| (stage, self.giver(by).into(), kind))
                .collect(),
            end,
            reply,
            octets: transaction.octets,
            mended: transaction.mended,
            took: turn.now.saturating_duration_since(transaction.since),
        })));
    }

    /// The name of whoever gave a verdict.
    fn giver(&self, by: Giver) -> &str {
        match by {
            Giver::Rule(rule) => self.settings.rules.name(rule),
            Giver::Callout(callout) => self.settings.callouts.name(callout),
        }
    }

    /// The transaction whose content was answered is over.
    pub(super) fn message_over(
        &mut self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        end: MessageEnd,
        reply: Option<Box<[u8]>>,
        hop: Option<HopId>,
    ) {
        turn.out.count(Event::Message(end, transaction.octets));
        if transaction.mended > 0 {
            turn.out.count(Event::Mended(transaction.mended));
        }
        self.record(turn, transaction, Some(end), reply, hop);
        self.forget_forwarded();
        if self.transaction.is_none() {
            self.leave_away(turn);
        }
    }
}

pub(super) fn kind_of_reply_verdict(verdict: &ReplyVerdict) -> VerdictKind {
    match verdict {
        ReplyVerdict::Substitute(_) => VerdictKind::Substitute,
        ReplyVerdict::Retry(_) => VerdictKind::Retry,
        ReplyVerdict::Accept => VerdictKind::Accept,
        ReplyVerdict::Disconnect(_) => VerdictKind::Disconnect,
    }
}

pub(super) fn kind_of_command_verdict(stage: Stage, verdict: &CommandVerdict) -> VerdictKind {
    match verdict {
        CommandVerdict::Reply(reply) if stage == Stage::Rcpt && reply.code().is_positive() => {
            VerdictKind::Discard
        }
        CommandVerdict::Reply(_) => VerdictKind::Reply,
        CommandVerdict::Route(_) => VerdictKind::Route,
        CommandVerdict::Accept => VerdictKind::Accept,
        CommandVerdict::Disconnect(_) => VerdictKind::Disconnect,
    }
}

/// The first line of a reply, without its end.
pub(super) fn first_line(reply: &[u8]) -> Box<[u8]> {
    reply.split(|&octet| octet == b'\r').next().unwrap_or(reply).into()
}

pub(super) fn said_line(said: &Said) -> Box<[u8]> {
    match said {
        Said::Written(reply) => first_line(reply.as_bytes()),
        Said::Own(own) => {
            format!("{} {} {}", own.code, own.enhanced.unwrap_or_default(), own.text).into_bytes().into()
        }
    }
}
