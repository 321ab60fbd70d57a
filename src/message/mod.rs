//! A message as it lies in a spool: its header field by field, and what is changed of it before it goes on.
//!
//! In:    the octets of a message, unstuffed, split anywhere; then edits.
//! Out:   a [`Message`]: header fields, where the body begins, how much there is. A [`Draft`] of it: the fields as they
//!        are edited, and the [`Rope`] that says what goes out, of which the body is ranges of the spool.
//! Never: holds the body, or more of the header than [`HEADER`]; changes an octet of what nobody edited; waits.
//!
//! RFC 5322 2.1 (message), 2.2 (fields), 2.2.3 (folding).

mod decode;
mod draft;
mod edit;
mod mime;
mod scan;
mod signed;

use std::ops::Range;
use std::sync::Arc;

pub use self::decode::decoded;
pub use self::draft::{Draft, Rope, Strand};
pub use self::edit::Edit;
pub use self::mime::Part;
pub use self::scan::Scan;
pub use self::signed::Signature;

/// Octets of a header, at most: what stands behind them is taken for the body's.
pub const HEADER: usize = 256 << 10;

/// A message that was received whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The fields, each with its line end; without the empty line behind them.
    header: Box<[u8]>,
    /// Where each field is, and how long its name is.
    fields: Vec<Span>,
    /// Octets between the header and the body: the empty line's.
    separator: u8,
    /// All octets.
    size: u64,
    /// The parts of its MIME, if it was read for them.
    parts: Vec<Part>,
    /// There may be more, beyond what is read.
    mime_fault: bool,
}

/// One field among the octets of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    octets: Range<u32>,
    name: u16,
}

/// One header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    octets: &'a [u8],
    name: usize,
}

impl<'a> Field<'a> {
    /// The whole of it, with its line end.
    pub fn octets(self) -> &'a [u8] {
        self.octets
    }

    /// Its name, as it is written.
    pub fn name(self) -> &'a [u8] {
        self.octets[..self.name].trim_ascii_end()
    }

    /// What stands behind the colon, without the last line end; folded as it is.
    pub fn value(self) -> &'a [u8] {
        let value = &self.octets[self.name + 1..];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    /// Whether it has this name (RFC 5322 1.2.2: in letters of either case).
    pub fn is(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Message {
    /// All octets.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The parts of its MIME, where it was read for them: itself, and what it holds.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether its MIME goes beyond what is read of one.
    pub fn has_mime_fault(&self) -> bool {
        self.mime_fault
    }

    /// Where the body is among them.
    pub fn body(&self) -> Range<u64> {
        self.header.len() as u64 + u64::from(self.separator)..self.size
    }

    /// Its header fields, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.fields.iter().map(|span| self.field(span))
    }

    fn field(&self, span: &Span) -> Field<'_> {
        let octets = &self.header[span.octets.start as usize..span.octets.end as usize];
        Field { octets, name: usize::from(span.name) }
    }

    fn nth(&self, place: usize) -> Option<Field<'_>> {
        self.fields.get(place).map(|span| self.field(span))
    }

    /// As it came, to be edited.
    pub fn draft(self: &Arc<Self>) -> Draft {
        Draft::new(Arc::clone(self))
    }
}

/// How long the name of a field is that a line begins with; `None`: no field begins there. White space before the colon
/// is obsolete, and read (RFC 5322 4.5).
fn name_of(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && colon <= usize::from(u16::MAX);
    is_name.then_some(colon)
}

#[cfg(test)]
mod tests;
