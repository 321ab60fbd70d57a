//! Postfix's own test-milter: behind Postfix and behind gatepost it is told the same.
//!
//! In:    options, of each kind some; dialogs that go through every command, twice, and back.
//! Out:   trials: what the filter was told in which order, what it said, what is stored.
//! Never: forgives a difference without a reason.
//!
//! test-milter.c of Postfix's source; MILTER_README.

use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::{Stand, dialog};
use crate::messages;
use crate::support::milter::{Milter, Place};
use crate::support::peers::{Peer, trial};
use crate::support::scratch::{PATIENCE, wait_for};

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::Postfix, Peer::TestMilter];
    vec![
        trial("milter::events", needs, events),
        trial("milter::recipients_before_their_replies", needs, before_their_replies),
        trial("milter::data_without_recipients", needs, without_recipients),
    ]
}

const FROM: &str = "MAIL FROM:<sender@client.example>\r\n";
const ANN: &str = "RCPT TO:<ann@a.example>\r\n";

/// What clients say; `{message}` is content, `{chunks}` the same by BDAT.
const DIALOGS: &[&[&str]] = &[
    &[
        "EHLO client.example\r\n",
        FROM,
        ANN,
        "RCPT TO:<nobody@a.example>\r\n",
        "RCPT TO:<bob@a.example>\r\n",
        "DATA\r\n",
        "{message}",
        "QUIT\r\n",
    ],
    &[
        "HELO client.example\r\n",
        "MAIL FROM:<>\r\n",
        ANN,
        "RSET\r\n",
        "NOOP\r\n",
        "MAIL FROM:<sender@client.example> SIZE=100 BODY=8BITMIME\r\n",
        "RCPT TO:<Ann@A.Example>\r\n",
        "VRFY ann@a.example\r\n",
        "RSET\r\n",
        FROM,
        "QUIT\r\n",
    ],
    &[
        "EHLO client.example\r\n",
        "EHLO [127.0.0.1]\r\n",
        FROM,
        "RCPT TO:<nobody@a.example>\r\n",
        "RSET\r\n",
        FROM,
        "RCPT TO:<ann@a.example> NOTIFY=NEVER\r\n",
        "DATA\r\n",
        "{message}",
        FROM,
        "RCPT TO:<bob@a.example>\r\n",
        "{chunks}",
        "QUIT\r\n",
    ],
];

/// Both doors, and a filter behind them that changes.
struct Pair {
    place: Place,
    stand: Stand,
}

/// What one session came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    heard: Vec<String>,
    told: Vec<String>,
    stored: Vec<(String, String)>,
}

impl Pair {
    fn new(callout: &str) -> Self {
        let place = Place::free();
        let stand = Stand::before(&place, callout);
        Self { place, stand }
    }

    fn session(&self, filter: &Milter, door: SocketAddr, said: &[&str]) -> Outcome {
        let before = filter.output().len();
        let content = messages::message("hello", "Hello\r\n") + ".\r\n";
        let whole = messages::message("hello", "Hello\r\n");
        let (chunk, last) = whole.split_at(whole.len() - 8);
        let chunks =
            [format!("BDAT {}\r\n{chunk}", chunk.len()), format!("BDAT {} LAST\r\n{last}", last.len())];
        let mut spoken = Vec::new();
        for command in said {
            match *command {
                "{chunks}" => spoken.extend(chunks.clone()),
                "{message}" => spoken.push(content.clone()),
                _ => spoken.push((*command).to_owned()),
            }
        }
        let heard = dialog(door, &spoken);
        let printed = wait_for("the filter to be told of the end", PATIENCE, || {
            let output = filter.output().split_off(before);
            let closed = output.find("test_close\n")?;
            output[closed..].contains("test_reply ").then_some(output)
        });
        Outcome { heard, told: told(&printed), stored: self.stand.take() }
    }
}

/// What the filter printed: each event with the filter's answer, a word for what is of this run.
fn told(printed: &str) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    for line in printed.lines().filter(|line| !line.is_empty() && !line.starts_with("macro: ")) {
        match events.last_mut() {
            Some(event) if line.starts_with("test_reply ") => *event += &format!(" -> {line}"),
            _ => events.push(without_port(line)),
        }
    }
    events
}

fn without_port(line: &str) -> String {
    let has_port = line.starts_with("test_connect ") && line.contains("127.0.0.1:");
    line.rsplit_once(':').filter(|_| has_port).map_or(line.to_owned(), |(host, _)| format!("{host}:PORT)"))
}

/// As Postfix does it: a filter hears of recipients that were accepted.
const LIKE_POSTFIX: &str = ", rcpt_after_reply: true, effects: [discard]";

/// Plain; told of refused recipients; silent to one thing, and without another; with enough of recipients, or of the body;
/// done early.
const OPTIONS: [&[&str]; 6] = [
    &[],
    &["-r"],
    &["-N", "header", "-n", "helo"],
    &["-c", "rcpt", "-a", "skip", "-n", "data"],
    &["-c", "body", "-a", "skip", "-N", "mail"],
    &["-c", "header", "-a", "accept", "-N", "rcpt"],
];

fn events() {
    let pair = Pair::new(LIKE_POSTFIX);
    for options in OPTIONS {
        let filter = Milter::test(&pair.place, options);
        for said in DIALOGS {
            let [direct, through] = pair.stand.doors().map(|door| pair.session(&filter, door, said));
            assert_eq!(direct.told, through.told, "{options:?} {said:?}");
            assert_eq!(direct.stored, through.stored, "{options:?} {said:?}");
        }
    }
}

/// Libmilter does not answer DATA where it was told of no recipient: it is not to be told of it.
fn without_recipients() {
    let pair = Pair::new(LIKE_POSTFIX);
    let filter = Milter::test(&pair.place, &[]);
    let said = ["EHLO client.example\r\n", FROM, "RCPT TO:<nobody@a.example>\r\n", "DATA\r\n"];
    let [direct, through] = pair.stand.doors().map(|door| pair.session(&filter, door, &said));
    assert!(direct.heard[4].starts_with("554 5.5.1 "), "{direct:?}");
    assert_eq!(direct, through);
}

/// As gatepost does it unless told otherwise: the filter is asked before the hop, which is not asked for nothing.
fn before_their_replies() {
    let pair = Pair::new(", effects: [discard]");
    let filter = Milter::test(&pair.place, &["-c", "rcpt", "-a", "554 5.7.9 not here"]);
    let said = &DIALOGS[0][..4];
    let [direct, through] = pair.stand.doors().map(|door| pair.session(&filter, door, said));
    assert_eq!(direct.heard[3], through.heard[3]);
    assert!(through.heard[3].starts_with("554-5.7.9 "), "{through:?}");
    assert!(direct.heard[4].starts_with("550 5.1.1 "), "{direct:?}");
    assert!(through.heard[4].starts_with("554-5.7.9 "), "{through:?}");
    let count = |outcome: &Outcome| outcome.told.iter().filter(|told| told.starts_with("test_rcpt ")).count();
    assert_eq!((count(&direct), count(&through)), (1, 2));
}
