//! Lines that are too long: how they are dropped, and when their client is.

use super::{Downstream, FLOOD, Next};
use crate::dialog::Limits;
use crate::smtp::BareNewline;

fn next<'a>(lines: &mut Downstream, octets: &'a [u8]) -> Next<'a> {
    lines.next(octets, &Limits::default(), BareNewline::Reject)
}

/// Octets of a line that is too long already.
fn long(len: usize) -> Vec<u8> {
    vec![b'x'; len]
}

#[test]
fn a_line_that_is_too_long_is_dropped_to_its_end() {
    let mut lines = Downstream::default();
    assert!(matches!(next(&mut lines, &long(3000)), Next::Discarded(3000)));
    assert!(matches!(next(&mut lines, b"more\r\nNOOP\r\n"), Next::TooLong(6)));
    assert!(
        matches!(next(&mut lines, b"NOOP\r\n"), Next::Command(Ok(_), 6)),
        "what follows is a command again"
    );
}

#[test]
fn a_line_of_64_kib_is_dropped_and_one_octet_more_is_a_flood() {
    let most = FLOOD as usize;
    for (len, flood) in [(most - 1, false), (most, false), (most + 1, true), (most * 3, true)] {
        // At once, in two parts, and little by little.
        for part in [len, len / 2 + 1, 2500] {
            let (mut lines, mut last) = (Downstream::default(), false);
            for octets in long(len).chunks(part) {
                last = matches!(next(&mut lines, octets), Next::Flood);
            }
            assert_eq!(last, flood, "{len} octets, {part} by {part}");
        }
    }
}

#[test]
fn the_end_of_a_long_line_does_not_excuse_its_length() {
    let most = FLOOD as usize;
    for (before, more, flood) in [(most - 2, 2, false), (most, 1, false), (most, 2, true), (3000, most, true)]
    {
        let mut lines = Downstream::default();
        for octets in long(before).chunks(2500) {
            assert!(matches!(next(&mut lines, octets), Next::Discarded(_)));
        }
        let mut end = long(more - 1);
        end.push(b'\n');
        let came = next(&mut lines, &end);
        assert_eq!(matches!(came, Next::Flood), flood, "{before}, then {more}: {came:?}");
        assert_eq!(matches!(came, Next::TooLong(_)), !flood);
    }
}

#[test]
fn each_line_is_counted_by_itself() {
    let mut lines = Downstream::default();
    for _ in 0..5 {
        assert!(matches!(next(&mut lines, &long(FLOOD as usize / 2)), Next::Discarded(_)));
        assert!(matches!(next(&mut lines, b"\n"), Next::TooLong(1)));
    }
}

#[test]
fn what_was_said_before_tls_is_forgotten_and_errors_are_not() {
    let mut lines = Downstream { in_auth: true, errors: 7, ..Downstream::default() };
    assert!(matches!(next(&mut lines, &long(20_000)), Next::Discarded(_)));
    lines.begin_anew();
    assert!(matches!(next(&mut lines, b"EHLO a.example\r\n"), Next::Command(Ok(_), 16)));
    assert_eq!(lines.errors, 7);
}
