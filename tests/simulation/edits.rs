//! What callouts change of messages, by chance.
//!
//! **In**: a question about a message: `- sender recipients`. **Out**: fields put before all others, recipients added and
//! removed, another sender of the same id; and what no callout may say. **Never**: changes a body: the ledger knows of no
//! other than was sent.

use gatepost::message::Edit;
use gatepost::session::callout::{CalloutAnswer, CalloutId};
use gatepost::session::verdict::{EnvelopeEdit, MessageAnswer, MessageVerdict, Question};

use super::super::rng::Rng;
use super::super::rules;
use super::PREPENDED;

/// The recipients of a message, as the client gave them.
pub fn recipients(question: &Question<'_>) -> String {
    let given = question.envelope.into_iter().flat_map(|envelope| envelope.recipients());
    let given: Vec<_> =
        given.map(|recipient| String::from_utf8_lossy(recipient.given).into_owned()).collect();
    given.join(",")
}

/// A recipient that a callout adds.
pub fn added(callout: CalloutId, sender: &str) -> String {
    format!("x{}{sender}", callout.0)
}

/// What a callout says of a message.
pub fn of_message(
    callout: CalloutId,
    question: &str,
    pools: u16,
    may_discard: bool,
    dice: &mut Rng,
) -> CalloutAnswer {
    let mut parts = question.splitn(3, ' ').skip(1);
    let [sender, recipients] = [(); 2].map(|()| parts.next().expect("a sender and recipients"));
    let mut answer = MessageAnswer { verdict: rules::of_message(sender, pools, dice), ..Default::default() };
    if answer.verdict.is_none() && dice.percent(3) {
        answer.verdict = Some(MessageVerdict::Discard);
    }
    if dice.percent(50) {
        let field = format!("{PREPENDED}{sender} message {}\r\n", callout.0).into_bytes().into();
        answer.edits.push(Edit::Insert { at: 0, field });
    }
    if dice.percent(20) {
        let path = format!("{}@example.com", added(callout, sender)).into_bytes().into();
        answer.envelope.push(EnvelopeEdit::Add { path, parameters: Box::default() });
    }
    let all: Vec<&str> = recipients.split(',').filter(|recipient| !recipient.is_empty()).collect();
    if !all.is_empty() && (all.len() > 1 || may_discard) && dice.percent(15) {
        let path = all[dice.below(all.len())].as_bytes().into();
        answer.envelope.push(EnvelopeEdit::Remove(path));
    }
    if dice.percent(15) {
        let path = format!("{sender}@bounces.example").into_bytes().into();
        answer.envelope.push(EnvelopeEdit::Sender { path, parameters: None });
    }
    CalloutAnswer::Message(Box::new(answer))
}

/// What none may say.
pub fn nonsense(dice: &mut Rng) -> CalloutAnswer {
    let field = |rest: &str| format!("{PREPENDED}wrong{rest}").into_bytes().into();
    let good = Edit::Insert { at: 0, field: field("\r\n") };
    let path = |path: &str| Box::from(path.as_bytes());
    let mut answer = MessageAnswer { edits: vec![good], ..Default::default() };
    match dice.below(6) {
        0 => {
            let rest = dice.pick(&["", "\n", "\r\n\r\n", "\r\n.\r\n", "\r\nMAIL FROM:<>\r\n", "\0\r\n"]);
            answer.edits.push(Edit::Insert { at: 0, field: field(rest) });
        }
        1 => answer.edits.push(Edit::Header(vec![path("wrong\r\n")])),
        2 => {
            let bad = dice.pick(&["", "a@b@wrong", "wrong> SIZE=1", "wrong@example.com\r\nDATA"]);
            answer.envelope.push(EnvelopeEdit::Add { path: path(bad), parameters: Box::default() });
        }
        3 => {
            let parameters = Some(path("SIZE=1 SIZE=2"));
            answer.envelope.push(EnvelopeEdit::Sender { path: path("wrong@example.org"), parameters });
        }
        4 => answer.verdict = Some(MessageVerdict::Reply(rules::reply("250 2.0.0", "wrong", ""))),
        _ => answer.verdict = Some(MessageVerdict::Disconnect(Some(rules::reply("221 2.0.0", "wrong", "")))),
    }
    CalloutAnswer::Message(Box::new(answer))
}
