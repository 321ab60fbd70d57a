//! What DNS says about where mail goes: addresses of names, hosts of domains and services.
//!
//! In:    a [`Question`].
//! Out:   the hosts it leads to with their addresses, in order and bounded in number, and for how long that holds; or
//!        a [`ResolveError`], which knows whether asking again later could help.
//! Never: keeps anything (the refresher and the directory do), takes silence for an answer, drops an answer because
//!        another is missing, or believes more records than anybody sane has.
//!
//! RFC 5321 5.1 (MX, implicit MX), RFC 7505 (null MX), RFC 2782 (SRV). CNAMEs are followed by the resolver, eight
//! deep at most. IPv4 addresses come before IPv6 ones and both are sorted: servers rotate their answers. Names of
//! mail hosts are asked of DNS alone; `/etc/hosts` and the search list are for names in the configuration. `addresses`
//! has the last step.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};

use super::addresses::Bound;
use crate::config::types::Dns;
use crate::session::route::NotFound;

/// Bounds of what a TTL is taken as.
pub const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3600);
/// The shortest time a question that failed is left alone.
pub const RETRY: Duration = Duration::from_secs(5);
/// What a weight of 1 is multiplied by, so that one of 0 still has "a very small chance" (RFC 2782).
const WEIGHT: u32 = 100;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// The addresses of a host.
    Name(Box<str>),
    /// The mail hosts of a domain.
    Mx(Box<str>),
    /// The hosts of a service: `_smtp._tcp.example.com`.
    Srv(Box<str>),
}

impl Question {
    /// The type of what is asked for.
    pub fn record(&self) -> &'static str {
        match self {
            Self::Name(_) => "A, AAAA",
            Self::Mx(_) => "MX",
            Self::Srv(_) => "SRV",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mx(domain) => write!(f, "mx {domain}"),
            Self::Srv(service) => write!(f, "srv {service}"),
        }
    }
}

/// A host that a question led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: Box<str>,
    /// Its port, where the record says one.
    pub port: Option<u16>,
    /// Lower ones are tried first.
    pub preference: u16,
    /// Its share among those of the same preference.
    pub weight: u32,
    /// Its addresses, in the order they are tried.
    pub addresses: Vec<IpAddr>,
}

impl Found {
    /// Where it is dialled.
    pub fn at(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(move |&ip| SocketAddr::new(ip, port))
    }
}

/// What a question led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The hosts with an address, the most preferred first; never empty.
    pub hosts: Vec<Found>,
    /// How long they may be used, within our bounds.
    pub ttl: Duration,
}

/// Why a question led nowhere.
#[derive(Clone, Debug)]
pub enum ResolveError {
    /// The resolver cannot be set up.
    Setup(NetError),
    /// The question failed.
    Lookup(NetError),
    /// The name exists, and nothing that was asked for.
    NoAddress,
    /// The domain takes no mail (RFC 7505), or the service is not offered (RFC 2782).
    NotOffered,
    /// No answer in the time there was.
    TimedOut(Duration),
}

impl ResolveError {
    /// The same, as a session must know it.
    pub fn not_found(&self) -> NotFound {
        match self {
            Self::NoAddress => NotFound::NoDomain,
            Self::NotOffered => NotFound::NullMx,
            Self::Lookup(error) if is_no_record(error) => NotFound::NoDomain,
            Self::Setup(_) | Self::Lookup(_) | Self::TimedOut(_) => NotFound::Unknown,
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => write!(f, "resolver: {error}"),
            Self::Lookup(error) if error.is_nx_domain() => f.write_str("no such name"),
            Self::Lookup(error) if is_no_record(error) => f.write_str("no address"),
            Self::Lookup(error) => error.fmt(f),
            Self::NoAddress => f.write_str("no address"),
            Self::NotOffered => f.write_str("takes no mail"),
            Self::TimedOut(time) => write!(f, "no answer within {} s", time.as_secs()),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Asks the servers.
#[derive(Clone)]
pub struct Resolver {
    /// Asks for IPv4 addresses where the family is left to it, and for all that is no address.
    pub(super) v4: TokioResolver,
    /// Asks for IPv6 addresses.
    pub(super) v6: TokioResolver,
}

impl Resolver {
    /// One that asks `dns.servers`, or whom the system asks; `/etc/hosts` is honoured before either.
    pub fn new(dns: &Dns) -> Result<Self, ResolveError> {
        let (config, options) = if dns.servers.is_empty() {
            system_conf::read_system_conf().unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read the system's resolver configuration: only its hosts file is used");
                (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
            })
        } else {
            let servers = dns.servers.iter().copied().map(name_server).collect();
            let mut options = ResolverOpts::default();
            options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
            (ResolverConfig::from_name_servers(servers), options)
        };
        let of = |strategy| {
            let runtime = TokioRuntimeProvider::default();
            let mut builder =
                TokioResolver::builder_with_config(config.clone(), runtime).with_options(options.clone());
            let options = builder.options_mut();
            options.ip_strategy = strategy;
            options.use_hosts_file = ResolveHosts::Always;
            // The refresher and the directory are the cache; this one must not make them wait for what has changed
            // already.
            options.positive_max_ttl = Some(*TTL.start());
            options.negative_max_ttl = Some(RETRY);
            options.cache_size = 64;
            builder.build().map_err(ResolveError::Setup)
        };
        // Two, since one that asks for both families tells of neither before it has heard of both.
        Ok(Self { v4: of(LookupIpStrategy::Ipv4Only)?, v6: of(LookupIpStrategy::Ipv6Only)? })
    }

    /// Asks, and asks again for what the answer names, until all is known or `bound` is over. What is known then counts,
    /// for a short time.
    pub async fn ask(&self, question: &Question, bound: Duration) -> Result<Resolved, ResolveError> {
        let bound = Bound::new(bound);
        match question {
            Question::Name(name) => {
                let addresses = Vec::new();
                let host = Found { name: name.clone(), port: None, preference: 0, weight: 1, addresses };
                self.addresses_of(host, bound).await
            }
            Question::Mx(domain) => self.mx(domain, bound).await,
            Question::Srv(service) => self.srv(service, bound).await,
        }
    }

    async fn mx(&self, domain: &str, bound: Bound) -> Result<Resolved, ResolveError> {
        let host = |name: &Name, preference| {
            Some(Found { name: text(name)?, port: None, preference, weight: 1, addresses: Vec::new() })
        };
        let question = rooted(domain)?;
        let lookup = match bound.answer(self.v4.lookup(question.clone(), RecordType::MX)).await? {
            Ok(lookup) => lookup,
            // RFC 5321 5.1: without an MX the domain itself is the host, if it has an address.
            Err(error) if is_no_record(&error) && !error.is_nx_domain() => {
                let implicit = host(&question, 0).ok_or(ResolveError::NoAddress)?;
                return self.addresses(vec![implicit], *TTL.end(), bound).await;
            }
            Err(error) => return Err(ResolveError::Lookup(error)),
        };
        let records: Vec<_> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, &mx.exchange)),
                _ => None,
            })
            .collect();
        let hosts = records
            .iter()
            .filter(|(_, exchange)| !exchange.is_root())
            .filter_map(|(preference, exchange)| host(exchange, *preference));
        let hosts: Vec<Found> = hosts.collect();
        if hosts.is_empty() && records.iter().any(|(_, exchange)| exchange.is_root()) {
            return Err(ResolveError::NotOffered);
        }
        self.addresses(hosts, ttl(&lookup), bound).await
    }

    async fn srv(&self, service: &str, bound: Bound) -> Result<Resolved, ResolveError> {
        let lookup = bound.answer(self.v4.lookup(rooted(service)?, RecordType::SRV)).await?;
        let lookup = lookup.map_err(ResolveError::Lookup)?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        });
        let (mut hosts, mut not_offered) = (Vec::new(), false);
        for record in records {
            not_offered |= record.target.is_root();
            if let (false, Some(name)) = (record.target.is_root(), text(&record.target)) {
                hosts.push(Found {
                    name,
                    port: Some(record.port).filter(|&port| port > 0),
                    preference: record.priority,
                    weight: (u32::from(record.weight) * WEIGHT).max(1),
                    addresses: Vec::new(),
                });
            }
        }
        if hosts.is_empty() && not_offered {
            return Err(ResolveError::NotOffered);
        }
        self.addresses(hosts, ttl(&lookup), bound).await
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// Whether a server said that there is no such thing; all else is no answer.
pub(super) fn is_no_record(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(none))
        if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain))
}

pub(super) fn ttl(lookup: &Lookup) -> Duration {
    let least = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    Duration::from_secs(least.into()).clamp(*TTL.start(), *TTL.end())
}

/// A name that the search list does not apply to. One that DNS cannot hold does not exist.
pub(super) fn rooted(name: &str) -> Result<Name, ResolveError> {
    let mut name = Name::from_ascii(name).map_err(|_| ResolveError::NoAddress)?;
    name.set_fqdn(true);
    Ok(name)
}

/// The name as a configuration would say it; `None` for one that could not stand in a log or be dialled.
pub(super) fn text(name: &Name) -> Option<Box<str>> {
    let text = name.to_lowercase().to_ascii();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    (!text.is_empty() && text.bytes().all(plain)).then(|| text.into())
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}
