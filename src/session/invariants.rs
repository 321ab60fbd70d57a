//! What holds of a session after every step, besides what its words show.
//!
//! In:    a session between two steps.
//! Out:   nothing; a panic that names what does not hold.
//! Never: changes anything. Debug builds check after every step, and so do the simulation and the fuzz targets.

use super::Session;
use super::io::{HopId, Peer};
use super::owed::{Answer, What};
use super::upstreams::{Stand, Upstream};
use crate::dialog::Expect;

impl Session {
    /// Asserts it.
    pub fn check(&self) {
        self.check_deadline();
        self.check_hops();
        self.check_owed();
        self.check_content();
    }

    fn check_deadline(&self) {
        assert!(
            self.is_over() || self.deadline().is_some(),
            "a session that is not over waits without a deadline"
        );
    }

    /// Every hop that is named is open.
    fn check_hops(&self) {
        let (home, away) = (self.upstreams.home(), self.upstreams.away());
        assert!(home.is_none_or(|hop| self.is_open(hop)), "home is closed");
        assert!(away.is_none_or(|hop| self.is_open(hop)), "away is closed");
        assert!(home.is_none() || home != away, "home is away");
        for (hop, _) in self.upstreams.iter() {
            let used = home == Some(hop) || away == Some(hop) || self.owes_message(hop) || self.is_tried(hop);
            assert!(used, "{hop:?} is open and nobody's");
        }
    }

    /// Whether a recipient is being tried there, or what was said to it there is being asked about.
    fn is_tried(&self, hop: HopId) -> bool {
        self.owed.iter().any(|owed| match &owed.answer {
            Answer::Trying(ladder) => ladder.is_at(hop),
            Answer::Asked(inquiry) => inquiry.names(hop),
            _ => false,
        })
    }

    /// Whoever owes an answer was asked for it, and whoever was asked owes it.
    fn check_owed(&self) {
        let first = self.owed.head_number();
        for (at, owed) in self.owed.iter().enumerate() {
            let number = first.wrapping_add(at as u32);
            let Answer::Hop(hop) = owed.answer else { continue };
            let Some(up) = self.upstreams.get(hop) else {
                panic!("{:?} is owed by {hop:?}, which is closed", owed.what);
            };
            if up.stand == Stand::Ready && !self.awaits_go(hop) && !matches!(owed.what, What::Greeting) {
                assert!(
                    up.dialog.awaits(Expect::Owed(number)),
                    "{hop:?} owes {:?} and was not asked",
                    owed.what
                );
            }
        }
        for (hop, up) in self.upstreams.iter() {
            self.check_expects(hop, up);
        }
    }

    fn check_expects(&self, hop: HopId, up: &Upstream) {
        for expect in up.dialog.expects() {
            let Expect::Owed(number) = expect else { continue };
            let at = number.wrapping_sub(self.owed.head_number()) as usize;
            let owed = self.owed.iter().nth(at);
            assert!(
                owed.is_some_and(|owed| matches!(owed.answer, Answer::Hop(by) if by == hop)),
                "{hop:?} was asked for an answer that it does not owe: {owed:?}"
            );
        }
    }

    /// Content is a transaction's, and its hop is there to take it.
    fn check_content(&self) {
        let Some(content) = &self.content else { return };
        assert!(content.stray || self.transaction.is_some(), "content without a transaction");
        if let Some(hop) = content.hop() {
            assert!(self.is_open(hop), "content for a hop that is closed");
            assert!(
                self.upstreams.current() == Some(hop),
                "content for {:?}, which is not current",
                Peer::Upstream(hop)
            );
        }
    }

    fn is_open(&self, hop: HopId) -> bool {
        self.upstreams.get(hop).is_some()
    }
}
