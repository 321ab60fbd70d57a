//! What is no SMTP: other protocols at a port for mail.
//!
//! In:    the beginning of a line of a client's, where a command should stand.
//! Out:   which protocol it is of, if that is certain.
//! Never: takes anything for foreign that could be a command: no verb has a colon in it or an octet of TLS before it.
//!
//! A browser that is made to POST to a port for mail must not become a sender: its header lines would be unknown commands,
//! and its body a dialog. RFC 9110 5 (fields), RFC 9112 3 (request lines), RFC 8446 5.1 (records); RFC 4253 4.2 (SSH).

use memchr::memchr;

/// A protocol that is not SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A request line, or a field line, of HTTP or its kin.
    Http,
    /// A TLS record, in plaintext.
    Tls,
    /// SSH's first line.
    Ssh,
}

impl Foreign {
    /// All of them.
    pub const ALL: [Foreign; 3] = [Foreign::Http, Foreign::Tls, Foreign::Ssh];

    /// Its name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Foreign::Http => "http",
            Foreign::Tls => "tls",
            Foreign::Ssh => "ssh",
        }
    }

    /// Whether octets where a line begins are no line at all.
    pub fn of_octets(octets: &[u8]) -> Option<Foreign> {
        // A handshake record of SSL 3.0 to TLS 1.3, whose version stands as 3.0 to 3.4.
        matches!(octets, [0x16, 3, 0..=4, ..]).then_some(Foreign::Tls)
    }

    /// Which protocol a line is of.
    pub fn of_line(line: &[u8]) -> Option<Foreign> {
        let line = line.trim_ascii_end();
        if line.starts_with(b"SSH-") {
            return Some(Foreign::Ssh);
        }
        (is_request(line) || is_field(line)).then_some(Foreign::Http)
    }
}

/// `POST / HTTP/1.1`; RTSP and SIP have the same form.
fn is_request(line: &[u8]) -> bool {
    let mut words = line.split(|&octet| octet == b' ');
    let (Some(method), Some(_), Some(version)) = (words.next(), words.next(), words.next_back()) else {
        return false;
    };
    let of = |name: &[u8]| {
        version.strip_prefix(name).is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    };
    is_token(method) && [b"HTTP/".as_slice(), b"RTSP/", b"SIP/"].into_iter().any(of)
}

/// `Host: mx.example.com`. The verbs of SMTP have a space before their colon.
fn is_field(line: &[u8]) -> bool {
    memchr(b':', line).is_some_and(|colon| is_token(&line[..colon]))
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain() {
        let table: &[(&[u8], Option<Foreign>)] = &[
            (b"POST / HTTP/1.1\r\n", Some(Foreign::Http)),
            (b"GET /index.html HTTP/1.0", Some(Foreign::Http)),
            (b"OPTIONS sip:nm SIP/2.0\r\n", Some(Foreign::Http)),
            (b"OPTIONS / RTSP/1.0\r\n", Some(Foreign::Http)),
            (b"PRI * HTTP/2.0\r\n", Some(Foreign::Http)),
            (b"Host: mx.example.com\r\n", Some(Foreign::Http)),
            (b"Content-Length:12\r\n", Some(Foreign::Http)),
            (b"x:\r\n", Some(Foreign::Http)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Foreign::Ssh)),
            (b"MAIL FROM:<smith@example.org>\r\n", None),
            (b"RCPT TO:<jones@example.com> NOTIFY=NEVER\r\n", None),
            (b"EHLO [IPv6:2001:db8::1]\r\n", None),
            (b"NOOP HTTP/1.1\r\n", None),
            (b"HELP a HTTP/\r\n", None),
            (b": x\r\n", None),
            (b"\r\n", None),
        ];
        for (line, expected) in table {
            assert_eq!(Foreign::of_line(line), *expected, "{}", line.escape_ascii());
        }
        assert_eq!(Foreign::of_octets(b"\x16\x03\x01\x02\x00\x01"), Some(Foreign::Tls));
        assert_eq!(Foreign::of_octets(b"\x16\x03"), None);
        assert_eq!(Foreign::of_octets(b"\x16\x04\x00"), None);
        assert_eq!(Foreign::of_octets(b"EHLO"), None);
    }
}
