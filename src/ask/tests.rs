//! `gatepost ask`: whole answers, and what is said about options that do not go together.
//!
//! **In**: one configuration, options as they are typed. **Out**: the text a person reads, word for word.
//! **Never**: runs the program; `process` does.

use clap::Parser;

use super::*;
use crate::config::load_text;
use crate::session::verdict::Stage;

const CONFIG: &str = r#"hostname: gate.example
listeners: [{ address: "127.0.0.1:2525", upstream: main }, { address: ["127.0.0.1:2526"], upstream: branch }]
upstreams: { main: { hosts: [mx.example.com] }, branch: { hosts: [mx.example.net] }, legacy: { hosts: [old.example.com] } }
rules:
  - { name: lab, stages: [connect, mail], match: { client: 192.0.2.0/24, not: { listener: "*:2526" } }, do: { reply: "550 5.7.1 Not from here" } }
  - { name: moved, stages: rcpt, match: { recipient: "*@old.example" }, do: { rewrite: { recipient: "{local}@new.example" } } }
  - { name: trap, stages: rcpt, match: { recipient: "trap@new.example" }, do: { reply: "250 2.1.5 Fine" } }
  - { name: branch-office, stages: rcpt, match: { recipient: "*@new.example", sender: "*@example.org" }, do: { route: { upstream: branch }, rewrite: { parameters: { add: [NOTIFY=NEVER] } } } }
  - { name: late, stages: rcpt, do: accept }
  - { name: no-address, stages: rcpt, match: { recipient: "x@broken.example" }, do: { rewrite: { recipient: "{local} {local}@x" } } }
  - { name: try-the-old-system, stages: rcpt-reply, match: { code: 5xx }, do: { retry: [{ recipient: "{local}@legacy.example.com" }, { upstream: legacy }] } }
  - { name: once-more, stages: rcpt-reply, match: { code: 550 }, do: { retry: [{ upstream: branch }] } }
  - { name: plain-words, stages: rcpt-reply, match: { code: 550, text: "*unknown*" }, do: { substitute: ["550-5.1.1 No such mailbox", "550 5.1.1 Sorry"] } }
  - { name: full, stages: rcpt-reply, match: { code: 2xx, recipient: full@example.com }, do: { substitute: "452 4.2.2 Full" } }
  - { name: known, stages: auth, match: { tls: { certificate: "CN=relay.*", verified: true } }, do: accept }
  - { name: plain, stages: auth, match: { tls: false }, do: { reply: "550 5.7.10 Encryption needed" } }
  - { name: unknown, stages: auth, do: { reply: "550 5.7.1 Not you" } }
  - { name: no-vrfy, stages: other, match: { verb: VRFY }, do: disconnect }
  - { name: ours, stages: mail, match: { login: "*@example.com", authenticated: true }, do: { route: { upstream: legacy } } }
limits: { attempts: 1 }
"#;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    moment: Moment,
}

fn asked(options: &[&str]) -> Result<String, String> {
    let loaded = load_text("proxy.yaml", CONFIG, std::iter::empty()).unwrap();
    let typed = Typed::try_parse_from(std::iter::once(&"ask").chain(options)).unwrap();
    ask(&loaded, &typed.moment)
}

/// What stands behind `what would happen:`.
fn outcome(options: &[&str]) -> Vec<String> {
    let text = asked(options).unwrap();
    let (_, outcome) = text.split_once("\nwhat would happen:\n").unwrap();
    outcome.lines().map(|line| line.trim_start().to_owned()).collect()
}

#[test]
fn a_command_and_every_rule_of_its_stage() {
    let options =
        ["--stage", "rcpt", "--client", "192.0.2.7", "--helo", "x.example", "--sender", "a@example.org"];
    let text = asked(&[&options[..], &["--recipient", "Joe@old.example"]].concat()).unwrap();
    assert_eq!(
        text,
        "asked at rcpt
  listener      127.0.0.1:2525, upstream main
  client        192.0.2.7
  helo          x.example
  sender        <a@example.org>
  recipient     <Joe@old.example>

rule moved (proxy.yaml:6): rewrite recipient <Joe@new.example>
rule trap (proxy.yaml:7): does not match: recipient
rule branch-office (proxy.yaml:8): rewrite parameters \"NOTIFY=NEVER\", route upstream branch
rule late (proxy.yaml:9): not asked, branch-office has decided
rule no-address (proxy.yaml:10): not asked, branch-office has decided

what would happen:
  RCPT TO:<Joe@new.example> NOTIFY=NEVER goes to upstream branch
"
    );
}

#[test]
fn a_reply_and_every_rule_of_its_stage() {
    let options = ["--stage", "rcpt-reply", "--listener", "127.0.0.1:2526", "--recipient", "<j@example.com>"];
    let reply =
        ["--recipient-given", "J@example.com", "--reply", "550-5.1.1 User", "--reply", "550 5.1.1 unknown"];
    let text = asked(&[&options[..], &reply].concat()).unwrap();
    assert_eq!(
        text,
        "asked at rcpt-reply
  listener      127.0.0.1:2526, upstream branch
  client        127.0.0.1
  recipient     <j@example.com>
  given as      <J@example.com>
  reply         550-5.1.1 User
  reply         550 5.1.1 unknown

rule try-the-old-system (proxy.yaml:11): retry recipient <j@legacy.example.com>, then upstream legacy
rule once-more (proxy.yaml:12): not asked, try-the-old-system has decided
rule plain-words (proxy.yaml:13): if that fails: substitute 550-5.1.1 No such mailbox / 550 5.1.1 Sorry
rule full (proxy.yaml:14): not asked, plain-words has decided

what would happen:
  RCPT TO:<j@legacy.example.com> is tried at upstream branch
  limits.attempts (1) ends the ladder there
  the client hears the first 2xx
  if there is none, it hears 550-5.1.1 No such mailbox / 550 5.1.1 Sorry
"
    );
}

#[test]
fn outcomes() {
    let table: [(&str, &[&str]); 16] = [
        (
            "--stage connect --client 192.0.2.7",
            &["the client hears 550 5.7.1 Not from here", "no hop is connected to, and only QUIT is served"],
        ),
        ("--stage auth", &["the client hears 550 5.7.10 Encryption needed", "no hop hears of it"]),
        ("--stage auth --tls", &["the client hears 550 5.7.1 Not you", "no hop hears of it"]),
        (
            "--stage auth --tls TLSv1.2 --tls-certificate CN=relay.example --tls-verified",
            &["AUTH goes to upstream main"],
        ),
        (
            "--stage connect --client 192.0.2.7 --listener 127.0.0.1:2526",
            &["the client is connected to upstream branch and hears its greeting"],
        ),
        (
            "--stage mail --sender <> --parameters BODY=8BITMIME",
            &["MAIL FROM:<> BODY=8BITMIME goes to upstream main"],
        ),
        (
            "--stage mail --sender a@b.example --client 192.0.2.7",
            &["the client hears 550 5.7.1 Not from here", "no hop hears of it"],
        ),
        (
            "--stage rcpt --recipient trap@old.example",
            &[
                "the client hears 250 2.1.5 Fine",
                "the recipient is swallowed: no hop hears of it, and it gets no mail",
            ],
        ),
        (
            "--stage rcpt --recipient a@new.example --sender a@example.org --authenticated",
            &[
                "RCPT TO:<a@new.example> NOTIFY=NEVER goes to upstream main",
                "the route is skipped: the client authenticated through to its hop",
            ],
        ),
        (
            "--stage rcpt-reply --recipient full@example.com --reply 250",
            &[
                "the client hears 452 4.2.2 Full",
                "the hop, which accepted, is told RSET and what else was accepted",
            ],
        ),
        ("--stage rcpt-reply --recipient a@example.com --reply 250", &["the client hears 250"]),
        (
            "--stage rcpt-reply --recipient a@example.com --reply 551",
            &[
                "RCPT TO:<a@legacy.example.com> is tried at upstream main",
                "limits.attempts (1) ends the ladder there",
                "the client hears the first 2xx",
                "if there is none, it hears 551, or the first 4xx if an attempt ends in one",
            ],
        ),
        ("--stage helo --helo x", &["EHLO x goes to upstream main"]),
        ("--stage data", &["DATA goes to upstream main"]),
        ("--stage other --command VRFY", &["the client hears 421 4.7.0 Closing and is closed"]),
        ("--stage other --command NOOP", &["NOOP goes to upstream main"]),
    ];
    for (options, expected) in table {
        let options: Vec<&str> = options.split(' ').collect();
        assert_eq!(outcome(&options), expected, "{options:?}");
    }
    assert!(asked(&["--stage", "data"]).unwrap().contains("\nno rule is asked at data\n"));
}

/// Any hop can be told as whom, so that a route is carried out; not so where the hop itself has heard AUTH.
#[test]
fn as_whom_a_client_has_authenticated() {
    for (login, rule, happens) in [
        ("--login Jones@Example.com", "route upstream legacy", "goes to upstream legacy"),
        ("--login jones@example.net", "does not match: login", "goes to upstream main"),
        ("--authenticated", "does not match: login", "goes to upstream main"),
        (
            "--login Jones@Example.com --authenticated",
            "route upstream legacy",
            "goes to upstream main\n  the route is skipped: the client authenticated through to its hop",
        ),
    ] {
        let options = format!("--stage mail --sender a@example.org {login}");
        let text = asked(&options.split(' ').collect::<Vec<_>>()).unwrap();
        let name = login.split(' ').nth(1);
        assert_eq!(text.lines().find_map(|line| line.strip_prefix("  login         ")), name, "{text}");
        let expected = format!(
            "\nrule ours (proxy.yaml:19): {rule}\n\nwhat would happen:\n  MAIL FROM:<a@example.org> {happens}\n"
        );
        assert!(text.ends_with(&expected), "{login}: {text}");
    }
}

#[test]
fn a_rule_that_makes_no_address_ends_the_asking() {
    let loaded = load_text(
        "proxy.yaml",
        "upstreams: { main: { hosts: [a] } }\nrules:\n\
         - { name: bad, stages: rcpt, do: { rewrite: { recipient: \"{sender}\" }, accept: true } }\n\
         - { name: next, stages: rcpt, do: accept }\n",
        std::iter::empty(),
    );
    let options = ["ask", "--stage", "rcpt", "--sender", "<>", "--recipient", "a@b.example"];
    let text = ask(&loaded.unwrap(), &Typed::parse_from(options).moment).unwrap();
    assert!(text.contains("rule next (proxy.yaml:4): "), "{text}");
    assert!(text.contains("the client hears 451 4.3.5 "), "{text}");
}

#[test]
fn options_that_do_not_go_together_are_all_told() {
    let wrong = |options: &str| asked(&options.split(' ').collect::<Vec<_>>()).unwrap_err();
    assert_eq!(
        wrong("--stage mail --recipient a@b --reply 250 --listener 127.0.0.1:1 --parameters =x"),
        "--recipient is not known at mail\n\
         --reply is not known at mail\n\
         --sender is needed at mail\n\
         --listener is none of 127.0.0.1:2525, 127.0.0.1:2526\n\
         --parameters are KEYWORD or KEYWORD=value, with spaces between\n"
    );
    assert_eq!(
        wrong("--stage rcpt-reply --recipient <> --sender a@@b --reply 999"),
        "--sender \"a@@b\" is no address\n\
         --recipient \"<>\" is no address\n\
         --reply is none: a reply's code is 200 to 599\n"
    );
    assert_eq!(
        wrong("--stage other --command DATA"),
        "--command is VRFY, EXPN, HELP, NOOP, ETRN or one of forward_verbs, with its argument\n"
    );
    assert_eq!(wrong("--stage rcpt"), "--recipient is needed at rcpt\n");
    let unknown =
        Typed::try_parse_from(["ask", "--stage", "disconnect"]).map(|_| ()).unwrap_err().to_string();
    assert!(unknown.contains("the stages are connect, connect-reply, helo,"), "{unknown}");
}

#[test]
fn the_explanation_is_what_a_session_hears() {
    let loaded = load_text("proxy.yaml", CONFIG, std::iter::empty()).unwrap();
    let (rules, _) = prepare::rules(&loaded, &["branch", "legacy", "main"]).unwrap();
    for recipient in ["joe@old.example", "trap@new.example", "x@broken.example", "full@example.com"] {
        let options = ["ask", "--stage", "rcpt", "--sender", "a@example.org", "--recipient", recipient];
        let moment = Typed::parse_from(options).moment;
        let known = Known::new(&moment, &loaded.config).unwrap();
        let mut question = known.question();
        let (explained, answer) = (rules.explain_command(&question), rules.command(&question));
        assert_eq!((explained.rewrites, explained.command), (answer.rewrites, answer.verdict), "{recipient}");
        question.stage = Stage::RcptReply;
        for line in ["250 2.1.5 Ok", "550 5.1.1 unknown", "451 4.3.0 Later"] {
            let reply = crate::smtp::Reply::parse_written(&[line]).unwrap();
            let explained = rules.explain_reply(&question, reply.as_ref());
            let heard = rules.reply(&question, reply.as_ref(), None);
            let after = heard.as_ref().and_then(|(_, by)| rules.reply(&question, reply.as_ref(), Some(*by)));
            let ladder = matches!(explained.reply, Some(crate::session::verdict::ReplyVerdict::Retry(_)));
            assert_eq!(explained.reply, heard.map(|(verdict, _)| verdict), "{recipient} {line}");
            assert_eq!(
                explained.otherwise,
                after.filter(|_| ladder).map(|(verdict, _)| verdict),
                "{recipient} {line}"
            );
        }
    }
}

/// A service that answers every question with what stands behind the recipient it is asked about.
fn directory(answers: &'static [(&'static str, &'static str)]) -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader, Read, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
            let length = head.to_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let answer =
                answers.iter().find(|(recipient, _)| body.contains(recipient)).map_or("{}", |(_, a)| a);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write!(stream.get_mut(), "{head}Content-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        }
    });
    address
}

#[test]
fn callouts_are_asked_where_that_is_wanted() {
    let address = directory(&[
        ("known@new.example", r#"{"rewrite": {"recipient": "known@store.example"}}"#),
        ("postmaster", r#"{"reply": "550 5.1.1 No"}"#),
        ("gone@new.example", r#"{"reply": "550 5.1.1 Gone"}"#),
        ("odd@new.example", r#"{"substitute": "550 5.1.1 No"}"#),
        ("elsewhere@example.com", r#"{"retry": [{"upstream": "legacy"}]}"#),
        ("a@example.org", r#"{"reply": "450 4.7.1 The sender was seen"}"#),
    ]);
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:2525\", upstream: main }}]\n\
         upstreams: {{ main: {{ hosts: [mx.example.com] }}, legacy: {{ hosts: [old.example.com] }} }}\n\
         rules:\n\
         - {{ name: moved, stages: rcpt, match: {{ recipient: \"*@old.example\" }}, do: {{ rewrite: {{ recipient: \"{{local}}@new.example\" }} }} }}\n\
         callouts:\n\
         - {{ name: directory, type: http, url: \"http://{address}/\", stages: [rcpt, rcpt-reply], on_error: reject }}\n\
         - {{ name: never, type: http, url: \"http://{address}/\", stages: rcpt, when: {{ client: 192.0.2.1 }} }}\n"
    );
    let asked = |options: &str| {
        let loaded = load_text("proxy.yaml", &config, std::iter::empty()).unwrap();
        let options = std::iter::once("ask").chain(options.split(' '));
        let text = ask(&loaded, &Typed::parse_from(options).moment).unwrap();
        text.split_once("\n\n").unwrap().1.to_owned()
    };
    let untried = "rule moved (proxy.yaml:4): rewrite recipient <known@new.example>
callout directory (proxy.yaml:6): would be asked; --callouts asks it
callout never (proxy.yaml:7): not asked: when does not match

what would happen:
  RCPT TO:<known@new.example> goes to upstream main
";
    assert_eq!(asked("--stage rcpt --recipient known@old.example"), untried);
    let table = [
        (
            "rcpt --recipient known@old.example",
            "rewrite recipient <known@store.example>",
            "RCPT TO:<known@store.example> goes to upstream main",
        ),
        ("rcpt --recipient gone@new.example", "reply 550 5.1.1 Gone", "the client hears 550 5.1.1 Gone"),
        (
            "rcpt --recipient stranger@new.example",
            "pass",
            "RCPT TO:<stranger@new.example> goes to upstream main",
        ),
        (
            "rcpt --recipient x@new.example --sender a@example.org",
            "reply 450 4.7.1 The sender was seen",
            "the client hears 450 4.7.1 The sender was seen",
        ),
        (
            "rcpt --recipient odd@new.example",
            "failed: not_allowed: ",
            "the client hears 554 5.3.0 Cannot be checked",
        ),
        (
            "rcpt-reply --recipient elsewhere@example.com --reply 550",
            "retry upstream legacy",
            "RCPT TO:<elsewhere@example.com> is tried at upstream legacy",
        ),
        (
            "rcpt --recipient postmaster",
            "refuses postmaster, which is ignored",
            "RCPT TO:<postmaster> goes to upstream main",
        ),
        (
            "rcpt-reply --recipient elsewhere@example.com --reply 250",
            "failed: not_allowed: ",
            "the client hears 554 5.3.0 Cannot be checked",
        ),
    ];
    for (options, said, happens) in table {
        let text = asked(&format!("--callouts --stage {options}"));
        let line =
            text.lines().find_map(|line| line.strip_prefix("callout directory (proxy.yaml:6): ")).unwrap();
        assert!(line.starts_with(said), "{options}: {text}");
        assert!(text.contains(&format!("\nwhat would happen:\n  {happens}\n")), "{options}: {text}");
    }
}

/// A message is asked about as the rules before have edited it, and by a service as all before have.
#[test]
fn messages() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("message.eml");
    let attached = "Content-Type: application/x-msdownload; name=\"a.exe\"";
    std::fs::write(&file, format!("Subject: x\nX-Internal: y\n{attached}\n\ntext\n")).unwrap();
    let service = directory(&[
        ("trap@example.com", r#"{"reply": "554 5.7.1 Not to the trap"}"#),
        (
            "X-Seen",
            r#"{"change_header": [{"name": "Subject", "field": "Subject: [seen] x"}], "add_recipient": "archive@example.com"}"#,
        ),
    ]);
    let config = format!(
        "listeners: [{{ address: \"127.0.0.1:2525\", upstream: main }}]\n\
         upstreams: {{ main: {{ hosts: [mx.example.com] }}, legacy: {{ hosts: [old.example.com] }} }}\n\
         rules:\n\
         - {{ name: seen, stages: message, do: {{ remove_header: X-Internal, add_header: \"X-Seen: yes\" }} }}\n\
         - {{ name: again, stages: message, match: {{ header: {{ name: X-Internal }} }}, do: accept }}\n\
         - {{ name: programs, stages: message, match: {{ attachment: \"*.exe\", recipient: \"*@strict.example\" }}, \
              do: {{ reply: \"554 5.7.1 No programs\" }} }}\n\
         - {{ name: old, stages: message, match: {{ recipient: \"*@old.example\" }}, do: {{ route: {{ upstream: legacy }} }} }}\n\
         callouts:\n\
         - {{ name: filter, type: http, url: \"http://{service}/\", stages: message }}\n"
    );
    let asked = |options: &str| {
        let loaded = load_text("proxy.yaml", &config, std::iter::empty()).unwrap();
        let file = file.display().to_string();
        let fixed = ["ask", "--stage", "message", "--message", &file, "--sender", "a@example.org"];
        let typed = Typed::parse_from(fixed.into_iter().chain(options.split(' ')));
        let text = ask(&loaded, &typed.moment).unwrap();
        text.split_once("\n\n").unwrap().1.to_owned()
    };
    assert_eq!(
        asked("--recipient b@example.com"),
        "rule seen (proxy.yaml:4): remove header X-Internal, add header X-Seen: yes
rule again (proxy.yaml:5): does not match: header
rule programs (proxy.yaml:6): does not match: recipient
rule old (proxy.yaml:7): does not match: recipient
callout filter (proxy.yaml:9): would be asked; --callouts asks it

what would happen:
  the message goes to upstream main: remove header X-Internal, add header X-Seen: yes
"
    );
    for (options, line, happens) in [
        (
            "--recipient b@strict.example",
            "rule programs (proxy.yaml:6): reply 554 5.7.1 No programs",
            "the client hears 554 5.7.1 No programs\n  no hop is given the message",
        ),
        (
            "--recipient b@strict.example --callouts",
            "callout filter (proxy.yaml:9): not asked, there is a verdict",
            "the client hears 554 5.7.1 No programs\n  no hop is given the message",
        ),
        (
            "--recipient b@old.example",
            "rule old (proxy.yaml:7): route upstream legacy",
            "the message goes to upstream legacy: remove header X-Internal, add header X-Seen: yes",
        ),
        (
            "--recipient b@example.com --callouts",
            "callout filter (proxy.yaml:9): change header Subject (1) to Subject: [seen] x, add recipient <archive@example.com>",
            "the message goes to upstream main: remove header X-Internal, add header X-Seen: yes, \
             change header Subject (1) to Subject: [seen] x, add recipient <archive@example.com>",
        ),
        (
            "--recipient trap@example.com --callouts",
            "callout filter (proxy.yaml:9): reply 554 5.7.1 Not to the trap",
            "the client hears 554 5.7.1 Not to the trap\n  no hop is given the message",
        ),
    ] {
        let text = asked(options);
        assert!(text.contains(&format!("{line}\n")), "{options}: {text}");
        assert!(text.ends_with(&format!("\nwhat would happen:\n  {happens}\n")), "{options}: {text}");
    }
    let fault = |options: &[&str]| self::asked(options).unwrap_err();
    assert_eq!(
        fault(&["--stage", "message"]),
        "--message is needed at message\n--sender is needed at message\n"
    );
    assert_eq!(
        fault(&["--stage", "data", "--message", "x"]),
        "--message is not known at data\n--message x: No such file or directory (os error 2)\n"
    );
    let missing = fault(&["--stage", "message", "--sender", "a@b.example", "--message", "/nonexistent"]);
    assert_eq!(missing, "--message /nonexistent: No such file or directory (os error 2)\n");
}
