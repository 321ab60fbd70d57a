//! The grammar of commands and addresses: one function per ABNF production, the production above it.
//!
//! Strict where the framing of a command hangs on it (quoting, brackets, one path, no control characters),
//! lax in what the hop can judge. Where a production differs from the RFC's, the line above says how.
//!
//! In:    octets of a command, without line end.
//! Out:   slices of them, and what stands behind.
//! Never: changes or copies an octet; looks for a `>` without regard to quoting.
//!
//! RFC 5321 4.1.2, RFC 6531 3.3 (octets of 0x80 and above).

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while, take_while_m_n, take_while1};
use nom::combinator::{consumed, opt, recognize};
use nom::multi::{many0_count, many1_count};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::params::Param;

/// A path's parts.
pub(super) struct PathParts<'a> {
    /// All of it, the source route included.
    pub(super) raw: &'a [u8],
    pub(super) local: &'a [u8],
    pub(super) domain: Option<&'a [u8]>,
}

/// `verb = 1*(ALPHA / DIGIT / "-" / "_")` (RFC 5321 2.4: letters; private ones have more)
pub(super) fn verb(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|o: u8| o.is_ascii_alphanumeric() || o == b'-' || o == b'_').parse(i)
}

/// `white = *(SP / TAB)`
pub(super) fn white(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(is_white).parse(i)
}

/// `white1 = 1*(SP / TAB)`
pub(super) fn white1(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(is_white).parse(i)
}

/// `"FROM" white ":" white`, or the same with "TO"
pub(super) fn path_keyword<'a>(keyword: &'static str, i: &'a [u8]) -> IResult<&'a [u8], &'a [u8]> {
    recognize((tag_no_case(keyword), white, tag(":"), white)).parse(i)
}

/// `Reverse-path = Path / "<>"`; the brackets may be missing, but not both they and the path
pub(super) fn reverse_path(i: &[u8]) -> IResult<&[u8], Option<PathParts<'_>>> {
    alt((delimited((tag("<"), white), opt(path), (white, tag(">"))), path.map(Some))).parse(i)
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`, here without the brackets; the domain may be missing
pub(super) fn path(i: &[u8]) -> IResult<&[u8], PathParts<'_>> {
    let mailbox = (local_part, opt(preceded(tag("@"), domain)));
    consumed(preceded(opt(source_route), mailbox))
        .map(|(raw, (local, domain))| PathParts { raw, local, domain })
        .parse(i)
}

/// `A-d-l = At-domain *( "," At-domain )`, here with the colon behind it
fn source_route(i: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(terminated((at_domain, many0_count(preceded(tag(","), at_domain))), tag(":"))).parse(i)
}

/// `At-domain = "@" Domain`
fn at_domain(i: &[u8]) -> IResult<&[u8], &[u8]> {
    preceded(tag("@"), domain).parse(i)
}

/// `Local-part = Dot-string / Quoted-string`; any mixture of them
fn local_part(i: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(many1_count(alt((dot_string, quoted_string)))).parse(i)
}

/// `Dot-string = Atom *("." Atom)`; dots anywhere
fn dot_string(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|o| is_atext(o) || o == b'.').parse(i)
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`
fn quoted_string(i: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(delimited(tag("\""), many0_count(alt((qtext, quoted_pair))), tag("\""))).parse(i)
}

/// `qtextSMTP = %d32-33 / %d35-91 / %d93-126`
fn qtext(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|o| is_printable(o) && o != b'"' && o != b'\\').parse(i)
}

/// `quoted-pairSMTP = %d92 %d32-126`
fn quoted_pair(i: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(preceded(tag("\\"), take_while_m_n(1, 1, is_printable))).parse(i)
}

/// `Domain / address-literal`; a domain is any sequence of letters, digits, `-`, `_` and dots
fn domain(i: &[u8]) -> IResult<&[u8], &[u8]> {
    let name = take_while1(|o: u8| o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_' | b'.') || o >= 0x80);
    alt((address_literal, name)).parse(i)
}

/// `address-literal = "[" 1*dcontent "]"`, `dcontent = %d33-90 / %d94-126`
fn address_literal(i: &[u8]) -> IResult<&[u8], &[u8]> {
    let dcontent = take_while1(|o| matches!(o, 33..=90 | 94..=126));
    recognize(delimited(tag("["), dcontent, tag("]"))).parse(i)
}

/// `Mail-parameters = esmtp-param *( SP esmtp-param )`; more white space between them is no matter
pub(super) fn parameters(i: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize((parameter, many0_count(preceded(white1, parameter)))).parse(i)
}

/// `esmtp-param = esmtp-keyword [ "=" esmtp-value ]`
pub(super) fn parameter(i: &[u8]) -> IResult<&[u8], Param<'_>> {
    let parts = (esmtp_keyword, opt(preceded(tag("="), esmtp_value)));
    parts.map(|(keyword, value)| Param { keyword, value }).parse(i)
}

/// `esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`
fn esmtp_keyword(i: &[u8]) -> IResult<&[u8], &[u8]> {
    let first = take_while_m_n(1, 1, |o: u8| o.is_ascii_alphanumeric());
    recognize((first, take_while(|o: u8| o.is_ascii_alphanumeric() || o == b'-'))).parse(i)
}

/// `esmtp-value = 1*(%d33-60 / %d62-126)`; `=` too, and octets of 0x80 and above (RFC 6533 3)
fn esmtp_value(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(is_graphic).parse(i)
}

/// `word = 1*%d33-126`; octets of 0x80 and above too
pub(super) fn word(i: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(is_graphic).parse(i)
}

/// `bdat-args = 1*DIGIT [SP "LAST"]` (RFC 3030 2)
pub(super) fn chunk(i: &[u8]) -> IResult<&[u8], (&[u8], bool)> {
    let digits = take_while1(|o: u8| o.is_ascii_digit());
    alt((
        separated_pair(digits, white1, tag_no_case("LAST")).map(|(size, _)| (size, true)),
        take_while1(|o: u8| o.is_ascii_digit()).map(|size| (size, false)),
    ))
    .parse(i)
}

/// Without the white space before and behind.
pub(super) fn trim_white(mut octets: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = octets
        && is_white(*first)
    {
        octets = rest;
    }
    while let [rest @ .., last] = octets
        && is_white(*last)
    {
        octets = rest;
    }
    octets
}

pub(super) fn is_white(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// No SMTP line has these in it, but TAB, and that only as white space between words.
pub(super) fn is_control(octet: u8) -> bool {
    octet < b' ' || octet == 0x7f
}

fn is_printable(octet: u8) -> bool {
    !is_control(octet)
}

fn is_graphic(octet: u8) -> bool {
    is_printable(octet) && octet != b' '
}

/// `atext` (RFC 5322 3.2.3)
fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet) || octet >= 0x80
}
