//! What a question to the rules costs: ten rules against ten thousand.
//!
//! **In**: rules for exact recipients, one question of `rcpt` and one of `rcpt-reply`. **Out**: time for each.
//! **Never**: opens a socket or reads a file. Run with `cargo bench --bench rules`.

use std::net::Ipv4Addr;

use divan::{Bencher, black_box};
use gatepost::config::types::{Action, CodePattern, Decide, Mark, Match, Rule};
use gatepost::rules::{Maps, RuleSet};
use gatepost::session::verdict::{Question, Rules, Stage};
use gatepost::smtp::{Params, Path, Reply, SessionId, Verb};

fn main() {
    divan::main();
}

const SIZES: [u16; 2] = [10, 10_000];

fn rule(stage: Stage, recipient: String, decide: Decide) -> Rule {
    Rule {
        name: recipient.clone(),
        stages: vec![stage],
        matches: Match { recipient: vec![recipient], ..Match::default() },
        actions: Action { decide: Some(decide), ..Action::default() },
        mark: Mark::default(),
    }
}

fn compiled(rules: &[Rule]) -> RuleSet {
    RuleSet::compile(rules, &|_| None, &Maps::default(), &[]).expect("these rules are right")
}

fn at_rcpt(count: u16) -> RuleSet {
    let refusal = || Decide::Reply(vec!["550 5.7.1 Moved".to_owned()]);
    let rules: Vec<_> =
        (0..count).map(|n| rule(Stage::Rcpt, format!("user{n}@example.net"), refusal())).collect();
    compiled(&rules)
}

fn question(stage: Stage, recipient: &[u8]) -> Question<'_> {
    let path = Path::parse(recipient).expect("these paths are right");
    Question {
        stage,
        session: SessionId(1),
        listener: 0,
        client: Ipv4Addr::LOCALHOST.into(),
        port: 40000,
        facts: None,
        hop: None,
        helo: Some(b"client.example"),
        extended: true,
        instance: 0,
        authenticated: false,
        mechanism: None,
        sender: Some(Path::NULL),
        recipient: Some(path),
        recipient_given: Some(path),
        recipients: 0,
        envelope: None,
        params: Params::default(),
        size: None,
        verb: Verb::Rcpt,
        argument: b"",
        message: None,
    }
}

/// A recipient no rule is about.
#[divan::bench(args = SIZES)]
fn rcpt_nobody_means(bencher: Bencher<'_, '_>, count: u16) {
    let set = at_rcpt(count);
    let asked = question(Stage::Rcpt, b"Jones@Example.NET");
    bencher.bench_local(|| set.command(black_box(&asked)));
}

/// A recipient the last rule is about.
#[divan::bench(args = SIZES)]
fn rcpt_one_means(bencher: Bencher<'_, '_>, count: u16) {
    let set = at_rcpt(count);
    let recipient = format!("User{}@Example.NET", count - 1);
    let asked = question(Stage::Rcpt, recipient.as_bytes());
    bencher.bench_local(|| set.command(black_box(&asked)));
}

/// A recipient no rule is about, where a rule's recipient is a domain, a part of a domain, or an address.
#[divan::bench(args = SIZES)]
fn rcpt_nobody_means_mixed(bencher: Bencher<'_, '_>, count: u16) {
    let pattern = |n| match n % 3 {
        0 => format!("user{n}@example.net"),
        1 => format!("*@d{n}.example.net"),
        _ => format!("*@*.s{n}.example.net"),
    };
    let rules: Vec<_> = (0..count).map(|n| rule(Stage::Rcpt, pattern(n), Decide::Accept)).collect();
    let set = compiled(&rules);
    let asked = question(Stage::Rcpt, b"jones@mail.store.example.net");
    bencher.bench_local(|| set.command(black_box(&asked)));
}

/// A 250 where all rules are about refusals.
#[divan::bench(args = SIZES)]
fn reply_of_another_class(bencher: Bencher<'_, '_>, count: u16) {
    let refused = |n| {
        let mut rule = rule(Stage::RcptReply, format!("user{n}@example.net"), Decide::Accept);
        rule.matches.code = vec![CodePattern { digits: [Some(5), None, None] }];
        rule
    };
    let rules: Vec<_> = (0..count).map(refused).collect();
    let set = compiled(&rules);
    let asked = question(Stage::RcptReply, b"user1@example.net");
    let reply = Reply::parse_written(&["250 2.1.5 Ok"]).expect("a reply");
    bencher.bench_local(|| set.reply(black_box(&asked), reply.as_ref(), None));
}
