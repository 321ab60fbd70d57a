//! MAIL and RCPT: checked, asked about, rewritten, routed, forwarded.
//!
//! In:    the two commands that make the envelope.
//! Out:   an answer owed for each, which holds the candidate until it is answered 2xx.
//! Never: takes a parameter of an extension that the client was not shown, or more than the limits allow.
//!
//! RFC 5321 4.1.1.2-3; RFC 1870 (SIZE); RFC 6531 (SMTPUTF8).

use super::io::VerdictKind;
use super::owed::{Said, What};
use super::route::{PoolId, PoolKind};
use super::transaction::{Mail, Needs, Notes, Recipient, Spoken, Transaction};
use super::upstreams::Stand;
use super::verdict::{CommandVerdict, Rewrites, RuleId, Stage};
use super::{Session, Turn};
use crate::smtp::{Keyword, Params, Path, Verb, needed_by, own};

impl Session {
    pub(super) fn take_mail(&mut self, turn: &mut Turn<'_>, path: Path<'_>, params: Params<'_>) {
        if self.transaction.is_some() {
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
        let mut mail = Mail { sent: Spoken::given(path, params), given: None };
        let mut pool = self.pool;
        let notes = self.settings.records.then(Box::<Notes>::default);
        let mut transaction = Transaction {
            mail: mail.clone(),
            pool,
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
        transaction.needs.add(params, &self.shown);
        let stage = Stage::Mail;
        if !self.settings.rules.stages().has(stage) {
            self.transaction = Some(Box::new(transaction));
            return self.send_mail(turn, mail, false, pool);
        }
        let mut question = self.question(stage, Verb::Mail, b"");
        (question.sender, question.params, question.size) = (Some(path), params, size);
        let answer = self.settings.rules.command(&question);
        self.transaction = Some(Box::new(transaction));
        self.note_command(turn, stage, &answer);
        let Rewrites { sender, parameters, .. } = answer.rewrites;
        if sender.is_some() || parameters.is_some() {
            let to = sender.as_deref().unwrap_or(path.as_bytes());
            let with = parameters.as_deref().unwrap_or(params.as_bytes());
            if !well_formed(to, with) {
                self.transaction = None;
                return self.reply_own(turn, &own::BAD_VERDICT);
            }
            if !self.takes_path(to) {
                self.transaction = None;
                return self.reply_own(turn, &own::NEED_SMTPUTF8);
            }
            mail = Mail {
                sent: Spoken::new(to, with),
                given: (to != path.as_bytes()).then(|| path.as_bytes().into()),
            };
        }
        let routed = match answer.verdict {
            Some(CommandVerdict::Route(to)) if to != pool && !self.flags.authenticated => {
                pool = to;
                true
            }
            Some(CommandVerdict::Route(to)) => {
                if to != pool {
                    self.skip(turn, stage, &answer.by);
                }
                false
            }
            verdict => {
                if self.decided(turn, verdict, What::Mail(mail.clone())) {
                    return;
                }
                false
            }
        };
        if let Some(transaction) = &mut self.transaction {
            transaction.mail = mail.clone();
            transaction.pool = pool;
        }
        self.send_mail(turn, mail, routed, pool);
    }

    fn send_mail(&mut self, turn: &mut Turn<'_>, mail: Mail, routed: bool, pool: PoolId) {
        if matches!(self.settings.hops.kind(pool), PoolKind::ByRecipient(_)) {
            self.mail_here(turn, mail);
        } else if routed {
            self.hold(turn, What::Mail(mail), pool);
        } else {
            self.forward(turn, What::Mail(mail));
        }
    }

    pub(super) fn take_rcpt(&mut self, turn: &mut Turn<'_>, path: Path<'_>, params: Params<'_>) {
        let pending = self.owed.iter().filter(|owed| matches!(owed.what, What::Rcpt(_))).count();
        let Some(transaction) = &self.transaction else {
            return self.reply_error(turn, &own::NEED_MAIL);
        };
        if self.content.is_some() {
            return self.reply_error(turn, &own::BAD_SEQUENCE);
        }
        if self.uses_hidden(params) {
            return self.reply_error(turn, &own::PARAMETER_NOT_OFFERED);
        }
        if transaction.recipients.len() + transaction.swallowed + pending >= self.settings.limits.recipients {
            return self.reply_own(turn, &own::TOO_MANY_RECIPIENTS);
        }
        let mut pool = transaction.pool;
        let mut recipient = Box::new(Recipient { sent: Spoken::given(path, params), given: None });
        let stage = Stage::Rcpt;
        if self.settings.rules.stages().has(stage) {
            let mut question = self.question(stage, Verb::Rcpt, b"");
            (question.recipient, question.recipient_given, question.params) =
                (Some(path), Some(path), params);
            let answer = self.settings.rules.command(&question);
            self.note_command(turn, stage, &answer);
            if let Some(parameters) = answer.rewrites.parameters {
                if !well_formed(path.as_bytes(), &parameters) {
                    return self.reply_own(turn, &own::BAD_VERDICT);
                }
                recipient.sent = Spoken::new(path.as_bytes(), &parameters);
            }
            if let Some(to) = answer.rewrites.recipient {
                if !well_formed(&to, b"") || to.is_empty() {
                    return self.reply_own(turn, &own::BAD_VERDICT);
                }
                if !self.takes_path(&to) {
                    return self.reply_own(turn, &own::NEED_SMTPUTF8);
                }
                *recipient = recipient.rewritten(&to);
            }
            match answer.verdict {
                Some(CommandVerdict::Route(_)) if self.flags.authenticated => {
                    self.skip(turn, stage, &answer.by)
                }
                Some(CommandVerdict::Route(to)) => pool = to,
                Some(CommandVerdict::Reply(reply)) => {
                    return self.owe(turn, What::Rcpt(recipient), Said::Written(reply));
                }
                verdict => {
                    if self.decided(turn, verdict, What::Local) {
                        return;
                    }
                }
            }
        }
        let along = self.is_on_the_way(&recipient, pool);
        if along && self.is_full() {
            self.reply_own(turn, &own::TOO_MANY_RECIPIENTS);
        } else if along && (pending == 0 || self.settings.hops.kind(pool) != PoolKind::Lmtp) {
            self.forward(turn, What::Rcpt(recipient));
        } else {
            self.hold(turn, What::Rcpt(recipient), pool);
        }
    }

    /// After 235 the session stays with its hop: a route is not taken.
    pub(super) fn skip(&mut self, turn: &mut Turn<'_>, stage: Stage, by: &[RuleId]) {
        if let Some(&by) = by.last() {
            self.note(turn, stage, by, VerdictKind::Skipped);
        }
    }

    /// Whether the current hop takes a path that a rule wrote.
    pub(super) fn takes_path(&self, path: &[u8]) -> bool {
        let up = self.upstreams.current().and_then(|hop| self.upstreams.get(hop));
        path.is_ascii()
            || up.is_none_or(|up| up.stand != Stand::Ready || up.dialog.extensions.has(Keyword::SmtpUtf8))
    }

    /// Whether a parameter belongs to an extension that the hop offers, or may, and the client was not shown.
    pub(super) fn uses_hidden(&self, params: Params<'_>) -> bool {
        let (offered, by_recipient) = (self.upstreams.offered(), self.is_by_recipient());
        params.iter().any(|param| {
            needed_by(param).is_some_and(|keyword| {
                (by_recipient || offered.has(keyword))
                    && !self.shown.has(keyword)
                    && self.hello_was_extended()
            })
        })
    }

    pub(super) fn hello_was_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.extended)
    }
}

/// A rewritten path and parameters are held to the grammar of what a client may say.
pub(super) fn well_formed(path: &[u8], params: &[u8]) -> bool {
    Path::parse(path).is_ok() && Params::parse(params).is_ok()
}
