//! Replies: answered. What moves on is decided at the head of the queue of answers owed.
//!
//! In:    a hop's reply to the command of one owed answer, or an answer of our own whose turn has come.
//! Out:   the reply the client hears, and the change its class brings about: a candidate is committed only here.
//! Never: lets a reply overtake, or tells the client a class the hop's reply does not allow.
//!
//! RFC 5321 4.3.2 (replies by command), RFC 2920 3.2 (order).

use std::sync::Arc;

use super::io::{Event, HopId, MessageEnd, Output, Peer, SessionEnd, TraceSide};
use super::notes::{first_line, said_line};
use super::owed::{Answer, Owed, Said, What};
use super::route::Place;
use super::transaction::{Hello, Mail, Recipient, Transaction};
use super::upstreams::Tried;
use super::{Phase, Session, Turn, closes};
use crate::dialog::Expect;
use crate::smtp::{Extensions, Params, Reply, ReplyRef, Shown, own, present};

impl Session {
    /// A hop answered the command of an owed answer.
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, number: u32, hop: HopId, reply: ReplyRef<'_>) {
        let head = number == self.owed.head_number();
        let Some(owed) = self.owed.numbered(number) else { return };
        if !owed.what.takes(reply.code()) {
            turn.out.count(Event::Malformed);
            return self.lost_because(turn, hop, super::upstreams::Why::Malformed, None);
        }
        if !matches!(owed.answer, Answer::Hop(at) if at == hop) {
            return;
        }
        if matches!(owed.what, What::Hello(_)) && reply.code().is_negative() && self.flags.stale {
            return self.greet_hop_anew(turn, number);
        }
        if !head || self.flags.hush {
            owed.answer = Answer::Heard(hop, Box::new(reply.to_owned()));
            return;
        }
        if let Some(Owed { what, .. }) = self.owed.pop() {
            self.judge(turn, what, Some(hop), reply, None);
            if self.owed.head_number() != number {
                self.head_since = turn.now;
            }
        }
        self.settle(turn);
    }

    /// Gives every answer at the head that is there.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>) {
        loop {
            let number = self.owed.head_number();
            match self.owed.head().map(|head| &head.answer) {
                None | Some(Answer::Unsaid | Answer::Hop(_) | Answer::Trying(_)) => return,
                Some(Answer::Asked(_)) => {
                    if !self.inquire(turn) {
                        return;
                    }
                    continue;
                }
                Some(Answer::Held(pool)) => {
                    let pool = *pool;
                    if !self.release(turn, pool) {
                        return;
                    }
                }
                // There is only the greeting to wait with.
                Some(Answer::Own(_) | Answer::Heard(..)) if self.flags.hush => return,
                Some(Answer::Own(_) | Answer::Heard(..)) => match self.owed.pop() {
                    Some(Owed { what, answer: Answer::Own(said) }) => self.answer_own(turn, what, &said),
                    Some(Owed { what, answer: Answer::Heard(hop, reply) }) => {
                        self.judge(turn, what, Some(hop), reply.as_ref().as_ref(), None);
                    }
                    _ => return,
                },
            }
            if self.owed.head_number() != number {
                self.head_since = turn.now;
            }
        }
    }

    /// Tells the client, and commits or drops the candidate.
    pub(super) fn conclude(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        hop: Option<HopId>,
        reply: ReplyRef<'_>,
        instead: Option<Arc<Reply>>,
    ) {
        let heard = reply.code();
        let told = instead.as_ref().map_or(heard, |instead| instead.code());
        // A positive reply that the client does not hear of.
        let withdrawn = !heard.is_negative() && told.is_negative();
        let (what, hop) = match (what, hop) {
            (What::Rcpt(recipient), hop) => return self.conclude_rcpt(turn, *recipient, hop, reply, instead),
            (what, Some(hop)) => (what, hop),
            (_, None) => return self.answer(turn, reply, instead),
        };
        match what {
            What::Hello(hello) => return self.conclude_hello(turn, *hello, hop, reply, instead),
            What::Message(transaction) => {
                return self.conclude_message(turn, *transaction, hop, reply, instead);
            }
            What::Mail(_) if heard.is_positive() && !withdrawn => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.accepted = true;
                    // Before this the size is the hop's to judge: its 552 is the client's answer.
                    // A size that this hop took beyond what it says is no measure for another.
                    let bound = self.upstreams.get(hop).and_then(|up| up.dialog.extensions.size());
                    let within = bound.is_none_or(|bound| bound == 0 || transaction.size <= Some(bound));
                    transaction.needs.size = transaction.size.filter(|_| within);
                }
            }
            What::Mail(_) => {
                if withdrawn {
                    self.reset_hop(turn, hop);
                }
                self.answer(turn, reply, instead);
                self.drop_transaction(turn, None, Some(reply));
                if closes(told.get()) {
                    self.hang_up(turn, None, SessionEnd::Verdict);
                }
                return;
            }
            What::Data => return self.conclude_data(turn, hop, reply, instead),
            What::Chunk if told.is_negative() => {
                let said = instead.clone().unwrap_or_else(|| Arc::new(reply.to_owned()));
                self.refuse_chunks(turn, hop, Said::Written(said));
            }
            What::Auth(_) => {
                self.downstream.in_auth = told.is_intermediate();
                self.flags.authenticated |= heard.is_positive() && !withdrawn;
                if withdrawn {
                    self.drop_current(turn, hop);
                }
            }
            What::Greeting if told.is_negative() => {
                self.drop_current(turn, hop);
                let said = instead.unwrap_or_else(|| Arc::new(reply.to_owned()));
                return self.refuse_client(turn, Said::Written(said), SessionEnd::Verdict);
            }
            What::StartTls if told.is_positive() => {
                self.answer(turn, reply, instead);
                return self.begin_passage(turn, hop);
            }
            What::Quit => {
                self.answer(turn, reply, instead);
                self.forget_hop(turn, hop, true);
                return self.hang_up(turn, None, SessionEnd::Quit);
            }
            What::Greeting
            | What::Reset
            | What::Chunk
            | What::StartTls
            | What::Other(..)
            | What::Rcpt(_)
            | What::Local
            | What::Close(_) => {}
        }
        self.answer(turn, reply, instead);
        if closes(told.get()) {
            self.hang_up(turn, None, SessionEnd::Verdict);
        }
    }

    /// The reply itself.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, reply: ReplyRef<'_>, instead: Option<Arc<Reply>>) {
        match instead {
            Some(instead) => self.tell(turn, &Said::Written(instead)),
            None => self.relay(turn, reply),
        }
    }

    /// An answer of our own whose turn has come.
    pub(super) fn answer_own(&mut self, turn: &mut Turn<'_>, what: What, said: &Said) {
        match what {
            What::Message(transaction) => {
                self.tell(turn, said);
                let end = match said {
                    _ if said.code().is_positive() => MessageEnd::Discarded,
                    Said::Own(own) if **own == own::CONTENT_LOST => MessageEnd::Lost,
                    _ => MessageEnd::Refused,
                };
                self.message_over(turn, *transaction, end, Some(said_line(said)), None);
            }
            What::Mail(_) if said.code().is_negative() => {
                self.tell(turn, said);
                self.drop_transaction(turn, None, None);
            }
            What::Mail(_) => {
                self.mail_taken_here();
                self.tell(turn, said);
            }
            What::Rcpt(recipient) => {
                let swallowed = said.code().is_positive();
                match &mut self.transaction {
                    Some(transaction) if transaction.accepted => {
                        transaction.swallowed += usize::from(swallowed);
                    }
                    _ if swallowed => return self.tell(turn, &Said::Own(&own::NEED_MAIL)),
                    _ => {}
                }
                self.tell(turn, said);
                self.note_recipient(turn, &recipient, said_line(said), None, said.code().class());
            }
            What::Data => {
                self.tell(turn, said);
                self.data_refused(turn);
            }
            What::Quit => {
                self.tell(turn, said);
                return self.hang_up(turn, None, SessionEnd::Quit);
            }
            What::Auth(_) => {
                self.downstream.in_auth = false;
                self.tell(turn, said);
            }
            What::Close(end) => return self.hang_up(turn, Some(said.clone()), end),
            _ => self.tell(turn, said),
        }
        if closes(said.code().get()) {
            self.hang_up(turn, None, SessionEnd::Verdict);
        }
    }

    pub(super) fn conclude_hello(
        &mut self,
        turn: &mut Turn<'_>,
        hello: Hello,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Arc<Reply>>,
    ) {
        let refused =
            reply.code().is_negative() || instead.as_ref().is_some_and(|by| by.code().is_negative());
        if refused {
            // A refused EHLO leaves everything as it was; the hop, which took it, is brought back to that.
            if reply.code().is_positive() {
                self.drop_current(turn, hop);
            }
            let told = instead.as_ref().map_or(reply.code(), |instead| instead.code()).get();
            self.answer(turn, reply, instead);
            if closes(told) {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
            return;
        }
        self.drop_transaction(turn, None, None);
        let extended = hello.extended;
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.dialog.extensions =
                if extended || up.lmtp { Extensions::of(reply) } else { Extensions::default() };
        }
        let settings = Arc::clone(&self.settings);
        let host = self.upstreams.get(hop).map(|up| Arc::clone(&up.host));
        let lmtp = self.upstreams.get(hop).is_some_and(|up| up.lmtp);
        let recipients = if lmtp { 1 } else { settings.limits.recipients };
        let mut hidden: Vec<Box<[u8]>> = Vec::new();
        let start = turn.out.to(Peer::Downstream).len();
        self.shown = Extensions::default();
        if extended {
            let shown = Shown {
                message_size: settings.limits.message_size,
                recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
                auth: self.shows_auth(),
                hostname: settings.own_greeting.then_some(&settings.hostname),
                forward: &settings.forward_extensions,
                starttls: self.offers_tls() || self.passes_starttls(hop),
                tells: self.flags.trusted,
            };
            let mut extensions = Extensions::default();
            turn.out.to(Peer::Downstream).write(|line| {
                extensions = present(reply, &shown, line, &mut |keyword| hidden.push(keyword.into()));
            });
            self.shown = extensions;
            for (keyword, host) in hidden.into_iter().zip(host.into_iter().cycle()) {
                turn.out.count(Event::HiddenKeyword);
                turn.out.outputs.push(Output::Hidden(host, keyword));
            }
            let tx = turn.out.to(Peer::Downstream);
            let line: Vec<u8> = match settings.trace {
                true => tx.slices(&[]).flatten().skip(start).copied().collect(),
                false => Vec::new(),
            };
            self.heard_hello(turn, &line, true);
        } else if settings.own_greeting {
            self.tell(turn, &Said::Written(super::line_of(250, &settings.hostname)));
        } else if lmtp {
            // LHLO is answered like EHLO; a client that said HELO expects one line.
            let name = reply.lines().next().unwrap_or_default();
            self.tell(turn, &Said::Written(super::line_of(250, &String::from_utf8_lossy(name))));
        } else {
            self.relay(turn, reply);
        }
        self.hello = Some(Box::new(hello));
        self.flags.stale = false;
    }

    /// Counts and traces the EHLO reply that was composed in place.
    pub(super) fn heard_hello(&mut self, turn: &mut Turn<'_>, line: &[u8], by_hop: bool) {
        turn.out.count(Event::Answered { class: 2, by_hop });
        if by_hop {
            turn.out.count(Event::Waited(turn.now.saturating_duration_since(self.head_since)));
        }
        self.heard_at = turn.now;
        self.upstreams.episode_over();
        self.trace(turn, Peer::Downstream, TraceSide::Server, line);
    }

    pub(super) fn conclude_rcpt(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Recipient,
        hop: Option<HopId>,
        reply: ReplyRef<'_>,
        instead: Option<Arc<Reply>>,
    ) {
        let told = instead.as_ref().map_or(reply.code(), |instead| instead.code());
        let name = hop.and_then(|hop| self.upstreams.get(hop)).map(|up| Arc::clone(up.host.name()));
        if told.is_negative() {
            let line = first_line(instead.as_deref().map_or(reply.as_bytes(), |by| by.as_bytes()));
            self.note_recipient(turn, &recipient, line, name, told.class());
            self.answer(turn, reply, instead);
            if reply.code().is_positive()
                && let Some(hop) = hop.filter(|&hop| self.upstreams.current() == Some(hop))
            {
                // Withdrawn before anything else is said to the hop (law 3).
                self.rebuild(turn, hop);
            }
            if closes(told.get()) {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
            return;
        }
        let Some(hop) = hop else { return };
        if !self.has_transaction() {
            // A hop that takes a recipient without a transaction; ours knows better.
            self.reset_hop(turn, hop);
            return self.tell(turn, &Said::Own(&own::NEED_MAIL));
        }
        if self.upstreams.current() != Some(hop) {
            return self.accepted_elsewhere(turn, recipient, hop, reply);
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
        instead: Option<Arc<Reply>>,
    ) {
        let up = self.upstreams.get(hop).map(|up| (Arc::clone(up.host.name()), up.place.clone()));
        let line = if self.settings.records { first_line(reply.as_bytes()) } else { Box::default() };
        self.answer(turn, reply, instead);
        self.note_recipient(turn, &recipient, line, up.as_ref().map(|(name, _)| Arc::clone(name)), 2);
        if let Some(transaction) = &mut self.transaction {
            let shown = self.shown;
            if let Ok(params) = Params::parse(recipient.sent.params_octets()) {
                transaction.needs.add(params, &shown);
            }
            transaction.pinned = transaction.pinned.take().or(up.map(|(_, place)| place));
            transaction.recipients.push(recipient);
        }
    }

    pub(super) fn conclude_data(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Arc<Reply>>,
    ) {
        let told = instead.as_ref().map_or(reply.code(), |instead| instead.code());
        let recipients = self.transaction.as_ref().map_or(0, |transaction| transaction.recipients.len());
        if told.is_intermediate() && recipients == 0 {
            self.end_for_nobody(turn, hop);
            self.tell(turn, &Said::Own(&own::NO_VALID_RECIPIENTS));
            return self.data_refused(turn);
        }
        self.answer(turn, reply, instead);
        if told.is_intermediate() {
            self.begin_data(turn, hop);
        } else {
            if reply.code().is_intermediate() {
                self.drop_current(turn, hop);
            }
            self.data_refused(turn);
            if closes(told.get()) {
                self.hang_up(turn, None, SessionEnd::Verdict);
            }
        }
    }

    /// A hop takes content for recipients that there are not: an empty message that must go nowhere (RFC 2920 3.1).
    fn end_for_nobody(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        if up.dialog.holds_back() {
            // It took a recipient without a transaction, and would deliver to it: what takes that back waits until now.
            return self.drop_current(turn, hop);
        }
        up.said(turn.now);
        up.dialog.end_without_content(turn.out.to(Peer::Upstream(hop)), Expect::Nobody);
        self.trace(turn, Peer::Upstream(hop), TraceSide::Client, b".\r\n");
    }

    /// Octets behind a DATA that is refused may be content and must not be read as commands.
    pub(super) fn data_refused(&mut self, turn: &mut Turn<'_>) {
        if self.flags.early {
            self.hang_up(turn, Some(Said::Own(&own::EARLY_INPUT)), SessionEnd::Protocol);
        }
    }

    pub(super) fn conclude_message(
        &mut self,
        turn: &mut Turn<'_>,
        transaction: Transaction,
        hop: HopId,
        reply: ReplyRef<'_>,
        instead: Option<Arc<Reply>>,
    ) {
        let accepted = reply.code().is_positive();
        let end = match (accepted, self.flags.gone) {
            (true, false) => MessageEnd::Accepted,
            (true, true) => MessageEnd::DeliveredUnheard,
            (false, _) => MessageEnd::Refused,
        };
        if accepted {
            self.downstream.errors = 0;
        }
        let code = instead.as_ref().map_or(reply.code(), |instead| instead.code()).get();
        self.answer(turn, reply, instead);
        let line = self.settings.records.then(|| first_line(reply.as_bytes()));
        self.message_over(turn, transaction, end, line, Some(hop));
        if self.upstreams.home() != Some(hop)
            && self.upstreams.current() != Some(hop)
            && !self.owes_message(hop)
        {
            self.dismiss(turn, hop);
        }
        if closes(code) {
            self.hang_up(turn, None, SessionEnd::HopClosed);
        }
    }

    /// The transaction ends without content.
    pub(super) fn drop_transaction(
        &mut self,
        turn: &mut Turn<'_>,
        end: Option<MessageEnd>,
        reply: Option<ReplyRef<'_>>,
    ) {
        self.leave_content(turn);
        if let Some(transaction) = self.transaction.take() {
            if let Some(end) = end {
                turn.out.count(Event::Message(end, transaction.octets));
            }
            let line = reply.map(|reply| first_line(reply.as_bytes()));
            self.record(turn, *transaction, end, line, self.upstreams.current());
        }
        self.forget_forwarded();
        self.leave_away(turn);
    }

    /// The next transaction starts at the listener's pool again.
    pub(super) fn leave_away(&mut self, turn: &mut Turn<'_>) {
        let away = self.upstreams.away();
        self.upstreams.set_away(None);
        if let Some(away) = away.filter(|&away| !self.owes_message(away)) {
            self.dismiss(turn, away);
        }
    }

    /// Closes the current hop's dialog because what it was told and what the client was told differ.
    pub(super) fn drop_current(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.ask_again(turn, hop);
        self.answer_for(hop, &own::ATTEMPTS_FAILED);
        self.content_left_alone(hop);
        self.forget_hop(turn, hop, false);
        self.flags.bereft |= self.flags.authenticated;
    }

    /// An answer that waited for its turn to be asked for. Returns whether the head may have moved on.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>, pool: super::route::PoolId) -> bool {
        let Some(Owed { what, .. }) = self.owed.pop() else { return false };
        match what {
            What::Rcpt(recipient) => self.begin_route(turn, recipient, pool),
            What::Mail(mail) => self.mail_elsewhere(turn, mail, pool),
            what => {
                self.owed.put_back(what, Answer::Own(Said::Own(&own::ATTEMPTS_FAILED)));
            }
        }
        true
    }

    /// MAIL goes to another pool than the session's: the transaction's own dialog is opened.
    pub(super) fn mail_elsewhere(&mut self, turn: &mut Turn<'_>, mail: Mail, pool: super::route::PoolId) {
        match self.open(turn, Place::Pool(pool), Tried::new()) {
            Ok(hop) => {
                self.upstreams.set_away(Some(hop));
                self.owed.put_back(What::Mail(mail), Answer::Hop(hop));
            }
            Err(_) => {
                self.owed.put_back(What::Mail(mail), Answer::Own(Said::Own(&own::ATTEMPTS_FAILED)));
            }
        }
    }

    /// Whether MAIL was answered 2xx and its transaction goes on.
    pub(super) fn has_transaction(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.accepted)
    }

    pub(super) fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }
}
