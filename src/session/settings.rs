//! What a session must know of the configuration, in the shape it is used.
//!
//! In:    built once from `proxy.yaml` when it is loaded or reloaded; shared by reference count.
//! Out:   limits, deadlines, policy and the services a session calls: [`Rules`], [`Callouts`], [`NextHops`] and
//!        [`Limiter`].
//! Never: changes while a session holds it: running sessions keep theirs over a reload.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::callout::Callouts;
use super::facts::{ClientFacts, ClientHello};
use super::limiter::Limiter;
use super::record::Speaker;
use super::route::{NextHops, PoolId};
use super::said::Written;
use super::stage::Giver;
use super::verdict::Rules;
use crate::dialog::{Limits, Timeouts};
use crate::networks::Networks;
use crate::smtp::BareNewline;

/// All that holds for every session of one configuration.
pub struct Settings {
    /// Our name, in greetings of our own.
    pub hostname: Box<str>,
    /// Whether the client hears gatepost's own greeting and EHLO line instead of the hop's.
    pub own_greeting: bool,
    /// How much.
    pub limits: Limits,
    /// How long.
    pub timeouts: Timeouts,
    /// The listeners, in the order of the file.
    pub doors: Vec<Door>,
    /// What bare CR and LF in content and bare LF in commands lead to.
    pub bare_newline: BareNewline,
    /// How messages are kept while they are asked about.
    pub keeping: Keeping,
    /// Unknown verbs that may pass, in upper case.
    pub forward_verbs: Vec<Box<str>>,
    /// Unknown EHLO keywords that may be shown.
    pub forward_extensions: Vec<Box<str>>,
    /// Whether transactions are recorded.
    pub records: bool,
    /// Whether the dialogs are traced.
    pub trace: bool,
    /// The local rules.
    pub rules: Box<dyn Rules>,
    /// The callouts.
    pub callouts: Arc<dyn Callouts>,
    /// The pools.
    pub next_hops: Box<dyn NextHops>,
    /// What clients may do in all their sessions.
    pub limiter: Arc<dyn Limiter>,
    /// Reads the first octets of a client whose TLS is passed through.
    pub client_hello: fn(&[u8]) -> ClientHello,
}

impl Settings {
    /// The name of whoever gave a verdict.
    pub fn giver(&self, by: Giver) -> &str {
        match by {
            Giver::Rule(rule) => self.rules.name(rule),
            Giver::Callout(callout) => self.callouts.name(callout),
        }
    }

    /// Whose words a reply is in that is no hop's.
    pub fn author(&self, written: &Written) -> Speaker {
        match written.author().map(|(by, _)| (by, self.giver(by).into())) {
            None => Speaker::Gatepost,
            Some((Giver::Rule(_), name)) => Speaker::Rule(name),
            Some((Giver::Callout(_), name)) => Speaker::Callout(name),
        }
    }
}

/// What holds at one listener.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// TLS with clients.
    pub tls: DoorTls,
    /// MAIL and AUTH are refused before TLS.
    pub require_tls: bool,
    /// When AUTH is shown.
    pub auth: AuthShown,
    /// Whose XCLIENT and XFORWARD are taken, by the address of the connection, of its PROXY header, or last told.
    pub xclient: Networks,
    /// Who must send a PROXY header, which says who the client is.
    pub proxies: Networks,
    /// Nobody else is let in.
    pub only_proxies: bool,
    /// Some host or policy server is told where the client connected to: it must be known.
    pub tells_destination: bool,
    /// How long the greeting waits; whoever speaks before it is refused.
    pub greeting_delay: Duration,
}

impl Door {
    /// Whether whoever has this address may say by XCLIENT and XFORWARD who the client is.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.xclient.contains(address)
    }
}

/// TLS with the clients of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DoorTls {
    /// None.
    #[default]
    Off,
    /// After STARTTLS.
    StartTls,
    /// From the first octet (RFC 8314).
    Implicit,
    /// The hop's own, which gatepost cannot look into, after STARTTLS.
    Passthrough,
    /// The same, from the first octet.
    PassthroughImplicit,
}

/// When AUTH is shown to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AuthShown {
    /// As the hop shows it.
    #[default]
    Hop,
    /// As the hop shows it, but only under TLS.
    Tls,
    /// Never.
    Off,
}

/// How messages are kept while they are asked about.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keeping {
    /// Octets of one that stay in memory.
    pub memory: usize,
    /// Where the files of larger ones are.
    pub folder: PathBuf,
    /// How long a hop that waits for one hears nothing.
    pub keepalive: Duration,
    /// What a refusal of a recipient comes to that was added to it.
    pub added_refused: AddedRefused,
}

/// What is done when a hop refuses a recipient that was added to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AddedRefused {
    /// The message is refused with the hop's words.
    #[default]
    Reject,
    /// The message goes to the others.
    Ignore,
}

/// Through which door a client came, and who it is.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The listener, by its place in the file.
    pub listener: u16,
    /// Its pool.
    pub pool: PoolId,
    /// Who the client is: who connected, or whom a listed peer speaks for.
    pub client: SocketAddr,
    /// What else is known of it.
    pub facts: Option<Box<ClientFacts>>,
}

impl Entrance {
    /// What holds at the listener.
    pub fn door<'a>(&self, settings: &'a Settings) -> &'a Door {
        &settings.doors[usize::from(self.listener)]
    }

    /// Who connected, and the ranges whose headers are taken there.
    pub fn proxies<'a>(&self, settings: &'a Settings) -> (SocketAddr, &'a Networks) {
        let via = self.facts.as_ref().and_then(|facts| facts.via);
        (via.unwrap_or(self.client), &self.door(settings).proxies)
    }
}
