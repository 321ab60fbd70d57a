//! The transaction so far, as it is shown to whoever is asked.
//!
//! In:    a dialog with recipients that were accepted, refused and swallowed, and somebody who looks on.
//! Out:   the envelope at each question.
//! Never: decides anything: whoever looks on is asked whether to ask, and never wants to.

use std::any::Any;
use std::sync::{Arc, Mutex};

use gatepost::session::callout::{CalloutId, CalloutTerms, Callouts, NoCallouts};
use gatepost::session::verdict::{Envelope, Question, Stage, Stages};
use gatepost::smtp::ReplyRef;

use crate::script::play::Play;

/// Looks at each question, and asks nobody.
#[derive(Default)]
struct Onlooker(Arc<Mutex<Vec<String>>>);

impl Callouts for Onlooker {
    fn stages(&self) -> Stages {
        Stage::ALL.into_iter().filter(|stage| *stage != Stage::Message).fold(Stages::default(), Stages::with)
    }

    fn next(
        &self,
        question: &Question<'_>,
        reply: Option<ReplyRef<'_>>,
        _: Option<CalloutId>,
    ) -> Option<CalloutId> {
        let seen =
            question.envelope.map_or("nothing".into(), |envelope| shown(envelope, question.recipients));
        let replied = reply.map_or(String::new(), |reply| format!(" {}", reply.code().get()));
        self.0.lock().unwrap().push(format!("{}{replied}: {seen}", question.stage.as_str()));
        None
    }

    fn encode(&self, _: CalloutId, _: &Question<'_>, _: Option<ReplyRef<'_>>) -> Box<[u8]> {
        unreachable!("nobody is asked")
    }

    fn terms(&self, callout: CalloutId) -> CalloutTerms {
        NoCallouts.terms(callout)
    }

    fn name(&self, _: CalloutId) -> &str {
        unreachable!("nobody is asked")
    }

    fn carrier(&self) -> &dyn Any {
        &()
    }
}

/// An envelope: sender and recipients, each with what it was sent as if that differs, and how many were swallowed.
fn shown(envelope: Envelope<'_>, accepted: usize) -> String {
    let address = |given: &[u8], sent: &[u8]| match given == sent {
        true => String::from_utf8_lossy(given).into_owned(),
        false => format!("{}>{}", String::from_utf8_lossy(given), String::from_utf8_lossy(sent)),
    };
    let recipients: Vec<_> = envelope.recipients().map(|one| address(one.given, one.sent)).collect();
    assert_eq!(recipients.len(), accepted);
    let sender = address(envelope.sender_given(), envelope.sender());
    format!("{sender} to [{}], {} swallowed", recipients.join(" "), envelope.swallowed())
}

/// A recipient is in the envelope from its acceptance on; a refused one never is, and a swallowed one is a number.
#[test]
fn what_is_shown_of_an_envelope() {
    let rules = "\
rules:
  - { name: from, stages: mail, do: { rewrite: { sender: \"office@example.org\" } } }
  - { name: moved, stages: rcpt, match: { recipient: \"*@old.example\" }, do: { rewrite: { recipient: \"{local}@new.example\" } } }
  - { name: trap, stages: rcpt, match: { recipient: \"trap@example.com\" }, do: { reply: \"250 2.1.5 Thank you\" } }
";
    let dialog = "\
include opened
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<office@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<trap@example.com>
S: 250 2.1.5 Thank you
C: RCPT TO:<jones@old.example>
        C: RCPT TO:<jones@new.example> ORCPT=rfc822;jones@old.example
        S: 250 2.1.5 Jones ok
S: 250 2.1.5 Jones ok
C: RCPT TO:<brown@example.com>
        C: RCPT TO:<brown@example.com>
        S: 550 5.1.1 No Brown
S: 550 5.1.1 No Brown
C: DATA
        C: DATA
        S: 354 Go ahead
S: 354 Go ahead
";
    let onlooker = Onlooker::default();
    let seen = Arc::clone(&onlooker.0);
    let mut play = Play::written(rules, dialog);
    Arc::get_mut(&mut play.world.settings).expect("nobody holds it yet").callouts = Arc::new(onlooker);
    play.run();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "connect: nothing",
            "connect-reply 220: nothing",
            "helo: nothing",
            "helo-reply 250: nothing",
            // What rules made of MAIL is the transaction's when it is decided.
            "mail: smith@example.org to [], 0 swallowed",
            "mail-reply 250: smith@example.org>office@example.org to [], 0 swallowed",
            "rcpt: smith@example.org>office@example.org to [], 1 swallowed",
            "rcpt-reply 250: smith@example.org>office@example.org to [], 1 swallowed",
            "rcpt: smith@example.org>office@example.org to [jones@old.example>jones@new.example], 1 swallowed",
            "rcpt-reply 550: smith@example.org>office@example.org to [jones@old.example>jones@new.example], 1 swallowed",
            "data: smith@example.org>office@example.org to [jones@old.example>jones@new.example], 1 swallowed",
            "data-reply 354: smith@example.org>office@example.org to [jones@old.example>jones@new.example], 1 swallowed",
        ]
    );
}

/// What is asked in one transaction is told from what is asked in another, whatever is asked in each.
#[test]
fn transactions_are_told_apart() {
    let callouts = "\
callouts:
  - { type: http, url: \"http://127.0.0.1:9/\", name: one, stages: [mail, rcpt, other] }
";
    let transaction = "\
C: MAIL FROM:<smith@example.org>
    ask one mail <smith@example.org>
    verdict pass
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
C: RCPT TO:<jones@example.com>
    ask one rcpt <jones@example.com>
    verdict reply 550 5.1.1 Unknown
S: 550 5.1.1 Unknown
C: RSET
        C: RSET
        S: 250 2.0.0 Ok
S: 250 2.0.0 Ok
";
    let asked =
        Play::written(callouts, &format!("include opened\n{transaction}{transaction}")).run().instances;
    assert!(
        matches!(*asked, [one, and, other, too] if one == and && other == too && one != other),
        "{asked:?}"
    );
}

/// The octets of an envelope, and of what its record keeps, are bounded: 256 KiB are taken.
#[test]
fn as_many_octets_as_an_envelope_may_have() {
    let recipient = |octets: usize| {
        let said = format!("C: RCPT TO:<{}@example.com>\n", "x".repeat(octets - "@example.com".len()));
        format!("{said}        {said}        S: 250 2.1.5 Ok\nS: 250 2.1.5 Ok\n")
    };
    let mail = "\
C: MAIL FROM:<smith@example.org>
        C: MAIL FROM:<smith@example.org>
        S: 250 2.1.0 Sender ok
S: 250 2.1.0 Sender ok
";
    // Each is kept as it is said upstream, and as the record has it with its reply.
    let each = 1000 + 1000 + "250 2.1.5 Ok".len();
    let left = (256 << 10) - "smith@example.org".len();
    let all = recipient(1000).repeat(left / each) + &recipient(left % each);
    let one_more = "C: RCPT TO:<x@example.com>\nS: 452 4.5.3 Too many recipients [id]\n";
    Play::written("", &format!("include opened\n{mail}{all}{one_more}")).run();
}
