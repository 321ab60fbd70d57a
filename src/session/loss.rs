//! A hop lost: what that decides by itself, and who takes its place.
//!
//! In:    a dialog that broke, that nobody could believe, or that does not fit.
//! Out:   the next host of its pool with all that waits for an answer; or, with none left, the client's last word.
//! Never: replaces a hop that content has left for, or one the client authenticated to; counts against a host what
//!        was its word to this client.
//!
//! RFC 1047: after the end-of-data the message's fate is not known, and the client sends it again.

use std::sync::Arc;

use super::check::without_hop;
use super::io::{Event, HopId, Output, SessionEnd};
use super::owed::{Answer, Said, What};
use super::route::{HostNews, Place};
use super::upstreams::{NoHop, Stand, Tried, Why};
use super::{Session, Turn, closes};
use crate::smtp::{Own, Reply, own};

impl Session {
    /// A dialog with a hop broke.
    pub(super) fn lost(&mut self, turn: &mut Turn<'_>, hop: HopId, refusal: Option<Box<Reply>>) {
        self.lost_because(turn, hop, Why::Broken, refusal);
    }

    /// A dialog with a hop is over, unasked for. Another takes its place if anybody waits for one.
    pub(super) fn lost_because(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        why: Why,
        refusal: Option<Box<Reply>>,
    ) {
        self.ask_again(turn, hop);
        let trial = self.is_trial(hop);
        let attempted = self.is_attempted_at(hop);
        if why == Why::Broken {
            self.host_failed_before_greeting(turn, hop);
        }
        let current = self.upstreams.current() == Some(hop);
        let away = self.upstreams.away == Some(hop);
        let Some(up) = self.forget_hop(turn, hop, false) else { return };
        if let Some(refusal) = refusal
            && self.upstreams.refusal.is_none()
        {
            self.upstreams.refusal = Some(refusal);
        }
        let mut tried = up.tried;
        tried.push(up.host.id());
        if trial {
            self.attempt_lost(turn, up.place, tried, why);
        } else {
            self.settle_loss(turn, hop, why);
            if !current {
                self.answer_for(hop, &own::OTHER_HOP);
            }
            if current && self.needs_hop(hop) {
                self.replace(turn, hop, up.place, away, tried);
            }
            if attempted {
                self.attempt_gone(turn);
            }
        }
        self.settle(turn);
    }

    /// Settles what the loss of the current hop itself decides.
    pub(super) fn settle_loss(&mut self, turn: &mut Turn<'_>, hop: HopId, why: Why) {
        let content_lost: &'static Own =
            if why == Why::Malformed { &own::HOP_PROTOCOL } else { &own::CONTENT_LOST };
        for (_, owed) in self.owed.iter_mut() {
            // A hop closes behind its 221; that it was heard before its turn makes no other hop necessary.
            let over = matches!((&owed.what, &owed.answer), (What::Quit, Answer::Heard(at, _)) if *at == hop);
            if !over && !matches!(owed.answer, Answer::Hop(at) if at == hop) {
                continue;
            }
            match owed.what {
                // Whether it kept the message is not known: the client sends it again (RFC 1047).
                What::Message(_) | What::Chunk => owed.answer = Answer::Own(Said::Own(content_lost)),
                What::StartTls => owed.answer = Answer::Own(Said::Own(&own::TLS_LOST)),
                What::Quit => owed.answer = Answer::Own(Said::Own(&own::BYE)),
                What::Auth(_) => owed.answer = Answer::Own(Said::Own(&own::AUTH_LOST)),
                _ => {}
            }
        }
        self.content_hop_lost(hop, content_lost);
        if self.flags.authenticated && !self.is_ending() {
            self.conclude_judged(turn);
            self.settle(turn);
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        }
    }

    /// A hop is let go of: what it still owed the client is answered in its place.
    pub(super) fn answer_for(&mut self, hop: HopId, recipients: &'static Own) {
        for (_, owed) in self.owed.iter_mut() {
            if !matches!(owed.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop) {
                continue;
            }
            let own: &'static Own = match &owed.what {
                What::Rcpt(_) => recipients,
                What::Data => &own::NEED_MAIL,
                What::Chunk | What::Message(_) => &own::CONTENT_LOST,
                What::Reset => &own::RSET_OK,
                What::StartTls => &own::TLS_LOST,
                What::Quit => &own::BYE,
                What::Auth(_) => &own::AUTH_LOST,
                What::Other(verb, _) => without_hop(*verb),
                What::Greeting | What::Hello(_) | What::Mail(_) | What::Local | What::Close(_) => {
                    &own::ATTEMPTS_FAILED
                }
            };
            owed.answer = Answer::Own(Said::Own(own));
        }
    }

    /// Whether anybody waits for a hop in this one's place.
    pub(super) fn needs_hop(&self, hop: HopId) -> bool {
        !self.is_ending()
            && (self.awaits_go(hop)
                || self
                    .owed
                    .iter()
                    .any(|owed| matches!(owed.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop)))
    }

    /// Puts the next host in a lost one's place.
    pub(super) fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        lost: HopId,
        place: Place,
        away: bool,
        tried: Tried,
    ) {
        match self.open(turn, place, tried) {
            Ok(hop) => {
                turn.out.count(Event::FailedOver);
                if away {
                    self.upstreams.away = Some(hop);
                } else {
                    self.upstreams.home = Some(hop);
                }
                for (_, owed) in self.owed.iter_mut() {
                    let said_once = matches!(owed.what, What::Message(_) | What::Chunk | What::Auth(None));
                    match owed.answer {
                        Answer::Hop(at) if at == lost => owed.answer = Answer::Hop(hop),
                        Answer::Heard(at, _) if at == lost && !said_once => owed.answer = Answer::Hop(hop),
                        _ => {}
                    }
                }
                self.content_moves(lost, hop);
            }
            Err(none) => self.no_hop(turn, none),
        }
    }

    /// No host is left: the client hears the first refusal a hop spoke, or that there is none, and is closed.
    pub(super) fn no_hop(&mut self, turn: &mut Turn<'_>, none: NoHop) {
        let refusal = self.upstreams.refusal.take().map(|reply| Said::Written(Arc::new(*reply)));
        // It must not be heard as the answer to content that a hop has judged (law 3).
        self.conclude_judged(turn);
        self.settle(turn);
        let own: &'static Own = match (none, self.upstreams.missed) {
            (NoHop::Busy, _) => &own::HOP_BUSY,
            (NoHop::None, Some(missed)) => missed.reply(),
            (NoHop::None, None) if self.flags.reached => &own::HOP_LOST,
            (NoHop::None, None) => &own::HOP_UNREACHABLE,
        };
        if self.in_content() {
            return self.refuse_content(turn, refusal.unwrap_or(Said::Own(&own::CONTENT_LOST)));
        }
        let greeting = self.owed.head().is_some_and(|head| matches!(head.what, What::Greeting));
        if greeting && refusal.is_none() && none == NoHop::None && self.is_in_anothers_place() {
            turn.out.outputs.push(Output::Reset);
            return self.hang_up(turn, None, SessionEnd::HopLost);
        }
        match refusal {
            Some(refusal) if greeting => {
                self.owed.pop();
                self.refuse_client(turn, refusal, SessionEnd::HopClosed);
            }
            Some(refusal) if !closes(refusal.code().get()) => {
                self.tell(turn, &refusal);
                self.hang_up(turn, Some(Said::Own(own)), SessionEnd::HopLost);
            }
            refusal => self.hang_up(turn, Some(refusal.unwrap_or(Said::Own(own))), SessionEnd::HopLost),
        }
    }

    /// The time for something from a hop is over.
    pub(super) fn hop_too_late(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.upstreams.get(hop).is_some_and(|up| up.stand == Stand::Securing) {
            return self.hop_not_secured_in_time(turn, hop);
        }
        let connecting = self.upstreams.get_mut(hop).filter(|up| up.stand == Stand::Connecting);
        if let Some(up) = connecting {
            up.host.news(HostNews::ConnectTimedOut, turn.now);
            // Counted; lost() must not count it again.
            up.stand = Stand::Ready;
        }
        self.lost(turn, hop, None);
    }

    pub(super) fn host_failed_before_greeting(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        match self.upstreams.get(hop).map(|up| up.stand) {
            Some(Stand::Connecting) => self.host_failed(turn, hop, HostNews::NotConnected),
            Some(Stand::Securing) => self.host_failed(turn, hop, HostNews::NotSecured),
            Some(Stand::Greeting) => self.host_failed(turn, hop, HostNews::NoGreeting),
            _ => {}
        }
    }

    pub(super) fn host_failed(&mut self, turn: &mut Turn<'_>, hop: HopId, news: HostNews) {
        if let Some(up) = self.upstreams.get(hop) {
            up.host.news(news, turn.now);
        }
    }
}
