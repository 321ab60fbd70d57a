//! A line to a command.
//!
//! In:    a line without its line end.
//! Out:   the command it is, or why it is none and which octet says so.
//! Never: accepts a control character, but TAB as white space; takes an argument where none belongs; allocates.
//!
//! RFC 5321 4.1.1, 4.1.2. The productions are in `grammar.rs`.

use super::{Command, CommandError, CommandFault, Verb};
use crate::smtp::address::Path;
use crate::smtp::params::Params;
use crate::smtp::told::{Attributes, TOLD_LINE, TellingVerb};
use crate::smtp::{grammar, read_decimal};

/// Parses a line, given without its line end.
pub(super) fn command(line: &[u8]) -> Result<Command<'_>, CommandError> {
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
            Verb::Xclient => Command::Xclient(self.told(TellingVerb::Xclient, argument)?),
            Verb::Xforward => Command::Xforward(self.told(TellingVerb::Xforward, argument)?),
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

    /// What XCLIENT or XFORWARD says. Its line ends with CRLF, whatever ended this one.
    fn told(&self, verb: TellingVerb, argument: &'a [u8]) -> Result<Attributes<'a>, CommandError> {
        if self.line.len() + 2 > TOLD_LINE {
            return Err(self.fault(CommandFault::TooLong, &self.line[TOLD_LINE - 2..]));
        }
        Attributes::parse(verb, argument).map_err(|(kind, at)| self.fault(kind, &argument[at..]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::own;

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
            (b"xclient name=a  ADDR=192.0.2.1", Verb::Xclient, "XCLIENT name=a  ADDR=192.0.2.1"),
            (b"XFORWARD SOURCE=LOCAL", Verb::Xforward, "XFORWARD SOURCE=LOCAL"),
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
        let long = [b"XCLIENT HELO=".as_slice(), &b"x".repeat(498)].concat();
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
            (b"XCLIENT", Verb::Xclient, MissingArgument, 7, 501),
            (b"XCLIENT a=b  c", Verb::Xclient, UnknownAttribute, 8, 501),
            (b"XCLIENT PORT=1 ADDR=x", Verb::Xclient, BadAttribute, 20, 501),
            (b"XFORWARD LOGIN=x", Verb::Xforward, UnknownAttribute, 9, 501),
            (&long, Verb::Xclient, TooLong, 510, 501),
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

    proptest::proptest! {
        /// May refuse, may not crash; what is accepted is one line, and reads back as the same.
        #[test]
        fn any_line(
            octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
            head in proptest::sample::select(vec!["", "MAIL FROM:", "RCPT TO:<", "BDAT ", "AUTH ", "NOOP "]),
        ) {
            for line in [octets.clone(), [head.as_bytes(), &octets].concat()] {
                if let Ok(wire) = written(&line) {
                    // A backslash of its own is written as two.
                    let wire = wire.replace(r"\\", "");
                    proptest::prop_assert!(!wire.contains(r"\r") && !wire.contains(r"\n") && !wire.contains(r"\x00"));
                }
            }
        }
    }
}
