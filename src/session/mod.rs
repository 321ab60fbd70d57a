//! The session: one client connection and all it causes, joining the downstream dialog to the upstream ones.
//!
//! In:    [`Session::receive`]: octets from the client or a hop. [`Session::handle`]: everything else that happens.
//!        Both are told the time.
//! Out:   in [`Out`]: octets for each peer, what the shell is to do, what is to be counted; [`Session::deadline`]:
//!        when to come back at the latest; [`Session::wants_read`]: whom to listen to.
//! Never: touches a socket, a clock or randomness; keeps a receive buffer; guesses framing; answers 2xx to content
//!        that no hop answered 2xx for, unless a verdict discarded it on purpose.
//!
//! The way of a command: `check` (may it come now, is it well-formed), `ask` (rules, then callouts), `decide`, `forward`; the
//! way of its reply: `ask`, `decide`, `answer`. Between them stands the queue of answers owed (`owed`): what moves
//! on is decided at its head. Interruptions are one function over that queue (`interrupt`).
//!
//! | file | is |
//! |---|---|
//! | `check`, `envelope`, `rewrite`, `decide` | commands in: check, ask, decide, forward |
//! | `hear`, `judge`, `answer` | replies in: ask, decide, answer |
//! | `upstreams`, `replay`, `loss` | hops opened, told the envelope again, lost and replaced |
//! | `attempt`, `routed`, `domain` | a recipient tried elsewhere; hosts by a recipient's domain |
//! | `content`, `chunks` | DATA, BDAT |
//! | `interrupt`, `timers` | gone, deadline, shutdown |
//! | `limiter` | limits beyond this session |
//! | `greet`, `client`, `secure`, `identify` | the beginning; who the client is; TLS with it; who a trusted peer says it is |
//! | `terms`, `unmet` | what a hop is told and asked for first; what it lacks of that |
//! | `stray` | somebody who says it is a proxy and is none |
//! | `passthrough` | TLS of the client with the hop, passed through unread |
//! | `ask`, `inquiry`, `heed`, `allowed` | what is shown to whoever is asked; callouts asked, and heeded; what they may say |
//! | `notes` | what is kept for the record |
//! | `invariants` | what holds after every step |

pub(crate) mod allowed;
mod answer;
mod ask;
mod attempt;
pub mod callout;
mod check;
mod chunks;
pub mod client;
mod content;
mod decide;
mod domain;
mod envelope;
mod greet;
mod hear;
mod heed;
mod identify;
mod inquiry;
mod interrupt;
mod invariants;
pub mod io;
mod judge;
pub mod limiter;
mod loss;
mod notes;
mod owed;
mod passthrough;
pub mod record;
mod replay;
mod rewrite;
pub mod route;
mod routed;
mod secure;
pub mod settings;
mod stray;
mod terms;
mod timers;
mod transaction;
pub mod unmet;
mod upstreams;
pub mod verdict;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::content::Content;
use self::io::{Event, HopId, Input, Out, Output, Peer, SessionEnd, TraceSide};
use self::owed::{Answer, Fifo, Said, What};
use self::route::PoolId;
use self::settings::{AuthShown, Door, DoorTls, Entrance, Settings};
use self::transaction::{Hello, Transaction};
use self::unmet::Lack;
use self::upstreams::{Stand, Upstreams};
use crate::dialog::{Downstream, Say};
use crate::smtp::{Extensions, Own, Reply, ReplyRef, SessionId, own};

/// One client and all it caused.
pub struct Session {
    settings: Arc<Settings>,
    entrance: Entrance,
    id: SessionId,
    phase: Phase,
    downstream: Downstream,
    upstreams: Upstreams,
    owed: Fifo,
    /// EHLO or HELO as last answered 2xx.
    hello: Option<Box<Hello>>,
    /// What the client was shown in that answer.
    shown: Extensions,
    /// Where the session's transactions go unless a verdict says otherwise: the listener's pool.
    pool: PoolId,
    transaction: Option<Box<Transaction>>,
    content: Option<Box<Content>>,
    /// When the client last did or heard something.
    heard_at: Instant,
    /// Since when the head of the queue is waited for.
    head_since: Instant,
    flags: Flags,
}

/// Thousands of sessions are idle at once: what is rare is boxed.
const _: () = assert!(size_of::<Session>() <= 264);

/// How far the session has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The dialog goes on.
    Open,
    /// A TLS handshake with the client goes on: nothing is said to it or read from it.
    Securing,
    /// Its ClientHello is awaited, which is for the hop.
    Hello,
    /// Its TLS with the hop passes through.
    Passing,
    /// The greeting refused: only QUIT is served (RFC 5321 3.1).
    OnlyQuit,
    /// The client has heard its last reply, or is gone; a hop may still owe the reply to content.
    Ending,
}

/// Facts of the session that once true stay true, and two that describe the moment.
#[derive(Clone, Copy, Default, Debug)]
struct Flags {
    /// A hop said 235.
    authenticated: bool,
    /// Some hop greeted in this session.
    reached: bool,
    /// The client sent FIN.
    eof: bool,
    /// The client cannot be told anything any more.
    gone: bool,
    /// The hop it authenticated to is closed: no other may take its place.
    bereft: bool,
    /// The process wants to stop.
    stopping: bool,
    /// It does not want to wait any longer.
    stopped: bool,
    /// Octets of the client wait behind what was taken.
    early: bool,
    /// The greeting waits for `greeting_delay`; octets of the client before it are too early.
    hush: bool,
    /// TLS is required and there is none yet.
    locked: bool,
    /// The client may say XCLIENT and XFORWARD.
    trusted: bool,
    /// The hop has heard an EHLO of before TLS, and none since.
    stale: bool,
    /// The client speaks TLS with the hop from its first octet: nothing can be said to it in plain.
    mute: bool,
}

/// One call's surroundings.
struct Turn<'a> {
    now: Instant,
    out: &'a mut Out,
}

/// More answers than this are never owed at once; further commands wait in the line buffer.
const OWED: usize = 256;

impl Session {
    /// A session for a client that was just accepted. Nothing is said before [`Session::start`].
    pub fn new(settings: Arc<Settings>, entrance: Entrance, id: SessionId, now: Instant) -> Session {
        let door = &settings.doors[usize::from(entrance.listener)];
        let flags = Flags {
            locked: door.require_tls && door.tls == DoorTls::StartTls,
            mute: door.tls == DoorTls::PassthroughImplicit,
            trusted: door.trusts(entrance.client.ip()),
            ..Flags::default()
        };
        Session {
            settings,
            pool: entrance.pool,
            entrance,
            id,
            phase: Phase::Open,
            downstream: Downstream::default(),
            upstreams: Upstreams::default(),
            owed: Fifo::default(),
            hello: None,
            shown: Extensions::default(),
            transaction: None,
            content: None,
            heard_at: now,
            head_since: now,
            flags,
        }
    }

    /// Takes octets a peer sent. Returns how many were taken from the front; the rest is to be offered again, with
    /// what follows it, after anything else has happened.
    pub fn receive(&mut self, now: Instant, from: Peer, octets: &[u8], out: &mut Out) -> usize {
        let turn = &mut Turn { now, out };
        let taken = match from {
            _ if self.phase == Phase::Passing => {
                self.pass_on(turn, from, octets);
                octets.len()
            }
            Peer::Downstream => self.receive_downstream(turn, octets),
            Peer::Upstream(hop) => self.receive_upstream(turn, hop, octets),
        };
        self.after(turn);
        if cfg!(debug_assertions) {
            self.check();
        }
        taken
    }

    /// Takes anything else that happened.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Out) {
        let turn = &mut Turn { now, out };
        match input {
            input if self.phase == Phase::Passing => self.happens_in_passage(turn, &input),
            Input::Opened(hop) if self.flags.mute => self.opened_for_passage(turn, hop),
            Input::Opened(hop) => self.opened(turn, hop),
            Input::OpenFailed(hop) => self.open_failed(turn, hop),
            Input::Untold(hop, why) => self.not_told(turn, hop, Lack::SourceAddress(why)),
            Input::Named(name) => self.named(name),
            Input::Secured(Peer::Downstream, facts) => self.client_secured(turn, *facts),
            Input::Secured(Peer::Upstream(hop), facts) => self.hop_secured(turn, hop, *facts),
            Input::TlsFailed(Peer::Downstream, fault) => self.client_not_secured(turn, *fault),
            Input::TlsFailed(Peer::Upstream(hop), fault) => self.hop_not_secured(turn, hop, *fault),
            Input::LookedUp(found) => self.looked_up(turn, found),
            Input::Eof(Peer::Upstream(hop)) | Input::Lost(Peer::Upstream(hop)) => self.lost(turn, hop, None),
            Input::Eof(Peer::Downstream) => self.client_eof(turn),
            Input::Lost(Peer::Downstream) => self.client_gone(turn, SessionEnd::ClientGone),
            Input::Deadline { stalled } => self.deadline_passed(turn, stalled),
            Input::Told { ticket, answer } => self.told(turn, ticket, answer),
            Input::Exceeded(own) => self.hang_up(turn, Some(Said::Own(own)), SessionEnd::Limit),
            Input::Finished(_) => {}
            Input::Shutdown => self.flags.stopping = true,
            Input::Stop => self.stop(),
        }
        self.after(turn);
        if cfg!(debug_assertions) {
            self.check();
        }
    }

    /// Whether octets of a peer are wanted. A client that may not go on is still read, up to the line buffer's
    /// bound, so that its leaving is noticed.
    pub fn wants_read(&self, peer: Peer) -> bool {
        match peer {
            Peer::Downstream => !matches!(self.phase, Phase::Securing | Phase::Ending),
            Peer::Upstream(hop) => self.upstreams.get(hop).is_some(),
        }
    }

    /// Whether nothing more will come of this session.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Ending && self.upstreams.is_empty()
    }

    /// Whether a hop has the whole content of a message and its answer is still out: not to be ended even beyond
    /// `shutdown_grace` (RFC 1047).
    pub fn must_finish(&self) -> bool {
        self.owed.iter().any(|owed| matches!((&owed.what, &owed.answer), (What::Message(_), Answer::Hop(_))))
    }

    /// Whether a reply may be put in between without cutting another reply or being taken for one: the shell asks
    /// before it says 421 for a session that panicked.
    pub fn is_between_replies(&self) -> bool {
        self.content.is_none() && self.phase == Phase::Open
    }

    /// What holds at the listener the client came through.
    fn door(&self) -> &Door {
        &self.settings.doors[usize::from(self.entrance.listener)]
    }

    /// Whether AUTH may be shown and taken now.
    fn shows_auth(&self) -> bool {
        match self.door().auth {
            AuthShown::Hop => true,
            AuthShown::Tls => self.entrance.facts.as_ref().is_some_and(|facts| facts.is_secured()),
            AuthShown::Off => false,
        }
    }

    /// The pools its configuration has, for the shell to look domains up with.
    pub fn hops(&self) -> &dyn route::Hops {
        &*self.settings.hops
    }

    /// The host that one of its dialogs is with.
    pub fn host(&self, hop: HopId) -> Option<&Arc<dyn route::Host>> {
        Some(&self.upstreams.get(hop)?.host)
    }

    /// The session's name in logs and replies.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// How long a connection to a hop may take.
    pub fn connect_timeout(&self) -> Duration {
        self.settings.timeouts.connect
    }

    /// Through which door the client came, and who it is.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Who connected.
    pub fn client(&self) -> IpAddr {
        self.entrance.client.ip()
    }

    fn receive_downstream(&mut self, turn: &mut Turn<'_>, octets: &[u8]) -> usize {
        if self.flags.hush && !octets.is_empty() {
            self.spoke_early(turn);
        }
        if self.awaits_passage() && !octets.is_empty() {
            self.refuse_early_octets(turn);
        }
        if self.phase == Phase::Hello {
            self.take_client_hello(turn, octets);
        }
        let mut taken = 0;
        while taken < octets.len() {
            match self.phase {
                Phase::Ending => return octets.len(),
                Phase::Securing => return taken,
                Phase::Hello | Phase::Passing => break,
                Phase::Open if self.flags.mute => break,
                Phase::Open | Phase::OnlyQuit => {}
            }
            self.flags.early = false;
            let went = if self.takes_content() {
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
        let torn = self.flags.eof && taken == 0 && self.owed.is_empty() && !self.in_content();
        self.flags.early = taken < octets.len() && !torn;
        taken
    }

    fn receive_upstream(&mut self, turn: &mut Turn<'_>, hop: HopId, octets: &[u8]) -> usize {
        let mut taken = 0;
        while taken < octets.len() {
            match self.take_reply(turn, hop, &octets[taken..]) {
                Some(went) => taken += went,
                None => break,
            }
        }
        // What is left is nobody's where the connection is gone, or given up for another.
        let gone = self.upstreams.get(hop).is_none_or(|up| up.stand == Stand::Connecting);
        if gone { octets.len() } else { taken }
    }

    /// Whether the client's next command may be taken.
    fn takes_command(&self) -> bool {
        !self.flags.bereft
            && self.content.as_ref().is_none_or(|content| content.is_between_chunks())
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

    /// What follows every input: answers that are ready go out, and a session with nothing left to do ends.
    fn after(&mut self, turn: &mut Turn<'_>) {
        if self.phase == Phase::Passing {
            return;
        }
        self.finish_empty_chunk(turn);
        self.settle(turn);
        if self.phase == Phase::Ending {
            return self.dismiss_all(turn);
        }
        if self.flags.bereft && self.owed.is_empty() && !self.in_content() {
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        } else if (self.flags.stopped && !self.must_finish()) || (self.flags.stopping && self.is_between()) {
            self.hang_up(turn, Some(Said::Own(&own::SHUTTING_DOWN)), SessionEnd::Shutdown);
        } else if self.flags.eof && !self.flags.early && (self.lacks_octets() || self.owed.is_empty()) {
            self.client_gone(turn, SessionEnd::ClientGone);
        }
    }

    /// Whether nothing is under way: no command unanswered, no transaction.
    fn is_between(&self) -> bool {
        self.owed.is_empty() && self.transaction.is_none() && self.content.is_none()
    }

    /// Writes a reply of our own, or a written one, to the client.
    fn tell(&mut self, turn: &mut Turn<'_>, said: &Said) {
        if self.flags.gone || self.flags.mute {
            return;
        }
        let id = self.id;
        let class = said.code().class();
        let tracing = self.settings.trace;
        let tx = turn.out.to(Peer::Downstream);
        match said {
            Said::Own(own) => tx.write(|line| own.write(id, line)),
            Said::Written(reply) => tx.put(reply.as_bytes()),
        }
        if tracing {
            let mut line = Vec::new();
            match said {
                Said::Own(own) => own.write(id, &mut line),
                Said::Written(reply) => line.extend_from_slice(reply.as_bytes()),
            }
            self.trace(turn, Peer::Downstream, TraceSide::Server, &line);
        }
        turn.out.count(Event::Answered { class, by_hop: false });
        self.heard_at = turn.now;
    }

    /// Writes a hop's reply to the client, octet for octet.
    fn relay(&mut self, turn: &mut Turn<'_>, reply: ReplyRef<'_>) {
        if self.flags.gone {
            return;
        }
        turn.out.to(Peer::Downstream).put(reply.as_bytes());
        self.trace(turn, Peer::Downstream, TraceSide::Server, reply.as_bytes());
        turn.out.count(Event::Answered { class: reply.code().class(), by_hop: true });
        turn.out.count(Event::Waited(turn.now.saturating_duration_since(self.head_since)));
        self.heard_at = turn.now;
        self.upstreams.episode_over();
    }

    /// Owes the client a reply of our own to what it just said; it goes out in its turn.
    fn reply_own(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        self.owe(turn, What::Local, Said::Own(own));
    }

    fn owe(&mut self, turn: &mut Turn<'_>, what: What, said: Said) {
        if self.owed.is_empty() {
            self.head_since = turn.now;
        }
        self.owed.push(what, Answer::Own(said));
        self.settle(turn);
    }

    /// A syntax or sequence error of the client's: answered, and counted against it.
    fn reply_error(&mut self, turn: &mut Turn<'_>, own: &'static Own) {
        if self.is_one_error_too_many() {
            self.close_in_turn(turn, &own::TOO_MANY_ERRORS, SessionEnd::Limit);
        } else {
            self.reply_own(turn, own);
        }
    }

    fn is_one_error_too_many(&mut self) -> bool {
        self.downstream.errors += 1;
        self.downstream.errors >= self.settings.limits.errors
    }

    fn trace(&self, turn: &mut Turn<'_>, peer: Peer, side: TraceSide, octets: &[u8]) {
        if self.settings.trace && side == TraceSide::Server && octets.starts_with(b"334") {
            turn.out.outputs.push(Output::Trace(peer, side, b"334 (secret)".as_slice().into()));
        } else if self.settings.trace {
            for line in octets.split_inclusive(|&octet| octet == b'\n') {
                turn.out.outputs.push(Output::Trace(peer, side, line.trim_ascii_end().into()));
            }
        }
    }

    /// Says a command on a hop, if there is one.
    fn say(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        expect: crate::dialog::Expect,
        group: Say,
        write: impl Fn(&mut Vec<u8>),
    ) {
        if self.settings.trace {
            let mut line = Vec::new();
            write(&mut line);
            self.trace(turn, Peer::Upstream(hop), TraceSide::Client, &line);
        }
        if let Some(upstream) = self.upstreams.get_mut(hop) {
            upstream.said(turn.now);
            upstream.dialog.say(turn.out.to(Peer::Upstream(hop)), expect, group, write);
        }
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
