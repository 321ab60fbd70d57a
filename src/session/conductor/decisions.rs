//! Verdicts carried out, whoever gave them.
//!
//! In:    a command whose candidate was asked about, or a hop's reply, and what was decided; nothing decided is a way on,
//!        too.
//! Out:   the command forwarded, answered in the hop's place, sent another way; the reply concluded, as it is or
//!        replaced; a ladder begun; or the dialog closed.
//! Never: knows who decided, but for the record; does to a reply what the law of its stage does not allow.
//!
//! RFC 5321 3.1 (a refusing greeting), 4.2 (replies).

use super::super::client::Phase;
use super::super::events::{Event, Relief, SessionEnd, VerdictKind};
use super::super::law::reply_verdict;
use super::super::notes::Told;
use super::super::owed::{Answer, What, without_hop};
use super::super::route::{PoolId, PoolKind};
use super::super::said::{Said, Written};
use super::super::stage::{Giver, Stage};
use super::super::turn::Turn;
use super::super::verdict::{CommandVerdict, ReplyVerdict};
use super::Conductor;
use super::asking::Heard;
use super::questions::{command_stage, reply_stage};
use crate::smtp::{Verb, own};

impl Conductor {
    /// Does what was decided about a command, or about the connection; `None`: nobody decided anything.
    pub(super) fn decide(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        verdict: Option<CommandVerdict>,
        by: Option<Giver>,
    ) {
        let known = self.client.shown().with(&self.hops.offered());
        if let What::Mail(mail) = &what
            && let Some(transaction) = self.delivery.transaction_mut()
            && transaction.mail.sent != mail.sent
        {
            transaction.takes(mail.clone(), &known);
        }
        let (stage, id) = (command_stage(&what), self.client.id());
        match (verdict, what) {
            (Some(CommandVerdict::Reply(reply)), What::Greeting) => {
                let said = Said::Written(Written::by(by, stage, reply));
                self.refuse_client(turn, said, SessionEnd::Verdict);
            }
            (Some(CommandVerdict::Disconnect(reply)), What::Greeting) => {
                let said = Said::disconnect(reply, by, stage, id);
                self.hang_up(turn, Some(said), SessionEnd::Verdict);
            }
            (Some(CommandVerdict::Reply(reply)), what) => {
                let what = match what {
                    What::Mail(_) | What::Rcpt(_) | What::Data => what,
                    _ => What::Local,
                };
                self.owe(turn, what, Said::Written(Written::by(by, stage, reply)));
            }
            (Some(CommandVerdict::Disconnect(reply)), what) => {
                let said = Said::disconnect(reply, by, stage, id);
                if let What::Rcpt(recipient) = &what {
                    self.note_recipient(turn, recipient, Told::Said(&said));
                }
                self.owe(turn, What::Close(SessionEnd::Verdict), said);
            }
            (Some(CommandVerdict::Route(pool)), what) => self.go_to(turn, what, pool, by),
            (Some(CommandVerdict::Accept) | None, what) => self.go_on(turn, what),
        }
    }

    /// The way of a command that nobody has anything against.
    fn go_on(&mut self, turn: &mut Turn<'_>, what: What) {
        let unspeakable = self.client.phase() == Phase::Unspeakable;
        match what {
            What::Greeting if unspeakable && self.is_by_recipient() => {
                self.hang_up(turn, None, SessionEnd::HopLost);
            }
            What::Greeting if (self.settings.own_greeting && !unspeakable) || self.is_by_recipient() => {
                self.greet(turn);
            }
            What::Greeting if !unspeakable && self.withholds_hop() => {
                turn.count(Event::Relieved(Relief::HopWithheld));
                self.client.greets_here(true);
                self.greet(turn);
            }
            What::Hello(hello) if self.is_by_recipient() => self.hello_here(turn, *hello),
            What::Mail(mail) if self.may_settle() => self.mail_here(turn, mail),
            What::Rcpt(_) => {
                let pool =
                    self.delivery.transaction().map_or(self.hops.pool(), |transaction| transaction.pool);
                self.forward_to(turn, what, pool);
            }
            What::Data if self.is_swallowed() => {
                self.client.tell(turn, &Said::Own(&own::START_INPUT));
                self.begin_discard(turn);
            }
            What::Data if self.hops.current().is_none() && self.may_settle() => {
                // No recipient has named a hop that could say it.
                self.owe(turn, what, Said::Own(&own::NO_VALID_RECIPIENTS));
            }
            What::Data if self.asks_about_message() => self.keep_message(turn),
            What::Other(verb, _) if self.delivery.is_stuffing() || self.has_nobody_for(verb) => {
                self.reply_own(turn, without_hop(verb));
            }
            what => self.forward(turn, what),
        }
    }

    /// A route: the session's, the transaction's or the recipient's. After 235 the session stays with its hop.
    fn go_to(&mut self, turn: &mut Turn<'_>, what: What, pool: PoolId, by: Option<Giver>) {
        match what {
            What::Greeting => self.hops.move_to(pool),
            What::Mail(_) if pool == self.hops.pool() => {}
            What::Hello(_) | What::Mail(_) | What::Rcpt(_) if self.client.is_authenticated() => {
                if let Some(by) = by {
                    let stage = match what {
                        What::Hello(_) => Stage::Helo,
                        What::Mail(_) => Stage::Mail,
                        _ => Stage::Rcpt,
                    };
                    self.note(turn, stage, by, VerdictKind::Skipped);
                }
            }
            What::Hello(_) | What::Auth(_) => self.route_session(turn, pool),
            What::Mail(_) => {
                if let Some(transaction) = self.delivery.transaction_mut() {
                    transaction.pool = pool;
                }
                if !self.may_settle() {
                    return self.hold(turn, what, pool);
                }
            }
            What::Rcpt(_) => return self.forward_to(turn, what, pool),
            _ => {}
        }
        self.go_on(turn, what);
    }

    fn forward_to(&mut self, turn: &mut Turn<'_>, what: What, pool: PoolId) {
        let What::Rcpt(recipient) = &what else { return };
        let along = self.is_on_the_way(recipient, pool);
        let first = !self.owed.iter().any(|owed| matches!(owed.what, What::Rcpt(_)));
        if along && self.is_full() {
            self.reply_own(turn, &own::TOO_MANY_RECIPIENTS);
        } else if along && recipient.given.is_some() && !self.takes_path(recipient.sent.path_octets()) {
            self.reply_own(turn, &own::NEED_SMTPUTF8);
        } else if along && (first || self.settings.next_hops.kind(pool) != PoolKind::Lmtp) {
            self.forward(turn, what);
        } else {
            self.hold(turn, what, pool);
        }
    }

    /// Whether no hop is there to hear a command that opens none.
    fn has_nobody_for(&self, verb: Verb) -> bool {
        self.hops.current().is_none() && (verb != Verb::Other || self.is_by_recipient())
    }

    /// Whether every recipient there is was swallowed on purpose.
    fn is_swallowed(&self) -> bool {
        self.delivery
            .transaction()
            .is_some_and(|transaction| transaction.recipients.is_empty() && transaction.swallowed > 0)
    }

    /// Does what was decided about a hop's reply, whoever decided it; `None`: nobody decided anything.
    pub(super) fn decide_reply(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        heard: Heard<'_>,
        verdict: Option<ReplyVerdict>,
        by: Option<Giver>,
    ) {
        // A rule's condition need not say which replies its verdict is for; a hop's word that it is not for stands.
        let stage = reply_stage(&what);
        let lawful = |verdict: &ReplyVerdict| {
            stage.is_some_and(|stage| reply_verdict(stage, heard.reply, verdict).is_ok())
        };
        match (verdict.filter(lawful), what) {
            (Some(ReplyVerdict::Substitute(instead)), what) => {
                let stage = stage.unwrap_or(Stage::OtherReply);
                self.conclude(turn, what, heard, Some(Written::by(by, stage, instead)));
            }
            (Some(ReplyVerdict::Retry(rungs)), What::Rcpt(recipient))
                if self.delivery.has_transaction() && by.is_some() =>
            {
                self.begin_ladder(turn, recipient, heard, rungs, by);
            }
            (Some(ReplyVerdict::Disconnect(said)), what) => {
                let said = Said::disconnect(said, by, stage.unwrap_or(Stage::OtherReply), self.client.id());
                // The client hears it in answer to this.
                self.owed.put_back(what, Answer::Own(said.clone()));
                self.hang_up(turn, Some(said), SessionEnd::Verdict);
            }
            (_, what) => self.conclude(turn, what, heard, None),
        }
    }
}
