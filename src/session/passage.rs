//! TLS between the client and the hop: gatepost passes its octets through and cannot look into them.
//!
//! In:    octets of each side, its FIN, its end; from the first on, the client's ClientHello.
//! Out:   the octets of each side to the other, as they are; how many, for the record; that it is over, and why.
//! Never: passes on what was said before the hop's 220, speaks in either's place once it has begun, or lets it be taken
//!        for mail that somebody was asked about.
//!
//! RFC 3207 4.2 (nothing from before TLS counts after it), RFC 8314 3.3; RFC 3238 2.3 and RFC 3837 4: protection from
//! end to end is its owners' choice.
//!
//! It ends when each side has sent its FIN and was sent the other's, when either connection breaks, when both are silent
//! for `timeouts.command`, or with `shutdown_grace`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::hop::Hop;
use super::io::{Event, HopId, Input, Output, Peer, SessionEnd};
use super::record::PassageRecord;
use super::route::{Host, HostNews};
use super::turn::Turn;
use crate::smtp::Piece;

/// What passes through, for as long as it does.
#[derive(Debug)]
pub struct Passage {
    hop: HopId,
    host: Arc<dyn Host>,
    /// Since when.
    since: Instant,
    /// When either side last said something.
    active_at: Instant,
    /// Octets of the client's and of the hop's.
    octets: [u64; 2],
    /// Whether the client and the hop were sent the other's FIN.
    finished: [bool; 2],
}

impl Passage {
    /// From here on octets pass through to this hop. `finished`: the client has sent all it will send.
    pub fn begin(turn: &mut Turn<'_>, hop: &Hop, finished: bool) -> Passage {
        turn.count(Event::Passing);
        if finished {
            turn.wish(Output::Finish(Peer::Upstream(hop.id())));
        }
        Passage {
            hop: hop.id(),
            host: Arc::clone(hop.host()),
            since: turn.now,
            active_at: turn.now,
            octets: [0; 2],
            finished: [false; 2],
        }
    }

    /// Octets of one side, for the other. `finished`: they are the client's last.
    pub fn pass(&mut self, turn: &mut Turn<'_>, from: Peer, octets: &[u8], finished: bool) {
        self.active_at = turn.now;
        match from {
            Peer::Downstream => {
                let to = Peer::Upstream(self.hop);
                turn.to(to).piece(Piece::Received(0..octets.len()), octets, 0);
                if finished {
                    turn.wish(Output::Finish(to));
                }
            }
            Peer::Upstream(hop) if hop == self.hop => {
                turn.to(Peer::Downstream).put(octets);
                if self.octets[1] == 0 {
                    self.host.news(HostNews::Serves, turn.now);
                }
            }
            Peer::Upstream(_) => return,
        }
        turn.count(Event::Passed(from, octets.len() as u64));
        self.octets[from.index().min(1)] += octets.len() as u64;
    }

    /// Anything else that happens; why it is over, if it is. `idle`: how long both may be silent.
    pub fn happens(&mut self, turn: &mut Turn<'_>, input: &Input, idle: Duration) -> Option<SessionEnd> {
        let hop = Peer::Upstream(self.hop);
        match *input {
            Input::Eof(Peer::Downstream) => turn.wish(Output::Finish(hop)),
            Input::Eof(peer) if peer == hop => turn.wish(Output::Finish(Peer::Downstream)),
            Input::Finished(peer) => {
                self.finished[peer.index().min(1)] = true;
                return (self.finished == [true; 2]).then_some(SessionEnd::Passed);
            }
            Input::Lost(Peer::Downstream) => return Some(SessionEnd::ClientGone),
            Input::Lost(peer) if peer == hop => return Some(SessionEnd::HopLost),
            Input::Deadline { .. } => return (self.deadline(idle) <= turn.now).then_some(SessionEnd::Idle),
            // Shutdown is not for it: what is under way may take as long as any other transaction.
            Input::Stop => return Some(SessionEnd::Shutdown),
            _ => {}
        }
        None
    }

    /// When both have been silent for too long.
    pub fn deadline(&self, idle: Duration) -> Instant {
        self.active_at + idle
    }

    /// With whom.
    pub fn hop(&self) -> HopId {
        self.hop
    }

    /// It is over: what there is to record.
    pub fn record(&self, client: &Client, now: Instant, end: SessionEnd) -> PassageRecord {
        PassageRecord {
            session: client.id(),
            client: client.entrance().client,
            server_name: client.facts().and_then(|facts| facts.tls()?.server_name.clone()),
            hop: Arc::clone(self.host.name()),
            octets_in: self.octets[0],
            octets_out: self.octets[1],
            took: now.saturating_duration_since(self.since),
            end,
        }
    }
}
