//! Verdicts on commands, carried out, whoever gave them.
//!
//! In:    a command whose candidate was asked about, and what was decided; nothing decided is a way on, too.
//! Out:   the command forwarded, answered in the hop's place, sent another way; or the dialog closed.
//! Never: knows who decided, but for the record.
//!
//! RFC 5321 3.1 (a refusing greeting), 4.2 (replies).

use super::check::without_hop;
use super::io::{SessionEnd, VerdictKind};
use super::owed::{Said, What};
use super::route::{PoolId, PoolKind};
use super::verdict::{CommandVerdict, Giver, Stage};
use super::{Session, Turn};
use crate::smtp::{Verb, own};

impl Session {
    /// Does what was decided about a command, or about the connection; `None`: nobody decided anything.
    pub(super) fn decide(
        &mut self,
        turn: &mut Turn<'_>,
        what: What,
        verdict: Option<CommandVerdict>,
        by: Option<Giver>,
    ) {
        if let What::Mail(mail) = &what
            && let Some(transaction) = &mut self.transaction
            && transaction.mail.sent != mail.sent
        {
            transaction.mail = mail.clone();
        }
        match (verdict, what) {
            (Some(CommandVerdict::Reply(reply)), What::Greeting) => {
                self.refuse_client(turn, Said::Written(reply), SessionEnd::Verdict);
            }
            (Some(CommandVerdict::Disconnect(reply)), What::Greeting) => {
                self.hang_up(turn, Some(Said::disconnect(reply)), SessionEnd::Verdict);
            }
            (Some(CommandVerdict::Reply(reply)), what @ (What::Mail(_) | What::Rcpt(_) | What::Data)) => {
                self.owe(turn, what, Said::Written(reply));
            }
            (Some(CommandVerdict::Reply(reply)), _) => self.owe(turn, What::Local, Said::Written(reply)),
            (Some(CommandVerdict::Disconnect(reply)), _) => {
                self.owe(turn, What::Close(SessionEnd::Verdict), Said::disconnect(reply));
            }
            (Some(CommandVerdict::Route(pool)), what) => self.go_to(turn, what, pool, by),
            (Some(CommandVerdict::Accept) | None, what) => self.go_on(turn, what),
        }
    }

    /// The way of a command that nobody has anything against.
    fn go_on(&mut self, turn: &mut Turn<'_>, what: What) {
        match what {
            What::Greeting if self.flags.mute && self.is_by_recipient() => {
                self.hang_up(turn, None, SessionEnd::HopLost);
            }
            What::Greeting if (self.settings.own_greeting && !self.flags.mute) || self.is_by_recipient() => {
                self.greet(turn);
            }
            What::Hello(hello) if self.is_by_recipient() => self.hello_here(turn, *hello),
            What::Mail(mail) if self.may_settle() => self.mail_here(turn, mail),
            What::Rcpt(_) => {
                let pool = self.transaction.as_ref().map_or(self.pool, |transaction| transaction.pool);
                self.forward_to(turn, what, pool);
            }
            What::Data if self.is_swallowed() => {
                self.tell(turn, &Said::Own(&own::START_INPUT));
                self.begin_discard(turn);
            }
            What::Data if self.upstreams.current().is_none() && self.may_settle() => {
                // No recipient has named a hop that could say it.
                self.owe(turn, what, Said::Own(&own::NO_VALID_RECIPIENTS));
            }
            What::Other(verb, _) if self.is_stuffing() || self.has_nobody_for(verb) => {
                self.reply_own(turn, without_hop(verb));
            }
            what => self.forward(turn, what),
        }
    }

    /// A route: the session's, the transaction's or the recipient's. After 235 the session stays with its hop.
    fn go_to(&mut self, turn: &mut Turn<'_>, what: What, pool: PoolId, by: Option<Giver>) {
        match what {
            What::Greeting => self.pool = pool,
            What::Mail(_) if pool == self.pool => {}
            What::Hello(_) | What::Mail(_) | What::Rcpt(_) if self.flags.authenticated => {
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
                if let Some(transaction) = &mut self.transaction {
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
        } else if along && (first || self.settings.hops.kind(pool) != PoolKind::Lmtp) {
            self.forward(turn, what);
        } else {
            self.hold(turn, what, pool);
        }
    }

    /// Whether no hop is there to hear a command that opens none.
    fn has_nobody_for(&self, verb: Verb) -> bool {
        self.upstreams.current().is_none() && (verb != Verb::Other || self.is_by_recipient())
    }

    /// The session's transactions go to another pool from now on.
    fn route_session(&mut self, turn: &mut Turn<'_>, pool: PoolId) {
        if pool == self.pool {
            return;
        }
        self.drop_transaction(turn, None, None);
        self.pool = pool;
        if let Some(home) = self.upstreams.home() {
            self.dismiss(turn, home);
        }
    }

    /// Whether every recipient there is was swallowed on purpose.
    fn is_swallowed(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|transaction| transaction.recipients.is_empty() && transaction.swallowed > 0)
    }
}
