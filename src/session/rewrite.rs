//! New values for parts of a command (mode A): held to the grammar of what a client may say, then taken up.
//!
//! In:    a candidate, and what a rule or a callout wants in its place.
//! Out:   the candidate with the new values; or what is wrong with them.
//! Never: asks anybody again: a rewrite is checked, not asked about.
//!
//! RFC 5321 4.1.2 (syntax), 4.5.3.1 (limits); RFC 6531 3.4 (SMTPUTF8).

use super::Session;
use super::io::HopId;
use super::owed::What;
use super::transaction::{Mail, Spoken};
use super::upstreams::{Stand, Upstream};
use super::verdict::Rewrites;
use crate::smtp::{Keyword, Own, Params, Path, own};

/// Octets of a command line that are neither path nor parameters: verb, brackets, line end.
const FRAME: usize = b"MAIL FROM:<> \r\n".len();

impl Session {
    /// Checks a rule's rewrites and takes them up.
    pub(super) fn rewrite_by_rule(&self, what: &mut What, rewrites: Rewrites) -> Result<bool, &'static Own> {
        match self.rewrites_fault(what, &rewrites) {
            Some(_) => Err(&own::BAD_VERDICT),
            None => self.rewrite(what, rewrites),
        }
    }

    /// What is wrong with new values, if anything.
    pub(super) fn rewrites_fault(&self, what: &What, rewrites: &Rewrites) -> Option<&'static str> {
        let Rewrites { sender, recipient, helo, parameters } = rewrites;
        let now = match what {
            What::Mail(mail) => Some(&mail.sent),
            What::Rcpt(recipient) => Some(&recipient.sent),
            _ => None,
        };
        let path = sender.as_ref().or(recipient.as_ref());
        let octets = path.map_or(now.map_or(0, |now| now.path_octets().len()), |path| path.len())
            + parameters.as_ref().map_or(now.map_or(0, |now| now.params_octets().len()), |with| with.len())
            + helo.as_ref().map_or(0, |name| name.len());
        if octets + FRAME > self.settings.limits.command_line {
            Some("a rewrite that makes the line too long")
        } else if sender.as_ref().is_some_and(|path| Path::parse(path).is_err()) {
            Some("a sender that is no address")
        } else if recipient.as_ref().is_some_and(|path| path.is_empty() || Path::parse(path).is_err()) {
            Some("a recipient that is no address")
        } else if parameters.as_ref().is_some_and(|with| Params::parse(with).is_err()) {
            Some("parameters that are none")
        } else if helo.as_ref().is_some_and(|name| name.is_empty() || !name.iter().all(u8::is_ascii_graphic))
        {
            Some("a name that is no argument of EHLO")
        } else {
            None
        }
    }

    /// Takes up new values that are well-formed; whether any differs from what was there. `Err`: the hop cannot take
    /// them.
    pub(super) fn rewrite(&self, what: &mut What, rewrites: Rewrites) -> Result<bool, &'static Own> {
        let Rewrites { sender, recipient, helo, parameters } = rewrites;
        // Where a recipient goes is known when all is said about it: whether it is taken there is looked at then.
        if sender.as_ref().is_some_and(|path| !self.takes_path(path)) {
            return Err(&own::NEED_SMTPUTF8);
        }
        match what {
            What::Hello(hello) => {
                let Some(name) = helo.filter(|name| **name != *hello.said()) else { return Ok(false) };
                hello.sent = (*name != *hello.given).then_some(name);
            }
            What::Mail(mail) => {
                let path = sender.as_deref().unwrap_or(mail.sent.path_octets());
                let with = parameters.as_deref().unwrap_or(mail.sent.params_octets());
                let sent = Spoken::new(path, with);
                if sent == mail.sent {
                    return Ok(false);
                }
                let given = mail.given_octets();
                *mail = Mail { given: (path != given).then(|| given.into()), sent };
            }
            What::Rcpt(candidate) => {
                let path = recipient.as_deref().unwrap_or(candidate.sent.path_octets());
                let with = parameters.as_deref().unwrap_or(candidate.sent.params_octets());
                let sent = Spoken::new(path, with);
                if sent == candidate.sent {
                    return Ok(false);
                }
                let given = candidate.given_octets();
                candidate.given = (path != given).then(|| given.into());
                candidate.sent = sent;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the current hop takes a path that was not the client's.
    pub(super) fn takes_path(&self, path: &[u8]) -> bool {
        self.upstreams.current().is_none_or(|hop| self.hop_takes(hop, path))
    }

    /// Whether a hop does.
    pub(super) fn hop_takes(&self, hop: HopId, path: &[u8]) -> bool {
        let lacks = |up: &Upstream| up.stand == Stand::Ready && !up.dialog.extensions.has(Keyword::SmtpUtf8);
        path.is_ascii() || !self.upstreams.get(hop).is_some_and(lacks)
    }
}
