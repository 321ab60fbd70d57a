//! The terms a hop is spoken to on, before it hears anything of the client's: TLS, and being told who the client is.
//!
//! In:    a hop that greeted, its terms, what it offers and answers, what came of a handshake.
//! Out:   a hop that is ready to hear the client's dialog, and the greeting that the client hears; or none for it.
//! Never: says anything of the client's before the terms are met; uses anything learned before a handshake after it;
//!        goes on in plain where TLS is required.
//!
//! RFC 3207 4 (STARTTLS), 4.2 (what is forgotten); RFC 8314 3.3 (implicit TLS). `tls` has the handshake, `identity` who
//! the client is.
//!
//! ```text
//! Connecting ─▶ [Securing] ─▶ Greeting ─▶ [OwnHello ─▶ StartTls ─▶ Securing] ─▶ [OwnHello ─▶ Xclient] ─▶ Hello, Ready
//! ```

mod identity;
mod tls;

use std::sync::Arc;

use super::client::TlsFacts;
use super::io::{Event, HopId, Output};
use super::notes::first_line;
use super::owed::{Answer, What};
use super::route::{HopTerms, HopTls, Host, HostNews, Identity};
use super::unmet::{Instead, Lack, Unmet};
use super::upstreams::{Stand, Why};
use super::{Session, Turn, closes};
use crate::dialog::{Expect, Say};
use crate::smtp::{Extensions, Keyword, Names, Own, Reply, ReplyRef, own};

/// The terms of one hop, and how far they are met. A hop without any has none of this.
#[derive(Debug)]
pub struct Terms {
    asked: HopTerms,
    /// TLS failed, and is done without.
    fell_back: bool,
    /// What the hop can be told about a client.
    names: Option<Names>,
    /// It could not be told, and is done without.
    untold: bool,
    /// Its first greeting, until the client may hear one.
    greeting: Option<Box<Reply>>,
    /// The TLS there is with it.
    pub tls: Option<TlsFacts>,
}

impl Terms {
    /// A host's, if there are any.
    pub fn of(host: &dyn Host) -> Option<Box<Terms>> {
        let asked = host.terms();
        let any = asked.tls != HopTls::Off || asked.identity != Identity::None;
        any.then(|| Box::new(Terms::begun(asked)))
    }

    fn begun(asked: HopTerms) -> Terms {
        Terms { asked, fell_back: false, names: None, untold: false, greeting: None, tls: None }
    }

    /// Whether TLS begins with the connection.
    fn begins_with_tls(&self) -> bool {
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

impl Session {
    /// The connection stands: a handshake is next, or the greeting.
    pub(super) fn opened(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(up) = self.upstreams.get(hop) else { return };
        if up.terms.as_ref().is_some_and(|terms| terms.begins_with_tls()) {
            self.secure_hop(turn, hop);
        } else {
            self.await_greeting(turn, hop);
        }
    }

    fn await_greeting(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Greeting;
            up.since = turn.now;
            up.dialog.expect(Expect::Greeting);
        }
    }

    /// The hop greeted, and there are terms to be met.
    pub(super) fn prepare(&mut self, turn: &mut Turn<'_>, hop: HopId, greeting: ReplyRef<'_>) {
        let Some(terms) = self.terms_of(hop) else { return };
        let by_starttls = terms.wants_starttls();
        if !by_starttls && !terms.asks_for_names() {
            return self.prepared(turn, hop, Some(greeting));
        }
        terms.greeting = Some(Box::new(greeting.to_owned()));
        self.say_own_hello(turn, hop);
    }

    /// The terms are met: the client's dialog is next.
    pub(super) fn prepared(&mut self, turn: &mut Turn<'_>, hop: HopId, greeting: Option<ReplyRef<'_>>) {
        let kept = self.terms_of(hop).and_then(|terms| terms.greeting.take());
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        let owes_greeting = self.owed.head().is_some_and(
            |head| matches!((&head.what, &head.answer), (What::Greeting, Answer::Hop(at)) if *at == hop),
        );
        if owes_greeting && let Some(greeting) = greeting.or(kept.as_ref().map(|kept| kept.as_ref().as_ref()))
        {
            up.stand = Stand::Ready;
            return self.answered(turn, self.owed.head_number(), hop, greeting);
        }
        match self.hello.take() {
            Some(hello) => {
                up.stand = Stand::Hello;
                let lmtp = up.lmtp;
                self.say(turn, hop, Expect::Hello, Say::Hello, |line| hello.write(lmtp, line));
                self.hello = Some(hello);
            }
            None => {
                up.stand = Stand::Ready;
                self.resume(turn, hop);
            }
        }
    }

    /// EHLO in our own name: what does it offer?
    fn say_own_hello(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        up.stand = Stand::OwnHello;
        let verb = if up.lmtp { "LHLO" } else { "EHLO" };
        let hello = format!("{verb} {}\r\n", self.settings.hostname);
        self.say(turn, hop, Expect::Terms, Say::Hello, |line| line.extend_from_slice(hello.as_bytes()));
    }

    /// The hop answered what was said to meet its terms.
    pub(super) fn terms_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(stand) = self.upstreams.get(hop).map(|up| up.stand) else { return };
        if reply.code().is_intermediate() {
            turn.out.count(Event::Malformed);
            return self.lost_because(turn, hop, Why::Malformed, None);
        }
        match stand {
            Stand::Xclient => self.xclient_answered(turn, hop, reply),
            _ if closes(reply.code().get()) => {
                self.host_failed(turn, hop, HostNews::NoService);
                self.lost_because(turn, hop, Why::Unfit, Some(Box::new(reply.to_owned())));
            }
            Stand::StartTls if reply.code().is_positive() => self.secure_hop(turn, hop),
            Stand::StartTls => {
                self.without_tls(turn, hop, Lack::Refused("STARTTLS", first_line(reply.as_bytes())));
            }
            _ => self.own_hello_answered(turn, hop, reply),
        }
    }

    fn own_hello_answered(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(terms) = self.terms_of(hop) else { return };
        // Who refuses EHLO offers nothing.
        let offers = match reply.code().is_positive() {
            true => Extensions::of(reply),
            false => Extensions::default(),
        };
        if !terms.wants_starttls() {
            self.offered_names(turn, hop, reply);
        } else if offers.has(Keyword::StartTls) {
            if let Some(up) = self.upstreams.get_mut(hop) {
                up.stand = Stand::StartTls;
            }
            self.say(turn, hop, Expect::Terms, Say::Last, |line| line.extend_from_slice(b"STARTTLS\r\n"));
        } else if terms.asked.tls == HopTls::Required {
            self.unmet(turn, hop, Lack::NotOffered("STARTTLS"), Missed::Tls);
        } else {
            self.offered_names(turn, hop, reply);
        }
    }

    /// This host is none for this session. Where TLS is opportunistic, it stays one for clients who may do without.
    fn unmet(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack, missed: Missed) {
        self.tell_of_unmet(turn, hop, lack, Instead::NotUsed);
        let is_opportunistic =
            self.terms_of(hop).is_some_and(|terms| terms.asked.tls == HopTls::Opportunistic);
        match missed {
            Missed::Tls if is_opportunistic => {}
            Missed::Tls => self.host_failed(turn, hop, HostNews::NotSecured),
            Missed::Identity => turn.out.count(Event::NotTold),
        }
        if !self.is_trial(hop) {
            self.upstreams.missed = Some(missed);
        }
        self.lost_because(turn, hop, Why::Unfit, None);
    }

    fn tell_of_unmet(&self, turn: &mut Turn<'_>, hop: HopId, lack: Lack, instead: Instead) {
        if let Some(up) = self.upstreams.get(hop) {
            let host = Arc::clone(&up.host);
            turn.out.outputs.push(Output::Unmet(host, Box::new(Unmet { lack, instead })));
        }
    }

    fn terms_of(&mut self, hop: HopId) -> Option<&mut Terms> {
        self.upstreams.get_mut(hop)?.terms.as_deref_mut()
    }
}
