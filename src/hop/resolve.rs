//! Names of hosts into addresses, at start and for as long as they are used.
//!
//! In:    the pools of one configuration, the DNS servers to ask (or the system's), `/etc/hosts`.
//! Out:   addresses published into the pools, again whenever a TTL is over; for `gatepost check` and at start a
//!        [`HostReport`] per host.
//! Never: runs on a worker, forgets good addresses because a question failed, or publishes an address that is one
//!        of our own listeners: mail must not run in circles.
//!
//! One task per set of pools. IPv4 addresses come before IPv6 ones and both are sorted: servers rotate their
//! answers, and `balance: first` promises an order. A TTL is taken as at least 5 s and at most 1 h, without
//! jitter; a question that failed is asked again after 5 s, then twice as long each time up to 5 min.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::health::Registry;
use super::pool::{Pool, PoolSpec};
use super::target::{Address, Endpoint};
use crate::config::types::{Config, Dns};

/// How long the first resolution may hold up the start.
pub const FIRST: Duration = Duration::from_secs(5);
/// Bounds of what a TTL is taken as.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
/// The first and the longest wait after a failed question.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(300);
/// Addresses of one name that are used; more come from nobody sane.
const ADDRESSES_MAX: usize = 32;

/// Why a name has no address.
#[derive(Clone, Debug)]
pub enum ResolveError {
    /// The resolver cannot be set up.
    Setup(NetError),
    /// The question failed.
    Lookup(NetError),
    /// The name exists, without an address.
    NoAddress,
    /// No answer while the start could be held up.
    TimedOut,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => write!(f, "resolver: {error}"),
            Self::Lookup(error) if error.is_nx_domain() => f.write_str("no such name"),
            Self::Lookup(error) if error.is_no_records_found() => f.write_str("no address"),
            Self::Lookup(error) => error.fmt(f),
            Self::NoAddress => f.write_str("no address"),
            Self::TimedOut => write!(f, "no answer within {} s", FIRST.as_secs()),
        }
    }
}

impl std::error::Error for ResolveError {}

/// What a name resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its addresses, in the order they are tried; never empty.
    pub addresses: Vec<IpAddr>,
    /// How long they may be used, within our bounds.
    pub ttl: Duration,
}

/// Asks for the addresses of names.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

impl Resolver {
    /// One that asks `dns.servers`, or whom the system asks; `/etc/hosts` is honoured before either.
    pub fn new(dns: &Dns) -> Result<Self, ResolveError> {
        let mut builder = if dns.servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read the system's resolver configuration: only its hosts file is used");
                let none = ResolverConfig::from_name_servers(Vec::new());
                TokioResolver::builder_with_config(none, TokioRuntimeProvider::default())
            })
        } else {
            let servers = dns.servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            builder
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        // The refresher is the cache; this one must not make it wait for what has changed already.
        options.positive_max_ttl = Some(*TTL.start());
        options.negative_max_ttl = Some(*RETRY.start());
        options.cache_size = 64;
        builder.build().map(Self).map_err(ResolveError::Setup)
    }

    /// The addresses of `name`.
    pub async fn lookup(&self, name: &str) -> Result<Resolved, ResolveError> {
        let lookup = self.0.lookup_ip(name).await.map_err(ResolveError::Lookup)?;
        let ttl = lookup.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        let mut addresses: Vec<IpAddr> = lookup.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress);
        }
        let ttl = Duration::from_secs(ttl.into()).clamp(*TTL.start(), *TTL.end());
        Ok(Resolved { addresses, ttl })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// The pools of one configuration, by name.
#[derive(Debug, Default)]
pub struct Pools(BTreeMap<Box<str>, Arc<Pool>>);

impl Pools {
    /// One pool per upstream; what `registry` knows of their hosts still holds.
    pub fn new(config: &Config, registry: &Registry) -> Self {
        let pool = |(name, upstream): (&String, _)| {
            (name.as_str().into(), Arc::new(Pool::new(PoolSpec::new(name, upstream), registry)))
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

/// What became of one host's name, for people.
#[derive(Debug)]
pub struct HostReport {
    /// The upstream.
    pub pool: Arc<str>,
    /// The host as written, with its port.
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
    let pools = Arc::new(Pools::new(config, &registry));
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
    names: BTreeMap<Box<str>, Name>,
}

/// One name that hosts go by.
#[derive(Debug)]
struct Name {
    addresses: Vec<IpAddr>,
    error: Option<ResolveError>,
    due: Instant,
    retry: Duration,
}

impl Refresher {
    /// One for the names in `pools`; `listeners` are our own addresses, which are never hops.
    pub fn new(dns: &Dns, pools: Arc<Pools>, registry: Arc<Registry>, listeners: Vec<SocketAddr>) -> Self {
        let now = Instant::now();
        let names = pools
            .iter()
            .flat_map(|pool| pool.endpoints())
            .filter_map(|endpoint| match endpoint {
                Endpoint::Name { name, .. } => Some(name.clone()),
                Endpoint::Ip(_) | Endpoint::Unix(_) | Endpoint::Sink(_) => None,
            })
            .map(|name| {
                let addresses = registry.last_good(&name);
                (name, Name { addresses, error: None, due: now, retry: *RETRY.start() })
            })
            .collect();
        Self { resolver: Resolver::new(dns), pools, registry, listeners, names }
    }

    /// Resolves every name for the first time, within [`FIRST`], publishes what there is, and reports all hosts,
    /// those given by address too. A name that fails here is asked for again by [`run`](Self::run).
    pub async fn first(&mut self) -> Vec<HostReport> {
        self.round(FIRST).await;
        let mut reports = Vec::new();
        for pool in self.pools.iter() {
            for (host, endpoint) in pool.hosts().zip(pool.endpoints()) {
                let result = match endpoint.fixed() {
                    Some(address) => Ok(vec![address]),
                    None => self.addresses(endpoint),
                };
                let addresses = result.as_deref().unwrap_or_default();
                let own_listener =
                    addresses.iter().find_map(|address| own_listener(address, &self.listeners));
                reports.push(HostReport {
                    pool: pool.name().clone(),
                    host: host.clone(),
                    result,
                    own_listener,
                });
            }
        }
        reports
    }

    /// Asks again whenever a TTL is over, until dropped. Returns at once if there is no name to resolve.
    pub async fn run(mut self) {
        while let Some(due) = self.names.values().map(|name| name.due).min() {
            tokio::time::sleep_until(due).await;
            self.round(2 * FIRST).await;
        }
    }

    /// Asks for every name that is due, all at once, and publishes.
    async fn round(&mut self, bound: Duration) {
        let now = Instant::now();
        let mut questions = JoinSet::new();
        let due = self.names.iter_mut().filter(|(_, name)| name.due <= now);
        for (text, name) in due {
            match &self.resolver {
                Ok(resolver) => {
                    let (resolver, text) = (resolver.clone(), text.clone());
                    questions.spawn(async move {
                        let answer = tokio::time::timeout(bound, resolver.lookup(&text)).await;
                        (text, answer.unwrap_or(Err(ResolveError::TimedOut)))
                    });
                }
                Err(error) => name.failed(text, error.clone(), now),
            }
        }
        while let Some(answer) = questions.join_next().await {
            // A lookup that panicked took its name along; that name stays due and is asked for again.
            let Ok((text, answer)) = answer else { continue };
            let Some(name) = self.names.get_mut(&text) else { continue };
            match answer {
                Ok(resolved) => {
                    self.registry.remember(&text, &resolved.addresses);
                    name.resolved(&text, resolved, Instant::now());
                }
                Err(error) => name.failed(&text, error, Instant::now()),
            }
        }
        // Whatever was not answered at all (see above) must not be asked for in a tight loop.
        for name in self.names.values_mut().filter(|name| name.due <= now) {
            name.due = now + *RETRY.start();
        }
        self.publish();
    }

    fn publish(&self) {
        for pool in self.pools.iter() {
            let addresses: Vec<Vec<Address>> = pool
                .endpoints()
                .map(|endpoint| {
                    let mut addresses = self.addresses(endpoint).unwrap_or_default();
                    addresses.retain(|address| match own_listener(address, &self.listeners) {
                        Some(listener) => {
                            tracing::error!(pool = &**pool.name(), host = %endpoint, %listener,
                                "host resolves to our own listener and is not used");
                            false
                        }
                        None => true,
                    });
                    addresses
                })
                .collect();
            pool.publish(&addresses, &self.registry);
        }
    }

    /// The addresses of a host given by name.
    fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<Address>, ResolveError> {
        let Endpoint::Name { name, port } = endpoint else { return Ok(Vec::new()) };
        match self.names.get(name) {
            Some(Name { addresses, .. }) if !addresses.is_empty() => {
                Ok(addresses.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, *port))).collect())
            }
            Some(Name { error: Some(error), .. }) => Err(error.clone()),
            _ => Err(ResolveError::NoAddress),
        }
    }
}

impl Name {
    fn resolved(&mut self, text: &str, resolved: Resolved, now: Instant) {
        if self.error.is_some() && !self.addresses.is_empty() {
            tracing::info!(name = text, "resolved again");
        } else if self.addresses != resolved.addresses {
            tracing::debug!(name = text, addresses = ?resolved.addresses, "resolved");
        }
        self.due = now + resolved.ttl;
        self.addresses = resolved.addresses;
        self.error = None;
        self.retry = *RETRY.start();
    }

    fn failed(&mut self, text: &str, error: ResolveError, now: Instant) {
        if self.error.is_none() {
            let kept = self.addresses.len();
            tracing::warn!(name = text, %error, kept, "cannot resolve; keeping the addresses there are");
        }
        self.due = now + self.retry;
        self.retry = (self.retry * 2).min(*RETRY.end());
        self.error = Some(error);
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The one of `listeners` that a dial to `address` would reach.
fn own_listener(address: &Address, listeners: &[SocketAddr]) -> Option<SocketAddr> {
    let Address::Ip(address) = address else { return None };
    let ip = address.ip().to_canonical();
    listeners.iter().copied().find(|listener| {
        let own = listener.ip().to_canonical();
        listener.port() == address.port() && (own == ip || (own.is_unspecified() && is_local(ip)))
    })
}

/// Whether `ip` is one of this machine's: a socket can be bound to it.
fn is_local(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests;
