//! Whether a host would relay: asked as far as RCPT, and taken back.
//!
//! In:    a dialog behind its EHLO.
//! Out:   what became of a recipient that is nobody's, with its reply.
//! Never: says DATA or BDAT, or names a domain that could be somebody's: `.invalid` is nobody's for good (RFC 2606).
//!
//! The reverse-path is the null one, which every host has to take (RFC 5321 6.1).

use std::io;
use std::time::Duration;

use crate::hop::dialog::Dialog;
use crate::smtp::{EnhancedCode, Reply, ReplyRef};

/// Nobody's address, in nobody's domain.
pub(super) const RECIPIENT: &str = "relay-test@gatepost.invalid";

/// What became of it.
#[derive(Debug)]
pub(super) enum Relays {
    /// The host would take it.
    Yes(Reply),
    /// It would not.
    No(Reply),
    /// It said nothing about relaying: not now, or that there is no such domain.
    Unknown(Reply),
}

/// Asks, and takes it back.
pub(super) async fn ask(dialog: &mut Dialog, patience: Duration) -> io::Result<Relays> {
    let mail = dialog.ask("MAIL FROM:<>", patience).await?;
    if !mail.code().is_positive() {
        return Ok(judged(mail));
    }
    let rcpt = dialog.ask(&format!("RCPT TO:<{RECIPIENT}>"), patience).await?;
    dialog.ask("RSET", patience).await?;
    Ok(judged(rcpt))
}

fn judged(reply: Reply) -> Relays {
    match reply.code().class() {
        2 => Relays::Yes(reply),
        5 if !is_about_domain(reply.as_ref()) => Relays::No(reply),
        // Not authorized, for now (RFC 3463 3.8): Postfix's defer_unauth_destination.
        4 if reply.as_ref().enhanced().is_some_and(|code| code.subject == 7) => Relays::No(reply),
        _ => Relays::Unknown(reply),
    }
}

/// Whether a refusal is for the domain, which does not exist: bad destination system address (RFC 3463 3.2, X.1.2),
/// no MX (RFC 7505 4.2, X.1.10), unable to route (3.5, X.4.4).
fn is_about_domain(reply: ReplyRef<'_>) -> bool {
    let about = |code: EnhancedCode| matches!((code.subject, code.detail), (1, 2 | 10) | (4, 4));
    reply.enhanced().is_some_and(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{ReplyFramer, ReplyLimits};

    #[test]
    fn what_replies_say() {
        for (line, said) in [
            ("250 2.1.5 Ok\r\n", "Yes"),
            ("251 User not local\r\n", "Yes"),
            ("554 5.7.1 <relay-test@gatepost.invalid>: Relay access denied\r\n", "No"),
            ("550 relay not permitted\r\n", "No"),
            ("454 4.7.1 Relay access denied\r\n", "No"),
            ("450 4.2.0 Greylisted\r\n", "Unknown"),
            (
                "550 5.1.2 <relay-test@gatepost.invalid>: Recipient address rejected: Domain not found\r\n",
                "Unknown",
            ),
            ("556 5.1.10 null MX\r\n", "Unknown"),
        ] {
            let limits = ReplyLimits { line: 512, reply: 512 };
            let reply = ReplyFramer::default().next(line.as_bytes(), limits).unwrap().unwrap().to_owned();
            assert!(format!("{:?}", judged(reply)).starts_with(said), "{line}");
        }
    }
}
