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
use std::sync::Arc;

use super::callout::{CalloutAnswer, Callouts};
pub use super::events::{AttemptEnd, CalloutEnd, Event, MessageEnd, Relief, SessionEnd, Taken, VerdictKind};
use super::facts::{ClientName, TlsFacts, TlsFault};
use super::fault::Fault;
pub use super::peer::{Bits, HOPS, HopId, Origin, PEERS, Peer, Ticket};
use super::record::{PassageRecord, Record, Speaker};
use super::route::{Destination, Domain, Host, NotFound};
pub use super::said::{Said, Written};
pub use super::shadow::{Decided, Shadow};
use super::stage::{CalloutId, Stage};
use super::unmet::Unmet;
use crate::dialog::Tx;
use crate::message::{Draft, Message, Rope};
use crate::smtp::{Foreign, Hidden, Own};

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
    /// It failed, or the peer has refused us behind it, as one of TLS 1.3 does that wants a certificate; the connection
    /// is closed.
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
    /// A message is kept, all of it, as [`SpoolOrder::End`] asked; or it cannot be, and what became of it so far is lost.
    Spooled(Result<Arc<Message>, SpoolFault>),
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
    /// What the spool is to do.
    Spool(SpoolOrder),
    /// Break the client's connection off: it is to find what it would have found where nobody listens.
    Reset,
    /// Ask a callout; answered by [`Input::Told`], once at most.
    Ask(Box<Ask>),
    /// Ask a callout in shadow: nobody waits for it, and what it says is compared with what was decided.
    Shadow(Box<Shadow>),
    /// The answer to this question is not wanted any more.
    Cancel(Ticket),
    /// A callout failed at a stage: to be logged.
    CalloutFailed(Box<str>, Stage, Fault),
    /// A callout remarked something at a stage: to be logged.
    Remarked(Box<str>, Stage, Box<str>),
    /// A TLS handshake with the client failed: to be logged.
    NotSecured(Box<TlsFault>),
    /// A hop did not meet its terms: to be logged.
    Unmet(Arc<dyn Host>, Box<Unmet>),
    /// A hop's reply may not be believed, for this reason: to be logged.
    Malformed(Arc<dyn Host>, Box<[u8]>),
    /// A transaction is over: one log record.
    Record(Box<Record>),
    /// The client heard this negative reply, which is no hop's: to be logged, by the id it may have heard.
    Refused(Said),
    /// The client heard this hop's negative reply, of which no transaction's record tells: to be logged.
    HopRefused(Speaker, Box<[u8]>),
    /// A hop offers something that the client is not shown: to be logged.
    Hidden(Arc<dyn Host>, Offer),
    /// The client sent a PROXY header that it has no business to send: to be logged.
    StrayHeader,
    /// The client spoke another protocol: to be logged.
    Foreign(Foreign),
    /// One line of a dialog, for the trace; secrets are masked.
    Trace(Peer, TraceSide, Box<[u8]>),
}

/// What the spool is to do with a message.
#[derive(Debug)]
pub enum SpoolOrder {
    /// One comes: [`Peer::Spool`] is sent its octets from now on. `structured`: the structure of its MIME is wanted.
    Begin {
        /// Whether it is to be read, too.
        structured: bool,
    },
    /// All of it was said; answered by [`Input::Spooled`] when all of it is kept.
    End,
    /// Give this back, in order, by [`Session::receive`](super::Session::receive).
    Pour(Rope),
    /// Nobody wants it any more.
    Drop,
}

/// Why a message cannot be kept, or not be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpoolFault {
    /// There is no room, or no leave to take it.
    NoRoom,
    /// What was kept cannot be read.
    Unreadable,
}

/// What a hop offers in its reply to EHLO.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offer {
    /// A keyword.
    Keyword(Box<[u8]>),
    /// A SASL mechanism.
    Mechanism(Box<[u8]>),
}

impl From<Hidden<'_>> for Offer {
    fn from(hidden: Hidden<'_>) -> Self {
        match hidden {
            Hidden::Keyword(keyword) => Self::Keyword(keyword.into()),
            Hidden::Mechanism(mechanism) => Self::Mechanism(mechanism.into()),
        }
    }
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
    /// The transaction it is about, among those of the session; 0: none.
    pub instance: u32,
    /// The message it is about, at `message`.
    pub message: Option<Draft>,
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

/// What a session says in one turn.
#[derive(Default, Debug)]
pub struct Out {
    /// Octets for each peer, by [`Peer::index`].
    pub tx: [Tx; PEERS],
    /// For whom there may be any.
    pub spoken: Bits,
    /// Where in the client's receive buffer the octets of the next call begin; `None`: they are in none that is kept.
    pub base: Option<usize>,
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
