//! Milters: behind Postfix and behind gatepost before the same Postfix, they are to make no difference to anybody.
//!
//! In:    rspamd, OpenDKIM, clamav-milter, Postfix's test-milter, a filter in Python; a real Postfix with two doors.
//! Out:   trials: what the client hears, what the filter is told, what Postfix stores.
//! Never: looks inside gatepost; forgives a difference without a reason.

mod clamav;
mod edits;
mod lost;
mod opendkim;
mod parity;
mod rspamd;

use std::net::SocketAddr;

use libtest_mimic::Trial;

use crate::support::gatepost::Gatepost;
use crate::support::maildir::Stored;
use crate::support::milter::Place;
use crate::support::mta::Mta as _;
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::free_port;
use crate::support::transcript::without_queue_id;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(clamav::trials());
    trials.extend(edits::trials());
    trials.extend(lost::trials());
    trials.extend(opendkim::trials());
    trials.extend(rspamd::trials());
    trials.extend(parity::trials());
    trials
}

/// A Postfix without a filter, with gatepost before it, and a second door to it where Postfix asks the filter.
struct Stand {
    postfix: Postfix,
    /// None where the harness is compared with itself.
    gatepost: Option<Gatepost>,
    filtered: SocketAddr,
}

impl Stand {
    /// `callout`: further keys of gatepost's callout, `, key: value`.
    fn before(place: &Place, callout: &str) -> Self {
        let filtered = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let door =
            format!("{filtered} inet n - n - - smtpd\n  -o {{ smtpd_milters = {} }}\n", place.of_postfix());
        let postfix = Postfix::start(&Spec { master_cf: door, ..Spec::receiving("a.example") });
        let callout = format!(
            "callouts:\n  - {{ name: filter, type: milter, address: \"{}\"{callout} }}\n",
            place.of_gatepost()
        );
        let is_direct = std::env::var("INTEROP_FRONT").is_ok_and(|value| value == "direct");
        let gatepost = (!is_direct).then(|| Gatepost::start(&[("main", &[postfix.address()])], &callout));
        Self { postfix, gatepost, filtered }
    }

    /// Postfix alone, and gatepost before it.
    fn doors(&self) -> [SocketAddr; 2] {
        [self.filtered, self.gatepost.as_ref().map_or(self.filtered, Gatepost::listener)]
    }

    /// All that was stored since the last call, without the field its MTA wrote: the door stands in it.
    fn take(&self) -> Vec<(String, String)> {
        self.postfix.settle(0);
        let stored = self.postfix.take_stored();
        stored.iter().map(|stored| (stored.mailbox.clone(), without_trace(stored))).collect()
    }
}

/// A message without the field that its MTA wrote.
fn without_trace(stored: &Stored) -> String {
    let text = String::from_utf8_lossy(&stored.octets);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut in_trace = false;
    let mut is_kept = |line: &&str| {
        in_trace = line.starts_with("Received:") || in_trace && line.starts_with(['\t', ' ']);
        !in_trace
    };
    let head: Vec<_> = head.split('\n').filter(|line| is_kept(line)).collect();
    format!("{}\n\n{body}", head.join("\n"))
}

/// All that a client heard that says these things and goes on whatever it hears, until it is hung up on. What follows
/// DATA is content: it is said only after 354.
fn dialog(door: SocketAddr, said: &[impl AsRef<str>]) -> Vec<String> {
    let mut raw = Raw::open(door);
    let mut heard = vec![raw.reply()];
    let mut is_content = false;
    for command in said.iter().map(AsRef::as_ref) {
        let goes_on = !is_content || heard.last().is_some_and(|reply| reply.starts_with("354"));
        is_content = command == "DATA\r\n";
        if goes_on {
            raw.say(command);
            heard.push(raw.reply());
        }
        if heard.last().is_some_and(String::is_empty) {
            break;
        }
    }
    heard.iter().map(|reply| told(reply)).collect()
}

/// A reply without what is of this run; of the greeting and of an answer to EHLO the code.
fn told(reply: &str) -> String {
    if reply.starts_with("220") || reply.starts_with("250-") {
        return reply[..3].to_owned();
    }
    // What gatepost says itself it says in its own words: to commands nobody knows, and to chunks but the last.
    if reply.starts_with("500 5.5.") {
        return "500".to_owned();
    }
    if reply == "250 2.0.0 Octets received"
        || reply.starts_with("250 2.0.0 Ok: ") && reply.ends_with(" bytes")
    {
        return "250 to a chunk".to_owned();
    }
    reply.lines().map(without_queue_id).collect::<Vec<_>>().join("\n")
}

/// What a client says that sends a message to these mailboxes: by DATA, or by one BDAT.
fn sending(to: &[&str], message: &str, by_bdat: bool) -> Vec<String> {
    let mut said =
        vec!["EHLO client.example\r\n".to_owned(), "MAIL FROM:<sender@client.example>\r\n".to_owned()];
    said.extend(to.iter().map(|to| format!("RCPT TO:<{to}@a.example>\r\n")));
    if by_bdat {
        said.push(format!("BDAT {} LAST\r\n{message}", message.len()));
    } else {
        said.extend(["DATA\r\n".to_owned(), message.replace("\r\n.", "\r\n..") + ".\r\n"]);
    }
    said.push("QUIT\r\n".to_owned());
    said
}
