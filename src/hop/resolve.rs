//! Names of hosts, domains and services into hosts with addresses, at start and for as long as they are used.
//!
//! In:    the pools of one configuration, the DNS servers to ask (or the system's), `/etc/hosts`.
//! Out:   hosts and addresses published into the pools, again whenever a TTL is over; for `gatepost check` and at
//!        start a [`HostReport`] per host.
//! Never: runs on a worker, forgets good addresses because a question failed, or publishes an address that is one
//!        of our own listeners: mail must not run in circles.
//!
//! One task per set of pools. A TTL is taken as at least 5 s and at most 1 h, without jitter; a question that failed is
//! asked again after 5 s, then twice as long each time up to 5 min.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dns::{Found, Question, RETRY, ResolveError, Resolved, Resolver};
use super::pool::{Pool, PoolSpec};
use super::registry::Registry;
use super::target::{Address, Endpoint};
use crate::config::types::{Config, Dns};
use crate::log::burst::{self, Kind};
use crate::tls::TlsSet;

/// How long the first resolution may hold up the start.
pub const FIRST: Duration = Duration::from_secs(5);
/// The longest wait after a failed question.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The pools of one configuration, by name.
#[derive(Debug, Default)]
pub struct Pools(BTreeMap<Box<str>, Arc<Pool>>);

impl Pools {
    /// One pool per upstream; what `registry` knows of their hosts still holds.
    pub fn new(config: &Config, tls: &TlsSet, registry: &Registry) -> Self {
        let pool = |(name, upstream): (&String, _)| {
            let spec = PoolSpec { tls: tls.pool(name).cloned(), ..PoolSpec::new(name, upstream) };
            (name.as_str().into(), Arc::new(Pool::new(spec, registry)))
        };
        Self(config.upstreams.iter().map(pool).collect())
    }

    /// The pool called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.0.values()
    }
}

/// What became of one host, for people.
#[derive(Debug)]
pub struct HostReport {
    /// The upstream.
    pub pool: Arc<str>,
    /// The host as written, with its port; behind what led to it, where it was found.
    pub host: Arc<str>,
    /// Its addresses now.
    pub result: Result<Vec<Address>, ResolveError>,
    /// Which of our own listeners it would dial: an error of the configuration.
    pub own_listener: Option<SocketAddr>,
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstreams.{}: {}: ", self.pool, self.host)?;
        if let Some(listener) = self.own_listener {
            return write!(f, "resolves to gatepost's own listener {listener}");
        }
        match &self.result {
            Ok(addresses) => {
                for (index, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Err(error) => error.fmt(f),
        }
    }
}

/// Resolves every host of `config` once, for `gatepost check`; takes at most [`FIRST`].
pub async fn resolve_all(config: &Config) -> Vec<HostReport> {
    let registry = Arc::new(Registry::new(std::time::Instant::now()));
    let pools = Arc::new(Pools::new(config, &TlsSet::default(), &registry));
    let listeners = config.listeners.iter().flat_map(|listener| listener.addresses.clone()).collect();
    Refresher::new(&config.dns, pools, registry, listeners).first().await
}

/// Keeps the addresses of a set of pools fresh. Lives on the control thread; dropped with its configuration.
#[derive(Debug)]
pub struct Refresher {
    resolver: Result<Resolver, ResolveError>,
    pools: Arc<Pools>,
    registry: Arc<Registry>,
    listeners: Vec<SocketAddr>,
    questions: BTreeMap<Question, Answer>,
}

/// What is known of one question.
#[derive(Debug)]
struct Answer {
    hosts: Vec<Found>,
    error: Option<ResolveError>,
    due: Instant,
    retry: Duration,
}

impl Refresher {
    /// One for the names in `pools`; `listeners` are our own addresses, which are never hops.
    pub fn new(dns: &Dns, pools: Arc<Pools>, registry: Arc<Registry>, listeners: Vec<SocketAddr>) -> Self {
        let now = Instant::now();
        let names = pools.iter().flat_map(|pool| pool.endpoints()).filter_map(|endpoint| match endpoint {
            Endpoint::Name { name, .. } => Some(Question::Name(name)),
            Endpoint::Ip(_) | Endpoint::Unix(_) | Endpoint::Sink(_) => None,
        });
        let services = pools.iter().filter_map(|pool| Some(pool.found_by()?.0.clone()));
        let questions = names
            .chain(services)
            .map(|question| {
                let hosts = registry.last_good(&question);
                (question, Answer { hosts, error: None, due: now, retry: RETRY })
            })
            .collect();
        Self { resolver: Resolver::new(dns), pools, registry, listeners, questions }
    }

    /// Resolves everything for the first time, within [`FIRST`], publishes what there is, and reports all hosts,
    /// those given by address too. What fails here is asked for again by [`run`](Self::run).
    pub async fn first(&mut self) -> Vec<HostReport> {
        self.round(FIRST).await;
        let mut reports = Vec::new();
        for pool in self.pools.iter() {
            let mut report = |host: String, result: Result<Vec<Address>, ResolveError>| {
                let addresses = result.as_deref().unwrap_or_default();
                let own = addresses.iter().find_map(|address| own_listener(address, &self.listeners));
                let (pool, host) = (pool.name().clone(), host.into());
                reports.push(HostReport { pool, host, result, own_listener: own });
            };
            if let Some((question, port)) = pool.found_by() {
                match self.hosts(question) {
                    Err(error) => report(question.to_string(), Err(error)),
                    Ok(hosts) => hosts.iter().for_each(|host| {
                        let port = host.port.unwrap_or(*port);
                        let addresses = host.at(port).map(Address::Ip).collect();
                        report(format!("{question}: {}:{port}", host.name), Ok(addresses));
                    }),
                }
                continue;
            }
            for endpoint in pool.endpoints() {
                let result = match endpoint.fixed() {
                    Some(address) => Ok(vec![address]),
                    None => self.addresses(&endpoint),
                };
                report(endpoint.to_string(), result);
            }
        }
        reports
    }

    /// Asks again whenever a TTL is over, until dropped. Returns at once if there is nothing to resolve.
    pub async fn run(mut self) {
        while let Some(due) = self.questions.values().map(|answer| answer.due).min() {
            tokio::time::sleep_until(due).await;
            self.round(2 * FIRST).await;
        }
    }

    /// Asks everything that is due, all at once, and publishes.
    async fn round(&mut self, bound: Duration) {
        let now = Instant::now();
        let mut asked = JoinSet::new();
        let due = self.questions.iter_mut().filter(|(_, answer)| answer.due <= now);
        for (question, answer) in due {
            match &self.resolver {
                Ok(resolver) => {
                    let (resolver, question) = (resolver.clone(), question.clone());
                    asked.spawn(async move {
                        let answer = resolver.ask(&question, bound).await;
                        (question, answer)
                    });
                }
                Err(error) => answer.failed(question, error.clone(), now),
            }
        }
        while let Some(heard) = asked.join_next().await {
            // A lookup that panicked took its question along; that one stays due and is asked again.
            let Ok((question, heard)) = heard else { continue };
            let Some(answer) = self.questions.get_mut(&question) else { continue };
            match heard {
                Ok(resolved) => {
                    self.registry.remember(&question, &resolved.hosts);
                    answer.resolved(&question, resolved, Instant::now());
                }
                Err(error) => answer.failed(&question, error, Instant::now()),
            }
        }
        // Whatever was not answered at all (see above) must not be asked for in a tight loop.
        for answer in self.questions.values_mut().filter(|answer| answer.due <= now) {
            answer.due = now + RETRY;
        }
        self.publish();
    }

    fn publish(&self) {
        for pool in self.pools.iter() {
            let own = |host: &dyn fmt::Display, address: &Address| {
                let own = own_listener(address, &self.listeners);
                if let Some(listener) = own {
                    tracing::error!(pool = &**pool.name(), %host, %listener,
                        "host resolves to our own listener and is not used");
                }
                own.is_some()
            };
            if let Some((question, port)) = pool.found_by() {
                let mut hosts = self.hosts(question).unwrap_or_default();
                for host in &mut hosts {
                    let (name, port) = (host.name.clone(), host.port.unwrap_or(*port));
                    host.addresses.retain(|&ip| !own(&name, &Address::Ip(SocketAddr::new(ip, port))));
                }
                pool.publish_found(&hosts, &self.registry);
                continue;
            }
            let addresses: Vec<Vec<Address>> = pool
                .endpoints()
                .iter()
                .map(|endpoint| {
                    let mut addresses = self.addresses(endpoint).unwrap_or_default();
                    addresses.retain(|address| !own(endpoint, address));
                    addresses
                })
                .collect();
            pool.publish(&addresses, &self.registry);
        }
    }

    /// The addresses of a host given by name.
    fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<Address>, ResolveError> {
        let Endpoint::Name { name, port } = endpoint else { return Ok(Vec::new()) };
        let hosts = self.hosts(&Question::Name(name.clone()))?;
        Ok(hosts.iter().flat_map(|host| host.at(*port)).map(Address::Ip).collect())
    }

    /// The hosts that a question led to.
    fn hosts(&self, question: &Question) -> Result<Vec<Found>, ResolveError> {
        match self.questions.get(question) {
            Some(Answer { hosts, .. }) if !hosts.is_empty() => Ok(hosts.clone()),
            Some(Answer { error: Some(error), .. }) => Err(error.clone()),
            _ => Err(ResolveError::NoAddress),
        }
    }
}

impl Answer {
    fn resolved(&mut self, question: &Question, resolved: Resolved, now: Instant) {
        if self.error.is_some() && !self.hosts.is_empty() {
            tracing::info!(%question, "resolved again");
        } else if self.hosts != resolved.hosts {
            tracing::debug!(%question, hosts = ?resolved.hosts, "resolved");
        }
        self.due = now + resolved.ttl;
        self.hosts = resolved.hosts;
        self.error = None;
        self.retry = RETRY;
    }

    fn failed(&mut self, question: &Question, error: ResolveError, now: Instant) {
        if self.error.is_none() && burst::admits(Kind::Dns) {
            let kept = self.hosts.iter().map(|host| host.addresses.len()).sum::<usize>();
            let record = question.record();
            tracing::warn!(record, %question, %error, kept, "DNS: cannot resolve; keeping the addresses there are");
        }
        self.due = now + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        self.error = Some(error);
    }
}

/// The one of `listeners` that a dial to `address` would reach.
pub(crate) fn own_listener(address: &Address, listeners: &[SocketAddr]) -> Option<SocketAddr> {
    let Address::Ip(address) = address else { return None };
    let ip = address.ip().to_canonical();
    listeners.iter().copied().find(|listener| {
        let own = listener.ip().to_canonical();
        listener.port() == address.port() && (own == ip || (own.is_unspecified() && is_local(ip)))
    })
}

/// Whether `ip` is one of this machine's: what is sent to it comes from it. (Whether a socket can be bound to it does
/// not tell: a router may allow that for any, by ip_nonlocal_bind.) Nothing is sent.
fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    ip.is_unspecified() || ip.is_loopback() || from().is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests;
