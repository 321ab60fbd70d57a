//! Requests, and what actions mean.

mod client;

use std::sync::Arc;

use super::*;
use crate::session::callout::{Beside, CalloutAnswer};
use crate::session::client::{Certificate, ClientFacts, ClientName, TlsFacts, XclientFacts};
use crate::session::verdict::{CommandVerdict, Question, Rewrites, Stage, Supposed};
use crate::smtp::{Params, Path, Reply, SessionId, Verb};

fn question(stage: Stage) -> Question<'static> {
    Question {
        stage,
        session: SessionId(0x1234),
        listener: 0,
        client: [192, 0, 2, 1].into(),
        port: 40_000,
        facts: None,
        hop: None,
        helo: Some(b"client.example"),
        extended: true,
        instance: 3,
        authenticated: false,
        mechanism: None,
        sender: Some(Path::parse(b"smith@example.org").unwrap()),
        recipient: None,
        recipient_given: None,
        recipients: 0,
        envelope: None,
        params: Params::default(),
        size: Some(1000),
        verb: Verb::Rcpt,
        message: None,
        argument: b"",
    }
}

fn encoded(question: &Question<'_>) -> String {
    String::from_utf8(encode("submission", question).into()).unwrap()
}

#[test]
fn a_request_as_postfix_writes_it() {
    let mut asked = question(Stage::Rcpt);
    asked.recipient = Some(Path::parse(b"jones@example.com").unwrap());
    asked.recipients = 1;
    let id = asked.session;
    assert_eq!(
        encoded(&asked),
        format!(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.1\n\
             client_name=unknown\nclient_port=40000\nreverse_client_name=unknown\nhelo_name=client.example\n\
             sender=smith@example.org\nrecipient=jones@example.com\nrecipient_count=0\nqueue_id=\ninstance={id}.3\n\
             size=1000\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\n\
             encryption_protocol=\nencryption_cipher=\nencryption_keysize=0\ntls_sni=\npolicy_context=submission\n\n"
        )
    );
}

#[test]
fn what_is_known_of_a_client_is_told() {
    let facts = ClientFacts {
        destination: Some("[::ffff:192.0.2.25]:25".parse().unwrap()),
        ptr: Some(ClientName::Is("mail.example.org".into())),
        xclient: Some(XclientFacts { login: Some("joe".into()), ..XclientFacts::default() }),
        tls: Some(TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            server_name: Some("mx.example.com".into()),
            certificate: Some(Certificate {
                subject: "O=Example,CN=joe\\,=a".into(),
                verified: true,
                fault: None,
            }),
            resumed: false,
        }),
        ..ClientFacts::default()
    };
    let asked = Question { facts: Some(&facts), ..question(Stage::Mail) };
    let request = encoded(&asked);
    for line in [
        "protocol_state=MAIL",
        "client_name=mail.example.org",
        "reverse_client_name=mail.example.org",
        "server_address=192.0.2.25",
        "server_port=25",
        "sasl_username=joe",
        "ccert_subject=joe,+3Da",
        "encryption_protocol=TLSv1.3",
        "encryption_cipher=TLS_AES_128_GCM_SHA256",
        "encryption_keysize=128",
        "tls_sni=mx.example.com",
    ] {
        assert!(request.contains(&format!("\n{line}\n")), "{line} in {request}");
    }
    for (cipher, bits) in [
        ("TLS_AES_256_GCM_SHA384", 256),
        ("TLS_CHACHA20_POLY1305_SHA256", 256),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 128),
        ("", 0),
    ] {
        let tls = TlsFacts { cipher: cipher.into(), ..TlsFacts::default() };
        let facts = ClientFacts { tls: Some(tls), ..ClientFacts::default() };
        let request = encoded(&Question { facts: Some(&facts), ..question(Stage::Rcpt) });
        assert!(request.contains(&format!("\nencryption_keysize={bits}\n")), "{cipher}");
    }
}

#[test]
fn states_and_who_they_are_about() {
    let mut asked = question(Stage::Helo);
    assert!(encoded(&asked).contains("\nprotocol_state=EHLO\nprotocol_name=ESMTP\n"));
    asked.extended = false;
    assert!(encoded(&asked).contains("\nprotocol_state=HELO\nprotocol_name=SMTP\n"));
    assert!(encoded(&question(Stage::Connect)).contains("\nprotocol_state=CONNECT\n"));
    // An address as Postfix holds it: a server's tables know no other form.
    let spelled = Question {
        sender: Some(Path::parse(b"\"smith\"@example.org").unwrap()),
        recipient: Some(Path::parse(b"@relay.example,@b.example:\"a \\\"b\"@Example.com").unwrap()),
        ..question(Stage::Rcpt)
    };
    assert!(encoded(&spelled).contains("\nsender=smith@example.org\nrecipient=a \"b@Example.com\n"));
    // The null path, a name that is not, and a value that would be a line of its own.
    let null = Question { sender: Some(Path::NULL), helo: Some(b"a\nrequest=b\r"), ..question(Stage::Data) };
    assert!(encoded(&null).contains("\nsender=\n") && encoded(&null).contains("\nhelo_name=a?request=b?\n"));
    let parameters = Params::parse(b"AUTH=joe+40example.org SIZE=1").unwrap();
    let mail = Question { params: parameters, ..question(Stage::Mail) };
    assert!(encoded(&mail).contains("\nsasl_sender=joe+40example.org\n"));
    let nobody = Question { params: Params::parse(b"AUTH=<>").unwrap(), ..question(Stage::Mail) };
    assert!(encoded(&nobody).contains("\nsasl_sender=\n"));
    let supposed = Supposed::new(Path::NULL, None, std::time::Instant::now());
    let data = Question { envelope: Some(supposed.envelope()), recipients: 7, ..question(Stage::Data) };
    assert!(encoded(&data).contains("\nrecipient=\nrecipient_count=7\n"));
}

#[test]
fn an_answer_is_one_action() {
    let said = |answer: &str| action(answer.as_bytes()).map_err(|fault| fault.to_string()).map(str::to_owned);
    let ok = |action: &str| Ok(action.to_owned());
    assert_eq!(said("action=DUNNO\n\n"), ok("DUNNO"));
    assert_eq!(said("action=DUNNO\r\n\r\n"), ok("DUNNO"));
    assert_eq!(said("x=y\naction= REJECT a = b \n\n"), ok("REJECT a = b "));
    for (answer, fault) in [
        ("\n\n", "malformed: no action"),
        ("Action=DUNNO\n\n", "malformed: no action"),
        ("action=\n\n", "malformed: an empty action"),
        ("action=DUNNO\naction=OK\n\n", "malformed: two actions"),
        ("action=DUNNO\nhello\n\n", "malformed: a line that is no attribute"),
    ] {
        assert_eq!(said(answer), Err(fault.to_owned()), "{answer:?}");
    }
    assert_eq!(action(b"action=REJECT caf\xe9\n\n").unwrap_err().to_string(), "malformed: not UTF-8");
}

fn decoded(action: &str, stage: Stage, discard: bool) -> Result<CalloutAnswer, String> {
    let mut asked = question(stage);
    asked.recipient = (stage == Stage::Rcpt).then(|| Path::parse(b"jones@example.com").unwrap());
    decode(action, stage, &encode("", &asked), discard).map_err(|fault| fault.to_string())
}

fn reply(line: &str) -> Arc<Reply> {
    Arc::new(Reply::parse_written(&[line]).unwrap())
}

fn beside(beside: Beside) -> CalloutAnswer {
    CalloutAnswer::Command { rewrites: Rewrites::default(), verdict: None, beside: Some(Box::new(beside)) }
}

#[test]
fn what_ends_the_asking() {
    let refusals = [
        ("REJECT", Stage::Rcpt, "554 5.7.1 <jones@example.com>: Recipient address rejected: Access denied"),
        ("reject  Go away ", Stage::Mail, "554 5.7.1 <smith@example.org>: Sender address rejected: Go away "),
        ("REJECT 5.1.1 Who?", Stage::Rcpt, "554 5.1.1 <jones@example.com>: Recipient address rejected: Who?"),
        ("REJECT 5.1.2 Who?", Stage::Mail, "554 5.1.8 <smith@example.org>: Sender address rejected: Who?"),
        ("REJECT 5.1.1 Who?", Stage::Mail, "554 5.1.7 <smith@example.org>: Sender address rejected: Who?"),
        ("REJECT 5.1.5 Who?", Stage::Mail, "554 5.1.0 <smith@example.org>: Sender address rejected: Who?"),
        ("REJECT 5.1.1 Who?", Stage::Helo, "554 5.0.0 <client.example>: Helo command rejected: Who?"),
        ("REJECT 4.7.9", Stage::Data, "554 5.7.9 <DATA>: Data command rejected: Access denied"),
        ("DEFER", Stage::Connect, "450 4.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied"),
        ("451 4.3.5 Later", Stage::Rcpt, "451 4.3.5 <jones@example.com>: Recipient address rejected: Later"),
        (
            "550 No\tway\u{7}\u{e9}",
            Stage::Rcpt,
            "550 5.7.1 <jones@example.com>: Recipient address rejected: No way ?",
        ),
    ];
    for (action, stage, line) in refusals {
        let verdict = CommandVerdict::Reply(reply(line));
        assert_eq!(decoded(action, stage, false), Ok(CalloutAnswer::command(Some(verdict))), "{action}");
    }
    let last = reply("421 4.7.1 <jones@example.com>: Recipient address rejected: Bye");
    let closed = CalloutAnswer::command(Some(CommandVerdict::Disconnect(Some(last))));
    assert_eq!(decoded("421 Bye", Stage::Rcpt, false), Ok(closed));
    for permits in ["OK", "ok it is", "permit", "0", "1699999999", "550"] {
        let accepted = CalloutAnswer::command(Some(CommandVerdict::Accept));
        assert_eq!(decoded(permits, Stage::Rcpt, false), Ok(accepted), "{permits}");
    }
    assert_eq!(decoded("dunno whatever", Stage::Rcpt, false), Ok(CalloutAnswer::pass()));
    let swallowed = CalloutAnswer::command(Some(CommandVerdict::Reply(reply("250 2.1.5 Recipient ok"))));
    assert_eq!(decoded("DISCARD", Stage::Rcpt, true), Ok(swallowed));
    let long = decoded(&format!("REJECT {}", "x".repeat(3000)), Stage::Rcpt, false).unwrap();
    assert!(matches!(long, CalloutAnswer::Command { verdict: Some(CommandVerdict::Reply(reply)), .. }
        if reply.as_bytes().len() == 512));
}

#[test]
fn what_goes_on() {
    let later = reply("450 4.7.1 <jones@example.com>: Recipient address rejected: Service unavailable");
    let permitted = Beside { if_permitted: Some(later.clone()), ..Beside::default() };
    assert_eq!(decoded("DEFER_IF_PERMIT", Stage::Rcpt, false), Ok(beside(permitted)));
    let rejected = Beside { if_rejected: Some(later), ..Beside::default() };
    assert_eq!(decoded("defer_if_reject", Stage::Rcpt, false), Ok(beside(rejected)));
    let field = Beside { prepend: Some(b"X-A: b \r\n".as_slice().into()), ..Beside::default() };
    assert_eq!(decoded("PREPEND  X-A: b ", Stage::Rcpt, false), Ok(beside(field)));
    let remarks = [
        ("INFO all is well", Stage::Rcpt, "INFO all is well"),
        ("WARN\tnot\u{1b}so", Stage::Rcpt, "WARN?not?so"),
        ("PREPEND X-A: b", Stage::Helo, "PREPEND is not for helo"),
        ("PREPEND no field", Stage::Rcpt, "PREPEND without a header field"),
    ];
    for (action, stage, remark) in remarks {
        let expected = Beside { remark: Some(remark.into()), ..Beside::default() };
        assert_eq!(decoded(action, stage, false), Ok(beside(expected)), "{action}");
    }
}

#[test]
fn what_cannot_be_done_is_a_failure() {
    for (action, fault) in [
        ("DISCARD", "DISCARD, which needs effects: [discard]"),
        ("HOLD for a while", "HOLD: a message is not changed or kept here"),
        ("FILTER smtp:[127.0.0.1]:10025", "FILTER: a message is not changed or kept here"),
        ("redirect a@b.example", "REDIRECT: a message is not changed or kept here"),
        ("BCC a@b.example", "BCC: a message is not changed or kept here"),
        ("reject_unauth_destination", "an action that is not known: reject_unauth_destination"),
        ("250 Fine", "an action that is not known: 250"),
        ("999 What", "an action that is not known: 999"),
        ("571 x", "a code that is none"),
    ] {
        assert_eq!(decoded(action, Stage::Rcpt, false), Err(format!("not_allowed: {fault}")), "{action}");
    }
    assert_eq!(
        decoded("DISCARD", Stage::Mail, true),
        Err("not_allowed: DISCARD at mail: only a recipient is discarded".to_owned())
    );
}
