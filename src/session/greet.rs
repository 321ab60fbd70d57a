//! The beginning: who may come in, and who greets.
//!
//! In:    a client that was just accepted, or that a trusted peer has just named.
//! Out:   `connect` asked about it; the hop opened, whose greeting it hears, or our own; TLS before all of that where
//!        the listener begins with it.
//! Never: greets before `greeting_delay` is over, or hears out whoever speaks before that.
//!
//! RFC 5321 3.1 (a server may refuse in its greeting), 4.3.1 (a client waits for it); RFC 8314 3.3 (implicit TLS).

use std::time::Instant;

use super::io::{Out, SessionEnd};
use super::owed::{Said, What};
use super::settings::DoorTls;
use super::verdict::{CommandAnswer, Giver, Stage};
use super::{Phase, Session, Turn, closes, line_of};
use crate::smtp::{Verb, own};

impl Session {
    /// Begins TLS, or asks at `connect` and opens the hop, or greets.
    pub fn start(&mut self, now: Instant, out: &mut Out) {
        let turn = &mut Turn { now, out };
        self.heard_at = now;
        match self.door().tls {
            DoorTls::Implicit => self.begin_tls(turn),
            DoorTls::PassthroughImplicit => self.phase = Phase::Hello,
            DoorTls::Off | DoorTls::StartTls | DoorTls::Passthrough => self.welcome(turn),
        }
        self.after(turn);
    }

    /// A client may be greeted, in a while.
    pub(super) fn welcome(&mut self, turn: &mut Turn<'_>) {
        self.flags.hush = !self.door().greeting_delay.is_zero();
        self.introduce(turn);
    }

    /// The client is known, for the first time or as another than before: asks at `connect`, and opens the hop.
    pub(super) fn introduce(&mut self, turn: &mut Turn<'_>) {
        self.head_since = turn.now;
        let stage = Stage::Connect;
        let answer = match self.settings.rules.stages().has(stage) {
            true => self.settings.rules.command(&self.question(stage, Verb::Other, b"")),
            false => CommandAnswer::default(),
        };
        self.note_command(turn, stage, &answer);
        if answer.verdict.is_some() {
            self.decide(turn, What::Greeting, answer.verdict, answer.by.last().copied().map(Giver::Rule));
        } else {
            self.consult(turn, stage, What::Greeting, Verb::Other, b"");
        }
    }

    /// Whatever answers the connection may be said now.
    pub(super) fn waited_to_greet(&mut self, turn: &mut Turn<'_>) {
        self.flags.hush = false;
        self.settle(turn);
    }

    /// The client did not wait for the greeting, as a client of SMTP does (RFC 5321 4.3.1).
    pub(super) fn spoke_early(&mut self, turn: &mut Turn<'_>) {
        self.hang_up(turn, Some(Said::Own(&own::EARLY_TALKER)), SessionEnd::EarlyTalker);
    }

    /// The connection is refused, by whoever may: closed, or with only QUIT left to say.
    pub(super) fn refuse_client(&mut self, turn: &mut Turn<'_>, said: Said, end: SessionEnd) {
        if closes(said.code().get()) || self.flags.mute {
            return self.hang_up(turn, Some(said), end);
        }
        self.flags.hush = false;
        self.tell(turn, &said);
        self.phase = Phase::OnlyQuit;
    }

    /// Our own greeting.
    pub(super) fn greet(&mut self, turn: &mut Turn<'_>) {
        let greeting = line_of(220, &format!("{} ESMTP gatepost", self.settings.hostname));
        self.owe(turn, What::Greeting, Said::Written(greeting));
    }
}
