//! The session: one client connection and all it causes, joining the downstream dialog to the upstream ones.
//!
//! In:    [`Session::receive`]: octets from the client or a hop. [`Session::handle`]: everything else that happens.
//!        Both are told the time.
//! Out:   in [`Out`]: octets for each peer, what the shell is to do, what is to be counted; [`Session::deadline`]:
//!        when to come back at the latest; [`Session::wants_read`]: whom to listen to.
//! Never: touches a socket, a clock or randomness; keeps a receive buffer; guesses framing; answers 2xx to content
//!        that no hop answered 2xx for, unless a verdict discarded it on purpose.
//!
//! It is machines that own what they change, and one conductor. A machine's fields are its own; it gets what it needs as
//! arguments and says what happened as a value; none calls another. What concerns two of them stands in `conductor/`
//! and nowhere else: it takes one event of one machine and tells the others, and `after` drains what is left.
//! ARCHITECTURE.md has the map.

mod attempt;
pub mod callout;
pub mod client;
mod conductor;
mod conversations;
mod delivery;
mod hop;
pub mod io;
pub(crate) mod law;
pub mod limiter;
mod notes;
mod owed;
mod passage;
pub mod record;
pub mod route;
pub mod settings;
mod transaction;
mod turn;
pub mod unmet;
pub mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::client::{Client, Phase};
use self::conversations::Conversations;
use self::delivery::Delivery;
use self::hop::Hops;
use self::io::{HopId, Input, Out, Peer, SessionEnd};
use self::owed::{Owed, Said};
use self::passage::Passage;
use self::settings::{Door, Entrance, Settings};
use self::turn::Turn;
use self::unmet::Lack;
use crate::networks::Networks;
use crate::smtp::{Reply, SessionId, own};

/// One client and all it caused.
pub struct Session {
    settings: Arc<Settings>,
    client: Client,
    hops: Hops,
    owed: Owed,
    delivery: Delivery,
    conversations: Conversations,
    passage: Option<Box<Passage>>,
    stopping: Stopping,
    /// The hop that the client authenticated to is closed: no other may take its place.
    authenticated_hop_lost: bool,
}

/// Thousands of sessions are idle at once: what is rare is boxed.
const _: () = assert!(size_of::<Session>() <= 264);

/// Whether the process goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    No,
    /// It wants to stop: sessions end between transactions.
    Soon,
    /// `shutdown_grace` is over. A message whose end-of-data has left is waited for all the same.
    Now,
}

impl Session {
    /// A session for a client that was just accepted. Nothing is said before [`Session::start`].
    pub fn new(settings: Arc<Settings>, entrance: Entrance, id: SessionId, now: Instant) -> Session {
        let door = &settings.doors[usize::from(entrance.listener)];
        Session {
            hops: Hops::new(entrance.pool),
            client: Client::new(door, entrance, id, now),
            settings,
            owed: Owed::new(now),
            delivery: Delivery::default(),
            conversations: Conversations::default(),
            passage: None,
            stopping: Stopping::No,
            authenticated_hop_lost: false,
        }
    }

    /// Begins TLS, or asks at `connect` and opens the hop, or greets.
    pub fn start(&mut self, now: Instant, out: &mut Out) {
        self.step(now, out, Session::begin);
    }

    /// Takes octets a peer sent. Returns how many were taken from the front; the rest is to be offered again, with
    /// what follows it, after anything else has happened.
    pub fn receive(&mut self, now: Instant, from: Peer, octets: &[u8], out: &mut Out) -> usize {
        self.step(now, out, |session, turn| match from {
            _ if session.passage.is_some() => session.pass_on(turn, from, octets),
            Peer::Downstream => session.receive_downstream(turn, octets),
            Peer::Upstream(hop) => session.receive_upstream(turn, hop, octets),
        })
    }

    /// Takes anything else that happened.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Out) {
        self.step(now, out, |session, turn| session.happens(turn, input));
    }

    fn happens(&mut self, turn: &mut Turn<'_>, input: Input) {
        match input {
            Input::Shutdown if self.stopping == Stopping::No => self.stopping = Stopping::Soon,
            input if self.passage.is_some() => self.happens_in_passage(turn, &input),
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
            Input::Eof(Peer::Upstream(hop)) | Input::Lost(Peer::Upstream(hop)) => self.lost(turn, hop, None),
            Input::Eof(Peer::Downstream) => self.client_finished(turn),
            Input::Lost(Peer::Downstream) => self.client_gone(turn, SessionEnd::ClientGone),
            Input::Deadline { stalled } => self.deadline_passed(turn, stalled),
            Input::Told { ticket, answer } => self.told(turn, ticket, answer),
            Input::Exceeded(own) => self.hang_up(turn, Some(Said::Own(own)), SessionEnd::Limit),
            Input::Finished(_) | Input::Shutdown => {}
            Input::Stop => self.stopping = Stopping::Now,
        }
    }

    /// One step: what happened, then what follows every step.
    fn step<T>(
        &mut self,
        now: Instant,
        out: &mut Out,
        with: impl FnOnce(&mut Self, &mut Turn<'_>) -> T,
    ) -> T {
        let turn = &mut Turn { now, out, tracing: self.settings.trace };
        let came = with(self, turn);
        self.after(turn);
        if cfg!(debug_assertions) {
            self.check();
        }
        came
    }
}

impl Session {
    /// Whether octets of a peer are wanted. A client that may not go on is still read, up to the line buffer's
    /// bound, so that its leaving is noticed.
    pub fn wants_read(&self, peer: Peer) -> bool {
        match peer {
            Peer::Downstream => !matches!(self.client.phase(), Phase::Securing | Phase::Over),
            Peer::Upstream(hop) => self.hops.get(hop).is_some(),
        }
    }

    /// Whether nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        self.client.is_over() && self.hops.is_empty()
    }

    /// Whether a hop has the whole content of a message and its answer is still out: not to be ended even beyond
    /// `shutdown_grace` (RFC 1047).
    pub fn must_finish(&self) -> bool {
        self.owed.awaits_message()
    }

    /// Whether a reply may be put in between without cutting another reply or being taken for one: the shell asks
    /// before it says 421 for a session that panicked.
    pub fn is_between_replies(&self) -> bool {
        self.delivery.content().is_none() && self.passage.is_none() && self.client.phase() == Phase::Open
    }

    /// The pools its configuration has, for the shell to look domains up with.
    pub fn next_hops(&self) -> &dyn route::NextHops {
        &*self.settings.next_hops
    }

    /// The host that one of its dialogs is with.
    pub fn host(&self, hop: HopId) -> Option<&Arc<dyn route::Host>> {
        Some(self.hops.get(hop)?.host())
    }

    /// The session's name in logs and replies.
    pub fn id(&self) -> SessionId {
        self.client.id()
    }

    /// How long a connection to a hop may take.
    pub fn connect_timeout(&self) -> Duration {
        self.settings.timeouts.connect
    }

    /// Through which door the client came, and who it is.
    pub fn entrance(&self) -> &Entrance {
        self.client.entrance()
    }

    /// Who connected.
    pub fn client(&self) -> IpAddr {
        self.client.ip()
    }

    /// Who connected, and the ranges whose headers are taken there.
    pub fn proxies(&self) -> (SocketAddr, &Networks) {
        let via = self.client.facts().and_then(|facts| facts.via);
        (via.unwrap_or(self.client.entrance().client), &self.door().proxies)
    }

    /// What holds at the listener the client came through.
    fn door(&self) -> &Door {
        &self.settings.doors[usize::from(self.client.entrance().listener)]
    }
}

/// A reply of one line; the text is from the configuration, which checked it.
fn line_of(code: u16, text: &str) -> Arc<Reply> {
    let line = format!("{code} {text}");
    Arc::new(Reply::parse_written(&[&line]).unwrap_or_else(|_| own::PANIC.reply(SessionId(0))))
}

/// RFC 5321 3.8, RFC 7504: the code after which the connection is closed.
fn closes(code: u16) -> bool {
    code == 421 || code == 521
}
