//! What the record of a transaction holds, and what was counted beside it.
//!
//! In:    dialogs with a transaction in them, whose client leaves at their end.
//! Out:   who gave which verdict, what became of each recipient, how the message ended; the events of the same.
//! Never: reads a line of the log: `src/log.rs` has its own tests.

use gatepost::message::Signature;
use gatepost::session::io::{Event, MessageEnd};
use gatepost::session::record::{Address, Record};

use crate::script::play::Play;

const OPENED: &str = "include opened\n";
const MAIL: &str = "\
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
";

/// The verdicts of a record, as `stage:giver:kind`.
fn verdicts(record: &Record) -> String {
    let said = record.verdicts.iter();
    let said = said.map(|(stage, by, kind)| format!("{}:{by}:{}", stage.as_str(), kind.as_str()));
    said.collect::<Vec<_>>().join(" ")
}

/// The verdicts that were counted, by their kinds.
fn counted(events: &[Event]) -> String {
    let kinds = events.iter().filter_map(|event| match event {
        Event::Verdict(kind) => Some(kind.as_str()),
        _ => None,
    });
    kinds.collect::<Vec<_>>().join(" ")
}

/// Of those who spoke about a command, the last decided if anybody did; the others rewrote.
#[test]
fn verdicts_of_commands() {
    let rules = "\
rules:
  - { name: moved, stages: rcpt, match: { recipient: \"*@old.example\" }, do: { rewrite: { recipient: \"{local}@new.example\" } } }
  - { name: gone, stages: rcpt, match: { recipient: \"*@new.example\" }, do: { reply: \"550 5.1.1 Gone\" } }
  - { name: trap, stages: rcpt, match: { recipient: \"trap@example.com\" }, do: { reply: \"250 2.1.5 Thank you\" } }
  - { name: quiet, stages: other, match: { verb: NOOP }, do: { reply: \"250 2.0.0 Yes\" } }
  - { name: fine, stages: rcpt, match: { recipient: \"fine@example.com\" }, do: { accept: true } }
";
    for (dialog, recorded, events) in [
        (
            "C: RCPT TO:<jones@old.example>\nS: 550 5.1.1 Gone\n",
            "rcpt:moved:rewrite rcpt:gone:reply",
            "rewrite reply",
        ),
        ("C: RCPT TO:<trap@example.com>\nS: 250 2.1.5 Thank you\n", "rcpt:trap:discard", "discard"),
        ("C: NOOP\nS: 250 2.0.0 Yes\n", "other:quiet:reply", "reply"),
        (
            "\
C: RCPT TO:<fine@example.com>
        C: RCPT TO:<fine@example.com>
        S: 250 2.1.5 Fine
S: 250 2.1.5 Fine
",
            "rcpt:fine:accept",
            "accept",
        ),
    ] {
        let left = Play::written(rules, &format!("{OPENED}{MAIL}{dialog}")).run_and_leave();
        assert_eq!((verdicts(&left.records[0]), counted(&left.events)), (recorded.into(), events.into()));
    }
}

/// A callout that failed is in the record of who was asked; no verdict is counted where none was given.
#[test]
fn a_failed_callout_gave_no_verdict() {
    let callouts = "\
callouts:
  - { type: http, url: \"http://127.0.0.1:9/\", name: first, stages: rcpt, on_error: pass }
  - { type: http, url: \"http://127.0.0.1:9/\", name: second, stages: rcpt }
";
    let dialog = "\
C: RCPT TO:<jones@example.com>
    ask first rcpt <jones@example.com>
    verdict fails
    ask second rcpt <jones@example.com>
    verdict reply 550 5.1.1 Nobody here
S: 550 5.1.1 Nobody here
";
    let left = Play::written(callouts, &format!("{OPENED}{MAIL}{dialog}")).run_and_leave();
    assert_eq!(verdicts(&left.records[0]), "rcpt:first:failed rcpt:second:reply");
    assert_eq!(counted(&left.events), "reply");
}

/// An address as the record has it: `given`, or `given>sent`.
fn shown(address: &Address) -> String {
    let given = String::from_utf8_lossy(&address.given);
    match &address.sent {
        Some(sent) => format!("{given}>{}", String::from_utf8_lossy(sent)),
        None => given.into_owned(),
    }
}

/// Each recipient with its addresses, the hop that spoke, and the first line of what the client heard.
#[test]
fn recipients_and_what_they_were_answered() {
    let rules = "\
rules:
  - { name: moved, stages: rcpt, match: { recipient: \"*@old.example\" }, do: { rewrite: { recipient: \"{local}@new.example\" } } }
  - { name: gone, stages: rcpt, match: { recipient: \"*@gone.example\" }, do: { reply: \"550 5.1.1 Gone\" } }
  - { name: from, stages: mail, do: { rewrite: { sender: \"office@example.org\" } } }
";
    let dialog = "\
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<office@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<jones@old.example>
        C: RCPT TO:<jones@new.example> ORCPT=rfc822;jones@old.example
        S: 250-2.1.5 Jones is
        S: 250 2.1.5 known
S: 250-2.1.5 Jones is
S: 250 2.1.5 known
C: RCPT TO:<brown@gone.example>
S: 550 5.1.1 Gone
C: RCPT TO:<green@example.com>
        C: RCPT TO:<green@example.com>
        S: 451 4.2.1 Later
S: 451 4.2.1 Later
";
    let left = Play::written(rules, &format!("{OPENED}{dialog}")).run_and_leave();
    let record = &left.records[0];
    assert_eq!(shown(&record.sender), "smith@example.org>office@example.org");
    let recipients: Vec<_> = record
        .recipients
        .iter()
        .map(|one| {
            let (heard, by) = one.heard.as_ref().unwrap();
            format!("{} {by}: {}", shown(&one.address), String::from_utf8_lossy(heard))
        })
        .collect();
    assert_eq!(
        recipients,
        [
            "jones@old.example>jones@new.example hop a: 250-2.1.5 Jones is",
            "brown@gone.example rule gone: 550 5.1.1 Gone",
            "green@example.com hop a: 451 4.2.1 Later",
        ]
    );
    let classes: Vec<u8> = left
        .events
        .iter()
        .filter_map(|event| if let Event::Recipient(class) = event { Some(*class) } else { None })
        .collect();
    assert_eq!(classes, [2, 5, 4]);
}

/// A record keeps no more recipients or verdicts than a transaction may have recipients; all are counted.
#[test]
fn a_record_is_bounded() {
    let yaml = "\
limits: { recipients: 2 }
rules:
  - { name: gone, stages: rcpt, do: { reply: \"550 5.1.1 Gone\" } }
";
    let mut dialog = "        S: 220 a.example.net
S: 220 a.example.net
C: HELO client.example.org
        C: HELO client.example.org
        S: 250 a.example.net
S: 250 a.example.net
"
    .to_owned();
    dialog.push_str(MAIL);
    for name in ["one", "two", "three", "four"] {
        dialog.push_str(&format!("C: RCPT TO:<{name}@example.com>\nS: 550 5.1.1 Gone\n"));
    }
    let left = Play::written(yaml, &dialog).run_and_leave();
    let record = &left.records[0];
    let kept: Vec<_> = record.recipients.iter().map(|one| shown(&one.address)).collect();
    assert_eq!(kept, ["one@example.com", "two@example.com"]);
    assert_eq!(verdicts(record), "rcpt:gone:reply rcpt:gone:reply");
    assert_eq!(counted(&left.events), "reply reply reply reply");
    assert_eq!(left.events.iter().filter(|event| matches!(event, Event::Recipient(5))).count(), 4);
}

/// How a message ended, with its octets, what was mended in it, and the first line of the reply.
#[test]
fn how_a_message_ends() {
    let content = "include content\nC: text\nC: .\n        C: text\n        C: .\n";
    let said = |reply: &str| format!("{content}        S: {reply}\nS: {reply}\n");
    let plays = [
        (said("250 2.0.0 Queued"), MessageEnd::Accepted, 6, 0, "250 2.0.0 Queued"),
        (said("554 5.7.1 Spam"), MessageEnd::Refused, 6, 0, "554 5.7.1 Spam"),
    ];
    let named = [
        ("delivered-unheard", MessageEnd::DeliveredUnheard, 6, 0, "250 2.0.0 Queued"),
        ("d1-client-cut-in-content", MessageEnd::Lost, 30, 0, "-"),
        ("rcpt-swallowed", MessageEnd::Discarded, 9, 0, "250 2.6.0 Message accepted"),
        ("content-bare-lf-normalize", MessageEnd::Accepted, 44, 3, "250 2.0.0 Queued"),
    ];
    let plays = plays.map(|(dialog, end, octets, mended, reply)| {
        (dialog.clone(), Play::written("", &dialog), end, octets, mended, reply)
    });
    let named = named.map(|(name, end, octets, mended, reply)| {
        (name.to_owned(), Play::named(name), end, octets, mended, reply)
    });
    for (name, play, end, octets, mended, reply) in plays.into_iter().chain(named) {
        let left = play.run_and_leave();
        let record = &left.records[0];
        let line = record.reply.as_ref().map_or("-".into(), |last| String::from_utf8_lossy(&last.heard));
        assert_eq!((record.octets, record.mended, &*line), (octets, mended, reply), "{name}");
        assert_eq!(record.end, Some(end), "{name}");
        let ended: Vec<_> =
            left.events.iter().filter(|event| matches!(event, Event::Message(..))).copied().collect();
        assert_eq!(ended, [Event::Message(end, octets)], "{name}");
        let mends: Vec<_> =
            left.events.iter().filter(|event| matches!(event, Event::Mended(_))).copied().collect();
        assert_eq!(mends, (mended > 0).then_some(Event::Mended(mended)).as_slice(), "{name}");
    }
}

/// That a hop is not told who the client is stands in the log once in a session, whatever dials it again.
#[test]
fn a_warning_is_given_once() {
    let yaml = "upstreams: { main: { hosts: [a], identity: xclient, identity_required: false } }";
    let untold = "        S: 220 a.example.net ESMTP
        C: EHLO gate.example.org
        S: 250 a.example.net
";
    let dialog = format!(
        "\
{untold}S: 220 a.example.net ESMTP
        <lost>
C: HELO client.example.org
{untold}        C: HELO client.example.org
        S: 250 a.example.net
S: 250 a.example.net
"
    );
    let left = Play::written(yaml, &dialog).run();
    assert_eq!(left.logged, ["hop a: XCLIENT: not offered; it is not told who the client is"]);
    let untold = left.events.iter().filter(|event| matches!(event, Event::NotTold)).count();
    assert_eq!(untold, 2, "each dialog counts");
}

/// Rules and callouts alike, in the order they were asked.
#[test]
fn the_record_names_who_gave_verdicts() {
    let played = Play::named("callout-order").run_and_leave();
    assert_eq!(
        verdicts(&played.records[0]),
        "rcpt:moved:rewrite rcpt:first:rewrite rcpt:second:rewrite rcpt:second:accept rcpt:first:reply"
    );
}

/// What TLS there was with the hop, and what became of its certificate.
#[test]
fn the_record_names_the_hops_tls() {
    let played = Play::named("hop-tls-implicit").run_and_leave();
    let tls = played.records[0].hop_tls.as_ref().unwrap();
    assert_eq!(&*tls.version, "TLSv1.3");
    assert!(tls.certificate.as_ref().is_some_and(|certificate| certificate.verified));
}

/// What is not carried out is in the record, too: a route when no other hop may be had, a refusal of <postmaster>.
#[test]
fn the_record_names_what_was_skipped() {
    for (name, expected) in [
        ("hops-no-route-after-235", "mail:branch-office:route mail:branch-office:skipped"),
        (
            "callout-postmaster",
            "rcpt:one:skipped rcpt-reply:one:skipped rcpt:two:reply rcpt:one:reply rcpt:one:reply",
        ),
    ] {
        let played = Play::named(name).run_and_leave();
        assert_eq!(verdicts(&played.records[0]), expected, "{name}");
    }
}

/// After 235 a route at EHLO is not carried out; one to the session's own pool is nothing to carry out.
#[test]
fn routes_after_235() {
    let yaml = "\
upstreams: { main: { hosts: [a] }, branch: { hosts: [c] } }
rules:
  - { name: away, stages: helo, match: { helo: again.example }, do: { route: { upstream: branch } } }
  - { name: here, stages: mail, do: { route: { upstream: main } } }
";
    let dialog = "\
include authenticated
C: EHLO again.example
        C: EHLO again.example
        S: 250 a.example.net
S: 250-a.example.net
S: 250-PIPELINING
S: 250 SIZE 52428800
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
";
    let played = Play::written(yaml, dialog).run_and_leave();
    assert_eq!(verdicts(&played.records[0]), "mail:here:route");
    assert_eq!(counted(&played.events), "route skipped route");
}

/// A signature that an edit broke is counted once, though the first host was lost before the message; and named in the record.
#[test]
fn signatures_that_edits_broke() {
    let rules = "\
upstreams: { main: { hosts: [a, b] } }
rules:
  - { name: plain, stages: message, do: { remove_header: [Subject] } }
";
    let dialog = "\
C: RCPT TO:<jones@example.com>
        C: RCPT TO:<jones@example.com>
        S: 250 2.1.5 Fine
S: 250 2.1.5 Fine
C: DATA
S: 354 End data with <CR><LF>.<CR><LF>
C: DKIM-Signature: v=1; h=from:subject; b=x
C: Subject: a
C:
C: .
        C: DATA
        <eof>
        [b] S: 220 b.example.net ESMTP
        [b] C: EHLO client.example.org
        [b] S: 250 b.example.net
        [b] C: MAIL FROM:<smith@example.org>
        [b] S: 250 2.1.0 Sender ok
        [b] C: RCPT TO:<jones@example.com>
        [b] S: 250 2.1.5 Fine
        [b] C: DATA
        [b] S: 354 Go ahead
        [b] C: DKIM-Signature: v=1; h=from:subject; b=x
        [b] C:
        [b] C: .
        [b] S: 250 2.0.0 Queued
S: 250 2.0.0 Queued
";
    let left = Play::written(rules, &format!("{OPENED}{MAIL}{dialog}")).run_and_leave();
    assert_eq!(left.records[0].broken, [Signature::Dkim]);
    let broke = left.events.iter().filter(|event| matches!(event, Event::Broke(_))).count();
    assert_eq!(broke, 1);
}
