//! Which hosts have offered STARTTLS, and when last: one that does not any more may be heard through somebody who takes
//! it out of the reply.
//!
//! In:    a host's name, as often as it offers STARTTLS.
//! Out:   whether it has within a day, also of a host that nobody held in between.
//! Never: grows without end: of hosts that nobody holds, those that offered it longest ago are forgotten.
//!
//! RFC 3207 6 (stripping). Not kept over a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// For so long it is held against a host that it offers STARTTLS no more.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// So many hosts are remembered, and those in use.
const MOST: usize = 10_000;

/// What is done with a host that does not offer it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Another is tried: the client relies on TLS.
    NotUsed,
    /// It is spoken to in plain.
    Plain,
}

impl Withdrawn {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::NotUsed, Self::Plain];

    /// Its name as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUsed => "not_used",
            Self::Plain => "plain",
        }
    }
}

/// When a host last offered STARTTLS. Times are from when the registry began.
#[derive(Debug, Default)]
pub struct Offered {
    /// In seconds, and one; 0: never.
    at: AtomicU64,
}

impl Offered {
    /// It does now.
    pub(super) fn note(&self, now: Duration) {
        self.at.fetch_max(now.as_secs() + 1, Relaxed);
    }

    /// Whether it has within a day.
    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        let at = self.at.load(Relaxed);
        at > 0 && now.as_secs() < at + FRESH.as_secs()
    }
}

/// All hosts', by their names.
#[derive(Debug, Default)]
pub(super) struct Offers(HashMap<Arc<str>, Arc<Offered>>);

impl Offers {
    /// That of the host of this name.
    pub(super) fn of(&mut self, name: &Arc<str>, now: Duration) -> Arc<Offered> {
        if self.0.len() >= MOST && !self.0.contains_key(name) {
            self.sweep(now);
        }
        self.0.entry(name.clone()).or_default().clone()
    }

    /// Forgets what nobody holds and does not count any more; where that is too little, the older half of what nobody
    /// holds.
    fn sweep(&mut self, now: Duration) {
        let is_held = |offered: &Arc<Offered>| Arc::strong_count(offered) > 1;
        self.0.retain(|_, offered| is_held(offered) || offered.is_fresh(now));
        if self.0.len() < MOST / 2 {
            return;
        }
        let unheld = self.0.values().filter(|offered| !is_held(offered));
        let mut times: Vec<u64> = unheld.map(|offered| offered.at.load(Relaxed)).collect();
        let middle = times.len() / 2;
        if middle < times.len() {
            let (_, &mut until, _) = times.select_nth_unstable(middle);
            self.0.retain(|_, offered| is_held(offered) || offered.at.load(Relaxed) > until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_offer_counts_for_a_day_whether_or_not_anybody_holds_the_host() {
        let mut offers = Offers::default();
        let name: Arc<str> = "mx.example.net:25".into();
        assert!(!offers.of(&name, Duration::ZERO).is_fresh(Duration::ZERO), "never");
        offers.of(&name, Duration::ZERO).note(Duration::ZERO);
        assert!(offers.of(&name, HOUR).is_fresh(HOUR * 23));
        assert!(!offers.of(&name, HOUR).is_fresh(HOUR * 24 + Duration::from_secs(1)));
        assert!(!offers.of(&"other:25".into(), HOUR).is_fresh(HOUR));
        offers.of(&name, HOUR).note(HOUR * 24);
        offers.of(&name, HOUR).note(HOUR * 2);
        assert!(
            offers.of(&name, HOUR).is_fresh(HOUR * 40),
            "the last one counts, in whatever order they are told"
        );
    }

    #[test]
    fn hosts_do_not_pile_up_and_those_in_use_and_the_latest_are_kept() {
        let mut offers = Offers::default();
        let held = offers.of(&"held:25".into(), Duration::ZERO);
        for number in 0..100_000 {
            let now = Duration::from_secs(number);
            offers.of(&format!("host{number}:25").into(), now).note(now);
            assert!(offers.0.len() <= MOST);
        }
        let now = Duration::from_secs(100_000);
        assert!(offers.of(&"host99999:25".into(), now).is_fresh(now));
        assert!(Arc::ptr_eq(&held, &offers.of(&"held:25".into(), now)));
    }
}
