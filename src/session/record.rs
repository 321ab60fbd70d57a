//! What is kept of a transaction for its one log record: both dialogs' facts side by side.
//!
//! In:    filled by the session as the transaction goes, only if records are wanted.
//! Out:   a [`Record`] when it ends; `log.rs` writes it as one line.
//! Never: holds content or an AUTH exchange.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::events::{MessageEnd, SessionEnd, VerdictKind};
use super::facts::{ClientFacts, TlsFacts};
use super::stage::Stage;
use crate::message::Signature;
use crate::smtp::SessionId;

/// One transaction, over.
#[derive(Clone, Debug)]
pub struct Record {
    /// The session.
    pub session: SessionId,
    /// Who the client is.
    pub client: SocketAddr,
    /// What else was known of it.
    pub facts: Option<Box<ClientFacts>>,
    /// The client's EHLO or HELO name as given.
    pub helo: Option<Box<[u8]>>,
    /// Whether it authenticated: through to the hop, or to a trusted peer.
    pub authenticated: bool,
    /// The reverse-path.
    pub sender: Address,
    /// The recipients, in the client's order; at most `limits.recipients` of them are kept.
    pub recipients: Vec<RecipientRecord>,
    /// The hop that had the transaction last.
    pub hop: Option<Arc<str>>,
    /// The TLS there was with that hop.
    pub hop_tls: Option<TlsFacts>,
    /// What was decided, where and by which rule or callout.
    pub verdicts: Vec<(Stage, Box<str>, VerdictKind)>,
    /// How the message ended; `None`: no content was sent.
    pub end: Option<MessageEnd>,
    /// The reply to the content, or the refusal that ended the transaction.
    pub reply: Option<LastWord>,
    /// Octets of content as received.
    pub octets: u64,
    /// Bare CRs and LFs mended.
    pub mended: u64,
    /// Signatures that edits of rules and callouts broke.
    pub broken: Vec<Signature>,
    /// From MAIL to the end.
    pub took: Duration,
}

/// TLS of a client with a hop that was passed through, over. Of the mail in it nothing is known.
#[derive(Clone, Debug)]
pub struct PassageRecord {
    /// The session.
    pub session: SessionId,
    /// Who connected.
    pub client: SocketAddr,
    /// The name the client asked for, if it began with TLS.
    pub server_name: Option<Box<str>>,
    /// The hop.
    pub hop: Arc<str>,
    /// Octets of the client's.
    pub octets_in: u64,
    /// Octets of the hop's.
    pub octets_out: u64,
    /// From the hop's 220, or its connection, to the end.
    pub took: Duration,
    /// Why it ended.
    pub end: SessionEnd,
}

/// An address as the client gave it and as it went upstream.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// As given, without brackets.
    pub given: Box<[u8]>,
    /// As sent, where that differs.
    pub sent: Option<Box<[u8]>>,
}

/// Whose words a client heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Gatepost's own.
    Gatepost,
    /// A hop's.
    Hop(Arc<str>),
    /// A rule's.
    Rule(Box<str>),
    /// A callout's.
    Callout(Box<str>),
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speaker::Gatepost => f.write_str("gatepost"),
            Speaker::Hop(host) => write!(f, "hop {host}"),
            Speaker::Rule(name) => write!(f, "rule {name}"),
            Speaker::Callout(name) => write!(f, "callout {name}"),
        }
    }
}

/// What the client heard of a transaction in the end.
#[derive(Clone, Debug)]
pub struct LastWord {
    /// Its first line.
    pub heard: Box<[u8]>,
    /// Whose words it was in.
    pub by: Speaker,
    /// First line of what the hop said to the content, where the client heard something else.
    pub hop_said: Option<Box<[u8]>>,
}

/// One recipient and what became of it.
#[derive(Clone, Debug)]
pub struct RecipientRecord {
    /// The forward-path.
    pub address: Address,
    /// First line of the reply the client heard, and whose words it was in; `None`: the session ended before.
    pub heard: Option<(Box<[u8]>, Speaker)>,
    /// Each time a hop was asked to take it, in order.
    pub attempts: Vec<AttemptRecord>,
}

/// A recipient said to a hop.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The forward-path as it was said.
    pub sent: Box<[u8]>,
    /// The host.
    pub host: Arc<str>,
    /// First line of what that host said; `None`: it did not answer.
    pub reply: Option<Box<[u8]>>,
}
