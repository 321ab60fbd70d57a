//! What may be asked about the client.
//!
//! In:    what the dialog has come to.
//! Out:   facts, and whether it may be told, heard, or shown something.
//! Never: changes anything.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Client, Mark, Phase, between_looks};
use crate::session::facts::ClientFacts;
use crate::session::settings::{AuthShown, Door, DoorTls, Entrance};
use crate::session::transaction::Hello;
use crate::smtp::{Extensions, SessionId};

impl Client {
    /// The session's name in logs and replies.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Through which door it came, and who it is.
    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// What is known of it beside its address.
    pub fn facts(&self) -> Option<&ClientFacts> {
        self.entrance.facts.as_deref()
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.entrance.client.ip()
    }

    /// Where it connected to, if that was not gatepost.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.facts().and_then(|facts| facts.destination)
    }

    /// How far its dialog has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it has heard its last reply, or is gone.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// EHLO or HELO as last answered 2xx.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_deref()
    }

    /// Its name for itself, or what XCLIENT said it was, until it says so itself.
    pub fn helo(&self) -> Option<&[u8]> {
        let told = || Some(self.facts()?.xclient.as_ref()?.helo.as_deref()?.as_bytes());
        self.hello().map(|hello| &*hello.given).or_else(told)
    }

    /// What it was shown in answer to that.
    pub fn shown(&self) -> &Extensions {
        &self.shown
    }

    /// Whether it authenticated through to the hop: its session stays with that.
    pub fn is_authenticated(&self) -> bool {
        self.is(Mark::Authenticated)
    }

    /// By which mechanism it authenticated through to the hop.
    pub fn mechanism(&self) -> Option<&[u8]> {
        self.facts()?.mechanism.as_deref().filter(|_| self.is_authenticated())
    }

    /// Whether its next line is one of an AUTH exchange.
    pub fn is_in_auth(&self) -> bool {
        self.lines.in_auth
    }

    /// Whether a hop refused an AUTH exchange of its.
    pub fn was_refused_auth(&self) -> bool {
        self.is(Mark::AuthRefused)
    }

    /// Whether it authenticated at all: through to the hop, or to the trusted peer that told as whom. Any hop can be told
    /// that, so the session need not stay with one.
    pub fn has_authenticated_anywhere(&self) -> bool {
        self.is_authenticated() || self.facts().is_some_and(|facts| facts.login().is_some())
    }

    /// Whether nobody on the way to gatepost could read along.
    pub fn is_secured(&self) -> bool {
        self.facts().is_some_and(ClientFacts::is_secured)
    }

    /// Whether there is TLS with gatepost itself.
    pub fn is_under_tls(&self) -> bool {
        self.facts().is_some_and(|facts| facts.tls.is_some())
    }

    /// Whether AUTH may be shown to it and taken now.
    pub fn is_shown_auth(&self, door: &Door) -> bool {
        match door.auth {
            AuthShown::Hop => true,
            AuthShown::Tls => self.is_secured(),
            AuthShown::Off => false,
        }
    }

    /// Whether it is shown a STARTTLS of gatepost's own.
    pub fn is_offered_tls(&self, door: &Door) -> bool {
        door.tls == DoorTls::StartTls && !self.is_under_tls() && !self.is(Mark::Authenticated)
    }

    /// Whether TLS is required and there is none yet.
    pub fn is_locked(&self) -> bool {
        self.is(Mark::Locked)
    }

    /// Whether it may say XCLIENT and XFORWARD.
    pub fn is_trusted(&self) -> bool {
        self.is(Mark::Trusted)
    }

    /// Whether the greeting waits for `greeting_delay`; octets before it are too early.
    pub fn is_greeting_delayed(&self) -> bool {
        self.is(Mark::GreetingDelayed)
    }

    /// Whether it has said MAIL in this session.
    pub fn has_said_mail(&self) -> bool {
        self.is(Mark::SaidMail)
    }

    /// Whether it has said MAIL, and since then nothing that ends what it began.
    pub fn is_behind_mail(&self) -> bool {
        self.is(Mark::BehindMail)
    }

    /// Octets of chunks that belonged to no message, in all.
    pub fn strayed(&self) -> u64 {
        u64::from(self.strayed)
    }

    /// Whether octets of it wait behind what was taken.
    pub fn is_early(&self) -> bool {
        self.is(Mark::Early)
    }

    /// Whether it sent FIN.
    pub fn has_finished(&self) -> bool {
        self.is(Mark::Finished)
    }

    /// Whether it cannot be told anything any more.
    pub fn is_gone(&self) -> bool {
        self.is(Mark::Gone)
    }

    /// Until when it may be silent, if it may be for `whole`. Before its first MAIL it is looked at each so often: stress
    /// may begin while it waits, and nobody wakes it then.
    pub fn silent_until(&self, whole: Duration) -> Instant {
        let look = between_looks(whole) * (u32::from(self.looks) + 1);
        self.active_at + if self.has_said_mail() { whole } else { whole.min(look) }
    }

    /// Whether it was greeted before any hop was opened.
    pub fn was_greeted_here(&self) -> bool {
        self.is(Mark::GreetedHere)
    }

    /// When it last did or heard something.
    pub fn active_at(&self) -> Instant {
        self.active_at
    }
}
