//! Conversations with callouts: what each is asked, one at a time, about the command or reply at the head of the queue.
//!
//! In:    what is asked about, when the rules had nothing to decide; tickets to be given out; answers come, or do not.
//! Out:   one question at a time, with its ticket and its time; taken back when nobody waits for its answer any more.
//! Never: asks a callout twice about one command, or two at once; gives a ticket twice.
//!
//! A question is opened only at the head of the queue: it shows the dialog as it stands, with all before it answered.
//! Rewrites accumulate in the candidate, so that later callouts see them; the first verdict that decides ends the
//! stage. One deadline per callout, one budget for all of a stage, both within `timeouts.answer`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Attempt;
use super::callout::{Callouts, Provisos};
use super::events::{CalloutEnd, Event};
use super::fault::{Fault, FaultKind};
use super::io::{Ask, Output};
use super::peer::{HopId, Origin, Ticket};
use super::stage::CalloutId;
use super::stage::Stage;
use super::turn::Turn;
use super::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict};
use crate::message::Draft;
use crate::smtp::{Reply, ReplyRef, Verb};

/// The tickets of a session.
#[derive(Default, Debug)]
pub struct Conversations {
    tickets: u32,
}

impl Conversations {
    /// A ticket that no question of this session has had.
    fn ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        Ticket(self.tickets)
    }

    /// What a transaction that begins now is told by: nobody was asked under it about another.
    pub fn instance(&mut self) -> u32 {
        self.ticket().0
    }

    /// Opens a question that is encoded, within its own time and what is left for all of them.
    pub fn ask(
        &mut self,
        turn: &mut Turn<'_>,
        inquiry: &mut Inquiry,
        callouts: &Arc<dyn Callouts>,
        callout: CalloutId,
        (question, instance, message): (Box<[u8]>, u32, Option<Draft>),
    ) {
        let ticket = self.ticket();
        let terms = callouts.terms(callout);
        let longer = terms.for_size(message.as_ref());
        let until = turn.now + terms.timeout + longer;
        // What a size needs is not taken from the others' time.
        let until = inquiry.until.as_mut().map_or(until, |budget| {
            *budget += longer;
            until.min(*budget)
        });
        inquiry.open = Some(Open { ticket, callout, since: turn.now, until });
        let (callouts, stage) = (Arc::clone(callouts), inquiry.stage);
        turn.wish(Output::Ask(Box::new(Ask {
            ticket,
            callouts,
            callout,
            stage,
            question,
            instance,
            message,
        })));
    }
}

/// What callouts are being asked about.
#[derive(Debug)]
pub struct Inquiry {
    pub stage: Stage,
    pub about: About,
    /// The last one that is done with.
    pub after: Option<CalloutId>,
    /// The question that is open; `None` while the entry is not yet the head.
    pub open: Option<Open>,
    /// When the time of all of them is over.
    until: Option<Instant>,
    pub provisos: Provisos,
}

/// On which occasion.
#[derive(Debug)]
pub enum About {
    /// A command, or the connection itself.
    Command { verb: Verb, argument: Box<[u8]> },
    /// The first BDAT of a message, whose octets wait.
    Chunks { size: u64, last: bool },
    /// A message that is kept.
    Message,
    /// A hop's reply. `spent`: an attempt has failed with it; `trial`: it comes from where a route led.
    Reply { hop: Option<HopId>, origin: Origin, reply: Box<Reply>, spent: bool, trial: bool },
    /// A recipient that was accepted where its route led.
    Accepted { attempt: Box<Attempt>, hop: HopId, reply: Box<Reply> },
}

/// One question.
#[derive(Debug)]
pub struct Open {
    pub ticket: Ticket,
    pub callout: CalloutId,
    pub since: Instant,
    pub until: Instant,
}

impl Inquiry {
    pub fn new(stage: Stage, about: About, after: Option<CalloutId>) -> Inquiry {
        Inquiry { stage, about, after, open: None, until: None, provisos: Provisos::default() }
    }

    /// Whether it is about a command: then nothing behind it is taken before it is decided.
    pub fn is_about_command(&self) -> bool {
        matches!(self.about, About::Command { .. } | About::Chunks { .. })
    }

    /// Whether the loss of this hop takes away what is asked about: a reply by which something is yet to happen there.
    pub fn rests_on(&self, hop: HopId) -> bool {
        match &self.about {
            About::Reply { hop: at, reply, .. } => {
                *at == Some(hop) && self.stage != Stage::MessageReply && !reply.code().is_negative()
            }
            _ => false,
        }
    }

    /// Whether it is about what this hop said.
    pub fn names(&self, hop: HopId) -> bool {
        match &self.about {
            About::Reply { hop: at, .. } => *at == Some(hop),
            About::Accepted { hop: at, .. } => *at == hop,
            About::Command { .. } | About::Chunks { .. } | About::Message => false,
        }
    }

    /// Whether it is about a recipient that this hop accepted where a route led.
    pub fn is_about_acceptance_at(&self, hop: HopId) -> bool {
        matches!(self.about, About::Accepted { hop: at, .. } if at == hop)
    }

    /// When the open question's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until)
    }

    /// The attempt goes on as if its hop had not accepted, if it is about one.
    pub fn into_attempt(self) -> Result<Box<Attempt>, Inquiry> {
        match self.about {
            About::Accepted { attempt, .. } => Ok(attempt),
            _ => Err(self),
        }
    }

    /// The reply that is asked about.
    pub fn reply(&self) -> Option<ReplyRef<'_>> {
        match &self.about {
            About::Reply { reply, .. } | About::Accepted { reply, .. } => Some(reply.as_ref().as_ref()),
            About::Command { .. } | About::Chunks { .. } | About::Message => None,
        }
    }
}

impl Inquiry {
    /// The verb of the command that is asked about.
    pub fn verb(&self) -> Verb {
        match self.about {
            About::Command { verb, .. } => verb,
            _ => Verb::Bdat,
        }
    }

    /// The time that all of them have, from now on if it is the first: whether any of it is left, and if not what that
    /// comes to for the callout that would be next.
    pub fn runs_out(&mut self, now: Instant, budget: Duration, next: CalloutId) -> Option<(Open, Fault)> {
        if *self.until.get_or_insert(now + budget) > now {
            return None;
        }
        let fault = Fault::new(FaultKind::NotAsked, "no time is left of timeouts.callouts");
        Some((Open { ticket: Ticket::default(), callout: next, since: now, until: now }, fault))
    }

    /// What was provided for the case that it comes to this, and by whom.
    pub fn provided(&mut self, ruling: &Ruling) -> Option<(Arc<Reply>, CalloutId)> {
        match ruling {
            Ruling::Nothing => self.provisos.instead_of(None),
            Ruling::Command(verdict) => self.provisos.instead_of(Some(verdict)),
            Ruling::Refused(reply) => {
                self.provisos.instead_of(Some(&CommandVerdict::Reply(Arc::clone(reply))))
            }
            Ruling::Reply(_) | Ruling::Message(_) => None,
        }
    }

    /// The open question has had its time.
    pub fn timed_out(&self, turn: &mut Turn<'_>) -> Option<Fault> {
        let open = self.open.as_ref()?;
        turn.wish(Output::Cancel(open.ticket));
        let waited = open.until.saturating_duration_since(open.since);
        Some(Fault::new(FaultKind::TimedOut, format!("no answer within {waited:?}")))
    }

    /// Whether this is the answer that is waited for.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.open.as_ref().is_some_and(|open| open.ticket == ticket)
    }

    /// Takes back the question that is open.
    pub fn cancel(&mut self, turn: &mut Turn<'_>) {
        if let Some(open) = self.open.take() {
            let took = turn.now.saturating_duration_since(open.since);
            turn.wish(Output::Cancel(open.ticket));
            turn.count(Event::Asked(open.callout, self.stage, CalloutEnd::Cancelled, took));
        }
    }
}

/// What the asking came to.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// Nobody decided anything.
    Nothing,
    Command(CommandVerdict),
    Reply(ReplyVerdict),
    Message(MessageVerdict),
    /// A reply of our own, in place of whatever would have come.
    Refused(Arc<Reply>),
}

impl Ruling {
    /// As a verdict on a command.
    pub fn of_command(self) -> Option<CommandVerdict> {
        match self {
            Ruling::Command(verdict) => Some(verdict),
            Ruling::Refused(reply) => Some(CommandVerdict::Reply(reply)),
            Ruling::Nothing | Ruling::Reply(_) | Ruling::Message(_) => None,
        }
    }

    /// As a verdict on a message.
    pub fn of_message(self) -> Option<MessageVerdict> {
        match self {
            Ruling::Message(verdict) => Some(verdict),
            Ruling::Refused(reply) => Some(MessageVerdict::Reply(reply)),
            Ruling::Nothing | Ruling::Reply(_) | Ruling::Command(_) => None,
        }
    }

    /// As a verdict on a reply.
    pub fn of_reply(self) -> Option<ReplyVerdict> {
        match self {
            Ruling::Reply(verdict) => Some(verdict),
            Ruling::Refused(reply) => Some(ReplyVerdict::Substitute(reply)),
            Ruling::Nothing | Ruling::Command(_) | Ruling::Message(_) => None,
        }
    }
}
