//! Replies that are written: in a configuration, by a callout, by gatepost line by line.
//!
//! In:    a code and texts, or lines as they are to stand on the wire.
//! Out:   a well-formed [`Reply`], or why it would be none.
//! Never: lets a text end a line, or a line be longer than any client must take.
//!
//! RFC 5321 4.2, 4.5.3.1.5.

use std::fmt;

use super::{Code, Reply, ReplyFault, code_of};
use crate::smtp::write_decimal;

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
            write_decimal(u64::from(code.get()), &mut octets);
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
    /// A code outside of 200 to 599.
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
            Self::CodeOutOfRange => "a reply's code is 200 to 599",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{ReplyFramer, ReplyLimits};

    fn reply(octets: &[u8]) -> Reply {
        let limits = ReplyLimits { line: 512, reply: 4096 };
        ReplyFramer::default().next(octets, limits).unwrap().unwrap().to_owned()
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
