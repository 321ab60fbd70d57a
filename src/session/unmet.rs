//! What a hop lacks of the terms it is to be spoken to on.
//!
//! In:    what it said or did instead, and what that leads to.
//! Out:   a line for the log.
//! Never: holds more of a hop's words than the first line of a reply.
//!
//! RFC 3207 (STARTTLS); XCLIENT and XFORWARD of Postfix.

use std::fmt;

use super::facts::TlsFault;

/// A hop that did not meet its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// What it lacks.
    pub lack: Lack,
    /// What is done instead.
    pub instead: Instead,
}

/// What a hop lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It does not offer this.
    NotOffered(&'static str),
    /// It does not offer STARTTLS any more: somebody on the way may have taken it out.
    Withdrawn,
    /// It refused this, with such a line.
    Refused(&'static str, Box<[u8]>),
    /// The handshake with it failed.
    Tls(TlsFault),
    /// It cannot see the client's address, for this reason.
    SourceAddress(Box<str>),
}

impl Lack {
    /// In a word: what is not offered, what was refused, and so on.
    pub fn thing(&self) -> &'static str {
        match self {
            Self::NotOffered(what) | Self::Refused(what, _) => what,
            Self::Withdrawn => "STARTTLS withdrawn",
            Self::Tls(_) => "TLS",
            Self::SourceAddress(_) => "source_address",
        }
    }
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Another host is tried.
    NotUsed,
    /// It is spoken to in plain.
    Plain,
    /// It is not told who the client is.
    Nameless,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lack {
            Lack::NotOffered(what) => write!(f, "{what}: not offered")?,
            Lack::Withdrawn => f.write_str("STARTTLS: not offered any more, as it was not long ago")?,
            Lack::Refused(what, line) => write!(f, "{what}: {}", String::from_utf8_lossy(line))?,
            Lack::SourceAddress(why) => write!(f, "source_address: {why}")?,
            Lack::Tls(fault) => write!(f, "TLS: {}: {}", fault.kind.as_str(), fault.what)?,
        }
        f.write_str(match self.instead {
            Instead::NotUsed => "; this host is not used",
            Instead::Plain => "; it is spoken to in plain",
            Instead::Nameless => "; it is not told who the client is",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::facts::TlsFaultKind;

    /// Each is said so often by itself: no two may have the same word.
    #[test]
    fn things_are_told_apart() {
        let fault = TlsFault { kind: TlsFaultKind::Protocol, what: "x".into() };
        for (lack, thing) in [
            (Lack::NotOffered("XCLIENT"), "XCLIENT"),
            (Lack::Refused("XFORWARD", "550 no".as_bytes().into()), "XFORWARD"),
            (Lack::NotOffered("STARTTLS"), "STARTTLS"),
            (Lack::Withdrawn, "STARTTLS withdrawn"),
            (Lack::Tls(fault), "TLS"),
            (Lack::SourceAddress("no route".into()), "source_address"),
        ] {
            assert_eq!(lack.thing(), thing);
        }
    }
}
