//! TLS with a hop: the handshake, and what is done when there is none.
//!
//! In:    a hop that takes a handshake now; what came of it.
//! Out:   a dialog that begins anew, under TLS; or in plain, where that may be; or another host's.
//! Never: takes what was said before a handshake for a reply after it; goes on in plain where TLS is required, or
//!        where TLS was tried in vain and somebody relies on it.
//!
//! RFC 3207 4.2 and 6, RFC 8314 3.3.

use std::sync::Arc;

use super::super::client::{TlsFacts, TlsFault, TlsFaultKind};
use super::super::io::{Event, HopId, Output, Peer};
use super::super::route::HopTls;
use super::super::unmet::{Instead, Lack};
use super::super::upstreams::{Stand, Upstream};
use super::super::{Session, Turn};
use super::Missed;
use crate::dialog;

impl Session {
    /// What the hop says next comes through TLS.
    pub(super) fn secure_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Securing;
            up.since = turn.now;
            turn.out.outputs.push(Output::StartTls(Peer::Upstream(hop)));
        }
    }

    /// The hop's octets come through TLS from now on.
    pub(in super::super) fn hop_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, facts: TlsFacts) {
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
    pub(in super::super) fn hop_not_secured(&mut self, turn: &mut Turn<'_>, hop: HopId, fault: TlsFault) {
        if self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Securing) {
            turn.out.count(Event::NotSecured(Peer::Upstream(hop), fault.kind));
            self.without_tls(turn, hop, Lack::Tls(fault));
        }
    }

    /// The time for the handshake is over.
    pub(in super::super) fn hop_not_secured_in_time(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let what = format!("no handshake within {:?}", self.settings.timeouts.tls).into();
        self.hop_not_secured(turn, hop, TlsFault { kind: TlsFaultKind::TimedOut, what });
    }

    /// More than the 220 came before the handshake: somebody put it there, to be taken for the hop's (RFC 3207 6).
    pub(in super::super) fn reply_injected(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        turn.out.count(Event::Unasked);
        turn.out.count(Event::NotSecured(Peer::Upstream(hop), TlsFaultKind::Protocol));
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.stand = Stand::Securing;
        }
        let what = "octets between the reply to STARTTLS and the handshake".into();
        self.without_tls(turn, hop, Lack::Tls(TlsFault { kind: TlsFaultKind::Protocol, what }));
    }

    /// TLS was tried in vain: in plain, if that may be, or another host.
    pub(super) fn without_tls(&mut self, turn: &mut Turn<'_>, hop: HopId, lack: Lack) {
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
            terms.untold = false;
            up.stand = Stand::Connecting;
            up.dialog = dialog::Upstream::default();
            up.since = turn.now;
            turn.out.outputs.push(Output::Abort(Peer::Upstream(hop)));
            turn.out.outputs.push(Output::Open { hop, host: Arc::clone(&up.host) });
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
    pub(in super::super) fn leave_plain_hops(&mut self, turn: &mut Turn<'_>) {
        let fell_back = |up: &Upstream| {
            up.terms.as_ref().is_some_and(|terms| terms.fell_back && !terms.asked.is_loopback)
        };
        let left: Vec<HopId> =
            self.upstreams.iter().filter(|(_, up)| fell_back(up)).map(|(hop, _)| hop).collect();
        for hop in left {
            self.dismiss(turn, hop);
        }
    }
}
