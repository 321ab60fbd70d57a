//! What is counted and kept of a transaction for its record.
//!
//! In:    verdicts, recipients and their replies, the end of the message.
//! Out:   events; one record, if records are wanted.
//! Never: keeps more recipients or verdicts than `limits.recipients`, or more tries of one than `limits.attempts` and the
//!        first.

use std::sync::Arc;

use super::super::events::{Event, MessageEnd, VerdictKind};
use super::super::io::Output;
use super::super::notes::{Told, first_line};
use super::super::owed::{Answer, What};
use super::super::peer::{HopId, Origin};
use super::super::record::{AttemptRecord, LastWord, Record, Speaker};
use super::super::said::Said;
use super::super::stage::{Giver, Stage};
use super::super::transaction::{Notes, Recipient, Transaction};
use super::super::turn::Turn;
use super::super::verdict::CommandAnswer;
use super::Conductor;
use crate::smtp::{Reply, ReplyRef};

impl Conductor {
    /// Counts and notes what was said to a command.
    pub(super) fn note_command(&mut self, turn: &mut Turn<'_>, stage: Stage, answer: &CommandAnswer) {
        let decider = answer.verdict.is_some().then(|| answer.by.len().saturating_sub(1));
        for (i, &by) in answer.by.iter().enumerate() {
            let kind = match &answer.verdict {
                Some(verdict) if Some(i) == decider => verdict.kind(stage),
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
    pub(super) fn note_recipient(&mut self, turn: &mut Turn<'_>, recipient: &Recipient, told: Told<'_>) {
        turn.count(Event::Recipient(told.code().class()));
        if self.has_notes() {
            let heard = Some((told.line(), self.speaker(told)));
            let most = self.settings.limits.recipients;
            if let Some(transaction) = self.delivery.transaction_mut() {
                transaction.notes_recipient(recipient, heard, most);
            }
        }
    }

    /// The session ends with this, or silently: the recipient at the head hears it, those behind hear nothing.
    pub(super) fn note_unanswered(&mut self, said: Option<&Said>) {
        if !self.has_notes() {
            return;
        }
        let mut said = said.map(|said| (Told::Said(said).line(), self.speaker(Told::Said(said))));
        let most = self.settings.limits.recipients;
        let Some(transaction) = self.delivery.transaction_mut() else { return };
        for owed in self.owed.iter() {
            let heard = said.take();
            if let Some(recipient) = owed.what.recipient() {
                transaction.notes_recipient(recipient, heard, most);
            }
        }
    }

    /// A hop answered what is at the head.
    pub(super) fn note_heard(&mut self, what: &What, hop: HopId, reply: ReplyRef<'_>) {
        if self.has_notes()
            && let Some(recipient) = what.recipient()
        {
            self.note_try(hop, recipient.sent.path_octets().into(), Some(reply.as_bytes()));
        }
    }

    /// The hop of an attempt answered it.
    pub(super) fn note_attempt(&mut self, hop: HopId, reply: Option<&[u8]>) {
        if self.has_notes()
            && let Some((_, attempt)) = self.owed.attempt()
        {
            let sent = attempt.recipient().sent.path_octets().into();
            self.note_try(hop, sent, reply);
        }
    }

    /// A hop is lost: what it was asked of the recipient at the head has no answer, or this one.
    pub(super) fn note_no_answer(&mut self, hop: HopId, refusal: Option<&Reply>) {
        let reply = refusal.map(Reply::as_bytes);
        if self.is_attempted_at(hop) {
            return self.note_attempt(hop, reply);
        }
        let asked = self.has_notes() && self.hops.is_ready(hop);
        let asked =
            self.owed.head().filter(|head| asked && matches!(head.answer, Answer::Hop(at) if at == hop));
        if let Some(recipient) = asked.and_then(|head| head.what.recipient()) {
            let sent = recipient.sent.path_octets().into();
            self.note_try(hop, sent, reply);
        }
    }

    fn note_try(&mut self, hop: HopId, sent: Box<[u8]>, reply: Option<&[u8]>) {
        let Some(host) = self.hops.name(hop) else { return };
        // The first try, and one for each attempt.
        let most = self.settings.limits.attempts + 1;
        let tried = AttemptRecord { sent, host, reply: reply.map(first_line) };
        self.with_notes(|notes| {
            if notes.tried.len() < most {
                notes.tried.push((hop, tried));
            }
        });
    }

    /// DATA was refused: the record's last word, if no other follows.
    pub(super) fn note_refusal(&mut self, told: Told<'_>) {
        let last = self.last_word(told);
        self.with_notes(|notes| notes.refusal = last);
    }

    /// The client hears a hop's refusal that no transaction's record tells of: it has a line of its own.
    pub(super) fn hop_refused(&self, turn: &mut Turn<'_>, told: Told<'_>) {
        if !told.code().is_negative() || !self.settings.records {
            return;
        }
        let by = self.speaker(told);
        if matches!(by, Speaker::Hop(_)) {
            turn.wish(Output::HopRefused(by, told.line()));
        }
    }

    /// What the client is told, for the record; `None`: nobody wants one.
    pub(super) fn last_word(&self, told: Told<'_>) -> Option<LastWord> {
        let word = || LastWord { heard: told.line(), by: self.speaker(told), hop_said: None };
        self.settings.records.then(word)
    }

    fn has_notes(&self) -> bool {
        self.delivery.transaction().is_some_and(|transaction| transaction.notes.is_some())
    }

    fn with_notes(&mut self, change: impl FnOnce(&mut Notes)) {
        if let Some(notes) =
            self.delivery.transaction_mut().and_then(|transaction| transaction.notes.as_mut())
        {
            change(notes);
        }
    }

    fn speaker(&self, told: Told<'_>) -> Speaker {
        match told {
            Told::Written(reply) | Told::Said(Said::Written(reply)) => self.settings.author(reply),
            Told::Said(Said::Heard(_, _, Some(name))) => Speaker::Hop(Arc::clone(name)),
            Told::Said(Said::Heard(hop, _, None)) => self.hop_speaks(*hop),
            Told::Heard(Origin::Hop(hop), _) => self.hop_speaks(hop),
            Told::Said(Said::Own(_)) | Told::Heard(Origin::Gatepost, _) => Speaker::Gatepost,
        }
    }

    /// A hop's name, even where it is gone since it spoke.
    fn hop_speaks(&self, hop: HopId) -> Speaker {
        let tried = || {
            let notes = self.delivery.transaction()?.notes.as_ref()?;
            let (_, tried) = notes.tried.iter().rev().find(|(at, _)| *at == hop)?;
            Some(Arc::clone(&tried.host))
        };
        Speaker::Hop(self.hops.name(hop).or_else(tried).unwrap_or_else(|| "gone".into()))
    }

    pub(super) fn record(
        &self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        end: Option<MessageEnd>,
        last: Option<LastWord>,
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
                .map(|(stage, by, kind)| (stage, self.settings.giver(by).into(), kind))
                .collect(),
            end,
            reply: last.or(notes.refusal),
            octets: transaction.octets,
            mended: transaction.mended,
            broken: notes.broken,
            took: turn.now.saturating_duration_since(transaction.since),
        })));
    }

    /// The transaction whose content was answered is over.
    pub(super) fn message_over(
        &mut self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        end: MessageEnd,
        last: Option<LastWord>,
        hop: Option<HopId>,
    ) {
        turn.count(Event::Message(end, transaction.octets));
        if transaction.mended > 0 {
            turn.count(Event::Mended(transaction.mended));
        }
        self.record(turn, transaction, Some(end), last, hop);
        self.client.forget_forwarded();
        if self.delivery.transaction().is_none() {
            self.leave_away(turn);
        }
    }
}
