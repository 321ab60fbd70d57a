//! Frames replies in a receive buffer.
//!
//! In:    all a hop said that was not taken yet.
//! Out:   its first reply, when that is whole; or why it is none, and the dialog is lost.
//! Never: accepts what could be read as another reply by somebody else (bare CR or LF, NUL, codes that
//!        differ); scans whole lines again when more octets arrive.
//!
//! RFC 5321 4.2, 4.5.3.1.5.

use std::fmt;

use memchr::{memchr, memchr2};

use super::{Code, ReplyRef, code_of};

/// How much a hop may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyLimits {
    /// Octets of one line with its CRLF.
    pub line: usize,
    /// Octets of one reply.
    pub reply: usize,
}

/// Frames replies in a receive buffer.
///
/// The buffer begins with the reply to come. When there is a reply, the caller consumes its octets; when more
/// are needed, it appends them and asks again, and what was seen to be whole lines is not scanned again.
#[derive(Clone, Debug, Default)]
pub struct ReplyFramer {
    /// Octets that are whole continuation lines, of the code of the first.
    seen: usize,
}

impl ReplyFramer {
    /// The first reply in the buffer, or None when it is not whole yet.
    pub fn next<'a>(
        &mut self,
        octets: &'a [u8],
        limits: ReplyLimits,
    ) -> Result<Option<ReplyRef<'a>>, ReplyFault> {
        let framed = self.frame(octets, limits);
        if !matches!(framed, Ok(None)) {
            self.seen = 0;
        }
        framed
    }

    /// Whether whole lines of a reply are waiting for more.
    pub fn is_within(&self) -> bool {
        self.seen > 0
    }

    fn frame<'a>(
        &mut self,
        octets: &'a [u8],
        limits: ReplyLimits,
    ) -> Result<Option<ReplyRef<'a>>, ReplyFault> {
        loop {
            let rest = &octets[self.seen..];
            let Some(lf) = memchr(b'\n', rest) else {
                // A line that is too long already, whatever follows.
                if rest.len() >= limits.line {
                    return Err(ReplyFault::LineTooLong);
                }
                if octets.len() >= limits.reply {
                    return Err(ReplyFault::ReplyTooLong);
                }
                return Ok(None);
            };
            if lf + 1 > limits.line {
                return Err(ReplyFault::LineTooLong);
            }
            if self.seen + lf + 1 > limits.reply {
                return Err(ReplyFault::ReplyTooLong);
            }
            let (code, last) = read_line(&rest[..lf])?;
            if self.seen > 0 && octets[..3] != rest[..3] {
                return Err(ReplyFault::CodesDiffer);
            }
            self.seen += lf + 1;
            if last {
                return Ok(Some(ReplyRef { octets: &octets[..self.seen], code }));
            }
        }
    }
}

/// One line, up to its LF: its code and whether it is the last.
fn read_line(line: &[u8]) -> Result<(Code, bool), ReplyFault> {
    let fault_at = |at: usize| if line[at] == 0 { ReplyFault::Nul } else { ReplyFault::BareCr };
    match memchr2(b'\r', 0, line) {
        Some(at) if at + 1 == line.len() && line[at] == b'\r' => {}
        Some(at) => return Err(fault_at(at)),
        None => return Err(ReplyFault::BareLf),
    }
    let code = code_of(line)?;
    match line[3] {
        b' ' | b'\r' => Ok((code, true)),
        b'-' => Ok((code, false)),
        _ => Err(ReplyFault::BadSeparator),
    }
}

/// Why what a hop said is no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum ReplyFault {
    /// A line that does not begin with three digits.
    NoCode,
    /// A code outside of 200 to 599.
    CodeOutOfRange,
    /// Lines with different codes.
    CodesDiffer,
    /// A CR that is not before an LF.
    BareCr,
    /// An LF that is not behind a CR.
    BareLf,
    /// A NUL.
    Nul,
    /// A line over its limit.
    LineTooLong,
    /// A reply over its limit.
    ReplyTooLong,
    /// Something else than a space or `-` behind the code.
    BadSeparator,
}

impl fmt::Display for ReplyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCode => "reply without a code",
            Self::CodeOutOfRange => "reply with a code outside of 200 to 599",
            Self::CodesDiffer => "reply with different codes",
            Self::BareCr => "reply with a bare CR",
            Self::BareLf => "reply with a bare LF",
            Self::Nul => "reply with a NUL",
            Self::LineTooLong => "reply line too long",
            Self::ReplyTooLong => "reply too long",
            Self::BadSeparator => "reply with neither space nor \"-\" behind its code",
        })
    }
}

impl std::error::Error for ReplyFault {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReplyLimits = ReplyLimits { line: 20, reply: 50 };

    fn frame(octets: &[u8]) -> Result<Option<usize>, ReplyFault> {
        let whole = ReplyFramer::default().next(octets, LIMITS).map(|r| r.map(|r| r.as_bytes().len()));
        // Octet by octet, with one framer: the same, and not before.
        let mut framer = ReplyFramer::default();
        for end in 0..=octets.len() {
            match framer.next(&octets[..end], LIMITS) {
                Ok(None) => {}
                Ok(Some(reply)) => {
                    assert_eq!(whole, Ok(Some(end)));
                    assert_eq!(reply.as_bytes(), &octets[..end]);
                    assert!(!framer.is_within());
                    return whole;
                }
                Err(fault) => {
                    assert_eq!(whole, Err(fault));
                    return whole;
                }
            }
        }
        assert_eq!(whole, Ok(None));
        whole
    }

    type Row<'a> = (&'a [u8], Result<Option<usize>, ReplyFault>);

    #[test]
    fn framing() {
        let table: &[Row<'_>] = &[
            (b"", Ok(None)),
            (b"250", Ok(None)),
            (b"250 Ok\r", Ok(None)),
            (b"250 Ok\r\n", Ok(Some(8))),
            (b"250 Ok\r\n250 x\r\n", Ok(Some(8))),
            (b"250\r\n", Ok(Some(5))),
            (b"250 \r\n", Ok(Some(6))),
            (b"250-a\r\n", Ok(None)),
            (b"250-a\r\n250-\r\n250 b\r\n", Ok(Some(20))),
            (b"250-a\r\n250\r\n", Ok(Some(12))),
            (b"250 \xe4\xff\t\r\n", Ok(Some(9))),
            (b"599 x\r\n", Ok(Some(7))),
            (b"250-a\r\n251 b\r\n", Err(ReplyFault::CodesDiffer)),
            (b"199 x\r\n", Err(ReplyFault::CodeOutOfRange)),
            (b"600 x\r\n", Err(ReplyFault::CodeOutOfRange)),
            (b"000 x\r\n", Err(ReplyFault::CodeOutOfRange)),
            (b"\r\n", Err(ReplyFault::NoCode)),
            (b"25\r\n", Err(ReplyFault::NoCode)),
            (b"2x0 a\r\n", Err(ReplyFault::NoCode)),
            (b" 250 a\r\n", Err(ReplyFault::NoCode)),
            (b"+25 a\r\n", Err(ReplyFault::NoCode)),
            (b"250:a\r\n", Err(ReplyFault::BadSeparator)),
            (b"250\ta\r\n", Err(ReplyFault::BadSeparator)),
            (b"2500 a\r\n", Err(ReplyFault::BadSeparator)),
            (b"250 a\n", Err(ReplyFault::BareLf)),
            (b"250-a\n250 b\r\n", Err(ReplyFault::BareLf)),
            (b"250 a\r250 b\r\n", Err(ReplyFault::BareCr)),
            (b"250 a\r\r\n", Err(ReplyFault::BareCr)),
            (b"250 a\0\r\n", Err(ReplyFault::Nul)),
            (b"250 45678901234567\r\n", Ok(Some(20))),
            (b"250 456789012345678\r\n", Err(ReplyFault::LineTooLong)),
            (b"250-5678901234567\r\n250-5678901234567\r\n250 678\r\n", Ok(Some(47))),
            (b"250-5678901234567\r\n250-5678901234567\r\n250 56789\r\n", Ok(Some(49))),
            (b"250-5678901234567\r\n250-5678901234567\r\n250 5678901\r\n", Err(ReplyFault::ReplyTooLong)),
        ];
        for &(octets, expected) in table {
            assert_eq!(frame(octets), expected, "{}", octets.escape_ascii());
        }
    }
}
