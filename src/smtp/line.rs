//! Octets to lines.
//!
//! In:    what is waiting in a receive buffer.
//! Out:   its first line, with the kind of line end it has, or that there is none yet or never will be.
//! Never: copies, or decides what a bare LF means (that is `bare_newline`); a bare CR is an octet of the
//!        line, for the command grammar to refuse.
//!
//! RFC 5321 2.3.8, 4.5.3.1.4.

use memchr::memchr;

/// What stands first in a receive buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line<'a> {
    /// A whole line.
    Whole {
        /// It, without its line end.
        line: &'a [u8],
        /// How many octets it is with the line end.
        taken: usize,
        /// How it ends.
        end: LineEnd,
    },
    /// More octets are needed.
    Partial,
    /// No line end within the limit.
    TooLong,
}

/// How a line ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum LineEnd {
    /// As it must.
    CrLf,
    /// With an LF alone.
    BareLf,
}

/// The first line of `octets`, which with its line end may be `limit` octets.
pub fn next_line(octets: &[u8], limit: usize) -> Line<'_> {
    let within = &octets[..octets.len().min(limit)];
    match memchr(b'\n', within) {
        Some(lf) => {
            let (line, end) = match &within[..lf] {
                [line @ .., b'\r'] => (line, LineEnd::CrLf),
                line => (line, LineEnd::BareLf),
            };
            Line::Whole { line, taken: lf + 1, end }
        }
        None if octets.len() >= limit => Line::TooLong,
        None => Line::Partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: &[u8], taken: usize, end: LineEnd) -> Line<'_> {
        Line::Whole { line, taken, end }
    }

    #[test]
    fn lines() {
        use LineEnd::{BareLf, CrLf};
        let table: &[(&[u8], Line<'_>)] = &[
            (b"", Line::Partial),
            (b"NOOP", Line::Partial),
            (b"NOOP\r", Line::Partial),
            (b"NOOP\r\n", whole(b"NOOP", 6, CrLf)),
            (b"NOOP\r\nQUIT\r\n", whole(b"NOOP", 6, CrLf)),
            (b"NOOP\n", whole(b"NOOP", 5, BareLf)),
            (b"\r\n", whole(b"", 2, CrLf)),
            (b"\n", whole(b"", 1, BareLf)),
            (b"NO\rOP\r\r\n", whole(b"NO\rOP\r", 8, CrLf)),
            (b"12345678\r\n", whole(b"12345678", 10, CrLf)),
            (b"123456789\r\n", Line::TooLong),
            (b"1234567890", Line::TooLong),
            (b"123456789", Line::Partial),
        ];
        for &(octets, expected) in table {
            assert_eq!(next_line(octets, 10), expected, "{}", octets.escape_ascii());
            if let Line::Whole { taken, .. } = expected {
                for at in 0..taken {
                    assert_eq!(next_line(&octets[..at], 10), Line::Partial);
                }
            }
        }
    }
}
