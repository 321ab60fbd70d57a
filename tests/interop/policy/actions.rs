//! What an action does: the same behind `check_policy_service` and behind gatepost, but for what is listed here.
//!
//! In:    every action, as the answer in every state.
//! Out:   trials: replies octet for octet, who is let through, what is stored; and whom the hop refuses besides.
//! Never: forgives a difference without a reason, or keeps a reason for none.
//!
//! access(5) of Postfix and its SMTPD_POLICY_README.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::Trial;

use super::{FROM, Stand, dialog, send, without_trace};
use crate::messages;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::policy::PolicyServer;
use crate::support::postfix::Spec;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("policy::actions", [Peer::Postfix], actions),
        trial("policy::actions_and_refusals_of_the_hop", [Peer::Postfix], refusals_of_the_hop),
    ]
}

/// A state, and to whom mail is sent in it.
const STATES: [(&str, &[&str]); 6] = [
    ("CONNECT", &["ann"]),
    ("EHLO", &["ann"]),
    ("MAIL", &["ann"]),
    ("RCPT", &["ann", "bob"]),
    ("DATA", &["ann"]),
    ("DATA", &["ann", "bob"]),
];

/// Those that mean the same to both.
const ALIKE: &[&str] = &[
    "DUNNO",
    "dunno",
    "DUNNO whatever",
    "OK",
    "OK with a text",
    "0",
    "550",
    "1234567",
    "REJECT",
    "reject in small letters",
    "Reject Not today",
    "REJECT 5.2.1 Mailbox disabled",
    "REJECT 4.7.0 A class of its own",
    "REJECT a\tb  c",
    "REJECT x  ",
    "REJECT  5.7.9  x",
    "DEFER",
    "DEFER Come again",
    "DEFER 4.2.1 Come again",
    "DEFER_IF_REJECT",
    "DEFER_IF_REJECT Greylisted",
    "450 x",
    "451 4.3.0 x",
    "550 x",
    "554 5.7.9 x",
    "550 5.1.0 x",
    "550 5.1.1 x",
    "550 5.1.2 x",
    "550 5.1.3 x",
    "550 5.1.4 x",
    "550 5.1.5 x",
    "550 5.1.6 x",
    "550 5.1.7 x",
    "550 5.1.8 x",
    "550 5.1.9 x",
    "450 5.1.1 x",
    "421 x",
    "521 x",
    "PREPEND X-A: b",
    "prepend X-A: b",
    "PREPEND  X-A: b  c  ",
    "PREPEND X-Recipient: <{recipient}>",
    "PREPEND nonsense",
    "PREPEND",
    "INFO x",
    "WARN x",
    "warn",
];

/// How gatepost differs.
enum Differs {
    /// The callout has failed, whatever Postfix does.
    Fails,
    /// It says at once what Postfix says to RCPT.
    Sooner,
    /// It refuses with the same code, and these words behind it.
    Ends(&'static str),
}

/// Those that do not, in all states or in these, and why.
const UNLIKE: &[(&str, &[&str], Differs, &str)] = &[
    ("DEFER_IF_PERMIT", EARLY, Differs::Sooner, WAITS),
    ("defer_if_permit Greylisted", EARLY, Differs::Sooner, WAITS),
    ("DEFER_IF_PERMIT 4.2.0 Greylisted", EARLY, Differs::Sooner, WAITS),
    ("REJECT 5.1.1", ALL, Differs::Ends(" rejected: Access denied"), NO_TEXT),
    ("550 5.7.1", ALL, Differs::Ends(" rejected: Access denied"), NO_TEXT),
    ("REJECT gr\u{fc}n", ALL, Differs::Ends(" rejected: gr?n"), "a reply is ASCII (RFC 5321 4.2)"),
    ("", ALL, Differs::Fails, "nobody can have meant the OK that Postfix takes it for"),
    ("something else", ALL, Differs::Fails, NO_RESTRICTION),
    ("600 x", ALL, Differs::Fails, NO_RESTRICTION),
    ("299 x", ALL, Differs::Fails, NO_RESTRICTION),
    ("DISCARD", ALL, Differs::Fails, "it is not granted"),
    ("HOLD", ALL, Differs::Fails, NO_QUEUE),
    ("FILTER discard:here", ALL, Differs::Fails, NO_QUEUE),
    ("REDIRECT joe@a.example", ALL, Differs::Fails, NO_QUEUE),
    ("BCC joe@a.example", ALL, Differs::Fails, NO_QUEUE),
];

const ALL: &[&str] = &["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"];
const EARLY: &[&str] = &["CONNECT", "EHLO", "MAIL"];
const WAITS: &str = "each command is answered for itself: nothing is kept for a later one";
const NO_TEXT: &str = "Postfix 3.7 reads on behind the code, in what is left of an earlier action";
const NO_RESTRICTION: &str = "restrictions are Postfix's; it says 451 4.3.5, a callout that failed 451 4.3.0";
const NO_QUEUE: &str = "what takes a queue, or another message, is not for a proxy";

fn actions() {
    let server = PolicyServer::start();
    let stand = Stand::in_every_state(&server, "", "", Spec::receiving("a.example"));
    let mut accepted = BTreeSet::new();
    for (number, (state, to)) in STATES.into_iter().enumerate() {
        for &action in ALIKE.iter().chain(UNLIKE.iter().map(|(action, ..)| action)) {
            server.says(state, action);
            let subject = format!("{number} {action}").replace('\u{fc}', "ue");
            let [direct, through] = stand.doors().map(|door| {
                let by = if door == stand.asking { "direct" } else { "through" };
                send(door, to, &messages::message(&format!("{subject} {by}"), "x\r\n"))
            });
            match UNLIKE.iter().find(|(unlike, states, ..)| *unlike == action && states.contains(&state)) {
                None => assert_eq!(direct, through, "{state} {action:?}"),
                Some((_, _, differs, why)) => {
                    let is_so = differs.is_so(&direct, &through);
                    assert!(is_so, "{state} {action:?}: {why}: {direct:?} {through:?}");
                }
            }
            if through.contains(&"354".to_owned()) {
                accepted.extend(to.iter().map(|to| (subject.clone(), to.to_string())));
            }
        }
    }
    stand.postfix.settle(0);
    let mut stored: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for message in stand.postfix.take_stored() {
        let text = without_trace(&message);
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
        let (subject, door) = subject.rsplit_once(' ').unwrap();
        let same = text.replace(&format!(" {door}\n"), "\n");
        stored.entry((subject.to_owned(), message.mailbox)).or_default().insert(door.to_owned(), same);
    }
    for which in accepted {
        let stored = &stored[&which];
        assert_eq!(stored.get("direct"), stored.get("through"), "{which:?}");
    }
}

impl Differs {
    fn is_so(&self, direct: &[String], through: &[String]) -> bool {
        let [refused, refusal] = [direct, through].map(|heard| &heard[heard.len() - 2]);
        let as_late = direct.len() == through.len();
        match self {
            Self::Fails => direct != through && refusal.contains(" 4.3.0 Try again later"),
            Self::Sooner => refusal == refused && through.len() < direct.len(),
            Self::Ends(words) => refusal.ends_with(words) && as_late && refusal[..9] == refused[..9],
        }
    }
}

/// Where the hop refuses somebody: what Postfix says when it asks, what gatepost says, and why that is not the same.
const REFUSED: &[(&str, &str, &str, &str, &str)] = &[
    ("DUNNO", "nobody@a.example", "550 5.1.1", "550 5.1.1", ""),
    ("OK", "nobody@a.example", "550 5.1.1", "550 5.1.1", ""),
    ("WARN x", "nobody@a.example", "550 5.1.1", "550 5.1.1", ""),
    ("REJECT x", "nobody@a.example", "554 5.7.1", "554 5.7.1", ""),
    ("DEFER_IF_PERMIT x", "nobody@a.example", "450 4.7.1", "450 4.7.1", ""),
    ("DEFER_IF_REJECT x", "nobody@a.example", "450 4.7.1", "550 5.1.1", ITS_OWN),
    ("DEFER_IF_REJECT x", "ann@b.example", "554 5.7.1", "554 5.7.1", ""),
    ("OK", "ann@b.example", "554 5.7.1", "554 5.7.1", ""),
    ("PREPEND X-A: b", "ann@b.example", "554 5.7.1", "554 5.7.1", ""),
    ("REJECT 5.2.1 x", "ann@b.example", "554 5.7.1", "554 5.2.1", BEFORE),
];

const ITS_OWN: &str = "a hop's refusal stays what it is";
const BEFORE: &str =
    "in Postfix a server stands behind the check for relaying, here before the hop that makes it";

fn refusals_of_the_hop() {
    let server = PolicyServer::start();
    let stand = Stand::in_every_state(&server, "", "", Spec::receiving("a.example"));
    for (action, to, by_postfix, by_gatepost, why) in REFUSED {
        server.says("RCPT", action);
        let recipient = format!("RCPT TO:<{to}>\r\n");
        let [direct, through] = stand.doors().map(|door| dialog(door, &[FROM, &recipient]));
        assert_eq!(direct[3][..9], **by_postfix, "{action} {to}");
        assert_eq!(through[3][..9], **by_gatepost, "{action} {to}: {why}");
        assert_eq!(direct == through, why.is_empty(), "{direct:?} {through:?}");
    }
}
