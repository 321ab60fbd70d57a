//! The beginning: who may come in, and who greets; TLS that is the hop's, passed through.
//!
//! In:    a client that was just accepted, or that a trusted peer has just named.
//! Out:   `connect` asked about it; the hop opened, whose greeting it hears, or our own; TLS before all of that where
//!        the listener begins with it; a passage, where the hop takes the client's TLS.
//! Never: greets before `greeting_delay` is over, or hears out whoever speaks before that; reads what a PROXY header
//!        says that may not be there.
//!
//! RFC 5321 3.1 (a server may refuse in its greeting), 4.3.1 (a client waits for it); RFC 8314 3.3 (implicit TLS); RFC
//! 3207 6 (octets behind STARTTLS).

use std::sync::Arc;

use super::super::client::Phase;
use super::super::events::{Event, SessionEnd};
use super::super::facts::{ClientHello, TlsFault, TlsFaultKind};
use super::super::io::Output;
use super::super::notes::Told;
use super::super::owed::What;
use super::super::passage::Passage;
use super::super::peer::HopId;
use super::super::peer::Why;
use super::super::route::Identity;
use super::super::said::Said;
use super::super::settings::DoorTls;
use super::super::stage::Stage;
use super::super::turn::Turn;
use super::Conductor;
use super::asking::Subject;
use super::line_of;
use crate::proxy_protocol::is_header;
use crate::smtp::{Keyword, Reply, Verb, own};

impl Conductor {
    /// Begins TLS, or welcomes the client.
    pub fn begin(&mut self, turn: &mut Turn<'_>) {
        self.client.was_active(turn.now);
        match self.door().tls {
            DoorTls::Implicit => self.client.begin_tls(turn),
            DoorTls::PassthroughImplicit => self.client.await_client_hello(),
            DoorTls::Off | DoorTls::StartTls | DoorTls::Passthrough => self.welcome(turn),
        }
    }

    /// A client may be greeted, in a while.
    pub(super) fn welcome(&mut self, turn: &mut Turn<'_>) {
        let delay = self.door().greeting_delay;
        self.client.delay_greeting(delay);
        self.introduce(turn);
    }

    /// The client is known, for the first time or as another than before: asks at `connect`, and opens the hop.
    pub(super) fn introduce(&mut self, turn: &mut Turn<'_>) {
        self.owed.head_waits_since(turn.now);
        self.client.greets_here(false);
        let subject = Subject::Command { verb: Verb::Other, argument: b"" };
        self.ask(turn, Stage::Connect, What::Greeting, subject);
    }

    /// Whatever answers the connection may be said now.
    pub(super) fn waited_to_greet(&mut self, turn: &mut Turn<'_>) {
        self.client.greet_now();
        self.settle(turn);
    }

    /// The client did not wait for the greeting, as a client of SMTP does (RFC 5321 4.3.1).
    pub(super) fn spoke_early(&mut self, turn: &mut Turn<'_>) {
        self.hang_up(turn, Some(Said::Own(&own::EARLY_TALKER)), SessionEnd::EarlyTalker);
    }

    /// The connection is refused, by whoever may: closed, or with only QUIT left to say.
    pub(super) fn refuse_client(&mut self, turn: &mut Turn<'_>, said: Said, end: SessionEnd) {
        if said.code().closes() || self.client.phase() == Phase::Unspeakable {
            return self.hang_up(turn, Some(said), end);
        }
        self.client.greet_now();
        self.client.tell(turn, &said);
        self.hop_refused(turn, Told::Said(&said));
        self.client.only_quits();
    }

    /// Our own greeting, said.
    pub(super) fn greet(&mut self, turn: &mut Turn<'_>) {
        let greeting = self.own_greeting();
        self.owe(turn, What::Greeting, Said::Written(greeting.into()));
    }

    /// Whether no hop is opened for a client that has said nothing: under stress, unless somebody is asked about the hop's
    /// greeting. Who makes much of stress must not get round that.
    pub(super) fn withholds_hop(&self) -> bool {
        let stages = self.settings.rules.stages().and(self.settings.callouts.stages());
        !stages.has(Stage::ConnectReply) && self.is_stressed()
    }

    /// Whether greeting and first EHLO line are our own.
    pub(super) fn speaks_for_itself(&self) -> bool {
        self.settings.own_greeting || self.client.was_greeted_here()
    }

    /// Our own greeting.
    pub(super) fn own_greeting(&self) -> Arc<Reply> {
        line_of(220, &format!("{} ESMTP gatepost", self.settings.hostname))
    }

    /// Whether these octets of the client are a PROXY header, where none may be: from a client who is not listed, or
    /// behind the one that was taken. At listeners that know of no proxies it is what it looks like: unknown verbs and,
    /// in version 2, empty lines with a QUIT behind them.
    pub(super) fn is_stray_header(&self, octets: &[u8]) -> bool {
        self.client.hello().is_none() && !self.door().proxies.is_empty() && is_header(octets)
    }

    /// Whoever sends one would be taken for somebody else elsewhere: not here.
    pub(super) fn take_stray_header(&mut self, turn: &mut Turn<'_>) {
        let (peer, proxies) = self.proxies();
        let second = proxies.contains(peer.ip());
        turn.count(Event::StrayHeader { second });
        turn.wish(Output::StrayHeader);
        self.hang_up(turn, Some(Said::Own(&own::EARLY_INPUT)), SessionEnd::Protocol);
    }

    /// Whether the client is shown the hop's own STARTTLS.
    pub(super) fn passes_starttls(&self, hop: HopId) -> bool {
        self.door().tls == DoorTls::Passthrough
            && !self.client.is_authenticated()
            && self.hops.get(hop).is_some_and(|open| {
                // Under TLS nobody could say XFORWARD any more.
                let terms = open.host().terms();
                let told = terms.identity != Identity::Xforward || !terms.identity_required;
                told && open.offers().has(Keyword::StartTls)
            })
    }

    /// STARTTLS for the hop.
    pub(super) fn pass_starttls(&mut self, turn: &mut Turn<'_>) {
        if !self.client.shown().has(Keyword::StartTls) {
            self.reply_error(turn, &own::NOT_IMPLEMENTED);
        } else if self.delivery.transaction().is_some() || self.client.is_authenticated() {
            self.reply_error(turn, &own::BAD_SEQUENCE);
        } else {
            self.forward(turn, What::StartTls);
        }
    }

    /// Whether octets of the client's are too early: it must wait for the hop's 220.
    pub(super) fn awaits_passage(&self) -> bool {
        self.owed.tail().is_some_and(|tail| matches!(tail.what, What::StartTls))
    }

    /// Octets behind STARTTLS and before its 220, which somebody may have put there (RFC 3207 6).
    pub(super) fn refuse_early_octets(&mut self, turn: &mut Turn<'_>) {
        self.hang_up(turn, Some(Said::Own(&own::EARLY_INPUT)), SessionEnd::Protocol);
    }

    /// The client begins with TLS that is the hop's: its ClientHello stays where it is until the hop can have it.
    pub(super) fn take_client_hello(&mut self, turn: &mut Turn<'_>, octets: &[u8]) {
        match (self.settings.client_hello)(octets) {
            ClientHello::Partial => {}
            ClientHello::Whole { server_name } => {
                self.client.asked_for(server_name);
                self.introduce(turn);
            }
            ClientHello::None => {
                let what = "the first octets are no ClientHello".into();
                self.client_not_secured(turn, TlsFault { kind: TlsFaultKind::Protocol, what });
            }
        }
    }

    /// A hop is connected to that has TLS with the client from the first octet.
    pub(super) fn opened_for_passage(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let terms = self.hops.get(hop).map(|open| open.host().terms());
        let untold = terms.is_some_and(|terms| {
            terms.identity_required && matches!(terms.identity, Identity::Xclient | Identity::Xforward)
        });
        if untold {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        self.hops.was_reached();
        self.owed.pop();
        self.begin_passage(turn, hop);
    }

    /// From here on octets pass through to this hop, and no other is kept.
    pub(super) fn begin_passage(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        for other in self.hops.ids().into_iter().filter(|other| *other != hop) {
            self.dismiss(turn, other);
        }
        if let Some(open) = self.hops.get(hop) {
            self.passage = Some(Box::new(Passage::begin(turn, &self.settings, &mut self.client, open)));
        }
    }
}
