//! What is known of hosts, kept by what they are called and where they are.
//!
//! In:    names and addresses of hosts, what questions to DNS led to.
//! Out:   the state of each, the same one as long as anybody holds it; its counters; the last good answers.
//! Never: is asked on a worker's way, but for a destination that a client brought: else a session has its hosts' states
//!        in hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::dns::{Found, Question};
use super::health::{AddressState, HopCounts, HostState};
use super::offered::Offers;
use super::target::{Address, TargetId};

/// The states of all hosts, by what they are called and where they are, so that they outlive a refresh of the
/// names and a reload of the configuration. A state nobody holds is forgotten: by and by, so that a worker that comes
/// with a destination of a client's does not look through all of them each time.
#[derive(Debug)]
pub struct Registry {
    base: Instant,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last_id: u64,
    hosts: HashMap<Arc<str>, Weak<HostState>>,
    addresses: HashMap<(Arc<str>, Address), Weak<AddressState>>,
    /// When there are so many, those that nobody holds are thrown out.
    hosts_swept: usize,
    addresses_swept: usize,
    /// By pool and host. A counter that began again would read as a restart: kept unless DNS names hosts without end.
    counts: HashMap<(Arc<str>, Arc<str>), Arc<HopCounts>>,
    /// When each last offered STARTTLS, for longer than anybody holds its state: a domain's hosts are let go with its TTL.
    offered: Offers,
    /// What questions last led to, for a reload while DNS is out of order. Kept for good: the configuration asks them.
    found: HashMap<Question, Vec<Found>>,
}

/// When to look again for what nobody holds: each costs a look or two, however many there are.
fn due(left: usize) -> usize {
    2 * left + 16
}

/// So many hosts are counted, and those in use.
const COUNTS_MAX: usize = 10_000;

impl Registry {
    /// An empty one; times are counted from `base`.
    pub fn new(base: Instant) -> Self {
        Self { base, known: Mutex::default() }
    }

    /// The state of the host of this name.
    pub(super) fn host(&self, name: &Arc<str>) -> Arc<HostState> {
        let mut known = self.lock();
        if let Some(state) = known.hosts.get(name).and_then(Weak::upgrade) {
            return state;
        }
        if known.hosts.len() >= known.hosts_swept {
            known.hosts.retain(|_, state| state.strong_count() > 0);
            known.hosts_swept = due(known.hosts.len());
        }
        let offered = known.offered.of(name, self.base.elapsed());
        let state = Arc::new(HostState::new(offered));
        known.hosts.insert(name.clone(), Arc::downgrade(&state));
        state
    }

    /// The state of the host of this name at this address.
    pub(super) fn address(&self, name: &Arc<str>, address: &Address) -> Arc<AddressState> {
        let mut known = self.lock();
        let key = (name.clone(), address.clone());
        if let Some(state) = known.addresses.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        if known.addresses.len() >= known.addresses_swept {
            known.addresses.retain(|_, state| state.strong_count() > 0);
            known.addresses_swept = due(known.addresses.len());
        }
        known.last_id += 1;
        let state = Arc::new(AddressState::new(TargetId(known.last_id), self.base));
        known.addresses.insert(key, Arc::downgrade(&state));
        state
    }

    /// The counters of the host of this name in this pool.
    pub(super) fn counts(&self, pool: &Arc<str>, host: &Arc<str>) -> Arc<HopCounts> {
        let mut known = self.lock();
        if known.counts.len() >= COUNTS_MAX {
            known.counts.retain(|_, counts| Arc::strong_count(counts) > 1);
        }
        known.counts.entry((pool.clone(), host.clone())).or_default().clone()
    }

    /// What `question` last led to, whoever asked.
    pub(super) fn last_good(&self, question: &Question) -> Vec<Found> {
        self.lock().found.get(question).cloned().unwrap_or_default()
    }

    /// Keeps what `question` leads to now.
    pub(super) fn remember(&self, question: &Question, hosts: &[Found]) {
        self.lock().found.insert(question.clone(), hosts.into());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing below can panic half-way, so a poisoned map is a whole one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_outlive_a_refresh_but_not_their_last_holder() {
        let registry = Registry::new(Instant::now());
        let (name, address): (Arc<str>, _) = ("a:25".into(), Address::Ip(([127, 0, 0, 1], 25).into()));
        let first = registry.address(&name, &address);
        assert_eq!(registry.address(&name, &address).id(), first.id());
        assert_ne!(registry.address(&"b:25".into(), &address).id(), first.id());
        let id = first.id();
        drop(first);
        assert_ne!(registry.address(&name, &address).id(), id, "an identity is never used again");
    }

    #[test]
    fn what_nobody_holds_does_not_pile_up() {
        let registry = Registry::new(Instant::now());
        let held = registry.host(&"held:25".into());
        for port in 0..10_000 {
            let name: Arc<str> = format!("192.0.2.1:{port}").into();
            registry.host(&name);
            registry.address(&name, &Address::Ip(([192, 0, 2, 1], port).into()));
        }
        let known = registry.lock();
        assert!(known.hosts.len() < 64 && known.addresses.len() < 64);
        assert!(known.hosts.values().any(|state| std::ptr::eq(state.as_ptr(), &*held)));
    }
}
