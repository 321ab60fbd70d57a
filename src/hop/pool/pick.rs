//! Which target of a pool is next.
//!
//! In:    at each attempt, what this transaction has tried; a destination, where the client brings it.
//! Out:   a [`Pick`]: the target to dial with the lease of its dialog, or why there is none.
//! Never: waits on a worker's way, or locks, but to find the state of a destination that a client brings: a pick reads
//!        one snapshot and some atomics. It remembers no session; what was tried is the caller's to say.
//!
//! Order: a target that just came back gets its share little by little, and one that is ejected comes after all that
//! are not ("all down" means "try anyway"). Within that by preference (RFC 5321 5.1, RFC 2782); hosts written down
//! under `first` have the one of their place. Of one preference: `first` draws by weight, `round_robin` goes in turn by
//! weight, `least_sessions` takes the fewest open dialogs for its weight. The addresses of one name follow each other
//! under `first` and take turns otherwise. Dialogs are bounded per host, not per address: the bound stands
//! for the host's own process limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use smallvec::SmallVec;

use super::{Pool, Snapshot};
use crate::config::types::Balance;
use crate::hop::balance::{by_weight, in_turn, least_open, random};
use crate::hop::health::Lease;
use crate::hop::registry::Registry;
use crate::hop::target::{Address, Inner, Target, TargetId};

/// The next attempt.
#[derive(Debug)]
pub enum Pick {
    /// Dial this one.
    Host(Picked),
    /// What is left to try has as many dialogs as `sessions` allows. No failure of the host: `421 4.3.2`.
    Busy,
    /// Nothing is left to try.
    None,
}

/// A target to dial.
#[derive(Debug)]
pub struct Picked {
    /// The dialog, counted until this is dropped; names the target and hears how it went.
    pub lease: Lease,
    /// Whether another target that could be had now remains after it: then this one's reply is waited for shorter.
    pub more: bool,
}

impl Picked {
    /// Where to dial.
    pub fn target(&self) -> &Target {
        self.lease.target()
    }
}

impl Pool {
    /// The next target for a transaction that has tried `tried`, with its lease.
    pub fn next(&self, tried: &[TargetId], now: Instant) -> Pick {
        let snapshot = self.now.load();
        let targets = &snapshot.targets;
        let mut order: SmallVec<[u16; 16]> = SmallVec::new();
        self.order(&snapshot, tried.is_empty(), &mut order);
        let untried: SmallVec<[(&Target, Ready); 8]> = order
            .iter()
            .map(|&index| &targets[usize::from(index)])
            .filter(|target| !tried.contains(&target.id()))
            .map(|target| (target, ready_for(target, now)))
            .collect();
        if untried.is_empty() {
            return Pick::None;
        }
        // One that is still gathering strength steps back now and then, one that is ejected always.
        let picked = [Ready::Yes, Ready::SteppingBack, Ready::No].into_iter().find_map(|ready| {
            let mut equals = untried.iter().filter(|(_, at)| *at == ready);
            equals.find_map(|(target, _)| Lease::take(target, self.sessions, now))
        });
        let Some(lease) = picked else { return Pick::Busy };
        let id = lease.target().id();
        let free = |target: &Target| self.sessions == 0 || target.0.host.open() < self.sessions;
        let more = untried.iter().any(|(target, _)| target.id() != id && free(target));
        Pick::Host(Picked { lease, more })
    }

    /// The same for a pool that has no hosts of its own but whatever `destination` a client has. There is no other
    /// to be tried in its place, so that having failed does not count against it.
    pub fn next_at(
        &self,
        destination: SocketAddr,
        tried: &[TargetId],
        registry: &Registry,
        now: Instant,
    ) -> Pick {
        let name: Arc<str> = destination.to_string().into();
        let address = Address::Ip(destination);
        let target = Target(Arc::new(Inner {
            host_index: 0,
            alone: true,
            preference: 0,
            weight: 1,
            host: registry.host(&name),
            state: registry.address(&name, &address),
            counts: self.together.clone().unwrap_or_default(),
            terms: self.terms,
            tls: self.tls.as_ref().map(|tls| {
                let name = tls.name(None, Some(&destination.ip().to_string()));
                (tls.clone(), name)
            }),
            address,
            name,
        }));
        if tried.contains(&target.id()) {
            return Pick::None;
        }
        let lease = Lease::take(&target, self.sessions, now);
        lease.map_or(Pick::Busy, |lease| Pick::Host(Picked { lease, more: false }))
    }

    /// Indices of the targets by preference and balance, health aside.
    fn order(&self, snapshot: &Snapshot, first_attempt: bool, order: &mut SmallVec<[u16; 16]>) {
        // Only a first attempt moves the turn: a failover must not skip the next client's host.
        let turn = match (self.balance, first_attempt) {
            (Balance::First, _) => 0,
            _ if snapshot.targets.len() <= 1 => 0,
            (_, true) => self.turn.fetch_add(1, Relaxed),
            (_, false) => self.turn.load(Relaxed),
        };
        for rank in &snapshot.ranks {
            let targets = &snapshot.targets[rank.targets.clone()];
            let from = rank.targets.start;
            let place = |index: usize| (from + index) as u16;
            match self.balance {
                _ if targets.len() == 1 => order.push(place(0)),
                Balance::First => by_weight(targets, &mut |index| order.push(place(index))),
                Balance::RoundRobin => {
                    in_turn(targets, &rank.schedule, turn, &mut |index| order.push(place(index)));
                }
                Balance::LeastSessions => {
                    least_open(targets, turn, &mut |index| order.push(place(index)));
                }
            }
        }
    }
}

/// Whether a target is to be tried before others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Yes,
    SteppingBack,
    No,
}

fn ready_for(target: &Target, now: Instant) -> Ready {
    let state = &target.0.state;
    match state.is_ready(now) {
        false => Ready::No,
        true if state.share(now).is_some_and(|share| random() % 100 >= u64::from(share)) => {
            Ready::SteppingBack
        }
        true => Ready::Yes,
    }
}
