//! Each kind of callout at each stage, alone: it is asked, and obeyed. (A proxy has been known not to ask one, silently, where
//! another feature was off.)
//!
//! In:    services that refuse all they are asked about: over HTTP, as a policy server, Postfix's test-milter.
//! Out:   one trial: for each kind and stage a gatepost with nothing else in its file, before a real Postfix.
//! Never: takes a refusal for the callout's that is not in its words.

use std::net::SocketAddr;
use std::thread;

use libtest_mimic::Trial;

use crate::messages;
use crate::support::gatepost::Gatepost;
use crate::support::milter::{Milter, Place};
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::policy::PolicyServer;
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::refuser;

pub fn trials() -> Vec<Trial> {
    vec![trial("callout::each_kind_alone_at_each_stage", [Peer::Postfix, Peer::TestMilter], alone)]
}

/// Where a service may refuse; not `message-reply`, where the hop has accepted, nor `auth`, which this Postfix has not.
const HTTP: [&str; 13] = [
    "connect",
    "connect-reply",
    "helo",
    "helo-reply",
    "mail",
    "mail-reply",
    "rcpt",
    "rcpt-reply",
    "data",
    "data-reply",
    "message",
    "other",
    "other-reply",
];

/// Where a policy server is asked, and in which state.
const POLICY: [(&str, &str); 5] =
    [("connect", "CONNECT"), ("helo", "EHLO"), ("mail", "MAIL"), ("rcpt", "RCPT"), ("data", "DATA")];

/// Where a filter is told, of what, and what is heard of its reject.
const MILTER: [(&str, &str, &str); 7] = [
    ("connect", "connect", "554 5.7.1 Service not available here"),
    ("helo", "helo", "550 5.7.1 Command rejected"),
    ("mail", "mail", "550 5.7.1 Command rejected"),
    ("rcpt", "rcpt", "550 5.7.1 Command rejected"),
    ("rcpt-reply", "rcpt", "550 5.7.1 Command rejected"),
    ("data", "data", "550 5.7.1 Command rejected"),
    ("message", "eom", "550 5.7.1 Command rejected"),
];

fn alone() {
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let (service, policy) = (refuser::start(), PolicyServer::start());
    for stage in HTTP {
        let callout = format!("type: http, url: \"http://{service}/{stage}\"");
        is_obeyed(&postfix, &callout, stage, &format!("554 5.7.1 No {stage} by callout"));
    }
    for (stage, state) in POLICY {
        let refusal = format!("554 5.7.1 No {stage} by policy");
        policy.says(state, &refusal);
        is_obeyed(&postfix, &format!("type: policy, address: \"{}\"", policy.address()), stage, &refusal);
    }
    // libmilter takes five seconds to end: all of them at once.
    let mut ends = Vec::new();
    for (stage, command, refusal) in MILTER {
        let milter = Milter::test(&Place::free(), &["-c", command, "-a", "reject"]);
        let callout = format!("type: milter, address: \"{}\"", milter.place().of_gatepost());
        is_obeyed(&postfix, &callout, stage, refusal);
        ends.push(thread::spawn(move || drop(milter)));
    }
    ends.into_iter().for_each(|end| end.join().unwrap());
    assert!(postfix.take_stored().is_empty(), "what was refused is not there");
}

/// A client is refused at this stage in these words, and the callout was asked there, once.
fn is_obeyed(postfix: &Postfix, callout: &str, stage: &str, refusal: &str) {
    let yaml = format!("callouts: [{{ name: alone, {callout}, stages: {stage} }}]\n");
    let gatepost = Gatepost::start(&[("main", &[postfix.address()])], &yaml);
    let heard = refused(gatepost.listener()).unwrap_or_default();
    // Of a policy server it says first what is refused, as behind Postfix.
    let (code, words) = refusal.split_at("554 5.7.1 ".len());
    let said = heard.starts_with(code) && heard.ends_with(words);
    assert!(said, "{callout} at {stage}: {heard:?}\n{}", gatepost.output());
    let labels = ["callout=\"alone\"", &format!("stage=\"{stage}\"")];
    assert_eq!(gatepost.metric("gatepost_callout_questions_total", &labels), 1.0, "{callout} at {stage}");
}

/// What a client is refused with.
fn refused(gate: SocketAddr) -> Option<String> {
    let mut client = Raw::open(gate);
    let message = format!("{}.", messages::plain());
    let said = [
        "EHLO client.example",
        "NOOP",
        "MAIL FROM:<sender@client.example>",
        "RCPT TO:<ann@a.example>",
        "DATA",
        &message,
    ];
    let mut heard = client.reply();
    for command in said {
        if heard.starts_with(['4', '5']) {
            break;
        }
        client.say(format!("{command}\r\n"));
        heard = client.reply();
    }
    heard.starts_with(['4', '5']).then_some(heard)
}
