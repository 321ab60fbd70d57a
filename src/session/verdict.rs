//! Questions and verdicts: what may be asked at each stage, and what may be said to it.
//!
//! In:    the dialog so far as a borrowed [`Question`]; for reply stages the hop's reply beside it.
//! Out:   a [`CommandAnswer`] or a [`ReplyVerdict`]: two types, so that a verdict that makes no sense for its
//!        stage cannot be written down (OPES modes A and B; mode C and retry).
//! Never: knows who decides. Rules implement [`Rules`]; callouts ([`callout`](super::callout)) answer with the same
//!        types.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::events::VerdictKind;
use super::facts::ClientFacts;
use super::route::{Domain, PoolId};
pub use super::stage::{Giver, RuleId, Stage, Stages};
pub use super::transaction::FRAME;
use super::transaction::{Mail, Needs, Prepended, Recipient, Spoken, Transaction};
use crate::message::{Draft, Edit};
use crate::smtp::{Params, Path, Reply, ReplyRef, SessionId, Verb};

/// The dialog so far, as it stands when somebody is asked. What the stage cannot know is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// When.
    pub stage: Stage,
    /// The session, as logs and negative replies name it.
    pub session: SessionId,
    /// Which listener, by its place in the file.
    pub listener: u16,
    /// The client's address.
    pub client: IpAddr,
    /// Its port.
    pub port: u16,
    /// What else is known of it.
    pub facts: Option<&'a ClientFacts>,
    /// The host that the current dialog is with, `host:port`.
    pub hop: Option<&'a str>,
    /// The name the client gave in EHLO or HELO, or that XCLIENT gave before it; at `helo` the new one.
    pub helo: Option<&'a [u8]>,
    /// Whether the client said EHLO, not HELO.
    pub extended: bool,
    /// The same in all questions of a transaction, and in no other's of the session; 0 outside of any.
    pub instance: u32,
    /// Whether a hop said 235, or a trusted peer by XCLIENT as whom the client authenticated.
    pub authenticated: bool,
    /// By which mechanism, where a hop said 235.
    pub mechanism: Option<&'a [u8]>,
    /// The reverse-path as it goes, or went, upstream.
    pub sender: Option<Path<'a>>,
    /// The forward-path in question as rewritten so far.
    pub recipient: Option<Path<'a>>,
    /// The forward-path in question as the client gave it.
    pub recipient_given: Option<Path<'a>>,
    /// How many recipients of this transaction were accepted.
    pub recipients: usize,
    /// The transaction so far, once its MAIL was taken.
    pub envelope: Option<Envelope<'a>>,
    /// The parameters of MAIL or RCPT.
    pub params: Params<'a>,
    /// SIZE= at MAIL.
    pub size: Option<u64>,
    /// The command's verb.
    pub verb: Verb,
    /// Its argument, or the mechanism of AUTH.
    pub argument: &'a [u8],
    /// The message as edited so far, at `message`.
    pub message: Option<&'a Draft>,
}

/// A transaction so far: MAIL and the recipients that were accepted.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a>(pub(super) &'a Transaction);

/// A recipient that was answered 2xx.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// The forward-path as the client gave it, without brackets.
    pub given: &'a [u8],
    /// As it went to the hop that accepted it.
    pub sent: &'a [u8],
    /// Its parameters as sent.
    pub parameters: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// The reverse-path as the client gave it, without brackets.
    pub fn sender_given(self) -> &'a [u8] {
        self.0.mail.given_octets()
    }

    /// The reverse-path as it goes, or went, upstream.
    pub fn sender(self) -> &'a [u8] {
        self.0.mail.sent.path_octets()
    }

    /// MAIL's parameters as they go upstream, joined by single spaces.
    pub fn parameters(self) -> &'a [u8] {
        self.0.mail.sent.params_octets()
    }

    /// The accepted recipients, in the client's order.
    pub fn recipients(self) -> impl ExactSizeIterator<Item = Accepted<'a>> {
        self.0.recipients.iter().map(|recipient| Accepted {
            given: recipient.given_octets(),
            sent: recipient.sent.path_octets(),
            parameters: recipient.sent.params_octets(),
        })
    }

    /// How many recipients a verdict swallowed on purpose.
    pub fn swallowed(self) -> usize {
        self.0.swallowed
    }
}

/// A transaction of which only the sender is known, for a question that no session asks.
#[derive(Debug)]
pub struct Supposed(Transaction);

impl Supposed {
    /// MAIL was said, with this sender as it went upstream.
    pub fn new(sender: Path<'_>, size: Option<u64>, now: Instant) -> Self {
        Self(Transaction {
            mail: Mail { sent: Spoken::given(sender, Params::default()), given: None },
            instance: 0,
            pool: PoolId(0),
            pinned: None,
            accepted: true,
            held: 0,
            prepended: Prepended::default(),
            recipients: Vec::new(),
            swallowed: 0,
            needs: Needs::default(),
            size,
            since: now,
            octets: 0,
            mended: 0,
            notes: None,
        })
    }

    /// And this recipient was taken, as it was given and as it went upstream.
    pub fn with_recipient(mut self, sent: Path<'_>, given: Option<Path<'_>>) -> Self {
        let given = given.map(|given| given.as_bytes().into());
        let sent = Spoken::given(sent, Params::default());
        self.0.recipients.push(Recipient { sent, given, added: false });
        self
    }

    /// As a question shows it.
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope(&self.0)
    }
}

/// What was said to a command: rewrites accumulate, the first deciding verdict ends the stage.
#[derive(Default, Debug)]
pub struct CommandAnswer {
    /// New values, unchecked.
    pub rewrites: Rewrites,
    /// What decides, if anything did.
    pub verdict: Option<CommandVerdict>,
    /// The rules that spoke, in order; the decider last.
    pub by: Vec<RuleId>,
}

/// New values for parts of a command (mode A). Octets as they would stand in the command, without brackets.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Rewrites {
    /// The reverse-path.
    pub sender: Option<Box<[u8]>>,
    /// The forward-path.
    pub recipient: Option<Box<[u8]>>,
    /// The name in EHLO or HELO.
    pub helo: Option<Box<[u8]>>,
    /// All parameters of MAIL or RCPT.
    pub parameters: Option<Box<[u8]>>,
}

/// What decides about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandVerdict {
    /// Answered in the hop's place (mode B). 2xx only at `other` and, where it swallows the recipient, at `rcpt`.
    Reply(Arc<Reply>),
    /// To this pool instead; up to `rcpt`.
    Route(PoolId),
    /// Ask no further.
    Accept,
    /// Say this, or gatepost's own 421, and close.
    Disconnect(Option<Arc<Reply>>),
}

impl CommandVerdict {
    /// What it is called, at this stage.
    pub fn kind(&self, stage: Stage) -> VerdictKind {
        match self {
            CommandVerdict::Reply(reply) if stage == Stage::Rcpt && reply.code().is_positive() => {
                VerdictKind::Discard
            }
            CommandVerdict::Reply(_) => VerdictKind::Reply,
            CommandVerdict::Route(_) => VerdictKind::Route,
            CommandVerdict::Accept => VerdictKind::Accept,
            CommandVerdict::Disconnect(_) => VerdictKind::Disconnect,
        }
    }
}

impl ReplyVerdict {
    /// What it is called.
    pub fn kind(&self) -> VerdictKind {
        match self {
            ReplyVerdict::Substitute(_) => VerdictKind::Substitute,
            ReplyVerdict::Retry(_) => VerdictKind::Retry,
            ReplyVerdict::Accept => VerdictKind::Accept,
            ReplyVerdict::Disconnect(_) => VerdictKind::Disconnect,
        }
    }
}

/// What decides about a hop's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyVerdict {
    /// The client hears this instead (mode C).
    Substitute(Arc<Reply>),
    /// Try the recipient again, rung by rung; `rcpt-reply` only.
    Retry(Vec<Rung>),
    /// Ask no further.
    Accept,
    /// Say this, or gatepost's own 421, and close.
    Disconnect(Option<Arc<Reply>>),
}

/// What was said to a message: edits accumulate, the first deciding verdict ends the stage (mode D).
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct MessageAnswer {
    /// Changes of the message, in order.
    pub edits: Vec<Edit>,
    /// Changes of its envelope, in order.
    pub envelope: Vec<EnvelopeEdit>,
    /// What decides, if anything did.
    pub verdict: Option<MessageVerdict>,
}

impl MessageAnswer {
    /// What is said after it.
    pub fn add(&mut self, more: MessageAnswer) {
        self.edits.extend(more.edits);
        self.envelope.extend(more.envelope);
        self.verdict = more.verdict;
    }

    /// Whether it changes anything.
    pub fn is_edit(&self) -> bool {
        !self.edits.is_empty() || !self.envelope.is_empty()
    }
}

/// One change of the envelope. Paths without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeEdit {
    /// Another reverse-path; `parameters`: all of MAIL's, where they are given.
    Sender {
        /// The path, which may be empty.
        path: Box<[u8]>,
        /// Joined by single spaces.
        parameters: Option<Box<[u8]>>,
    },
    /// One recipient more.
    Add {
        /// The path.
        path: Box<[u8]>,
        /// Joined by single spaces.
        parameters: Box<[u8]>,
    },
    /// All recipients of this path go, as they were given or as they were sent.
    Remove(Box<[u8]>),
}

/// What decides about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageVerdict {
    /// Refused in the hop's place; never 2xx.
    Reply(Arc<Reply>),
    /// To this pool instead.
    Route(PoolId),
    /// Answered 2xx, and given to nobody.
    Discard,
    /// Ask no further.
    Accept,
    /// Say this, or gatepost's own 421, and close.
    Disconnect(Option<Arc<Reply>>),
}

impl MessageVerdict {
    /// What it is called.
    pub fn kind(&self) -> VerdictKind {
        match self {
            MessageVerdict::Reply(_) => VerdictKind::Reply,
            MessageVerdict::Route(_) => VerdictKind::Route,
            MessageVerdict::Discard => VerdictKind::Discard,
            MessageVerdict::Accept => VerdictKind::Accept,
            MessageVerdict::Disconnect(_) => VerdictKind::Disconnect,
        }
    }
}

/// One attempt of a ladder. At least one is given; not both a pool and a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// Another forward-path, without brackets; `None`: the one first sent.
    pub recipient: Option<Box<[u8]>>,
    /// Another pool; `None`: the one first asked.
    pub pool: Option<PoolId>,
    /// The hosts of a domain, found by its MX.
    pub mx: Option<Domain>,
}

/// Local rules, compiled. The session asks; it does not know what they look like.
pub trait Rules: Send + Sync {
    /// The stages at which any rule speaks: a stage nobody asks costs one bit test.
    fn stages(&self) -> Stages;

    /// Asks about a command.
    fn command(&self, question: &Question<'_>) -> CommandAnswer;

    /// Asks about a hop's reply. `after`: the rule whose ladder has just failed; only later rules are asked, and
    /// none of them may retry.
    fn reply(
        &self,
        question: &Question<'_>,
        reply: ReplyRef<'_>,
        after: Option<RuleId>,
    ) -> Option<(ReplyVerdict, RuleId)>;

    /// Asks about a message: what is said, and the rules that said it, in order, the decider last.
    fn message(&self, _: &Question<'_>) -> (MessageAnswer, Vec<RuleId>) {
        Default::default()
    }

    /// Whether any rule looks at the structure of a message's MIME.
    fn wants_structure(&self) -> bool {
        false
    }

    /// The rule's name, for records.
    fn name(&self, rule: RuleId) -> &str;
}

/// No rules at all.
#[derive(Debug, Default)]
pub struct NoRules;

impl Rules for NoRules {
    fn stages(&self) -> Stages {
        Stages::default()
    }

    fn command(&self, _: &Question<'_>) -> CommandAnswer {
        CommandAnswer::default()
    }

    fn reply(&self, _: &Question<'_>, _: ReplyRef<'_>, _: Option<RuleId>) -> Option<(ReplyVerdict, RuleId)> {
        None
    }

    fn name(&self, _: RuleId) -> &str {
        ""
    }
}
