//! MAIL and RCPT: checked, asked about, rewritten.
//!
//! In:    the two commands that make the envelope.
//! Out:   an answer owed for each, which holds the candidate until it is answered 2xx.
//! Never: takes a parameter of an extension that the client was not shown, or more than the limits allow.
//!
//! RFC 5321 4.1.1.2-3; RFC 1870 (SIZE); RFC 6531 (SMTPUTF8).

use super::io::Event;
use super::owed::What;
use super::transaction::{Mail, Needs, Notes, Recipient, Spoken, Transaction};
use super::verdict::{Giver, Stage};
use super::{Session, Turn};
use crate::smtp::{Params, Path, Verb, needed_by, own};

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
        if let Err(bound) = self.settings.limiter.message(self.client(), turn.now) {
            turn.out.count(Event::MessageLimited(bound));
            return self.reply_own(turn, &own::MESSAGE_RATE);
        }
        let mail = Mail { sent: Spoken::given(path, params), given: None };
        let notes = self.settings.records.then(Box::<Notes>::default);
        let mut transaction = Transaction {
            mail: mail.clone(),
            pool: self.pool,
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
        let (stage, mut what) = (Stage::Mail, What::Mail(mail));
        if self.settings.rules.stages().has(stage) {
            let mut question = self.question(stage, Verb::Mail, b"");
            (question.sender, question.params, question.size) = (Some(path), params, size);
            let answer = self.settings.rules.command(&question);
            self.transaction = Some(Box::new(transaction));
            self.note_command(turn, stage, &answer);
            if let Err(own) = self.rewrite_by_rule(&mut what, answer.rewrites) {
                self.transaction = None;
                return self.reply_own(turn, own);
            }
            if answer.verdict.is_some() {
                return self.decide(turn, what, answer.verdict, answer.by.last().copied().map(Giver::Rule));
            }
        } else {
            self.transaction = Some(Box::new(transaction));
        }
        self.consult(turn, stage, what, Verb::Mail, b"");
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
        if let Err(bound) = self.settings.limiter.recipient(self.client(), turn.now) {
            turn.out.count(Event::RecipientLimited(bound));
            return self.reply_own(turn, &own::RECIPIENT_RATE);
        }
        let recipient = Box::new(Recipient { sent: Spoken::given(path, params), given: None });
        let (stage, mut what) = (Stage::Rcpt, What::Rcpt(recipient));
        if self.settings.rules.stages().has(stage) {
            let mut question = self.question(stage, Verb::Rcpt, b"");
            (question.recipient, question.recipient_given, question.params) =
                (Some(path), Some(path), params);
            let answer = self.settings.rules.command(&question);
            self.note_command(turn, stage, &answer);
            if let Err(own) = self.rewrite_by_rule(&mut what, answer.rewrites) {
                return self.reply_own(turn, own);
            }
            if answer.verdict.is_some() {
                return self.decide(turn, what, answer.verdict, answer.by.last().copied().map(Giver::Rule));
            }
        }
        self.consult(turn, stage, what, Verb::Rcpt, b"");
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
