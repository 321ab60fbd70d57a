//! The books of one session, kept from outside: what the client sent and was told, what hops completed.
//!
//! **In**: facts, from the client's side and from the hops'. **Out**: a panic that names the law that was broken.
//! **Never**: looks into the session.

use std::collections::{BTreeMap, BTreeSet};

use gatepost::message::Edit;
use gatepost::session::callout::{CalloutAnswer, CalloutId};
use gatepost::session::verdict::{CommandVerdict, EnvelopeEdit, MessageVerdict, Rewrites};

use super::callouts::PREPENDED;

/// What is known of one message, by the id of its sender.
#[derive(Default, Debug)]
pub struct Message {
    /// As the client sent it: the octets behind 354 up to the end, or the chunks.
    pub content: Vec<u8>,
    /// What was said in chunks before its DATA: they come to nothing, but a hop may have begun with them.
    pub before: Vec<u8>,
    /// It came behind 354: there can be no more of it.
    pub sealed: bool,
    /// Where in it a message may have begun: its MAIL was said again, or a chunk refused before there was a recipient.
    pub starts: BTreeSet<usize>,
    /// Whether it came by BDAT.
    pub chunked: bool,
    /// The client has sent the whole of it, with its end.
    pub ended: bool,
    /// Recipients the client was told 2xx for.
    pub accepted: BTreeSet<String>,
    /// Those a rule swallowed.
    pub swallowed: BTreeSet<String>,
    /// Recipients that callouts may have added, and removed.
    pub added: BTreeSet<String>,
    pub removed: BTreeSet<String>,
    /// A callout may have had it answered 2xx and given to nobody.
    pub discarded: bool,
    /// Who completed it.
    pub completed: Option<Completion>,
}

impl Message {
    /// What may be the whole of it.
    fn contents(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&0).chain(&self.starts).filter_map(|&start| self.content.get(start..))
    }
}

/// A hop saw the end of a message.
#[derive(Debug)]
pub struct Completion {
    /// Its connection.
    pub connection: usize,
    /// It means to say 2xx.
    pub accepted: bool,
    /// Its reply has reached gatepost.
    pub heard: bool,
}

/// All messages of a session.
#[derive(Default, Debug)]
pub struct Ledger {
    /// By the sender's id.
    pub messages: BTreeMap<String, Message>,
    /// The client has left or was closed.
    pub gone: bool,
    /// Bare CR and LF are refused.
    pub reject: bool,
    /// The client's content was taken for commands, because it came before 354 and DATA was refused.
    pub astray: bool,
    /// Header fields that callouts put before a message's own, by its sender's id.
    pub prepended: BTreeMap<String, Prepended>,
    /// What happened, in numbers.
    pub tally: Tally,
}

/// Header fields for a message.
#[derive(Default, Debug)]
pub struct Prepended {
    /// All that were said of a transaction with this sender.
    pub said: BTreeSet<String>,
    /// Those that its message must have, in this order.
    pub due: Vec<String>,
    /// Those that it must have, anywhere among them.
    pub of_message: BTreeSet<String>,
    /// Its transaction has begun.
    pub begun: bool,
    /// There was more than one transaction with that sender: which of them a field was said of is not known.
    pub again: bool,
}

/// What happened in a session: simulations that come to nothing prove nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Contents the client was told 2xx for.
    pub accepted: u64,
    /// Contents it was told anything else for.
    pub refused: u64,
    /// Messages that were completed at a hop.
    pub completed: u64,
    /// Of them, those that came by chunks.
    pub chunked: u64,
    /// Of them, those with a bare CR or LF.
    pub mended: u64,
    /// Connections gatepost made.
    pub connections: u64,
    /// Questions to callouts.
    pub asked: u64,
    /// Of them, those that ended in a failure.
    pub failed: u64,
    /// Answers nobody waited for.
    pub late: u64,
    /// Header fields that callouts put before messages.
    pub prepended: u64,
    /// And before them when they were whole.
    pub edited: u64,
    /// Handshakes of the client that were done.
    pub secured: u64,
    /// XCLIENTs that were taken.
    pub renamed: u64,
    /// Handshakes with hops that were done.
    pub hops_secured: u64,
    /// And those that failed.
    pub unsecured: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.accepted += more.accepted;
        self.refused += more.refused;
        self.completed += more.completed;
        self.chunked += more.chunked;
        self.mended += more.mended;
        self.connections += more.connections;
        self.asked += more.asked;
        self.failed += more.failed;
        self.late += more.late;
        self.prepended += more.prepended;
        self.edited += more.edited;
        self.secured += more.secured;
        self.renamed += more.renamed;
        self.hops_secured += more.hops_secured;
        self.unsecured += more.unsecured;
    }
}

impl Ledger {
    /// A hop has seen an end of data or a last chunk.
    pub fn completed(
        &mut self,
        connection: usize,
        sender: &str,
        rcpts: &[String],
        wire: &[u8],
        chunked: bool,
        accepted: bool,
    ) {
        if self.astray {
            return;
        }
        let Some(message) = self.messages.get_mut(sender) else {
            panic!("law 4: a hop took a message from {sender}, which the client never sent");
        };
        assert!(message.ended, "law 2: an end of data without the client's, for {sender}");
        if let Some(before) = &message.completed {
            panic!(
                "law 2: {sender} completed on connection {connection} and before on {}",
                before.connection
            );
        }
        let rcpts: BTreeSet<String> = rcpts.iter().cloned().collect();
        let kept = message.accepted.difference(&message.removed).all(|accepted| rcpts.contains(accepted));
        let expected = |rcpt: &String| message.accepted.contains(rcpt) || message.added.contains(rcpt);
        let told = kept && (self.gone || rcpts.iter().all(expected));
        assert!(
            told,
            "law 3: {sender} was completed for {rcpts:?}, the client was told {:?}",
            message.accepted
        );
        let (fields, wire) = unprepended(wire);
        let prepended = self.prepended.remove(sender).unwrap_or_default();
        let once: BTreeSet<&String> = fields.iter().collect();
        assert!(
            once.len() == fields.len() && fields.iter().all(|field| prepended.said.contains(field)),
            "law 8: {sender} has {fields:?}, {prepended:?} was said"
        );
        let mut of_due = fields.iter().filter(|field| prepended.due.contains(field));
        assert!(
            prepended.again || prepended.due.iter().all(|due| of_due.next() == Some(due)),
            "{sender} has {fields:?}, and was to have {prepended:?}"
        );
        assert!(
            prepended.again || prepended.of_message.iter().all(|due| fields.contains(due)),
            "{sender} has {fields:?}, and was to have {prepended:?}"
        );
        self.tally.prepended += fields.len() as u64;
        let dirty = message.contents().all(is_dirty);
        assert!(!(dirty && self.reject && !chunked), "a bare CR or LF passed under reject");
        let as_sent = |content: &[u8], wire: &[u8]| match (message.chunked, chunked) {
            (true, true) => content == wire,
            // Data to data is not touched where nothing had to be mended.
            (false, false) if !dirty => content == wire,
            _ => canonical(content) == canonical(wire),
        };
        let parted = parted(&fields, wire);
        let same = message.contents().any(|content| as_sent(content, wire) || as_sent(content, parted));
        assert!(
            same,
            "law 8: {sender} left as\n{}\nand arrived as\n{}",
            message.content.escape_ascii(),
            wire.escape_ascii()
        );
        self.tally.completed += 1;
        self.tally.chunked += u64::from(chunked);
        self.tally.mended += u64::from(dirty);
        message.completed = Some(Completion { connection, accepted, heard: false });
    }

    /// A callout that was waited for says something of a message.
    pub fn edits(&mut self, callout: CalloutId, answer: &CalloutAnswer) {
        let CalloutAnswer::Message(answer) = answer else { return };
        let is_refusal = matches!(
            answer.verdict,
            Some(MessageVerdict::Reply(_) | MessageVerdict::Disconnect(_) | MessageVerdict::Discard)
        );
        for edit in &answer.edits {
            let Edit::Insert { field, .. } = edit else { continue };
            let field = String::from_utf8_lossy(field).into_owned();
            let Some(rest) = field.strip_prefix(PREPENDED).filter(|rest| !rest.starts_with("wrong")) else {
                continue;
            };
            let sender = rest.split(' ').next().unwrap_or_default().to_owned();
            let prepended = self.prepended.entry(sender).or_default();
            // What changes the envelope may fail in the end.
            if !is_refusal && answer.envelope.is_empty() {
                prepended.of_message.insert(field.clone());
            }
            prepended.again |= !prepended.said.insert(field);
            self.tally.edited += 1;
        }
        let id = |path: &[u8]| String::from_utf8_lossy(path).split('@').next().unwrap_or_default().to_owned();
        for message in self.messages.values_mut().filter(|message| message.completed.is_none()) {
            message.discarded |= matches!(answer.verdict, Some(MessageVerdict::Discard));
            for edit in &answer.envelope {
                match edit {
                    EnvelopeEdit::Add { path, .. } => {
                        message.added.extend(
                            [id(path)].into_iter().filter(|id| id.starts_with(&format!("x{}", callout.0))),
                        );
                    }
                    EnvelopeEdit::Remove(path) => {
                        message.removed.insert(id(path));
                        message.discarded |= message.accepted.is_subset(&message.removed);
                    }
                    EnvelopeEdit::Sender { .. } => {}
                }
            }
        }
    }

    /// A callout that was waited for said something beside its verdict.
    pub fn prepends(&mut self, answer: &CalloutAnswer) {
        let CalloutAnswer::Command { rewrites, verdict, beside: Some(beside) } = answer else { return };
        let Some(field) = &beside.prepend else { return };
        let field = String::from_utf8_lossy(field).into_owned();
        let sender = field.trim_start_matches(PREPENDED).split(' ').next().unwrap_or_default();
        let prepended = self.prepended.entry(sender.to_owned()).or_default();
        // What is rewritten may be refused, and so may a 2xx.
        let lawful = match verdict {
            None | Some(CommandVerdict::Accept) => true,
            Some(CommandVerdict::Reply(reply)) => reply.code().is_negative(),
            Some(_) => false,
        };
        if lawful && *rewrites == Rewrites::default() {
            prepended.due.push(field.clone());
        }
        prepended.again |= !prepended.said.insert(field);
    }

    /// A hop has so much of a message that is not whole.
    pub fn begun(&self, sender: &str, wire: &[u8]) {
        if self.astray {
            return;
        }
        let Some(message) = self.messages.get(sender) else {
            panic!("law 4: a hop has chunks from {sender}, which the client never sent");
        };
        let (fields, wire) = unprepended(wire);
        let parted = parted(&fields, wire);
        // It may end in the midst of what was put before the message.
        let of_field = PREPENDED.as_bytes().starts_with(wire) || wire.starts_with(PREPENDED.as_bytes());
        if of_field || (wire == b"\r" && !fields.is_empty()) {
            return;
        }
        let is_of = |content: &[u8]| content.starts_with(wire) || content.starts_with(parted);
        let first = message.contents().chain([&*message.before]).any(is_of);
        let what = wire.escape_ascii();
        assert!(first, "law 2: a hop has a part of {sender} without what comes before it: {what}");
    }

    /// The client heard that its transaction is over before its content, or that another began: one of the same id has its
    /// own recipients.
    pub fn forget(&mut self, sender: &str) {
        if let Some(prepended) = self.prepended.get_mut(sender) {
            prepended.again |= prepended.begun;
            prepended.begun = true;
        }
        if let Some(message) = self.messages.get_mut(sender)
            && message.completed.is_none()
        {
            message.accepted.clear();
            message.swallowed.clear();
        }
    }

    /// A hop's reply to a whole message has reached gatepost.
    pub fn reply_heard(&mut self, connection: usize, sender: &str) {
        if let Some(completed) = self.messages.get_mut(sender).and_then(|message| message.completed.as_mut())
            && completed.connection == connection
        {
            completed.heard = true;
        }
    }

    /// The client heard an answer to the end of its content.
    pub fn told(&mut self, sender: &str, code: u16) {
        let Some(message) = self.messages.get(sender) else {
            panic!("an answer for {sender}, which was not sent")
        };
        let taken = message.completed.as_ref().is_some_and(|completed| completed.accepted && completed.heard);
        if code / 100 == 2 {
            self.tally.accepted += 1;
            let swallowed = message.accepted.is_empty() && !message.swallowed.is_empty();
            assert!(
                taken || swallowed || message.discarded,
                "law 2: {code} for {sender}, which no hop took: {message:?}"
            );
        } else {
            self.tally.refused += 1;
            assert!(!taken, "law 3: {code} for {sender}, which a hop took and said so");
        }
    }
}

/// What callouts put before a message, field by field, and the rest of it.
fn unprepended(mut wire: &[u8]) -> (Vec<String>, &[u8]) {
    let mut fields = Vec::new();
    while wire.starts_with(PREPENDED.as_bytes())
        && let Some(end) = wire.iter().position(|octet| *octet == b'\n')
    {
        fields.push(String::from_utf8_lossy(&wire[..=end]).into_owned());
        wire = &wire[end + 1..];
    }
    (fields, wire)
}

/// What stands behind fields, without what parts them from a message that has no header of its own.
fn parted<'w>(fields: &[String], wire: &'w [u8]) -> &'w [u8] {
    wire.strip_prefix(b"\r\n").filter(|_| !fields.is_empty()).unwrap_or(wire)
}

fn is_dirty(content: &[u8]) -> bool {
    content.iter().enumerate().any(|(at, octet)| match octet {
        b'\n' => at == 0 || content[at - 1] != b'\r',
        b'\r' => content.get(at + 1) != Some(&b'\n'),
        _ => false,
    })
}

/// Content without what mending may change: line ends, stray CRs, leading dots, and how the last line ends.
fn canonical(content: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    for (at, &octet) in content.iter().enumerate() {
        let last = lines.last_mut().expect("there is always a line");
        match octet {
            // A run of CRs before LF is dropped.
            b'\r' if content[at..].iter().find(|octet| **octet != b'\r') == Some(&b'\n') => {}
            b'\r' => last.push(b' '),
            b'\n' => lines.push(Vec::new()),
            b'.' if last.is_empty() => {}
            octet => last.push(octet),
        }
    }
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.join(&b'\n')
}
