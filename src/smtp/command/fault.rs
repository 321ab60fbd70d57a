//! What can be wrong with a command line, and the reply that deserves.
//!
//! In:    nothing but the verb, the kind of fault and its place.
//! Out:   one of gatepost's own replies.
//! Never: repeats what the client said: a line may hold a secret.
//!
//! RFC 5321 4.2.2, 4.3.2; RFC 3461 4.

use std::fmt;

use super::Verb;
use crate::smtp::own::{self, Own};

/// Why a line is no command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct CommandError {
    /// The verb, where that much could be read.
    pub verb: Verb,
    /// What is wrong.
    pub kind: CommandFault,
    /// The octet of the line where that was noticed.
    pub at: usize,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum CommandFault {
    /// A bare CR, NUL or another control character.
    Control,
    /// Not the form of any command, or not of this one.
    Syntax,
    /// An argument is missing.
    MissingArgument,
    /// More arguments than there may be.
    UnexpectedArgument,
    /// The path cannot be read, or there are more.
    BadPath,
    /// A parameter cannot be read.
    BadParameter,
    /// A parameter is given twice.
    DuplicateParameter,
    /// More parameters than any command needs.
    TooManyParameters,
    /// A number cannot be read.
    BadNumber,
    /// XCLIENT or XFORWARD says a thing there is none of.
    UnknownAttribute,
    /// Its value cannot be read.
    BadAttribute,
    /// Longer than this command may be.
    TooLong,
}

impl CommandError {
    /// The reply it deserves (RFC 5321 4.2.2, 4.3.2; RFC 3461 4).
    pub fn reply(&self) -> &'static Own {
        match (self.kind, self.verb) {
            (CommandFault::Control, _) => &own::BARE_OCTET,
            (_, Verb::Bdat) => &own::CHUNK_BAD,
            (CommandFault::Syntax, Verb::Other) => &own::SYNTAX,
            (CommandFault::BadPath, Verb::Mail) => &own::BAD_SENDER,
            (CommandFault::BadPath, _) => &own::BAD_RECIPIENT,
            (
                CommandFault::BadParameter
                | CommandFault::DuplicateParameter
                | CommandFault::TooManyParameters
                | CommandFault::BadNumber,
                _,
            ) => &own::BAD_PARAMETER,
            (
                CommandFault::Syntax
                | CommandFault::MissingArgument
                | CommandFault::UnexpectedArgument
                | CommandFault::UnknownAttribute
                | CommandFault::BadAttribute
                | CommandFault::TooLong,
                _,
            ) => &own::BAD_ARGUMENT,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CommandFault::Control => "control character",
            CommandFault::Syntax => "syntax error",
            CommandFault::MissingArgument => "argument missing",
            CommandFault::UnexpectedArgument => "unexpected argument",
            CommandFault::BadPath => "bad path",
            CommandFault::BadParameter => "bad parameter",
            CommandFault::DuplicateParameter => "parameter given twice",
            CommandFault::TooManyParameters => "too many parameters",
            CommandFault::BadNumber => "bad number",
            CommandFault::UnknownAttribute => "unknown attribute",
            CommandFault::BadAttribute => "bad value of an attribute",
            CommandFault::TooLong => "line too long",
        };
        write!(f, "{}: {what} at octet {}", self.verb, self.at)
    }
}

impl std::error::Error for CommandError {}
