//! Where mail goes: pools of hosts, their health, their addresses, connecting, the embedded sink.
//!
//! In:    the upstreams of the configuration; the outcome of each attempt at a host.
//! Out:   one [`Pick`] per attempt: the host to dial next, with the [`Lease`] that counts the dialog; an open
//!        [`Stream`](crate::stream::Stream) for it.
//! Never: speaks SMTP to a hop for a client (the session does; the [`sink`] speaks as a server, a [`probe`] for
//!        itself), or decides what the client hears.
//!
//! The order of the flow: [`dns`] answers; [`resolve`] keeps the pools fresh with it and the [`directory`] has what only
//! recipients name and what clients are called; [`pool`] picks a target, [`mod@connect`] dials it with the client's
//! [`identity`], [`health`] hears how it went, from sessions and from the [`probe`]. RFC 5321 5 (several addresses of one
//! host are tried in order).

mod addresses;
mod balance;
mod client_name;
pub mod connect;
pub mod dialog;
pub mod directory;
pub mod dns;
mod figures;
pub mod health;
pub mod identity;
pub mod offered;
pub mod pool;
pub mod probe;
pub mod registry;
pub mod resolve;
pub mod serve;
pub mod sink;
pub mod target;

pub use connect::{Connected, NotConnected, connect};
pub use directory::{Directory, LookUp};
pub use dns::{ResolveError, Resolver};
pub use health::{Change, HopCounts, Lease, Probe, Why};
pub use identity::Introduction;
pub use pool::{HostHealth, Pick, Picked, Pool, PoolSpec};
pub use probe::Prober;
pub use registry::Registry;
pub(crate) use resolve::own_listener;
pub use resolve::{HostReport, Pools, Refresher, resolve_all};
pub use serve::HopSet;
pub use target::{Address, Endpoint, HostSpec, Target, TargetId};
