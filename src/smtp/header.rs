//! Header fields of a message, as far as a proxy puts any there.
//!
//! In:    octets that are to stand before a message's own header.
//! Out:   whether they are one field, whole, with its line end.
//! Never: mends one, or looks into what a field means.
//!
//! RFC 5322 2.1.1 (length of lines), 2.2 (fields), 2.2.3 (folding).

/// Octets of a line of a message, without its CRLF.
const LINE: usize = 998;

/// Whether this is one header field, folded or not, with a CRLF at its end.
pub fn is_header_field(octets: &[u8]) -> bool {
    let Some(field) = octets.strip_suffix(b"\r\n") else { return false };
    let Some(colon) = memchr::memchr(b':', field) else { return false };
    // A dot at the beginning of a line is one that stuffing has to do with (RFC 5321 4.5.2).
    let is_name = colon > 0 && !field.starts_with(b".") && field[..colon].iter().all(u8::is_ascii_graphic);
    let mut lines = field.split(|&octet| octet == b'\n');
    let first = lines.next().unwrap_or_default();
    // What goes on is told by its first octet, and has more than white space: an empty line would end the header.
    let is_folded = |line: &[u8]| line.starts_with(b" ") || line.starts_with(b"\t");
    let goes_on = |line: &[u8]| is_folded(line) && !line.trim_ascii().is_empty();
    let mut ends = field.iter().enumerate().filter(|(_, octet)| **octet == b'\r');
    let is_line = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() <= LINE;
    is_name
        && is_line(first)
        && lines.all(|line| goes_on(line) && is_line(line))
        && ends.all(|(place, _)| field.get(place + 1) == Some(&b'\n'))
        && memchr::memchr_iter(b'\n', field).all(|place| place > 0 && field[place - 1] == b'\r')
        && !field.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        for good in [
            "X-Greylist: delayed 300 seconds\r\n",
            "A:\r\n",
            "A: b\r\n c\r\n\td\r\n",
            "Received-SPF: pass (caf\u{e9})\r\n",
        ] {
            assert!(is_header_field(good.as_bytes()), "{good:?}");
        }
        let most = "x".repeat(LINE - 3);
        for (octets, expected) in [
            (format!("A: {most}\r\n"), true),
            (format!("A: {most}\r\n {most}xx\r\n"), true),
            (format!("A: {most}x\r\n"), false),
            (format!("A: x\r\n {most}xxx\r\n"), false),
        ] {
            assert_eq!(is_header_field(octets.as_bytes()), expected, "{}", octets.len());
        }
        for bad in [
            "",
            "\r\n",
            "A: b",
            "A: b\n",
            "A b\r\n",
            ": b\r\n",
            ".A: b\r\n",
            "A: b\r\nC: d\r\n",
            "A: b\r\n\r\n",
            "A: b\r\n \r\n",
            "A : b\r\n",
            "A: b\r\n.\r\n",
            "A: b\n c\r\n",
            "A: b\r c\r\n",
            "A: b\r\r\n",
            "A: \0\r\n",
            "\u{e4}: b\r\n",
        ] {
            assert!(!is_header_field(bad.as_bytes()), "{bad:?}");
        }
    }
}
