//! The terms a hop is spoken to on, before it hears anything of the client's: TLS, and being told who the client is.
//!
//! In:    a hop that greeted, its terms, what it offers and answers, what came of a handshake.
//! Out:   a hop that is ready to hear the client's dialog, and the greeting that the client hears; or none for it.
//! Never: says anything of the client's before the terms are met; uses anything learned before a handshake after it;
//!        goes on in plain where TLS is required.
//!
//! RFC 3207 4 (STARTTLS), 4.2 (what is forgotten); RFC 8314 3.3 (implicit TLS). `tls` has the handshake, `telling` who
//! the client is.
//!
//! ```text
//! Connecting ─▶ [Securing] ─▶ Greeting ─▶ [OwnHello ─▶ StartTls ─▶ Securing] ─▶ [OwnHello ─▶ Xclient] ─▶ Hello, Ready
//! ```

use std::sync::Arc;

use super::{Hop, Lent, Stand};
use crate::dialog::{Expect, Say};
use crate::session::events::Event;
use crate::session::facts::TlsFacts;
use crate::session::io::Output;
use crate::session::notes::first_line;
use crate::session::peer::Why;
use crate::session::route::{HopTerms, HopTls, Host, HostNews, Identity};
use crate::session::turn::Turn;
use crate::session::unmet::{Instead, Lack, Unmet};
use crate::smtp::{Extensions, Keyword, Names, Own, Reply, ReplyRef, own};

/// The terms of one hop, and how far they are met. A hop without any has none of this.
#[derive(Debug)]
pub struct Terms {
    pub(super) asked: HopTerms,
    /// TLS failed, and is done without.
    pub(super) fell_back: bool,
    /// What the hop can be told about a client.
    pub(super) names: Option<Names>,
    /// It could not be told, and is done without.
    pub(super) untold: bool,
    /// Its first greeting, until the client may hear one.
    pub(super) greeting: Option<Box<Reply>>,
    pub(super) tls: Option<TlsFacts>,
}

impl Terms {
    /// A host's, if there are any.
    pub fn of(host: &dyn Host) -> Option<Box<Terms>> {
        let asked = host.terms();
        let any = asked.tls != HopTls::Off || asked.identity != Identity::None;
        any.then(|| Box::new(Terms::begun(asked)))
    }

    /// The TLS there is with it.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    fn begun(asked: HopTerms) -> Terms {
        Terms { asked, fell_back: false, names: None, untold: false, greeting: None, tls: None }
    }

    /// Whether TLS begins with the connection.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.asked.tls == HopTls::Implicit
    }

    /// Whether STARTTLS is to be said.
    fn wants_starttls(&self) -> bool {
        matches!(self.asked.tls, HopTls::Opportunistic | HopTls::Required)
            && self.tls.is_none()
            && !self.fell_back
    }
}

/// What no host of a place could do, and so why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// TLS.
    Tls,
    /// Being told who the client is.
    Identity,
}

impl Missed {
    /// What the client hears.
    pub fn reply(self) -> &'static Own {
        match self {
            Missed::Tls => &own::HOP_NOT_SECURED,
            Missed::Identity => &own::HOP_NOT_TOLD,
        }
    }
}

/// The greeting that a client may hear.
#[derive(Debug)]
pub enum Greeting<'r> {
    /// The one that just came.
    Heard(ReplyRef<'r>),
    /// The one that was kept until the terms were met.
    Kept(Box<Reply>),
}

impl Greeting<'_> {
    /// Its octets.
    pub fn as_ref(&self) -> ReplyRef<'_> {
        match self {
            Greeting::Heard(reply) => *reply,
            Greeting::Kept(reply) => reply.as_ref().as_ref(),
        }
    }
}

/// Where a hop's terms stand after a step.
#[derive(Debug)]
pub enum Step<'r> {
    /// It is waited for.
    Waits,
    /// They are met: the client's dialog is next.
    Met(Option<Greeting<'r>>),
    /// It knows who the client is, and does not want it.
    RefusesClient(ReplyRef<'r>),
    /// It is none for this session.
    Lost { why: Why, refusal: Option<Box<Reply>>, missed: Option<Missed> },
}

impl Step<'_> {
    pub(super) fn lost(why: Why) -> Self {
        Step::Lost { why, refusal: None, missed: None }
    }
}

impl Hop {
    /// The connection stands: a handshake is next, or the greeting.
    pub fn opened(&mut self, turn: &mut Turn<'_>) {
        if self.terms.as_ref().is_some_and(|terms| terms.begins_with_tls()) {
            self.begin_tls(turn);
        } else {
            self.await_greeting(turn);
        }
    }

    pub(super) fn await_greeting(&mut self, turn: &Turn<'_>) {
        self.stand = Stand::Greeting;
        self.since = turn.now;
        self.dialog.expect(Expect::Greeting);
    }

    /// It greeted, or refused to.
    pub fn greeted<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>, reply: ReplyRef<'r>) -> Step<'r> {
        let told = self.terms.as_ref().is_some_and(|terms| terms.is_told_first());
        if told && reply.code().is_negative() {
            self.stand = Stand::Ready;
            return Step::RefusesClient(reply);
        }
        if !reply.code().is_positive() {
            if reply.code().is_transient() {
                self.host.news(HostNews::Refused, turn.now);
            }
            // Not an outage of its own making: `broke` must not count it again.
            self.stand = Stand::Ready;
            return match reply.code().is_negative() {
                true => {
                    Step::Lost { why: Why::Broken, refusal: Some(Box::new(reply.to_owned())), missed: None }
                }
                false => Step::lost(Why::Malformed),
            };
        }
        match &mut self.terms {
            Some(terms) if terms.wants_starttls() || terms.asks_for_names() => {
                terms.greeting = Some(Box::new(reply.to_owned()));
                self.say_own_hello(turn, lent)
            }
            _ => Step::Met(Some(Greeting::Heard(reply))),
        }
    }

    /// The terms are met. Without another greeting, the client may hear the first one.
    pub(super) fn met<'r>(&mut self, greeting: Option<ReplyRef<'r>>) -> Step<'r> {
        let kept = self.terms.as_mut().and_then(|terms| terms.greeting.take());
        Step::Met(greeting.map(Greeting::Heard).or(kept.map(Greeting::Kept)))
    }

    /// EHLO in our own name: what does it offer?
    pub(super) fn say_own_hello<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>) -> Step<'r> {
        self.stand = Stand::OwnHello;
        let verb = if self.lmtp { "LHLO" } else { "EHLO" };
        let hello = format!("{verb} {}\r\n", lent.settings.hostname);
        self.say(turn, Expect::Terms, Say::Hello, |line| line.extend_from_slice(hello.as_bytes()));
        Step::Waits
    }

    /// It answered what was said to meet its terms.
    pub fn terms_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        if reply.code().is_intermediate() {
            turn.count(Event::Malformed);
            return Step::lost(Why::Malformed);
        }
        match self.stand {
            Stand::Xclient => self.xclient_answered(turn, lent, reply),
            _ if reply.code().closes() => {
                self.host.news(HostNews::NoService, turn.now);
                Step::Lost { why: Why::Unfit, refusal: Some(Box::new(reply.to_owned())), missed: None }
            }
            Stand::StartTls if reply.code().is_positive() => {
                self.begin_tls(turn);
                Step::Waits
            }
            Stand::StartTls => {
                self.without_tls(turn, lent, Lack::Refused("STARTTLS", first_line(reply.as_bytes())))
            }
            _ => self.own_hello_answered(turn, lent, reply),
        }
    }

    fn own_hello_answered<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        let Some(terms) = &self.terms else { return Step::Waits };
        // Who refuses EHLO offers nothing.
        let offers = match reply.code().is_positive() {
            true => Extensions::of(reply),
            false => Extensions::default(),
        };
        if !terms.wants_starttls() {
            self.offered_names(turn, lent, reply)
        } else if offers.has(Keyword::StartTls) {
            self.stand = Stand::StartTls;
            self.say(turn, Expect::Terms, Say::Last, |line| line.extend_from_slice(b"STARTTLS\r\n"));
            Step::Waits
        } else if terms.asked.tls == HopTls::Required {
            self.unmet(turn, Lack::NotOffered("STARTTLS"), Missed::Tls)
        } else {
            self.offered_names(turn, lent, reply)
        }
    }

    /// This host is none for this session. Where TLS is opportunistic, it stays one for clients who may do without.
    pub(super) fn unmet<'r>(&mut self, turn: &mut Turn<'_>, lack: Lack, missed: Missed) -> Step<'r> {
        self.tell_of_unmet(turn, lack, Instead::NotUsed);
        let is_opportunistic =
            self.terms.as_ref().is_some_and(|terms| terms.asked.tls == HopTls::Opportunistic);
        match missed {
            Missed::Tls if is_opportunistic => {}
            Missed::Tls => self.host.news(HostNews::NotSecured, turn.now),
            Missed::Identity => turn.count(Event::NotTold),
        }
        Step::Lost { why: Why::Unfit, refusal: None, missed: Some(missed) }
    }

    pub(super) fn tell_of_unmet(&self, turn: &mut Turn<'_>, lack: Lack, instead: Instead) {
        turn.wish(Output::Unmet(Arc::clone(&self.host), Box::new(Unmet { lack, instead })));
    }
}
