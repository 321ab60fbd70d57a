//! A recipient tried elsewhere: by a route, or rung by rung on a ladder, while the client waits.
//!
//! In:    a recipient whose way leads elsewhere, or a verdict that has a refused one tried again; what hops answer.
//! Out:   each attempt said where the machine says; in the end the reply that is owed, asked about as one.
//! Never: holds more than one hop beside the transaction's for it; asks anybody about a rung's own replies; leaves a hop
//!        inside a transaction that went elsewhere.

use std::sync::Arc;

use super::super::attempt::{Attempt, Way};
use super::super::events::{AttemptEnd, Event, VerdictKind};
use super::super::hop::{NoHop, Tried};
use super::super::io::Output;
use super::super::owed::{Answer, What};
use super::super::peer::HopId;
use super::super::peer::Why;
use super::super::route::{Destination, Domain, NotFound, Place, PoolId};
use super::super::said::Said;
use super::super::stage::{Giver, Stage};
use super::super::transaction::Recipient;
use super::super::turn::Turn;
use super::super::verdict::Rung;
use super::Conductor;
use super::asking::Heard;
use crate::dialog::{Expect, Say};
use crate::smtp::{Own, own};

impl Conductor {
    /// A verdict has a refused recipient tried again.
    pub(super) fn begin_ladder(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Box<Recipient>,
        heard: Heard<'_>,
        rungs: Vec<Rung>,
        by: Option<Giver>,
    ) {
        let from = match heard.hop.and_then(|hop| self.hops.get(hop)) {
            Some(open) => (open.place().clone(), Some(open.host().id())),
            None => (self.current_place(), None),
        };
        let until = turn.now + self.settings.timeouts.attempts;
        let refusal = (heard.origin, heard.reply);
        let attempt = Attempt::ladder(rungs, by, from, refusal, recipient.clone(), until);
        self.owed.put_back(What::Rcpt(recipient), Answer::Trying(Box::new(attempt)));
        self.next_rung(turn);
    }

    /// A recipient whose way leads elsewhere than the transaction's, or that had to wait for the one before it.
    pub(super) fn begin_route(&mut self, turn: &mut Turn<'_>, recipient: Box<Recipient>, pool: PoolId) {
        let Some(transaction) = self.delivery.transaction().filter(|transaction| transaction.accepted) else {
            return self.refuse_recipient(recipient, &own::NEED_MAIL);
        };
        let (pinned, own) = (transaction.pinned.is_some(), transaction.pool);
        let rung = match self.domain_of(&recipient, pool) {
            None => Rung::default(),
            Some(Ok(domain)) => Rung { mx: Some(domain), ..Rung::default() },
            Some(Err(own)) => return self.refuse_recipient(recipient, own),
        };
        let here = self.current_place();
        if rung.mx.as_ref().map_or(here == Place::Pool(pool), |domain| here.is_of(domain)) {
            return self.go_on_here(turn, recipient);
        }
        if pinned && (pool != own || rung.mx.is_some()) {
            // Routed elsewhere by a verdict or by its domain after pinning: not even asked.
            return self.refuse_recipient(recipient, &own::OTHER_HOP);
        }
        let until = turn.now + self.settings.timeouts.answer;
        let attempt = Attempt::route(rung, Place::Pool(pool), recipient.clone(), until);
        self.owed.put_back(What::Rcpt(recipient), Answer::Trying(Box::new(attempt)));
        self.next_rung(turn);
    }

    /// The recipient's way leads where the transaction is.
    fn go_on_here(&mut self, turn: &mut Turn<'_>, recipient: Box<Recipient>) {
        if self.is_full() {
            return self.refuse_recipient(recipient, &own::TOO_MANY_RECIPIENTS);
        }
        // After 235 no other hop may take the place of one that is lost.
        let stays = self.client.is_authenticated() && self.hops.current().is_none();
        match if stays { Err(NoHop::None) } else { self.current_or_open(turn) } {
            Ok(hop) => {
                let number = self.owed.put_back(What::Rcpt(recipient), Answer::Hop(hop));
                if self.hops.is_ready(hop) {
                    self.utter(turn, number, hop);
                }
            }
            Err(_) => self.refuse_recipient(recipient, &own::ATTEMPTS_FAILED),
        }
    }

    fn refuse_recipient(&mut self, recipient: Box<Recipient>, own: &'static Own) {
        self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(own)));
    }

    /// Tries the next rung that is not a repetition.
    pub(super) fn next_rung(&mut self, turn: &mut Turn<'_>) {
        let (most, line) = (self.settings.limits.attempts, self.settings.limits.command_line);
        while let Some((recipient, attempt)) = self.owed.attempt() {
            let Some(Way { origin, pool, mx, recipient }) = attempt.next(recipient, most, line) else {
                return self.ladder_failed(turn);
            };
            if !self.takes_given(&recipient) {
                self.leads_nowhere(turn, &own::NOT_SMTPUTF8);
                continue;
            }
            let domain = mx.map(Ok).or_else(|| self.domain_of(&recipient, pool?));
            let under_way = match domain {
                None => self.try_place(turn, pool.map_or(origin, Place::Pool)),
                Some(Err(nowhere)) => self.leads_nowhere(turn, nowhere),
                Some(Ok(domain)) => match self.current_place() {
                    here if here.is_of(&domain) => self.try_place(turn, here),
                    _ => self.look_up(turn, domain),
                },
            };
            if under_way {
                return;
            }
        }
    }

    /// Makes the attempt at a place; returns whether it is under way.
    fn try_place(&mut self, turn: &mut Turn<'_>, place: Place) -> bool {
        let ready =
            |hop: &HopId| self.hops.get(*hop).is_some_and(|open| *open.place() == place && open.is_ready());
        let here = self.hops.current().filter(ready);
        let home = self.hops.home().filter(ready);
        if here.is_none() && self.stays(turn) {
            return false;
        }
        match here.or(home) {
            Some(hop) if !self.takes_attempt(hop) => self.leads_nowhere(turn, &own::HOP_LACKS_SMTPUTF8),
            Some(hop) if here == Some(hop) && self.is_full() => {
                self.leads_nowhere(turn, &own::TOO_MANY_RECIPIENTS)
            }
            Some(hop) => {
                let new = self.set_out(hop);
                if new {
                    self.attempt_says(turn, hop);
                }
                new
            }
            None => self.try_at(turn, place, Tried::new()),
        }
    }

    /// Whether a hop takes the address that is being tried, which was not the client's (RFC 6531 3.4).
    fn takes_attempt(&mut self, hop: HopId) -> bool {
        let Some((_, attempt)) = self.owed.attempt() else { return false };
        let tried = attempt.recipient();
        let path = tried.sent.path_octets().to_vec();
        tried.given.is_none() || self.takes_path_at(hop, &path)
    }

    /// Whether the session must stay with its hop, because the client authenticated through to it.
    fn stays(&mut self, turn: &mut Turn<'_>) -> bool {
        let stays = self.client.is_authenticated();
        if stays && let Some(by) = self.owed.attempt().and_then(|(_, attempt)| attempt.by()) {
            self.note(turn, Stage::RcptReply, by, VerdictKind::Skipped);
        }
        stays
    }

    /// Has the hosts of a domain looked up for the attempt; returns whether that is under way.
    fn look_up(&mut self, turn: &mut Turn<'_>, domain: Domain) -> bool {
        if self.stays(turn) {
            return false;
        }
        if let Some((_, attempt)) = self.owed.attempt() {
            attempt.looks_up();
            turn.wish(Output::LookUp(domain));
        }
        true
    }

    /// A domain was looked up: the attempt is made at its hosts.
    pub(super) fn looked_up(&mut self, turn: &mut Turn<'_>, found: Result<Arc<dyn Destination>, NotFound>) {
        if !self.owed.attempt().is_some_and(|(_, attempt)| attempt.looked_up()) {
            return;
        }
        let under_way = match found {
            Ok(found) => self.try_place(turn, Place::Found(found)),
            Err(not_found) => self.leads_nowhere(turn, not_found.reply()),
        };
        if !under_way {
            self.next_rung(turn);
        }
    }

    /// The attempt's way leads nowhere. Nothing is under way.
    fn leads_nowhere(&mut self, turn: &mut Turn<'_>, nowhere: &'static Own) -> bool {
        turn.count(Event::Attempt(AttemptEnd::Refused));
        let id = self.client.id();
        if let Some((_, attempt)) = self.owed.attempt() {
            attempt.leads_nowhere(nowhere, id);
        }
        false
    }

    /// Opens a dialog for the attempt; returns whether one is under way.
    pub(super) fn try_at(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried) -> bool {
        match self.open(turn, place, tried) {
            Ok(hop) if self.set_out(hop) => true,
            Ok(hop) => {
                self.hops.close(turn, hop, false);
                false
            }
            Err(_) => {
                if let Some((_, attempt)) = self.owed.attempt() {
                    attempt.found_no_host();
                }
                turn.count(Event::Attempt(AttemptEnd::Failed));
                false
            }
        }
    }

    /// Notes the attempt at this hop; false: the same mailbox was tried at the same host before.
    fn set_out(&mut self, hop: HopId) -> bool {
        let Some(host) = self.hops.get(hop).map(|open| open.host().id()) else { return false };
        self.owed.attempt().is_some_and(|(_, attempt)| attempt.set_out(hop, host))
    }

    /// Says the attempt: RCPT alone where the transaction is, MAIL before it elsewhere.
    pub(super) fn attempt_says(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let fits = self.fits(hop);
        if !fits || !self.takes_attempt(hop) {
            let missed = if fits { Some(&own::HOP_LACKS_SMTPUTF8) } else { self.missed_by(hop) };
            if let Some((_, attempt)) = self.owed.attempt() {
                attempt.lacks(missed);
            }
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        if self.hops.current() != Some(hop) {
            self.reset_if_in_mail(turn, hop);
        }
        let elsewhere = self.hops.current() != Some(hop);
        let Some((_, attempt)) = self.owed.attempt() else { return };
        let Some(open) = self.hops.get_mut(hop) else { return };
        let carries = open.carries(self.client.shown(), self.settings.limits.command_line);
        if elsewhere {
            let Some(transaction) = self.delivery.transaction() else { return };
            open.say_xforward(turn, &self.client);
            open.say(turn, Expect::RungMail, Say::Mail, |line| transaction.mail.write(carries, line));
        }
        open.say(turn, Expect::RungRcpt, Say::Along, |line| attempt.recipient().write(carries, line));
    }
}
