//! What a filter's decision means at the stage where it was asked.
//!
//! **In**: a decision, and changes. **Out**: an answer in the verdict types; or a [`Fault`].
//! **Never**: discards or holds back what nobody gave leave for; takes a change it cannot make for one that was made.
//!
//! Replies that a filter leaves to its MTA are Postfix's: `550 5.7.1 Command rejected` and `451 4.7.1 Service unavailable - try
//! again later`; to a connection, where no other code is understood (RFC 5321 3.1), 554 and 421.

use std::sync::Arc;

use super::change::Change;
use super::conversation::{Decision, Outcome};
use super::said::{Refusal, malformed};
use crate::callout::quarantine::hold;
use crate::config::types::Milter;
use crate::message::Edit;
use crate::session::callout::{CalloutAnswer, Fault, FaultKind};
use crate::session::verdict::{
    CommandVerdict, EnvelopeEdit, MessageAnswer, MessageVerdict, ReplyVerdict, Stage,
};
use crate::smtp::Reply;

/// The answer.
pub(super) fn answer(stage: Stage, outcome: Outcome, milter: &Milter) -> Result<CalloutAnswer, Fault> {
    let Outcome { decision, changes } = outcome;
    Ok(match stage {
        Stage::Message => CalloutAnswer::Message(Box::new(of_message(decision, changes, milter)?)),
        Stage::RcptReply => CalloutAnswer::Reply(match decision {
            Decision::Pass | Decision::Discard => None,
            Decision::Refuse(refusal) => Some(ReplyVerdict::Substitute(refused(stage, refusal)?)),
            Decision::Close(reply) => Some(ReplyVerdict::Disconnect(reply)),
        }),
        _ => CalloutAnswer::command(match decision {
            Decision::Pass | Decision::Discard => None,
            Decision::Refuse(Refusal::Tempfail) if stage == Stage::Connect => {
                Some(CommandVerdict::Disconnect(Some(refused(stage, Refusal::Tempfail)?)))
            }
            Decision::Refuse(refusal) => Some(CommandVerdict::Reply(refused(stage, refusal)?)),
            Decision::Close(reply) => Some(CommandVerdict::Disconnect(reply)),
        }),
    })
}

fn of_message(decision: Decision, changes: Vec<Change>, milter: &Milter) -> Result<MessageAnswer, Fault> {
    let verdict = match decision {
        Decision::Pass => None,
        Decision::Refuse(refusal) => Some(MessageVerdict::Reply(refused(Stage::Message, refusal)?)),
        Decision::Close(reply) => Some(MessageVerdict::Disconnect(reply)),
        Decision::Discard => Some(MessageVerdict::Discard),
    };
    // What is refused, or given to nobody, is not changed.
    if verdict.is_some() {
        return Ok(MessageAnswer { verdict, ..MessageAnswer::default() });
    }
    let (edits, envelope, held) = sorted(changes)?;
    let mut answer = MessageAnswer { edits, envelope, verdict };
    if let Some(reason) = held {
        hold(&mut answer, milter.on_quarantine, &reason)?;
    }
    Ok(answer)
}

/// Edits of the message, those of its envelope, and why it is to be held back, if it is.
type Sorted = (Vec<Edit>, Vec<EnvelopeEdit>, Option<Box<[u8]>>);

fn sorted(changes: Vec<Change>) -> Result<Sorted, Fault> {
    let (mut edits, mut envelope, mut held) = (Vec::new(), Vec::new(), None);
    let mut body: Option<Vec<u8>> = None;
    let mut goes_on = true;
    for change in changes {
        let is_body = matches!(change, Change::Body(_));
        if is_body && body.is_some() && !goes_on {
            return malformed("another body, with other changes between its parts");
        }
        goes_on = is_body;
        match change {
            Change::Message(edit) => edits.push(edit),
            Change::Envelope(edit) => envelope.push(edit),
            Change::Quarantine(reason) => held = Some(reason),
            Change::Body(part) => body.get_or_insert_default().extend_from_slice(&part),
        }
    }
    edits.extend(body.map(|body| Edit::Body(body.into())));
    Ok((edits, envelope, held))
}

fn refused(stage: Stage, refusal: Refusal) -> Result<Arc<Reply>, Fault> {
    match refusal {
        Refusal::Reply(reply) => Ok(reply),
        Refusal::Reject if stage == Stage::Connect => said("554 5.7.1 Service not available here"),
        Refusal::Tempfail if stage == Stage::Connect => {
            said("421 4.7.1 Service unavailable - try again later")
        }
        Refusal::Reject => said("550 5.7.1 Command rejected"),
        Refusal::Tempfail => said("451 4.7.1 Service unavailable - try again later"),
    }
}

fn said(line: &str) -> Result<Arc<Reply>, Fault> {
    Reply::parse_written(&[line]).map(Arc::new).or_else(|fault| malformed(fault.to_string()))
}

/// Whether a discard can be carried out.
pub(super) fn may_discard(outcome: &Outcome, leave: bool, asks_about_message: bool) -> Result<(), Fault> {
    let not_allowed = |what: &str| Err(Fault::new(FaultKind::NotAllowed, what));
    match outcome.decision {
        Decision::Discard if !leave => not_allowed("a discard, which needs effects: [discard]"),
        Decision::Discard if !asks_about_message => {
            not_allowed("a discard, which is carried out at message, and that is not among its stages")
        }
        _ => Ok(()),
    }
}
