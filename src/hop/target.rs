//! A place that can be dialled, and how it was named.
//!
//! In:    one host of an upstream as the configuration gives it ([`HostSpec`]), and what it resolved to.
//! Out:   a [`Target`]: one address of one host, cheap to clone, with an identity that survives refreshes.
//! Never: holds a connection, or a figure that changes; those are in `health.rs`.
//!
//! A name with three addresses is one host with three targets: dialogs are bounded per host, failures are
//! counted per address.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;

use super::health::{AddressState, HopCounts, HostState};
use crate::config::{scoped, types};
use crate::tls::ClientTls;
use crate::tls::client::TlsClient;

use crate::session::route::HopTerms;
pub use crate::session::route::TargetId;

/// Where a connection is made to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and port.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(Arc<Path>),
    /// The embedded sink, storing into the Maildir at this path.
    Sink(Arc<Path>),
}

impl Address {
    /// Whether a dialog with it cannot be overheard on the way.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) | Self::Sink(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Sink(path) => write!(f, "sink:{}", path.display()),
        }
    }
}

/// One host as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address; nothing is left to resolve.
    Ip(SocketAddr),
    /// A name to resolve, and the port.
    Name {
        /// The host name, as written.
        name: Box<str>,
        /// The port to dial.
        port: u16,
    },
    /// `unix:/path`.
    Unix(Arc<Path>),
    /// `sink: ./mail`.
    Sink(Arc<Path>),
}

impl Endpoint {
    /// What its certificate would be for.
    pub fn host_name(&self) -> Option<String> {
        match self {
            Self::Ip(address) => Some(address.ip().to_string()),
            Self::Name { name, .. } => Some(name.to_string()),
            Self::Unix(_) | Self::Sink(_) => None,
        }
    }

    /// Its only address, unless it is a name and has to be resolved first.
    pub fn fixed(&self) -> Option<Address> {
        match self {
            Self::Ip(address) => Some(Address::Ip(*address)),
            Self::Name { .. } => None,
            Self::Unix(path) => Some(Address::Unix(path.clone())),
            Self::Sink(path) => Some(Address::Sink(path.clone())),
        }
    }
}

impl From<&types::Target> for Endpoint {
    fn from(target: &types::Target) -> Self {
        match target {
            types::Target::Tcp { host, port } => match scoped(host, *port) {
                Some(address) => Self::Ip(address),
                None => Self::Name { name: host.as_str().into(), port: *port },
            },
            types::Target::Unix(path) => Self::Unix(path.as_path().into()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Sink(path) => write!(f, "sink:{}", path.display()),
        }
    }
}

/// A host, its rank and its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Hosts of a lower one are tried first, as in MX and SRV records.
    pub preference: u16,
    /// Its share among those of the same preference; 0 is taken as 1.
    pub weight: u32,
    /// The name to be asked for and verified under TLS, where that is not its own or its pool's.
    pub server_name: Option<Box<str>>,
}

/// One address of one host of a pool. A clone is one atomic add.
#[derive(Clone, Debug)]
pub struct Target(pub(super) Arc<Inner>);

/// What the clones of a [`Target`] share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) host_index: usize,
    /// No other will ever be tried in its place: it is not ejected.
    pub(super) alone: bool,
    pub(super) preference: u16,
    pub(super) weight: u32,
    pub(super) name: Arc<str>,
    pub(super) terms: HopTerms,
    pub(super) tls: Option<(Arc<ClientTls>, ServerName<'static>)>,
    pub(super) address: Address,
    pub(super) host: Arc<HostState>,
    pub(super) state: Arc<AddressState>,
    pub(super) counts: Arc<HopCounts>,
}

impl Target {
    /// Its identity.
    pub fn id(&self) -> TargetId {
        self.0.state.id()
    }

    /// The host as configured, with its port: `store.example.net:25`, `unix:/run/lmtp`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same, shared.
    pub fn shared_name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// How it is to be spoken to.
    pub fn terms(&self) -> HopTerms {
        HopTerms { is_loopback: self.0.address.is_loopback(), ..self.0.terms }
    }

    /// What a TLS handshake with it goes by, and the name it is to prove.
    pub fn tls(&self) -> Option<(Arc<TlsClient>, ServerName<'static>)> {
        self.0.tls.as_ref().map(|(tls, name)| (tls.now(), name.clone()))
    }

    /// Where to dial.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The host offers STARTTLS.
    pub fn offers_tls(&self, now: Instant) {
        self.0.host.offered.note(self.0.state.age(now));
    }

    /// Whether it has within a day.
    pub fn has_offered_tls(&self, now: Instant) -> bool {
        self.0.host.offered.is_fresh(self.0.state.age(now))
    }

    /// Which of its pool's hosts this is an address of.
    pub fn host_index(&self) -> usize {
        self.0.host_index
    }
}

/// `store.example.net:25`, or with what it resolved to: `store.example.net:25 (192.0.2.1:25)`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.0.address.to_string();
        if address == *self.0.name { f.write_str(&address) } else { write!(f, "{} ({address})", self.0.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_host_is_dialled_at_its_interface() {
        let target = types::Target::Tcp { host: "fe80::1%lo".into(), port: 25 };
        let endpoint = Endpoint::from(&target);
        let Some(Address::Ip(SocketAddr::V6(address))) = endpoint.fixed() else {
            panic!("{endpoint} is an address")
        };
        assert_eq!((address.ip().to_string(), address.port()), ("fe80::1".to_owned(), 25));
        assert!(address.scope_id() > 0, "the kernel is told the interface");
    }
}
