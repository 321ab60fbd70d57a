//! Callouts as they were written and checked: who is asked, when, how long, and what holds where no answer comes.
//!
//! **In**: nothing; the decoder fills these. **Out**: [`Callout`] and its parts, from which `callout/` makes what asks.
//! **Never**: a resolved name or an open connection; `when` stays the text that was written, as in a rule.
//!
//! What a loaded callout keeps: its name is no other callout's and no rule's; its stages are not empty; every key of
//! `when` can be known at each of them; its URL is one that can be asked (RFC 9110 section 4.2.1).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::edge::UpstreamTls;
pub use super::milter::*;
use super::rule::{Mark, Match};
use super::types::Target;
use crate::session::callout::OnError;
use crate::session::verdict::Stage;

/// One callout.
#[derive(Debug, Clone, PartialEq)]
pub struct Callout {
    /// Its name, for logs and metrics; no other callout and no rule has it.
    pub name: String,
    /// What it speaks, and where it is.
    pub kind: CalloutKind,
    /// TLS with it: `implicit` where its URL says `https`, else `off`.
    pub tls: UpstreamTls,
    /// When it is asked; never empty, each stage once.
    pub stages: Vec<Stage>,
    /// What must hold for it to be asked; the default holds always.
    pub when: Match,
    /// How long one question may take, the wait for a free place included.
    pub timeout: Duration,
    /// And how much longer for each MiB of the message it is asked about.
    pub per_mib: Duration,
    /// What holds where no answer comes, or none that can be used.
    pub on_error: OnError,
    /// Questions at once, of all workers together; more wait.
    pub concurrency: usize,
    /// What its verdicts may do besides deciding; each once.
    pub effects: Vec<Effect>,
    /// Whether it may refuse `<postmaster>` (RFC 5321 section 4.5.1).
    pub refuse_postmaster: bool,
    /// It is asked and compared, and never obeyed.
    pub shadow: bool,
    /// Where in the file it stands.
    pub mark: Mark,
}

/// What a callout speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalloutKind {
    /// One POST of JSON per question.
    Http(Http),
    /// Postfix's policy delegation.
    Policy(Policy),
    /// A filter of Sendmail's and Postfix's.
    Milter(Milter),
    /// A scanner that speaks MTA Hooks.
    MtaHooks(MtaHooks),
}

impl fmt::Display for CalloutKind {
    /// Where it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => http.urls.iter().try_for_each(|url| write!(f, "{url} ")),
            Self::Policy(policy) => write!(f, "{:?}", policy.addresses),
            Self::Milter(milter) => write!(f, "{:?}", milter.addresses),
            Self::MtaHooks(hooks) => hooks.urls.iter().try_for_each(|url| write!(f, "{url} ")),
        }
    }
}

/// Where a service is that speaks HTTP, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The first of these that can be asked is; never none, all of them secure or none.
    pub urls: Vec<HttpUrl>,
    /// What it is shown of a message.
    pub content: Shows,
}

/// Where a scanner is that speaks MTA Hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaHooks {
    /// Where its discovery document is, or, with the path `/`, at which host; several as for [`Http`].
    pub urls: Vec<HttpUrl>,
    /// A file with the token that it asks for.
    pub token_file: Option<PathBuf>,
    /// How questions and answers travel; `None`: in the most compact way that it offers.
    pub serialization: Option<Serialization>,
    /// What becomes of a message that it wants to be held back.
    pub on_quarantine: OnQuarantine,
}

/// How questions and answers of MTA Hooks travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serialization {
    /// RFC 8259.
    Json,
    /// RFC 8949.
    Cbor,
}

/// What a callout is shown of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shows {
    /// Its header and structure.
    #[default]
    Header,
    /// All of it.
    Whole,
}

/// Where a policy server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its addresses, never none.
    pub addresses: Vec<Target>,
    /// `policy_context`, which it is told with each request; may be empty.
    pub context: String,
}

/// Where an HTTP callout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether it is `https`.
    pub secure: bool,
    /// A name or an address (IPv6 without brackets).
    pub host: String,
    /// The port, never 0.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl HttpUrl {
    /// The port of a URL that names none.
    pub const fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }

    /// Host and port as they stand in a URL and in the Host field (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let host = if v6 { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == Self::default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// What a verdict may do besides deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Swallow a recipient: answer it 2xx, and no hop hears of it.
    Discard,
}
