//! Content: what arrives between a 354 and the end-of-data, or in chunks.
//!
//! Nothing is copied. What is emitted is a sequence of pieces, most of them ranges of the octets just
//! received, so that a clean block goes on as the one slice it came in.
//!
//! In:    octets as they arrive, split anywhere.
//! Out:   pieces for the hop (or a store), in order; where the end-of-data stands; what was wrong.
//! Never: ends content anywhere but at CRLF.CRLF or at the counted size, or lets a bare CR or LF through to
//!        a hop under DATA; keeps more than a few numbers between calls.
//!
//! RFC 5321 2.3.8, 4.1.1.4, 4.5.2; RFC 3030; CVE-2023-51764, -51765, -51766 (end-of-data smuggling).

mod chunk;
mod clean;
mod mend;
#[cfg(test)]
mod properties;
mod scanner;
mod stuffer;
mod unstuffer;

pub use chunk::ChunkCounter;
pub use scanner::DataScanner;
pub use stuffer::Stuffer;
pub use unstuffer::Unstuffer;

use std::ops::Range;

/// What ends content under DATA, behind a text that is empty or ends with CRLF (RFC 5321 4.1.1.4).
pub const END_OF_DATA: &[u8] = b".\r\n";

/// A part of what is emitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// A range, never empty, of the octets given to this call.
    Received(Range<usize>),
    /// Octets held back from an earlier call, or put in.
    Static(&'static [u8]),
}

/// What makes content unfit to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum ContentFault {
    /// A line that is a lone dot for whoever drops NULs, and is none for us.
    NulDot,
    /// A bare CR or LF where those are to be rejected.
    BareNewline,
}

/// What is done about bare CRs and LFs in content.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub enum BareNewline {
    /// A bare LF becomes CRLF, a stray CR a space.
    #[default]
    Normalize,
    /// They are a fault.
    Reject,
}

/// How far a scan came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scanned {
    /// Octets used; fewer than given only when the content ended.
    pub taken: usize,
    /// Whether the end-of-data was the last thing taken.
    pub ended: bool,
}
