//! TLS between the client and the hop: gatepost passes its octets through and cannot look into them.
//!
//! In:    the client's STARTTLS at a listener that passes it on, and the hop's 220; or a ClientHello as the first octets.
//! Out:   the octets of each side to the other, as they are; how many, for the record.
//! Never: passes on what was said before the hop's 220, speaks in either's place once it has begun, or lets it be taken
//!        for mail that somebody was asked about.
//!
//! RFC 3207 4.2 (nothing from before TLS counts after it), RFC 8314 3.3, RFC 6066 3 (the name asked for); RFC 3238 2.3
//! and RFC 3837 4: protection from end to end is its owners' choice.
//!
//! The phase ends when each side has sent its FIN and was sent the other's, when either connection breaks, when both
//! are silent for `timeouts.command`, or with `shutdown_grace`.

use std::sync::Arc;
use std::time::Instant;

use super::client::{ClientHello, TlsFacts, TlsFault, TlsFaultKind};
use super::io::{Event, HopId, Input, Output, Peer, SessionEnd};
use super::owed::{Said, What};
use super::record::PassageRecord;
use super::route::{HostNews, Identity};
use super::settings::DoorTls;
use super::upstreams::{Stand, Why};
use super::{Phase, Session, Turn};
use crate::smtp::{Keyword, Piece, own};

/// What passes through, for as long as it does.
#[derive(Debug)]
pub struct Passage {
    since: Instant,
    /// Octets of the client's and of the hop's.
    octets: [u64; 2],
    /// Whether the client and the hop were sent the other's FIN.
    finished: [bool; 2],
}

impl Passage {
    /// Whether both sides are, now that this one was sent the other's FIN.
    fn is_over_with(&mut self, peer: Peer) -> bool {
        self.finished[peer.index().min(1)] = true;
        self.finished == [true; 2]
    }
}

impl Session {
    /// Whether the client is shown the hop's own STARTTLS.
    pub(super) fn passes_starttls(&self, hop: HopId) -> bool {
        self.door().tls == DoorTls::Passthrough
            && !self.flags.authenticated
            && self.upstreams.get(hop).is_some_and(|up| {
                // Under TLS nobody could say XFORWARD any more.
                let terms = up.host.terms();
                let told = terms.identity != Identity::Xforward || !terms.identity_required;
                told && up.dialog.extensions.has(Keyword::StartTls)
            })
    }

    /// STARTTLS for the hop.
    pub(super) fn pass_starttls(&mut self, turn: &mut Turn<'_>) {
        if !self.shown.has(Keyword::StartTls) {
            self.reply_error(turn, &own::NOT_IMPLEMENTED);
        } else if self.transaction.is_some() || self.flags.authenticated {
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
                let facts = TlsFacts { server_name, ..TlsFacts::default() };
                self.entrance.facts.get_or_insert_default().tls = Some(facts);
                self.phase = Phase::Open;
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
        let terms = self.upstreams.get(hop).map(|up| up.host.terms());
        let untold = terms.is_some_and(|terms| {
            terms.identity_required && matches!(terms.identity, Identity::Xclient | Identity::Xforward)
        });
        if untold {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        self.flags.reached = true;
        self.owed.pop();
        self.begin_passage(turn, hop);
    }

    /// From here on octets pass through.
    pub(super) fn begin_passage(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        up.stand = Stand::Passing;
        up.passage = Some(Box::new(Passage { since: turn.now, octets: [0; 2], finished: [false; 2] }));
        self.upstreams.set_away(None);
        self.upstreams.home = Some(hop);
        for other in self.upstreams.ids().into_iter().filter(|other| *other != hop) {
            self.dismiss(turn, other);
        }
        self.phase = Phase::Passing;
        self.heard_at = turn.now;
        turn.out.count(Event::Passing);
        if self.flags.eof && !self.flags.early {
            turn.out.outputs.push(Output::Finish(Peer::Upstream(hop)));
        }
    }

    /// Octets of one side, for the other.
    pub(super) fn pass_on(&mut self, turn: &mut Turn<'_>, from: Peer, octets: &[u8]) {
        let Some(hop) = self.upstreams.home() else { return };
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        let Some(passage) = &mut up.passage else { return };
        self.heard_at = turn.now;
        turn.out.count(Event::Passed(from, octets.len() as u64));
        match from {
            Peer::Downstream => {
                passage.octets[0] += octets.len() as u64;
                let to = Peer::Upstream(hop);
                turn.out.to(to).piece(Piece::Received(0..octets.len()), octets, 0);
                if std::mem::take(&mut self.flags.early) && self.flags.eof {
                    turn.out.outputs.push(Output::Finish(to));
                }
            }
            Peer::Upstream(_) => {
                passage.octets[1] += octets.len() as u64;
                turn.out.to(Peer::Downstream).put(octets);
                if !std::mem::replace(&mut up.serves, true) {
                    up.host.news(HostNews::Serves, turn.now);
                }
            }
        }
    }

    /// Anything else that happens while octets pass through.
    pub(super) fn happens_in_passage(&mut self, turn: &mut Turn<'_>, input: &Input) {
        let Some(hop) = self.upstreams.home() else { return };
        match *input {
            Input::Eof(Peer::Downstream) => turn.out.outputs.push(Output::Finish(Peer::Upstream(hop))),
            Input::Eof(Peer::Upstream(at)) if at == hop => {
                turn.out.outputs.push(Output::Finish(Peer::Downstream));
            }
            Input::Finished(peer) => {
                let passage = self.upstreams.get_mut(hop).and_then(|up| up.passage.as_mut());
                if passage.is_some_and(|passage| passage.is_over_with(peer)) {
                    self.end_passage(turn, SessionEnd::Passed);
                }
            }
            Input::Lost(Peer::Downstream) => self.end_passage(turn, SessionEnd::ClientGone),
            Input::Lost(Peer::Upstream(at)) if at == hop => self.end_passage(turn, SessionEnd::HopLost),
            Input::Deadline { .. } if self.deadline().is_some_and(|until| until <= turn.now) => {
                self.end_passage(turn, SessionEnd::Idle);
            }
            // What is under way may take as long as any other transaction.
            Input::Shutdown => self.flags.stopping = true,
            Input::Stop => self.end_passage(turn, SessionEnd::Shutdown),
            _ => {}
        }
    }

    /// Octets of a hop behind its 220: TLS begins with the client, so nobody could have said them (RFC 3207 6).
    pub(super) fn is_before_its_turn(&self, hop: HopId) -> bool {
        self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Passing)
    }

    /// It is over, for whatever reason.
    pub(super) fn end_passage(&mut self, turn: &mut Turn<'_>, end: SessionEnd) {
        let up = self.upstreams.home().and_then(|hop| self.upstreams.get_mut(hop));
        if let Some(up) = up
            && let Some(passage) = up.passage.take()
            && self.settings.records
        {
            turn.out.outputs.push(Output::Passed(Box::new(PassageRecord {
                session: self.id,
                client: self.entrance.client,
                server_name: self.entrance.facts.as_ref().and_then(|facts| facts.tls()?.server_name.clone()),
                hop: Arc::clone(up.host.name()),
                octets_in: passage.octets[0],
                octets_out: passage.octets[1],
                took: turn.now.saturating_duration_since(passage.since),
                end,
            })));
        }
        self.client_gone(turn, end);
    }
}
