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
use std::time::Instant;

use super::client::Client;
use super::events::{Event, SessionEnd};
use super::hop::Hop;
use super::io::{Input, Output};
use super::peer::{HopId, Peer};
use super::record::PassageRecord;
use super::route::{Host, HostNews};
use super::settings::{Entrance, Settings};
use super::turn::Turn;
use crate::smtp::{Piece, SessionId};

/// What passes through, for as long as it does.
pub struct Passage {
    settings: Arc<Settings>,
    id: SessionId,
    entrance: Entrance,
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
    /// The client has sent all it will send, and that was not taken yet.
    last_waits: bool,
    over: bool,
}

impl Passage {
    /// From here on octets pass through to this hop.
    pub fn begin(turn: &mut Turn<'_>, settings: &Arc<Settings>, client: &mut Client, hop: &Hop) -> Passage {
        turn.count(Event::Passing);
        if client.has_finished() && !client.is_early() {
            turn.wish(Output::Finish(Peer::Upstream(hop.id())));
        }
        Passage {
            settings: Arc::clone(settings),
            id: client.id(),
            last_waits: client.has_finished() && client.is_early(),
            entrance: client.passes(),
            hop: hop.id(),
            host: Arc::clone(hop.host()),
            since: turn.now,
            active_at: turn.now,
            octets: [0; 2],
            finished: [false; 2],
            over: false,
        }
    }

    /// What stands behind the hop's 220: TLS begins with the client, so nobody could have said it (RFC 3207 6).
    pub fn begins_behind(&mut self, turn: &mut Turn<'_>, octets: &[u8]) {
        if !octets.is_empty() {
            turn.count(Event::Unasked);
            self.end(turn, SessionEnd::Protocol);
        }
    }

    /// Octets of one side, for the other; they are taken, all of them.
    pub fn pass(&mut self, turn: &mut Turn<'_>, from: Peer, octets: &[u8]) -> usize {
        if !self.wants_read(from) {
            return octets.len();
        }
        self.active_at = turn.now;
        match from {
            Peer::Downstream => {
                let to = Peer::Upstream(self.hop);
                turn.to(to).piece(Piece::Received(0..octets.len()), octets, 0);
                if std::mem::take(&mut self.last_waits) {
                    turn.wish(Output::Finish(to));
                }
            }
            Peer::Upstream(_) | Peer::Spool => {
                turn.to(Peer::Downstream).put(octets);
                if self.octets[1] == 0 {
                    self.host.news(HostNews::Serves, turn.now);
                }
            }
        }
        turn.count(Event::Passed(from, octets.len() as u64));
        self.octets[from.index().min(1)] += octets.len() as u64;
        octets.len()
    }

    /// Anything else that happens.
    pub fn happens(&mut self, turn: &mut Turn<'_>, input: &Input) {
        let hop = Peer::Upstream(self.hop);
        match *input {
            _ if self.over => {}
            Input::Eof(Peer::Downstream) => turn.wish(Output::Finish(hop)),
            Input::Eof(peer) if peer == hop => turn.wish(Output::Finish(Peer::Downstream)),
            Input::Finished(peer) => {
                self.finished[peer.index().min(1)] = true;
                if self.finished == [true; 2] {
                    self.end(turn, SessionEnd::Passed);
                }
            }
            Input::Lost(Peer::Downstream) => self.end(turn, SessionEnd::ClientGone),
            Input::Lost(peer) if peer == hop => self.end(turn, SessionEnd::HopLost),
            Input::Deadline { .. } if self.deadline().is_some_and(|until| until <= turn.now) => {
                self.end(turn, SessionEnd::Idle);
            }
            // Shutdown is not for it: what is under way may take as long as any other transaction.
            Input::Stop => self.end(turn, SessionEnd::Shutdown),
            _ => {}
        }
    }

    /// It is over, for whatever reason: both connections are closed.
    fn end(&mut self, turn: &mut Turn<'_>, end: SessionEnd) {
        self.over = true;
        if self.settings.records {
            turn.wish(Output::Passed(Box::new(self.record(turn.now, end))));
        }
        turn.count(Event::Ended(end));
        turn.wish(Output::Close(Peer::Downstream));
        turn.wish(Output::Abort(Peer::Upstream(self.hop)));
    }

    fn record(&self, now: Instant, end: SessionEnd) -> PassageRecord {
        PassageRecord {
            session: self.id,
            client: self.entrance.client,
            server_name: self.entrance.facts.as_ref().and_then(|facts| facts.tls()?.server_name.clone()),
            hop: Arc::clone(self.host.name()),
            octets_in: self.octets[0],
            octets_out: self.octets[1],
            took: now.saturating_duration_since(self.since),
            end,
        }
    }
}

impl Passage {
    /// When both have been silent for too long.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.over).then(|| self.active_at + self.settings.timeouts.command)
    }

    /// Whether octets of a peer are wanted.
    pub fn wants_read(&self, peer: Peer) -> bool {
        !self.over && (peer == Peer::Downstream || peer == Peer::Upstream(self.hop))
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// With whom, if it is this one.
    pub fn host(&self, hop: HopId) -> Option<&Arc<dyn Host>> {
        (hop == self.hop && !self.over).then_some(&self.host)
    }

    /// The session's name in logs and replies.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Through which door the client came, and who it is.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Under what it runs.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
