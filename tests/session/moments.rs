//! What a shell asks a session, and what it tells it beside octets, at moments of a dialog.
//!
//! In:    dialogs that stop in their midst.
//! Out:   what the session answers there: whom to read, whether a reply may be put in, whether it may be ended.
//! Never: goes by what the session was told, only by what it answers.

use std::rc::Rc;
use std::time::Duration;

use gatepost::session::client::{ClientName, TlsFaultKind};
use gatepost::session::io::{Event, HopId, Input, Peer};
use gatepost::session::route::NotFound;
use gatepost::smtp::SessionId;

use crate::script::parse::Party;
use crate::script::play::Play;
use crate::script::{Driver, Pure, handshake};

const TLS: &str =
    "listeners: [ { address: 127.0.0.1:0, tls: { mode: starttls, certificate: cert.pem, key: key.pem } } ]";
const PASSTHROUGH: &str =
    "listeners: [ { address: 127.0.0.1:0, upstream: main, tls: { mode: passthrough } } ]";
const IMPLICIT: &str =
    "listeners: [ { address: 127.0.0.1:0, upstream: main, tls: { mode: passthrough, implicit: true } } ]";
const SENT: &str = "include content\nC: text\nC: .\n        C: text\n        C: .\n";
const STARTTLS: &str = "include tls-offered\nC: STARTTLS\nS: 220 2.0.0 Ready to start TLS\n";
const QUIT: &str = "\
include opened
C: QUIT
        C: QUIT
        S: 221 2.0.0 Bye
S: 221 2.0.0 Bye
<closed>
";
const REFUSED: &str = "        S: 450 4.3.2 no\nS: 450 4.3.2 no\n";

fn hop() -> HopId {
    HopId::numbered(1).unwrap()
}

fn host() -> Party {
    Party::Host(Rc::from("a"))
}

/// Whether a reply of gatepost's may be put in, whether a message's fate is not known yet, and who is read.
#[test]
fn what_it_answers_when() {
    for (yaml, dialog, put_in, must_finish, reads_client, reads_hop) in [
        ("", "        <opened>\n", true, false, true, true),
        ("", "include opened\n", true, false, true, true),
        ("", "include mailed\n", true, false, true, true),
        // In the midst of content, and between its chunks, a reply would be an answer to it.
        ("", "include content\n", false, false, true, true),
        ("", "include mailed\nC= \"BDAT 4\\r\\nab\"\n        <anything>\n", false, false, true, true),
        // The end-of-data has left: its fate is the hop's to tell (RFC 1047).
        ("", SENT, true, true, true, true),
        // In the midst of a handshake nobody can say a thing in plain.
        (TLS, STARTTLS, false, false, false, true),
        (IMPLICIT, "", false, false, true, false),
        (PASSTHROUGH, "include passthrough-begun\n", false, false, true, true),
        // Its last reply was heard; or it was a refusal, and only QUIT is served.
        ("", QUIT, false, false, false, false),
        ("", REFUSED, false, false, true, false),
    ] {
        let pure = Play::written(yaml, dialog).run();
        let session = pure.session();
        let shown = dialog.lines().last().unwrap_or_default();
        assert_eq!(session.is_between_replies(), put_in, "a reply after {shown}");
        assert_eq!(session.must_finish(), must_finish, "the end after {shown}");
        assert_eq!(session.wants_read(Peer::Downstream), reads_client, "the client after {shown}");
        assert_eq!(session.wants_read(Peer::Upstream(hop())), reads_hop, "the hop after {shown}");
        assert_eq!(session.host(hop()).is_some(), reads_hop, "its host after {shown}");
        assert_eq!(session.id(), SessionId(1));
    }
}

/// In the midst of a handshake nobody listens to what a hop says in plain: the handshake is to judge that.
#[test]
fn a_hop_is_not_read_in_plain_once_tls_is_due() {
    let of = |mode| format!("upstreams: {{ main: {{ hosts: [a], tls: {{ mode: {mode} }} }} }}");
    let hello =
        "        S: 220 a.example.net\n        C: EHLO gate.example.org\n        S: 250-a.example.net\n";
    let starttls = format!("{hello}        S: 250 STARTTLS\n        C: STARTTLS\n        S: 220 go\n");
    let greeted = "        <starttls>\nS: 220 gate.example.org ESMTP gatepost\n";
    for (mode, dialog, secured) in
        [("implicit", "        <opened>\n", "        <starttls>\n"), ("required", &*starttls, greeted)]
    {
        for (end, reads) in [("", false), (secured, true)] {
            let pure = Play::written(&of(mode), &format!("{dialog}{end}")).run();
            assert!(pure.session().host(hop()).is_some(), "{mode}");
            assert_eq!(pure.session().wants_read(Peer::Upstream(hop())), reads, "{mode}{end}");
        }
    }
}

/// What was configured holds in dialogs and for what passes through alike.
#[test]
fn what_it_runs_under() {
    for dialog in ["include passthrough-shown\n", "include passthrough-begun\n"] {
        let yaml = format!("{PASSTHROUGH}\ntimeouts: {{ connect: 7s }}");
        let pure = Play::written(&yaml, dialog).run();
        assert_eq!(pure.session().connect_timeout(), Duration::from_secs(7));
    }
}

/// A dialog that takes another's place has another id, and the old one names nobody.
#[test]
fn no_id_is_given_twice() {
    let pure = Play::named("unasked-421-while-idle").run();
    assert!(pure.session().host(hop()).is_none());
    let open: Vec<u32> =
        (1..=8).filter(|&number| pure.session().host(HopId::numbered(number).unwrap()).is_some()).collect();
    assert_eq!(open, [2]);
}

/// What the client hears when the hop has answered a message that a NOOP stands behind.
fn behind_a_message(stop: impl IntoIterator<Item = Input>) -> String {
    let dialog = "\
include content
C: text
C: .
C: NOOP
        C: text
        C: .
        C: NOOP
";
    let mut pure = Play::written("", dialog).run();
    stop.into_iter().for_each(|input| pure.happens(input));
    assert!(!pure.session().is_over(), "a message whose end-of-data has left is waited for");
    pure.feed(&host(), b"250 2.0.0 Queued\r\n");
    let heard = String::from_utf8(std::mem::take(pure.heard(&Party::Client, &|_| true))).unwrap();
    assert_eq!(pure.closed(&Party::Client, true), heard.contains("421 "));
    heard.lines().map(|line| line.chars().take(3).collect()).collect::<Vec<String>>().join(" ")
}

/// A stop waits for the message alone; a shutdown for all that is under way. Behind a stop a shutdown is nothing new.
#[test]
fn a_stop_stays_one() {
    assert_eq!(behind_a_message([]), "250");
    assert_eq!(behind_a_message([Input::Shutdown]), "250");
    assert_eq!(behind_a_message([Input::Shutdown, Input::Stop]), "250 421");
    assert_eq!(behind_a_message([Input::Stop]), "250 421");
    assert_eq!(behind_a_message([Input::Stop, Input::Shutdown]), "250 421");
}

/// In the midst of a handshake the client's connection is closed at once: nothing can be said there. Else what was said
/// is sent before.
#[test]
fn how_the_client_is_closed() {
    for (yaml, dialog, at_once) in [(TLS, STARTTLS, true), ("", "include opened\n", false), ("", SENT, false)]
    {
        let mut pure = Play::written(yaml, dialog).run();
        if dialog == SENT {
            pure.feed(&host(), b"250 2.0.0 Queued\r\n");
        }
        pure.happens(Input::Stop);
        assert!(pure.closed(&Party::Client, true));
        assert_eq!(pure.aborted.contains(&Party::Client), at_once);
    }
}

/// News of a handshake that nobody asked for are none.
#[test]
fn a_handshake_that_nobody_asked_for() {
    for peer in [Peer::Downstream, Peer::Upstream(hop())] {
        let mut pure = Play::written("", "include opened\n").run();
        pure.happens(Input::TlsFailed(peer, Box::new(handshake::failed(TlsFaultKind::Lost))));
        assert!(!pure.session().is_over() && pure.session().host(hop()).is_some());
        assert!(!pure.events.iter().any(|event| matches!(event, Event::NotSecured(..))));
    }
}

/// The client's name in DNS, which the shell finds while it connects, is told to the hop; a second one is none.
#[test]
fn the_client_has_a_name() {
    let yaml = "upstreams: { main: { hosts: [a], identity: xclient } }";
    for (names, told) in [
        (vec![], "NAME=[UNAVAILABLE]"),
        (vec![ClientName::None], "NAME=[UNAVAILABLE]"),
        (vec![ClientName::Unknown], "NAME=[TEMPUNAVAIL]"),
        (vec![ClientName::Is("one.example.org".into())], "NAME=one.example.org"),
        (
            vec![ClientName::Is("one.example.org".into()), ClientName::Is("two.example.org".into())],
            "NAME=one.example.org",
        ),
    ] {
        let mut pure: Pure = Play::written(yaml, "        <silent>\n").run();
        names.into_iter().for_each(|name| pure.happens(Input::Named(name)));
        pure.connect(&host(), true);
        pure.feed(&host(), b"220 a.example.net\r\n");
        pure.feed(&host(), b"250-a.example.net\r\n250 XCLIENT NAME ADDR\r\n");
        let heard = String::from_utf8(pure.heard(&host(), &|_| true).clone()).unwrap();
        let xclient = heard.lines().last().unwrap();
        assert_eq!(xclient.split(' ').nth(1), Some(told), "{xclient}");
    }
}

/// A domain that nobody had looked up: whoever is being tried is not concerned.
#[test]
fn a_lookup_that_nobody_asked_for() {
    let yaml = "rules: [ { name: ladder, stages: rcpt-reply, match: { code: 5xx }, do: { retry: [ { recipient: j@two.example } ] } } ]";
    let dialog = "\
include opened
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<j@one.example>
        C: RCPT TO:<j@one.example>
        S: 550 5.1.1 Unknown in one
        C: RCPT TO:<j@two.example> ORCPT=rfc822;j@one.example
";
    let mut pure = Play::written(yaml, dialog).run();
    pure.happens(Input::LookedUp(Err(NotFound::NoDomain)));
    assert!(pure.heard(&Party::Client, &|_| true).is_empty());
    pure.feed(&host(), b"250 2.1.5 Two ok\r\n");
    assert_eq!(pure.heard(&Party::Client, &|_| true), b"250 2.1.5 Two ok\r\n");
}
