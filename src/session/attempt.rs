//! One recipient tried elsewhere: by a route, or rung by rung on a ladder, while the client waits.
//!
//! In:    a recipient, where it was refused, and what to try (OPES: retry, product of mode C); what came of each attempt.
//! Out:   the next attempt that is no repetition; in the end the reply that sums up the failure.
//! Never: tries the same mailbox at the same host twice, or more often than `limits.attempts`.

use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::peer::Why;
use super::peer::{HopId, Origin};
use super::route::{Domain, Place, PoolId, TargetId};
use super::stage::Giver;
use super::transaction::Recipient;
use super::verdict::Rung;
use crate::smtp::{Canonical, Own, Path, Reply, ReplyRef, SessionId, own};

/// What is being tried for one recipient.
#[derive(Debug)]
pub struct Attempt {
    until: Instant,
    rungs: std::vec::IntoIter<Rung>,
    /// Whose ladder this is; `None`: a route.
    by: Option<Giver>,
    /// Where the recipient was first sent, and what was said there.
    origin: Place,
    first: Option<(Origin, Box<Reply>)>,
    transient: Option<(Origin, Box<Reply>)>,
    /// An attempt found no host, or there was no time or number left for it.
    failed: bool,
    attempts: usize,
    seen: SmallVec<[(Option<Canonical>, TargetId); 2]>,
    /// The hop where it is being tried.
    hop: Option<HopId>,
    /// The recipient as this attempt has it.
    recipient: Box<Recipient>,
    mail_refusal: Option<Box<Reply>>,
    /// Whether the hosts of a domain are being looked up for the attempt.
    looking: bool,
    /// Why a way leads nowhere.
    nowhere: Option<&'static Own>,
}

/// Where the next attempt is to be made: at the hosts of this domain, in this pool, or where the first one was.
#[derive(Debug)]
pub struct Way {
    pub origin: Place,
    pub pool: Option<PoolId>,
    pub mx: Option<Domain>,
    pub recipient: Box<Recipient>,
}

/// What a failed attempt comes to.
#[derive(Debug)]
pub struct Failure {
    /// Whose ladder it was; `None`: a route.
    pub by: Option<Giver>,
    /// Who said what sums it up, and that.
    pub origin: Origin,
    pub reply: Box<Reply>,
    /// Why its way led nowhere, if gatepost knows that itself.
    pub nowhere: Option<&'static Own>,
}

impl Attempt {
    /// A recipient goes where a route leads; nothing is tried yet.
    pub fn route(rung: Rung, origin: Place, recipient: Box<Recipient>, until: Instant) -> Attempt {
        Attempt {
            until,
            rungs: vec![rung].into_iter(),
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

    /// A refused recipient is tried again, rung by rung. `host`: who refused it, in these words.
    pub fn ladder(
        rungs: Vec<Rung>,
        by: Option<Giver>,
        (origin, host): (Place, Option<TargetId>),
        refusal: (Origin, ReplyRef<'_>),
        recipient: Box<Recipient>,
        until: Instant,
    ) -> Attempt {
        let first = (refusal.0, Box::new(refusal.1.to_owned()));
        Attempt {
            rungs: rungs.into_iter(),
            by,
            transient: refusal.1.code().is_transient().then(|| first.clone()),
            first: Some(first),
            seen: host.map(|host| (canonical(&recipient), host)).into_iter().collect(),
            ..Attempt::route(Rung::default(), origin, recipient, until)
        }
    }

    /// The way of the next attempt at the recipient, which was this one first. `most`: attempts in all; `line`: octets of a
    /// command's line.
    pub fn next(&mut self, original: &Recipient, most: usize, line: usize) -> Option<Way> {
        loop {
            let rung = self.rungs.next()?;
            if self.attempts >= most {
                self.failed = true;
                return None;
            }
            let recipient = match rung.recipient {
                Some(path) if path.is_empty() || Path::parse(&path).is_err() => continue,
                Some(path) => {
                    let rewritten = original.rewritten(&path);
                    if !rewritten.sent.fits(line) {
                        continue;
                    }
                    Box::new(rewritten)
                }
                None => Box::new(original.clone()),
            };
            self.recipient = recipient.clone();
            // Where hosts are the recipient's domain's, a new recipient has hosts of its own.
            let origin = self.origin.clone();
            let pool = rung.pool.or(match &origin {
                Place::Found(found) => found.domain().pool,
                _ => None,
            });
            return Some(Way { origin, pool, mx: rung.mx, recipient });
        }
    }

    /// The attempt is made at this hop; false: the same mailbox was tried at its host before.
    pub fn set_out(&mut self, hop: HopId, host: TargetId) -> bool {
        let place = (canonical(&self.recipient), host);
        if self.seen.contains(&place) {
            return false;
        }
        self.seen.push(place);
        self.attempts += 1;
        self.hop = Some(hop);
        self.mail_refusal = None;
        true
    }

    /// The hosts of a domain are being looked up for it.
    pub fn looks_up(&mut self) {
        self.looking = true;
    }

    /// They are found, or there are none; false: nobody had asked.
    pub fn looked_up(&mut self) -> bool {
        std::mem::take(&mut self.looking)
    }

    /// Its way leads nowhere: as good as a refusal in these words.
    pub fn leads_nowhere(&mut self, nowhere: &'static Own, id: SessionId) {
        self.attempts += 1;
        self.nowhere = Some(nowhere);
        if nowhere.code().is_transient() && self.transient.is_none() {
            self.transient = Some((Origin::Gatepost, Box::new(nowhere.reply(id))));
        }
    }

    /// The hop lacks this; only the first reason is kept.
    pub fn lacks(&mut self, missed: Option<&'static Own>) {
        self.nowhere = self.nowhere.or(missed);
    }

    /// There was no host for it.
    pub fn found_no_host(&mut self) {
        self.failed = true;
        self.attempts += 1;
    }

    /// Its hop refused MAIL: whatever it says to RCPT, that is the answer.
    pub fn mail_refused(&mut self, reply: ReplyRef<'_>) {
        self.mail_refusal = Some(Box::new(reply.to_owned()));
    }

    /// The refusal of MAIL, if there was one.
    pub fn take_mail_refusal(&mut self) -> Option<Box<Reply>> {
        self.mail_refusal.take()
    }

    /// This hop, where it was being tried, refused the recipient.
    pub fn refused(&mut self, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_transient() && self.transient.is_none() {
            self.transient = Some((Origin::Hop(hop), Box::new(reply.to_owned())));
        }
        self.hop = None;
    }

    /// Its hop was lost; another host of the place may do.
    pub fn hop_lost(&mut self, why: Why) {
        self.hop = None;
        self.attempts = self.attempts.saturating_sub(1);
        if why != Why::Unfit {
            // It might have taken what the others cannot.
            self.nowhere = Some(&own::ATTEMPTS_FAILED);
        }
    }

    /// The transaction's own hop, where it was being tried, was lost.
    pub fn own_hop_lost(&mut self) {
        self.hop = None;
        self.failed = true;
    }

    /// Its time is over; returns the hop whose answer may still come.
    pub fn time_is_over(&mut self) -> Option<HopId> {
        self.failed = true;
        self.rungs = Vec::new().into_iter();
        self.hop.take()
    }

    /// Nothing was accepted: what sums that up.
    pub fn failure(self, id: SessionId) -> Failure {
        let Attempt { first, transient, failed, by, nowhere, .. } = self;
        let (origin, reply) = match (first, transient) {
            (Some(first), None) if !failed => first,
            (_, Some(transient)) => transient,
            (_, None) => (Origin::Gatepost, Box::new(own::ATTEMPTS_FAILED.reply(id))),
        };
        Failure { by, origin, reply, nowhere }
    }

    /// The recipient as the attempt that was accepted had it.
    pub fn into_recipient(self) -> Recipient {
        *self.recipient
    }
}

impl Attempt {
    /// When trying ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whose ladder it is; `None`: a route.
    pub fn by(&self) -> Option<Giver> {
        self.by
    }

    /// The recipient as this attempt has it.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The hop of the attempt under way.
    pub fn hop(&self) -> Option<HopId> {
        self.hop
    }

    /// Whether the attempt under way is at this hop.
    pub fn is_at(&self, hop: HopId) -> bool {
        self.hop == Some(hop)
    }
}

fn canonical(recipient: &Recipient) -> Option<Canonical> {
    recipient.sent.path().map(|path| Canonical::of(&path))
}
