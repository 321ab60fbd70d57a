//! A pool: the hosts of one upstream, and which of them is next.
//!
//! In:    the upstream's hosts, as written or as DNS has them; their addresses, whenever the resolver has new ones;
//!        at each attempt, what this transaction has tried.
//! Out:   a [`Pick`]: the target to dial with the lease of its dialog, or why there is none.
//! Never: locks or waits on a worker's way: a pick reads one snapshot and some atomics. It remembers no session;
//!        what was tried is the caller's to say.
//!
//! Order: a target that just came back gets its share little by little, and one that is ejected comes after all that
//! are not ("all down" means "try anyway"). Within that by preference (RFC 5321 5.1, RFC 2782); hosts written down
//! under `first` have the one of their place. Of one preference: `first` draws by weight, `round_robin` goes in turn by
//! weight, `least_sessions` takes the fewest open dialogs for its weight. The addresses of one name follow each other
//! under `first` and take turns otherwise. Dialogs are bounded per host, not per address: the bound stands
//! for the host's own process limit.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use smallvec::SmallVec;

use super::balance::{by_weight, in_turn, least_open, random, runs, schedule};
use super::dns::{Found, Question};
use super::health::{HopCounts, HostState, Lease};
use super::registry::Registry;
use super::target::{Address, Endpoint, HostSpec, Inner, Target, TargetId};
use crate::config::types::{Balance, Protocol, Source, UpstreamPool};
use crate::session::route::{HopTerms, PoolKind};
use crate::stress::Stress;
use crate::tls::ClientTls;

/// A pool as the configuration gives it.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// The upstream's name.
    pub name: Box<str>,
    /// What its hosts speak, and whether they are those of each recipient's domain.
    pub kind: PoolKind,
    /// How its hosts share the load.
    pub balance: Balance,
    /// Its hosts, in order; none where DNS names them.
    pub hosts: Vec<HostSpec>,
    /// What is asked of DNS for its hosts, and the port they are dialled at where the answer says none.
    pub found_by: Option<(Question, u16)>,
    /// Open dialogs per host; 0 is no bound.
    pub sessions: u32,
    /// How often each host is probed.
    pub probed: Option<Duration>,
    /// How its hosts are to be spoken to.
    pub terms: HopTerms,
    /// What TLS with them goes by.
    pub tls: Option<Arc<ClientTls>>,
}

impl PoolSpec {
    /// What the upstream called `name` says.
    pub fn new(name: &str, upstream: &UpstreamPool) -> Self {
        let lmtp = upstream.protocol == Protocol::Lmtp;
        let mut spec = Self {
            name: name.into(),
            kind: if lmtp { PoolKind::Lmtp } else { PoolKind::Smtp },
            balance: upstream.balance,
            hosts: Vec::new(),
            found_by: None,
            sessions: u32::try_from(upstream.sessions).unwrap_or(u32::MAX),
            probed: upstream.health,
            terms: terms(upstream),
            tls: None,
        };
        let in_order = upstream.balance == Balance::First;
        match &upstream.source {
            Source::Hosts(hosts) => {
                let host = |(place, host): (usize, &crate::config::types::HostSpec)| HostSpec {
                    endpoint: Endpoint::from(&host.target),
                    preference: if in_order { u16::try_from(place).unwrap_or(u16::MAX) } else { 0 },
                    weight: host.weight,
                    server_name: host.server_name.as_deref().map(Into::into),
                };
                spec.hosts = hosts.iter().enumerate().map(host).collect();
            }
            Source::Sink(path) => {
                let endpoint = Endpoint::Sink(path.as_path().into());
                spec.hosts = vec![HostSpec { endpoint, preference: 0, weight: 1, server_name: None }];
                // It is a part of this process.
                spec.probed = None;
            }
            Source::Mx(domain) => {
                spec.found_by = Some((Question::Mx(domain.as_str().into()), upstream.port));
            }
            Source::Srv(service) => {
                spec.found_by = Some((Question::Srv(service.as_str().into()), upstream.port));
            }
            Source::RecipientMx => spec.kind = PoolKind::ByRecipient(upstream.port),
            Source::OriginalDestination => {
                (spec.kind, spec.probed) = (PoolKind::Original, None);
            }
        }
        spec
    }
}

fn terms(upstream: &UpstreamPool) -> HopTerms {
    HopTerms {
        tls: upstream.tls.mode,
        identity: upstream.identity,
        identity_required: upstream.identity_required,
        identity_login: upstream.identity_login,
        is_loopback: false,
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

    /// The upstream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its hosts are like.
    pub fn kind(&self) -> PoolKind {
        self.kind
    }

    /// How often its hosts are probed.
    pub fn probed(&self) -> Option<Duration> {
        self.probed
    }

    /// What is asked of DNS for its hosts, and the port they are dialled at where the answer says none.
    pub fn found_by(&self) -> Option<&(Question, u16)> {
        self.found_by.as_ref()
    }

    /// Where its hosts are, in order, for the resolver.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.now.load().hosts.iter().map(|host| host.spec.endpoint.clone()).collect()
    }

    /// Its targets now.
    pub fn targets(&self) -> Vec<Target> {
        self.now.load().targets.to_vec()
    }

    /// How each of its hosts is, in order.
    pub fn health(&self) -> Vec<HostHealth> {
        if let Some(counts) = &self.together {
            let (host, counts) = (Arc::from(TOGETHER), counts.clone());
            return vec![HostHealth { host, up: true, open: counts.open(), counts }];
        }
        let snapshot = self.now.load();
        let up = |index| snapshot.targets.iter().any(|t| t.0.host_index == index && !t.0.state.is_ejected());
        let health = |(index, host): (usize, &Host)| HostHealth {
            host: host.name.clone(),
            up: up(index),
            open: host.state.open(),
            counts: host.counts.clone(),
        };
        snapshot.hosts.iter().enumerate().map(health).collect()
    }

    /// Whether any host can be counted on: one that is not ejected, or any of those that recipients or clients name.
    pub fn is_ready(&self) -> bool {
        matches!(self.kind, PoolKind::ByRecipient(_) | PoolKind::Original)
            || self.now.load().targets.iter().any(|target| !target.0.state.is_ejected())
    }

    /// Whether dialogs with its hosts are running out. A host that is put aside is no room, nor are its dialogs, unless
    /// all are; where strangers name the hosts, there are as many as they like.
    pub fn is_stressed(&self) -> bool {
        if self.sessions == 0 || self.together.is_some() {
            return false;
        }
        let snapshot = self.now.load();
        let filled = |serving: &dyn Fn(&Target) -> bool| {
            let (mut used, mut most, mut last) = (0, 0, None);
            // Targets of one host stay together.
            for Target(target) in snapshot.targets.iter().filter(|target| serving(target)) {
                if last.replace(target.host_index) != Some(target.host_index) {
                    used += target.host.open().min(self.sessions) as usize;
                    most += self.sessions as usize;
                }
            }
            (used, most)
        };
        let (used, most) = match filled(&|target| !target.0.state.is_ejected()) {
            (_, 0) => filled(&|_| true),
            serving => serving,
        };
        self.stress.at(used, most)
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

/// What all hosts that strangers name are called together.
const TOGETHER: &str = "*";

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

#[cfg(test)]
mod tests;
