//! What the trace shows of both dialogs: all of it, but no secret and no content.
//!
//! In:    dialogs under `trace`.
//! Out:   the same in two columns, as they went; what must not be shown, in brackets.
//! Never: has a trace without being asked for one.

use crate::script::play::Play;

/// Compares the trace with a text in two columns.
fn traces(yaml: &str, dialog: &str, expected: &str) {
    let traced = Play::written(yaml, dialog).traced().run().traces;
    assert_eq!(traced.join("\n"), expected.trim_end());
    assert!(Play::written(yaml, dialog).run().traces.is_empty());
}

const GREETED: &str = "        S: 220 a.example.net
S: 220 a.example.net
C: EHLO client.example.org
        C: EHLO client.example.org
        S: 250-a.example.net
        S: 250 AUTH PLAIN LOGIN
";

/// Commands and replies are shown line by line, content by its size.
#[test]
fn a_transaction() {
    let before = "\
S: 250-a.example.net
S: 250-AUTH PLAIN LOGIN
S: 250-PIPELINING
S: 250 SIZE 52428800
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<jones@example.com>
        C: RCPT TO:<jones@example.com>
        S: 550-5.1.1 No
        S: 550 5.1.1 Jones
S: 550-5.1.1 No
S: 550 5.1.1 Jones
C: RCPT TO:<brown@example.com>
        C: RCPT TO:<brown@example.com>
        S: 250 2.1.5 Brown ok
S: 250 2.1.5 Brown ok
C: DATA
        C: DATA
        S: 354 Go ahead
S: 354 Go ahead
";
    let content = "C: a word\nC: .\n        C: a word\n        C: .\n";
    let counted = "C: (8 octets of content)\n        C: (8 octets of content)\n";
    let after = "        S: 250 2.0.0 Queued
S: 250 2.0.0 Queued
C: NOOP
        C: NOOP
        S: 250 2.0.0 Ok
S: 250 2.0.0 Ok
C: QUIT
        C: QUIT
        S: 221 2.0.0 Bye
S: 221 2.0.0 Bye
";
    let dialog = format!("{GREETED}{before}{content}{after}");
    let trace = format!("{GREETED}{before}{counted}{after}");
    traces("", &dialog, &trace);
}

/// A client's AUTH is known by its mechanism alone, a hop's not even so; challenges are secrets, too.
#[test]
fn secrets() {
    let shown = "S: 250-a.example.net\nS: 250-AUTH PLAIN LOGIN\nS: 250-PIPELINING\nS: 250 SIZE 52428800\n";
    let dialog = "\
C: AUTH PLAIN AGpvbmVzAHNlY3JldA==
        C: AUTH PLAIN AGpvbmVzAHNlY3JldA==
        S: 535 5.7.8 No
S: 535 5.7.8 No
C: AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
S: 334 VXNlcm5hbWU6
C: am9uZXM=
        C: am9uZXM=
        S: 235 2.7.0 Welcome
S: 235 2.7.0 Welcome
";
    let trace = "\
C: AUTH PLAIN (secret)
        C: (secret)
        S: 535 5.7.8 No
S: 535 5.7.8 No
C: AUTH LOGIN
        C: (secret)
        S: 334 (secret)
S: 334 (secret)
C: (secret)
        C: (secret)
        S: 235 2.7.0 Welcome
S: 235 2.7.0 Welcome
";
    traces("", &format!("{GREETED}{shown}{dialog}"), &format!("{GREETED}{shown}{trace}"));
}

/// What is no command may be a secret out of its place; a verb that passes is one.
#[test]
fn what_is_no_command() {
    let dialog = "        S: 220 a.example.net
S: 220 a.example.net
C: AGpvbmVzAHNlY3JldA==
S: 500 5.5.2 Syntax error [id]
C: hunter2 again
S: 500 5.5.1 Command not recognized [id]
C: RCPT jones
S: 501 5.5.4 Syntax error in argument [id]
C: XSTATE all
        C: XSTATE all
        S: 250 2.0.0 Fine
S: 250 2.0.0 Fine
";
    let trace = "        S: 220 a.example.net
S: 220 a.example.net
C: (20 octets that are no command)
S: 500 5.5.2 Syntax error [0000000000000001]
C: (13 octets that are no command)
S: 500 5.5.1 Command not recognized [0000000000000001]
C: (10 octets that are no command)
S: 501 5.5.4 Syntax error in argument [0000000000000001]
C: XSTATE all
        C: XSTATE all
        S: 250 2.0.0 Fine
S: 250 2.0.0 Fine
";
    traces("forward_verbs: [XSTATE]", dialog, trace);
}

/// Chunks have their size in their BDAT; content that became DATA on the way is counted where it did.
#[test]
fn chunks() {
    let last = |name: &str, lines: usize| {
        let traces = Play::named(name).traced().run().traces;
        traces[traces.len() - lines..].join("\n") + "\n"
    };
    assert_eq!(
        last("bdat-forwarded", 8),
        "\
C: BDAT 14
        C: BDAT 14
        S: 250 2.0.0 14 octets
S: 250 2.0.0 14 octets
C: BDAT 4 LAST
        C: BDAT 4 LAST
        S: 250 2.0.0 Queued
S: 250 2.0.0 Queued
"
    );
    assert_eq!(
        last("bdat-bridged-to-data", 5),
        "\
S: 250 2.0.0 Octets received
C: BDAT 2 LAST
        C: (12 octets of content)
        S: 250 2.0.0 Queued at b
S: 250 2.0.0 Queued at b
"
    );
}
