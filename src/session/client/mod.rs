//! The client: the downstream dialog, who is at its other end, and under what it runs.
//!
//! In:    its octets while it speaks in lines, its leaving, what a handshake, a PROXY header or a trusted peer says of
//!        it; replies to be said.
//! Out:   its lines, one at a time; octets for it; until when it may be silent.
//! Never: decides what it is answered, or says anything to whoever cannot be told anything any more.
//!
//! RFC 5321 4.1.4 (order of commands), RFC 3207 4.2 (what TLS makes forgotten); Postfix's XCLIENT_README and
//! XFORWARD_README.

mod known;
mod told;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::{Event, SessionEnd};
pub use super::facts::{
    Certificate, ClientFacts, ClientHello, ClientName, ProxiedFacts, Teller, TlsFacts, TlsFault,
    TlsFaultKind, TlsVersion, XclientFacts, XforwardFacts,
};
use super::io::{Output, TraceSide};
use super::peer::{Bits, HopId, Origin, Peer};
use super::said::Said;
use super::settings::{Door, DoorTls, Entrance};
use super::transaction::Hello;
use super::turn::Turn;
use crate::dialog::{Downstream, Limits, Next};
use crate::smtp::{BareNewline, Extensions, ReplyRef, SessionId};

/// How long it may be silent under stress before its first MAIL.
const STRESSED: Duration = Duration::from_secs(10);

/// How long passes between two looks at a client that may be silent for `whole`: more only where that is beyond 42
/// minutes, so that a byte counts them.
fn between_looks(whole: Duration) -> Duration {
    STRESSED.max(whole / u32::from(u8::MAX))
}

/// How far its dialog has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It goes on.
    Open,
    /// A TLS handshake goes on: nothing is said to it or read from it.
    Securing,
    /// Its ClientHello is awaited, which is for the hop.
    ClientHello,
    /// Its TLS is the hop's: nothing can be said to it in plain.
    Unspeakable,
    /// The greeting refused: only QUIT is served (RFC 5321 3.1).
    OnlyQuit,
    /// It has heard its last reply, or is gone.
    Over,
}

/// The client's side of a session.
pub struct Client {
    id: SessionId,
    entrance: Entrance,
    phase: Phase,
    lines: Downstream,
    hello: Option<Box<Hello>>,
    shown: Extensions,
    active_at: Instant,
    /// How often it was looked at since then; see [`Client::silent_until`].
    looks: u8,
    /// Octets of chunks that belonged to no message.
    strayed: u32,
    marks: Bits,
}

/// What may be true of it, each by itself.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// A hop said 235.
    Authenticated,
    /// A hop refused an AUTH exchange.
    AuthRefused,
    /// It sent FIN.
    Finished,
    /// It cannot be told anything any more.
    Gone,
    /// Octets of it wait behind what was taken.
    Early,
    /// The greeting waits for `greeting_delay`.
    GreetingDelayed,
    /// TLS is required and there is none yet.
    Locked,
    /// It may say XCLIENT and XFORWARD.
    Trusted,
    /// It has said MAIL, and since then nothing that ends what it began.
    BehindMail,
    /// It has said MAIL.
    SaidMail,
    /// It was greeted before any hop was opened, for want of room.
    GreetedHere,
}

impl Client {
    /// A client that was just accepted.
    pub fn new(door: &Door, entrance: Entrance, id: SessionId, now: Instant) -> Client {
        let mut client = Client {
            id,
            entrance,
            phase: Phase::Open,
            lines: Downstream::default(),
            hello: None,
            shown: Extensions::default(),
            active_at: now,
            looks: 0,
            strayed: 0,
            marks: Bits::default(),
        };
        client.mark(Mark::Locked, door.require_tls && door.tls == DoorTls::StartTls);
        client.mark(Mark::Trusted, door.trusts(client.ip()));
        client
    }

    /// Reads its next line.
    pub fn next<'a>(&mut self, octets: &'a [u8], limits: &Limits, bare: BareNewline) -> Next<'a> {
        self.lines.next(octets, limits, bare)
    }

    /// It did or heard something.
    pub fn was_active(&mut self, now: Instant) {
        self.active_at = now;
        self.looks = 0;
    }

    /// It was looked at, and may go on to be silent.
    pub fn was_looked_at(&mut self, now: Instant, whole: Duration) {
        let silent = now.saturating_duration_since(self.active_at);
        let looks = silent.as_millis() / between_looks(whole).as_millis();
        self.looks = u8::try_from(looks).unwrap_or(u8::MAX);
    }

    /// It is greeted before any hop was opened, or not so.
    pub fn greets_here(&mut self, here: bool) {
        self.mark(Mark::GreetedHere, here);
    }

    /// Says a reply of our own, a written one, or one that was kept.
    pub fn tell(&mut self, turn: &mut Turn<'_>, said: &Said) {
        if self.is(Mark::Gone) || matches!(self.phase, Phase::ClientHello | Phase::Unspeakable) {
            return;
        }
        let (id, tracing) = (self.id, turn.tracing);
        let tx = turn.to(Peer::Downstream);
        match said {
            Said::Own(own) => tx.write(|line| own.write(id, line)),
            Said::Written(reply) => tx.put(reply.as_bytes()),
            Said::Heard(_, reply, _) => tx.put(reply.as_bytes()),
        }
        if tracing {
            let mut line = Vec::new();
            match said {
                Said::Own(own) => own.write(id, &mut line),
                Said::Written(reply) => line.extend_from_slice(reply.as_bytes()),
                Said::Heard(_, reply, _) => line.extend_from_slice(reply.as_bytes()),
            }
            turn.trace(Peer::Downstream, TraceSide::Server, &line);
        }
        turn.count(Event::Answered { class: said.code().class(), origin: said.origin() });
        if said.code().is_negative() && said.origin() == Origin::Gatepost {
            turn.wish(Output::Refused(said.clone()));
        }
        self.was_active(turn.now);
    }

    /// Says a reply as it was heard, octet for octet; whether it could be told. `waited`: how long for.
    pub fn relay(
        &mut self,
        turn: &mut Turn<'_>,
        origin: Origin,
        reply: ReplyRef<'_>,
        waited: Duration,
    ) -> bool {
        if self.is(Mark::Gone) {
            return false;
        }
        turn.to(Peer::Downstream).put(reply.as_bytes());
        turn.trace(Peer::Downstream, TraceSide::Server, reply.as_bytes());
        turn.count(Event::Answered { class: reply.code().class(), origin });
        turn.count(Event::Waited(waited));
        if reply.code().is_negative() && origin == Origin::Gatepost {
            turn.wish(Output::Refused(Said::Written(Arc::new(reply.to_owned()).into())));
        }
        self.was_active(turn.now);
        true
    }

    /// It was shown these extensions, in an EHLO reply that stands behind `start` among the octets for it. `by`: whose
    /// reply it is and how long that took, if it is a hop's.
    pub fn showed(
        &mut self,
        turn: &mut Turn<'_>,
        shown: Extensions,
        start: usize,
        by: Option<(HopId, Duration)>,
    ) {
        self.shown = shown;
        let origin = by.map_or(Origin::Gatepost, |(hop, _)| Origin::Hop(hop));
        turn.count(Event::Answered { class: 2, origin });
        if let Some((_, waited)) = by {
            turn.count(Event::Waited(waited));
        }
        self.was_active(turn.now);
        if turn.tracing {
            let said: Vec<u8> =
                turn.to(Peer::Downstream).slices(&[]).flatten().skip(start).copied().collect();
            turn.trace(Peer::Downstream, TraceSide::Server, &said);
        }
    }

    /// EHLO or HELO was answered 2xx.
    pub fn said_hello(&mut self, hello: Hello) {
        self.hello = Some(Box::new(hello));
    }

    /// Nothing is shown to it until its next EHLO is answered.
    pub fn show_nothing(&mut self) {
        self.shown = Extensions::default();
    }

    /// A syntax or sequence error of its own; whether it is one too many.
    pub fn erred(&mut self, limits: &Limits) -> bool {
        self.lines.errors = self.lines.errors.saturating_add(1);
        u32::from(self.lines.errors) >= limits.errors.min(u32::from(u16::MAX))
    }

    /// A message of its was accepted.
    pub fn forgive_errors(&mut self) {
        self.lines.errors = 0;
    }

    /// Whether its next line is one of an AUTH exchange.
    pub fn goes_on_with_auth(&mut self, on: bool) {
        self.lines.in_auth = on;
    }

    /// Ends an AUTH exchange; whether there was one.
    pub fn leaves_auth(&mut self) -> bool {
        std::mem::take(&mut self.lines.in_auth)
    }

    /// It wants to authenticate by this mechanism.
    pub fn begins_auth(&mut self, mechanism: &[u8]) {
        self.entrance.facts.get_or_insert_default().mechanism = Some(mechanism.into());
    }

    /// A hop said 235.
    pub fn authenticated(&mut self) {
        self.mark(Mark::Authenticated, true);
    }

    /// A hop refused an AUTH exchange.
    pub fn auth_refused(&mut self) {
        self.mark(Mark::AuthRefused, true);
    }

    /// It said MAIL: what only follows from its refusal is no error.
    pub fn begins_group(&mut self) {
        self.mark(Mark::BehindMail, true);
        self.mark(Mark::SaidMail, true);
    }

    /// It said what ends that.
    pub fn ends_group(&mut self) {
        self.mark(Mark::BehindMail, false);
    }

    /// It sent so many octets in a chunk that belonged to no message.
    pub fn strays(&mut self, octets: u64) {
        self.strayed = self.strayed.saturating_add(u32::try_from(octets).unwrap_or(u32::MAX));
    }

    /// Octets of it wait behind what was taken.
    pub fn has_more(&mut self, early: bool) {
        self.mark(Mark::Early, early);
    }

    /// It sent FIN.
    pub fn finished(&mut self) {
        self.mark(Mark::Finished, true);
    }

    /// It cannot be told anything any more.
    pub fn is_lost(&mut self) {
        self.mark(Mark::Gone, true);
    }

    /// The next octets are a handshake's.
    pub fn begin_tls(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Securing;
        self.was_active(turn.now);
        turn.wish(Output::StartTls(Peer::Downstream));
    }

    /// Its octets come through TLS from now on; false: nobody had asked for it.
    pub fn secured(&mut self, turn: &mut Turn<'_>, facts: TlsFacts) -> bool {
        if self.phase != Phase::Securing {
            return false;
        }
        turn.count(Event::Secured(Peer::Downstream, facts.version(), facts.resumed));
        if facts.certificate.as_ref().is_some_and(|certificate| !certificate.verified) {
            turn.count(Event::Unverified(Peer::Downstream));
        }
        self.entrance.facts.get_or_insert_default().tls = Some(facts);
        self.phase = Phase::Open;
        self.mark(Mark::Locked, false);
        self.was_active(turn.now);
        true
    }

    /// There is no TLS with it; false: it was not awaited.
    pub fn not_secured(&mut self, turn: &mut Turn<'_>, fault: TlsFault) -> bool {
        let awaited = matches!(self.phase, Phase::Securing | Phase::ClientHello);
        if awaited {
            turn.count(Event::NotSecured(Peer::Downstream, fault.kind));
            turn.wish(Output::NotSecured(Box::new(fault)));
        }
        awaited
    }

    /// Its first octets are TLS that is the hop's.
    pub fn await_client_hello(&mut self) {
        self.phase = Phase::ClientHello;
    }

    /// What it says from now on is for the hop, and not looked into; the entrance it came through goes with it.
    pub fn passes(&mut self) -> Entrance {
        self.phase = Phase::Over;
        Entrance { facts: self.entrance.facts.take(), ..self.entrance }
    }

    /// They are, and ask for a host of this name.
    pub fn asked_for(&mut self, server_name: Option<Box<str>>) {
        let facts = TlsFacts { server_name, ..TlsFacts::default() };
        self.entrance.facts.get_or_insert_default().tls = Some(facts);
        self.phase = Phase::Unspeakable;
    }

    /// What it said so far counts no more, but its errors (RFC 3207 4.2).
    pub fn forget_dialog(&mut self) {
        self.lines.begin_anew();
        self.hello = None;
        self.shown = Extensions::default();
        self.forget_forwarded();
    }

    /// It is greeted in a while.
    pub fn delay_greeting(&mut self, delay: Duration) {
        self.mark(Mark::GreetingDelayed, !delay.is_zero());
    }

    /// It may be greeted.
    pub fn greet_now(&mut self) {
        self.mark(Mark::GreetingDelayed, false);
    }

    /// Its greeting was a refusal.
    pub fn only_quits(&mut self) {
        self.phase = Phase::OnlyQuit;
    }

    /// Its connection is closed, behind what was said to it; in the midst of a handshake, at once.
    pub fn hang_up(&mut self, turn: &mut Turn<'_>, end: SessionEnd) {
        let securing = self.phase == Phase::Securing;
        self.phase = Phase::Over;
        self.mark(Mark::Gone, true);
        turn.count(Event::Ended(end));
        turn.wish(if securing { Output::Abort(Peer::Downstream) } else { Output::Close(Peer::Downstream) });
    }

    fn is(&self, mark: Mark) -> bool {
        self.marks.has(mark as usize)
    }

    fn mark(&mut self, mark: Mark, on: bool) {
        if on { self.marks.set(mark as usize) } else { self.marks.unset(mark as usize) }
    }
}

#[cfg(test)]
mod tests;
