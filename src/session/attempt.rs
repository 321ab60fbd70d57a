//! A recipient tried elsewhere: by a route, or rung by rung on a ladder, while the client waits.
//!
//! In:    a recipient, where it was refused, and what to try (OPES: retry, product of mode C).
//! Out:   the first 2xx, or the reply that sums up the failure; at most one hop more than the transaction has.
//! Never: keeps a recipient at a hop that is not the transaction's: what is accepted elsewhere is withdrawn there
//!        and the client is asked to send it by itself (452 4.5.3).
//!
//! The first accepted recipient pins the transaction's hop. Rungs' own commands and replies ask nobody.

use std::sync::Arc;
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::inquiry::About;
use super::io::{AttemptEnd, Event, HopId, Output, VerdictKind};
use super::notes::first_line;
use super::owed::{Answer, Owed, Said, What};
use super::route::{Destination, Domain, NotFound, Place, PoolId, TargetId};
use super::transaction::Recipient;
use super::upstreams::{NoHop, Stand, Tried, Why};
use super::verdict::{Giver, Rung, Stage};
use super::{Session, Turn, closes};
use crate::dialog::{Expect, Say};
use crate::smtp::{Canonical, Own, Path, Reply, ReplyRef, own};

/// What is being tried for one recipient.
#[derive(Debug)]
pub struct Ladder {
    /// When trying ends.
    pub until: Instant,
    rungs: std::vec::IntoIter<Rung>,
    /// Whose ladder this is; `None`: a route.
    by: Option<Giver>,
    /// Where the recipient was first sent, and what was said there.
    origin: Place,
    first: Option<Box<Reply>>,
    transient: Option<Box<Reply>>,
    /// An attempt found no host, or there was no time or number left for it.
    failed: bool,
    attempts: usize,
    seen: SmallVec<[(Option<Canonical>, TargetId); 2]>,
    /// The attempt under way.
    hop: Option<HopId>,
    /// The recipient as this attempt has it.
    pub recipient: Box<Recipient>,
    mail_refusal: Option<Box<Reply>>,
    /// Whether the hosts of a domain are being looked up for the attempt.
    looking: bool,
    /// Why a route that was named by a domain leads nowhere.
    nowhere: Option<&'static Own>,
}

impl Ladder {
    /// Whether the attempt under way is at this hop.
    pub fn is_at(&self, hop: HopId) -> bool {
        self.hop == Some(hop)
    }

    /// Rungs for a recipient that was sent first to `origin`; nothing is tried yet.
    fn new(rungs: Vec<Rung>, origin: Place, recipient: Box<Recipient>, until: Instant) -> Ladder {
        Ladder {
            until,
            rungs: rungs.into_iter(),
            by: None,
            origin,
            first: None,
            transient: None,
            failed: false,
            attempts: 0,
            seen: smallvec![],
            hop: None,
            recipient,
            mail_refusal: None,
            looking: false,
            nowhere: None,
        }
    }
}

impl Session {
    /// A verdict has a refused recipient tried again.
    pub(super) fn begin_ladder(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Box<Recipient>,
        hop: Option<HopId>,
        reply: ReplyRef<'_>,
        rungs: Vec<Rung>,
        by: Option<Giver>,
    ) {
        let first = Box::new(reply.to_owned());
        let up = hop.and_then(|hop| self.upstreams.get(hop));
        let seen = up.map(|up| (canonical(&recipient), up.host.id()));
        let origin = up.map_or_else(|| self.current_place(), |up| up.place.clone());
        let until = turn.now + self.settings.timeouts.attempts;
        let ladder = Ladder {
            by,
            transient: reply.code().is_transient().then(|| first.clone()),
            first: Some(first),
            seen: seen.into_iter().collect(),
            ..Ladder::new(rungs, origin, recipient.clone(), until)
        };
        self.owed.put_back(What::Rcpt(recipient), Answer::Trying(Box::new(ladder)));
        self.next_rung(turn);
    }

    /// A recipient whose way leads elsewhere than the transaction's, or that had to wait for the one before it.
    pub(super) fn begin_route(&mut self, turn: &mut Turn<'_>, recipient: Box<Recipient>, pool: PoolId) {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| transaction.accepted) else {
            self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(&own::NEED_MAIL)));
            return;
        };
        let (pinned, own) = (transaction.pinned.is_some(), transaction.pool);
        let rung = match self.domain_of(&recipient, pool) {
            None => Rung { pool: Some(pool), ..Rung::default() },
            Some(Ok(domain)) => Rung { mx: Some(domain), ..Rung::default() },
            Some(Err(own)) => {
                self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(own)));
                return;
            }
        };
        let here = self.current_place();
        if rung.mx.as_ref().map_or(here == Place::Pool(pool), |domain| here.is_of(domain)) {
            if self.is_full() {
                self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(&own::TOO_MANY_RECIPIENTS)));
                return;
            }
            // After 235 no other hop may take the place of one that is lost.
            let bereft = self.flags.authenticated && self.upstreams.current().is_none();
            match if bereft { Err(NoHop::None) } else { self.current_or_open(turn) } {
                Ok(hop) => {
                    let number = self.owed.put_back(What::Rcpt(recipient), Answer::Hop(hop));
                    if self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Ready) {
                        self.utter(turn, number, hop);
                    }
                }
                Err(_) => {
                    self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(&own::ATTEMPTS_FAILED)));
                }
            }
            return;
        }
        if pinned && (pool != own || rung.mx.is_some()) {
            // Routed elsewhere by a verdict or by its domain after pinning: not even asked.
            self.owed.put_back(What::Rcpt(recipient), Answer::Own(Said::Own(&own::OTHER_HOP)));
            return;
        }
        let until = turn.now + self.settings.timeouts.answer;
        let ladder = Ladder::new(vec![rung], Place::Pool(pool), recipient.clone(), until);
        self.owed.put_back(What::Rcpt(recipient), Answer::Trying(Box::new(ladder)));
        self.next_rung(turn);
    }

    /// Tries the next rung that is not a repetition.
    pub(super) fn next_rung(&mut self, turn: &mut Turn<'_>) {
        let most = self.settings.limits.attempts;
        loop {
            let Some((recipient, ladder)) = self.trying() else { return };
            let Some(rung) = ladder.rungs.next() else { break };
            if ladder.attempts >= most {
                ladder.failed = true;
                break;
            }
            let tried = match rung.recipient {
                Some(path) if path.is_empty() || Path::parse(&path).is_err() => continue,
                Some(path) => Box::new(recipient.rewritten(&path)),
                None => Box::new(recipient.clone()),
            };
            ladder.recipient = tried.clone();
            // Where hosts are the recipient's domain's, a new recipient has hosts of its own.
            let origin = ladder.origin.clone();
            let pool = rung.pool.or(match &origin {
                Place::Found(found) if rung.mx.is_none() => found.domain().pool,
                _ => None,
            });
            let domain = rung.mx.map(Ok).or_else(|| self.domain_of(&tried, pool?));
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
        self.ladder_failed(turn);
    }

    /// Makes the attempt at a place; returns whether it is under way.
    fn try_place(&mut self, turn: &mut Turn<'_>, place: Place) -> bool {
        let ready = |hop: &HopId| {
            self.upstreams.get(*hop).is_some_and(|up| up.place == place && up.stand == Stand::Ready)
        };
        let here = self.upstreams.current().filter(ready);
        let home = self.upstreams.home().filter(ready);
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
        let Some((_, ladder)) = self.trying() else { return false };
        let tried = ladder.recipient.clone();
        tried.given.is_none() || self.hop_takes(hop, tried.sent.path_octets())
    }

    /// Whether the session must stay with its hop, because the client authenticated through to it.
    fn stays(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.flags.authenticated
            && let Some(by) = self.trying().and_then(|(_, ladder)| ladder.by)
        {
            self.note(turn, Stage::RcptReply, by, VerdictKind::Skipped);
        }
        self.flags.authenticated
    }

    /// Has the hosts of a domain looked up for the attempt; returns whether that is under way.
    fn look_up(&mut self, turn: &mut Turn<'_>, domain: Domain) -> bool {
        if self.stays(turn) {
            return false;
        }
        if let Some((_, ladder)) = self.trying() {
            ladder.looking = true;
            turn.out.outputs.push(Output::LookUp(domain));
        }
        true
    }

    /// A domain was looked up: the attempt is made at its hosts.
    pub(super) fn looked_up(&mut self, turn: &mut Turn<'_>, found: Result<Arc<dyn Destination>, NotFound>) {
        let Some((_, ladder)) = self.trying().filter(|(_, ladder)| ladder.looking) else { return };
        ladder.looking = false;
        let under_way = match found {
            Ok(found) => self.try_place(turn, Place::Found(found)),
            Err(not_found) => self.leads_nowhere(turn, not_found.reply()),
        };
        if !under_way {
            self.next_rung(turn);
        }
    }

    /// The attempt's way leads nowhere: as good as a refusal in these words. Nothing is under way.
    fn leads_nowhere(&mut self, turn: &mut Turn<'_>, nowhere: &'static Own) -> bool {
        turn.out.count(Event::Attempt(AttemptEnd::Refused));
        let id = self.id;
        if let Some((_, ladder)) = self.trying() {
            ladder.attempts += 1;
            ladder.nowhere = Some(nowhere);
            if nowhere.code().is_transient() && ladder.transient.is_none() {
                ladder.transient = Some(Box::new(nowhere.reply(id)));
            }
        }
        false
    }

    /// Opens a dialog for the attempt; returns whether one is under way.
    fn try_at(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried) -> bool {
        match self.open(turn, place, tried) {
            Ok(hop) if self.set_out(hop) => true,
            Ok(hop) => {
                self.forget_hop(turn, hop, false);
                false
            }
            Err(_) => {
                if let Some((_, ladder)) = self.trying() {
                    ladder.failed = true;
                    ladder.attempts += 1;
                }
                turn.out.count(Event::Attempt(AttemptEnd::Failed));
                false
            }
        }
    }

    /// Notes the attempt at this hop; false: the same mailbox was tried at the same host before.
    fn set_out(&mut self, hop: HopId) -> bool {
        let Some(host) = self.upstreams.get(hop).map(|up| up.host.id()) else { return false };
        let Some((_, ladder)) = self.trying() else { return false };
        let place = (canonical(&ladder.recipient), host);
        if ladder.seen.contains(&place) {
            return false;
        }
        ladder.seen.push(place);
        ladder.attempts += 1;
        ladder.hop = Some(hop);
        ladder.mail_refusal = None;
        true
    }

    /// Says the attempt: RCPT alone where the transaction is, MAIL before it elsewhere.
    pub(super) fn attempt_says(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let fits = self.fits(hop);
        if !fits || !self.takes_attempt(hop) {
            let missed = if fits { Some(&own::HOP_LACKS_SMTPUTF8) } else { self.missed_by(hop) };
            if let Some((_, ladder)) = self.trying() {
                ladder.nowhere = ladder.nowhere.or(missed);
            }
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        let Some((_, ladder)) = self.trying() else { return };
        let recipient = ladder.recipient.clone();
        let carries = self.carries(hop);
        if self.upstreams.current() != Some(hop) {
            if self.may_be_in_mail(hop) {
                self.reset_hop(turn, hop);
            }
            let Some(mail) = self.transaction.as_ref().map(|transaction| transaction.mail.clone()) else {
                return;
            };
            self.say_xforward(turn, hop);
            self.say(turn, hop, Expect::RungMail, Say::Mail, |line| mail.write(carries, line));
        }
        self.say(turn, hop, Expect::RungRcpt, Say::Along, |line| recipient.write(carries, line));
    }

    /// A hop answered what the attempt said.
    pub(super) fn attempt_answered(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        expect: Expect,
        reply: ReplyRef<'_>,
    ) {
        if reply.code().is_intermediate() {
            return self.lost_because(turn, hop, Why::Malformed, None);
        }
        let Some((_, ladder)) = self.trying().filter(|(_, ladder)| ladder.hop == Some(hop)) else { return };
        if expect == Expect::RungMail {
            if reply.code().is_negative() {
                ladder.mail_refusal = Some(Box::new(reply.to_owned()));
            }
            return;
        }
        let refusal = ladder.mail_refusal.take();
        let reply = refusal.as_ref().map_or(reply, |refusal| refusal.as_ref().as_ref());
        if reply.code().is_positive() {
            return self.attempt_accepted(turn, hop, reply);
        }
        turn.out.count(Event::Attempt(AttemptEnd::Refused));
        let Some((_, ladder)) = self.trying() else { return };
        if ladder.by.is_none() {
            // A route: what this hop says is the answer, and is asked about as one.
            if let Some(Owed { what, .. }) = self.owed.pop() {
                self.judge(turn, what, Some(hop), reply, None);
                // While callouts are asked about it, the hop is kept: a ladder may begin from there.
                if !self.is_asked_about(hop) {
                    self.leave_attempt(turn, hop);
                    self.head_since = turn.now;
                }
                self.settle(turn);
            }
            return;
        }
        if reply.code().is_transient() && ladder.transient.is_none() {
            ladder.transient = Some(Box::new(reply.to_owned()));
        }
        ladder.hop = None;
        self.withdraw(turn, hop);
        self.next_rung(turn);
    }

    /// 2xx: the recipient joins the transaction, brings it to this hop, or must come by itself.
    fn attempt_accepted(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(Owed { answer: Answer::Trying(ladder), what: What::Rcpt(original) }) = self.owed.pop()
        else {
            return;
        };
        if ladder.by.is_some() {
            self.head_since = turn.now;
            self.take_over(turn, *ladder.recipient, hop, reply, None);
        } else {
            self.ask_about_routed(turn, original, ladder, hop, reply);
        }
        self.settle(turn);
    }

    /// The transaction moves to this hop; the one it leaves hears RSET, and QUIT if it is not the listener's.
    pub(super) fn adopt(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let (home, left) = (self.upstreams.home(), self.upstreams.current());
        self.upstreams.set_away((home != Some(hop)).then_some(hop));
        let Some(left) = left.filter(|&left| left != hop) else { return };
        if home == Some(left) {
            if self.may_be_in_mail(left) {
                self.reset_hop(turn, left);
            }
            return;
        }
        self.answer_for(left, &own::OTHER_HOP);
        self.dismiss(turn, left);
    }

    /// Accepted by a hop that is not the transaction's: withdrawn there, and put off.
    pub(super) fn accepted_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        recipient: Recipient,
        hop: HopId,
        reply: ReplyRef<'_>,
    ) {
        turn.out.count(Event::Attempt(AttemptEnd::Deferred));
        let name = self.upstreams.get(hop).map(|up| Arc::clone(up.host.name()));
        self.note_recipient(turn, &recipient, first_line(reply.as_bytes()), name, 4);
        self.withdraw_accepted(turn, hop);
        self.tell(turn, &Said::Own(&own::OTHER_HOP));
    }

    pub(super) fn withdraw_accepted(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.upstreams.current() == Some(hop) {
            self.rebuild(turn, hop);
        } else {
            self.withdraw(turn, hop);
        }
    }

    /// A route's hop refused the recipient. Where hosts are by domain the dialog stays open for more recipients of it.
    pub(super) fn leave_attempt(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.may_settle() && self.may_be_in_mail(hop) {
            self.adopt(turn, hop);
        } else {
            self.withdraw(turn, hop);
        }
    }

    /// Leaves a hop where an attempt was made: the transaction's own is not touched, home hears RSET, any other QUIT.
    pub(super) fn withdraw(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let again = self.trying().is_some_and(|(_, ladder)| ladder.hop == Some(hop));
        if again || self.upstreams.current() == Some(hop) {
            return;
        }
        if self.upstreams.home() != Some(hop) {
            if self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Ready) {
                if self.may_be_in_mail(hop) {
                    self.reset_hop(turn, hop);
                }
                self.say(turn, hop, Expect::Nobody, Say::Last, |line| line.extend_from_slice(b"QUIT\r\n"));
            }
            self.forget_hop(turn, hop, true);
        } else if self.may_be_in_mail(hop) {
            self.reset_hop(turn, hop);
        }
    }

    /// The hop of an attempt was lost: the next host of its place, or the next rung.
    pub(super) fn attempt_lost(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried, why: Why) {
        self.ask_no_more(turn);
        if let Some((_, ladder)) = self.trying() {
            ladder.hop = None;
            ladder.attempts = ladder.attempts.saturating_sub(1);
            if why != Why::Unfit {
                // It might have taken what the others cannot.
                ladder.nowhere = Some(&own::ATTEMPTS_FAILED);
            }
        }
        if !self.try_at(turn, place, tried) {
            self.next_rung(turn);
        }
    }

    /// The transaction's own hop was lost in the midst of an attempt on it.
    pub(super) fn attempt_gone(&mut self, turn: &mut Turn<'_>) {
        if let Some((_, ladder)) = self.trying() {
            ladder.hop = None;
            ladder.failed = true;
            self.next_rung(turn);
        }
    }

    /// The ladder's time is over.
    pub(super) fn attempts_timed_out(&mut self, turn: &mut Turn<'_>) {
        let Some((_, ladder)) = self.trying() else { return };
        ladder.failed = true;
        ladder.rungs = Vec::new().into_iter();
        if let Some(hop) = ladder.hop.take() {
            // Its answer may still come; nobody may take it for another's.
            if self.upstreams.current() == Some(hop) {
                self.lost(turn, hop, None);
            } else {
                self.answer_for(hop, &own::OTHER_HOP);
                self.forget_hop(turn, hop, false);
            }
        }
        self.ladder_failed(turn);
    }

    /// No rung was accepted: the client hears what sums it up, after the rules that are left were asked about it.
    fn ladder_failed(&mut self, turn: &mut Turn<'_>) {
        let Some(Owed { what, answer: Answer::Trying(ladder) }) = self.owed.pop() else { return };
        self.head_since = turn.now;
        let Ladder { first, transient, failed, by, nowhere, .. } = *ladder;
        let summed_up = match first {
            Some(first) if !failed && transient.is_none() => *first,
            _ => match transient {
                Some(transient) => *transient,
                None => own::ATTEMPTS_FAILED.reply(self.id),
            },
        };
        match by {
            Some(by) => {
                let hop = self.upstreams.current();
                self.judge(turn, what, hop, summed_up.as_ref(), Some(by));
            }
            None => {
                // Its own reasons come first; a host's refusal of the session is one, unless it would end this one.
                let refusal = self.upstreams.refusal.take().filter(|refusal| !closes(refusal.code().get()));
                let said = match (refusal, nowhere) {
                    (Some(refusal), _) => Said::Written(Arc::new(*refusal)),
                    (None, Some(nowhere)) => Said::Own(nowhere),
                    (None, None) => Said::Written(Arc::new(summed_up)),
                };
                self.owed.put_back(what, Answer::Own(said));
            }
        }
        self.settle(turn);
    }

    /// Whether this hop is where an attempt is being made, apart from the transaction's own.
    pub(super) fn is_trial(&self, hop: HopId) -> bool {
        match self.owed.head().map(|head| &head.answer) {
            Some(Answer::Trying(ladder)) => ladder.hop == Some(hop) && self.upstreams.current() != Some(hop),
            Some(Answer::Asked(inquiry)) => {
                matches!(&inquiry.about, About::Accepted { hop: at, .. } if *at == hop)
                    && self.upstreams.current() != Some(hop)
            }
            _ => false,
        }
    }

    /// Whether the attempt under way is at this hop, the transaction's own included.
    pub(super) fn is_attempted_at(&self, hop: HopId) -> bool {
        matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Trying(ladder)) if ladder.hop == Some(hop))
    }

    /// The recipient at the head that is being tried.
    fn trying(&mut self) -> Option<(&Recipient, &mut Ladder)> {
        match self.owed.head_mut() {
            Some(Owed { what: What::Rcpt(recipient), answer: Answer::Trying(ladder) }) => {
                Some((recipient, ladder))
            }
            _ => None,
        }
    }
}

fn canonical(recipient: &Recipient) -> Option<Canonical> {
    recipient.sent.path().map(|path| Canonical::of(&path))
}
