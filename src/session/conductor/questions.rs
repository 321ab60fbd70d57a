//! The dialog so far, as it is shown to whoever is asked.
//!
//! In:    a stage, and what the question is about.
//! Out:   a borrowed [`Question`].
//! Never: shows a secret: of AUTH the mechanism only.

use super::super::owed::What;
use super::super::stage::Stage;
use super::super::transaction::Recipient;
use super::super::verdict::{Envelope, Question};
use super::Conductor;
use crate::smtp::{Params, Path, Verb};

impl Conductor {
    pub(super) fn reply_question<'a>(&'a self, stage: Stage, what: &'a What) -> Question<'a> {
        let verb = match what {
            What::Hello(hello) if hello.extended => Verb::Ehlo,
            What::Hello(_) => Verb::Helo,
            What::Mail(_) => Verb::Mail,
            What::Rcpt(_) => Verb::Rcpt,
            What::Data | What::Chunk | What::Message(_) | What::Kept => Verb::Data,
            What::Auth(_) => Verb::Auth,
            What::Other(verb, _) => *verb,
            _ => Verb::Other,
        };
        let mut question = self.question(stage, verb, b"");
        match what {
            What::Hello(hello) => {
                (question.helo, question.extended) = (Some(&*hello.given), hello.extended);
            }
            What::Rcpt(recipient) => about_recipient(&mut question, recipient),
            What::Message(transaction) => {
                question.sender = transaction.mail.sent.path();
                question.recipients = transaction.recipients.len();
                question.envelope = Some(Envelope(transaction));
                question.instance = transaction.instance;
                question.size = transaction.size;
            }
            _ => {}
        }
        question
    }

    /// The dialog so far, about a command whose candidate is there, as rewritten so far.
    pub(super) fn command_question<'a>(
        &'a self,
        stage: Stage,
        what: &'a What,
        verb: Verb,
        argument: &'a [u8],
    ) -> Question<'a> {
        let mut question = self.question(stage, verb, argument);
        match what {
            What::Hello(hello) => {
                (question.helo, question.extended) = (Some(hello.said()), hello.extended);
            }
            What::Mail(mail) => {
                question.sender = mail.sent.path();
                question.params = Params::parse(mail.sent.params_octets()).unwrap_or_default();
                question.size = question.params.size();
            }
            What::Rcpt(recipient) => about_recipient(&mut question, recipient),
            _ => {}
        }
        question
    }

    /// The dialog so far, about a message that is kept.
    pub(super) fn message_question(&self) -> Question<'_> {
        let mut question = self.question(Stage::Message, Verb::Data, b"");
        question.message = self.delivery.draft();
        question.size = question.message.map(|draft| draft.message().size()).or(question.size);
        question
    }

    /// The dialog so far.
    pub(super) fn question<'a>(&'a self, stage: Stage, verb: Verb, argument: &'a [u8]) -> Question<'a> {
        let transaction = self.delivery.transaction();
        Question {
            stage,
            session: self.client.id(),
            listener: self.client.entrance().listener,
            client: self.client.ip(),
            port: self.client.entrance().client.port(),
            facts: self.client.facts(),
            hop: self.hops.current().and_then(|hop| self.hops.get(hop)).map(|up| &**up.name()),
            helo: self.client.helo(),
            extended: self.client.hello().is_some_and(|hello| hello.extended),
            instance: transaction.map_or(0, |transaction| transaction.instance),
            authenticated: self.client.has_authenticated_anywhere(),
            mechanism: self.client.mechanism(),
            sender: transaction.and_then(|transaction| transaction.mail.sent.path()),
            recipient: None,
            recipient_given: None,
            recipients: transaction.map_or(0, |transaction| transaction.recipients.len()),
            envelope: transaction.map(Envelope),
            params: Params::default(),
            size: transaction.and_then(|transaction| transaction.size),
            verb,
            argument,
            message: None,
        }
    }
}

fn about_recipient<'a>(question: &mut Question<'a>, recipient: &'a Recipient) {
    question.recipient = recipient.sent.path();
    question.recipient_given = Path::parse(recipient.given_octets()).ok();
    question.params = Params::parse(recipient.sent.params_octets()).unwrap_or_default();
}

/// The stage at which this is asked about before a hop hears of it.
pub(super) fn command_stage(what: &What) -> Stage {
    match what {
        What::Greeting => Stage::Connect,
        What::Hello(_) => Stage::Helo,
        What::Auth(_) => Stage::Auth,
        What::Mail(_) => Stage::Mail,
        What::Rcpt(_) => Stage::Rcpt,
        What::Data | What::Chunk | What::Message(_) => Stage::Data,
        What::Kept => Stage::Message,
        _ => Stage::Other,
    }
}

/// The stage at which the reply to this is asked about.
pub(super) fn reply_stage(what: &What) -> Option<Stage> {
    match what {
        What::Greeting => Some(Stage::ConnectReply),
        What::Hello(_) => Some(Stage::HeloReply),
        What::Mail(_) => Some(Stage::MailReply),
        What::Rcpt(_) => Some(Stage::RcptReply),
        What::Data => Some(Stage::DataReply),
        What::Auth(_) => Some(Stage::AuthReply),
        What::Other(..) => Some(Stage::OtherReply),
        What::Message(_) => Some(Stage::MessageReply),
        What::Chunk
        | What::Kept
        | What::Reset
        | What::StartTls
        | What::Quit
        | What::Local
        | What::Close(_) => None,
    }
}
