//! The pools as sessions see them.
//!
//! In:    [`Hops::pick`] with a pool's number and what was tried.
//! Out:   a [`Host`], which is a [`Lease`]: its dialog counts as open until the session lets go of it.
//! Never: knows a session, or which of its dialogs a host is for.

use std::sync::Arc;
use std::time::Instant;

use super::{Change, Lease, Pick, Pool, Pools, Why};
use crate::session::route::{self, Hops, Host, HostNews, PoolId, TargetId};

/// The pools of one configuration by number: the order of their names.
#[derive(Debug)]
pub struct HopSet(Box<[Arc<Pool>]>);

impl HopSet {
    /// The pools, numbered.
    pub fn new(pools: &Pools) -> HopSet {
        HopSet(pools.iter().cloned().collect())
    }

    /// The number of the pool called `name`.
    pub fn id(&self, name: &str) -> Option<PoolId> {
        let index = self.0.iter().position(|pool| **pool.name() == *name)?;
        u16::try_from(index).ok().map(PoolId)
    }
}

impl Hops for HopSet {
    fn pick(&self, pool: PoolId, tried: &[TargetId], now: Instant) -> route::Pick {
        match self.0.get(usize::from(pool.0)).map(|pool| pool.next(tried, now)) {
            Some(Pick::Host(picked)) => {
                route::Pick::Host(route::Picked { host: Arc::new(picked.lease), more: picked.more })
            }
            Some(Pick::Busy) => route::Pick::Busy,
            Some(Pick::None) | None => route::Pick::None,
        }
    }
}

impl Host for Lease {
    fn id(&self) -> TargetId {
        self.target().id()
    }

    fn name(&self) -> &Arc<str> {
        self.target().shared_name()
    }

    fn news(&self, news: HostNews, now: Instant) {
        let change = match news {
            HostNews::Serves => self.succeeded(),
            HostNews::NotConnected => self.failed(Why::Connect, now),
            HostNews::ConnectTimedOut => self.failed(Why::ConnectTimeout, now),
            HostNews::NoService => self.failed(Why::NoService, now),
            HostNews::NoGreeting => self.failed(Why::NoGreeting, now),
            HostNews::Refused => self.failed(Why::Greeting, now),
        };
        let host = self.target().name();
        match change {
            Change::None => {}
            Change::Ejected(time) => tracing::warn!(host, ?time, "hop: ejected"),
            Change::Restored => tracing::info!(host, "hop: restored"),
        }
    }
}
