//! MAIL and RCPT: checked, and given new values.
//!
//! In:    the two commands that make the envelope; a candidate, and what a rule or a callout wants in its place (mode A).
//! Out:   a candidate, held by the answer that is owed for it until it is answered 2xx; or what is wrong with new values.
//! Never: takes a parameter of an extension that the client was not shown, or more than the limits allow; asks anybody
//!        again: a rewrite is checked, not asked about.
//!
//! RFC 5321 4.1.1.2-3, 4.1.2 (syntax), 4.5.3.1 (limits); RFC 1870 (SIZE); RFC 6531 3.4 (SMTPUTF8).

use super::super::events::Event;
use super::super::owed::What;
use super::super::stage::Stage;
use super::super::transaction::{Mail, Needs, Notes, Recipient, Spoken, Transaction};
use super::super::turn::Turn;
use super::super::verdict::Rewrites;
use super::Conductor;
use super::asking::Subject;
use crate::smtp::{Own, Params, Path, Verb, needed_by, own};

/// Octets of a command line that are neither path nor parameters: verb, brackets, line end.
const FRAME: usize = b"MAIL FROM:<> \r\n".len();

impl Conductor {
    pub(super) fn take_mail(&mut self, turn: &mut Turn<'_>, path: Path<'_>, params: Params<'_>) {
        if self.delivery.transaction().is_some() {
            return self.reply_error(turn, &own::NESTED_MAIL);
        }
        if self.uses_hidden(params) {
            return self.reply_error(turn, &own::PARAMETER_NOT_OFFERED);
        }
        let size = params.size();
        if size.is_none() && params.value("SIZE").is_some() {
            return self.reply_error(turn, &own::BAD_PARAMETER);
        }
        if size.is_some_and(|size| size > self.settings.limits.message_size) {
            return self.reply_own(turn, &own::MESSAGE_TOO_BIG);
        }
        if let Err(bound) = self.settings.limiter.message(self.client.ip(), turn.now) {
            turn.count(Event::MessageLimited(bound));
            return self.reply_own(turn, &own::MESSAGE_RATE);
        }
        let mail = Mail { sent: Spoken::given(path, params), given: None };
        let notes = self.settings.records.then(Box::<Notes>::default);
        let mut transaction = Transaction {
            mail: mail.clone(),
            pool: self.hops.pool(),
            accepted: false,
            pinned: None,
            recipients: Vec::new(),
            swallowed: 0,
            needs: Needs::default(),
            size,
            since: turn.now,
            octets: 0,
            mended: 0,
            notes,
        };
        transaction.needs.add(params, self.client.shown());
        self.delivery.begin(transaction);
        self.ask(turn, Stage::Mail, What::Mail(mail), Subject::Command { verb: Verb::Mail, argument: b"" });
    }

    pub(super) fn take_rcpt(&mut self, turn: &mut Turn<'_>, path: Path<'_>, params: Params<'_>) {
        let pending = self.owed.iter().filter(|owed| matches!(owed.what, What::Rcpt(_))).count();
        let Some(transaction) = self.delivery.transaction() else {
            return self.reply_error(turn, &own::NEED_MAIL);
        };
        if self.delivery.content().is_some() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        if self.uses_hidden(params) {
            return self.reply_error(turn, &own::PARAMETER_NOT_OFFERED);
        }
        if transaction.recipients.len() + transaction.swallowed + pending >= self.settings.limits.recipients {
            return self.reply_own(turn, &own::TOO_MANY_RECIPIENTS);
        }
        if let Err(bound) = self.settings.limiter.recipient(self.client.ip(), turn.now) {
            turn.count(Event::RecipientLimited(bound));
            return self.reply_own(turn, &own::RECIPIENT_RATE);
        }
        let recipient = Box::new(Recipient { sent: Spoken::given(path, params), given: None });
        self.ask(
            turn,
            Stage::Rcpt,
            What::Rcpt(recipient),
            Subject::Command { verb: Verb::Rcpt, argument: b"" },
        );
    }

    /// Whether a parameter belongs to an extension that the hop offers, or may, and the client was not shown.
    pub(super) fn uses_hidden(&self, params: Params<'_>) -> bool {
        let (offered, by_recipient) = (self.hops.offered(), self.is_by_recipient());
        params.iter().any(|param| {
            needed_by(param).is_some_and(|keyword| {
                (by_recipient || offered.has(keyword))
                    && !self.client.shown().has(keyword)
                    && self.client.hello().is_some_and(|hello| hello.extended)
            })
        })
    }

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
        self.hops.current().and_then(|hop| self.hops.get(hop)).is_none_or(|hop| hop.takes_path(path))
    }
}
