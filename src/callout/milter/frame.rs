//! Packets of the milter protocol: a length, a code, data.
//!
//! **In**: a code and its data; octets from a filter or of a script, split anywhere.
//! **Out**: octets; the packets among them, one by one.
//! **Never**: waits for more than a bound, or takes what has no code for a packet.
//!
//! Sendmail's `mfdef.h` (SMFIC_*, SMFIR_*). A length counts the code and is 32 bits, the most significant first; a string
//! ends in NUL.

use crate::session::callout::{Fault, FaultKind};

/// Octets of the data of one packet to a filter, at most (MILTER_CHUNK_SIZE).
pub(super) const DATA: usize = 65_535;

/// What the MTA says.
pub(super) mod command {
    pub const NEGOTIATE: u8 = b'O';
    pub const MACRO: u8 = b'D';
    pub const CONNECT: u8 = b'C';
    pub const HELO: u8 = b'H';
    pub const MAIL: u8 = b'M';
    pub const RCPT: u8 = b'R';
    pub const DATA: u8 = b'T';
    pub const HEADER: u8 = b'L';
    pub const END_OF_HEADER: u8 = b'N';
    pub const BODY: u8 = b'B';
    pub const END_OF_MESSAGE: u8 = b'E';
    pub const ABORT: u8 = b'A';
    pub const QUIT: u8 = b'Q';
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub code: u8,
    pub data: &'a [u8],
}

/// Writes a packet whose data are these parts.
pub(super) fn put(into: &mut Vec<u8>, code: u8, parts: &[&[u8]]) {
    let octets: usize = parts.iter().map(|part| part.len()).sum();
    // What is kept of a dialog is far from such a length.
    let length = u32::try_from(octets + 1).unwrap_or(u32::MAX);
    into.extend_from_slice(&length.to_be_bytes());
    into.push(code);
    parts.iter().for_each(|part| into.extend_from_slice(part));
}

/// The first packet among these octets, and how long it is; `None`: it is not whole. `most`: octets of its data.
pub(super) fn first(octets: &[u8], most: usize) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let malformed = |what: String| Err(Fault::new(FaultKind::Malformed, what));
    let Some((length, rest)) = octets.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 {
        return malformed("a packet without a code".to_owned());
    }
    if length - 1 > most {
        return malformed(format!("a packet of {length} octets, where {} are the most", most + 1));
    }
    match rest.split_first() {
        Some((&code, data)) if data.len() >= length - 1 => {
            Ok(Some((Frame { code, data: &data[..length - 1] }, 4 + length)))
        }
        _ => Ok(None),
    }
}

/// The packets of a script, which are whole.
pub(super) fn all(mut octets: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let (frame, length) = first(octets, usize::MAX - 1).ok().flatten()?;
        octets = &octets[length..];
        Some(frame)
    })
}

/// The strings of a packet, each of which ends in NUL; `None` where the last does not.
pub(super) fn strings(data: &[u8]) -> Option<Vec<&[u8]>> {
    match data.strip_suffix(b"\0") {
        Some(all) => Some(all.split(|&octet| octet == 0).collect()),
        None => data.is_empty().then(Vec::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        let mut octets = Vec::new();
        put(&mut octets, command::HELO, &[b"client.example", b"\0"]);
        put(&mut octets, command::DATA, &[]);
        assert_eq!(octets, b"\0\0\0\x10Hclient.example\0\0\0\0\x01T");
        let said: Vec<_> = all(&octets).map(|frame| (frame.code, frame.data)).collect();
        assert_eq!(said, [(b'H', &b"client.example\0"[..]), (b'T', b"")]);
        for whole in 0..20 {
            assert_eq!(first(&octets[..whole], DATA), Ok(None), "{whole}");
        }
        assert_eq!(first(&octets, DATA).unwrap().unwrap().1, 20);
    }

    #[test]
    fn lengths() {
        let fault = |octets: &[u8]| first(octets, 3).unwrap_err().to_string();
        assert_eq!(fault(b"\0\0\0\0"), "malformed: a packet without a code");
        assert_eq!(fault(b"\0\0\0\x05"), "malformed: a packet of 5 octets, where 4 are the most");
        assert_eq!(
            fault(b"\xff\xff\xff\xff"),
            "malformed: a packet of 4294967295 octets, where 4 are the most"
        );
        assert!(first(b"\0\0\0\x04cabc", 3).unwrap().is_some());
    }

    #[test]
    fn what_ends_in_nul() {
        assert_eq!(strings(b""), Some(vec![]));
        assert_eq!(strings(b"\0"), Some(vec![&b""[..]]));
        assert_eq!(strings(b"a\0bc\0"), Some(vec![&b"a"[..], b"bc"]));
        assert_eq!(strings(b"a\0bc"), None);
    }
}
