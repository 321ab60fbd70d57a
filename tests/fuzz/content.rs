//! Content under DATA and in chunks.
//!
//! **In**: octets, whole and in pieces, under either way to take bare CRs and LFs. **Out**: what would go to a hop, and
//! where the content ended. **Never** must: any of that depend on how the octets arrive; an end be seen that is not
//! CRLF.CRLF, or be missed; a bare CR or LF, or what a lax hop could take for an end, go upstream; a chunk be counted
//! wrong. And what is stuffed, and unstuffed again, is the text that was given.

use bolero::check;
use gatepost::smtp::{
    BareNewline, ChunkCounter, ContentFault, DataScanner, END_OF_DATA, Piece, Scanned, Stuffer, Unstuffer,
};

use super::octets::{Inputs, Octets, chosen, pieces, spelled};

/// A line that the fast pass goes over in blocks.
const LONG: &[u8] = &[b'x'; 1100];

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n",
    b"\r\n.",
    b"\r\n..",
    b"\r\n.\r\n",
    b"\r\n.\r",
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b".",
    b"..",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\0.",
    b".\0\r\n",
    b"\0\0\0\0",
    b"text",
    b"a line of text\r\n",
    b"Subject: a message\r\n\r\n",
    b"\xff",
    LONG,
    b"\r\n.\r\nMAIL FROM:<smuggled@example.org>\r\n",
];

const MODES: [BareNewline; 2] = [BareNewline::Normalize, BareNewline::Reject];

#[test]
fn content() {
    check!(name = "content").with_iterations(250).with_generator(Inputs).for_each(|Octets(input)| {
        let (how, octets) = chosen(input);
        for octets in [octets, &spelled(octets, WORDS)] {
            for mode in MODES {
                scanned(octets, mode, how);
                stuffed(octets, mode, how);
            }
            unstuffed(octets, how);
            counted(octets, how);
        }
    });
}

/// What came of content.
#[derive(Debug, PartialEq)]
struct Seen {
    out: Vec<u8>,
    taken: usize,
    ended: bool,
    size: u64,
    mended: u64,
    fault: Option<ContentFault>,
}

/// Puts a piece behind what was put out before.
fn put(piece: Piece, from: &[u8], out: &mut Vec<u8>) {
    match piece {
        Piece::Received(range) => {
            assert!(!range.is_empty());
            out.extend_from_slice(&from[range]);
        }
        Piece::Static(octets) => out.extend_from_slice(octets),
    }
}

/// Where content ends: behind the first CRLF.CRLF, the 354 being a CRLF too.
fn end_of(octets: &[u8]) -> Option<usize> {
    let framed = [b"\r\n", octets].concat();
    framed.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + END_OF_DATA.len())
}

fn scanned(octets: &[u8], mode: BareNewline, how: u8) {
    let whole = scan(&[octets], mode);
    assert_eq!(scan(&pieces(octets, how), mode), whole);
    assert_eq!(scan(&pieces(octets, 0), mode), whole);
    let end = end_of(octets);
    assert_eq!(whole.ended, end.is_some());
    assert_eq!(whole.taken, end.unwrap_or(octets.len()));
    let content = &octets[..end.map_or(octets.len(), |end| end - END_OF_DATA.len())];
    if whole.ended && whole.mended == 0 && whole.fault.is_none() {
        assert_eq!(whole.out.escape_ascii().to_string(), content.escape_ascii().to_string());
    }
    if mode == BareNewline::Reject && is_dirty(content) && whole.ended {
        assert!(whole.fault.is_some(), "a bare CR or LF was let through");
    }
    assert!(whole.mended == 0 || is_dirty(octets), "mended what was clean");
}

fn scan(parts: &[&[u8]], mode: BareNewline) -> Seen {
    let mut scanner = DataScanner::new(mode);
    let (mut out, mut taken) = (Vec::new(), 0);
    let mut ended = false;
    for part in parts {
        let scanned = scanner.scan(part, &mut |piece| put(piece, part, &mut out));
        taken += scanned.taken;
        ended = scanned.ended;
        assert!(ended || scanned.taken == part.len());
        if ended {
            assert_eq!(scanner.scan(b"more", &mut |_| panic!("behind the end")), Scanned { taken: 0, ended });
            break;
        }
    }
    // Before the end the size counts what may yet turn out to be stuffing, and what is held is not out.
    let size = if ended { scanner.size() } else { 0 };
    if !ended {
        out.truncate(out.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1));
    }
    let fault = scanner.fault();
    fit(&out, ended && fault.is_none());
    // How much was out when the fault was found depends on the pieces; none of it will be ended.
    let out = if fault.is_some() { Vec::new() } else { out };
    Seen { out, taken, ended, size, mended: scanner.mended(), fault }
}

/// What goes to a hop under DATA.
fn fit(out: &[u8], whole: bool) {
    let without_nul: Vec<u8> = out.iter().copied().filter(|&octet| octet != 0).collect();
    for out in [out, &without_nul] {
        let name = out.escape_ascii().to_string();
        assert!(!is_dirty(out), "a bare CR or LF goes upstream: {name}");
        assert_eq!(end_of(out), None, "an end goes upstream: {name}");
        assert!(!whole || out.is_empty() || out.ends_with(b"\r\n"), "the last line has no end: {name}");
    }
}

fn is_dirty(octets: &[u8]) -> bool {
    let bare = |(at, &octet): (usize, &u8)| match octet {
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    octets.iter().enumerate().any(bare)
}

/// Chunks to DATA, and back as a strict reader has it.
fn stuffed(octets: &[u8], mode: BareNewline, how: u8) {
    let whole = stuff(&[octets], mode);
    assert_eq!(stuff(&pieces(octets, how), mode), whole);
    assert_eq!(stuff(&pieces(octets, 0), mode), whole);
    let (out, fault) = whole;
    if fault.is_some() {
        let bare = mode == BareNewline::Reject && is_dirty(octets);
        assert!(bare || octets.contains(&0), "refused for nothing: {fault:?}");
        return;
    }
    fit(&out, true);
    assert!(mode == BareNewline::Normalize || !is_dirty(octets), "a bare CR or LF was let through");
    let sent = [&out[..], END_OF_DATA].concat();
    let (text, taken, ended) = unstuff(&[&sent]);
    assert_eq!((taken, ended), (sent.len(), true));
    assert_eq!(text.escape_ascii().to_string(), mended(octets).escape_ascii().to_string());
}

fn stuff(parts: &[&[u8]], mode: BareNewline) -> (Vec<u8>, Option<ContentFault>) {
    let mut stuffer = Stuffer::new(mode);
    let mut out = Vec::new();
    for part in parts {
        stuffer.stuff(part, &mut |piece| put(piece, part, &mut out));
    }
    stuffer.finish(&mut |piece| put(piece, &[], &mut out));
    let fault = stuffer.fault();
    // How much was out when the fault was found depends on the pieces; none of it will be ended.
    (if fault.is_some() { Vec::new() } else { out }, fault)
}

/// A text's lines, each with CRLF, CRs before that dropped, other stray CRs as spaces.
fn mended(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let ended = line.ends_with(b"\r\n");
        let kept = text.iter().rposition(|&octet| octet != b'\r' || !ended).map_or(0, |last| last + 1);
        let text = &text[..kept];
        out.extend(text.iter().map(|&octet| if octet == b'\r' { b' ' } else { octet }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// DATA to a store: nothing but the stuffing is gone.
fn unstuffed(octets: &[u8], how: u8) {
    let whole = unstuff(&[octets]);
    assert_eq!(unstuff(&pieces(octets, 0)), unstuff(&pieces(octets, how)));
    let (text, taken, ended) = whole;
    assert_eq!((taken, ended), (end_of(octets).unwrap_or(octets.len()), end_of(octets).is_some()));
    if ended {
        assert_eq!(unstuff(&pieces(octets, how)).0, text);
        let content = &octets[..taken - END_OF_DATA.len()];
        assert_eq!(text.escape_ascii().to_string(), without_stuffing(content).escape_ascii().to_string());
    }
}

fn unstuff(parts: &[&[u8]]) -> (Vec<u8>, usize, bool) {
    let mut reader = Unstuffer::new();
    let (mut out, mut taken, mut ended) = (Vec::new(), 0, false);
    for part in parts {
        let scanned = reader.scan(part, &mut |piece| put(piece, part, &mut out));
        taken += scanned.taken;
        ended = scanned.ended;
    }
    assert_eq!(reader.size(), out.len() as u64);
    (out, taken, ended)
}

/// Without the dots right behind a CRLF, but those that a CR or LF follows, bare as it must be.
fn without_stuffing(content: &[u8]) -> Vec<u8> {
    let begins = |at: usize| at == 0 || content[..at].ends_with(b"\r\n");
    let keeps =
        |at: usize| content[at] != b'.' || !begins(at) || matches!(content.get(at + 1), Some(b'\r' | b'\n'));
    (0..content.len()).filter(|&at| keeps(at)).map(|at| content[at]).collect()
}

/// As many octets as were announced, however they arrive.
fn counted(octets: &[u8], how: u8) {
    let size = u64::from(how) * 3;
    let mut chunk = ChunkCounter::new(size);
    let mut taken = 0;
    for piece in pieces(octets, how) {
        let took = chunk.take(piece.len());
        assert!(took == piece.len() || chunk.is_done());
        taken += took as u64;
    }
    assert_eq!(taken, size.min(octets.len() as u64));
    assert_eq!((chunk.remaining(), chunk.is_done()), (size - taken, size == taken));
}
