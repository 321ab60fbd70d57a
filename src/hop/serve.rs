//! The pools as sessions see them.
//!
//! In:    [`NextHops::pick`] with a pool's number and what was tried; a domain to look up.
//! Out:   a [`Host`], which is a [`Lease`]: its dialog counts as open until the session lets go of it.
//! Never: knows a session, or which of its dialogs a host is for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::offered::Withdrawn;
use super::{Change, Directory, Lease, LookUp, Pick, Pool, Pools, Why};
use crate::log::Seldom;
use crate::log::burst::{self, Kind};
use crate::session::client::ClientName;
use crate::session::route::{self, Domain, HopTerms, Host, HostNews, NextHops, PoolId, PoolKind, TargetId};

/// The pools of one configuration by number: the order of their names.
#[derive(Debug)]
pub struct HopSet {
    pools: Box<[Arc<Pool>]>,
    directory: Directory,
}

impl HopSet {
    /// The pools, numbered, and what finds the hosts of domains.
    pub fn new(pools: &Pools, directory: Directory) -> HopSet {
        HopSet { pools: pools.iter().cloned().collect(), directory }
    }

    /// The number of the pool called `name`.
    pub fn id(&self, name: &str) -> Option<PoolId> {
        let index = self.pools.iter().position(|pool| **pool.name() == *name)?;
        u16::try_from(index).ok().map(PoolId)
    }

    /// Looks the hosts of a domain up.
    pub fn look_up(&self, domain: Domain) -> LookUp {
        let pool = domain.pool.and_then(|pool| self.pool(pool)).cloned();
        self.directory.look_up(domain, pool)
    }

    /// Looks a client's name up, for no longer than `bound`.
    pub fn client_name(
        &self,
        ip: IpAddr,
        bound: Duration,
    ) -> impl Future<Output = ClientName> + Send + use<> {
        self.directory.client_name(ip, bound)
    }

    fn pool(&self, pool: PoolId) -> Option<&Arc<Pool>> {
        self.pools.get(usize::from(pool.0))
    }
}

impl NextHops for HopSet {
    fn pick(&self, pool: PoolId, tried: &[TargetId], now: Instant) -> route::Pick {
        let Some(pool) = self.pool(pool) else { return route::Pick::None };
        if pool.kind() == PoolKind::Original {
            static NOWHERE: Seldom = Seldom::new();
            if let Some(more) = NOWHERE.is_due() {
                let upstream = &**pool.name();
                tracing::warn!(upstream, more, "original_destination: the client's is not known");
            }
        }
        picked(pool.next(tried, now))
    }

    fn pick_at(&self, pool: PoolId, to: SocketAddr, tried: &[TargetId], now: Instant) -> route::Pick {
        // What a PROXY header says, or a client at a listener that intercepts nobody: not gatepost's own address.
        if self.directory.is_own(to) {
            static LOOPS: Seldom = Seldom::new();
            if let Some(more) = LOOPS.is_due() {
                tracing::warn!(destination = %to, more, "original_destination: it is gatepost itself");
            }
            return route::Pick::None;
        }
        let registry = self.directory.registry();
        self.pool(pool).map_or(route::Pick::None, |pool| picked(pool.next_at(to, tried, registry, now)))
    }

    fn kind(&self, pool: PoolId) -> PoolKind {
        self.pool(pool).map_or(PoolKind::Smtp, |pool| pool.kind())
    }

    fn is_stressed(&self, pool: PoolId) -> bool {
        self.pool(pool).is_some_and(|pool| pool.is_stressed())
    }
}

/// A pick as a session sees it.
pub(super) fn picked(pick: Pick) -> route::Pick {
    match pick {
        Pick::Host(picked) => {
            route::Pick::Host(route::Picked { host: Arc::new(picked.lease), more: picked.more })
        }
        Pick::Busy => route::Pick::Busy,
        Pick::None => route::Pick::None,
    }
}

impl Host for Lease {
    fn id(&self) -> TargetId {
        self.target().id()
    }

    fn name(&self) -> &Arc<str> {
        self.target().shared_name()
    }

    fn terms(&self) -> HopTerms {
        self.target().terms()
    }

    fn offers_tls(&self, now: Instant) {
        self.target().offers_tls(now);
    }

    fn has_offered_tls(&self, now: Instant) -> bool {
        self.target().has_offered_tls(now)
    }

    fn news(&self, news: HostNews, now: Instant) {
        let why = match news {
            HostNews::Serves => return tell(self.succeeded(now), self.target().name(), None),
            HostNews::NotConnected => Why::Connect,
            HostNews::ConnectTimedOut => Why::ConnectTimeout,
            HostNews::NoService => Why::NoService,
            HostNews::NotSecured => Why::Tls,
            HostNews::TlsWithdrawn { plain: true } => return self.withdrew(Withdrawn::Plain),
            HostNews::TlsWithdrawn { plain: false } => return self.withdrew(Withdrawn::NotUsed),
            HostNews::NoGreeting => Why::NoGreeting,
            HostNews::Refused => Why::Greeting,
            HostNews::HelloRefused => Why::Hello,
        };
        tell(self.failed(why, now), self.target().name(), Some(why));
    }
}

/// Says what others will notice, and of a host that is put aside what failed last.
pub(super) fn tell(change: Change, host: &str, why: Option<Why>) {
    if change == Change::None || !burst::admits(Kind::Ejection) {
        return;
    }
    match change {
        Change::None => {}
        Change::Ejected(time) => tracing::warn!(host, why = why.map(Why::as_str), ?time, "hop: ejected"),
        Change::Restored => tracing::info!(host, "hop: restored"),
    }
}
