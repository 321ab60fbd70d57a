//! What a hop says.
//!
//! **In**: octets, whole and in pieces, under limits of any size. **Out**: replies, then perhaps a fault.
//! **Never** must: replies or fault depend on how the octets arrive; a reply be longer than its limits, or hold what
//! somebody else could read as another reply. And what gatepost writes itself is read as that.

use bolero::check;
use gatepost::smtp::{EnhancedCode, Reply, ReplyFault, ReplyFramer, ReplyLimits};

use super::octets::{Inputs, Octets, chosen, pieces, spelled};

const WORDS: &[&[u8]] = &[
    b"220 ",
    b"250 ",
    b"250-",
    b"250",
    b"251 ",
    b"334 ",
    b"354 ",
    b"421 ",
    b"450 ",
    b"550-",
    b"550 ",
    b"599 ",
    b"600 ",
    b"199 ",
    b"2.1.5 ",
    b"4.7.0 ",
    b"5.7.1",
    b"5.7.1000",
    b"SIZE 1000",
    b"PIPELINING",
    b"ok",
    b"a longer text of a reply",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"-",
    b" ",
    b"\t",
    b"\xff",
    b"2",
    b"5",
    b"0",
];

#[test]
fn reply() {
    check!(name = "reply").with_iterations(2_000).with_generator(Inputs).for_each(|Octets(input)| {
        let (how, rest) = chosen(input);
        let (limit, octets) = chosen(rest);
        // From limits that nothing passes to those of the configuration.
        let line = 4 << (limit % 11);
        let limits = ReplyLimits { line, reply: line << (limit / 11 % 5) };
        for octets in [octets, &spelled(octets, WORDS)] {
            framed(octets, limits, how);
            written(octets);
        }
    });
}

/// What was framed: each reply's octets, and the fault that ended it.
type Framed = (Vec<Vec<u8>>, Option<ReplyFault>);

fn framed(octets: &[u8], limits: ReplyLimits, how: u8) {
    let whole = frame(&[octets], limits);
    assert_eq!(frame(&pieces(octets, how), limits), whole);
    assert_eq!(frame(&pieces(octets, 0), limits), whole);
    let told: Vec<u8> = whole.0.concat();
    assert!(octets.starts_with(&told), "a reply is not what the hop said");
}

/// Hands in the pieces as the shell does: what is no reply yet stays in the buffer.
fn frame(pieces: &[&[u8]], limits: ReplyLimits) -> Framed {
    let mut framer = ReplyFramer::default();
    let (mut buffer, mut replies) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framer.next(&buffer, limits) {
                Ok(None) => break,
                Ok(Some(reply)) => {
                    fits(reply.as_bytes(), reply.code().get(), limits);
                    assert_eq!(reply.lines().count(), count(reply.as_bytes(), b'\n'));
                    assert!(reply.enhanced().is_none_or(|enhanced| enhanced.class == reply.code().class()));
                    let taken = reply.as_bytes().len();
                    replies.push(buffer.drain(..taken).collect());
                    assert!(!framer.is_within());
                }
                // Where one octet is too many for line and reply, the pieces decide which is named.
                Err(ReplyFault::ReplyTooLong) => return (replies, Some(ReplyFault::LineTooLong)),
                Err(fault) => return (replies, Some(fault)),
            }
        }
        let line = buffer.rsplit(|&octet| octet == b'\n').next().unwrap_or_default();
        assert!(line.len() < limits.line, "more is waited for than a line may have");
        assert!(buffer.len() < limits.reply, "more is waited for than a reply may have");
    }
    (replies, None)
}

/// Lines of one code, all but the last with a mark that more follow.
fn fits(reply: &[u8], code: u16, limits: ReplyLimits) {
    let name = reply.escape_ascii().to_string();
    assert!(reply.len() <= limits.reply && (200..=599).contains(&code), "{name}");
    let lines: Vec<&[u8]> = reply.split_inclusive(|&octet| octet == b'\n').collect();
    for (at, line) in lines.iter().enumerate() {
        assert!(line.len() <= limits.line, "{name}");
        let text = line.strip_suffix(b"\r\n").expect("a line ends with CRLF");
        assert!(!text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)), "{name}");
        assert_eq!(text[..3], *code.to_string().as_bytes(), "{name}");
        assert_eq!(text.get(3) == Some(&b'-'), at + 1 < lines.len(), "{name}");
    }
}

fn count(octets: &[u8], one: u8) -> usize {
    octets.iter().filter(|&&octet| octet == one).count()
}

/// Lines of a configuration or a callout: what is taken for a reply is one to a client.
fn written(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let lines: Vec<&str> = text.split('\n').collect();
    if let Ok(reply) = Reply::parse_written(&lines) {
        let limits = ReplyLimits { line: 512, reply: 1 << 20 };
        let (replies, fault) = frame(&[reply.as_bytes()], limits);
        assert_eq!((replies, fault), (vec![reply.as_bytes().to_vec()], None));
        let texts: Vec<Vec<u8>> = reply.as_ref().lines().map(<[u8]>::to_vec).collect();
        assert_eq!(Reply::from_lines(reply.code(), &texts), Ok(reply));
    }
    if let Some(code) = EnhancedCode::parse(octets) {
        assert_eq!(EnhancedCode::parse(code.to_string().as_bytes()), Some(code));
    }
}
