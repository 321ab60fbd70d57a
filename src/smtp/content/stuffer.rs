//! Makes counted content (BDAT), or text from a store, fit to go upstream under DATA.
//!
//! In:    octets without stuffing, split anywhere; then `finish`.
//! Out:   the same as text: lines ended by CRLF, the last one too, leading dots doubled, as pieces. Behind it
//!        [`END_OF_DATA`](super::END_OF_DATA) can be written.
//! Never: takes anything for an end; emits a bare CR or LF; emits anything after a fault.
//!
//! RFC 5321 4.5.2; RFC 3030 (a hop without CHUNKING).

use super::mend::Mender;
use super::{BareNewline, ContentFault, Piece};

/// Stuffs the content of one message.
#[derive(Clone, Debug)]
pub struct Stuffer {
    mender: Mender,
}

impl Stuffer {
    /// At the start of the content.
    pub fn new(mode: BareNewline) -> Self {
        Self { mender: Mender::counted(mode) }
    }

    /// Takes all the octets; the chunks they came in have no meaning.
    pub fn stuff(&mut self, octets: &[u8], emit: &mut impl FnMut(Piece)) {
        let end = self.mender.take(octets, emit);
        debug_assert_eq!(end, None, "counted content has no end-of-data in it");
    }

    /// The content is complete: emits what was held back and what ends the last line.
    pub fn finish(&mut self, emit: &mut impl FnMut(Piece)) {
        self.mender.finish(emit);
    }

    /// How many bare CRs and LFs were changed.
    pub fn mended(&self) -> u64 {
        self.mender.mended()
    }

    /// What was wrong first; from there on nothing was emitted.
    pub fn fault(&self) -> Option<ContentFault> {
        self.mender.fault()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::{Scanned, Unstuffer};

    fn stuff(parts: &[&[u8]], mode: BareNewline) -> (Vec<u8>, u64, Option<ContentFault>) {
        let mut stuffer = Stuffer::new(mode);
        let mut out = Vec::new();
        for part in parts {
            stuffer.stuff(part, &mut |piece| match piece {
                Piece::Received(range) => out.extend_from_slice(&part[range]),
                Piece::Static(octets) => out.extend_from_slice(octets),
            });
        }
        stuffer.finish(&mut |piece| match piece {
            Piece::Received(range) => panic!("{range:?} of nothing"),
            Piece::Static(octets) => out.extend_from_slice(octets),
        });
        (out, stuffer.mended(), stuffer.fault())
    }

    /// Octets received, octets out, how many were mended, the fault.
    type Row<'a> = (&'a [u8], &'a [u8], u64, Option<ContentFault>);

    #[test]
    fn counted_content_becomes_stuffed_text() {
        let table: &[Row<'_>] = &[
            (b"", b"", 0, None),
            (b"a", b"a\r\n", 0, None),
            (b"a\r\n", b"a\r\n", 0, None),
            (b".", b"..\r\n", 0, None),
            (b".\r\n", b"..\r\n", 0, None),
            (b"..\r\n.x", b"...\r\n..x\r\n", 0, None),
            (b"a\r\n.\r\nMAIL FROM:<>\r\n", b"a\r\n..\r\nMAIL FROM:<>\r\n", 0, None),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n", 2, None),
            (b"a\r.\rb\r", b"a . b \r\n", 3, None),
            (b"\r\n.\r\r\n", b"\r\n..\r\n", 1, None),
            (b"a\r\n\0", b"a\r\n\0\r\n", 0, None),
            (b"a\r\n\0.", b"a\r\n", 0, Some(ContentFault::NulDot)),
            (b"a\r\n.\0", b"a\r\n", 0, Some(ContentFault::NulDot)),
            (b"a\r\n.\0\r\nb", b"a\r\n", 0, Some(ContentFault::NulDot)),
            (b"a\r\n\0.\r\nb", b"a\r\n", 0, Some(ContentFault::NulDot)),
            (b"a\r\n.\0b", b"a\r\n..\0b\r\n", 0, None),
            (b"a\r\n\0.b", b"a\r\n\0.b\r\n", 0, None),
        ];
        for &(octets, out, mended, fault) in table {
            let expected = (out.to_vec(), mended, fault);
            let name = octets.escape_ascii().to_string();
            let single: Vec<&[u8]> = octets.chunks(1).collect();
            assert_eq!(stuff(&single, BareNewline::Normalize), expected, "{name}");
            for at in 0..=octets.len() {
                let parts = [&octets[..at], &octets[at..]];
                assert_eq!(stuff(&parts, BareNewline::Normalize), expected, "{name} at {at}");
            }
            if mended > 0 {
                let (before, mended, fault) = stuff(&[octets], BareNewline::Reject);
                assert!(out.starts_with(&before), "{name}");
                assert_eq!((mended, fault), (0, Some(ContentFault::BareNewline)), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_strict_reader_reads_it_back(
            parts in prop::collection::vec(prop::sample::select(vec![&b"\r\n"[..], b".", b"..", b"text", b"\0x"]), 0..900)
        ) {
            let mut octets = parts.concat();
            let (stuffed, mended, fault) = stuff(&[&octets], BareNewline::Reject);
            prop_assert_eq!((mended, fault), (0, None));
            let stuffed = [&stuffed[..], b".\r\n"].concat();
            let mut read = Vec::new();
            let scanned = Unstuffer::new().scan(&stuffed, &mut |piece| match piece {
                Piece::Received(range) => read.extend_from_slice(&stuffed[range]),
                Piece::Static(octets) => read.extend_from_slice(octets),
            });
            if !octets.is_empty() && !octets.ends_with(b"\r\n") {
                octets.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(scanned, Scanned { taken: stuffed.len(), ended: true });
            prop_assert_eq!(read, octets);
        }
    }
}
