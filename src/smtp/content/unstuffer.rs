//! Reads DATA content for a store: the stuffing and the end-of-data removed, otherwise octet for octet.
//!
//! In:    the octets behind a 354, split anywhere.
//! Out:   pieces of the message; the octet behind the end-of-data.
//! Never: ends content anywhere but at CRLF.CRLF; changes or drops any octet but the dots of stuffing. What
//!        is stuffing it judges as [`DataScanner`](super::DataScanner) does: a dot before a bare CR or LF is text.
//!
//! RFC 5321 4.1.1.4, 4.5.2.

use memchr::memchr;

use super::{Piece, Scanned};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// After CRLF, or at the start.
    Begin,
    /// Held: a dot after CRLF.
    Dot,
    /// Held: that and a CR.
    DotCr,
    /// After a CR, which is out.
    Cr,
    Text,
}

/// Unstuffs the content of one message.
#[derive(Clone, Debug)]
pub struct Unstuffer {
    state: State,
    size: u64,
    ended: bool,
}

impl Default for Unstuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Unstuffer {
    /// At the start of the content.
    pub fn new() -> Self {
        Self { state: State::Begin, size: 0, ended: false }
    }

    /// Takes octets up to the end-of-data; what stands behind it is left. After the end it takes nothing.
    pub fn scan(&mut self, octets: &[u8], emit: &mut impl FnMut(Piece)) -> Scanned {
        let mut size = self.size;
        let mut put = |piece: Piece| {
            size += match &piece {
                Piece::Received(range) => range.len() as u64,
                Piece::Static(octets) => octets.len() as u64,
            };
            emit(piece);
        };
        let taken = self.take(octets, &mut put);
        self.size = size;
        Scanned { taken, ended: self.ended }
    }

    /// How many octets were emitted: the message's size as RFC 1870 counts it.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn take(&mut self, octets: &[u8], put: &mut impl FnMut(Piece)) -> usize {
        let (mut at, mut sent) = (0, 0);
        while !self.ended && at < octets.len() {
            let octet = octets[at];
            match (self.state, octet) {
                (State::Begin, b'.') => {
                    pass(sent, at, put);
                    sent = at + 1;
                    self.state = State::Dot;
                }
                (State::Dot, b'\r') => {
                    sent = at + 1;
                    self.state = State::DotCr;
                }
                (State::DotCr, b'\n') => {
                    sent = at + 1;
                    self.ended = true;
                }
                (State::Cr, b'\n') => self.state = State::Begin,
                // The dot was text: the octet that says so is passed with what follows.
                (State::Dot, b'\n') => {
                    put(Piece::Static(b"."));
                    self.state = State::Text;
                }
                (State::DotCr, _) => {
                    put(Piece::Static(b".\r"));
                    self.state = if octet == b'\r' { State::Cr } else { State::Text };
                }
                (_, b'\r') => self.state = State::Cr,
                (State::Text | State::Cr, _) => {
                    at = next_dot_line(octets, at);
                    self.state = match octets[..at] {
                        [.., b'\r', b'\n'] => State::Begin,
                        [.., b'\r'] => State::Cr,
                        _ => State::Text,
                    };
                    continue;
                }
                (State::Begin | State::Dot, _) => self.state = State::Text,
            }
            at += 1;
        }
        pass(sent, at, put);
        at
    }
}

fn pass(from: usize, until: usize, put: &mut impl FnMut(Piece)) {
    if until > from {
        put(Piece::Received(from..until));
    }
}

/// Where the next line begins that begins with a dot, or the end.
fn next_dot_line(octets: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(lf) = memchr(b'\n', &octets[at..]).map(|next| at + next) {
        at = lf + 1;
        if lf > from && octets[lf - 1] == b'\r' && octets.get(at) == Some(&b'.') {
            return at;
        }
    }
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let mut reader = Unstuffer::new();
        let (mut out, mut taken, mut ended) = (Vec::new(), 0, false);
        for part in parts {
            let scanned = reader.scan(part, &mut |piece| match piece {
                Piece::Received(range) => out.extend_from_slice(&part[range]),
                Piece::Static(octets) => out.extend_from_slice(octets),
            });
            taken += scanned.taken;
            ended = scanned.ended;
        }
        assert_eq!(reader.size(), out.len() as u64);
        (out, taken, ended)
    }

    #[test]
    fn removes_stuffing_and_nothing_else() {
        let table: &[(&[u8], &[u8])] = &[
            (b".\r\n", b""),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
            (b"..\r\n...x\r\n.y\r\nz.\r\n.\r\n", b".\r\n..x\r\ny\r\nz.\r\n"),
            (b"a\n.\n.\r\nb\r\n.\r\n", b"a\n.\n.\r\nb\r\n"),
            (b"\r\n.\n\r\n.\rb\r\n.\r\r\n.\r\n", b"\r\n.\n\r\n.\rb\r\n.\r\r\n"),
            (b"\r.\r\r\n.\0\r\n\xff\r\n.\r\n", b"\r.\r\r\n\0\r\n\xff\r\n"),
        ];
        for &(octets, out) in table {
            let stream = [octets, b"QUIT\r\n"].concat();
            let expected = (out.to_vec(), octets.len(), true);
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            let name = octets.escape_ascii().to_string();
            assert_eq!(read(&single), expected, "{name}");
            for at in 0..=stream.len() {
                assert_eq!(read(&[&stream[..at], &stream[at..]]), expected, "{name} at {at}");
            }
        }
    }

    #[test]
    fn waits_for_the_end() {
        for octets in [&b""[..], b"a", b".", b".\r", b"a\r\n", b"a\r\n.\r", b"a\n.\n", b"\r.\r\n"] {
            let (_, taken, ended) = read(&[octets]);
            assert_eq!((taken, ended), (octets.len(), false));
        }
    }
}
