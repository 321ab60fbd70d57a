//! What becomes of a hop's answers to EHLO, RCPT, DATA and content, once the client is told.
//!
//! In:    the command, the hop's reply, and what the client hears instead, if that is something else.
//! Out:   what the client is shown, the recipient committed or withdrawn, content begun, the transaction over.
//! Never: commits what the client did not hear 2xx for (law 3).
//!
//! RFC 5321 4.1.1.1 (EHLO), 4.1.1.4 (DATA); RFC 2920 3.1.

use std::sync::Arc;

use super::super::events::{Event, MessageEnd, SessionEnd};
use super::super::io::{Offer, Output};
use super::super::notes::{Told, first_line};
use super::super::peer::{HopId, Origin, Peer};
use super::super::record::LastWord;
use super::super::said::{Said, Written};
use super::super::transaction::{Hello, Recipient, Transaction};
use super::super::turn::Turn;
use super::Conductor;
use super::asking::Heard;
use super::line_of;
use crate::smtp::{Extensions, Params, ReplyRef, Shown, own, present};

impl Conductor {
    pub(super) fn conclude_hello(
        &mut self,
        turn: &mut Turn<'_>,
        hello: Hello,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        let refused =
            reply.code().is_negative() || instead.as_ref().is_some_and(|by| by.code().is_negative());
        if refused {
            // A refused EHLO leaves everything as it was; the hop, which took it, is brought back to that.
            if reply.code().is_positive() {
                self.drop_hop(turn, hop);
            }
            let told = instead.as_ref().map_or(reply.code(), |instead| instead.code());
            self.answer(turn, Origin::Hop(hop), reply, instead);
            if told.closes() {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
            return;
        }
        let (extended, own_name) = (hello.extended, self.speaks_for_itself());
        let settings = Arc::clone(&self.settings);
        let Some(open) = self.hops.get_mut(hop) else { return };
        let lmtp = open.is_lmtp();
        open.offers_as((extended || lmtp).then_some(reply));
        let host = Arc::clone(open.host());
        // It may be away with the transaction, and is dismissed with it: its answer is the client's all the same.
        self.drop_transaction(turn, None, None);
        let recipients = if lmtp { 1 } else { settings.limits.recipients };
        let mut hidden: Vec<Offer> = Vec::new();
        let start = turn.to(Peer::Downstream).len();
        self.client.show_nothing();
        if extended {
            let shown = Shown {
                message_size: settings.limits.message_size,
                recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
                auth: self.client.is_shown_auth(self.door()),
                hostname: own_name.then_some(&settings.hostname),
                forward: &settings.forward_extensions,
                starttls: self.client.is_offered_tls(self.door()) || self.passes_starttls(hop),
                tells: self.client.is_trusted(),
            };
            let mut extensions = Extensions::default();
            turn.to(Peer::Downstream).write(|line| {
                extensions = present(reply, &shown, line, &mut |what| hidden.push(what.into()));
            });
            for offer in hidden {
                turn.count(match offer {
                    Offer::Keyword(_) => Event::HiddenKeyword,
                    Offer::Mechanism(_) => Event::HiddenMechanism,
                });
                turn.wish(Output::Hidden(Arc::clone(&host), offer));
            }
            let waited = turn.now.saturating_duration_since(self.owed.since());
            self.client.showed(turn, extensions, start, Some((hop, waited)));
            self.hops.episode_over();
        } else if own_name {
            self.client.tell(turn, &Said::Written(line_of(250, &settings.hostname).into()));
        } else if lmtp {
            // LHLO is answered like EHLO; a client that said HELO expects one line.
            let name = reply.lines().next().unwrap_or_default();
            self.client.tell(turn, &Said::Written(line_of(250, &String::from_utf8_lossy(name)).into()));
        } else {
            self.answer(turn, Origin::Hop(hop), reply, None);
        }
        self.client.said_hello(hello);
        self.hops.is_fresh();
    }

    pub(super) fn conclude_rcpt(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Recipient,
        Heard { reply, origin, hop }: Heard<'_>,
        instead: Option<Written>,
    ) {
        let told = instead.as_ref().map_or(reply.code(), |instead| instead.code());
        if told.is_negative() {
            self.note_recipient(turn, &recipient, Told::of(origin, reply, instead.as_ref()));
            self.answer(turn, origin, reply, instead);
            if reply.code().is_positive()
                && let Some(hop) = hop.filter(|&hop| self.hops.current() == Some(hop))
            {
                // Withdrawn before anything else is said to the hop (law 3).
                self.rebuild(turn, hop);
            }
            if told.closes() {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
            return;
        }
        let Some(hop) = hop else { return };
        if !self.delivery.has_transaction() {
            // A hop that takes a recipient without a transaction; ours knows better.
            self.reset_hop(turn, hop);
            return self.client.tell(turn, &Said::Own(&own::NEED_MAIL));
        }
        if self.hops.current() != Some(hop) {
            return self.accepted_elsewhere(turn, recipient, hop);
        }
        self.commit_recipient(turn, recipient, hop, reply, instead);
    }

    /// The recipient is the transaction's: it will be delivered with the message, or the message refused (law 3).
    pub(super) fn commit_recipient(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Recipient,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        let place = self.hops.get(hop).map(|up| up.place().clone());
        let origin = Origin::Hop(hop);
        self.note_recipient(turn, &recipient, Told::of(origin, reply, instead.as_ref()));
        self.answer(turn, origin, reply, instead);
        // What a rule or callout added the client was not shown.
        let offers = self.hops.get(hop).map(|hop| *hop.offers()).unwrap_or_default();
        let known = self.client.shown().with(&offers);
        if let Some(transaction) = self.delivery.transaction_mut() {
            if let Ok(params) = Params::parse(recipient.sent.params_octets()) {
                transaction.needs.add(params, &known);
            }
            transaction.pinned = transaction.pinned.take().or(place);
            transaction.accepts(recipient);
        }
    }

    pub(super) fn conclude_data(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        let told = instead.as_ref().map_or(reply.code(), |instead| instead.code());
        let recipients = self.delivery.transaction().map_or(0, |transaction| transaction.recipients.len());
        if told.is_intermediate() && recipients == 0 {
            self.end_for_nobody(turn, hop);
            self.client.tell(turn, &Said::Own(&own::NO_VALID_RECIPIENTS));
            return self.data_refused(turn);
        }
        if told.is_negative() {
            self.note_refusal(Told::of(Origin::Hop(hop), reply, instead.as_ref()));
        }
        self.answer(turn, Origin::Hop(hop), reply, instead);
        if told.is_intermediate() {
            self.begin_data(turn, hop);
        } else {
            if reply.code().is_intermediate() {
                self.drop_hop(turn, hop);
            }
            self.data_refused(turn);
            if told.closes() {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
        }
    }

    /// A hop takes content for recipients that there are not: an empty message that must go nowhere (RFC 2920 3.1).
    fn end_for_nobody(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if !self.hops.get_mut(hop).is_some_and(|open| open.end_for_nobody(turn)) {
            self.drop_hop(turn, hop);
        }
    }

    /// Octets behind a DATA that is refused may be content and must not be read as commands.
    pub(super) fn data_refused(&mut self, turn: &mut Turn<'_>) {
        if self.client.is_early() {
            self.hang_up(turn, Some(Said::Own(&own::EARLY_INPUT)), SessionEnd::Protocol);
        }
    }

    pub(super) fn conclude_message(
        &mut self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        let accepted = reply.code().is_positive();
        let end = match (accepted, self.client.is_gone()) {
            (true, false) => MessageEnd::Accepted,
            (true, true) => MessageEnd::DeliveredUnheard,
            (false, _) => MessageEnd::Refused,
        };
        if accepted {
            self.client.forgive_errors();
        }
        let code = instead.as_ref().map_or(reply.code(), |instead| instead.code());
        let last = self.last_word(Told::of(Origin::Hop(hop), reply, instead.as_ref()));
        let hop_said = instead.as_ref().map(|_| first_line(reply.as_bytes()));
        let last = last.map(|last| LastWord { hop_said, ..last });
        self.answer(turn, Origin::Hop(hop), reply, instead);
        self.message_over(turn, transaction, end, last, Some(hop));
        if self.hops.home() != Some(hop) && self.hops.current() != Some(hop) && !self.owed.owes_message(hop) {
            self.dismiss(turn, hop);
        }
        if code.closes() {
            self.hang_up(turn, None, SessionEnd::HopClosed);
        }
    }
}
