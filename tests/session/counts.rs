//! What is counted of a dialog: each command and what became of it, each message, each verdict, who said a reply.
//!
//! In:    scripts of `tests/dialogs`.
//! Out:   the events there were, and no others of their kind.
//! Never: reads a metric: `src/metrics/tests.rs` does.

use gatepost::session::io::{Event, Origin, Peer};

use crate::script::play::Play;

/// The commands, messages, verdicts and malformed replies that a script's dialog counts, in order, behind EHLO.
fn counted(name: &str) -> String {
    let played = Play::named(name).run();
    let shown = played.events.iter().filter_map(|event| match event {
        Event::Command(verb, taken) => Some(format!("{verb} {taken:?}")),
        Event::Message(end, octets) => Some(format!("{octets} octets {end:?}")),
        Event::Verdict(kind) => Some(format!("verdict {}", kind.as_str())),
        Event::Malformed => Some("malformed".to_owned()),
        _ => None,
    });
    shown.filter(|shown| shown != "EHLO Forwarded").collect::<Vec<_>>().join(", ")
}

/// Each line: a script, and what is counted of its dialog.
const COUNTED: &str = "
command-sequence: RCPT Refused, DATA Refused, MAIL Forwarded, MAIL Refused
every-stage: AUTH Forwarded, NOOP Forwarded, MAIL Forwarded, RCPT Forwarded, RCPT Forwarded, DATA Forwarded, 6 octets Accepted, QUIT Forwarded
mail-reply-substitute-withdraws: MAIL Forwarded, verdict substitute, RCPT Refused
rcpt-swallowed: MAIL Forwarded, verdict discard, RCPT Answered, DATA Answered, 9 octets Discarded
d1-client-cut-in-content: MAIL Forwarded, RCPT Forwarded, DATA Forwarded, 30 octets Lost
size-real-too-large: MAIL Forwarded, RCPT Forwarded, DATA Forwarded, 70400 octets Refused, NOOP Answered
failover-not-in-mid-content: MAIL Forwarded, RCPT Forwarded, DATA Forwarded, 25 octets Lost
malformed-after-end-of-data: MAIL Forwarded, RCPT Forwarded, DATA Forwarded, malformed, 6 octets Lost
hops-no-route-after-235: AUTH Forwarded, verdict route, verdict skipped, MAIL Forwarded
connect-reply-verdict-bdat-is-swallowed: verdict reply, BDAT Answered, NOOP Answered
bdat-asks-data-once: MAIL Forwarded, RCPT Forwarded, verdict reply, BDAT Refused, BDAT Refused, 10 octets Refused
callout-bdat: MAIL Forwarded, RCPT Forwarded, verdict reply, BDAT Refused, BDAT Refused, 12 octets Refused
callout-client-leaves: MAIL Forwarded, RCPT Refused
callout-commands-one-by-one: MAIL Forwarded, RCPT Forwarded, verdict reply, RCPT Refused, DATA Forwarded
callout-message-reply-client-leaves: MAIL Forwarded, RCPT Forwarded, DATA Forwarded, 6 octets DeliveredUnheard
callout-not-allowed: MAIL Refused, MAIL Refused, MAIL Refused, MAIL Forwarded, RCPT Refused, RCPT Refused, RCPT Forwarded, RCPT Forwarded
callout-connect: verdict route
";

#[test]
fn commands_messages_and_verdicts_are_counted_by_what_became_of_them() {
    for line in COUNTED.trim().lines() {
        let (name, expected) = line.split_once(": ").unwrap();
        assert_eq!(counted(name), expected, "{name}");
    }
}

/// A ladder's failure is told in the words of whoever said them, and counted as theirs.
#[test]
fn a_reply_knows_who_said_it() {
    for (name, class, by_hop) in [
        ("retry-all-refused-first-reply-heard", 5, true),
        ("retry-4xx-takes-precedence", 4, true),
        ("retry-no-connection", 4, false),
    ] {
        let played = Play::named(name).run();
        let said_by = played.events.iter().filter_map(|event| match event {
            Event::Answered { class: said, origin } if *said == class => Some(*origin),
            _ => None,
        });
        let origins: Vec<Origin> = said_by.collect();
        assert!(!origins.is_empty(), "{name}");
        assert_eq!(origins.contains(&Origin::Gatepost), !by_hop, "{name}");
    }
}

/// A greeting is the hop's, but for gatepost's own in the place of one that counts no more; what follows is the hop's.
#[test]
fn a_greeting_knows_who_said_it() {
    for (name, by_gatepost) in [("auth-plain", [false; 2]), ("hop-tls-required", [true, false])] {
        let played = Play::named(name).run();
        let origins = played.events.iter().filter_map(|event| match event {
            Event::Answered { origin, .. } => Some(*origin == Origin::Gatepost),
            _ => None,
        });
        assert_eq!(origins.take(2).collect::<Vec<_>>(), by_gatepost, "{name}");
    }
}

/// TLS with a hop or a client whose certificate nobody vouches for is counted as that.
#[test]
fn unverified_certificates_are_counted() {
    for (name, hops, clients) in [
        ("hop-tls-implicit", 0, 0),
        ("hop-tls-lmtp", 1, 0),
        ("hop-tls-by-rung", 1, 0),
        ("rule-by-certificate-that-nobody-vouches-for", 0, 1),
        ("starttls-with-the-client", 0, 0),
    ] {
        let played = Play::named(name).run();
        let of = |client| {
            let is = |event: &&Event| matches!(event, Event::Unverified(peer) if (*peer == Peer::Downstream) == client);
            played.events.iter().filter(is).count()
        };
        assert_eq!((of(false), of(true)), (hops, clients), "{name}");
    }
}
