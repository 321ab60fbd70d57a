//! Who is asked, in which order, and what comes of it.

use super::*;
use crate::config::types::{Parameters, Rung as WrittenRung};

fn box_of(octets: &str) -> Option<Box<[u8]>> {
    Some(octets.as_bytes().into())
}

fn ids(numbers: &[u16]) -> Vec<RuleId> {
    numbers.iter().copied().map(RuleId).collect()
}

#[test]
fn the_first_that_decides_ends_the_stage() {
    let set = compile(&[
        rule(&[Stage::Mail], Match::default(), says("550 5.7.1 other stage")),
        rule(&[Stage::Rcpt], to_recipient("smith@example.net"), says("550 5.7.1 other recipient")),
        rule(&[Stage::Rcpt], to_recipient("*@example.net"), says("550 5.7.1 first")),
        rule(&[Stage::Rcpt], to_recipient("jones@example.net"), says("550 5.7.1 second")),
    ]);
    let answer = set.command(&question(Stage::Rcpt));
    assert_eq!(said(&answer).unwrap(), "550 5.7.1 first");
    assert_eq!(answer.by, ids(&[2]));
    assert!(set.stages().has(Stage::Rcpt) && set.stages().has(Stage::Mail) && !set.stages().has(Stage::Data));
    assert_eq!((set.name(RuleId(2)), set.name(RuleId(9))), ("rule", ""));
}

#[test]
fn nothing_said_is_nothing() {
    let set = compile(&[rule(&[Stage::Rcpt], to_recipient("a@b.example"), says("550 no"))]);
    let answer = set.command(&question(Stage::Rcpt));
    assert!(answer.verdict.is_none() && answer.by.is_empty() && answer.rewrites == Rewrites::default());
    let answer = set.command(&question(Stage::Data));
    assert!(answer.verdict.is_none());
}

#[test]
fn accept_route_and_disconnect() {
    let decide = |decide| compile(&[rule(&[Stage::Rcpt], Match::default(), Some(decide))]);
    let verdict = |set: RuleSet| set.command(&question(Stage::Rcpt)).verdict.unwrap();
    assert_eq!(verdict(decide(Decide::Accept)), CommandVerdict::Accept);
    let route = Decide::Route { upstream: "branch".to_owned() };
    assert_eq!(verdict(decide(route)), CommandVerdict::Route(PoolId(1)));
    let lines = list(&["421-4.7.0 go", "421 4.7.0 away"]);
    let CommandVerdict::Disconnect(said) = verdict(decide(Decide::Disconnect(Some(lines)))) else { panic!() };
    assert_eq!(said.unwrap().as_bytes(), b"421-4.7.0 go\r\n421 4.7.0 away\r\n");
    assert_eq!(verdict(decide(Decide::Disconnect(None))), CommandVerdict::Disconnect(None));
    let swallow = compile(&[rule(&[Stage::Rcpt], Match::default(), says("250 2.1.5 swallowed"))]);
    assert_eq!(super::said(&swallow.command(&question(Stage::Rcpt))).unwrap(), "250 2.1.5 swallowed");
}

#[test]
fn rewrites_accumulate_and_later_rules_see_them() {
    let set = compile(&[
        rule(&[Stage::Rcpt], to_recipient("jones@new.example"), says("550 asked too early")),
        moves("*@example.net", template("{local}@new.example")),
        rule(&[Stage::Rcpt], to_recipient("*@example.net"), says("550 the old value")),
        moves("*@new.example", template("{local}.x@third.example")),
        moves("*@example.net", template("nobody@example.org")),
        rule(&[Stage::Rcpt], to_recipient("JONES.x@third.example"), says("550 found")),
    ]);
    let answer = set.command(&question(Stage::Rcpt));
    assert_eq!(answer.rewrites.recipient, box_of("jones.x@third.example"));
    assert_eq!(said(&answer).unwrap(), "550 found");
    assert_eq!(answer.by, ids(&[1, 3, 5]));
    // Each rule at most once: no rule is asked about its own work.
    let set = compile(&[moves("*@example.net", template("x{local}@example.net"))]);
    let answer = set.command(&question(Stage::Rcpt));
    assert_eq!((answer.rewrites.recipient, answer.by), (box_of("xjones@example.net"), ids(&[0])));
}

#[test]
fn a_value_as_it_was_is_no_rewrite() {
    let mut greet = rule(&[Stage::Helo], Match::default(), None);
    greet.actions.rewrites.helo = Some(template("Client.example"));
    let set = compile(&[moves("*", template("{local}@example.net")), greet]);
    for stage in [Stage::Helo, Stage::Rcpt] {
        let answer = set.command(&question(stage));
        assert!(answer.rewrites == Rewrites::default() && answer.by.is_empty(), "{stage:?}");
    }
}

#[test]
fn a_value_that_is_no_path_ends_the_asking() {
    let set = compile(&[
        moves("*", template("{local} @ {domain}\u{1}")),
        rule(&[Stage::Rcpt], Match::default(), says("550 asked")),
    ]);
    let answer = set.command(&question(Stage::Rcpt));
    assert_eq!(answer.rewrites.recipient, box_of("jones @ example.net\u{1}"));
    assert!(answer.verdict.is_none());
}

#[test]
fn templates_keep_what_was_given() {
    let mut asked = question(Stage::Rcpt);
    asked.recipient = Some(path(b"\"Jo nes\"@Example.NET"));
    let made = |text: &str, asked: &Question<'_>| {
        compile(&[moves("*", template(text))]).command(asked).rewrites.recipient.unwrap()
    };
    assert_eq!(&*made("{local}@new.example", &asked), b"\"Jo nes\"@new.example");
    assert_eq!(&*made("x@{domain}", &asked), b"x@Example.NET");
    assert_eq!(&*made("{recipient}.test", &asked), b"\"Jo nes\"@Example.NET.test");
    assert_eq!(&*made("{recipient_given}", &asked), b"jones@example.net");
    assert_eq!(&*made("{sender}", &asked), b"s@src.example");
    assert_eq!(&*made("x@{client}.example", &asked), b"x@192.0.2.1.example");
    let mut rule = rule(&[Stage::Mail], Match::default(), None);
    rule.actions.rewrites.sender = Some(template("{local}=x@{domain}"));
    let mut greet = super::rule(&[Stage::Helo], Match::default(), None);
    greet.actions.rewrites.helo = Some(template("mx.example"));
    let mut null = rule.clone();
    null.matches.sender = list(&["s=x@src.example"]);
    null.actions.rewrites.sender = Some(template("<>"));
    let answer = compile(&[rule.clone()]).command(&question(Stage::Mail));
    assert_eq!(answer.rewrites.sender, box_of("s=x@src.example"), "at mail the parts are the sender's");
    let answer = compile(&[greet]).command(&question(Stage::Helo));
    assert_eq!(answer.rewrites.helo, box_of("mx.example"));
    let mut bounce = super::rule(&[Stage::Mail], Match::default(), says("550 null"));
    bounce.matches.sender = list(&["<>"]);
    let answer = compile(&[rule, null, bounce]).command(&question(Stage::Mail));
    assert_eq!(answer.rewrites.sender, box_of(""), "the null path is the empty value");
    assert_eq!(answer.by, ids(&[0, 1, 2]));
}

#[test]
fn parameters_are_rewritten_and_size_seen_again() {
    let mut strip = rule(&[Stage::Mail], Match::default(), None);
    strip.actions.rewrites.parameters = Some(Parameters { remove: list(&["BODY"]), add: list(&["SIZE=5"]) });
    let mut small = rule(&[Stage::Mail], Match::default(), says("550 small"));
    small.matches.size = vec![crate::config::types::SizeRange { least: 0, most: 10 }];
    let set = compile(&[strip, small]);
    let mut asked = question(Stage::Mail);
    asked.params = Params::parse(b"SIZE=900 BODY=8BITMIME X=y").unwrap();
    asked.size = Some(900);
    let answer = set.command(&asked);
    assert_eq!(answer.rewrites.parameters, box_of("SIZE=5 X=y"));
    assert_eq!(said(&answer).unwrap(), "550 small");
    asked.params = Params::parse(b"SIZE=5").unwrap();
    asked.size = Some(5);
    assert!(set.command(&asked).rewrites.parameters.is_none(), "no change is no rewrite");
}

#[test]
fn ladders_and_what_comes_after_them() {
    let rung = |recipient: Option<&str>, pool: Option<&str>| WrittenRung {
        recipient: recipient.map(template),
        upstream: pool.map(str::to_owned),
        mx: None,
        map: None,
    };
    let retry = |rungs: Vec<WrittenRung>| {
        rule(&[Stage::RcptReply], to_recipient("*@example.net"), Some(Decide::Retry(rungs)))
    };
    let set = compile(&[
        retry(vec![rung(Some("{local}@legacy.example"), None), rung(None, Some("legacy"))]),
        retry(vec![rung(Some("x@example.org"), Some("branch"))]),
        rule(&[Stage::RcptReply], Match::default(), Some(Decide::Substitute(list(&["550 5.1.1 none"])))),
    ]);
    let (asked, refusal) = (question(Stage::RcptReply), reply("550 5.1.1 who"));
    let (verdict, by) = set.reply(&asked, refusal.as_ref(), None).unwrap();
    let rungs = vec![
        Rung { recipient: box_of("jones@legacy.example"), ..Rung::default() },
        Rung { pool: Some(PoolId(2)), ..Rung::default() },
    ];
    assert_eq!((verdict, by), (ReplyVerdict::Retry(rungs), RuleId(0)));
    let (verdict, by) = set.reply(&asked, refusal.as_ref(), Some(RuleId(0))).unwrap();
    let ReplyVerdict::Substitute(said) = verdict else { panic!("no second ladder in one command") };
    assert_eq!((said.as_bytes(), by), (&b"550 5.1.1 none\r\n"[..], RuleId(2)));
    assert!(set.reply(&asked, refusal.as_ref(), Some(RuleId(2))).is_none());
}

#[test]
fn wrong_rules_are_all_reported() {
    let decide = |stage, decide| rule(&[stage], Match::default(), Some(decide));
    let mut rewriting = rule(&[Stage::RcptReply], Match::default(), None);
    rewriting.actions.rewrites.recipient = Some(template("x"));
    let errors = RuleSet::compile(
        &[
            decide(Stage::Rcpt, Decide::Substitute(list(&["550 no"]))),
            decide(Stage::RcptReply, Decide::Reply(list(&["550 no"]))),
            decide(Stage::MailReply, Decide::Retry(Vec::new())),
            decide(Stage::Rcpt, Decide::Route { upstream: "nowhere".to_owned() }),
            decide(Stage::Data, Decide::Route { upstream: "main".to_owned() }),
            decide(Stage::Rcpt, Decide::Reply(list(&["no code"]))),
            rewriting,
        ],
        &pools,
        &Maps::default(),
        &[],
    );
    let keys: Vec<_> = errors.unwrap_err().into_iter().map(|error| error.key).collect();
    assert_eq!(keys, ["do", "do", "do", "do.route", "do", "do.reply", "do"]);
}

#[test]
fn ten_thousand_recipients() {
    let rules: Vec<_> = (0..10_000)
        .map(|n| {
            rule(&[Stage::Rcpt], to_recipient(&format!("user{n}@example.net")), says(&format!("550 {n}")))
        })
        .collect();
    let set = compile(&rules);
    let mut asked = question(Stage::Rcpt);
    assert!(set.command(&asked).verdict.is_none());
    for (recipient, number) in [(&b"user0@example.net"[..], 0), (b"USER9999@Example.net", 9999)] {
        asked.recipient = Some(path(recipient));
        let answer = set.command(&asked);
        assert_eq!(said(&answer).unwrap(), format!("550 {number}"));
        assert_eq!(answer.by, ids(&[number]));
        // What is tried is what the index names: one rule of ten thousand.
        let facts = Facts::new(&asked, None);
        let mut candidates = set.by_stage[Stage::Rcpt as usize].index.candidates(&facts);
        assert_eq!(candidates.next(None), Some(RuleId(number)));
        assert_eq!(candidates.next(Some(RuleId(number))), None);
    }
}
