//! One session of the sink: what an SMTP server says, and where content ends.
//!
//! In:    octets as they were read, split anywhere.
//! Out:   the replies to every command in them, to be written at once; messages and octets counted.
//! Never: reads or writes a socket, keeps content, or takes anything but CRLF.CRLF (or the last octet of a
//!        `BDAT … LAST`) for its end.
//!
//! RFC 5321 4.1.1 and 4.1.1.4, RFC 3030 2 (BDAT).

use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr, memmem};
use rustix::fd::OwnedFd;

const KEYWORDS: &[u8] = b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";
/// RFC 5321 4.1.1.4.
pub const END_OF_DATA: &[u8] = b"\r\n.\r\n";
const LONGEST_LINE: usize = 4096;

/// Counted as it happens, read by the sink's owner.
#[derive(Default)]
pub struct Counts {
    pub messages: AtomicU64,
    pub octets: AtomicU64,
    pub faults: AtomicU64,
}

/// One connection to the sink.
pub struct Session {
    pub socket: OwnedFd,
    expects: Expects,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
}

/// What the next octet belongs to.
pub enum Expects {
    Command,
    Content { matched: usize, octets: u64 },
    Chunk { left: u64, octets: u64, last: bool },
    Request,
}

impl Session {
    pub fn new(socket: OwnedFd, expects: Expects) -> Self {
        Self { socket, expects, rest: Vec::new() }
    }

    /// Takes what was read and adds what is to be written. Says whether the session stays open.
    pub fn take(
        &mut self,
        mut input: &[u8],
        replies: &mut Vec<u8>,
        finder: &memmem::Finder,
        answer: &[u8],
        counts: &Counts,
    ) -> bool {
        while !input.is_empty() {
            match &mut self.expects {
                Expects::Command => {
                    let Some(end) = memchr(b'\n', input) else {
                        self.rest.extend_from_slice(input);
                        return self.rest.len() <= LONGEST_LINE;
                    };
                    let (line, after) = input.split_at(end + 1);
                    input = after;
                    let open = if self.rest.is_empty() {
                        self.command(line, replies, counts)
                    } else {
                        let mut whole = std::mem::take(&mut self.rest);
                        whole.extend_from_slice(line);
                        self.command(&whole, replies, counts)
                    };
                    if !open {
                        return false;
                    }
                }
                Expects::Content { matched, octets } => {
                    let Some(end) = end_of_data(matched, input, finder) else {
                        *octets += input.len() as u64;
                        return true;
                    };
                    // The line with the dot is not content; the CRLF before it is.
                    let content = *octets + end as u64 - 3;
                    input = &input[end..];
                    self.accepted(content, replies, counts);
                }
                Expects::Chunk { left, octets, last } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= taken as u64;
                    *octets += taken as u64;
                    input = &input[taken..];
                    if *left == 0 {
                        let (content, last) = (*octets, *last);
                        self.chunk_done(content, last, replies, counts);
                    }
                }
                Expects::Request => {
                    self.rest.extend_from_slice(input);
                    if self.rest.ends_with(b"\r\n\r\n") {
                        replies.extend_from_slice(answer);
                        return false;
                    }
                    return self.rest.len() <= LONGEST_LINE;
                }
            }
        }
        true
    }

    /// Whether an end of input now cuts a message off.
    pub fn in_content(&self) -> bool {
        matches!(self.expects, Expects::Content { .. } | Expects::Chunk { .. })
    }

    fn command(&mut self, line: &[u8], replies: &mut Vec<u8>, counts: &Counts) -> bool {
        let mut verb = [0; 4];
        let known = line.len().min(4);
        verb[..known].copy_from_slice(&line[..known]);
        verb.make_ascii_uppercase();
        let reply: &[u8] = match &verb {
            b"EHLO" => KEYWORDS,
            b"HELO" => b"250 sink.test\r\n",
            b"MAIL" => b"250 2.1.0 Sender ok\r\n",
            b"RCPT" if line.ends_with(b"@sink.test>\r\n") => b"250 2.1.5 Recipient ok\r\n",
            // Somebody else's client, on a machine where others test SMTP: not to be counted.
            b"RCPT" => b"550 5.1.1 Not of this comparison\r\n",
            b"DATA" => {
                // A dot may follow at once: the CRLF of DATA's own line counts as the beginning.
                self.expects = Expects::Content { matched: 2, octets: 0 };
                b"354 Go ahead\r\n"
            }
            b"BDAT" => return self.chunk(line, replies, counts),
            b"RSET" | b"NOOP" => b"250 2.0.0 Ok\r\n",
            b"QUIT" => b"221 2.0.0 Bye\r\n",
            _ => {
                counts.faults.fetch_add(1, Ordering::Release);
                b"500 5.5.2 Unknown command\r\n"
            }
        };
        replies.extend_from_slice(reply);
        &verb != b"QUIT"
    }

    fn chunk(&mut self, line: &[u8], replies: &mut Vec<u8>, counts: &Counts) -> bool {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace().skip(1);
        let Some(size) = words.next().and_then(|size| size.parse().ok()) else {
            counts.faults.fetch_add(1, Ordering::Release);
            return false;
        };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        // The octets of earlier chunks are counted as they come: only the last one makes a message.
        if size == 0 {
            self.chunk_done(0, last, replies, counts);
        } else {
            self.expects = Expects::Chunk { left: size, octets: 0, last };
        }
        true
    }

    fn chunk_done(&mut self, octets: u64, last: bool, replies: &mut Vec<u8>, counts: &Counts) {
        if last {
            return self.accepted(octets, replies, counts);
        }
        counts.octets.fetch_add(octets, Ordering::Release);
        self.expects = Expects::Command;
        replies.extend_from_slice(b"250 2.0.0 Chunk ok\r\n");
    }

    fn accepted(&mut self, octets: u64, replies: &mut Vec<u8>, counts: &Counts) {
        counts.messages.fetch_add(1, Ordering::Release);
        counts.octets.fetch_add(octets, Ordering::Release);
        self.expects = Expects::Command;
        replies.extend_from_slice(b"250 2.0.0 Message accepted\r\n");
    }
}

/// How many octets of `input` belong to the content, its end included; `None` when it goes on. `matched`
/// is how much of the end had been seen before `input`, whatever the split.
fn end_of_data(matched: &mut usize, input: &[u8], finder: &memmem::Finder) -> Option<usize> {
    let mut at = 0;
    while *matched > 0 && at < input.len() {
        *matched = step(*matched, input[at]);
        at += 1;
        if *matched == END_OF_DATA.len() {
            return Some(at);
        }
    }
    let rest = &input[at..];
    if let Some(found) = finder.find(rest) {
        return Some(at + found + END_OF_DATA.len());
    }
    let tail = &rest[rest.len().saturating_sub(END_OF_DATA.len() - 1)..];
    *matched = tail.iter().fold(*matched, |matched, octet| step(matched, *octet));
    None
}

fn step(matched: usize, octet: u8) -> usize {
    if octet == END_OF_DATA[matched] { matched + 1 } else { usize::from(octet == b'\r') }
}
