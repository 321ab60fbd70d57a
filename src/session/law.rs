//! The one law of verdicts: what may be said at which stage, with a reply of which class.
//!
//! In:    a stage and a verdict, by its name and the classes of the replies it is about or as it was given.
//! Out:   allowed, or [`Why`] not.
//! Never: knows who gave the verdict, or says in words what is wrong: the configuration, the callouts and `gatepost ask`
//!        each have their own. Looks at a reply's text, an address or a session.
//!
//! A stage is one row of [`row`]; what a class may be is said once, below it. A class is the first digit of a reply's
//! code. RFC 5321 4.2.1 (classes of replies).

mod answers;
#[cfg(test)]
mod tests;

pub use answers::{command_fault, is_postmaster, message_fault, names_postmaster, reply_fault};

use Verdict::{Accept, Discard, Disconnect, Map, Reply, Retry, Route, Substitute};

use super::stage::Stage;
use super::verdict::{CommandVerdict, MessageVerdict, ReplyVerdict};
use crate::smtp::ReplyRef;

/// What decides, by the name it is written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Answered in the hop's place.
    Reply,
    /// To another pool.
    Route,
    /// A recipient looked up in a file, which only rules have.
    Map,
    /// Something else instead of the hop's reply.
    Substitute,
    /// A refused recipient tried again.
    Retry,
    /// Asks no further.
    Accept,
    /// Said, and closed.
    Disconnect,
    /// A message answered 2xx and given to nobody.
    Discard,
}

impl Verdict {
    /// All of them, in the order they are told in.
    pub const ALL: [Verdict; 8] = [Reply, Route, Map, Substitute, Retry, Accept, Disconnect, Discard];

    /// Its name in rules and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reply => "reply",
            Route => "route",
            Map => "map",
            Substitute => "substitute",
            Retry => "retry",
            Accept => "accept",
            Disconnect => "disconnect",
            Discard => "discard",
        }
    }
}

/// A part of a command that may be rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The reverse-path.
    Sender,
    /// The forward-path.
    Recipient,
    /// The name in EHLO or HELO.
    Helo,
    /// The parameters of MAIL or RCPT.
    Parameters,
}

impl Part {
    /// All of them, in the order they are told in.
    pub const ALL: [Part; 4] = [Part::Sender, Part::Recipient, Part::Helo, Part::Parameters];

    /// Its name in rules and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Sender => "sender",
            Part::Recipient => "recipient",
            Part::Helo => "helo",
            Part::Parameters => "parameters",
        }
    }
}

/// Why a verdict is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The stage does not take it, whatever it says.
    NotHere,
    /// It says a 3xx: only a hop asks for more.
    Intermediate,
    /// It says a 2xx where only a refusal may be said.
    Positive,
    /// It says a 2xx that swallows the recipient, and whoever says so has no leave to.
    NoDiscard,
    /// It says a 2xx in place of a reply that is none.
    ForNoPositive,
    /// It refuses what the hop has accepted for good.
    Accepted,
    /// It tries a recipient again that was not refused.
    NotRefused,
}

/// Where a 2xx may be said.
#[derive(Clone, Copy)]
enum Positive {
    Never,
    /// It takes the recipient and gives it to nobody: whoever says it needs leave to.
    Discards,
    /// In the hop's place; where there is a hop's reply, in place of a 2xx.
    Allowed,
}

/// What a stage takes.
struct Row {
    parts: &'static [Part],
    verdicts: &'static [Verdict],
    positive: Positive,
    /// What the hop has accepted it will deliver: its 2xx stays one.
    stands: bool,
}

const ALL_COMMANDS: &[Verdict] = &[Reply, Accept, Disconnect];
const ROUTED: &[Verdict] = &[Reply, Route, Accept, Disconnect];
const RCPT: &[Verdict] = &[Reply, Route, Map, Accept, Disconnect];
const MESSAGE: &[Verdict] = &[Reply, Route, Accept, Disconnect, Discard];
const ALL_REPLIES: &[Verdict] = &[Substitute, Accept, Disconnect];
const RCPT_REPLY: &[Verdict] = &[Substitute, Retry, Accept, Disconnect];
// The hop has the message: to close now would have the client send it again.
const MESSAGE_REPLY: &[Verdict] = &[Substitute, Accept];

const OF_MAIL: &[Part] = &[Part::Sender, Part::Parameters];
const OF_RCPT: &[Part] = &[Part::Recipient, Part::Parameters];

const fn row(stage: Stage) -> Row {
    use Positive::{Allowed, Discards, Never};
    match stage {
        Stage::Connect => Row { parts: &[], verdicts: ROUTED, positive: Never, stands: false },
        Stage::Helo => Row { parts: &[Part::Helo], verdicts: ROUTED, positive: Never, stands: false },
        Stage::Auth => Row { parts: &[], verdicts: ROUTED, positive: Never, stands: false },
        Stage::Mail => Row { parts: OF_MAIL, verdicts: ROUTED, positive: Never, stands: false },
        Stage::Rcpt => Row { parts: OF_RCPT, verdicts: RCPT, positive: Discards, stands: false },
        Stage::Data => Row { parts: &[], verdicts: ALL_COMMANDS, positive: Never, stands: false },
        Stage::Other => Row { parts: &[], verdicts: ALL_COMMANDS, positive: Allowed, stands: false },
        Stage::Message => Row { parts: &[Part::Sender], verdicts: MESSAGE, positive: Never, stands: false },
        Stage::ConnectReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Allowed, stands: false },
        // What EHLO offers is negotiated with the hop, and no one's to make up.
        Stage::HeloReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Never, stands: false },
        Stage::AuthReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Allowed, stands: false },
        Stage::MailReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Allowed, stands: false },
        Stage::RcptReply => Row { parts: &[], verdicts: RCPT_REPLY, positive: Allowed, stands: false },
        // No hop answers DATA by a 2xx that another could stand for.
        Stage::DataReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Never, stands: false },
        Stage::OtherReply => Row { parts: &[], verdicts: ALL_REPLIES, positive: Allowed, stands: false },
        Stage::MessageReply => Row { parts: &[], verdicts: MESSAGE_REPLY, positive: Allowed, stands: true },
    }
}

/// Whether the stage takes a verdict of that name.
pub fn allows(stage: Stage, verdict: Verdict) -> bool {
    row(stage).verdicts.contains(&verdict)
}

/// Whether there is such a part to rewrite.
pub fn rewrites(stage: Stage, part: Part) -> bool {
    row(stage).parts.contains(&part)
}

/// Whether a header field may be put before the message's own there: there is a message it would be in.
pub fn prepends(stage: Stage) -> bool {
    matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data)
}

fn taken(stage: Stage, verdict: Verdict) -> Result<Row, Why> {
    if allows(stage, verdict) { Ok(row(stage)) } else { Err(Why::NotHere) }
}

/// A reply of class `said` in the hop's place; `may_discard`: leave to swallow a recipient.
pub fn reply(stage: Stage, said: u8, may_discard: bool) -> Result<(), Why> {
    match (said, taken(stage, Reply)?.positive) {
        (4 | 5, _) | (2, Positive::Allowed) => Ok(()),
        (2, Positive::Discards) if may_discard => Ok(()),
        (2, Positive::Discards) => Err(Why::NoDiscard),
        (2, Positive::Never) => Err(Why::Positive),
        _ => Err(Why::Intermediate),
    }
}

/// A reply of class `said` instead of some reply of a hop; of which, [`substitute`] says.
pub fn put_in(stage: Stage, said: u8) -> Result<(), Why> {
    match (said, taken(stage, Substitute)?.positive) {
        (4 | 5, _) | (2, Positive::Allowed) => Ok(()),
        (2, Positive::Never | Positive::Discards) => Err(Why::Positive),
        _ => Err(Why::Intermediate),
    }
}

/// A reply of class `said` instead of the hop's of class `heard`.
pub fn substitute(stage: Stage, heard: u8, said: u8) -> Result<(), Why> {
    put_in(stage, said)?;
    match (heard, said) {
        (2, 4 | 5) if row(stage).stands => Err(Why::Accepted),
        (3..=5, 2) => Err(Why::ForNoPositive),
        _ => Ok(()),
    }
}

/// A ladder behind the hop's reply of class `heard`.
pub fn retry(stage: Stage, heard: u8) -> Result<(), Why> {
    taken(stage, Retry)?;
    if matches!(heard, 4 | 5) { Ok(()) } else { Err(Why::NotRefused) }
}

/// The end of the dialog, with a last reply of class `said`; `None`: gatepost's own.
pub fn disconnect(stage: Stage, said: Option<u8>) -> Result<(), Why> {
    taken(stage, Disconnect)?;
    match said {
        None | Some(4 | 5) => Ok(()),
        Some(2) => Err(Why::Positive),
        Some(_) => Err(Why::Intermediate),
    }
}

/// A verdict on a command.
pub fn command_verdict(stage: Stage, verdict: &CommandVerdict, may_discard: bool) -> Result<(), Why> {
    match verdict {
        CommandVerdict::Reply(said) => reply(stage, said.code().class(), may_discard),
        CommandVerdict::Route(_) => taken(stage, Route).map(drop),
        CommandVerdict::Accept => taken(stage, Accept).map(drop),
        CommandVerdict::Disconnect(said) => disconnect(stage, said.as_ref().map(|said| said.code().class())),
    }
}

/// A verdict on a message; `may_discard`: leave to give it to nobody.
pub fn message_verdict(verdict: &MessageVerdict, may_discard: bool) -> Result<(), Why> {
    match verdict {
        MessageVerdict::Reply(said) => reply(Stage::Message, said.code().class(), false),
        MessageVerdict::Route(_) => taken(Stage::Message, Route).map(drop),
        MessageVerdict::Discard if !may_discard => Err(Why::NoDiscard),
        MessageVerdict::Discard => taken(Stage::Message, Discard).map(drop),
        MessageVerdict::Accept => taken(Stage::Message, Accept).map(drop),
        MessageVerdict::Disconnect(said) => {
            disconnect(Stage::Message, said.as_ref().map(|said| said.code().class()))
        }
    }
}

/// A verdict on the reply `heard` of a hop.
pub fn reply_verdict(stage: Stage, heard: ReplyRef<'_>, verdict: &ReplyVerdict) -> Result<(), Why> {
    let class = heard.code().class();
    match verdict {
        ReplyVerdict::Substitute(said) => substitute(stage, class, said.code().class()),
        ReplyVerdict::Retry(_) => retry(stage, class),
        ReplyVerdict::Accept => taken(stage, Accept).map(drop),
        ReplyVerdict::Disconnect(said) => disconnect(stage, said.as_ref().map(|said| said.code().class())),
    }
}
