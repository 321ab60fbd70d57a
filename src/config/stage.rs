//! How stages are written, what each can know and what may be done there, as tables.
//!
//! **In**: a stage, a key or a verdict. **Out**: whether they go together, and a sentence if not.
//! **Never**: reads a node; a rule is checked against these tables by `rules`.
//!
//! A rule that names several stages must suit each of them, because it is one rule.

use super::rule::{CodePattern, Variable};
use crate::session::verdict::Stage;

/// AskedAt somebody is to be asked, as it is written.
#[derive(Clone, Copy)]
pub(super) enum AskedAt {
    /// At a stage.
    Stage(Stage),
    /// The whole content is in: not in this version.
    Message,
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
    ("message", AskedAt::Message),
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
        AskedAt::Message | AskedAt::Disconnect => None,
    })
}

/// Whether a rule at `stage` can know the `match` key `key`.
pub(crate) fn knows(stage: Stage, key: &str) -> bool {
    use Stage::{
        Auth, AuthReply, Connect, ConnectReply, Data, DataReply, Mail, MailReply, MessageReply, Rcpt,
        RcptReply,
    };
    match key {
        "helo" | "authenticated" => !matches!(stage, Connect | ConnectReply),
        "sender" | "size" => {
            matches!(stage, Mail | MailReply | Rcpt | RcptReply | Data | DataReply | MessageReply)
        }
        // Behind RCPT there is more than one.
        "recipient" | "recipient_given" => matches!(stage, Rcpt | RcptReply),
        "code" | "enhanced_code" | "text" => stage.is_reply(),
        "verb" => !matches!(stage, Connect | ConnectReply | Auth | AuthReply | MessageReply),
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

/// Where a key of `rewrite` has something to rewrite.
pub(super) fn rewrites(stage: Stage, key: &str) -> bool {
    match key {
        "sender" => stage == Stage::Mail,
        "recipient" => stage == Stage::Rcpt,
        "helo" => stage == Stage::Helo,
        "parameters" => matches!(stage, Stage::Mail | Stage::Rcpt),
        _ => false,
    }
}

/// Whether the verdict of that name may be given at `stage`.
pub(super) fn allows(stage: Stage, verdict: &str) -> bool {
    match verdict {
        "reply" => !stage.is_reply(),
        "route" => matches!(stage, Stage::Connect | Stage::Helo | Stage::Auth | Stage::Mail | Stage::Rcpt),
        "substitute" => stage.is_reply(),
        "map" => stage == Stage::Rcpt,
        "retry" => stage == Stage::RcptReply,
        "disconnect" => stage != Stage::MessageReply,
        _ => true,
    }
}

/// What is wrong with a `reply` of `class` at `stage`, if anything.
pub(super) fn reply_fault(stage: Stage, class: u8) -> Option<String> {
    match (class, stage) {
        (4 | 5, _) | (2, Stage::Other | Stage::Rcpt) => None,
        (2, _) => Some(format!(
            "a reply at {} is 4xx or 5xx; 2xx is allowed at rcpt (the recipient is swallowed) and other",
            stage.as_str()
        )),
        _ => Some("a reply is never 3xx".to_owned()),
    }
}

/// What is wrong with a `substitute` of `class` at `stage` for replies matching `codes`, if anything.
pub(super) fn substitute_fault(stage: Stage, class: u8, codes: &[CodePattern]) -> Option<String> {
    let only = |wanted: &[u8]| !codes.is_empty() && codes.iter().all(|code| wanted.contains(&code.class()));
    match class {
        3 => Some("a substitute never makes a 3xx".to_owned()),
        2 if stage == Stage::HeloReply => Some("only a 4xx or 5xx may be put in at helo-reply".to_owned()),
        2 if !only(&[2]) => Some("a 2xx may only stand for a 2xx: match must say so, such as code: 2xx".to_owned()),
        4 | 5 if stage == Stage::MessageReply && !only(&[4, 5]) => Some(
            "a 2xx stays a 2xx at message-reply: match must say which replies are meant, such as code: [4xx, 5xx]"
                .to_owned(),
        ),
        _ => None,
    }
}
