//! What may be asked about a delivery.
//!
//! In:    how far envelope and content have come.
//! Out:   what is there, who takes it, and whether that may go on.
//! Never: changes anything.

use super::Delivery;
use super::content::{Content, Form, Intake, Outlet};
use crate::message::Draft;
use crate::session::hop::{Hop, Hops};
use crate::session::peer::HopId;
use crate::session::said::Said;
use crate::session::transaction::Transaction;

impl Delivery {
    /// The transaction, from MAIL to the end of its content.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_deref()
    }

    /// Whether MAIL was answered 2xx and the transaction goes on.
    pub fn has_transaction(&self) -> bool {
        self.transaction().is_some_and(|transaction| transaction.accepted)
    }

    /// The content, from 354 or the first BDAT to its end.
    pub fn content(&self) -> Option<&Content> {
        self.content.as_deref()
    }

    /// What the content will be answered, where no hop takes it.
    pub fn answer(&self) -> Option<&Said> {
        match &self.content()?.outlet {
            Outlet::Nowhere(said) => Some(said),
            Outlet::Hop { .. } | Outlet::Spool(_) => None,
        }
    }

    /// Whether nothing is under way.
    pub fn is_none(&self) -> bool {
        self.transaction.is_none() && self.content.is_none()
    }

    /// Whether the client's octets are content.
    pub fn in_content(&self) -> bool {
        self.content().is_some_and(|content| !content.is_between_chunks())
    }

    /// Whether content is under way and more of it must come.
    pub fn lacks_octets(&self) -> bool {
        self.content().is_some_and(Content::lacks_octets)
    }

    /// Whether a chunk of no octets waits to be taken.
    pub fn has_empty_chunk(&self) -> bool {
        self.content().is_some_and(|content| matches!(content.intake, Intake::Chunk { remaining: 0, .. }))
    }

    /// Whether a hop is in the midst of a DATA that the client knows nothing of.
    pub fn is_stuffing(&self) -> bool {
        self.content().is_some_and(Content::is_stuffing)
    }

    /// Whether the client's octets can be taken as content now.
    pub fn takes_content(&self, hops: &Hops) -> bool {
        self.content().is_some_and(|content| !content.is_asked_about() && Self::takes(content, hops))
    }

    /// Whether the spool's can.
    pub fn takes_poured(&self, hops: &Hops) -> bool {
        self.content().is_some_and(|content| content.is_poured() && Self::takes(content, hops))
    }

    /// Whether the message is whole, and asked about or given back.
    pub fn is_asked_about(&self) -> bool {
        self.content().is_some_and(Content::is_asked_about)
    }

    /// Whether the message is kept, or being kept, until everybody was asked: a hop that knows its envelope waits.
    pub fn is_kept(&self) -> bool {
        let kept = |content: &Content| content.spooled.is_some() && !content.is_poured();
        self.content().is_some_and(kept)
    }

    /// Whether it is given back.
    pub fn is_poured(&self) -> bool {
        self.content().is_some_and(Content::is_poured)
    }

    /// The message as it is edited so far.
    pub fn draft(&self) -> Option<&Draft> {
        self.content()?.spooled.as_ref()?.draft.as_ref()
    }

    fn takes(content: &Content, hops: &Hops) -> bool {
        match &content.outlet {
            _ if content.is_between_chunks() => false,
            Outlet::Nowhere(_) => !content.is_asked_about(),
            Outlet::Spool(_) => true,
            Outlet::Hop { ready: false, .. } => false,
            Outlet::Hop { form: Form::Chunks, hop, .. } => {
                matches!(content.intake, Intake::Chunk { announced: true, .. })
                    || hops.get(*hop).is_some_and(Hop::may_say)
            }
            Outlet::Hop { .. } => true,
        }
    }

    /// Whether a hop is in the midst of content: what it says now was not asked.
    pub fn streams_to(&self, at: HopId) -> bool {
        self.content().is_some_and(|content| content.streams_to(at))
    }

    /// Whether a hop must take DATA, or be ready for chunks, before content can flow to it.
    pub fn awaits_go(&self, at: HopId) -> bool {
        self.content().is_some_and(|content| content.awaits_go(at))
    }

    /// Whether chunks wait for the envelope to be in at this hop.
    pub fn awaits_chunks(&self, at: HopId) -> bool {
        self.content().is_some_and(|content| content.awaits_chunks(at))
    }
}
