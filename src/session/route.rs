//! Where mail goes: pools, hosts, and how a session asks for one.
//!
//! In:    a pool and the hosts already tried.
//! Out:   the next host to try, by [`Hops`]; what became of it goes back, so that failing hosts can be ejected.
//! Never: resolves a name or opens a socket; `hop/` implements the trait, tests script it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A pool of `upstreams:`, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// One address of one host. Equal wherever the same host stands at the same address; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

/// A host that was picked. While it is held, its dialog counts among the host's.
pub trait Host: Any + Send + Sync + fmt::Debug {
    /// Which.
    fn id(&self) -> TargetId;

    /// `host:port`, for logs.
    fn name(&self) -> &Arc<str>;

    /// It did something that counts.
    fn news(&self, news: HostNews, now: Instant);
}

/// A host to try.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The host.
    pub host: Arc<dyn Host>,
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

/// What a host did, as far as it counts for or against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostNews {
    /// It answered a command after its greeting.
    Serves,
    /// The connection was refused.
    NotConnected,
    /// The connection took too long.
    ConnectTimedOut,
    /// It did not greet.
    NoGreeting,
    /// It greeted with 4xx.
    Refused,
    /// It said 421 before the client's first command.
    NoService,
}

/// The pools, as a session sees them.
pub trait Hops: Send + Sync {
    /// The next host of a pool that is not among `tried`.
    fn pick(&self, pool: PoolId, tried: &[TargetId], now: Instant) -> Pick;
}
