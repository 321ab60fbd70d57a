//! Answers: given at the head of the queue of answers owed, where what moves on is decided.
//!
//! In:    a hop's reply to the command of one owed answer, or an answer of our own whose turn has come.
//! Out:   the reply the client hears, and the change its class brings about: a candidate is committed only here.
//! Never: lets a reply overtake, or tells the client a class the hop's reply does not allow.
//!
//! RFC 5321 4.3.2 (replies by command), RFC 2920 3.2 (order).

use super::super::events::{MessageEnd, SessionEnd};
use super::super::hop::{Hop, Tried};
use super::super::notes::Told;
use super::super::owed::{Answer, Entry, What};
use super::super::peer::{HopId, Origin, Why};
use super::super::route::{Place, PoolId};
use super::super::said::{Said, Written};
use super::super::transaction::Mail;
use super::super::turn::Turn;
use super::Conductor;
use super::asking::{Heard, Occasion};
use crate::smtp::{Params, ReplyRef, own};

impl Conductor {
    /// A hop answered the command of an owed answer.
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, number: u32, hop: HopId, reply: ReplyRef<'_>) {
        let head = number == self.owed.head_number();
        let Some(owed) = self.owed.at(number) else { return };
        if !owed.what.takes(reply.code()) {
            return self.spoke_out_of_class(turn, hop, reply);
        }
        if !matches!(owed.answer, Answer::Hop(at) if at == hop) {
            return;
        }
        if matches!(owed.what, What::Hello(_)) && reply.code().is_negative() && self.hops.is_stale() {
            return self.greet_hop_anew(turn, number);
        }
        if !head || self.client.is_greeting_delayed() {
            return self.owed.heard(number, hop, reply);
        }
        if let Some(Entry { what, .. }) = self.owed.pop() {
            let occasion = self.occasion(&what, hop);
            self.note_heard(&what, hop, reply);
            self.judge(turn, what, occasion, reply, None);
            if self.owed.head_number() != number {
                self.owed.head_waits_since(turn.now);
            }
        }
        self.settle(turn);
    }

    /// Whose reply to this is to be judged: a hop's, but for a greeting in the place of one that counts no more.
    fn occasion(&self, what: &What, hop: HopId) -> Occasion {
        let ours =
            matches!(what, What::Greeting) && self.hops.get(hop).is_some_and(Hop::is_greeting_forgotten);
        match ours {
            true => Occasion::Reply { hop: Some(hop), origin: Origin::Gatepost },
            false => Occasion::of(hop),
        }
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
                    self.go_where_held(turn, pool);
                }
                // There is only the greeting to wait with.
                Some(Answer::Own(_) | Answer::Heard(..)) if self.client.is_greeting_delayed() => return,
                Some(Answer::Own(_) | Answer::Heard(..)) => match self.owed.pop() {
                    Some(Entry { what, answer: Answer::Own(said) }) => self.answer_own(turn, what, &said),
                    Some(Entry { what, answer: Answer::Heard(hop, reply) }) => {
                        let (occasion, reply) = (self.occasion(&what, hop), reply.as_ref().as_ref());
                        self.note_heard(&what, hop, reply);
                        self.judge(turn, what, occasion, reply, None);
                    }
                    _ => return,
                },
            }
            if self.owed.head_number() != number {
                self.owed.head_waits_since(turn.now);
            }
        }
    }

    /// Tells the client, and commits or drops the candidate.
    pub(super) fn conclude(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        heard: Heard<'_>,
        instead: Option<Written>,
    ) {
        let (reply, origin) = (heard.reply, heard.origin);
        let (what, hop) = match (what, heard.hop) {
            (What::Rcpt(recipient), _) => return self.conclude_rcpt(turn, *recipient, heard, instead),
            (what, Some(hop)) => (what, hop),
            (_, None) => return self.answer(turn, origin, reply, instead),
        };
        if !what.is_recorded() && instead.is_none() && !self.client.is_over() {
            self.hop_refused(turn, Told::Heard(origin, reply));
        }
        let heard = reply.code();
        let told = instead.as_ref().map_or(heard, |instead| instead.code());
        // A positive reply that the client does not hear of.
        let withdrawn = !heard.is_negative() && told.is_negative();
        match what {
            What::Hello(hello) => return self.conclude_hello(turn, *hello, hop, reply, instead),
            What::Message(transaction) => {
                return self.conclude_message(turn, *transaction, hop, reply, instead);
            }
            What::Mail(_) if heard.is_positive() && !withdrawn => {
                let offers = self.hops.get(hop).map(|hop| *hop.offers());
                if let Some(transaction) = self.delivery.transaction_mut() {
                    transaction.accepted = true;
                    if let (Some(offers), Ok(params)) =
                        (offers, Params::parse(transaction.mail.sent.params_octets()))
                    {
                        // What a rule or callout added the client was not shown.
                        transaction.needs.add(params, &offers);
                    }
                    // Before this the size is the hop's to judge: its 552 is the client's answer.
                    // A size that this hop took beyond what it says is no measure for another.
                    let bound = self.hops.get(hop).and_then(|hop| hop.offers().size());
                    let within = bound.is_none_or(|bound| bound == 0 || transaction.size <= Some(bound));
                    transaction.needs.size = transaction.size.filter(|_| within);
                }
            }
            What::Mail(_) => {
                if withdrawn {
                    self.reset_hop(turn, hop);
                }
                let last = self.last_word(Told::of(origin, reply, instead.as_ref()));
                self.answer(turn, origin, reply, instead);
                self.drop_transaction(turn, None, last);
                if told.closes() {
                    self.hang_up(turn, None, SessionEnd::Verdict);
                }
                return;
            }
            What::Data => return self.conclude_data(turn, hop, reply, instead),
            What::Chunk if told.is_negative() => {
                let said = instead.clone().map_or_else(|| Said::heard(hop, reply), Said::Written);
                self.refuse_chunks(turn, hop, said);
            }
            What::Auth(_) => {
                self.client.goes_on_with_auth(told.is_intermediate());
                if heard.is_positive() && !withdrawn {
                    self.client.authenticated();
                } else if heard.is_negative() {
                    self.client.auth_refused();
                }
                if withdrawn {
                    self.drop_hop(turn, hop);
                }
            }
            What::Greeting if told.is_negative() => {
                self.drop_hop(turn, hop);
                let said = instead.map_or_else(|| Said::heard(hop, reply), Said::Written);
                return self.refuse_client(turn, said, SessionEnd::Verdict);
            }
            What::Reset if told.is_negative() => {
                self.answer(turn, origin, reply, instead);
                // Here the transaction is over; a hop that is inside of it still is not the one for the next.
                if self.hops.get(hop).is_some_and(Hop::may_be_in_mail) {
                    self.lost_because(turn, hop, Why::Unwilling, None);
                }
                if told.closes() {
                    self.hang_up(turn, None, SessionEnd::Verdict);
                }
                return;
            }
            What::StartTls if told.is_positive() => {
                self.answer(turn, origin, reply, instead);
                return self.begin_passage(turn, hop);
            }
            What::Quit => {
                self.answer(turn, origin, reply, instead);
                self.hops.close(turn, hop, true);
                return self.hang_up(turn, None, SessionEnd::Quit);
            }
            What::Greeting
            | What::Reset
            | What::Chunk
            | What::StartTls
            | What::Other(..)
            | What::Rcpt(_)
            | What::Kept
            | What::Local
            | What::Close(_) => {}
        }
        self.answer(turn, origin, reply, instead);
        if told.closes() {
            self.hang_up(turn, None, SessionEnd::Verdict);
        }
    }

    /// The reply itself.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        origin: Origin,
        reply: ReplyRef<'_>,
        instead: Option<Written>,
    ) {
        match instead {
            Some(instead) => self.client.tell(turn, &Said::Written(instead)),
            None => {
                let waited = turn.now.saturating_duration_since(self.owed.since());
                if self.client.relay(turn, origin, reply, waited) {
                    self.hops.episode_over();
                }
            }
        }
    }

    /// An answer of our own whose turn has come.
    pub(super) fn answer_own(&mut self, turn: &mut Turn<'_>, what: What, said: &Said) {
        match what {
            What::Message(transaction) => {
                self.client.tell(turn, said);
                let end = match said {
                    _ if said.code().is_positive() => MessageEnd::Discarded,
                    // Whether the hop kept it is not known.
                    Said::Own(own) if **own == own::CONTENT_LOST || **own == own::HOP_PROTOCOL => {
                        MessageEnd::Lost
                    }
                    _ => MessageEnd::Refused,
                };
                let last = self.last_word(Told::Said(said));
                self.message_over(turn, *transaction, end, last, None);
            }
            What::Mail(_) if said.code().is_negative() => {
                self.client.tell(turn, said);
                let last = self.last_word(Told::Said(said));
                self.drop_transaction(turn, None, last);
            }
            What::Mail(_) => {
                self.mail_taken_here();
                self.client.tell(turn, said);
            }
            What::Rcpt(recipient) => {
                let swallowed = said.code().is_positive();
                match self.delivery.transaction_mut() {
                    Some(transaction) => transaction.swallowed += usize::from(swallowed),
                    None if swallowed => return self.client.tell(turn, &Said::Own(&own::NEED_MAIL)),
                    None => {}
                }
                self.client.tell(turn, said);
                self.note_recipient(turn, &recipient, Told::Said(said));
            }
            What::Data => {
                self.note_refusal(Told::Said(said));
                self.client.tell(turn, said);
                self.data_refused(turn);
            }
            What::Quit => {
                self.client.tell(turn, said);
                return self.hang_up(turn, None, SessionEnd::Quit);
            }
            What::Close(end) => return self.hang_up(turn, Some(said.clone()), end),
            _ => {
                self.client.tell(turn, said);
                self.hop_refused(turn, Told::Said(said));
            }
        }
        if said.code().closes() {
            self.hang_up(turn, None, SessionEnd::Verdict);
        }
    }

    /// An answer that waited for its turn to be asked for.
    fn go_where_held(&mut self, turn: &mut Turn<'_>, pool: PoolId) {
        let Some(Entry { what, .. }) = self.owed.pop() else { return };
        match what {
            What::Rcpt(recipient) => self.begin_route(turn, recipient, pool),
            What::Mail(mail) => self.mail_elsewhere(turn, mail, pool),
            what => {
                self.owed.put_back(what, Answer::Own(Said::Own(&own::ATTEMPTS_FAILED)));
            }
        }
    }

    /// MAIL goes to another pool than the session's: the transaction's own dialog is opened.
    fn mail_elsewhere(&mut self, turn: &mut Turn<'_>, mail: Mail, pool: PoolId) {
        match self.open(turn, Place::Pool(pool), Tried::new()) {
            Ok(hop) => {
                self.hops.go_to(hop);
                self.owed.put_back(What::Mail(mail), Answer::Hop(hop));
            }
            Err(_) => {
                self.owed.put_back(What::Mail(mail), Answer::Own(Said::Own(&own::ATTEMPTS_FAILED)));
            }
        }
    }
}
