//! The client side of one SMTP dialog.
//!
//! In:    commands to say, each with whom its reply is for; octets from the hop.
//! Out:   octets for the hop, as soon as its pipelining allows; one [`Heard`] per reply, in order.
//! Never: decides policy, reads a clock, or says a command while one is unanswered that must be the last of its
//!        group, or any two at once to a hop that did not offer PIPELINING.
//!
//! RFC 5321 4.3 (order of commands), RFC 2920 (pipelining).

use std::collections::VecDeque;

use super::Tx;
use crate::smtp::{Extensions, Keyword, ReplyFault, ReplyFramer, ReplyLimits, ReplyRef};

/// Whom a reply is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The session: the hop's greeting.
    Greeting,
    /// The session: what is said to a hop before it hears anything of the client's.
    Terms,
    /// The session: who the client is, said before MAIL.
    Xforward,
    /// The session: EHLO or HELO said again to a new hop.
    Hello,
    /// The client: the answer with this number.
    Owed(u32),
    /// The session: MAIL or RCPT said again to a new hop; anything but 2xx and the hop does not fit.
    Replayed,
    /// The recipient being tried: its MAIL.
    RungMail,
    /// The recipient being tried: its RCPT.
    RungRcpt,
    /// The session: DATA said on its own account; 354 lets the content flow.
    Go,
    /// The session: a part of a larger chunk.
    Part,
    /// Nobody: RSET and QUIT of our own.
    Nobody,
}

/// How a command stands in a pipelining group (RFC 2920 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// More may follow it unanswered.
    Along,
    /// Nothing is said behind it until it is answered.
    Last,
}

/// What a hop said.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A reply, and whom it is for; `None`: nobody asked.
    Reply(ReplyRef<'a>, Option<Expect>),
    /// Not all of a reply yet.
    Partial,
    /// No reply that may be believed; nothing after it can be either.
    Malformed(ReplyFault),
}

/// The dialog with one hop.
#[derive(Default, Debug)]
pub struct Upstream {
    framer: ReplyFramer,
    expects: VecDeque<Expect>,
    waiting: VecDeque<(Expect, Say, Box<[u8]>)>,
    closed_group: bool,
    /// What the hop offered in its latest EHLO reply.
    pub extensions: Extensions,
}

impl Upstream {
    /// Awaits what the hop says of its own accord: the greeting.
    pub fn expect(&mut self, expect: Expect) {
        self.expects.push_back(expect);
        self.closed_group = true;
    }

    /// Awaits the reply to content: commands may be said behind it (RFC 2920 3.1).
    pub fn expect_along(&mut self, expect: Expect) {
        self.expects.push_back(expect);
        self.closed_group = false;
    }

    /// Says a command now, or as soon as the hop may hear it.
    pub fn say(&mut self, tx: &mut Tx, expect: Expect, group: Say, write: impl FnOnce(&mut Vec<u8>)) {
        if self.may_say() {
            tx.write(write);
            self.expects.push_back(expect);
            self.closed_group = group == Say::Last;
        } else {
            let mut octets = Vec::new();
            write(&mut octets);
            self.waiting.push_back((expect, group, octets.into_boxed_slice()));
        }
    }

    /// Frames the hop's next reply. The caller consumes as many octets as the reply has.
    pub fn hear<'a>(&mut self, octets: &'a [u8], limits: ReplyLimits) -> Heard<'a> {
        match self.framer.next(octets, limits) {
            Ok(None) => Heard::Partial,
            Err(fault) => Heard::Malformed(fault),
            Ok(Some(reply)) => {
                let expect = self.expects.pop_front();
                if self.expects.is_empty() {
                    self.closed_group = false;
                }
                Heard::Reply(reply, expect)
            }
        }
    }

    /// Says what waited and may be said now.
    pub fn pump(&mut self, tx: &mut Tx) {
        while !self.waiting.is_empty() && self.may_write() {
            if let Some((expect, group, octets)) = self.waiting.pop_front() {
                tx.put(&octets);
                self.expects.push_back(expect);
                self.closed_group = group == Say::Last;
            }
        }
    }

    /// Takes nobody's interest in what was said so far: its replies will be dropped as they come, and what waited is
    /// not said.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.expects.iter_mut().for_each(|expect| *expect = Expect::Nobody);
    }

    /// Whether a command said now would go out now.
    pub fn may_say(&self) -> bool {
        self.waiting.is_empty() && self.may_write()
    }

    /// Whether no reply is outstanding.
    pub fn is_quiet(&self) -> bool {
        self.expects.is_empty() && self.waiting.is_empty()
    }

    /// Whether a reply to this is still to come.
    pub fn awaits(&self, expect: Expect) -> bool {
        self.expects.contains(&expect) || self.waiting.iter().any(|(waiting, ..)| *waiting == expect)
    }

    /// Gives back the space of queues that a busy moment made large.
    pub fn shrink(&mut self) {
        if self.expects.is_empty() && self.expects.capacity() > 8 {
            self.expects = VecDeque::new();
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }

    fn may_write(&self) -> bool {
        self.expects.is_empty() || (!self.closed_group && self.extensions.has(Keyword::Pipelining))
    }
}
