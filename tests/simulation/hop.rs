//! A hop, as honest, lax or hostile as its fate has it.
//!
//! **In**: the octets gatepost sends it. **Out**: what it does, with a delay each; completed messages go to the ledger.
//! **Never**: forgives. It panics at whatever no client may do: an octet behind a command that must be the last of its
//! group, a group where none was offered, a line that is not one, a nested MAIL, content of a message to nobody.
//!
//! Its replies name the command they answer by the id in it, in brackets. What nobody may ever hear says so itself:
//! `unasked`, `malformed`, `wrong`.

#[path = "commands.rs"]
mod commands;
#[path = "fate.rs"]
mod fate;
#[path = "message.rs"]
mod message;
#[path = "terms.rs"]
pub mod terms;

use std::collections::VecDeque;

use gatepost::session::route::HopTerms;

use self::fate::Fate;
use self::terms::Terms;
use super::bent::Bent;
use super::ledger::Ledger;
use super::rng::{Rng, hash};

/// What a hop does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says octets; `answers` commands are answered by them. `of`: the message they answer the end of.
    Say { octets: Vec<u8>, answers: usize, of: Option<String> },
    /// Says octets only if nothing was asked: otherwise nobody could tell.
    Unasked(Vec<u8>),
    /// Says a reply and more behind it, in one piece, if nothing was asked but what the reply is for.
    Twice { reply: Vec<u8>, more: Vec<u8>, of: Option<String> },
    /// Says octets only if content is under way and its end is not here.
    Early(Vec<u8>),
    /// Sends its FIN, if nothing was asked.
    Leave,
    /// Sends its FIN.
    Eof,
    /// Breaks the connection.
    Lost,
}

/// Laxness in finding line ends.
#[derive(Clone, Copy, Debug)]
struct Lax {
    lf: bool,
    cr: bool,
    nul: bool,
}

/// One connection with a host.
pub struct Hop {
    connection: usize,
    rng: Rng,
    fate: Fate,
    terms: Terms,
    step: usize,
    lax: Lax,
    pipelining: bool,
    keywords: Vec<&'static str>,
    inbox: Vec<u8>,
    content: Option<Vec<u8>>,
    chunk: Option<(usize, bool)>,
    chunked: bool,
    sender: Option<String>,
    rcpts: Vec<String>,
    /// For each unanswered command whether it must be the last of its group.
    pub owed: VecDeque<bool>,
    discard: usize,
    /// Within an AUTH exchange: how many more challenges it has.
    auth: Option<usize>,
    dead: bool,
    /// It was spoken to in LMTP.
    lmtp: bool,
    /// How many handshakes the client had done when the hop accepted its EHLO.
    hello_at: Option<u64>,
    /// It takes no more octets.
    pub stalled: bool,
    said_early: bool,
    /// It takes recipients without a transaction, and then asks for content.
    easy: bool,
    /// It refused RSET, and is still where it was.
    keeps: bool,
    /// It leaves when nobody wants anything of it, now or another time.
    restless: bool,
    /// Its greeting has arrived.
    pub greeted: bool,
    fair: Option<u64>,
}

const KEYWORDS: [&str; 5] = ["8BITMIME", "SIZE 100000", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES"];

impl Hop {
    /// A connection that was accepted, and what the hop does first.
    /// `fair`: nothing goes wrong with it, and of the same address every such hop thinks the same.
    pub fn new(
        connection: usize,
        terms: HopTerms,
        host: &str,
        bent: Bent,
        fair: Option<u64>,
        mut rng: Rng,
    ) -> (Hop, Vec<(u64, Act)>) {
        let fate = if fair.is_some() { Fate::Honest } else { Fate::draw(&mut rng) };
        let lax = Lax { lf: rng.percent(30), cr: rng.percent(20), nul: rng.percent(20) };
        // One with which nothing goes wrong offers the same each time.
        let mut offers = fair.map_or_else(|| rng.fork(), |seed| Rng::new(hash(seed, &[host.as_bytes()])));
        let mut keywords: Vec<&str> = KEYWORDS.into_iter().filter(|_| offers.percent(70)).collect();
        let pipelining = offers.percent(75);
        if pipelining {
            keywords.push("PIPELINING");
        }
        if offers.percent(60) {
            keywords.push("CHUNKING");
        }
        if offers.percent(60) {
            keywords.push("AUTH PLAIN LOGIN");
        }
        let mut hop = Hop {
            connection,
            fate,
            terms: Terms::draw(terms, &mut rng),
            step: rng.below(if fate == Fate::Leaves { 5 } else { 12 }),
            lax,
            pipelining,
            keywords,
            inbox: Vec::new(),
            content: None,
            chunk: None,
            chunked: false,
            sender: None,
            rcpts: Vec::new(),
            owed: VecDeque::new(),
            discard: 0,
            auth: None,
            dead: false,
            lmtp: false,
            hello_at: None,
            stalled: false,
            said_early: false,
            keeps: false,
            easy: rng.percent(if bent.groups { 60 } else { 10 }),
            restless: bent.restless && rng.percent(70),
            greeted: false,
            fair,
            rng,
        };
        let acts = if hop.terms.begins_with_tls() { Vec::new() } else { hop.greet() };
        (hop, acts)
    }

    fn greet(&mut self) -> Vec<(u64, Act)> {
        let greeting = match (self.fate, self.rng.below(3)) {
            (Fate::Greeting, 0) => "421 4.3.2 too busy",
            // Of one that does not know the client, nobody may ever hear that.
            (Fate::Greeting, _) if !self.terms.is_told_first() => "554 5.3.2 wrong",
            (Fate::Greeting, 1) => "554 5.3.2 no mail here",
            (Fate::Greeting, _) => "521 5.3.2 no mail at all",
            _ => "220 hop.example.net ESMTP",
        };
        self.answer(greeting.to_owned(), None, true)
    }

    /// Whether nobody waits for a word of it, or sends it content.
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty() && (self.content.is_none() || self.chunked) && self.chunk.is_none()
    }

    /// Whether it has said all that it owes, its greeting included.
    pub fn is_quiet(&self) -> bool {
        self.owed.is_empty() && self.greeted
    }

    /// Whether it reads content and waits for its end.
    pub fn is_in_content(&self) -> bool {
        self.content.is_some() && !self.chunked && self.owed.is_empty()
    }

    /// For the transcript.
    pub fn describe(&self) -> String {
        let keywords = self.keywords.join(" ");
        format!("{:?} at {}, {:?}, {:?}, {keywords}", self.fate, self.step, self.lax, self.terms)
    }

    /// Octets from gatepost.
    pub fn receive(&mut self, octets: &[u8], ledger: &mut Ledger) -> Vec<(u64, Act)> {
        self.inbox.extend_from_slice(octets);
        let mut acts = Vec::new();
        loop {
            self.assert_silence();
            if self.dead || !self.take(ledger, &mut acts) {
                return acts;
            }
        }
    }

    /// RFC 2920 3.1: behind a command that must be the last of its group comes nothing, not an octet, before its
    /// reply has reached gatepost; behind DATA it would be content.
    fn assert_silence(&self) {
        let waits = !self.dead && self.owed.back().copied().unwrap_or(false);
        let behind = self.inbox.escape_ascii();
        assert!(!waits || self.inbox.is_empty(), "said behind one that ends its group: {behind}");
    }

    /// Takes the next whole thing; false: there is none.
    fn take(&mut self, ledger: &mut Ledger, acts: &mut Vec<(u64, Act)>) -> bool {
        let skip = self.discard.min(self.inbox.len());
        self.inbox.drain(..skip);
        self.discard -= skip;
        if let Some((size, last)) = self.chunk {
            if self.inbox.len() < size {
                return false;
            }
            let octets: Vec<u8> = self.inbox.drain(..size).collect();
            self.chunk = None;
            self.content.get_or_insert_default().extend(octets);
            self.take_chunk(ledger, acts, last);
            return true;
        }
        if self.content.is_some() && !self.chunked {
            self.say_early(acts);
        }
        let Some((line, end)) = self.line() else { return false };
        if self.auth.is_some() {
            self.owed.push_back(true);
            self.challenge(&line, acts);
            return true;
        }
        if self.chunked || self.content.is_none() {
            self.command(&line, acts, ledger.tally.secured);
            return true;
        }
        let lone =
            if self.lax.nul { line.iter().filter(|&&octet| octet != 0).eq(b".") } else { line == b"." };
        if lone {
            self.end_of_data(ledger, acts);
        } else if self.sender.is_none() || self.rcpts.is_empty() {
            // 354 was said all the same: this is content of a message to nobody.
            assert!(ledger.astray, "law 4: taken as content for nobody: {}", line.escape_ascii());
        } else if let Some(content) = &mut self.content {
            content.extend_from_slice(&line);
            content.extend_from_slice(&end);
        }
        true
    }

    fn line(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut at, mut end) = (0, 0);
        while at < self.inbox.len() {
            end = match (self.inbox[at], self.inbox.get(at + 1)) {
                (b'\r', Some(b'\n')) => 2,
                (b'\n', _) if self.lax.lf => 1,
                (b'\r', Some(_)) if self.lax.cr => 1,
                _ => 0,
            };
            if end > 0 {
                break;
            }
            at += 1;
        }
        if end == 0 {
            return None;
        }
        let mut line: Vec<u8> = self.inbox.drain(..at + end).collect();
        let end = line.split_off(at);
        Some((line, end))
    }
}
