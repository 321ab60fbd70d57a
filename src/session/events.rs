//! What a session reports, to be counted: and how its parts end.
//!
//! In:    what came of a command, a message, a recipient, an attempt, a question, a session.
//! Out:   one [`Event`] each, with plain numbers and names in it.
//! Never: carries octets of a peer, or has a name that is not in docs/metrics.md.

use std::time::Duration;

use super::facts::{TlsFaultKind, TlsVersion};
use super::fault::FaultKind;
use super::limiter::Bound;
use super::peer::{Origin, Peer};
use super::stage::{CalloutId, Stage};
use crate::message::Signature;
use crate::smtp::{Foreign, Verb};

/// Something to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A whole command arrived.
    Command(Verb, Taken),
    /// The client heard a reply of this class.
    Answered {
        /// First digit.
        class: u8,
        /// Whose words they are.
        origin: Origin,
    },
    /// A hop's reply of this class arrived.
    Heard(u8),
    /// A hop's reply had no form that may be believed.
    Malformed,
    /// A hop spoke without being asked.
    Unasked,
    /// A message ended.
    Message(MessageEnd, u64),
    /// Bare CRs and LFs mended in content.
    Mended(u64),
    /// What was edited of a message broke a signature of it.
    Broke(Signature),
    /// A recipient was tried again or elsewhere, with what became of it.
    Attempt(AttemptEnd),
    /// A recipient was answered: class of the reply.
    Recipient(u8),
    /// A lost hop was replaced by another host.
    FailedOver,
    /// A verdict of a rule or callout was carried out.
    Verdict(VerdictKind),
    /// A callout was asked: at which stage, with what outcome, and how long it took.
    Asked(CalloutId, Stage, CalloutEnd, Duration),
    /// An answer of a callout came to a question that nobody waited for.
    LateAnswer,
    /// A message was refused by a limit by the minute.
    MessageLimited(Bound),
    /// A recipient was.
    RecipientLimited(Bound),
    /// The session is over.
    Ended(SessionEnd),
    /// TLS between client and hop passes through from here on.
    Passing,
    /// So many octets of this side passed through.
    Passed(Peer, u64),
    /// What the hop offered and the client is not shown, because nobody here knows it.
    HiddenKeyword,
    /// A SASL mechanism that it offers cannot pass a proxy.
    HiddenMechanism,
    /// The client sent a PROXY header where none may be.
    StrayHeader {
        /// Behind the one that it had to send.
        second: bool,
    },
    /// How long the client waited for an answer a hop gave.
    Waited(Duration),
    /// The client spoke another protocol.
    Foreign(Foreign),
    /// A TLS handshake is done; whether it took up an earlier session.
    Secured(Peer, TlsVersion, bool),
    /// A TLS handshake failed.
    NotSecured(Peer, TlsFaultKind),
    /// A certificate was not verified, and TLS with whoever showed it (a hop: or none) began all the same.
    Unverified(Peer),
    /// A hop could not be told who the client is.
    NotTold,
    /// Under stress something was done for those that need the room.
    Relieved(Relief),
}

/// What is done under stress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relief {
    /// A client that had not said MAIL was ended earlier than its timeout would have.
    ClientEnded,
    /// No hop was opened for a client that had said nothing.
    HopWithheld,
}

/// What became of a command when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It went, or will go, to a hop.
    Forwarded,
    /// Gatepost or a rule answered it, 2xx or 3xx.
    Answered,
    /// Gatepost or a rule refused it.
    Refused,
    /// It was not a command.
    Malformed,
}

/// How a message ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageEnd {
    /// A hop took it and the client heard so.
    Accepted,
    /// A hop, a rule or a limit refused it.
    Refused,
    /// The client or the hop was lost in its midst.
    Lost,
    /// A rule had it discarded.
    Discarded,
    /// A hop took it after the client had left.
    DeliveredUnheard,
}

/// How an attempt at a recipient ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptEnd {
    /// 2xx, and it joined the transaction.
    Accepted,
    /// 2xx at another hop than the transaction's: `452 4.5.3`.
    Deferred,
    /// 4xx or 5xx.
    Refused,
    /// No host, or no time.
    Failed,
}

/// What a rule or callout did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerdictKind {
    /// Mode A.
    Rewrite,
    /// Mode B.
    Reply,
    /// Mode C.
    Substitute,
    /// A ladder.
    Retry,
    /// Another pool.
    Route,
    /// Ended the asking.
    Accept,
    /// 421 and close.
    Disconnect,
    /// A recipient swallowed on purpose.
    Discard,
    /// Not carried out: a route or rung because the client authenticated through to its hop, a callout's refusal of
    /// `<postmaster>`, its second ladder.
    Skipped,
    /// Mode D.
    Edit,
    /// None was given: the callout failed. Kept for the record; counted by [`Event::Asked`].
    Failed,
}

impl VerdictKind {
    /// Its name in the configuration and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            VerdictKind::Rewrite => "rewrite",
            VerdictKind::Reply => "reply",
            VerdictKind::Substitute => "substitute",
            VerdictKind::Retry => "retry",
            VerdictKind::Route => "route",
            VerdictKind::Accept => "accept",
            VerdictKind::Disconnect => "disconnect",
            VerdictKind::Discard => "discard",
            VerdictKind::Skipped => "skipped",
            VerdictKind::Edit => "edit",
            VerdictKind::Failed => "failed",
        }
    }
}

/// How a question to a callout ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CalloutEnd {
    /// It had nothing to say.
    Passed,
    /// It said this; where it rewrote and decided, what it decided.
    Verdict(VerdictKind),
    /// It failed.
    Failed(FaultKind),
    /// Its answer was not wanted any more.
    Cancelled,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionEnd {
    /// QUIT.
    Quit,
    /// The client closed or broke its connection.
    ClientGone,
    /// The client was silent too long, or, while octets passed through, both sides were.
    Idle,
    /// No hop could be had, or it was lost and could not be replaced.
    HopLost,
    /// A hop's own 421 or 521, or its refusal of this client.
    HopClosed,
    /// A rule.
    Verdict,
    /// A limit on the client.
    Limit,
    /// Octets where none may be.
    Protocol,
    /// Octets before the greeting.
    EarlyTalker,
    /// No TLS came about with the client.
    Tls,
    /// Its TLS with the hop was passed through, until both had said all.
    Passed,
    /// The process stops.
    Shutdown,
}

impl SessionEnd {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionEnd::Quit => "quit",
            SessionEnd::ClientGone => "client_gone",
            SessionEnd::Idle => "idle",
            SessionEnd::HopLost => "hop_lost",
            SessionEnd::HopClosed => "hop_closed",
            SessionEnd::Verdict => "verdict",
            SessionEnd::Limit => "limit",
            SessionEnd::Protocol => "protocol",
            SessionEnd::EarlyTalker => "early_talker",
            SessionEnd::Tls => "tls",
            SessionEnd::Passed => "passed",
            SessionEnd::Shutdown => "shutdown",
        }
    }
}
