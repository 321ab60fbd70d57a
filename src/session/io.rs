//! What happens to a session and what it wants: its whole contract with the world.
//!
//! In:    octets from a peer ([`Session::receive`](super::Session::receive)) and [`Input`]s: a hop opened or did
//!        not, a peer left, a callout answered, a deadline passed, the process stops.
//! Out:   into [`Out`]: octets for each peer (short ones copied, content as ranges of what was received),
//!        [`Output`]s for the shell to carry out, [`Event`]s to count.
//! Never: owns a socket or a receive buffer, or remembers anything from one turn to the next.
//!
//! The shell lends one `Out` per worker to whichever session has its turn.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::callout::{CalloutAnswer, CalloutId, Callouts, Fault, FaultKind};
use super::client::{ClientName, TlsFacts, TlsFault, TlsFaultKind, TlsVersion};
use super::limiter::Bound;
use super::record::{PassageRecord, Record};
use super::route::{Destination, Domain, Host, NotFound};
use super::unmet::Unmet;
use super::verdict::Stage;
use crate::dialog::Tx;
use crate::smtp::{Own, Verb};

/// How many upstream dialogs one session may hold at once: the listener's pool's, the transaction's, and
/// those where a recipient was just and is now being tried.
pub const HOPS: usize = 4;

/// One of the session's upstream dialogs, by its number, which no other has: the id of a closed one never names
/// another. It tells the slot, too, which is free to be used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct HopId(NonZeroU32);

impl HopId {
    /// The dialog with a number; none has the number 0.
    pub fn numbered(number: u32) -> Option<HopId> {
        NonZeroU32::new(number).map(HopId)
    }

    /// Its number, counted from 1 in the order in which they are opened; some may be left out.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Its place in arrays of `HOPS` places, while it is open.
    pub fn slot(self) -> usize {
        self.0.get() as usize % HOPS
    }
}

/// Who said a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// This hop, which may be closed since.
    Hop(HopId),
    /// Gatepost, in its own words or a verdict's.
    Gatepost,
}

/// One end of one of the session's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Peer {
    /// The client.
    Downstream,
    /// A hop.
    Upstream(HopId),
}

impl Peer {
    /// A small number for arrays of `1 + HOPS` places.
    pub fn index(self) -> usize {
        match self {
            Peer::Downstream => 0,
            Peer::Upstream(hop) => 1 + hop.slot(),
        }
    }
}

/// A question to a callout, and so its answer. No two of a session's questions have the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Ticket(pub u32);

/// Something that happened, other than octets arriving.
#[derive(Debug)]
pub enum Input {
    /// The connection asked for by [`Output::Open`] stands.
    Opened(HopId),
    /// It could not be made.
    OpenFailed(HopId),
    /// A connection cannot come from the client's address, and why. Where the pool requires that it does, it was not
    /// made; else [`Input::Opened`] follows.
    Untold(HopId, Box<str>),
    /// What the client is called in DNS, for a host whose terms want it told; [`Input::Opened`] follows.
    Named(ClientName),
    /// The handshake asked for by [`Output::StartTls`] is done: what this peer says from now on comes through TLS.
    Secured(Peer, Box<TlsFacts>),
    /// It failed; the connection is closed.
    TlsFailed(Peer, Box<TlsFault>),
    /// What became of the latest [`Output::LookUp`].
    LookedUp(Result<Arc<dyn Destination>, NotFound>),
    /// The peer will send no more (a FIN).
    Eof(Peer),
    /// The connection broke.
    Lost(Peer),
    /// The time [`Session::deadline`](super::Session::deadline) named has come. `stalled`: octets for a hop
    /// could not be written, so that it is the hop that is waited for, not the client.
    Deadline {
        /// Whether a hop is not taking what it is sent.
        stalled: bool,
    },
    /// A callout answered, or failed to. An answer nobody waits for (any more) is dropped and counted.
    Told {
        /// To which question.
        ticket: Ticket,
        /// What it said.
        answer: Result<CalloutAnswer, Fault>,
    },
    /// The client of [`Output::Recount`] has more sessions than it may have; this is what it hears.
    Exceeded(&'static Own),
    /// All that was queued for a peer is in the kernel, and behind it our FIN, as [`Output::Finish`] asked.
    Finished(Peer),
    /// The process wants to stop: end between transactions.
    Shutdown,
    /// `shutdown_grace` is over: end now, but for a message whose end-of-data has left.
    Stop,
}

/// Something the session wants done.
#[derive(Debug)]
pub enum Output {
    /// Connect to a host; answered by [`Input::Opened`] or [`Input::OpenFailed`].
    Open {
        /// The slot it will have.
        hop: HopId,
        /// The host.
        host: Arc<dyn Host>,
    },
    /// Begin TLS with a peer, as the server of the client and as the client of a hop, when what was queued for it is
    /// in the kernel; answered by [`Input::Secured`] or [`Input::TlsFailed`]. Octets of it that were read before, and
    /// not taken, are a failure: somebody put them there in plain.
    StartTls(Peer),
    /// Find the hosts of a domain; answered by [`Input::LookedUp`]. One at a time: a new one takes the place of any
    /// before it.
    LookUp(Domain),
    /// Close a connection, after what was queued for it is in the kernel.
    Close(Peer),
    /// Close a connection at once; what is queued for it is dropped.
    Abort(Peer),
    /// Count the session for another client from now on; answered by [`Input::Exceeded`] if that one may not have it.
    Recount(IpAddr),
    /// Send a peer our FIN, when what is queued for it is in the kernel; answered by [`Input::Finished`].
    Finish(Peer),
    /// A passage of TLS between client and hop is over: one log record.
    Passed(Box<PassageRecord>),
    /// Break the client's connection off: it is to find what it would have found where nobody listens.
    Reset,
    /// Ask a callout; answered by [`Input::Told`], once at most.
    Ask(Box<Ask>),
    /// The answer to this question is not wanted any more.
    Cancel(Ticket),
    /// A callout failed at a stage: to be logged.
    CalloutFailed(Box<str>, Stage, Fault),
    /// A TLS handshake with the client failed: to be logged.
    NotSecured(Box<TlsFault>),
    /// A hop did not meet its terms: to be logged.
    Unmet(Arc<dyn Host>, Box<Unmet>),
    /// A transaction is over: one log record.
    Record(Box<Record>),
    /// A hop offers an EHLO keyword that the client is not shown, because nobody here knows it.
    Hidden(Arc<dyn Host>, Box<[u8]>),
    /// The client sent a PROXY header that it has no business to send: to be logged.
    StrayHeader,
    /// One line of a dialog, for the trace; secrets are masked.
    Trace(Peer, TraceSide, Box<[u8]>),
}

/// A question on its way to a callout.
pub struct Ask {
    /// What the answer will be known by.
    pub ticket: Ticket,
    /// Among whom.
    pub callouts: Arc<dyn Callouts>,
    /// Whom.
    pub callout: CalloutId,
    /// At which stage: what kind of answer is wanted.
    pub stage: Stage,
    /// The question in the callout's own octets.
    pub question: Box<[u8]>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {:?} at {}", self.ticket, self.callout, self.stage.as_str())
    }
}

/// Who spoke a traced line, in the words of RFC 5321 appendix D.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceSide {
    /// `C:`, that dialog's client.
    Client,
    /// `S:`, that dialog's server.
    Server,
}

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
    /// The client sent a PROXY header where none may be.
    StrayHeader {
        /// Behind the one that it had to send.
        second: bool,
    },
    /// How long the client waited for an answer a hop gave.
    Waited(Duration),
    /// A TLS handshake is done; whether it took up an earlier session.
    Secured(Peer, TlsVersion, bool),
    /// A TLS handshake failed.
    NotSecured(Peer, TlsFaultKind),
    /// A hop's certificate was not verified, and TLS with it began all the same.
    Unverified,
    /// A hop could not be told who the client is.
    NotTold,
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

/// Small numbers, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Bits(u8);

impl Bits {
    /// With this number, below eight, too.
    pub fn set(&mut self, number: usize) {
        self.0 |= 1 << number;
    }

    /// Without it.
    pub fn unset(&mut self, number: usize) {
        self.0 &= !(1 << number);
    }

    /// Whether this number is among them.
    pub fn has(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }

    /// Without any; those that were there are returned.
    pub fn drain(&mut self) -> Bits {
        std::mem::take(self)
    }
}

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lowest = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

/// What a session says in one turn.
#[derive(Default, Debug)]
pub struct Out {
    /// Octets for each peer, by [`Peer::index`].
    pub tx: [Tx; 1 + HOPS],
    /// For whom there may be any.
    pub spoken: Bits,
    /// Where in the client's receive buffer the octets of the next call begin.
    pub base: usize,
    /// What the shell is to do, in order, after the octets.
    pub outputs: Vec<Output>,
    /// What is to be counted.
    pub events: Vec<Event>,
}

impl Out {
    /// The octets for a peer.
    pub fn to(&mut self, peer: Peer) -> &mut Tx {
        self.spoken.set(peer.index());
        let tx = &mut self.tx[peer.index()];
        tx.receive_at(self.base);
        tx
    }

    /// Whether the client's receive buffer must be kept until all is written.
    pub fn borrows(&self) -> bool {
        self.spoken.into_iter().any(|peer| self.tx[peer].borrows())
    }

    /// Counts.
    pub fn count(&mut self, event: Event) {
        self.events.push(event);
    }
}
