//! Callouts as the shell sees them: questions carried to services and their answers back.
//!
//! In:    a question in the callout's own octets, as its codec encoded it.
//! Out:   the answer, decoded into the two verdict types, or why there is none.
//! Never: decides what a failure means, or keeps a deadline: the session does both, and drops the future of a question
//!        nobody waits for any more.
//!
//! The pure half of a set of callouts (whom to ask, what to write) is
//! [`Callouts`](crate::session::callout::Callouts), whose `carrier` is an `Arc<dyn Asker>`; [`CalloutSet`] is both.

pub mod answer;
pub mod breaker;
mod carrier;
#[cfg(test)]
mod documents;
mod http;
mod kept;
mod milter;
mod octets;
mod place;
pub mod policy;
mod question;
mod service;
mod set;
mod shadow;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::message::Draft;
use crate::session::callout::{CalloutAnswer, CalloutId, Fault};
use crate::session::io::{CalloutEnd, Shadow};
use crate::session::verdict::Stage;
use crate::smtp::SessionId;
use crate::spool::Kept;

use tokio::sync::mpsc::Sender;

pub use set::{CalloutError, CalloutSet};

/// A session or a transaction, to those who keep something for it: as long as there is one of it, what they keep is nobody
/// else's.
#[derive(Clone, Default)]
pub struct Instance(Arc<()>);

impl Instance {
    fn held(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }

    fn holds(&self, held: &Weak<()>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0), held.as_ptr())
    }
}

/// A question on its way to a service.
pub struct Asked {
    /// At which stage: what kind of answer is wanted.
    pub stage: Stage,
    /// The question in the callout's own octets.
    pub question: Box<[u8]>,
    /// The message it is about, at `message`.
    pub content: Option<Content>,
    /// Who asks.
    pub session: Instance,
    /// About which transaction.
    pub transaction: Instance,
}

/// A message that somebody is asked about.
#[derive(Clone)]
pub struct Content {
    /// As it is edited so far.
    pub draft: Draft,
    /// What reads the octets that came.
    pub kept: Kept,
}

/// Carries questions to callouts. One serves all workers; what it keeps for a worker's runtime, such as
/// connections, it keeps by thread.
pub trait Asker: Send + Sync {
    /// Asks. The future runs on the asking worker's thread and may be dropped at any await: the answer is then not
    /// wanted any more, and nothing may be left open that takes up a place for it.
    fn ask(
        &self,
        callout: CalloutId,
        asked: Asked,
    ) -> Pin<Box<dyn Future<Output = Result<CalloutAnswer, Fault>> + Send>>;

    /// Asks in shadow, in turn, what is put in there: nobody waits, and what comes is compared with what was decided.
    fn attend(&self, session: SessionId, callout: CalloutId) -> Sender<(Shadow, Asked)>;

    /// The transaction of this session that was asked about is over; those who are told more than questions hear of it.
    fn reset(&self, session: &Instance);

    /// This session is over.
    fn leave(&self, session: &Instance);

    /// Counts a question that ended, in whatever way the session says it did.
    fn ended(&self, callout: CalloutId, stage: Stage, end: CalloutEnd, took: Duration);
}
