//! Octets on their way to one peer.
//!
//! In:    what is said, copied; pieces of content, as ranges of the receive buffer they arrived in.
//! Out:   runs of octets to be written, in order; how much of them is not written yet.
//! Never: owns a receive buffer: while it [borrows](Tx::borrows) from one, the shell keeps it.

use crate::smtp::Piece;

/// Octets on their way to one peer, in order: short ones copied here, content as ranges of a receive buffer.
#[derive(Default, Debug)]
pub struct Tx {
    short: Vec<u8>,
    segments: Vec<Segment>,
    base: Option<usize>,
}

/// A run of octets to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    /// `start..end` of the copied octets.
    Short(usize, usize),
    /// `start..end` of the client's receive buffer.
    Received(usize, usize),
}

/// Content pieces shorter than this are copied: a slice costs a place in the vectored write.
const WORTH_A_SLICE: usize = 128;

impl Tx {
    /// Says where in the receive buffer the octets begin that pieces are of from now on; `None`: they are in none, and are
    /// copied.
    pub fn receive_at(&mut self, base: Option<usize>) {
        self.base = base;
    }

    /// Where octets are appended as they are.
    pub fn write(&mut self, with: impl FnOnce(&mut Vec<u8>)) {
        let start = self.short.len();
        with(&mut self.short);
        self.grown(start);
    }

    /// Appends octets.
    pub fn put(&mut self, octets: &[u8]) {
        self.write(|short| short.extend_from_slice(octets));
    }

    /// Appends a piece of content; `octets[offset..]` is what the scanner was given.
    pub fn piece(&mut self, piece: Piece, octets: &[u8], offset: usize) {
        match piece {
            Piece::Static(octets) => self.put(octets),
            Piece::Received(range) => {
                let Some(base) = self.base else {
                    return self.put(&octets[offset + range.start..offset + range.end]);
                };
                let from = base + offset;
                let (start, end) = (from + range.start, from + range.end);
                match self.segments.last_mut() {
                    Some(Segment::Received(_, last)) if *last == start => *last = end,
                    _ if range.len() < WORTH_A_SLICE => {
                        self.put(&octets[offset + range.start..offset + range.end]);
                    }
                    _ => self.segments.push(Segment::Received(start, end)),
                }
            }
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether a receive buffer must be kept until this is written.
    pub fn borrows(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Received(..)))
    }

    /// How many octets wait here.
    pub fn len(&self) -> usize {
        let len = |segment: &Segment| match *segment {
            Segment::Short(start, end) | Segment::Received(start, end) => end - start,
        };
        self.segments.iter().map(len).sum()
    }

    /// The runs in order, as octets.
    pub fn slices<'a>(&'a self, received: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.segments.iter().map(move |segment| match *segment {
            Segment::Short(start, end) => &self.short[start..end],
            Segment::Received(start, end) => &received[start..end],
        })
    }

    /// Copies what still refers to a receive buffer, so that the buffer may go.
    pub fn own(&mut self, received: &[u8]) {
        if self.borrows() {
            let octets = self.slices(received).collect::<Vec<_>>().concat();
            self.clear();
            self.put(&octets);
        }
    }

    /// Forgets the first `written` octets.
    pub fn advance(&mut self, mut written: usize) {
        let mut whole = 0;
        for segment in &mut self.segments {
            let (Segment::Short(start, end) | Segment::Received(start, end)) = segment;
            if *end - *start > written {
                *start += written;
                break;
            }
            written -= *end - *start;
            whole += 1;
        }
        if whole == self.segments.len() {
            self.clear();
        } else {
            self.segments.drain(..whole);
        }
    }

    /// Forgets everything, keeps the space.
    pub fn clear(&mut self) {
        self.short.clear();
        self.segments.clear();
    }

    fn grown(&mut self, start: usize) {
        let end = self.short.len();
        match self.segments.last_mut() {
            Some(Segment::Short(_, last)) if *last == start => *last = end,
            _ if end > start => self.segments.push(Segment::Short(start, end)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
