//! Tests: what must hold for any content, however it is split.
//!
//! In:    every short sequence of the octets that matter, and long random ones.
//! Out:   nothing that a hop could read as an end, not even one that takes a bare LF or CR for a line end or
//!        drops NULs; and the same text, to a strict reader, that a strict reader would have read.
//! Never: relies on how the machine does it: the model here says it all at once, line by line.

use proptest::prelude::*;

use super::*;

/// All that a scan shows.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) out: Vec<u8>,
    pub(super) taken: usize,
    pub(super) ended: bool,
    pub(super) size: u64,
    pub(super) mended: u64,
    pub(super) fault: Option<ContentFault>,
}

/// Scans what arrives in these parts.
pub(super) fn scan(parts: &[&[u8]], mode: BareNewline) -> Seen {
    let mut scanner = DataScanner::new(mode);
    let (mut out, mut taken, mut ended) = (Vec::new(), 0, false);
    for part in parts {
        let scanned = scanner.scan(part, &mut |piece| match piece {
            Piece::Received(range) => {
                assert!(!range.is_empty());
                out.extend_from_slice(&part[range]);
            }
            Piece::Static(octets) => out.extend_from_slice(octets),
        });
        taken += scanned.taken;
        ended = scanned.ended;
        if ended {
            break;
        }
    }
    let (size, mended, fault) = (scanner.size(), scanner.mended(), scanner.fault());
    // Before the end the size counts what may yet turn out to be stuffing or the end.
    Seen { out, taken, ended, size: if ended { size } else { 0 }, mended, fault }
}

/// Says the same as the scanner in another way: all at once, line by line. None where it would fault.
fn text_of(octets: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut strict, mut rest) = (true, octets);
    while !rest.is_empty() {
        let end = rest.iter().position(|&o| o == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        let (line, crlf) = match line.strip_suffix(b"\r") {
            Some(line) if end.is_some() => (line, true),
            _ => (line, false),
        };
        let lone = |part: &&[u8]| part.contains(&0) && part.iter().filter(|&&o| o != 0).eq([b'.'].iter());
        let parts: Vec<&[u8]> = line.split(|&o| o == b'\r').collect();
        if parts.iter().any(lone) {
            return None;
        }
        let stuffed =
            strict && parts[0].starts_with(b".") && !(parts[0] == b"." && (parts.len() > 1 || !crlf));
        let text = if stuffed { &line[1..] } else { line };
        // CRs right before CRLF are dropped.
        let kept = text.iter().rposition(|&octet| octet != b'\r' || !crlf).map_or(0, |last| last + 1);
        let text = &text[..kept];
        out.extend(text.iter().map(|&o| if o == b'\r' { b' ' } else { o }));
        out.extend_from_slice(b"\r\n");
        strict = crlf;
    }
    Some(out)
}

fn is_fit(out: &[u8]) -> bool {
    let framed = [b"\r\n", out].concat();
    let has = |part: &[u8]| framed.windows(part.len()).any(|window| window == part);
    let bare = framed.windows(2).any(|w| (w[0] == b'\r') != (w[1] == b'\n')) || framed.ends_with(b"\r");
    !bare && !has(b"\r\n.\r\n")
}

/// What a strict reader makes of stuffed text.
fn read(stuffed: &[u8]) -> Vec<u8> {
    let stuffed = [stuffed, END_OF_DATA].concat();
    let mut out = Vec::new();
    let mut reader = Unstuffer::new();
    let scanned = reader.scan(&stuffed, &mut |piece| match piece {
        Piece::Received(range) => out.extend_from_slice(&stuffed[range]),
        Piece::Static(octets) => out.extend_from_slice(octets),
    });
    assert_eq!(scanned, Scanned { taken: stuffed.len(), ended: true });
    assert_eq!(reader.size(), out.len() as u64);
    out
}

/// Scans the content, which must have an end, and holds what comes out against the model.
fn check(octets: &[u8]) {
    let name = octets.escape_ascii().to_string();
    let framed = [b"\r\n", octets].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n").unwrap();
    let seen = scan(&[octets], BareNewline::Normalize);
    assert!(seen.ended && is_fit(&seen.out), "{name}");
    assert_eq!(seen.taken, end + 3, "{name}");
    let single: Vec<&[u8]> = octets.chunks(1).collect();
    assert_eq!(scan(&single, BareNewline::Normalize), seen, "{name}");
    let rejected = scan(&[octets], BareNewline::Reject);
    assert_eq!(scan(&single, BareNewline::Reject), rejected, "{name}");
    match text_of(&octets[..end]) {
        None => {
            assert_eq!(seen.fault, Some(ContentFault::NulDot), "{name}");
            assert!(rejected.fault.is_some(), "{name}");
        }
        Some(text) => {
            assert_eq!(seen.fault, None, "{name}");
            assert_eq!(read(&seen.out).escape_ascii().to_string(), text.escape_ascii().to_string(), "{name}");
            // For a reader that drops NULs there is no end in it either.
            let without: Vec<u8> = seen.out.iter().copied().filter(|&o| o != 0).collect();
            assert!(is_fit(&without), "{name}");
            assert_eq!(rejected.fault.is_some(), seen.mended > 0, "{name}");
            if seen.mended == 0 {
                // Octet for octet, and the size is what a strict reader has in the end.
                assert_eq!(seen.out, octets[..end], "{name}");
                assert_eq!(rejected.out, seen.out, "{name}");
                assert_eq!(seen.size, text.len() as u64, "{name}");
            }
        }
    }
    assert!(seen.out.starts_with(&rejected.out), "{name}");
}

/// All sequences of so many of the octets that matter.
fn sequences(length: u32) -> impl Iterator<Item = Vec<u8>> {
    const OCTETS: &[u8] = b"\r\n.\0a";
    let count = OCTETS.len();
    (0..count.pow(length)).map(move |number| {
        let digit = |place| OCTETS[number / count.pow(place) % count];
        (0..length).map(digit).collect()
    })
}

#[test]
fn every_short_content() {
    for length in 0..=6 {
        for octets in sequences(length) {
            check(&[&octets[..], b"\r\n.\r\n"].concat());
        }
    }
}

#[test]
fn every_short_counted_content() {
    for length in 0..=6 {
        for octets in sequences(length) {
            let mut stuffer = Stuffer::new(BareNewline::Normalize);
            let mut out = Vec::new();
            let mut emit = |piece| match piece {
                Piece::Received(range) => out.extend_from_slice(&octets[range]),
                Piece::Static(octets) => out.extend_from_slice(octets),
            };
            stuffer.stuff(&octets, &mut emit);
            stuffer.finish(&mut emit);
            let name = octets.escape_ascii().to_string();
            assert!(is_fit(&out), "{name}");
            let without: Vec<u8> = out.iter().copied().filter(|&o| o != 0).collect();
            assert!(is_fit(&without), "{name}");
            if stuffer.fault().is_none() {
                assert!(out.is_empty() || out.ends_with(b"\r\n"), "{name}");
                assert_eq!(octets.is_empty(), out.is_empty(), "{name}");
                // Every dot that was there is there.
                let dots = |octets: &[u8]| octets.iter().filter(|&&o| o == b'.').count();
                assert_eq!(dots(&read(&out)), dots(&octets), "{name}");
            }
        }
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let dense = prop::collection::vec(prop::sample::select(&b"\r\n\r\n\r\n...\0a"[..]), 0..60);
    let parts: Vec<&'static [u8]> =
        vec![b"\r\n", b"\r\n", b"\r\n.", b".", b"\n", b"\r", b"\0", b"line of text", b"..", b"\r\n\r\n"];
    let lines = prop::collection::vec(prop::sample::select(parts), 0..500).prop_map(|parts| parts.concat());
    let clean = prop::collection::vec(
        prop::sample::select(vec![&b"\r\n"[..], b"x", b"abc..", b"\r\n..", b"text, more of it"]),
        0..800,
    )
    .prop_map(|parts| parts.concat());
    prop_oneof![dense, lines, clean]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_gives_the_same(octets in content(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let octets = [&octets[..], b"\r\n.\r\n"].concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len())).collect();
        at.extend([0, octets.len()]);
        at.sort_unstable();
        let parts: Vec<&[u8]> = at.windows(2).map(|pair| &octets[pair[0]..pair[1]]).collect();
        for mode in [BareNewline::Normalize, BareNewline::Reject] {
            prop_assert_eq!(scan(&parts, mode), scan(&[&octets], mode));
        }
    }

    #[test]
    fn output_is_the_normalised_input(octets in content()) {
        let octets = [&octets[..], b"\r\n.\r\n"].concat();
        check(&octets);
    }

    #[test]
    fn nothing_unfit_comes_out_of_anything(octets in prop::collection::vec(any::<u8>(), 0..300), dense in content()) {
        for octets in [octets, dense] {
            for mode in [BareNewline::Normalize, BareNewline::Reject] {
                let mut seen = scan(&[&octets], mode);
                // Without an end the last line may be unfinished.
                if !seen.out.ends_with(b"\r\n") {
                    seen.out.extend_from_slice(b"x\r\n");
                }
                prop_assert!(is_fit(&seen.out));
            }
        }
    }
}
