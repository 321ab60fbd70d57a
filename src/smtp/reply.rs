//! Replies: codes, whole replies as a hop sent them or as they go out, and their framing.
//!
//! In:    a receive buffer with what a hop said; lines written in a configuration or by a callout.
//! Out:   one whole, well-formed reply at a time, its exact lines kept.
//! Never: accepts a reply that could smuggle another (bare CR, bare LF, NUL, codes that differ), or scans
//!        octets again that were seen to be whole lines.
//!
//! RFC 5321 4.2 (replies), RFC 3463 and RFC 2034 (enhanced codes).

use std::fmt;

use memchr::memchr;

mod framer;
mod written;

pub use framer::{ReplyFault, ReplyFramer, ReplyLimits};
pub use written::WrittenFault;

/// A reply's three digits, 200 to 599: RFC 5321 4.2 has no second digit above 5, but servers do, and their first digit says
/// all that one decides by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

impl Code {
    /// None outside of 200 to 599.
    pub const fn new(code: u16) -> Option<Code> {
        if code >= 200 && code <= 599 { Some(Code(code)) } else { None }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// Its first digit, 2 to 5, by which one decides (RFC 5321 4.3.2).
    pub fn class(self) -> u8 {
        // At most 5.
        (self.0 / 100) as u8
    }

    /// 421 or 521: the connection is closed behind it (RFC 5321 3.8, RFC 7504).
    pub fn closes(self) -> bool {
        self.0 == 421 || self.0 == 521
    }

    /// 2xx: done.
    pub fn is_positive(self) -> bool {
        self.class() == 2
    }

    /// 3xx: go on.
    pub fn is_intermediate(self) -> bool {
        self.class() == 3
    }

    /// 4xx or 5xx.
    pub fn is_negative(self) -> bool {
        self.class() >= 4
    }

    /// 4xx: not now.
    pub fn is_transient(self) -> bool {
        self.class() == 4
    }

    /// 5xx: no.
    pub fn is_permanent(self) -> bool {
        self.class() == 5
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An enhanced status code, `class.subject.detail` (RFC 3463 2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about, 0 to 999.
    pub subject: u16,
    /// Its detail, 0 to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// The code a text begins with, if it does: followed by a space or nothing.
    pub fn parse(text: &[u8]) -> Option<EnhancedCode> {
        let word = &text[..memchr(b' ', text).unwrap_or(text.len())];
        let mut parts = word.split(|&octet| octet == b'.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let class = match class {
            b"2" => 2,
            b"4" => 4,
            b"5" => 5,
            _ => return None,
        };
        let found = EnhancedCode { class, subject: three_digits(subject)?, detail: three_digits(detail)? };
        parts.next().is_none().then_some(found)
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One to three digits.
fn three_digits(octets: &[u8]) -> Option<u16> {
    if octets.is_empty() || octets.len() > 3 {
        return None;
    }
    octets
        .iter()
        .try_fold(0, |value, octet| octet.is_ascii_digit().then(|| value * 10 + u16::from(octet - b'0')))
}

/// One whole, well-formed reply in the buffer it was received in, or in a [`Reply`].
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ReplyRef<'a> {
    octets: &'a [u8],
    code: Code,
}

impl<'a> ReplyRef<'a> {
    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// All its lines, each with CRLF.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.octets
    }

    /// The enhanced code its first line's text begins with. One of another class than the reply is none.
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        let first = self.lines().next()?;
        EnhancedCode::parse(first).filter(|found| found.class == self.code.class())
    }

    /// The text of each line: what stands behind `250-` or `250 `, without CRLF.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.octets;
        std::iter::from_fn(move || {
            // Well-formed: every LF ends a line, and a CR stands before it.
            let lf = memchr(b'\n', rest)?;
            let line = &rest[..lf - 1];
            rest = &rest[lf + 1..];
            Some(line.get(4..).unwrap_or_default())
        })
    }

    /// A copy that outlives the buffer.
    pub fn to_owned(&self) -> Reply {
        Reply { octets: self.octets.into(), code: self.code }
    }
}

impl fmt::Debug for ReplyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.octets.escape_ascii())
    }
}

/// A reply that is kept, exactly as it goes out.
#[derive(Clone, Eq, PartialEq, Hash)]
pub struct Reply {
    octets: Box<[u8]>,
    code: Code,
}

impl Reply {
    /// One line that is known to be well-formed.
    pub(super) fn of_line(code: Code, octets: Vec<u8>) -> Reply {
        Reply { octets: octets.into(), code }
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> ReplyRef<'_> {
        ReplyRef { octets: &self.octets, code: self.code }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// All its lines, each with CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl From<ReplyRef<'_>> for Reply {
    fn from(reply: ReplyRef<'_>) -> Self {
        ReplyRef::to_owned(&reply)
    }
}

/// The code a line begins with.
fn code_of(line: &[u8]) -> Result<Code, ReplyFault> {
    let digits = line.get(..3).and_then(three_digits).ok_or(ReplyFault::NoCode)?;
    Code::new(digits).ok_or(ReplyFault::CodeOutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(octets: &[u8]) -> Reply {
        let limits = ReplyLimits { line: 512, reply: 4096 };
        ReplyFramer::default().next(octets, limits).unwrap().unwrap().to_owned()
    }

    #[test]
    fn parts() {
        let reply = reply(b"550-5.7.1 Go\r\n550-\r\n550 away\r\n");
        let view = reply.as_ref();
        assert_eq!(view.lines().collect::<Vec<_>>(), [&b"5.7.1 Go"[..], b"", b"away"]);
        assert_eq!(view.enhanced().unwrap().to_string(), "5.7.1");
        assert!(view.code().is_negative() && view.code().is_permanent() && !view.code().is_transient());
        assert_eq!((view.code().get(), view.code().class(), view.code().to_string()), (550, 5, "550".into()));
        assert_eq!(super::Reply::from(view), reply);
    }

    #[test]
    fn enhanced_codes() {
        let enhanced = |octets: &[u8]| reply(octets).as_ref().enhanced().map(|code| code.to_string());
        assert_eq!(enhanced(b"250 2.1.5 Ok\r\n").as_deref(), Some("2.1.5"));
        assert_eq!(enhanced(b"450 4.7.999\r\n").as_deref(), Some("4.7.999"));
        for none in [
            &b"250 5.1.5 Ok\r\n"[..],
            b"250 2.1 Ok\r\n",
            b"250 2.1.5. Ok\r\n",
            b"250 2.1.5.6 Ok\r\n",
            b"250 2.1.5000 Ok\r\n",
            b"250 2..5 Ok\r\n",
            b"250 2.1.5Ok\r\n",
            b"354 3.1.5 Ok\r\n",
            b"250 Ok 2.1.5\r\n",
            b"250\r\n",
        ] {
            assert_eq!(enhanced(none), None, "{}", none.escape_ascii());
        }
    }
}
