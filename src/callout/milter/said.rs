//! What a filter says.
//!
//! **In**: one packet, and what was agreed upon. **Out**: what it means; or a [`Fault`].
//! **Never**: mends an answer, or lets a reply or a field of the header through that is none.
//!
//! Sendmail's `mfdef.h` (SMFIR_*). A code without data that has some is no answer, as in Postfix.

use std::sync::Arc;

use super::change::Change;
use super::frame::Frame;
use super::options::Options;
use crate::session::callout::{Fault, FaultKind};
use crate::smtp::Reply;

/// One thing that is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Continue,
    /// Of the connection or the message it wants to know no more.
    Accept,
    Refuse(Refusal),
    /// The message is accepted, and given to nobody.
    Discard,
    /// No more of the same.
    Skip,
    /// The client is to be sent away.
    Close(Option<Arc<Reply>>),
    /// It is at work.
    Progress,
    Change(Change),
}

/// How something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Reject,
    Tempfail,
    Reply(Arc<Reply>),
}

impl Said {
    pub(super) fn read(frame: Frame<'_>, options: &Options) -> Result<Self, Fault> {
        let said = match frame.code {
            b'c' => Said::Continue,
            b'a' => Said::Accept,
            b'r' => Said::Refuse(Refusal::Reject),
            b't' => Said::Refuse(Refusal::Tempfail),
            b'd' => Said::Discard,
            b's' => Said::Skip,
            b'4' => Said::Close(None),
            b'p' => Said::Progress,
            b'f' => return Err(Fault::new(FaultKind::Refused, "says that its connection failed")),
            b'y' => return reply(frame.data),
            _ => return Change::read(frame, options).map(Said::Change),
        };
        if !frame.data.is_empty() {
            return malformed(format!(
                "{} octets of data behind {:?}",
                frame.data.len(),
                char::from(frame.code)
            ));
        }
        Ok(said)
    }
}

pub(super) fn malformed<T>(what: impl Into<Box<str>>) -> Result<T, Fault> {
    Err(Fault::new(FaultKind::Malformed, what))
}

/// A reply of its own: lines with their codes. `%%` stands for `%`, and one alone for nothing (smfi_setreply).
fn reply(data: &[u8]) -> Result<Said, Fault> {
    let Some(text) = data.strip_suffix(b"\0").filter(|text| !text.contains(&0)) else {
        return malformed("a reply that is no string");
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        if octet != b'%' {
            plain.push(octet);
        } else if octets.next_if_eq(&b'%').is_some() {
            plain.push(b'%');
        }
    }
    let Ok(text) = std::str::from_utf8(&plain) else { return malformed("a reply that is no UTF-8") };
    let lines: Vec<&str> = text.trim_end_matches("\r\n").split("\r\n").collect();
    let reply = match Reply::parse_written(&lines) {
        Ok(reply) => Arc::new(reply),
        Err(fault) => return malformed(format!("a reply that is none: {fault}")),
    };
    let code = reply.code();
    if !code.is_negative() {
        return malformed(format!("a reply that refuses nothing: {code}"));
    }
    Ok(if code.closes() { Said::Close(Some(reply)) } else { Said::Refuse(Refusal::Reply(reply)) })
}

#[cfg(test)]
mod tests {
    use super::super::options::offer;
    use super::*;

    fn read(code: u8, data: &[u8]) -> Result<Said, Fault> {
        Said::read(Frame { code, data }, &Options::read(&offer(true), true).unwrap())
    }

    fn written(data: &[u8]) -> String {
        match read(b'y', data).unwrap() {
            Said::Refuse(Refusal::Reply(reply)) => String::from_utf8_lossy(reply.as_bytes()).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words() {
        for (code, said) in [
            (b'c', Said::Continue),
            (b'a', Said::Accept),
            (b'r', Said::Refuse(Refusal::Reject)),
            (b't', Said::Refuse(Refusal::Tempfail)),
            (b'd', Said::Discard),
            (b's', Said::Skip),
            (b'4', Said::Close(None)),
            (b'p', Said::Progress),
        ] {
            assert_eq!(read(code, b"").unwrap(), said);
            let fault = read(code, b"\0").unwrap_err().to_string();
            assert_eq!(fault, format!("malformed: 1 octets of data behind {:?}", char::from(code)));
        }
        assert_eq!(read(b'f', b"").unwrap_err().kind, FaultKind::Refused);
        assert_eq!(read(b'x', b"").unwrap_err().to_string(), "malformed: 'x', which is no answer");
    }

    #[test]
    fn replies() {
        assert_eq!(written(b"550 5.7.1 No\0"), "550 5.7.1 No\r\n");
        assert_eq!(written(b"451-4.7.1 Come\r\n451 4.7.1 back\0"), "451-4.7.1 Come\r\n451 4.7.1 back\r\n");
        assert_eq!(written(b"550 5.7.1 100%% s%pam\0"), "550 5.7.1 100% spam\r\n");
        assert!(matches!(read(b'y', b"421 4.3.2 Bye\0"), Ok(Said::Close(Some(_)))));
        for bad in [
            &b"550 No"[..],
            b"550 N\0o\0",
            b"250 Ok\0",
            b"354 Go\0",
            b"999 Oh\0",
            b"55 No\0",
            b"550 No\r\n551 No\0",
            b"550 No\n550 No\0",
            b"550 No\r\0",
            b"\0",
        ] {
            assert_eq!(read(b'y', bad).unwrap_err().kind, FaultKind::Malformed, "{bad:?}");
        }
    }
}
