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
use super::super::peer::HopId;
use super::super::stage::Stage;
use super::super::transaction::{
    ENVELOPE, FRAME, Mail, Needs, Notes, Prepended, Recipient, Spoken, Transaction,
};
use super::super::turn::Turn;
use super::super::verdict::Rewrites;
use super::Conductor;
use super::asking::Subject;
use crate::smtp::{Keyword, Own, Params, Path, Verb, needed_by, own};

impl Conductor {
    pub(super) fn take_mail(&mut self, turn: &mut Turn<'_>, path: Path<'_>, params: Params<'_>) {
        if self.delivery.transaction().is_some() {
            return self.reply_error(turn, &own::NESTED_MAIL);
        }
        self.client.begins_group();
        if self.uses_hidden(params) {
            return self.reply_error(turn, &own::PARAMETER_NOT_OFFERED);
        }
        if path.as_bytes().len() > Path::LONGEST {
            return self.reply_error(turn, &own::BAD_SENDER);
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
            instance: self.conversations.instance(),
            pool: self.hops.pool(),
            accepted: false,
            pinned: None,
            held: path.as_bytes().len() + params.as_bytes().len(),
            prepended: Prepended::default(),
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
        let (mut pending, mut held) = (0, path.as_bytes().len() + params.as_bytes().len());
        for owed in self.owed.iter() {
            if let What::Rcpt(recipient) = &owed.what {
                pending += 1;
                held += recipient.octets();
            }
        }
        let Some(transaction) = self.delivery.transaction() else {
            return self.reply_error(turn, &own::NEED_MAIL);
        };
        if self.delivery.content().is_some() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        if self.uses_hidden(params) {
            return self.reply_error(turn, &own::PARAMETER_NOT_OFFERED);
        }
        if path.as_bytes().len() > Path::LONGEST {
            return self.reply_error(turn, &own::BAD_RECIPIENT);
        }
        if transaction.recipients.len() + transaction.swallowed + pending >= self.settings.limits.recipients
            || transaction.held() + held > ENVELOPE
        {
            return self.reply_own(turn, &own::TOO_MANY_RECIPIENTS);
        }
        if let Err(bound) = self.settings.limiter.recipient(self.client.ip(), turn.now) {
            turn.count(Event::RecipientLimited(bound));
            return self.reply_own(turn, &own::RECIPIENT_RATE);
        }
        let recipient = Box::new(Recipient { sent: Spoken::given(path, params), given: None, added: false });
        self.ask(
            turn,
            Stage::Rcpt,
            What::Rcpt(recipient),
            Subject::Command { verb: Verb::Rcpt, argument: b"" },
        );
    }

    /// Whether a parameter belongs to an extension that the hop offers, or may, and the client was not shown; or to one that
    /// it never is.
    pub(super) fn uses_hidden(&self, params: Params<'_>) -> bool {
        let (offered, by_recipient) = (self.hops.offered(), self.is_by_recipient());
        params.iter().any(|param| {
            needed_by(param).is_some_and(|keyword| {
                let hides = (by_recipient || offered.has(keyword))
                    && !self.client.shown().has(keyword)
                    && self.client.hello().is_some_and(|hello| hello.extended);
                hides || keyword.multiplies_replies()
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
        } else if path.is_some_and(|path| path.len() > Path::LONGEST) {
            Some("a path of more than 1000 octets")
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
        if let Some(with) = &parameters
            && let What::Mail(Mail { sent, .. }) = &*what
            && self.hop_lacks(sent, with)
        {
            return Err(&own::PARAMETER_NOT_OFFERED);
        }
        if let Some(with) = &parameters
            && let What::Rcpt(recipient) = &*what
            && self.hop_lacks(&recipient.sent, with)
        {
            return Err(&own::PARAMETER_NOT_OFFERED);
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
                let new = Mail { given: (path != given).then(|| given.into()), sent };
                if sender.as_ref().is_some_and(|path| !path.is_ascii() && !new.is_utf8()) {
                    return Err(&own::NOT_SMTPUTF8);
                }
                if sender.as_ref().is_some_and(|path| !self.hop_takes(path)) {
                    return Err(&own::NEED_SMTPUTF8);
                }
                *mail = new;
            }
            What::Rcpt(candidate) => {
                let path = recipient.as_deref().unwrap_or(candidate.sent.path_octets());
                let with = parameters.as_deref().unwrap_or(candidate.sent.params_octets());
                let sent = Spoken::new(path, with);
                if sent == candidate.sent {
                    return Ok(false);
                }
                // Where it goes is known when all is said about it: whether it is taken there is looked at then.
                if recipient.as_ref().is_some_and(|path| !path.is_ascii() && !self.is_utf8()) {
                    return Err(&own::NOT_SMTPUTF8);
                }
                let given = candidate.given_octets();
                candidate.given = (path != given).then(|| given.into());
                candidate.sent = sent;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether new parameters need an extension that the hop lacks, and that the old ones do not; or one that no dialog can
    /// have here.
    fn hop_lacks(&self, old: &Spoken, new: &[u8]) -> bool {
        let new = Params::parse(new).unwrap_or_default();
        if new.iter().filter_map(needed_by).any(Keyword::multiplies_replies) {
            return true;
        }
        let Some(hop) = self.hops.current().and_then(|hop| self.hops.get(hop)).filter(|hop| hop.is_ready())
        else {
            return false;
        };
        let old = Params::parse(old.params_octets()).unwrap_or_default();
        new.iter().any(|param| {
            let needs = |keyword: Keyword| keyword != Keyword::Size && !hop.offers().has(keyword);
            needed_by(param).is_some_and(needs) && !old.iter().any(|old| needed_by(old) == needed_by(param))
        })
    }

    /// Whether the current hop takes a path that was not the client's, if the transaction does.
    pub(super) fn takes_path(&self, path: &[u8]) -> bool {
        path.is_ascii() || (self.is_utf8() && self.hop_takes(path))
    }

    /// Whether the transaction takes a recipient that a rung has given: one beyond ASCII needs SMTPUTF8.
    pub(super) fn takes_given(&self, recipient: &Recipient) -> bool {
        recipient.given.is_none() || recipient.sent.path_octets().is_ascii() || self.is_utf8()
    }

    /// The same of another hop.
    pub(super) fn takes_path_at(&self, hop: HopId, path: &[u8]) -> bool {
        path.is_ascii() || (self.is_utf8() && self.hops.get(hop).is_none_or(|open| open.takes_path(path)))
    }

    fn hop_takes(&self, path: &[u8]) -> bool {
        self.hops.current().and_then(|hop| self.hops.get(hop)).is_none_or(|hop| hop.takes_path(path))
    }

    /// Whether the transaction's MAIL said SMTPUTF8.
    fn is_utf8(&self) -> bool {
        self.delivery.transaction().is_some_and(|transaction| transaction.mail.is_utf8())
    }
}
