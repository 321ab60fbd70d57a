//! What a command means to the sink.
//!
//! In:    a command line without its CRLF.
//! Out:   what is asked for, or the reply that refuses it.
//! Never: keeps an argument: whom mail is from and for means nothing to a store, only that it is well formed and
//!        asks for nothing that was not offered.
//!
//! RFC 5321 4.1.1; the grammar is `smtp/`'s.

use super::OFFERED;
use crate::smtp::{Command, Own, Param, Params, Verb, needed_by};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat { size: u64, last: bool },
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// Why a line is not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// With this reply.
    With(&'static Own),
    /// A BDAT that does not say how many octets follow: nothing after it can be read.
    Unreadable,
}

static NOT_HERE: Own = Own { code: 502, enhanced: Some("5.5.1"), text: "Not here" };
static UNKNOWN: Own = Own { code: 500, enhanced: Some("5.5.1"), text: "Command not known" };
static NOT_OFFERED: Own = Own { code: 555, enhanced: Some("5.5.4"), text: "Parameter not offered here" };

/// Reads `line`.
pub(super) fn read(line: &[u8]) -> Result<Ask, Refused> {
    let command = Command::parse(line).map_err(|error| match error.verb {
        Verb::Bdat => Refused::Unreadable,
        _ => Refused::With(error.reply()),
    })?;
    Ok(match command {
        Command::Ehlo(_) => Ask::Ehlo,
        Command::Helo(_) => Ask::Helo,
        Command::Mail { params, .. } => {
            offered(params)?;
            Ask::Mail
        }
        Command::Rcpt { params, .. } => {
            offered(params)?;
            Ask::Rcpt
        }
        Command::Data => Ask::Data,
        Command::Bdat { size, last } => Ask::Bdat { size, last },
        Command::Rset => Ask::Rset,
        Command::Noop(_) => Ask::Noop,
        Command::Vrfy(_) => Ask::Vrfy,
        Command::Help(_) => Ask::Help,
        Command::Quit => Ask::Quit,
        Command::Expn(_) | Command::Etrn(_) | Command::Auth { .. } | Command::Starttls => {
            return Err(Refused::With(&NOT_HERE));
        }
        Command::Xclient(_) | Command::Xforward(_) | Command::Other { .. } => {
            return Err(Refused::With(&UNKNOWN));
        }
    })
}

/// Whether every parameter belongs to an extension that the sink's EHLO names.
fn offered(params: Params<'_>) -> Result<(), Refused> {
    let is_offered = |param: Param<'_>| needed_by(param).is_some_and(|keyword| OFFERED.contains(&keyword));
    if params.iter().all(is_offered) { Ok(()) } else { Err(Refused::With(&NOT_OFFERED)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let table: &[(&str, Ask)] = &[
            ("EHLO a", Ask::Ehlo),
            ("helo [192.0.2.1]", Ask::Helo),
            ("MAIL FROM:<>", Ask::Mail),
            ("mail from:<a@b> SIZE=1 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=x", Ask::Mail),
            (r#"MAIL FROM:<"a> b\" c"@d>"#, Ask::Mail),
            ("RCPT TO:<@relay.test:joe@ex.test> NOTIFY=NEVER ORCPT=rfc822;joe@ex.test", Ask::Rcpt),
            ("RCPT TO:<jos\u{e9}@ex.test>", Ask::Rcpt),
            ("DATA ", Ask::Data),
            ("BDAT 0 LAST", Ask::Bdat { size: 0, last: true }),
            ("bdat 12", Ask::Bdat { size: 12, last: false }),
            ("NOOP whatever", Ask::Noop),
            ("quit", Ask::Quit),
        ];
        for (line, ask) in table {
            assert_eq!(read(line.as_bytes()), Ok(*ask), "{line}");
        }
    }

    #[test]
    fn what_is_refused() {
        let table = [
            ("", 500),
            ("FOO", 500),
            ("NOOP\0", 500),
            ("NO\rOP", 500),
            ("EHLO", 501),
            ("DATA x", 501),
            ("MAIL FROM:<a@b", 501),
            ("RCPT TO:<>", 501),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", 555),
            ("MAIL FROM:<a@b> X-OTHER=1", 555),
            ("AUTH PLAIN", 502),
            ("STARTTLS", 502),
        ];
        for (line, code) in table {
            let Err(Refused::With(own)) = read(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(own.code, code, "{line}");
        }
        for line in ["BDAT", "BDAT -1", "BDAT 1 FIRST", "BDAT 1 LAST x", "BDAT 1\0"] {
            assert_eq!(read(line.as_bytes()), Err(Refused::Unreadable), "{line}");
        }
    }
}
