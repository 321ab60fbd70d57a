//! Deadlines: what is waited for now, and until when.
//!
//! In:    what the machines wait for, and when each began to.
//! Out:   the next deadline, and which wait it ends; waits that are over, ended.
//! Never: reads a clock, or leaves a live session without a deadline, whatever it is doing.
//!
//! RFC 5321 4.5.3.2.

use std::time::{Duration, Instant};

use super::super::client::Phase;
use super::super::events::{Event, Relief, SessionEnd};
use super::super::hop::Hop;
use super::super::owed::{Answer, What};
use super::super::peer::{HOPS, HopId};
use super::super::said::Said;
use super::super::turn::Turn;
use super::Conductor;
use crate::smtp::own;

/// How long a hop is given to answer QUIT while the client waits for its 221.
const QUIT: Duration = Duration::from_secs(2);

/// What a deadline ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// The client's next command.
    Command,
    /// The TLS handshake with the client.
    Handshake,
    /// The time to greet.
    Greeting,
    /// The next octets of content.
    Content,
    /// A hop that takes the content: the client waits to go on with it.
    Go,
    /// A hop that takes a message which is given back.
    Poured,
    /// Nothing: a hop that waits for a message is to hear that we live.
    Alive(HopId),
    /// All the client waits for on the command at the head.
    Answer,
    /// The ladder at the head.
    Attempts,
    /// A callout's answer.
    Callout,
    /// 221.
    Quit,
    /// Something from this hop.
    Hop(HopId),
}

/// The wait that ends first, of those that are offered.
#[derive(Default)]
struct Soonest(Option<(Wait, Instant)>);

impl Soonest {
    fn consider(&mut self, wait: Wait, until: Instant) {
        if self.0.is_none_or(|(_, sooner)| until < sooner) {
            self.0 = Some((wait, until));
        }
    }
}

impl Conductor {
    /// Until when something is waited for, at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_wait().map(|(_, until)| until)
    }

    fn next_wait(&self) -> Option<(Wait, Instant)> {
        let mut soonest = Soonest::default();
        let timeouts = &self.settings.timeouts;
        match self.client.phase() {
            Phase::Over => {}
            Phase::Securing | Phase::ClientHello => {
                soonest.consider(Wait::Handshake, self.client.silent_until(timeouts.tls));
            }
            Phase::Open | Phase::Unspeakable | Phase::OnlyQuit => self.client_waits(&mut soonest),
        }
        if self.delivery.is_kept()
            && let Some(hop) = self.hops.current()
            && let Some(since) = self.hops.get(hop).and_then(Hop::quiet_since)
        {
            soonest.consider(Wait::Alive(hop), since + self.settings.keeping.keepalive);
        }
        for open in self.hops.iter() {
            let owes = self.owed.owes_message(open.id());
            if let Some(until) = open.deadline(timeouts, owes, self.client.is_authenticated()) {
                soonest.consider(Wait::Hop(open.id()), until);
            }
        }
        soonest.0
    }

    /// What is waited for with the client.
    fn client_waits(&self, soonest: &mut Soonest) {
        let timeouts = &self.settings.timeouts;
        let active_at = self.client.active_at();
        if self.client.is_greeting_delayed() {
            soonest.consider(Wait::Greeting, active_at + self.door().greeting_delay);
        }
        let takes_content = self.delivery.takes_content(&self.hops);
        if takes_content {
            soonest.consider(Wait::Content, active_at + timeouts.content);
        }
        if self.delivery.takes_poured(&self.hops) {
            soonest.consider(Wait::Poured, active_at + timeouts.content);
        }
        let answer = self.owed.since() + timeouts.answer;
        match self.owed.head().map(|head| (&head.what, &head.answer)) {
            // The hop's own patience, which is never shortened.
            Some((What::Message(_), Answer::Hop(_))) => {}
            Some((what, Answer::Asked(inquiry))) => {
                inquiry.deadline().into_iter().for_each(|until| soonest.consider(Wait::Callout, until));
                if !matches!(what, What::Message(_) | What::Kept) {
                    soonest.consider(Wait::Answer, answer);
                }
            }
            Some((What::Quit, _)) => soonest.consider(Wait::Quit, self.owed.since() + QUIT),
            Some((_, Answer::Trying(attempt))) => {
                soonest.consider(Wait::Attempts, attempt.until());
                soonest.consider(Wait::Answer, answer);
            }
            Some(_) => soonest.consider(Wait::Answer, answer),
            None if takes_content || self.delivery.takes_poured(&self.hops) => {}
            None if self.delivery.in_content() => soonest.consider(Wait::Go, active_at + timeouts.answer),
            None => soonest.consider(Wait::Command, self.client.silent_until(timeouts.command)),
        }
    }

    /// Time has passed: ends every wait that is over.
    pub(super) fn deadline_passed(&mut self, turn: &mut Turn<'_>, stalled: bool) {
        // Each round ends one wait; there are only so many.
        for _ in 0..=2 * HOPS {
            match self.next_wait() {
                Some((wait, until)) if until <= turn.now => self.waited_enough(turn, wait, stalled),
                _ => return,
            }
        }
    }

    fn waited_enough(&mut self, turn: &mut Turn<'_>, wait: Wait, stalled: bool) {
        match wait {
            Wait::Command if self.may_be_silent(turn, self.settings.timeouts.command) => {}
            Wait::Handshake if self.may_be_silent(turn, self.settings.timeouts.tls) => {}
            Wait::Command => self.hang_up(turn, Some(Said::Own(&own::IDLE)), SessionEnd::Idle),
            Wait::Content => {
                let streams = |hop: &HopId| stalled && self.delivery.streams_to(*hop);
                match self.hops.current().filter(streams) {
                    Some(hop) => {
                        self.client.was_active(turn.now);
                        self.lost(turn, hop, None);
                    }
                    None => self.hang_up(turn, Some(Said::Own(&own::IDLE)), SessionEnd::Idle),
                }
            }
            Wait::Go => self.content_waited_enough(turn),
            Wait::Poured => {
                self.client.was_active(turn.now);
                match self.hops.current().filter(|_| stalled) {
                    Some(hop) => self.lost(turn, hop, None),
                    None => self.content_waited_enough(turn),
                }
            }
            Wait::Alive(hop) => {
                if let Some(open) = self.hops.get_mut(hop) {
                    open.say_noop(turn);
                }
            }
            Wait::Handshake => self.handshake_too_late(turn),
            Wait::Greeting => self.waited_to_greet(turn),
            Wait::Answer => self.answer_too_late(turn),
            Wait::Attempts => self.attempts_timed_out(turn),
            Wait::Callout => self.callout_timed_out(turn),
            Wait::Quit => {
                if let Some(hop) = self.owed.answer_head(Said::Own(&own::BYE)) {
                    self.drop_hop(turn, hop);
                }
                self.settle(turn);
            }
            Wait::Hop(hop) => self.hop_too_late(turn, hop),
        }
    }

    /// Whether the client may go on to be silent, which it may be for `whole`: under stress only one that has said MAIL.
    fn may_be_silent(&mut self, turn: &mut Turn<'_>, whole: Duration) -> bool {
        if turn.now >= self.client.active_at() + whole {
            return false;
        }
        if self.is_stressed() {
            turn.count(Event::Relieved(Relief::ClientEnded));
            return false;
        }
        self.client.was_looked_at(turn.now, whole);
        true
    }

    /// Whether sessions, or dialogs of the session's pool, are running out.
    pub(super) fn is_stressed(&self) -> bool {
        self.settings.limiter.is_stressed() || self.settings.next_hops.is_stressed(self.hops.pool())
    }

    /// The client has waited long enough for the answer at the head.
    fn answer_too_late(&mut self, turn: &mut Turn<'_>) {
        match self.owed.head().map(|head| (&head.what, &head.answer)) {
            Some((What::Greeting, _)) => {
                let said = Said::Own(&own::ANSWER_TIMEOUT_GREETING);
                self.hang_up(turn, Some(said), SessionEnd::HopLost);
            }
            Some((_, Answer::Trying(_))) => self.attempts_timed_out(turn),
            Some((_, Answer::Asked(_))) => {
                self.refuse_inquiry(turn, &own::ANSWER_TIMEOUT);
                self.settle(turn);
            }
            _ => {
                if let Some(hop) = self.owed.answer_head(Said::Own(&own::ANSWER_TIMEOUT)) {
                    // Its reply may still come and must not be taken for another's.
                    self.lost(turn, hop, None);
                }
                self.settle(turn);
            }
        }
    }
}
