//! What hops say: each reply given to whom it is for.
//!
//! In:    a hop's octets.
//! Out:   one call per reply, to whoever expects it: the answer that is owed, the envelope being said again, an
//!        attempt, the content.
//! Never: gives a reply to a command that was written after it was read, or believes what nobody asked for (law 1).
//!
//! RFC 5321 3.1 (greeting), 3.8 (421), 4.2 (replies).

use std::sync::Arc;

use super::io::{Event, HopId, Peer, SessionEnd, TraceSide};
use super::owed::{Said, What};
use super::route::HostNews;
use super::upstreams::{Stand, Why};
use super::{Session, Turn, closes};
use crate::dialog::{Expect, Heard};
use crate::smtp::{Extensions, ReplyLimits, ReplyRef};

impl Session {
    /// Frames and takes one reply of a hop; `None`: there is not a whole one.
    pub(super) fn take_reply(&mut self, turn: &mut Turn<'_>, hop: HopId, octets: &[u8]) -> Option<usize> {
        let limits = ReplyLimits { line: self.settings.limits.reply_line, reply: self.settings.limits.reply };
        // During a handshake nothing is said that could be a reply.
        let up = self.upstreams.get_mut(hop).filter(|up| up.stand != Stand::Securing)?;
        match up.dialog.hear(octets, limits) {
            Heard::Partial => {
                // The beginning of an answer to nothing must not become one to what is said next.
                let unasked = up.stand == Stand::Ready && up.dialog.is_quiet();
                if unasked && !octets.is_empty() && !self.streams_to(hop) {
                    turn.out.count(Event::Unasked);
                    self.lost(turn, hop, None);
                }
                None
            }
            Heard::Malformed(_) => {
                turn.out.count(Event::Malformed);
                self.lost_because(turn, hop, Why::Malformed, None);
                None
            }
            Heard::Reply(reply, expect) => {
                let taken = reply.as_bytes().len();
                up.since = turn.now;
                let unasked_follows = up.dialog.is_quiet() && octets.len() > taken;
                if unasked_follows && up.stand == Stand::StartTls {
                    self.reply_injected(turn, hop);
                    return None;
                }
                turn.out.count(Event::Heard(reply.code().class()));
                self.trace(turn, Peer::Upstream(hop), TraceSide::Server, reply.as_bytes());
                self.hop_said(turn, hop, reply, expect);
                if self.is_before_its_turn(hop) {
                    if octets.len() > taken {
                        turn.out.count(Event::Unasked);
                        self.end_passage(turn, SessionEnd::Protocol);
                    }
                    return Some(taken);
                }
                self.upstreams.get(hop)?;
                if unasked_follows && !self.streams_to(hop) {
                    // Said before its command was: an answer to nothing (law 1).
                    turn.out.count(Event::Unasked);
                    self.lost(turn, hop, None);
                    return None;
                }
                let up = self.upstreams.get_mut(hop)?;
                up.dialog.pump(turn.out.to(Peer::Upstream(hop)));
                up.dialog.shrink();
                Some(taken)
            }
        }
    }

    pub(super) fn hop_said(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
        expect: Option<Expect>,
    ) {
        let Some(expect) = expect else {
            return self.spoke_unasked(turn, hop, reply);
        };
        if expect == Expect::Greeting {
            return self.greeted(turn, hop, reply);
        }
        if expect == Expect::Terms {
            return self.terms_answered(turn, hop, reply);
        }
        if let Some(up) = self.upstreams.get_mut(hop)
            && !up.serves
            && !closes(reply.code().get())
        {
            up.serves = true;
            up.host.news(HostNews::Serves, turn.now);
        }
        if closes(reply.code().get()) && !self.is_message(expect) {
            return self.hop_closes(turn, hop, reply, expect);
        }
        match expect {
            // Nobody takes the content or the secret that it waits for now.
            Expect::Nobody if reply.code().is_intermediate() => {
                turn.out.count(Event::Malformed);
                self.lost_because(turn, hop, Why::Malformed, None);
            }
            Expect::Greeting | Expect::Terms | Expect::Nobody => {}
            Expect::Xforward => self.xforward_answered(turn, hop, reply),
            Expect::Hello => self.hello_said_again(turn, hop, reply),
            Expect::Owed(number) => self.answered(turn, number, hop, reply),
            Expect::Replayed if reply.code().is_positive() => {
                if self.awaits_chunks(hop) {
                    self.open_content(turn, hop);
                }
            }
            Expect::Replayed => self.lost_because(turn, hop, Why::Unfit, None),
            Expect::RungMail | Expect::RungRcpt => self.attempt_answered(turn, hop, expect, reply),
            Expect::Go => self.content_may_flow(turn, hop, reply),
            Expect::Part => self.part_answered(turn, hop, reply),
        }
    }

    pub(super) fn spoke_unasked(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if self.streams_to(hop) {
            return self.early_reply(turn, hop, reply);
        }
        turn.out.count(Event::Unasked);
        if closes(reply.code().get()) && self.hello.is_none() && self.owed.is_empty() {
            self.host_failed(turn, hop, HostNews::NoService);
        }
        self.lost(turn, hop, None);
    }

    pub(super) fn greeted(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        let told = up.terms.as_ref().is_some_and(|terms| terms.is_told_first());
        if told && reply.code().is_negative() {
            up.stand = Stand::Ready;
            return self.hop_refuses_client(turn, hop, reply);
        }
        if !reply.code().is_positive() {
            if reply.code().is_transient() {
                up.host.news(HostNews::Refused, turn.now);
            }
            // Not an outage of its own making: lost() must not count it again.
            up.stand = Stand::Ready;
            return match reply.code().is_negative() {
                true => self.lost(turn, hop, Some(Box::new(reply.to_owned()))),
                false => self.lost_because(turn, hop, Why::Malformed, None),
            };
        }
        self.flags.reached = true;
        if up.terms.is_some() {
            self.prepare(turn, hop, reply);
        } else {
            self.prepared(turn, hop, Some(reply));
        }
    }

    pub(super) fn hello_said_again(&mut self, turn: &mut Turn<'_>, hop: HopId, reply: ReplyRef<'_>) {
        if !reply.code().is_positive() {
            let refusal = reply.code().is_negative().then(|| Box::new(reply.to_owned()));
            return self.lost_because(turn, hop, Why::Unfit, refusal);
        }
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        up.stand = Stand::Ready;
        if extended || up.lmtp {
            up.dialog.extensions = Extensions::of(reply);
        }
        self.resume(turn, hop);
    }

    /// A 421 or 521 in answer to something: the hop's word to this client, or an outage.
    pub(super) fn hop_closes(
        &mut self,
        turn: &mut Turn<'_>,
        hop: HopId,
        reply: ReplyRef<'_>,
        expect: Expect,
    ) {
        let to_client = reply.enhanced().is_some_and(|enhanced| enhanced.subject == 7)
            && matches!(expect, Expect::Owed(_))
            && !self.is_trial(hop);
        if to_client {
            let said = Said::Written(Arc::new(reply.to_owned()));
            return self.hang_up(turn, Some(said), SessionEnd::HopClosed);
        }
        self.lost(turn, hop, Some(Box::new(reply.to_owned())));
    }

    pub(super) fn is_message(&mut self, expect: Expect) -> bool {
        matches!(expect, Expect::Owed(number)
            if self.owed.numbered(number).is_some_and(|owed| matches!(owed.what, What::Message(_))))
    }
}
