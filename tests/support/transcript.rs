//! What a client heard, in a form that two runs can be compared in.
//!
//! In:    the octets a server sent on one connection.
//! Out:   its replies: the greeting, the keywords of each EHLO reply, and every other reply line as it was written.
//! Never: forgives a difference but those named here: the queue id an MTA makes up for each message, and the order
//!        and masking of EHLO keywords (compared apart, as sets).
//!
//! RFC 5321 4.2.1 (reply lines), 4.1.1.1 (EHLO reply).

use std::collections::BTreeSet;

/// EHLO keywords a hop may show and gatepost does not: TLS ends at gatepost, identity is the listener's to grant, and
/// PIPECONNECT (Exim) speaks before the greeting (what nobody here can carry).
pub const MASKED: [&str; 4] = ["STARTTLS", "XCLIENT", "XFORWARD", "PIPECONNECT"];

/// What gatepost offers of its own before any hop: to one without it commands go one by one.
const OWN: &str = "PIPELINING";

/// One connection as its client heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Each reply that is not an answer to EHLO, its lines joined by a newline, in order. An answer to EHLO stands
    /// here as its first line.
    pub replies: Vec<String>,
    /// The keywords of each EHLO reply, with their parameters.
    pub keywords: Vec<BTreeSet<String>>,
}

impl Heard {
    /// Splits what a server sent into replies. A broken-off last line counts as a reply, so that it shows.
    pub fn from_server(octets: &[u8]) -> Self {
        let (mut replies, mut keywords) = (Vec::new(), Vec::new());
        for reply in replies_of(octets) {
            let is_ehlo = reply.len() > 1 && reply.iter().any(|line| line.get(4..) == Some("8BITMIME"));
            if is_ehlo {
                replies.push(reply[0].replacen("250-", "250 ", 1));
                keywords.push(reply[1..].iter().map(|line| line[4..].to_owned()).collect());
            } else {
                replies.push(reply.join("\n"));
            }
        }
        Self { replies, keywords }
    }

    /// The same with the masked keywords taken out and the own one put in, as gatepost should show it.
    pub fn masked(mut self) -> Self {
        for keywords in &mut self.keywords {
            keywords.retain(|line| !MASKED.iter().any(|word| line.split(' ').next() == Some(word)));
            keywords.insert(OWN.to_owned());
        }
        self
    }

    /// Whether all replies were positive: what a client calls success.
    pub fn only_success(&self) -> bool {
        self.replies.iter().all(|reply| reply.starts_with('2') || reply.starts_with('3'))
    }
}

/// Replies as lists of their lines, normalised.
fn replies_of(octets: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(octets);
    let (mut replies, mut lines) = (Vec::new(), Vec::new());
    for line in text.split_inclusive("\r\n") {
        // A line without its CRLF keeps a mark: a reply cut short is not the same as a whole one.
        let line = line.strip_suffix("\r\n").map_or_else(|| format!("{line}<cut>"), str::to_owned);
        let last = line.as_bytes().get(3) != Some(&b'-');
        lines.push(without_queue_id(&line));
        if last {
            replies.push(std::mem::take(&mut lines));
        }
    }
    if !lines.is_empty() {
        replies.push(lines);
    }
    replies
}

/// `queued as 4F6D8A1` (Postfix), `OK id=1xUwcS-0005x4-26` (Exim) and `4d612e9b Message accepted` (OpenSMTPD) name a
/// file of this run.
pub fn without_queue_id(line: &str) -> String {
    for before in ["queued as ", "OK id="] {
        if let Some((words, _)) = line.split_once(before) {
            return format!("{words}{before}ID");
        }
    }
    match line.split_once(" Message accepted for delivery") {
        Some((words, rest)) => {
            let words = words.rsplit_once(' ').map_or(words, |(words, _)| words);
            format!("{words} ID Message accepted for delivery{rest}")
        }
        None => line.to_owned(),
    }
}
