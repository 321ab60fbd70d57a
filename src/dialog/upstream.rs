//! The client side of one SMTP dialog.
//!
//! In:    commands to say, each with whom its reply is for; octets from the hop.
//! Out:   octets for the hop, as soon as its pipelining allows; one [`Heard`] per reply, in order; what the hop is inside
//!        of, as it answered.
//! Never: decides policy, reads a clock, or takes a reply for one to what was said after it arrived; says a command while
//!        one is unanswered that must be the last of its group, or any two at once to a hop that did not offer
//!        PIPELINING; says a command where the hop takes content or a step of AUTH.
//!
//! RFC 5321 4.3 (order of commands), RFC 2920 (pipelining), RFC 4954 4 (AUTH exchanges).

use std::collections::VecDeque;

use super::{Limits, Tx};
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
    /// The session: RCPT of a recipient that was added to a message behind its content.
    Added,
    /// The session: NOOP, so that the hop does not take us for gone.
    Alive,
    /// The recipient being tried: its MAIL.
    RungMail,
    /// The recipient being tried: its RCPT.
    RungRcpt,
    /// The session: DATA said on its own account; 354 lets the content flow.
    Go,
    /// The session: a part of a larger chunk.
    Part,
    /// The session: RSET of its own; anything but 2xx and the hop is not where it should be.
    Reset,
    /// Nobody: QUIT of our own.
    Nobody,
}

/// What is said, as far as it decides what may be said behind it, and where the hop stands when it has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    /// EHLO, LHLO or HELO: what was said before it counts no more, if it is taken.
    Hello,
    /// MAIL: a transaction begins, if it is taken.
    Mail,
    /// RSET: whatever there was ends.
    Reset,
    /// DATA: behind 354 the hop takes content.
    Data,
    /// AUTH or a step of it: behind 334 the hop takes the next.
    Auth,
    /// A chunk that is not the last.
    Chunk,
    /// The end of the content: commands may be said behind it (RFC 2920 3.1), and the transaction is over, whatever the
    /// answer is (RFC 5321 4.1.1.4).
    Content,
    /// A command that may have others behind it.
    Along,
    /// Any other command.
    Last,
}

impl Say {
    /// Whether nothing is said behind it until it is answered (RFC 2920 3.1).
    fn is_last(self) -> bool {
        matches!(self, Say::Hello | Say::Data | Say::Auth | Say::Last)
    }
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

/// What the hop takes next.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Mode {
    #[default]
    Commands,
    /// Content, to CRLF.CRLF.
    Content,
    /// A step of an AUTH exchange.
    Auth,
}

/// The dialog with one hop.
#[derive(Default, Debug)]
pub struct Upstream {
    framer: ReplyFramer,
    expects: VecDeque<(Expect, Say)>,
    waiting: VecDeque<(Expect, Say, Box<[u8]>)>,
    /// How many of the replies that are still to come may be among the octets at hand.
    asked: usize,
    mode: Mode,
    /// It took MAIL, and nothing since that ends a transaction.
    in_mail: bool,
    /// What the hop offered in its latest EHLO reply.
    pub extensions: Extensions,
}

impl Upstream {
    /// Awaits what the hop says of its own accord: the greeting.
    pub fn expect(&mut self, expect: Expect) {
        self.expects.push_back((expect, Say::Last));
    }

    /// Awaits the reply to content, or to a chunk, of which the last octets are being written.
    pub fn expect_along(&mut self, expect: Expect, say: Say) {
        self.wrote(expect, say);
    }

    /// Ends content of which not an octet was said, before anything that waits.
    pub fn end_without_content(&mut self, tx: &mut Tx, expect: Expect) {
        tx.put(b".\r\n");
        self.wrote(expect, Say::Content);
    }

    /// Says a command now, or as soon as the hop may hear it.
    pub fn say(&mut self, tx: &mut Tx, expect: Expect, say: Say, write: impl FnOnce(&mut Vec<u8>)) {
        if self.waiting.is_empty() && self.may_write(say) {
            tx.write(write);
            self.wrote(expect, say);
        } else {
            let mut octets = Vec::new();
            write(&mut octets);
            self.waiting.push_back((expect, say, octets.into_boxed_slice()));
        }
    }

    /// Octets of the hop's are here: among them can be replies to what was said before, and to nothing else (law 1).
    pub fn arrives(&mut self) {
        self.asked = self.expects.len();
    }

    /// How much the hop's next reply may be: a step of AUTH may be as long as one of the client's (RFC 4954 4).
    pub fn reply_limits(&self, limits: &Limits) -> ReplyLimits {
        let line = match self.expects.front() {
            Some((_, Say::Auth)) => limits.reply_line.max(limits.auth_line),
            _ => limits.reply_line,
        };
        ReplyLimits { line, reply: limits.reply.max(line) }
    }

    /// Frames the hop's next reply. The caller consumes as many octets as the reply has.
    pub fn hear<'a>(&mut self, octets: &'a [u8], limits: ReplyLimits) -> Heard<'a> {
        match self.framer.next(octets, limits) {
            Ok(None) => Heard::Partial,
            Err(fault) => Heard::Malformed(fault),
            Ok(Some(reply)) => {
                let expect = if self.asked > 0 { self.expects.pop_front() } else { None };
                self.asked = self.asked.saturating_sub(1);
                if let Some((_, say)) = expect {
                    self.answered(say, reply);
                }
                Heard::Reply(reply, expect.map(|(expect, _)| expect))
            }
        }
    }

    /// Says what waited and may be said now.
    pub fn pump(&mut self, tx: &mut Tx) {
        while let Some((.., say, _)) = self.waiting.front()
            && self.may_write(*say)
            && let Some((expect, say, octets)) = self.waiting.pop_front()
        {
            tx.put(&octets);
            self.wrote(expect, say);
        }
    }

    /// Nobody takes an interest in what was said so far, but for what is wanted still: other replies will be dropped as
    /// they come, and what waited is not said.
    pub fn forget(&mut self, wanted: impl Fn(Expect) -> bool) {
        self.waiting.clear();
        let unwanted = self.expects.iter_mut().filter(|(expect, _)| !wanted(*expect));
        unwanted.for_each(|(expect, _)| *expect = Expect::Nobody);
    }

    /// Whether a command said now would go out now.
    pub fn may_say(&self) -> bool {
        self.waiting.is_empty() && self.may_write(Say::Last)
    }

    /// Whether nothing more of the octets at hand can be a reply to anything.
    pub fn has_answered(&self) -> bool {
        self.asked == 0
    }

    /// Whether no reply is outstanding, nor will be.
    pub fn is_quiet(&self) -> bool {
        self.expects.is_empty() && self.waiting.is_empty()
    }

    /// Whether something waits until the hop may hear it.
    pub fn holds_back(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a reply to this is still to come.
    pub fn awaits(&self, expect: Expect) -> bool {
        self.expects().any(|awaited| awaited == expect)
    }

    /// Whose replies are still to come, in order.
    pub fn expects(&self) -> impl Iterator<Item = Expect> {
        let said = self.expects.iter().map(|(expect, _)| *expect);
        said.chain(self.waiting.iter().map(|(expect, ..)| *expect))
    }

    /// Whether the hop is inside a transaction, as it answered, or will be if it takes all that was said to it. A
    /// refused EHLO ends nothing.
    pub fn may_be_in_mail(&self) -> bool {
        let said = self.expects.iter().map(|(_, say)| *say);
        said.chain(self.waiting.iter().map(|(_, say, _)| *say)).fold(self.in_mail, |inside, say| match say {
            Say::Mail => true,
            Say::Reset | Say::Content => false,
            Say::Hello | Say::Data | Say::Auth | Say::Chunk | Say::Along | Say::Last => inside,
        })
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

    fn wrote(&mut self, expect: Expect, say: Say) {
        self.mode = Mode::Commands;
        self.expects.push_back((expect, say));
    }

    fn answered(&mut self, say: Say, reply: ReplyRef<'_>) {
        let code = reply.code();
        match say {
            Say::Mail if code.is_positive() => self.in_mail = true,
            Say::Reset | Say::Hello if code.is_positive() => self.in_mail = false,
            Say::Content => self.in_mail = false,
            Say::Data if code.is_intermediate() => self.mode = Mode::Content,
            Say::Auth if code.is_intermediate() => self.mode = Mode::Auth,
            _ => {}
        }
    }

    fn may_write(&self, say: Say) -> bool {
        let mode = match self.mode {
            Mode::Commands => true,
            Mode::Content => say == Say::Content,
            Mode::Auth => say == Say::Auth,
        };
        let group = match self.expects.back() {
            None => true,
            Some((_, last)) => !last.is_last() && self.extensions.has(Keyword::Pipelining),
        };
        mode && group
    }
}

#[cfg(test)]
mod tests;
