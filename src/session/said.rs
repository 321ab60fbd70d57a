//! A reply that is kept to be said in its turn, and whose words it is in.
//!
//! In:    a reply of gatepost's own, one that a verdict wrote, or a hop's.
//! Out:   its code, and who said it.
//! Never: forgets who said it.

use std::ops::Deref;
use std::sync::Arc;

use super::peer::{HopId, Origin};
use super::stage::{Giver, Stage};
use crate::smtp::{Code, Own, Reply, ReplyRef, SessionId, own};

/// A reply of our own.
#[derive(Clone, Debug)]
pub enum Said {
    /// One that gatepost says itself.
    Own(&'static Own),
    /// One that a verdict wrote.
    Written(Written),
    /// A hop's, kept; with its name where it may be gone by the time this is said.
    Heard(HopId, Arc<Reply>, Option<Arc<str>>),
}

/// A reply that was put together: by a verdict, or by gatepost where no rule or callout decided.
#[derive(Clone, Debug)]
pub struct Written {
    reply: Arc<Reply>,
    by: Option<(Giver, Stage)>,
}

impl Written {
    /// What a verdict says at a stage; `None`: gatepost itself.
    pub fn by(by: Option<Giver>, stage: Stage, reply: Arc<Reply>) -> Written {
        Written { reply, by: by.map(|by| (by, stage)) }
    }

    /// Who decided that, and at which stage; `None`: gatepost itself.
    pub fn author(&self) -> Option<(Giver, Stage)> {
        self.by
    }
}

impl From<Arc<Reply>> for Written {
    fn from(reply: Arc<Reply>) -> Self {
        Written { reply, by: None }
    }
}

impl Deref for Written {
    type Target = Reply;

    fn deref(&self) -> &Reply {
        &self.reply
    }
}

impl Said {
    /// What a verdict says before it closes; gatepost's words where it has none of its own.
    pub fn disconnect(written: Option<Arc<Reply>>, by: Option<Giver>, stage: Stage, id: SessionId) -> Said {
        let reply = written.unwrap_or_else(|| Arc::new(own::DISCONNECTED.reply(id)));
        Said::Written(Written::by(by, stage, reply))
    }

    /// A hop's reply, to be said when its turn comes.
    pub fn heard(hop: HopId, reply: ReplyRef<'_>) -> Said {
        Said::Heard(hop, Arc::new(reply.to_owned()), None)
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Said::Own(own) => own.code(),
            Said::Written(reply) => reply.code(),
            Said::Heard(_, reply, _) => reply.code(),
        }
    }

    /// Whose words it is in.
    pub fn origin(&self) -> Origin {
        match self {
            Said::Own(_) | Said::Written(_) => Origin::Gatepost,
            Said::Heard(hop, ..) => Origin::Hop(*hop),
        }
    }
}
