//! DNS by chance: hosts that come and go, domains that do not exist, answers that are late or never come.
//!
//! **In**: the lookups a session wants. **Out**: what it hears of each.
//! **Never**: answers a lookup whose place a later one has taken (the shell would not either).

use std::sync::Arc;

use gatepost::session::io::Input;
use gatepost::session::route::{Destination, Domain, HopTerms, NotFound};

use super::{Event, Stage};
use crate::script::settings::Hosts;

/// Hosts that domains may have; some are hosts of pools, too.
const HOSTS: [&str; 5] = ["a", "d", "x", "y", "z"];

impl Stage<'_> {
    pub(super) fn looks_up(&mut self, domain: Domain) {
        assert!(!self.client.authenticated, "an authenticated session looks for another hop");
        self.lookups += 1;
        self.looking = true;
        self.note(|| format!("look up {}", domain.name));
        if !self.rng.percent(4) {
            let delay = if self.rng.percent(95) { self.rng.next() % 50 } else { 30_000 };
            self.at(delay, Event::LookedUp(self.lookups, domain));
        }
    }

    pub(super) fn looked_up(&mut self, number: usize, domain: Domain) {
        if number != self.lookups {
            return;
        }
        self.looking = false;
        let found: Result<Arc<dyn Destination>, NotFound> = match self.rng.below(20) {
            0 => Err(NotFound::NoDomain),
            1 => Err(NotFound::NullMx),
            2 => Err(NotFound::Loop),
            3 => Err(NotFound::Unknown),
            _ => {
                // What a domain has now is not what it had before.
                let from = self.rng.below(HOSTS.len());
                let most = HOSTS.len() - from;
                let pool = domain.pool.map(|pool| usize::from(pool.0));
                let terms = pool.map_or_else(HopTerms::default, |pool| self.terms[pool]);
                let hosts = &HOSTS[from..from + 1 + self.rng.below(most)];
                Ok(Arc::new(Hosts::new(terms, domain, hosts)))
            }
        };
        self.note(|| format!("found {found:?}"));
        self.handle(Input::LookedUp(found));
    }
}
