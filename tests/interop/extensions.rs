//! Extensions, compared with and without gatepost: what Postfix took down is what the client said.
//!
//! In:    clients that use 8BITMIME, SMTPUTF8, DSN parameters, CHUNKING, AUTH.
//! Out:   trials. For parameters the proof is Postfix's own queue file (postcat of a message on hold).
//! Never: invents an extension that Postfix does not have.
//!
//! RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN), RFC 3030 (BDAT), RFC 4954 (AUTH), RFC 1870 (SIZE).

use libtest_mimic::Trial;

use crate::bench::same_through_gatepost;
use crate::cases::{assert_delivered, send_by_postfix};
use crate::messages;
use crate::support::clients::{curl, smtplib, swaks};
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::tap::Tap;
use crate::support::transcript::Heard;

const FROM: &str = "sender@client.example";
const PYTHON: &[Peer] = &[Peer::Postfix, Peer::Python];
const POSTFIX: &[Peer] = &[Peer::Postfix];

pub fn trials() -> Vec<Trial> {
    const SASL_CURL: &[Peer] = &[Peer::Postfix, Peer::SaslDb, Peer::Curl];
    const SASL_SWAKS: &[Peer] = &[Peer::Postfix, Peer::SaslDb, Peer::Swaks];
    const SASL_PYTHON: &[Peer] = &[Peer::Postfix, Peer::SaslDb, Peer::Python];
    vec![
        trial("ehlo::masked_keywords", POSTFIX, masked_keywords),
        trial("8bitmime::smtplib", PYTHON, eight_bit_by_smtplib),
        trial("8bitmime::postfix", POSTFIX, eight_bit_by_postfix),
        trial("smtputf8::curl", [Peer::Postfix, Peer::Curl], utf8_by_curl),
        trial("smtputf8::smtplib", PYTHON, utf8_by_smtplib),
        trial("smtputf8::postfix", POSTFIX, utf8_by_postfix),
        trial("dsn::smtplib", PYTHON, dsn_by_smtplib),
        trial("dsn::postfix", POSTFIX, dsn_by_postfix),
        trial("bdat::one_chunk", POSTFIX, || bdat(&messages::plain(), usize::MAX, false)),
        trial("bdat::many_chunks", POSTFIX, || bdat(&messages::dots(), 7, false)),
        trial("bdat::pipelined", POSTFIX, || bdat(&messages::eight_bit(), 20, true)),
        trial("bdat::empty_last", POSTFIX, bdat_empty_last),
        trial("bdat::20_mib", POSTFIX, || bdat(&messages::large(20 * 1024 * 1024), 1024 * 1024, true)),
        trial("auth::curl_plain", SASL_CURL, || auth_by_curl("AUTH=PLAIN")),
        trial("auth::curl_login", SASL_CURL, || auth_by_curl("AUTH=LOGIN")),
        trial("auth::swaks_plain", SASL_SWAKS, || auth_by_swaks("PLAIN")),
        trial("auth::swaks_login", SASL_SWAKS, || auth_by_swaks("LOGIN")),
        trial("auth::smtplib", SASL_PYTHON, auth_by_smtplib),
    ]
}

/// The one place where the dialogs differ on purpose: keywords that are Postfix's to offer but not to a client of a
/// proxy. Everything else is there, with its parameters.
fn masked_keywords() {
    let mut spec = Spec::receiving("a.example");
    (spec.tls, spec.sasl) = (true, true);
    let postfix = Postfix::start(&spec);
    let keywords = |address| {
        let tap = Tap::before(address);
        let mut client = Raw::connect(tap.address());
        client.ask("EHLO client.example", 250);
        client.quit();
        Heard::from_server(&tap.take()[0].server).keywords.remove(0)
    };
    let direct = keywords(postfix.address());
    for word in ["STARTTLS", "PIPELINING", "SIZE 31457280", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"] {
        assert!(direct.contains(word), "Postfix offers {word}: {direct:?}");
    }
    let gatepost = Gatepost::start(&[("main", &[postfix.address()])], "");
    let through = keywords(gatepost.listener());
    let hidden: Vec<&str> = direct.difference(&through).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(hidden, ["STARTTLS", "XCLIENT", "XFORWARD"]);
    assert_eq!(through.difference(&direct).count(), 0, "nothing is offered that the hop does not have");
}

fn eight_bit_by_smtplib() {
    let message = messages::eight_bit();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", &message);
        let lines = format!("print(s.sendmail('{FROM}', ['joe@a.example'], read(1), ['BODY=8BITMIME']))");
        let outcome = smtplib(door.scratch, door.address, &lines, &[&file]);
        let lines = format!("print(s.sendmail('{FROM}', ['held@a.example'], read(1), ['BODY=8BITMIME']))");
        smtplib(door.scratch, door.address, &lines, &[&file]);
        assert!(door.mta.take_held().contains("encoding=8bit"));
        outcome
    });
    assert_delivered(&run, &message);
}

fn eight_bit_by_postfix() {
    let message = messages::eight_bit();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        send_by_postfix(door, "", &["-B", "8BITMIME"], &["joe@a.example"], &message)
    });
    assert!(run.outcome.contains("status=sent"), "{}", run.outcome);
    assert_eq!(run.stored[0].body(), "Grüße aus Köln, привет, 你好.\n".as_bytes());
}

fn utf8_by_curl() {
    let message = messages::utf8_headers();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", &message);
        curl(door.scratch, door.address, FROM, &["jürgen@a.example"], &file, &[])
    });
    assert_eq!(run.mailboxes(), ["juergen"], "{}", run.outcome);
    assert!(run.stored[0].has_line("Delivered-To: jürgen@a.example"));
}

fn utf8_by_smtplib() {
    let message = messages::utf8_headers();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", &message);
        let lines = format!(
            "print(s.sendmail('{FROM}', ['jürgen@a.example', 'niemand-ä@a.example'], read(1), \
             ['SMTPUTF8', 'BODY=8BITMIME']))"
        );
        smtplib(door.scratch, door.address, &lines, &[&file])
    });
    assert_eq!(run.mailboxes(), ["juergen"], "{}", run.outcome);
    assert!(run.replies().iter().any(|reply| reply.contains("niemand-ä@a.example")), "{:?}", run.replies());
    assert!(run.stored[0].has_line("Subject: Grüße an Jürgen"));
}

fn utf8_by_postfix() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        send_by_postfix(door, "", &["-O", "SMTPUTF8"], &["jürgen@a.example"], &messages::utf8_headers())
    });
    assert_eq!(run.mailboxes(), ["juergen"], "{}", run.outcome);
}

/// RFC 3461 4, as Postfix keeps it: xtext decoded, NOTIFY=SUCCESS,DELAY is 2 and 8, NEVER is 1, RET=HDRS is 2.
fn assert_dsn(envelope: &str) {
    for fact in [
        "envelope_id=ENV+1=2\n",
        "ret_flags=2\n",
        "notify_flags=10\n",
        "dsn_orig_rcpt=rfc822;joe+tag@old.example\n",
        "notify_flags=1\n",
    ] {
        assert!(envelope.contains(fact), "{fact} is missing in:\n{envelope}");
    }
}

fn dsn_by_smtplib() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", messages::plain());
        let lines = format!(
            "s.ehlo()\nprint(s.mail('{FROM}', ['RET=HDRS', 'ENVID=ENV+2B1+3D2']))\n\
             print(s.rcpt('held@a.example', ['NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;joe+2Btag@old.example']))\n\
             print(s.rcpt('ann@a.example', ['NOTIFY=NEVER']))\n\
             print(s.rcpt('bob@a.example', ['NOTIFY=SOMETIMES']))\n\
             print(s.data(read(1))[0])"
        );
        let outcome = smtplib(door.scratch, door.address, &lines, &[&file]);
        let envelope = door.mta.take_held();
        assert_dsn(&envelope);
        outcome + &envelope
    });
    assert!(run.replies().iter().any(|reply| reply.starts_with("501 5.5.4")), "{:?}", run.replies());
}

fn dsn_by_postfix() {
    same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let options = ["-N", "success,failure", "-R", "hdrs", "-V", "ENV+2B1+3D2"];
        let outcome = send_by_postfix(door, "", &options, &["held@a.example"], &messages::plain());
        let envelope = door.mta.take_held();
        for fact in ["envelope_id=ENV+2B1+3D2\n", "ret_flags=2\n", "notify_flags=6\n"] {
            assert!(envelope.contains(fact), "{fact} is missing in:\n{envelope}");
        }
        outcome + &envelope
    });
}

/// RFC 3030 2: chunks of any size, replies to each, pipelined or not.
fn bdat(message: &str, chunk: usize, pipelined: bool) {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let mut client = Raw::connect(door.address);
        client.ask("EHLO client.example", 250);
        client.ask(&format!("MAIL FROM:<{FROM}> BODY=8BITMIME SIZE={}", message.len()), 250);
        client.ask("RCPT TO:<joe@a.example>", 250);
        client.ask("RCPT TO:<nobody@a.example>", 550);
        let chunks: Vec<&[u8]> = message.as_bytes().chunks(chunk).collect();
        for (number, octets) in chunks.iter().enumerate() {
            let last = if number + 1 == chunks.len() { " LAST" } else { "" };
            client.say([format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat());
            if !pipelined {
                client.hear(250);
            }
        }
        for _ in chunks.iter().filter(|_| pipelined) {
            client.hear(250);
        }
        client.quit();
        "exit status: 0".to_owned()
    });
    assert_eq!(run.mailboxes(), ["joe"]);
    let body = message.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "\n");
    assert!(run.stored[0].body() == body.as_bytes(), "the body is what was sent");
}

fn bdat_empty_last() {
    let message = messages::plain();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let mut client = Raw::connect(door.address);
        client.ask("EHLO client.example", 250);
        // Twice in one session, the second time after a RSET in the middle of the chunks.
        for round in ["given up", "sent"] {
            client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
            client.ask("RCPT TO:<joe@a.example>", 250);
            client.say(format!("BDAT {}\r\n{message}", message.len()));
            client.hear(250);
            if round == "sent" {
                client.ask("BDAT 0 LAST", 250)
            } else {
                client.ask("RSET", 250)
            };
        }
        client.quit();
        String::new()
    });
    assert_eq!(run.mailboxes(), ["joe"]);
}

fn with_passwords() -> Spec {
    Spec { sasl: true, ..Spec::receiving("a.example") }
}

/// Postfix notes in the trace field that the sender has authenticated.
fn auth_by_curl(mechanism: &str) {
    let run = same_through_gatepost(&with_passwords(), |door| {
        let file = door.scratch.write("message", messages::plain());
        let send = |user: &str| {
            let options = ["--user", user, "--login-options", mechanism];
            curl(door.scratch, door.address, FROM, &["joe@a.example"], &file, &options)
        };
        send("joe@a.example:wrong") + &send("joe@a.example:open sesame")
    });
    assert_eq!(run.mailboxes(), ["joe"], "{}", run.outcome);
    assert_authenticated(&run.replies());
}

fn auth_by_swaks(mechanism: &str) {
    let run = same_through_gatepost(&with_passwords(), |door| {
        let file = door.scratch.write("message", messages::plain().replace("\r\n", "\n"));
        let send = |password: &str| {
            let options = ["--auth", mechanism, "--auth-user", "joe@a.example", "--auth-password", password];
            swaks(door.scratch, door.address, FROM, &["joe@a.example"], &file, &options)
        };
        send("wrong") + &send("open sesame")
    });
    assert_eq!(run.mailboxes(), ["joe"], "{}", run.outcome);
    assert_authenticated(&run.replies());
}

/// Both mechanisms, a failure and a cancelled exchange in one session.
fn auth_by_smtplib() {
    let run = same_through_gatepost(&with_passwords(), |door| {
        let file = door.scratch.write("message", messages::plain());
        let lines = format!(
            "s.ehlo()\ns.user, s.password = 'joe@a.example', 'wrong'\n\
             try: s.auth('LOGIN', s.auth_login)\n\
             except smtplib.SMTPAuthenticationError as e: print(e)\n\
             print(s.docmd('AUTH', 'LOGIN'), s.docmd('*'))\n\
             print(s.docmd('AUTH', 'NONSENSE'))\n\
             s.password = 'open sesame'\nprint(s.auth('PLAIN', s.auth_plain))\n\
             print(s.sendmail('{FROM}', ['joe@a.example'], read(1)))"
        );
        smtplib(door.scratch, door.address, &lines, &[&file])
    });
    assert_delivered_after_failures(&run.mailboxes(), &run.outcome);
    assert_authenticated(&run.replies());
}

fn assert_delivered_after_failures(mailboxes: &[&str], outcome: &str) {
    assert_eq!(mailboxes, ["joe"], "{outcome}");
    assert!(outcome.contains("exit status: 0"), "{outcome}");
}

fn assert_authenticated(replies: &[&str]) {
    assert!(replies.iter().any(|reply| reply.starts_with("235 ")), "{replies:?}");
    assert!(replies.iter().any(|reply| reply.starts_with("535 ")), "{replies:?}");
}
