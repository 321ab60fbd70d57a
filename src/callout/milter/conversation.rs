//! A conversation with a filter: one connection, for one client.
//!
//! **In**: a script of the dialog so far, the last command of which is asked about; at `message` the message, too.
//! **Out**: what the filter says to it, and what it changes.
//! **Never**: tells of one command twice, but of RCPT where the client said it twice; asks on when the filter wants to know no
//! more, or has decided; lets what it said to one command be taken for what it says to another.
//!
//! Filters are used to this order from Sendmail and Postfix. A conversation that begins late, or anew because its
//! connection was lost, says first what came before; what a filter says to that counts for what is asked now.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use super::change::Change;
use super::frame::{self, Frame, command};
use super::macros::Macros;
use super::options::{self, Options};
use super::said::{Refusal, Said, malformed};
use super::wire::Wire;
use crate::callout::Asked;
use crate::config::types::{Milter, Occasion};
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::Stage;
use crate::smtp::Reply;

/// What a filter decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Pass,
    Refuse(Refusal),
    Close(Option<Arc<Reply>>),
    Discard,
}

/// What it says to what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub decision: Decision,
    pub changes: Vec<Change>,
}

impl From<Decision> for Outcome {
    fn from(decision: Decision) -> Self {
        Outcome { decision, changes: Vec::new() }
    }
}

/// A conversation.
pub(super) struct Conversation {
    pub(super) wire: Wire,
    pub(super) options: Options,
    macros: Macros,
    client: Option<Box<[u8]>>,
    hello: Option<Box<[u8]>>,
    transaction: Option<Transaction>,
    /// What was decided about the client.
    decided: Option<Decision>,
}

/// A transaction that it was told of.
struct Transaction {
    instance: Weak<()>,
    /// Recipients that it was told of.
    recipients: Vec<u64>,
    /// It wants to know of no more.
    has_enough: bool,
    has_data: bool,
    /// What was decided about its message.
    decided: Option<Decision>,
}

impl Conversation {
    /// Begins: agrees upon what is said.
    /// `refused`: it can be told of recipients that the hop refused.
    pub(super) async fn begin(mut wire: Wire, refused: bool) -> Result<Self, Fault> {
        wire.put(command::NEGOTIATE, &[&options::offer(refused)]);
        let options = wire
            .packet(|Frame { code, data }| match code {
                command::NEGOTIATE => Options::read(data, refused),
                _ => malformed(format!("{:?} instead of its options", char::from(code))),
            })
            .await?;
        let macros = Macros::default();
        let (client, hello, transaction, decided) = (None, None, None, None);
        Ok(Self { wire, options, macros, client, hello, transaction, decided })
    }

    /// Whether it is about this client: a trusted peer may say that it is another one now.
    pub(super) fn is_about(&self, script: &[u8]) -> bool {
        let client = frame::all(script).find(|frame| frame.code == command::CONNECT);
        self.client.is_none() || self.client.as_deref() == client.map(|frame| address(frame.data))
    }

    /// Whether it failed because its connection was lost before anything was said to what was asked.
    pub(super) fn said_nothing(&self, fault: &Fault) -> bool {
        fault.kind == FaultKind::Lost && !self.wire.has_heard()
    }

    /// Asks.
    pub(super) async fn ask(&mut self, asked: &Asked, milter: &Milter) -> Result<Outcome, Fault> {
        self.wire.begins();
        let outcome = self.put(asked, milter).await?;
        self.wire.ends().await?;
        Ok(outcome)
    }

    async fn put(&mut self, asked: &Asked, milter: &Milter) -> Result<Outcome, Fault> {
        if self.transaction.take_if(|open| open.is_over(asked)).is_some() {
            self.wire.put(command::ABORT, &[]);
        }
        let last = frame::all(&asked.question).filter(|frame| frame.code != command::MACRO).last();
        for frame in frame::all(&asked.question) {
            if let Some(decision) = &self.decided {
                return Ok(decision.clone().into());
            }
            if frame.code == command::MACRO {
                self.macros.learn(frame.data);
                continue;
            }
            let is_asked = Some(frame) == last && asked.stage != Stage::Message;
            if let Some(decision) = self.step(frame, is_asked, asked, milter).await? {
                return Ok(decision.into());
            }
        }
        let decided = self.decided.clone();
        let decided = decided.or_else(|| self.transaction.as_ref()?.decided.clone());
        match (decided, &asked.content) {
            (Some(decision), _) => {
                self.transaction.take_if(|_| asked.content.is_some());
                Ok(decision.into())
            }
            (None, Some(content)) => {
                let outcome = self.tell(content, milter).await?;
                self.transaction = None;
                Ok(outcome)
            }
            (None, None) => Ok(Decision::Pass.into()),
        }
    }

    /// One command, if it was not told of it; what decides about what is asked, if it does.
    async fn step(
        &mut self,
        frame: Frame<'_>,
        is_asked: bool,
        asked: &Asked,
        milter: &Milter,
    ) -> Result<Option<Decision>, Fault> {
        let Frame { code, data } = frame;
        let open = self.transaction.as_mut();
        let (occasion, is_known) = match code {
            command::CONNECT => (Occasion::Connect, self.client.is_some()),
            command::HELO => (Occasion::Helo, !is_asked && self.hello.as_deref() == Some(data)),
            command::MAIL => (Occasion::Mail, open.is_some()),
            command::RCPT => {
                let said = |open: &mut Transaction| {
                    open.has_enough || (!is_asked && (open.has_data || open.knows(data)))
                };
                (Occasion::Rcpt, open.is_some_and(said))
            }
            // Without a recipient there is no content (and libmilter would not answer).
            _ => (Occasion::Data, open.is_none_or(|open| open.has_data) || !is_addressed(&asked.question)),
        };
        if is_known || self.transaction.as_ref().is_some_and(|open| open.decided.is_some()) {
            return Ok(None);
        }
        if code == command::RCPT && self.macros.are_of_refused() && !self.options.wants_refused() {
            return Ok(None);
        }
        let said = self.event(occasion, code, &[data], milter).await?;
        let skips = said == Said::Skip;
        let of_client = matches!(code, command::CONNECT | command::HELO);
        let decision = match said {
            Said::Accept => Some(Decision::Pass),
            Said::Refuse(refusal) => Some(Decision::Refuse(refusal)),
            Said::Close(reply) => Some(Decision::Close(reply)),
            // There is no message that it could be.
            Said::Discard if of_client => None,
            Said::Discard => Some(Decision::Discard),
            Said::Continue | Said::Skip | Said::Progress => None,
            Said::Change(_) => return malformed("a change before the end of the message"),
        };
        match code {
            command::CONNECT => self.client = Some(address(data).into()),
            command::HELO => self.hello = Some(data.into()),
            command::MAIL => {
                let instance = asked.transaction.held();
                let (recipients, decided) = (Vec::new(), None);
                let (has_enough, has_data) = (false, false);
                self.transaction = Some(Transaction { instance, recipients, has_enough, has_data, decided });
            }
            command::RCPT => {
                self.transaction.iter_mut().for_each(|open| {
                    open.recipients.push(digest(data));
                    open.has_enough = skips;
                });
            }
            _ => self.transaction.iter_mut().for_each(|open| open.has_data = true),
        }
        if of_client {
            self.decided = decision;
            return Ok(None);
        }
        match decision {
            Some(decision @ (Decision::Pass | Decision::Discard)) => {
                self.transaction.iter_mut().for_each(|open| open.decided = Some(decision.clone()));
                Ok(None)
            }
            Some(refused) => {
                // Of one recipient; else the filter is done with the message.
                self.transaction.take_if(|_| code != command::RCPT);
                Ok(Some(refused))
            }
            None => Ok(None),
        }
    }

    /// Tells of one thing, with its macros; what the filter says to it.
    pub(super) async fn event(
        &mut self,
        occasion: Occasion,
        code: u8,
        data: &[&[u8]],
        milter: &Milter,
    ) -> Result<Said, Fault> {
        let chosen = self.options.macros(occasion).unwrap_or_else(|| milter.macros(occasion));
        let values = self.macros.values(chosen, &milter.values);
        // Though the command may not be wanted, as Postfix does.
        if !values.is_empty() {
            self.wire.put(command::MACRO, &[&[code], &values]);
        }
        if !self.options.wants(code) {
            return Ok(Said::Continue);
        }
        self.wire.put(code, data);
        if !self.options.answers(code) {
            self.wire.relieve().await?;
            return Ok(Said::Continue);
        }
        self.wire.answer(&self.options).await
    }

    /// The transaction is over; false: the filter cannot be told.
    pub(super) fn reset(&mut self) -> bool {
        self.transaction.take().is_none() || self.wire.say_now(command::ABORT)
    }
}

impl Transaction {
    /// Whether what is asked is not about it any more; behind DATA no recipient is told of.
    fn is_over(&self, asked: &Asked) -> bool {
        let begins = matches!(asked.stage, Stage::Connect | Stage::Helo | Stage::Mail);
        let goes_back = matches!(asked.stage, Stage::Rcpt | Stage::RcptReply) && self.has_data;
        begins || goes_back || !asked.transaction.holds(&self.instance)
    }

    /// Whether it was told of this recipient, which is counted off.
    fn knows(&mut self, data: &[u8]) -> bool {
        let digest = digest(data);
        let known = self.recipients.iter().position(|known| *known == digest);
        known.map(|place| self.recipients.swap_remove(place)).is_some()
    }
}

/// Whether any recipient was accepted.
fn is_addressed(script: &[u8]) -> bool {
    frame::all(script).any(|frame| frame.code == command::RCPT)
}

/// Of a client, without its name, which may be found later.
fn address(client: &[u8]) -> &[u8] {
    memchr::memchr(0, client).map_or(client, |end| &client[end..])
}

fn digest(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

impl AsFd for Conversation {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.wire.say_now(command::QUIT);
    }
}
