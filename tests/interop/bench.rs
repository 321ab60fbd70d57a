//! One client, once straight to Postfix and once through gatepost: nobody may notice the difference.
//!
//! In:    what Postfix is to be like, and what the client does at a given door.
//! Out:   the second run, after both were found equal: what the client heard and made of it, what Postfix stored.
//! Never: forgives more than `Heard` (queue ids, masked EHLO keywords) and `maildir` (queue ids and times in trace
//!        fields) say.

use std::net::SocketAddr;

use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::Scratch;
use crate::support::tap::{KEPT, Said, Tap};
use crate::support::transcript::Heard;

/// Where a client is to go, and what it may use.
pub struct Door<'a> {
    pub address: SocketAddr,
    pub scratch: &'a Scratch,
    pub postfix: &'a Postfix,
}

/// One run of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// What it heard, connection by connection.
    pub heard: Vec<Heard>,
    /// What it made of it, in its own words.
    pub outcome: String,
    /// What Postfix stored of it.
    pub stored: Vec<Stored>,
}

impl Run {
    /// The mailboxes that got mail, sorted.
    pub fn mailboxes(&self) -> Vec<&str> {
        self.stored.iter().map(|stored| stored.mailbox.as_str()).collect()
    }

    /// All reply lines of all connections.
    pub fn replies(&self) -> Vec<&str> {
        self.heard.iter().flat_map(|heard| heard.replies.iter().map(String::as_str)).collect()
    }
}

/// Runs `client` at Postfix and at gatepost before the same Postfix, and compares.
pub fn same_through_gatepost(spec: &Spec, client: impl Fn(&Door<'_>) -> String) -> Run {
    let postfix = Postfix::start(spec);
    let scratch = Scratch::new("bench");
    let (mut direct, _) = run(&postfix, &scratch, postfix.address(), 0, &client);
    let sessions = direct.heard.len();
    direct.heard = direct.heard.into_iter().map(Heard::masked).collect();

    if std::env::var("INTEROP_FRONT").is_ok_and(|front| front == "direct") {
        let (mut again, _) = run(&postfix, &scratch, postfix.address(), sessions, &client);
        again.heard = again.heard.into_iter().map(Heard::masked).collect();
        assert_same(&direct, &again);
        return again;
    }
    let upstream = Tap::before(postfix.address());
    let gatepost = Gatepost::start(&[("main", &[upstream.address()])], "");
    let (through, said) = run(&postfix, &scratch, gatepost.listener(), sessions, &client);
    assert_same(&direct, &through);
    assert_octets(&said, &upstream.take());
    through
}

fn run(
    postfix: &Postfix,
    scratch: &Scratch,
    target: SocketAddr,
    sessions: usize,
    client: &impl Fn(&Door<'_>) -> String,
) -> (Run, Vec<Said>) {
    let tap = Tap::before(target);
    let outcome = client(&Door { address: tap.address(), scratch, postfix });
    let said = tap.take();
    postfix.settle(sessions + said.len());
    let heard = said.iter().map(|said| Heard::from_server(&said.server)).collect();
    (Run { heard, outcome, stored: postfix.take_stored() }, said)
}

fn assert_same(direct: &Run, through: &Run) {
    assert_eq!(direct.heard.len(), through.heard.len(), "as many connections");
    for (left, right) in direct.heard.iter().zip(&through.heard) {
        assert_eq!(left.keywords, right.keywords, "EHLO, left without and right with gatepost");
        assert_eq!(left.replies, right.replies, "replies, left without and right with gatepost");
    }
    assert_eq!(direct.outcome, through.outcome, "the client's view, left without and right with gatepost");
    assert_eq!(direct.stored.len(), through.stored.len(), "as many messages stored");
    for (left, right) in direct.stored.iter().zip(&through.stored) {
        assert!(left == right, "stored without gatepost:\n{left:?}\nstored with gatepost:\n{right:?}");
    }
}

/// What no verdict touched reaches the hop octet for octet, but for a verb's case: all of it where the client took its
/// leave, else what came before it broke off. BDAT is left out: a last chunk may be cut in two, so that it is never
/// announced before it is there.
fn assert_octets(downstream: &[Said], upstream: &[Said]) {
    assert_eq!(downstream.len(), upstream.len(), "as many dialogs upstream as downstream");
    for (said, heard) in downstream.iter().zip(upstream) {
        if said.client.windows(7).any(|octets| octets == b"\r\nBDAT ") {
            continue;
        }
        let whole = said.client.ends_with(b"QUIT\r\n") || said.client.len() == KEPT;
        let mut left = said.client.split_inclusive(|&octet| octet == b'\n');
        let mut right = heard.client.split_inclusive(|&octet| octet == b'\n');
        for number in 1.. {
            match (left.next(), right.next()) {
                (None, None) => break,
                (Some(said), Some(heard)) if heard == said || heard == with_upper_verb(said) => {}
                (Some(said), Some(heard)) if !whole && said.starts_with(heard) => {}
                (Some(_), None) if !whole => {}
                // A client that leaves without a word is no reason to do so upstream.
                (None, Some(b"QUIT\r\n")) if !whole => {}
                (said, heard) => {
                    let text =
                        |line: Option<&[u8]>| line.map(|line| String::from_utf8_lossy(line).into_owned());
                    panic!("line {number}: {:?} became {:?} at the hop", text(said), text(heard));
                }
            }
        }
    }
}

/// `mail from:<…>` as `MAIL FROM:<…>`: verbs are said anew, arguments are not.
fn with_upper_verb(line: &[u8]) -> Vec<u8> {
    let mut line = line.to_vec();
    let letters = |from: &[u8]| from.iter().take_while(|octet| octet.is_ascii_alphabetic()).count();
    let verb = letters(&line);
    line[..verb].make_ascii_uppercase();
    if matches!(&line[..verb], b"MAIL" | b"RCPT") {
        let rest = &mut line[(verb + 1)..];
        let word = letters(rest);
        rest[..word].make_ascii_uppercase();
    }
    line
}
