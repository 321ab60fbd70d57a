//! The fast pass: how far octets are clean, so that they can go on as they are.
//!
//! Clean means that every CR stands before an LF, every LF behind a CR, and no line begins with NUL or is a
//! dot followed by CR, LF or NUL (the end-of-data, or something that could be taken for it).
//!
//! Instead of looking for LFs one by one, each octet is compared with its two neighbours and the outcomes
//! are or-ed together. That has no branch and becomes vector code, so lines of one octet cost no more than
//! long ones; one comparison answers what counting CRs and LFs apart would.
//!
//! In:    octets and a position in the middle of a line.
//! Out:   a position up to which all is clean, and the dots found that stuff a line.
//! Never: decides anything about an octet that is not clean.

/// How many octets are judged at once. A dirty octet sends as many through the slow machine.
pub(super) const BLOCK: usize = 1024;

/// What the fast pass found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Clean {
    /// Octets before this position are clean; whether it itself is was not decided.
    pub(super) until: usize,
    /// Dots right after CRLF before that position.
    pub(super) dots: u64,
}

/// Looks on from `from`, which must not be the first octet of a line. With `dots_pass` a dot that stuffs a
/// line is clean (DATA to DATA), else it is not (what is counted holds no stuffing).
pub(super) fn clean(octets: &[u8], from: usize, dots_pass: bool) -> Clean {
    debug_assert!(from < octets.len());
    let mut found = Clean { until: from, dots: 0 };
    if octets[from] == b'\n' {
        return found;
    }
    // Each octet is seen between its neighbours, so the very last one is left to the machine.
    let mut at = from + 1;
    while at + 1 < octets.len() {
        let end = (at + BLOCK).min(octets.len() - 1);
        let (before, here) = (&octets[at - 1..end - 1], &octets[at..end]);
        let (mut dirty, dotted) = judge(before, here);
        if dotted {
            dirty |= !dots_pass || has_lone_dot(before, here, &octets[at + 1..end + 1]);
        }
        if dirty {
            break;
        }
        if dotted {
            found.dots += count_dots(before, here);
        }
        found.until = end;
        at = end;
    }
    found
}

/// Whether any octet of `here` is dirty whatever follows it, and whether any is a dot at the beginning of a line.
fn judge(before: &[u8], here: &[u8]) -> (bool, bool) {
    let (mut dirty, mut dotted) = (0u8, 0u8);
    for (&a, &b) in before.iter().zip(here) {
        let begins = u8::from(a == b'\n');
        dirty |= u8::from(a == b'\r') ^ u8::from(b == b'\n');
        dirty |= begins & u8::from(b == 0);
        dotted |= begins & u8::from(b == b'.');
    }
    (dirty != 0, dotted != 0)
}

/// Whether any line begins with a dot that CR, LF or NUL follows.
fn has_lone_dot(before: &[u8], here: &[u8], after: &[u8]) -> bool {
    let mut lone = 0u8;
    for ((&a, &b), &c) in before.iter().zip(here).zip(after) {
        let dot = u8::from(a == b'\n') & u8::from(b == b'.');
        lone |= dot & (u8::from(c == b'\r') | u8::from(c == b'\n') | u8::from(c == 0));
    }
    lone != 0
}

fn count_dots(before: &[u8], here: &[u8]) -> u64 {
    before.iter().zip(here).filter(|&(&a, &b)| a == b'\n' && b == b'.').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts `odd` behind so many octets of clean lines and says where the pass stopped.
    fn stops_at(lead: usize, odd: &[u8], dots_pass: bool) -> (usize, Clean) {
        let mut octets: Vec<u8> = b"a long line\r\n".iter().copied().cycle().take(lead / 13 * 13).collect();
        let at = octets.len();
        octets.extend_from_slice(odd);
        octets.resize(octets.len() + 3000, b'x');
        (at, clean(&octets, 1, dots_pass))
    }

    #[test]
    fn stops_before_whatever_is_not_clean() {
        for lead in [13, 200, 1020, 1030, 1040, 5000] {
            for odd in [&b"\n"[..], b"\rx", b".\r\n", b".\n", b".\0", b"\0", b"x\n", b"x\r\r\n", b"x\r\n.\r"]
            {
                let (at, found) = stops_at(lead, odd, true);
                assert!(found.until <= at + odd.len(), "{lead} {odd:?} {found:?}");
                assert!(found.until + BLOCK + 3 >= at, "{lead} {odd:?} {found:?}");
            }
        }
    }

    #[test]
    fn counts_dots_that_pass() {
        let (at, found) = stops_at(2000, b".x\r\n..\r\n...\r\nb.\r\n", true);
        assert!(found.until > at + 1000);
        assert_eq!(found.dots, 3);
        let (at, found) = stops_at(2000, b".x\r\n", false);
        assert!(found.until <= at);
    }

    #[test]
    fn leaves_the_last_octet_undecided() {
        assert_eq!(clean(b"a", 0, true), Clean { until: 0, dots: 0 });
        assert_eq!(clean(b"ab", 0, true), Clean { until: 0, dots: 0 });
        assert_eq!(clean(b"abcd", 0, true), Clean { until: 3, dots: 0 });
        assert_eq!(clean(b"ab\r", 0, true), Clean { until: 2, dots: 0 });
        assert_eq!(clean(b"\nab", 0, true), Clean { until: 0, dots: 0 });
    }
}
