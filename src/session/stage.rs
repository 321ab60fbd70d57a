//! The stages of a dialog, and who is asked at them.
//!
//! In:    nothing.
//! Out:   [`Stage`], sets of them, and the numbers of rules and callouts by their place in the file.
//! Never: knows what may be said at a stage: `law.rs` does.

/// A moment in the dialog at which somebody may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// A client was accepted; nothing was said yet.
    Connect,
    /// EHLO or HELO is in.
    Helo,
    /// AUTH is in; asked once, with the mechanism only.
    Auth,
    /// MAIL is in.
    Mail,
    /// RCPT is in.
    Rcpt,
    /// DATA or the first BDAT is in.
    Data,
    /// VRFY, EXPN, HELP, NOOP, ETRN or a forwarded verb is in.
    Other,
    /// The whole content is in, before any of it went to a hop.
    Message,
    /// The hop greeted.
    ConnectReply,
    /// The hop answered EHLO or HELO.
    HeloReply,
    /// The hop ended an AUTH exchange, or challenged.
    AuthReply,
    /// The hop answered MAIL.
    MailReply,
    /// The hop answered RCPT.
    RcptReply,
    /// The hop answered DATA.
    DataReply,
    /// The hop answered one of the others.
    OtherReply,
    /// The hop has judged the content.
    MessageReply,
}

impl Stage {
    /// Every stage, in the order of their numbers.
    pub const ALL: [Stage; 16] = [
        Stage::Connect,
        Stage::Helo,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Other,
        Stage::Message,
        Stage::ConnectReply,
        Stage::HeloReply,
        Stage::AuthReply,
        Stage::MailReply,
        Stage::RcptReply,
        Stage::DataReply,
        Stage::OtherReply,
        Stage::MessageReply,
    ];

    /// Whether it is asked about a hop's reply.
    pub fn is_reply(self) -> bool {
        self as u8 >= Stage::ConnectReply as u8
    }

    /// Its name in the configuration and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Helo => "helo",
            Stage::Auth => "auth",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Other => "other",
            Stage::Message => "message",
            Stage::ConnectReply => "connect-reply",
            Stage::HeloReply => "helo-reply",
            Stage::AuthReply => "auth-reply",
            Stage::MailReply => "mail-reply",
            Stage::RcptReply => "rcpt-reply",
            Stage::DataReply => "data-reply",
            Stage::OtherReply => "other-reply",
            Stage::MessageReply => "message-reply",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stages(u16);

impl Stages {
    /// The set with one more.
    #[must_use]
    pub fn with(self, stage: Stage) -> Stages {
        Stages(self.0 | 1 << stage as u16)
    }

    /// The stages in either.
    #[must_use]
    pub fn and(self, others: Stages) -> Stages {
        Stages(self.0 | others.0)
    }

    /// Whether a stage is in the set.
    pub fn has(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u16 != 0
    }
}

/// A rule, by its place in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// A callout, by its place in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct CalloutId(pub u16);

/// Who gave a verdict; what it means does not depend on that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Giver {
    /// A rule.
    Rule(RuleId),
    /// A callout.
    Callout(CalloutId),
}
