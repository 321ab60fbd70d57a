//! What is counted and kept of a transaction for its record.
//!
//! In:    verdicts, recipients and their replies, the end of the message.
//! Out:   events; one record, if records are wanted.
//! Never: keeps more recipients or verdicts than `limits.recipients`.

use std::sync::Arc;

use super::super::events::{Event, MessageEnd, VerdictKind};
use super::super::io::Output;
use super::super::notes::kind_of_command_verdict;
use super::super::peer::HopId;
use super::super::record::{RecipientRecord, Record};
use super::super::stage::{Giver, Stage};
use super::super::transaction::{Recipient, Transaction};
use super::super::turn::Turn;
use super::super::verdict::CommandAnswer;
use super::Conductor;

impl Conductor {
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
            turn.count(Event::Verdict(kind));
        }
        let most = self.settings.limits.recipients;
        if let Some(notes) =
            self.delivery.transaction_mut().and_then(|transaction| transaction.notes.as_mut())
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
        turn.count(Event::Recipient(class));
        let most = self.settings.limits.recipients;
        if let Some(transaction) = self.delivery.transaction_mut()
            && let Some(notes) = transaction.notes.as_mut()
            && notes.recipients.len() < most
        {
            transaction.held += recipient.octets() + reply.len();
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
        let hop = hop.and_then(|hop| self.hops.get(hop));
        turn.wish(Output::Record(Box::new(Record {
            session: self.client.id(),
            client: self.client.entrance().client,
            helo: self.client.helo().map(Into::into),
            facts: self.client.entrance().facts.clone(),
            authenticated: self.client.has_authenticated_anywhere(),
            sender: transaction.mail.address(),
            recipients: notes.recipients,
            hop: hop.map(|open| Arc::clone(open.name())),
            hop_tls: hop.and_then(|open| open.tls().cloned()),
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
        turn.count(Event::Message(end, transaction.octets));
        if transaction.mended > 0 {
            turn.count(Event::Mended(transaction.mended));
        }
        self.record(turn, transaction, Some(end), reply, hop);
        self.client.forget_forwarded();
        if self.delivery.transaction().is_none() {
            self.leave_away(turn);
        }
    }
}
