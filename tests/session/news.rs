//! What a host is told of itself, for or against it: its pool ejects it by that.
//!
//! In:    a dialog; what the session told each host while it went.
//! Out:   all the news there were, and no others.
//! Never: opens a socket.

use gatepost::session::client::TlsFaultKind;
use gatepost::session::io::{HopId, Input, Peer};

use crate::script::play::Play;
use crate::script::{Pure, handshake};

/// The news of a play, in order: `a Serves, b NotConnected`.
fn news(play: &Play, then: impl FnOnce(&mut Pure)) -> String {
    play.world.news.listen();
    then(&mut play.run());
    let told: Vec<_> = play.world.news.told().iter().map(|(name, news)| format!("{name} {news:?}")).collect();
    told.join(", ")
}

/// Each dialog, and what its hosts are told.
#[test]
fn hosts_are_told_what_counts() {
    for (name, expected) in [
        // No connection.
        ("failover-connection-refused", "a NotConnected"),
        ("failover-connect-hangs", "a ConnectTimedOut"),
        ("failover-none-reached", "a NotConnected, b NotConnected"),
        // No greeting; one with 4xx or 5xx counts, and one with 3xx is none.
        ("failover-no-greeting", "a NoGreeting"),
        ("failover-greeting-421", "a Refused"),
        ("failover-greeting-554", "a Refused"),
        ("malformed-3xx-greeting", ""),
        // The first answer to a command of the client's, and no later one; a 421 is none.
        ("connect-reply-substitute", ""),
        ("d9-several-commands-in-one-packet", "a Serves"),
        ("failover-dies-after-ehlo", "b Serves"),
        ("failover-421-to-mail", "a Serves, b Serves"),
        ("hop-says-521", "a Serves"),
        // Another dialog, another first answer.
        ("unasked-421-while-idle", "a Serves, a Serves"),
        ("failover-dies-after-mail", "a Serves, b Serves"),
        // TLS that must be and is not; what was said before it is no service.
        ("hop-tls-required", "a Serves"),
        ("hop-tls-required-not-offered", "a NotSecured"),
        ("hop-tls-required-handshake-fails", "a NotSecured, b NotConnected"),
        ("hop-tls-required-takes-too-long", "a NotSecured"),
        ("hop-tls-required-closes", "a NoService"),
        ("hop-tls-implicit-fails", "a NotSecured, b NotSecured"),
        ("hop-tls-failover", "a Serves, b Serves"),
        // A host that was told who the client is has said a word to it, or hung up on it.
        ("identity-told-first-421", ""),
        ("identity-told-first-greeting-refused", ""),
        ("identity-told-first-hello-refused", ""),
        ("identity-told-first-starttls-refused", ""),
        ("identity-told-first-hangs-up", ""),
        ("identity-xclient-hangs-up", ""),
        ("identity-xclient-client-refused", ""),
        ("identity-untold-greeting-refused", "a Refused"),
        // TLS that may be done without.
        ("hop-tls-opportunistic-falls-back", "a Serves"),
        ("hop-tls-opportunistic-falls-back-in-vain", "a NotConnected"),
        ("hop-tls-opportunistic-client-under-tls", ""),
        // TLS that was there not long ago; no failure, but worth counting.
        ("hop-tls-stripped-client-under-tls", "a Serves, a TlsWithdrawn { plain: false }"),
        ("hop-tls-stripped-login-told", "a TlsWithdrawn { plain: false }"),
        (
            "hop-tls-stripped-plain-client",
            "a TlsWithdrawn { plain: true }, a Serves, a TlsWithdrawn { plain: false }",
        ),
        ("hop-tls-stripped-loopback", "127.0.0.1 TlsWithdrawn { plain: true }, 127.0.0.1 Serves"),
        ("hop-tls-opportunistic-not-offered", "a Serves"),
        // Octets that pass through: the first of the hop's say that it serves, whatever they are.
        ("passthrough", "a Serves, a Serves"),
        ("passthrough-implicit", "a Serves"),
        ("passthrough-hop-lost", "a Serves"),
    ] {
        assert_eq!(news(&Play::named(name), |_| {}), expected, "{name}");
    }
}

/// A host that says 421 to a client who has not said a word has no service; said later, it is patience that ended.
#[test]
fn a_421_before_the_first_command_counts() {
    let greeted = "        S: 220 a.example.net\nS: 220 a.example.net\n";
    let closed = "        S: 421 4.3.2 Closing\n        <closed>\n";
    let other = "        S: 250 2.0.0 What\n        <closed>\n";
    let asked = "C: NOOP\n        C: NOOP\n        S: 250 2.0.0 Ok\nS: 250 2.0.0 Ok\n";
    let helo = "C: HELO x.example\n        C: HELO x.example\n        S: 250 Hi\nS: 250 Hi\n";
    for (dialog, expected) in [
        (format!("{greeted}{closed}"), "a NoService"),
        (format!("{greeted}{other}"), ""),
        (format!("{greeted}{helo}{closed}"), "a Serves"),
        (format!("{greeted}{asked}{closed}"), "a Serves"),
    ] {
        assert_eq!(news(&Play::written("", &dialog), |_| {}), expected, "{dialog}");
    }
}

/// A 421 is no service, to whatever it is said: the next host takes the command, and is the first to serve.
#[test]
fn a_421_to_the_first_command_is_no_service() {
    for code in [421, 521] {
        let dialog = format!(
            "        [a] S: 220 a.example.net
S: 220 a.example.net
C: HELO client.example.org
        [a] C: HELO client.example.org
        [a] S: {code} 4.3.2 Closing
        [a] <closed>
        [b] S: 220 b.example.net
        [b] C: HELO client.example.org
        [b] S: 250 b.example.net
S: 250 b.example.net
"
        );
        let play = Play::written("upstreams: { main: { hosts: [a, b] } }", &dialog);
        assert_eq!(news(&play, |_| {}), "b Serves", "{code}");
    }
}

/// A connection that breaks in the midst of a handshake, or is too late for its own time, counts once.
#[test]
fn what_breaks_counts_once() {
    let a = HopId::numbered(1).unwrap();
    let lost = |pure: &mut Pure| pure.happens(Input::Lost(Peer::Upstream(a)));
    let twice = |pure: &mut Pure| {
        pure.happens(Input::OpenFailed(a));
        pure.happens(Input::OpenFailed(a));
    };
    let implicit = "upstreams: { main: { hosts: [a], tls: { mode: implicit } } }";
    let securing = Play::written(implicit, "        <opened>\n");
    assert_eq!(news(&securing, lost), "a NotSecured");
    let fault = handshake::failed(TlsFaultKind::Lost);
    let both = |pure: &mut Pure| {
        pure.happens(Input::TlsFailed(Peer::Upstream(a), Box::new(fault)));
        lost(pure);
    };
    assert_eq!(news(&Play::written(implicit, "        <opened>\n"), both), "a NotSecured");
    let dialling = Play::written("", "        <silent>\n");
    assert_eq!(news(&dialling, twice), "a NotConnected");
    let greeting = Play::written("", "        <opened>\n");
    assert_eq!(news(&greeting, lost), "a NoGreeting");
}

/// The time of a ladder is the client's patience, not the host's fault.
#[test]
fn a_ladders_time_is_not_held_against_a_host() {
    let yaml = "\
timeouts: { attempts: 20s, connect: 60s, reply: 60s }
upstreams: { main: { hosts: [a] }, legacy: { hosts: [b] } }
rules: [ { name: ladder, stages: rcpt-reply, match: { code: 5xx }, do: { retry: [ { upstream: legacy } ] } } ]
";
    let dialog = "\
include opened
C: MAIL FROM:<smith@example.org>
        [a] C: MAIL FROM:<smith@example.org>
        [a] S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<jones@example.com>
        [a] C: RCPT TO:<jones@example.com>
        [a] S: 550 5.1.1 Unknown
        [b] <silent>
+ 20s
S: 451 4.4.1 Recipient cannot be tried now [id]
";
    assert_eq!(news(&Play::written(yaml, dialog), |_| {}), "a Serves");
}
