//! Where mail goes: pools of hosts, their health, their addresses, connecting, the embedded sink.
//!
//! In:    the upstreams of the configuration; the outcome of each attempt at a host.
//! Out:   one [`Pick`] per attempt: the host to dial next, with the [`Lease`] that counts the dialog; an open
//!        [`Stream`](crate::net::stream::Stream) for it.
//! Never: speaks SMTP to a hop (the session does; only the [`sink`] speaks, as a server), or decides what the
//!        client hears.
//!
//! The order of the flow: [`resolve`] turns names into addresses, [`pool`] picks one of them, [`mod@connect`] dials
//! it, [`health`] hears how it went. RFC 5321 5 (several addresses of one host are tried in order).

pub mod connect;
pub mod health;
pub mod pool;
pub mod resolve;
pub mod serve;
pub mod sink;
pub mod target;

pub use connect::connect;
pub use health::{Change, HopCounts, Lease, Registry, Why};
pub use pool::{HostHealth, Pick, Picked, Pool, PoolSpec};
pub use resolve::{HostReport, Pools, Refresher, Resolver, resolve_all};
pub use serve::HopSet;
pub use target::{Address, Endpoint, HostSpec, Target, TargetId};
