//! The addresses of hosts, asked for all at once: those that are known are used, whoever is silent about the rest.
//!
//! In:    hosts without addresses; one question for each and each family.
//! Out:   the hosts that have some, in order and bounded in number, and for how long that holds: not long where
//!        somebody was silent, so that he is asked again.
//! Never: has an answer that is there wait for one that may never come longer than [`REST`].
//!
//! RFC 8305 3 (one family's answer is not held up by the other's), RFC 5321 5.1.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RecordType;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::dns::{Found, RETRY, ResolveError, Resolved, Resolver, TTL, is_no_record, rooted, ttl};
use crate::session::route::NotFound;

/// So long the rest is waited for once something is known that is of use.
const REST: Duration = Duration::from_secs(2);
/// Addresses of one name that are used; more come from nobody sane.
const ADDRESSES_MAX: usize = 32;
/// Hosts of one domain or service that are used, the most preferred.
const HOSTS_MAX: usize = 32;
/// Addresses of all of them together.
const ALL_ADDRESSES_MAX: usize = 64;

/// Until when answers are waited for, and for how long that was when the question was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    until: Instant,
    whole: Duration,
}

impl Bound {
    /// From now on.
    pub(super) fn new(whole: Duration) -> Self {
        Self { until: Instant::now() + whole, whole }
    }

    /// One answer, without which there is nothing.
    pub(super) async fn answer<T>(self, answer: impl Future<Output = T>) -> Result<T, ResolveError> {
        timeout_at(self.until, answer).await.map_err(|_| self.silence())
    }

    /// Hands in answers until all are there, until the time is over, or until [`REST`] after the first that is of use.
    /// Returns whether all were.
    pub(super) async fn answers<T: 'static>(
        self,
        mut questions: JoinSet<T>,
        mut is_of_use: impl FnMut(T) -> bool,
    ) -> bool {
        let (mut until, mut all) = (self.until, true);
        loop {
            match timeout_at(until, questions.join_next()).await {
                Ok(Some(Ok(answer))) => {
                    if is_of_use(answer) {
                        until = until.min(Instant::now() + REST);
                    }
                }
                // One that panicked has no answer.
                Ok(Some(Err(_))) => all = false,
                Ok(None) => return all,
                Err(_) => return false,
            }
        }
    }

    fn silence(self) -> ResolveError {
        ResolveError::TimedOut(self.whole)
    }
}

/// What one question about one host came to.
type Answer = Result<(Vec<IpAddr>, Duration), ResolveError>;

impl Resolver {
    /// Finds the addresses of a host of the configuration: `/etc/hosts` and the search list apply.
    pub(super) async fn addresses_of(&self, host: Found, bound: Bound) -> Result<Resolved, ResolveError> {
        let mut questions = JoinSet::new();
        for resolver in [&self.v4, &self.v6] {
            let (resolver, name) = (resolver.clone(), host.name.to_string());
            questions.spawn(async move {
                let found = resolver.lookup_ip(name).await.map_err(ResolveError::Lookup)?;
                Ok((found.iter().collect(), ttl(found.as_lookup())))
            });
        }
        let mut known = Known { hosts: vec![host], ttl: *TTL.end(), error: None };
        let all = bound.answers(questions, |answer| known.hears(0, answer)).await;
        known.result(all, bound)
    }

    /// Finds the addresses of mail hosts. One whose addresses cannot be had now is left out while another has some.
    pub(super) async fn addresses(
        &self,
        mut hosts: Vec<Found>,
        ttl: Duration,
        bound: Bound,
    ) -> Result<Resolved, ResolveError> {
        hosts.sort_by(|one, other| (one.preference, &one.name).cmp(&(other.preference, &other.name)));
        hosts.dedup_by(|one, other| (&one.name, one.port) == (&other.name, other.port));
        hosts.truncate(HOSTS_MAX);
        let mut questions = JoinSet::new();
        for (index, host) in hosts.iter().enumerate() {
            for family in [RecordType::A, RecordType::AAAA] {
                let (resolver, name) = (self.v4.clone(), rooted(&host.name));
                questions.spawn(async move {
                    let answer = match name {
                        Ok(name) => family_of(resolver.lookup(name, family).await),
                        Err(error) => Err(error),
                    };
                    (index, answer)
                });
            }
        }
        let mut known = Known { hosts, ttl, error: None };
        let all = bound.answers(questions, |(index, answer)| known.hears(index, answer)).await;
        known.result(all, bound)
    }
}

fn family_of(answer: Result<Lookup, NetError>) -> Answer {
    match answer {
        Ok(lookup) => {
            Ok((lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect(), ttl(&lookup)))
        }
        // That one family has none is no failure of the host.
        Err(error) if is_no_record(&error) => Err(ResolveError::NoAddress),
        Err(error) => Err(ResolveError::Lookup(error)),
    }
}

/// Hosts, as far as their addresses are known.
struct Known {
    hosts: Vec<Found>,
    ttl: Duration,
    error: Option<ResolveError>,
}

impl Known {
    /// Whether an answer about one of them is of use.
    fn hears(&mut self, index: usize, answer: Answer) -> bool {
        match answer {
            Ok((addresses, for_so_long)) => {
                let Some(host) = self.hosts.get_mut(index) else { return false };
                self.ttl = self.ttl.min(for_so_long);
                host.addresses.extend(addresses);
                !host.addresses.is_empty()
            }
            Err(failed) => {
                let temporary = failed.not_found() == NotFound::Unknown;
                if temporary {
                    self.ttl = self.ttl.min(RETRY);
                }
                if temporary || self.error.is_none() {
                    self.error = Some(failed);
                }
                false
            }
        }
    }

    /// What there is. `all`: nobody was silent.
    fn result(mut self, all: bool, bound: Bound) -> Result<Resolved, ResolveError> {
        let mut room = ALL_ADDRESSES_MAX;
        for host in &mut self.hosts {
            host.addresses = in_order(std::mem::take(&mut host.addresses));
            host.addresses.truncate(room);
            room -= host.addresses.len();
        }
        self.hosts.retain(|host| !host.addresses.is_empty());
        match self.error {
            _ if !self.hosts.is_empty() => {
                let ttl = if all { self.ttl } else { self.ttl.min(RETRY) };
                Ok(Resolved { hosts: self.hosts, ttl })
            }
            Some(error) if all || error.not_found() == NotFound::Unknown => Err(error),
            None if all => Err(ResolveError::NoAddress),
            _ => Err(bound.silence()),
        }
    }
}

fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}
