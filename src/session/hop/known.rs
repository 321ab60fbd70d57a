//! What may be asked about a hop.
//!
//! In:    what the dialog has come to.
//! Out:   where and what it is, what it offers and may be told, until when it may take.
//! Never: changes anything.

use std::sync::Arc;
use std::time::Instant;

use super::{Hop, Stand};
use crate::dialog::{Expect, Timeouts};
use crate::session::facts::TlsFacts;
use crate::session::peer::HopId;
use crate::session::route::{Host, Place, PoolId};
use crate::session::transaction::{Carries, Needs};
use crate::smtp::{Extensions, Keyword};

impl Hop {
    /// Which.
    pub fn id(&self) -> HopId {
        self.id
    }

    /// The pool or the domain whose host it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it is a host of this pool.
    pub fn is_in(&self, pool: PoolId) -> bool {
        matches!(&self.place, Place::Pool(of) if *of == pool)
    }

    /// Its host.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Its host's name, for logs.
    pub fn name(&self) -> &Arc<str> {
        self.host.name()
    }

    /// Whether it speaks LMTP.
    pub fn is_lmtp(&self) -> bool {
        self.lmtp
    }

    /// Whether it hears the client's commands.
    pub fn is_ready(&self) -> bool {
        self.stand == Stand::Ready
    }

    /// Since when neither side has said anything, where nothing is awaited.
    pub fn quiet_since(&self) -> Option<Instant> {
        (self.is_ready() && self.dialog.is_quiet()).then_some(self.since)
    }

    /// Whether there is no connection yet.
    pub fn is_connecting(&self) -> bool {
        self.stand == Stand::Connecting
    }

    /// Whether a handshake goes on.
    pub fn is_securing(&self) -> bool {
        self.stand == Stand::Securing
    }

    /// Whether it has answered a command of the client's.
    pub fn serves(&self) -> bool {
        self.serves
    }

    /// What it offers.
    pub fn offers(&self) -> &Extensions {
        &self.dialog.extensions
    }

    /// Whether a command said now would go out now.
    pub fn may_say(&self) -> bool {
        self.dialog.may_say()
    }

    /// Whether a reply to this is still to come.
    pub fn awaits(&self, expect: Expect) -> bool {
        self.dialog.awaits(expect)
    }

    /// Whose replies are still to come.
    pub fn expects(&self) -> impl Iterator<Item = Expect> {
        self.dialog.expects()
    }

    /// Whether it is inside a transaction, or will be if it takes what it was told.
    pub fn may_be_in_mail(&self) -> bool {
        self.dialog.may_be_in_mail()
    }

    /// What it can be told. SIZE the client may have been shown on gatepost's own account.
    /// `line`: octets of a line.
    pub fn carries(&self, shown: &Extensions, line: usize) -> Carries {
        Carries {
            lmtp: self.lmtp,
            size: self.offers().has(Keyword::Size) || !shown.has(Keyword::Size),
            dsn: self.offers().has(Keyword::Dsn),
            line,
        }
    }

    /// Whether it offers what a transaction has used.
    pub fn fits(&self, needs: Option<&Needs>) -> bool {
        needs.is_none_or(|needs| needs.met_by(self.offers()))
    }

    /// Whether it takes a path that was not the client's (RFC 6531 3.4).
    pub fn takes_path(&self, path: &[u8]) -> bool {
        path.is_ascii() || !self.is_ready() || self.offers().has(Keyword::SmtpUtf8)
    }

    /// The TLS there is with it.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.terms.as_ref()?.tls()
    }

    /// When what is awaited of it is too late.
    pub fn deadline(&self, timeouts: &Timeouts, owes_message: bool, authenticated: bool) -> Option<Instant> {
        let patience = match self.stand {
            Stand::Connecting => timeouts.connect,
            Stand::Securing => timeouts.tls,
            Stand::Greeting if self.more => timeouts.greeting,
            Stand::Ready | Stand::Hello if owes_message => timeouts.end_of_data,
            Stand::Ready | Stand::Hello if self.dialog.is_quiet() => return None,
            _ if self.more && !authenticated => timeouts.reply,
            _ => timeouts.answer,
        };
        Some(self.since + patience)
    }
}
