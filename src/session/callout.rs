//! Callouts as a session sees them: whom to ask, in what octets, and what an answer or a failure may be.
//!
//! In:    the dialog so far as a borrowed [`Question`]; for reply stages the hop's reply beside it.
//! Out:   who is asked next ([`Callouts::next`]) and the question encoded ([`Callouts::encode`]); then, through
//!        [`Output::Ask`] and [`Input::Told`], a [`CalloutAnswer`] of the two verdict types that rules give, or a
//!        [`Fault`].
//! Never: opens a connection, waits, or trusts: what a callout says is checked as a rule's word is (`allowed`), and a
//!        verdict that its stage does not allow is a failed callout. Nothing about a verdict depends on who gave it.
//!
//! A callout is a conversation that the shell owns; a question is one exchange in it. Questions alone are served:
//! whoever must be told more than it is asked (a milter, OCP) will be told by outputs beside `Ask`, under the same
//! tickets, and answer by inputs beside `Told`.
//!
//! [`Output::Ask`]: super::io::Output::Ask
//! [`Input::Told`]: super::io::Input::Told

use std::any::Any;
use std::time::Duration;

pub use super::beside::{Beside, Provisos};
pub use super::fault::{Fault, FaultKind};
pub use super::stage::CalloutId;
use super::stage::{Stage, Stages};
use super::verdict::{CommandVerdict, MessageAnswer, Question, ReplyVerdict, Rewrites};
use crate::message::Draft;
use crate::smtp::{Own, ReplyRef, own};

/// The callouts of one configuration, as far as no network is needed.
pub trait Callouts: Send + Sync {
    /// The stages at which any callout is asked: a stage nobody asks costs one bit test.
    fn stages(&self) -> Stages;

    /// The first callout behind `after`, in file order, that is asked at this stage and whose `when` holds. Called
    /// again when that one has answered, with its rewrites in the question. About a message that is yet to come: whether one
    /// may be asked.
    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        after: Option<CalloutId>,
    ) -> Option<CalloutId>;

    /// The stages at which any callout is asked in shadow.
    fn shadow_stages(&self) -> Stages {
        Stages::default()
    }

    /// Those that are asked in shadow at this stage and whose `when` holds.
    fn shadows(&self, _: &Question<'_>, _: Option<ReplyRef<'_>>) -> Vec<CalloutId> {
        Vec::new()
    }

    /// Whether any `when` looks at the structure of a message's MIME.
    fn wants_structure(&self) -> bool {
        false
    }

    /// The question in the callout's own octets, complete: nothing borrowed is left when it is asked.
    fn encode(&self, callout: CalloutId, question: &Question<'_>, reply: Option<ReplyRef<'_>>) -> Box<[u8]>;

    /// What holds for a callout.
    fn terms(&self, callout: CalloutId) -> CalloutTerms;

    /// The callout's name, for records.
    fn name(&self, callout: CalloutId) -> &str;

    /// What the shell asks with; the session hands it on and never looks into it.
    fn carrier(&self) -> &dyn Any;
}

/// What holds for one callout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CalloutTerms {
    /// How long it may take to answer one question, connecting included.
    pub timeout: Duration,
    /// And how much longer for each MiB of the message it is asked about.
    pub per_mib: Duration,
    /// What is done when it fails.
    pub on_error: OnError,
    /// `effects: [discard]`: its 2xx at `rcpt` swallows the recipient.
    pub may_discard: bool,
    /// Its refusals of `<postmaster>` are carried out, too (RFC 5321 4.5.1 has that mailbox accepted).
    pub refuse_postmaster: bool,
}

impl CalloutTerms {
    /// How much longer than `timeout` a question about this may take.
    pub fn for_size(&self, message: Option<&Draft>) -> Duration {
        let octets = message.map_or(0, |draft| draft.message().size());
        self.per_mib.saturating_mul(u32::try_from(octets.div_ceil(1 << 20)).unwrap_or(u32::MAX))
    }
}

/// What is done when a callout fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// As if it had passed.
    Pass,
    /// `451 4.3.0`, or `421` where the connection is in question.
    #[default]
    Tempfail,
    /// `554 5.3.0`.
    Reject,
}

impl OnError {
    /// What the client hears when a callout fails at `stage`; `None`: nothing of it.
    pub(crate) fn reply(self, stage: Stage) -> Option<&'static Own> {
        match self {
            OnError::Pass => None,
            // What a hop has accepted it will deliver, whoever could not be asked about that.
            _ if stage == Stage::MessageReply => None,
            OnError::Tempfail if matches!(stage, Stage::Connect | Stage::ConnectReply) => {
                Some(&own::CALLOUT_FAILED_CLOSING)
            }
            OnError::Tempfail => Some(&own::CALLOUT_FAILED),
            OnError::Reject => Some(&own::CALLOUT_REJECTED),
        }
    }
}

/// What a callout said. An answer of the other kind than its stage is a failed callout.
#[derive(Debug, PartialEq, Eq)]
pub enum CalloutAnswer {
    /// To a command.
    Command {
        /// New values, unchecked.
        rewrites: Rewrites,
        /// What decides; `None`: pass.
        verdict: Option<CommandVerdict>,
        /// What else it says, unchecked.
        beside: Option<Box<Beside>>,
    },
    /// To a hop's reply; `None`: pass.
    Reply(Option<ReplyVerdict>),
    /// To a message.
    Message(Box<MessageAnswer>),
}

impl CalloutAnswer {
    /// Nothing, to a command.
    pub fn pass() -> CalloutAnswer {
        CalloutAnswer::command(None)
    }

    /// Only what decides about a command; `None`: pass.
    pub fn command(verdict: Option<CommandVerdict>) -> CalloutAnswer {
        CalloutAnswer::Command { rewrites: Rewrites::default(), verdict, beside: None }
    }
}

/// No callouts at all.
#[derive(Debug, Default)]
pub struct NoCallouts;

impl Callouts for NoCallouts {
    fn stages(&self) -> Stages {
        Stages::default()
    }

    fn next(&self, _: &Question<'_>, _: Option<ReplyRef<'_>>, _: Option<CalloutId>) -> Option<CalloutId> {
        None
    }

    fn encode(&self, _: CalloutId, _: &Question<'_>, _: Option<ReplyRef<'_>>) -> Box<[u8]> {
        Box::default()
    }

    fn terms(&self, _: CalloutId) -> CalloutTerms {
        CalloutTerms {
            timeout: Duration::ZERO,
            per_mib: Duration::ZERO,
            on_error: OnError::Tempfail,
            may_discard: false,
            refuse_postmaster: false,
        }
    }

    fn name(&self, _: CalloutId) -> &str {
        ""
    }

    fn carrier(&self) -> &dyn Any {
        &()
    }
}
