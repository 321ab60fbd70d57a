//! `type: milter`: filters of Sendmail and Postfix, spoken to from the MTA's side, version 6.
//!
//! **In**: a question with its session and transaction; at `message` the message. **Out**: what a filter decides and changes, in
//! the verdict types; or a [`Fault`].
//! **Never**: has one filter's connection for two clients; asks on a connection on which something was said unasked; keeps
//! a deadline: whoever waits drops the future, and its connection with it.
//!
//! A client has one conversation with a filter, begun when it is first asked and ended with the session. There are `concurrency`
//! of them at most; where one more is needed, that which has been idle longest is closed, and begins anew when its client
//! goes on: it says again what came before. So it does when its connection is found dead. Of several addresses the
//! one that answered last is tried first.

mod answer;
mod change;
mod conversation;
mod event;
mod frame;
mod macros;
mod message;
mod options;
mod said;
#[cfg(test)]
mod tests;
mod wire;

use super::kept::{Connections, Doubt, Heard, Open, heard};
use super::place::{Address, First};
use super::{Asked, Instance};
use crate::config::types::{Callout, Dns, Effect, Milter};
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::verdict::Stage;
use conversation::{Conversation, Outcome};
use wire::Wire;

pub(super) use event::encode;

/// Octets that a filter may change of one message: another body is held in memory.
const BODY: usize = 32 << 20;

/// Changes of one message, but those of its body.
const CHANGES: usize = 2000;

/// A filter, and the conversations with it.
pub(super) struct MilterClient {
    milter: Milter,
    may_discard: bool,
    asks_about_message: bool,
    knows_refused: bool,
    addresses: Box<[Address]>,
    first: First,
    conversations: Connections<Conversation>,
}

impl MilterClient {
    pub(super) fn new(callout: &Callout, milter: &Milter, dns: &Dns) -> Self {
        Self {
            milter: milter.clone(),
            may_discard: callout.effects.contains(&Effect::Discard),
            asks_about_message: callout.stages.contains(&Stage::Message),
            knows_refused: callout.stages.contains(&Stage::RcptReply),
            addresses: milter.addresses.iter().map(|target| Address::new(target, dns)).collect(),
            first: First::default(),
            conversations: Connections::new(callout.concurrency),
        }
    }

    /// Asks.
    pub(super) async fn ask(&self, asked: &Asked) -> Result<CalloutAnswer, Fault> {
        let (mut open, outcome) = match self.go_on(asked).await? {
            Ok(done) => done,
            Err(place) => self.begin(asked, place).await?,
        };
        let answered = answer::may_discard(&outcome, self.may_discard, self.asks_about_message)
            .and_then(|()| answer::answer(asked.stage, outcome, &self.milter));
        if answered.is_err() {
            // What it believes to have done is not what was done.
            open.connection.reset();
        }
        // The question that tries a service goes on when whoever asked has left.
        if !asked.session.is_left() {
            self.conversations.keep(open, &asked.session);
        }
        answered
    }

    /// In the conversation that there is, if it can go on; else a place that it leaves.
    async fn go_on(&self, asked: &Asked) -> Result<Result<Done, Option<Place>>, Fault> {
        let Some(mut open) = self.conversations.take_own(&asked.session) else { return Ok(Err(None)) };
        match heard(&open.connection) {
            Heard::Nothing => {}
            Heard::Octets => return Err(Fault::new(FaultKind::Malformed, "something was said unasked")),
            Heard::End => return Ok(Err(Some(open.place))),
        }
        if !open.connection.is_about(&asked.question) {
            return Ok(Err(Some(open.place)));
        }
        let doubt = self.doubt(open.address);
        let answered = open.connection.ask(asked, &self.milter).await;
        doubt.answered();
        match answered {
            Ok(outcome) => Ok(Ok((open, outcome))),
            Err(fault) if open.connection.said_nothing(&fault) => Ok(Err(Some(open.place))),
            Err(fault) => Err(fault),
        }
    }

    /// In a new one.
    async fn begin(&self, asked: &Asked, place: Option<Place>) -> Result<Done, Fault> {
        let place = match place {
            Some(place) => place,
            None => {
                let none = || Fault::new(FaultKind::NotAsked, "no place for a conversation");
                self.conversations.place().await.ok_or_else(none)?
            }
        };
        let mut fault = Fault::new(FaultKind::Unreachable, "");
        let several = self.addresses.len() > 1;
        for address in self.first.order(self.addresses.len()) {
            let doubt = self.doubt(address);
            let began = match self.addresses[address].connect(several).await {
                Ok(connection) => Conversation::begin(Wire::new(connection), self.knows_refused).await,
                Err(what) => Err(Fault::new(FaultKind::Unreachable, what)),
            };
            match began {
                Ok(mut connection) => match connection.ask(asked, &self.milter).await {
                    Ok(outcome) => {
                        doubt.answered();
                        self.first.answered(address);
                        return Ok((Open { connection, address, place }, outcome));
                    }
                    // As a filter does that has no room.
                    Err(failed) if connection.said_nothing(&failed) => fault = failed,
                    Err(failed) => return Err(failed),
                },
                Err(failed) => fault = failed,
            }
            self.first.moves_on(address, self.addresses.len());
        }
        Err(fault)
    }

    fn doubt(&self, address: usize) -> Doubt<'_, Conversation> {
        Doubt::new(&self.conversations, &self.first, (address, self.addresses.len()))
    }

    /// A session's transaction is over.
    pub(super) fn reset(&self, session: &Instance) {
        if let Some(mut open) = self.conversations.take_own(session)
            && open.connection.reset()
        {
            self.conversations.keep(open, session);
        }
    }

    /// A session is over.
    pub(super) fn leave(&self, session: &Instance) {
        drop(self.conversations.take_own(session));
    }
}

/// A conversation that may go on, and what was said in it.
type Done = (Open<Conversation>, Outcome);
type Place = tokio::sync::OwnedSemaphorePermit;
