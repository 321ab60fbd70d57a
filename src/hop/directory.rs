//! The hosts of domains that only recipients name: looked up when they are, and kept for a while.
//!
//! In:    a [`Domain`], from a session on any worker; a client's address.
//! Out:   its hosts as a [`Destination`], or why there are none; the client's name.
//! Never: asks DNS on a worker (the control thread does, once for all who want the same domain at a time), keeps more
//!        domains than a bound, or leads to one of our own listeners.
//!
//! RFC 5321 5.1: where one of the hosts is gatepost itself, it and all that are no better than it are left out. RFC 5321
//! 4.1.3: an address literal is its own host.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::dns::{Found, Question, RETRY, ResolveError, Resolver, TTL};
use super::pool::{Pool, PoolSpec};
use super::registry::Registry;
use super::resolve::own_listener;
use super::serve::picked;
use super::target::Address;
use crate::config::types::{Balance, Config};
use crate::log::burst::{self, Kind};
use crate::session::client::ClientName;
use crate::session::route::{Destination, Domain, HopTerms, HopTls, NotFound, Pick, PoolKind, TargetId};
use crate::tls::{ClientTls, client};

/// How long a domain may be looked up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client's name may be looked up: a mail host waits for it, and no client may be made to wait much longer
/// by whoever serves its reverse zone.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
/// How long it is believed that a domain has no hosts.
const NONE: Duration = Duration::from_secs(30);
/// So many domains are kept.
const KEPT: usize = 4096;
/// So many are looked up at once; others wait, within their patience.
const AT_ONCE: usize = 256;

/// What finds the hosts of domains. Shared by the workers of one configuration.
#[derive(Debug)]
pub struct Directory {
    control: Handle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Result<Resolver, ResolveError>,
    registry: Arc<Registry>,
    listeners: Vec<SocketAddr>,
    kept: Mutex<HashMap<Domain, Arc<Entry>>>,
    room: Semaphore,
    /// For names of clients, who shall not keep domains waiting by having none.
    room_for_names: Semaphore,
    /// What TLS with hosts goes by that only a rung names, once there are any.
    tls: OnceLock<Option<Arc<ClientTls>>>,
}

/// What is known of a domain. Whoever finds it old asks; the others wait for that.
#[derive(Debug, Default)]
struct Entry(tokio::sync::Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    until: Instant,
    hosts: Result<Arc<DomainHosts>, NotFound>,
}

/// The hosts of a domain.
#[derive(Debug)]
struct DomainHosts {
    domain: Domain,
    pool: Pool,
}

impl Directory {
    /// One that asks as `config` says, on the runtime it is made on: the control thread's.
    pub fn new(config: &Config, registry: &Arc<Registry>) -> Self {
        let shared = Shared {
            resolver: Resolver::new(&config.dns),
            registry: Arc::clone(registry),
            listeners: config.listeners.iter().flat_map(|one| one.addresses.iter().copied()).collect(),
            kept: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
            room_for_names: Semaphore::new(AT_ONCE),
            tls: OnceLock::new(),
        };
        Self { control: Handle::current(), shared: Arc::new(shared) }
    }

    /// Whether a dial to this address would reach one of our own listeners.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        own_listener(&Address::Ip(address), &self.shared.listeners).is_some()
    }

    /// What is known of hosts.
    pub(super) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Looks a client's name up, for no longer than `bound` either. The future may be polled on any thread.
    pub fn client_name(
        &self,
        ip: IpAddr,
        bound: Duration,
    ) -> impl Future<Output = ClientName> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let bound = bound.min(NAME_PATIENCE);
        let asking = self.control.spawn(async move { shared.client_name(ip, bound).await });
        // The control thread is gone, or a defect took the lookup along.
        async { asking.await.unwrap_or(ClientName::Unknown) }
    }

    /// Looks a domain up for `pool`, or for a rung where there is none. The future may be polled on any thread.
    pub fn look_up(&self, domain: Domain, pool: Option<Arc<Pool>>) -> LookUp {
        let shared = Arc::clone(&self.shared);
        LookUp(self.control.spawn(async move { shared.hosts(domain, pool).await }))
    }
}

/// A lookup under way. Dropped, it goes on for whoever asks next.
#[derive(Debug)]
pub struct LookUp(JoinHandle<Result<Arc<DomainHosts>, NotFound>>);

impl Future for LookUp {
    type Output = Result<Arc<dyn Destination>, NotFound>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The control thread is gone, or a defect took the lookup along.
        let hosts = ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(NotFound::Unknown));
        Poll::Ready(hosts.map(|hosts| hosts as Arc<dyn Destination>))
    }
}

impl Shared {
    async fn hosts(&self, domain: Domain, pool: Option<Arc<Pool>>) -> Result<Arc<DomainHosts>, NotFound> {
        let entry = self.entry(&domain);
        let mut known = entry.0.lock().await;
        if let Some(known) = known.as_ref().filter(|known| Instant::now() < known.until) {
            return known.hosts.clone();
        }
        let answer = self.ask(&domain).await;
        let (hosts, lasts) = match answer {
            Ok((found, ttl)) => {
                let pool = match pool {
                    Some(pool) => pool.of_domain(&found, &self.registry),
                    None => {
                        let rungs = PoolSpec { tls: self.opportunistic(), ..rungs(domain.port) };
                        Pool::new(rungs, &self.registry).of_domain(&found, &self.registry)
                    }
                };
                (Ok(Arc::new(DomainHosts { domain, pool })), ttl)
            }
            Err(NotFound::Unknown) => (Err(NotFound::Unknown), RETRY),
            Err(none) => (Err(none), NONE),
        };
        *known = Some(Known { until: Instant::now() + lasts, hosts: hosts.clone() });
        hosts
    }

    async fn client_name(&self, ip: IpAddr, bound: Duration) -> ClientName {
        let Ok(resolver) = &self.resolver else { return ClientName::Unknown };
        let asked = async {
            let _room = self.room_for_names.acquire().await;
            resolver.client_name(ip.to_canonical(), bound).await
        };
        tokio::time::timeout(bound, asked).await.unwrap_or(ClientName::Unknown)
    }

    /// What DNS says, our own listeners left out.
    async fn ask(&self, domain: &Domain) -> Result<(Vec<Found>, Duration), NotFound> {
        let (mut found, ttl) = match literal(&domain.name) {
            Some(ip) => {
                let ip = ip.ok_or(NotFound::NoDomain)?;
                let name = domain.name.clone();
                (vec![Found { name, port: None, preference: 0, weight: 1, addresses: vec![ip] }], *TTL.end())
            }
            None => {
                let resolver = self.resolver.as_ref().map_err(|_| NotFound::Unknown)?;
                let question = Question::Mx(domain.name.clone());
                let asked = async {
                    let _room = self.room.acquire().await;
                    resolver.ask(&question, PATIENCE).await
                };
                let answer = tokio::time::timeout(PATIENCE, asked).await;
                let resolved = answer.unwrap_or(Err(ResolveError::TimedOut(PATIENCE))).map_err(|error| {
                    if burst::admits(Kind::Dns) {
                        tracing::info!(record = question.record(), name = &*domain.name, %error, "DNS: cannot resolve");
                    }
                    error.not_found()
                })?;
                (resolved.hosts, resolved.ttl)
            }
        };
        let own = |host: &Found| {
            host.at(domain.port).any(|at| own_listener(&Address::Ip(at), &self.listeners).is_some())
        };
        if let Some(ours) = found.iter().filter(|host| own(host)).map(|host| host.preference).min() {
            tracing::warn!(domain = &*domain.name, "we are a mail host of this domain");
            found.retain(|host| host.preference < ours);
        }
        if found.is_empty() { Err(NotFound::Loop) } else { Ok((found, ttl)) }
    }

    fn opportunistic(&self) -> Option<Arc<ClientTls>> {
        // It names no file that could be wrong.
        let load = || ClientTls::load(&client::opportunistic()).ok().map(Arc::new);
        self.tls.get_or_init(load).clone()
    }

    fn entry(&self, domain: &Domain) -> Arc<Entry> {
        // Nothing below can panic half-way, so a poisoned map is a whole one.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = kept.get(domain) {
            return Arc::clone(entry);
        }
        if kept.len() >= KEPT {
            let now = Instant::now();
            let fresh = |entry: &Entry| {
                // One that is being asked about is in use.
                let known = entry.0.try_lock();
                known.map_or(true, |known| known.as_ref().is_some_and(|known| now < known.until))
            };
            kept.retain(|_, entry| fresh(entry));
        }
        if kept.len() >= KEPT
            && let Some(any) = kept.keys().next().cloned()
        {
            kept.remove(&any);
        }
        Arc::clone(kept.entry(domain.clone()).or_default())
    }
}

impl Destination for DomainHosts {
    fn domain(&self) -> &Domain {
        &self.domain
    }

    fn pick(&self, tried: &[TargetId], now: Instant) -> Pick {
        picked(self.pool.next(tried, now))
    }
}

/// How hosts that only a rung names are dialled.
fn rungs(port: u16) -> PoolSpec {
    PoolSpec {
        name: "mx".into(),
        kind: PoolKind::ByRecipient(port),
        balance: Balance::First,
        hosts: Vec::new(),
        found_by: None,
        sessions: 0,
        probed: None,
        terms: HopTerms { tls: HopTls::Opportunistic, ..HopTerms::default() },
        tls: None,
    }
}

/// The address of a literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]`; `Some(None)`: one that is none.
fn literal(name: &str) -> Option<Option<IpAddr>> {
    let inside = name.strip_prefix('[')?.strip_suffix(']').unwrap_or_default();
    let v6 = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).map(|_| &inside[5..]);
    Some(match v6 {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => inside.parse().ok().map(IpAddr::V4),
    })
}
