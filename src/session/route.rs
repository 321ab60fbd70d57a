//! Where mail goes: pools, hosts, and how a session asks for one.
//!
//! In:    a pool and the hosts already tried.
//! Out:   the next host to try, by [`Hops`]; what became of it goes back, so that failing hosts can be ejected.
//! Never: resolves a name or opens a socket; `hop/` implements the trait, tests script it.

use std::sync::Arc;
use std::time::Instant;

/// A pool of `upstreams:`, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// One address of one host of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TargetId {
    /// The pool.
    pub pool: PoolId,
    /// The host's address, numbered for as long as the process runs.
    pub number: u32,
}

/// A host to try.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Which.
    pub target: TargetId,
    /// `host:port`, for logs.
    pub name: Arc<str>,
    /// Whether another untried host remains after it.
    pub more: bool,
}

/// What a pool has to offer.
#[derive(Clone, Debug)]
pub enum Pick {
    /// This host.
    Host(Picked),
    /// Every host not tried yet holds as many dialogs as `upstreams.*.sessions` allows.
    Busy,
    /// Every host was tried, or there is none.
    None,
}

/// What a host did, as far as it counts for or against it (semantics.md section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostNews {
    /// It greeted with 220.
    Greeted,
    /// It refused the connection or let it time out, did not greet, greeted with 4xx, or said 421 before the
    /// client's first command.
    Failed,
}

/// The pools, as a session sees them.
pub trait Hops: Send + Sync {
    /// The next host of a pool that is not among `tried`. Holds a place in it until [`Hops::release`].
    fn pick(&self, pool: PoolId, tried: &[TargetId], now: Instant) -> Pick;

    /// The dialog with a picked host is over.
    fn release(&self, target: TargetId);

    /// A host did something that counts.
    fn news(&self, target: TargetId, news: HostNews, now: Instant);
}
