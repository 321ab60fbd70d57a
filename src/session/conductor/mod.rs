//! The conductor: whatever concerns two machines of a session.
//!
//! In:    one event of one machine.
//! Out:   the others told of it; answers that are ready, given; a session with nothing left to do, ended.
//! Never: keeps more of its own than how the session ends, or carries a step out twice.
//!
//! A command comes in at [`commands`], is asked about at [`asking`] and decided at [`decisions`]; its reply comes in at
//! [`replies`], is asked about again, and concluded at [`answers`] and [`outcomes`]. What moves on is decided at the head
//! of the queue of answers owed. Interruptions are one function over that queue ([`interruptions`]).

mod answers;
mod asking;
mod attempted;
mod attempts;
mod commands;
mod content;
mod deadlines;
mod decisions;
mod dialogs;
mod domain;
mod envelope;
mod heeding;
mod interruptions;
mod invariants;
mod message;
mod opening;
mod outcomes;
mod questions;
mod records;
mod replies;
mod routed;
mod shadows;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::client::{Client, Phase};
use super::conversations::Conversations;
use super::delivery::Delivery;
use super::events::SessionEnd;
use super::hop::Hops;
use super::io::Input;
use super::owed::{Answer, Owed, What};
use super::passage::Passage;
use super::peer::{HopId, Peer};
use super::route::Host;
use super::said::Said;
use super::settings::{Door, Entrance, Settings};
use super::turn::Turn;
use super::unmet::Lack;
use crate::networks::Networks;
use crate::smtp::{Reply, SessionId, own};

/// More answers than this are never owed at once; further commands wait in the line buffer.
const OWED: usize = 256;

/// The machines of a session, and how it ends.
pub struct Conductor {
    settings: Arc<Settings>,
    client: Client,
    hops: Hops,
    owed: Owed,
    delivery: Delivery,
    conversations: Conversations,
    /// What takes over when this step is done.
    passage: Option<Box<Passage>>,
    stopping: Stopping,
    /// The hop that the client authenticated to, or tried to, is closed: no other may take its place.
    bound_hop_lost: bool,
    /// The spool was told that a message comes, and not yet that nobody wants it.
    has_spool: bool,
}

/// Whether the process goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    No,
    /// It wants to stop: sessions end between transactions.
    Soon,
    /// `shutdown_grace` is over. A message whose end-of-data has left is waited for all the same.
    Now,
}

impl Conductor {
    /// A client that was just accepted, and no hop yet.
    pub fn new(settings: Arc<Settings>, entrance: Entrance, id: SessionId, now: Instant) -> Conductor {
        let door = &settings.doors[usize::from(entrance.listener)];
        Conductor {
            hops: Hops::new(entrance.pool),
            client: Client::new(door, entrance, id, now),
            settings,
            owed: Owed::new(now),
            delivery: Delivery::default(),
            conversations: Conversations::default(),
            passage: None,
            stopping: Stopping::No,
            bound_hop_lost: false,
            has_spool: false,
        }
    }

    /// Takes anything that happened but octets.
    pub fn happens(&mut self, turn: &mut Turn<'_>, input: Input) {
        match input {
            Input::Shutdown if self.stopping == Stopping::No => self.stopping = Stopping::Soon,
            Input::Opened(hop) if self.client.phase() == Phase::Unspeakable => {
                self.opened_for_passage(turn, hop)
            }
            Input::Opened(hop) => self.opened(turn, hop),
            Input::OpenFailed(hop) => self.lost(turn, hop, None),
            Input::Untold(hop, why) => self.not_told(turn, hop, Lack::SourceAddress(why)),
            Input::Named(name) => self.client.named(name),
            Input::Secured(Peer::Downstream, facts) => self.client_secured(turn, *facts),
            Input::Secured(Peer::Upstream(hop), facts) => self.hop_secured(turn, hop, *facts),
            Input::TlsFailed(Peer::Downstream, fault) => self.client_not_secured(turn, *fault),
            Input::TlsFailed(Peer::Upstream(hop), fault) => self.hop_not_secured(turn, hop, *fault),
            Input::LookedUp(found) => self.looked_up(turn, found),
            Input::Eof(Peer::Upstream(hop)) | Input::Lost(Peer::Upstream(hop)) => self.hop_hung_up(turn, hop),
            // What it said before is served: it may still be listening.
            Input::Eof(Peer::Downstream) => self.client.finished(),
            // It is no connection.
            Input::Secured(Peer::Spool, _)
            | Input::TlsFailed(Peer::Spool, _)
            | Input::Eof(Peer::Spool)
            | Input::Lost(Peer::Spool) => {}
            Input::Lost(Peer::Downstream) => self.client_gone(turn, SessionEnd::ClientGone),
            Input::Deadline { stalled } => self.deadline_passed(turn, stalled),
            Input::Told { ticket, answer } => self.told(turn, ticket, answer),
            Input::Spooled(kept) => self.spooled(turn, kept),
            Input::Exceeded(own) => self.hang_up(turn, Some(Said::Own(own)), SessionEnd::Limit),
            Input::Finished(_) | Input::Shutdown => {}
            Input::Stop => self.stopping = Stopping::Now,
        }
    }

    /// Takes the client's octets, as far as they may be taken now.
    pub fn receive_downstream(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> usize {
        if self.client.is_greeting_delayed() && !octets.is_empty() {
            self.spoke_early(turn);
        }
        if self.awaits_passage() && !octets.is_empty() {
            self.refuse_early_octets(turn);
        }
        if self.client.phase() == Phase::ClientHello {
            self.take_client_hello(turn, octets);
        }
        let mut taken = 0;
        while taken < octets.len() {
            match self.client.phase() {
                Phase::Over => return octets.len(),
                Phase::Securing => return taken,
                Phase::ClientHello | Phase::Unspeakable => break,
                Phase::Open | Phase::OnlyQuit => {}
            }
            self.client.has_more(false);
            let went = if self.delivery.takes_content(&self.hops) {
                self.take_content(turn, octets, taken)
            } else if self.takes_command() {
                self.take_line(turn, &octets[taken..])
            } else {
                None
            };
            match went {
                Some(went) => taken += went,
                None => break,
            }
        }
        // With nothing to come and nothing owed, what was not taken is no line and never will be.
        let idle = self.owed.is_empty() && !self.delivery.in_content();
        let torn = self.client.has_finished() && taken == 0 && idle;
        self.client.has_more(taken < octets.len() && !torn);
        taken
    }

    /// Whether the client's next command may be taken.
    fn takes_command(&self) -> bool {
        !self.bound_hop_lost
            && self.delivery.content().is_none_or(|content| content.is_between_chunks())
            && self.owed.len() < OWED
            && self.owed.tail().is_none_or(|tail| {
                !tail.what.holds_back()
                    && match &tail.answer {
                        Answer::Held(_) | Answer::Trying(_) => false,
                        Answer::Asked(inquiry) => !inquiry.is_about_command(),
                        Answer::Unsaid | Answer::Hop(_) | Answer::Heard(..) | Answer::Own(_) => true,
                    }
            })
            && !matches!(self.owed.head().map(|head| &head.answer), Some(Answer::Trying(_)))
    }

    /// What follows every step: answers that are ready go out, and a session with nothing left to do ends; or what
    /// takes over from here.
    pub fn after(&mut self, turn: &mut Turn<'_>) -> Option<Box<Passage>> {
        if self.passage.is_none() {
            self.finish_empty_chunk(turn);
            self.end_refused_message(turn);
            self.settle(turn);
            self.end_if_done(turn);
            self.tend_spool(turn);
        }
        self.passage.take()
    }

    fn end_if_done(&mut self, turn: &mut Turn<'_>) {
        if self.client.is_over() {
            return self.dismiss_all(turn);
        }
        let finished = self.client.has_finished() && !self.client.is_early();
        if self.bound_hop_lost && self.owed.is_empty() && !self.delivery.in_content() {
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        } else if self.is_to_stop() {
            self.hang_up(turn, Some(Said::Own(&own::SHUTTING_DOWN)), SessionEnd::Shutdown);
        } else if finished
            && (self.delivery.lacks_octets() || (self.owed.is_empty() && !self.delivery.is_asked_about()))
        {
            self.client_gone(turn, SessionEnd::ClientGone);
        }
    }

    fn is_to_stop(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            // Nothing is under way: no command unanswered, no transaction.
            Stopping::Soon => self.owed.is_empty() && self.delivery.is_none(),
            Stopping::Now => !self.must_finish(),
        }
    }

    /// Owes the client a reply of our own to what it just said; it goes out in its turn.
    fn owe(&mut self, turn: &mut Turn<'_>, what: What, said: Said) {
        self.owed.push(turn.now, what, Answer::Own(said));
        self.settle(turn);
    }
}

impl Conductor {
    /// Whether octets of a peer are wanted.
    pub fn wants_read(&self, peer: Peer) -> bool {
        match peer {
            Peer::Downstream => !matches!(self.client.phase(), Phase::Securing | Phase::Over),
            Peer::Upstream(hop) => self.hops.get(hop).is_some_and(|hop| !hop.is_securing()),
            Peer::Spool => self.delivery.takes_poured(&self.hops),
        }
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.client.is_over() && self.hops.is_empty()
    }

    /// Whether a hop has the whole content of a message and its answer is still out.
    pub fn must_finish(&self) -> bool {
        self.owed.awaits_message()
    }

    /// Whether a reply may be put in between.
    pub fn is_between_replies(&self) -> bool {
        self.delivery.content().is_none() && self.client.phase() == Phase::Open
    }

    /// The host that one of the dialogs is with.
    pub fn host(&self, hop: HopId) -> Option<&Arc<dyn Host>> {
        Some(self.hops.get(hop)?.host())
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Under what it runs.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What holds at the listener the client came through.
    fn door(&self) -> &Door {
        self.client.entrance().door(&self.settings)
    }

    /// Who connected, and the ranges whose headers are taken there.
    fn proxies(&self) -> (SocketAddr, &Networks) {
        self.client.entrance().proxies(&self.settings)
    }
}

/// A reply of one line; the text is from the configuration, which checked it.
fn line_of(code: u16, text: &str) -> Arc<Reply> {
    let line = format!("{code} {text}");
    Arc::new(Reply::parse_written(&[&line]).unwrap_or_else(|_| own::PANIC.reply(SessionId(0))))
}
