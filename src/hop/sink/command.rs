//! The commands the sink takes.
//!
//! In:    a command line without its CRLF.
//! Out:   a [`Command`], or the reply that refuses it.
//! Never: keeps an argument: whom mail is from and for means nothing to a store, only that it is well formed.
//!
//! RFC 5321 4.1.1, and the parameters of the extensions that the sink's EHLO names.

/// A well-formed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat {
        size: u64,
        last: bool,
    },
    /// A BDAT that does not say how many octets follow.
    BadBdat,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
}

/// The reply to a command that is not one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) &'static str);

const ARGUMENT: Refusal = Refusal("501 5.5.4 Syntax error in the argument");
const PARAMETER: Refusal = Refusal("555 5.5.4 Parameter not known here");

impl Command {
    /// What `line` says.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        if line.iter().any(u8::is_ascii_control) {
            return Err(Refusal("500 5.5.2 Control character in a command"));
        }
        let (verb, argument) = match line.iter().position(|&octet| octet == b' ') {
            Some(space) => (&line[..space], line[space..].trim_ascii()),
            None => (line, &b""[..]),
        };
        let alone = |command| if argument.is_empty() { Ok(command) } else { Err(ARGUMENT) };
        let named = |command| if argument.is_empty() { Err(ARGUMENT) } else { Ok(command) };
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" => named(Self::Ehlo),
            b"HELO" => named(Self::Helo),
            b"MAIL" => path(argument, b"FROM:", is_mail_parameter).map(|()| Self::Mail),
            b"RCPT" => path(argument, b"TO:", is_rcpt_parameter).map(|()| Self::Rcpt),
            b"DATA" => alone(Self::Data),
            b"BDAT" => Ok(bdat(argument)),
            b"RSET" => alone(Self::Rset),
            b"NOOP" => Ok(Self::Noop),
            b"VRFY" => named(Self::Vrfy),
            b"HELP" => Ok(Self::Help),
            b"QUIT" => alone(Self::Quit),
            b"EXPN" | b"ETRN" | b"AUTH" | b"STARTTLS" => Err(Refusal("502 5.5.1 Not here")),
            _ => Err(Refusal("500 5.5.1 Command not known")),
        }
    }
}

fn bdat(argument: &[u8]) -> Command {
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let size = words.next().and_then(crate::smtp::read_decimal);
    let last = words.next().map(|word| word.eq_ignore_ascii_case(b"LAST"));
    match (size, last, words.next()) {
        (Some(size), None, None) => Command::Bdat { size, last: false },
        (Some(size), Some(true), None) => Command::Bdat { size, last: true },
        _ => Command::BadBdat,
    }
}

/// `FROM:<path> parameters`, or with `TO:`.
fn path(argument: &[u8], keyword: &[u8], known: fn(&[u8], &[u8]) -> bool) -> Result<(), Refusal> {
    let named =
        argument.split_at_checked(keyword.len()).filter(|(name, _)| name.eq_ignore_ascii_case(keyword));
    let rest = named.ok_or(ARGUMENT)?.1;
    let end = path_end(rest).ok_or(ARGUMENT)?;
    // RCPT TO:<> names nobody (RFC 5321 4.1.1.3).
    if keyword == b"TO:" && end == 2 {
        return Err(Refusal("501 5.1.3 No recipient"));
    }
    if !rest[end..].is_empty() && rest[end] != b' ' {
        return Err(ARGUMENT);
    }
    for parameter in rest[end..].split(|&octet| octet == b' ').filter(|word| !word.is_empty()) {
        let equals = parameter.iter().position(|&octet| octet == b'=');
        let (name, value) = match equals {
            Some(equals) => (&parameter[..equals], &parameter[equals + 1..]),
            None => (parameter, &b""[..]),
        };
        if !known(&name.to_ascii_uppercase(), value) {
            return Err(PARAMETER);
        }
    }
    Ok(())
}

/// Where the path that `octets` begin with ends: behind its `>`, one in a quoted string apart.
fn path_end(octets: &[u8]) -> Option<usize> {
    if octets.first() != Some(&b'<') {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (index, &octet) in octets.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(index + 1),
            b' ' if !quoted => return None,
            _ => {}
        }
    }
    None
}

fn is_mail_parameter(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"SIZE" => crate::smtp::read_decimal(value).is_some(),
        b"BODY" => value.eq_ignore_ascii_case(b"7BIT") || value.eq_ignore_ascii_case(b"8BITMIME"),
        b"SMTPUTF8" => value.is_empty(),
        b"RET" => value.eq_ignore_ascii_case(b"FULL") || value.eq_ignore_ascii_case(b"HDRS"),
        b"ENVID" => !value.is_empty(),
        _ => false,
    }
}

fn is_rcpt_parameter(name: &[u8], value: &[u8]) -> bool {
    matches!(name, b"NOTIFY" | b"ORCPT") && !value.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_commands() {
        let table: &[(&str, Command)] = &[
            ("EHLO a", Command::Ehlo),
            ("helo [192.0.2.1]", Command::Helo),
            ("MAIL FROM:<>", Command::Mail),
            ("mail from:<a@b> SIZE=1 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=x", Command::Mail),
            (r#"MAIL FROM:<"a> b\" c"@d>"#, Command::Mail),
            ("RCPT TO:<@relay.test:joe@ex.test> NOTIFY=NEVER ORCPT=rfc822;joe@ex.test", Command::Rcpt),
            ("RCPT TO:<jos\u{e9}@ex.test>", Command::Rcpt),
            ("DATA ", Command::Data),
            ("BDAT 0 LAST", Command::Bdat { size: 0, last: true }),
            ("bdat 12", Command::Bdat { size: 12, last: false }),
            ("BDAT", Command::BadBdat),
            ("BDAT -1", Command::BadBdat),
            ("BDAT 1 FIRST", Command::BadBdat),
            ("BDAT 1 LAST x", Command::BadBdat),
            ("NOOP whatever", Command::Noop),
            ("quit", Command::Quit),
        ];
        for (line, command) in table {
            assert_eq!(Command::parse(line.as_bytes()), Ok(*command), "{line}");
        }
    }

    #[test]
    fn refused_lines() {
        let table: &[(&str, &str)] = &[
            ("", "500"),
            ("FOO", "500"),
            ("NOOP\0", "500"),
            ("NOOP\n", "500"),
            ("NO\rOP", "500"),
            ("EHLO", "501"),
            ("DATA x", "501"),
            ("MAIL", "501"),
            ("MAIL FROM:a@b", "501"),
            ("MAIL FROM:<a@b", "501"),
            ("MAIL TO:<a@b>", "501"),
            ("MAIL FROM:<a@b>SIZE=1", "501"),
            ("MAIL FROM:<a b@c>", "501"),
            ("RCPT TO:<>", "501"),
            ("RCPT", "501"),
            ("MAIL FROM:<a@b> SIZE=x", "555"),
            ("MAIL FROM:<a@b> BODY=BINARYMIME", "555"),
            ("RCPT TO:<a@b> SIZE=1", "555"),
            ("AUTH PLAIN", "502"),
            ("STARTTLS", "502"),
        ];
        for (line, code) in table {
            let Err(Refusal(reply)) = Command::parse(line.as_bytes()) else { panic!("{line}") };
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
    }
}
