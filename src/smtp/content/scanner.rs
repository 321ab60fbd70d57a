//! The end-of-data scanner for content that arrives under DATA.
//!
//! What it emits is what may go upstream under DATA: still stuffed as the client stuffed it, every line
//! ended by CRLF, without the end-of-data itself. Clean octets pass as they are; what becomes of others is
//! the table in `mend.rs`.
//!
//! In:    the octets behind a 354, split anywhere.
//! Out:   pieces, in order; the octet behind the end-of-data; size, count of what was mended, fault.
//! Never: ends content anywhere but at CRLF.CRLF; emits a bare CR or LF; emits anything after a fault (it
//!        scans on to the real end, for the caller to swallow the rest).
//!
//! RFC 5321 4.1.1.4, 4.5.2.

use super::mend::Mender;
use super::{BareNewline, ContentFault, END_OF_DATA, Piece, Scanned};

/// Scans the content of one message; a new one for each 354.
#[derive(Clone, Debug)]
pub struct DataScanner {
    mender: Mender,
    received: u64,
    ended: bool,
}

impl DataScanner {
    /// At the start of the content.
    pub fn new(mode: BareNewline) -> Self {
        Self { mender: Mender::stuffed(mode), received: 0, ended: false }
    }

    /// Takes octets up to the end-of-data; what stands behind it is left. After the end it takes nothing.
    pub fn scan(&mut self, octets: &[u8], emit: &mut impl FnMut(Piece)) -> Scanned {
        if self.ended {
            return Scanned { taken: 0, ended: true };
        }
        let end = self.mender.take(octets, emit);
        let taken = end.unwrap_or(octets.len());
        self.received += taken as u64;
        self.ended = end.is_some();
        Scanned { taken, ended: self.ended }
    }

    /// The message's size as RFC 1870 counts it: as received, without stuffing and the end-of-data, or what may be its
    /// beginning; never more than the whole message will have.
    pub fn size(&self) -> u64 {
        let end = if self.ended { END_OF_DATA.len() as u64 } else { self.mender.ending() };
        self.received - end - self.mender.stuffing()
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
    use super::super::properties::{Seen, scan};
    use super::*;

    /// Whole, octet by octet, and at every split point.
    fn scan_all_ways(octets: &[u8], mode: BareNewline) -> Seen {
        let whole = scan(&[octets], mode);
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        let mut ways = vec![scan(&single, mode)];
        ways.extend((0..=octets.len()).map(|at| scan(&[&octets[..at], &octets[at..]], mode)));
        for way in ways {
            if whole.ended {
                assert_eq!(way, whole, "{:?}", octets.escape_ascii().to_string());
            } else {
                assert_eq!(way.fault, whole.fault);
                assert!(!way.ended);
            }
        }
        whole
    }

    /// Wherever it is split: one that is just small enough must not be refused for its end-of-data.
    #[test]
    fn a_message_is_never_taken_for_larger_than_it_is() {
        let octets = b"..\r\n.a\r\n.\n\r\n.\0\r\n.\rx\r\na\r\n.\r\n";
        for first in 0..=octets.len() {
            for mode in [BareNewline::Normalize, BareNewline::Reject] {
                let mut scanner = DataScanner::new(mode);
                let mut sizes = Vec::new();
                for part in [&octets[..first], &octets[first..]].into_iter().flat_map(|half| half.chunks(7)) {
                    scanner.scan(part, &mut |_| {});
                    sizes.push(scanner.size());
                }
                assert!(sizes.is_sorted(), "{sizes:?}");
            }
        }
        let mut scanner = DataScanner::new(BareNewline::Normalize);
        let sizes = [&b"a\r\n"[..], b".", b"\r", b"\n"].map(|part| {
            scanner.scan(part, &mut |_| {});
            scanner.size()
        });
        assert_eq!(sizes, [3, 3, 3, 3]);
    }

    type Vector = (&'static [u8], Result<&'static [u8], ContentFault>);

    const NUL: Result<&[u8], ContentFault> = Err(ContentFault::NulDot);

    /// Every vector of the SMTP smuggling work and its kin, each followed by a command, and the octets the
    /// hop receives of it under `normalize`. Under `reject` all of them are a fault.
    const SMUGGLING: &[Vector] = &[
        (b"\n.\n", Ok(b"\r\n..\r\n")),
        (b"\n.\r", Ok(b"\r\n.. ")),
        (b"\r.\n", Ok(b" .\r\n")),
        (b"\r.\r", Ok(b" . ")),
        (b"\n.\r\n", Ok(b"\r\n..\r\n")),
        (b"\r.\r\n", Ok(b" .\r\n")),
        (b"\r\n.\n", Ok(b"\r\n..\r\n")),
        (b"\r\n.\r", Ok(b"\r\n.. ")),
        (b"\r\n.\r\r\n", Ok(b"\r\n..\r\n")),
        (b"\r\r\n.\r\r\n", Ok(b"\r\n..\r\n")),
        (b"\n\n.\n\n", Ok(b"\r\n\r\n..\r\n\r\n")),
        (b"\r\r.\r\r", Ok(b"  .  ")),
        (b"\n\r.\n\r", Ok(b"\r\n .\r\n ")),
        (b"\n\r.\r\n", Ok(b"\r\n .\r\n")),
        (b"\r\n\r.\r\n", Ok(b"\r\n .\r\n")),
        (b"\n..\n", Ok(b"\r\n...\r\n")),
        (b"\n..\r\n", Ok(b"\r\n...\r\n")),
        (b"\r\n..\n", Ok(b"\r\n..\r\n")),
        (b"\r\n..\r", Ok(b"\r\n.. ")),
        (b"\r\n.\n.\r\n", Ok(b"\r\n..\r\n..\r\n")),
        (b"\r\n.\r.\r\n", Ok(b"\r\n.. .\r\n")),
        (b"\r\n.\r\0\n", Ok(b"\r\n.. \0\r\n")),
        (b"\r\0\n.\r\n", Ok(b" \0\r\n..\r\n")),
        (b"\r\n\0.\r\n", NUL),
        (b"\r\n.\0\r\n", NUL),
        (b"\r\n\0.\0\r\n", NUL),
        (b"\r\n\0\0.\0\0\0\r\n", NUL),
        (b"\n\0.\r\n", NUL),
        (b"\n.\0\n", NUL),
        (b"\r\n.\0\n", NUL),
        (b"\r\n.\0\r", NUL),
        (b"\r\n\0.\r", NUL),
        (b"\r\n\0.\n", NUL),
        (b"\r\0.\r\n", NUL),
        (b"\r.\0\r\n", NUL),
    ];

    #[test]
    fn smuggled_ends_are_text_or_a_fault() {
        for &(vector, expected) in SMUGGLING {
            let octets = [b"body", vector, b"MAIL FROM:<smuggled@x.test>\r\n.\r\n"].concat();
            let normalised = scan_all_ways(&octets, BareNewline::Normalize);
            let rejected = scan_all_ways(&octets, BareNewline::Reject);
            let name = vector.escape_ascii().to_string();
            for seen in [&normalised, &rejected] {
                assert!(seen.ended, "{name}");
                assert_eq!(seen.taken, octets.len(), "{name}");
            }
            match expected {
                Ok(out) => {
                    let out = [b"body", out, b"MAIL FROM:<smuggled@x.test>\r\n"].concat();
                    assert_eq!(
                        normalised.out.escape_ascii().to_string(),
                        out.escape_ascii().to_string(),
                        "{name}"
                    );
                    assert_eq!(normalised.fault, None, "{name}");
                    assert_eq!(rejected.fault, Some(ContentFault::BareNewline), "{name}");
                    assert!(normalised.mended > 0, "{name}");
                }
                Err(fault) => {
                    assert_eq!(normalised.fault, Some(fault), "{name}");
                    // Nothing of the faulty line was emitted.
                    let before: &[u8] = match vector {
                        [b'\r', b'\n', ..] | [b'\n', ..] => b"body\r\n",
                        _ => b"body ",
                    };
                    assert_eq!(normalised.out, before, "{name}");
                    let bare = matches!(vector[..2], [b'\r', b'\n']);
                    let first = if bare { ContentFault::NulDot } else { ContentFault::BareNewline };
                    assert_eq!(rejected.fault, Some(first), "{name}");
                }
            }
            // All before the fault, which is never the bare CR or LF itself.
            assert!(normalised.out.starts_with(&rejected.out), "{name}");
            assert!(rejected.out.len() <= b"body\r\n..".len(), "{name}");
        }
    }

    #[test]
    fn crs_before_crlf_are_dropped() {
        let long = [b"a".as_slice(), &b"\r".repeat(5000), b"\n.\r\n"].concat();
        let spaced = [b"a".as_slice(), &b"\r".repeat(5000), b"b\r\n.\r\n"].concat();
        let spaces = [b"a".as_slice(), &b" ".repeat(1024), b"b\r\n"].concat();
        let table: &[(&[u8], &[u8])] = &[
            (b"Subject: x\r\r\n\r\r\nbody\r\n.\r\n", b"Subject: x\r\n\r\nbody\r\n"),
            (b"a\r\r\rb\r\r\r\n.\r\n", b"a   b\r\n"),
            (b"\r\r\r\n.\r\r\r\n.\r\n", b"\r\n..\r\n"),
            (&long, b"a\r\n"),
            (&spaced, &spaces),
        ];
        for (octets, out) in table {
            let name = octets.escape_ascii().to_string();
            let whole = scan(&[octets], BareNewline::Normalize);
            assert_eq!(whole.out.escape_ascii().to_string(), out.escape_ascii().to_string(), "{name}");
            assert!(whole.ended, "{name}");
            let single: Vec<&[u8]> = octets.chunks(1).collect();
            assert_eq!(scan(&single, BareNewline::Normalize), whole, "{name}");
        }
    }

    #[test]
    fn clean_content_passes_as_it_is() {
        let table: &[(&[u8], &[u8], u64)] = &[
            (b".\r\n", b"", 0),
            (b"\r\n.\r\n", b"\r\n", 2),
            (b"a\r\n.\r\n", b"a\r\n", 3),
            (b"..\r\n.\r\n", b"..\r\n", 3),
            (b"...\r\n.\r\n", b"...\r\n", 4),
            (b".a\r\n.b\r\n.\r\n", b".a\r\n.b\r\n", 6),
            (b". \r\n.\r\n", b". \r\n", 3),
            (b"\0a\0\r\n\0\r\n.a\0\r\n.\0a\r\n.\r\n", b"\0a\0\r\n\0\r\n.a\0\r\n.\0a\r\n", 16),
            (b"\0.a\r\n.\r\n", b"\0.a\r\n", 5),
            (b"a.\r\n.\r\n", b"a.\r\n", 4),
            (b"a.\0\r\n.\r\n", b"a.\0\r\n", 5),
            (b"\xff\xfe\r\n.\r\n", b"\xff\xfe\r\n", 4),
        ];
        for &(octets, out, size) in table {
            for mode in [BareNewline::Normalize, BareNewline::Reject] {
                let seen = scan_all_ways(&[octets, b"QUIT\r\n"].concat(), mode);
                let expected = Seen {
                    out: out.to_vec(),
                    taken: octets.len(),
                    ended: true,
                    size,
                    mended: 0,
                    fault: None,
                };
                assert_eq!(seen, expected, "{}", octets.escape_ascii());
            }
        }
    }

    #[test]
    fn a_clean_block_is_one_piece() {
        let octets = b"Some line of text.\r\n..stuffed\r\n.x\r\n\r\n".repeat(1000);
        let mut pieces = Vec::new();
        let mut scanner = DataScanner::new(BareNewline::Normalize);
        scanner.scan(&octets, &mut |piece| pieces.push(piece));
        assert_eq!(pieces, [Piece::Received(0..octets.len())]);
        assert_eq!(scanner.size(), octets.len() as u64 - 2000);
        pieces.clear();
        assert!(scanner.scan(b".\r\n", &mut |piece| pieces.push(piece)).ended);
        assert_eq!(pieces, []);
        // A clean block and the end behind it: one piece still.
        let mut scanner = DataScanner::new(BareNewline::Normalize);
        let whole = [&octets[..], b".\r\nRSET\r\n"].concat();
        let scanned = scanner.scan(&whole, &mut |piece| pieces.push(piece));
        assert_eq!(pieces, [Piece::Received(0..octets.len())]);
        assert_eq!(scanned, Scanned { taken: octets.len() + 3, ended: true });
        assert_eq!(scanner.scan(b"x", &mut |_| unreachable!()), Scanned { taken: 0, ended: true });
    }

    #[test]
    fn long_runs_of_nuls_pass_in_bounded_pieces() {
        for (line, fault) in [("a", None), (".a", None), (".", Some(ContentFault::NulDot)), ("", None)] {
            for (lead, trail) in [(5000, 0), (0, 5000), (5000, 5000), (3, 4)] {
                let nul_line = [&vec![0; lead], line.as_bytes(), &vec![0; trail], &b"\r\n"[..]].concat();
                let octets = [b"x\r\n", &nul_line[..], b".\r\n"].concat();
                let parts: Vec<&[u8]> = octets.chunks(700).collect();
                let seen = scan(&parts, BareNewline::Normalize);
                assert_eq!((seen.ended, seen.fault), (true, fault), "{line:?} {lead} {trail}");
                let text = [b"x\r\n", &nul_line[..]].concat();
                if fault.is_none() {
                    assert_eq!(seen.out, text);
                } else {
                    // Much of the line may be out, but never the line end that would make it an end.
                    assert!(text.starts_with(&seen.out) && seen.out.len() < text.len() - 1);
                }
            }
        }
        // A dot that must be doubled, and more NULs behind it than are held.
        let octets = [&b"\n."[..], &vec![0; 5000], b"a\r\n.\r\n"].concat();
        let parts: Vec<&[u8]> = octets.chunks(700).collect();
        let seen = scan(&parts, BareNewline::Normalize);
        assert_eq!(seen.out, [&b"\r\n.."[..], &vec![0; 5000], b"a\r\n"].concat());
        assert_eq!((seen.size, seen.fault), (5005, None));
    }
}
