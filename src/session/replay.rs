//! The envelope said again, and every command not answered yet.
//!
//! In:    a hop that is ready to hear it.
//! Out:   MAIL and the recipients answered 250, then what the client still waits for, in its order.
//! Never: goes on with a hop that offers less than the transaction uses, or takes less than the whole envelope.
//!
//! An upstream dialog is a projection of the envelope (law 10).

use smallvec::SmallVec;

use super::io::{HopId, Peer, TraceSide};
use super::owed::{Answer, What};
use super::transaction::Carries;
use super::upstreams::Why;
use super::{Session, Turn};
use crate::dialog::{Expect, Say};
use crate::smtp::Keyword;

impl Session {
    /// The hop is ready: it hears the envelope again, then every command that waits for an answer.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if self.is_trial(hop) {
            return self.attempt_says(turn, hop);
        }
        if !self.fits(hop) {
            return self.lost_because(turn, hop, Why::Unfit, None);
        }
        self.say_envelope(turn, hop);
        if self.awaits_go(hop) {
            return self.open_content(turn, hop);
        }
        let waiting: SmallVec<[u32; 8]> = self
            .owed
            .iter_mut()
            .filter(|(_, owed)| matches!(owed.answer, Answer::Hop(at) if at == hop))
            .map(|(number, _)| number)
            .collect();
        for number in waiting {
            self.utter(turn, number, hop);
        }
    }

    /// Says MAIL and the recipients answered 250 to a hop; every reply must be 2xx.
    pub(super) fn say_envelope(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        let Some(transaction) = self.transaction.take() else { return };
        if transaction.accepted {
            self.say_xforward(turn, hop);
            let carries = self.carries(hop);
            self.say(turn, hop, Expect::Replayed, Say::Mail, |line| transaction.mail.write(carries, line));
            for recipient in &transaction.recipients {
                self.say(turn, hop, Expect::Replayed, Say::Along, |line| recipient.write(carries, line));
            }
        }
        self.transaction = Some(transaction);
    }

    /// What a hop can be told. SIZE the client may have been shown on gatepost's own account.
    pub(super) fn carries(&self, hop: HopId) -> Carries {
        let offers = |keyword| self.upstreams.get(hop).is_some_and(|up| up.dialog.extensions.has(keyword));
        Carries {
            lmtp: self.upstreams.get(hop).is_some_and(|up| up.lmtp),
            size: offers(Keyword::Size) || !self.shown.has(Keyword::Size),
            dsn: offers(Keyword::Dsn),
        }
    }

    /// Whether a hop offers what the transaction has used.
    pub(super) fn fits(&self, hop: HopId) -> bool {
        match (&self.transaction, self.upstreams.get(hop)) {
            (Some(transaction), Some(up)) => transaction.needs.met_by(&up.dialog.extensions),
            _ => true,
        }
    }

    /// Says the command of an owed answer on a hop.
    pub(super) fn utter(&mut self, turn: &mut Turn<'_>, number: u32, hop: HopId) {
        if matches!(self.owed.numbered(number), Some(owed) if matches!(owed.what, What::Mail(_))) {
            self.say_xforward(turn, hop);
        }
        let Some(owed) = self.owed.numbered(number) else { return };
        let Some(up) = self.upstreams.get_mut(hop) else { return };
        up.said(turn.now);
        let carries = Carries {
            lmtp: up.lmtp,
            size: up.dialog.extensions.has(Keyword::Size) || !self.shown.has(Keyword::Size),
            dsn: up.dialog.extensions.has(Keyword::Dsn),
        };
        let (say, what) = (owed.what.say(), &mut owed.what);
        up.dialog.say(turn.out.to(Peer::Upstream(hop)), Expect::Owed(number), say, |line| {
            what.write(carries, line)
        });
        let mut line = Vec::new();
        match what {
            What::Auth(secret) => {
                *secret = None;
                line.extend_from_slice(b"(secret)");
            }
            _ if self.settings.trace => what.write(carries, &mut line),
            _ => {}
        }
        self.trace(turn, Peer::Upstream(hop), TraceSide::Client, &line);
    }

    /// Takes the hop back to the envelope as the client knows it (RSET and the envelope again), before anything
    /// else is said to it. Commands it had not answered for the client are said again.
    pub(super) fn rebuild(&mut self, turn: &mut Turn<'_>, hop: HopId) {
        if let Some(up) = self.upstreams.get_mut(hop) {
            up.dialog.forget();
        }
        for (_, owed) in self.owed.iter_mut() {
            if matches!(owed.answer, Answer::Heard(at, _) if at == hop) {
                owed.answer = Answer::Hop(hop);
            }
        }
        self.reset_hop(turn, hop);
        self.resume(turn, hop);
    }
}
