//! The server side of one SMTP dialog, as far as its lines go.
//!
//! In:    octets from the client while it speaks in lines (not content).
//! Out:   one [`Next`] per line: a command, a line of an AUTH exchange, or what is wrong with it.
//! Never: answers, or keeps an octet: an unfinished line stays in the shell's buffer and is offered again.
//!
//! RFC 5321 2.3.8 and 4.5.3.1.4 (lines), RFC 4954 4 (AUTH exchange).

use super::Limits;
use crate::smtp::{BareNewline, Command, CommandError, Line, LineEnd, next_line};

/// How much of a line that is too long is read and dropped before the client is.
const FLOOD: u32 = 64 << 10;

/// What the client's octets are.
#[derive(Debug)]
pub enum Next<'a> {
    /// Not a whole line yet.
    Partial,
    /// A line that is, or should have been, a command.
    Command(Result<Command<'a>, CommandError>, usize),
    /// A line of an AUTH exchange.
    Auth(&'a [u8], usize),
    /// So many octets of a line that is too long; it goes on.
    Discarded(usize),
    /// The end of a line that was too long.
    TooLong(usize),
    /// Too much even to discard.
    Flood,
    /// A line that ends with a bare LF where those are rejected.
    BareLf(usize),
}

/// The client's side of the dialog: where in its lines it stands.
#[derive(Default, Debug)]
pub struct Downstream {
    /// Whether lines are an AUTH exchange, not commands.
    pub in_auth: bool,
    /// How many syntax and sequence errors gatepost answered since the last accepted message.
    pub errors: u16,
    discarded: u32,
}

impl Downstream {
    /// Forgets where it stood, but not what the client did wrong.
    pub fn begin_anew(&mut self) {
        *self = Downstream { errors: self.errors, ..Downstream::default() };
    }

    /// Reads the next line.
    pub fn next<'a>(&mut self, octets: &'a [u8], limits: &Limits, bare: BareNewline) -> Next<'a> {
        if self.discarded > 0 {
            return self.discard(octets);
        }
        // RFC 4954 4: a command with an initial response is as long as a line of the exchange it begins.
        let limit = match self.in_auth || begins_auth(octets) {
            true => limits.auth_line,
            false => limits.command_line,
        };
        match next_line(octets, limit) {
            Line::Partial => Next::Partial,
            Line::TooLong => self.discard(octets),
            Line::Whole { taken, end: LineEnd::BareLf, .. } if matches!(bare, BareNewline::Reject) => {
                Next::BareLf(taken)
            }
            Line::Whole { line, taken, .. } if self.in_auth => Next::Auth(line, taken),
            Line::Whole { line, taken, .. } => Next::Command(Command::parse(line), taken),
        }
    }

    fn discard<'a>(&mut self, octets: &[u8]) -> Next<'a> {
        let more = u32::try_from(octets.len()).unwrap_or(u32::MAX).min(FLOOD + 1);
        match memchr::memchr(b'\n', octets) {
            _ if self.discarded + more > FLOOD + 1 => Next::Flood,
            Some(end) => {
                self.discarded = 0;
                Next::TooLong(end + 1)
            }
            None => {
                self.discarded += more;
                if self.discarded > FLOOD { Next::Flood } else { Next::Discarded(octets.len()) }
            }
        }
    }
}

fn begins_auth(line: &[u8]) -> bool {
    line.split_at_checked(4).is_some_and(|(verb, rest)| {
        verb.eq_ignore_ascii_case(b"AUTH") && matches!(rest.first(), Some(b' ' | b'\t'))
    })
}

#[cfg(test)]
mod tests;
