//! Tests of what a transaction says again.
//!
//! In:    recipients that were rewritten.
//! Out:   RCPT with the original recipient, where it can be named.
//! Never: plays a dialog.

use super::*;

#[test]
fn a_rewritten_recipient_names_the_original() {
    let given = Recipient { sent: Spoken::new(b"a+b@ex.test", b"NOTIFY=NEVER"), given: None, added: false };
    let mut line = Vec::new();
    given.rewritten(b"c@d.test").write(carries(true), &mut line);
    assert_eq!(line, b"RCPT TO:<c@d.test> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@ex.test\r\n");
}

#[test]
fn an_original_beyond_ascii_is_named_in_ascii() {
    let given = Recipient {
        sent: Spoken::new("b\u{fc}ro+a=b\\c@ex.test".as_bytes(), b""),
        given: None,
        added: false,
    };
    let mut line = Vec::new();
    given.rewritten(b"c@d.test").write(carries(true), &mut line);
    let named = "RCPT TO:<c@d.test> ORCPT=utf-8;b\\x{FC}ro\\x{2B}a\\x{3D}b\\x{5C}c@ex.test\r\n";
    assert_eq!(String::from_utf8_lossy(&line), named);
}

#[test]
fn an_original_that_does_not_fit_is_not_named() {
    for (domain, most, named) in [(900, 2048, true), (980, 2048, false), (900, 900, false)] {
        let long = format!("a@{}", "b".repeat(domain));
        let given =
            Recipient { sent: Spoken::new(long.as_bytes(), b"NOTIFY=NEVER"), given: None, added: false };
        let mut line = b"MAIL FROM:<>\r\n".to_vec();
        given.rewritten(b"c@d.test").write(Carries { line: most, ..carries(true) }, &mut line);
        let text = String::from_utf8_lossy(&line);
        assert!(text.starts_with("MAIL FROM:<>\r\nRCPT TO:<c@d.test> NOTIFY=NEVER"), "{text}");
        assert_eq!(text.contains("ORCPT"), named, "{domain} {most}");
    }
}

#[test]
fn an_original_is_named_in_a_line_of_1012_octets() {
    let around = "RCPT TO:<c@d.test> ORCPT=rfc822;a@\r\n".len();
    for (octets, named) in [(1012, true), (1013, false)] {
        let long = format!("a@{}", "b".repeat(octets - around));
        let given = Recipient { sent: Spoken::new(long.as_bytes(), b""), given: None, added: false };
        let mut line = b"MAIL FROM:<>\r\n".to_vec();
        let start = line.len();
        given.rewritten(b"c@d.test").write(carries(true), &mut line);
        assert_eq!(line.len() - start == octets, named, "{octets}");
    }
}

fn carries(dsn: bool) -> Carries {
    Carries { lmtp: false, size: true, dsn, line: 2048 }
}

#[test]
fn no_original_recipient_is_invented_without_dsn() {
    let given = Recipient { sent: Spoken::new(b"a@ex.test", b""), given: None, added: false };
    let mut line = Vec::new();
    given.rewritten(b"c@d.test").write(carries(false), &mut line);
    assert_eq!(line, b"RCPT TO:<c@d.test>\r\n");
}
