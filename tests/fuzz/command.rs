//! A line of a client's.
//!
//! **In**: octets, cut into lines as a client's are. **Out**: for each line a command or a fault.
//! **Never** must: a command be written as anything but one line that reads as the same command; an address mean
//! another thing for being written again; a secret be printed.

use bolero::check;
use gatepost::smtp::{Canonical, Command, Line, Params, Path, next_line, shown_mechanism};

use super::octets::{Inputs, Octets, spelled};

const WORDS: &[&[u8]] = &[
    b"HELO ",
    b"EHLO ",
    b"MAIL FROM:",
    b"RCPT TO:",
    b"DATA",
    b"BDAT ",
    b"RSET",
    b"NOOP",
    b"QUIT",
    b"VRFY ",
    b"EXPN ",
    b"HELP",
    b"ETRN ",
    b"AUTH PLAIN ",
    b"STARTTLS",
    b"XCLIENT ",
    b"XFORWARD ",
    b"XOTHER",
    b" LAST",
    b" SIZE=",
    b" BODY=8BITMIME",
    b" RET=HDRS",
    b" ENVID=",
    b" NOTIFY=NEVER",
    b" ORCPT=rfc822;",
    b" SMTPUTF8",
    b" AUTH=<>",
    b"NAME=",
    b"ADDR=",
    b"PORT=",
    b"PROTO=ESMTP",
    b"HELO=",
    b"LOGIN=",
    b"DESTADDR=",
    b"IDENT=",
    b"SOURCE=LOCAL",
    b"[UNAVAILABLE]",
    b"[TEMPUNAVAIL]",
    b"IPV6:",
    b"192.0.2.1",
    b"2001:db8::1",
    b"[192.0.2.1]",
    b"[IPv6:2001:db8::1]",
    b"<",
    b">",
    b"<>",
    b"@",
    b":",
    b",",
    b".",
    b"\"",
    b"\\",
    b"+20",
    b"+",
    b"=",
    b"a",
    b"joe",
    b"example.org",
    b"<joe@example.org>",
    b"@r.example,@s.example:",
    b"postmaster",
    b"xn--mller-kva.example",
    "müller".as_bytes(),
    b"AGEAYg==",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"\x7f",
    b"\xff",
];

/// Octets of a command line with its end.
const LINE: usize = 2048;

#[test]
fn command() {
    check!(name = "command").with_iterations(4_000).with_generator(Inputs).for_each(|Octets(input)| {
        lines(input);
        lines(&spelled(input, WORDS));
    });
}

/// Every line there is, and what has no end as one.
fn lines(octets: &[u8]) {
    let mut rest = octets;
    while let Line::Whole { line, taken, .. } = next_line(rest, LINE) {
        assert!(!line.contains(&b'\n') && line.len() < taken && taken <= LINE);
        parses(line);
        rest = &rest[taken..];
    }
    parses(rest);
}

fn parses(line: &[u8]) {
    let command = match Command::parse(line) {
        Ok(command) => command,
        Err(fault) => {
            assert!(fault.at <= line.len(), "{fault:?}");
            assert!(fault.reply().code >= 400, "{fault:?}");
            return;
        }
    };
    let mut wire = Vec::new();
    command.write(&mut wire);
    let written = wire.strip_suffix(b"\r\n").expect("a line has an end");
    let control = |octet: &u8| *octet < b' ' && *octet != b'\t' || *octet == 0x7f;
    assert!(!written.iter().any(control), "written with a control character: {command:?}");
    let again = Command::parse(written).unwrap_or_else(|fault| panic!("{command:?} is read as {fault:?}"));
    let mut twice = Vec::new();
    again.write(&mut twice);
    assert_eq!(twice.escape_ascii().to_string(), wire.escape_ascii().to_string());
    assert_eq!(again.verb(), command.verb());
    match (command, again) {
        (Command::Mail { path, params }, Command::Mail { path: path_again, params: params_again })
        | (Command::Rcpt { path, params }, Command::Rcpt { path: path_again, params: params_again }) => {
            assert_eq!(path, path_again);
            assert!(params.iter().eq(params_again.iter()), "{params:?} became {params_again:?}");
            keeps_path(path);
            keeps_params(params);
        }
        (Command::Auth { mechanism, initial: Some(_) }, _) => {
            // What is no mechanism may be the secret itself.
            let shown = match shown_mechanism(mechanism) {
                b"" => "\"AUTH ***\"".to_owned(),
                name => format!("\"AUTH {} ***\"", name.escape_ascii()),
            };
            assert_eq!(format!("{command:?}"), shown);
            assert_eq!(again, command);
        }
        _ => assert_eq!(again, command),
    }
}

/// A path is what it is when nothing stands around it, and what it means has a meaning of its own, the same.
fn keeps_path(path: Path<'_>) {
    assert_eq!(Path::parse(path.as_bytes()), Ok(path));
    let meaning = Canonical::of(&path);
    assert_eq!(meaning.is_null(), path.is_null());
    assert_eq!(meaning.domain().is_some(), path.domain().is_some());
    let put_together = match meaning.domain() {
        Some(domain) => format!("{}@{domain}", meaning.local()),
        None => meaning.local().to_owned(),
    };
    assert_eq!(put_together, meaning.as_str());
    assert_eq!(meaning.as_str().to_lowercase(), meaning.as_str().to_lowercase().to_lowercase());
}

fn keeps_params(params: Params<'_>) {
    let mut written = Vec::new();
    params.write(&mut written);
    let again = Params::parse(&written).unwrap_or_else(|fault| panic!("{params:?} is read as {fault:?}"));
    assert!(again.iter().eq(params.iter()));
    assert_eq!(again.as_bytes(), written);
    assert_eq!(again.size(), params.size());
    for param in params.iter() {
        let keyword = std::str::from_utf8(param.keyword).expect("a keyword is ASCII");
        assert_eq!(params.value(keyword), Some(param.value));
    }
}
