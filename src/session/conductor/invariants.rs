//! What holds of a session after every step, besides what its words show.
//!
//! In:    a session between two steps.
//! Out:   nothing; a panic that names what does not hold.
//! Never: changes anything. Debug builds check after every step, and so do the simulation and the fuzz targets.

use super::super::hop::Hop;
use super::super::owed::{Answer, What};
use super::super::peer::{HopId, Peer};
use super::Conductor;
use crate::dialog::Expect;

impl Conductor {
    /// Asserts it.
    pub fn check(&self) {
        self.check_hops();
        self.check_owed();
        self.check_content();
    }

    /// Every hop that is named is open.
    fn check_hops(&self) {
        let (home, away) = (self.hops.home(), self.hops.away());
        assert!(home.is_none_or(|hop| self.is_open(hop)), "home is closed");
        assert!(away.is_none_or(|hop| self.is_open(hop)), "away is closed");
        assert!(home.is_none() || home != away, "home is away");
        for hop in self.hops.ids() {
            let used =
                home == Some(hop) || away == Some(hop) || self.owed.owes_message(hop) || self.is_tried(hop);
            assert!(used, "{hop:?} is open and nobody's");
        }
    }

    /// Whether a recipient is being tried there, or what was said to it there is being asked about.
    fn is_tried(&self, hop: HopId) -> bool {
        self.owed.iter().any(|owed| match &owed.answer {
            Answer::Trying(attempt) => attempt.is_at(hop),
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
            let Some(open) = self.hops.get(hop) else {
                panic!("{:?} is owed by {hop:?}, which is closed", owed.what);
            };
            if open.is_ready() && !self.delivery.awaits_go(hop) && !matches!(owed.what, What::Greeting) {
                assert!(open.awaits(Expect::Owed(number)), "{hop:?} owes {:?} and was not asked", owed.what);
            }
        }
        self.hops.iter().for_each(|open| self.check_expects(open));
    }

    fn check_expects(&self, open: &Hop) {
        let hop = open.id();
        for expect in open.expects() {
            let Expect::Owed(number) = expect else { continue };
            let owed = self.owed.at(number);
            assert!(
                owed.is_some_and(|owed| matches!(owed.answer, Answer::Hop(by) if by == hop)),
                "{hop:?} was asked for an answer that it does not owe: {owed:?}"
            );
        }
    }

    /// Content is a transaction's, and its hop is there to take it.
    fn check_content(&self) {
        let Some(content) = self.delivery.content() else { return };
        assert!(content.is_stray() || self.delivery.transaction().is_some(), "content without a transaction");
        if let Some(hop) = content.hop() {
            assert!(self.is_open(hop), "content for a hop that is closed");
            assert!(
                self.hops.current() == Some(hop),
                "content for {:?}, which is not current",
                Peer::Upstream(hop)
            );
        }
    }

    fn is_open(&self, hop: HopId) -> bool {
        self.hops.get(hop).is_some()
    }
}
