//! What is to arrive, by the rules as they are written down, and by none of gatepost's code.
//!
//! In:    a message; how it is sent; whether the hop takes chunks; whether its header is edited.
//! Out:   what the client writes; the octets that the hop is to have, or that it is to have none.
//! Never: sees what arrived.
//!
//! RFC 5321 2.3.8, 4.5.2; RFC 5322 2.2; `bare_newline` in proxy.yaml; docs/message.md.

/// How a message goes in, and what the hop offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By DATA.
    Data,
    /// By BDAT, to a hop that takes chunks.
    Chunks,
    /// By BDAT, to one that takes only DATA.
    Bridged,
}

impl Way {
    /// What a client sends: under DATA the last line has its end.
    pub fn sent(self, message: &[u8]) -> Vec<u8> {
        if self == Self::Data { ended(message.to_vec()) } else { message.to_vec() }
    }

    /// What gatepost has of it: under DATA it is mended as it comes, counted octets are as they are.
    pub fn kept(self, message: &[u8]) -> Option<Vec<u8>> {
        let sent = self.sent(message);
        match self {
            Self::Data => (!has_nul_dot(&stuffed(&sent))).then(|| mended(&sent)),
            Self::Chunks | Self::Bridged => Some(sent),
        }
    }

    /// What the hop is to have of what was kept, and perhaps edited; `None`: the client is refused.
    pub fn arrives(self, kept: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Data | Self::Chunks => Some(kept),
            Self::Bridged => (!has_nul_dot(&kept)).then(|| mended(&kept)),
        }
    }
}

/// The lines, each with its LF.
pub fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &octets[at..];
        let line = memchr::memchr(b'\n', rest).map_or(rest, |end| &rest[..=end]);
        at += line.len();
        (!line.is_empty()).then_some(line)
    })
}

fn ended(mut text: Vec<u8>) -> Vec<u8> {
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Leading dots doubled, as a client does that knows no line end but CRLF.
pub fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut begins = true;
    for line in lines(text) {
        if begins && line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        begins = line.ends_with(b"\r\n");
    }
    out
}

/// A bare LF is a line end; of CRs before a line end one is left; others are spaces.
pub fn mended(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    for line in lines(octets) {
        let mut text = line;
        if let Some(before) = line.strip_suffix(b"\n") {
            text = before;
            while let Some(before) = text.strip_suffix(b"\r") {
                text = before;
            }
        }
        match text.contains(&b'\r') {
            true => out.extend(text.iter().map(|&octet| if octet == b'\r' { b' ' } else { octet })),
            false => out.extend_from_slice(text),
        }
        if line.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
    ended(out)
}

/// Whether a line is a lone dot to whoever drops NULs, and to others is not.
fn has_nul_dot(octets: &[u8]) -> bool {
    octets.contains(&0)
        && octets.split(|octet| matches!(octet, b'\r' | b'\n')).any(|line| {
            let others: Vec<_> = line.iter().filter(|octet| **octet != 0).collect();
            line.len() > 1 && others == [&b'.']
        })
}

/// With `X-Seen: yes` before all fields, and without any `Received`.
pub fn edited(message: &[u8]) -> Vec<u8> {
    let mut out = b"X-Seen: yes\r\n".to_vec();
    let (mut at, mut goes, mut is_first) = (0, false, true);
    let separator: &[u8] = loop {
        let Some(line) = lines(&message[at..]).next() else { break b"" };
        if matches!(line, b"\n" | b"\r\n") {
            break line;
        }
        if !(line.starts_with(b" ") || line.starts_with(b"\t")) {
            match name(line) {
                Some(name) => goes = name.eq_ignore_ascii_case(b"Received"),
                // What follows is the body, from which a new empty line parts the header.
                None => break b"",
            }
        } else if is_first {
            break b"";
        }
        is_first = false;
        if !goes {
            out.extend_from_slice(line);
        }
        at += line.len();
    };
    let body = &message[at + separator.len()..];
    out.extend_from_slice(if separator.is_empty() && !body.is_empty() { b"\r\n" } else { separator });
    [out, body.to_vec()].concat()
}

fn name(line: &[u8]) -> Option<&[u8]> {
    let name = line[..line.iter().position(|octet| *octet == b':')?].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}
