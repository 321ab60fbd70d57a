//! One answer owed: to what, and what is known of it.
//!
//! In:    a command that was taken, with the candidate that a positive reply commits.
//! Out:   the command as it goes upstream, what it is to the hop, and which replies are answers to it.
//! Never: knows its place in the queue.

use crate::dialog::Say;
use crate::session::attempt::Attempt;
use crate::session::conversations::Inquiry;
use crate::session::events::SessionEnd;
use crate::session::peer::HopId;
use crate::session::route::PoolId;
use crate::session::said::Said;
use crate::session::transaction::{Carries, Hello, Mail, Recipient, Transaction};
use crate::smtp::{Code, Reply, Verb};

/// One answer the client is still to hear.
#[derive(Debug)]
pub struct Entry {
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
    /// The end of content that is kept to be asked about; its transaction goes on.
    Kept,
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
    Trying(Box<Attempt>),
    /// Callouts are being asked, or will be when it is the head.
    Asked(Box<Inquiry>),
}

impl What {
    /// The recipient that is asked for.
    pub fn recipient(&self) -> Option<&Recipient> {
        match self {
            What::Rcpt(recipient) => Some(recipient),
            _ => None,
        }
    }

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
            | What::Kept
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
            What::Greeting
            | What::StartTls
            | What::Quit
            | What::Other(..)
            | What::Kept
            | What::Local
            | What::Close(_) => Say::Last,
        }
    }

    /// Whether no other hop can hear it once one has.
    pub fn is_said_once(&self) -> bool {
        matches!(self, What::Message(_) | What::Chunk | What::Auth(None) | What::StartTls)
    }

    /// Whether the record of its transaction tells what it was answered.
    pub fn is_recorded(&self) -> bool {
        matches!(
            self,
            What::Mail(_) | What::Rcpt(_) | What::Data | What::Chunk | What::Message(_) | What::Kept
        )
    }

    /// Whether a hop takes EHLO for granted when it hears this (RFC 5321 4.1.4).
    pub fn needs_hello(&self) -> bool {
        match self {
            What::Mail(_) | What::Rcpt(_) | What::Data | What::Chunk | What::Message(_) | What::Auth(_) => {
                true
            }
            What::Other(verb, _) => !matches!(verb, Verb::Noop | Verb::Help),
            What::Greeting
            | What::Hello(_)
            | What::Reset
            | What::StartTls
            | What::Quit
            | What::Kept
            | What::Local
            | What::Close(_) => false,
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
                | What::Kept
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

impl Entry {
    pub(super) fn is_message_at_a_hop(&self) -> bool {
        matches!((&self.what, &self.answer), (What::Message(_), Answer::Hop(_)))
    }
}
