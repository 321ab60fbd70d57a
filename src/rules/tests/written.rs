//! The rules of the manual, from the text of `proxy.yaml` to what they answer.

use super::*;
use crate::config::load_text;

const FILE: &str = r#"
upstreams:
  main: { hosts: ["192.0.2.25"] }
  branch: { hosts: ["192.0.2.26"] }
  legacy: { hosts: ["192.0.2.27"] }
rules:
  - name: moved-domain
    stages: rcpt
    match: { recipient: "*@old.example" }
    do: { rewrite: { recipient: "{local}@new.example" } }
  - name: branch-office
    stages: rcpt
    match: { recipient: ["*@branch.example.com", "*@new.example"] }
    do: { route: { upstream: branch } }
  - name: try-the-old-system
    stages: rcpt-reply
    match: { recipient: "*@example.com", code: 5xx }
    do: { retry: [ { recipient: "{local}@legacy.example.com" }, { upstream: legacy } ] }
  - name: plain-words
    stages: rcpt-reply
    match: { code: 550 }
    do: { substitute: "550 5.1.1 No such mailbox here" }
  - name: no-submission-from-lab
    stages: mail
    match: { client: 192.0.2.0/24, sender: "*@example.com", not: { authenticated: true } }
    do: { reply: ["550-5.7.1 Use the", "550 5.7.1 submission service"] }
"#;

#[test]
fn the_rules_of_the_manual() {
    let rules = load_text("proxy.yaml", FILE, []).unwrap().config.rules;
    let set = compile(&rules);

    let mut asked = question(Stage::Rcpt);
    asked.recipient = Some(path(b"\"Jo Nes\"@OLD.example"));
    let answer = set.command(&asked);
    assert_eq!(answer.rewrites.recipient.as_deref(), Some(&b"\"Jo Nes\"@new.example"[..]));
    assert_eq!(answer.verdict, Some(CommandVerdict::Route(PoolId(1))));
    assert_eq!(
        answer.by.iter().map(|by| set.name(*by)).collect::<Vec<_>>(),
        ["moved-domain", "branch-office"]
    );

    let mut asked = question(Stage::RcptReply);
    asked.recipient = Some(path(b"jones@Example.com"));
    let refusal = reply("550-5.1.1 user|550 5.1.1 unknown");
    let (verdict, by) = set.reply(&asked, refusal.as_ref(), None).unwrap();
    let ReplyVerdict::Retry(rungs) = verdict else { panic!("a ladder") };
    assert_eq!(rungs[0].recipient.as_deref(), Some(&b"jones@legacy.example.com"[..]));
    assert_eq!((rungs[1].pool, set.name(by)), (Some(PoolId(2)), "try-the-old-system"));
    let (_, by) = set.reply(&asked, refusal.as_ref(), Some(by)).unwrap();
    assert_eq!(set.name(by), "plain-words");
    assert!(set.reply(&asked, reply("250 2.1.5 Ok").as_ref(), None).is_none());
    assert!(set.reply(&asked, reply("450 4.2.0 Later").as_ref(), None).is_none());

    let mut asked = question(Stage::Mail);
    asked.sender = Some(path(b"lab@example.com"));
    let Some(CommandVerdict::Reply(said)) = set.command(&asked).verdict else { panic!("a reply") };
    assert_eq!(said.as_bytes(), b"550-5.7.1 Use the\r\n550 5.7.1 submission service\r\n");
    asked.authenticated = true;
    assert!(set.command(&asked).verdict.is_none());
}

#[test]
fn a_long_list_is_one_rule() {
    let recipients: Vec<_> = (0..10_000).map(|n| format!("user{n}@example.net")).collect();
    let matches = Match { recipient: recipients, ..Match::default() };
    let set = compile(&[rule(&[Stage::Rcpt], matches, says("550 5.7.1 no"))]);
    let mut asked = question(Stage::Rcpt);
    assert!(set.command(&asked).verdict.is_none());
    asked.recipient = Some(path(b"user7777@example.net"));
    assert!(set.command(&asked).verdict.is_some());
}

#[test]
fn more_rules_than_numbers() {
    let rules = vec![rule(&[Stage::Rcpt], Match::default(), None); 65_540];
    let errors = RuleSet::compile(&rules, &pools, &Maps::default(), &[]).unwrap_err();
    assert_eq!((errors.len(), errors[0].key.as_str()), (1, "name"));
}
