//! Commands: parsed from a line, and written as the line that goes upstream.
//!
//! In:    a line without its line end.
//! Out:   a borrowed command, its arguments as given; or what is wrong, where, and the reply it deserves.
//! Never: passes a line on as it came: what goes out is written anew from what was understood. Prints what
//!        an AUTH carries.
//!
//! RFC 5321 4.1, RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 1985 (ETRN); Postfix (XCLIENT, XFORWARD).

use std::fmt;

use super::address::Path;
use super::mechanism::shown_mechanism;
use super::params::Params;
use super::told::Attributes;
use super::write_decimal;

mod fault;
mod parse;

pub use fault::{CommandError, CommandFault};

/// Makes the enum, the list and the names of the verbs from one table.
macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident $text:literal,)*) => {
        /// What a command asks for.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Verb { $($(#[$doc])* $verb,)* }

        impl Verb {
            /// Each of them, in order.
            pub const ALL: &'static [Verb] = &[$(Verb::$verb),*];

            /// As it stands on the wire; for `Other`, a word for logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Verb::$verb => $text),* }
            }
        }
    };
}

verbs! {
    /// RFC 5321 4.1.1.1
    Helo "HELO",
    /// RFC 5321 4.1.1.1
    Ehlo "EHLO",
    /// RFC 5321 4.1.1.2
    Mail "MAIL",
    /// RFC 5321 4.1.1.3
    Rcpt "RCPT",
    /// RFC 5321 4.1.1.4
    Data "DATA",
    /// RFC 3030 2
    Bdat "BDAT",
    /// RFC 5321 4.1.1.5
    Rset "RSET",
    /// RFC 5321 4.1.1.9
    Noop "NOOP",
    /// RFC 5321 4.1.1.10
    Quit "QUIT",
    /// RFC 5321 4.1.1.6
    Vrfy "VRFY",
    /// RFC 5321 4.1.1.7
    Expn "EXPN",
    /// RFC 5321 4.1.1.8
    Help "HELP",
    /// RFC 1985
    Etrn "ETRN",
    /// RFC 4954 4
    Auth "AUTH",
    /// RFC 3207 4
    Starttls "STARTTLS",
    /// Postfix
    Xclient "XCLIENT",
    /// Postfix
    Xforward "XFORWARD",
    /// None of these.
    Other "OTHER",
}

impl Verb {
    /// The verb of this name, without regard to case.
    pub fn of(name: &[u8]) -> Verb {
        let known =
            |verb: &&Verb| **verb != Verb::Other && verb.as_str().as_bytes().eq_ignore_ascii_case(name);
        Verb::ALL.iter().find(known).copied().unwrap_or(Verb::Other)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One command, borrowed from its line.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Command<'a> {
    /// With the name the client gives itself.
    Helo(&'a [u8]),
    /// With the name the client gives itself.
    Ehlo(&'a [u8]),
    /// `MAIL FROM:<path> params`
    Mail {
        /// The reverse-path.
        path: Path<'a>,
        /// Its parameters.
        params: Params<'a>,
    },
    /// `RCPT TO:<path> params`
    Rcpt {
        /// The forward-path, never the null path.
        path: Path<'a>,
        /// Its parameters.
        params: Params<'a>,
    },
    /// `DATA`
    Data,
    /// `BDAT size [LAST]`
    Bdat {
        /// How many octets follow the command.
        size: u64,
        /// Whether they are the last.
        last: bool,
    },
    /// `RSET`
    Rset,
    /// `QUIT`
    Quit,
    /// `STARTTLS`
    Starttls,
    /// With its argument as given, which may be empty.
    Noop(&'a [u8]),
    /// With its argument as given, which may be empty.
    Vrfy(&'a [u8]),
    /// With its argument as given, which may be empty.
    Expn(&'a [u8]),
    /// With its argument as given, which may be empty.
    Help(&'a [u8]),
    /// With its argument as given, which may be empty.
    Etrn(&'a [u8]),
    /// `AUTH mechanism [initial]`
    Auth {
        /// The SASL mechanism as given.
        mechanism: &'a [u8],
        /// The initial response, in base64 or `=`: a secret.
        initial: Option<&'a [u8]>,
    },
    /// `XCLIENT NAME=value ...`
    Xclient(Attributes<'a>),
    /// `XFORWARD NAME=value ...`
    Xforward(Attributes<'a>),
    /// Any other verb, as given.
    Other {
        /// The verb.
        verb: &'a [u8],
        /// Its argument, which may be empty.
        argument: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// Parses a line, given without its line end.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        parse::command(line)
    }

    /// What it asks for.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Helo(_) => Verb::Helo,
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Mail { .. } => Verb::Mail,
            Self::Rcpt { .. } => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat { .. } => Verb::Bdat,
            Self::Rset => Verb::Rset,
            Self::Quit => Verb::Quit,
            Self::Starttls => Verb::Starttls,
            Self::Xclient(_) => Verb::Xclient,
            Self::Xforward(_) => Verb::Xforward,
            Self::Noop(_) => Verb::Noop,
            Self::Vrfy(_) => Verb::Vrfy,
            Self::Expn(_) => Verb::Expn,
            Self::Help(_) => Verb::Help,
            Self::Etrn(_) => Verb::Etrn,
            Self::Auth { .. } => Verb::Auth,
            Self::Other { .. } => Verb::Other,
        }
    }

    /// Writes it as it goes upstream, with CRLF: the verb in upper case, brackets around the path, single
    /// spaces; arguments octet for octet.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Other { verb, .. } => out.extend_from_slice(verb),
            _ => out.extend_from_slice(self.verb().as_str().as_bytes()),
        }
        match self {
            Self::Mail { path, params } => write_path(b" FROM:<", path, params, out),
            Self::Rcpt { path, params } => write_path(b" TO:<", path, params, out),
            Self::Bdat { size, last } => {
                out.push(b' ');
                write_decimal(*size, out);
                if *last {
                    out.extend_from_slice(b" LAST");
                }
            }
            Self::Auth { mechanism, initial } => {
                write_argument(mechanism, out);
                write_argument(initial.unwrap_or_default(), out);
            }
            Self::Xclient(told) | Self::Xforward(told) => write_argument(told.as_bytes(), out),
            Self::Data | Self::Rset | Self::Quit | Self::Starttls => {}
            Self::Helo(argument)
            | Self::Ehlo(argument)
            | Self::Noop(argument)
            | Self::Vrfy(argument)
            | Self::Expn(argument)
            | Self::Help(argument)
            | Self::Etrn(argument)
            | Self::Other { argument, .. } => write_argument(argument, out),
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn write_argument(argument: &[u8], out: &mut Vec<u8>) {
    if !argument.is_empty() {
        out.push(b' ');
        out.extend_from_slice(argument);
    }
}

fn write_path(keyword: &[u8], path: &Path<'_>, params: &Params<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(keyword);
    out.extend_from_slice(path.as_bytes());
    out.push(b'>');
    if !params.is_empty() {
        out.push(b' ');
        params.write(out);
    }
}

/// The wire form, without what AUTH carries.
impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match *self {
            Self::Auth { mechanism, .. } if shown_mechanism(mechanism).is_empty() => {
                Self::Auth { mechanism: b"***", initial: None }
            }
            Self::Auth { mechanism, initial: Some(_) } => Self::Auth { mechanism, initial: Some(b"***") },
            other => other,
        };
        let mut out = Vec::new();
        shown.write(&mut out);
        write!(f, "\"{}\"", out.trim_ascii_end().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_its_name() {
        for &verb in Verb::ALL {
            assert_eq!(Verb::of(verb.as_str().to_ascii_lowercase().as_bytes()), verb);
            assert_eq!(Verb::ALL[verb as usize], verb);
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let command = Command::parse(b"AUTH PLAIN AGEAYg==").unwrap();
        assert_eq!(format!("{command:?}"), "\"AUTH PLAIN ***\"");
        let command = Command::parse(b"AUTH AGEAYg==").unwrap();
        assert_eq!(format!("{command:?}"), "\"AUTH ***\"");
    }
}
