//! The answers owed to the client, in order: the queue that says whose reply a reply is.
//!
//! In:    one entry per command, when it is taken; the hop's reply or our own, when it is known; hops that are lost,
//!        closed, or replaced.
//! Out:   the head, once its answer is there; since when it is waited for.
//! Never: lets an answer overtake another (law 1), or forgets a command before its reply is in: what a hop did not
//!        answer can be said again to the next.

mod entry;

pub use self::entry::{Answer, Entry, What};
use std::collections::VecDeque;
use std::time::Instant;

use smallvec::SmallVec;

use super::attempt::Attempt;
use super::conversations::Inquiry;
use super::peer::HopId;
use super::said::Said;
use super::transaction::Recipient;
use crate::smtp::{Own, ReplyRef, Verb, own};

/// The queue. Entries are numbered so that a hop's replies find theirs wherever the head has got to.
#[derive(Debug)]
pub struct Owed {
    entries: VecDeque<Entry>,
    first: u32,
    /// Since when the head is waited for.
    since: Instant,
}

impl Owed {
    /// Nothing is owed yet.
    pub fn new(now: Instant) -> Owed {
        Owed { entries: VecDeque::new(), first: 0, since: now }
    }

    /// Appends; returns the entry's number.
    pub fn push(&mut self, now: Instant, what: What, answer: Answer) -> u32 {
        if self.entries.is_empty() {
            self.since = now;
        }
        self.entries.push_back(Entry { what, answer });
        self.first.wrapping_add(self.entries.len() as u32 - 1)
    }

    /// Puts an entry back that was taken from the head.
    pub fn put_back(&mut self, what: What, answer: Answer) -> u32 {
        self.entries.push_front(Entry { what, answer });
        self.first = self.first.wrapping_sub(1);
        self.first
    }

    /// Takes the head.
    pub fn pop(&mut self) -> Option<Entry> {
        let head = self.entries.pop_front()?;
        self.first = self.first.wrapping_add(1);
        if self.entries.is_empty() && self.entries.capacity() > 8 {
            self.entries = VecDeque::new();
        }
        Some(head)
    }

    /// The head is waited for from now on.
    pub fn head_waits_since(&mut self, when: Instant) {
        self.since = when;
    }

    /// The hop said it, before its turn.
    pub fn heard(&mut self, number: u32, hop: HopId, reply: ReplyRef<'_>) {
        if let Some(entry) = self.numbered(number) {
            entry.answer = Answer::Heard(hop, Box::new(reply.to_owned()));
        }
    }

    /// Nobody else is to say it.
    pub fn answer(&mut self, number: u32, said: Said) {
        if let Some(entry) = self.numbered(number) {
            entry.answer = Answer::Own(said);
        }
    }

    /// This hop is to say it after all; `None`: there is none to hear the command.
    pub fn reassign(&mut self, number: u32, to: Option<HopId>) {
        if let Some(entry) = self.numbered(number) {
            entry.answer = to.map_or(Answer::Unsaid, Answer::Hop);
        }
    }

    /// The command of an entry, to be said: a secret in it is not kept.
    pub fn command_mut(&mut self, number: u32) -> Option<&mut What> {
        self.numbered(number).map(|entry| &mut entry.what)
    }

    /// A lost hop's place is taken: the next one says what it owed, and again what can be said again.
    pub fn replace(&mut self, lost: HopId, by: HopId) {
        for entry in &mut self.entries {
            match entry.answer {
                Answer::Hop(at) if at == lost => entry.answer = Answer::Hop(by),
                Answer::Heard(at, _) if at == lost && !entry.what.is_said_once() => {
                    entry.answer = Answer::Hop(by);
                }
                _ => {}
            }
        }
    }

    /// A hop is told everything again: what it had answered before its turn, it answers once more.
    pub fn hear_again(&mut self, hop: HopId) {
        for entry in &mut self.entries {
            if matches!(entry.answer, Answer::Heard(at, _) if at == hop) {
                entry.answer = Answer::Hop(hop);
            }
        }
    }

    /// A hop is lost: answers what that decides by itself. `content`: what becomes of content.
    pub fn lose(&mut self, hop: HopId, content: &'static Own) {
        for entry in &mut self.entries {
            // A hop closes behind its 221; that it was heard before its turn makes no other hop necessary.
            let over =
                matches!((&entry.what, &entry.answer), (What::Quit, Answer::Heard(at, _)) if *at == hop);
            if !over && !matches!(entry.answer, Answer::Hop(at) if at == hop) {
                continue;
            }
            let own = match entry.what {
                // Whether it kept the message is not known: the client sends it again (RFC 1047).
                What::Message(_) | What::Chunk => content,
                What::StartTls => &own::TLS_LOST,
                What::Quit => &own::BYE,
                What::Auth(_) => &own::AUTH_LOST,
                _ => continue,
            };
            entry.answer = Answer::Own(Said::Own(own));
        }
    }

    /// A hop is let go of: what it still owed is answered in its place.
    pub fn void(&mut self, hop: HopId, recipients: &'static Own) {
        for entry in &mut self.entries {
            if !matches!(entry.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop) {
                continue;
            }
            let own: &'static Own = match &entry.what {
                What::Rcpt(_) => recipients,
                What::Data => &own::NEED_MAIL,
                What::Chunk | What::Message(_) => &own::CONTENT_LOST,
                What::Reset => &own::RSET_OK,
                What::StartTls => &own::TLS_LOST,
                What::Quit => &own::BYE,
                What::Auth(_) => &own::AUTH_LOST,
                What::Other(verb, _) => without_hop(*verb),
                What::Greeting
                | What::Hello(_)
                | What::Mail(_)
                | What::Kept
                | What::Local
                | What::Close(_) => &own::ATTEMPTS_FAILED,
            };
            entry.answer = Answer::Own(Said::Own(own));
        }
    }

    /// Whoever waits for a hop's word on chunks or the message hears this; whether anybody did.
    pub fn refuse_content(&mut self, said: &Said) -> bool {
        let mut any = false;
        for entry in &mut self.entries {
            if matches!((&entry.what, &entry.answer), (What::Chunk | What::Message(_), Answer::Hop(_))) {
                entry.answer = Answer::Own(said.clone());
                any = true;
            }
        }
        any
    }

    /// Whoever waits for this hop's word on the message hears this.
    pub fn refuse_message(&mut self, hop: HopId, said: &Said) {
        for entry in &mut self.entries {
            if matches!((&entry.what, &entry.answer), (What::Message(_), Answer::Hop(at)) if *at == hop) {
                entry.answer = Answer::Own(said.clone());
            }
        }
    }

    /// Gatepost answers the head itself; returns the hop that should have.
    pub fn answer_head(&mut self, said: Said) -> Option<HopId> {
        let head = self.entries.front_mut()?;
        match std::mem::replace(&mut head.answer, Answer::Own(said)) {
            Answer::Hop(hop) => Some(hop),
            _ => None,
        }
    }

    /// Callouts are not asked about the head any more: it is this hop's to say.
    pub fn hop_says_head(&mut self, hop: HopId) {
        if let Some(head) = self.entries.front_mut() {
            head.answer = Answer::Hop(hop);
        }
    }

    /// Keeps only what must be heard out: up to the last message that a hop has.
    pub fn keep_messages(&mut self) {
        let kept = self.entries.iter().rposition(Entry::is_message_at_a_hop);
        self.entries.truncate(kept.map_or(0, |last| last + 1));
    }

    /// The recipient at the head that is being tried, and how.
    pub fn attempt(&mut self) -> Option<(&Recipient, &mut Attempt)> {
        match self.entries.front_mut() {
            Some(Entry { what: What::Rcpt(recipient), answer: Answer::Trying(attempt) }) => {
                Some((recipient, attempt))
            }
            _ => None,
        }
    }

    /// What callouts are being asked about at the head.
    pub fn inquiry_mut(&mut self) -> Option<&mut Inquiry> {
        match self.entries.front_mut() {
            Some(Entry { answer: Answer::Asked(inquiry), .. }) => Some(inquiry),
            _ => None,
        }
    }

    fn numbered(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries.get_mut(number.wrapping_sub(self.first) as usize)
    }
}

impl Owed {
    /// The head.
    pub fn head(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The head's number.
    pub fn head_number(&self) -> u32 {
        self.first
    }

    /// Since when the head is waited for.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What callouts are being asked about at the head.
    pub fn inquiry(&self) -> Option<&Inquiry> {
        match self.head() {
            Some(Entry { answer: Answer::Asked(inquiry), .. }) => Some(inquiry),
            _ => None,
        }
    }

    /// The newest entry.
    pub fn tail(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// The entry with a number.
    pub fn at(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number.wrapping_sub(self.first) as usize)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the client is owed nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The numbers of what a hop owes.
    pub fn of(&self, hop: HopId) -> SmallVec<[u32; 8]> {
        let owes = |entry: &Entry| matches!(entry.answer, Answer::Hop(at) if at == hop);
        let numbered = self.entries.iter().enumerate().filter(|(_, entry)| owes(entry));
        numbered.map(|(at, _)| self.first.wrapping_add(at as u32)).collect()
    }

    /// Whether anybody waits for what a hop says, or has said before its turn.
    pub fn needs(&self, hop: HopId) -> bool {
        let needs =
            |entry: &Entry| matches!(entry.answer, Answer::Hop(at) | Answer::Heard(at, _) if at == hop);
        self.entries.iter().any(needs)
    }

    /// Whether a hop has heard a step of an AUTH exchange and not answered it.
    pub fn awaits_auth(&self, hop: HopId) -> bool {
        let awaits = |entry: &Entry| matches!((&entry.what, &entry.answer), (What::Auth(None), Answer::Hop(at)) if *at == hop);
        self.entries.iter().any(awaits)
    }

    /// Whether a hop is to hear what goes without EHLO nowhere.
    pub fn needs_hello(&self, hop: HopId) -> bool {
        let needs =
            |entry: &Entry| entry.what.needs_hello() && matches!(entry.answer, Answer::Hop(at) if at == hop);
        self.entries.iter().any(needs)
    }

    /// Whether a hop has a whole message and has not answered for it.
    pub fn owes_message(&self, hop: HopId) -> bool {
        self.entries.iter().any(
            |entry| matches!((&entry.what, &entry.answer), (What::Message(_), Answer::Hop(at)) if *at == hop),
        )
    }

    /// Whether the command of an entry was said and cannot be said again, so that what a hop says last is the answer.
    pub fn is_said_once(&self, number: u32) -> bool {
        self.at(number).is_some_and(|entry| entry.what.is_said_once())
    }

    /// Whether any hop has.
    pub fn awaits_message(&self) -> bool {
        self.entries.iter().any(Entry::is_message_at_a_hop)
    }

    /// Whether the connection itself is to be answered by this hop.
    pub fn is_greeting_of(&self, hop: HopId) -> bool {
        self.head().is_some_and(
            |head| matches!((&head.what, &head.answer), (What::Greeting, Answer::Hop(at)) if *at == hop),
        )
    }
}

/// What is answered where no hop is open.
pub fn without_hop(verb: Verb) -> &'static Own {
    match verb {
        Verb::Noop => &own::NOOP_OK,
        Verb::Vrfy => &own::VRFY,
        Verb::Help => &own::HELP,
        _ => &own::NOT_IMPLEMENTED,
    }
}

#[cfg(test)]
mod tests;
