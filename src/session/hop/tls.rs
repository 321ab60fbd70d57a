//! TLS with a hop: the handshake, and what is done when there is none.
//!
//! In:    a hop that takes a handshake now; what came of it.
//! Out:   a dialog that begins anew, under TLS; or in plain, where that may be; or another host's.
//! Never: takes what was said before a handshake for a reply after it; goes on in plain where TLS is required, or
//!        where TLS was tried in vain, or was there not long ago, and somebody relies on it.
//!
//! RFC 3207 4.2 and 6, RFC 8314 3.3; RFC 8446 4.4.2 and 6.2 (a server looks at our certificate, or at none, when we
//! are done: its alert comes behind the handshake).

use super::{Hop, Lent, Missed, Stand, Step};
use crate::session::client::Client;
use crate::session::events::Event;
use crate::session::facts::{TlsFacts, TlsFault, TlsFaultKind, TlsVersion};
use crate::session::io::Output;
use crate::session::peer::Peer;
use crate::session::route::{HopTls, HostNews};
use crate::session::turn::Turn;
use crate::session::unmet::{Instead, Lack};
use crate::smtp::ReplyRef;

impl Hop {
    /// What it says next comes through TLS.
    pub(super) fn begin_tls(&mut self, turn: &mut Turn<'_>) {
        self.stand = Stand::Securing;
        self.since = turn.now;
        turn.wish(Output::StartTls(Peer::Upstream(self.id)));
    }

    /// Its octets come through TLS from now on.
    pub fn secured<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>, facts: TlsFacts) -> Step<'r> {
        let Some(terms) = self.terms.as_mut().filter(|_| self.stand == Stand::Securing) else {
            return Step::Waits;
        };
        turn.count(Event::Secured(Peer::Upstream(self.id), facts.version(), facts.resumed));
        if !facts.certificate.as_ref().is_some_and(|certificate| certificate.verified) {
            turn.count(Event::Unverified(Peer::Upstream(self.id)));
        }
        terms.may_refuse = facts.version() == TlsVersion::Tls13;
        terms.tls = Some(facts);
        // Whatever it heard and said before (RFC 3207 4.2).
        terms.knows_ours = false;
        terms.greeting_forgotten = terms.greeting.take().is_some();
        if terms.begins_with_tls() {
            self.await_greeting(turn);
            Step::Waits
        } else if terms.asks_for_names() {
            self.say_own_hello(turn, lent)
        } else {
            self.met(None)
        }
    }

    /// There is no TLS with it, and no connection any more. What was said to it since our side of the handshake was
    /// done, it has not heard.
    pub fn not_secured<'r>(&mut self, turn: &mut Turn<'_>, lent: &mut Lent<'_>, fault: TlsFault) -> Step<'r> {
        if self.stand != Stand::Securing && !self.may_refuse_tls() {
            return Step::Waits;
        }
        self.stand = Stand::Securing;
        if let Some(terms) = &mut self.terms {
            (terms.tls, terms.may_refuse) = (None, false);
        }
        turn.count(Event::NotSecured(Peer::Upstream(self.id), fault.kind));
        if fault.kind == TlsFaultKind::Lost && self.was_just_told() {
            return Step::RefusesClient(None);
        }
        self.without_tls(turn, lent, Lack::Tls(fault))
    }

    /// The time for the handshake is over.
    pub fn not_secured_in_time<'r>(&mut self, turn: &mut Turn<'_>, lent: &mut Lent<'_>) -> Step<'r> {
        let what = format!("no handshake within {:?}", lent.settings.timeouts.tls).into();
        self.not_secured(turn, lent, TlsFault { kind: TlsFaultKind::TimedOut, what })
    }

    /// More than the 220 came before the handshake: somebody put it there, to be taken for the hop's (RFC 3207 6).
    pub fn reply_injected<'r>(&mut self, turn: &mut Turn<'_>, lent: &mut Lent<'_>) -> Step<'r> {
        turn.count(Event::Unasked);
        self.stand = Stand::Securing;
        let what = "octets between the reply to STARTTLS and the handshake".into();
        self.not_secured(turn, lent, TlsFault { kind: TlsFaultKind::Protocol, what })
    }

    /// TLS was tried in vain: in plain, if that may be, or another host.
    pub(super) fn without_tls<'r>(&mut self, turn: &mut Turn<'_>, lent: &Lent<'_>, lack: Lack) -> Step<'r> {
        if !self.may_go_plain(lent.client) {
            return self.unmet(turn, lack, Missed::Tls);
        }
        self.tell_of_unmet(turn, lack, Instead::Plain);
        let Some(terms) = &mut self.terms else { return Step::Waits };
        terms.fell_back = true;
        if self.stand == Stand::Securing {
            self.dial_again(turn);
            Step::Waits
        } else if terms.asks_for_names() {
            self.say_own_hello(turn, lent)
        } else {
            self.met(None)
        }
    }

    /// What was offered not long ago is not any more. Whoever is on the way can take a keyword out of a reply (RFC 3207
    /// 6): for who relies on TLS, that is as a handshake that failed.
    pub(super) fn tls_withdrawn<'r>(
        &mut self,
        turn: &mut Turn<'_>,
        lent: &mut Lent<'_>,
        reply: ReplyRef<'r>,
    ) -> Step<'r> {
        let plain = self.may_go_plain(lent.client);
        self.host.news(HostNews::TlsWithdrawn { plain }, turn.now);
        if !plain {
            return self.unmet(turn, Lack::Withdrawn, Missed::Tls);
        }
        self.tell_of_unmet(turn, Lack::Withdrawn, Instead::Plain);
        if let Some(terms) = &mut self.terms {
            terms.fell_back = true;
        }
        self.offered_names(turn, lent, reply)
    }

    /// Whether nobody relies on TLS that was tried in vain: not who authenticated, nor who came under TLS.
    pub(super) fn may_go_plain(&self, client: &Client) -> bool {
        let relied_upon = client.has_authenticated_anywhere() || client.is_secured();
        self.terms.as_ref().is_some_and(|terms| {
            terms.asked.tls == HopTls::Opportunistic && (terms.asked.is_loopback || !relied_upon)
        })
    }

    /// Whether it may refuse us yet for what we were in a handshake of TLS 1.3.
    pub fn may_refuse_tls(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.may_refuse)
    }

    /// Whether it is spoken to in plain, over a network, because TLS with it failed.
    pub fn fell_back(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.fell_back && !terms.asked.is_loopback)
    }
}
