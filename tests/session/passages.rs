//! TLS between client and hop that passes through: what is known of it in the end, and what ends it.
//!
//! In:    dialogs in which octets pass, and what happens to a passage besides.
//! Out:   its one record; a passage that is over, or is not.
//! Never: looks into the octets.

use std::time::Duration;

use gatepost::session::io::{Event, HopId, Input, Peer};

use crate::script::play::Play;
use crate::script::{Driver, Pure, parse::Party};

const PASSTHROUGH: &str =
    "listeners: [ { address: 127.0.0.1:0, upstream: main, tls: { mode: passthrough } } ]";

/// One in which the client has said this much.
fn passing(octets: &str) -> Pure {
    let said = format!("C= \"{octets}\"\n        C= \"{octets}\"\n");
    Play::written(PASSTHROUGH, &format!("include passthrough-begun\n{said}")).run()
}

/// The record of each: whom the client asked for, its octets and the hop's, how long, and why it ended.
#[test]
fn what_is_known_of_it() {
    for (name, expected) in [
        ("passthrough", "- at a: 3016 and 33 octets in 0s, passed"),
        ("passthrough-implicit", "mx.test.net at a: 83 and 3 octets in 0s, passed"),
        ("passthrough-silence", "- at a: 1 and 1 octets in 780s, idle"),
        ("passthrough-hop-lost", "- at a: 1 and 0 octets in 0s, hop_lost"),
        ("passthrough-octets-behind-the-220", "- at a: 0 and 0 octets in 0s, protocol"),
    ] {
        assert_eq!(record(&Play::named(name).run()), expected, "{name}");
    }
}

fn record(pure: &Pure) -> String {
    assert_eq!(pure.passed.len(), 1, "one record for one passage");
    let record = &pure.passed[0];
    let name = record.server_name.as_deref().unwrap_or("-");
    let (octets_in, octets_out, took) = (record.octets_in, record.octets_out, record.took.as_secs());
    let end = record.end.as_str();
    assert_eq!(record.client.to_string(), "192.0.2.1:40000");
    format!("{name} at {}: {octets_in} and {octets_out} octets in {took}s, {end}", record.hop)
}

/// The client's end and the end of the grace end it; both connections are closed.
#[test]
fn what_ends_it() {
    let a = HopId::numbered(1).unwrap();
    for (input, end) in [
        (Input::Lost(Peer::Downstream), "client_gone"),
        (Input::Lost(Peer::Upstream(a)), "hop_lost"),
        (Input::Stop, "shutdown"),
    ] {
        let mut pure = passing("abc");
        assert!(!pure.session().is_over() && pure.session().host(a).is_some());
        pure.happens(input);
        assert!(pure.session().is_over() && pure.session().host(a).is_none());
        assert_eq!(record(&pure), format!("- at a: 3 and 0 octets in 0s, {end}"));
        assert_eq!(pure.aborted, [Party::Host("a".into())], "what waits for the client is sent to it");
        assert!(pure.closed(&Party::Client, true));
        assert!(
            ![Peer::Downstream, Peer::Upstream(a)].into_iter().any(|peer| pure.session().wants_read(peer))
        );
        // It is over once.
        pure.happens(Input::Stop);
        assert_eq!(pure.passed.len(), 1);
    }
}

/// A shutdown has the grace; a deadline that has not come, and whatever is said of a dialog before, is nothing to it.
#[test]
fn what_does_not_end_it() {
    let other = HopId::numbered(2).unwrap();
    for input in [
        Input::Shutdown,
        Input::Deadline { stalled: false },
        Input::Lost(Peer::Upstream(other)),
        Input::Eof(Peer::Upstream(other)),
        Input::Opened(other),
    ] {
        let said = format!("{input:?}");
        let mut pure = passing("abc");
        pure.happens(input);
        assert!(!pure.session().is_over() && pure.passed.is_empty(), "{said}");
        assert!(
            !pure.finished(&Party::Client) && !pure.session().wants_read(Peer::Upstream(other)),
            "{said}"
        );
        pure.feed(&Party::Host("a".into()), b"def");
        assert_eq!(pure.heard(&Party::Client, &|_| true), b"def", "{said}");
    }
}

/// Octets of a dialog before are taken, and go nowhere; each side's pass, and are counted as its own.
#[test]
fn whose_octets_pass() {
    let mut pure = passing("abc");
    let other = Peer::Upstream(HopId::numbered(2).unwrap());
    assert_eq!(pure.receives(other, b"250 late"), 8);
    assert!(pure.heard(&Party::Client, &|_| true).is_empty());
    pure.pass(Duration::from_secs(1));
    pure.feed(&Party::Host("a".into()), b"de");
    pure.feed(&Party::Host("a".into()), b"fgh");
    let passed: Vec<_> = pure
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Passed(peer, octets) => Some((*peer == Peer::Downstream, *octets)),
            _ => None,
        })
        .collect();
    assert_eq!(passed, [(true, 3), (false, 2), (false, 3)]);
    pure.happens(Input::Lost(Peer::Downstream));
    assert_eq!(record(&pure), "- at a: 3 and 5 octets in 1s, client_gone");
}

/// A client whose ClientHello waited for the hop has more to say: the hop does not hear a FIN behind it.
#[test]
fn a_client_hello_that_waited_is_not_the_last_of_it() {
    let script = include_str!("../dialogs/passthrough-implicit.txt");
    let hello = script.lines().find(|line| line.starts_with("C= ")).unwrap();
    let yaml =
        "listeners: [ { address: 127.0.0.1:0, upstream: main, tls: { mode: passthrough, implicit: true } } ]";
    let mut pure = Play::written(yaml, &format!("{hello}\n        {hello}\n")).run();
    assert!(!pure.finished(&Party::Host("a".into())));
}
