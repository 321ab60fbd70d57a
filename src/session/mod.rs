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
mod beside;
pub mod callout;
pub mod client;
mod conductor;
mod conversations;
mod delivery;
pub mod events;
pub mod facts;
pub mod fault;
mod hop;
pub mod io;
pub(crate) mod law;
pub mod limiter;
mod notes;
mod owed;
mod passage;
pub mod peer;
pub mod record;
pub mod route;
mod said;
pub mod settings;
mod shadow;
pub mod stage;
mod transaction;
mod turn;
pub mod unmet;
pub mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::conductor::Conductor;
use self::io::{HopId, Input, Out, Peer, Written};
use self::passage::Passage;
use self::record::Speaker;
use self::settings::{Entrance, Keeping, Settings};
use self::turn::Turn;
use crate::networks::Networks;
use crate::smtp::SessionId;

/// One client and all it caused.
pub struct Session(State);

/// Thousands of sessions are idle at once: what is rare is boxed.
const _: () = assert!(size_of::<Session>() <= 264);

/// What it is at the moment.
#[expect(clippy::large_enum_variant, reason = "nearly all are dialogs, which every command goes through")]
enum State {
    /// SMTP on both sides.
    Dialogs(Conductor),
    /// TLS of the client with the hop; nothing leads back.
    Passage(Box<Passage>),
}

impl Session {
    /// A session for a client that was just accepted. Nothing is said before [`Session::start`].
    pub fn new(settings: Arc<Settings>, entrance: Entrance, id: SessionId, now: Instant) -> Session {
        Session(State::Dialogs(Conductor::new(settings, entrance, id, now)))
    }

    /// Begins TLS, or asks at `connect` and opens the hop, or greets.
    pub fn start(&mut self, now: Instant, out: &mut Out) {
        self.step(now, out, |state, turn| match state {
            State::Dialogs(conductor) => conductor.begin(turn),
            State::Passage(_) => {}
        });
    }

    /// Takes octets a peer sent. Returns how many were taken from the front; the rest is to be offered again, with
    /// what follows it, after anything else has happened.
    pub fn receive(&mut self, now: Instant, from: Peer, octets: &[u8], out: &mut Out) -> usize {
        self.step(now, out, |state, turn| match (state, from) {
            (State::Dialogs(conductor), Peer::Downstream) => conductor.receive_downstream(turn, octets),
            (State::Dialogs(conductor), Peer::Upstream(hop)) => conductor.receive_upstream(turn, hop, octets),
            (State::Dialogs(conductor), Peer::Spool) => conductor.receive_poured(turn, octets),
            (State::Passage(passage), from) => passage.pass(turn, from, octets),
        })
    }

    /// Takes anything else that happened.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Out) {
        self.step(now, out, |state, turn| match state {
            State::Dialogs(conductor) => conductor.happens(turn, input),
            State::Passage(passage) => passage.happens(turn, &input),
        });
    }

    /// One step: what happened, then what follows every step.
    fn step<T>(
        &mut self,
        now: Instant,
        out: &mut Out,
        with: impl FnOnce(&mut State, &mut Turn<'_>) -> T,
    ) -> T {
        let turn = &mut Turn { now, out, tracing: self.settings().trace };
        let came = with(&mut self.0, turn);
        if let State::Dialogs(conductor) = &mut self.0
            && let Some(passage) = conductor.after(turn)
        {
            self.0 = State::Passage(passage);
        }
        if cfg!(debug_assertions) {
            self.check();
        }
        came
    }
}

impl Session {
    /// When the session wants to be told that time has passed, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.0 {
            State::Dialogs(conductor) => conductor.deadline(),
            State::Passage(passage) => passage.deadline(),
        }
    }

    /// Whether octets of a peer are wanted. A client that may not go on is still read, up to the line buffer's
    /// bound, so that its leaving is noticed.
    pub fn wants_read(&self, peer: Peer) -> bool {
        match &self.0 {
            State::Dialogs(conductor) => conductor.wants_read(peer),
            State::Passage(passage) => passage.wants_read(peer),
        }
    }

    /// Whether nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            State::Dialogs(conductor) => conductor.is_over(),
            State::Passage(passage) => passage.is_over(),
        }
    }

    /// Whether a hop has the whole content of a message and its answer is still out: not to be ended even beyond
    /// `shutdown_grace` (RFC 1047).
    pub fn must_finish(&self) -> bool {
        matches!(&self.0, State::Dialogs(conductor) if conductor.must_finish())
    }

    /// Whether a reply may be put in between without cutting another reply or being taken for one: the shell asks
    /// before it says 421 for a session that panicked.
    pub fn is_between_replies(&self) -> bool {
        matches!(&self.0, State::Dialogs(conductor) if conductor.is_between_replies())
    }

    /// The host that one of its dialogs is with.
    pub fn host(&self, hop: HopId) -> Option<&Arc<dyn route::Host>> {
        match &self.0 {
            State::Dialogs(conductor) => conductor.host(hop),
            State::Passage(passage) => passage.host(hop),
        }
    }

    /// The session's name in logs and replies.
    pub fn id(&self) -> SessionId {
        match &self.0 {
            State::Dialogs(conductor) => conductor.client().id(),
            State::Passage(passage) => passage.id(),
        }
    }

    /// Through which door the client came, and who it is.
    pub fn entrance(&self) -> &Entrance {
        match &self.0 {
            State::Dialogs(conductor) => conductor.client().entrance(),
            State::Passage(passage) => passage.entrance(),
        }
    }

    /// Who connected.
    pub fn client(&self) -> IpAddr {
        self.entrance().client.ip()
    }

    /// Who connected, and the ranges whose headers are taken there.
    pub fn proxies(&self) -> (SocketAddr, &Networks) {
        self.entrance().proxies(self.settings())
    }

    /// The pools its configuration has, for the shell to look domains up with.
    pub fn next_hops(&self) -> &dyn route::NextHops {
        &*self.settings().next_hops
    }

    /// How long a connection to a hop may take.
    pub fn connect_timeout(&self) -> Duration {
        self.settings().timeouts.connect
    }

    /// How its messages are kept while they are asked about.
    pub fn keeping(&self) -> &Keeping {
        &self.settings().keeping
    }

    /// Whose words a reply is in that is no hop's.
    pub fn author(&self, written: &Written) -> Speaker {
        self.settings().author(written)
    }

    fn settings(&self) -> &Settings {
        match &self.0 {
            State::Dialogs(conductor) => conductor.settings(),
            State::Passage(passage) => passage.settings(),
        }
    }

    /// Asserts what holds after every step, besides what its words show. Debug builds do, and so do the simulation
    /// and the fuzz targets.
    pub fn check(&self) {
        assert!(
            self.is_over() || self.deadline().is_some(),
            "a session that is not over waits without a deadline"
        );
        if let State::Dialogs(conductor) = &self.0 {
            conductor.check();
        }
    }
}
