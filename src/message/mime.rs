//! The structure of a message's MIME: which parts there are, and what they are called.
//!
//! In:    the octets of a message as they arrive, split anywhere.
//! Out:   a [`Part`] for each part found, however deep; whether a bound was met, beyond which nothing was looked for.
//! Never: decodes or keeps a body; fails: what is broken is passed over; opens an archive.
//!
//! RFC 2045 5 (types), RFC 2046 5.1 (boundaries) and 5.2.1 (messages in messages), RFC 2183 (file names), RFC 2231 and
//! 2047 (how they are encoded).

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::{Scan, decoded, name_of};

/// How deep parts may stand in parts.
const DEPTH: usize = 20;
/// How many parts are told.
const PARTS: usize = 1000;
/// Octets of a part's header.
const HEADER: usize = 64 << 10;
/// Octets of a boundary (RFC 2046 5.1.1).
const BOUNDARY: usize = 70;
/// Octets of a line in which a boundary is looked for: there may be white space behind it.
const LINE: usize = 256;
/// Octets of all names together.
const NAMES: usize = 64 << 10;

/// One part of a message, or the whole of one that has no parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its type, such as `text/plain`, in lower case.
    pub media: Box<str>,
    /// The file names it gives itself.
    pub names: Vec<Box<str>>,
}

/// The structure so far.
#[derive(Debug)]
pub(super) struct Mime {
    /// What encloses the part that is read, outermost first.
    around: Vec<Around>,
    /// The header that is read; `None`: a body is.
    header: Option<Vec<u8>>,
    /// The beginning of the line that is read.
    line: Vec<u8>,
    /// Messages in messages, of which no boundary tells the end.
    messages: usize,
    names: usize,
    parts: Vec<Part>,
    fault: bool,
}

/// A multipart that is open.
#[derive(Debug)]
struct Around {
    boundary: Vec<u8>,
    /// Its parts are messages unless they say otherwise (RFC 2046 5.1.5).
    digest: bool,
    messages: usize,
}

impl Default for Mime {
    fn default() -> Self {
        Self {
            around: Vec::new(),
            header: Some(Vec::new()),
            line: Vec::new(),
            messages: 0,
            names: 0,
            parts: Vec::new(),
            fault: false,
        }
    }
}

impl Mime {
    /// Reads on.
    pub(super) fn take(&mut self, octets: &[u8]) {
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            let most = if self.header.is_some() { HEADER } else { LINE };
            let room = most.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// All of it is in: the parts, and whether a bound was met.
    pub(super) fn finish(mut self) -> (Vec<Part>, bool) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_header();
        (self.parts, self.fault)
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if !self.is_boundary(&line)
            && let Some(header) = &mut self.header
        {
            let folded = line.starts_with(b" ") || line.starts_with(b"\t");
            if matches!(&*line, b"\r\n" | b"\n") {
                self.end_header();
            } else if header.len() + line.len() > HEADER {
                self.fault = true;
            } else if folded && header.is_empty() {
                // Some pass it over, to some the header is over.
                self.fault = true;
            } else if folded || name_of(&line).is_some() {
                header.extend_from_slice(&line);
            } else {
                // The body begins without an empty line, here as in `Scan`; others may read on.
                self.fault = true;
                self.end_header();
                self.is_boundary(&line);
            }
        }
        line.clear();
        self.line = line;
    }

    /// Whether the line parts what is around it; the innermost that it may be of is meant.
    fn is_boundary(&mut self, line: &[u8]) -> bool {
        let Some(said) = line.strip_prefix(b"--").map(<[u8]>::trim_ascii_end) else { return false };
        let end = |around: &Around| {
            let rest = said.strip_prefix(&around.boundary[..])?;
            if rest.is_empty() { Some(false) } else { (rest == b"--").then_some(true) }
        };
        // Text behind what would be the last one: some take it for that.
        let odd = |around: &Around| {
            said.strip_prefix(&around.boundary[..]).is_some_and(|rest| rest.starts_with(b"--"))
        };
        let found = self.around.iter().enumerate().rev().find_map(|(at, around)| Some((at, end(around)?)));
        let Some((at, last)) = found else {
            self.fault |= self.around.iter().any(odd);
            return false;
        };
        self.end_header();
        self.around.truncate(at + 1);
        self.messages = self.around[at].messages;
        if last {
            self.around.pop();
        } else {
            self.header = Some(Vec::new());
        }
        true
    }

    /// A header is whole, and a body begins.
    fn end_header(&mut self) {
        let Some(header) = self.header.take() else { return };
        let mut scan = Scan::default();
        scan.take(&header);
        let header = scan.finish();
        let mut part = Part::default();
        // Of two of them readers take one or the other.
        let count = |name: &str| header.fields().filter(|field| field.is(name)).count();
        self.fault |= count("Content-Type") > 1 || count("Content-Disposition") > 1;
        for field in header.fields() {
            let is_type = field.is("Content-Type");
            if !is_type && !field.is("Content-Disposition") {
                continue;
            }
            let line = unfolded(field.value());
            let Some(content) = content(&line) else {
                self.fault = true;
                continue;
            };
            // Where the type or disposition is left out, its first parameter is taken for it.
            self.fault |= content.c_type.is_empty() || content.c_type.contains('=');
            let named =
                |attribute: &&mail_parser::Attribute<'_>, key: &str| attribute.name.eq_ignore_ascii_case(key);
            let attributes = content.attributes.as_deref().unwrap_or_default();
            let names = attributes.iter().filter(|one| named(one, "name") || named(one, "filename"));
            for name in names {
                let name = decoded(name.value.as_bytes());
                self.names += name.len();
                if self.names > NAMES {
                    self.fault = true;
                } else {
                    part.names.push(name.into());
                }
            }
            if is_type && part.media.is_empty() {
                let sub = content.c_subtype.as_deref().unwrap_or_default();
                part.media = format!("{}/{sub}", content.c_type).to_ascii_lowercase().into();
                let mut boundaries = attributes.iter().filter(|attribute| named(attribute, "boundary"));
                let boundary = boundaries.next().map(|boundary| boundary.value.as_bytes().to_vec());
                if part.media.starts_with("multipart/") {
                    // Which of two is meant, whether it is decoded, and whether its last space counts, nobody agrees on.
                    let encoded = memchr::memmem::find(&line, b"=?").is_some();
                    let spaced = boundary.as_ref().is_some_and(|boundary| boundary.ends_with(b" "));
                    self.fault |= boundaries.next().is_some() || encoded || spaced;
                    self.open(boundary.unwrap_or_default(), &*part.media == "multipart/digest");
                }
            }
        }
        if part.media.is_empty() {
            let digest = self.around.last().is_some_and(|around| around.digest);
            part.media = if digest { "message/rfc822" } else { "text/plain" }.into();
        }
        let encoding = header.fields().find(|field| field.is("Content-Transfer-Encoding"));
        let encoded = encoding.is_some_and(|field| {
            let value = field.value().trim_ascii();
            value.eq_ignore_ascii_case(b"base64") || value.eq_ignore_ascii_case(b"quoted-printable")
        });
        // One in pieces, or encoded against RFC 2046 5.2, is not looked into.
        self.fault |= &*part.media == "message/partial";
        if matches!(&*part.media, "message/rfc822" | "message/global" | "message/news") {
            self.fault |= encoded;
            if self.around.len() + self.messages < DEPTH {
                self.messages += 1;
                self.header = Some(Vec::new());
            } else {
                self.fault = true;
            }
        }
        if self.parts.len() < PARTS {
            self.parts.push(part);
        } else {
            self.fault = true;
        }
    }

    fn open(&mut self, boundary: Vec<u8>, digest: bool) {
        let deep = self.around.len() + self.messages >= DEPTH;
        if boundary.is_empty() || boundary.len() > BOUNDARY || deep {
            self.fault = true;
            return;
        }
        self.around.push(Around { boundary, digest, messages: self.messages });
    }
}

/// A value in one line. Between two encoded words there is nothing (RFC 2047 6.2).
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut line: Vec<u8> = Vec::with_capacity(value.len() + 1);
    for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let goes_on = line.ends_with(b"?=") && word.starts_with(b"=?");
        if !line.is_empty() && !goes_on {
            line.push(b' ');
        }
        line.extend_from_slice(word);
    }
    line.push(b'\n');
    line
}

/// A type or a disposition, with its parameters, from such a line.
fn content(line: &[u8]) -> Option<ContentType<'_>> {
    match MessageStream::new(line).parse_content_type() {
        HeaderValue::ContentType(content) => Some(content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8], piece: usize) -> (String, bool) {
        let mut mime = Mime::default();
        octets.chunks(piece).for_each(|octets| mime.take(octets));
        let (parts, fault) = mime.finish();
        let shown: Vec<_> =
            parts.iter().map(|part| format!("{} {}", part.media, part.names.join(","))).collect();
        (shown.iter().map(|part| part.trim()).collect::<Vec<_>>().join("; "), fault)
    }

    #[test]
    fn structures() {
        let table: &[(&str, &str, bool)] = &[
            ("", "text/plain", false),
            ("A: b\r\n\r\n--x\r\n", "text/plain", false),
            ("Content-Type: Image/PNG; name=a.png\r\n\r\n", "image/png a.png", false),
            (
                "Content-Type: multipart/mixed;\r\n boundary=\"x\"\r\n\r\n--x\r\n\r\nhi\r\n--x \r\n\
                 Content-Disposition: attachment; filename=\"a b.exe\"\r\n\r\n--y\r\n--x--\r\n--x\r\nA: b\r\n",
                "multipart/mixed; text/plain; text/plain a b.exe",
                false,
            ),
            (
                "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/digest; boundary=xy\n\n\
                 --xy\n\nContent-Type: a/b; name=c\n\n--x\nContent-Type: d/e\n",
                "multipart/mixed; multipart/digest; message/rfc822; a/b c; d/e",
                false,
            ),
            (
                "Content-Type: a/b; name=\"=?utf-8?Q?caf=C3=A9.exe?=\"\r\n\
                 Content-Disposition: attachment; filename*0*=utf-8''caf%C3%A9; filename*1=.exe\r\n\r\n",
                "a/b caf\u{e9}.exe,caf\u{e9}.exe",
                false,
            ),
            ("Content-Type: multipart/mixed\r\n\r\n", "multipart/mixed", true),
            // What readers do not agree on is a fault, and what may be there is found where it can be.
            (
                "Content-Type: multipart/mixed; boundary=x\r\n--x\r\nContent-Disposition: a; filename=b.exe\r\n\r\n",
                "multipart/mixed; text/plain b.exe",
                true,
            ),
            (
                "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nA: b\r\n \r\n\
                 Content-Disposition: a; filename=b.exe\r\n\r\n",
                "multipart/mixed; text/plain b.exe",
                false,
            ),
            (
                "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--y\r\n--x\r\n x\r\n\
                 Content-Disposition: a; filename=b.exe\r\n\r\n",
                "multipart/mixed; text/plain b.exe",
                true,
            ),
            (
                "Content-Disposition: a; filename=\"=?utf-8?Q?evil.e?=\r\n =?utf-8?Q?xe?=\"\r\n\r\n",
                "text/plain evil.exe",
                false,
            ),
            ("Content-Type: multipart/mixed; boundary=\"=?utf-8?Q?x?=\"\r\n\r\n", "multipart/mixed", true),
            ("Content-Type: multipart/mixed; boundary=x; boundary=y\r\n\r\n", "multipart/mixed", true),
            ("Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", "a/b", true),
            ("Content-Disposition: filename=b.exe\r\n\r\n", "text/plain", true),
            ("Content-Disposition: ; filename=b.exe\r\n\r\n", "text/plain", true),
            ("Content-Disposition: a; name=b.exe\r\n\r\n", "text/plain b.exe", false),
            (
                "Content-Type: message/news\r\n\r\nContent-Type: a/b; name=c\r\n\r\n",
                "message/news; a/b c",
                false,
            ),
            ("Content-Type: message/partial\r\n\r\n", "message/partial", true),
            (
                "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: Base64\r\n\r\nAAAA\r\n",
                "message/rfc822; text/plain",
                true,
            ),
        ];
        for (octets, expected, fault) in table {
            for piece in [1, 2, 7, 1000] {
                assert_eq!(read(octets.as_bytes(), piece), (expected.to_string(), *fault), "{octets:?}");
            }
        }
    }

    #[test]
    fn bounds() {
        let part = "--x\r\nContent-Disposition: attachment; filename=a\r\n\r\n";
        let many = format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{}", part.repeat(2 * PARTS));
        assert!(read(many.as_bytes(), 999).1);
        let deep = "Content-Type: message/rfc822\r\n\r\n".repeat(2 * DEPTH);
        assert!(read(deep.as_bytes(), 999).1);
        let nested: String = (0..50)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect();
        assert!(read(nested.as_bytes(), 999).1);
        let header = "A: b\r\n".repeat(HEADER);
        assert!(read(header.as_bytes(), 999).1);
    }
}
