//! Patterns over octets, which all the others are made of.
//!
//! **In**: a pattern as it was written; octets of a dialog, in whatever case and encoding they came.
//! **Out**: whether the whole of them is meant, without regard to ASCII case. Matching allocates nothing.
//! **Never**: knows what the octets mean. `[` and `{` stand for themselves, for SMTP writes address literals with the one
//! (RFC 5321 section 4.1.3) and names mailboxes with the other (section 4.1.2, atext).
//!
//! `*` stands for any run of octets, `?` for one character; in addresses `?` is an ordinary one. That is little enough
//! to match by hand: a compiled automaton costs kilobytes, and rules come by the thousand.

/// A pattern, ready to be matched.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// In lower case.
    pattern: Box<[u8]>,
    /// Whether `?` is special.
    any_one: bool,
}

impl Glob {
    /// A pattern in which `*` and `?` are special.
    pub(super) fn text(pattern: &str) -> Self {
        Self { pattern: pattern.to_ascii_lowercase().into_bytes().into(), any_one: true }
    }

    /// A pattern in which only `*` is special.
    pub(super) fn address(pattern: &str) -> Self {
        Self { any_one: false, ..Self::text(pattern) }
    }

    /// Whether the whole of `text` is meant.
    ///
    /// On a mismatch only the last `*` can usefully take one octet more, so the time is at most the product of the
    /// two lengths, whoever wrote the text.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut p, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.pattern.get(p) {
                Some(b'*') => {
                    p += 1;
                    retry = Some((p, t));
                }
                Some(b'?') if self.any_one => {
                    p += 1;
                    t += character(&text[t..]);
                }
                Some(octet) if *octet == text[t].to_ascii_lowercase() => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut retry {
                    Some((behind_star, from)) => {
                        *from += 1;
                        (p, t) = (*behind_star, *from);
                    }
                    None => return false,
                },
            }
        }
        self.pattern[p..].iter().all(|octet| *octet == b'*')
    }
}

/// The length of the first character: one octet, or as many as UTF-8 says where the text is UTF-8 there.
fn character(text: &[u8]) -> usize {
    let length = match text[0] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    match text.get(1..length) {
        Some(rest) if rest.iter().all(|octet| (0x80..0xC0).contains(octet)) => length,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_texts_are_matched() {
        let table: &[(&str, &str, bool)] = &[
            ("*", "", true),
            ("*", "x", true),
            ("", "", true),
            ("", "x", false),
            ("127.0.0.1:*", "127.0.0.1:2525", true),
            ("[::1]:25", "[::1]:25", true),
            ("[::1]:25", ":", false),
            ("*:25", "[::1]:2525", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("a*bc", "abcbc", true),
            ("ABC", "abc", true),
            ("abc", "AbC", true),
            ("abc", "abcd", false),
            ("abcd", "abc", false),
            ("a**c", "ac", true),
            ("*aab", "aaaaab", true),
            ("5.1.*", "5.1.10", true),
            ("5.1.?", "5.1.10", false),
            ("5.?.1", "5.7.1", true),
            ("?", "", false),
            ("m?ller", "M\u{fc}ller", true),
            ("m??ller", "m\u{fc}ller", false),
            ("*?x", "abx", true),
            ("{a,b}", "a", false),
            ("*User UNKNOWN*", "<x>: user unknown in table", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Glob::text(pattern).matches(text.as_bytes()), *expected, "{pattern} {text}");
        }
        assert!(Glob::text("?*?").matches(b"\xff\xc3"), "any octets may be matched");
    }

    #[test]
    fn addresses_hold_question_marks() {
        assert!(Glob::address("who?*").matches(b"who?x"));
        assert!(!Glob::address("who?*").matches(b"whoax"));
        assert!(Glob::address("{a[b]\\}*").matches(b"{a[b]\\}c"));
    }
}
