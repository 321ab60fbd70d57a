//! Replies: codes, whole replies as a hop sent them or as they go out, and their framing.
//!
//! In:    a receive buffer with what a hop said; lines written in a configuration or by a callout.
//! Out:   one whole, well-formed reply at a time, its exact lines kept.
//! Never: accepts a reply that could smuggle another (bare CR, bare LF, NUL, codes that differ), or scans
//!        octets again that were seen to be whole lines.
//!
//! RFC 5321 4.2 (replies), RFC 3463 and RFC 2034 (enhanced codes).

use std::fmt;

use memchr::{memchr, memchr2};

/// A reply's three digits, 200 to 559.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

impl Code {
    /// None outside of 200 to 559.
    pub const fn new(code: u16) -> Option<Code> {
        if code >= 200 && code <= 559 { Some(Code(code)) } else { None }
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
    /// A reply of these texts, one a line. No text at all is one line of only the code.
    pub fn from_lines<T: AsRef<[u8]>>(
        code: Code,
        lines: impl IntoIterator<Item = T>,
    ) -> Result<Reply, WrittenFault> {
        let mut octets = Vec::new();
        let mut last = None;
        for line in lines {
            let line = line.as_ref();
            check_text(line)?;
            last = Some(octets.len());
            super::write_decimal(u64::from(code.get()), &mut octets);
            octets.push(b'-');
            octets.extend_from_slice(line);
            octets.extend_from_slice(b"\r\n");
        }
        match last {
            Some(at) => octets[at + 3] = b' ',
            None => octets.extend_from_slice(format!("{code}\r\n").as_bytes()),
        }
        Ok(Reply { octets: octets.into(), code })
    }

    /// A reply as it is written in a configuration: `["550 5.7.1 Go away"]`, or more lines with or without
    /// their continuation marks, `["550-5.7.1 a", "550 5.7.1 b"]`.
    pub fn parse_written(lines: &[&str]) -> Result<Reply, WrittenFault> {
        let first = lines.first().ok_or(WrittenFault::Empty)?;
        let code = code_of(first.as_bytes()).map_err(written)?;
        let mut texts = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            let line = line.as_bytes();
            if code_of(line).map_err(written)? != code {
                return Err(WrittenFault::CodesDiffer);
            }
            let last = index + 1 == lines.len();
            match line.get(3) {
                None | Some(b' ') => {}
                Some(b'-') if !last => {}
                Some(b'-') => return Err(WrittenFault::GoesOn),
                Some(_) => return Err(WrittenFault::BadSeparator),
            }
            texts.push(line.get(4..).unwrap_or_default());
        }
        Reply::from_lines(code, texts)
    }

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

/// RFC 5321 4.5.3.1.5: a reply line with its code and CRLF.
const WRITTEN_LINE: usize = 512;

fn check_text(text: &[u8]) -> Result<(), WrittenFault> {
    if text.iter().any(|&octet| (octet < b' ' && octet != b'\t') || octet == 0x7f) {
        return Err(WrittenFault::Control);
    }
    if std::str::from_utf8(text).is_err() {
        return Err(WrittenFault::NotUtf8);
    }
    if text.len() + b"250 \r\n".len() > WRITTEN_LINE {
        return Err(WrittenFault::LineTooLong);
    }
    Ok(())
}

fn written(fault: ReplyFault) -> WrittenFault {
    match fault {
        ReplyFault::CodeOutOfRange => WrittenFault::CodeOutOfRange,
        _ => WrittenFault::NoCode,
    }
}

/// Why written lines are no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum WrittenFault {
    /// No line at all.
    Empty,
    /// A line that does not begin with three digits.
    NoCode,
    /// A code outside of 200 to 559.
    CodeOutOfRange,
    /// Lines with different codes.
    CodesDiffer,
    /// Something else than a space or `-` behind the code.
    BadSeparator,
    /// `-` behind the code of the last line.
    GoesOn,
    /// CR, LF, NUL or another control character.
    Control,
    /// Neither ASCII nor UTF-8.
    NotUtf8,
    /// A line of more than 512 octets.
    LineTooLong,
}

impl fmt::Display for WrittenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a reply needs at least one line",
            Self::NoCode => "a reply begins with three digits, such as \"550 5.7.1 Go away\"",
            Self::CodeOutOfRange => "a reply's code is 200 to 559",
            Self::CodesDiffer => "all lines of a reply have the same code",
            Self::BadSeparator => "behind a reply's code stands a space, or \"-\" if more lines follow",
            Self::GoesOn => "behind the code of a reply's last line stands a space, not \"-\"",
            Self::Control => "a reply has no control characters in it",
            Self::NotUtf8 => "a reply is ASCII or UTF-8",
            Self::LineTooLong => "a reply line is at most 512 octets with its code and line end",
        })
    }
}

impl std::error::Error for WrittenFault {}

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

fn code_of(line: &[u8]) -> Result<Code, ReplyFault> {
    let digits = line.get(..3).and_then(three_digits).ok_or(ReplyFault::NoCode)?;
    Code::new(digits).ok_or(ReplyFault::CodeOutOfRange)
}

/// Why what a hop said is no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum ReplyFault {
    /// A line that does not begin with three digits.
    NoCode,
    /// A code outside of 200 to 559.
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
            Self::CodeOutOfRange => "reply with a code outside of 200 to 559",
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
            (b"559 x\r\n", Ok(Some(7))),
            (b"250-a\r\n251 b\r\n", Err(ReplyFault::CodesDiffer)),
            (b"199 x\r\n", Err(ReplyFault::CodeOutOfRange)),
            (b"560 x\r\n", Err(ReplyFault::CodeOutOfRange)),
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

    #[test]
    fn written_replies() {
        let table: &[(&[&str], Result<&str, WrittenFault>)] = &[
            (&["550 5.7.1 Go away"], Ok("550 5.7.1 Go away\r\n")),
            (&["550-5.7.1 a", "550 5.7.1 b"], Ok("550-5.7.1 a\r\n550 5.7.1 b\r\n")),
            (&["550 5.7.1 a", "550 5.7.1 b"], Ok("550-5.7.1 a\r\n550 5.7.1 b\r\n")),
            (&["250"], Ok("250 \r\n")),
            (&["550 Zürich"], Ok("550 Zürich\r\n")),
            (&[], Err(WrittenFault::Empty)),
            (&[""], Err(WrittenFault::NoCode)),
            (&["Go away"], Err(WrittenFault::NoCode)),
            (&["650 x"], Err(WrittenFault::CodeOutOfRange)),
            (&["550 a", "551 b"], Err(WrittenFault::CodesDiffer)),
            (&["550-a"], Err(WrittenFault::GoesOn)),
            (&["550_a"], Err(WrittenFault::BadSeparator)),
            (&["550 a\r\n250 b"], Err(WrittenFault::Control)),
            (&["550 a\0"], Err(WrittenFault::Control)),
        ];
        for (lines, expected) in table {
            let written = Reply::parse_written(lines);
            match (&written, expected) {
                (Ok(written), Ok(wire)) => assert_eq!(*written, reply(wire.as_bytes())),
                _ => assert_eq!(written.as_ref().err(), expected.as_ref().err(), "{lines:?}"),
            }
        }
        let long = format!("550 {}", "x".repeat(507));
        assert_eq!(Reply::parse_written(&[&long]), Err(WrittenFault::LineTooLong));
        assert!(Reply::parse_written(&[&long[..510]]).is_ok());
        assert_eq!(Reply::from_lines(Code(250), [b""; 0]).unwrap().as_bytes(), b"250\r\n");
    }
}
