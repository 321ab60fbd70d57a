//! What the record says of each recipient: what the client heard and by whom, and what each host said that was tried.
//!
//! In:    dialogs in which recipients are tried elsewhere, withdrawn, or answered by somebody else than the hop.
//! Out:   `given>sent by: heard`, and behind each the attempts, `sent@host: reply`; the last word on the message.
//! Never: holds what a hop said against what the client heard: the record has both.

use gatepost::session::record::{Address, AttemptRecord, LastWord, RecipientRecord};

use crate::script::play::Play;

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn recipient(record: &RecipientRecord) -> Vec<String> {
    let RecipientRecord { address: Address { given, sent }, heard, attempts } = record;
    let sent = sent.as_ref().map(|sent| format!(">{}", text(sent))).unwrap_or_default();
    let heard = match heard {
        Some((heard, by)) => format!("{by}: {}", text(heard)),
        None => "-".to_owned(),
    };
    let attempt = |AttemptRecord { sent, host, reply }: &AttemptRecord| {
        format!("{}@{host}: {}", text(sent), reply.as_deref().map_or("-".to_owned(), text))
    };
    let first = format!("{}{sent} {heard}", text(given));
    std::iter::once(first).chain(attempts.iter().map(attempt)).collect()
}

fn recipients(play: Play) -> Vec<String> {
    play.run_and_leave().records.iter().flat_map(|record| &record.recipients).flat_map(recipient).collect()
}

#[test]
fn what_was_heard_and_what_each_host_said() {
    for (name, expected) in RECIPIENTS {
        assert_eq!(recipients(Play::named(name)), *expected, "{name}");
    }
}

const RECIPIENTS: &[(&str, &[&str])] = &[
    (
        "hops-second-accepted-elsewhere-is-deferred",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "green@example.com gatepost: 452 4.5.3 Send this recipient in another transaction",
            "green@example.com@a: 550 5.1.1 Unknown",
            "green@example.com@c: 250 2.1.5 Green ok at c",
        ],
    ),
    (
        "hops-refused-elsewhere-is-passed-on",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "green@example.com hop a: 550 5.1.1 Unknown at a",
            "green@example.com@a: 550 5.1.1 Unknown at a",
            "green@example.com@c: 550 5.1.1 Unknown at c",
        ],
    ),
    (
        "retry-accepted-at-another-address",
        &[
            "jones@example.com>jones@legacy.example.com hop a: 250 2.1.5 Legacy ok",
            "jones@example.com@a: 550 5.1.1 Unknown",
            "jones@legacy.example.com@a: 250 2.1.5 Legacy ok",
        ],
    ),
    (
        "retry-accepted-at-another-hop",
        &[
            "jones@example.com hop c: 250 2.1.5 Jones ok at c",
            "jones@example.com@a: 550 5.1.1 Unknown",
            "jones@example.com@c: 250 2.1.5 Jones ok at c",
        ],
    ),
    (
        "retry-4xx-takes-precedence",
        &[
            "jones@one.example hop a: 450 4.2.1 Greylisted in two",
            "jones@one.example@a: 550 5.1.1 Unknown in one",
            "jones@two.example@a: 450 4.2.1 Greylisted in two",
            "jones@three.example@a: 451 4.3.0 Broken in three",
        ],
    ),
    (
        "retry-attempts-limit",
        &[
            "jones@one.example gatepost: 451 4.4.1 Recipient cannot be tried now [0000000000000001]",
            "jones@one.example@a: 550 5.1.1 Unknown in one",
            "jones@two.example@a: 550 5.1.1 Unknown in two",
        ],
    ),
    (
        "retry-no-connection",
        &[
            "jones@example.com gatepost: 451 4.4.1 Recipient cannot be tried now [0000000000000001]",
            "jones@example.com@a: 550 5.1.1 Unknown",
            "jones@example.com@c: -",
        ],
    ),
    (
        "retry-own-hop-lost-in-the-attempt",
        &[
            "jones@one.example hop b: 250 2.1.5 Ok at b",
            "jones@one.example@a: 550 5.1.1 Unknown in one",
            "jones@two.example@a: -",
            "jones@one.example@b: 250 2.1.5 Ok at b",
        ],
    ),
    (
        "retry-within-timeouts-answer",
        &[
            "jones@one.example gatepost: 451 4.4.1 Recipient cannot be tried now [0000000000000001]",
            "jones@one.example@a: 550 5.1.1 Unknown in one",
            "jones@two.example@a: -",
        ],
    ),
    (
        "retry-hop-refuses-mail",
        &[
            "jones@example.com hop c: 450 4.7.1 Not you, not now",
            "jones@example.com@a: 550 Unknown",
            "jones@example.com@c: 450 4.7.1 Not you, not now",
        ],
    ),
    (
        // As many tries as `limits.attempts` and the first; what is behind them is not kept.
        "retry-attempts-limit-counts-no-failover",
        &[
            "jones@example.com>jones@two.example hop a: 250 2.1.5 Two ok",
            "jones@example.com@a: 550 5.1.1 Unknown",
            "jones@example.com@b: -",
            "jones@example.com@c: 550 5.1.1 Unknown at c",
        ],
    ),
    (
        "bdat-refused-before-its-data-is-answered",
        &["jones@example.com hop b: 250 2.1.5 Jones ok at b", "jones@example.com@b: 250 2.1.5 Jones ok at b"],
    ),
    // The session ends before it is answered: with somebody's last word, or without.
    ("callout-client-leaves", &["jones@example.com -"]),
    (
        "failover-policy-421-is-passed-on",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "green@example.com hop a: 421 4.7.0 Too many errors from you",
            "green@example.com@a: 421 4.7.0 Too many errors from you",
        ],
    ),
    (
        "retry-refused-greeting-is-the-ladders",
        &[
            "jones@example.com gatepost: 421 4.4.2 Connection to the next hop lost",
            "jones@example.com@a: 550 5.1.1 Unknown",
            "jones@example.com@c: 450 4.3.2 Not now",
            "green@example.com -",
        ],
    ),
    (
        "rcpt-reply-substitute-text",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "green@example.com rule plain-words: 550 5.1.1 No such mailbox here",
            "green@example.com@a: 550-5.1.1 <green@example.com>: user unknown in",
        ],
    ),
    (
        "rcpt-reply-substitute-withdraws",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "green@example.com rule full: 452 4.2.2 Mailbox full",
            "green@example.com@a: 250 2.1.5 Green ok",
        ],
    ),
    (
        "rcpt-reply-disconnect-after-a-route",
        &[
            "jones@branch.example.com rule hang-up: 421 4.7.0 Good bye",
            "jones@branch.example.com@c: 250 2.1.5 Jones ok at c",
        ],
    ),
    (
        "callout-routed-and-refused",
        &[
            "jones@branch.example.com hop c: 550 5.1.1 No Jones at c",
            "jones@branch.example.com@c: 550 5.1.1 No Jones at c",
        ],
    ),
    (
        "rcpt-disconnect",
        &[
            "jones@example.com hop a: 250 2.1.5 Recipient ok",
            "jones@example.com@a: 250 2.1.5 Recipient ok",
            "trap@example.com rule hang-up: 421 4.7.0 Good bye",
        ],
    ),
];

/// The reply to the message: what was heard, by whom, and what the hop said where that is something else.
#[test]
fn the_last_word_and_whose_it_is() {
    for (name, expected) in LAST_WORDS {
        let record = Play::named(name).run_and_leave().records.remove(0);
        let said = record.reply.map(|LastWord { heard, by, hop_said }| {
            let hop = hop_said.as_deref().map(|said| format!(" (hop: {})", text(said)));
            format!("{by}: {}{}", text(&heard), hop.unwrap_or_default())
        });
        assert_eq!(said.as_deref(), Some(*expected), "{name}");
    }
}

const LAST_WORDS: &[(&str, &str)] = &[
    ("message-reply-substitute-5xx", "rule patience: 451 4.7.1 Later (hop: 554 5.7.1 Spam)"),
    (
        "message-reply-substitute-2xx",
        "rule hide-the-queue: 250 2.0.0 Thank you (hop: 250 2.0.0 Ok: queued as 4F2A)",
    ),
    ("rcpt-swallowed", "gatepost: 250 2.6.0 Message accepted"),
    ("mail-reply-substitute-withdraws", "rule later: 451 4.7.1 Later"),
    ("mail-disconnect", "rule hang-up: 421 4.7.0 Closing [0000000000000001]"),
    ("data-reply-substitute-text", "rule plain-words: 554 5.5.1 Nobody wants it"),
    ("data-disconnect", "rule hang-up: 421 4.7.0 Closing [0000000000000001]"),
];
