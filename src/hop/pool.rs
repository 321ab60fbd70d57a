//! A pool: the hosts of one upstream, and where they are now.
//!
//! In:    the upstream's hosts, as written or as DNS has them; their addresses, whenever the resolver has new ones.
//! Out:   its targets, the most preferred first, each with what is known about its host and address.
//! Never: forgets what is known about an address that stays, or makes whoever picks wait: what is published is a new
//!        snapshot, and the old one is read to the end.
//!
//! | file | is |
//! |---|---|
//! | `pool` | its hosts and their addresses, as they are published |
//! | `spec` | what the configuration says of it |
//! | `pick` | which target is next |
//! | `known` | what may be asked about it |

mod known;
mod pick;
mod spec;
#[cfg(test)]
mod tests;

pub use self::known::HostHealth;
pub use self::pick::{Pick, Picked};
pub use self::spec::PoolSpec;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::balance::{runs, schedule};
use super::dns::{Found, Question};
use super::health::{HopCounts, HostState};
use super::registry::Registry;
use super::target::{Address, Endpoint, HostSpec, Inner, Target};
use crate::config::types::Balance;
use crate::session::route::{HopTerms, PoolKind};
use crate::stress::Stress;
use crate::tls::ClientTls;

/// The hosts of one upstream.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    kind: PoolKind,
    balance: Balance,
    sessions: u32,
    found_by: Option<(Question, u16)>,
    probed: Option<Duration>,
    terms: HopTerms,
    tls: Option<Arc<ClientTls>>,
    /// Where all hosts are counted as one: there are as many as recipients have domains, or clients destinations.
    together: Option<Arc<HopCounts>>,
    turn: AtomicUsize,
    stress: Stress,
    now: ArcSwap<Snapshot>,
}

/// The hosts and targets of a moment.
#[derive(Debug, Default)]
struct Snapshot {
    hosts: Box<[Host]>,
    targets: Box<[Target]>,
    /// Targets of one preference each, the most preferred first.
    ranks: Box<[Rank]>,
}

/// Targets of one preference.
#[derive(Debug)]
struct Rank {
    targets: Range<usize>,
    /// The turn of its hosts under `round_robin`.
    schedule: Box<[u16]>,
}

/// A host of a pool.
#[derive(Debug)]
struct Host {
    name: Arc<str>,
    spec: HostSpec,
    state: Arc<HostState>,
    counts: Arc<HopCounts>,
}

impl Pool {
    /// A pool whose named hosts have no address yet; the others are ready.
    pub fn new(spec: PoolSpec, registry: &Registry) -> Self {
        let name: Arc<str> = spec.name.into();
        let stress = Stress::new(format!("upstreams.{name}.sessions"));
        let unnamed = matches!(spec.kind, PoolKind::ByRecipient(_) | PoolKind::Original);
        let pool = Self {
            together: unnamed.then(|| registry.counts(&name, &TOGETHER.into())),
            name,
            kind: spec.kind,
            balance: spec.balance,
            sessions: spec.sessions,
            found_by: spec.found_by,
            probed: spec.probed,
            terms: spec.terms,
            tls: spec.tls,
            turn: AtomicUsize::new(0),
            stress,
            now: ArcSwap::default(),
        };
        let unresolved = vec![Vec::new(); spec.hosts.len()];
        pool.set(spec.hosts, &unresolved, registry);
        pool
    }

    /// The hosts that a domain was found to have, in the manner of this pool, which has none of its own.
    pub fn of_domain(&self, found: &[Found], registry: &Registry) -> Self {
        let port = match self.kind {
            PoolKind::ByRecipient(port) => port,
            PoolKind::Smtp | PoolKind::Lmtp | PoolKind::Original => 0,
        };
        let stress = Stress::new(format!("upstreams.{}.sessions", self.name));
        let pool = Self {
            name: self.name.clone(),
            kind: PoolKind::Smtp,
            balance: self.balance,
            sessions: self.sessions,
            found_by: None,
            probed: None,
            terms: self.terms,
            tls: self.tls.clone(),
            together: self.together.clone(),
            turn: AtomicUsize::new(0),
            stress,
            now: ArcSwap::default(),
        };
        pool.set_found(found, port, registry);
        pool
    }

    /// Takes the addresses its hosts have now, one list a host in the hosts' order; those that need no resolving
    /// ignore theirs. What is known about an address that stays, stays.
    pub fn publish(&self, addresses: &[Vec<Address>], registry: &Registry) {
        let hosts = self.now.load().hosts.iter().map(|host| host.spec.clone()).collect();
        self.set(hosts, addresses, registry);
    }

    /// Takes the hosts that DNS has for it now. What is known about an address that stays, stays.
    pub fn publish_found(&self, found: &[Found], registry: &Registry) {
        let port = self.found_by.as_ref().map_or(0, |(_, port)| *port);
        self.set_found(found, port, registry);
    }

    fn set_found(&self, found: &[Found], port: u16, registry: &Registry) {
        let hosts = found
            .iter()
            .map(|found| HostSpec {
                endpoint: Endpoint::Name { name: found.name.clone(), port: found.port.unwrap_or(port) },
                preference: found.preference,
                weight: found.weight,
                server_name: None,
            })
            .collect();
        let addresses: Vec<Vec<Address>> = found
            .iter()
            .map(|found| found.at(found.port.unwrap_or(port)).map(Address::Ip).collect())
            .collect();
        self.set(hosts, &addresses, registry);
    }

    fn set(&self, hosts: Vec<HostSpec>, addresses: &[Vec<Address>], registry: &Registry) {
        let host = |spec: HostSpec| {
            let name: Arc<str> = spec.endpoint.to_string().into();
            let counts = self.together.clone().unwrap_or_else(|| registry.counts(&self.name, &name));
            Host { state: registry.host(&name), counts, name, spec }
        };
        let hosts: Box<[Host]> = hosts.into_iter().map(host).collect();
        let mut targets = Vec::new();
        for (host_index, host) in hosts.iter().enumerate() {
            let fixed = host.spec.endpoint.fixed();
            let tls = self.tls.as_ref().map(|tls| {
                let own = host.spec.endpoint.host_name();
                (tls.clone(), tls.name(host.spec.server_name.as_deref(), own.as_deref()))
            });
            let resolved = addresses.get(host_index).map(Vec::as_slice).unwrap_or_default();
            for address in fixed.as_ref().map_or(resolved, std::slice::from_ref) {
                targets.push(Target(Arc::new(Inner {
                    host_index,
                    alone: false,
                    preference: host.spec.preference,
                    weight: host.spec.weight.max(1),
                    name: host.name.clone(),
                    terms: self.terms,
                    tls: tls.clone(),
                    address: address.clone(),
                    host: host.state.clone(),
                    state: registry.address(&host.name, address),
                    counts: host.counts.clone(),
                })));
            }
        }
        // Targets of one host stay together, and hosts in their order.
        targets.sort_by_key(|target| target.0.preference);
        // More targets than this are not addressed; the resolver keeps far below.
        targets.truncate(usize::from(u16::MAX));
        let ranks = ranks(&targets);
        self.now.store(Arc::new(Snapshot { hosts, targets: targets.into_boxed_slice(), ranks }));
    }
}

/// What all hosts that strangers name are called together.
const TOGETHER: &str = "*";

fn ranks(targets: &[Target]) -> Box<[Rank]> {
    let mut from = 0;
    let same = |one: &Target, other: &Target| one.0.preference == other.0.preference;
    let rank = |targets: &[Target]| {
        from += targets.len();
        let weights: Vec<u32> = runs(targets).map(|run| targets[run.start].0.weight).collect();
        Rank { targets: from - targets.len()..from, schedule: schedule(&weights) }
    };
    targets.chunk_by(same).map(rank).collect()
}
