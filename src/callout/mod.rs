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
mod hooks;
mod http;
mod kept;
mod milter;
mod octets;
mod place;
pub mod policy;
mod quarantine;
mod question;
mod service;
mod set;
mod shadow;
mod transport;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::message::{Draft, Strand};
use crate::session::callout::{CalloutAnswer, CalloutId, Fault, FaultKind};
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

    /// Whether nobody else has it any more.
    fn is_left(&self) -> bool {
        Arc::strong_count(&self.0) == 1
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

impl Content {
    /// Whether these are the octets that would go on now.
    async fn is(&self, octets: &[u8]) -> io::Result<bool> {
        /// Octets that are read back at once.
        const PIECE: usize = 64 << 10;
        let rope = self.draft.rope();
        if rope.iter().map(Strand::len).sum::<u64>() != octets.len() as u64 {
            return Ok(false);
        }
        let mut rest = octets;
        for strand in rope {
            let length = usize::try_from(strand.len()).unwrap_or(rest.len());
            let (part, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            let range = match strand {
                Strand::Put(put) if *put == *part => continue,
                Strand::Put(_) => return Ok(false),
                Strand::Spool(range) => range,
            };
            for (piece, at) in part.chunks(PIECE).zip((range.start..).step_by(PIECE)) {
                if self.kept.read(at..at + piece.len() as u64).await? != piece {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Nobody can be asked about a message that is lost.
fn unreadable(error: &io::Error) -> Fault {
    Fault::new(FaultKind::NotAsked, format!("the message cannot be read back: {error}"))
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
