//! Dovecot's LMTP behind gatepost: SMTP clients deliver into a store that speaks no SMTP.
//!
//! In:    swaks and smtplib, which know nothing of LMTP.
//! Out:   the trials: every message is stored as it was sent; of several recipients in a transaction the first that is
//!        accepted is served, the others are put off, and arrive when the client sends them by themselves.
//! Never: takes a mock for the store.
//!
//! RFC 2033; RFC 9422 4.2 (LIMITS RCPTMAX).

use std::net::SocketAddr;
use std::process::Command;

use libtest_mimic::Trial;

use crate::messages;
use crate::support::clients::{smtplib, swaks};
use crate::support::dovecot::Dovecot;
use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::peers::{Peer, trial};
use crate::support::raw::Raw;
use crate::support::scratch::{Scratch, free_port};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("lmtp::messages_are_stored_as_they_were_sent", [Peer::Dovecot, Peer::Python], as_sent),
        trial("lmtp::one_recipient_in_a_transaction", [Peer::Dovecot, Peer::Swaks], one_recipient),
    ]
}

/// gatepost before that store.
fn before(store: &Dovecot) -> Gatepost {
    let [listener, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let scratch = Scratch::new("lmtp");
    let config = format!(
        "hostname: gate.example\nlisteners:\n  - {{ address: {listener}, upstream: store }}\n\
         upstreams:\n  store: {{ hosts: [\"unix:{}\"], protocol: lmtp }}\nadmin: {{ address: {admin} }}\n",
        store.socket().display()
    );
    let path = scratch.write("proxy.yaml", config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.arg("run").arg("--config").arg(path);
    Gatepost::start_with(scratch, command, listener, admin)
}

/// The bodies stored for a mailbox.
fn bodies(store: &Dovecot, mailbox: &str) -> Vec<Vec<u8>> {
    let of = |stored: &Stored| (stored.mailbox == mailbox).then(|| stored.body().to_vec());
    store.stored().iter().filter_map(of).collect()
}

/// The body as Dovecot's Maildir has it.
fn body(message: &str) -> Vec<u8> {
    message.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "\n").into_bytes()
}

fn as_sent() {
    let store = Dovecot::start(&["jones"]);
    let gate = before(&store);
    let sent = [messages::plain(), messages::dots(), messages::long_line(), messages::large(2 << 20)];
    let scratch = Scratch::new("sent");
    let files: Vec<_> =
        sent.iter().enumerate().map(|(at, message)| scratch.write(&format!("m{at}"), message)).collect();
    let paths: Vec<&std::path::Path> = files.iter().map(std::path::PathBuf::as_path).collect();
    let lines =
        "for n in range(1, len(sys.argv)): s.sendmail('a@client.example', ['jones@store.example'], read(n))";
    let outcome = smtplib(&scratch, gate.listener(), lines, &paths);
    assert!(outcome.contains("exit status: 0"), "{outcome}");
    let mut expected: Vec<Vec<u8>> = sent.iter().map(|message| body(message)).collect();
    let mut stored = bodies(&store, "jones");
    expected.sort();
    stored.sort();
    assert!(stored == expected, "{} of {} bodies", stored.len(), expected.len());
    assert_eq!(gate.metric("gatepost_messages_total", &["outcome=\"accepted\""]), 4.0);
}

fn one_recipient() {
    let store = Dovecot::start(&["jones", "green"]);
    let gate = before(&store);
    let mut raw = Raw::connect(gate.listener());
    assert!(raw.ask("EHLO client.example", 250).contains("LIMITS RCPTMAX=1"));
    raw.quit();
    let scratch = Scratch::new("one");
    let message = messages::plain();
    let file = scratch.write("message", &message);
    let to = ["nobody@store.example", "jones@store.example", "green@store.example"];
    swaks(&scratch, gate.listener(), "a@client.example", &to, &file, &[]);
    let jones = bodies(&store, "jones");
    // (swaks ends a message with a line of its own.)
    assert!(jones.len() == 1 && jones[0].starts_with(&body(&message)) && bodies(&store, "green").is_empty());
    // Nobody is unknown there, green was put off: sent again it arrives, and jones has nothing twice.
    assert_eq!(gate.metric("gatepost_recipients_total", &["outcome=\"refused\""]), 1.0);
    assert_eq!(gate.metric("gatepost_recipients_total", &["outcome=\"accepted\""]), 1.0);
    swaks(&scratch, gate.listener(), "a@client.example", &to[2..], &file, &[]);
    assert_eq!((bodies(&store, "jones").len(), bodies(&store, "green").len()), (1, 1));
}
