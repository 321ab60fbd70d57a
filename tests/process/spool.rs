//! Messages that are kept while rules are asked about them.
//!
//! In:    messages of every size, by DATA and BDAT, before the embedded sink; a folder to spool into, or none.
//! Out:   what is stored: octet for octet what was sent, but for what a rule put in; or 452, and nothing lost.
//! Never: finds a file of the spool, before or behind a message.

use rustix::process::Signal;

use super::gate::{Gate, SINK};
use super::hop::Hop;
use crate::raw::Raw;
use crate::scratch::{PATIENCE, wait_for};

const RULES: &str = "rules:\n  - { name: seen, stages: message, do: { add_header: \"X-Seen: yes\" } }\n";

fn begun(gate: &Gate) -> Raw {
    let mut client = Raw::connect(gate.listener);
    client.ask("EHLO client.example", 250);
    client
}

fn envelope(client: &mut Raw) {
    client.ask("MAIL FROM:<smith@client.example>", 250);
    client.ask("RCPT TO:<jones@hop.example>", 250);
}

/// The only message that the sink has, which it has no more.
fn stored(gate: &Gate) -> Vec<u8> {
    let folder = gate.scratch().path().join("mail/new");
    let file = wait_for("the message", PATIENCE, || std::fs::read_dir(&folder).ok()?.next()?.ok());
    let octets = std::fs::read(file.path()).unwrap();
    std::fs::remove_file(file.path()).unwrap();
    octets
}

fn message(size: usize) -> Vec<u8> {
    let mut octets = b"Subject: kept\r\n folded\r\nX-Odd:  a\r\n\r\n".to_vec();
    let mut line = 0;
    while octets.len() < size {
        octets.extend_from_slice(format!("{line:>60} of the text\r\n.{line}\r\n").as_bytes());
        line += 1;
    }
    octets
}

fn stuffed(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out
}

#[test]
fn whatever_its_size_it_arrives_as_it_was_sent() {
    let more = format!("{RULES}content: {{ memory: 64KiB, spool: ./spool }}\n");
    let gate = Gate::start(SINK, &more);
    let spool = gate.scratch().make_dir("spool");
    let mut client = begun(&gate);
    for size in [0, 60_000, 70_000, 200_000, 10_000_000] {
        let sent = message(size);
        let expected = [b"X-Seen: yes\r\n", &sent[..]].concat();
        envelope(&mut client);
        client.ask("DATA", 354);
        client.say(stuffed(&sent));
        client.ask(".", 250);
        assert!(stored(&gate) == expected, "{size} by DATA");
        envelope(&mut client);
        let (one, other) = sent.split_at(sent.len() / 3);
        client.say(format!("BDAT {}\r\n", one.len()));
        client.say(one);
        client.hear(250);
        client.say(format!("BDAT {} LAST\r\n", other.len()));
        client.say(other);
        client.hear(250);
        assert!(stored(&gate) == expected, "{size} by BDAT");
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "a file has a name");
    }
    assert_eq!(gate.metric("gatepost_verdicts_total", &["verdict=\"edit\""]), 10.0);
    client.quit();
}

/// The file of a message may not become larger, from its first write on, from its second, until there is room for all of
/// it: the client hears 452, the session goes on, and other sessions do.
#[test]
fn a_write_that_fails_costs_one_message_whichever_it_is() {
    let (hop, sent) = (Hop::start("hop.example"), message(600_000));
    let gate =
        Gate::start(&hop.upstream(), &format!("{RULES}content: {{ memory: 16KiB, spool: ./spool }}\n"));
    let spool = gate.scratch().make_dir("spool");
    let mut other = gate.client();
    let mut client = begun(&gate);
    let (mut refused, mut limit) = (0_u32, 40_000);
    loop {
        gate.limit_files(limit);
        envelope(&mut client);
        client.ask("DATA", 354);
        client.say(stuffed(&sent));
        client.say(".\r\n");
        let heard = client.reply();
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "a file has a name");
        other.ask("NOOP", 250);
        if heard.starts_with("250") {
            break;
        }
        assert!(heard.starts_with("452 4.3.1 "), "{heard}");
        (refused, limit) = (refused + 1, limit + 30_000);
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(hop.contents(), 1);
    assert_eq!(gate.metric("gatepost_spool_failures_total", &[]), f64::from(refused));
    let why = "File too large";
    wait_for("a line that says why", PATIENCE, || gate.output().contains(why).then_some(()));
    client.quit();
    other.quit();
}

/// Whenever it is killed, nothing is left behind.
#[test]
fn killed_in_the_middle_it_leaves_no_file() {
    for pieces in [1, 5, 20] {
        let mut gate = Gate::start(SINK, &format!("{RULES}content: {{ memory: 16KiB, spool: ./spool }}\n"));
        let spool = gate.scratch().make_dir("spool");
        let mut client = begun(&gate);
        envelope(&mut client);
        client.ask("DATA", 354);
        for _ in 0..pieces {
            client.say(stuffed(&message(50_000)));
        }
        gate.signal(Signal::KILL);
        gate.status();
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "{pieces} pieces");
    }
}

#[test]
fn without_room_it_is_refused_for_now_and_the_dialog_goes_on() {
    let more = format!("{RULES}content: {{ memory: 64KiB, spool: ./none }}\n");
    let gate = Gate::start(SINK, &more);
    let mut client = begun(&gate);
    envelope(&mut client);
    client.ask("DATA", 354);
    client.say(stuffed(&message(200_000)));
    let heard = client.ask(".", 452);
    assert!(heard.contains("4.3.1"), "{heard}");
    // What fits into memory needs no folder.
    let sent = message(1000);
    envelope(&mut client);
    client.ask("DATA", 354);
    client.say(stuffed(&sent));
    client.ask(".", 250);
    assert_eq!(stored(&gate), [b"X-Seen: yes\r\n", &sent[..]].concat());
    assert_eq!(gate.metric("gatepost_spool_failures_total", &[]), 1.0);
    wait_for("a line that says why", PATIENCE, || gate.output().contains("spool: ").then_some(()));
    client.quit();
}
