//! What the record says in a word or a line.
//!
//! In:    verdicts, replies.
//! Out:   their kind; their first line.
//! Never: more than a line.

use super::events::VerdictKind;
use super::said::Said;
use super::stage::Stage;
use super::verdict::{CommandVerdict, ReplyVerdict};

pub fn kind_of_reply_verdict(verdict: &ReplyVerdict) -> VerdictKind {
    match verdict {
        ReplyVerdict::Substitute(_) => VerdictKind::Substitute,
        ReplyVerdict::Retry(_) => VerdictKind::Retry,
        ReplyVerdict::Accept => VerdictKind::Accept,
        ReplyVerdict::Disconnect(_) => VerdictKind::Disconnect,
    }
}

pub fn kind_of_command_verdict(stage: Stage, verdict: &CommandVerdict) -> VerdictKind {
    match verdict {
        CommandVerdict::Reply(reply) if stage == Stage::Rcpt && reply.code().is_positive() => {
            VerdictKind::Discard
        }
        CommandVerdict::Reply(_) => VerdictKind::Reply,
        CommandVerdict::Route(_) => VerdictKind::Route,
        CommandVerdict::Accept => VerdictKind::Accept,
        CommandVerdict::Disconnect(_) => VerdictKind::Disconnect,
    }
}

/// The first line of a reply, without its end.
pub fn first_line(reply: &[u8]) -> Box<[u8]> {
    reply.split(|&octet| octet == b'\r').next().unwrap_or(reply).into()
}

pub fn said_line(said: &Said) -> Box<[u8]> {
    match said {
        Said::Written(reply) | Said::Heard(_, reply) => first_line(reply.as_bytes()),
        Said::Own(own) => {
            format!("{} {} {}", own.code, own.enhanced.unwrap_or_default(), own.text).into_bytes().into()
        }
    }
}
