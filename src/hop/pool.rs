//! A pool: the hosts one upstream names, and which of them is next.
//!
//! In:    the upstream's hosts; their addresses, whenever the resolver has new ones; at each attempt, what this
//!        transaction has tried.
//! Out:   a [`Pick`]: the target to dial with the lease of its dialog, or why there is none.
//! Never: locks or waits on a worker's way: a pick reads one snapshot and some atomics. It remembers no session;
//!        what was tried is the caller's to say.
//!
//! Order: targets that are ejected come after those that are not ("all down" means "try anyway"). Within that,
//! `first` takes hosts as written, `round_robin` by weight in turn, `least_sessions` the fewest open dialogs for
//! its weight. The addresses of one name follow each other under `first` (RFC 5321 5.1) and take turns otherwise.
//! Dialogs are bounded per host, not per address: the bound stands for the host's own process limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::health::{HopCounts, HostState, Lease, Registry};
use super::target::{Address, Endpoint, HostSpec, Inner, Target, TargetId};
use crate::config::types::{Balance, Source, Upstream};

/// The longest turn of `round_robin`; heavier weights are scaled down to it.
const SCHEDULE_MAX: u32 = 1024;

/// A pool as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// The upstream's name.
    pub name: Box<str>,
    /// How its hosts share the load.
    pub balance: Balance,
    /// Its hosts, in order.
    pub hosts: Vec<HostSpec>,
    /// Open dialogs per host; 0 is no bound.
    pub sessions: u32,
}

impl PoolSpec {
    /// What the upstream called `name` says.
    pub fn new(name: &str, upstream: &Upstream) -> Self {
        let hosts = match &upstream.source {
            Source::Hosts(hosts) => hosts
                .iter()
                .map(|host| HostSpec { endpoint: Endpoint::from(&host.target), weight: host.weight })
                .collect(),
            Source::Sink(path) => {
                vec![HostSpec { endpoint: Endpoint::Sink(path.as_path().into()), weight: 1 }]
            }
        };
        let sessions = u32::try_from(upstream.sessions).unwrap_or(u32::MAX);
        Self { name: name.into(), balance: upstream.balance, hosts, sessions }
    }
}

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

/// How a host is.
#[derive(Clone, Debug)]
pub struct HostHealth {
    /// Its name with its port.
    pub host: Arc<str>,
    /// Whether it has an address that is not ejected; untried counts as good.
    pub up: bool,
    /// Dialogs open with it.
    pub open: u32,
    /// What happened to it.
    pub counts: Arc<HopCounts>,
}

/// The hosts of one upstream.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    balance: Balance,
    sessions: u32,
    hosts: Box<[Host]>,
    schedule: Box<[u16]>,
    turn: AtomicUsize,
    targets: ArcSwap<Box<[Target]>>,
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
        let hosts: Box<[Host]> = spec
            .hosts
            .into_iter()
            .map(|spec| {
                let host: Arc<str> = spec.endpoint.to_string().into();
                Host { state: registry.host(&host), counts: registry.counts(&name, &host), name: host, spec }
            })
            .collect();
        let weights: Vec<u32> = hosts.iter().map(|host| host.spec.weight.max(1)).collect();
        let pool = Self {
            name,
            balance: spec.balance,
            sessions: spec.sessions,
            schedule: schedule(&weights),
            turn: AtomicUsize::new(0),
            targets: ArcSwap::from_pointee(Box::default()),
            hosts,
        };
        let unresolved = vec![Vec::new(); pool.hosts.len()];
        pool.publish(&unresolved, registry);
        pool
    }

    /// Takes the addresses its hosts have now, one list a host in the hosts' order; those that need no resolving
    /// ignore theirs. What is known about an address that stays, stays.
    pub fn publish(&self, addresses: &[Vec<Address>], registry: &Registry) {
        let mut targets = Vec::new();
        for (host_index, host) in self.hosts.iter().enumerate() {
            let fixed = host.spec.endpoint.fixed();
            let resolved = addresses.get(host_index).map(Vec::as_slice).unwrap_or_default();
            for address in fixed.as_ref().map_or(resolved, std::slice::from_ref) {
                targets.push(Target(Arc::new(Inner {
                    host_index,
                    weight: host.spec.weight.max(1),
                    name: host.name.clone(),
                    address: address.clone(),
                    host: host.state.clone(),
                    state: registry.address(&host.name, address),
                    counts: host.counts.clone(),
                })));
            }
        }
        self.targets.store(Arc::new(targets.into_boxed_slice()));
    }

    /// The next target for a transaction that has tried `tried`, with its lease.
    pub fn next(&self, tried: &[TargetId], now: Instant) -> Pick {
        let targets = self.targets.load();
        let mut order: SmallVec<[u16; 16]> = SmallVec::new();
        self.order(&targets, tried.is_empty(), &mut order);
        order.retain(|&mut index| !tried.contains(&targets[usize::from(index)].id()));
        if order.is_empty() {
            return Pick::None;
        }
        let mut picked = None;
        for ready in [true, false] {
            for &index in &order {
                let target = &targets[usize::from(index)];
                if picked.is_some() || target.0.state.is_ready(now) != ready {
                    continue;
                }
                picked = Lease::take(target, self.sessions, now);
            }
        }
        let Some(lease) = picked else { return Pick::Busy };
        let id = lease.target().id();
        let more = order
            .iter()
            .map(|&index| &targets[usize::from(index)])
            .any(|target| target.id() != id && (self.sessions == 0 || target.0.host.open() < self.sessions));
        Pick::Host(Picked { lease, more })
    }

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its hosts' names with their ports, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.iter().map(|host| &host.name)
    }

    /// Where its hosts are, in order, for the resolver.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.hosts.iter().map(|host| &host.spec.endpoint)
    }

    /// Its targets now.
    pub fn targets(&self) -> Arc<Box<[Target]>> {
        self.targets.load_full()
    }

    /// How each of its hosts is, in order.
    pub fn health(&self) -> Vec<HostHealth> {
        let targets = self.targets.load();
        let up = |index| targets.iter().any(|t| t.0.host_index == index && !t.0.state.is_ejected());
        let health = |(index, host): (usize, &Host)| HostHealth {
            host: host.name.clone(),
            up: up(index),
            open: host.state.open(),
            counts: host.counts.clone(),
        };
        self.hosts.iter().enumerate().map(health).collect()
    }

    /// Whether any host can be counted on: one that is not ejected.
    pub fn is_ready(&self) -> bool {
        self.targets.load().iter().any(|target| !target.0.state.is_ejected())
    }

    /// Indices of `targets` in the order of the balance, health aside.
    fn order(&self, targets: &[Target], first_attempt: bool, order: &mut SmallVec<[u16; 16]>) {
        // More targets than this are not addressed; the resolver keeps far below.
        let count = targets.len().min(usize::from(u16::MAX));
        let indices = 0..count as u16;
        if count <= 1 || self.balance == Balance::First {
            order.extend(indices);
            return;
        }
        // Only a first attempt moves the turn: a failover must not skip the next client's host.
        let turn = match first_attempt {
            true => self.turn.fetch_add(1, Relaxed),
            false => self.turn.load(Relaxed),
        };
        match self.balance {
            Balance::First => {}
            Balance::RoundRobin => {
                let length = self.schedule.len();
                let round = turn / length;
                let mut seen: SmallVec<[u16; 16]> = SmallVec::new();
                for step in 0..length {
                    let host = self.schedule[(turn + step) % length];
                    if seen.contains(&host) {
                        continue;
                    }
                    seen.push(host);
                    // Targets stand in their hosts' order, so those of one host are a run.
                    let from = targets[..count].partition_point(|t| t.0.host_index < usize::from(host));
                    let to = targets[..count].partition_point(|t| t.0.host_index <= usize::from(host));
                    let run = to - from;
                    order.extend((0..run).map(|offset| (from + (round + offset) % run) as u16));
                    if seen.len() == self.hosts.len() {
                        break;
                    }
                }
            }
            Balance::LeastSessions => {
                // The sort is stable: of equally loaded ones, the turn decides.
                order.extend((0..count).map(|offset| ((turn % count + offset) % count) as u16));
                let mut loads: SmallVec<[(u64, u64); 16]> = SmallVec::new();
                loads.extend(
                    targets[..count]
                        .iter()
                        .map(|target| (u64::from(target.0.state.open()), u64::from(target.0.weight))),
                );
                order.sort_by(|&a, &b| {
                    let ((a_open, a_weight), (b_open, b_weight)) =
                        (loads[usize::from(a)], loads[usize::from(b)]);
                    (a_open * b_weight).cmp(&(b_open * a_weight))
                });
            }
        }
    }
}

/// The turn of `round_robin`: every host as often as its weight, spread as evenly as can be (each step takes the
/// host that is most behind its share).
fn schedule(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let sum: u64 = weights.iter().sum();
    if sum > u64::from(SCHEDULE_MAX) {
        for weight in &mut weights {
            *weight = (*weight * u64::from(SCHEDULE_MAX) / sum).max(1);
        }
    }
    let total: u64 = weights.iter().sum();
    let mut behind = vec![0_i64; weights.len()];
    (0..total)
        .map(|_| {
            for (behind, weight) in behind.iter_mut().zip(&weights) {
                *behind += *weight as i64;
            }
            let most = behind.iter().copied().max().unwrap_or_default();
            let host = behind.iter().position(|&each| each == most).unwrap_or_default();
            behind[host] -= total as i64;
            host as u16
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
