//! One client, once straight to an MTA and once through gatepost: nobody may notice the difference.
//!
//! In:    the MTA, and what the client does at a given door.
//! Out:   both runs, or the second one after both were found equal: what the client heard and made of it, what the
//!        MTA stored.
//! Never: forgives more than `Heard` (queue ids, masked EHLO keywords) and `maildir` (queue ids and times in trace
//!        fields) say.

use std::cell::Cell;
use std::net::SocketAddr;

use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::mta::Mta;
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::Scratch;
use crate::support::tap::{KEPT, Said, Tap};
use crate::support::transcript::Heard;

/// Where a client is to go, and what it may use.
pub struct Door<'a> {
    pub address: SocketAddr,
    pub scratch: &'a Scratch,
    pub mta: &'a dyn Mta,
}

/// One run of a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// What it heard, connection by connection.
    pub heard: Vec<Heard>,
    /// What it made of it, in its own words.
    pub outcome: String,
    /// What the MTA stored of it.
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
    let bench = Bench::before(&postfix);
    let (mut direct, through) = bench.both(&client);
    direct.heard = direct.heard.into_iter().map(Heard::masked).collect();
    assert_same(&direct, &through, "this run");
    through
}

/// An MTA with gatepost before it.
pub struct Bench<'a> {
    mta: &'a dyn Mta,
    /// None where gatepost is left out, and the harness compared with itself.
    gate: Option<(Gatepost, Tap)>,
    scratch: Scratch,
    /// How many clients the MTA has seen so far.
    sessions: Cell<usize>,
}

impl<'a> Bench<'a> {
    pub fn before(mta: &'a dyn Mta) -> Self {
        let gate = (!is_left_out()).then(|| {
            let upstream = Tap::before(mta.address());
            (Gatepost::start(&[("main", &[upstream.address()])], ""), upstream)
        });
        Self { mta, gate, scratch: Scratch::new("bench"), sessions: Cell::new(0) }
    }

    /// The client without and with gatepost.
    pub fn both(&self, client: &impl Fn(&Door<'_>) -> String) -> (Run, Run) {
        let (direct, _) = self.run(self.mta.address(), client);
        let Some((gatepost, upstream)) = &self.gate else {
            let (mut again, _) = self.run(self.mta.address(), client);
            again.heard = again.heard.into_iter().map(Heard::masked).collect();
            return (direct, again);
        };
        let (through, said) = self.run(gatepost.listener(), client);
        assert_octets(&said, &upstream.take());
        (direct, through)
    }

    fn run(&self, target: SocketAddr, client: &impl Fn(&Door<'_>) -> String) -> (Run, Vec<Said>) {
        let tap = Tap::before(target);
        let outcome = client(&Door { address: tap.address(), scratch: &self.scratch, mta: self.mta });
        let said = tap.take();
        self.sessions.set(self.sessions.get() + said.len());
        self.mta.settle(self.sessions.get());
        let heard = said.iter().map(|said| Heard::from_server(&said.server)).collect();
        (Run { heard, outcome, stored: self.mta.take_stored() }, said)
    }
}

/// Whether gatepost is left out.
pub fn is_left_out() -> bool {
    std::env::var("INTEROP_FRONT").is_ok_and(|front| front == "direct")
}

/// The runs are one and the same. `what` was run.
pub fn assert_same(direct: &Run, through: &Run, what: &str) {
    let what = format!("{what}, left without and right with gatepost");
    assert_eq!(direct.heard.len(), through.heard.len(), "connections of {what}");
    for (left, right) in direct.heard.iter().zip(&through.heard) {
        assert_eq!(left.keywords, right.keywords, "EHLO of {what}");
        assert_eq!(left.replies, right.replies, "replies of {what}");
    }
    assert_eq!(direct.outcome, through.outcome, "the client's view of {what}");
    assert_eq!(direct.stored.len(), through.stored.len(), "messages stored of {what}");
    for (left, right) in direct.stored.iter().zip(&through.stored) {
        assert!(left == right, "{what}: stored without:\n{left:?}\nstored with:\n{right:?}");
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
