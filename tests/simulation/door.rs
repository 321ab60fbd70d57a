//! The door a simulated client comes through: TLS, whether it is required, XCLIENT, a delayed greeting.
//!
//! **In**: the seed's generator; handshakes that the session asks for. **Out**: a [`Door`]; what comes of a handshake.
//! **Never**: lets a handshake succeed behind octets in plain: the shell does not either.

use std::time::Duration;

use gatepost::networks::Networks;
use gatepost::session::client::{TlsFacts, TlsFault, TlsFaultKind};
use gatepost::session::io::{Input, Peer};
use gatepost::session::settings::{AuthShown, Door, DoorTls};

use super::{Event, Link, Stage};
use crate::rng::Rng;

/// Draws one; most are plain.
pub fn door(rng: &mut Rng) -> Door {
    let tls = match rng.below(20) {
        0..=7 => DoorTls::StartTls,
        8 => DoorTls::Implicit,
        _ => DoorTls::Off,
    };
    let net = |net: &str| Networks::from_iter([net.parse().expect("a network")]);
    let xclient = match rng.below(10) {
        0..=2 => net("192.0.2.0/24"),
        3 => net("198.51.100.0/24"),
        _ => Networks::default(),
    };
    Door {
        tls,
        require_tls: rng.percent(10),
        auth: [AuthShown::Hop, AuthShown::Tls, AuthShown::Off][rng.below(5).min(2)],
        xclient,
        greeting_delay: Duration::from_millis(if rng.percent(5) { rng.next() % 3000 } else { 0 }),
        ..Door::default()
    }
}

impl Stage<'_> {
    /// The client begins a handshake when it has heard that it may; some never do.
    pub(super) fn client_begins_tls(&mut self) {
        assert!(!self.links[0].securing, "a handshake in a handshake");
        self.note(|| "<starttls>".to_owned());
        self.links[0].securing = true;
        self.client.may_begin_tls();
        let delay = self.rng.next() % 300;
        let outcome = match self.rng.below(40) {
            0 => Some(TlsFaultKind::Lost),
            1 => Some(TlsFaultKind::Protocol),
            2 => return,
            _ => None,
        };
        self.at(delay, Event::Handshake(outcome));
    }

    /// What comes of it.
    pub(super) fn handshake_ends(&mut self, fault: Option<TlsFaultKind>) {
        if !self.links[0].open || !self.links[0].securing {
            return;
        }
        self.links[0].securing = false;
        let plain = !self.links[0].wire.is_empty() || !self.links[0].read.is_empty() || self.client_left;
        match fault.or(plain.then_some(TlsFaultKind::Protocol)) {
            None => {
                self.note(|| "<secured>".to_owned());
                self.ledger.tally.secured += 1;
                self.client.is_under_tls();
                let facts = TlsFacts { version: "TLSv1.3".into(), ..TlsFacts::default() };
                self.handle(Input::Secured(Peer::Downstream, Box::new(facts)));
                self.at(0, Event::ClientWakes);
            }
            Some(kind) => {
                self.note(|| format!("<not secured: {}>", kind.as_str()));
                self.links[0] = Link::default();
                self.client_left = true;
                self.ledger.gone = true;
                let fault = TlsFault { kind, what: "by chance".into() };
                self.handle(Input::TlsFailed(Peer::Downstream, Box::new(fault)));
            }
        }
    }
}
