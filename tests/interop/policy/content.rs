//! A field put before a message changes nothing else of it, however the message comes.
//!
//! In:    messages by DATA, by one BDAT, and by several that cut it where it hurts.
//! Out:   trials: what Postfix stores of each, with fields and without, asked by Postfix and by gatepost before it.
//! Never: compares more loosely than octet for octet, but for the trace and the field.
//!
//! RFC 5321 4.5.2, RFC 3030.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::{FROM, Stand, dialog, send, with_subject, without_trace};
use crate::messages;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::policy::PolicyServer;
use crate::support::postfix::Spec;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("policy::prepend_by_data_and_bdat", [Peer::Postfix], by_data_and_bdat),
        trial("policy::prepend_in_every_state", [Peer::Postfix], in_every_state),
    ]
}

const RCPT: &str = "RCPT TO:<ann@a.example>\r\n";
const FIELD: &str = "X-Policy: said at RCPT of ann@a.example\n";

/// How a message is sent: by DATA, or by BDAT in chunks of so many octets, and the rest: within the first name, and on both
/// sides of a line feed.
const WAYS: [Option<&[usize]>; 4] = [None, Some(&[]), Some(&[3, 41]), Some(&[38, 1, 1])];

fn by_data_and_bdat() {
    let server = PolicyServer::start();
    let stand = Stand::in_every_state(&server, "", "", Spec::receiving("a.example"));
    let sent = [messages::plain(), messages::dots(), messages::eight_bit(), messages::large(300_000)];
    // By message: what was stored, once for each way, door and action.
    let mut all: BTreeMap<usize, Vec<(bool, String)>> = BTreeMap::new();
    for (number, message) in sent.iter().enumerate() {
        for (way, has_field) in WAYS.into_iter().flat_map(|way| [(way, true), (way, false)]) {
            let action = format!("PREPEND {}", FIELD.trim_end().replace("ann@a.example", "{recipient}"));
            server.says("RCPT", if has_field { &action } else { "DUNNO" });
            for door in stand.doors() {
                assert_eq!(deliver(door, message, way).last().unwrap(), "221", "{way:?} {number}");
                stand.postfix.settle(0);
                let stored = stand.postfix.take_stored();
                assert_eq!(stored.len(), 1);
                all.entry(number).or_default().push((has_field, without_trace(&stored[0])));
            }
        }
    }
    for stored in all.values() {
        let plain = &stored.iter().find(|(has_field, _)| !has_field).unwrap().1;
        let (trace, rest) = plain.split_once("From: ").unwrap();
        for (has_field, text) in stored {
            let expected = if *has_field { format!("{trace}{FIELD}From: {rest}") } else { plain.clone() };
            assert_eq!(*text, expected);
        }
    }
}

fn deliver(door: SocketAddr, message: &str, way: Option<&[usize]>) -> Vec<String> {
    let mut said = vec![FROM.to_owned(), RCPT.to_owned()];
    let mut rest = message;
    for &cut in way.unwrap_or_default() {
        let (chunk, behind) = rest.split_at(cut);
        said.push(format!("BDAT {cut}\r\n{chunk}"));
        rest = behind;
    }
    match way {
        None => said.extend(["DATA\r\n".to_owned(), rest.replace("\r\n.", "\r\n..") + ".\r\n"]),
        Some(_) => said.push(format!("BDAT {} LAST\r\n{rest}", rest.len())),
    }
    let heard = dialog(door, &said.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(heard.iter().filter(|reply| reply.len() > 3).count(), 0, "{heard:?}");
    heard
}

/// Fields stand in the order in which they were said, from MAIL on.
fn in_every_state() {
    let server = PolicyServer::start();
    let stand = Stand::in_every_state(&server, "", "", Spec::receiving("a.example"));
    server.says("*", "PREPEND X-Policy: {protocol_state} <{recipient}>");
    for (door, subject) in stand.doors().into_iter().zip(["direct", "through"]) {
        send(door, &["ann", "bob"], &messages::message(subject, "Hello\r\n"));
    }
    stand.postfix.settle(0);
    let stored: Vec<_> = stand.postfix.take_stored().iter().map(without_trace).collect();
    let through = with_subject(&stored, "through");
    assert_eq!(with_subject(&stored, "direct"), through);
    let fields = through[0].lines().filter_map(|line| line.strip_prefix("X-Policy: "));
    assert_eq!(
        fields.collect::<Vec<_>>(),
        ["MAIL <>", "RCPT <ann@a.example>", "RCPT <bob@a.example>", "DATA <>"]
    );
}
