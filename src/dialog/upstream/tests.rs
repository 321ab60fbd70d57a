//! A hop's dialog by itself: whose reply a reply is, what may be said when, and what the hop is inside of.

use super::{Expect, Heard, Say, Upstream};
use crate::dialog::Tx;
use crate::smtp::{Keyword, ReplyLimits};

const LIMITS: ReplyLimits = ReplyLimits { line: 512, reply: 4096 };

/// A dialog that offers PIPELINING, and what it says.
fn pipelining() -> (Upstream, Tx) {
    let mut dialog = Upstream::default();
    dialog.extensions.insert(Keyword::Pipelining);
    (dialog, Tx::default())
}

fn say(dialog: &mut Upstream, tx: &mut Tx, number: u32, kind: Say, words: &str) {
    dialog.say(tx, Expect::Owed(number), kind, |line| line.extend_from_slice(words.as_bytes()));
}

/// What went out, of what it was given to say.
fn said(tx: &mut Tx) -> String {
    let octets = tx.slices(&[]).collect::<Vec<_>>().concat();
    tx.clear();
    String::from_utf8(octets).unwrap()
}

/// The hop says this; whose replies these are.
fn hears(dialog: &mut Upstream, mut octets: &[u8]) -> Vec<Option<Expect>> {
    let mut whose = Vec::new();
    dialog.arrives();
    while !octets.is_empty() {
        match dialog.hear(octets, LIMITS) {
            Heard::Reply(reply, expect) => {
                whose.push(expect);
                octets = &octets[reply.as_bytes().len()..];
            }
            heard => panic!("{heard:?}"),
        }
    }
    whose
}

#[test]
fn replies_are_for_whoever_asked_in_turn() {
    let (mut dialog, mut tx) = pipelining();
    say(&mut dialog, &mut tx, 1, Say::Mail, "MAIL FROM:<>\r\n");
    say(&mut dialog, &mut tx, 2, Say::Along, "RCPT TO:<a@example.org>\r\n");
    assert_eq!(said(&mut tx), "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n");
    let whose = hears(&mut dialog, b"250 Ok\r\n250 Ok\r\n250 Ok\r\n");
    assert_eq!(whose, [Some(Expect::Owed(1)), Some(Expect::Owed(2)), None]);
}

#[test]
fn what_arrived_before_a_command_is_no_reply_to_it() {
    let (mut dialog, mut tx) = pipelining();
    say(&mut dialog, &mut tx, 1, Say::Along, "RCPT TO:<a@example.org>\r\n");
    dialog.arrives();
    let octets = b"250 Ok\r\n250 Ok\r\n";
    assert!(matches!(dialog.hear(octets, LIMITS), Heard::Reply(_, Some(Expect::Owed(1)))));
    assert!(dialog.has_answered());
    // Said between two replies of one arrival.
    say(&mut dialog, &mut tx, 2, Say::Along, "RCPT TO:<b@example.org>\r\n");
    assert!(matches!(dialog.hear(&octets[8..], LIMITS), Heard::Reply(_, None)));
    assert!(dialog.awaits(Expect::Owed(2)));
    dialog.arrives();
    assert!(!dialog.has_answered());
    assert!(matches!(dialog.hear(b"250 Ok\r\n", LIMITS), Heard::Reply(_, Some(Expect::Owed(2)))));
}

#[test]
fn nothing_is_said_behind_the_end_of_a_group() {
    let (mut dialog, mut tx) = pipelining();
    say(&mut dialog, &mut tx, 1, Say::Data, "DATA\r\n");
    say(&mut dialog, &mut tx, 2, Say::Reset, "RSET\r\n");
    assert_eq!(said(&mut tx), "DATA\r\n");
    assert!(dialog.holds_back() && !dialog.may_say());
    dialog.pump(&mut tx);
    assert_eq!(said(&mut tx), "", "DATA is not answered");
    hears(&mut dialog, b"554 No\r\n");
    dialog.pump(&mut tx);
    assert_eq!(said(&mut tx), "RSET\r\n");
}

#[test]
fn behind_354_comes_content_and_behind_334_a_step() {
    for (first, go, next) in [(Say::Data, "354 Go\r\n", Say::Content), (Say::Auth, "334 \r\n", Say::Auth)] {
        let (mut dialog, mut tx) = pipelining();
        say(&mut dialog, &mut tx, 1, first, "first\r\n");
        hears(&mut dialog, go.as_bytes());
        assert!(!dialog.may_say(), "{first:?}");
        say(&mut dialog, &mut tx, 2, next, "next\r\n");
        say(&mut dialog, &mut tx, 3, Say::Last, "NOOP\r\n");
        let whole = if next == Say::Content { "first\r\nnext\r\nNOOP\r\n" } else { "first\r\nnext\r\n" };
        assert_eq!(said(&mut tx), whole, "{first:?}");
        hears(&mut dialog, b"250 Ok\r\n");
        dialog.pump(&mut tx);
        assert!(!dialog.holds_back());
    }
}

/// What it was told, what it answered, and whether it is inside a transaction then.
#[test]
fn what_a_hop_is_inside_of_is_what_it_answered() {
    const MAIL: (Say, &str) = (Say::Mail, "250");
    let cases: [(&[(Say, &str)], bool); 10] = [
        (&[], false),
        (&[MAIL], true),
        (&[(Say::Mail, "550")], false),
        (&[MAIL, (Say::Along, "250")], true),
        (&[MAIL, (Say::Reset, "250")], false),
        (&[MAIL, (Say::Reset, "421")], true),
        (&[MAIL, (Say::Hello, "250")], false),
        (&[MAIL, (Say::Hello, "501")], true),
        (&[MAIL, (Say::Content, "250")], false),
        (&[MAIL, (Say::Content, "554")], false),
    ];
    for (told, inside) in cases {
        let (mut dialog, mut tx) = pipelining();
        for (say, code) in told {
            dialog.say(&mut tx, Expect::Nobody, *say, |_| {});
            hears(&mut dialog, format!("{code} x\r\n").as_bytes());
        }
        assert_eq!(dialog.may_be_in_mail(), inside, "{told:?}");
    }
}

#[test]
fn what_a_hop_may_be_inside_of_is_what_it_was_told() {
    let cases: [(&[Say], bool); 6] = [
        (&[Say::Mail], true),
        (&[Say::Mail, Say::Along], true),
        (&[Say::Mail, Say::Reset], false),
        (&[Say::Mail, Say::Reset, Say::Mail], true),
        (&[Say::Mail, Say::Content], false),
        // One that is refused would end nothing.
        (&[Say::Mail, Say::Hello], true),
    ];
    for (told, inside) in cases {
        // Said at once, and held back: both count.
        for held in [false, true] {
            let (mut dialog, mut tx) = pipelining();
            if held {
                dialog.say(&mut tx, Expect::Nobody, Say::Last, |_| {});
            }
            for say in told {
                dialog.say(&mut tx, Expect::Nobody, *say, |_| {});
            }
            assert_eq!(dialog.may_be_in_mail(), inside, "{told:?}");
        }
    }
}

#[test]
fn a_busy_moment_leaves_no_space_behind() {
    let (mut dialog, mut tx) = pipelining();
    for number in 0..100 {
        say(&mut dialog, &mut tx, number, Say::Along, "RCPT TO:<a@example.org>\r\n");
    }
    say(&mut dialog, &mut tx, 100, Say::Last, "NOOP\r\n");
    say(&mut dialog, &mut tx, 101, Say::Last, "NOOP\r\n");
    dialog.shrink();
    assert_eq!(dialog.expects().count(), 102, "nothing that is awaited is forgotten");
    hears(&mut dialog, &b"250 Ok\r\n".repeat(101));
    dialog.pump(&mut tx);
    hears(&mut dialog, b"250 Ok\r\n");
    assert!(dialog.is_quiet());
    dialog.shrink();
    assert_eq!((dialog.expects.capacity(), dialog.waiting.capacity()), (0, 0));
    // What a transaction needs all the time stays.
    dialog.expect(Expect::Greeting);
    let few = dialog.expects.capacity();
    hears(&mut dialog, b"220 a.example\r\n");
    dialog.shrink();
    assert_eq!(dialog.expects.capacity(), few);
}
