//! SIGTERM: transactions in flight are finished, then it ends.
//!
//! In:    sessions that are idle, in a transaction, in content, or waiting for the hop's last reply.
//! Out:   what each hears, who is still let in, what `/readyz` says, the exit status.
//! Never: waits for a time to pass: another session's end tells that the grace is over.
//!
//! RFC 5321 3.8; a shutdown waits for a hop that has the end-of-data.

use std::net::{TcpListener, UdpSocket};
use std::thread;

use rustix::process::Signal;

use super::gate::{Gate, SINK, first_reply, wait_refused};
use super::hop::Hop;
use crate::raw::Raw;
use crate::scratch::{PATIENCE, wait_for};

const MAIL: &str = "MAIL FROM:<a@example.org>";
const RCPT: &str = "RCPT TO:<b@example.net>";
const CONTENT: &str = "Subject: late\r\n\r\nIn time.\r\n.\r\n";

/// The reply that ends a session, and its end.
fn ends(mut client: Raw, words: &str) {
    let reply = client.hear(421);
    assert!(reply.starts_with(words), "{reply}");
    assert_eq!(client.reply(), "", "nothing follows");
}

fn drain(gate: &Gate) {
    gate.signal(Signal::TERM);
    wait_for("/readyz to say so", PATIENCE, || {
        gate.http("/readyz").starts_with("HTTP/1.1 503").then_some(())
    });
}

#[test]
fn an_idle_session_is_told() {
    let mut gate = Gate::start(SINK, "");
    let (idle, silent) = (gate.client(), Raw::connect(gate.listener));
    gate.signal(Signal::TERM);
    ends(idle, "421 4.3.2");
    ends(silent, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn sigint_is_the_same() {
    let mut gate = Gate::start(SINK, "");
    let idle = gate.client();
    gate.signal(Signal::INT);
    ends(idle, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn a_transaction_is_finished() {
    let mut gate = Gate::start(SINK, "");
    let mut client = gate.client();
    client.ask(MAIL, 250);
    drain(&gate);
    wait_refused(gate.listener);
    assert!(gate.http("/healthz").starts_with("HTTP/1.1 200"), "it is alive all the same");
    client.ask(RCPT, 250);
    client.ask("DATA", 354);
    client.say(CONTENT);
    client.hear(250);
    ends(client, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
    assert_eq!(std::fs::read_dir(gate.scratch().path().join("mail/new")).unwrap().count(), 1);
}

#[test]
fn a_hop_that_has_the_end_of_data_is_waited_for() {
    let hop = Hop::holding();
    let mut gate = Gate::start(&hop.upstream(), "shutdown_grace: 300ms\n");
    let (mut waiting, mut open) = (gate.client(), gate.client());
    open.ask(MAIL, 250);
    for command in [MAIL, RCPT] {
        waiting.ask(command, 250);
    }
    waiting.ask("DATA", 354);
    waiting.say(CONTENT);
    hop.wait_contents(1);
    drain(&gate);
    // The grace is over when this one is ended.
    ends(open, "421 4.3.2");
    hop.answer();
    let reply = waiting.hear(250);
    assert!(reply.starts_with("250 2.0.0 Kept"), "{reply}");
    ends(waiting, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn content_that_does_not_end_is_not_completed() {
    let hop = Hop::start("hop.example");
    let mut gate = Gate::start(&hop.upstream(), "shutdown_grace: 300ms\n");
    let mut client = gate.client();
    for command in [MAIL, RCPT] {
        client.ask(command, 250);
    }
    client.ask("DATA", 354);
    client.say("Subject: half\r\n\r\nand no");
    drain(&gate);
    ends(client, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
    assert_eq!(hop.contents(), 0);
}

#[test]
fn a_message_whose_client_has_left_is_heard_out() {
    let hop = Hop::holding();
    let mut gate = Gate::start(&hop.upstream(), "shutdown_grace: 300ms\n");
    let (mut gone, mut open) = (gate.client(), gate.client());
    open.ask(MAIL, 250);
    gone.say(format!("{MAIL}\r\n{RCPT}\r\nDATA\r\n{CONTENT}"));
    hop.wait_contents(1);
    // With replies unread this is a reset; an end alone could be a client that still listens.
    drop(gone);
    drain(&gate);
    ends(open, "421 4.3.2");
    hop.answer();
    assert_eq!(gate.status(), Some(0));
    let output = gate.output();
    assert!(output.contains("outcome=\"delivered_unheard\""), "{output}");
}

#[test]
fn a_client_that_waits_for_a_silent_hop_is_told() {
    // It accepts, and greets nobody.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hosts = format!("{{ hosts: [\"{}\"] }}", silent.local_addr().unwrap());
    let mut gate = Gate::start(&hosts, "shutdown_grace: 300ms\n");
    thread::scope(|scope| {
        let client = scope.spawn(|| first_reply(gate.listener));
        let _dialog = silent.accept().unwrap();
        gate.signal(Signal::TERM);
        let reply = client.join().unwrap();
        assert!(reply.starts_with("421 4.3.2 "), "{reply:?}");
    });
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn it_is_heard_while_a_reload_waits_for_names() {
    // A name server that hears and never answers.
    let dumb = UdpSocket::bind("127.0.0.1:0").unwrap();
    dumb.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut gate = Gate::start(SINK, "");
    let idle = gate.client();
    let more = format!("dns: {{ servers: [\"{}\"] }}\n", dumb.local_addr().unwrap());
    gate.write(&[gate.listener], "{ hosts: [\"mx.example.net:25\"] }", &more);
    gate.signal(Signal::HUP);
    dumb.recv(&mut [0; 512]).unwrap();
    gate.signal(Signal::TERM);
    ends(idle, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn sighup_does_not_disturb_the_end() {
    let mut gate = Gate::start(SINK, "");
    let mut client = gate.client();
    client.ask(MAIL, 250);
    drain(&gate);
    gate.signal(Signal::HUP);
    client.ask(RCPT, 250);
    client.ask("RSET", 250);
    ends(client, "421 4.3.2");
    assert_eq!(gate.status(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let hop = Hop::holding();
    let mut gate = Gate::start(&hop.upstream(), "shutdown_grace: 1h\n");
    let mut client = gate.client();
    for command in [MAIL, RCPT] {
        client.ask(command, 250);
    }
    client.ask("DATA", 354);
    client.say(CONTENT);
    hop.wait_contents(1);
    drain(&gate);
    gate.signal(Signal::TERM);
    assert_eq!(gate.status(), Some(0));
    assert_eq!(client.reply(), "", "nobody is told that the hop took it");
}
