//! TLS in scripts: what comes of a handshake, without one.
//!
//! **In**: what stands in `<starttls …>`. **Out**: what the shell would tell the session of it.
//! **Never**: encrypts anything: on paper a party just goes on speaking, and is heard as one under TLS.
//!
//! | notation | is |
//! |---|---|
//! | `<starttls>` | the handshake that gatepost asked for succeeds |
//! | `<starttls shows CN=mail.example.com>` | and that party shows a certificate that is vouched for |
//! | `<starttls shows CN=mail.example.com: expired>` | or one that is not, and why |
//! | `<starttls fails>`, `<starttls fails: certificate>` | it fails: `lost`, `timed_out`, `certificate`, else `protocol` |
//! | the same behind one that succeeded | the party refuses it now, as one of TLS 1.3 may |

use gatepost::session::client::{Certificate, TlsFacts, TlsFault, TlsFaultKind};

/// What comes of a handshake.
pub type Handshake = Result<TlsFacts, TlsFault>;

/// Reads `<starttls …>`; `None`: it is something else.
pub fn handshake(words: &str) -> Option<Handshake> {
    let rest = words.strip_prefix("<starttls")?.strip_suffix('>')?;
    if let Some(shown) = rest.strip_prefix(" shows ") {
        let (subject, fault) = shown.split_once(": ").map_or((shown, None), |(is, fault)| (is, Some(fault)));
        return Some(Ok(TlsFacts { certificate: Some(certificate(subject, fault)), ..done() }));
    }
    match rest {
        "" => Some(Ok(done())),
        " fails" => Some(Err(failed(TlsFaultKind::Protocol))),
        _ => {
            let kind = rest.strip_prefix(" fails: ")?;
            let kind = TlsFaultKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
            Some(Err(failed(kind)))
        }
    }
}

/// A handshake that fails in this way.
pub fn failed(kind: TlsFaultKind) -> TlsFault {
    TlsFault { kind, what: kind.as_str().into() }
}

fn done() -> TlsFacts {
    TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_128_GCM_SHA256".into(), ..TlsFacts::default() }
}

fn certificate(subject: &str, fault: Option<&str>) -> Certificate {
    Certificate { subject: subject.into(), verified: fault.is_none(), fault: fault.map(Into::into) }
}
