//! Stress: whether a bound is nearly used up, so that what is left must go round.
//!
//! In:    how much of it is used, whenever somebody asks or takes some of it.
//! Out:   whether there is stress; a line of the log when it begins and when it is over, once a minute at most.
//! Never: waits or locks where nothing changes, or flaps: it is over at less than it began with.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::log::Seldom;

/// Per cent of a bound at which stress begins, and at which it is over.
const BEGINS: u128 = 80;
const OVER: u128 = 60;

/// Whether one bound is under stress.
#[derive(Debug)]
pub struct Stress {
    /// The bound, as the configuration calls it.
    bound: Box<str>,
    stressed: AtomicBool,
    began: Seldom,
    over: Seldom,
}

impl Stress {
    /// None yet, with the bound that the configuration calls so.
    pub fn new(bound: impl Into<Box<str>>) -> Self {
        let (began, over) = (Seldom::new(), Seldom::new());
        Self { bound: bound.into(), stressed: AtomicBool::new(false), began, over }
    }

    /// Whether there is stress now that so much of `most` is used.
    pub fn at(&self, used: usize, most: usize) -> bool {
        let stressed = self.stressed.load(Relaxed);
        let per_cent = |share: u128| most as u128 * share;
        let used_up = used as u128 * 100;
        let now = most > 0 && if stressed { used_up > per_cent(OVER) } else { used_up >= per_cent(BEGINS) };
        if now != stressed && self.stressed.swap(now, Relaxed) != now {
            self.tell(now, used, most);
        }
        now
    }

    fn tell(&self, begins: bool, used: usize, most: usize) {
        let bound = &*self.bound;
        if begins && let Some(more) = self.began.is_due() {
            tracing::warn!(
                bound,
                used,
                most,
                more,
                "stress: clients that have not said MAIL may be silent for 10 s"
            );
        }
        if !begins && let Some(more) = self.over.is_due() {
            tracing::info!(bound, used, most, more, "stress: over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_80_per_cent_and_is_over_at_60() {
        let stress = Stress::new("limits.sessions");
        let walk = [(0, false), (71, false), (72, true), (90, true), (71, true), (55, true), (54, false)];
        for (used, stressed) in walk.into_iter().chain(walk) {
            assert_eq!(stress.at(used, 90), stressed, "{used}");
        }
    }

    #[test]
    fn small_bounds_and_none() {
        let one = Stress::new("upstreams.main.sessions");
        assert!(!one.at(0, 1) && one.at(1, 1) && !one.at(0, 1));
        // Whoever lowers a bound below what is used has stress; whoever takes it away has none.
        assert!(one.at(5, 1) && !one.at(5, 0) && !one.at(5, 0));
    }

    #[test]
    fn no_number_is_too_large() {
        let stress = Stress::new("limits.sessions");
        assert!(!stress.at(usize::MAX / 2, usize::MAX) && stress.at(usize::MAX, usize::MAX));
    }
}
