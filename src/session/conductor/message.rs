//! The message: kept while rules and callouts are asked about it, edited, and given to a hop as it is then.
//!
//! In:    DATA or the first BDAT of a transaction whose message somebody is to be asked about; that the spool has all of
//!        it, or cannot; what was decided.
//! Out:   the content on its way to the hop, its envelope said again where that was changed; or an answer of our own.
//! Never: lets a hop hear of content before everybody was asked; adds a recipient that the client's own replies depend
//!        on: those that were answered 250 are delivered or the message is refused (law 3).
//!
//! The question that stays open in the OPES drafts, how a command is changed that was handled already, is answered by
//! RSET and the envelope said again (RFC 5321 4.1.1.5).

use std::sync::Arc;

use super::super::callout::CalloutTerms;
use super::super::conversations::{About, Inquiry};
use super::super::events::{Event, MessageEnd, SessionEnd, VerdictKind};
use super::super::io::{Output, SpoolFault, SpoolOrder};
use super::super::notes::Told;
use super::super::owed::{Answer, What};
use super::super::peer::{HopId, Peer, Why};
use super::super::route::{PoolId, PoolKind};
use super::super::said::{Said, Written};
use super::super::settings::AddedRefused;
use super::super::stage::{Giver, Stage};
use super::super::turn::Turn;
use super::super::verdict::{EnvelopeEdit, FRAME, MessageAnswer, MessageVerdict};
use super::Conductor;
use crate::message::{Edit, Message};
use crate::smtp::{Params, Path, ReplyRef, own};

impl Conductor {
    /// Whether anybody is asked about the message of this transaction: then it is kept first.
    pub(super) fn asks_about_message(&self) -> bool {
        if self.delivery.transaction().is_none_or(|transaction| transaction.recipients.is_empty()) {
            return false;
        }
        let (rules, callouts) = (&self.settings.rules, &self.settings.callouts);
        rules.stages().has(Stage::Message)
            || (callouts.stages().has(Stage::Message)
                && callouts.next(&self.message_question(), None, None).is_some())
            || (self.has_shadow(Stage::Message)
                && !callouts.shadows(&self.message_question(), None).is_empty())
    }

    /// The client may send its content, which is kept.
    pub(super) fn keep_message(&mut self, turn: &mut Turn<'_>) {
        self.client.tell(turn, &Said::Own(&own::START_INPUT));
        self.client.was_active(turn.now);
        self.delivery.begin_kept(self.settings.bare_newline);
        self.tend_spool(turn);
    }

    /// Tells the spool whether there is a message for it, where that has changed.
    pub(super) fn tend_spool(&mut self, turn: &mut Turn<'_>) {
        let needed = self.delivery.needs_spool();
        if std::mem::replace(&mut self.has_spool, needed) != needed {
            let structured =
                self.settings.rules.wants_structure() || self.settings.callouts.wants_structure();
            let begin = SpoolOrder::Begin { structured };
            // What was said to it of this message is not the next one's.
            turn.to(Peer::Spool).clear();
            turn.wish(Output::Spool(if needed { begin } else { SpoolOrder::Drop }));
        }
    }

    /// The spool has all of the message, or cannot keep it.
    pub(super) fn spooled(&mut self, turn: &mut Turn<'_>, kept: Result<Arc<Message>, SpoolFault>) {
        let mut draft = match kept {
            Ok(message) => message.draft(),
            Err(fault) => return self.not_spooled(turn, fault),
        };
        if let Some(transaction) = self.delivery.transaction_mut() {
            for (at, field) in (0..).zip(transaction.prepended.take()) {
                draft.apply(&Edit::Insert { at, field });
            }
        }
        if !self.delivery.is_whole(draft) {
            return;
        }
        self.client.was_active(turn.now);
        let mut verdict = (None, None);
        if self.settings.rules.stages().has(Stage::Message) {
            let (answer, by) = self.settings.rules.message(&self.message_question());
            let kind = answer.verdict.as_ref().map(MessageVerdict::kind);
            for (place, rule) in by.iter().enumerate() {
                let decides = kind.filter(|_| place + 1 == by.len());
                self.note(turn, Stage::Message, Giver::Rule(*rule), decides.unwrap_or(VerdictKind::Edit));
            }
            // What a rule makes of the envelope is known only here.
            if self.envelope_fault(&answer.envelope).is_some() {
                return self.refuse_content(turn, Said::Own(&own::BAD_VERDICT));
            }
            self.delivery.edit(&answer.edits, answer.envelope);
            verdict = (answer.verdict, by.last().copied().map(Giver::Rule));
        }
        let (verdict, by) = verdict;
        let question = self.message_question();
        let asks = verdict.is_none()
            && self.settings.callouts.stages().has(Stage::Message)
            && self.settings.callouts.next(&question, None, None).is_some();
        if asks {
            let inquiry = Inquiry::new(Stage::Message, About::Message, None);
            self.owed.push(turn.now, What::Kept, Answer::Asked(Box::new(inquiry)));
            return self.settle(turn);
        }
        self.decide_message(turn, verdict, by);
    }

    fn not_spooled(&mut self, turn: &mut Turn<'_>, fault: SpoolFault) {
        let hop = self.delivery.content().and_then(|content| content.hop());
        self.refuse_content(
            turn,
            Said::Own(match fault {
                SpoolFault::NoRoom => &own::SPOOL_FULL,
                SpoolFault::Unreadable => &own::SPOOL_UNREADABLE,
            }),
        );
        // It may be in the midst of it.
        if let Some(hop) = hop {
            self.drop_hop(turn, hop);
        }
    }

    /// Does what was decided about the message; `None`: nobody decided anything.
    pub(super) fn decide_message(
        &mut self,
        turn: &mut Turn<'_>,
        verdict: Option<MessageVerdict>,
        by: Option<Giver>,
    ) {
        self.shadow_message(turn, verdict.as_ref());
        match verdict {
            Some(MessageVerdict::Reply(reply)) => {
                let said = Said::Written(Written::by(by, Stage::Message, reply));
                self.refuse_content(turn, said);
            }
            Some(MessageVerdict::Discard) => self.refuse_content(turn, Said::Own(&own::DISCARDED)),
            Some(MessageVerdict::Disconnect(reply)) => {
                let said = Said::disconnect(reply, by, Stage::Message, self.client.id());
                let last = self.last_word(Told::Said(&said));
                self.drop_transaction(turn, Some(MessageEnd::Refused), last);
                self.owe(turn, What::Close(SessionEnd::Verdict), said);
            }
            Some(MessageVerdict::Route(pool)) => {
                self.route_message(turn, pool, by);
                self.pour(turn);
            }
            Some(MessageVerdict::Accept) | None => self.pour(turn),
        }
    }

    /// The message is for another pool: the hop that knows its envelope is let go of. After 235 it is not.
    fn route_message(&mut self, turn: &mut Turn<'_>, pool: PoolId, by: Option<Giver>) {
        if self.client.is_authenticated() {
            if let Some(by) = by {
                self.note(turn, Stage::Message, by, VerdictKind::Skipped);
            }
            return;
        }
        let Some(transaction) = self.delivery.transaction_mut() else { return };
        let several = transaction.recipients.len() > 1;
        match self.settings.next_hops.kind(pool) {
            PoolKind::ByRecipient(_) => {
                return self.refuse_content(turn, Said::Own(&own::ATTEMPTS_FAILED));
            }
            // It answers for each of them, and the client hears one reply.
            PoolKind::Lmtp if several => {
                return self.refuse_content(turn, Said::Own(&own::ATTEMPTS_FAILED));
            }
            _ => {}
        }
        (transaction.pool, transaction.pinned) = (pool, None);
        let current = self.hops.current();
        let is_home = current.is_some() && current == self.hops.home();
        if let Some(hop) = current.filter(|hop| self.hops.get(*hop).is_some_and(|open| open.is_in(pool))) {
            self.hops.go_to(hop);
        } else if is_home {
            if let Some(home) = current {
                self.reset_if_in_mail(turn, home);
            }
            self.hops.go_nowhere();
        } else {
            self.hops.go_nowhere();
            if let Some(away) = current {
                self.dismiss(turn, away);
            }
        }
    }

    /// The message goes to the transaction's hop, under the envelope as it is now.
    fn pour(&mut self, turn: &mut Turn<'_>) {
        // Where it was routed in vain.
        if self.delivery.answer().is_some() {
            return;
        }
        let edits = self.delivery.take_envelope_edits();
        let changed = !edits.is_empty() && self.edit_envelope(turn, edits);
        if self.delivery.answer().is_some() {
            return;
        }
        let hop = match self.current_or_open(turn) {
            Ok(hop) => hop,
            Err(none) => return self.no_hop(turn, none),
        };
        self.count_broken(turn);
        let Some(rope) = self.delivery.pour(hop) else { return };
        turn.wish(Output::Spool(SpoolOrder::Pour(rope)));
        self.client.was_active(turn.now);
        if !self.hops.is_ready(hop) {
            return;
        }
        if !self.fits(hop) {
            self.lost_because(turn, hop, Why::Unfit, None);
        } else if changed || !self.hops.get(hop).is_some_and(|open| open.may_be_in_mail()) {
            self.rebuild(turn, hop);
        } else {
            self.open_content(turn, hop);
        }
    }

    /// What was edited may have broken signatures.
    fn count_broken(&mut self, turn: &mut Turn<'_>) {
        let broken = self.delivery.broken();
        broken.iter().for_each(|signature| turn.count(Event::Broke(*signature)));
        let notes = self.delivery.transaction_mut().and_then(|transaction| transaction.notes.as_mut());
        if let Some(notes) = notes {
            notes.broken = broken;
        }
    }

    /// Changes the envelope; whether it is another one now.
    fn edit_envelope(&mut self, turn: &mut Turn<'_>, edits: Vec<EnvelopeEdit>) -> bool {
        let known = self.client.shown().with(&self.hops.offered());
        let lmtp = self.goes_by_lmtp();
        let Some(transaction) = self.delivery.transaction_mut() else { return false };
        let (mut changed, mut refused) = (false, false);
        for edit in edits {
            changed |= match edit {
                EnvelopeEdit::Sender { path, parameters } => {
                    transaction.is_sent_by(&path, parameters.as_deref(), &known)
                }
                // It would answer for each recipient.
                EnvelopeEdit::Add { .. } if lmtp => {
                    refused = true;
                    false
                }
                EnvelopeEdit::Add { path, parameters } => transaction.adds(&path, &parameters),
                EnvelopeEdit::Remove(path) => transaction.removes(&path),
            };
        }
        let nobody = transaction.recipients.is_empty();
        if refused && self.settings.keeping.added_refused == AddedRefused::Reject {
            self.refuse_content(turn, Said::Own(&own::ATTEMPTS_FAILED));
        } else if nobody {
            // All were removed: it is given to nobody, as a filter behind Postfix has it.
            self.refuse_content(turn, Said::Own(&own::DISCARDED));
        }
        changed
    }

    /// The hop answered for a recipient that was added.
    pub(super) fn added_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_intermediate() {
            return self.spoke_out_of_class(turn, hop, reply);
        }
        if reply.code().is_positive() || self.settings.keeping.added_refused == AddedRefused::Ignore {
            if self.delivery.awaits_chunks(hop) {
                self.open_content(turn, hop);
            }
            return;
        }
        let said = Said::heard(hop, reply);
        self.refuse_content(turn, said);
        self.drop_hop(turn, hop);
    }

    /// Takes octets that the spool gives back.
    pub fn receive_poured(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> usize {
        let mut taken = 0;
        while taken < octets.len() && self.delivery.takes_poured(&self.hops) {
            match self.take_content(turn, octets, taken) {
                Some(went) if went > 0 => taken += went,
                _ => break,
            }
        }
        // What nobody waits for any more is gone.
        if self.delivery.is_poured() { taken } else { octets.len() }
    }

    /// A message that is whole, and that nobody is to have any more, is over.
    pub(super) fn end_refused_message(&mut self, turn: &mut Turn<'_>) {
        let Some((transaction, said)) = self.delivery.take_refused() else { return };
        self.client.ends_group();
        if let Some(hop) = self.hops.current().filter(|&hop| self.hops.is_ready(hop)) {
            self.reset_if_in_mail(turn, hop);
        }
        self.owed.push(turn.now, What::Message(transaction), Answer::Own(said));
        self.settle(turn);
    }

    /// A message is discarded by taking its recipients away, too.
    pub(super) fn discards_fault(&self, answer: &MessageAnswer, terms: CalloutTerms) -> Option<&'static str> {
        if terms.may_discard || answer.envelope.is_empty() {
            return None;
        }
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for edit in self.delivery.envelope_edits().iter().chain(&answer.envelope) {
            match edit {
                EnvelopeEdit::Add { path, .. } => added.push(&**path),
                EnvelopeEdit::Remove(path) => {
                    added.retain(|other| *other != &**path);
                    removed.push(&**path);
                }
                EnvelopeEdit::Sender { .. } => {}
            }
        }
        let left = !added.is_empty() || self.delivery.transaction()?.is_left_to_anybody(&removed);
        (!left).then_some("no recipient left, which needs effects: [discard]")
    }

    /// What is wrong with changes of the envelope.
    pub(super) fn envelope_fault(&self, edits: &[EnvelopeEdit]) -> Option<&'static str> {
        let utf8 = self.delivery.transaction().is_some_and(|transaction| transaction.mail.is_utf8());
        let most = self.settings.limits.command_line;
        let bad = |path: &[u8], null: bool| {
            let parsed = Path::parse(path).ok();
            let good =
                parsed.is_some_and(|path| null || !path.is_null()) && path.len() <= Path::LONGEST.min(most);
            !good || (!utf8 && !path.is_ascii())
        };
        let is_bad = |edit: &EnvelopeEdit| match edit {
            EnvelopeEdit::Sender { path, .. } => bad(path, true),
            EnvelopeEdit::Add { path, .. } => bad(path, false),
            EnvelopeEdit::Remove(_) => false,
        };
        let parameters = |edit: &EnvelopeEdit| match edit {
            EnvelopeEdit::Sender { path, parameters } => (path.len(), parameters.clone()),
            EnvelopeEdit::Add { path, parameters } => (path.len(), Some(parameters.clone())),
            EnvelopeEdit::Remove(_) => (0, None),
        };
        let wrong = |edit: &EnvelopeEdit| {
            let (path, parameters) = parameters(edit);
            parameters
                .is_some_and(|given| Params::parse(&given).is_err() || path + given.len() + FRAME > most)
        };
        if edits.iter().any(is_bad) {
            return Some("an address that cannot stand in the envelope");
        }
        if edits.iter().any(wrong) {
            return Some("parameters that cannot stand in the envelope");
        }
        let added = edits.iter().filter(|edit| matches!(edit, EnvelopeEdit::Add { .. })).count();
        let had = self.delivery.transaction().map_or(0, |transaction| transaction.recipients.len());
        (had + added > self.settings.limits.recipients)
            .then_some("more recipients than a transaction may have")
    }
}
