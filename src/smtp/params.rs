//! The parameters of MAIL and RCPT.
//!
//! In:    what stands behind the path.
//! Out:   the same octets, known to be well-formed, and the parameters one by one.
//! Never: drops, reorders or rewrites a parameter, known or not; takes a keyword twice.
//!
//! RFC 5321 4.1.2 (esmtp-param), RFC 1870 (SIZE), RFC 3461 4 (each at most once).

use std::fmt;

use super::command::CommandFault;
use super::{grammar, read_decimal};

/// No command needs as many; a bound on comparing each with each.
const PARAMETERS_AT_MOST: usize = 32;

/// Parameters as given, in order, checked for form.
#[derive(Clone, Copy, Default, Eq, PartialEq, Hash)]
pub struct Params<'a> {
    raw: &'a [u8],
}

/// One parameter.
#[derive(Clone, Copy, Eq, PartialEq, Hash)]
pub struct Param<'a> {
    /// Its keyword as given; compare without regard to case.
    pub keyword: &'a [u8],
    /// What stands behind `=`, if that does.
    pub value: Option<&'a [u8]>,
}

impl<'a> Params<'a> {
    /// Checks the form of all of them; the error says what is wrong, and where.
    pub fn parse(raw: &'a [u8]) -> Result<Params<'a>, (CommandFault, usize)> {
        // Not CR or LF: rewrites are held to this, too.
        let raw = grammar::trim_white(raw);
        if raw.is_empty() {
            return Ok(Params::default());
        }
        let rest = match grammar::parameters(raw) {
            Ok((rest, _)) => rest,
            Err(_) => raw,
        };
        if !rest.is_empty() {
            return Err((CommandFault::BadParameter, raw.len() - rest.len()));
        }
        let params = Params { raw };
        for (count, param) in params.iter().enumerate() {
            let at = param.keyword.as_ptr().addr() - raw.as_ptr().addr();
            if count == PARAMETERS_AT_MOST {
                return Err((CommandFault::TooManyParameters, at));
            }
            if params.iter().take(count).any(|earlier| earlier.is(param.keyword)) {
                return Err((CommandFault::DuplicateParameter, at));
            }
            if param.is(b"SIZE") && param.value.and_then(read_decimal).is_none() {
                return Err((CommandFault::BadNumber, at));
            }
        }
        Ok(params)
    }

    /// As given, such as `SIZE=1 BODY=8BITMIME`, without white space before or behind.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (behind, param) = grammar::parameter(rest.trim_ascii_start()).ok()?;
            rest = behind;
            Some(param)
        })
    }

    /// What a keyword was given: None if it was not, Some(None) if without a value.
    pub fn value(&self, keyword: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find(|param| param.is(keyword.as_bytes())).map(|param| param.value)
    }

    /// The size a MAIL declares (RFC 1870); one beyond 64 bits is the greatest.
    pub fn size(&self) -> Option<u64> {
        self.value("SIZE").flatten().and_then(read_decimal)
    }

    /// Writes them with one space between.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (index, param) in self.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            param.write(out);
        }
    }
}

impl Param<'_> {
    /// Whether it has this keyword.
    pub fn is(&self, keyword: &[u8]) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }

    /// Writes `keyword=value`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.keyword);
        if let Some(value) = self.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.raw.escape_ascii())
    }
}

impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        write!(f, "\"{}\"", out.escape_ascii())
    }
}

/// RFC 3461 4: what is not plain printable ASCII becomes `+` and two upper-case hex digits.
pub fn write_xtext(octets: &[u8], into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &octet in octets {
        match octet {
            b'+' | b'=' => {
                into.extend_from_slice(&[b'+', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]])
            }
            33..=126 => into.push(octet),
            _ => into.extend_from_slice(&[b'+', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]),
        }
    }
}

/// RFC 3461 4: the octets that xtext stands for, the hexadecimal digits in either case; `None` where it is none.
pub fn read_xtext(given: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = given;
    std::iter::from_fn(move || {
        let (octet, behind) = match rest {
            [] => return None,
            [b'+', high, low, behind @ ..] => {
                (digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low), behind)
            }
            [b'+', ..] => (None, &[][..]),
            [octet, behind @ ..] => (Some(*octet), behind),
        };
        rest = behind;
        Some(octet)
    })
}

fn digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).map(|digit| digit as u8)
}

/// RFC 6533 3, `utf-8-addr-xtext`: what is not plain printable ASCII becomes the number of its character.
pub fn write_utf8_xtext(text: &str, into: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '!'..='~' if !matches!(character, '+' | '=' | '\\') => into.push(character as u8),
            _ => into.extend_from_slice(format!("\\x{{{:X}}}", u32::from(character)).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed() {
        let raw = b"SIZE=10  BODY=8BITMIME\tsmtputf8 X-1=a=b ORCPT=rfc822;\xc3\xbc AUTH=<>";
        let params = Params::parse(raw).unwrap();
        assert_eq!(params.as_bytes(), raw);
        assert_eq!(params.iter().count(), 6);
        assert_eq!(params.value("body"), Some(Some(&b"8BITMIME"[..])));
        assert_eq!(params.value("SMTPUTF8"), Some(None));
        assert_eq!(params.value("x-1"), Some(Some(&b"a=b"[..])));
        assert_eq!(params.value("RET"), None);
        assert_eq!(params.size(), Some(10));
        let mut out = Vec::new();
        params.write(&mut out);
        assert_eq!(out, b"SIZE=10 BODY=8BITMIME smtputf8 X-1=a=b ORCPT=rfc822;\xc3\xbc AUTH=<>");
        assert!(Params::parse(b"  ").unwrap().is_empty());
    }

    #[test]
    fn xtext_there_and_back() {
        let octets: Vec<u8> = (0..=255).collect();
        let mut written = Vec::new();
        write_xtext(&octets, &mut written);
        assert!(written.iter().all(u8::is_ascii_graphic));
        let read: Option<Vec<u8>> = read_xtext(&written).collect();
        assert_eq!(read, Some(octets));
        for wrong in ["a+", "a+4", "+4G", "++41"] {
            assert!(read_xtext(wrong.as_bytes()).any(|octet| octet.is_none()), "{wrong}");
        }
    }

    #[test]
    fn refused() {
        use CommandFault::{BadNumber, BadParameter, DuplicateParameter, TooManyParameters};
        let many: Vec<String> = (0..33).map(|n| format!("X{n}")).collect();
        let many = many.join(" ");
        let table: &[(&[u8], CommandFault, usize)] = &[
            (b"SIZE=", BadParameter, 4),
            (b"=1", BadParameter, 0),
            (b"-A=1", BadParameter, 0),
            (b"A=1 <b>", BadParameter, 3),
            (b"A=\x01", BadParameter, 1),
            (b"A=1\r\n", BadParameter, 3),
            (b"\nA=1", BadParameter, 0),
            (b"A=1 a=2", DuplicateParameter, 4),
            (b"NOTIFY=NEVER B notify=DELAY", DuplicateParameter, 15),
            (b"SIZE", BadNumber, 0),
            (b"B SIZE=1x", BadNumber, 2),
            (b"SIZE=123456789012345678901", BadNumber, 0),
            (many.as_bytes(), TooManyParameters, 118),
        ];
        for &(raw, fault, at) in table {
            assert_eq!(Params::parse(raw).err(), Some((fault, at)), "{}", raw.escape_ascii());
        }
        assert_eq!(Params::parse(b"SIZE=99999999999999999999").unwrap().size(), Some(u64::MAX));
    }
}
