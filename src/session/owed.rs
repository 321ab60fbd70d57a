//! The answers owed to the client, in order: the queue that says whose reply a reply is.
//!
//! In:    one entry per command, when it is taken; the hop's reply or our own, when it is known.
//! Out:   the head, once its answer is there.
//! Never: lets an answer overtake another (law 1), or forgets a command before its reply is in: what a hop did not
//!        answer can be said again to the next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::attempt::Ladder;
use super::inquiry::Inquiry;
use super::io::{HopId, SessionEnd, Ticket};
use super::route::PoolId;
use super::transaction::{Carries, Hello, Mail, Recipient, Transaction};
use crate::dialog::Say;
use crate::smtp::{Code, Own, Reply, Verb, own};

/// One answer the client is still to hear.
#[derive(Debug)]
pub struct Owed {
    /// To what.
    pub what: What,
    /// What is known of it.
    pub answer: Answer,
}

/// What was asked: enough to say it again, and the candidate that a positive reply commits.
#[derive(Debug)]
pub enum What {
    /// Nothing: the connection itself.
    Greeting,
    /// EHLO or HELO.
    Hello(Box<Hello>),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Box<Recipient>),
    /// DATA.
    Data,
    /// A chunk that was not the last.
    Chunk,
    /// The end of the content.
    Message(Box<Transaction>),
    /// RSET.
    Reset,
    /// STARTTLS, of which the hop says whether it begins.
    StartTls,
    /// QUIT.
    Quit,
    /// A step of an AUTH exchange; the octets are kept until they were said once, no longer.
    Auth(Option<Box<[u8]>>),
    /// VRFY, EXPN, HELP, NOOP, ETRN or a forwarded verb; the line if it had more than the verb.
    Other(Verb, Option<Box<[u8]>>),
    /// Something answered here.
    Local,
    /// The last word to the client.
    Close(SessionEnd),
}

/// What is known of an answer.
#[derive(Debug)]
pub enum Answer {
    /// Not asked yet: it goes to this pool when all before it are answered.
    Held(PoolId),
    /// There is no hop to hear the command: one is being looked for, or the session ends for want of one.
    Unsaid,
    /// This hop is to say it.
    Hop(HopId),
    /// The hop said it, before its turn.
    Heard(HopId, Box<Reply>),
    /// It is our own.
    Own(Said),
    /// The recipient is being tried.
    Trying(Box<Ladder>),
    /// Callouts are being asked, or will be when it is the head.
    Asked(Box<Inquiry>),
}

/// A reply of our own.
#[derive(Clone, Debug)]
pub enum Said {
    /// One that gatepost says itself.
    Own(&'static Own),
    /// One that a rule wrote, or a hop's, kept.
    Written(Arc<Reply>),
}

impl Said {
    /// What a verdict says before it closes.
    pub fn disconnect(written: Option<Arc<Reply>>) -> Said {
        written.map_or(Said::Own(&own::DISCONNECTED), Said::Written)
    }

    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Said::Own(own) => own.code(),
            Said::Written(reply) => reply.code(),
        }
    }
}

impl What {
    /// Writes the command as it goes upstream; nothing for what is no command.
    pub fn write(&self, carries: Carries, line: &mut Vec<u8>) {
        match self {
            What::Hello(hello) => hello.write(carries.lmtp, line),
            What::Mail(mail) => mail.write(carries, line),
            What::Rcpt(recipient) => recipient.write(carries, line),
            What::Data => line.extend_from_slice(b"DATA\r\n"),
            What::Reset => line.extend_from_slice(b"RSET\r\n"),
            What::StartTls => line.extend_from_slice(b"STARTTLS\r\n"),
            What::Quit => line.extend_from_slice(b"QUIT\r\n"),
            What::Auth(Some(whole)) | What::Other(_, Some(whole)) => line.extend_from_slice(whole),
            What::Other(verb, None) => {
                line.extend_from_slice(verb.as_str().as_bytes());
                line.extend_from_slice(b"\r\n");
            }
            What::Greeting
            | What::Chunk
            | What::Message(_)
            | What::Auth(None)
            | What::Local
            | What::Close(_) => {}
        }
    }

    /// What it is to the hop that hears it.
    pub fn say(&self) -> Say {
        match self {
            What::Hello(_) => Say::Hello,
            What::Mail(_) => Say::Mail,
            What::Rcpt(_) => Say::Along,
            What::Reset => Say::Reset,
            What::Data => Say::Data,
            What::Auth(_) => Say::Auth,
            What::Chunk => Say::Chunk,
            What::Message(_) => Say::Content,
            What::Greeting | What::StartTls | What::Quit | What::Other(..) | What::Local | What::Close(_) => {
                Say::Last
            }
        }
    }

    /// Whether the client's next command waits for this answer.
    pub fn holds_back(&self) -> bool {
        matches!(
            self,
            What::Greeting
                | What::Hello(_)
                | What::Data
                | What::StartTls
                | What::Quit
                | What::Auth(_)
                | What::Other(..)
                | What::Close(_)
        )
    }

    /// Whether a hop's reply with this code is an answer to it at all (RFC 5321 4.3.2).
    pub fn takes(&self, code: Code) -> bool {
        match self {
            What::Data => code.is_intermediate() || code.is_negative(),
            What::StartTls => code.get() == 220 || code.is_negative(),
            What::Auth(_) => code.get() == 334 || !code.is_intermediate(),
            _ => code.is_positive() || code.is_negative(),
        }
    }
}

/// The queue. Entries are numbered so that a hop's replies find theirs wherever the head has got to.
#[derive(Default, Debug)]
pub struct Fifo {
    entries: VecDeque<Owed>,
    first: u32,
    tickets: u32,
}

impl Fifo {
    /// Appends; returns the entry's number.
    pub fn push(&mut self, what: What, answer: Answer) -> u32 {
        self.entries.push_back(Owed { what, answer });
        self.first.wrapping_add(self.entries.len() as u32 - 1)
    }

    /// Puts an entry back that was taken from the head.
    pub fn put_back(&mut self, what: What, answer: Answer) -> u32 {
        self.entries.push_front(Owed { what, answer });
        self.first = self.first.wrapping_sub(1);
        self.first
    }

    /// Takes the head.
    pub fn pop(&mut self) -> Option<Owed> {
        let head = self.entries.pop_front()?;
        self.first = self.first.wrapping_add(1);
        if self.entries.is_empty() && self.entries.capacity() > 8 {
            self.entries = VecDeque::new();
        }
        Some(head)
    }

    /// A ticket that no question of this session has had.
    pub fn ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        Ticket(self.tickets)
    }

    /// Keeps only what must be heard out: up to the last message that a hop has.
    pub fn keep_messages(&mut self) {
        let kept = self
            .entries
            .iter()
            .rposition(|owed| matches!((&owed.what, &owed.answer), (What::Message(_), Answer::Hop(_))));
        self.entries.truncate(kept.map_or(0, |last| last + 1));
    }

    /// The head.
    pub fn head(&self) -> Option<&Owed> {
        self.entries.front()
    }

    /// The head, to change its answer.
    pub fn head_mut(&mut self) -> Option<&mut Owed> {
        self.entries.front_mut()
    }

    /// The head's number.
    pub fn head_number(&self) -> u32 {
        self.first
    }

    /// The newest entry.
    pub fn tail(&self) -> Option<&Owed> {
        self.entries.back()
    }

    /// The entry with a number.
    pub fn numbered(&mut self, number: u32) -> Option<&mut Owed> {
        self.entries.get_mut(number.wrapping_sub(self.first) as usize)
    }

    /// All, oldest first, with their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Owed)> {
        let first = self.first;
        self.entries.iter_mut().enumerate().map(move |(i, owed)| (first.wrapping_add(i as u32), owed))
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Owed> {
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
}
