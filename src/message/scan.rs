//! Reads a message as it arrives.
//!
//! In:    its octets, unstuffed, split anywhere.
//! Out:   a [`Message`] at the end.
//! Never: takes a line for a field that has no name, or looks into the body.

use super::mime::Mime;
use super::{HEADER, Message, Span, name_of};

/// A message being read.
#[derive(Debug, Default)]
pub struct Scan {
    message: Message,
    /// The header's octets so far, the line included that is not whole yet.
    header: Vec<u8>,
    /// Where the line begins that is not whole yet.
    line: usize,
    /// The body has begun.
    in_body: bool,
    /// The structure is read, too.
    mime: Option<Box<Mime>>,
}

impl Scan {
    /// One that reads the structure of the MIME, too.
    pub fn structured() -> Scan {
        Scan { mime: Some(Box::default()), ..Scan::default() }
    }

    /// Reads on.
    pub fn take(&mut self, octets: &[u8]) {
        self.message.size += octets.len() as u64;
        if let Some(mime) = &mut self.mime {
            mime.take(octets);
        }
        if self.in_body {
            return;
        }
        let mut from = self.header.len();
        let room = HEADER - self.header.len();
        self.header.extend_from_slice(&octets[..octets.len().min(room)]);
        while let Some(end) = memchr::memchr(b'\n', &self.header[from..]).map(|at| from + at + 1) {
            if !self.take_line(end) {
                return;
            }
            (self.line, from) = (end, end);
        }
        if self.header.len() == HEADER {
            self.ends(self.line, 0);
        }
    }

    /// All of it is in.
    pub fn finish(mut self) -> Message {
        if !self.in_body {
            let end = self.header.len();
            // The last line may lack its end.
            if self.line == end || self.take_line(end) {
                self.ends(end, 0);
            }
        }
        if let Some(mime) = self.mime {
            (self.message.parts, self.message.mime_fault) = mime.finish();
        }
        self.message
    }

    /// A line of the header, to here; false: the header is over.
    fn take_line(&mut self, end: usize) -> bool {
        let line = &self.header[self.line..end];
        if matches!(line, b"\r\n" | b"\n") {
            self.ends(self.line, line.len() as u8);
            return false;
        }
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        match (self.message.fields.last_mut(), name_of(line)) {
            (Some(field), _) if folded => field.octets.end = end as u32,
            (_, Some(name)) if !folded => {
                self.message.fields.push(Span { octets: self.line as u32..end as u32, name: name as u16 });
            }
            _ => {
                self.ends(self.line, 0);
                return false;
            }
        }
        true
    }

    /// The header ends here, and so many octets part it from the body.
    fn ends(&mut self, end: usize, separator: u8) {
        self.header.truncate(end);
        // Of a field whose last line was cut off, what is there is a field.
        self.message.header = std::mem::take(&mut self.header).into();
        self.message.separator = separator;
        self.in_body = true;
    }
}
