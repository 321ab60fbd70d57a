//! Telling a hop who the client is, in its own words: XCLIENT before the client's dialog, XFORWARD before each MAIL.
//!
//! In:    what the hop names in its reply to EHLO; what is known of the client.
//! Out:   the commands; a hop that was told, one that goes on without, or none.
//! Never: lets a hop hear MAIL that must be told first and was not; takes a hop's refusal of the client for an outage.
//!
//! Postfix's XCLIENT_README and XFORWARD_README. XCLIENT is one command: the right to say it ends with ADDR. HELO and
//! PROTO are not in it, because what the hop believes of them is what it hears next: the client's own EHLO.

use super::{Hop, Lent, Missed, Stand, Step, Terms, WRONG_CLASS};
use crate::dialog::{Expect, Say};
use crate::session::client::Client;
use crate::session::events::Event;
use crate::session::notes::first_line;
use crate::session::peer::Why;
use crate::session::route::Identity;
use crate::session::turn::Turn;
use crate::session::unmet::{Instead, Lack};
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
        self.verb().is_some() && !self.unannounced
    }

    /// Whether the hop knew who the client is when it greeted.
    pub(super) fn is_told_first(&self) -> bool {
        let may_be =
            matches!(self.asked.identity, Identity::ProxyV1 | Identity::ProxyV2 | Identity::SourceAddress);
        may_be && !self.untold
    }
}

impl Hop {
    /// It said what it offers, under all the TLS that there will be.
    pub(super) fn offered_names<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        let Some(terms) = &mut self.terms else { return Step::Waits };
        let Some(verb) = terms.verb() else { return self.met(None) };
        let names = Names::offered(verb, reply).filter(|_| reply.code().is_positive());
        // Whoever cannot be told an address is not told who the client is.
        let enough = names.filter(|names| names.has(Attribute::Addr));
        terms.names = enough;
        match (enough, verb) {
            (None, TellingVerb::Xclient) if names.is_some() => {
                self.not_told(turn, lent, Lack::NotOffered("XCLIENT ADDR"))
            }
            (None, TellingVerb::Xforward) if names.is_some() => {
                self.not_told(turn, lent, Lack::NotOffered("XFORWARD ADDR"))
            }
            (None, _) => self.not_told(turn, lent, Lack::NotOffered(verb.as_str())),
            (Some(names), TellingVerb::Xclient) => self.say_xclient(turn, lent.client, names),
            (Some(_), TellingVerb::Xforward) => self.met(None),
        }
    }

    fn say_xclient<'r>(&mut self, turn: &mut Turn<'_>, client: &Client, names: Names) -> Step<'r> {
        let mut lines = self.xclient(client, names, true);
        if lines.len() > 1 {
            // The right to say it ends with ADDR, and LOGIN with the next one: a name is what can be spared.
            lines = self.xclient(client, names, false);
        }
        let Some(line) = lines.first() else { return Step::Waits };
        self.stand = Stand::Xclient;
        if let Some(terms) = &mut self.terms {
            terms.told = true;
        }
        self.say(turn, Expect::Terms, Say::Last, |octets| octets.extend_from_slice(line));
        Step::Waits
    }

    fn xclient(&self, client: &Client, names: Names, by_name: bool) -> Lines {
        let facts = client.facts();
        let name = facts.and_then(|facts| facts.name()).filter(|_| by_name);
        let for_now = facts.is_some_and(|facts| facts.is_name_unknown());
        let at = client.destination();
        let mut telling = Telling::new(TellingVerb::Xclient, names);
        telling.name(Attribute::Name, name, for_now);
        telling.address(Attribute::Addr, Some(client.ip()));
        telling.port(Attribute::Port, Some(client.entrance().client.port()));
        telling.address(Attribute::DestAddr, at.map(|at| at.ip()));
        telling.port(Attribute::DestPort, at.map(|at| at.port()));
        if self.terms.as_ref().is_some_and(|terms| terms.asked.identity_login) {
            telling.exact(Attribute::Login, facts.and_then(|facts| facts.login()));
        }
        if name.is_none() {
            // What the hop found for our own address would stay; a name that is told takes its place by itself.
            telling.name(Attribute::ReverseName, None, for_now);
        }
        telling.end()
    }

    pub(super) fn xclient_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        if reply.code().is_positive() {
            if let Some(terms) = &mut self.terms {
                // Postfix begins anew behind it.
                terms.knows_ours = false;
            }
            // 220 is a new greeting; whoever says something else (Postfix before 2.3) has greeted already.
            return self.met(Some(reply).filter(|reply| reply.code().get() == 220));
        }
        if is_about_the_command(reply) {
            if let Some(terms) = &mut self.terms {
                terms.told = false;
            }
            return self.not_told(turn, lent, Lack::Refused("XCLIENT", first_line(reply.as_bytes())));
        }
        Step::RefusesClient(Some(reply))
    }

    /// Says whose mail comes next, where the hop is to hear that.
    pub fn say_xforward(&mut self, turn: &mut Turn<'_>, client: &Client) {
        let Some(terms) = &self.terms else { return };
        let Some(names) = terms.names.filter(|_| terms.asked.identity == Identity::Xforward) else { return };
        // MAIL must wait for the answer if nothing may go on without.
        let say = if terms.asked.identity_required { Say::Last } else { Say::Along };
        for line in xforward(client, names) {
            self.say(turn, Expect::Xforward, say, |octets| octets.extend_from_slice(&line));
        }
    }

    /// It answered that.
    pub fn xforward_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        if reply.code().is_intermediate() {
            self.spoke_nonsense(turn, WRONG_CLASS, reply.as_bytes());
            Step::lost(Why::Malformed)
        } else if reply.code().is_negative() {
            self.not_told(turn, lent, Lack::Refused("XFORWARD", first_line(reply.as_bytes())))
        } else {
            Step::Waits
        }
    }

    /// It cannot be told who the client is.
    pub fn not_told<'r>(&mut self, turn: &mut Turn<'_>, lent: &mut Lent<'_>, lack: Lack) -> Step<'r> {
        let Some(terms) = &mut self.terms else { return Step::Waits };
        if terms.asked.identity_required {
            return self.unmet(turn, lack, Missed::Identity);
        }
        terms.names = None;
        terms.untold = true;
        turn.count(Event::NotTold);
        if !std::mem::replace(&mut lent.warned, true) {
            self.tell_of_unmet(turn, lack, Instead::Nameless);
        }
        let preparing = !matches!(self.stand, Stand::Connecting | Stand::Ready);
        if preparing { self.met(None) } else { Step::Waits }
    }
}

/// The message's client: as a trusted peer told it, or the session's own. Never something of both.
fn xforward(client: &Client, names: Names) -> Lines {
    let mut telling = Telling::new(TellingVerb::Xforward, names);
    let facts = client.facts();
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
    let hello = client.hello();
    let proto = hello.map(|hello| if hello.extended { "ESMTP" } else { "SMTP" });
    let is_local = client.ip().to_canonical().is_loopback();
    let for_now = facts.is_some_and(|facts| facts.is_name_unknown());
    telling.name(Attribute::Name, facts.and_then(|facts| facts.name()), for_now);
    telling.address(Attribute::Addr, Some(client.ip()));
    telling.port(Attribute::Port, Some(client.entrance().client.port()));
    telling.exact(Attribute::Proto, proto);
    telling.masked(Attribute::Helo, hello.map(|hello| hello.said()));
    telling.exact(Attribute::Ident, Some(&client.id().to_string()));
    telling.exact(Attribute::Source, Some(if is_local { "LOCAL" } else { "REMOTE" }));
    telling.end()
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
