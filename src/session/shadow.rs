//! A callout in shadow: it is asked as others are, and nobody waits for it or obeys it.
//!
//! In:    what was decided at a stage, by whoever is obeyed.
//! Out:   a question with that beside it, for whoever compares the two.
//! Never: holds anything back, or keeps anything of it in the session.

use std::fmt;
use std::sync::Arc;

use super::callout::Callouts;
use super::route::PoolId;
use super::stage::{CalloutId, Stage};
use super::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict};
use crate::message::Draft;
use crate::smtp::Reply;

/// A question to a callout in shadow.
pub struct Shadow {
    /// Among whom.
    pub callouts: Arc<dyn Callouts>,
    /// Whom.
    pub callout: CalloutId,
    /// At which stage.
    pub stage: Stage,
    /// The question in the callout's own octets.
    pub question: Box<[u8]>,
    /// The transaction it is about, among those of the session; 0: none.
    pub instance: u32,
    /// The message it is about, at `message`.
    pub message: Option<Draft>,
    /// What it is compared with.
    pub decided: Decided,
    /// Where mail goes now.
    pub pool: PoolId,
    /// A refusal of its would be ignored (RFC 5321 4.5.1).
    pub tolerated: bool,
}

/// What was decided; `None`: nothing, and the dialog went on.
#[derive(Clone, Debug)]
pub enum Decided {
    /// About a command.
    Command(Option<CommandVerdict>),
    /// About this reply.
    Reply(Option<ReplyVerdict>, Box<Reply>),
    /// About a message.
    Message(Option<MessageVerdict>),
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in shadow at {}", self.callout, self.stage.as_str())
    }
}
