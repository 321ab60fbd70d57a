//! A reply that is kept to be said in its turn, and whose words it is in.
//!
//! In:    a reply of gatepost's own, one that a verdict wrote, or a hop's.
//! Out:   its code, and who said it.
//! Never: forgets who said it.

use std::sync::Arc;

use super::peer::{HopId, Origin};
use crate::smtp::{Code, Own, Reply, ReplyRef, own};

/// A reply of our own.
#[derive(Clone, Debug)]
pub enum Said {
    /// One that gatepost says itself.
    Own(&'static Own),
    /// One that a verdict wrote.
    Written(Arc<Reply>),
    /// A hop's, kept.
    Heard(HopId, Arc<Reply>),
}

impl Said {
    /// What a verdict says before it closes.
    pub fn disconnect(written: Option<Arc<Reply>>) -> Said {
        written.map_or(Said::Own(&own::DISCONNECTED), Said::Written)
    }

    /// A hop's reply, to be said when its turn comes.
    pub fn heard(hop: HopId, reply: ReplyRef<'_>) -> Said {
        Said::Heard(hop, Arc::new(reply.to_owned()))
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Said::Own(own) => own.code(),
            Said::Written(reply) | Said::Heard(_, reply) => reply.code(),
        }
    }

    /// Whose words it is in.
    pub fn origin(&self) -> Origin {
        match self {
            Said::Own(_) | Said::Written(_) => Origin::Gatepost,
            Said::Heard(hop, _) => Origin::Hop(*hop),
        }
    }
}
