//! The terms a hop is spoken to on, before it hears anything of the client's: TLS, and being told who the client is.
//!
//! In:    a hop that greeted, its terms, what it offers and answers, what came of a handshake.
//! Out:   a hop that is ready to hear the client's dialog, and the greeting that the client hears; or none for it.
//! Never: says anything of the client's before the terms are met; uses anything learned before a handshake after it;
//!        goes on in plain where TLS is required.
//!
//! RFC 3207 4 (STARTTLS), 4.2 (what is forgotten); RFC 8314 3.3 (implicit TLS). Who the client is: [`identity`].
//!
//! ```text
//! Connecting ─▶ [Securing] ─▶ Greeting ─▶ [OwnHello ─▶ StartTls ─▶ Securing] ─▶ [OwnHello ─▶ Xclient] ─▶ Hello, Ready
//! ```

mod identity;

use super::client::{TlsFacts, TlsFault, TlsFaultKind};
use super::io::{Event, HopId, Output, Peer};
use super::notes::first_line;
use super::owed::{Answer, What};
use super::route::{HopTerms, HopTls, Host, HostNews, Identity};
use super::unmet::{Instead, Lack, Unmet};
use super::upstreams::{Stand, Why};
use super::{Session, Turn, closes};
use crate::dialog::{self, Expect, Say};
use crate::smtp::{Extensions, Keyword, Names, Own, Reply, ReplyRef, own};

/// The terms of one hop, and how far they are met. A hop without any has none of this.
#[derive(Debug)]
pub struct Terms {
    asked: HopTerms,
    /// TLS failed, and is done without.
    fell_back: bool,
    /// What the hop can be told about a client.
    names: Option<Names>,
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
        Terms { asked, fell_back: false, names: None, greeting: None, tls: None }
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
                self.say(turn, hop, Expect::Hello, Say::Last, |line| hello.write(lmtp, line));
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
        self.say(turn, hop, Expect::Terms, Say::Last, |line| line.extend_from_slice(hello.as_bytes()));
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

    /// What the hop says next comes through TLS.
    fn secure_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Securing;
            up.since = turn.now;
            turn.out.outputs.push(Output::StartTls(Peer::Upstream(hop)));
        }
    }

    /// The hop's octets come through TLS from now on.
    pub(super) fn hop_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, facts: TlsFacts) {
        let Some(up) = self.upstreams.get_mut(hop).filter(|up| up.stand == Stand::Securing) else { return };
        let Some(terms) = &mut up.terms else { return };
        turn.out.count(Event::Secured(Peer::Upstream(hop), facts.version(), facts.resumed));
        if !facts.certificate.as_ref().is_some_and(|certificate| certificate.verified) {
            turn.out.count(Event::Unverified);
        }
        terms.tls = Some(facts);
        if terms.begins_with_tls() {
            self.await_greeting(turn, hop);
        } else if terms.asks_for_names() {
            self.say_own_hello(turn, hop);
        } else {
            self.prepared(turn, hop, None);
        }
    }

    /// There is no TLS with this hop, and no connection any more.
    pub(super) fn hop_not_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, fault: TlsFault) {
        if self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Securing) {
            turn.out.count(Event::NotSecured(Peer::Upstream(hop), fault.kind));
            self.without_tls(turn, hop, Lack::Tls(fault));
        }
    }

    /// The time for the handshake is over.
    pub(super) fn hop_not_secured_in_time(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let what = format!("no handshake within {:?}", self.settings.timeouts.tls).into();
        self.hop_not_secured(turn, hop, TlsFault { kind: TlsFaultKind::TimedOut, what });
    }

    /// More than the 220 came before the handshake: somebody put it there, to be taken for the hop's (RFC 3207 6).
    pub(super) fn reply_injected(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        turn.out.count(Event::Unasked);
        turn.out.count(Event::NotSecured(Peer::Upstream(hop), TlsFaultKind::Protocol));
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Securing;
        }
        let what = "octets between the reply to STARTTLS and the handshake".into();
        self.without_tls(turn, hop, Lack::Tls(TlsFault { kind: TlsFaultKind::Protocol, what }));
    }

    /// TLS was tried in vain: in plain, if that may be, or another host.
    fn without_tls(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack) {
        if !self.may_go_plain(hop) {
            return self.unmet(turn, hop, lack, Missed::Tls);
        }
        self.tell_of_unmet(turn, hop, lack, Instead::Plain);
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        let Some(terms) = &mut up.terms else { return };
        terms.fell_back = true;
        if up.stand == Stand::Securing {
            // A connection whose handshake failed is good for nothing: another, to the same host.
            terms.greeting = None;
            up.stand = Stand::Connecting;
            up.dialog = dialog::Upstream::default();
            up.since = turn.now;
            turn.out.outputs.push(Output::Abort(Peer::Upstream(hop)));
            turn.out.outputs.push(Output::Open { hop, host: std::sync::Arc::clone(&up.host) });
        } else if terms.asks_for_names() {
            self.say_own_hello(turn, hop);
        } else {
            self.prepared(turn, hop, None);
        }
    }

    /// Whether nobody relies on TLS that was tried in vain: not who authenticated, nor who came under TLS.
    fn may_go_plain(&self, hop: HopId) -> bool {
        let relied_upon =
            self.flags.authenticated || self.entrance.facts.as_ref().is_some_and(|facts| facts.is_secured());
        self.upstreams.get(hop).and_then(|up| up.terms.as_ref()).is_some_and(|terms| {
            terms.asked.tls == HopTls::Opportunistic && (terms.asked.is_loopback || !relied_upon)
        })
    }

    /// The client came under TLS: it does not rely on a hop that is in plain because TLS failed.
    pub(super) fn leave_plain_hops(&mut self, turn: &mut Turn<'_>) {
        let fell_back = |up: &super::upstreams::Upstream| {
            up.terms.as_ref().is_some_and(|terms| terms.fell_back && !terms.asked.is_loopback)
        };
        let left: Vec<HopId> =
            self.upstreams.iter().filter(|(_, up)| fell_back(up)).map(|(hop, _)| hop).collect();
        for hop in left {
            self.upstreams.vacate(hop);
            self.dismiss(turn, hop);
        }
    }

    /// This host is none for this session.
    fn unmet(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack, missed: Missed) {
        self.tell_of_unmet(turn, hop, lack, Instead::NotUsed);
        match missed {
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
            let host = std::sync::Arc::clone(&up.host);
            turn.out.outputs.push(Output::Unmet(host, Box::new(Unmet { lack, instead })));
        }
    }

    fn terms_of(&mut self, hop: HopId) -> Option<&mut Terms> {
        self.upstreams.get_mut(hop)?.terms.as_deref_mut()
    }
}
