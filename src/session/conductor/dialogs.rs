//! The dialogs with hops: opened, told the envelope again, let go, lost and replaced.
//!
//! In:    a command for a hop; a dialog that is ready, that broke, that nobody could believe, or that does not fit.
//! Out:   the command said as soon as there is a hop to hear it; the next host of its pool with all that waits for an
//!        answer; or, with none left, the client's last word.
//! Never: goes on with a hop that offers less than the transaction uses, or takes less than the whole envelope; replaces
//!        one that content has left for, or that the client authenticated to; leaves a closed one named.
//!
//! An upstream dialog is a projection of the envelope (law 10). RFC 1047: after the end-of-data the message's fate is
//! not known, and the client sends it again.

use super::super::events::{Event, SessionEnd};
use super::super::hop::{NoHop, Tried};
use super::super::io::Output;
use super::super::notes::Told;
use super::super::owed::{Answer, What};
use super::super::peer::HopId;
use super::super::peer::Why;
use super::super::route::{Place, PoolId, PoolKind};
use super::super::said::Said;
use super::super::turn::Turn;
use super::Conductor;
use crate::dialog::Expect;
use crate::smtp::{Own, Reply, own};

/// What the end of a dialog is to the client's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bond {
    /// Another hop may take its place.
    None,
    /// None may, once what is under way is over.
    Late,
    /// The session ends with it.
    Now,
}

impl Conductor {
    /// Begins to open a dialog with the next untried host of a place.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, place: Place, tried: Tried) -> Result<HopId, NoHop> {
        self.hops.open(turn, &self.settings, &self.client, place, tried)
    }

    /// The current hop, opening one of where the transaction is if there is none.
    pub(super) fn current_or_open(&mut self, turn: &mut Turn<'_>) -> Result<HopId, NoHop> {
        self.hops.current_or_open(turn, &self.settings, &self.client, self.delivery.transaction())
    }

    /// Where the current dialog is, or will be when it is opened.
    pub(super) fn current_place(&self) -> Place {
        self.hops.current_place(self.delivery.transaction())
    }

    /// Owes the hop's reply to a command, and says it as soon as there is a hop to hear it.
    pub(super) fn forward(&mut self, turn: &mut Turn<'_>, what: What) {
        // It may have waited for callouts while another command found out what the hop has heard.
        if self.client.hello().is_none() && what.needs_hello() && !self.goes_on_without_hello(turn) {
            return self.owe(turn, what, Said::Own(&own::NEED_HELLO));
        }
        match self.current_or_open(turn) {
            Ok(hop) => {
                let number = self.owed.push(turn.now, what, Answer::Hop(hop));
                if self.hops.is_ready(hop) {
                    if self.fits(hop) {
                        self.utter(turn, number, hop);
                    } else {
                        self.lost_because(turn, hop, Why::Unfit, None);
                    }
                }
            }
            Err(none) => {
                self.owed.push(turn.now, what, Answer::Unsaid);
                self.no_hop(turn, none);
            }
        }
    }

    /// Owes an answer that will be asked for in another pool when all before it are given.
    pub(super) fn hold(&mut self, turn: &mut Turn<'_>, what: What, pool: PoolId) {
        self.owed.push(turn.now, what, Answer::Held(pool));
        self.settle(turn);
    }

    /// Says the command of an owed answer on a hop.
    pub(super) fn utter(&mut self, turn: &mut Turn<'_>, number: u32, hop: HopId) {
        let Some(open) = self.hops.get_mut(hop) else { return };
        if matches!(self.owed.at(number), Some(entry) if matches!(entry.what, What::Mail(_))) {
            open.say_xforward(turn, &self.client);
        }
        if let Some(what) = self.owed.command_mut(number) {
            let carries = open.carries(self.client.shown(), self.settings.limits.command_line);
            open.say_owed(turn, number, what, carries);
        }
    }

    /// The hop is ready: it hears the envelope again, then every command that waits for an answer.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.is_trial(hop) {
            return self.attempt_says(turn, hop);
        }
        // Home may have been dialled anew while the transaction is away.
        let is_current = self.hops.current() == Some(hop);
        if is_current && !self.fits(hop) {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        if is_current {
            self.hops.takes_over();
        }
        let Some(open) = self.hops.get_mut(hop) else { return };
        let envelope = self.delivery.transaction().filter(|transaction| is_current && transaction.accepted);
        if let Some(transaction) = envelope {
            let carries = open.carries(self.client.shown(), self.settings.limits.command_line);
            open.say_envelope(turn, &self.client, transaction, carries);
        }
        if self.delivery.awaits_go(hop) {
            return self.open_content(turn, hop);
        }
        for number in self.owed.of(hop) {
            self.utter(turn, number, hop);
        }
    }

    /// Takes the hop back to the envelope as the client knows it (RSET and the envelope again), before anything
    /// else is said to it. Commands it had not answered for the client are said again.
    pub(super) fn rebuild(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(open) = self.hops.get_mut(hop) else { return };
        open.forget_said(|_| false);
        open.reset(turn);
        self.owed.hear_again(hop);
        self.resume(turn, hop);
    }

    /// RSET on our own account.
    pub(super) fn reset_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(open) = self.hops.get_mut(hop) {
            open.reset(turn);
        }
    }

    /// The same, if it is inside a transaction, or will be if it takes what it was told.
    pub(super) fn reset_if_in_mail(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(open) = self.hops.get_mut(hop).filter(|open| open.may_be_in_mail()) {
            open.reset(turn);
        }
    }

    /// Whether a hop offers what the transaction has used.
    pub(super) fn fits(&self, hop: HopId) -> bool {
        let needs = self.delivery.transaction().map(|transaction| &transaction.needs);
        self.hops.get(hop).is_none_or(|open| open.fits(needs))
    }

    /// Whether the session's hop is not known before RCPT.
    pub(super) fn is_by_recipient(&self) -> bool {
        matches!(self.settings.next_hops.kind(self.hops.pool()), PoolKind::ByRecipient(_))
    }

    /// Whether the client believes that it speaks with the host it connected to, and that has not said a word: where
    /// nobody listens, gatepost does not say that it does.
    fn is_in_anothers_place(&self) -> bool {
        let original = self.settings.next_hops.kind(self.hops.pool()) == PoolKind::Original;
        original && self.client.destination().is_some() && !self.hops.is_reached()
    }

    /// A hop is let go: says QUIT and closes, without waiting for the 221. One in the midst of something is closed bare.
    pub(super) fn dismiss(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        self.release(turn, hop, &own::NEED_MAIL);
        let polite = self.hops.get_mut(hop).is_some_and(|open| open.quit(turn));
        self.hops.close(turn, hop, polite);
    }

    /// Lets every hop go but those that owe the reply to a message; of these that alone is waited for.
    pub(super) fn dismiss_all(&mut self, turn: &mut Turn<'_>) {
        for hop in self.hops.ids() {
            if !self.owed.owes_message(hop) {
                self.dismiss(turn, hop);
            } else if let Some(open) = self.hops.get_mut(hop) {
                let owed = |expect| matches!(expect, Expect::Owed(number) if self.owed.at(number).is_some());
                open.forget_said(owed);
            }
        }
    }

    /// Closes a hop's dialog at once, because what it was told and what the client was told differ.
    pub(super) fn drop_hop(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let bound = self.bond(hop) != Bond::None;
        self.release(turn, hop, &own::ATTEMPTS_FAILED);
        self.hops.close(turn, hop, false);
        self.bound_hop_lost |= bound;
    }

    /// Nobody waits for a hop any more: what it owes is answered in its place, and what rests on it is void.
    pub(super) fn release(&mut self, turn: &mut Turn<'_>, hop: HopId, recipients: &'static Own) {
        self.ask_again(turn, hop);
        self.owed.void(hop, recipients);
        self.delivery.hop_closed(hop);
    }

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
        let current = self.hops.current() == Some(hop);
        let bond = self.bond(hop);
        self.note_no_answer(hop, refusal.as_deref());
        if why == Why::Broken
            && let Some(open) = self.hops.get(hop)
        {
            open.broke(turn);
        }
        let Some(closed) = self.hops.close(turn, hop, false) else { return };
        // What a hop on a ladder says is the ladder's.
        if let Some(refusal) = refusal.filter(|_| !trial || self.is_route()) {
            self.hops.refused(hop, closed.name().clone(), *refusal, !closed.is_told());
        }
        if closed.is_ready() && !trial {
            self.hops.was_lost();
        }
        // Its host is held until another is picked: an address that nobody holds is forgotten, and would be new.
        let (place, tried) = (closed.place().clone(), closed.tried(if trial { Why::Broken } else { why }));
        self.settle_loss(turn, hop, why, bond);
        if current {
            if self.needs_hop(hop) {
                self.replace(turn, hop, place, tried);
            }
            if attempted {
                self.attempt_gone(turn);
            }
        } else {
            // Home may owe answers from before the transaction went away, although a recipient is tried there now.
            self.owed.void(hop, &own::OTHER_HOP);
            if trial {
                self.attempt_lost(turn, place, tried, why);
            }
        }
        self.settle(turn);
    }

    /// Settles what the loss of a hop decides by itself, whoever it was.
    fn settle_loss(&mut self, turn: &mut Turn<'_>, hop: HopId, why: Why, bond: Bond) {
        let content: &'static Own =
            if why == Why::Malformed { &own::HOP_PROTOCOL } else { &own::CONTENT_LOST };
        self.owed.lose(hop, content);
        self.delivery.hop_lost(hop, content);
        // What goes on goes on; no further command is taken.
        self.bound_hop_lost |= bond == Bond::Late;
        if bond == Bond::Now && !self.client.is_over() {
            self.conclude_judged(turn);
            self.settle(turn);
            self.hang_up(turn, Some(Said::Own(&own::HOP_LOST)), SessionEnd::HopLost);
        }
    }

    /// Whether no other hop may take this one's place: the client authenticated to it, tries to, or tried in vain. A
    /// brake against the guessing of passwords must not be worth a fresh dialog.
    fn bond(&self, hop: HopId) -> Bond {
        if self.client.is_authenticated() || self.owed.awaits_auth(hop) {
            Bond::Now
        } else if self.hops.home() != Some(hop) {
            Bond::None
        } else if self.client.is_in_auth() {
            Bond::Now
        } else if self.client.was_refused_auth() {
            Bond::Late
        } else {
            Bond::None
        }
    }

    /// Whether anybody waits for a hop in this one's place.
    fn needs_hop(&self, hop: HopId) -> bool {
        !self.client.is_over() && (self.delivery.awaits_go(hop) || self.owed.needs(hop))
    }

    /// Puts the next host in a lost one's place.
    fn replace(&mut self, turn: &mut Turn<'_>, lost: HopId, place: Place, tried: Tried) {
        match self.open(turn, place, tried) {
            Ok(hop) => {
                turn.count(Event::FailedOver);
                self.hops.take_current(hop);
                self.owed.replace(lost, hop);
                self.delivery.moves(lost, hop);
            }
            Err(none) => self.no_hop(turn, none),
        }
    }

    /// No host is left: the client hears what sums up the refusals that hops spoke, or that there is none, and is closed.
    pub(super) fn no_hop(&mut self, turn: &mut Turn<'_>, none: NoHop) {
        let refusal = self.hops.take_refusal();
        // It must not be heard as the answer to content that a hop has judged (law 3).
        self.conclude_judged(turn);
        self.settle(turn);
        let own: &'static Own = match (none, self.hops.what_was_missed()) {
            (NoHop::Busy, _) => &own::HOP_BUSY,
            (NoHop::None, Some(missed)) => missed.reply(),
            (NoHop::None, None) if self.hops.is_reached() => &own::HOP_LOST,
            (NoHop::None, None) => &own::HOP_UNREACHABLE,
        };
        if self.delivery.in_content() {
            let refusal = refusal.filter(|refusal| matches!(refusal, Said::Heard(..)));
            return self.refuse_content(turn, refusal.unwrap_or(Said::Own(&own::CONTENT_LOST)));
        }
        let greeting = self.owed.head().is_some_and(|head| matches!(head.what, What::Greeting));
        if greeting && refusal.is_none() && none == NoHop::None && self.is_in_anothers_place() {
            turn.wish(Output::Reset);
            return self.hang_up(turn, None, SessionEnd::HopLost);
        }
        match refusal {
            Some(refusal) if greeting => {
                self.owed.pop();
                self.refuse_client(turn, refusal, SessionEnd::HopClosed);
            }
            Some(refusal) if !refusal.code().closes() => {
                // It must not be heard as the answer to content that another hop has (law 3).
                if !self.owed.awaits_message() {
                    self.client.tell(turn, &refusal);
                    self.hop_refused(turn, Told::Said(&refusal));
                }
                self.hang_up(turn, Some(Said::Own(own)), SessionEnd::HopLost);
            }
            refusal => self.hang_up(turn, Some(refusal.unwrap_or(Said::Own(own))), SessionEnd::HopLost),
        }
    }

    /// The session's transactions go to another pool from now on.
    pub(super) fn route_session(&mut self, turn: &mut Turn<'_>, pool: PoolId) {
        if pool == self.hops.pool() {
            return;
        }
        self.drop_transaction(turn, None, None);
        self.hops.move_to(pool);
        self.dismiss_home(turn);
    }

    /// The dialog with the listener's pool ends.
    pub(super) fn dismiss_home(&mut self, turn: &mut Turn<'_>) {
        if let Some(home) = self.hops.home() {
            self.dismiss(turn, home);
        }
    }

    /// The next transaction starts at the listener's pool again.
    pub(super) fn leave_away(&mut self, turn: &mut Turn<'_>) {
        if let Some(away) = self.hops.come_home().filter(|&away| !self.owed.owes_message(away)) {
            self.dismiss(turn, away);
        }
    }

    /// The transaction moves to this hop; the one it leaves hears RSET, and QUIT if it is not the listener's.
    pub(super) fn adopt(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let left = self.hops.current().filter(|&left| left != hop);
        self.hops.go_to(hop);
        let Some(left) = left else { return };
        if self.hops.home() == Some(left) {
            self.reset_if_in_mail(turn, left);
        } else {
            self.owed.void(left, &own::OTHER_HOP);
            self.dismiss(turn, left);
        }
    }

    /// The client came under TLS: it does not rely on a hop that is in plain because TLS failed.
    pub(super) fn leave_plain_hops(&mut self, turn: &mut Turn<'_>) {
        for hop in self.hops.ids() {
            if self.hops.get(hop).is_some_and(|open| open.fell_back() || open.is_unannounced()) {
                self.dismiss(turn, hop);
            }
        }
    }
}
