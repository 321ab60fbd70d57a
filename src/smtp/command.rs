//! Commands: parsed from a line, and written as the line that goes upstream.
//!
//! In:    a line without its line end.
//! Out:   a borrowed command, its arguments as given; or what is wrong, where, and the reply it deserves.
//! Never: passes a line on as it came: what goes out is written anew from what was understood. Prints what
//!        an AUTH carries.
//!
//! RFC 5321 4.1, RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 1985 (ETRN).

use std::fmt;

use super::address::Path;
use super::own::{self, Own};
use super::params::Params;
use super::{grammar, read_decimal, write_decimal};

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
        let Ok((rest, name)) = grammar::verb(line) else {
            let at = line.iter().position(|&octet| is_forbidden(octet));
            let kind = if at.is_some() { CommandFault::Control } else { CommandFault::Syntax };
            return Err(CommandError { verb: Verb::Other, kind, at: at.unwrap_or(0) });
        };
        let parse = Parse { line, verb: Verb::of(name) };
        if let Some(at) = line.iter().position(|&octet| is_forbidden(octet)) {
            return Err(CommandError { verb: parse.verb, kind: CommandFault::Control, at });
        }
        if rest.first().is_some_and(|&octet| !grammar::is_white(octet)) {
            // What cannot stand behind a verb makes it no verb: `MAIL:` is none, and `DATA.` neither.
            return Err(CommandError { verb: Verb::Other, ..parse.fault(CommandFault::Syntax, rest) });
        }
        // RFC 5321 4.1.1: white space before the line end is tolerated. What is left has no TAB at its ends.
        parse.command(name, rest.trim_ascii())
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
            Self::Auth { mechanism, initial: Some(_) } => Self::Auth { mechanism, initial: Some(b"***") },
            other => other,
        };
        let mut out = Vec::new();
        shown.write(&mut out);
        write!(f, "\"{}\"", out.trim_ascii_end().escape_ascii())
    }
}

/// A line whose verb is known.
struct Parse<'a> {
    line: &'a [u8],
    verb: Verb,
}

impl<'a> Parse<'a> {
    fn command(&self, name: &'a [u8], argument: &'a [u8]) -> Result<Command<'a>, CommandError> {
        Ok(match self.verb {
            Verb::Helo => Command::Helo(self.needed(argument)?),
            Verb::Ehlo => Command::Ehlo(self.needed(argument)?),
            Verb::Mail => {
                let (path, params) = self.path("FROM", argument)?;
                Command::Mail { path, params }
            }
            Verb::Rcpt => {
                let (path, params) = self.path("TO", argument)?;
                if path.is_null() {
                    // RFC 5321 4.1.1.3: a forward-path is never null.
                    return Err(self.fault(CommandFault::BadPath, argument));
                }
                Command::Rcpt { path, params }
            }
            Verb::Data => self.alone(Command::Data, argument)?,
            Verb::Rset => self.alone(Command::Rset, argument)?,
            Verb::Quit => self.alone(Command::Quit, argument)?,
            Verb::Starttls => self.alone(Command::Starttls, argument)?,
            Verb::Bdat => self.chunk(argument)?,
            Verb::Auth => self.auth(argument)?,
            Verb::Noop => Command::Noop(self.text(argument)?),
            Verb::Vrfy => Command::Vrfy(self.text(argument)?),
            Verb::Expn => Command::Expn(self.text(argument)?),
            Verb::Help => Command::Help(self.text(argument)?),
            Verb::Etrn => Command::Etrn(self.text(argument)?),
            Verb::Other => Command::Other { verb: name, argument: self.text(argument)? },
        })
    }

    fn alone(&self, command: Command<'a>, argument: &'a [u8]) -> Result<Command<'a>, CommandError> {
        if argument.is_empty() {
            Ok(command)
        } else {
            Err(self.fault(CommandFault::UnexpectedArgument, argument))
        }
    }

    fn needed(&self, argument: &'a [u8]) -> Result<&'a [u8], CommandError> {
        if argument.is_empty() {
            return Err(self.fault(CommandFault::MissingArgument, argument));
        }
        self.text(argument)
    }

    /// An argument that goes on as given, so there is no TAB in it.
    fn text(&self, argument: &'a [u8]) -> Result<&'a [u8], CommandError> {
        match argument.iter().position(|&octet| octet == b'\t') {
            Some(tab) => Err(self.fault(CommandFault::Control, &argument[tab..])),
            None => Ok(argument),
        }
    }

    /// `FROM:<path> params`, or `TO:<path> params`.
    fn path(
        &self,
        keyword: &'static str,
        argument: &'a [u8],
    ) -> Result<(Path<'a>, Params<'a>), CommandError> {
        if argument.is_empty() {
            return Err(self.fault(CommandFault::MissingArgument, argument));
        }
        let Ok((given, _)) = grammar::path_keyword(keyword, argument) else {
            return Err(self.fault(CommandFault::Syntax, argument));
        };
        let Ok((behind, parts)) = grammar::reverse_path(given) else {
            return Err(self.fault(CommandFault::BadPath, given));
        };
        if behind.first().is_some_and(|&octet| !grammar::is_white(octet)) {
            return Err(self.fault(CommandFault::BadPath, behind));
        }
        let behind = behind.trim_ascii_start();
        let params = Params::parse(behind).map_err(|(kind, at)| self.fault(kind, &behind[at..]))?;
        Ok((parts.map_or(Path::NULL, Path::from), params))
    }

    fn chunk(&self, argument: &'a [u8]) -> Result<Command<'a>, CommandError> {
        if argument.is_empty() {
            return Err(self.fault(CommandFault::MissingArgument, argument));
        }
        let Ok((behind, (size, last))) = grammar::chunk(argument) else {
            return Err(self.fault(CommandFault::BadNumber, argument));
        };
        if !behind.is_empty() {
            return Err(self.fault(CommandFault::UnexpectedArgument, behind));
        }
        // A size of more than 64 bits would be counted wrong.
        match read_decimal(size) {
            Some(size) if size < u64::MAX => Ok(Command::Bdat { size, last }),
            _ => Err(self.fault(CommandFault::BadNumber, argument)),
        }
    }

    fn auth(&self, argument: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let Ok((behind, mechanism)) = grammar::word(argument) else {
            return Err(self.fault(CommandFault::MissingArgument, argument));
        };
        let given = behind.trim_ascii_start();
        if given.is_empty() {
            return Ok(Command::Auth { mechanism, initial: None });
        }
        match grammar::word(given) {
            Ok(([], initial)) => Ok(Command::Auth { mechanism, initial: Some(initial) }),
            _ => Err(self.fault(CommandFault::UnexpectedArgument, given)),
        }
    }

    /// A fault at the beginning of `rest`, which is a part of the line.
    fn fault(&self, kind: CommandFault, rest: &[u8]) -> CommandError {
        let at = rest.as_ptr().addr().saturating_sub(self.line.as_ptr().addr()).min(self.line.len());
        CommandError { verb: self.verb, kind, at }
    }
}

fn is_forbidden(octet: u8) -> bool {
    grammar::is_control(octet) && octet != b'\t'
}

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
            (CommandFault::Syntax | CommandFault::MissingArgument | CommandFault::UnexpectedArgument, _) => {
                &own::BAD_ARGUMENT
            }
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
        };
        write!(f, "{}: {what} at octet {}", self.verb, self.at)
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &[u8]) -> Result<String, CommandError> {
        let command = Command::parse(line)?;
        let mut out = Vec::new();
        command.write(&mut out);
        // What was written is read back, and written again, as the same.
        let line = out.strip_suffix(b"\r\n").unwrap();
        let mut again = Vec::new();
        Command::parse(line).unwrap().write(&mut again);
        assert_eq!(again, out);
        Ok(line.escape_ascii().to_string())
    }

    #[test]
    fn commands_as_they_go_upstream() {
        let table: &[(&[u8], Verb, &str)] = &[
            (b"HELO mx.ex.test", Verb::Helo, "HELO mx.ex.test"),
            (b"ehlo [192.0.2.1]  ", Verb::Ehlo, "EHLO [192.0.2.1]"),
            (b"EHLO a_b!c d\xff", Verb::Ehlo, "EHLO a_b!c d\\xff"),
            (b"EHLO\tx", Verb::Ehlo, "EHLO x"),
            (b"mail from:<a@b> SIZE=1", Verb::Mail, "MAIL FROM:<a@b> SIZE=1"),
            (b"MAIL FROM:<>", Verb::Mail, "MAIL FROM:<>"),
            (b"MAIL  From: < > \t RET=HDRS\t ENVID=x ", Verb::Mail, "MAIL FROM:<> RET=HDRS ENVID=x"),
            (b"MAIL FROM :< a@b >", Verb::Mail, "MAIL FROM:<a@b>"),
            (b"MAIL FROM:a@b  X", Verb::Mail, "MAIL FROM:<a@b> X"),
            (b"RCPT TO:<\"a > b\"@c> NOTIFY=NEVER", Verb::Rcpt, "RCPT TO:<\\\"a > b\\\"@c> NOTIFY=NEVER"),
            (b"RCPT TO:\"a b\"@c", Verb::Rcpt, "RCPT TO:<\\\"a b\\\"@c>"),
            (b"rcpt to:<@r.test:Joe@Ex.test>", Verb::Rcpt, "RCPT TO:<@r.test:Joe@Ex.test>"),
            (b"RCPT TO:<Postmaster>", Verb::Rcpt, "RCPT TO:<Postmaster>"),
            (b"DATA", Verb::Data, "DATA"),
            (b"data \t ", Verb::Data, "DATA"),
            (b"BDAT 0 last", Verb::Bdat, "BDAT 0 LAST"),
            (b"BDAT  0100", Verb::Bdat, "BDAT 100"),
            (b"BDAT 18446744073709551614", Verb::Bdat, "BDAT 18446744073709551614"),
            (b"rset", Verb::Rset, "RSET"),
            (b"QuIt", Verb::Quit, "QUIT"),
            (b"STARTTLS", Verb::Starttls, "STARTTLS"),
            (b"NOOP", Verb::Noop, "NOOP"),
            (b"NOOP  a  b", Verb::Noop, "NOOP a  b"),
            (b"VRFY <joe>", Verb::Vrfy, "VRFY <joe>"),
            (b"EXPN list", Verb::Expn, "EXPN list"),
            (b"help mail", Verb::Help, "HELP mail"),
            (b"ETRN @ex.test", Verb::Etrn, "ETRN @ex.test"),
            (b"AUTH plain", Verb::Auth, "AUTH plain"),
            (b"AUTH PLAIN  AGEAYg==", Verb::Auth, "AUTH PLAIN AGEAYg=="),
            (b"AUTH PLAIN =", Verb::Auth, "AUTH PLAIN ="),
            (b"XCLIENT a=b  c", Verb::Other, "XCLIENT a=b  c"),
            (b"x-Exps", Verb::Other, "x-Exps"),
            (b"OTHER", Verb::Other, "OTHER"),
            (b"DATAX", Verb::Other, "DATAX"),
        ];
        for &(line, verb, wire) in table {
            assert_eq!(Command::parse(line).unwrap().verb(), verb, "{}", line.escape_ascii());
            assert_eq!(written(line).as_deref(), Ok(wire), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn lines_that_are_no_commands() {
        use CommandFault::*;
        let table: &[(&[u8], Verb, CommandFault, usize, u16)] = &[
            (b"", Verb::Other, Syntax, 0, 500),
            (b" NOOP", Verb::Other, Syntax, 0, 500),
            (b".", Verb::Other, Syntax, 0, 500),
            (b"\xff", Verb::Other, Syntax, 0, 500),
            (b"MAIL:<a@b>", Verb::Other, Syntax, 4, 500),
            (b"\0NOOP", Verb::Other, Control, 0, 500),
            (b"NOOP\r", Verb::Noop, Control, 4, 500),
            (b"NO\0OP", Verb::Other, Control, 2, 500),
            (b"MAIL FROM:<a@b>\rRCPT TO:<c@d>", Verb::Mail, Control, 15, 500),
            (b"MAIL FROM:<a\x7f@b>", Verb::Mail, Control, 12, 500),
            (b"NOOP a\tb", Verb::Noop, Control, 6, 500),
            (b"HELO", Verb::Helo, MissingArgument, 4, 501),
            (b"EHLO  ", Verb::Ehlo, MissingArgument, 6, 501),
            (b"DATA x", Verb::Data, UnexpectedArgument, 5, 501),
            (b"RSET x", Verb::Rset, UnexpectedArgument, 5, 501),
            (b"STARTTLS now", Verb::Starttls, UnexpectedArgument, 9, 501),
            (b"MAIL", Verb::Mail, MissingArgument, 4, 501),
            (b"MAIL <a@b>", Verb::Mail, Syntax, 5, 501),
            (b"MAIL TO:<a@b>", Verb::Mail, Syntax, 5, 501),
            (b"MAIL FROM:", Verb::Mail, BadPath, 10, 501),
            (b"MAIL FROM:<a@b", Verb::Mail, BadPath, 10, 501),
            (b"MAIL FROM:a@b>", Verb::Mail, BadPath, 13, 501),
            (b"MAIL FROM:<a@b><c@d>", Verb::Mail, BadPath, 15, 501),
            (b"MAIL FROM:<a@b>,<c@d>", Verb::Mail, BadPath, 15, 501),
            (b"MAIL FROM:<a b@c>", Verb::Mail, BadPath, 10, 501),
            (b"MAIL FROM:<<a@b>>", Verb::Mail, BadPath, 10, 501),
            (b"MAIL FROM:<a@b> <c@d>", Verb::Mail, BadParameter, 16, 501),
            (b"MAIL FROM:Joe <a@b>", Verb::Mail, BadParameter, 14, 501),
            (b"MAIL FROM:<a@b> SIZE=", Verb::Mail, BadParameter, 20, 501),
            (b"MAIL FROM:<a@b> RET=FULL ret=HDRS", Verb::Mail, DuplicateParameter, 25, 501),
            (b"MAIL FROM:<a@b> SIZE=big", Verb::Mail, BadNumber, 16, 501),
            (b"RCPT TO:<>", Verb::Rcpt, BadPath, 5, 501),
            (b"RCPT TO:<@a.test>", Verb::Rcpt, BadPath, 8, 501),
            (b"BDAT", Verb::Bdat, MissingArgument, 4, 501),
            (b"BDAT x", Verb::Bdat, BadNumber, 5, 501),
            (b"BDAT -1", Verb::Bdat, BadNumber, 5, 501),
            (b"BDAT 18446744073709551615", Verb::Bdat, BadNumber, 5, 501),
            (b"BDAT 999999999999999999999", Verb::Bdat, BadNumber, 5, 501),
            (b"BDAT 1 FIRST", Verb::Bdat, UnexpectedArgument, 6, 501),
            (b"BDAT 1LAST", Verb::Bdat, UnexpectedArgument, 6, 501),
            (b"BDAT 1 LAST x", Verb::Bdat, UnexpectedArgument, 11, 501),
            (b"AUTH", Verb::Auth, MissingArgument, 4, 501),
            (b"AUTH PLAIN a b", Verb::Auth, UnexpectedArgument, 11, 501),
        ];
        for &(line, verb, kind, at, code) in table {
            let expected = CommandError { verb, kind, at };
            assert_eq!(Command::parse(line), Err(expected), "{}", line.escape_ascii());
            assert_eq!(expected.reply().code, code, "{}", line.escape_ascii());
        }
        let reply = |line: &[u8]| *Command::parse(line).unwrap_err().reply();
        assert_eq!(reply(b"MAIL FROM:<a"), own::BAD_SENDER);
        assert_eq!(reply(b"RCPT TO:<a"), own::BAD_RECIPIENT);
        assert_eq!(reply(b"BDAT x"), own::CHUNK_BAD);
        assert_eq!(reply(b"BDAT 1\r"), own::BARE_OCTET);
    }

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
    }

    proptest::proptest! {
        /// May refuse, may not crash; what is accepted is one line, and reads back as the same.
        #[test]
        fn any_line(
            octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
            head in proptest::sample::select(vec!["", "MAIL FROM:", "RCPT TO:<", "BDAT ", "AUTH ", "NOOP "]),
        ) {
            for line in [octets.clone(), [head.as_bytes(), &octets].concat()] {
                if let Ok(wire) = written(&line) {
                    proptest::prop_assert!(!wire.contains("\\r") && !wire.contains("\\n") && !wire.contains("\\x00"));
                }
            }
        }
    }
}
