//! Where mail goes: pools, hosts, and how a session asks for one.
//!
//! In:    a pool, or the domain of a recipient, and the hosts already tried.
//! Out:   the next host to try, by [`NextHops`]; what became of it goes back, so that failing hosts can be ejected.
//! Never: resolves a name or opens a socket; `hop/` implements the trait, tests script it.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::smtp::{Own, own};

/// A pool of `upstreams:`, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// What a session must know of a pool before it asks for a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PoolKind {
    /// Its hosts speak SMTP.
    #[default]
    Smtp,
    /// Its hosts speak LMTP (RFC 2033): LHLO, and one recipient in a transaction.
    Lmtp,
    /// Its hosts are those of each recipient's domain, at this port: none is known before RCPT.
    ByRecipient(u16),
    /// Its host is whoever the client connected to, before its connection was intercepted.
    Original,
}

/// A domain whose hosts are to be found by MX.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Domain {
    /// The domain, in lower case and A-labels, or an address literal in its brackets.
    pub name: Box<str>,
    /// The port its hosts are dialled at.
    pub port: u16,
    /// The pool it was looked up for; `None`: a rung named it.
    pub pool: Option<PoolId>,
}

/// The hosts of a domain, as they were found. Held as long as they are used.
pub trait Destination: Send + Sync + fmt::Debug {
    /// Whose hosts they are.
    fn domain(&self) -> &Domain;

    /// The next of them that is not among `tried`.
    fn pick(&self, tried: &[TargetId], now: Instant) -> Pick;
}

/// Why a domain has no hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NotFound {
    /// There is no such domain, or it has neither MX nor address.
    NoDomain,
    /// It says that it takes no mail (RFC 7505).
    NullMx,
    /// Its best host is gatepost itself.
    Loop,
    /// DNS gave no answer for now.
    Unknown,
}

impl NotFound {
    /// What the client hears.
    pub fn reply(self) -> &'static Own {
        match self {
            NotFound::NoDomain => &own::NO_SUCH_DOMAIN,
            NotFound::NullMx => &own::NULL_MX,
            NotFound::Loop => &own::MAIL_LOOP,
            NotFound::Unknown => &own::DNS_UNKNOWN,
        }
    }
}

/// Where a transaction or an attempt goes.
#[derive(Clone, Debug)]
pub enum Place {
    /// A pool of the configuration.
    Pool(PoolId),
    /// A domain's hosts.
    Found(Arc<dyn Destination>),
}

impl Place {
    /// Whether these are the hosts of this domain.
    pub fn is_of(&self, domain: &Domain) -> bool {
        matches!(self, Place::Found(found) if found.domain() == domain)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Pool(one), Place::Pool(other)) => one == other,
            (Place::Found(one), place) => place.is_of(one.domain()),
            (Place::Pool(_), Place::Found(_)) => false,
        }
    }
}

/// One address of one host. Equal wherever the same host stands at the same address; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

/// How a hop is to be spoken to: TLS, and who it is told the client is. The same for all hosts of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HopTerms {
    /// Under TLS or not.
    pub tls: HopTls,
    /// How it learns who the client is.
    pub identity: Identity,
    /// Whether a hop that cannot be told who the client is gets no mail.
    pub identity_required: bool,
    /// Whether XCLIENT says LOGIN, too.
    pub identity_login: bool,
    /// Nobody is on the way to it: the loopback interface, a Unix socket, the sink.
    pub is_loopback: bool,
}

/// TLS towards a hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HopTls {
    /// Never.
    #[default]
    Off,
    /// STARTTLS where it is offered; certificates are not verified.
    Opportunistic,
    /// STARTTLS or nothing.
    Required,
    /// From the first octet (RFC 8314).
    Implicit,
}

/// How a hop learns who the client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Identity {
    /// It does not.
    #[default]
    None,
    /// Postfix's XCLIENT, before the client is greeted.
    Xclient,
    /// Postfix's XFORWARD, before each MAIL: for its log only.
    Xforward,
    /// A PROXY header, version 1.
    ProxyV1,
    /// A PROXY header, version 2.
    ProxyV2,
    /// The connection comes from the client's address.
    SourceAddress,
}

/// A host that was picked. While it is held, its dialog counts among the host's.
pub trait Host: Any + Send + Sync + fmt::Debug {
    /// Which.
    fn id(&self) -> TargetId;

    /// `host:port`, for logs.
    fn name(&self) -> &Arc<str>;

    /// How it is to be spoken to.
    fn terms(&self) -> HopTerms {
        HopTerms::default()
    }

    /// It offers STARTTLS.
    fn offers_tls(&self, now: Instant) {
        let _ = now;
    }

    /// Whether it has offered STARTTLS not long ago.
    fn has_offered_tls(&self, now: Instant) -> bool {
        let _ = now;
        false
    }

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
    /// TLS that it must have did not come about.
    NotSecured,
    /// It does not offer STARTTLS any more.
    TlsWithdrawn {
        /// It is spoken to in plain all the same, because nobody relies on TLS; else it is not used.
        plain: bool,
    },
    /// It did not greet.
    NoGreeting,
    /// It greeted with 4xx or 5xx, without having been told who the client is.
    Refused,
    /// It refused EHLO in gatepost's own name, likewise.
    HelloRefused,
    /// It said 421 before the client's first command.
    NoService,
}

/// The pools, as a session sees them.
pub trait NextHops: Any + Send + Sync {
    /// The next host of a pool that is not among `tried`.
    fn pick(&self, pool: PoolId, tried: &[TargetId], now: Instant) -> Pick;

    /// The same of a pool whose host is the client's own destination ([`PoolKind::Original`]).
    fn pick_at(&self, pool: PoolId, destination: SocketAddr, tried: &[TargetId], now: Instant) -> Pick {
        let _ = (pool, destination, tried, now);
        Pick::None
    }

    /// What its hosts are like.
    fn kind(&self, pool: PoolId) -> PoolKind {
        let _ = pool;
        PoolKind::Smtp
    }

    /// Whether dialogs with its hosts are running out.
    fn is_stressed(&self, pool: PoolId) -> bool {
        let _ = pool;
        false
    }
}
