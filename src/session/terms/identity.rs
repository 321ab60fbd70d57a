//! Telling a hop who the client is, in its own words: XCLIENT before the client's dialog, XFORWARD before each MAIL.
//!
//! In:    what the hop names in its reply to EHLO; what is known of the client.
//! Out:   the commands; a hop that was told, one that goes on without, or none.
//! Never: lets a hop hear MAIL that must be told first and was not; takes a hop's refusal of the client for an outage.
//!
//! Postfix's XCLIENT_README and XFORWARD_README. XCLIENT is one command: the right to say it ends with ADDR. HELO and
//! PROTO are not in it, because what the hop believes of them is what it hears next: the client's own EHLO.

use std::sync::Arc;

use super::super::io::{Event, HopId, SessionEnd};
use super::super::notes::first_line;
use super::super::owed::{Answer, Said, What};
use super::super::route::Identity;
use super::super::unmet::{Instead, Lack};
use super::super::upstreams::{Stand, Why};
use super::super::{Session, Turn};
use super::{Missed, Terms};
use crate::dialog::{Expect, Say};
use crate::smtp::{Attribute, Lines, Names, ReplyRef, Telling, TellingVerb};

impl Terms {
    /// How the hop is told in words of SMTP, if it is.
    fn verb(&self) -> Option<TellingVerb> {
        match self.asked.identity {
            Identity::Xclient => Some(TellingVerb::Xclient),
            Identity::Xforward => Some(TellingVerb::Xforward),
            Identity::None | Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress => None,
        }
    }

    /// Whether the hop must be asked what it can be told.
    pub(super) fn asks_for_names(&self) -> bool {
        self.verb().is_some()
    }

    /// Whether the hop knew who the client is when it greeted.
    pub fn is_told_first(&self) -> bool {
        let may_be =
            matches!(self.asked.identity, Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress);
        may_be && !self.untold
    }
}

impl Session {
    /// The hop said what it offers, under all the TLS that there will be.
    pub(super) fn offered_names(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(terms) = self.terms_of(hop) else { return };
        let Some(verb) = terms.verb() else { return self.prepared(turn, hop, None) };
        let names = Names::offered(verb, reply).filter(|_| reply.code().is_positive());
        // Whoever cannot be told an address is not told who the client is.
        let enough = names.filter(|names| names.has(Attribute::Addr));
        terms.names = enough;
        match (enough, verb) {
            (None, TellingVerb::Xclient) if names.is_some() => {
                self.not_told(turn, hop, Lack::NotOffered("XCLIENT ADDR"));
            }
            (None, TellingVerb::Xforward) if names.is_some() => {
                self.not_told(turn, hop, Lack::NotOffered("XFORWARD ADDR"));
            }
            (None, _) => self.not_told(turn, hop, Lack::NotOffered(verb.as_str())),
            (Some(names), TellingVerb::Xclient) => self.say_xclient(turn, hop, names),
            (Some(_), TellingVerb::Xforward) => self.prepared(turn, hop, None),
        }
    }

    fn say_xclient(&mut self, turn: &mut Turn<'_>, hop: HopId, names: Names) {
        let mut lines = self.xclient(hop, names, true);
        if lines.len() > 1 {
            // The right to say it ends with ADDR, and LOGIN with the next one: a name is what can be spared.
            lines = self.xclient(hop, names, false);
        }
        let Some(line) = lines.first() else { return };
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Xclient;
        }
        self.say(turn, hop, Expect::Terms, Say::Last, |octets| octets.extend_from_slice(line));
    }

    fn xclient(&self, hop: HopId, names: Names, by_name: bool) -> Lines {
        let facts = self.entrance.facts.as_deref();
        let name = facts.and_then(|facts| facts.name()).filter(|_| by_name);
        let for_now = facts.is_some_and(|facts| facts.is_name_unknown());
        let at = facts.and_then(|facts| facts.destination);
        let mut telling = Telling::new(TellingVerb::Xclient, names);
        telling.name(Attribute::Name, name, for_now);
        telling.address(Attribute::Addr, Some(self.entrance.client.ip()));
        telling.port(Attribute::Port, Some(self.entrance.client.port()));
        telling.address(Attribute::DestAddr, at.map(|at| at.ip()));
        telling.port(Attribute::DestPort, at.map(|at| at.port()));
        let logs_in = self
            .upstreams
            .get(hop)
            .and_then(|up| up.terms.as_ref())
            .is_some_and(|terms| terms.asked.identity_login);
        if logs_in {
            telling.exact(Attribute::Login, facts.and_then(|facts| facts.login()));
        }
        if name.is_none() {
            // What the hop found for our own address would stay; a name that is told takes its place by itself.
            telling.name(Attribute::ReverseName, None, for_now);
        }
        telling.end()
    }

    pub(super) fn xclient_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if reply.code().is_positive() {
            // 220 is a new greeting; whoever says something else (Postfix before 2.3) has greeted already.
            return self.prepared(turn, hop, Some(reply).filter(|reply| reply.code().get() == 220));
        }
        if is_about_the_command(reply) {
            return self.not_told(turn, hop, Lack::Refused("XCLIENT", first_line(reply.as_bytes())));
        }
        self.hop_refuses_client(turn, hop, reply);
    }

    /// A hop that knows who the client is does not want it: that is its word to the client, and no outage.
    pub(in super::super) fn hop_refuses_client(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
    ) {
        let refusal = reply.to_owned();
        if self.is_trial(hop) {
            return self.lost_because(turn, hop, Why::Unfit, Some(Box::new(refusal)));
        }
        let said = Said::Written(Arc::new(refusal));
        let greeting = self.owed.head().is_some_and(
            |head| matches!((&head.what, &head.answer), (What::Greeting, Answer::Hop(at)) if *at == hop),
        );
        if self.in_content() {
            self.refuse_content(turn, said);
        } else if greeting {
            self.owed.pop();
            self.refuse_client(turn, said, SessionEnd::HopClosed);
        } else {
            self.hang_up(turn, Some(said), SessionEnd::HopClosed);
        }
        self.forget_hop(turn, hop, false);
    }

    /// Says whose mail comes next, where the hop is to hear that.
    pub(in super::super) fn say_xforward(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(terms) = self.upstreams.get(hop).and_then(|up| up.terms.as_ref()) else { return };
        let Some(names) = terms.names.filter(|_| terms.asked.identity == Identity::Xforward) else { return };
        // MAIL must wait for the answer if nothing may go on without.
        let group = if terms.asked.identity_required { Say::Last } else { Say::Along };
        for line in self.xforward(names) {
            self.say(turn, hop, Expect::Xforward, group, |octets| octets.extend_from_slice(&line));
        }
    }

    /// The message's client: as a trusted peer told it, or the session's own. Never something of both.
    fn xforward(&self, names: Names) -> Lines {
        let mut telling = Telling::new(TellingVerb::Xforward, names);
        let facts = self.entrance.facts.as_deref();
        if let Some(forwarded) = facts.and_then(|facts| facts.forwarded.as_ref()) {
            telling.name(Attribute::Name, forwarded.name.as_deref(), false);
            telling.address(Attribute::Addr, forwarded.address);
            telling.port(Attribute::Port, forwarded.port);
            telling.exact(Attribute::Proto, forwarded.proto.as_deref());
            telling.masked(Attribute::Helo, forwarded.helo.as_deref().map(str::as_bytes));
            telling.masked(Attribute::Ident, forwarded.ident.as_deref().map(str::as_bytes));
            telling.exact(Attribute::Source, Some(forwarded.source.as_deref().unwrap_or("REMOTE")));
            return telling.end();
        }
        let hello = self.hello.as_deref();
        let proto = hello.map(|hello| if hello.extended { "ESMTP" } else { "SMTP" });
        let is_local = self.entrance.client.ip().to_canonical().is_loopback();
        let for_now = facts.is_some_and(|facts| facts.is_name_unknown());
        telling.name(Attribute::Name, facts.and_then(|facts| facts.name()), for_now);
        telling.address(Attribute::Addr, Some(self.entrance.client.ip()));
        telling.port(Attribute::Port, Some(self.entrance.client.port()));
        telling.exact(Attribute::Proto, proto);
        telling.masked(Attribute::Helo, hello.map(|hello| hello.said()));
        telling.exact(Attribute::Ident, Some(&self.id.to_string()));
        telling.exact(Attribute::Source, Some(if is_local { "LOCAL" } else { "REMOTE" }));
        telling.end()
    }

    pub(in super::super) fn xforward_answered(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
    ) {
        if reply.code().is_intermediate() {
            turn.out.count(Event::Malformed);
            self.lost_because(turn, hop, Why::Malformed, None);
        } else if reply.code().is_negative() {
            self.not_told(turn, hop, Lack::Refused("XFORWARD", first_line(reply.as_bytes())));
        }
    }

    /// The hop cannot be told who the client is.
    pub(in super::super) fn not_told(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack) {
        let Some(terms) = self.terms_of(hop) else { return };
        if terms.asked.identity_required {
            return self.unmet(turn, hop, lack, Missed::Identity);
        }
        terms.names = None;
        terms.untold = true;
        let preparing =
            self.upstreams.get(hop).is_some_and(|up| !matches!(up.stand, Stand::Connecting | Stand::Ready));
        turn.out.count(Event::NotTold);
        if !std::mem::replace(&mut self.upstreams.warned, true) {
            self.tell_of_unmet(turn, hop, lack, Instead::Nameless);
        }
        if preparing {
            self.prepared(turn, hop, None);
        }
    }
}

/// Whether a refusal of XCLIENT means the command, not the client: a syntax or sequence error, or the 550 to somebody
/// who may not say it (`5.7.0` of Postfix, `5.7.14` of Dovecot). Any other 550 may be an access restriction's: whom it
/// refuses must not come in without a name.
fn is_about_the_command(reply: ReplyRef<'_>) -> bool {
    match reply.code().get() {
        500..=504 => true,
        550 => reply
            .enhanced()
            .is_some_and(|enhanced| enhanced.subject == 7 && matches!(enhanced.detail, 0 | 14)),
        _ => false,
    }
}
