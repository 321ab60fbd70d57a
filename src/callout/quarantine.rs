//! A message that a filter wants to be held back, where nothing is held: what becomes of it instead.
//!
//! **In**: an answer that lets the message go on, and why it should not. **Out**: the same, refusing it or marking it.
//! **Never**: lets it go on as if nothing had been said.

use std::sync::Arc;

use crate::config::types::OnQuarantine;
use crate::message::Edit;
use crate::session::callout::{Fault, FaultKind};
use crate::session::verdict::{MessageAnswer, MessageVerdict};
use crate::smtp::Reply;

/// What is said where a message that should be held back is refused.
const REFUSED: &str = "550 5.7.1 Message refused by a filter";
/// The same where it may be sent again.
const PUT_OFF: &str = "451 4.7.1 Message held back by a filter - try again later";
/// Letters of a reason that are put into a field.
const REASON: usize = 200;

/// The message is held back, as far as that can be.
pub(super) fn hold(answer: &mut MessageAnswer, how: OnQuarantine, reason: &[u8]) -> Result<(), Fault> {
    let refuse = |line: &str| match Reply::parse_written(&[line]) {
        Ok(reply) => Ok(Some(MessageVerdict::Reply(Arc::new(reply)))),
        Err(fault) => Err(Fault::new(FaultKind::Malformed, fault.to_string())),
    };
    match how {
        OnQuarantine::Reject => answer.verdict = refuse(REFUSED)?,
        OnQuarantine::Tempfail => answer.verdict = refuse(PUT_OFF)?,
        OnQuarantine::Header => answer.edits.push(Edit::Insert { at: 0, field: field(reason) }),
    }
    Ok(())
}

fn field(reason: &[u8]) -> Box<[u8]> {
    let text: String = String::from_utf8_lossy(reason)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(REASON)
        .collect();
    format!("X-Quarantine: {}\r\n", text.trim()).into_bytes().into()
}
