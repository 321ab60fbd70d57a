//! Everyday mail: each client with each kind of content, compared with and without gatepost.
//!
//! In:    the clients, the messages.
//! Out:   trials: plain, many recipients with some refused, long lines, dots, 20 MiB, several messages in a session,
//!        pipelined and not.
//! Never: tests an extension's parameters; those stand in `extensions`.

use libtest_mimic::Trial;

use crate::bench::{Door, Run, same_through_gatepost};
use crate::messages;
use crate::support::clients::{curl, smtplib, swaks};
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::raw::Raw;
use crate::support::scratch::{PATIENCE, Scratch, wait_for};
use crate::support::transcript::without_queue_id;

const FROM: &str = "sender@client.example";

pub fn trials() -> Vec<Trial> {
    const CURL: &[Peer] = &[Peer::Postfix, Peer::Curl];
    const SWAKS: &[Peer] = &[Peer::Postfix, Peer::Swaks];
    const PYTHON: &[Peer] = &[Peer::Postfix, Peer::Python];
    const POSTFIX: &[Peer] = &[Peer::Postfix];
    vec![
        trial("plain::curl", CURL, || by_curl(&messages::plain())),
        trial("plain::swaks", SWAKS, || by_swaks(&messages::plain(), &[])),
        trial("plain::smtplib", PYTHON, || by_smtplib(&messages::plain())),
        trial("plain::postfix", POSTFIX, || by_postfix(&messages::plain())),
        trial("long_line::curl", CURL, || by_curl(&messages::long_line())),
        trial("long_line::postfix", POSTFIX, || by_postfix(&messages::long_line())),
        trial("dots::curl", CURL, || by_curl(&messages::dots())),
        trial("dots::swaks_pipelined", SWAKS, || by_swaks(&messages::dots(), &["--pipeline"])),
        trial("dots::smtplib", PYTHON, || by_smtplib(&messages::dots())),
        trial("dots::postfix", POSTFIX, || by_postfix(&messages::dots())),
        trial("large::curl_20_mib", CURL, || by_curl(&messages::large(20 * 1024 * 1024))),
        trial("large::smtplib_20_mib", PYTHON, || by_smtplib(&messages::large(20 * 1024 * 1024))),
        trial("fifty::curl", CURL, fifty_by_curl),
        trial("fifty::swaks_pipelined", SWAKS, || fifty_by_swaks(&["--pipeline"])),
        trial("fifty::swaks_one_by_one", SWAKS, || fifty_by_swaks(&[])),
        trial("fifty::smtplib", PYTHON, fifty_by_smtplib),
        trial("fifty::postfix", POSTFIX, fifty_by_postfix),
        trial("session::smtplib_five_messages", PYTHON, five_messages),
        trial("session::pipelined_groups", POSTFIX, pipelined_groups),
        trial("session::odd_commands", POSTFIX, odd_commands),
        trial("session::client_leaves_in_content", POSTFIX, client_leaves_in_content),
    ]
}

/// A Postfix that sends through a door, run until its queue is empty. What became of each recipient, in its words.
pub fn send_by_postfix(
    door: &Door<'_>,
    main_cf: &'static str,
    arguments: &[&str],
    to: &[&str],
    message: &str,
) -> String {
    let sending = Postfix::start(&Spec { main_cf, ..Spec::sending(door.address) });
    // sendmail(1) takes local line ends; with CRLF it would keep the CR.
    let file = door.scratch.write("submitted", message.replace("\r\n", "\n"));
    sending.submit(&[&["-i", "-f", FROM], arguments, &["--"], to].concat(), &file);
    sending.settle(0);
    // The log lags behind the queue.
    wait_for("the fate of every recipient", PATIENCE, || {
        let outcomes = outcomes(&sending.log());
        (outcomes.lines().count() >= to.len()).then_some(outcomes)
    })
}

/// `to=<…>` with its `dsn=` and `status=` of each delivery by SMTP, sorted.
pub fn outcomes(log: &str) -> String {
    let field = |line: &str, name: &str| {
        line.split(", ")
            .find(|field| field.contains(name))
            .map(|field| field[field.find(name).unwrap()..].to_owned())
    };
    let mut all: Vec<String> = log
        .lines()
        .filter(|line| line.contains("/smtp["))
        .filter_map(|line| {
            let status = without_queue_id(&field(line, "status=")?);
            Some(format!("{} {} {status}", field(line, "to=<")?, field(line, "dsn=")?))
        })
        .collect();
    all.sort();
    all.join("\n")
}

fn by_curl(message: &str) {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", message);
        curl(door.scratch, door.address, FROM, &["joe@a.example"], &file, &[])
    });
    assert_delivered(&run, message);
}

fn by_swaks(message: &str, options: &[&str]) {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", message.replace("\r\n", "\n"));
        swaks(door.scratch, door.address, FROM, &["joe@a.example"], &file, options)
    });
    // swaks ends what it reads from a file with an empty line of its own.
    assert_eq!(run.mailboxes(), ["joe"]);
    assert!(run.outcome.contains("exit status: 0"), "{}", run.outcome);
}

fn by_smtplib(message: &str) {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", message);
        let lines = format!("print(s.sendmail('{FROM}', ['joe@a.example'], read(1)))");
        smtplib(door.scratch, door.address, &lines, &[&file])
    });
    assert_delivered(&run, message);
}

fn by_postfix(message: &str) {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        send_by_postfix(door, "", &[], &["joe@a.example"], message)
    });
    assert!(run.outcome.contains("status=sent"), "{}", run.outcome);
    assert_eq!(run.mailboxes(), ["joe"]);
    assert_body(&run, message);
}

/// The mail is there, with the body that was sent (as a Maildir keeps it), and the client was told so.
pub fn assert_delivered(run: &Run, message: &str) {
    assert_eq!(run.mailboxes(), ["joe"]);
    assert!(run.outcome.contains("exit status: 0"), "{}", run.outcome);
    assert!(run.heard.iter().all(|heard| heard.only_success()), "{:?}", run.replies());
    assert_body(run, message);
}

fn assert_body(run: &Run, message: &str) {
    let body = message.split_once("\r\n\r\n").unwrap().1.replace("\r\n", "\n");
    for stored in &run.stored {
        assert!(stored.body() == body.as_bytes(), "the body sent is not the body stored:\n{stored:?}");
    }
}

/// Fifty recipients: of every seven one is unknown and one is busy.
pub fn fifty() -> Vec<String> {
    let name = |number: usize| match number % 7 {
        3 => format!("nobody{number:02}@a.example"),
        5 => "busy@a.example".to_owned(),
        _ => format!("user{number:02}@a.example"),
    };
    (1..=50).map(name).collect()
}

fn assert_fifty(run: &Run) {
    let accepted: Vec<String> = fifty()
        .iter()
        .filter_map(|to| Some(to.split_once('@')?.0.to_owned()))
        .filter(|to| to.contains("user"))
        .collect();
    assert_eq!(run.mailboxes(), accepted);
    let refused = run.replies().iter().filter(|reply| reply.starts_with("550 5.1.1")).count();
    let busy = run.replies().iter().filter(|reply| reply.starts_with("450 4.2.1")).count();
    assert_eq!((refused, busy), (7, 7), "{:?}", run.replies());
}

fn fifty_by_curl() {
    let recipients = fifty();
    let to: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", messages::plain());
        curl(door.scratch, door.address, FROM, &to, &file, &["--mail-rcpt-allowfails"])
    });
    assert_fifty(&run);
}

fn fifty_by_swaks(options: &[&str]) {
    let recipients = fifty();
    let to: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", messages::plain());
        swaks(door.scratch, door.address, FROM, &to, &file, options)
    });
    assert_fifty(&run);
}

fn fifty_by_smtplib() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", messages::plain());
        let list = door.scratch.write("recipients", fifty().join("\n"));
        let lines = format!("print(s.sendmail('{FROM}', read(2).decode().split(), read(1)))");
        smtplib(door.scratch, door.address, &lines, &[&file, &list])
    });
    assert_fifty(&run);
}

fn fifty_by_postfix() {
    // What is busy stays in a sender's queue, which is to run empty here.
    let recipients = fifty();
    let to: Vec<&str> = recipients.iter().map(String::as_str).filter(|to| !to.starts_with("busy")).collect();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        send_by_postfix(door, "", &[], &to, &messages::plain())
    });
    assert_eq!(run.stored.len(), 36);
    assert_eq!(run.outcome.matches("status=bounced").count(), 7, "{}", run.outcome);
}

fn five_messages() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let file = door.scratch.write("message", messages::plain());
        let lines = format!(
            "for to in ['joe', 'ann', 'nobody', 'bob', 'sue']:\n\
             \x20   try: print(to, s.sendmail('{FROM}', [to + '@a.example', 'user01@a.example'], read(1)))\n\
             \x20   except smtplib.SMTPException as e: print(to, repr(e))\n\
             try: print(s.sendmail('{FROM}', ['nobody@a.example'], read(1)))\n\
             except smtplib.SMTPException as e: print(repr(e))\n\
             print(s.sendmail('', ['joe@a.example'], read(1)))"
        );
        smtplib(door.scratch, door.address, &lines, &[&file])
    });
    let mut expected = vec!["ann", "bob", "joe", "joe", "sue"];
    expected.extend(["user01"; 5]);
    assert_eq!(run.mailboxes(), expected);
    assert_eq!(run.heard.len(), 1, "one session for all");
}

/// RFC 2920: the envelope in one write, and the next one behind the end of content.
fn pipelined_groups() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let mut client = Raw::connect(door.address);
        client.ask("EHLO client.example", 250);
        let envelope = format!(
            "MAIL FROM:<{FROM}>\r\nRCPT TO:<joe@a.example>\r\nRCPT TO:<nobody@a.example>\r\n\
             RCPT TO:<ann@a.example>\r\nDATA\r\n"
        );
        client.say(&envelope);
        for code in [250, 250, 550, 250, 354] {
            client.hear(code);
        }
        client.say(format!("{}.\r\n{envelope}", messages::plain()));
        for code in [250, 250, 250, 550, 250, 354] {
            client.hear(code);
        }
        client.say(format!("{}.\r\nQUIT\r\n", messages::plain()));
        client.hear(250);
        client.hear(221);
        String::new()
    });
    assert_eq!(run.mailboxes(), ["ann", "ann", "joe", "joe"]);
}

/// Commands out of the ordinary, and out of order, that gatepost leaves to the hop.
fn odd_commands() {
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let mut client = Raw::connect(door.address);
        for (command, code) in [
            ("HELO client.example", 250),
            ("EHLO client.example", 250),
            ("NOOP", 250),
            ("VRFY joe@a.example", 252),
            ("VRFY nobody@a.example", 550),
            ("mail from:<sender@client.example>", 250),
            ("Rcpt To:<joe@elsewhere.example>", 554),
            ("RCPT TO:<nobody@a.example>", 550),
            ("RSET", 250),
            ("MAIL FROM:<> SIZE=31457281", 552),
            ("MAIL FROM:<> BODY=8BITMIME SIZE=100", 250),
            ("RCPT TO:<\"joe\"@a.example>", 250),
            ("RCPT TO:<POSTMASTER@a.example>", 250),
            ("DATA", 354),
        ] {
            client.ask(command, code);
        }
        client.say(format!("{}.\r\n", messages::plain()));
        client.hear(250);
        client.quit();
        String::new()
    });
    assert_eq!(run.mailboxes(), ["joe", "postmaster"]);
}

/// A session that breaks leaves no end of data behind it: nothing is stored, however far the content had come.
fn client_leaves_in_content() {
    let message = messages::plain();
    let run = same_through_gatepost(&Spec::receiving("a.example"), |door| {
        let bodies = [
            "DATA\r\nHello,".to_owned(),
            format!("DATA\r\n{message}"),
            format!("DATA\r\n{message}.\r"),
            format!("BDAT {}\r\n{message}", message.len()),
            format!("BDAT {} LAST\r\n{message}", message.len() + 1),
        ];
        for body in bodies {
            let mut client = Raw::connect(door.address);
            client.ask("EHLO client.example", 250);
            client.ask(&format!("MAIL FROM:<{FROM}>"), 250);
            client.ask("RCPT TO:<joe@a.example>", 250);
            if let Some(content) = body.strip_prefix("DATA\r\n") {
                client.ask("DATA", 354);
                client.say(content);
            } else {
                client.say(&body);
                if !body.contains("LAST") {
                    client.hear(250);
                }
            }
            client.leave();
        }
        String::new()
    });
    assert!(run.stored.is_empty(), "{:?}", run.stored);
}

/// For the other files: a scratch directory with one message in it.
pub fn with_message(name: &str, message: &str) -> (Scratch, std::path::PathBuf) {
    let scratch = Scratch::new(name);
    let file = scratch.write("message", message);
    (scratch, file)
}
