//! How stages are written and what each can know, as tables; what may be done there, in the configuration's words.
//!
//! **In**: a stage, a key or a verdict. **Out**: whether they go together, and a sentence if not.
//! **Never**: reads a node; a rule is checked against these tables by `rules`. Never says itself what a verdict may be:
//! that is the law's, which a callout's answer is held against, too.
//!
//! A rule that names several stages must suit each of them, because it is one rule.

use super::rule::{CodePattern, Variable};
use crate::session::law::{self, Why};
use crate::session::verdict::Stage;

/// AskedAt somebody is to be asked, as it is written.
#[derive(Clone, Copy)]
pub(super) enum AskedAt {
    /// At a stage.
    Stage(Stage),
    /// The session is over: told, not asked.
    Disconnect,
}

/// Names of [`AskedAt`], in the order of a session.
pub(super) const STAGES: [(&str, AskedAt); 17] = [
    at(Stage::Connect),
    at(Stage::ConnectReply),
    at(Stage::Helo),
    at(Stage::HeloReply),
    at(Stage::Auth),
    at(Stage::AuthReply),
    at(Stage::Mail),
    at(Stage::MailReply),
    at(Stage::Rcpt),
    at(Stage::RcptReply),
    at(Stage::Data),
    at(Stage::DataReply),
    at(Stage::Other),
    at(Stage::OtherReply),
    at(Stage::Message),
    at(Stage::MessageReply),
    ("disconnect", AskedAt::Disconnect),
];

const fn at(stage: Stage) -> (&'static str, AskedAt) {
    (stage.as_str(), AskedAt::Stage(stage))
}

/// The stages at which somebody may be asked, in the order of a session.
pub(crate) fn stages() -> impl Iterator<Item = Stage> {
    STAGES.into_iter().filter_map(|(_, when)| match when {
        AskedAt::Stage(stage) => Some(stage),
        AskedAt::Disconnect => None,
    })
}

/// Whether a rule at `stage` can know the `match` key `key`.
pub(crate) fn knows(stage: Stage, key: &str) -> bool {
    use Stage::{
        Auth, AuthReply, Connect, ConnectReply, Data, DataReply, Mail, MailReply, Message, MessageReply,
        Rcpt, RcptReply,
    };
    match key {
        "helo" | "authenticated" => !matches!(stage, Connect | ConnectReply),
        "sender" | "size" => {
            matches!(stage, Mail | MailReply | Rcpt | RcptReply | Data | DataReply | Message | MessageReply)
        }
        // Behind RCPT there is more than one; at message any of them will do.
        "recipient" | "recipient_given" => matches!(stage, Rcpt | RcptReply | Message),
        "header" | "attachment" | "signed" | "fault" => stage == Message,
        "code" | "enhanced_code" | "text" => stage.is_reply(),
        "verb" => !matches!(stage, Connect | ConnectReply | Auth | AuthReply | Message | MessageReply),
        _ => true,
    }
}

/// The variables a template of a rule at `stage` may hold.
pub(super) fn variables(stage: Stage) -> &'static [Variable] {
    match stage {
        Stage::Mail => &[Variable::Local, Variable::Domain, Variable::Sender, Variable::Client],
        Stage::Rcpt | Stage::RcptReply => &Variable::ALL,
        _ => &[Variable::Client],
    }
}

/// What is wrong with a `reply` of `class` at `stage`, if anything.
pub(super) fn reply_fault(stage: Stage, class: u8) -> Option<String> {
    // Who writes a rule may discard: writing it is the grant.
    match law::reply(stage, class, true).err()? {
        Why::NotHere => None, // Said of the verdict already.
        Why::Intermediate => Some("a reply is never 3xx".to_owned()),
        _ if stage == Stage::Message => Some(
            "a reply at message is 4xx or 5xx; to take a message and give it to nobody, write discard: true"
                .to_owned(),
        ),
        _ => {
            Some(format!("a reply at {} is 4xx or 5xx; 2xx is allowed at {}", stage.as_str(), positive_at()))
        }
    }
}

/// The stages whose `reply` may be a 2xx, and what that comes to.
fn positive_at() -> String {
    let allowed = stages().filter(|stage| law::reply(*stage, 2, true).is_ok()).map(|stage| {
        let discards = law::reply(stage, 2, false).is_err();
        format!("{}{}", stage.as_str(), if discards { " (the recipient is swallowed)" } else { "" })
    });
    allowed.collect::<Vec<_>>().join(" and ")
}

/// What is wrong with a `substitute` of `class` at `stage` for replies matching `codes`, if anything. Without `codes`
/// it is for any reply.
pub(super) fn substitute_fault(stage: Stage, class: u8, codes: &[CodePattern]) -> Option<String> {
    let heard: Vec<u8> = match codes {
        [] => vec![2, 3, 4, 5],
        codes => codes.iter().map(|code| code.class()).collect(),
    };
    let text = match heard.into_iter().find_map(|heard| law::substitute(stage, heard, class).err())? {
        Why::NotHere => return None, // Said of the verdict already.
        Why::Intermediate => "a substitute never makes a 3xx".to_owned(),
        Why::Positive => format!("only a 4xx or 5xx may be put in at {}", stage.as_str()),
        Why::Accepted => format!(
            "a 2xx stays a 2xx at {}: match must say which replies are meant, such as code: [4xx, 5xx]",
            stage.as_str()
        ),
        _ => "a 2xx may only stand for a 2xx: match must say so, such as code: 2xx".to_owned(),
    };
    Some(text)
}

/// Whether `retry` at `stage` makes sense of replies matching `codes`. Without `codes` it is for those that refuse.
pub(super) fn retry_suits(stage: Stage, codes: &[CodePattern]) -> bool {
    codes.iter().all(|code| law::retry(stage, code.class()) != Err(Why::NotRefused))
}

/// What is wrong with `disconnect` and a last reply of `class` at `stage`, if anything.
pub(super) fn disconnect_fault(stage: Stage, class: u8) -> Option<String> {
    match law::disconnect(stage, Some(class)).err()? {
        Why::NotHere => None, // Said of the verdict already.
        _ => Some("the last reply to a client is 4xx or 5xx".to_owned()),
    }
}
