//! EHLO replies of hops, and what the client sees of them.

use super::*;
use crate::smtp::{ReplyFramer, ReplyLimits};

const POLICY: Shown<'_> = Shown {
    message_size: 1000,
    recipients: 500,
    auth: true,
    hostname: None,
    forward: &[],
    starttls: false,
    tells: false,
};

/// The lines shown, joined with `|`, and the keywords hidden.
fn shown(hop: &[&str], policy: &Shown<'_>) -> (String, Vec<String>, Extensions) {
    shown_within(hop, policy, 4096)
}

fn shown_within(hop: &[&str], policy: &Shown<'_>, reply: usize) -> (String, Vec<String>, Extensions) {
    let limits = ReplyLimits { line: 512, reply };
    let mut reply = String::new();
    for (index, line) in hop.iter().enumerate() {
        let mark = if index + 1 == hop.len() { ' ' } else { '-' };
        reply.push_str(&format!("250{mark}{line}\r\n"));
    }
    let hop = ReplyFramer::default().next(reply.as_bytes(), limits).unwrap().unwrap();
    let mut out = b"220 before\r\n".to_vec();
    let mut hidden = Vec::new();
    let extensions = present(hop, policy, &mut out, &mut |what| {
        hidden.push(match what {
            Hidden::Keyword(name) => String::from_utf8_lossy(name).into(),
            Hidden::Mechanism(name) => format!("AUTH {}", String::from_utf8_lossy(name)),
        })
    });
    let written = out.strip_prefix(b"220 before\r\n").unwrap();
    let view = ReplyFramer::default().next(written, limits).unwrap().unwrap();
    assert_eq!(view.as_bytes(), written);
    assert_eq!(Extensions::of(view), extensions);
    let lines: Vec<String> = view.lines().map(|line| String::from_utf8_lossy(line).into()).collect();
    (lines.join("|"), hidden, extensions)
}

#[test]
fn the_hops_own_cut_to_what_can_be_carried() {
    let table: &[(&[&str], &str)] = &[
        (&["mx.ex.test greets"], "mx.ex.test greets|PIPELINING|SIZE 1000"),
        (&["x", "SIZE 500", "pipelining"], "x|SIZE 500|pipelining"),
        (&["x", "SIZE 5000", "DSN", "PIPELINING"], "x|SIZE 1000|DSN|PIPELINING"),
        (&["x", "SIZE", "SIZE 7", "PIPELINING"], "x|SIZE 7|PIPELINING"),
        (&["x", "PIPELINING", "SIZE 0"], "x|PIPELINING|SIZE 1000"),
        (&["x", "SIZE 1", "BINARYMIME"], "x|SIZE 1|PIPELINING"),
        (&["x", "SIZE 1", "BINARYMIME", "CHUNKING"], "x|SIZE 1|BINARYMIME|CHUNKING|PIPELINING"),
        (&["x", "SIZE 1", "ENHANCEDSTATUSCODES"], "x|SIZE 1|ENHANCEDSTATUSCODES|PIPELINING"),
        (&["x", "STARTTLS", "SIZE 1", "PIPELINING"], "x|SIZE 1|PIPELINING"),
        (
            &[
                "x",
                "AUTH PLAIN  SCRAM-SHA-256-plus external LOGIN",
                "AUTH=NTLM LOGIN",
                "SIZE 1",
                "PIPELINING",
            ],
            "x|AUTH PLAIN LOGIN|AUTH=PLAIN LOGIN|SIZE 1|PIPELINING",
        ),
        (
            &["x", "AUTH PLAIN", "SIZE 1", "auth login plain", "AUTH=XOAUTH2", "AUTH", "PIPELINING"],
            "x|AUTH PLAIN login XOAUTH2|SIZE 1|AUTH=PLAIN login XOAUTH2|PIPELINING",
        ),
        (&["x", "AUTH=PLAIN LOGIN", "SIZE 1", "PIPELINING"], "x|AUTH=PLAIN LOGIN|SIZE 1|PIPELINING"),
        (&["x", "AUTH GSSAPI", "AUTH PLAIN", "SIZE 1"], "x|AUTH PLAIN|SIZE 1|PIPELINING"),
        (&["x", "AUTH GSSAPI NTLM DIGEST-MD5 GSS-SPNEGO", "AUTH=NTLM", "AUTH"], "x|PIPELINING|SIZE 1000"),
        (
            &["x", "LIMITS RCPTMAX=1000 MAILMAX=5 rcptmax=2", "SIZE 1", "PIPELINING"],
            "x|LIMITS RCPTMAX=500 MAILMAX=5|SIZE 1|PIPELINING",
        ),
        (&["x", "LIMITS RCPTMAX=20", "SIZE 1", "PIPELINING"], "x|LIMITS RCPTMAX=20|SIZE 1|PIPELINING"),
        (&["x", "LIMITS RCPTMAX=many", "SIZE 1", "PIPELINING"], "x|SIZE 1|PIPELINING"),
        (
            &["x", "VRFY", "HELP", "ETRN", "EXPN", "8BITMIME", "SMTPUTF8", "MT-PRIORITY MIXER"],
            "x|VRFY|HELP|ETRN|EXPN|8BITMIME|SMTPUTF8|MT-PRIORITY MIXER|PIPELINING|SIZE 1000",
        ),
        (&["", "", " DSN "], "|DSN|PIPELINING|SIZE 1000"),
    ];
    for (hop, expected) in table {
        let (lines, hidden, _) = shown(hop, &POLICY);
        assert_eq!(lines, *expected);
        assert!(hidden.iter().all(|hidden| hidden.starts_with("AUTH ")), "{hidden:?}");
    }
}

#[test]
fn mechanisms_that_cannot_pass_a_proxy_are_told_of_once() {
    let hop = &["x", "AUTH PLAIN SCRAM-SHA-256-PLUS external", "AUTH=EXTERNAL NTLM", "AUTH GSSAPI"];
    let taken_out = ["AUTH SCRAM-SHA-256-PLUS", "AUTH external", "AUTH NTLM", "AUTH GSSAPI"];
    assert_eq!(shown(hop, &POLICY).1, taken_out);
    // Where AUTH is not shown, that is policy's doing.
    assert!(shown(hop, &Shown { auth: false, ..POLICY }).1.is_empty());
    let many: Vec<String> = (0..1000).map(|number| format!("AUTH M{number}")).collect();
    let many: Vec<&str> = std::iter::once("x").chain(many.iter().map(|line| &**line)).collect();
    assert_eq!(shown_within(&many, &POLICY, 64 << 10).0.matches(" M").count(), MECHANISMS);
}

#[test]
fn what_nobody_knows_is_hidden() {
    let hop = &[
        "x",
        "X-NEW 1",
        "XCLIENT NAME",
        "BURL imap",
        "xforward",
        "TURN",
        "ATRN",
        "x-exps",
        "REQUIRETLS",
        "SIZE 1",
    ];
    let (lines, hidden, _) = shown(hop, &POLICY);
    assert_eq!(lines, "x|SIZE 1|PIPELINING");
    assert_eq!(hidden, ["X-NEW", "XCLIENT", "BURL", "XFORWARD", "TURN", "ATRN", "x-exps", "REQUIRETLS"]);
    let forward: Vec<Box<str>> =
        ["x-new", "XCLIENT", "BURL", "XFORWARD", "TURN", "ATRN", "X-EXPS", "REQUIRETLS"]
            .map(Box::from)
            .into();
    let (lines, hidden, _) = shown(hop, &Shown { forward: &forward, ..POLICY });
    assert_eq!(lines, "x|X-NEW 1|SIZE 1|PIPELINING");
    assert_eq!(hidden.len(), 7);
}

#[test]
fn what_policy_says() {
    let hop = &["hop.test", "AUTH PLAIN", "STARTTLS", "SIZE 5", "PIPELINING"];
    let policy = Shown { auth: false, starttls: true, hostname: Some("own.test"), ..POLICY };
    assert_eq!(shown(hop, &policy).0, "own.test|STARTTLS|SIZE 5|PIPELINING");
    let policy = Shown { message_size: 0, recipients: 0, starttls: true, ..POLICY };
    assert_eq!(shown(&["x"], &policy).0, "x|PIPELINING|STARTTLS");
    assert_eq!(
        shown(&["x", "SIZE", "LIMITS RCPTMAX=7"], &policy).0,
        "x|SIZE|LIMITS RCPTMAX=7|PIPELINING|STARTTLS"
    );
    let policy = Shown { tells: true, ..POLICY };
    assert_eq!(
        shown(&["x", "XCLIENT NAME", "SIZE 1"], &policy).0,
        "x|SIZE 1|PIPELINING|XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\
         |XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
    );
    let policy = Shown { recipients: 1, ..POLICY };
    assert_eq!(shown(&["x"], &policy).0, "x|PIPELINING|SIZE 1000|LIMITS RCPTMAX=1");
    assert_eq!(
        shown(&["x", "LIMITS MAILMAX=9"], &policy).0,
        "x|LIMITS MAILMAX=9 RCPTMAX=1|PIPELINING|SIZE 1000"
    );
}
