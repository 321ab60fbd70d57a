//! What a header field says to a person.
//!
//! In:    a value as it came: folded, encoded, in any octets.
//! Out:   one line of text.
//! Never: fails: what cannot be decoded stays as it is written.
//!
//! RFC 5322 2.2.3 (unfolding), RFC 2047 (encoded words), RFC 6532 (UTF-8).

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

/// The value unfolded, with its encoded words decoded and each run of white space as one space.
pub fn decoded(value: &[u8]) -> String {
    // A line end that begins no line of the field would end it there: all of them are white space here.
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(&b' ');
    line.push(b'\n');
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, expected) in [
            ("", ""),
            (" \t ", ""),
            (" YES", "YES"),
            (" a\r\n  b\r\n\tc ", "a b c"),
            (" =?utf-8?Q?caf=C3=A9?=", "caf\u{e9}"),
            (" =?utf-8?B?Y2Fm?=\r\n =?utf-8?B?w6k=?= x", "caf\u{e9} x"),
            (" =?iso-8859-1?q?M=FCller=5f?= <a@b>", "M\u{fc}ller_ <a@b>"),
            (" =?utf-8?B?", "=?utf-8?B?"),
            (" =?utf-8?X?abc?=", "=?utf-8?X?abc?="),
            (" caf\u{e9}", "caf\u{e9}"),
        ] {
            assert_eq!(decoded(value.as_bytes()).trim(), expected, "{value:?}");
        }
        assert_eq!(decoded(b" M\xfcller"), "M\u{fffd}ller");
    }
}
