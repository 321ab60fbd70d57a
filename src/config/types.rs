//! The configuration as everything else in gatepost reads it: plain types, every one with its default.
//!
//! **In**: nothing; `config::load` fills these from `proxy.yaml` and the environment and checks them.
//! **Out**: [`Config`], which is immutable once loaded and shared by an `Arc`. Rules have their types in
//! [`super::rule`], callouts in [`super::callout`]; both are re-exported here, so that one `use` brings the whole
//! configuration.
//! **Never**: no decoding, no file names of the source, no input or output except the system's host name.
//!
//! A value of these types that came from `config::load` keeps every promise written at its field (an upstream
//! named by a listener exists, a reply is well formed, a limit is in its range), so that nobody checks it twice.
//! The meaning of each key is in `proxy.yaml`; RFC 5321 sections 4.5.3.1 and 4.5.3.2 stand behind the limits and timeouts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use super::callout::*;
pub use super::edge::*;
pub use super::operation::*;
pub use super::rule::*;
use crate::dialog::{Limits, Timeouts};
use crate::networks::Networks;
use crate::session::route::Identity;
use crate::session::settings::{AddedRefused, AuthShown};
use crate::smtp::BareNewline;

/// Everything that can be set, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name gatepost itself goes by; `None` means the system's, see [`Config::host_name`].
    pub hostname: Option<String>,
    /// Where clients are accepted; never empty.
    pub listeners: Vec<Listener>,
    /// The pools of next hops by name; never empty.
    pub upstreams: BTreeMap<String, UpstreamPool>,
    /// The rules in file order, which is the order they are asked in.
    pub rules: Vec<Rule>,
    /// The callouts in file order, which is the order they are asked in, behind the rules.
    pub callouts: Vec<Callout>,
    /// `limits:` of each session.
    pub limits: Limits,
    /// `limits:` of sessions together.
    pub session_limits: SessionLimits,
    /// What is waited for, and how long.
    pub timeouts: Timeouts,
    /// How message content is handled.
    pub content: Content,
    /// How names are resolved.
    pub dns: Dns,
    /// Whose greeting the client hears.
    pub greeting: Greeting,
    /// Unknown verbs that may pass, in upper case.
    pub forward_verbs: Vec<String>,
    /// Unknown EHLO keywords that may be shown, in upper case.
    pub forward_extensions: Vec<String>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// The administrative listener.
    pub admin: Admin,
    /// As whom it runs once every socket is open; `None`: as whoever started it.
    pub user: Option<String>,
    /// What is logged.
    pub log: Log,
    /// How long transactions in flight may take once gatepost is told to stop.
    pub shutdown_grace: Duration,
}

impl Config {
    /// The configured host name or, where none is, the system's (`localhost` if it has none that SMTP can say).
    pub fn host_name(&self) -> String {
        if let Some(name) = &self.hostname {
            return name.clone();
        }
        let system = rustix::system::uname();
        let name = system.nodename().to_string_lossy();
        if is_host_name(&name) { name.into_owned() } else { "localhost".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            listeners: vec![Listener::default()],
            upstreams: BTreeMap::from([("main".to_owned(), UpstreamPool::default())]),
            rules: Vec::new(),
            callouts: Vec::new(),
            limits: Limits::default(),
            session_limits: SessionLimits::default(),
            timeouts: Timeouts::default(),
            content: Content::default(),
            dns: Dns::default(),
            greeting: Greeting::Hop,
            forward_verbs: Vec::new(),
            forward_extensions: Vec::new(),
            workers: 0,
            admin: Admin::default(),
            user: None,
            log: Log::default(),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// The port of SMTP between hosts (RFC 5321 4.5.4.2), where nothing else may be spoken.
pub(crate) const SMTP_PORT: u16 = 25;

/// Whether `name` is a host name as SMTP may say it: labels of letters, digits, `-` and `_`.
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// One or several addresses that take clients for one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The addresses listened on; never empty, each of them once in the whole configuration. Port 0 lets the system choose.
    pub addresses: Vec<SocketAddr>,
    /// The pool its sessions start at; a key of [`Config::upstreams`].
    pub upstream: String,
    /// When AUTH is shown to the client; by default `tls` where the listener offers TLS.
    pub auth: AuthShown,
    /// TLS with clients.
    pub tls: ListenerTls,
    /// Who says by a PROXY header who the client is.
    pub proxy_protocol: ProxyProtocol,
    /// Who may say XCLIENT and XFORWARD.
    pub xclient: Networks,
    /// How long the greeting waits; whoever speaks before it is refused. Zero: it does not wait.
    pub greeting_delay: Duration,
    /// How clients come here that connect to somebody else.
    pub intercept: Intercept,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 2525))],
            upstream: "main".to_owned(),
            auth: AuthShown::Hop,
            tls: ListenerTls::default(),
            proxy_protocol: ProxyProtocol::default(),
            xclient: Networks::default(),
            greeting_delay: Duration::ZERO,
            intercept: Intercept::Off,
        }
    }
}

/// A pool of next hops.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamPool {
    /// Where its hosts come from.
    pub source: Source,
    /// The port of hosts that name none and of those found by MX; already applied to [`Target::Tcp`].
    pub port: u16,
    /// In which order hosts are tried.
    pub balance: Balance,
    /// What its hosts speak.
    pub protocol: Protocol,
    /// Open dialogs per host; 0 means no bound of ours.
    pub sessions: usize,
    /// TLS with its hosts.
    pub tls: UpstreamTls,
    /// How its hosts learn who the client is.
    pub identity: Identity,
    /// Whether a host that cannot be told so gets no mail.
    pub identity_required: bool,
    /// Whether XCLIENT says as whom the client authenticated.
    pub identity_login: bool,
    /// How often each host is probed; `None`: never. The sink is not, nor are hosts known only at RCPT.
    pub health: Option<Duration>,
}

impl Default for UpstreamPool {
    fn default() -> Self {
        Self {
            source: Source::Sink(PathBuf::from(DEFAULT_SINK)),
            port: 25,
            balance: Balance::First,
            protocol: Protocol::Smtp,
            sessions: 0,
            tls: UpstreamTls::default(),
            identity: Identity::None,
            identity_required: true,
            identity_login: false,
            health: Some(Duration::from_secs(10)),
        }
    }
}

/// The directory of the embedded sink, relative to the working directory.
pub const DEFAULT_SINK: &str = "./mail";

/// Where a pool's hosts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Hosts given by name or address; never empty.
    Hosts(Vec<HostSpec>),
    /// The embedded SMTP server that stores into a Maildir at this path.
    Sink(PathBuf),
    /// The mail hosts of a domain, by its MX records.
    Mx(String),
    /// The hosts of a service, by its SRV records.
    Srv(String),
    /// The mail hosts of each recipient's domain, looked up at RCPT.
    RecipientMx,
    /// Where the client itself wanted to connect to, as interception found out.
    OriginalDestination,
}

/// One host of a pool, before its name is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Where it is.
    pub target: Target,
    /// Its share under `round_robin`, 1 to 1000.
    pub weight: u32,
    /// The name asked for and verified under TLS, instead of the pool's or its own.
    pub server_name: Option<String>,
}

/// Where a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name or an address literal (IPv6 without brackets), and the port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// A local stream socket.
    Unix(PathBuf),
}

/// What the hosts of a pool speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033; never on port 25.
    Lmtp,
}

/// In which order the hosts of a pool are tried. Those found by MX or SRV: within one preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// File order: the first that serves. Of a preference any, by weight.
    First,
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest open dialogs first.
    LeastSessions,
}

/// What is bounded beyond one session; what is bounded in each are its [`Limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at once.
    pub sessions: usize,
    /// Whether `sessions` was written down: then more than the descriptors allow is an error, not lowered.
    pub sessions_configured: bool,
    /// Sessions at once of one client (an IPv6 client is its /64).
    pub sessions_per_client: usize,
    /// New sessions a minute of one client; 0 means no bound, as for the next two.
    pub new_sessions_per_minute: u32,
    /// MAIL commands a minute of one client.
    pub messages_per_minute: u32,
    /// RCPT commands a minute of one client.
    pub recipients_per_minute: u32,
    /// Clients that the bounds of one client do not bind.
    pub exempt: Networks,
    /// Clients that are counted together, too. A client belongs to the first range that holds it.
    pub ranges: Vec<Range>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_configured: false,
            sessions_per_client: 50,
            new_sessions_per_minute: 0,
            messages_per_minute: 0,
            recipients_per_minute: 0,
            exempt: Networks::default(),
            ranges: Vec::new(),
        }
    }
}

/// What the clients of some networks may do together; 0 means no bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// The networks; never empty.
    pub from: Networks,
    /// Sessions at once.
    pub sessions: usize,
    /// New sessions a minute.
    pub new_sessions_per_minute: u32,
    /// MAIL commands a minute.
    pub messages_per_minute: u32,
    /// RCPT commands a minute.
    pub recipients_per_minute: u32,
}

/// How message content is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Octets of a spooled message kept in memory.
    pub memory: usize,
    /// Where larger ones are spooled.
    pub spool: PathBuf,
    /// How long a hop that waits for a spooled message hears nothing.
    pub keepalive: Duration,
    /// What the refusal of a recipient comes to that was added to a message.
    pub on_added_recipient_refused: AddedRefused,
    /// What becomes of a bare LF or CR.
    pub bare_newline: BareNewline,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            memory: 256 * 1024,
            spool: PathBuf::from("/var/spool/gatepost"),
            keepalive: Duration::from_secs(30),
            on_added_recipient_refused: AddedRefused::Reject,
            bare_newline: BareNewline::Normalize,
        }
    }
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// The servers asked; empty means the system's resolver configuration.
    pub servers: Vec<SocketAddr>,
}

/// Whose greeting and first EHLO line the client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// The hop's, which is opened when the client connects.
    Hop,
    /// Gatepost's own; the hop is opened at EHLO.
    Own,
}
